//! The configuration in force, to be read.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::config::Shown;
use crate::control::context::Context;
use crate::control::http::error::{ApiError, ErrorBody};
use crate::control::http::extract::{Named, Params};

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new()
        .routes(routes!(all))
        .routes(routes!(settings))
        .routes(routes!(section))
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
        None => Ok(Json(nested(&context.config.shown).into())),
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
    let shown = context.config.shown.iter().map(|shown| {
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

fn section_of(context: &Context, root: &str) -> Result<Value, ApiError> {
    let mut all = Value::Object(nested(&context.config.shown));
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
