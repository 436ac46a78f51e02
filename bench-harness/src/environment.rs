//! What the machine was when a result was measured.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::probe::kib_field;
use crate::sys;

/// The machine and its limits.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Environment {
    cpus: usize,
    cpu_model: String,
    memory_bytes: u64,
    kernel: String,
    descriptor_limit: u64,
    locked_memory_limit: String,
    load_average_1min: f64,
    rustc: &'static str,
}

impl Environment {
    pub(crate) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpu_model = text("/proc/cpuinfo")
            .lines()
            .find_map(|line| {
                line.strip_prefix("model name")
                    .map(|v| v.replace(['\t', ':'], ""))
            })
            .map_or_else(String::new, |model| model.trim().to_owned());
        Self {
            cpus: cpus(),
            cpu_model,
            memory_bytes: kib_field(&text("/proc/meminfo"), "MemTotal:").unwrap_or(0) * 1024,
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            descriptor_limit: sys::raise_descriptor_limit(),
            locked_memory_limit: text("/proc/self/limits")
                .lines()
                .find_map(|line| {
                    line.strip_prefix("Max locked memory")?
                        .split_whitespace()
                        .next()
                })
                .unwrap_or_default()
                .to_owned(),
            load_average_1min: text("/proc/loadavg")
                .split_whitespace()
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or(0.0),
            rustc: env!("CARGO_PKG_RUST_VERSION"),
        }
    }
}

pub(crate) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The commit of the working directory, where there is one.
pub(crate) fn commit() -> String {
    let output = Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}

/// Now in UTC, as `2026-11-24T212513Z`: sorts by time and is a valid file name.
pub(crate) fn utc_now() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format_utc(since.as_secs())
}

fn format_utc(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    // Days to a civil date by 400-year eras that begin in March.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::format_utc;

    #[test]
    fn dates_are_civil() {
        assert_eq!(format_utc(0), "1970-01-01T000000Z");
        assert_eq!(format_utc(951_782_400), "2000-02-29T000000Z");
        assert_eq!(format_utc(1_795_555_513), "2026-11-24T212513Z");
    }
}
