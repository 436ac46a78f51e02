//! The settings in force, for people and programs that ask for them; what is secret is not told.

use serde_json::Value;

use super::kind::Raw;
use super::schema;
use super::sections::SECTIONS;
use super::setting::Section;
use super::values::Values;

/// What is told instead of a secret.
pub(super) const HIDDEN: &str = "******";
/// Last words of settings whose values are secret.
const SECRET: &[&str] = &["password", "secret", "token", "key_password"];

/// One setting in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Its full name.
    pub key: String,
    /// Its value, as it was written; the default if it was not.
    pub value: Value,
    /// Where the value came from; absent for a default.
    pub origin: Option<String>,
    /// Whether it may stand among the changes made at run time.
    pub live: bool,
}

/// All settings, those of named sections once for each name.
pub(crate) fn shown(values: &Values) -> Vec<Shown> {
    let mut all = Vec::new();
    for section in SECTIONS {
        for prefix in prefixes(section, values) {
            for setting in section.settings {
                let key = match prefix.as_str() {
                    "" => setting.key.to_owned(),
                    prefix => format!("{prefix}.{}", setting.key),
                };
                let given = values.given(&key);
                let default = || Raw::Bare(setting.default.to_owned());
                let raw = given.map_or_else(default, |given| given.raw.clone());
                all.push(Shown {
                    value: value_of(setting.key, &raw),
                    origin: given.map(|given| given.origin.to_string()),
                    live: setting.change.is_live(),
                    key,
                });
            }
        }
    }
    all
}

fn prefixes(section: &Section, values: &Values) -> Vec<String> {
    let Some((fixed, rest)) = section.prefix.split_once(".<name>") else {
        return vec![section.prefix.to_owned()];
    };
    let mut names: Vec<String> = Vec::new();
    for (key, _) in values.below(fixed) {
        let name = key.split('.').next().unwrap_or(key);
        let known = schema::find(&format!("{fixed}.{key}")).is_ok();
        if known && names.last().is_none_or(|last| last != name) {
            names.push(name.to_owned());
        }
    }
    let named = names.iter().map(|name| format!("{fixed}.{name}{rest}"));
    named.collect()
}

/// A value as it is told; of a setting whose name ends in `key`.
pub(super) fn value_of(key: &str, raw: &Raw) -> Value {
    let is_word = |text: &str| matches!(text, "random" | "none" | "");
    match raw {
        Raw::Bare(text) | Raw::Text(text) if SECRET.iter().any(|word| key.ends_with(word)) => {
            let told = if is_word(text) { text } else { HIDDEN };
            told.into()
        }
        Raw::Text(text) => text.as_str().into(),
        Raw::Bare(text) => match text.as_str() {
            "true" => true.into(),
            "false" => false.into(),
            number => number
                .parse::<i64>()
                .map_or_else(|_| number.into(), Into::into),
        },
        Raw::Integer(number) => (*number).into(),
        Raw::Float(number) => (*number).into(),
        Raw::Flag(flag) => (*flag).into(),
        Raw::List(list) => hidden(list),
        Raw::Other(what) => (*what).into(),
    }
}

/// A list whose secrets are not told.
fn hidden(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(hidden).collect(),
        Value::Object(fields) => {
            let told = fields.iter().map(|(name, value)| {
                let secret = SECRET.iter().any(|word| name.ends_with(word));
                let value = if secret { HIDDEN.into() } else { hidden(value) };
                (name.clone(), value)
            });
            Value::Object(told.collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Machine, Sources};

    #[test]
    fn values_are_told_with_their_origin_and_secrets_are_not() {
        let sources = Sources {
            set: vec![
                "mqtt.max_inflight=64".to_owned(),
                "dashboard.default_password=hunter2222".to_owned(),
                "listeners.tcp.plant.bind=127.0.0.1:7".to_owned(),
            ],
            ..Sources::default()
        };
        let machine = Machine {
            cpus: 2,
            memory_bytes: 1 << 30,
            descriptors_hard: 1024,
        };
        let config = Config::new(&sources, &machine).unwrap();
        let of = |key: &str| config.shown.iter().find(|shown| shown.key == key).unwrap();
        let inflight = of("mqtt.max_inflight");
        assert_eq!((&inflight.value, inflight.live), (&Value::from(64), true));
        assert_eq!(inflight.origin.as_deref(), Some("--set"));
        assert_eq!(of("dashboard.default_password").value, HIDDEN);
        assert_eq!(of("listeners.tcp.plant.bind").value, "127.0.0.1:7");
        assert_eq!(of("mqtt.retain_available").value, true);
        assert!(!format!("{:?}", config.shown).contains("hunter"));
    }

    #[test]
    fn secrets_in_lists_are_not_told() {
        let list =
            serde_json::json!([{ "server": "a", "password": "x", "tls": { "key_password": 1 } }]);
        let want = serde_json::json!(
            [{ "server": "a", "password": HIDDEN, "tls": { "key_password": HIDDEN } }]
        );
        assert_eq!(hidden(&list), want);
    }
}
