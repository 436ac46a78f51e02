//! What others have answered about access and is remembered for a while: to be forgotten, so that what
//! was changed in a database holds at once.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::control::context::Context;
use crate::control::http::error::{ApiError, ErrorBody};
use crate::control::http::extract::Named;

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new()
        .routes(routes!(forget_all))
        .routes(routes!(forget))
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
