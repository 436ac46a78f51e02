//! `broker estimate`: what a load will take, from figures that were measured.
//!
//! The figures are built in from `results/coefficients.json`, which `scripts/coefficients.sh` makes of
//! the newest results. What was not measured is not guessed: it is named in the answer instead.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

/// The measured figures.
const COEFFICIENTS: &str = include_str!("../../results/coefficients.json");
/// Bytes of PUBLISH around a payload: fixed header, a topic of some 20 bytes, packet id.
const PUBLISH_OVERHEAD_BYTES: f64 = 30.0;
/// Share of a CPU that should be used at most, so that bursts do not queue.
const CPU_SHARE_MAX: f64 = 0.6;
/// Share of the machine's memory that should be used at most: the page cache, buffers of sockets in
/// use, and other processes want some.
const MEMORY_SHARE_MAX: f64 = 0.6;
/// Descriptors of the process besides one a connection.
const DESCRIPTORS_BASE: u64 = 64;
/// Bytes of a GiB.
const GIB: f64 = 1_073_741_824.0;

/// What is to be carried.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Clients that are connected at a time.
    pub connections: u64,
    /// PUBLISH packets in, a second, of all clients.
    pub publish_rate: f64,
    /// Subscribers that get each.
    pub deliveries: f64,
    /// Bytes of a payload.
    pub payload: f64,
    /// 0, 1 or 2.
    pub qos: u8,
    /// Percent of connections that are TLS.
    pub tls_share: f64,
    /// Subscriptions of a connection.
    pub subscriptions: f64,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// CPUs kept busy when messages come in bulk, so that each turn of a core is full.
    pub cpus_busy_full_turns: Option<f64>,
    /// CPUs kept busy when each message is carried by itself; the truth lies between.
    pub cpus_busy_sparse_turns: Option<f64>,
    /// CPU seconds for all clients to connect once.
    pub connect_cpu_seconds: Option<f64>,
    /// Memory of the process, in bytes.
    pub user_bytes: Option<f64>,
    /// Memory of the kernel for the sockets, in bytes: an upper bound.
    pub kernel_bytes_max: Option<f64>,
    /// Open files the process may need.
    pub descriptors: u64,
    /// Bytes a second in and out, MQTT only.
    pub network_bytes_per_second: f64,
    /// CPUs the machine should have.
    pub machine_cpus: Option<u64>,
    /// Memory the machine should have, in bytes.
    pub machine_memory_bytes: Option<u64>,
    /// What is not in the figures.
    pub not_included: Vec<String>,
    /// Where each figure comes from: name, value, commit, date, machine.
    pub coefficients: Vec<Coefficient>,
}

/// A measured figure that was used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Coefficient {
    /// Its name in the file.
    pub name: String,
    /// The figure.
    pub value: f64,
    /// The broker's commit.
    pub commit: String,
    /// When it was measured.
    pub date: String,
    /// On what.
    pub machine: String,
}

/// The figures, and which of them were asked for.
struct Measured {
    all: Value,
    used: Vec<Coefficient>,
}

impl Measured {
    fn get(&mut self, name: &str) -> Option<f64> {
        let found = &self.all["coefficients"][name];
        let value = found["value"].as_f64()?;
        let text = |field: &str| found[field].as_str().unwrap_or("unknown").to_owned();
        if !self.used.iter().any(|coefficient| coefficient.name == name) {
            self.used.push(Coefficient {
                name: name.to_owned(),
                value,
                commit: text("commit"),
                date: text("date"),
                machine: text("machine"),
            });
        }
        Some(value)
    }
}

/// What a load will take.
pub fn estimate(load: &Load) -> Estimate {
    // A file that is not JSON has no figures; a test holds that it is and has.
    let all = serde_json::from_str(COEFFICIENTS).unwrap_or_default();
    let mut measured = Measured {
        all,
        used: Vec::new(),
    };
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let connections = load.connections as f64;
    let deliveries = load.publish_rate * load.deliveries;
    // A message that goes to nobody has to be read as well.
    let work = deliveries.max(load.publish_rate);
    let qos = load.qos;
    let mut busy = |turns: &str| {
        let name = format!("cpu_us_per_delivery_qos{qos}_{turns}_turns");
        measured.get(&name).map(|us| us * work / 1e6)
    };
    let (full, sparse) = (busy("full"), busy("sparse"));
    let connect = measured.get("cpu_us_per_connect");
    let connect_cpu_seconds = connect.map(|us| us * connections / 1e6);
    let machine_cpus = sparse.or(full).map(cpus_for);
    let user_bytes = user_bytes(&mut measured, connections, load.subscriptions, machine_cpus);
    let kernel = measured.get("kernel_bytes_per_connection_both_ends");
    let kernel_bytes_max = kernel.map(|bytes| bytes * connections);
    let memory = user_bytes
        .zip(kernel_bytes_max)
        .map(|(user, kernel)| whole((user + kernel) / MEMORY_SHARE_MAX));
    Estimate {
        cpus_busy_full_turns: full,
        cpus_busy_sparse_turns: sparse,
        connect_cpu_seconds,
        user_bytes,
        kernel_bytes_max,
        descriptors: load.connections + DESCRIPTORS_BASE + 16 * machine_cpus.unwrap_or(1),
        network_bytes_per_second: (load.publish_rate + deliveries)
            * (load.payload + PUBLISH_OVERHEAD_BYTES),
        machine_cpus,
        machine_memory_bytes: memory,
        not_included: not_included(load, sparse.is_none()),
        coefficients: measured.used,
    }
}

/// CPUs of which so many may be busy.
fn cpus_for(busy: f64) -> u64 {
    whole((busy / CPU_SHARE_MAX).max(1.0))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a conversion of floats saturates"
)]
fn whole(value: f64) -> u64 {
    value.ceil() as u64
}

/// The process's memory: what it has idle (a line through two measured numbers of cores) and what
/// connections and their subscriptions add.
fn user_bytes(
    measured: &mut Measured,
    connections: f64,
    subscriptions: f64,
    cores: Option<u64>,
) -> Option<f64> {
    let plain = measured.get("user_bytes_per_connection")?;
    let subscribed = measured.get("user_bytes_per_subscribed_connection")?;
    let (two, eight) = (
        measured.get("user_bytes_idle_2_cores")?,
        measured.get("user_bytes_idle_8_cores")?,
    );
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let cores = cores.unwrap_or(2) as f64;
    let idle = two + (eight - two) / 6.0 * (cores - 2.0).max(0.0);
    Some(idle + connections * (plain + (subscribed - plain) * subscriptions))
}

fn not_included(load: &Load, no_sparse: bool) -> Vec<String> {
    let mut left = vec![
        "memory of messages: those queued for clients that are away or slow, and retained ones \
         (each has a limit in the configuration)"
            .to_owned(),
        "buffers of sockets while data waits in them (net.ipv4.tcp_mem bounds all together)"
            .to_owned(),
        "CPU that depends on the payload's size: 64 bytes were measured".to_owned(),
        "CPUs for messages one by one are an upper bound: measured at 2,000 messages a second with \
         slow subscribers, whose dropped messages are in the figure"
            .to_owned(),
    ];
    if load.tls_share > 0.0 {
        left.push(format!(
            "TLS of {} percent of the connections: its memory and CPU are in no result \
             (docs/tls.md has what was seen once)",
            load.tls_share
        ));
    }
    if load.subscriptions > 1.0 {
        left.push(
            "more than one subscription a connection was not measured: each is taken for as large \
             as the first"
                .to_owned(),
        );
    }
    if no_sparse {
        left.push(format!(
            "CPU when each message comes by itself: it was not measured with QoS {}; it may be many \
             times that of full turns, and so may the CPUs of the machine",
            load.qos
        ));
    }
    left
}

impl Estimate {
    /// The answer for people.
    pub fn to_text(&self) -> String {
        let shown = |value: Option<f64>, digits: usize| match value {
            Some(value) => format!("{value:.digits$}"),
            None => "not measured".to_owned(),
        };
        let gib = |bytes: Option<f64>| match bytes {
            Some(bytes) => format!("{:.2} GiB", bytes / GIB),
            None => "not measured".to_owned(),
        };
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let memory = self.machine_memory_bytes.map(|bytes| bytes as f64);
        let cpus = self
            .machine_cpus
            .map_or_else(|| "-".to_owned(), |n| n.to_string());
        let lines = [
            (
                "CPUs busy, messages in bulk",
                shown(self.cpus_busy_full_turns, 2),
            ),
            (
                "CPUs busy, messages one by one",
                shown(self.cpus_busy_sparse_turns, 2),
            ),
            (
                "CPU seconds for all to connect",
                shown(self.connect_cpu_seconds, 1),
            ),
            ("memory of the broker", gib(self.user_bytes)),
            ("memory of the kernel, at most", gib(self.kernel_bytes_max)),
            ("open files (nofile)", self.descriptors.to_string()),
            (
                "network, in and out",
                format!("{:.1} Mbit/s", self.network_bytes_per_second * 8.0 / 1e6),
            ),
            ("machine", format!("{cpus} CPUs, {} of memory", gib(memory))),
        ];
        let mut text = String::new();
        for (name, value) in lines {
            // Writing to a string does not fail, here and below.
            let _ = writeln!(text, "{name:<32}: {value}");
        }
        text.push_str("\nNot included:\n");
        for line in &self.not_included {
            let _ = writeln!(text, "- {line}");
        }
        text.push_str("\nMeasured (results/coefficients.json):\n");
        for used in &self.coefficients {
            let _ = writeln!(
                text,
                "- {} = {} (commit {}, {}, {})",
                used.name, used.value, used.commit, used.date, used.machine
            );
        }
        text.truncate(text.trim_end().len());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load() -> Load {
        Load {
            connections: 1_000_000,
            publish_rate: 10_000.0,
            deliveries: 1.0,
            payload: 100.0,
            qos: 1,
            tls_share: 0.0,
            subscriptions: 1.0,
        }
    }

    fn coefficient(name: &str) -> f64 {
        let all: Value = serde_json::from_str(COEFFICIENTS).unwrap();
        all["coefficients"][name]["value"].as_f64().unwrap()
    }

    #[test]
    fn figures_are_the_measured_ones_times_the_load() {
        let answer = estimate(&load());
        let per_delivery = coefficient("cpu_us_per_delivery_qos1_full_turns");
        let busy = answer.cpus_busy_full_turns.unwrap();
        assert!((busy - per_delivery / 100.0).abs() < 1e-9, "{busy}");
        let memory = answer.user_bytes.unwrap();
        let connections = 1e6 * coefficient("user_bytes_per_subscribed_connection");
        assert!(
            memory > connections && memory < 2.0 * connections,
            "{memory}"
        );
        assert!(answer.descriptors > 1_000_000);
        assert!((answer.network_bytes_per_second - 2_600_000.0).abs() < 1.0);
    }

    #[test]
    fn each_figure_stands_in_the_result_it_names() {
        let all: Value = serde_json::from_str(COEFFICIENTS).unwrap();
        let all = all["coefficients"].as_object().unwrap();
        assert!(!all.is_empty());
        for (name, figure) in all {
            let path = figure["result"].as_str().unwrap();
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
            let result = std::fs::read_to_string(path).unwrap();
            let result: Value = serde_json::from_str(&result).unwrap();
            assert_eq!(result["commit"], figure["commit"], "{name}");
            let measured = result["measured"].as_object().unwrap();
            assert!(
                measured.values().any(|value| *value == figure["value"]),
                "{name}"
            );
        }
    }

    #[test]
    fn more_load_takes_more() {
        let (less, mut more) = (estimate(&load()), load());
        more.deliveries = 100.0;
        more.subscriptions = 5.0;
        let more = estimate(&more);
        assert!(more.machine_cpus > less.machine_cpus);
        assert!(more.machine_memory_bytes > less.machine_memory_bytes);
    }

    #[test]
    fn what_was_not_measured_is_said() {
        let mut load = load();
        load.tls_share = 50.0;
        load.qos = 2;
        let text = estimate(&load).to_text();
        assert!(
            text.contains("CPUs busy, messages one by one  : not measured"),
            "{text}"
        );
        assert!(text.contains("- TLS of 50 percent"), "{text}");
        assert!(text.contains("commit "), "{text}");
    }
}
