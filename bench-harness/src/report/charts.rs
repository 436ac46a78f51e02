//! Which plots a result has: those of its time series, and those it names itself.

use serde_json::Value;

use super::plot::Plot;

/// A plot of the time series: lines are columns of the series and their names.
struct Chart {
    title: &'static str,
    unit: &'static str,
    /// What a value is divided by.
    per: f64,
    log: bool,
    lines: &'static [(&'static str, &'static str)],
}

const MIB: f64 = 1_048_576.0;

const CHARTS: &[Chart] = &[
    Chart {
        title: "Connections",
        unit: "open",
        per: 1.0,
        log: false,
        lines: &[("open", "open"), ("failed", "failed"), ("lost", "lost")],
    },
    Chart {
        title: "Connects and pings a second",
        unit: "a second",
        per: 1.0,
        log: false,
        lines: &[
            ("connects_per_s", "connects"),
            ("pings_per_s", "pings answered"),
        ],
    },
    Chart {
        title: "Messages a second",
        unit: "a second",
        per: 1.0,
        log: false,
        lines: &[("deliveries_per_s", "deliveries")],
    },
    Chart {
        title: "Latency of connecting",
        unit: "ms",
        per: 1000.0,
        log: true,
        lines: &[
            ("connect_us_p50", "median"),
            ("connect_us_p99", "99 of 100 below"),
            ("connect_us_max", "slowest"),
        ],
    },
    Chart {
        title: "Round trip of a ping",
        unit: "ms",
        per: 1000.0,
        log: true,
        lines: &[
            ("ping_us_p50", "median"),
            ("ping_us_p99", "99 of 100 below"),
            ("ping_us_max", "slowest"),
        ],
    },
    Chart {
        title: "Latency of messages",
        unit: "ms",
        per: 1000.0,
        log: true,
        lines: &[
            ("delivery_us_p50", "median"),
            ("delivery_us_p99", "99 of 100 below"),
            ("delivery_us_max", "slowest"),
        ],
    },
    Chart {
        title: "Memory of the broker",
        unit: "MiB",
        per: MIB,
        log: false,
        lines: &[("user_bytes", "user space")],
    },
    Chart {
        title: "Memory of the kernel, for both ends",
        unit: "MiB",
        per: MIB,
        log: false,
        lines: &[
            ("kernel_slab_bytes", "slab of the machine"),
            ("tcp_buffer_bytes", "TCP buffers"),
        ],
    },
    Chart {
        title: "CPU",
        unit: "% of one CPU",
        per: 1.0,
        log: false,
        lines: &[
            ("broker_cpu_percent", "broker"),
            ("harness_cpu_percent", "load generator"),
            ("others_cpu_percent", "others"),
        ],
    },
];

/// The plots of a result.
pub(super) fn plots(result: &Value) -> Vec<Plot> {
    let series = CHARTS
        .iter()
        .map(|chart| of_series(chart, &result["series"]));
    let named = result["plots"].as_array().into_iter().flatten().map(named);
    series
        .chain(named)
        .filter(|plot| !plot.is_empty())
        .collect()
}

fn column(values: &Value) -> Vec<Option<f64>> {
    let values = values.as_array().map_or(&[][..], Vec::as_slice);
    values.iter().map(Value::as_f64).collect()
}

fn of_series(chart: &Chart, series: &Value) -> Plot {
    let times = column(&series["time_s"]);
    let line = |(name, legend): &(&str, &str)| {
        let values = column(&series[*name]);
        // What stays 0 is said in figures.
        let is_told = values.iter().flatten().any(|value| *value > 0.0);
        let point = |(time, value): (&Option<f64>, &Option<f64>)| {
            let value = value.map(|value| value / chart.per);
            Some(((*time)?, value.filter(|value| !chart.log || *value > 0.0)))
        };
        let points = times.iter().zip(&values).filter_map(point).collect();
        is_told.then_some(((*legend).to_owned(), points))
    };
    Plot {
        title: chart.title.to_owned(),
        x_label: "seconds".to_owned(),
        y_label: chart.unit.to_owned(),
        log_x: false,
        log_y: chart.log,
        lines: chart.lines.iter().filter_map(line).collect(),
    }
}

/// `{title, x_label, y_label, log_x, log_y, x: [], lines: {name: []}}`.
fn named(plot: &Value) -> Plot {
    let text = |name: &str| plot[name].as_str().unwrap_or_default().to_owned();
    let is = |name: &str| plot[name].as_bool().unwrap_or(false);
    let x = column(&plot["x"]);
    let lines = plot["lines"].as_object().into_iter().flatten();
    let lines = lines.map(|(name, values)| {
        let values = column(values);
        let points = x.iter().zip(&values).filter_map(|(x, y)| Some(((*x)?, *y)));
        (name.clone(), points.collect())
    });
    Plot {
        title: text("title"),
        x_label: text("x_label"),
        y_label: text("y_label"),
        log_x: is("log_x"),
        log_y: is("log_y"),
        lines: lines.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_was_measured_is_drawn() {
        let result = json!({
            "series": {
                "time_s": [0.0, 1.0], "open": [1, 2], "failed": [0, 0],
                "ping_us_p50": [null, null], "user_bytes": [1048576, 2097152],
            },
            "plots": [{"title": "growth", "log_x": true, "x": [1, 10], "lines": {"a": [5, 6]}}],
        });
        let plots = plots(&result);
        let titles: Vec<&str> = plots.iter().map(|plot| plot.title.as_str()).collect();
        assert_eq!(titles, ["Connections", "Memory of the broker", "growth"]);
        assert_eq!(plots[0].lines.len(), 1, "no failed ones");
        assert_eq!(plots[1].lines[0].1[1], (1.0, Some(2.0)));
    }
}
