//! Sources of access rules that have to be asked, as EMQX 5 writes them.

use serde_json::{Map, Value};

use super::backends::{HttpAuthn, MongoAuthn, RedisAuthn, SqlAuthn};
use super::{list_of, read};
use crate::config::kind::{Kind, Raw};

/// EMQX's statement for rules.
const QUERY: &str = "SELECT permission, action, topic, ipaddress, qos, retain FROM mqtt_acl \
                     WHERE username = ${username}";
/// EMQX's command for rules.
const COMMAND: &str = "HGETALL mqtt_acl:${username}";
/// EMQX's collection for rules.
const COLLECTION: &str = "mqtt_acl";

/// One source.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessSource {
    /// Whether it is asked.
    pub enable: bool,
    /// What it is.
    pub kind: AccessSourceKind,
}

/// What a source of access rules is.
#[derive(Debug, Clone, PartialEq)]
pub enum AccessSourceKind {
    /// Another service decides about each question.
    Http(HttpAuthn),
    /// A hash of topics a client.
    Redis(RedisAuthn),
    /// Rows of rules.
    Mysql(SqlAuthn),
    /// Rows of rules.
    Postgresql(SqlAuthn),
    /// Documents with rules.
    Mongodb(MongoAuthn),
}

impl AccessSourceKind {
    /// EMQX's name of it.
    pub fn id(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Redis(_) => "redis",
            Self::Mysql(_) => "mysql",
            Self::Postgresql(_) => "postgresql",
            Self::Mongodb(_) => "mongodb",
        }
    }
}

impl AccessSource {
    /// One source, from its table.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(value: Value) -> Result<Self, String> {
        let Value::Object(mut table) = value else {
            return Err("this is not a table".to_owned());
        };
        let Some(Value::String(kind)) = table.remove("type") else {
            return Err("`type` is missing".to_owned());
        };
        let enable = match table.remove("enable") {
            None => true,
            Some(Value::Bool(enable)) => enable,
            Some(_) => return Err("`enable` is neither true nor false".to_owned()),
        };
        let mut unless_given = |key: &str, value: Value| {
            table.entry(key).or_insert(value);
        };
        match kind.as_str() {
            "http" => unless_given("body", body()),
            "redis" => unless_given("cmd", COMMAND.into()),
            "mysql" | "postgresql" => unless_given("query", QUERY.into()),
            "mongodb" => unless_given("collection", COLLECTION.into()),
            "file" => {
                let hint = "the file is named by `authorization.sources.file.path`";
                return Err(hint.to_owned());
            }
            _ => return Err(format!("there is no source of type `{kind}`")),
        }
        let kind = match kind.as_str() {
            "http" => AccessSourceKind::Http(read(table)?),
            "redis" => AccessSourceKind::Redis(read(table)?),
            "mysql" => AccessSourceKind::Mysql(read(table)?),
            "postgresql" => AccessSourceKind::Postgresql(read(table)?),
            _ => AccessSourceKind::Mongodb(read(table)?),
        };
        Ok(Self { enable, kind })
    }
}

fn body() -> Value {
    let names = ["clientid", "username", "peerhost", "topic", "action"];
    let pair = |name: &str| (name.to_owned(), Value::from(format!("${{{name}}}")));
    Value::Object(names.into_iter().map(pair).collect::<Map<_, _>>())
}

/// A list of [`AccessSource`].
pub(crate) struct AccessSourceList;

impl Kind for AccessSourceList {
    type Out = Vec<AccessSource>;

    fn parse(&self, raw: &Raw) -> Result<Self::Out, String> {
        list_of(raw, AccessSource::parse)
    }

    fn describe(&self) -> String {
        "list of tables".to_owned()
    }
}
