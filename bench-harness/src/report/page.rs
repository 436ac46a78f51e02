//! The page: what was wanted and what came of it first, then plots, then every figure.

use serde_json::Value;

use super::charts;
use super::plot::{self, Plot};

const STYLE: &str = include_str!("page.css");

/// One page of several results.
pub(super) fn page(title: &str, results: &[Value]) -> String {
    let mut body = format!("<h1>{}</h1>\n", escape(title));
    if results.len() > 1 {
        body += &overview(results);
    }
    for result in results {
        body += &section(result);
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>{}</title>\n<style>\n{STYLE}</style></head>\n<body><main>\n{body}</main></body></html>\n",
        escape(title)
    )
}

fn text<'a>(result: &'a Value, name: &str) -> &'a str {
    result[name].as_str().unwrap_or_default()
}

/// One line a result.
fn overview(results: &[Value]) -> String {
    let mut rows = String::new();
    for result in results {
        let (class, words) = state(result);
        rows += &format!(
            "<tr><td><a href=\"#{0}\">{0}</a></td><td>{1}</td><td class=\"{class}\">{words}</td></tr>\n",
            escape(&anchor(result)),
            escape(text(&result["broker"], "name")),
        );
    }
    format!(
        "<table><thead><tr><th>scenario</th><th>broker</th><th>verdict</th></tr></thead>\n\
         <tbody>{rows}</tbody></table>\n"
    )
}

fn anchor(result: &Value) -> String {
    let broker = text(&result["broker"], "name");
    match broker {
        "" | "millrace" => text(result, "scenario").to_owned(),
        peer => format!("{}-{peer}", text(result, "scenario")),
    }
}

/// A class and a sentence.
fn state(result: &Value) -> (&'static str, String) {
    if let Some(why) = result["cut_short"].as_str() {
        return ("bad", format!("ended early: {}", escape(why)));
    }
    if result["void"].as_bool() == Some(true) {
        let reasons = result["void_reasons"].as_array().into_iter().flatten();
        let reasons: Vec<&str> = reasons.filter_map(Value::as_str).collect();
        return ("bad", format!("void: {}", escape(&reasons.join("; "))));
    }
    let verdicts = result["verdicts"].as_array().map_or(&[][..], Vec::as_slice);
    let kept = verdicts.iter().filter(|v| v["ok"].as_bool() == Some(true));
    match (kept.count(), verdicts.len()) {
        (_, 0) => ("plain", "measured without limits".to_owned()),
        (kept, all) if kept == all => ("good", format!("&#10003; all {all} limits kept")),
        (kept, all) => (
            "bad",
            format!("&#10007; {} of {all} limits not kept", all - kept),
        ),
    }
}

fn section(result: &Value) -> String {
    let (class, words) = state(result);
    let mut html = format!(
        "<section id=\"{}\"><h2>{}</h2>\n",
        escape(&anchor(result)),
        escape(text(result, "scenario"))
    );
    if let Some(about) = result["scenario_file"]["about"].as_str() {
        html += &format!("<p class=\"about\">{}</p>\n", escape(about));
    }
    html += &circumstances(result);
    html += &format!("<p class=\"state {class}\">{words}</p>\n");
    html += &verdicts(result);
    html += "<div class=\"plots\">\n";
    for plot in charts::plots(result) {
        html += &figure(&plot);
    }
    html += "</div>\n";
    html += &parts(&result["measured"]);
    html += &tables(result);
    html += &figures(&result["measured"]);
    html += &format!(
        "<details><summary>How it was run</summary><pre>{}</pre></details></section>\n",
        escape(&how(result))
    );
    html
}

fn circumstances(result: &Value) -> String {
    let environment = &result["environment"];
    let gib = environment["memory_bytes"].as_f64().unwrap_or(0.0) / (1u64 << 30) as f64;
    format!(
        "<p class=\"where\">{} &middot; commit {} &middot; broker {} &middot; {} CPUs ({}), {gib:.0} GiB, \
         Linux {} &middot; load average {} at the start{}</p>\n",
        escape(text(result, "date")),
        escape(text(result, "commit")),
        escape(text(&result["broker"], "name")),
        environment["cpus"],
        escape(text(environment, "cpu_model")),
        escape(text(environment, "kernel")),
        environment["load_average_1min"],
        result["measured"]["load_average_mean"]
            .as_f64()
            .map_or_else(String::new, |mean| format!(", {mean:.1} through the run")),
    )
}

fn verdicts(result: &Value) -> String {
    let Some(verdicts) = result["verdicts"].as_array().filter(|v| !v.is_empty()) else {
        return String::new();
    };
    let mut rows = String::new();
    for verdict in verdicts {
        let (class, word) = match verdict["ok"].as_bool() {
            Some(true) => ("good", "&#10003; kept"),
            _ => ("bad", "&#10007; not kept"),
        };
        let relation = match text(verdict, "relation") {
            "<=" => "at most",
            ">=" => "at least",
            _ => "exactly",
        };
        rows += &format!(
            "<tr><td>{}</td><td class=\"n\">{}</td><td>{relation} {}</td><td class=\"{class}\">{word}</td></tr>\n",
            escape(text(verdict, "name")),
            shown(&verdict["value"]),
            shown(&verdict["limit"]),
        );
    }
    format!(
        "<table><thead><tr><th>figure</th><th class=\"n\">measured</th><th>wanted</th><th></th></tr></thead>\n\
         <tbody>{rows}</tbody></table>\n"
    )
}

/// Digits in groups of three.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "not measured".to_owned(),
        Value::Number(number) => grouped(number.as_f64().unwrap_or(0.0)),
        Value::String(text) => escape(text),
        other => escape(&other.to_string()),
    }
}

fn grouped(value: f64) -> String {
    let text = format!("{:.3}", value.abs());
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = if value < 0.0 { "&minus;" } else { "" }.to_owned();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push_str("&#8239;");
        }
        out.push(digit);
    }
    match part.trim_end_matches('0') {
        "" => out,
        part => format!("{out}.{part}"),
    }
}

fn figure(plot: &Plot) -> String {
    let mut legend = String::new();
    for (line, (name, _)) in plot.lines.iter().enumerate() {
        legend += &format!(
            "<span><i style=\"background:{}\"></i>{}</span>",
            plot::colour(line),
            escape(name)
        );
    }
    format!(
        "<figure><figcaption><b>{}</b> {legend}</figcaption>{}</figure>\n",
        escape(&plot.title),
        plot.svg()
    )
}

/// The broker's memory by part.
fn parts(measured: &Value) -> String {
    let Some(held) = measured["memory_by_part_held"].as_object() else {
        return String::new();
    };
    let mut names: Vec<&String> = held.keys().collect();
    names.sort_by_key(|name| std::cmp::Reverse(held[*name].as_i64()));
    let mib = |value: &Value| match value.as_f64() {
        Some(bytes) => format!("{:.2}", bytes / f64::from(1 << 20)),
        None => "0".to_owned(),
    };
    let mut rows = String::new();
    for name in names {
        rows += &format!(
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
            escape(name),
            mib(&measured["memory_by_part_idle"][name]),
            mib(&held[name]),
            match &measured["bytes_per_connection_by_part"][name] {
                Value::Null => String::new(),
                bytes => shown(bytes),
            },
        );
    }
    format!(
        "<h3>The broker's memory by part</h3>\n<table><thead><tr><th>part</th><th class=\"n\">before the \
         first client, MiB</th><th class=\"n\">at the end of the hold, MiB</th><th class=\"n\">bytes a \
         connection</th></tr></thead>\n<tbody>{rows}</tbody></table>\n"
    )
}

/// Tables a result brings itself: `table: {columns: [], rows: [[]]}`.
fn tables(result: &Value) -> String {
    let table = &result["table"];
    let (Some(columns), Some(rows)) = (table["columns"].as_array(), table["rows"].as_array())
    else {
        return String::new();
    };
    let cell = |tag: &str, value: &Value| {
        let class = if value.is_string() {
            ""
        } else {
            " class=\"n\""
        };
        format!("<{tag}{class}>{}</{tag}>", shown(value))
    };
    let line = |tag: &str, cells: &[Value]| {
        let cells: String = cells.iter().map(|value| cell(tag, value)).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let body = rows.iter().filter_map(Value::as_array);
    let body: String = body.map(|row| line("td", row)).collect();
    format!(
        "<table><thead>{}</thead>\n<tbody>{body}</tbody></table>\n",
        line("th", columns)
    )
}

fn figures(measured: &Value) -> String {
    let mut rows = String::new();
    for (name, value) in measured.as_object().into_iter().flatten() {
        if !value.is_object() {
            rows += &format!(
                "<tr><td>{}</td><td class=\"n\">{}</td></tr>\n",
                escape(name),
                shown(value)
            );
        }
    }
    format!(
        "<details><summary>All figures</summary><table><tbody>{rows}</tbody></table></details>\n"
    )
}

fn how(result: &Value) -> String {
    let words = result["command"].as_array().into_iter().flatten();
    let words: Vec<&str> = words.filter_map(Value::as_str).collect();
    let mut text = words.join(" ");
    if let Some(settings) = result["broker"]["settings"]
        .as_str()
        .filter(|s| !s.is_empty())
    {
        text += &format!("\nbroker: {settings}");
    }
    if let Ok(scenario) = serde_json::to_string_pretty(&result["scenario_file"])
        && result["scenario_file"].is_object()
    {
        text += &format!("\n{scenario}");
    }
    text
}

fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_page_says_what_was_kept() {
        let result = json!({
            "scenario": "s<1>", "measured": {"failed_connects": 3, "user_bytes": 12345678.5},
            "environment": {"cpus": 2}, "broker": {"name": "millrace"}, "command": ["a", "b"],
            "verdicts": [{"name": "failed_connects", "relation": "=", "limit": 0.0, "value": 3.0, "ok": false}],
            "series": {"time_s": [0, 1], "open": [5, 6]},
        });
        let page = page("t", &[result.clone(), result]);
        assert!(page.contains("1 of 1 limits not kept"), "{page}");
        assert!(page.contains("s&lt;1&gt;"));
        assert!(page.contains("12&#8239;345&#8239;678.5"));
        assert!(page.contains("<svg"));
        assert!(
            !page.contains("http://")
                || page.matches("http").count() == page.matches("http://www.w3.org").count()
        );
    }

    #[test]
    fn who_ends_early_says_so() {
        let (class, words) = state(&json!({"cut_short": "it was stopped", "verdicts": []}));
        assert_eq!(
            (class, words.as_str()),
            ("bad", "ended early: it was stopped")
        );
    }
}
