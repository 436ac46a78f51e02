//! Figures for Prometheus.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::control::context::Context;
use crate::control::prometheus::{self, Names};

/// The path at the top.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new().routes(routes!(metrics))
}

/// EMQX 5's path.
pub fn v5_routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new().routes(routes!(stats))
}

/// EMQX 4's path, which is not in the document.
pub fn v4_routes() -> Router<Arc<Context>> {
    Router::new().route("/emqx_prometheus", get(stats))
}

fn answer(text: String) -> Response {
    let mut response = text.into_response();
    let kind = HeaderValue::from_static(prometheus::CONTENT_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Figures for Prometheus
///
/// Without a login unless `prometheus.enable_basic_auth` is set.
#[utoipa::path(
    get, path = "/metrics", tag = "Metrics",
    responses((status = 200, description = "text exposition format",
        content((String = "text/plain")))),
    security(()),
)]
pub async fn metrics(State(context): State<Arc<Context>>) -> Response {
    let names = match context.settings().observe.prometheus.emqx_names {
        true => Names::Both,
        false => Names::Own,
    };
    answer(prometheus::text(&context, names).await)
}

/// Figures for Prometheus under EMQX's names
///
/// Without a login unless `prometheus.enable_basic_auth` is set.
#[utoipa::path(
    get, path = "/prometheus/stats", tag = "Metrics",
    responses((status = 200, description = "text exposition format",
        content((String = "text/plain")))),
    security(()),
)]
pub async fn stats(State(context): State<Arc<Context>>) -> Response {
    answer(prometheus::text(&context, Names::Emqx).await)
}
