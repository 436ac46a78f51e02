//! The broker itself: what it is, how it does, and its figures over time.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::control::clock;
use crate::control::context::Context;
use crate::control::http::error::{ApiError, CODES, ErrorBody};
use crate::control::http::extract::{Named, Params};
use crate::control::http::metrics::{counters, gauges};
use crate::control::machine::Machine;
use crate::control::monitor::{SAMPLE_EVERY_S, Sample};
use crate::metrics::Gauge;

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new()
        .routes(routes!(brokers))
        .routes(routes!(nodes))
        .routes(routes!(node))
        .routes(routes!(node_metrics))
        .routes(routes!(node_stats))
        .routes(routes!(monitor, clear_monitor))
        .routes(routes!(monitor_of_node))
        .routes(routes!(monitor_current))
        .routes(routes!(monitor_current_of_node))
        .routes(routes!(error_codes))
        .routes(routes!(error_code))
}

/// A broker.
#[derive(Debug, Serialize, ToSchema)]
pub struct Broker {
    /// Its name.
    node: String,
    /// `running`.
    node_status: &'static str,
    /// The version.
    version: &'static str,
    /// What it is.
    sysdescr: &'static str,
    /// Milliseconds since its start.
    uptime: u64,
    /// Its clock.
    datetime: String,
    /// There is no Erlang in it.
    otp_release: &'static str,
}

impl Broker {
    /// This one.
    pub fn new(context: &Context) -> Self {
        Self {
            node: context.node().to_owned(),
            node_status: "running",
            version: env!("CARGO_PKG_VERSION"),
            sysdescr: "Millrace",
            uptime: context.uptime_ms(),
            datetime: clock::rfc3339(clock::unix_s()),
            otp_release: "none",
        }
    }
}

/// Brokers
#[utoipa::path(
    get, path = "/brokers", tag = "Nodes",
    responses((status = 200, body = Vec<Broker>), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
)]
pub async fn brokers(State(context): State<Arc<Context>>) -> Json<Vec<Broker>> {
    Json(vec![Broker::new(&context)])
}

/// A node.
#[derive(Debug, Serialize, ToSchema)]
pub struct Node {
    /// Its name.
    pub node: String,
    /// `running`.
    pub node_status: &'static str,
    /// The version.
    pub version: &'static str,
    /// There is one edition.
    pub edition: &'static str,
    /// `core`.
    pub role: &'static str,
    /// Milliseconds since its start.
    pub uptime: u64,
    /// Clients, those included whose session waits for them.
    pub connections: u64,
    /// Connected clients.
    pub live_connections: u64,
    /// Load averages of the machine.
    pub load1: f64,
    /// Of five minutes.
    pub load5: f64,
    /// Of fifteen minutes.
    pub load15: f64,
    /// Open files it may have.
    pub max_fds: u64,
    /// Memory of the machine, bytes.
    pub memory_total: u64,
    /// Memory of the machine in use, bytes.
    pub memory_used: u64,
    /// Memory of this process, bytes.
    pub process_memory: u64,
    /// Threads that serve connections.
    pub cores: u8,
    /// There is no Erlang in it.
    pub otp_release: &'static str,
    /// The same.
    pub process_available: u32,
    /// The same.
    pub process_used: u32,
}

impl Node {
    /// This one.
    pub async fn new(context: &Context) -> Self {
        context.cores.refresh().await;
        let machine = Machine::look();
        let [load1, load5, load15] = machine.load;
        Self {
            node: context.node().to_owned(),
            node_status: "running",
            version: env!("CARGO_PKG_VERSION"),
            edition: "Opensource",
            role: "core",
            uptime: context.uptime_ms(),
            connections: context.metrics.gauge(Gauge::Connections),
            live_connections: context.metrics.gauge(Gauge::LiveConnections),
            load1,
            load5,
            load15,
            max_fds: machine.descriptors,
            memory_total: machine.memory_total,
            memory_used: machine.memory_used,
            process_memory: machine.process_memory,
            cores: context.cores.count(),
            otp_release: "none",
            process_available: 0,
            process_used: 0,
        }
    }
}

/// Nodes
#[utoipa::path(
    get, path = "/nodes", tag = "Nodes",
    responses((status = 200, body = Vec<Node>), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
)]
pub async fn nodes(State(context): State<Arc<Context>>) -> Json<Vec<Node>> {
    Json(vec![Node::new(&context).await])
}

/// Whether a node is this one.
///
/// # Errors
/// 404: it is not.
pub fn check_node(context: &Context, node: &str) -> Result<(), ApiError> {
    match node == context.node() {
        true => Ok(()),
        false => Err(ApiError::not_found(format!("there is no node `{node}`"))),
    }
}

/// One node
#[utoipa::path(
    get, path = "/nodes/{node}", tag = "Nodes",
    params(("node" = String, Path, description = "its name")),
    responses((status = 200, body = Node), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)),
)]
pub async fn node(
    State(context): State<Arc<Context>>,
    Named(name): Named<String>,
) -> Result<Json<Node>, ApiError> {
    check_node(&context, &name)?;
    Ok(Json(Node::new(&context).await))
}

/// Counters of a node
#[utoipa::path(
    get, path = "/nodes/{node}/metrics", tag = "Nodes",
    params(("node" = String, Path, description = "its name")),
    responses((status = 200, description = "counters by name", body = Value),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
pub async fn node_metrics(
    State(context): State<Arc<Context>>,
    Named(name): Named<String>,
) -> Result<Json<Value>, ApiError> {
    check_node(&context, &name)?;
    Ok(Json(counters(&context).into()))
}

/// Gauges of a node
#[utoipa::path(
    get, path = "/nodes/{node}/stats", tag = "Nodes",
    params(("node" = String, Path, description = "its name")),
    responses((status = 200, description = "gauges by name", body = Value),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
pub async fn node_stats(
    State(context): State<Arc<Context>>,
    Named(name): Named<String>,
) -> Result<Json<Value>, ApiError> {
    check_node(&context, &name)?;
    Ok(Json(gauges(&context).await.into()))
}

/// Figures over time
///
/// A row every ten seconds, for the last six hours: what was counted in these ten seconds, and what
/// there was at their end.
#[utoipa::path(
    get, path = "/monitor", tag = "Metrics",
    params(("latest" = Option<u64>, Query, description = "only the last so many seconds")),
    responses((status = 200, description = "rows, oldest first", body = Vec<Value>),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
)]
pub async fn monitor(
    State(context): State<Arc<Context>>,
    params: Params,
) -> Result<Json<Vec<Value>>, ApiError> {
    rows(&context, &params)
}

/// Figures of a node over time
#[utoipa::path(
    get, path = "/monitor/nodes/{node}", tag = "Metrics",
    params(("node" = String, Path, description = "its name"),
        ("latest" = Option<u64>, Query, description = "only the last so many seconds")),
    responses((status = 200, description = "rows, oldest first", body = Vec<Value>),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
pub async fn monitor_of_node(
    State(context): State<Arc<Context>>,
    Named(name): Named<String>,
    params: Params,
) -> Result<Json<Vec<Value>>, ApiError> {
    check_node(&context, &name)?;
    rows(&context, &params)
}

fn rows(context: &Context, params: &Params) -> Result<Json<Vec<Value>>, ApiError> {
    let from = params.parsed::<u64>("latest")?.map_or(0, |seconds| {
        // One sample more: the first row is a difference as well.
        let span = seconds.saturating_add(SAMPLE_EVERY_S).saturating_mul(1000);
        clock::unix_ms().saturating_sub(span)
    });
    let samples = context.monitor.since(from);
    let pairs = samples.windows(2);
    Ok(Json(pairs.map(|pair| row(&pair[0], &pair[1])).collect()))
}

fn row(before: &Sample, now: &Sample) -> Value {
    json!({
        "time_stamp": now.at_ms,
        "received": now.received - before.received,
        "sent": now.sent - before.sent,
        "dropped": now.dropped - before.dropped,
        "received_bytes": now.received_bytes - before.received_bytes,
        "sent_bytes": now.sent_bytes - before.sent_bytes,
        "connected": now.connected - before.connected,
        "disconnected": now.disconnected - before.disconnected,
        "connections": now.connections,
        "live_connections": now.live_connections,
        "subscriptions": now.subscriptions,
        "topics": now.topics,
        "retained_msg_count": now.retained,
    })
}

/// Forget figures over time
#[utoipa::path(
    delete, path = "/monitor", tag = "Metrics",
    responses((status = 204, description = "they are forgotten"), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
)]
pub async fn clear_monitor(State(context): State<Arc<Context>>) -> StatusCode {
    context.monitor.clear();
    StatusCode::NO_CONTENT
}

/// Figures now
///
/// Rates a second over the last ten seconds, and how many there are of what.
#[utoipa::path(
    get, path = "/monitor_current", tag = "Metrics",
    responses((status = 200, description = "rates and counts", body = Value),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)),
)]
pub async fn monitor_current(State(context): State<Arc<Context>>) -> Json<Value> {
    Json(current(&context).await)
}

/// Figures of a node now
#[utoipa::path(
    get, path = "/monitor_current/nodes/{node}", tag = "Metrics",
    params(("node" = String, Path, description = "its name")),
    responses((status = 200, description = "rates and counts", body = Value),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
pub async fn monitor_current_of_node(
    State(context): State<Arc<Context>>,
    Named(name): Named<String>,
) -> Result<Json<Value>, ApiError> {
    check_node(&context, &name)?;
    Ok(Json(current(&context).await))
}

async fn current(context: &Context) -> Value {
    context.cores.refresh().await;
    let now = Sample::take(&context.metrics);
    let span_ms = SAMPLE_EVERY_S * 1000;
    let recent = context
        .monitor
        .since(now.at_ms.saturating_sub(span_ms + 500));
    let before = recent.first().copied().unwrap_or_default();
    // Before the first sample there is the start.
    let began_ms = before
        .at_ms
        .max(now.at_ms.saturating_sub(context.uptime_ms()));
    let elapsed_ms = now.at_ms.saturating_sub(began_ms).max(1);
    let rate = |now: u64, before: u64| now.saturating_sub(before) * 1000 / elapsed_ms;
    json!({
        "connections": now.connections,
        "live_connections": now.live_connections,
        "subscriptions": now.subscriptions,
        "shared_subscriptions": context.metrics.gauge(Gauge::SubscriptionsShared),
        "topics": now.topics,
        "retained_msg_count": now.retained,
        "received_msg_rate": rate(now.received, before.received),
        "sent_msg_rate": rate(now.sent, before.sent),
        "dropped_msg_rate": rate(now.dropped, before.dropped),
        "received_bytes_rate": rate(now.received_bytes, before.received_bytes),
        "sent_bytes_rate": rate(now.sent_bytes, before.sent_bytes),
        "connected_rate": rate(now.connected, before.connected),
        "disconnected_rate": rate(now.disconnected, before.disconnected),
        "node_uptime": context.uptime_ms() / 1000,
    })
}

/// A code of an error.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorCode {
    /// The code.
    code: &'static str,
    /// What it means.
    description: &'static str,
}

/// Codes of errors
#[utoipa::path(
    get, path = "/error_codes", tag = "Status",
    responses((status = 200, body = Vec<ErrorCode>), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
)]
pub async fn error_codes() -> Json<Vec<ErrorCode>> {
    let codes = CODES.iter().copied();
    Json(
        codes
            .map(|(code, description)| ErrorCode { code, description })
            .collect(),
    )
}

/// One code of an error
#[utoipa::path(
    get, path = "/error_codes/{code}", tag = "Status",
    params(("code" = String, Path, description = "the code")),
    responses((status = 200, body = ErrorCode), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)),
)]
pub async fn error_code(Named(wanted): Named<String>) -> Result<Json<ErrorCode>, ApiError> {
    let mut codes = CODES.iter().copied();
    match codes.find(|(code, _)| *code == wanted) {
        Some((code, description)) => Ok(Json(ErrorCode { code, description })),
        None => Err(ApiError::not_found(format!("there is no code `{wanted}`"))),
    }
}
