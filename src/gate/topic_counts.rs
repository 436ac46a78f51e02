//! Figures of chosen topics (EMQX: topic metrics): one set of cells for each core, of which it is the
//! only writer, and which anybody may read.

use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::AHasher;
use hashbrown::HashMap;

use crate::base::ids::CoreId;
use crate::mqtt::qos::QoS;

/// What is counted of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicFigure {
    /// Messages published, by QoS.
    In(QoS),
    /// Messages sent to subscribers, by QoS.
    Out(QoS),
    /// Messages dropped because nobody wanted them.
    Dropped,
}

/// Number of [`TopicFigure`]s.
pub const TOPIC_FIGURES: usize = 7;

impl TopicFigure {
    fn place(self) -> usize {
        match self {
            Self::In(qos) => usize::from(qos.as_u8()),
            Self::Out(qos) => 3 + usize::from(qos.as_u8()),
            Self::Dropped => 6,
        }
    }
}

/// The cells of one core: on a cache line of their own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Cells([AtomicU64; TOPIC_FIGURES]);

/// The figures of one topic.
#[derive(Debug)]
pub struct TopicCounts {
    cores: Box<[Cells]>,
}

impl TopicCounts {
    /// Nothing counted yet.
    pub fn new(cores: u8) -> Self {
        Self {
            cores: (0..cores).map(|_| Cells::default()).collect(),
        }
    }

    /// Counts one; only the core itself may.
    pub fn inc(&self, core: CoreId, figure: TopicFigure) {
        let cell = self.cores.get(core.index());
        if let Some(cell) = cell.and_then(|cells| cells.0.get(figure.place())) {
            // One writer: a load and a store are enough.
            cell.store(
                cell.load(Ordering::Relaxed).wrapping_add(1),
                Ordering::Relaxed,
            );
        }
    }

    /// All cores together: in by QoS, out by QoS, dropped.
    pub fn sum(&self) -> [u64; TOPIC_FIGURES] {
        std::array::from_fn(|place| {
            let cells = self.cores.iter().filter_map(|cells| cells.0.get(place));
            cells.fold(0, |sum: u64, cell| {
                sum.wrapping_add(cell.load(Ordering::Relaxed))
            })
        })
    }
}

/// The chosen topics by name.
#[derive(Debug, Default)]
pub struct TopicTable {
    topics: HashMap<Box<str>, Arc<TopicCounts>, BuildHasherDefault<AHasher>>,
}

impl TopicTable {
    /// Of these topics.
    pub fn new(topics: impl IntoIterator<Item = (Box<str>, Arc<TopicCounts>)>) -> Self {
        Self {
            topics: topics.into_iter().collect(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Counts one, if the topic is among the chosen.
    pub fn inc(&self, core: CoreId, topic: &str, figure: TopicFigure) {
        if let Some(counts) = self.topics.get(topic) {
            counts.inc(core, figure);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_core_counts_for_itself_and_the_reader_adds_up() {
        let counts = Arc::new(TopicCounts::new(2));
        let table = TopicTable::new([("t".into(), Arc::clone(&counts))]);
        for core in [CoreId(0), CoreId(1), CoreId(1)] {
            table.inc(core, "t", TopicFigure::In(QoS::AtLeastOnce));
        }
        table.inc(CoreId(0), "t", TopicFigure::Out(QoS::ExactlyOnce));
        table.inc(CoreId(1), "t", TopicFigure::Dropped);
        table.inc(CoreId(1), "other", TopicFigure::Dropped);
        table.inc(CoreId(7), "t", TopicFigure::Dropped);
        assert_eq!(counts.sum(), [0, 3, 0, 0, 0, 1, 1]);
    }
}
