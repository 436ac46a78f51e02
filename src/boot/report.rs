//! What SIGUSR1 prints: one JSON object a line on standard error, tables and counters.

use std::io::Write;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::boot::run::Broker;
use crate::gate::command::Command;
use crate::gate::event::What;
use crate::metrics::Gauge;
use crate::shutdown::next_event;

/// How long the cores have to answer.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// Prints the report.
pub fn print(broker: &Broker) {
    let tables = tables(broker);
    let report = json!({
        "memory": memory(&tables),
        "tables": tables,
        "metrics": broker.metrics.to_json(),
        "listeners": listeners(broker),
    });
    // Standard error may be closed.
    let _ = writeln!(std::io::stderr(), "{report}");
}

/// Why connections ended, a listener.
fn listeners(broker: &Broker) -> Value {
    let report = |(number, (name, _)): (usize, &(String, _))| {
        let number = u8::try_from(number).unwrap_or(u8::MAX);
        let ends: Map<String, Value> = broker
            .metrics
            .shutdown_count(number)
            .into_iter()
            .map(|(reason, count)| (reason.to_owned(), count.into()))
            .collect();
        (name.clone(), json!({ "shutdown_count": ends }))
    };
    let all = broker.listening.iter().enumerate().map(report);
    Value::Object(all.collect())
}

/// Entries and bytes of each table, summed over the cores.
fn tables(broker: &Broker) -> Value {
    let mut left = broker.gate.ask_all(|| Command::ReportTables);
    let mut sums: Map<String, Value> = Map::new();
    while left > 0 {
        let Some(event) = next_event(broker.gate.events(), ANSWER_WITHIN) else {
            sums.insert("cores without an answer".to_owned(), json!(left));
            break;
        };
        let What::Tables(tables) = event.what else {
            continue;
        };
        left -= 1;
        for (name, entries, bytes) in tables.rows {
            let row = sums
                .entry(name)
                .or_insert_with(|| json!({ "entries": 0, "bytes": 0 }));
            add(row, "entries", entries);
            add(row, "bytes", bytes);
        }
    }
    sums.insert(
        "shared index".to_owned(),
        json!({
            "entries": broker.metrics.gauge(Gauge::Topics),
            "bytes": broker.metrics.gauge(Gauge::IndexBytes),
        }),
    );
    sums.insert(
        "metrics".to_owned(),
        json!({ "entries": 0, "bytes": broker.metrics.held_bytes() }),
    );
    Value::Object(sums)
}

/// Anonymous memory of the process, and what of it no table names: stacks, what is boxed in
/// sessions and connections, and what the allocator holds beside. Capacity that was never touched
/// counts in tables only, so the rest may be less than nothing.
fn memory(tables: &Value) -> Value {
    let rows = tables.as_object().into_iter().flat_map(Map::values);
    let named: u64 = rows.filter_map(|row| row.get("bytes")?.as_u64()).sum();
    let anonymous = anonymous_bytes();
    json!({
        "anonymous_bytes": anonymous,
        "tables_bytes": named,
        "other_bytes": anonymous.map(|all| all.cast_signed() - named.cast_signed()),
    })
}

/// None where the kernel does not tell.
fn anonymous_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

fn add(row: &mut Value, field: &str, more: u64) {
    if let Some(value) = row.get_mut(field) {
        *value = json!(value.as_u64().unwrap_or(0) + more);
    }
}
