//! Users: the first one, login and logout, adding, changing, removing.

use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::control::clock;
use crate::control::context::Context;
use crate::control::http::auth::Caller;
use crate::control::http::error::{ApiError, ErrorBody};
use crate::control::http::extract::{Body, Named, check_name};
use crate::control::http::secret::{
    hash_password, hash_password_apart, random_text, verify_password_apart,
};
use crate::control::http::serve::Peer;
use crate::control::http::serve::socket::Trusted;
use crate::control::http::session::TOKEN_LIFE;
use crate::control::state::{Role, User};

/// Characters of a password that the broker makes: 119 bits.
const RANDOM_PASSWORD_LEN: usize = 20;
/// Bytes of a password.
const PASSWORD_LEN: std::ops::RangeInclusive<usize> = 8..=256;
/// Bytes of a user name.
const NAME_LEN_MAX: usize = 64;

/// Makes the first user, if there is none.
///
/// # Errors
/// A sentence for the operator.
pub fn make_first(context: &Context) -> Result<(), String> {
    if !context.state.users.is_empty() {
        return Ok(());
    }
    let settings = &context.config.dashboard;
    let name = &settings.default_username;
    let password = match &settings.default_password {
        Some(password) => password.clone(),
        None => random_text(RANDOM_PASSWORD_LEN).map_err(|error| error.to_string())?,
    };
    let user = User {
        password_hash: hash_password(&password)?,
        role: Role::Administrator,
        description: "the first user".to_owned(),
        created_s: clock::unix_s(),
    };
    let kept = context.state.users.put(name, user);
    kept.map_err(|error| error.to_string())?;
    if settings.default_password.is_none() {
        tracing::warn!(
            "first start: the user of dashboard and HTTP API is `{name}` with the password \
             {password} (this is said once; change it)"
        );
    }
    Ok(())
}

/// The route that needs no login.
pub fn open_routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new().routes(routes!(login))
}

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new()
        .routes(routes!(logout))
        .routes(routes!(list, add))
        .routes(routes!(change, remove))
        .routes(routes!(change_password))
}

/// Who wants to log in.
#[derive(Deserialize, ToSchema)]
pub struct Credentials {
    /// The user's name.
    username: String,
    /// The password.
    password: String,
}

/// A login.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoggedIn {
    /// To be sent as `Authorization: Bearer ...`.
    token: String,
    /// What the user may do.
    role: Role,
    /// The broker's version.
    version: &'static str,
    /// Seconds until the token ends.
    expires_in: u64,
    /// There is one edition.
    license: Value,
}

/// Log in
///
/// Five wrong logins lock the user and the address they came from for five minutes.
#[utoipa::path(
    post, path = "/login", tag = "Users", request_body = Credentials,
    responses(
        (status = 200, body = LoggedIn), (status = 400, body = ErrorBody),
        (status = 401, description = "wrong, or locked", body = ErrorBody),
        (status = 413, body = ErrorBody),
    ),
    security(()),
)]
pub async fn login(
    State(context): State<Arc<Context>>,
    peer: Option<Extension<ConnectInfo<Peer>>>,
    Body(credentials): Body<Credentials>,
) -> Result<Json<LoggedIn>, ApiError> {
    let address = peer.map(|Extension(ConnectInfo(Peer(peer)))| peer.ip());
    let refused = |code, message| ApiError::new(StatusCode::UNAUTHORIZED, code, message);
    let Credentials { username, password } = credentials;
    if username.len() > NAME_LEN_MAX || password.len() > *PASSWORD_LEN.end() {
        return Err(refused(
            "BAD_USERNAME_OR_PWD",
            "the user name or the password is wrong",
        ));
    }
    if context.sessions.is_locked(&username, address) {
        let message = "too many wrong logins; try again in five minutes";
        return Err(refused("LOGIN_LOCKED", message));
    }
    let user = context.state.users.get(&username);
    let hash = user.as_ref().map(|user| user.password_hash.clone());
    let right = verify_password_apart(password, hash).await;
    let Some(user) = user.filter(|_| right) else {
        context.sessions.failed(&username, address);
        return Err(refused(
            "BAD_USERNAME_OR_PWD",
            "the user name or the password is wrong",
        ));
    };
    context.sessions.succeeded(&username, address);
    let token = context
        .sessions
        .open(&username)
        .map_err(|error| no_random(&error))?;
    Ok(Json(LoggedIn {
        token,
        role: user.role,
        version: env!("CARGO_PKG_VERSION"),
        expires_in: TOKEN_LIFE.as_secs(),
        license: json!({ "edition": "opensource" }),
    }))
}

/// 500: the system gives no random numbers.
pub fn no_random(error: &dyn std::fmt::Display) -> ApiError {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    ApiError::new(status, "INTERNAL_ERROR", error.to_string())
}

/// Log out
#[utoipa::path(
    post, path = "/logout", tag = "Users",
    responses((status = 204, description = "the token is void"), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
)]
pub async fn logout(
    State(context): State<Arc<Context>>,
    Extension(caller): Extension<Caller>,
) -> StatusCode {
    if let Some(token) = &caller.token {
        context.sessions.close(token);
    }
    StatusCode::NO_CONTENT
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShownUser {
    /// The name.
    username: String,
    /// What the user may do.
    role: Role,
    /// For people.
    description: String,
    /// How the user logs in.
    backend: &'static str,
}

impl ShownUser {
    fn new(name: &str, user: User) -> Self {
        Self {
            username: name.to_owned(),
            role: user.role,
            description: user.description,
            backend: "local",
        }
    }
}

/// Users
#[utoipa::path(
    get, path = "/users", tag = "Users",
    responses((status = 200, body = Vec<ShownUser>), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
)]
pub async fn list(State(context): State<Arc<Context>>) -> Json<Vec<ShownUser>> {
    let users = context.state.users.all().into_iter();
    Json(
        users
            .map(|(name, user)| ShownUser::new(&name, user))
            .collect(),
    )
}

/// A user to be added.
#[derive(Deserialize, ToSchema)]
pub struct NewUser {
    /// The name: letters, digits, `_`, `-`, `.`, `@`.
    username: String,
    /// At least eight characters.
    password: String,
    /// What the user may do; everything unless given.
    role: Option<Role>,
    /// For people.
    #[serde(default)]
    description: String,
}

/// Add a user
#[utoipa::path(
    post, path = "/users", tag = "Users", request_body = NewUser,
    responses((status = 200, body = ShownUser), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 409, body = ErrorBody), (status = 413, body = ErrorBody)),
)]
pub async fn add(
    State(context): State<Arc<Context>>,
    Body(new): Body<NewUser>,
) -> Result<Json<ShownUser>, ApiError> {
    check_name(&new.username, NAME_LEN_MAX, "_-.@")?;
    let exists = || {
        let message = format!("there is a user `{}` already", new.username);
        ApiError::already_exists(message)
    };
    if context.state.users.get(&new.username).is_some() {
        return Err(exists());
    }
    let user = User {
        password_hash: hashed(new.password.clone()).await?,
        role: new.role.unwrap_or(Role::Administrator),
        description: new.description.clone(),
        created_s: clock::unix_s(),
    };
    context.state.users.put(&new.username, user.clone())?;
    Ok(Json(ShownUser::new(&new.username, user)))
}

/// What changes of a user.
#[derive(Deserialize, ToSchema)]
pub struct UserChange {
    /// What the user may do.
    role: Option<Role>,
    /// For people.
    description: Option<String>,
}

/// Change a user
#[utoipa::path(
    put, path = "/users/{username}", tag = "Users", request_body = UserChange,
    params(("username" = String, Path, description = "the name")),
    responses((status = 200, body = ShownUser), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 413, body = ErrorBody)),
)]
pub async fn change(
    State(context): State<Arc<Context>>,
    Named(name): Named<String>,
    Body(change): Body<UserChange>,
) -> Result<Json<ShownUser>, ApiError> {
    let mut user = known(&context, &name)?;
    if change.role.is_some_and(|role| role != Role::Administrator) {
        keep_an_administrator(&context, &name)?;
    }
    user.role = change.role.unwrap_or(user.role);
    user.description = change.description.unwrap_or(user.description);
    context.state.users.put(&name, user.clone())?;
    Ok(Json(ShownUser::new(&name, user)))
}

/// Remove a user
#[utoipa::path(
    delete, path = "/users/{username}", tag = "Users",
    params(("username" = String, Path, description = "the name")),
    responses((status = 204, description = "the user is gone"), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)),
)]
pub async fn remove(
    State(context): State<Arc<Context>>,
    Named(name): Named<String>,
) -> Result<StatusCode, ApiError> {
    known(&context, &name)?;
    keep_an_administrator(&context, &name)?;
    context.state.users.remove(&name)?;
    context.sessions.close_all(&name);
    Ok(StatusCode::NO_CONTENT)
}

/// A new password.
#[derive(Deserialize, ToSchema)]
pub struct PasswordChange {
    /// The present one.
    old_pwd: String,
    /// The next one, at least eight characters.
    new_pwd: String,
}

/// Change a password
///
/// All logins of the user end.
#[utoipa::path(
    post, path = "/users/{username}/change_pwd", tag = "Users", request_body = PasswordChange,
    params(("username" = String, Path, description = "the name")),
    responses((status = 204, description = "it is changed"), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 413, body = ErrorBody)),
)]
pub async fn change_password(
    State(context): State<Arc<Context>>,
    trusted: Option<Extension<Trusted>>,
    Named(name): Named<String>,
    Body(change): Body<PasswordChange>,
) -> Result<StatusCode, ApiError> {
    let mut user = known(&context, &name)?;
    let old = user.password_hash.clone();
    // Whoever has the control socket could make the user anew.
    if trusted.is_none() && !verify_password_apart(change.old_pwd, Some(old)).await {
        let message = "the present password is wrong";
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "BAD_USERNAME_OR_PWD",
            message,
        ));
    }
    user.password_hash = hashed(change.new_pwd).await?;
    context.state.users.put(&name, user)?;
    context.sessions.close_all(&name);
    Ok(StatusCode::NO_CONTENT)
}

fn known(context: &Context, name: &str) -> Result<User, ApiError> {
    let user = context.state.users.get(name);
    user.ok_or_else(|| ApiError::not_found(format!("there is no user `{name}`")))
}

async fn hashed(password: String) -> Result<String, ApiError> {
    if !PASSWORD_LEN.contains(&password.len()) {
        let message = format!(
            "a password has {} to {} bytes",
            PASSWORD_LEN.start(),
            PASSWORD_LEN.end()
        );
        return Err(ApiError::bad_request(message));
    }
    hash_password_apart(password)
        .await
        .map_err(|error| no_random(&error))
}

/// Whoever goes or may do less: someone has to be left who may do everything.
fn keep_an_administrator(context: &Context, but: &str) -> Result<(), ApiError> {
    let left = context.state.users.read(|users| {
        users
            .iter()
            .any(|(name, user)| name != but && user.role == Role::Administrator)
    });
    match left {
        true => Ok(()),
        false => Err(ApiError::bad_request(
            "there would be no administrator left",
        )),
    }
}
