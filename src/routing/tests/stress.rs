//! One writer at full speed, two readers on other threads. Bounded by operations.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::base::ids::{CoreId, Epoch, FilterId};
use crate::routing::delta::Delta;
use crate::routing::reader::IndexReader;
use crate::routing::shared::SharedIndex;
use crate::routing::topic_match;
use crate::routing::writer::IndexWriter;

const STABLE: u64 = if cfg!(miri) { 4 } else { 400 };
const CHANGING: u64 = if cfg!(miri) { 6 } else { 600 };
const ROUNDS: u64 = if cfg!(miri) { 6 } else { 150 };

/// For each changing filter: the epoch at which its removal was published, or MAX while it may be
/// there. Written by the writer after the publication.
type Gone = Arc<Vec<AtomicU64>>;

fn filter(kind: &str, n: u64) -> String {
    match n % 4 {
        0 => format!("{kind}/{n}/exact"),
        1 => format!("{kind}/+/{n}"),
        2 => format!("{kind}/{n}/#"),
        // Forty shapes of eight levels: some in the trie.
        _ => {
            let plus = n / 4 % 40;
            let levels = (0..6).map(|at| if plus >> at & 1 == 1 { "+" } else { "l" });
            format!("{kind}/{n}/{}", levels.collect::<Vec<_>>().join("/"))
        }
    }
}

fn topic(kind: &str, n: u64) -> String {
    match n % 4 {
        0 => format!("{kind}/{n}/exact"),
        1 => format!("{kind}/x/{n}"),
        2 => format!("{kind}/{n}/x/y"),
        _ => format!("{kind}/{n}/l/l/l/l/l/l"),
    }
}

fn write(writer: &mut IndexWriter, gone: &Gone) -> u64 {
    let core = CoreId(1);
    let mut retired_most = 0;
    let mut ids: Vec<Option<FilterId>> = vec![None; gone.len()];
    let mut random = 1u64;
    for _ in 0..ROUNDS {
        let mut removed = Vec::new();
        for (n, id) in ids.iter_mut().enumerate() {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            if random >> 63 == 0 {
                continue;
            }
            if let Some(filter) = id.take() {
                writer.apply(Delta::Remove { filter, core }).unwrap();
                removed.push(n);
            } else {
                gone[n].store(u64::MAX, Ordering::SeqCst);
                let text = filter("changing", n as u64);
                let delta = Delta::Add {
                    filter: &text,
                    core,
                };
                *id = Some(writer.apply(delta).unwrap().filter);
            }
        }
        let epoch = writer.publish();
        for n in removed {
            gone[n].store(epoch.0, Ordering::SeqCst);
        }
        writer.reclaim();
        retired_most = retired_most.max(writer.retired_len() as u64);
    }
    retired_most
}

/// One turn: every hit is right, the stable filters are there, the removed ones are not.
fn turn(reader: &mut IndexReader, gone: &Gone, turns: u64) {
    if turns.is_multiple_of(16) {
        reader.park();
        reader.unpark();
    }
    let epoch = reader.pass();
    let mut hits = Vec::new();
    for k in 0..8 {
        let n = (turns * 8 + k) % STABLE;
        reader.matches(&topic("stable", n), &mut hits);
        let wanted = filter("stable", n);
        let found = hits.iter().any(|hit| {
            let text = reader.filter_text(hit.filter).unwrap();
            assert!(topic_match::matches(text, &topic("stable", n)));
            text == wanted
        });
        assert!(found, "missed {wanted}");
        changing(reader, gone, (turns * 8 + k) % CHANGING, epoch);
    }
}

fn changing(reader: &mut IndexReader, gone: &Gone, n: u64, epoch: Epoch) {
    let gone = &gone[usize::try_from(n).unwrap()];
    let before = Epoch(gone.load(Ordering::SeqCst));
    let mut hits = Vec::new();
    let topic = topic("changing", n);
    reader.matches(&topic, &mut hits);
    let wanted = filter("changing", n);
    let mut found = false;
    for hit in hits {
        let text = reader.filter_text(hit.filter).unwrap();
        assert!(topic_match::matches(text, &topic), "{text} for {topic}");
        found |= text == wanted;
    }
    let after = Epoch(gone.load(Ordering::SeqCst));
    if before == after && before <= epoch {
        assert!(!found, "{wanted} was removed in an epoch that has passed");
    }
}

#[test]
fn stable_filters_are_never_missed_and_removed_ones_never_seen_after_their_epoch() {
    let (mut writer, readers, epochs) = SharedIndex::new(2, [5, 6, 7, 8]).unwrap();
    for n in 0..STABLE {
        let text = filter("stable", n);
        let delta = Delta::Add {
            filter: &text,
            core: CoreId(0),
        };
        writer.apply(delta).unwrap();
    }
    let stable_epoch = writer.publish();
    let gone: Gone = Arc::new((0..CHANGING).map(|_| AtomicU64::new(0)).collect());
    let done = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = readers
        .into_iter()
        .map(|mut reader| {
            let (gone, done) = (Arc::clone(&gone), Arc::clone(&done));
            thread::spawn(move || {
                assert!(reader.unpark() >= stable_epoch);
                let mut turns = 0;
                while !done.load(Ordering::Acquire) || turns < 2 {
                    turn(&mut reader, &gone, turns);
                    turns += 1;
                }
                reader.park();
                turns
            })
        })
        .collect();
    write(&mut writer, &gone);
    done.store(true, Ordering::Release);
    for thread in threads {
        assert!(thread.join().unwrap() >= 2);
    }
    writer.reclaim();
    assert_eq!(writer.retired_len(), 0);
    assert!(writer.overflow_len() > 0, "the trie took part");
    assert!(epochs.all_passed(writer.epochs().published()));
}
