//! Users in Redis: one command a client, EMQX's by default. A server or a cluster.

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, RedisResult, Value,
};

use crate::access::password::Stored;
use crate::config::{PasswordHash, RedisAuthn, RedisType, Time};
use crate::control::authn::member::Found;
use crate::control::authn::pool::{Pool, over_pool};
use crate::control::authn::template::Template;
use crate::gate::authn::AuthnRequest;

/// The port of a server that is named without one.
const PORT: u16 = 6379;

pub(super) struct KeyValue {
    setup: Setup,
    command: Vec<Template>,
    fields: Vec<String>,
    hash: PasswordHash,
    timeout: Time,
    pool: Pool<Connection>,
}

enum Setup {
    Single(Client, AsyncConnectionConfig),
    Cluster(ClusterClient),
}

enum Connection {
    Single(MultiplexedConnection),
    Cluster(Box<ClusterConnection>),
}

impl KeyValue {
    /// Users: the command names the fields of a hash.
    pub(super) fn new(config: &RedisAuthn) -> Result<Self, String> {
        let words: Vec<&str> = config.cmd.split_whitespace().collect();
        let is_hash_get = words
            .first()
            .is_some_and(|word| ["hmget", "hget"].contains(&word.to_ascii_lowercase().as_str()));
        if !is_hash_get || words.len() < 3 {
            return Err("`cmd` is not HMGET with a key and fields".to_owned());
        }
        if !words.iter().skip(2).any(|field| is_hash_field(field)) {
            return Err("`cmd` asks for no password_hash".to_owned());
        }
        Self::asking(config)
    }

    /// Rules: the command returns a whole hash.
    pub(super) fn of_pairs(config: &RedisAuthn) -> Result<Self, String> {
        let words: Vec<&str> = config.cmd.split_whitespace().collect();
        if !matches!(*words, [word, _] if word.eq_ignore_ascii_case("hgetall")) {
            return Err("`cmd` is not HGETALL with a key".to_owned());
        }
        Self::asking(config)
    }

    fn asking(config: &RedisAuthn) -> Result<Self, String> {
        let words: Vec<&str> = config.cmd.split_whitespace().collect();
        let fields: Vec<String> = words
            .iter()
            .skip(2)
            .map(|word| (*word).to_owned())
            .collect();
        let infos: Vec<ConnectionInfo> = config
            .servers
            .0
            .iter()
            .map(|server| info(server, config))
            .collect::<Result<_, _>>()?;
        let failed = |error: redis::RedisError| error.to_string();
        let setup = match (config.redis_type, infos.first()) {
            (RedisType::Single, Some(first)) => {
                let time = Some(config.query_timeout.0);
                let limits = AsyncConnectionConfig::new()
                    .set_connection_timeout(time)
                    .set_response_timeout(time);
                Setup::Single(Client::open(first.clone()).map_err(failed)?, limits)
            }
            (RedisType::Cluster, _) => {
                let builder = ClusterClient::builder(infos)
                    .connection_timeout(config.query_timeout.0)
                    .response_timeout(config.query_timeout.0);
                Setup::Cluster(builder.build().map_err(failed)?)
            }
            (RedisType::Single, None) => return Err("no server is named".to_owned()),
        };
        Ok(Self {
            setup,
            command: words
                .into_iter()
                .map(Template::new)
                .collect::<Result<_, _>>()?,
            fields,
            hash: config.password_hash_algorithm.clone(),
            timeout: config.query_timeout,
            pool: Pool::new(config.pool_size),
        })
    }

    pub(super) fn hash(&self) -> &PasswordHash {
        &self.hash
    }

    pub(super) fn timeout(&self) -> Time {
        self.timeout
    }

    pub(super) async fn find(&self, client: &AuthnRequest) -> Result<Option<Found>, String> {
        let answer = self.ask(client).await?;
        Ok(answer.and_then(|answer| self.read(answer)))
    }

    /// Names and values of a hash.
    pub(super) async fn pairs(
        &self,
        client: &AuthnRequest,
    ) -> Result<Vec<(String, String)>, String> {
        let flat: Vec<Value> = match self.ask(client).await? {
            None => Vec::new(),
            Some(Value::Array(flat)) => flat,
            Some(Value::Map(pairs)) => pairs.into_iter().flat_map(|(k, v)| [k, v]).collect(),
            Some(_) => return Err("the answer is no hash".to_owned()),
        };
        let mut texts = flat.into_iter().map(text_of);
        let mut pairs = Vec::new();
        while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
            let (Some(name), Some(value)) = (name, value) else {
                return Err("the hash holds what is no text".to_owned());
            };
            pairs.push((name, value));
        }
        Ok(pairs)
    }

    async fn ask(&self, client: &AuthnRequest) -> Result<Option<Value>, String> {
        let words = self.command.iter().map(|word| word.plain(client));
        let Some(words) = words.collect::<Option<Vec<String>>>() else {
            return Ok(None);
        };
        let mut command = Cmd::new();
        for word in &words {
            command.arg(word);
        }
        let answer = over_pool!(self.pool, self.connect(), |connection| connection
            .ask(&command));
        Ok(Some(answer))
    }

    async fn connect(&self) -> RedisResult<Connection> {
        Ok(match &self.setup {
            Setup::Single(client, limits) => Connection::Single(
                client
                    .get_multiplexed_async_connection_with_config(limits)
                    .await?,
            ),
            Setup::Cluster(client) => {
                Connection::Cluster(Box::new(client.get_async_connection().await?))
            }
        })
    }

    /// The values of the fields asked for, in their order.
    fn read(&self, answer: Value) -> Option<Found> {
        let values = match answer {
            Value::Array(values) => values,
            one => vec![one],
        };
        let mut found = Found::default();
        let mut known = false;
        for (field, value) in self.fields.iter().zip(values) {
            let Some(text) = text_of(value) else {
                continue;
            };
            if is_hash_field(field) {
                found.stored = Stored {
                    hash: text,
                    ..found.stored
                };
                known = true;
            } else if field == "salt" {
                found.stored.salt = text;
            } else if field == "is_superuser" {
                found.superuser = matches!(text.as_str(), "1" | "true");
            }
        }
        known.then_some(found)
    }
}

impl Connection {
    async fn ask(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Single(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(&mut **connection).await,
        }
    }
}

fn is_hash_field(field: &str) -> bool {
    matches!(field, "password_hash" | "password")
}

fn text_of(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        Value::Int(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn info(server: &str, config: &RedisAuthn) -> Result<ConnectionInfo, String> {
    let (host, port) = host_and_port(server, PORT)?;
    let mut settings = RedisConnectionInfo::default().set_db(i64::from(config.database));
    if let Some(username) = &config.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = &config.password {
        settings = settings.set_password(password.text());
    }
    let info = ConnectionAddr::Tcp(host, port).into_connection_info();
    let info = info.map_err(|error| error.to_string())?;
    Ok(info.set_redis_settings(settings))
}

/// Host and port of a server.
pub(super) fn host_and_port(server: &str, port: u16) -> Result<(String, u16), String> {
    let wrong = || format!("`{server}` is not HOST:PORT");
    match server.rsplit_once(':') {
        Some((host, number)) if !host.is_empty() && !host.ends_with(':') => {
            let number = number.parse().map_err(|_| wrong())?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            Ok((host.to_owned(), number))
        }
        Some(_) => Err(wrong()),
        None => Ok((server.to_owned(), port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_ports() {
        for (server, want) in [
            ("redis", Some(("redis", 6379))),
            ("127.0.0.1:7000", Some(("127.0.0.1", 7000))),
            ("[::1]:7000", Some(("::1", 7000))),
            (":7000", None),
            ("a:b", None),
        ] {
            let want = want.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(host_and_port(server, PORT).ok(), want, "{server}");
        }
    }
}
