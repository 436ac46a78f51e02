//! The settings in force, for people and programs that ask for them; what is secret is not told.

use serde_json::Value;

use super::kind::Raw;
use super::schema;
use super::sections::SECTIONS;
use super::setting::Section;
use super::values::Values;

/// What is told instead of a secret.
pub(super) const HIDDEN: &str = "******";
/// Last words of the names of what is secret, in small letters.
const SECRET: &[&str] = &["password", "secret", "token", "authorization"];
/// Below these names everything is secret: any header of HTTP may hold a credential.
const ALL_SECRET: &[&str] = &["headers"];

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
        Raw::Bare(text) | Raw::Text(text) if is_secret(key) => {
            let told = if is_word(text) { text } else { HIDDEN };
            told.into()
        }
        // A list or an object as the environment has it.
        Raw::Bare(text) | Raw::Text(text) if text.trim_start().starts_with(['[', '{']) => {
            let parsed = serde_json::from_str(text);
            parsed.map_or_else(|_| without_login(text).into(), |value| hidden(&value))
        }
        Raw::Text(text) => without_login(text).into(),
        Raw::Bare(text) => match text.as_str() {
            "true" => true.into(),
            "false" => false.into(),
            number => number
                .parse::<i64>()
                .map_or_else(|_| without_login(number).into(), Into::into),
        },
        Raw::Integer(number) => (*number).into(),
        Raw::Float(number) => (*number).into(),
        Raw::Flag(flag) => (*flag).into(),
        Raw::List(list) => hidden(list),
        Raw::Other(what) => (*what).into(),
    }
}

/// Whether what has this name is secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET.iter().any(|word| name.ends_with(word))
}

/// A list whose secrets are not told.
fn hidden(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(hidden).collect(),
        Value::Object(fields) => {
            let told = fields.iter().map(|(name, value)| {
                let value = match value {
                    _ if is_secret(name) => HIDDEN.into(),
                    Value::Object(all) if ALL_SECRET.contains(&name.as_str()) => {
                        all.keys().map(|key| (key.clone(), HIDDEN)).collect()
                    }
                    _ if ALL_SECRET.contains(&name.as_str()) => HIDDEN.into(),
                    value => hidden(value),
                };
                (name.clone(), value)
            });
            Value::Object(told.collect())
        }
        Value::String(text) => without_login(text).into(),
        other => other.clone(),
    }
}

/// An address without the user name and the password in it; any other text as it is.
fn without_login(text: &str) -> String {
    let login = text.split_once("://").and_then(|(scheme, rest)| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        let (login, _) = authority.rsplit_once('@')?;
        Some((scheme, &rest[login.len()..]))
    });
    login.map_or_else(
        || text.to_owned(),
        |(scheme, rest)| format!("{scheme}://{HIDDEN}{rest}"),
    )
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

    #[test]
    fn secrets_are_not_told_however_they_are_written() {
        let list = r#"[{ "backend": "mysql", "password": "hunter" }]"#;
        for raw in [Raw::Text(list.to_owned()), Raw::Bare(list.to_owned())] {
            let told = value_of("authentication", &raw);
            assert_eq!(told[0]["backend"], "mysql");
            assert!(!told.to_string().contains("hunter"), "{told}");
        }
        let headers = serde_json::json!([{
            "Authorization": "Basic hunter",
            "headers": { "x-api-key": "hunter" },
            "uri": "mongodb://me:hunter@db:27017/users?w=1",
        }]);
        let told = hidden(&headers);
        assert!(!told.to_string().contains("hunter"), "{told}");
        assert_eq!(
            told[0]["headers"],
            serde_json::json!({ "x-api-key": HIDDEN })
        );
        assert_eq!(
            told[0]["uri"],
            format!("mongodb://{HIDDEN}@db:27017/users?w=1")
        );
        let authorization = Raw::Text("Bearer hunter".to_owned());
        assert_eq!(value_of("authorization", &authorization), HIDDEN);
        for plain in ["http://a/b@c", "127.0.0.1:1883", "a@b", "[not JSON"] {
            assert_eq!(value_of("url", &Raw::Text(plain.to_owned())), plain);
        }
    }
}
