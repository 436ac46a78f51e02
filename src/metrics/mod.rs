//! Layer 1: what is counted, and how it is read without disturbing who counts.
//!
//! Each writer (a core, the index thread) owns one block of plain 64-bit cells, on cache lines of
//! its own. It adds by a relaxed load and a relaxed store: the price of a plain addition, with no
//! locked instruction (measured: 0.5 to 0.7 ns), because there is one writer a block.
//! [`CoreMetrics`] is that writer's handle: it cannot be cloned or shared between threads. Any
//! thread may read the cells; a reader adds the blocks up. Cells are read one after another, so
//! figures of one snapshot may be a few events apart.

mod catalogue;
mod latency;
mod listeners;

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use catalogue::{Counter, Gauge, TOTALS, Total};
use latency::LatencyCells;
pub use latency::{LATENCIES, Latency};
pub use listeners::LISTENERS_COUNTED;
use listeners::ListenerEnds;

/// One writer's handle.
pub struct CoreMetrics {
    block: Arc<Block>,
    /// One writer: the handle may move to its thread but not be shared with another.
    not_shared: PhantomData<Cell<()>>,
}

/// The reader's side; clones read the same cells.
#[derive(Clone)]
pub struct MetricsRegistry {
    blocks: Arc<[Arc<Block>]>,
}

/// 128: two cache lines, which the prefetcher fetches as a pair.
#[repr(align(128))]
struct Block {
    counters: [AtomicU64; Counter::ALL.len()],
    gauges: [AtomicU64; Gauge::ALL.len()],
    latencies: [LatencyCells; LATENCIES],
    ends: ListenerEnds,
}

const _: () = assert!(align_of::<Block>() == 128);

impl CoreMetrics {
    /// A handle that nobody reads, for tests and simulations of one core.
    pub fn detached() -> Self {
        Self {
            block: Arc::new(Block::new()),
            not_shared: PhantomData,
        }
    }

    /// Counts one.
    #[inline]
    pub fn inc(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Counts the end of a connection that came by a listener, under one of the counters
    /// `shutdown_count.*`.
    pub fn inc_end(&self, listener: u8, counter: Counter) {
        self.inc(counter);
        if let Some(cell) = self.block.ends.cell(listener, counter) {
            bump(cell, 1);
        }
    }

    /// Counts `n`.
    #[inline]
    pub fn add(&self, counter: Counter, n: u64) {
        bump(&self.block.counters[counter as usize], n);
    }

    /// Sets this writer's part of a gauge.
    #[inline]
    pub fn set(&self, gauge: Gauge, value: u64) {
        self.block.gauges[gauge as usize].store(value, Ordering::Relaxed);
    }

    /// Records a duration in microseconds.
    #[inline]
    pub fn record(&self, latency: Latency, us: u64) {
        bump(self.block.latencies[latency as usize].cell_of(us), 1);
    }

    /// This writer's own count.
    pub fn count(&self, counter: Counter) -> u64 {
        self.block.count(counter)
    }

    /// This writer's own part of a gauge.
    pub fn gauge(&self, gauge: Gauge) -> u64 {
        self.block.gauge(gauge)
    }
}

impl MetricsRegistry {
    /// The reader, and a handle for each writer: one a core, and one for each further thread that
    /// counts.
    pub fn new(writers: usize) -> (Self, Vec<CoreMetrics>) {
        let blocks: Arc<[Arc<Block>]> = (0..writers).map(|_| Arc::new(Block::new())).collect();
        let handles = blocks
            .iter()
            .map(|block| CoreMetrics {
                block: Arc::clone(block),
                not_shared: PhantomData,
            })
            .collect();
        (Self { blocks }, handles)
    }

    /// Memory in bytes of all cells.
    pub fn held_bytes(&self) -> usize {
        self.blocks.len() * size_of::<Block>()
    }

    /// A counter, all writers together.
    pub fn count(&self, counter: Counter) -> u64 {
        self.blocks
            .iter()
            .fold(0, |sum, block| sum.wrapping_add(block.count(counter)))
    }

    /// A gauge, all writers together.
    pub fn gauge(&self, gauge: Gauge) -> u64 {
        let values = self.blocks.iter().map(|block| block.gauge(gauge));
        if gauge.is_greatest() {
            values.max().unwrap_or(0)
        } else {
            values.fold(0, u64::wrapping_add)
        }
    }

    /// A total.
    pub fn total(&self, total: &Total) -> u64 {
        total
            .of
            .iter()
            .fold(0, |sum, &counter| sum.wrapping_add(self.count(counter)))
    }

    /// Why connections of a listener ended, all writers together: EMQX's `shutdown_count`, with the names
    /// of both its generations.
    pub fn shutdown_count(&self, listener: u8) -> Vec<(&'static str, u64)> {
        listeners::sum(listener, self.blocks.iter().map(|block| &block.ends))
    }

    /// One writer's counters, in the order of [`Counter::ALL`]; nothing for a writer that is not
    /// there.
    pub fn counters_of(&self, writer: usize) -> Option<Vec<(&'static str, u64)>> {
        let block = self.blocks.get(writer)?;
        Some(
            Counter::ALL
                .iter()
                .map(|&counter| (counter.name(), block.count(counter)))
                .collect(),
        )
    }

    /// One writer's part of a total; 0 for a writer that is not there.
    pub fn total_of(&self, writer: usize, total: &Total) -> u64 {
        let block = self.blocks.get(writer);
        block.map_or(0, |block| {
            total
                .of
                .iter()
                .fold(0, |sum, &counter| sum.wrapping_add(block.count(counter)))
        })
    }

    /// One writer's part of a gauge; 0 for a writer that is not there.
    pub fn gauge_of(&self, writer: usize, gauge: Gauge) -> u64 {
        let block = self.blocks.get(writer);
        block.map_or(0, |block| block.gauge(gauge))
    }

    /// All counters, totals and gauges by name.
    pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
        let counters = Counter::ALL
            .iter()
            .map(|&counter| (counter.name(), self.count(counter)));
        let totals = TOTALS.iter().map(|total| (total.name, self.total(total)));
        let gauges = Gauge::ALL
            .iter()
            .map(|&gauge| (gauge.name(), self.gauge(gauge)));
        counters.chain(totals).chain(gauges).collect()
    }

    /// A latency, all writers together.
    pub fn latency(&self, latency: Latency) -> hdrhistogram::Histogram<u64> {
        latency::sum(
            self.blocks
                .iter()
                .map(|block| &block.latencies[latency as usize]),
        )
    }

    /// All figures as one JSON object; of latencies their count, median, 99th percentile and
    /// greatest value.
    pub fn to_json(&self) -> serde_json::Value {
        let mut object = serde_json::Map::new();
        for (name, value) in self.snapshot() {
            object.insert(name.to_owned(), value.into());
        }
        for &kind in Latency::ALL {
            let histogram = self.latency(kind);
            let figures = [
                ("count", histogram.len()),
                ("p50", histogram.value_at_quantile(0.5)),
                ("p99", histogram.value_at_quantile(0.99)),
                ("max", histogram.max()),
            ];
            for (suffix, value) in figures {
                object.insert(format!("{}.{suffix}", kind.name()), value.into());
            }
        }
        object.into()
    }
}

impl Block {
    fn new() -> Self {
        Self {
            counters: [const { AtomicU64::new(0) }; _],
            gauges: [const { AtomicU64::new(0) }; _],
            latencies: [const { LatencyCells::new() }; _],
            ends: ListenerEnds::new(),
        }
    }

    fn count(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].load(Ordering::Relaxed)
    }

    fn gauge(&self, gauge: Gauge) -> u64 {
        self.gauges[gauge as usize].load(Ordering::Relaxed)
    }
}

/// Adds to a cell that has one writer.
#[inline]
fn bump(cell: &AtomicU64, n: u64) {
    cell.store(
        cell.load(Ordering::Relaxed).wrapping_add(n),
        Ordering::Relaxed,
    );
}

#[cfg(test)]
mod tests;
