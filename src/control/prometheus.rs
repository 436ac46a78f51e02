//! The figures as Prometheus reads them: the text exposition format 0.0.4.
//!
//! Own names begin with `millrace_` and keep to Prometheus's customs (base units, `_total` for what only
//! goes up); help texts are those of the catalogue. Under EMQX's names a dot becomes an underscore and
//! nothing else changes, because dashboards look for just that.

use std::fmt::Write;
use std::sync::atomic::Ordering;

use serde_json::{Map, Value};

use crate::control::context::Context;
use crate::control::http::metrics::{counters, gauges};
use crate::control::machine::Machine;
use crate::metrics::{Counter, Gauge, Latency, TOTALS};

/// Bounds of the buckets of latencies are powers of two microseconds, from 8 us to 33 s.
const BUCKETS: std::ops::RangeInclusive<u32> = 3..=25;
/// What the format is called in `Content-Type`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Which names are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// This broker's.
    Own,
    /// EMQX's.
    Emqx,
    /// Both.
    Both,
}

/// All figures.
pub async fn text(context: &Context, names: Names) -> String {
    // Refreshes the gauges as well.
    let stats = gauges(context).await;
    let machine = Machine::look();
    let mut out = String::with_capacity(64 * 1024);
    if names != Names::Emqx {
        own_counters(&mut out, context);
        own_gauges(&mut out, context);
        latencies(&mut out, context);
        told(&mut out, context);
        process(&mut out, context, &machine);
    }
    if names != Names::Own {
        emqx(&mut out, context, &stats, &machine);
    }
    out
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    let help = help.replace('\\', "\\\\").replace('\n', " ");
    // Writing to a string does not fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn figure(out: &mut String, (name, help, kind): (&str, &str, &str), value: impl std::fmt::Display) {
    head(out, name, help, kind);
    let _ = writeln!(out, "{name} {value}");
}

/// `packets.connect.received` -> `millrace_packets_connect_received_total`.
fn counter_name(dotted: &str) -> String {
    let stem = dotted.strip_suffix(".count").unwrap_or(dotted);
    format!("millrace_{}_total", stem.replace('.', "_"))
}

/// `connections.count` -> `millrace_connections`; microseconds become seconds.
fn gauge_name(dotted: &str) -> String {
    let stem = dotted.strip_suffix(".count").unwrap_or(dotted);
    let name = format!("millrace_{}", stem.replace('.', "_"));
    match name.strip_suffix("_us") {
        Some(stem) => format!("{stem}_seconds"),
        None => name,
    }
}

fn own_counters(out: &mut String, context: &Context) {
    for counter in Counter::ALL {
        let name = counter_name(counter.name());
        let value = context.metrics.count(*counter);
        figure(out, (&name, counter.help(), "counter"), value);
    }
    for total in TOTALS {
        let name = counter_name(total.name);
        figure(
            out,
            (&name, total.help, "counter"),
            context.metrics.total(total),
        );
    }
}

fn own_gauges(out: &mut String, context: &Context) {
    for gauge in Gauge::ALL {
        let name = gauge_name(gauge.name());
        let value = context.metrics.gauge(*gauge);
        let about = (name.as_str(), gauge.help(), "gauge");
        match gauge.name().ends_with("_us") {
            true => figure(out, about, seconds(value)),
            false => figure(out, about, value),
        }
    }
}

/// A text within the quotes of a label.
fn label(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    text.replace('\n', "\\n")
}

/// Microseconds in seconds.
fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// What is timed, as a histogram each. What was measured is cut to whole microseconds and kept within
/// 12.5%, so the sums are that much too small at most.
fn latencies(out: &mut String, context: &Context) {
    for latency in Latency::ALL {
        let dotted = latency.name();
        let stem = dotted.strip_prefix("latency.").unwrap_or(dotted);
        let stem = stem.strip_suffix("_us").unwrap_or(stem);
        let name = format!("millrace_{stem}_duration_seconds");
        let histogram = context.metrics.latency(*latency);
        head(out, &name, latency.help(), "histogram");
        for power in BUCKETS {
            let bound = 1u64 << power;
            let below = histogram.count_between(0, bound - 1);
            let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {below}", seconds(bound));
        }
        let (count, mut sum) = (histogram.len(), 0u64);
        for row in histogram.iter_recorded() {
            let times = row.count_since_last_iteration();
            sum = sum.saturating_add(row.value_iterated_to().saturating_mul(times));
        }
        let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(out, "{name}_sum {}\n{name}_count {count}", seconds(sum));
    }
}

fn told(out: &mut String, context: &Context) {
    let webhook = &context.webhook;
    for (name, help, value) in [
        (
            "millrace_announcements_dropped_total",
            "Messages below $SYS that found their queue full.",
            context.announcer.dropped(),
        ),
        (
            "millrace_webhook_sent_total",
            "Events that the webhook's service took.",
            webhook.sent.load(Ordering::Relaxed),
        ),
        (
            "millrace_webhook_failed_total",
            "Events given up because the webhook's service did not take them.",
            webhook.failed.load(Ordering::Relaxed),
        ),
        (
            "millrace_webhook_dropped_total",
            "Events for the webhook that found their queue full.",
            webhook.dropped.load(Ordering::Relaxed),
        ),
    ] {
        figure(out, (name, help, "counter"), value);
    }
}

fn process(out: &mut String, context: &Context, machine: &Machine) {
    let version = label(env!("CARGO_PKG_VERSION"));
    let node = label(context.node());
    head(
        out,
        "millrace_build_info",
        "The broker: always 1, its version and name as labels.",
        "gauge",
    );
    let _ = writeln!(
        out,
        "millrace_build_info{{version=\"{version}\",node=\"{node}\"}} 1"
    );
    let about = ("millrace_uptime_seconds", "Time since the start.", "gauge");
    figure(out, about, context.uptime_ms() / 1000);
    let about = (
        "process_resident_memory_bytes",
        "Memory of this process.",
        "gauge",
    );
    figure(out, about, machine.process_memory);
    let about = (
        "process_cpu_seconds_total",
        "Processor time of this process.",
        "counter",
    );
    figure(out, about, seconds(machine.process_cpu_ms * 1000));
    let about = ("process_max_fds", "Files this process may open.", "gauge");
    figure(out, about, machine.descriptors);
}

/// What EMQX calls figures that are kept here.
fn emqx(out: &mut String, context: &Context, stats: &Map<String, Value>, machine: &Machine) {
    for (name, value) in stats {
        let name = format!("emqx_{}", name.replace('.', "_"));
        figure(out, (&name, "EMQX's name for this gauge.", "gauge"), value);
    }
    for (name, value) in &counters(context) {
        let name = format!("emqx_{}", name.replace('.', "_"));
        figure(
            out,
            (&name, "EMQX's name for this counter.", "counter"),
            value,
        );
    }
    let busy = context.monitor.cpu_percent();
    let gauges = [
        ("emqx_vm_cpu_use", "Processor time in use, percent.", busy),
        (
            "emqx_vm_cpu_idle",
            "Processor time not in use, percent.",
            100.0 - busy,
        ),
        (
            "emqx_vm_total_memory",
            "Memory of the machine, bytes.",
            machine.memory_total as f64,
        ),
        (
            "emqx_vm_used_memory",
            "Memory of the machine in use, bytes.",
            machine.memory_used as f64,
        ),
        ("emqx_vm_run_queue", "Load of one minute.", machine.load[0]),
        (
            "emqx_vm_process_messages_in_queues",
            "There are no Erlang processes.",
            0.0,
        ),
        ("emqx_cluster_nodes_running", "Nodes that run.", 1.0),
        ("emqx_cluster_nodes_stopped", "Nodes that do not.", 0.0),
    ];
    for (name, help, value) in gauges {
        figure(out, (name, help, "gauge"), value);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_valid_unique_and_after_the_customs() {
        let counters = Counter::ALL.iter().map(|c| counter_name(c.name()));
        let totals = TOTALS.iter().map(|total| counter_name(total.name));
        let gauges = Gauge::ALL.iter().map(|gauge| gauge_name(gauge.name()));
        let mut seen = BTreeSet::new();
        for name in counters.chain(totals).chain(gauges) {
            let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(name.chars().all(valid), "{name}");
            assert!(
                !name.ends_with("_count") && !name.ends_with("_us"),
                "{name}"
            );
            assert!(seen.insert(name.clone()), "{name} twice");
        }
        assert_eq!(
            counter_name("packets.connect.received"),
            "millrace_packets_connect_received_total"
        );
        assert_eq!(gauge_name("connections.count"), "millrace_connections");
        assert_eq!(gauge_name("turn.lag_us"), "millrace_turn_lag_seconds");
    }

    #[test]
    fn labels_and_numbers_are_written_as_the_format_wants() {
        assert_eq!(label("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
        assert_eq!(seconds(8), "0.000008");
        assert_eq!(seconds(1 << 25), "33.554432");
    }
}
