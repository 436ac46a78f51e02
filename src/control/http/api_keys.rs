//! API keys: how programs say who they are.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::control::clock;
use crate::control::context::Context;
use crate::control::http::error::{ApiError, ErrorBody};
use crate::control::http::extract::{Body, Named};
use crate::control::http::secret::{random_text, sha256_hex};
use crate::control::http::users::no_random;
use crate::control::state::{ApiKey, Role};

/// Bytes of a key's name.
const NAME_LEN_MAX: usize = 255;
/// Bytes of a secret that is not made here.
const SECRET_LEN: std::ops::RangeInclusive<usize> = 16..=255;

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new()
        .routes(routes!(list, add))
        .routes(routes!(one, change, remove))
}

/// An API key.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShownKey {
    /// Its name.
    name: String,
    /// The user name for `Basic`.
    api_key: String,
    /// The password for `Basic`; told once, when it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    api_secret: Option<String>,
    /// What it may do.
    role: Role,
    /// Whether it is let in.
    enable: bool,
    /// Until when, or `infinity`.
    expired_at: String,
    /// Whether its time is over.
    expired: bool,
    /// For people.
    desc: String,
    /// When it was made.
    created_at: String,
}

impl ShownKey {
    fn new(name: &str, row: &ApiKey, secret: Option<String>) -> Self {
        Self {
            name: name.to_owned(),
            api_key: row.key.clone(),
            api_secret: secret,
            role: row.role,
            enable: row.enable,
            expired_at: row
                .expires_s
                .map_or_else(|| "infinity".to_owned(), clock::rfc3339),
            expired: row.expires_s.is_some_and(|at| at <= clock::unix_s()),
            desc: row.description.clone(),
            created_at: clock::rfc3339(row.created_s),
        }
    }
}

/// API keys
#[utoipa::path(
    get, path = "/api_key", tag = "API keys",
    responses((status = 200, body = Vec<ShownKey>), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
)]
pub async fn list(State(context): State<Arc<Context>>) -> Json<Vec<ShownKey>> {
    let keys = context.state.api_keys.all().into_iter();
    Json(
        keys.map(|(name, row)| ShownKey::new(&name, &row, None))
            .collect(),
    )
}

/// A key to be made.
#[derive(Deserialize, ToSchema)]
pub struct NewKey {
    /// Its name: letters, digits, `_`, `-`.
    name: String,
    /// What it may do; everything unless given.
    role: Option<Role>,
    /// Whether it is let in; yes unless given.
    enable: Option<bool>,
    /// RFC 3339, seconds, or `infinity`; for ever unless given.
    expired_at: Option<String>,
    /// For people.
    #[serde(default)]
    desc: String,
    /// The user name for `Basic` of a program that has one: letters, digits, `_`, `-`; made unless given.
    api_key: Option<String>,
    /// Its password for `Basic`, 16 to 255 characters; made unless given.
    api_secret: Option<String>,
}

/// Make an API key
///
/// The secret is told in this answer only.
#[utoipa::path(
    post, path = "/api_key", tag = "API keys", request_body = NewKey,
    responses((status = 200, body = ShownKey), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 413, body = ErrorBody)),
)]
pub async fn add(
    State(context): State<Arc<Context>>,
    Body(new): Body<NewKey>,
) -> Result<Json<ShownKey>, ApiError> {
    check_name(&new.name)?;
    if is_taken(&context, &new.name, new.api_key.as_deref()) {
        let message = format!("there is an API key `{}` already", new.name);
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "ALREADY_EXISTS",
            message,
        ));
    }
    let random = |len| random_text(len).map_err(|error| no_random(&error));
    let secret = match new.api_secret {
        Some(secret) => checked_secret(secret)?,
        None => random(43)?,
    };
    let key = match new.api_key {
        Some(key) => check_name(&key).map(|()| key)?,
        None => random(16)?,
    };
    let row = ApiKey {
        key,
        secret_sha256: sha256_hex(secret.as_bytes()),
        role: new.role.unwrap_or(Role::Administrator),
        enable: new.enable.unwrap_or(true),
        expires_s: expiry(new.expired_at.as_deref())?,
        description: new.desc,
        created_s: clock::unix_s(),
    };
    context.state.api_keys.put(&new.name, row.clone())?;
    Ok(Json(ShownKey::new(&new.name, &row, Some(secret))))
}

/// One API key
#[utoipa::path(
    get, path = "/api_key/{name}", tag = "API keys",
    params(("name" = String, Path, description = "its name")),
    responses((status = 200, body = ShownKey), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)),
)]
pub async fn one(
    State(context): State<Arc<Context>>,
    Named(name): Named<String>,
) -> Result<Json<ShownKey>, ApiError> {
    let row = known(&context, &name)?;
    Ok(Json(ShownKey::new(&name, &row, None)))
}

/// What changes of a key.
#[derive(Deserialize, ToSchema)]
pub struct KeyChange {
    /// What it may do.
    role: Option<Role>,
    /// Whether it is let in.
    enable: Option<bool>,
    /// RFC 3339, seconds, or `infinity`.
    expired_at: Option<String>,
    /// For people.
    desc: Option<String>,
}

/// Change an API key
#[utoipa::path(
    put, path = "/api_key/{name}", tag = "API keys", request_body = KeyChange,
    params(("name" = String, Path, description = "its name")),
    responses((status = 200, body = ShownKey), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 413, body = ErrorBody)),
)]
pub async fn change(
    State(context): State<Arc<Context>>,
    Named(name): Named<String>,
    Body(change): Body<KeyChange>,
) -> Result<Json<ShownKey>, ApiError> {
    let mut row = known(&context, &name)?;
    row.role = change.role.unwrap_or(row.role);
    row.enable = change.enable.unwrap_or(row.enable);
    if change.expired_at.is_some() {
        row.expires_s = expiry(change.expired_at.as_deref())?;
    }
    row.description = change.desc.unwrap_or(row.description);
    context.state.api_keys.put(&name, row.clone())?;
    Ok(Json(ShownKey::new(&name, &row, None)))
}

/// Remove an API key
#[utoipa::path(
    delete, path = "/api_key/{name}", tag = "API keys",
    params(("name" = String, Path, description = "its name")),
    responses((status = 204, description = "it is gone"), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)),
)]
pub async fn remove(
    State(context): State<Arc<Context>>,
    Named(name): Named<String>,
) -> Result<StatusCode, ApiError> {
    known(&context, &name)?;
    context.state.api_keys.remove(&name)?;
    Ok(StatusCode::NO_CONTENT)
}

fn known(context: &Context, name: &str) -> Result<ApiKey, ApiError> {
    let row = context.state.api_keys.get(name);
    row.ok_or_else(|| ApiError::not_found(format!("there is no API key `{name}`")))
}

/// Whether there is a key of that name, or one that says the same of itself.
fn is_taken(context: &Context, name: &str, key: Option<&str>) -> bool {
    context.state.api_keys.read(|keys| {
        keys.iter()
            .any(|(known, row)| known == name || key == Some(row.key.as_str()))
    })
}

/// A secret that a program brings along. It is kept as a fast hash, so it must not be one to be guessed.
fn checked_secret(secret: String) -> Result<String, ApiError> {
    match SECRET_LEN.contains(&secret.len()) && !secret.contains(char::is_whitespace) {
        true => Ok(secret),
        false => Err(ApiError::bad_request(format!(
            "`api_secret` has {} to {} bytes without blanks",
            SECRET_LEN.start(),
            SECRET_LEN.end()
        ))),
    }
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.is_empty() || name.len() > NAME_LEN_MAX || !name.bytes().all(fits) {
        let message = format!("a name has 1 to {NAME_LEN_MAX} letters, digits, `_`, `-`");
        return Err(ApiError::bad_request(message));
    }
    Ok(())
}

/// The moment at which a key ends; nothing for one that does not.
fn expiry(text: Option<&str>) -> Result<Option<u64>, ApiError> {
    match text {
        None | Some("infinity" | "undefined") => Ok(None),
        Some(text) => clock::parse_s(text).map(Some).ok_or_else(|| {
            ApiError::bad_request(format!(
                "`{text}` is no moment such as 2027-01-01T00:00:00Z"
            ))
        }),
    }
}
