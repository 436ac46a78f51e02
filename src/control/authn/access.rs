//! Access by rules that lie elsewhere: cores ask what their own rules leave open, and the sources are
//! asked in their order. The first that has something to say decides.
//!
//! A database is asked for the client's rules, which are read as those that a client brings along; a
//! service is asked about each wish. Rules of a source that cannot be understood deny: one of them may
//! have been meant to.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use tokio::runtime::Handle;

use crate::access::acl::{Permission, Subject};
use crate::access::acl_client::ClientAcl;
use crate::base::envelope::PeerNames;
use crate::config::{AccessSource, AccessSourceKind, Config, Time};
use crate::control::authn::breaker::Breaker;
use crate::control::authn::document::Documents;
use crate::control::authn::http::Http;
use crate::control::authn::key_value::KeyValue;
use crate::control::authn::member::in_time;
use crate::control::authn::sql::{MySql, Postgres, Row};
use crate::control::authn::template::Wish;
use crate::gate::access::{AccessAnswer, AccessQuestion, AccessReply};
use crate::gate::authn::{AuthnRequest, Place, Ticket};
use crate::gate::command::Command;
use crate::gate::port::Gate;
use crate::mqtt::version::Version;

/// Times that an answer is offered to a core whose channel is full.
const DELIVERIES: usize = 100;
/// Between two of them.
const DELIVERY_PAUSE: Duration = Duration::from_millis(5);

/// Sources in order.
struct Sources {
    sources: Vec<Source>,
    /// Names of the listeners, by number.
    listeners: Vec<String>,
}

struct Source {
    id: &'static str,
    backend: Backend,
    breaker: Breaker,
}

enum Backend {
    Http(Box<Http>),
    KeyValue(KeyValue, Time),
    MySql(MySql),
    Postgres(Postgres),
    Documents(Box<Documents>),
}

/// Those who are asked, with how they do.
pub(super) type Asked = Vec<(&'static str, Breaker)>;

/// Starts to answer the cores' questions about access; nothing runs if nobody is to be asked. Returns how
/// each of those who are asked does.
///
/// # Errors
/// A sentence for the operator.
pub(super) fn start(handle: &Handle, gate: &Gate, config: &Config) -> Result<Asked, String> {
    let _context = handle.enter();
    let enabled = config.access_sources.iter().enumerate();
    let enabled = enabled.filter(|(_, source)| source.enable);
    let sources: Vec<Source> = enabled
        .map(|(index, source)| {
            Source::new(source).map_err(|what| {
                let id = source.kind.id();
                let at = index + 1;
                format!("authorization.sources.remote: entry {at} ({id}): {what}")
            })
        })
        .collect::<Result<_, _>>()?;
    if sources.is_empty() {
        return Ok(Vec::new());
    }
    let all = sources.iter();
    let all = all
        .map(|source| (source.id, source.breaker.clone()))
        .collect();
    let sources = Arc::new(Sources {
        sources,
        listeners: config.listeners.iter().map(ToString::to_string).collect(),
    });
    let (handle, gate) = (handle.clone(), gate.clone());
    let asked = gate.access_questions().clone();
    let serve = move || {
        for question in asked.iter() {
            let (gate, sources) = (gate.clone(), Arc::clone(&sources));
            handle.spawn(async move {
                let reply = sources.decide(&question).await;
                let ticket = question.ticket;
                deliver(&gate, AccessAnswer { ticket, reply }).await;
            });
        }
    };
    thread::Builder::new()
        .name("authz".to_owned())
        .spawn(serve)
        .map(|_| all)
        .map_err(|error| format!("no thread for access: {error}"))
}

/// A full channel is tried again for a moment, then the core's own time-out decides.
async fn deliver(gate: &Gate, answer: AccessAnswer) {
    let core = answer.ticket.core;
    for _ in 0..DELIVERIES {
        if gate.ask(core, Command::Access(answer)).is_ok() {
            return;
        }
        tokio::time::sleep(DELIVERY_PAUSE).await;
    }
}

impl Sources {
    async fn decide(&self, question: &AccessQuestion) -> AccessReply {
        let mut reply = AccessReply::Ignore;
        let listener = self.listeners.get(usize::from(question.listener));
        for source in &self.sources {
            match source
                .ask(question, listener.map_or("", String::as_str))
                .await
            {
                Some(Ok(Permission::Allow)) => return AccessReply::Allow,
                Some(Ok(Permission::Deny)) => return AccessReply::Deny,
                Some(Err(())) => reply = AccessReply::Unavailable,
                None => {}
            }
        }
        reply
    }
}

impl Source {
    fn new(source: &AccessSource) -> Result<Self, String> {
        let backend = match &source.kind {
            AccessSourceKind::Http(config) => Backend::Http(Box::new(Http::new(config)?)),
            AccessSourceKind::Redis(config) => {
                Backend::KeyValue(KeyValue::of_pairs(config)?, config.query_timeout)
            }
            AccessSourceKind::Mysql(config) => Backend::MySql(MySql::new(config)?),
            AccessSourceKind::Postgresql(config) => Backend::Postgres(Postgres::new(config)?),
            AccessSourceKind::Mongodb(config) => {
                Backend::Documents(Box::new(Documents::new(config)?))
            }
        };
        Ok(Self {
            id: source.kind.id(),
            backend,
            breaker: Breaker::default(),
        })
    }

    /// What it says; an error if it could not be asked.
    async fn ask(
        &self,
        question: &AccessQuestion,
        listener: &str,
    ) -> Option<Result<Permission, ()>> {
        if self.breaker.is_paused() {
            return Some(Err(()));
        }
        let client = client_of(question);
        let wish = Wish {
            action: question.action,
            topic: &question.topic,
        };
        let rules: Result<Vec<Value>, String> = match &self.backend {
            Backend::Http(http) => {
                let said = in_time(http.timeout(), http.allows(&client, &wish)).await;
                return match self.note(said) {
                    Ok(said) => said.map(Ok),
                    Err(()) => Some(Err(())),
                };
            }
            Backend::KeyValue(redis, time) => in_time(*time, redis.pairs(&client))
                .await
                .map(|pairs| pairs.into_iter().map(rule_of_pair).collect()),
            Backend::MySql(sql) => in_time(sql.timeout(), sql.rows(&client))
                .await
                .map(|rows| rows.into_iter().map(rule_of_row).collect()),
            Backend::Postgres(sql) => in_time(sql.timeout(), sql.rows(&client))
                .await
                .map(|rows| rows.into_iter().map(rule_of_row).collect()),
            Backend::Documents(mongo) => in_time(mongo.timeout(), mongo.all(&client))
                .await
                .map(|documents| documents.into_iter().map(rule_of_document).collect()),
        };
        match self.note(rules) {
            Ok(rules) => self.judge(rules, question, listener).map(Ok),
            Err(()) => Some(Err(())),
        }
    }

    /// Tells the breaker how the question went.
    fn note<T>(&self, answer: Result<T, String>) -> Result<T, ()> {
        answer
            .inspect(|_| self.breaker.worked(self.id))
            .map_err(|what| self.breaker.failed(self.id, &what))
    }

    fn judge(
        &self,
        rules: Vec<Value>,
        question: &AccessQuestion,
        listener: &str,
    ) -> Option<Permission> {
        let subject = Subject {
            client_id: &question.client_id,
            peer: question.peer.ip().to_canonical(),
            listener,
            username: question.username.as_deref(),
            cert_common_name: question.cert_common_name.as_deref(),
            cert_subject: question.cert_subject.as_deref(),
            attributes: &question.attributes,
        };
        match ClientAcl::from_json(&Value::Array(rules), None) {
            Ok(acl) => acl.decide(&subject, question.action, &question.topic, unix_seconds()),
            Err(error) => {
                tracing::warn!(
                    source = self.id,
                    client_id = %question.client_id,
                    error,
                    "authorization: a client's rules cannot be understood, they deny"
                );
                Some(Permission::Deny)
            }
        }
    }
}

/// The client of a question, for placeholders.
fn client_of(question: &AccessQuestion) -> AuthnRequest {
    let names = PeerNames {
        common_name: question.cert_common_name.clone(),
        subject: question.cert_subject.clone(),
        ..PeerNames::default()
    };
    AuthnRequest {
        ticket: Ticket {
            core: question.ticket.core,
            place: Place::Connection(question.ticket.connection.index),
            serial: 0,
        },
        client_id: (&*question.client_id).into(),
        username: question.username.clone(),
        password: None,
        peer: question.peer,
        listener: question.listener,
        peer_names: Some(Box::new(names)),
        version: Version::V5,
        exchange: None,
    }
}

/// A row of a table of rules, EMQX 5's (`permission`, `action`, ...) or EMQX 4's (`allow`, `access`, ...).
/// What is missing or wrong is found when the rule is read.
fn rule_of_row(row: Row) -> Value {
    let mut rule = Map::new();
    for (column, value) in row {
        let value = value.trim().to_owned();
        let (name, value) = match (column.as_str(), value.as_str()) {
            (_, "") => continue,
            ("allow", "1" | "true") => ("permission", json!("allow")),
            ("allow", _) => ("permission", json!("deny")),
            ("access", "1") => ("action", json!("subscribe")),
            ("access", "2") => ("action", json!("publish")),
            ("access", "3") => ("action", json!("all")),
            ("ipaddr" | "ipaddress", "$all") => continue,
            ("ipaddr" | "ipaddress", _) => ("ipaddr", json!(value)),
            ("qos", _) => ("qos", value.split(',').map(Value::from).collect()),
            ("retain", "1") => ("retain", json!("true")),
            ("retain", "0") => ("retain", json!("false")),
            ("topic", _) => ("topic", json!(value)),
            ("permission" | "action" | "retain", _) => {
                (column.as_str(), json!(value.to_ascii_lowercase()))
            }
            _ => continue,
        };
        rule.insert(name.to_owned(), value);
    }
    Value::Object(rule)
}

/// A field of Redis: topic and `publish`, `subscribe`, `all` (EMQX 4: 1 subscribe, 2 publish, 3 both), or a
/// JSON object with `action`, `qos`, `retain`, `permission`.
fn rule_of_pair((topic, value): (String, String)) -> Value {
    let mut rule = match serde_json::from_str::<Value>(&value) {
        Ok(Value::Object(rule)) => rule,
        _ => {
            let action = match value.as_str() {
                "1" => "subscribe",
                "2" => "publish",
                "3" => "all",
                word => word,
            };
            Map::from_iter([("action".to_owned(), json!(action))])
        }
    };
    rule.entry("permission").or_insert_with(|| json!("allow"));
    rule.insert("topic".to_owned(), json!(topic));
    Value::Object(rule)
}

/// A document of MongoDB: the fields of a rule, others left out.
fn rule_of_document(document: Value) -> Value {
    let Value::Object(fields) = document else {
        return Value::Null;
    };
    let known = |name: &str| {
        matches!(
            name,
            "permission" | "action" | "topic" | "topics" | "qos" | "retain" | "ipaddr"
        )
    };
    fields
        .into_iter()
        .filter(|(name, _)| known(name))
        .collect::<Map<_, _>>()
        .into()
}

fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fields: &[(&str, &str)]) -> Row {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        fields.iter().map(own).collect()
    }

    #[test]
    fn rows_of_both_generations_are_rules() {
        let new = rule_of_row(row(&[
            ("permission", "Deny"),
            ("action", "publish"),
            ("topic", "A/b"),
            ("qos", "1,2"),
            ("retain", "1"),
            ("ipaddress", ""),
            ("id", "7"),
        ]));
        let want = json!({"permission": "deny", "action": "publish", "topic": "A/b",
            "qos": ["1", "2"], "retain": "true"});
        assert_eq!(new, want);
        let old = rule_of_row(row(&[
            ("allow", "1"),
            ("access", "3"),
            ("topic", "t/#"),
            ("ipaddr", "10.0.0.0/8"),
            ("username", "u"),
        ]));
        let want = json!({"permission": "allow", "action": "all", "topic": "t/#",
            "ipaddr": "10.0.0.0/8"});
        assert_eq!(old, want);
        for rule in [new, old] {
            assert!(ClientAcl::from_json(&json!([rule]), None).is_ok());
        }
        let wrong = rule_of_row(row(&[("topic", "t")]));
        assert!(ClientAcl::from_json(&json!([wrong]), None).is_err());
    }

    #[test]
    fn fields_of_redis_are_rules() {
        let pair = |topic: &str, value: &str| rule_of_pair((topic.to_owned(), value.to_owned()));
        assert_eq!(
            pair("a", "1"),
            json!({"permission": "allow", "action": "subscribe", "topic": "a"})
        );
        assert_eq!(pair("a", "publish")["action"], "publish");
        let rich = pair(
            "eq a/#",
            r#"{"action": "all", "qos": [0], "permission": "deny"}"#,
        );
        assert_eq!(rich["permission"], "deny");
        assert!(ClientAcl::from_json(&json!([rich]), None).is_ok());
        let wrong = pair("a", "write");
        assert!(ClientAcl::from_json(&json!([wrong]), None).is_err());
    }
}
