//! Bans: who is not let in.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::bans::BanWho;
use crate::control::bans;
use crate::control::clock;
use crate::control::context::Context;
use crate::control::http::auth::Caller;
use crate::control::http::error::{ApiError, ErrorBody};
use crate::control::http::extract::{Body, Listed, Named, Params};
use crate::control::state::{Ban, BanKind};

/// Bytes of who is banned.
const WHO_LEN_MAX: usize = 65_535;

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new()
        .routes(routes!(list, add, remove_all))
        .routes(routes!(remove))
}

/// A ban.
#[derive(Debug, Serialize, ToSchema)]
pub struct ShownBan {
    /// What is looked at.
    #[serde(rename = "as")]
    kind: BanKind,
    /// Who.
    who: String,
    /// Who banned.
    by: String,
    /// Why.
    reason: String,
    /// From when on.
    at: String,
    /// Until when, or `infinity`.
    until: String,
}

impl ShownBan {
    fn new(ban: Ban) -> Self {
        let until = ban.until_s.map(clock::rfc3339);
        Self {
            kind: ban.kind,
            who: ban.who,
            by: ban.by,
            reason: ban.reason,
            at: clock::rfc3339(ban.at_s),
            until: until.unwrap_or_else(|| "infinity".to_owned()),
        }
    }
}

/// Bans
#[utoipa::path(
    get, path = "/banned", tag = "Banned",
    params(
        ("page" = Option<usize>, Query, description = "from 1"),
        ("limit" = Option<usize>, Query, description = "entries of a page, 1 to 10000; 100 unless given"),
        ("clientid" = Option<String>, Query, description = "the ban of this client id"),
        ("username" = Option<String>, Query, description = "the ban of this user name"),
        ("peerhost" = Option<String>, Query, description = "the ban of this address"),
    ),
    responses(
        (status = 200, body = Listed<ShownBan>), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
    ),
)]
pub async fn list(
    State(context): State<Arc<Context>>,
    params: Params,
) -> Result<Json<Listed<ShownBan>>, ApiError> {
    let paging = params.paging("")?;
    let mut all = bans::all(&context);
    for kind in [BanKind::Clientid, BanKind::Username, BanKind::Peerhost] {
        if let Some(who) = params.text(bans::word(kind)) {
            all.retain(|ban| ban.kind == kind && ban.who == who);
        }
    }
    Ok(Json(
        paging.cut(all.into_iter().map(ShownBan::new).collect()),
    ))
}

/// A ban to be made.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct NewBan {
    /// What is looked at.
    #[serde(rename = "as")]
    pub kind: BanKind,
    /// Who.
    pub who: String,
    /// Who bans; whoever asks unless given.
    #[serde(default)]
    pub by: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// From when on: RFC 3339 or seconds; now unless given.
    #[serde(default)]
    pub at: Option<Moment>,
    /// Until when: RFC 3339, seconds, or `infinity`, which it is unless given.
    #[serde(default)]
    pub until: Option<Moment>,
}

/// A moment as text or as seconds of UNIX time.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Moment {
    /// RFC 3339, or `infinity`.
    Text(String),
    /// Seconds.
    Seconds(u64),
}

impl Moment {
    /// Seconds; nothing for `infinity`.
    ///
    /// # Errors
    /// It is no moment.
    pub fn seconds(&self) -> Result<Option<u64>, ApiError> {
        match self {
            Self::Seconds(seconds) => Ok(Some(*seconds)),
            Self::Text(text) if text == "infinity" => Ok(None),
            Self::Text(text) => clock::parse_s(text).map(Some).ok_or_else(|| {
                ApiError::bad_request(format!(
                    "`{text}` is no moment such as 2027-01-01T00:00:00Z"
                ))
            }),
        }
    }
}

impl NewBan {
    /// The ban, if it is one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn checked(self, caller: &Caller) -> Result<Ban, ApiError> {
        if self.who.is_empty() || self.who.len() > WHO_LEN_MAX {
            return Err(ApiError::bad_request(format!(
                "`who` has 1 to {WHO_LEN_MAX} bytes"
            )));
        }
        BanWho::parse(bans::word(self.kind), &self.who).map_err(ApiError::bad_request)?;
        let at = self.at.map(|at| at.seconds()).transpose()?.flatten();
        let at_s = at.unwrap_or_else(clock::unix_s);
        let until_s = self
            .until
            .map(|until| until.seconds())
            .transpose()?
            .flatten();
        if until_s.is_some_and(|until| until <= at_s) {
            return Err(ApiError::bad_request("`until` is not later than `at`"));
        }
        Ok(Ban {
            kind: self.kind,
            who: self.who,
            by: self.by.unwrap_or_else(|| caller.name.clone()),
            reason: self.reason,
            at_s,
            until_s,
        })
    }
}

/// Ban someone
///
/// Who is banned is not let in; who is connected has to go. A ban of the same kind and person is
/// replaced.
#[utoipa::path(
    post, path = "/banned", tag = "Banned", request_body = NewBan,
    responses((status = 200, body = ShownBan), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 413, body = ErrorBody)),
)]
pub async fn add(
    State(context): State<Arc<Context>>,
    Extension(caller): Extension<Caller>,
    Body(new): Body<NewBan>,
) -> Result<Json<ShownBan>, ApiError> {
    let ban = new.checked(&caller)?;
    bans::add(&context, ban.clone())?;
    Ok(Json(ShownBan::new(ban)))
}

/// End a ban
#[utoipa::path(
    delete, path = "/banned/{as}/{who}", tag = "Banned",
    params(("as" = BanKind, Path, description = "what is looked at"),
        ("who" = String, Path, description = "who, percent-encoded")),
    responses((status = 204, description = "it is over"), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody)),
)]
pub async fn remove(
    State(context): State<Arc<Context>>,
    Named((kind, who)): Named<(BanKind, String)>,
) -> Result<StatusCode, ApiError> {
    match bans::remove(&context, kind, &who)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::not_found(format!("`{who}` is not banned"))),
    }
}

/// End all bans
#[utoipa::path(
    delete, path = "/banned", tag = "Banned",
    responses((status = 204, description = "nobody is banned"), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
)]
pub async fn remove_all(State(context): State<Arc<Context>>) -> Result<StatusCode, ApiError> {
    bans::clear(&context)?;
    Ok(StatusCode::NO_CONTENT)
}
