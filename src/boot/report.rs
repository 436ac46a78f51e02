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
    let report = json!({
        "tables": tables(broker),
        "metrics": broker.metrics.to_json(),
    });
    // Standard error may be closed.
    let _ = writeln!(std::io::stderr(), "{report}");
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
    Value::Object(sums)
}

fn add(row: &mut Value, field: &str, more: u64) {
    if let Some(value) = row.get_mut(field) {
        *value = json!(value.as_u64().unwrap_or(0) + more);
    }
}
