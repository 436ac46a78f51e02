//! Figures of chosen topics (EMQX: topic metrics).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::control::clock;
use crate::control::context::Context;
use crate::control::http::error::{ApiError, ErrorBody};
use crate::control::http::extract::{Body, Named};
use crate::control::topic_metrics::{self, ChoiceError, TopicRow};
use crate::mqtt::topic::TopicName;

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new()
        .routes(routes!(list, choose, reset))
        .routes(routes!(one, forget))
}

/// The figures of a topic.
#[derive(Debug, Serialize, ToSchema)]
pub struct TopicMetrics {
    /// The topic.
    topic: String,
    /// Since when it is counted.
    create_time: String,
    /// When it was set to 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    reset_time: Option<String>,
    /// Counts and rates (messages a second over the last five seconds): `messages.in.count`,
    /// `messages.in.rate`, `messages.qos1.out.count` ...
    metrics: Value,
}

impl From<TopicRow> for TopicMetrics {
    fn from(row: TopicRow) -> Self {
        Self {
            topic: row.topic,
            create_time: clock::rfc3339(row.created_s),
            reset_time: row.reset_s.map(clock::rfc3339),
            metrics: row.metrics.into(),
        }
    }
}

/// A topic to count.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Choice {
    /// The topic, without wildcards.
    pub topic: String,
}

/// What is to be set to 0.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Reset {
    /// `reset`.
    action: ResetAction,
    /// The topic; all unless given.
    #[serde(default)]
    topic: Option<String>,
}

/// The only action there is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ResetAction {
    /// Set to 0.
    Reset,
}

fn none_of(topic: &str) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "TOPIC_NOT_FOUND",
        format!("`{topic}` is not counted"),
    )
}

impl From<ChoiceError> for ApiError {
    fn from(error: ChoiceError) -> Self {
        match error {
            ChoiceError::Exists => Self::new(
                StatusCode::CONFLICT,
                "ALREADY_EXISTS",
                "the topic is counted already",
            ),
            ChoiceError::State(error) => error.into(),
            ChoiceError::Unanswered(error) => error.into(),
        }
    }
}

/// Counts a topic.
///
/// # Errors
/// It is no topic, or it is not counted for another reason.
pub async fn begin(context: &Context, topic: &str) -> Result<TopicRow, ApiError> {
    if let Err(error) = TopicName::new(topic) {
        let message = format!("`{topic}` is no valid topic: {}", error.rule);
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "BAD_TOPIC", message));
    }
    topic_metrics::choose(context, topic).await?;
    let row = context.topic_metrics.row(topic);
    row.ok_or_else(|| none_of(topic))
}

/// Topics that are counted
#[utoipa::path(
    get, path = "/mqtt/topic_metrics", tag = "Topic metrics",
    responses((status = 200, body = Vec<TopicMetrics>), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
)]
pub async fn list(State(context): State<Arc<Context>>) -> Json<Vec<TopicMetrics>> {
    let rows = context.topic_metrics.rows().into_iter();
    Json(rows.map(Into::into).collect())
}

/// Count a topic
///
/// Up to 512 topics.
#[utoipa::path(
    post, path = "/mqtt/topic_metrics", tag = "Topic metrics", request_body = Choice,
    responses(
        (status = 200, body = TopicMetrics), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 413, body = ErrorBody),
        (status = 503, body = ErrorBody),
    ),
)]
pub async fn choose(
    State(context): State<Arc<Context>>,
    Body(choice): Body<Choice>,
) -> Result<Json<TopicMetrics>, ApiError> {
    let row = begin(&context, &choice.topic).await?;
    Ok(Json(row.into()))
}

/// Set the figures of a topic, or of all, to 0
#[utoipa::path(
    put, path = "/mqtt/topic_metrics", tag = "Topic metrics", request_body = Reset,
    responses(
        (status = 204, description = "they are 0"), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 413, body = ErrorBody),
    ),
)]
pub async fn reset(
    State(context): State<Arc<Context>>,
    Body(Reset {
        action: ResetAction::Reset,
        topic,
    }): Body<Reset>,
) -> Result<StatusCode, ApiError> {
    match context.topic_metrics.reset(topic.as_deref()) {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(none_of(&topic.unwrap_or_default())),
    }
}

/// The figures of a topic
///
/// In the path the topic is percent-encoded.
#[utoipa::path(
    get, path = "/mqtt/topic_metrics/{topic}", tag = "Topic metrics",
    params(("topic" = String, Path, description = "the topic")),
    responses(
        (status = 200, body = TopicMetrics), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
    ),
)]
pub async fn one(
    State(context): State<Arc<Context>>,
    Named(topic): Named<String>,
) -> Result<Json<TopicMetrics>, ApiError> {
    let row = context.topic_metrics.row(&topic);
    let row = row.ok_or_else(|| none_of(&topic))?;
    Ok(Json(row.into()))
}

/// Count a topic no more
#[utoipa::path(
    delete, path = "/mqtt/topic_metrics/{topic}", tag = "Topic metrics",
    params(("topic" = String, Path, description = "the topic")),
    responses(
        (status = 204, description = "it is not counted any more"), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody),
    ),
)]
pub async fn forget(
    State(context): State<Arc<Context>>,
    Named(topic): Named<String>,
) -> Result<StatusCode, ApiError> {
    match topic_metrics::forget(&context, Some(&topic)).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(none_of(&topic)),
    }
}
