//! Clients: lists, look-ups, kicking.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::control::clock;
use crate::control::context::Context;
use crate::control::cores::Cursor;
use crate::control::http::error::{ApiError, ErrorBody};
use crate::control::http::extract::{Body, LIMIT_MAX, Listed, Named, Params};
use crate::control::http::pages::page_of;
use crate::gate::manage::{Bounds, ClientQuery, ClientRow, Manage};
use crate::metrics::Gauge;
use crate::mqtt::version::Version;

/// Clients of one bulk request.
const BULK_MAX: usize = 10_000;

/// One client.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Client {
    /// The broker it is connected to.
    pub node: String,
    /// Its id.
    pub clientid: String,
    /// The user name it gave.
    pub username: Option<String>,
    /// `MQTT` or `MQIsdp`.
    pub proto_name: &'static str,
    /// 3, 4 or 5.
    pub proto_ver: u8,
    /// Its address; absent when it is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
    /// Its port; absent when it is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The listener it came in by; absent when it is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// Whether it is connected.
    pub connected: bool,
    /// When it connected; absent when it is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_at: Option<String>,
    /// When it went away; absent when it is connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disconnected_at: Option<String>,
    /// When its session was made.
    pub created_at: String,
    /// Whether its last CONNECT wanted a new session.
    pub clean_start: bool,
    /// Seconds that its session outlives the connection; 4294967295 is for ever.
    pub expiry_interval: u32,
    /// Whether its session outlives the connection.
    pub durable: bool,
    /// Always false: a session whose time is over is gone.
    pub is_expired: bool,
    /// Seconds of its keep-alive; 0 is none.
    pub keepalive: u16,
    /// Whether it said that it is a bridge.
    pub is_bridge: bool,
    /// Subscriptions.
    pub subscriptions_cnt: u32,
    /// Subscriptions it may have.
    pub subscriptions_max: Value,
    /// QoS 1 and 2 messages on their way to it.
    pub inflight_cnt: usize,
    /// How many may be.
    pub inflight_max: u16,
    /// Messages that wait for it.
    pub mqueue_len: usize,
    /// How many may wait.
    pub mqueue_max: Value,
    /// QoS 2 messages of it that it has not released.
    pub awaiting_rel_cnt: usize,
    /// How many may be.
    pub awaiting_rel_max: u16,
    /// Bytes that wait to be sent to it.
    pub send_pend: usize,
    /// There is one zone.
    pub zone: &'static str,
    /// There are no mount points.
    pub mountpoint: Option<String>,
}

impl Client {
    /// What the API says of a client.
    pub fn new(context: &Context, row: &ClientRow) -> Self {
        let settings = context.settings();
        let mqtt = &settings.mqtt;
        let connection = row.connection.as_ref();
        let since = clock::rfc3339(row.since_s);
        let (connected_at, disconnected_at) = match connection {
            Some(_) => (Some(since), None),
            None => (None, Some(since)),
        };
        Self {
            node: context.node().to_owned(),
            clientid: row.client_id.to_string(),
            username: row.username.as_deref().map(str::to_owned),
            proto_name: proto_name(row.version),
            proto_ver: proto_ver(row.version),
            ip_address: connection.map(|c| c.peer.ip().to_string()),
            port: connection.map(|c| c.peer.port()),
            listener: connection.map(|c| context.listener(c.listener).to_owned()),
            connected: connection.is_some(),
            connected_at,
            disconnected_at,
            created_at: clock::rfc3339(row.created_s),
            clean_start: row.clean_start,
            expiry_interval: row.expiry_s,
            durable: row.expiry_s != 0,
            is_expired: false,
            keepalive: connection.map_or(0, |c| c.keep_alive_s),
            is_bridge: connection.is_some_and(|c| c.is_bridge),
            subscriptions_cnt: row.subscriptions,
            subscriptions_max: or_infinity(mqtt.max_subscriptions),
            inflight_cnt: row.inflight,
            inflight_max: row.inflight_max,
            mqueue_len: row.queued,
            mqueue_max: or_infinity(mqtt.max_mqueue_len),
            awaiting_rel_cnt: row.awaiting_rel,
            awaiting_rel_max: mqtt.max_awaiting_rel,
            send_pend: connection.map_or(0, |c| c.out_bytes),
            zone: "default",
            mountpoint: None,
        }
    }
}

/// A limit as EMQX writes it.
pub fn or_infinity(limit: Option<u32>) -> Value {
    limit.map_or_else(|| "infinity".into(), Into::into)
}

/// The name of a protocol version on the wire.
pub fn proto_name(version: Version) -> &'static str {
    match version {
        Version::V31 => "MQIsdp",
        Version::V311 | Version::V5 => "MQTT",
    }
}

/// The number of a protocol version on the wire.
pub fn proto_ver(version: Version) -> u8 {
    match version {
        Version::V31 => 3,
        Version::V311 => 4,
        Version::V5 => 5,
    }
}

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(list_by_cursor))
        .routes(routes!(one, kick))
        .routes(routes!(kick_many))
        .routes(routes!(set_keepalive))
}

/// Which clients a query means; `prefix` is that of comparisons (`_` in EMQX 4).
///
/// # Errors
/// A value is not what it may be.
pub fn query_of(params: &Params, prefix: &str) -> Result<ClientQuery, ApiError> {
    let named = |name: &str| format!("{prefix}{name}");
    let like = |name: &str| params.text(&named(name)).map(str::to_owned);
    let bounds = |field: &str, read: fn(&str) -> Option<u64>| -> Result<Bounds, ApiError> {
        Ok(Bounds {
            min: params.read(&named(&format!("gte_{field}")), read)?,
            max: params.read(&named(&format!("lte_{field}")), read)?,
        })
    };
    Ok(ClientQuery {
        client_ids: params.all("clientid"),
        usernames: params.all("username"),
        like_client_id: like("like_clientid"),
        like_username: like("like_username"),
        ip: params.read("ip_address", |text| {
            let bare = text.rsplit_once(':').filter(|(ip, _)| !ip.contains(':'));
            bare.map_or(text, |(ip, _)| ip).parse().ok()
        })?,
        connected: params.read("conn_state", |state| match state {
            "connected" => Some(true),
            "disconnected" | "idle" => Some(false),
            _ => None,
        })?,
        clean_start: params.parsed("clean_start")?,
        version: params.read("proto_ver", |version| match version {
            "3" => Some(Version::V31),
            "4" => Some(Version::V311),
            "5" => Some(Version::V5),
            _ => None,
        })?,
        created_s: bounds("created_at", clock::parse_s)?,
        connected_s: bounds("connected_at", clock::parse_s)?,
        queued: bounds("mqueue_len", |text| text.parse().ok())?,
    })
}

/// Clients
///
/// All clients, connected or with a session that waits for them, page by page.
#[utoipa::path(
    get, path = "/clients", tag = "Clients",
    params(
        ("page" = Option<usize>, Query, description = "from 1"),
        ("limit" = Option<usize>, Query, description = "entries of a page, 1 to 10000; 100 unless given"),
        ("clientid" = Option<Vec<String>>, Query, description = "exactly this id; may be repeated"),
        ("username" = Option<Vec<String>>, Query, description = "exactly this user name; may be repeated"),
        ("ip_address" = Option<String>, Query, description = "the client's address"),
        ("conn_state" = Option<String>, Query, description = "`connected` or `disconnected`"),
        ("clean_start" = Option<bool>, Query, description = "whether its last CONNECT wanted a new session"),
        ("proto_ver" = Option<u8>, Query, description = "3, 4 or 5"),
        ("like_clientid" = Option<String>, Query, description = "part of the id"),
        ("like_username" = Option<String>, Query, description = "part of the user name"),
        ("gte_created_at" = Option<String>, Query, description = "RFC 3339 or seconds"),
        ("lte_created_at" = Option<String>, Query, description = "RFC 3339 or seconds"),
        ("gte_connected_at" = Option<String>, Query, description = "RFC 3339 or seconds"),
        ("lte_connected_at" = Option<String>, Query, description = "RFC 3339 or seconds"),
        ("gte_mqueue_len" = Option<u64>, Query, description = "messages that wait, at least"),
        ("lte_mqueue_len" = Option<u64>, Query, description = "messages that wait, at most"),
        ("fields" = Option<String>, Query, description = "only these fields, with commas between; `all`"),
    ),
    responses(
        (status = 200, description = "a page; `meta.count` only without filters", body = Listed<Client>),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 503, body = ErrorBody),
    ),
)]
pub async fn list(
    State(context): State<Arc<Context>>,
    params: Params,
) -> Result<Json<Listed<Value>>, ApiError> {
    let paging = params.paging("")?;
    let query = query_of(&params, "")?;
    let unfiltered = query == ClientQuery::default();
    let (rows, hasnext) = if query.client_ids.is_empty() {
        let query = Arc::new(query);
        let step = |from, max, reply| Manage::Clients {
            from,
            query: Arc::clone(&query),
            max,
            reply,
        };
        page_of(&context, "clients", &params, paging, step).await?
    } else {
        let named = by_ids(&context, query).await?;
        let listed = paging.cut(named);
        (listed.data, listed.meta.hasnext)
    };
    let count = match unfiltered {
        true => Some(count(&context, paging.page, rows.len(), hasnext).await),
        false => None,
    };
    let rows = shown(&context, &params, &rows);
    Ok(Json(paging.listed(rows, count, hasnext)))
}

/// How many there are: the gauge, unless the page tells it.
async fn count(context: &Context, page: usize, rows: usize, hasnext: bool) -> u64 {
    if page == 1 && !hasnext {
        return rows as u64;
    }
    context.cores.refresh().await;
    context.metrics.gauge(Gauge::Sessions)
}

/// Clients with these ids that fit the rest of the query.
///
/// # Errors
/// A core does not answer, or the query is too long.
pub async fn by_ids(context: &Context, query: ClientQuery) -> Result<Vec<ClientRow>, ApiError> {
    let mut found = Vec::new();
    for client_id in query.client_ids.iter().take(LIMIT_MAX) {
        // The core looks at one place only: an id is at home there, and a walk would not be.
        if let Some(row) = context.cores.client(client_id).await? {
            found.push(row);
        }
    }
    let rest = ClientQuery {
        client_ids: Vec::new(),
        ..query
    };
    found.retain(|row| rest.fits(row));
    Ok(found)
}

fn shown(context: &Context, params: &Params, rows: &[ClientRow]) -> Vec<Value> {
    let wanted: Option<Vec<&str>> = params
        .text("fields")
        .filter(|fields| *fields != "all")
        .map(|fields| fields.split(',').collect());
    let one = |row: &ClientRow| {
        let mut client = json!(Client::new(context, row));
        if let (Some(wanted), Some(fields)) = (&wanted, client.as_object_mut()) {
            fields.retain(|name, _| wanted.contains(&name.as_str()));
        }
        client
    };
    rows.iter().map(one).collect()
}

/// Clients by cursor
///
/// The same list as `/clients`, each page asked for with the cursor of the one before.
#[utoipa::path(
    get, path = "/clients_v2", tag = "Clients",
    params(
        ("limit" = Option<usize>, Query, description = "entries of a page, 1 to 10000; 100 unless given"),
        ("cursor" = Option<String>, Query, description = "that of the page before; none at first"),
        ("fields" = Option<String>, Query, description = "only these fields; all filters of `/clients` as well"),
    ),
    responses(
        (status = 200, description = "`data` and `meta`, whose `cursor` is absent at the end", body = Value),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 503, body = ErrorBody),
    ),
)]
pub async fn list_by_cursor(
    State(context): State<Arc<Context>>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let paging = params.paging("")?;
    let cursor = params.read("cursor", |text| match text {
        "none" => Some(Cursor::default()),
        number => number.parse().ok().map(Cursor::from_number),
    })?;
    let query = Arc::new(query_of(&params, "")?);
    let step = |from, max, reply| Manage::Clients {
        from,
        query: Arc::clone(&query),
        max,
        reply,
    };
    let from = cursor.unwrap_or_default();
    let (rows, next) = context.cores.list(from, paging.limit, step).await?;
    let data = shown(&context, &params, &rows);
    let mut meta = json!({ "count": data.len(), "limit": paging.limit, "hasnext": next.is_some() });
    if let Some(next) = next {
        meta["cursor"] = next.number().to_string().into();
    }
    Ok(Json(json!({ "data": data, "meta": meta })))
}

/// One client
#[utoipa::path(
    get, path = "/clients/{clientid}", tag = "Clients",
    params(("clientid" = String, Path, description = "its id")),
    responses(
        (status = 200, body = Client), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 503, body = ErrorBody), (status = 400, body = ErrorBody),
    ),
)]
pub async fn one(
    State(context): State<Arc<Context>>,
    Named(client_id): Named<String>,
) -> Result<Json<Client>, ApiError> {
    let found = context.cores.client(&client_id).await?;
    let row = found.ok_or_else(|| ApiError::no_client(&client_id))?;
    Ok(Json(Client::new(&context, &row)))
}

/// Kick a client
///
/// Its connection is closed (MQTT 5: DISCONNECT 0x98), its will published, its session removed.
#[utoipa::path(
    delete, path = "/clients/{clientid}", tag = "Clients",
    params(("clientid" = String, Path, description = "its id")),
    responses(
        (status = 204, description = "it is gone"), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 503, body = ErrorBody), (status = 400, body = ErrorBody),
    ),
)]
pub async fn kick(
    State(context): State<Arc<Context>>,
    Named(client_id): Named<String>,
) -> Result<StatusCode, ApiError> {
    match context.cores.kick(&client_id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::no_client(&client_id)),
    }
}

/// Kick several clients
///
/// Ids that nobody has are passed over.
#[utoipa::path(
    post, path = "/clients/kickout/bulk", tag = "Clients",
    request_body = Vec<String>,
    responses(
        (status = 204, description = "they are gone"), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 503, body = ErrorBody),
    ),
)]
pub async fn kick_many(
    State(context): State<Arc<Context>>,
    Body(client_ids): Body<Vec<String>>,
) -> Result<StatusCode, ApiError> {
    if client_ids.len() > BULK_MAX {
        return Err(ApiError::bad_request(format!(
            "these are more than {BULK_MAX} clients"
        )));
    }
    for client_id in &client_ids {
        context.cores.kick(client_id).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A keep-alive.
#[derive(Debug, Deserialize, ToSchema)]
pub struct KeepAlive {
    /// Seconds; 0 is none.
    interval: u16,
}

/// Change a client's keep-alive
#[utoipa::path(
    put, path = "/clients/{clientid}/keepalive", tag = "Clients",
    params(("clientid" = String, Path, description = "its id")),
    request_body = KeepAlive,
    responses(
        (status = 200, body = Client), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 413, body = ErrorBody),
        (status = 503, body = ErrorBody),
    ),
)]
pub async fn set_keepalive(
    State(context): State<Arc<Context>>,
    Named(client_id): Named<String>,
    Body(wanted): Body<KeepAlive>,
) -> Result<Json<Client>, ApiError> {
    let id = client_id.as_str().into();
    let home = context.cores.home_of_client(&client_id);
    let set = |reply| Manage::KeepAlive {
        client_id: id,
        seconds: wanted.interval,
        reply,
    };
    match context.cores.ask(home, set).await? {
        true => one(State(context), Named(client_id)).await,
        false => Err(ApiError::no_client(&client_id)),
    }
}
