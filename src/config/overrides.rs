//! `overrides.toml`: changes made while the broker runs, one setting a line.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::ConfigError;
use super::kind::Raw;
use super::reload::{InForce, effective, same};
use super::schema;
use super::setting::Setting;
use super::shown::{HIDDEN, value_of};
use super::source::Sources;
use super::values::{Problem, Values};

/// The head of the file.
const HEAD: &str = "\
# Settings that were changed while the broker ran. They go before those of the configuration file.
# The broker writes this file anew at each change; edit it only while the broker does not run.
";

impl InForce {
    /// The text of the overrides once a section is changed as a body says: an object of settings, with
    /// objects for the sections below it. What the body does not name stays as it is; `null` takes an
    /// override away.
    ///
    /// # Errors
    /// Every setting that is wrong, may not change, or is given by what goes before overrides.
    pub fn overridden(
        &self,
        sources: &Sources,
        section: &str,
        body: &Value,
    ) -> Result<String, ConfigError> {
        let mut problems = Vec::new();
        let mut asked = Vec::new();
        flatten(section, body, &mut asked, &mut problems);
        let mut lines = present(sources)?;
        let above = above_overrides(sources)?;
        for (key, value) in asked {
            let key = schema::full(&key).to_owned();
            let problem = |what: String| Problem {
                origin: None,
                key: Some(key.clone()),
                what,
            };
            let setting = match schema::find(&key) {
                Ok(setting) => setting,
                Err(what) => {
                    problems.push(problem(what));
                    continue;
                }
            };
            match self.judge(&key, setting, value, &above) {
                Ok(Change::None) => {}
                Ok(Change::Forget) => drop(lines.remove(&key)),
                Ok(Change::To(raw)) => drop(lines.insert(key, raw)),
                Err(what) => problems.push(problem(what)),
            }
        }
        match problems.is_empty() {
            true => Ok(text_of(&lines)),
            false => Err(ConfigError { problems }),
        }
    }

    /// What becomes of one setting, or why nothing.
    fn judge(
        &self,
        key: &str,
        setting: &Setting,
        value: Option<Raw>,
        above: &Values,
    ) -> Result<Change, String> {
        let now = effective(&self.values, key);
        let Some(raw) = value else {
            return Ok(Change::Forget);
        };
        // What was read may be sent back as it is.
        let told = value_of(setting.key, &now);
        let as_told = match &raw {
            Raw::List(list) => *list == told,
            raw => raw.text().is_some_and(|text| told == *text),
        };
        if same(&raw, &now) || as_told || raw.text().as_deref() == Some(HIDDEN) {
            return Ok(Change::None);
        }
        setting.kind.check(&raw)?;
        if !setting.change.is_live() {
            let what = "it cannot be changed while the broker runs; change it in the configuration \
                        file and start the broker again";
            return Err(what.to_owned());
        }
        if !self.is_open(key) {
            return Err("there is no such listener".to_owned());
        }
        if let Some(origin) = above.origin(key) {
            return Err(format!(
                "it is set by {origin}, which goes before changes made while the broker runs"
            ));
        }
        Ok(Change::To(raw))
    }
}

enum Change {
    None,
    Forget,
    To(Raw),
}

/// The overrides that there are.
fn present(sources: &Sources) -> Result<BTreeMap<String, Raw>, ConfigError> {
    let only = Sources {
        overrides: sources.overrides.clone(),
        ..Sources::default()
    };
    let values = only.collect()?;
    let all = values.all();
    Ok(all
        .map(|(k, given)| (k.to_owned(), given.raw.clone()))
        .collect())
}

/// What goes before overrides.
fn above_overrides(sources: &Sources) -> Result<Values, ConfigError> {
    let above = Sources {
        file: None,
        overrides: None,
        ..sources.clone()
    };
    above.collect()
}

/// The settings of a body; `None` stands for null.
fn flatten(
    prefix: &str,
    value: &Value,
    out: &mut Vec<(String, Option<Raw>)>,
    problems: &mut Vec<Problem>,
) {
    let is_setting = schema::find(prefix).is_ok();
    match value {
        Value::Object(fields) if is_setting => {
            let entry = |(name, value): (&String, &Value)| match value {
                Value::String(text) => format!("{name}={text}\n"),
                other => format!("{name}={other}\n"),
            };
            let lines = fields.iter().map(entry).collect();
            out.push((prefix.to_owned(), Some(Raw::Text(lines))));
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                let key = match prefix {
                    "" => name.clone(),
                    prefix => format!("{prefix}.{name}"),
                };
                flatten(&key, value, out, problems);
            }
        }
        Value::Array(_) if !is_setting && schema::is_list(prefix) => problems.push(Problem {
            origin: None,
            key: Some(prefix.to_owned()),
            what:
                "lists of sections are changed in the configuration file; `conf reload` takes them \
                   over"
                    .to_owned(),
        }),
        other => out.push((prefix.to_owned(), raw_of(other))),
    }
}

fn raw_of(value: &Value) -> Option<Raw> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(flag) => Raw::Flag(*flag),
        Value::String(text) => Raw::Text(text.clone()),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Raw::Integer(whole),
            (None, Some(number)) => Raw::Float(number),
            (None, None) => Raw::Other("a number out of all range"),
        },
        Value::Array(_) => Raw::List(value.clone()),
        Value::Object(_) => Raw::Other("a table"),
    })
}

fn text_of(lines: &BTreeMap<String, Raw>) -> String {
    let mut text = HEAD.to_owned();
    for (key, raw) in lines {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{key} = {}", toml_of(raw));
    }
    text
}

/// A value as TOML has it. Names of settings need no quotes: they are made of letters, digits, `_`, `-`.
pub(super) fn toml_of(raw: &Raw) -> String {
    match raw {
        Raw::Integer(number) => number.to_string(),
        Raw::Float(number) => format!("{number:?}"),
        Raw::Flag(flag) => flag.to_string(),
        // JSON's strings are strings of TOML but for one character. Lists may be given as text.
        Raw::Bare(text) | Raw::Text(text) => quoted(text),
        Raw::List(Value::Array(words)) if words.iter().all(Value::is_string) => {
            let words = words.iter().filter_map(Value::as_str);
            let words: Vec<String> = words.map(quoted).collect();
            format!("[{}]", words.join(", "))
        }
        Raw::List(list) => quoted(&list.to_string()),
        Raw::Other(what) => quoted(what),
    }
}

/// A string of TOML.
pub fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    json.replace('\u{7f}', "\\u007F")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Machine, TomlFile};
    use serde_json::json;

    const MACHINE: Machine = Machine {
        cpus: 2,
        memory_bytes: 1 << 30,
        descriptors_hard: 1 << 16,
    };

    fn sources(overrides: &str, set: &[&str]) -> Sources {
        Sources {
            overrides: Some(TomlFile {
                name: "overrides.toml".to_owned(),
                text: overrides.to_owned(),
            }),
            set: set.iter().map(|text| (*text).to_owned()).collect(),
            ..Sources::default()
        }
    }

    fn changed(sources: &Sources, section: &str, body: &Value) -> Result<String, String> {
        let in_force = InForce::at_start(sources, &MACHINE).unwrap_or_else(|e| panic!("{e}"));
        let text = in_force.overridden(sources, section, body);
        let text = text.map_err(|error| error.to_string())?;
        Ok(text.strip_prefix(HEAD).unwrap_or_default().to_owned())
    }

    #[test]
    fn a_change_is_one_line_beside_those_that_are_there() {
        let before = sources(
            "mqtt.max_inflight = 9\nretainer.max_payload_size = '4KB'\n",
            &[],
        );
        let body = json!({ "max_inflight": 10, "max_packet_size": "2KB", "keepalive_multiplier": 2.5,
            "retain_available": false, "max_qos_allowed": 2 });
        let want = "mqtt.keepalive_multiplier = 2.5\nmqtt.max_inflight = 10\n\
                    mqtt.max_packet_size = \"2KB\"\nmqtt.retain_available = false\n\
                    retainer.max_payload_size = \"4KB\"\n";
        assert_eq!(changed(&before, "mqtt", &body), Ok(want.to_owned()));
        let null = json!({ "mqtt": { "max_inflight": null } });
        let want = "retainer.max_payload_size = \"4KB\"\n";
        assert_eq!(changed(&before, "", &null), Ok(want.to_owned()));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let none = sources("", &[]);
        let words = "a \"b\" \\ \u{e4}";
        let body = json!({ "response_information": words });
        let text = changed(&none, "mqtt", &body).unwrap();
        let again =
            InForce::at_start(&sources(&text, &[]), &MACHINE).unwrap_or_else(|e| panic!("{e}"));
        let information = &again.config().mqtt.response_information;
        assert_eq!(information.as_deref(), Some(words));
    }

    #[test]
    fn strings_are_those_of_toml() {
        let words = "\u{7f} \"\\\n\t\u{1}\u{e4}";
        let text = format!("a = {}", quoted(words));
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["a"].as_str(), Some(words));
    }

    #[test]
    fn what_cannot_be_changed_says_why() {
        let set = sources("", &["mqtt.max_inflight=5"]);
        for (section, body, want) in [
            (
                "mqtt",
                json!({ "max_inflight": 6 }),
                "it is set by --set, which goes before",
            ),
            (
                "mqtt",
                json!({ "max_inflight": 0 }),
                "key `mqtt.max_inflight`: 0 is not",
            ),
            (
                "mqtt",
                json!({ "max_inflite": 1 }),
                "did you mean `mqtt.max_inflight`?",
            ),
            (
                "node",
                json!({ "name": "x" }),
                "cannot be changed while the broker runs",
            ),
            ("mqtt", json!(7), "there is no such setting"),
            (
                "nothing",
                json!({ "at": "all" }),
                "there is no such setting",
            ),
            (
                "mqtt",
                json!({ "max_packet_size": {} }),
                "key `mqtt.max_packet_size`",
            ),
            (
                "rewrite",
                json!([{ "re": "x" }]),
                "lists of sections are changed in",
            ),
            (
                "listeners",
                json!({ "tcp": { "x": { "max_connections": 1 } } }),
                "there is no such listener",
            ),
        ] {
            let said = changed(&set, section, &body).unwrap_err();
            assert!(said.contains(want), "{body}: {said}");
        }
    }

    #[test]
    fn what_was_read_may_be_sent_back() {
        let set = sources("", &["node.name=x", "dashboard.default_password=hush5678"]);
        let body = json!({ "node": { "name": "x", "cores": "auto" },
            "dashboard": { "default_password": HIDDEN } });
        assert_eq!(changed(&set, "", &body), Ok(String::new()));
        let list = r#"authentication=[{"mechanism":"password_based","backend":"http","method":"post",
            "url":"http://127.0.0.1/x","headers":{"authorization":"hush"}}]"#;
        let body = json!({ "authentication": [{ "mechanism": "password_based", "backend": "http",
            "method": "post", "url": "http://127.0.0.1/x", "headers": { "authorization": HIDDEN } }] });
        assert_eq!(changed(&sources("", &[list]), "", &body), Ok(String::new()));
    }
}
