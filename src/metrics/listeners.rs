//! Why connections ended, a table a listener: there are few of them, and each has few reasons.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Counter;

/// Listeners that are counted apart; those beyond are counted with the last one. 5 KiB a core.
pub const LISTENERS_COUNTED: usize = 32;

/// The counters of ends lie side by side in the catalogue.
const FIRST: usize = Counter::ShutdownKeepaliveTimeout as usize;
const REASONS: usize = Counter::ShutdownShutdown as usize - FIRST + 1;

/// What all counters of ends begin with.
const PREFIX: &str = "shutdown_count.";

/// Names that EMQX has had for the same reason in other versions.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("closed", "tcp_closed"),
    ("function_clause", "frame_error"),
    ("takenover", "takeovered"),
];

/// One writer's cells.
pub(super) struct ListenerEnds([[AtomicU64; REASONS]; LISTENERS_COUNTED]);

impl ListenerEnds {
    pub(super) const fn new() -> Self {
        Self([const { [const { AtomicU64::new(0) }; REASONS] }; LISTENERS_COUNTED])
    }

    /// The cell of a listener and a reason; none if the counter is of something else.
    pub(super) fn cell(&self, listener: u8, counter: Counter) -> Option<&AtomicU64> {
        let reason = (counter as usize).checked_sub(FIRST)?;
        self.0[place(listener)].get(reason)
    }
}

fn place(listener: u8) -> usize {
    usize::from(listener).min(LISTENERS_COUNTED - 1)
}

/// The sums over the writers, by name.
pub(super) fn sum<'a>(
    listener: u8,
    writers: impl Iterator<Item = &'a ListenerEnds>,
) -> Vec<(&'static str, u64)> {
    let mut sums = [0_u64; REASONS];
    for writer in writers {
        for (sum, cell) in sums.iter_mut().zip(&writer.0[place(listener)]) {
            *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
        }
    }
    let reasons = Counter::ALL.iter().skip(FIRST).take(REASONS);
    let mut rows: Vec<(&'static str, u64)> = reasons
        .zip(sums)
        .map(|(counter, sum)| (short_name(*counter), sum))
        .collect();
    for (name, other) in OTHER_NAMES {
        let same = rows.iter().find(|(known, _)| known == name);
        rows.extend(
            same.map(|(_, sum)| (*other, *sum))
                .into_iter()
                .collect::<Vec<_>>(),
        );
    }
    rows
}

fn short_name(counter: Counter) -> &'static str {
    let name = counter.name();
    name.strip_prefix(PREFIX).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::MetricsRegistry;

    #[test]
    fn the_counters_of_ends_lie_side_by_side() {
        let is_end = |counter: &Counter| counter.name().starts_with(PREFIX);
        assert_eq!(Counter::ALL.iter().filter(|c| is_end(c)).count(), REASONS);
        assert!(Counter::ALL[FIRST..FIRST + REASONS].iter().all(is_end));
    }

    #[test]
    fn each_listener_has_its_own_under_all_names() {
        let (registry, writers) = MetricsRegistry::new(2);
        writers[0].inc_end(0, Counter::ShutdownNormal);
        writers[1].inc_end(1, Counter::ShutdownClosed);
        writers[0].inc_end(1, Counter::ShutdownClosed);
        writers[0].inc_end(200, Counter::ShutdownTakenover);
        let of = |listener: u8, name: &str| {
            let rows = registry.shutdown_count(listener);
            rows.iter()
                .find(|(known, _)| *known == name)
                .map(|(_, sum)| *sum)
        };
        assert_eq!((of(0, "normal"), of(1, "normal")), (Some(1), Some(0)));
        assert_eq!((of(1, "closed"), of(1, "tcp_closed")), (Some(2), Some(2)));
        assert_eq!(
            (of(31, "takenover"), of(255, "takeovered")),
            (Some(1), Some(1))
        );
        assert_eq!(registry.count(Counter::ShutdownClosed), 2);
        assert_eq!(of(0, "none"), None);
    }
}
