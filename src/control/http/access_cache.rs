//! What others have answered about access and is remembered for a while: to be seen, and to be forgotten,
//! so that what was changed in a database holds at once.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::acl::{Action, Verb};
use crate::control::context::Context;
use crate::control::http::error::{ApiError, ErrorBody};
use crate::control::http::extract::Named;
use crate::gate::access::CachedAccess;
use crate::gate::manage::Manage;

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new()
        .routes(routes!(forget_all))
        .routes(routes!(list, forget))
}

/// A remembered answer.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShownAnswer {
    /// `publish` or `subscribe`.
    access: &'static str,
    /// The topic or filter.
    topic: String,
    /// `allow` or `deny`.
    result: &'static str,
    /// For how long it is remembered, milliseconds.
    ends_in_ms: u64,
}

impl From<CachedAccess> for ShownAnswer {
    fn from(cached: CachedAccess) -> Self {
        Self {
            access: verb(cached.action),
            topic: cached.topic.into_string(),
            result: if cached.allowed { "allow" } else { "deny" },
            ends_in_ms: cached.ends_in_ms,
        }
    }
}

fn verb(action: Action) -> &'static str {
    match action.verb {
        Verb::Publish => "publish",
        Verb::Subscribe => "subscribe",
    }
}

/// What is remembered of a client.
///
/// # Errors
/// There is no such client, or its core does not answer.
pub async fn of_client(context: &Context, client_id: &str) -> Result<Vec<ShownAnswer>, ApiError> {
    let home = context.cores.home_of_client(client_id);
    let asked = context.cores.ask(home, |reply| Manage::AccessCache {
        client_id: client_id.into(),
        reply,
    });
    let found = asked.await?.ok_or_else(|| ApiError::no_client(client_id))?;
    Ok(found.into_iter().map(Into::into).collect())
}

/// Forget answers about access
///
/// What authorization sources have answered about all clients.
#[utoipa::path(
    delete, path = "/authorization/cache", tag = "Authorization",
    responses((status = 204, description = "sources are asked again"), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 503, body = ErrorBody)),
)]
pub async fn forget_all(State(context): State<Arc<Context>>) -> Result<StatusCode, ApiError> {
    context.cores.forget_answers(None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What others have said of a client's rights
#[utoipa::path(
    get, path = "/clients/{clientid}/authorization/cache", tag = "Clients",
    params(("clientid" = String, Path, description = "its id")),
    responses((status = 200, body = Vec<ShownAnswer>), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)),
)]
pub async fn list(
    State(context): State<Arc<Context>>,
    Named(client_id): Named<String>,
) -> Result<Json<Vec<ShownAnswer>>, ApiError> {
    of_client(&context, &client_id).await.map(Json)
}

/// Forget answers about a client's access
#[utoipa::path(
    delete, path = "/clients/{clientid}/authorization/cache", tag = "Clients",
    params(("clientid" = String, Path, description = "its id")),
    responses((status = 204, description = "sources are asked again"), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)),
)]
pub async fn forget(
    State(context): State<Arc<Context>>,
    Named(client_id): Named<String>,
) -> Result<StatusCode, ApiError> {
    if context.cores.client(&client_id).await?.is_none() {
        return Err(ApiError::no_client(&client_id));
    }
    context.cores.forget_answers(Some(&client_id)).await?;
    Ok(StatusCode::NO_CONTENT)
}
