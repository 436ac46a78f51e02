//! Alarms: what is wrong, and what was.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::control::alarms;
use crate::control::clock;
use crate::control::context::Context;
use crate::control::http::error::{ApiError, ErrorBody};
use crate::control::http::extract::{Body, Listed, Params};
use crate::control::state::Alarm;

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new()
        .routes(routes!(list, forget))
        .routes(routes!(force_deactivate))
}

/// An alarm.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShownAlarm {
    /// The broker.
    pub node: String,
    /// Its name.
    pub name: String,
    /// What happened.
    pub message: String,
    /// The same for programs.
    pub details: Value,
    /// When it began.
    pub activate_at: String,
    /// When it ended, or `infinity`.
    pub deactivate_at: String,
    /// How long it has lasted, milliseconds.
    pub duration: u64,
}

impl ShownAlarm {
    /// What the API says of an alarm.
    pub fn new(context: &Context, alarm: Alarm) -> Self {
        let until = alarm.deactivated_ms.unwrap_or_else(clock::unix_ms);
        let over = alarm.deactivated_ms.map(clock::rfc3339_ms);
        Self {
            node: context.node().to_owned(),
            name: alarm.name,
            message: alarm.message,
            details: alarm.details,
            activate_at: clock::rfc3339_ms(alarm.activated_ms),
            deactivate_at: over.unwrap_or_else(|| "infinity".to_owned()),
            duration: until.saturating_sub(alarm.activated_ms),
        }
    }
}

/// Alarms
#[utoipa::path(
    get, path = "/alarms", tag = "Alarms",
    params(
        ("activated" = Option<bool>, Query, description = "those that are active, or those that are over"),
        ("page" = Option<usize>, Query, description = "from 1"),
        ("limit" = Option<usize>, Query, description = "entries of a page, 1 to 10000; 100 unless given"),
    ),
    responses(
        (status = 200, body = Listed<ShownAlarm>), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
    ),
)]
pub async fn list(
    State(context): State<Arc<Context>>,
    params: Params,
) -> Result<Json<Listed<ShownAlarm>>, ApiError> {
    let paging = params.paging("")?;
    let rows = match params.parsed("activated")?.unwrap_or(true) {
        true => context.state.alarms.all(),
        false => context.state.alarm_history.all(),
    };
    let rows = rows.into_iter().rev();
    let rows = rows
        .map(|(_, alarm)| ShownAlarm::new(&context, alarm))
        .collect();
    Ok(Json(paging.cut(rows)))
}

/// Forget the alarms that are over
#[utoipa::path(
    delete, path = "/alarms", tag = "Alarms",
    responses((status = 204, description = "they are forgotten"), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
)]
pub async fn forget(State(context): State<Arc<Context>>) -> Result<StatusCode, ApiError> {
    alarms::forget(&context.state)?;
    Ok(StatusCode::NO_CONTENT)
}

/// An alarm's name.
#[derive(Debug, Deserialize, ToSchema)]
pub struct AlarmName {
    /// The name.
    name: String,
}

/// Deactivate an alarm
///
/// It comes back if its cause is still there.
#[utoipa::path(
    post, path = "/alarms/force_deactivate", tag = "Alarms", request_body = AlarmName,
    responses((status = 204, description = "it is over"), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 413, body = ErrorBody)),
)]
pub async fn force_deactivate(
    State(context): State<Arc<Context>>,
    Body(alarm): Body<AlarmName>,
) -> Result<StatusCode, ApiError> {
    match alarms::end(&context, &alarm.name)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::not_found(format!(
            "`{}` is not active",
            alarm.name
        ))),
    }
}
