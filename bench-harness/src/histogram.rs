//! Latency histograms in microseconds, and their lines in a result.

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// Longest time told apart: one hour.
const US_MAX: u64 = 3_600_000_000;

/// Times in microseconds with three significant digits.
#[derive(Clone, Debug)]
pub(crate) struct Times(Histogram<u64>);

impl Times {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, US_MAX, 3).expect("the bounds are valid"))
    }

    #[inline]
    pub(crate) fn record_ns(&mut self, ns: u64) {
        self.0.saturating_record(ns / 1000);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0
            .add(&other.0)
            .expect("all histograms have the same bounds");
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(crate) fn us_at(&self, percentile: f64) -> u64 {
        self.0.value_at_percentile(percentile)
    }

    pub(crate) fn us_max(&self) -> u64 {
        self.0.max()
    }

    /// Adds `<name>_us_p50` and so on to a result; nothing when nothing was recorded.
    pub(crate) fn write_to(&self, result: &mut Map<String, Value>, name: &str) {
        if self.0.is_empty() {
            return;
        }
        let mut put = |suffix: &str, value: Value| {
            result.insert(format!("{name}_us_{suffix}"), value);
        };
        put("mean", json!((self.0.mean() * 10.0).round() / 10.0));
        for (suffix, percentile) in [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p999", 99.9)] {
            put(suffix, json!(self.us_at(percentile)));
        }
        put("max", json!(self.us_max()));
        result.insert(format!("{name}_count"), json!(self.count()));
    }
}
