//! The log: at which level it is written. There is one handler, `console`, which writes to standard
//! error.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::config::LogLevel;
use crate::control::context::Context;
use crate::control::http::error::{ApiError, ErrorBody};
use crate::control::http::extract::{Body, Named};
use crate::gate::log::LogControl;

/// The only handler.
const CONSOLE: &str = "console";

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(change))
}

/// Where the log goes.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogHandler {
    /// Its id.
    id: &'static str,
    /// The least severe level that is written.
    level: Severity,
    /// What it writes to.
    dst: &'static str,
    /// `started`.
    status: &'static str,
}

/// Another level.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewLevel {
    /// The least severe level that is to be written.
    level: Severity,
}

/// Levels, the least severe first: this broker's and EMQX's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Everything.
    Trace,
    /// What a developer wants to know.
    Debug,
    /// What an operator wants to know.
    Info,
    /// As info.
    Notice,
    /// Something is wrong that the broker can live with.
    Warning,
    /// As warning.
    Warn,
    /// Something failed that the broker needed.
    Error,
    /// As error.
    Critical,
    /// As error.
    Alert,
    /// As error.
    Emergency,
}

impl From<LogLevel> for Severity {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warning,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
            LogLevel::Trace => Self::Trace,
        }
    }
}

impl From<Severity> for LogLevel {
    fn from(level: Severity) -> Self {
        match level {
            Severity::Trace => Self::Trace,
            Severity::Debug => Self::Debug,
            Severity::Info | Severity::Notice => Self::Info,
            Severity::Warning | Severity::Warn => Self::Warn,
            _ => Self::Error,
        }
    }
}

fn console(log: &dyn LogControl) -> LogHandler {
    LogHandler {
        id: CONSOLE,
        level: log.level().into(),
        dst: "stderr",
        status: "started",
    }
}

fn log_of(context: &Context) -> Result<Arc<dyn LogControl>, ApiError> {
    let none = || ApiError::not_found("there is no log that could be changed");
    context.log().ok_or_else(none)
}

/// Where the log goes
#[utoipa::path(
    get, path = "/log/handlers", tag = "Log",
    responses((status = 200, body = Vec<LogHandler>), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
)]
pub async fn list(State(context): State<Arc<Context>>) -> Json<Vec<LogHandler>> {
    let log = context.log();
    Json(log.iter().map(|log| console(&**log)).collect())
}

/// Change the level of the log
///
/// Until the broker ends; then `log.level` counts.
#[utoipa::path(
    put, path = "/log/handlers/{id}", tag = "Log", request_body = NewLevel,
    params(("id" = String, Path, description = "`console`")),
    responses((status = 200, body = LogHandler), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 413, body = ErrorBody)),
)]
pub async fn change(
    State(context): State<Arc<Context>>,
    Named(id): Named<String>,
    Body(wanted): Body<NewLevel>,
) -> Result<Json<LogHandler>, ApiError> {
    if id != CONSOLE {
        return Err(ApiError::not_found(format!(
            "there is no log handler `{id}`; `{CONSOLE}` is the only one"
        )));
    }
    let log = log_of(&context)?;
    log.set_level(wanted.level.into()).map_err(|why| {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        ApiError::new(status, "INTERNAL_ERROR", why)
    })?;
    Ok(Json(console(&*log)))
}
