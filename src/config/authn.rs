//! The members of an authentication chain, as EMQX 5 writes them.

pub(crate) mod backends;
pub(crate) mod password;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::kind::{Kind, Raw};
use backends::{
    BuiltInAuthn, HttpAuthn, JwtAuthn, LdapAuthn, MongoAuthn, RedisAuthn, ScramAuthn, SqlAuthn,
};

/// Most members of one chain: each may be asked about every client.
const PROVIDERS_MAX: usize = 16;

/// One member of a chain.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthnProvider {
    /// Whether it is asked.
    pub enable: bool,
    /// What it is.
    pub kind: ProviderKind,
}

/// What a member of a chain asks.
#[derive(Debug, Clone, PartialEq)]
pub enum ProviderKind {
    /// `password_based`, `built_in_database`.
    BuiltIn(BuiltInAuthn),
    /// `jwt`.
    Jwt(JwtAuthn),
    /// `password_based`, `http`.
    Http(HttpAuthn),
    /// `password_based`, `redis`.
    Redis(RedisAuthn),
    /// `password_based`, `mysql`.
    Mysql(SqlAuthn),
    /// `password_based`, `postgresql`.
    Postgresql(SqlAuthn),
    /// `password_based`, `mongodb`.
    Mongodb(MongoAuthn),
    /// `password_based` or `ldap`, `ldap`.
    Ldap(LdapAuthn),
    /// `scram`, `built_in_database`.
    Scram(ScramAuthn),
}

impl ProviderKind {
    /// EMQX's id of it.
    pub fn id(&self) -> &'static str {
        match self {
            Self::BuiltIn(_) => "password_based:built_in_database",
            Self::Jwt(_) => "jwt",
            Self::Http(_) => "password_based:http",
            Self::Redis(_) => "password_based:redis",
            Self::Mysql(_) => "password_based:mysql",
            Self::Postgresql(_) => "password_based:postgresql",
            Self::Mongodb(_) => "password_based:mongodb",
            Self::Ldap(_) => "password_based:ldap",
            Self::Scram(_) => "scram:built_in_database",
        }
    }
}

/// Text that is not shown.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct Hidden(String);

impl Hidden {
    /// The text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Hidden {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("******")
    }
}

/// A list of [`AuthnProvider`].
pub(crate) struct AuthnProviders;

impl Kind for AuthnProviders {
    type Out = Vec<AuthnProvider>;

    fn parse(&self, raw: &Raw) -> Result<Self::Out, String> {
        let list = match raw {
            Raw::List(list) => list.clone(),
            Raw::Bare(text) | Raw::Text(text) => serde_json::from_str(text)
                .map_err(|error| format!("this is no list in JSON: {error}"))?,
            _ => return Err(format!("{raw} is not a list of tables")),
        };
        let Value::Array(entries) = list else {
            return Err("this is not a list of tables".to_owned());
        };
        if entries.len() > PROVIDERS_MAX {
            return Err(format!("more than {PROVIDERS_MAX} entries"));
        }
        let entry = |(index, value): (usize, Value)| {
            AuthnProvider::parse(value).map_err(|what| format!("entry {}: {what}", index + 1))
        };
        entries.into_iter().enumerate().map(entry).collect()
    }

    fn describe(&self) -> String {
        "list of tables".to_owned()
    }
}

impl AuthnProvider {
    /// One member of a chain, from its table.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(value: Value) -> Result<Self, String> {
        let Value::Object(mut table) = value else {
            return Err("this is not a table".to_owned());
        };
        let mut word = |key: &str| match table.remove(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("`{key}` is not text")),
        };
        let mechanism = word("mechanism")?.ok_or("`mechanism` is missing")?;
        let backend = word("backend")?;
        let enable = match table.remove("enable") {
            None => true,
            Some(Value::Bool(enable)) => enable,
            Some(_) => return Err("`enable` is neither true nor false".to_owned()),
        };
        let backend = backend.as_deref();
        let kind = match (mechanism.as_str(), backend) {
            ("password_based", Some("built_in_database")) => ProviderKind::BuiltIn(read(table)?),
            ("password_based", Some("http")) => ProviderKind::Http(read(table)?),
            ("password_based", Some("redis")) => ProviderKind::Redis(read(table)?),
            ("password_based", Some("mysql")) => ProviderKind::Mysql(read(table)?),
            ("password_based", Some("postgresql")) => ProviderKind::Postgresql(read(table)?),
            ("password_based", Some("mongodb")) => ProviderKind::Mongodb(read(table)?),
            ("password_based" | "ldap", Some("ldap")) => ProviderKind::Ldap(read(table)?),
            ("scram", Some("built_in_database") | None) => ProviderKind::Scram(read(table)?),
            ("jwt", None) => ProviderKind::Jwt(read(table)?),
            ("password_based", None) => return Err("`backend` is missing".to_owned()),
            (mechanism, backend) => {
                let backend = backend.unwrap_or("");
                return Err(format!(
                    "there is no mechanism `{mechanism}` with backend `{backend}`"
                ));
            }
        };
        Ok(Self { enable, kind })
    }
}

fn read<T: DeserializeOwned>(table: Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(table)).map_err(|error| error.to_string())
}
