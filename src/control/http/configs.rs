//! The configuration in force: to be read, and what is live of it to be changed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::config::{self, Shown};
use crate::control::context::Context;
use crate::control::http::error::{ApiError, ErrorBody};
use crate::control::http::extract::{Body, Named, Params};
use crate::gate::settings::{SettingsControl, Unchanged};
use crate::gate::tls::TlsReloaded;

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new()
        .routes(routes!(all))
        .routes(routes!(settings))
        .routes(routes!(section, change))
        .routes(routes!(reload))
        .routes(routes!(reload_certificates))
}

/// The configuration
///
/// All settings in force as one object; secrets are not told.
#[utoipa::path(
    get, path = "/configs", tag = "Configuration",
    params(("key" = Option<String>, Query, description = "only this section")),
    responses((status = 200, description = "settings by section", body = Value),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
pub async fn all(
    State(context): State<Arc<Context>>,
    params: Params,
) -> Result<Json<Value>, ApiError> {
    match params.text("key") {
        None => Ok(Json(nested(&context.settings().shown).into())),
        Some(root) => section_of(&context, root).map(Json),
    }
}

/// Settings
///
/// Each with its name, its value, where that came from, and whether it may be changed at run time.
#[utoipa::path(
    get, path = "/configs_settings", tag = "Configuration",
    responses((status = 200, description = "all settings", body = Vec<Value>),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody)),
)]
pub async fn settings(State(context): State<Arc<Context>>) -> Json<Vec<Value>> {
    let config = context.settings();
    let shown = config.shown.iter().map(|shown| {
        json!({
            "key": shown.key,
            "value": shown.value,
            "origin": shown.origin.as_deref().unwrap_or("default"),
            "live": shown.live,
        })
    });
    Json(shown.collect())
}

/// A section of the configuration
#[utoipa::path(
    get, path = "/configs/{root}", tag = "Configuration",
    params(("root" = String, Path, description = "such as `mqtt` or `listeners`")),
    responses((status = 200, description = "its settings", body = Value),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)),
)]
pub async fn section(
    State(context): State<Arc<Context>>,
    Named(root): Named<String>,
) -> Result<Json<Value>, ApiError> {
    section_of(&context, &root).map(Json)
}

/// Change a section of the configuration
///
/// The body is an object of settings, with objects for the sections below it. Settings that it does not
/// name stay as they are; `null` takes an earlier change away, so that the configuration file counts
/// again. It is all or nothing: settings that are not live, unknown or wrong are refused with the whole
/// body. Changes are kept in `overrides.toml` of the data directory. The answer is the section in force.
#[utoipa::path(
    put, path = "/configs/{root}", tag = "Configuration", request_body = Value,
    params(("root" = String, Path, description = "such as `mqtt` or `authorization.cache`")),
    responses((status = 200, description = "its settings", body = Value),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 500, body = ErrorBody)),
)]
pub async fn change(
    State(context): State<Arc<Context>>,
    Named(root): Named<String>,
    Body(body): Body<Value>,
) -> Result<Json<Value>, ApiError> {
    if !body.is_object() {
        return Err(ApiError::bad_request("the body is no object of settings"));
    }
    section_of(&context, &root)?;
    let section = root.clone();
    command(&context, move |control| control.change(&section, &body)).await?;
    section_of(&context, &root).map(Json)
}

/// A setting that is another one than before.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Changed {
    /// Its name.
    key: String,
    /// What was in force.
    from: Value,
    /// What it is to be.
    to: Value,
    /// Whether it is in force now; if not it needs a restart.
    taken: bool,
}

/// What reading files again has changed.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Reloaded {
    /// Settings that are others than before.
    changed: Vec<Changed>,
}

/// Read the configuration again
///
/// The configuration file and the file of access rules are read again; what is live is taken over. A
/// wrong file is refused with file, line and name of the setting, and nothing changes.
#[utoipa::path(
    post, path = "/configs_reload", tag = "Configuration",
    responses((status = 200, body = Reloaded), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 500, body = ErrorBody)),
)]
pub async fn reload(State(context): State<Arc<Context>>) -> Result<Json<Reloaded>, ApiError> {
    let changed = command(&context, |control| control.reload()).await?;
    let shown = |changed: config::Changed| Changed {
        key: changed.key,
        from: changed.from,
        to: changed.to,
        taken: changed.taken,
    };
    let changed = changed.into_iter().map(shown).collect();
    Ok(Json(Reloaded { changed }))
}

/// A listener that keeps its old certificate.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Kept {
    /// Its id.
    listener: String,
    /// Why.
    reason: String,
}

/// What reading certificates again has done.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Certificates {
    /// Listeners that use what the files hold now.
    reloaded: Vec<String>,
    /// Listeners that stay as they were.
    failed: Vec<Kept>,
}

/// Read certificates again
///
/// Certificates, keys and revocation lists of all TLS listeners. Connections stay; handshakes that begin
/// afterwards use the new files. A listener whose files are wrong stays as it was.
#[utoipa::path(
    post, path = "/tls/reload", tag = "Listeners",
    responses((status = 200, body = Certificates), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 500, body = ErrorBody)),
)]
pub async fn reload_certificates(
    State(context): State<Arc<Context>>,
) -> Result<Json<Certificates>, ApiError> {
    let done: TlsReloaded = command(&context, |control| control.reload_certificates()).await?;
    let kept = |(listener, reason)| Kept { listener, reason };
    Ok(Json(Certificates {
        reloaded: done.reloaded,
        failed: done.failed.into_iter().map(kept).collect(),
    }))
}

/// Does something with settings, on a thread where waiting harms nobody.
async fn command<T: Send + 'static>(
    context: &Context,
    what: impl FnOnce(&dyn SettingsControl) -> Result<T, Unchanged> + Send + 'static,
) -> Result<T, ApiError> {
    let failed = |why: String| {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        ApiError::new(status, "INTERNAL_ERROR", why)
    };
    let control = Arc::clone(&context.settings_control);
    let done = tokio::task::spawn_blocking(move || what(&*control)).await;
    done.map_err(|error| failed(error.to_string()))?
        .map_err(|unchanged| match unchanged {
            Unchanged::Wrong(sentences) => ApiError::bad_request(sentences.join("; ")),
            Unchanged::Failed(why) => failed(why),
        })
}

fn section_of(context: &Context, root: &str) -> Result<Value, ApiError> {
    let mut all = Value::Object(nested(&context.settings().shown));
    let mut at = &mut all;
    for part in root.split('.') {
        at = at
            .get_mut(part)
            .ok_or_else(|| ApiError::not_found(format!("there is no section `{root}`")))?;
    }
    Ok(at.take())
}

/// Dotted names as objects in objects.
fn nested(shown: &[Shown]) -> Map<String, Value> {
    let mut all = Map::new();
    for setting in shown {
        let mut at = &mut all;
        let mut parts = setting.key.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                at.insert(part.to_owned(), setting.value.clone());
                break;
            }
            let below = at.entry(part).or_insert_with(|| json!({}));
            match below.as_object_mut() {
                Some(object) => at = object,
                None => break,
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_objects() {
        let shown = |key: &str, value: i32| Shown {
            key: key.to_owned(),
            value: value.into(),
            origin: None,
            live: false,
        };
        let all = nested(&[shown("a.b", 1), shown("a.c.d", 2), shown("e", 3)]);
        assert_eq!(
            json!(all),
            json!({ "a": { "b": 1, "c": { "d": 2 } }, "e": 3 })
        );
    }
}
