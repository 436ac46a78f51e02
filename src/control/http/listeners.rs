//! Listeners: what they do, stopping and starting them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::control::context::Context;
use crate::control::http::clients::or_infinity;
use crate::control::http::error::{ApiError, ErrorBody};
use crate::control::http::extract::Named;
use crate::gate::listeners::{ListenerControl, ListenerState};

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(status))
        .routes(routes!(one))
        .routes(routes!(start))
        .routes(routes!(stop))
        .routes(routes!(restart))
}

/// A listener.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Listener {
    /// Kind and name, such as `tcp:default`.
    pub id: String,
    /// `tcp`, `ssl`, `ws`, `wss` or `unix`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub bind: String,
    /// Whether it is opened at the start.
    pub enable: bool,
    /// Whether it accepts.
    pub running: bool,
    /// Connections it may hold, or `infinity`.
    pub max_connections: Value,
    /// Connections it holds.
    pub current_connections: u32,
    /// Threads that accept.
    pub acceptors: u8,
    /// Whether a PROXY header is awaited.
    pub proxy_protocol: bool,
    /// Why connections of it have ended, with how many.
    pub shutdown_count: Map<String, Value>,
    /// The three figures above for EMQX's tools.
    pub status: Value,
}

impl Listener {
    fn new(context: &Context, number: usize, state: ListenerState) -> Self {
        let number = u8::try_from(number).unwrap_or(u8::MAX);
        let ended = context.metrics.shutdown_count(number).into_iter();
        let ended = ended.filter(|(_, count)| *count > 0);
        let name = state.id.split_once(':').map_or("", |(_, name)| name);
        let max_connections = or_infinity(state.max_connections);
        let status = serde_json::json!({
            "running": state.running,
            "max_connections": max_connections,
            "current_connections": state.current_connections,
        });
        Self {
            name: name.to_owned(),
            kind: state.kind.to_owned(),
            bind: state.bind,
            enable: true,
            running: state.running,
            max_connections,
            current_connections: state.current_connections,
            acceptors: context.cores.count(),
            proxy_protocol: state.proxy_protocol,
            shutdown_count: ended
                .map(|(name, count)| (name.to_owned(), count.into()))
                .collect(),
            status,
            id: state.id,
        }
    }
}

/// All listeners.
pub fn all(context: &Context) -> Vec<Listener> {
    let states = match context.listeners() {
        Some(control) => control.states(),
        None => Vec::new(),
    };
    states
        .into_iter()
        .enumerate()
        .map(|(number, state)| Listener::new(context, number, state))
        .collect()
}

/// Listeners
#[utoipa::path(
    get, path = "/listeners", tag = "Listeners",
    responses((status = 200, body = Vec<Listener>), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
)]
pub async fn list(State(context): State<Arc<Context>>) -> Json<Vec<Listener>> {
    Json(all(&context))
}

/// Listeners as EMQX's tools ask for their state
#[utoipa::path(
    get, path = "/listeners_status", tag = "Listeners",
    responses((status = 200, body = Vec<Listener>), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
)]
pub async fn status(State(context): State<Arc<Context>>) -> Json<Vec<Listener>> {
    Json(all(&context))
}

/// One listener
#[utoipa::path(
    get, path = "/listeners/{id}", tag = "Listeners",
    params(("id" = String, Path, description = "such as `tcp:default`")),
    responses((status = 200, body = Listener), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)),
)]
pub async fn one(
    State(context): State<Arc<Context>>,
    Named(id): Named<String>,
) -> Result<Json<Listener>, ApiError> {
    Ok(Json(known(&context, &id)?))
}

fn known(context: &Context, id: &str) -> Result<Listener, ApiError> {
    let mut all = all(context).into_iter();
    all.find(|listener| listener.id == id)
        .ok_or_else(|| ApiError::not_found(format!("there is no listener `{id}`")))
}

/// Start a listener
#[utoipa::path(
    post, path = "/listeners/{id}/start", tag = "Listeners",
    params(("id" = String, Path, description = "such as `tcp:default`")),
    responses((status = 204, description = "it accepts"), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)),
)]
pub async fn start(
    State(context): State<Arc<Context>>,
    Named(id): Named<String>,
) -> Result<StatusCode, ApiError> {
    command(&context, id, |control, id| control.start(id)).await
}

/// Stop a listener
///
/// Connected clients stay.
#[utoipa::path(
    post, path = "/listeners/{id}/stop", tag = "Listeners",
    params(("id" = String, Path, description = "such as `tcp:default`")),
    responses((status = 204, description = "it accepts no more"), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)),
)]
pub async fn stop(
    State(context): State<Arc<Context>>,
    Named(id): Named<String>,
) -> Result<StatusCode, ApiError> {
    command(&context, id, |control, id| control.stop(id)).await
}

/// Restart a listener
///
/// Connected clients stay.
#[utoipa::path(
    post, path = "/listeners/{id}/restart", tag = "Listeners",
    params(("id" = String, Path, description = "such as `tcp:default`")),
    responses((status = 204, description = "it accepts again"), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)),
)]
pub async fn restart(
    State(context): State<Arc<Context>>,
    Named(id): Named<String>,
) -> Result<StatusCode, ApiError> {
    command(&context, id, |control, id| control.restart(id)).await
}

/// Does something with a listener, on a thread where waiting harms nobody.
///
/// # Errors
/// There is no such listener, or it cannot be done.
pub async fn command(
    context: &Context,
    id: String,
    what: fn(&dyn ListenerControl, &str) -> Result<(), String>,
) -> Result<StatusCode, ApiError> {
    known(context, &id)?;
    let unavailable =
        |why: String| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", why);
    let control = context.listeners();
    let control = control.ok_or_else(|| unavailable("listeners cannot be changed now".into()))?;
    let done = tokio::task::spawn_blocking(move || what(&*control, &id)).await;
    done.map_err(|error| unavailable(error.to_string()))?
        .map_err(unavailable)?;
    Ok(StatusCode::NO_CONTENT)
}
