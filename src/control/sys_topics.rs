//! `$SYS` topics: EMQX's tree below `$SYS/brokers/<node>/`, and mosquitto's below `$SYS/broker/`.
//!
//! Nothing is published while nobody has subscribed to any of it, but for what is retained.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::control::announce::is_anyone_listening;
use crate::control::clock;
use crate::control::context::Context;
use crate::control::http::metrics::{counters, gauges};
use crate::control::machine::Machine;
use crate::metrics::{Counter, MetricsRegistry, TOTALS};

/// Publishes from now on. Call it within the runtime.
pub fn start(context: &Arc<Context>) {
    let settings = &context.config.observe.sys_topics;
    if let Some(every) = settings.sys_msg_interval {
        let context = Arc::clone(context);
        tokio::spawn(async move {
            let mut tick = ticks(every);
            loop {
                tick.tick().await;
                tell_figures(&context).await;
            }
        });
    }
    if let Some(every) = settings.sys_heartbeat_interval {
        let context = Arc::clone(context);
        let mosquitto = settings.mosquitto;
        tokio::spawn(async move {
            let mut tick = ticks(every);
            let mut loads = Loads::new(&context.metrics);
            loop {
                tick.tick().await;
                loads.note(&context.metrics);
                if !is_anyone_listening(&context.cores).await {
                    continue;
                }
                heartbeat(&context);
                if mosquitto {
                    tell_as_mosquitto(&context, &loads).await;
                }
            }
        });
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

fn heartbeat(context: &Context) {
    let announcer = &context.announcer;
    let of = |name: &str| format!("$SYS/brokers/{}/{name}", context.node());
    announcer.say(of("uptime"), uptime(context.uptime_ms() / 1000));
    announcer.say(of("datetime"), clock::plain(clock::unix_s()));
}

/// `1 days, 4 hours, 52 seconds`: as EMQX has it, without what is 0.
fn uptime(seconds: u64) -> String {
    let parts = [
        (seconds / 86_400, "days"),
        (seconds / 3600 % 24, "hours"),
        (seconds / 60 % 60, "minutes"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let mut text: String = parts
        .map(|(count, unit)| format!("{count} {unit}, "))
        .collect();
    text.push_str(&format!("{} seconds", seconds % 60));
    text
}

async fn tell_figures(context: &Context) {
    let announcer = &context.announcer;
    let node = context.node();
    announcer.say_retained("$SYS/brokers".to_owned(), node);
    let version = format!("$SYS/brokers/{node}/version");
    announcer.say_retained(version, env!("CARGO_PKG_VERSION"));
    announcer.say_retained(format!("$SYS/brokers/{node}/sysdescr"), "Millrace");
    if !is_anyone_listening(&context.cores).await {
        return;
    }
    let settings = &context.config.observe.sys_topics;
    for (name, value) in gauges(context).await {
        let value = value.to_string();
        // `subscriptions.shared.count` is at `subscriptions/shared/count`.
        if settings.slash_names {
            let name = name.replace('.', "/");
            announcer.say(format!("$SYS/brokers/{node}/stats/{name}"), value.clone());
        }
        if settings.dotted_names {
            announcer.say(format!("$SYS/brokers/{node}/stats/{name}"), value);
        }
    }
    for (name, value) in counters(context) {
        let name = name.replace('.', "/");
        let topic = format!("$SYS/brokers/{node}/metrics/{name}");
        announcer.say(topic, value.to_string());
    }
}

/// What mosquitto averages: its name, and the totals or counters that make it up.
const LOADS: &[(&str, &str)] = &[
    ("messages/received", "packets.received"),
    ("messages/sent", "packets.sent"),
    ("publish/received", "messages.received"),
    ("publish/sent", "messages.sent"),
    ("publish/dropped", "delivery.dropped"),
    ("bytes/received", "bytes.received"),
    ("bytes/sent", "bytes.sent"),
    ("sockets", "accept.accepted"),
    ("connections", "client.connected"),
];
/// Minutes over which is averaged.
const MINUTES: [(f64, &str); 3] = [(1.0, "1min"), (5.0, "5min"), (15.0, "15min")];

/// Moving averages, events a minute.
struct Loads {
    at: Instant,
    counts: Vec<u64>,
    averages: Vec<[f64; 3]>,
}

impl Loads {
    fn new(metrics: &MetricsRegistry) -> Self {
        Self {
            at: Instant::now(),
            counts: LOADS.iter().map(|(_, name)| count(metrics, name)).collect(),
            averages: vec![[0.0; 3]; LOADS.len()],
        }
    }

    fn note(&mut self, metrics: &MetricsRegistry) {
        let minutes = self.at.elapsed().as_secs_f64() / 60.0;
        if minutes <= 0.0 {
            return;
        }
        self.at = Instant::now();
        let rows = self.counts.iter_mut().zip(&mut self.averages);
        for ((before, averages), (_, name)) in rows.zip(LOADS) {
            let now = count(metrics, name);
            let rate = now.saturating_sub(*before) as f64 / minutes;
            *before = now;
            for (average, (over, _)) in averages.iter_mut().zip(MINUTES) {
                *average = moved(*average, rate, minutes / over);
            }
        }
    }
}

/// The average after a span in which there was this rate.
fn moved(average: f64, rate: f64, span: f64) -> f64 {
    rate + (-span).exp() * (average - rate)
}

/// A counter or total by its dotted name.
fn count(metrics: &MetricsRegistry, name: &str) -> u64 {
    let total = TOTALS.iter().find(|total| total.name == name);
    let counter = || Counter::ALL.iter().find(|counter| counter.name() == name);
    total.map_or_else(
        || counter().map_or(0, |counter| metrics.count(*counter)),
        |total| metrics.total(total),
    )
}

async fn tell_as_mosquitto(context: &Context, loads: &Loads) {
    let announcer = &context.announcer;
    let say = |name: &str, value: String| announcer.say(format!("$SYS/broker/{name}"), value);
    let version = format!("millrace version {}", env!("CARGO_PKG_VERSION"));
    announcer.say_retained("$SYS/broker/version".to_owned(), version);
    say("uptime", format!("{} seconds", context.uptime_ms() / 1000));
    let all = gauges(context).await;
    let gauge = |name: &str| all.get(name).and_then(Value::as_u64).unwrap_or(0);
    let (known, live) = (gauge("sessions.count"), gauge("live_connections.count"));
    let metric = |name: &str| count(&context.metrics, name);
    let away = known.saturating_sub(live);
    for (name, value) in [
        ("clients/total", known),
        ("clients/connected", live),
        ("clients/active", live),
        ("clients/disconnected", away),
        ("clients/inactive", away),
        ("clients/maximum", gauge("live_connections.max")),
        ("subscriptions/count", gauge("subscriptions.count")),
        (
            "shared_subscriptions/count",
            gauge("subscriptions.shared.count"),
        ),
        ("retained messages/count", gauge("retained.count")),
        ("messages/received", metric("packets.received")),
        ("messages/sent", metric("packets.sent")),
        ("publish/messages/received", metric("messages.received")),
        ("publish/messages/sent", metric("messages.sent")),
        ("publish/messages/dropped", metric("delivery.dropped")),
        ("bytes/received", metric("bytes.received")),
        ("bytes/sent", metric("bytes.sent")),
        ("heap/current", Machine::look().process_memory),
    ] {
        say(name, value.to_string());
    }
    for ((name, _), averages) in LOADS.iter().zip(&loads.averages) {
        for (average, (_, over)) in averages.iter().zip(MINUTES) {
            say(&format!("load/{name}/{over}"), format!("{average:.2}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptimes_leave_out_what_is_nothing() {
        assert_eq!(uptime(52), "52 seconds");
        assert_eq!(uptime(4 * 3600 + 52), "4 hours, 52 seconds");
        assert_eq!(uptime(2 * 86_400 + 60), "2 days, 1 minutes, 0 seconds");
    }

    #[test]
    fn averages_move_towards_the_rate() {
        let once = moved(0.0, 60.0, 1.0);
        assert!((37.0..38.0).contains(&once), "{once}");
        let steady = (0..100).fold(0.0, |average, _| moved(average, 60.0, 0.5));
        assert!((59.9..=60.0).contains(&steady), "{steady}");
        let (registry, writers) = MetricsRegistry::new(1);
        writers[0].add(Counter::BytesSent, 7);
        assert_eq!(count(&registry, "bytes.sent"), 7);
        for (_, name) in LOADS {
            let known = TOTALS.iter().any(|total| total.name == *name)
                || Counter::ALL.iter().any(|counter| counter.name() == *name);
            assert!(known, "{name}");
        }
    }
}
