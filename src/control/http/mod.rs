//! The HTTP API: EMQX 5's paths, fields and error codes under `/api/v5`, and its document.
//!
//! A route and its entry in the OpenAPI document come from one declaration, the attribute at the
//! handler. One file holds one family of endpoints; [`serve`] the sockets, [`auth`] who may do what,
//! [`extract`] what requests bring, [`error`] what is said when they are refused, [`pages`] the lists
//! that are too long to be looked at as a whole.

pub mod api_keys;
pub mod auth;
pub mod clients;
pub mod error;
pub mod extract;
pub mod messages;
pub mod metrics;
pub mod pages;
pub mod publish;
pub mod secret;
pub mod serve;
pub mod session;
pub mod status;
pub mod subscriptions;
pub mod users;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use axum::{Json, Router};
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;

use crate::control::context::Context;
use crate::control::http::error::ApiError;

/// Bytes of a body.
const BODY_MAX: usize = 1024 * 1024;

/// The document without its paths.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Millrace HTTP API",
        description = "Clients, subscriptions, messages, figures and settings of a Millrace broker. \
                       Names and shapes follow EMQX 5.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "/")),
    security(("basic" = []), ("bearer" = [])),
)]
struct Document;

/// The API and its document.
fn parts(context: &Arc<Context>) -> (Router<Arc<Context>>, utoipa::openapi::OpenApi) {
    let guarded = OpenApiRouter::new()
        .merge(api_keys::routes())
        .merge(clients::routes())
        .merge(messages::routes())
        .merge(metrics::routes())
        .merge(publish::routes())
        .merge(subscriptions::routes())
        .merge(users::routes())
        .layer(from_fn_with_state(Arc::clone(context), auth::require));
    let open = OpenApiRouter::new()
        .merge(status::routes())
        .merge(users::open_routes());
    let mut document = Document::openapi();
    let components = document.components.get_or_insert_default();
    for (name, scheme) in [
        ("basic", HttpAuthScheme::Basic),
        ("bearer", HttpAuthScheme::Bearer),
    ] {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(scheme).build());
        components.add_security_scheme(name, scheme);
    }
    OpenApiRouter::with_openapi(document)
        .nest("/api/v5", guarded.merge(open))
        .merge(status::routes())
        .split_for_parts()
}

/// The OpenAPI document.
pub fn document(context: &Arc<Context>) -> utoipa::openapi::OpenApi {
    parts(context).1
}

/// Everything that is served at the API's addresses.
pub fn router(context: &Arc<Context>) -> Router {
    let (api, document) = parts(context);
    let shown = move || async move { Json(document) };
    api.route("/api-docs/swagger.json", get(shown))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn(auth::same_site))
        .with_state(Arc::clone(context))
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
