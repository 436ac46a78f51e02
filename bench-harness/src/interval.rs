//! What happened in the last seconds of a run, gathered from all workers while it goes on: latencies for
//! a time series, and single samples for a list.
#![allow(clippy::disallowed_types)] // One lock a worker and interval.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use hdrhistogram::Histogram;

/// Longest time told apart: one hour.
const US_MAX: u64 = 3_600_000_000;
/// Samples kept of one interval at most; more are left out and counted.
const SAMPLES_MAX: usize = 100_000;

/// What a latency is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Connect,
    Subscribe,
    Ping,
    Delivery,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Connect, Self::Subscribe, Self::Ping, Self::Delivery];

    /// As JMeter's samplers of the same purpose are labelled.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Connect => "MQTT Connect",
            Self::Subscribe => "MQTT Subscribe",
            Self::Ping => "MQTT Ping",
            Self::Delivery => "MQTT Delivery",
        }
    }
}

/// One thing that was done, or failed.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) kind: Kind,
    /// When it began, on the run's clock.
    pub(crate) begin_ns: u64,
    pub(crate) elapsed_us: u64,
    /// Until TCP was there, where that is part of it.
    pub(crate) tcp_us: u64,
    /// The connection's number.
    pub(crate) number: usize,
    /// Why it failed.
    pub(crate) failure: Option<String>,
}

/// Latencies in microseconds with two significant digits: small enough for many workers.
#[derive(Clone, Debug)]
pub(crate) struct Recent(Histogram<u32>);

impl Recent {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, US_MAX, 2).expect("the bounds are valid"))
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0
            .add(&other.0)
            .expect("all histograms have the same bounds");
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// None when nothing was recorded.
    pub(crate) fn us_at(&self, percentile: f64) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.value_at_percentile(percentile))
    }

    pub(crate) fn us_max(&self) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.max())
    }
}

/// What all workers handed in for one interval.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) times: [Recent; Kind::ALL.len()],
    pub(crate) samples: Vec<Sample>,
    /// Samples for which there was no room.
    pub(crate) samples_left_out: u64,
}

impl Gathered {
    fn new() -> Self {
        Self {
            times: Kind::ALL.map(|_| Recent::new()),
            samples: Vec::new(),
            samples_left_out: 0,
        }
    }

    pub(crate) fn of(&self, kind: Kind) -> &Recent {
        &self.times[kind as usize]
    }
}

/// Where the workers of a run hand in what they have seen, when they are asked to.
#[derive(Debug)]
pub(crate) struct Intervals {
    /// Raised by who wants an interval; 0 = nobody ever will.
    asked: AtomicU64,
    /// Of every so many connections the samples are kept; 0 = of none.
    sample_every: usize,
    gathered: Mutex<Gathered>,
}

impl Intervals {
    /// For a run at which nobody looks.
    pub(crate) fn off() -> Self {
        Self {
            asked: AtomicU64::new(0),
            sample_every: 0,
            gathered: Mutex::new(Gathered::new()),
        }
    }

    pub(crate) fn on(sample_every: usize) -> Self {
        Self {
            asked: AtomicU64::new(1),
            sample_every,
            ..Self::off()
        }
    }

    /// Asks all workers; what they have is there after their next turn.
    pub(crate) fn ask(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// What was handed in since the last call.
    pub(crate) fn take(&self) -> Gathered {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut gathered, Gathered::new())
    }

    /// One worker's part.
    pub(crate) fn part(&self) -> Part {
        let asked = self.asked.load(Ordering::Relaxed);
        Part {
            asked,
            sample_every: self.sample_every,
            held: (asked > 0).then(|| Box::new(Gathered::new())),
            tcp_us: HashMap::new(),
        }
    }
}

/// What one worker has seen in this interval.
#[derive(Debug)]
pub(crate) struct Part {
    asked: u64,
    sample_every: usize,
    held: Option<Box<Gathered>>,
    /// Of connections that are sampled and being opened: until TCP was there.
    tcp_us: HashMap<usize, u64>,
}

impl Part {
    /// Counts a latency; `number` is that of the connection.
    #[inline]
    pub(crate) fn record(&mut self, kind: Kind, number: usize, now_ns: u64, ns: u64) {
        let Some(held) = &mut self.held else { return };
        held.times[kind as usize].0.saturating_record(ns / 1000);
        if self.sample_every == 0 || !number.is_multiple_of(self.sample_every) {
            return;
        }
        let tcp_us = match kind {
            Kind::Connect => self.tcp_us.remove(&number).unwrap_or(0),
            _ => 0,
        };
        keep(
            held,
            Sample {
                kind,
                begin_ns: now_ns.saturating_sub(ns),
                elapsed_us: ns / 1000,
                tcp_us,
                number,
                failure: None,
            },
        );
    }

    /// TCP of a connection is there.
    pub(crate) fn note_tcp(&mut self, number: usize, us: u64) {
        if self.held.is_some() && self.sample_every > 0 && number.is_multiple_of(self.sample_every)
        {
            self.tcp_us.insert(number, us);
        }
    }

    /// Something failed: such samples are kept of every connection.
    pub(crate) fn fail(&mut self, kind: Kind, number: usize, now_ns: u64, ns: u64, why: &str) {
        self.tcp_us.remove(&number);
        let Some(held) = &mut self.held else { return };
        keep(
            held,
            Sample {
                kind,
                begin_ns: now_ns.saturating_sub(ns),
                elapsed_us: ns / 1000,
                tcp_us: 0,
                number,
                failure: Some(why.to_owned()),
            },
        );
    }

    /// Hands in what there is if somebody asked since the last time.
    #[inline]
    pub(crate) fn hand_in(&mut self, intervals: &Intervals) {
        let asked = intervals.asked.load(Ordering::Relaxed);
        if asked != self.asked {
            self.asked = asked;
            self.hand_in_now(intervals);
        }
    }

    /// Hands in what there is, at the worker's end.
    pub(crate) fn hand_in_now(&mut self, intervals: &Intervals) {
        let Some(held) = &mut self.held else { return };
        let mut gathered = intervals
            .gathered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (all, mine) in gathered.times.iter_mut().zip(&mut held.times) {
            if mine.count() > 0 {
                all.add(mine);
                mine.0.reset();
            }
        }
        gathered.samples_left_out += std::mem::take(&mut held.samples_left_out);
        for sample in held.samples.drain(..) {
            keep(&mut gathered, sample);
        }
    }
}

fn keep(gathered: &mut Gathered, sample: Sample) {
    if gathered.samples.len() < SAMPLES_MAX {
        gathered.samples.push(sample);
    } else {
        gathered.samples_left_out += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_in_is_taken_once() {
        let intervals = Intervals::on(10);
        let (mut one, mut other) = (intervals.part(), intervals.part());
        one.note_tcp(20, 7);
        one.record(Kind::Connect, 20, 5_000_000, 1_000_000);
        one.record(Kind::Connect, 21, 5_000_000, 3_000_000);
        other.fail(Kind::Connect, 3, 9_000_000, 2_000_000, "refused");
        one.hand_in(&intervals);
        assert_eq!(intervals.take().of(Kind::Connect).count(), 0, "not asked");
        intervals.ask();
        one.hand_in(&intervals);
        other.hand_in(&intervals);
        let gathered = intervals.take();
        assert_eq!(gathered.of(Kind::Connect).count(), 2);
        assert_eq!(gathered.of(Kind::Ping).us_at(99.0), None);
        assert_eq!(gathered.samples.len(), 2, "each tenth and what failed");
        let sample = &gathered.samples[0];
        assert_eq!((sample.begin_ns, sample.tcp_us), (4_000_000, 7));
        intervals.ask();
        one.hand_in(&intervals);
        assert_eq!(intervals.take().of(Kind::Connect).count(), 0);
    }

    #[test]
    fn nothing_is_kept_when_nobody_looks() {
        let intervals = Intervals::off();
        let mut part = intervals.part();
        part.record(Kind::Ping, 0, 10, 10);
        part.hand_in_now(&intervals);
        assert_eq!(intervals.take().of(Kind::Ping).count(), 0);
    }
}
