//! What each backend needs to know.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer};
use serde_json::{Map, Value};

use super::Hidden;
use super::password::{Digest, PasswordHash, SaltPosition};
use crate::config::quantity::parse_duration;

/// A length of time with its unit, or a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let parsed = match Value::deserialize(deserializer)? {
            Value::String(text) => parse_duration(&text),
            Value::Number(number) => number.as_u64().map(Duration::from_secs),
            _ => None,
        };
        let in_range = parsed.filter(|time| !time.is_zero() && time.as_secs() <= 86_400);
        in_range
            .map(Self)
            .ok_or_else(|| de::Error::custom("not a duration such as \"5s\""))
    }
}

/// By what a user is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserIdType {
    /// The user name.
    #[default]
    Username,
    /// The client id.
    Clientid,
}

/// What passwords of a bootstrap file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BootstrapType {
    /// `password`, hashed when it is read.
    Plain,
    /// `password_hash` and `salt`.
    #[default]
    Hash,
}

/// The broker's own table of users.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BuiltInAuthn {
    /// By what a user is found.
    pub user_id_type: UserIdType,
    /// How passwords are stored.
    pub password_hash_algorithm: Salted,
    /// Users to begin with, CSV or JSON by the name's ending.
    pub bootstrap_file: Option<String>,
    /// What its passwords are.
    pub bootstrap_type: BootstrapType,
}

/// A password hash whose default is that of the built-in database: SHA-256, salt behind.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Salted(pub PasswordHash);

impl Default for Salted {
    fn default() -> Self {
        Self(PasswordHash::Simple(Digest::Sha256, SaltPosition::Suffix))
    }
}

/// The digest of SCRAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Hash)]
#[serde(rename_all = "lowercase")]
pub enum ScramHash {
    /// `SCRAM-SHA-256`.
    #[default]
    Sha256,
    /// `SCRAM-SHA-512`.
    Sha512,
}

impl ScramHash {
    /// The name of the method.
    pub fn method(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }
}

/// SCRAM with the broker's own table of users.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScramAuthn {
    /// The digest.
    pub algorithm: ScramHash,
    /// Rounds for new users.
    pub iteration_count: u32,
    /// Users to begin with: `user_id,password,is_superuser`.
    pub bootstrap_file: Option<String>,
}

impl Default for ScramAuthn {
    fn default() -> Self {
        Self {
            algorithm: ScramHash::Sha256,
            iteration_count: 4096,
            bootstrap_file: None,
        }
    }
}

/// Where a JWT comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JwtFrom {
    /// The password.
    #[default]
    Password,
    /// The user name.
    Username,
}

/// How a JWT is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JwtAlgorithm {
    /// HS256, HS384, HS512.
    #[default]
    HmacBased,
    /// RS, PS and ES.
    PublicKey,
}

/// JSON Web Tokens.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JwtAuthn {
    /// Where it comes from.
    pub from: JwtFrom,
    /// Keys come from `endpoint`.
    pub use_jwks: bool,
    /// How it is signed, without `use_jwks`.
    pub algorithm: JwtAlgorithm,
    /// The secret of `hmac-based`.
    pub secret: Hidden,
    /// The secret is in base64.
    pub secret_base64_encoded: bool,
    /// The key of `public-key`: a PEM file, or PEM text.
    pub public_key: Option<String>,
    /// The URL of the key set.
    pub endpoint: Option<String>,
    /// How often the key set is fetched.
    pub refresh_interval: Time,
    /// Claims that must have a value, with placeholders.
    #[serde(deserialize_with = "pairs")]
    pub verify_claims: BTreeMap<String, String>,
    /// The claim with the client's own rules.
    pub acl_claim_name: String,
    /// Whether a client is disconnected when its token expires.
    pub disconnect_after_expire: bool,
}

impl Default for JwtAuthn {
    fn default() -> Self {
        Self {
            from: JwtFrom::Password,
            use_jwks: false,
            algorithm: JwtAlgorithm::HmacBased,
            secret: Hidden::from("emqxsecret"),
            secret_base64_encoded: false,
            public_key: None,
            endpoint: None,
            refresh_interval: Time(Duration::from_secs(300)),
            verify_claims: BTreeMap::new(),
            acl_claim_name: "acl".to_owned(),
            disconnect_after_expire: true,
        }
    }
}

/// A table, or EMQX's list of `{name, value}`.
fn pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    struct Pair {
        name: String,
        value: String,
    }
    match Value::deserialize(deserializer)? {
        Value::Array(list) => list
            .into_iter()
            .map(|pair| {
                serde_json::from_value::<Pair>(pair)
                    .map(|pair| (pair.name, pair.value))
                    .map_err(de::Error::custom)
            })
            .collect(),
        table => serde_json::from_value(table).map_err(de::Error::custom),
    }
}

/// How a request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpMethod {
    /// With a body.
    #[default]
    Post,
    /// With a query.
    Get,
}

/// How an answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpShape {
    /// EMQX 5: a JSON object with `result`; 204 allows; other codes ignore.
    #[default]
    V5,
    /// EMQX 4: 200 allows unless the body is `ignore`; 4xx denies; other codes ignore.
    V4,
}

/// Another service, by HTTP.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpAuthn {
    /// Where; placeholders in path and query.
    pub url: String,
    /// How it is asked.
    #[serde(default)]
    pub method: HttpMethod,
    /// How its answers are read.
    #[serde(default)]
    pub shape: HttpShape,
    /// Header fields.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// What is sent, with placeholders.
    #[serde(default)]
    pub body: BTreeMap<String, Value>,
    /// Time for an answer.
    #[serde(default = "five_seconds")]
    pub request_timeout: Time,
    /// Time for a connection.
    #[serde(default = "five_seconds")]
    pub connect_timeout: Time,
    /// Connections.
    #[serde(default = "eight")]
    pub pool_size: u16,
}

fn five_seconds() -> Time {
    Time(Duration::from_secs(5))
}

fn eight() -> u16 {
    8
}

/// One name, several in a text with commas, or a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servers(pub Vec<String>);

impl<'de> Deserialize<'de> for Servers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names: Vec<String> = match Value::deserialize(deserializer)? {
            Value::String(text) => text.split(',').map(|name| name.trim().to_owned()).collect(),
            list => serde_json::from_value(list).map_err(de::Error::custom)?,
        };
        if names.is_empty() || names.iter().any(String::is_empty) {
            return Err(de::Error::custom("no server is named"));
        }
        Ok(Self(names))
    }
}

/// How Redis is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedisType {
    /// One server.
    #[default]
    Single,
    /// A cluster.
    Cluster,
}

/// Redis.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisAuthn {
    /// One server or a cluster.
    #[serde(default)]
    pub redis_type: RedisType,
    /// Addresses.
    #[serde(alias = "server")]
    pub servers: Servers,
    /// The database.
    #[serde(default)]
    pub database: u32,
    /// The user.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<Hidden>,
    /// What is asked, with placeholders.
    #[serde(default = "redis_cmd")]
    pub cmd: String,
    /// How passwords are stored.
    #[serde(default)]
    pub password_hash_algorithm: PasswordHash,
    /// Time for an answer.
    #[serde(default = "five_seconds")]
    pub query_timeout: Time,
    /// Connections.
    #[serde(default = "eight")]
    pub pool_size: u16,
    /// Always done; taken for EMQX's sake.
    #[serde(default)]
    pub auto_reconnect: Option<bool>,
}

pub(super) fn redis_cmd() -> String {
    "HMGET mqtt_user:${username} password_hash salt is_superuser".to_owned()
}

/// MySQL or PostgreSQL.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlAuthn {
    /// Address.
    pub server: String,
    /// The database.
    pub database: String,
    /// The user.
    pub username: String,
    /// The user's password.
    pub password: Option<Hidden>,
    /// What is asked, with placeholders.
    #[serde(default = "sql_query")]
    pub query: String,
    /// How passwords are stored.
    #[serde(default)]
    pub password_hash_algorithm: PasswordHash,
    /// Time for an answer.
    #[serde(default = "five_seconds")]
    pub query_timeout: Time,
    /// Connections.
    #[serde(default = "eight")]
    pub pool_size: u16,
    /// Always done; taken for EMQX's sake.
    #[serde(default)]
    pub auto_reconnect: Option<bool>,
}

fn sql_query() -> String {
    "SELECT password_hash, salt, is_superuser FROM mqtt_user WHERE username = ${username} LIMIT 1"
        .to_owned()
}

/// MongoDB.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MongoAuthn {
    /// `single`, `rs` or `sharded`: the driver finds out, `rs` needs its name.
    #[serde(default)]
    pub mongo_type: Option<String>,
    /// Addresses.
    #[serde(alias = "server")]
    pub servers: Servers,
    /// The replica set.
    pub replica_set_name: Option<String>,
    /// The database.
    pub database: String,
    /// The user.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<Hidden>,
    /// The database that knows the user.
    pub auth_source: Option<String>,
    /// The collection.
    #[serde(default = "mqtt_user")]
    pub collection: String,
    /// What is asked, with placeholders.
    #[serde(default = "mongo_filter")]
    pub filter: Map<String, Value>,
    /// The field with the hash.
    #[serde(default = "password_hash")]
    pub password_hash_field: String,
    /// The field with the salt.
    #[serde(default = "salt")]
    pub salt_field: String,
    /// The field that makes a superuser.
    #[serde(default = "is_superuser")]
    pub is_superuser_field: String,
    /// How passwords are stored.
    #[serde(default)]
    pub password_hash_algorithm: PasswordHash,
    /// Time for an answer.
    #[serde(default = "five_seconds")]
    pub query_timeout: Time,
    /// Connections.
    #[serde(default = "eight")]
    pub pool_size: u16,
}

fn mqtt_user() -> String {
    "mqtt_user".to_owned()
}

fn mongo_filter() -> Map<String, Value> {
    Map::from_iter([("username".to_owned(), "${username}".into())])
}

fn password_hash() -> String {
    "password_hash".to_owned()
}

fn salt() -> String {
    "salt".to_owned()
}

fn is_superuser() -> String {
    "is_superuser".to_owned()
}

/// How LDAP decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LdapType {
    /// The entry's hash is compared here.
    #[default]
    Hash,
    /// The server compares: a bind as the entry found.
    Bind,
}

/// How LDAP decides, with its attributes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LdapMethod {
    /// Who compares.
    #[serde(rename = "type")]
    pub kind: LdapType,
    /// The attribute with the hash, `{SSHA}...` and the like.
    pub password_attribute: String,
    /// The attribute that makes a superuser.
    pub is_superuser_attribute: String,
}

impl Default for LdapMethod {
    fn default() -> Self {
        Self {
            kind: LdapType::Hash,
            password_attribute: "userPassword".to_owned(),
            is_superuser_attribute: "isSuperuser".to_owned(),
        }
    }
}

/// LDAP.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LdapAuthn {
    /// Address; `ldaps://` for TLS.
    pub server: String,
    /// Who searches: a distinguished name.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Hidden>,
    /// Where is searched, with placeholders.
    pub base_dn: String,
    /// What is searched, with placeholders.
    #[serde(default = "ldap_filter")]
    pub filter: String,
    /// How is decided.
    #[serde(default)]
    pub method: LdapMethod,
    /// Time for an answer.
    #[serde(default = "five_seconds")]
    pub query_timeout: Time,
    /// Connections.
    #[serde(default = "eight")]
    pub pool_size: u16,
}

fn ldap_filter() -> String {
    "(& (objectClass=mqttUser) (uid=${username}))".to_owned()
}
