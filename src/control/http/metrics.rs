//! What was counted: counters since the start, and gauges with the greatest values they had.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::control::context::Context;
use crate::control::http::error::{ApiError, ErrorBody};
use crate::control::http::extract::Params;
use crate::control::names::EMQX_ALIASES;
use crate::metrics::{Counter, Gauge, TOTALS};

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new()
        .routes(routes!(metrics))
        .routes(routes!(stats))
}

/// Counters
///
/// All counters since the start by their dotted names; with `aggregate=true` as one object, else as a
/// list with one object a node.
#[utoipa::path(
    get, path = "/metrics", tag = "Metrics",
    params(("aggregate" = Option<bool>, Query, description = "one object for all nodes")),
    responses(
        (status = 200, description = "counters by name", body = Value),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody),
    ),
)]
pub async fn metrics(
    State(context): State<Arc<Context>>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let all = counters(&context);
    Ok(Json(by_node(&context, &params, all)?))
}

/// Gauges
///
/// How many there are of each kind, and how many there were at most; with `aggregate=true` as one
/// object, else as a list with one object a node.
#[utoipa::path(
    get, path = "/stats", tag = "Metrics",
    params(("aggregate" = Option<bool>, Query, description = "one object for all nodes")),
    responses(
        (status = 200, description = "gauges by name", body = Value),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody),
    ),
)]
pub async fn stats(
    State(context): State<Arc<Context>>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    let all = gauges(&context).await;
    Ok(Json(by_node(&context, &params, all)?))
}

fn by_node(
    context: &Context,
    params: &Params,
    mut all: Map<String, Value>,
) -> Result<Value, ApiError> {
    if params.parsed("aggregate")?.unwrap_or(false) {
        return Ok(all.into());
    }
    all.insert("node".to_owned(), context.node().into());
    Ok(json!([all]))
}

/// Counters and totals by name, EMQX's other names for them included.
pub fn counters(context: &Context) -> Map<String, Value> {
    let metrics = &context.metrics;
    let counters = Counter::ALL.iter().map(|c| (c.name(), metrics.count(*c)));
    let totals = TOTALS
        .iter()
        .map(|total| (total.name, metrics.total(total)));
    let sum = |of: &[Counter]| of.iter().map(|counter| metrics.count(*counter)).sum();
    let others = EMQX_ALIASES.iter().map(|(name, of)| (*name, sum(of)));
    let all = others.chain(counters).chain(totals);
    all.map(|(name, value)| (name.to_owned(), value.into()))
        .collect()
}

/// Gauges under EMQX's names, each with its greatest value.
pub async fn gauges(context: &Context) -> Map<String, Value> {
    context.cores.refresh().await;
    let gauge = |gauge| context.metrics.gauge(gauge);
    let (sessions, subscriptions) = (gauge(Gauge::Sessions), gauge(Gauge::Subscriptions));
    let topics = gauge(Gauge::Topics);
    let named = [
        (
            "connections.count",
            "connections.max",
            gauge(Gauge::Connections),
        ),
        (
            "live_connections.count",
            "live_connections.max",
            gauge(Gauge::LiveConnections),
        ),
        ("sessions.count", "sessions.max", sessions),
        ("channels.count", "channels.max", sessions),
        ("subscriptions.count", "subscriptions.max", subscriptions),
        ("subscribers.count", "subscribers.max", subscriptions),
        ("suboptions.count", "suboptions.max", subscriptions),
        (
            "subscriptions.shared.count",
            "subscriptions.shared.max",
            gauge(Gauge::SubscriptionsShared),
        ),
        ("topics.count", "topics.max", topics),
        // With one node there is one route for each.
        ("routes.count", "routes.max", topics),
        ("retained.count", "retained.max", gauge(Gauge::Retained)),
    ];
    let mut all = Map::new();
    for (count, max, value) in named {
        all.insert(count.to_owned(), value.into());
        all.insert(
            max.to_owned(),
            context.monitor.greatest(count, value).into(),
        );
    }
    all
}
