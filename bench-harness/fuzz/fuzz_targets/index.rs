//! The shared index: filters of any kind come and go for several cores in batches, and what it finds
//! is compared with a list of filters and the naive matcher. When all have left, nothing is left.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use millrace::base::core_set::CoreSet;
use millrace::base::ids::{CoreId, FilterId};
use millrace::mqtt::topic::{TopicFilter, TopicName, topic_matches};
use millrace::routing::delta::Delta;
use millrace::routing::reader::IndexReader;
use millrace::routing::shared::SharedIndex;
use millrace::routing::writer::IndexWriter;

const CORES: u8 = 3;

struct Pair {
    writer: IndexWriter,
    reader: IndexReader,
    model: BTreeMap<String, (FilterId, CoreSet)>,
}

impl Pair {
    fn add(&mut self, filter: &str, core: CoreId) {
        let applied = self.writer.apply(Delta::Add { filter, core });
        let applied = applied.expect("there is room");
        let known = self.model.entry(filter.to_owned());
        let (id, cores) = known.or_insert((applied.filter, CoreSet::EMPTY));
        assert_eq!(*id, applied.filter);
        assert_eq!(applied.changed, !cores.contains(core));
        cores.insert(core);
    }

    fn remove(&mut self, filter: &str, core: CoreId) {
        let Some((id, cores)) = self.model.get_mut(filter) else {
            return;
        };
        if !cores.contains(core) {
            return;
        }
        let delta = Delta::Remove { filter: *id, core };
        assert!(self.writer.apply(delta).expect("it is there").changed);
        cores.remove(core);
        if cores.is_empty() {
            self.model.remove(filter);
        }
    }

    fn turn(&mut self) {
        let epoch = self.writer.publish();
        assert_eq!(self.reader.pass(), epoch);
        self.writer.reclaim();
        assert_eq!(self.writer.retired_len(), 0);
    }

    fn check(&mut self, topic: &str) {
        let mut hits = Vec::new();
        self.reader.matches(topic, &mut hits);
        let mut found: Vec<(String, CoreSet)> = Vec::new();
        for hit in hits {
            let text = self.reader.filter_text(hit.filter).expect("it is live");
            found.push((text.to_owned(), hit.cores));
        }
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let expected: Vec<(String, CoreSet)> = self
            .model
            .iter()
            .filter(|(filter, _)| topic_matches(filter, topic))
            .map(|(filter, (_, cores))| (filter.clone(), *cores))
            .collect();
        assert_eq!(found, expected, "topic {topic:?}");
    }
}

/// Takes a text of up to 63 bytes; a byte above 127 stands for one of a few levels that come often.
fn text<'a>(data: &mut &'a [u8]) -> Option<String> {
    const LEVELS: [&str; 8] = ["a/", "b/", "+/", "#", "/", "$x/", "a-longer-level/", "+"];
    let (len, rest) = data.split_first()?;
    let (bytes, rest): (&'a [u8], _) = rest.split_at(usize::from(*len % 64).min(rest.len()));
    *data = rest;
    let mut text = String::new();
    for byte in bytes {
        match *byte {
            byte @ 0..=127 => text.push(char::from(byte)),
            byte => text.push_str(LEVELS[usize::from(byte) % LEVELS.len()]),
        }
    }
    Some(text)
}

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let (writer, mut readers, _) = SharedIndex::new(1, [11, 22, 33, 44]).expect("address space");
    let mut pair = Pair {
        writer,
        reader: readers.remove(0),
        model: BTreeMap::new(),
    };
    pair.reader.unpark();
    let mut used: Vec<String> = Vec::new();
    while let Some((step, rest)) = data.split_first() {
        data = rest;
        let core = CoreId(step >> 4 & 3);
        let again = usize::from(step >> 4);
        match step % 8 {
            0..3 => {
                let Some(text) = text(&mut data) else { break };
                if TopicFilter::new(&text).is_ok() {
                    pair.add(&text, core);
                    used.push(text);
                }
            }
            3 | 4 if !used.is_empty() => {
                let at = used.len().saturating_sub(1 + again % used.len());
                let filter = used[at].clone();
                pair.remove(&filter, core);
            }
            5 if !used.is_empty() => {
                let filter = used[again % used.len()].clone();
                pair.add(&filter, core);
            }
            6 => pair.turn(),
            _ => {
                let Some(text) = text(&mut data) else { break };
                if TopicName::new(&text).is_ok() {
                    pair.turn();
                    pair.check(&text);
                }
            }
        }
    }
    // The filters themselves, with their wildcards filled in, are topics that match.
    pair.turn();
    for filter in used.iter().take(16) {
        let topic = filter.replace('+', "a").replace('#', "b");
        pair.check(&topic);
    }
    for (filter, (id, cores)) in &pair.model {
        assert_eq!(pair.reader.find(filter), Some(*id));
        assert_eq!(pair.reader.cores(*id), *cores);
    }
    for filter in &used {
        (0..=CORES).for_each(|core| pair.remove(filter, CoreId(core)));
    }
    pair.turn();
    assert!(pair.writer.is_empty() && pair.model.is_empty());
    let left = (
        pair.writer.overflow_len(),
        pair.writer.shapes_len(),
        pair.writer.edges_len(),
    );
    assert_eq!(left, (0, 0, 0));
    let bytes = pair.writer.bytes();
    let left = (bytes.filters, bytes.shapes, bytes.edges, bytes.retired);
    assert_eq!(left, (0, 0, 0, 0));
});
