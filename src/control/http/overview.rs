//! All that the dashboard's first page shows, in one answer: so an open page asks once every two
//! seconds. Counters are told as they stand; whoever asks makes rates of two answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::base::ids::CoreId;
use crate::control::clock;
use crate::control::context::Context;
use crate::control::http::error::ErrorBody;
use crate::control::machine::{Machine, ThreadTime, thread_times};
use crate::gate::manage::Manage;
use crate::metrics::{Counter, Gauge, MetricsRegistry, TOTALS, Total};

/// The beginning of the name of a core's thread; its number follows.
const CORE_THREAD: &str = "core-";

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new().routes(routes!(overview))
}

/// What goes on.
#[derive(Debug, Serialize, ToSchema)]
pub struct Overview {
    /// The broker's name.
    node: String,
    /// Its version.
    version: &'static str,
    /// Milliseconds since its start.
    uptime_ms: u64,
    /// When this was told, milliseconds of UNIX time.
    at_ms: u64,
    /// What there is now.
    counts: Counts,
    /// What was counted since the start.
    totals: Totals,
    /// Messages and deliveries dropped since the start, by reason.
    dropped: BTreeMap<&'static str, u64>,
    /// Each core.
    cores: Vec<Core>,
    /// Processor time of the other threads.
    threads: Vec<Threads>,
    /// Memory of this process.
    memory: Memory,
    /// The machine.
    machine: MachineState,
    /// Alarms that are active.
    alarms: usize,
}

/// What there is now.
#[derive(Debug, Serialize, ToSchema)]
pub struct Counts {
    /// Connected clients.
    live_connections: u64,
    /// Sessions, those included whose client is away.
    sessions: u64,
    /// Subscriptions.
    subscriptions: u64,
    /// Shared ones among them.
    shared_subscriptions: u64,
    /// Filters that someone has subscribed to.
    topics: u64,
    /// Retained messages.
    retained: u64,
    /// Delayed messages that wait.
    delayed: u64,
}

/// What was counted since the start.
#[derive(Debug, Serialize, ToSchema)]
pub struct Totals {
    /// Messages received.
    received: u64,
    /// Messages sent.
    sent: u64,
    /// Messages and deliveries dropped.
    dropped: u64,
    /// Bytes received.
    received_bytes: u64,
    /// Bytes sent.
    sent_bytes: u64,
}

/// A core.
#[derive(Debug, Serialize, ToSchema)]
pub struct Core {
    /// Its number.
    core: u8,
    /// Processor time of its thread since the start, milliseconds.
    cpu_ms: u64,
    /// Connected clients.
    live_connections: u64,
    /// Messages received since the start.
    received: u64,
    /// Messages sent since the start.
    sent: u64,
}

/// Threads that are no cores.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Threads {
    /// What they do.
    name: String,
    /// Their processor time since the start, milliseconds.
    cpu_ms: u64,
}

/// Memory of this process.
#[derive(Debug, Serialize, ToSchema)]
pub struct Memory {
    /// All of it, bytes.
    process: u64,
    /// What of it is which table, all cores together.
    tables: Vec<Table>,
}

/// A table of the cores.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Table {
    /// What is in it.
    name: &'static str,
    /// Entries; 0 where they are not counted.
    entries: u64,
    /// Bytes.
    bytes: u64,
}

/// The machine.
#[derive(Debug, Serialize, ToSchema)]
pub struct MachineState {
    /// Its memory, bytes.
    memory_total: u64,
    /// Memory in use, bytes.
    memory_used: u64,
    /// Load averages of 1, 5 and 15 minutes.
    load: [f64; 3],
}

/// What goes on
///
/// What there is now, what was counted since the start, each core with its processor time, memory by
/// table. Rates are the differences of two answers.
#[utoipa::path(
    get, path = "/overview", tag = "Metrics",
    responses((status = 200, body = Overview), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
)]
pub async fn overview(State(context): State<Arc<Context>>) -> Json<Overview> {
    context.cores.refresh().await;
    let tables = tables(&context).await;
    let machine = Machine::look();
    let metrics = &context.metrics;
    let (of_cores, others) = by_core(thread_times(), context.cores.count());
    let dropped = dropped(metrics);
    Json(Overview {
        node: context.node().to_owned(),
        version: env!("CARGO_PKG_VERSION"),
        uptime_ms: context.uptime_ms(),
        at_ms: clock::unix_ms(),
        counts: counts(metrics),
        totals: Totals {
            received: metrics.total(total("messages.received")),
            sent: metrics.total(total("messages.sent")),
            dropped: dropped.values().sum(),
            received_bytes: metrics.count(Counter::BytesReceived),
            sent_bytes: metrics.count(Counter::BytesSent),
        },
        dropped,
        cores: (0..)
            .zip(of_cores)
            .map(|(core, cpu_ms)| one_core(metrics, core, cpu_ms))
            .collect(),
        threads: others,
        memory: Memory {
            process: machine.process_memory,
            tables,
        },
        machine: MachineState {
            memory_total: machine.memory_total,
            memory_used: machine.memory_used,
            load: machine.load,
        },
        alarms: context.state.alarms.read(|alarms| alarms.len()),
    })
}

fn counts(metrics: &MetricsRegistry) -> Counts {
    Counts {
        live_connections: metrics.gauge(Gauge::LiveConnections),
        sessions: metrics.gauge(Gauge::Sessions),
        subscriptions: metrics.gauge(Gauge::Subscriptions),
        shared_subscriptions: metrics.gauge(Gauge::SubscriptionsShared),
        topics: metrics.gauge(Gauge::Topics),
        retained: metrics.gauge(Gauge::Retained),
        delayed: metrics.gauge(Gauge::Delayed),
    }
}

/// The total of this name. Tests hold that all that are asked for are there.
fn total(name: &str) -> &'static Total {
    let found = TOTALS.iter().find(|total| total.name == name);
    found.unwrap_or(&TOTALS[0])
}

fn dropped(metrics: &MetricsRegistry) -> BTreeMap<&'static str, u64> {
    let totals = [total("messages.dropped"), total("delivery.dropped")];
    let reasons = totals.iter().flat_map(|total| total.of.iter());
    reasons
        .map(|reason| (reason.name(), metrics.count(*reason)))
        .collect()
}

/// The cores are the first writers of figures.
fn one_core(metrics: &MetricsRegistry, core: u8, cpu_ms: u64) -> Core {
    let writer = usize::from(core);
    Core {
        core,
        cpu_ms,
        live_connections: metrics.gauge_of(writer, Gauge::LiveConnections),
        received: metrics.total_of(writer, total("messages.received")),
        sent: metrics.total_of(writer, total("messages.sent")),
    }
}

/// Processor time of each core, and of the other threads by what they do: a number at the end of a
/// name tells threads of one kind apart.
fn by_core(times: Vec<ThreadTime>, cores: u8) -> (Vec<u64>, Vec<Threads>) {
    let mut of_cores = vec![0; usize::from(cores)];
    let mut others: BTreeMap<String, u64> = BTreeMap::new();
    for time in times {
        let number = time.name.strip_prefix(CORE_THREAD).map(str::parse::<usize>);
        if let Some(Ok(number)) = number
            && let Some(core) = of_cores.get_mut(number)
        {
            *core += time.cpu_ms;
            continue;
        }
        let kind = time
            .name
            .trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
        *others.entry(kind.to_owned()).or_default() += time.cpu_ms;
    }
    let others = others.into_iter();
    let others = others.map(|(name, cpu_ms)| Threads { name, cpu_ms });
    (of_cores, others.collect())
}

/// Sizes of tables, summed over the cores. A core that does not answer is left out.
async fn tables(context: &Context) -> Vec<Table> {
    let mut all: Vec<Table> = Vec::new();
    for core in 0..context.cores.count() {
        let asked = context
            .cores
            .ask(CoreId(core), |reply| Manage::Tables { reply })
            .await;
        let rows = asked.map(|tables| tables.rows).unwrap_or_default();
        for (name, entries, bytes) in rows {
            match all.iter_mut().find(|table| table.name == name) {
                Some(table) => {
                    table.entries += entries;
                    table.bytes += bytes;
                }
                None => all.push(Table {
                    name,
                    entries,
                    bytes,
                }),
            }
        }
    }
    all.push(Table {
        name: "shared index",
        entries: context.metrics.gauge(Gauge::Topics),
        bytes: context.metrics.gauge(Gauge::IndexBytes),
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_totals_it_asks_for_are_there() {
        for name in [
            "messages.received",
            "messages.sent",
            "messages.dropped",
            "delivery.dropped",
        ] {
            assert_eq!(total(name).name, name);
        }
    }

    #[test]
    fn threads_are_told_apart_by_their_names() {
        let time = |name: &str, cpu_ms| ThreadTime {
            name: name.to_owned(),
            cpu_ms,
        };
        let times = vec![
            time("core-1", 7),
            time("control", 3),
            time("tls-0", 1),
            time("tls-1", 2),
            time("core-9", 4),
        ];
        let (cores, others) = by_core(times, 2);
        assert_eq!(cores, [0, 7]);
        let of = |name: &str| {
            others
                .iter()
                .find(|one| one.name == name)
                .map(|one| one.cpu_ms)
        };
        assert_eq!(
            (of("tls"), of("control"), of("core")),
            (Some(3), Some(3), Some(4))
        );
    }
}
