//! What comes with a client's authentication as JSON: rules, expiry, attributes.

use serde_json::{Map, Value};

use crate::gate::authn::{ClientAcl, ClientRule};

/// Most rules and attributes that one client may have.
const ENTRIES_MAX: usize = 256;

/// A client's own rules: EMQX 5's list of rules, or EMQX 4's table of topics (`pub`, `sub`, `all`),
/// which denies all it does not name.
///
/// # Errors
/// What is wrong with them: a client whose rules cannot be read is not let in without them.
pub(super) fn acl_of(value: &Value) -> Result<ClientAcl, String> {
    let acl = match value {
        Value::Array(rules) => ClientAcl {
            rules: rules
                .iter()
                .map(rules_of)
                .collect::<Result<Vec<_>, _>>()?
                .concat(),
            denies_rest: false,
        },
        Value::Object(table) => table_of(table)?,
        _ => return Err("the rules are neither a list nor a table".to_owned()),
    };
    if acl.rules.len() > ENTRIES_MAX {
        return Err(format!("more than {ENTRIES_MAX} rules"));
    }
    Ok(acl)
}

fn table_of(table: &Map<String, Value>) -> Result<ClientAcl, String> {
    let mut rules = Vec::new();
    for (name, topics) in table {
        let (publish, subscribe) = match name.as_str() {
            "pub" => (true, false),
            "sub" => (false, true),
            "all" => (true, true),
            _ => return Err(format!("`{name}` is none of pub, sub, all")),
        };
        for topic in texts(topics).ok_or("topics are no list of texts")? {
            rules.push(rule(true, publish, subscribe, topic, 7, None));
        }
    }
    Ok(ClientAcl {
        rules,
        denies_rest: true,
    })
}

fn rules_of(value: &Value) -> Result<Vec<ClientRule>, String> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let allow = match text("permission") {
        Some("allow") => true,
        Some("deny") => false,
        _ => return Err("`permission` is neither allow nor deny".to_owned()),
    };
    let (publish, subscribe) = match text("action") {
        Some("publish" | "pub") => (true, false),
        Some("subscribe" | "sub") => (false, true),
        Some("all") | None => (true, true),
        Some(_) => return Err("`action` is none of publish, subscribe, all".to_owned()),
    };
    let qos = match value.get("qos") {
        None | Some(Value::Null) => 7,
        Some(Value::Array(list)) => list
            .iter()
            .try_fold(0, |all, one| Ok::<u8, String>(all | qos_of(one)?))?,
        Some(one) => qos_of(one)?,
    };
    let retain = match value.get("retain") {
        None | Some(Value::Null) => None,
        Some(Value::Bool(retain)) => Some(*retain),
        Some(Value::String(text)) => match text.as_str() {
            "all" => None,
            "true" => Some(true),
            "false" => Some(false),
            _ => return Err("`retain` is none of true, false, all".to_owned()),
        },
        Some(_) => return Err("`retain` is none of true, false, all".to_owned()),
    };
    let topics = value.get("topics").or_else(|| value.get("topic"));
    let topics = topics.and_then(texts).ok_or("`topic` is missing")?;
    // A rule for certain clients only is a rule of others: unknown words may narrow it.
    if let Some(table) = value.as_object()
        && let Some(unknown) = table
            .keys()
            .find(|name| !RULE_WORDS.contains(&name.as_str()))
    {
        return Err(format!("a rule's `{unknown}` is not known"));
    }
    let of_topic = |topic| rule(allow, publish, subscribe, topic, qos, retain);
    Ok(topics.into_iter().map(of_topic).collect())
}

/// What a rule may say.
const RULE_WORDS: &[&str] = &["permission", "action", "topic", "topics", "qos", "retain"];

fn rule(
    allow: bool,
    publish: bool,
    subscribe: bool,
    topic: &str,
    qos: u8,
    retain: Option<bool>,
) -> ClientRule {
    let literal = topic.strip_prefix("eq ");
    ClientRule {
        allow,
        publish,
        subscribe,
        topic: literal.unwrap_or(topic).into(),
        literal: literal.is_some(),
        qos,
        retain,
    }
}

fn qos_of(value: &Value) -> Result<u8, String> {
    let number = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    match number {
        Some(qos @ 0..=2) => Ok(1 << qos),
        _ => Err("`qos` is not 0, 1 or 2".to_owned()),
    }
}

fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(list) => list.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// Attributes: names with texts; others are passed over.
pub(super) fn attributes_of(value: Option<&Value>) -> Vec<(Box<str>, Box<str>)> {
    let table = value.and_then(Value::as_object);
    let pairs = table.into_iter().flatten().filter_map(|(name, value)| {
        let value = value.as_str()?;
        Some((Box::from(name.as_str()), Box::from(value)))
    });
    pairs.take(ENTRIES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_forms_of_rules() {
        let acl = acl_of(&json!([
            {"permission": "deny", "action": "publish", "topic": "eq a/+", "qos": [1, 2]},
            {"permission": "allow", "action": "all", "topics": ["b", "c"], "retain": true}
        ]))
        .unwrap();
        assert!(!acl.denies_rest);
        assert_eq!(acl.rules[0], rule(false, true, false, "eq a/+", 6, None));
        assert!(acl.rules[0].literal && &*acl.rules[0].topic == "a/+");
        assert_eq!(acl.rules[2], rule(true, true, true, "c", 7, Some(true)));
        let old = acl_of(&json!({"pub": ["p/${clientid}"], "sub": "s/#", "all": []})).unwrap();
        assert!(old.denies_rest && old.rules.len() == 2);
    }

    #[test]
    fn rules_that_cannot_be_read_are_an_error() {
        for wrong in [
            json!("all"),
            json!([{"action": "publish", "topic": "t"}]),
            json!([{"permission": "allow", "action": "write", "topic": "t"}]),
            json!([{"permission": "allow"}]),
            json!([{"permission": "allow", "topic": "t", "qos": 3}]),
            json!([{"permission": "allow", "topic": "t", "clientid_re": "^a"}]),
            json!({"read": ["t"]}),
            json!({"pub": [1]}),
        ] {
            assert!(acl_of(&wrong).is_err(), "{wrong}");
        }
    }
}
