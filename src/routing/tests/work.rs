//! What a match costs, counted in probes of the table and filters compared: it goes by the number of
//! matches, not of subscriptions, and not by how many come and go meanwhile.

use crate::base::ids::CoreId;
use crate::routing::delta::Delta;
use crate::routing::reader::IndexReader;
use crate::routing::shared::SharedIndex;
use crate::routing::writer::IndexWriter;

const TOPIC: &str = "site/device/state";
/// All that match [`TOPIC`].
const MATCHING: [&str; 10] = [
    "site/device/state",
    "site/device/+",
    "site/+/state",
    "+/device/state",
    "site/+/+",
    "+/+/state",
    "+/+/+",
    "site/device/#",
    "site/#",
    "#",
];
const FEW: usize = 1_000;
const TURNS_COUNTED: u64 = 100;

struct Index {
    writer: IndexWriter,
    reader: IndexReader,
}

impl Index {
    /// One with the matching filters and so many that do not match, of the same shapes.
    fn with(others: usize) -> Self {
        let (writer, mut readers, _) = SharedIndex::new(1, [5, 6, 7, 8]).unwrap();
        let mut index = Self {
            writer,
            reader: readers.remove(0),
        };
        for filter in MATCHING {
            index.add(filter);
        }
        for n in 0..others {
            index.add(&other(n));
            if n % 1000 == 999 {
                index.turn();
            }
        }
        index.turn();
        index
    }

    fn add(&mut self, filter: &str) -> crate::base::ids::FilterId {
        let core = CoreId(0);
        self.writer
            .apply(Delta::Add { filter, core })
            .unwrap()
            .filter
    }

    fn turn(&mut self) {
        self.writer.publish();
        self.reader.pass();
        self.writer.reclaim();
    }

    /// Work of one match.
    fn work(&mut self) -> u64 {
        let mut hits = Vec::new();
        self.reader.work = 0;
        self.reader.matches(TOPIC, &mut hits);
        assert_eq!(hits.len(), MATCHING.len());
        self.reader.work
    }
}

fn other(n: usize) -> String {
    match n % 4 {
        0 => format!("site/device-{n}/+"),
        1 => format!("site-{n}/+/state"),
        2 => format!("+/device-{n}/state"),
        _ => format!("site-{n}/device/#"),
    }
}

fn compare(many: usize) {
    let few = Index::with(FEW).work();
    let many = Index::with(many).work();
    assert!(
        many <= 3 * few,
        "{few} steps among few filters, {many} among many"
    );
}

#[test]
fn a_match_costs_by_matches_and_not_by_subscriptions() {
    compare(50 * FEW);
}

/// In `scripts/test.sh speed`: it takes a while unless it is optimised.
#[test]
#[ignore = "takes seconds: run by scripts/test.sh speed"]
fn a_match_among_a_million_wildcards_costs_what_it_costs_among_a_thousand() {
    compare(1_000_000);
}

#[test]
fn a_match_costs_the_same_while_others_subscribe_and_unsubscribe() {
    let mut index = Index::with(FEW);
    let calm = TURNS_COUNTED * index.work();
    let mut churned = 0;
    for turn in 0..TURNS_COUNTED {
        // Ten a turn: at a turn a millisecond, 10,000 a second.
        let coming: Vec<_> = (0..10)
            .map(|n| index.add(&format!("churn-{turn}/{n}/+")))
            .collect();
        index.turn();
        churned += index.work();
        for filter in coming {
            let core = CoreId(0);
            index.writer.apply(Delta::Remove { filter, core }).unwrap();
        }
        index.turn();
        churned += index.work();
    }
    assert!(
        10 * churned <= 13 * 2 * calm,
        "{} steps calm, {churned} under churn",
        2 * calm
    );
}
