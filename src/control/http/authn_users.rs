//! Who authenticates clients, and the users of the broker's own tables.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::credential::read_file;
use crate::control::authn::{Authn, Member, UserError};
use crate::control::context::Context;
use crate::control::http::error::{ApiError, ErrorBody};
use crate::control::http::extract::{Body, LIMIT_MAX, Listed, Named, Params};

/// Bytes of a user id.
const USER_ID_LEN_MAX: usize = 65_535;
/// Bytes of a password.
const PASSWORD_LEN_MAX: usize = 65_535;

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new()
        .routes(routes!(members))
        .routes(routes!(list, add))
        .routes(routes!(one, change, remove))
        .routes(routes!(import))
}

/// A member of a chain.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShownMember {
    /// EMQX's id of it, such as `password_based:built_in_database`.
    id: String,
    /// The chain: `mqtt:global`, or the listener's id.
    chain: String,
    /// How many clients it has let in.
    success: u64,
    /// How many it has refused.
    failed: u64,
    /// How many it had nothing to say about.
    nomatch: u64,
    /// How often it could not be asked.
    errors: u64,
}

/// Who authenticates clients
#[utoipa::path(
    get, path = "/authentication", tag = "Authentication",
    responses((status = 200, body = Vec<ShownMember>), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
)]
pub async fn members(State(context): State<Arc<Context>>) -> Json<Vec<ShownMember>> {
    let mut all = Vec::new();
    for chain in context.authn.chains() {
        all.extend(chain.members().iter().map(|member| {
            let figures = member.figures();
            ShownMember {
                id: member.id().to_owned(),
                chain: chain.name().to_owned(),
                success: figures.success,
                failed: figures.failed,
                nomatch: figures.nomatch,
                errors: figures.errors,
            }
        }));
    }
    Json(all)
}

/// A table of users: the first member of that id, in the chain that is meant.
struct Table {
    authn: Arc<Authn>,
    chain: usize,
    member: usize,
}

impl Table {
    /// Of the global chain, or of the listener that the query names.
    fn of(context: &Context, id: &str, params: &Params) -> Result<Self, ApiError> {
        let wanted = params.text("listener").unwrap_or("mqtt:global");
        let chains = context.authn.chains();
        let chain = chains.iter().position(|chain| chain.name() == wanted);
        let has_users =
            |member: &Member| member.users().is_some() || member.scram_users().is_some();
        let found = chain.and_then(|chain| {
            let mut members = chains.get(chain)?.members().iter();
            let member = members.position(|member| member.id() == id && has_users(member))?;
            Some((chain, member))
        });
        let (chain, member) = found.ok_or_else(|| {
            ApiError::not_found(format!("there is no table of users `{id}` in `{wanted}`"))
        })?;
        Ok(Self {
            authn: Arc::clone(&context.authn),
            chain,
            member,
        })
    }

    fn member(&self) -> &Member {
        // Chains and members stay as they are while the broker runs.
        &self.authn.chains()[self.chain].members()[self.member]
    }

    fn is_superuser(&self, user_id: &str) -> Option<bool> {
        let member = self.member();
        match (member.users(), member.scram_users()) {
            (Some(users), _) => users.is_superuser(user_id),
            (_, Some(users)) => users.is_superuser(user_id),
            (None, None) => None,
        }
    }

    fn page(&self, after: Option<&str>, limit: usize) -> Vec<(String, bool)> {
        let member = self.member();
        match (member.users(), member.scram_users()) {
            (Some(users), _) => users.list(after, limit),
            (_, Some(users)) => users.list(after, limit),
            (None, None) => Vec::new(),
        }
    }

    /// Does something that computes hashes and waits for the disk, where that harms nobody.
    async fn change<T: Send + 'static>(
        self,
        what: impl FnOnce(&Self) -> Result<T, UserError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let done = tokio::task::spawn_blocking(move || what(&self)).await;
        let internal = |why: String| {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            ApiError::new(status, "INTERNAL_ERROR", why)
        };
        done.map_err(|error| internal(error.to_string()))?
            .map_err(|error| match error {
                UserError::Exists => ApiError::already_exists("there is a user of that id already"),
                UserError::Unknown => no_user(),
                UserError::Password => ApiError::bad_request("the password cannot be stored"),
                UserError::Store(why) => internal(why),
            })
    }
}

fn no_user() -> ApiError {
    ApiError::not_found("there is no user of that id")
}

/// A user.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct AuthnUser {
    /// The user name or client id.
    user_id: String,
    /// No access rule holds for it.
    is_superuser: bool,
}

/// Users of a table
#[utoipa::path(
    get, path = "/authentication/{id}/users", tag = "Authentication",
    params(("id" = String, Path, description = "such as `password_based:built_in_database`"),
        ("listener" = Option<String>, Query, description = "of this listener's own chain"),
        ("page" = Option<usize>, Query, description = "from 1"),
        ("limit" = Option<usize>, Query, description = "entries of a page, 1 to 10000; 100 unless given"),
        ("like_user_id" = Option<String>, Query, description = "ids that contain this"),
        ("is_superuser" = Option<bool>, Query, description = "only those who are, or are not")),
    responses((status = 200, body = Listed<AuthnUser>), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)),
)]
pub async fn list(
    State(context): State<Arc<Context>>,
    Named(id): Named<String>,
    params: Params,
) -> Result<Json<Listed<AuthnUser>>, ApiError> {
    let paging = params.paging("")?;
    let table = Table::of(&context, &id, &params)?;
    let like = params.text("like_user_id").map(str::to_owned);
    let superuser: Option<bool> = params.parsed("is_superuser")?;
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = table.page(after.as_deref(), LIMIT_MAX);
        let Some((last, _)) = page.last() else {
            break;
        };
        after = Some(last.clone());
        all.extend(page.into_iter().filter(|(id, is)| {
            like.as_deref().is_none_or(|like| id.contains(like))
                && superuser.is_none_or(|wanted| wanted == *is)
        }));
    }
    let shown = |(user_id, is_superuser)| AuthnUser {
        user_id,
        is_superuser,
    };
    Ok(Json(paging.cut(all.into_iter().map(shown).collect())))
}

/// A user to be added.
#[derive(Deserialize, ToSchema)]
pub struct NewAuthnUser {
    /// The user name or client id.
    user_id: String,
    /// The password.
    password: String,
    /// No access rule is to hold for it; not so unless given.
    #[serde(default)]
    is_superuser: bool,
}

/// Add a user
///
/// Kept over restarts, in `control.redb`.
#[utoipa::path(
    post, path = "/authentication/{id}/users", tag = "Authentication", request_body = NewAuthnUser,
    params(("id" = String, Path, description = "such as `password_based:built_in_database`"),
        ("listener" = Option<String>, Query, description = "of this listener's own chain")),
    responses((status = 201, body = AuthnUser), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 500, body = ErrorBody)),
)]
pub async fn add(
    State(context): State<Arc<Context>>,
    Named(id): Named<String>,
    params: Params,
    Body(new): Body<NewAuthnUser>,
) -> Result<(StatusCode, Json<AuthnUser>), ApiError> {
    let table = Table::of(&context, &id, &params)?;
    let fits = (1..=USER_ID_LEN_MAX).contains(&new.user_id.len());
    if !fits || !(1..=PASSWORD_LEN_MAX).contains(&new.password.len()) {
        let message = "`user_id` and `password` have 1 to 65535 bytes";
        return Err(ApiError::bad_request(message));
    }
    let shown = AuthnUser {
        user_id: new.user_id.clone(),
        is_superuser: new.is_superuser,
    };
    let added = table.change(move |table| {
        let (member, password) = (table.member(), new.password.as_bytes());
        match (member.users(), member.scram_users()) {
            (Some(users), _) => users.add(&new.user_id, password, new.is_superuser),
            (_, Some(users)) => users.add(&new.user_id, password, new.is_superuser),
            (None, None) => Err(UserError::Unknown),
        }
    });
    added.await?;
    Ok((StatusCode::CREATED, Json(shown)))
}

/// One user
#[utoipa::path(
    get, path = "/authentication/{id}/users/{user_id}", tag = "Authentication",
    params(("id" = String, Path, description = "such as `password_based:built_in_database`"),
        ("user_id" = String, Path, description = "the user name or client id"),
        ("listener" = Option<String>, Query, description = "of this listener's own chain")),
    responses((status = 200, body = AuthnUser), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)),
)]
pub async fn one(
    State(context): State<Arc<Context>>,
    Named((id, user_id)): Named<(String, String)>,
    params: Params,
) -> Result<Json<AuthnUser>, ApiError> {
    let table = Table::of(&context, &id, &params)?;
    let is_superuser = table.is_superuser(&user_id).ok_or_else(no_user)?;
    Ok(Json(AuthnUser {
        user_id,
        is_superuser,
    }))
}

/// What changes of a user.
#[derive(Deserialize, ToSchema)]
pub struct AuthnUserChange {
    /// The next password.
    password: Option<String>,
    /// Whether access rules hold for it.
    is_superuser: Option<bool>,
}

/// Change a user
///
/// Connected clients stay as they are.
#[utoipa::path(
    put, path = "/authentication/{id}/users/{user_id}", tag = "Authentication",
    request_body = AuthnUserChange,
    params(("id" = String, Path, description = "such as `password_based:built_in_database`"),
        ("user_id" = String, Path, description = "the user name or client id"),
        ("listener" = Option<String>, Query, description = "of this listener's own chain")),
    responses((status = 200, body = AuthnUser), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 413, body = ErrorBody),
        (status = 500, body = ErrorBody)),
)]
pub async fn change(
    State(context): State<Arc<Context>>,
    Named((id, user_id)): Named<(String, String)>,
    params: Params,
    Body(change): Body<AuthnUserChange>,
) -> Result<Json<AuthnUser>, ApiError> {
    let table = Table::of(&context, &id, &params)?;
    let password_len = change.password.as_ref().map(String::len);
    if password_len.is_some_and(|len| !(1..=PASSWORD_LEN_MAX).contains(&len)) {
        return Err(ApiError::bad_request("`password` has 1 to 65535 bytes"));
    }
    let changed = table.change(move |table| {
        let (member, superuser) = (table.member(), change.is_superuser);
        let password = change.password.as_deref().map(str::as_bytes);
        match (member.users(), member.scram_users()) {
            (Some(users), _) => users.update(&user_id, password, superuser)?,
            (_, Some(users)) => users.update(&user_id, password, superuser)?,
            (None, None) => return Err(UserError::Unknown),
        }
        let is_superuser = table.is_superuser(&user_id).ok_or(UserError::Unknown)?;
        Ok(AuthnUser {
            user_id,
            is_superuser,
        })
    });
    changed.await.map(Json)
}

/// Delete a user
///
/// Connected clients stay as they are. A user of the bootstrap file is there again after the next start.
#[utoipa::path(
    delete, path = "/authentication/{id}/users/{user_id}", tag = "Authentication",
    params(("id" = String, Path, description = "such as `password_based:built_in_database`"),
        ("user_id" = String, Path, description = "the user name or client id"),
        ("listener" = Option<String>, Query, description = "of this listener's own chain")),
    responses((status = 204, description = "the user is gone"), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 500, body = ErrorBody)),
)]
pub async fn remove(
    State(context): State<Arc<Context>>,
    Named((id, user_id)): Named<(String, String)>,
    params: Params,
) -> Result<StatusCode, ApiError> {
    let table = Table::of(&context, &id, &params)?;
    let removed = table.change(move |table| {
        let member = table.member();
        match (member.users(), member.scram_users()) {
            (Some(users), _) => users.delete(&user_id),
            (_, Some(users)) => users.delete(&user_id),
            (None, None) => Err(UserError::Unknown),
        }
    });
    removed.await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What became of imported users.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShownTaken {
    /// All of them.
    total: usize,
    /// New ones.
    success: usize,
    /// Those that were there and have been replaced.
    #[serde(rename = "override")]
    replaced: usize,
    /// Those whose password cannot be stored.
    failed: usize,
}

/// Import users
///
/// The body is a list of users as the bootstrap file has it: CSV with `Content-Type: text/csv`, else JSON.
/// Each has `password`, or `password_hash` and `salt` in the form of the table. Users who are there are
/// replaced. Not for SCRAM.
#[utoipa::path(
    post, path = "/authentication/{id}/import_users", tag = "Authentication",
    request_body(content = String, content_type = "application/json"),
    params(("id" = String, Path, description = "such as `password_based:built_in_database`"),
        ("listener" = Option<String>, Query, description = "of this listener's own chain")),
    responses((status = 200, body = ShownTaken), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 413, body = ErrorBody),
        (status = 500, body = ErrorBody)),
)]
pub async fn import(
    State(context): State<Arc<Context>>,
    Named(id): Named<String>,
    params: Params,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<ShownTaken>, ApiError> {
    let body = body?;
    let kind = headers.get(header::CONTENT_TYPE);
    let is_csv = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/csv"));
    let name = if is_csv { "users.csv" } else { "users.json" };
    let text =
        std::str::from_utf8(&body).map_err(|_| ApiError::bad_request("the body is not UTF-8"))?;
    let entries = read_file(name, text)
        .map_err(|problem| ApiError::bad_request(format!("user {problem}")))?;
    let table = Table::of(&context, &id, &params)?;
    if table.member().users().is_none() {
        let message = "users of SCRAM are added one by one, with their passwords";
        return Err(ApiError::bad_request(message));
    }
    let taken = table.change(move |table| {
        let users = table.member().users().ok_or(UserError::Unknown)?;
        users.take_in(&entries)
    });
    let taken = taken.await?;
    Ok(Json(ShownTaken {
        total: taken.total,
        success: taken.added,
        replaced: taken.replaced,
        failed: taken.failed,
    }))
}
