//! The time series of a run, as it grows: in memory for the result, and a line at a time in a file, so
//! that a run that is killed leaves what it has seen.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value, json};

/// One moment of a run. Rates and percentiles are of the time since the last one.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Point {
    /// Since the first connect was due.
    pub(crate) time_s: f64,
    pub(crate) phase: &'static str,
    pub(crate) open: u64,
    pub(crate) connected: u64,
    pub(crate) failed: u64,
    pub(crate) lost: u64,
    pub(crate) connects_per_s: f64,
    pub(crate) connect_us_p50: Option<u64>,
    pub(crate) connect_us_p99: Option<u64>,
    pub(crate) connect_us_max: Option<u64>,
    pub(crate) pings_per_s: f64,
    pub(crate) ping_us_p50: Option<u64>,
    pub(crate) ping_us_p99: Option<u64>,
    pub(crate) ping_us_max: Option<u64>,
    pub(crate) deliveries_per_s: f64,
    pub(crate) delivery_us_p50: Option<u64>,
    pub(crate) delivery_us_p99: Option<u64>,
    pub(crate) delivery_us_max: Option<u64>,
    /// Anonymous and shared memory of the broker.
    pub(crate) user_bytes: Option<u64>,
    pub(crate) broker_cpu_percent: Option<f64>,
    pub(crate) harness_cpu_percent: f64,
    /// What neither broker nor harness used, of all CPUs together; 100 is one CPU.
    pub(crate) others_cpu_percent: Option<f64>,
    pub(crate) load_average_1min: Option<f64>,
    pub(crate) kernel_slab_bytes: Option<u64>,
    pub(crate) tcp_buffer_bytes: Option<u64>,
    /// Deliveries the broker says it dropped so far.
    pub(crate) dropped: Option<u64>,
}

/// What the broker said of itself at one moment.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TableReport {
    pub(crate) time_s: f64,
    pub(crate) phase: &'static str,
    /// Table -> bytes, and what no table names.
    pub(crate) bytes: Map<String, Value>,
    pub(crate) entries: Map<String, Value>,
}

impl TableReport {
    /// From what SIGUSR1 makes the broker print.
    pub(crate) fn new(time_s: f64, phase: &'static str, report: &Value) -> Self {
        let (mut bytes, mut entries) = (Map::new(), Map::new());
        for (name, row) in report["tables"].as_object().into_iter().flatten() {
            for (field, column) in [("bytes", &mut bytes), ("entries", &mut entries)] {
                if row[field].as_u64().is_some_and(|value| value > 0) {
                    column.insert(name.clone(), row[field].clone());
                }
            }
        }
        for (field, name) in [
            ("other_bytes", "in no table"),
            ("anonymous_bytes", "in all"),
        ] {
            if !report["memory"][field].is_null() {
                bytes.insert(name.to_owned(), report["memory"][field].clone());
            }
        }
        Self {
            time_s,
            phase,
            bytes,
            entries,
        }
    }
}

/// All points of a run.
#[derive(Debug, Default)]
pub(crate) struct Series {
    pub(crate) points: Vec<Point>,
    pub(crate) tables: Vec<TableReport>,
    live: Option<(File, PathBuf)>,
}

impl Series {
    /// A series that is also written to `path`, which begins with `header`.
    pub(crate) fn live(path: &Path, header: &Value) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::create(path)?;
        writeln!(file, "{header}")?;
        Ok(Self {
            live: Some((file, path.to_owned())),
            ..Self::default()
        })
    }

    pub(crate) fn push(&mut self, point: Point) {
        self.tell(&json!({ "point": point }));
        self.points.push(point);
    }

    pub(crate) fn push_tables(&mut self, tables: TableReport) {
        self.tell(&json!({ "tables": tables }));
        self.tables.push(tables);
    }

    /// A disk that is full must not end the run.
    fn tell(&mut self, line: &Value) {
        if let Some((file, _)) = &mut self.live {
            drop(writeln!(file, "{line}"));
        }
    }

    /// The result holds it all now: the live file goes.
    pub(crate) fn is_written(&mut self) {
        if let Some((_, path)) = self.live.take() {
            drop(fs::remove_file(path));
        }
    }

    /// One list a column.
    pub(crate) fn columns(&self) -> Map<String, Value> {
        let mut columns: Map<String, Value> = Map::new();
        for point in &self.points {
            let Ok(Value::Object(fields)) = serde_json::to_value(point) else {
                continue;
            };
            for (name, value) in fields {
                match columns.entry(name).or_insert_with(|| json!([])) {
                    Value::Array(column) => column.push(value),
                    _ => unreachable!("every column is a list"),
                }
            }
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_in_its_file_until_the_result_is_written() {
        let path = std::env::temp_dir().join(format!("bench-series-{}.jsonl", std::process::id()));
        let mut series = Series::live(&path, &json!({"scenario": "s"})).unwrap();
        for open in [1, 2] {
            series.push(Point {
                open,
                phase: "ramp",
                ..Point::default()
            });
        }
        let report = json!({
            "tables": {"sessions": {"entries": 3, "bytes": 300}, "empty": {"entries": 0, "bytes": 0}},
            "memory": {"anonymous_bytes": 1000, "other_bytes": 700},
        });
        series.push_tables(TableReport::new(1.5, "hold", &report));
        let lines = fs::read_to_string(&path).unwrap();
        assert_eq!(lines.lines().count(), 4);
        assert_eq!(series.columns()["open"], json!([1, 2]));
        assert_eq!(series.columns()["ping_us_p50"], json!([null, null]));
        let bytes = &series.tables[0].bytes;
        assert_eq!(bytes["sessions"], json!(300));
        assert_eq!(bytes["in no table"], json!(700));
        assert!(!bytes.contains_key("empty"));
        series.is_written();
        assert!(!path.exists());
    }
}
