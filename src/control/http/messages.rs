//! Messages: those that wait for a client or are on their way to it, and the retained ones.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::base::ids::CoreId;
use crate::control::clock;
use crate::control::context::Context;
use crate::control::http::error::{ApiError, ErrorBody};
use crate::control::http::extract::{Listed, Named, Params};
use crate::control::http::publish::PayloadEncoding;
use crate::gate::manage::{Bookmark, Manage, MessageRow, Waiting};
use crate::metrics::Gauge;
use crate::mqtt::topic::TopicFilter;

/// Bytes of payloads in one answer, unless the request says less.
const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// Retained messages that are skipped to find a page.
const SKIPPED_MAX: usize = 100_000;

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new()
        .routes(routes!(queued))
        .routes(routes!(inflight))
        .routes(routes!(retainer))
        .routes(routes!(retained, forget_all))
        .routes(routes!(retained_of, forget))
}

/// Queued messages of a client
///
/// What waits until the client comes back or has acknowledged something, oldest first.
#[utoipa::path(
    get, path = "/clients/{clientid}/mqueue_messages", tag = "Clients",
    params(
        ("clientid" = String, Path, description = "its id"),
        ("position" = Option<String>, Query, description = "that of the page before; `none` at first"),
        ("limit" = Option<usize>, Query, description = "messages, 1 to 10000; 100 unless given"),
        ("payload" = Option<String>, Query, description = "`none`, `plain` or `base64` (unless given)"),
        ("max_payload_bytes" = Option<usize>, Query, description = "bytes of all payloads together"),
    ),
    responses(
        (status = 200, description = "`data`, and in `meta.position` where it goes on", body = Value),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 503, body = ErrorBody),
    ),
)]
pub async fn queued(
    State(context): State<Arc<Context>>,
    Named(client_id): Named<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    waiting(&context, &client_id, Waiting::Queued, &params).await
}

/// Messages on their way to a client
///
/// What was sent to it at QoS 1 or 2 and is not acknowledged, oldest first.
#[utoipa::path(
    get, path = "/clients/{clientid}/inflight_messages", tag = "Clients",
    params(
        ("clientid" = String, Path, description = "its id"),
        ("position" = Option<String>, Query, description = "that of the page before; `none` at first"),
        ("limit" = Option<usize>, Query, description = "messages, 1 to 10000; 100 unless given"),
        ("payload" = Option<String>, Query, description = "`none`, `plain` or `base64` (unless given)"),
        ("max_payload_bytes" = Option<usize>, Query, description = "bytes of all payloads together"),
    ),
    responses(
        (status = 200, description = "`data`, and in `meta.position` where it goes on", body = Value),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 503, body = ErrorBody),
    ),
)]
pub async fn inflight(
    State(context): State<Arc<Context>>,
    Named(client_id): Named<String>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    waiting(&context, &client_id, Waiting::Inflight, &params).await
}

async fn waiting(
    context: &Context,
    client_id: &str,
    which: Waiting,
    params: &Params,
) -> Result<Json<Value>, ApiError> {
    let limit = params.paging("")?.limit;
    let encoding = encoding_of(params)?;
    let bytes_max = params
        .parsed("max_payload_bytes")?
        .unwrap_or(PAYLOAD_BYTES_MAX);
    let start: u64 = params
        .read("position", |text| match text {
            "none" => Some(0),
            number => number.parse().ok(),
        })?
        .unwrap_or(0);
    let home = context.cores.home_of_client(client_id);
    let (mut rows, mut bytes, mut from): (Vec<MessageRow>, usize, u64) = (Vec::new(), 0, start);
    'pages: while rows.len() < limit {
        let client_id_owned = client_id.into();
        let max = limit - rows.len();
        let step = |reply| Manage::Messages {
            client_id: client_id_owned,
            which,
            from,
            max,
            reply,
        };
        let page = context.cores.ask(home, step).await?;
        let page = page.ok_or_else(|| ApiError::no_client(client_id))?;
        for row in page.rows {
            bytes += row.payload.len();
            if bytes > bytes_max.min(PAYLOAD_BYTES_MAX) && !rows.is_empty() {
                break 'pages;
            }
            from = row.number + 1;
            rows.push(row);
        }
        if page.next.is_none() {
            break;
        }
    }
    let data: Vec<Value> = rows
        .iter()
        .map(|row| waiting_message(row, encoding))
        .collect();
    let meta = json!({ "start": start.to_string(), "position": from.to_string() });
    Ok(Json(json!({ "data": data, "meta": meta })))
}

/// How payloads are wanted: not at all, or in an encoding.
fn encoding_of(params: &Params) -> Result<Option<PayloadEncoding>, ApiError> {
    let wanted = params.read("payload", |text| match text {
        "none" => Some(None),
        "plain" => Some(Some(PayloadEncoding::Plain)),
        "base64" => Some(Some(PayloadEncoding::Base64)),
        _ => None,
    })?;
    Ok(wanted.unwrap_or(Some(PayloadEncoding::Base64)))
}

fn waiting_message(row: &MessageRow, encoding: Option<PayloadEncoding>) -> Value {
    let publish_at = row.received_us / 1000;
    let mut message = json!({
        "msgid": message_id(row), "topic": row.topic, "qos": row.qos.as_u8(),
        "publish_at": publish_at, "from_clientid": row.from.as_deref(), "inserted_at": row.number.to_string(),
        "mqueue_priority": 0,
    });
    if let Some(encoding) = encoding {
        message["payload"] = match encoding {
            PayloadEncoding::Plain => String::from_utf8_lossy(&row.payload).into(),
            PayloadEncoding::Base64 => STANDARD.encode(&row.payload).into(),
        };
    }
    message
}

fn message_id(row: &MessageRow) -> String {
    format!("{:016X}{:016X}", row.received_us, row.number)
}

/// A retained message.
#[derive(Debug, Serialize, ToSchema)]
pub struct Retained {
    /// Its topic.
    topic: String,
    /// The QoS it was published with.
    qos: u8,
    /// When it was published.
    publish_at: String,
    /// When it expires; absent = never.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// Who published it, if that is known.
    from_clientid: Option<String>,
    /// The same for EMQX's tools.
    msgid: String,
    /// In base64; only of a single message.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
}

impl Retained {
    fn new(row: &MessageRow, payload: bool) -> Self {
        Self {
            topic: row.topic.clone(),
            qos: row.qos.as_u8(),
            publish_at: clock::rfc3339_ms(row.received_us / 1000),
            expires_at: row.expires_us.map(|at| clock::rfc3339_ms(at.get() / 1000)),
            from_clientid: row.from.as_ref().map(ToString::to_string),
            msgid: message_id(row),
            payload: payload.then(|| STANDARD.encode(&row.payload)),
        }
    }
}

/// Settings of retained messages
#[utoipa::path(
    get, path = "/mqtt/retainer", tag = "Retained messages",
    responses((status = 200, description = "the settings", body = Value),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)),
)]
pub async fn retainer(State(context): State<Arc<Context>>) -> Json<Value> {
    let config = context.settings();
    let (settings, mqtt) = (&config.retainer, &config.mqtt);
    let expiry_s = settings
        .expiry_interval
        .map_or(0, |interval| interval.as_secs());
    Json(json!({
        "enable": mqtt.retain_available,
        "msg_expiry_interval": format!("{expiry_s}s"),
        "max_payload_size": settings.max_payload_size,
        "backend": {
            "type": "built_in_database",
            "storage_type": "ram",
            "max_retained_messages": settings.max_retained_messages.unwrap_or(0),
        },
    }))
}

/// Retained messages
#[utoipa::path(
    get, path = "/mqtt/retainer/messages", tag = "Retained messages",
    params(
        ("page" = Option<usize>, Query, description = "from 1"),
        ("limit" = Option<usize>, Query, description = "entries of a page, 1 to 10000; 100 unless given"),
        ("topic" = Option<String>, Query, description = "those whose topics match this filter"),
    ),
    responses(
        (status = 200, description = "without payloads", body = Listed<Retained>),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 503, body = ErrorBody),
    ),
)]
pub async fn retained(
    State(context): State<Arc<Context>>,
    params: Params,
) -> Result<Json<Listed<Retained>>, ApiError> {
    let paging = params.paging("")?;
    let filter = filter_of(&params)?;
    let skipped = (paging.page - 1).saturating_mul(paging.limit);
    if skipped > SKIPPED_MAX {
        return Err(ApiError::parameter(
            "the page is too far; ask with a narrower `topic`",
        ));
    }
    // One more, to know whether there is a further page.
    let wanted = skipped + paging.limit + 1;
    let mut walk = Walk::new(filter.clone(), false);
    let (mut data, mut seen) = (Vec::new(), 0);
    while seen < wanted
        && let Some(rows) = walk.next(&context, wanted - seen).await?
    {
        for row in &rows {
            if seen >= skipped && data.len() < paging.limit {
                data.push(Retained::new(row, false));
            }
            seen += 1;
        }
    }
    let count = (filter == "#").then(|| context.metrics.gauge(Gauge::Retained));
    Ok(Json(paging.listed(data, count, seen >= wanted)))
}

fn filter_of(params: &Params) -> Result<String, ApiError> {
    let filter = params.text("topic").unwrap_or("#");
    match TopicFilter::new(filter) {
        Ok(_) => Ok(filter.to_owned()),
        Err(error) => {
            let message = format!("`{filter}` is no valid filter: {}", error.rule);
            Err(ApiError::new(StatusCode::BAD_REQUEST, "BAD_TOPIC", message))
        }
    }
}

/// A walk over the retained messages of all cores.
struct Walk {
    filter: String,
    payloads: bool,
    core: u8,
    bookmark: Option<Bookmark>,
}

impl Walk {
    fn new(filter: String, payloads: bool) -> Self {
        Self {
            filter,
            payloads,
            core: 0,
            bookmark: None,
        }
    }

    /// The next messages, maybe none; nothing at the end.
    async fn next(
        &mut self,
        context: &Context,
        max: usize,
    ) -> Result<Option<Vec<MessageRow>>, ApiError> {
        if self.core >= context.cores.count() {
            return Ok(None);
        }
        let (filter, payloads) = (self.filter.clone(), self.payloads);
        let bookmark = self.bookmark.take();
        let step = |reply| Manage::Retained {
            filter,
            payloads,
            bookmark,
            max,
            reply,
        };
        let (rows, bookmark) = context.cores.ask(CoreId(self.core), step).await?;
        self.core += u8::from(bookmark.is_none());
        self.bookmark = bookmark;
        Ok(Some(rows))
    }
}

/// Forget all retained messages
///
/// Those whose topics begin with `$` only if `topic` names them.
#[utoipa::path(
    delete, path = "/mqtt/retainer/messages", tag = "Retained messages",
    params(("topic" = Option<String>, Query, description = "only those whose topics match this filter")),
    responses((status = 204, description = "they are gone"), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 503, body = ErrorBody)),
)]
pub async fn forget_all(
    State(context): State<Arc<Context>>,
    params: Params,
) -> Result<StatusCode, ApiError> {
    let mut walk = Walk::new(filter_of(&params)?, false);
    while let Some(rows) = walk.next(&context, usize::MAX).await? {
        for row in rows {
            forget_topic(&context, row.topic).await?;
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn forget_topic(context: &Context, topic: String) -> Result<bool, ApiError> {
    let home = context.cores.home_of_topic(&topic);
    let step = |reply| Manage::ForgetRetained { topic, reply };
    Ok(context.cores.ask(home, step).await?)
}

/// The retained message of a topic
///
/// In the path the topic is percent-encoded.
#[utoipa::path(
    get, path = "/mqtt/retainer/message/{topic}", tag = "Retained messages",
    params(("topic" = String, Path, description = "the topic")),
    responses(
        (status = 200, body = Retained), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody),
    ),
)]
pub async fn retained_of(
    State(context): State<Arc<Context>>,
    Named(topic): Named<String>,
) -> Result<Json<Retained>, ApiError> {
    let (home, asked) = (context.cores.home_of_topic(&topic), topic.clone());
    let step = |reply| Manage::RetainedOf {
        topic: asked,
        reply,
    };
    let found = context.cores.ask(home, step).await?;
    let row = found.ok_or_else(|| no_retained(&topic))?;
    Ok(Json(Retained::new(&row, true)))
}

fn no_retained(topic: &str) -> ApiError {
    ApiError::not_found(format!("`{topic}` has no retained message"))
}

/// Forget the retained message of a topic
#[utoipa::path(
    delete, path = "/mqtt/retainer/message/{topic}", tag = "Retained messages",
    params(("topic" = String, Path, description = "the topic")),
    responses((status = 204, description = "it is gone"), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)),
)]
pub async fn forget(
    State(context): State<Arc<Context>>,
    Named(topic): Named<String>,
) -> Result<StatusCode, ApiError> {
    match forget_topic(&context, topic.clone()).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(no_retained(&topic)),
    }
}
