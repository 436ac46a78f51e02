//! Looking into a running broker: traces, the log, the machine.

use serde_json::{Value, json};

use super::{Command, Done, encoded, until};
use crate::ctl::Failure;
use crate::ctl::forms::word;

/// Seconds after which a trace ends that says no end: the longest there is.
const TRACE_S: &str = "86400";

/// EMQX's word for what is traced, and the API's.
fn kind_of(name: &str) -> Option<&'static str> {
    match name {
        "client" | "clientid" => Some("clientid"),
        "topic" => Some("topic"),
        "ip_address" => Some("ip_address"),
        _ => None,
    }
}

impl Command<'_> {
    /// `trace`: the broker's traces by what they look for. EMQX 2's form has the file, or `off`, behind
    /// it.
    pub(super) fn trace(&mut self, words: &[&str]) -> Done {
        match words {
            ["list"] => self.trace_list(),
            ["start", kind, which, file, rest @ ..] => self.trace_start(kind, which, file, rest),
            ["stop", kind, which] | [kind, which, "off"] => self.trace_stop(kind, which),
            [kind @ ("client" | "topic"), which, file] => self.trace_start(kind, which, file, &[]),
            _ => Ok(None),
        }
    }

    fn trace_list(&mut self) -> Done {
        let answer = self.client.ask("GET", "/api/v5/trace", None)?;
        let all = answer.as_array().into_iter().flatten();
        let going: Vec<Value> = all.filter(|row| row["enable"] == true).cloned().collect();
        if self.json {
            return self.say(&going.into(), |_| String::new());
        }
        for row in &going {
            writeln!(self.out, "{}", trace_line(row))?;
        }
        Ok(Some(()))
    }

    fn trace_start(&mut self, kind: &str, which: &str, file: &str, rest: &[&str]) -> Done {
        let Some(kind) = kind_of(kind) else {
            return Ok(None);
        };
        let (level, formatter) = match rest {
            [] => ("debug", "text"),
            [formatter @ ("text" | "json")] => ("debug", *formatter),
            [level] => (*level, "text"),
            [level, formatter @ ("text" | "json")] => (*level, *formatter),
            _ => return Ok(None),
        };
        // The file lies in the broker's directory: a path to somewhere else becomes its last part.
        let file = file.rsplit('/').next().unwrap_or_default();
        let now_us = time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1000;
        let trace = json!({
            "name": format!("ctl_{kind}_{now_us}"), "type": kind, kind: which, "file": file,
            "level": level, "formatter": formatter, "end_at": until(TRACE_S),
        });
        let made = self.client.ask("POST", "/api/v5/trace", Some(&trace))?;
        self.say(&made, |_| format!("trace {kind} {which} successfully"))
    }

    fn trace_stop(&mut self, kind: &str, which: &str) -> Done {
        let Some(kind) = kind_of(kind) else {
            return Ok(None);
        };
        let answer = self.client.ask("GET", "/api/v5/trace", None)?;
        let mut all = answer.as_array().into_iter().flatten();
        let found = all.find(|row| row["enable"] == true && row[kind] == which);
        let name = found.and_then(|row| row["name"].as_str());
        let name = name.ok_or_else(|| {
            Failure::Failed(format!("there is no trace of {kind} {which} that goes on"))
        })?;
        let path = format!("/api/v5/trace/{}/stop", encoded(name));
        let stopped = self.client.ask("PUT", &path, None)?;
        self.say(&stopped, |_| {
            format!("stop tracing {kind} {which} successfully")
        })
    }

    /// `traces`: the same by their names.
    pub(super) fn traces(&mut self, words: &[&str]) -> Done {
        match words {
            ["list"] => self.look_at_rows("/api/v5/trace", traces_line),
            ["start", name, kind, which, rest @ ..] => {
                let Some(kind) = kind_of(kind) else {
                    return Ok(None);
                };
                let (seconds, formatter) = match rest {
                    [] => (None, "text"),
                    [formatter @ ("text" | "json")] => (None, *formatter),
                    [seconds] => (Some(*seconds), "text"),
                    [seconds, formatter @ ("text" | "json")] => (Some(*seconds), *formatter),
                    _ => return Ok(None),
                };
                let mut trace = json!({
                    "name": name, "type": kind, kind: which, "formatter": formatter,
                });
                if let Some(seconds) = seconds {
                    let Some(end) = until(seconds) else {
                        return Ok(None);
                    };
                    trace["end_at"] = json!(end);
                }
                let made = self.client.ask("POST", "/api/v5/trace", Some(&trace))?;
                self.say(&made, |_| format!("cluster_trace {name} successfully"))
            }
            ["stop", name] => {
                let path = format!("/api/v5/trace/{}/stop", encoded(name));
                let stopped = self.client.ask("PUT", &path, None)?;
                self.say(&stopped, |_| {
                    format!("stop cluster_trace {name} successfully")
                })
            }
            ["delete", name] => {
                let path = format!("/api/v5/trace/{}", encoded(name));
                self.client.ask("DELETE", &path, None)?;
                self.say(&json!("ok"), |_| {
                    format!("delete cluster_trace {name} successfully")
                })
            }
            _ => Ok(None),
        }
    }

    /// `log`: there is one handler, which writes to standard error.
    pub(super) fn log(&mut self, words: &[&str]) -> Done {
        const HANDLERS: &str = "/api/v5/log/handlers";
        match words {
            ["handlers", "list"] => self.look_at_rows(HANDLERS, handler_line),
            ["primary-level"] => self.look(HANDLERS, |all| word(&all[0]["level"])),
            ["primary-level" | "set-level", level]
            | ["handlers", "set-level", "console", level] => {
                let wanted = json!({ "level": level });
                let path = format!("{HANDLERS}/console");
                let now = self.client.ask("PUT", &path, Some(&wanted))?;
                self.say(&now, |now| word(&now["level"]))
            }
            ["handlers", "set-level", id, _] => {
                let why = format!("there is no log handler `{id}`; `console` is the only one");
                Err(Failure::Failed(why))
            }
            _ => Ok(None),
        }
    }

    /// `vm`: what EMQX says of its virtual machine, as far as this broker has the like of it.
    pub(super) fn vm(&mut self, words: &[&str]) -> Done {
        let part = match words {
            [] | ["all"] => "",
            [part @ ("load" | "memory" | "io")] => part,
            _ => return Ok(None),
        };
        let nodes = self.client.ask("GET", "/api/v5/nodes", None)?;
        let node = &nodes[0];
        let rows = [
            ("load", "cpu/load1", "load1"),
            ("load", "cpu/load5", "load5"),
            ("load", "cpu/load15", "load15"),
            ("memory", "memory/total", "memory_total"),
            ("memory", "memory/used", "memory_used"),
            ("io", "io/max_fds", "max_fds"),
        ];
        let wanted = rows.iter().filter(|row| part.is_empty() || row.0 == part);
        let figures: serde_json::Map<String, Value> = wanted
            .map(|(_, name, field)| ((*name).to_owned(), node[*field].clone()))
            .collect();
        self.say(&figures.into(), |figures| {
            let figures = figures.as_object().into_iter().flatten();
            let lines = figures.map(|(name, value)| format!("{name:<24}: {}", word(value)));
            lines.collect::<Vec<_>>().join("\n")
        })
    }
}

fn of(row: &Value) -> (String, String) {
    let kind = word(&row["type"]);
    let which = word(&row[kind.as_str()]);
    (kind, which)
}

/// `Trace(clientid=c2, level=error, destination="log/c2.log")`
fn trace_line(row: &Value) -> String {
    let (kind, which) = of(row);
    let level = word(&row["level"]);
    format!(
        "Trace({kind}={which}, level={level}, destination={})",
        row["destination"]
    )
}

/// `Trace(name: clientid=c2, running, LogSize:[{'node',5}], ...)`
fn traces_line(row: &Value) -> String {
    let (kind, which) = of(row);
    let sizes = row["log_size"].as_object().into_iter().flatten();
    let sizes: Vec<String> = sizes
        .map(|(node, bytes)| format!("{{'{node}',{bytes}}}"))
        .collect();
    format!(
        "Trace({}: {kind}={which}, {}, LogSize:[{}], start_at={}, end_at={})",
        word(&row["name"]),
        word(&row["status"]),
        sizes.join(","),
        word(&row["start_at"]),
        word(&row["end_at"])
    )
}

/// `LogHandler(id=console, level=info, destination=stderr, status=started)`
fn handler_line(row: &Value) -> String {
    let of = |field: &str| word(&row[field]);
    format!(
        "LogHandler(id={}, level={}, destination={}, status={})",
        of("id"),
        of("level"),
        of("dst"),
        of("status")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_and_handlers_are_one_line_each() {
        let row = json!({
            "name": "n", "type": "clientid", "clientid": "c2", "level": "error", "enable": true,
            "status": "running", "destination": "/d/trace/c2.log", "log_size": { "a@b": 7 },
            "start_at": "s", "end_at": "e",
        });
        assert_eq!(
            trace_line(&row),
            "Trace(clientid=c2, level=error, destination=\"/d/trace/c2.log\")"
        );
        assert_eq!(
            traces_line(&row),
            "Trace(n: clientid=c2, running, LogSize:[{'a@b',7}], start_at=s, end_at=e)"
        );
        let handler =
            json!({ "id": "console", "level": "info", "dst": "stderr", "status": "started" });
        assert_eq!(
            handler_line(&handler),
            "LogHandler(id=console, level=info, destination=stderr, status=started)"
        );
    }
}
