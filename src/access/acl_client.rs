//! Rules that a client brings along from its login: a JWT's `acl` claim, an HTTP service's reply.
//!
//! They decide before all others, until they expire; from then on nothing is allowed.

use serde_json::Value;

use crate::access::acl::{Action, ActionSet, Net, Pattern, Permission, Rule, Subject, Text};
use crate::access::acl::{Topics, Who};
use crate::access::acl_file::{filter_pattern, regex};
use crate::base::limits::CLIENT_ACL_RULES_MAX;

/// A client's own rules.
#[derive(Clone, Debug)]
pub struct ClientAcl {
    rules: Box<[Rule]>,
    /// Whether what no rule is about is denied, instead of being left to other rules.
    only_listed: bool,
    /// The second of UNIX time from which on they allow nothing; absent = never.
    pub expires_unix_s: Option<u64>,
}

impl ClientAcl {
    /// Rules as they are, which leave what they are not about to others. None if there are too many.
    pub fn new(rules: Vec<Rule>, expires_unix_s: Option<u64>) -> Option<Self> {
        (rules.len() <= CLIENT_ACL_RULES_MAX).then(|| Self {
            rules: rules.into(),
            only_listed: false,
            expires_unix_s,
        })
    }

    /// Rules that allow nothing.
    pub fn nothing() -> Self {
        Self {
            rules: Box::default(),
            only_listed: true,
            expires_unix_s: None,
        }
    }

    /// Rules of which what they are not about is denied.
    #[must_use]
    pub fn only_listed(self) -> Self {
        Self {
            only_listed: true,
            ..self
        }
    }

    /// Reads EMQX's two shapes: a list of rules
    /// `{"permission", "action", "topic" or "topics", "qos", "retain", "clientid_re", "username_re", "ipaddr"}`,
    /// or an object of lists of filters, `{"pub", "sub", "all"}`, which denies what it does not list.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence.
    pub fn from_json(acl: &Value, expires_unix_s: Option<u64>) -> Result<Self, String> {
        let (rules, only_listed) = match acl {
            Value::Array(rules) => {
                let rules: Result<Vec<Rule>, String> = rules.iter().map(rule).collect();
                (rules?, false)
            }
            Value::Object(lists) => (listed(lists)?, true),
            _ => return Err("it is neither a list nor an object".to_owned()),
        };
        if rules.len() > CLIENT_ACL_RULES_MAX {
            return Err(format!("it has more than {CLIENT_ACL_RULES_MAX} rules"));
        }
        Ok(Self {
            rules: rules.into(),
            only_listed,
            expires_unix_s,
        })
    }

    /// What they say; none if they leave it to others.
    pub fn decide(
        &self,
        subject: &Subject<'_>,
        action: Action,
        topic: &str,
        now_unix_s: u64,
    ) -> Option<Permission> {
        if self.expires_unix_s.is_some_and(|end| end <= now_unix_s) {
            return Some(Permission::Deny);
        }
        let hit = self
            .rules
            .iter()
            .find(|rule| rule.hits(subject, action, topic));
        match hit {
            Some(rule) => Some(rule.permission),
            None => self.only_listed.then_some(Permission::Deny),
        }
    }
}

/// One rule of the newer shape.
fn rule(value: &Value) -> Result<Rule, String> {
    let Value::Object(fields) = value else {
        return Err("a rule is not an object".to_owned());
    };
    let text = |name: &str| {
        fields
            .get(name)
            .map(|value| as_text(name, value))
            .transpose()
    };
    let permission = match text("permission")? {
        Some("allow") => Permission::Allow,
        Some("deny") => Permission::Deny,
        _ => return Err("permission is neither allow nor deny".to_owned()),
    };
    let mut actions = match text("action")? {
        Some("publish" | "pub") => ActionSet::PUBLISH,
        Some("subscribe" | "sub") => ActionSet::SUBSCRIBE,
        Some("all" | "pubsub") => ActionSet::ALL,
        _ => return Err("action is none of publish, subscribe, all".to_owned()),
    };
    if let Some(levels) = fields.get("qos").filter(|value| !value.is_null()) {
        actions = actions.at_qos(qos_bits(levels)?);
    }
    actions = match fields.get("retain") {
        None | Some(Value::Null) => actions,
        Some(Value::Bool(retain)) => actions.with_retain(*retain),
        Some(Value::String(text)) if text == "all" => actions,
        Some(Value::String(text)) if text == "true" => actions.with_retain(true),
        Some(Value::String(text)) if text == "false" => actions.with_retain(false),
        Some(_) => return Err("retain is none of true, false, all".to_owned()),
    };
    let mut who = Vec::new();
    if let Some(pattern) = text("clientid_re")? {
        who.push(Who::Client(Text::Like(regex(pattern)?)));
    }
    if let Some(pattern) = text("username_re")? {
        who.push(Who::User(Text::Like(regex(pattern)?)));
    }
    if let Some(net) = text("ipaddr")? {
        let net = Net::parse(net).ok_or_else(|| format!("ipaddr {net:?} is no network"))?;
        who.push(Who::Nets([net].into()));
    }
    let topics = match (fields.get("topic"), fields.get("topics")) {
        (Some(one), None) => vec![topic(one)?],
        (None, Some(Value::Array(all))) => all.iter().map(topic).collect::<Result<_, _>>()?,
        _ => return Err("a rule has neither topic nor topics".to_owned()),
    };
    Ok(Rule {
        permission,
        who: Who::And(who.into()),
        actions,
        topics: Topics::Listed(topics.into()),
    })
}

/// The rules of the older shape.
fn listed(lists: &serde_json::Map<String, Value>) -> Result<Vec<Rule>, String> {
    let mut rules = Vec::new();
    for (name, actions) in [
        ("pub", ActionSet::PUBLISH),
        ("sub", ActionSet::SUBSCRIBE),
        ("all", ActionSet::ALL),
    ] {
        let topics = match lists.get(name) {
            None | Some(Value::Null) => continue,
            Some(Value::Array(all)) => all.iter().map(topic).collect::<Result<Vec<_>, _>>()?,
            Some(_) => return Err(format!("{name} is not a list")),
        };
        rules.push(Rule {
            permission: Permission::Allow,
            who: Who::All,
            actions,
            topics: Topics::Listed(topics.into()),
        });
    }
    Ok(rules)
}

fn topic(value: &Value) -> Result<Pattern, String> {
    filter_pattern(as_text("topic", value)?)
}

fn as_text<'a>(name: &str, value: &'a Value) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| format!("{name} is not text"))
}

/// QoS levels, alone or in a list, numbers or text as CSV files make them.
fn qos_bits(value: &Value) -> Result<u8, String> {
    let one = |value: &Value| match value {
        Value::Number(number) => number.as_u64().filter(|qos| *qos <= 2),
        Value::String(text) => text.trim().parse().ok().filter(|qos| *qos <= 2),
        _ => None,
    };
    let all = match value {
        Value::Array(all) => all.iter().map(one).collect::<Option<Vec<u64>>>(),
        one_of_them => one(one_of_them).map(|qos| vec![qos]),
    };
    let all = all.ok_or("qos holds something that is not 0, 1 or 2")?;
    Ok(all.iter().fold(0, |bits, qos| bits | 1 << qos))
}
