//! Delayed messages: whether there are any, which wait, and the end of one.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::base::ids::CoreId;
use crate::control::clock;
use crate::control::context::Context;
use crate::control::cores::Cursor;
use crate::control::http::error::{ApiError, ErrorBody};
use crate::control::http::extract::{Listed, Named, Params};
use crate::gate::manage::{AboutDelayed, DelayedRow, Manage};

/// Messages that are skipped to find a page, and looked at to find those to a topic.
const LOOKED_AT_MAX: usize = 1_000_000;
/// Messages that are asked for at a time.
const STEP: usize = 1000;

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new()
        .routes(routes!(settings))
        .routes(routes!(list))
        .routes(routes!(one, forget))
        .routes(routes!(forget_to))
}

/// Whether messages are delayed.
#[derive(Debug, Serialize, ToSchema)]
pub struct DelayedSettings {
    /// Whether they are. If not, `$delayed/...` is a topic like any other; what waits goes on waiting.
    enable: bool,
    /// How many may wait; 0 is any number.
    max_delayed_messages: u32,
}

/// A delayed message.
#[derive(Debug, Serialize, ToSchema)]
pub struct DelayedMessage {
    /// Its id.
    msgid: String,
    /// The broker.
    node: String,
    /// Where it is going.
    topic: String,
    /// The QoS it was published with.
    qos: u8,
    /// Whether it will be retained.
    retain: bool,
    /// Seconds between its coming and its publishing.
    delayed_interval: u64,
    /// Seconds until its publishing.
    delayed_remaining: u64,
    /// When it came.
    publish_at: String,
    /// When it is published.
    expected_at: String,
    /// Who sent it.
    from_clientid: String,
    /// Not known any more.
    from_username: String,
    /// In base64; only of a single message.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
}

impl DelayedMessage {
    fn new(context: &Context, row: &DelayedRow) -> Self {
        let (came_ms, goes_ms) = (row.received_us / 1000, row.publish_us / 1000);
        let seconds = |from: u64, to: u64| to.saturating_sub(from).div_ceil(1000);
        Self {
            msgid: id_of(row.core, row.id),
            node: context.node().to_owned(),
            topic: row.topic.clone(),
            qos: row.qos,
            retain: row.retain,
            delayed_interval: seconds(came_ms, goes_ms),
            delayed_remaining: seconds(clock::unix_ms(), goes_ms),
            publish_at: clock::rfc3339_ms(came_ms),
            expected_at: clock::rfc3339_ms(goes_ms),
            from_clientid: row.client_id.to_string(),
            from_username: "undefined".to_owned(),
            payload: row.payload.as_ref().map(|payload| STANDARD.encode(payload)),
        }
    }
}

/// The core and its number there, as one word.
fn id_of(core: u8, id: u64) -> String {
    format!("{core:02X}{id:016X}")
}

fn parse_id(text: &str) -> Option<(CoreId, u64)> {
    let (core, id) = text.split_at_checked(2).filter(|_| text.len() == 18)?;
    let core = u8::from_str_radix(core, 16).ok()?;
    Some((CoreId(core), u64::from_str_radix(id, 16).ok()?))
}

/// Where a message of the path is.
fn place_of(
    context: &Context,
    (node, msgid): &(String, String),
) -> Result<(CoreId, u64), ApiError> {
    if node != context.node() {
        return Err(ApiError::not_found(format!("there is no node `{node}`")));
    }
    let place = parse_id(msgid).ok_or_else(|| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "MESSAGE_ID_SCHEMA_ERROR",
            format!("`{msgid}` is no id of a delayed message"),
        )
    })?;
    match place.0.0 < context.cores.count() {
        true => Ok(place),
        false => Err(gone(msgid)),
    }
}

fn gone(msgid: &str) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "MESSAGE_ID_NOT_FOUND",
        format!("`{msgid}` does not wait (any more)"),
    )
}

/// Whether messages are delayed
#[utoipa::path(
    get, path = "/mqtt/delayed", tag = "Delayed messages",
    responses((status = 200, body = DelayedSettings), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
)]
pub async fn settings(State(context): State<Arc<Context>>) -> Json<DelayedSettings> {
    let settings = &context.config.messaging.delayed;
    Json(DelayedSettings {
        enable: settings.enable,
        max_delayed_messages: settings.max_delayed_messages.unwrap_or(0),
    })
}

/// Delayed messages
///
/// Without payloads, in no order of time.
#[utoipa::path(
    get, path = "/mqtt/delayed/messages", tag = "Delayed messages",
    params(
        ("page" = Option<usize>, Query, description = "from 1"),
        ("limit" = Option<usize>, Query, description = "entries of a page, 1 to 10000; 100 unless given"),
    ),
    responses((status = 200, body = Listed<DelayedMessage>), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 503, body = ErrorBody)),
)]
pub async fn list(
    State(context): State<Arc<Context>>,
    params: Params,
) -> Result<Json<Listed<DelayedMessage>>, ApiError> {
    let paging = params.paging("")?;
    let mut skip = (paging.page - 1).saturating_mul(paging.limit);
    if skip > LOOKED_AT_MAX {
        return Err(ApiError::parameter("the page is too far"));
    }
    let mut at = Some(Cursor::default());
    while let Some(from) = at.filter(|_| skip > 0) {
        let (rows, next) = rows(&context, from, skip.min(STEP)).await?;
        skip = skip.saturating_sub(rows.len());
        at = next;
    }
    let (data, next) = match at {
        Some(from) => rows(&context, from, paging.limit).await?,
        None => (Vec::new(), None),
    };
    let data: Vec<DelayedMessage> = data
        .iter()
        .map(|row| DelayedMessage::new(&context, row))
        .collect();
    let seen = (paging.page - 1).saturating_mul(paging.limit) + data.len();
    let count = (next.is_none() && !data.is_empty() || paging.page == 1 && next.is_none())
        .then_some(seen as u64);
    Ok(Json(paging.listed(data, count, next.is_some())))
}

async fn rows(
    context: &Context,
    from: Cursor,
    limit: usize,
) -> Result<(Vec<DelayedRow>, Option<Cursor>), ApiError> {
    let step = |from, max, reply| Manage::Delayed(AboutDelayed::List { from, max, reply });
    Ok(context.cores.list(from, limit, step).await?)
}

/// A delayed message
#[utoipa::path(
    get, path = "/mqtt/delayed/messages/{node}/{msgid}", tag = "Delayed messages",
    params(("node" = String, Path, description = "the broker"),
        ("msgid" = String, Path, description = "its id")),
    responses((status = 200, body = DelayedMessage), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)),
)]
pub async fn one(
    State(context): State<Arc<Context>>,
    Named(path): Named<(String, String)>,
) -> Result<Json<DelayedMessage>, ApiError> {
    let (core, id) = place_of(&context, &path)?;
    let step = |reply| Manage::Delayed(AboutDelayed::One { id, reply });
    let found = context.cores.ask(core, step).await?;
    let row = found.ok_or_else(|| gone(&path.1))?;
    Ok(Json(DelayedMessage::new(&context, &row)))
}

/// Forget a delayed message
#[utoipa::path(
    delete, path = "/mqtt/delayed/messages/{node}/{msgid}", tag = "Delayed messages",
    params(("node" = String, Path, description = "the broker"),
        ("msgid" = String, Path, description = "its id")),
    responses((status = 204, description = "it is gone"), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)),
)]
pub async fn forget(
    State(context): State<Arc<Context>>,
    Named(path): Named<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let (core, id) = place_of(&context, &path)?;
    match forget_one(&context, core, id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(gone(&path.1)),
    }
}

async fn forget_one(context: &Context, core: CoreId, id: u64) -> Result<bool, ApiError> {
    let step = |reply| Manage::Delayed(AboutDelayed::Forget { id, reply });
    Ok(context.cores.ask(core, step).await?)
}

/// Forget the delayed messages to a topic
///
/// In the path the topic is percent-encoded.
#[utoipa::path(
    delete, path = "/mqtt/delayed/messages/{topic}", tag = "Delayed messages",
    params(("topic" = String, Path, description = "the topic, without `$delayed/<seconds>/`")),
    responses((status = 204, description = "they are gone"), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)),
)]
pub async fn forget_to(
    State(context): State<Arc<Context>>,
    Named(topic): Named<String>,
) -> Result<StatusCode, ApiError> {
    let (mut at, mut any, mut seen) = (Some(Cursor::default()), false, 0);
    while let Some(from) = at.filter(|_| seen < LOOKED_AT_MAX) {
        let (rows, next) = rows(&context, from, STEP).await?;
        seen += rows.len();
        for row in rows.iter().filter(|row| row.topic == topic) {
            any |= forget_one(&context, CoreId(row.core), row.id).await?;
        }
        at = next;
    }
    match any {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::not_found(format!(
            "no delayed message goes to `{topic}`"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_core_and_place() {
        let id = id_of(3, 0x1_0000_0007);
        assert_eq!(parse_id(&id), Some((CoreId(3), 0x1_0000_0007)));
        for wrong in [
            "",
            "x",
            "030000000100000007x",
            "0g0000000100000007",
            "\u{e4}",
        ] {
            assert_eq!(parse_id(wrong), None, "{wrong}");
        }
    }
}
