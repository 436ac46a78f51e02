//! Whether the broker runs and takes clients in: for load balancers and orchestrators, without a
//! login.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::control::context::Context;
use crate::control::http::extract::Params;

/// The state of the broker.
#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    /// The broker's name.
    node_name: String,
    /// `started` or `stopping`.
    broker_status: &'static str,
    /// `running` or `not_running`.
    app_status: &'static str,
    /// The version.
    rel_vsn: &'static str,
    /// Milliseconds since the start.
    uptime: u64,
}

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new().routes(routes!(status))
}

/// Is it running
///
/// 200 while clients are taken in, 503 before and after. Two lines of text, or JSON.
#[utoipa::path(
    get, path = "/status", tag = "Status",
    params(("format" = Option<String>, Query, description = "`json`, or text")),
    responses(
        (status = 200, description = "it takes clients in", content(
            (Status = "application/json"), (String = "text/plain"))),
        (status = 503, description = "it does not", content(
            (Status = "application/json"), (String = "text/plain"))),
    ),
    security(()),
)]
pub async fn status(State(context): State<Arc<Context>>, params: Params) -> Response {
    let ready = context.is_ready();
    let code = match ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let name = context.node();
    let (broker, app) = match ready {
        true => ("started", "running"),
        false => ("stopping", "not_running"),
    };
    let mut response = if params.text("format") == Some("json") {
        let body = Status {
            node_name: name.to_owned(),
            broker_status: broker,
            app_status: app,
            rel_vsn: env!("CARGO_PKG_VERSION"),
            uptime: context.uptime_ms(),
        };
        (code, Json(body)).into_response()
    } else {
        let running = app.replace('_', " ");
        (
            code,
            format!("Node {name} is {broker}\nmillrace is {running}"),
        )
            .into_response()
    };
    if !ready {
        let later = axum::http::HeaderValue::from_static("15");
        response.headers_mut().insert("retry-after", later);
    }
    response
}
