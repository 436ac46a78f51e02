//! Users in MySQL, MariaDB or PostgreSQL: one statement a client, its placeholders as parameters.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Params, Row as MySqlRow, Value};
use tokio_postgres::types::{FromSql, Kind, ToSql, Type};
use tokio_postgres::{Client, NoTls, Row as PgRow};

use crate::access::password::Stored;
use crate::config::{PasswordHash, SqlAuthn, Time};
use crate::control::authn::key_value::host_and_port;
use crate::control::authn::member::Found;
use crate::control::authn::pool::{Pool, over_pool};
use crate::control::authn::template::{Template, Variable};
use crate::gate::authn::AuthnRequest;

/// Prepared statements that a connection keeps.
const STATEMENTS_MAX: usize = 8;

/// The parameters of a statement for a client; nothing if one is missing.
fn values(variables: &[Variable], client: &AuthnRequest) -> Option<Vec<String>> {
    variables.iter().map(|v| v.value(client, None)).collect()
}

/// A row: names of columns with what is in them, as text; NULL is left out.
pub(super) type Row = Vec<(String, String)>;

/// The user in a row.
fn user_of(row: Row) -> Option<Found> {
    let (mut found, mut known) = (Found::default(), false);
    for (column, value) in row {
        enter(&mut found, &mut known, &column, value);
    }
    known.then_some(found)
}

/// What a column is for.
fn enter(found: &mut Found, known: &mut bool, column: &str, value: String) {
    match column {
        "password_hash" | "password" => {
            found.stored = Stored {
                hash: value,
                ..std::mem::take(&mut found.stored)
            };
            *known = true;
        }
        "salt" => found.stored.salt = value,
        "is_superuser" => found.superuser = matches!(value.as_str(), "1" | "true" | "t"),
        _ => {}
    }
}

pub(super) struct MySql {
    setup: OptsBuilder,
    statement: String,
    variables: Vec<Variable>,
    hash: PasswordHash,
    timeout: Time,
    pool: Pool<Conn>,
}

impl MySql {
    pub(super) fn new(config: &SqlAuthn) -> Result<Self, String> {
        let (host, port) = host_and_port(&config.server, 3306)?;
        let setup = OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(port)
            .user(Some(config.username.clone()))
            .pass(config.password.as_ref().map(|p| p.text().to_owned()))
            .db_name(Some(config.database.clone()))
            .prefer_socket(false)
            .stmt_cache_size(STATEMENTS_MAX);
        let (statement, variables) = Template::new(&config.query)?.statement(|_| "?".to_owned());
        Ok(Self {
            setup,
            statement,
            variables,
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
        let rows = self.rows(client).await?;
        Ok(rows.into_iter().next().and_then(user_of))
    }

    /// The rows for a client.
    pub(super) async fn rows(&self, client: &AuthnRequest) -> Result<Vec<Row>, String> {
        let Some(values) = values(&self.variables, client) else {
            return Ok(Vec::new());
        };
        let parameters =
            || Params::Positional(values.iter().map(|v| Value::from(v.as_str())).collect());
        let rows = over_pool!(self.pool, Conn::new(self.setup.clone()), |connection| {
            connection.exec::<MySqlRow, _, _>(self.statement.as_str(), parameters())
        });
        Ok(rows.iter().map(read_mysql).collect())
    }
}

fn read_mysql(row: &MySqlRow) -> Row {
    let columns = row.columns_ref().iter().enumerate();
    let field = |(index, column): (usize, &mysql_async::Column)| {
        let text = match row.as_ref(index)? {
            Value::Bytes(bytes) => String::from_utf8(bytes.clone()).ok()?,
            Value::Int(number) => number.to_string(),
            Value::UInt(number) => number.to_string(),
            _ => return None,
        };
        Some((column.name_str().into_owned(), text))
    };
    columns.filter_map(field).collect()
}

pub(super) struct Postgres {
    setup: tokio_postgres::Config,
    statement: String,
    variables: Vec<Variable>,
    hash: PasswordHash,
    timeout: Time,
    pool: Pool<Client>,
}

impl Postgres {
    pub(super) fn new(config: &SqlAuthn) -> Result<Self, String> {
        let (host, port) = host_and_port(&config.server, 5432)?;
        let mut setup = tokio_postgres::Config::new();
        setup
            .host(&host)
            .port(port)
            .user(&config.username)
            .dbname(&config.database)
            .application_name("millrace")
            .connect_timeout(config.query_timeout.0);
        if let Some(password) = &config.password {
            setup.password(password.text());
        }
        let template = Template::new(&config.query)?;
        let (statement, variables) = template.statement(|number| format!("${number}"));
        Ok(Self {
            setup,
            statement,
            variables,
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
        let rows = self.rows(client).await?;
        Ok(rows.into_iter().next().and_then(user_of))
    }

    /// The rows for a client.
    pub(super) async fn rows(&self, client: &AuthnRequest) -> Result<Vec<Row>, String> {
        let Some(values) = values(&self.variables, client) else {
            return Ok(Vec::new());
        };
        let parameters: Vec<(&(dyn ToSql + Sync), Type)> = values
            .iter()
            .map(|value| (value as &(dyn ToSql + Sync), Type::TEXT))
            .collect();
        let rows = over_pool!(self.pool, self.connect(), |connection| {
            connection.query_typed(&self.statement, &parameters)
        });
        rows.iter().map(read_postgres).collect()
    }

    async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.setup.connect(NoTls).await?;
        // Ends with the client.
        tokio::spawn(connection);
        Ok(client)
    }
}

/// Text of any type that sends text: enumerations of the user's own as well.
struct AnyText(String);

impl<'a> FromSql<'a> for AnyText {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(String::from_utf8(raw.to_vec())?))
    }

    fn accepts(kind: &Type) -> bool {
        <String as FromSql<'_>>::accepts(kind) || matches!(kind.kind(), Kind::Enum(_))
    }
}

fn read_postgres(row: &PgRow) -> Result<Row, String> {
    let mut fields = Vec::new();
    for (index, column) in row.columns().iter().enumerate() {
        let text = match *column.type_() {
            Type::BOOL => row
                .try_get::<_, Option<bool>>(index)
                .map(|flag| flag.map(|flag| flag.to_string())),
            Type::INT4 => row
                .try_get::<_, Option<i32>>(index)
                .map(|number| number.map(|number| number.to_string())),
            Type::INT2 => row
                .try_get::<_, Option<i16>>(index)
                .map(|number| number.map(|number| number.to_string())),
            _ => row
                .try_get::<_, Option<AnyText>>(index)
                .map(|text| text.map(|text| text.0)),
        };
        let text = text.map_err(|error| format!("column `{}`: {error}", column.name()))?;
        fields.extend(text.map(|text| (column.name().to_owned(), text)));
    }
    Ok(fields)
}
