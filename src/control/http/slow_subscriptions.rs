//! Slow subscriptions.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::config::SlowStats;
use crate::control::context::Context;
use crate::control::http::error::{ApiError, ErrorBody};
use crate::control::http::extract::Body;
use crate::control::slow_subs::{self, ChangeError, Settings};
use crate::gate::slow_subs::SlowRow;

/// Milliseconds of the longest span.
const SPAN_MS_MAX: u64 = 86_400_000;
/// Subscriptions that may be kept.
const ROWS_MAX: u16 = 1000;

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new()
        .routes(routes!(list, forget))
        .routes(routes!(settings, change))
}

/// A slow subscription.
#[derive(Debug, Serialize, ToSchema)]
pub struct SlowSubscription {
    /// The subscriber.
    clientid: String,
    /// The broker.
    node: String,
    /// The topic of the message.
    topic: String,
    /// How long it took at most, milliseconds.
    timespan: u64,
    /// When that was last seen, milliseconds of UNIX time.
    last_update_time: u64,
}

impl SlowSubscription {
    fn new(context: &Context, row: SlowRow) -> Self {
        Self {
            clientid: row.client_id.into(),
            node: context.node().to_owned(),
            topic: row.topic.into(),
            timespan: row.took_ms,
            last_update_time: row.at_ms,
        }
    }
}

/// Whether slow subscriptions are looked for, and which are.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SlowSettings {
    /// Whether they are looked for.
    enable: bool,
    /// From when on a message is late, such as `500ms`.
    threshold: String,
    /// After how long a subscription is forgotten, such as `300s`.
    expire_interval: String,
    /// How many are kept, 1 to 1000.
    top_k_num: u16,
    /// What is measured.
    #[schema(value_type = String, example = "whole")]
    stats_type: SlowStats,
}

/// The span that a word such as `500ms`, `5m` or `1h` names, milliseconds; a number is milliseconds.
fn ms_of(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..)? {
        "" | "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// The same as a word.
fn span_of(ms: u64) -> String {
    match ms.is_multiple_of(1000) && ms > 0 {
        true => format!("{}s", ms / 1000),
        false => format!("{ms}ms"),
    }
}

impl SlowSettings {
    fn new(settings: &Settings) -> Self {
        Self {
            enable: settings.enable,
            threshold: span_of(settings.threshold_ms),
            expire_interval: span_of(settings.expire_ms),
            top_k_num: settings.most,
            stats_type: settings.stats,
        }
    }

    fn checked(&self) -> Result<Settings, ApiError> {
        let span = |name: &str, text: &str| {
            let ms = ms_of(text).filter(|ms| (1..=SPAN_MS_MAX).contains(ms));
            ms.ok_or_else(|| {
                ApiError::bad_request(format!("`{name}` is 1ms to 1d, such as `500ms`"))
            })
        };
        if self.top_k_num == 0 || self.top_k_num > ROWS_MAX {
            return Err(ApiError::bad_request(format!(
                "`top_k_num` is 1 to {ROWS_MAX}"
            )));
        }
        Ok(Settings {
            enable: self.enable,
            threshold_ms: span("threshold", &self.threshold)?,
            expire_ms: span("expire_interval", &self.expire_interval)?,
            most: self.top_k_num,
            stats: self.stats_type,
        })
    }
}

/// Slow subscriptions
///
/// The slowest first.
#[utoipa::path(
    get, path = "/slow_subscriptions", tag = "Slow subscriptions",
    responses((status = 200, body = Vec<SlowSubscription>), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 503, body = ErrorBody)),
)]
pub async fn list(
    State(context): State<Arc<Context>>,
) -> Result<Json<Vec<SlowSubscription>>, ApiError> {
    let rows = slow_subs::rows(&context, false).await?.into_iter();
    let rows = rows.map(|row| SlowSubscription::new(&context, row));
    Ok(Json(rows.collect()))
}

/// Forget all slow subscriptions
#[utoipa::path(
    delete, path = "/slow_subscriptions", tag = "Slow subscriptions",
    responses((status = 204, description = "they are forgotten"), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 503, body = ErrorBody)),
)]
pub async fn forget(State(context): State<Arc<Context>>) -> Result<StatusCode, ApiError> {
    slow_subs::rows(&context, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether slow subscriptions are looked for
#[utoipa::path(
    get, path = "/slow_subscriptions/settings", tag = "Slow subscriptions",
    responses((status = 200, body = SlowSettings), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
)]
pub async fn settings(State(context): State<Arc<Context>>) -> Json<SlowSettings> {
    Json(SlowSettings::new(&slow_subs::settings(&context)))
}

/// Look for slow subscriptions, or do not
///
/// Holds at once, and after a restart as well; what was found before is forgotten.
#[utoipa::path(
    put, path = "/slow_subscriptions/settings", tag = "Slow subscriptions",
    request_body = SlowSettings,
    responses((status = 200, body = SlowSettings), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 503, body = ErrorBody)),
)]
pub async fn change(
    State(context): State<Arc<Context>>,
    Body(wanted): Body<SlowSettings>,
) -> Result<Json<SlowSettings>, ApiError> {
    let settings = wanted.checked()?;
    match slow_subs::change(&context, settings).await {
        Ok(()) => Ok(Json(SlowSettings::new(&settings))),
        Err(ChangeError::State(error)) => Err(error.into()),
        Err(ChangeError::Unanswered(error)) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        for (text, ms) in [
            ("500ms", Some(500)),
            ("300s", Some(300_000)),
            ("5m", Some(300_000)),
            ("7", Some(7)),
            ("1h", Some(3_600_000)),
            ("x", None),
            ("5 m", None),
            ("-5m", None),
            ("", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(ms_of(text), ms, "{text}");
        }
        assert_eq!(span_of(500), "500ms");
        assert_eq!(span_of(300_000), "300s");
    }
}
