//! The HTTP API: EMQX 5's paths, fields and error codes under `/api/v5`, and its document.
//!
//! A route and its entry in the OpenAPI document come from one declaration, the attribute at the
//! handler. One file holds one family of endpoints; [`serve`] the sockets, [`auth`] who may do what,
//! [`extract`] what requests bring, [`error`] what is said when they are refused, [`pages`] the lists
//! that are too long to be looked at as a whole, [`v4`] what EMQX 4's tools know.

pub mod access_cache;
pub mod alarms;
pub mod api_keys;
pub mod auth;
pub mod banned;
pub mod clients;
pub mod configs;
pub mod delayed;
mod document;
pub mod error;
pub mod extract;
pub mod listeners;
pub mod log;
pub mod messages;
pub mod metrics;
pub mod nodes;
pub mod overview;
pub mod pages;
pub mod prometheus;
pub mod publish;
pub mod secret;
pub mod serve;
pub mod session;
pub mod slow_subscriptions;
pub mod status;
pub mod subscriptions;
pub mod topic_metrics;
pub mod trace;
pub mod users;
pub mod v4;
mod zip;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use axum::{Json, Router};
use utoipa_axum::router::OpenApiRouter;

use crate::control::context::Context;
use crate::control::dashboard;
use crate::control::http::error::ApiError;

/// Bytes of a body.
const BODY_MAX: usize = 1024 * 1024;

/// The API and its document.
fn parts(context: &Arc<Context>) -> (Router<Arc<Context>>, utoipa::openapi::OpenApi) {
    let guarded = OpenApiRouter::new()
        .merge(access_cache::routes())
        .merge(alarms::routes())
        .merge(api_keys::routes())
        .merge(banned::routes())
        .merge(clients::routes())
        .merge(configs::routes())
        .merge(delayed::routes())
        .merge(listeners::routes())
        .merge(log::routes())
        .merge(messages::routes())
        .merge(metrics::routes())
        .merge(nodes::routes())
        .merge(overview::routes())
        .merge(publish::routes())
        .merge(slow_subscriptions::routes())
        .merge(subscriptions::routes())
        .merge(topic_metrics::routes())
        .merge(trace::routes())
        .merge(users::routes())
        .layer(from_fn_with_state(Arc::clone(context), auth::require));
    let open = OpenApiRouter::new()
        .merge(status::routes())
        .merge(users::open_routes());
    let (figures, v5_figures) = (prometheus::routes(), prometheus::v5_routes());
    let (figures, v5_figures) = match context.config.observe.prometheus.enable_basic_auth {
        true => (
            figures.layer(from_fn_with_state(Arc::clone(context), auth::require)),
            v5_figures.layer(from_fn_with_state(Arc::clone(context), auth::require)),
        ),
        false => (figures, v5_figures),
    };
    let (api, mut document) = OpenApiRouter::with_openapi(document::begun())
        .nest("/api/v5", guarded.merge(open).merge(v5_figures))
        .merge(status::routes())
        .merge(figures)
        .split_for_parts();
    document::complete(&mut document);
    (api, document)
}

/// Everything that is served at the API's addresses.
pub fn router(context: &Arc<Context>) -> Router {
    let (api, document) = parts(context);
    let shown = move || async move { Json(document) };
    let compatible = Router::new()
        .nest("/api/v4", v4::routes())
        .merge(v4::older_routes())
        .layer(from_fn_with_state(Arc::clone(context), auth::require));
    let v4_figures = match context.config.observe.prometheus.enable_basic_auth {
        true => {
            prometheus::v4_routes().layer(from_fn_with_state(Arc::clone(context), auth::require))
        }
        false => prometheus::v4_routes(),
    };
    let api = api
        .merge(compatible)
        .nest("/api/v4", v4_figures)
        .route("/api-docs/swagger.json", get(shown))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn(auth::same_site));
    // A link of another site may lead to the page: it is public, and nothing is done by it.
    let pages = match context.config.http.dashboard {
        true => dashboard::routes(),
        false => Router::new(),
    };
    api.merge(pages).with_state(Arc::clone(context))
}

async fn no_such_path() -> ApiError {
    ApiError::not_found("there is no such path; all are in /api-docs/swagger.json")
}

async fn no_such_method() -> ApiError {
    let message = "this path does not take that method";
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "METHOD_NOT_ALLOWED",
        message,
    )
}
