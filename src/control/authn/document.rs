//! Users in MongoDB: the first document that a filter finds.

use mongodb::bson::{Bson, Document};
use mongodb::options::{ClientOptions, Credential, ServerAddress};
use mongodb::{Client, Collection};
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

use crate::access::password::Stored;
use crate::config::{MongoAuthn, PasswordHash, Time};
use crate::control::authn::key_value::host_and_port;
use crate::control::authn::member::Found;
use crate::control::authn::template::Template;
use crate::gate::authn::AuthnRequest;

/// The port of a server that is named without one.
const PORT: u16 = 27017;
/// Documents with rules that are read for one client.
const DOCUMENTS_MAX: i64 = 256;

pub(super) struct Documents {
    options: ClientOptions,
    database: String,
    collection: String,
    filter: Vec<(String, Field)>,
    hash_field: String,
    salt_field: String,
    superuser_field: String,
    hash: PasswordHash,
    timeout: Time,
    client: OnceCell<Client>,
}

/// A value of the filter.
enum Field {
    Text(Template),
    Fixed(Bson),
    Table(Vec<(String, Self)>),
}

impl Documents {
    pub(super) fn new(config: &MongoAuthn) -> Result<Self, String> {
        let hosts: Vec<ServerAddress> = config
            .servers
            .0
            .iter()
            .map(|server| {
                let (host, port) = host_and_port(server, PORT)?;
                let port = Some(port);
                Ok::<_, String>(ServerAddress::Tcp { host, port })
            })
            .collect::<Result<_, _>>()?;
        let mut options = ClientOptions::default();
        options.direct_connection =
            (hosts.len() == 1 && config.replica_set_name.is_none()).then_some(true);
        options.hosts = hosts;
        options.app_name = Some("millrace".to_owned());
        options.max_pool_size = Some(u32::from(config.pool_size.max(1)));
        options.connect_timeout = Some(config.query_timeout.0);
        options.server_selection_timeout = Some(config.query_timeout.0);
        options.repl_set_name.clone_from(&config.replica_set_name);
        if let Some(username) = &config.username {
            let mut credential = Credential::default();
            credential.username = Some(username.clone());
            credential.password = config.password.as_ref().map(|p| p.text().to_owned());
            credential.source.clone_from(&config.auth_source);
            options.credential = Some(credential);
        }
        Ok(Self {
            options,
            database: config.database.clone(),
            collection: config.collection.clone(),
            filter: fields(&config.filter)?,
            hash_field: config.password_hash_field.clone(),
            salt_field: config.salt_field.clone(),
            superuser_field: config.is_superuser_field.clone(),
            hash: config.password_hash_algorithm.clone(),
            timeout: config.query_timeout,
            client: OnceCell::new(),
        })
    }

    pub(super) fn hash(&self) -> &PasswordHash {
        &self.hash
    }

    pub(super) fn timeout(&self) -> Time {
        self.timeout
    }

    pub(super) async fn find(&self, client: &AuthnRequest) -> Result<Option<Found>, String> {
        let Some(filter) = render(&self.filter, client) else {
            return Ok(None);
        };
        let found = self.collection().await?.find_one(filter).await;
        let found = found.map_err(|error| error.to_string())?;
        Ok(found.and_then(|document| self.read(&document)))
    }

    /// The documents for a client, as JSON.
    pub(super) async fn all(&self, client: &AuthnRequest) -> Result<Vec<Value>, String> {
        let Some(filter) = render(&self.filter, client) else {
            return Ok(Vec::new());
        };
        let collection = self.collection().await?;
        let failed = |error: mongodb::error::Error| error.to_string();
        let mut cursor = collection
            .find(filter)
            .limit(DOCUMENTS_MAX)
            .await
            .map_err(failed)?;
        let mut documents = Vec::new();
        while cursor.advance().await.map_err(failed)? {
            let document = cursor.deserialize_current().map_err(failed)?;
            documents.push(json_of(&Bson::Document(document)));
        }
        Ok(documents)
    }

    async fn collection(&self) -> Result<Collection<Document>, String> {
        let connected = self
            .client
            .get_or_try_init(async || Client::with_options(self.options.clone()))
            .await
            .map_err(|error| error.to_string())?;
        let database = connected.database(&self.database);
        Ok(database.collection(&self.collection))
    }

    fn read(&self, document: &Document) -> Option<Found> {
        let text = |field: &str| document.get_str(field).ok().map(str::to_owned);
        let superuser = match document.get(&self.superuser_field) {
            Some(Bson::Boolean(superuser)) => *superuser,
            Some(Bson::Int32(number)) => *number == 1,
            Some(Bson::Int64(number)) => *number == 1,
            Some(Bson::String(text)) => matches!(text.as_str(), "1" | "true"),
            _ => false,
        };
        Some(Found {
            stored: Stored {
                hash: text(&self.hash_field)?,
                salt: text(&self.salt_field).unwrap_or_default(),
            },
            superuser,
        })
    }
}

/// A value as JSON; of types that rules do not have, null.
fn json_of(value: &Bson) -> Value {
    match value {
        Bson::String(text) => text.as_str().into(),
        Bson::Boolean(flag) => (*flag).into(),
        Bson::Int32(number) => (*number).into(),
        Bson::Int64(number) => (*number).into(),
        Bson::Array(values) => values.iter().map(json_of).collect(),
        Bson::Document(document) => document
            .iter()
            .map(|(name, value)| (name.clone(), json_of(value)))
            .collect::<Map<_, _>>()
            .into(),
        _ => Value::Null,
    }
}

fn fields(table: &Map<String, Value>) -> Result<Vec<(String, Field)>, String> {
    let field = |(name, value): (&String, &Value)| {
        let field = match value {
            Value::String(text) => Field::Text(Template::new(text)?),
            Value::Object(table) => Field::Table(fields(table)?),
            Value::Bool(flag) => Field::Fixed(Bson::Boolean(*flag)),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(number), _) => Field::Fixed(Bson::Int64(number)),
                (None, number) => Field::Fixed(Bson::Double(number.unwrap_or_default())),
            },
            Value::Null => Field::Fixed(Bson::Null),
            Value::Array(_) => return Err(format!("the filter's `{name}` is a list")),
        };
        Ok((name.clone(), field))
    };
    table.iter().map(field).collect()
}

/// The filter for a client; what a client says stands in it as text only, never as an operator.
fn render(fields: &[(String, Field)], client: &AuthnRequest) -> Option<Document> {
    let mut document = Document::new();
    for (name, field) in fields {
        let value = match field {
            Field::Text(template) => Bson::String(template.plain(client)?),
            Field::Fixed(value) => value.clone(),
            Field::Table(fields) => Bson::Document(render(fields, client)?),
        };
        document.insert(name.clone(), value);
    }
    Some(document)
}
