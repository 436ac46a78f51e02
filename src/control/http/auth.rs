//! Who asks, and what they may: API key (`Basic`), login (`Bearer`), roles; requests of pages of other
//! sites are refused.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::control::clock;
use crate::control::context::Context;
use crate::control::http::error::ApiError;
use crate::control::http::secret::{same, sha256_hex};
use crate::control::state::Role;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user's name, or that of the API key.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// It is a user who has logged in, with this token.
    pub token: Option<String>,
}

/// Lets through who may. The handler finds the [`Caller`] among the request's extensions.
pub async fn require(
    State(context): State<Arc<Context>>,
    mut request: Request,
    next: Next,
) -> Response {
    // A connection that is trusted, such as the control socket, says so.
    let caller = match request.extensions().get::<Caller>() {
        Some(caller) => Ok(caller.clone()),
        None => caller(&context, request.headers()),
    };
    let caller = match caller {
        Ok(caller) => caller,
        Err(error) => return unauthorized(error),
    };
    if !may(&caller, request.method(), request.uri().path()) {
        let message = "your role does not allow this";
        return ApiError::new(StatusCode::FORBIDDEN, "NOT_ALLOWED", message).into_response();
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// Lets through who may see figures: everybody, unless the settings say otherwise.
pub async fn require_for_figures(
    State(context): State<Arc<Context>>,
    request: Request,
    next: Next,
) -> Response {
    match context.settings().observe.prometheus.enable_basic_auth {
        true => require(State(context), request, next).await,
        false => next.run(request).await,
    }
}

/// Refuses what a page of another site makes a browser ask.
pub async fn same_site(request: Request, next: Next) -> Response {
    if is_cross_site(request.headers()) {
        let message = "requests of pages of other sites are not answered";
        return ApiError::new(StatusCode::FORBIDDEN, "CROSS_SITE", message).into_response();
    }
    next.run(request).await
}

fn is_cross_site(headers: &HeaderMap) -> bool {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    if text("sec-fetch-site".parse().unwrap_or(ORIGIN)) == Some("cross-site") {
        return true;
    }
    let Some(origin) = text(ORIGIN) else {
        return false;
    };
    let host = origin.split_once("://").map(|(_, host)| host);
    host.is_none() || host != text(HOST)
}

fn unauthorized(error: ApiError) -> Response {
    let mut response = error.into_response();
    let how = HeaderValue::from_static("Basic realm=\"millrace\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, how);
    response
}

/// Who a request says it is from, if that is so.
fn caller(context: &Context, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let refused = |code, message: &str| ApiError::new(StatusCode::UNAUTHORIZED, code, message);
    let nobody = || {
        let message = "log in at /api/v5/login, or use an API key";
        refused("UNAUTHORIZED", message)
    };
    let header = headers.get(AUTHORIZATION).ok_or_else(nobody)?;
    let header = header.to_str().map_err(|_| nobody())?;
    let (scheme, credentials) = header.split_once(' ').ok_or_else(nobody)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return by_token(context, credentials.trim())
            .ok_or_else(|| refused("UNAUTHORIZED", "the token is not valid (any more)"));
    }
    if scheme.eq_ignore_ascii_case("basic") {
        return by_key(context, credentials.trim()).ok_or_else(|| {
            refused(
                "BAD_API_KEY_OR_SECRET",
                "the API key or its secret is wrong",
            )
        });
    }
    Err(nobody())
}

fn by_token(context: &Context, token: &str) -> Option<Caller> {
    let name = context.sessions.user(token)?;
    let user = context.state.users.get(&name)?;
    Some(Caller {
        name,
        role: user.role,
        token: Some(token.to_owned()),
    })
}

fn by_key(context: &Context, credentials: &str) -> Option<Caller> {
    let decoded = STANDARD.decode(credentials).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (key, secret) = decoded.split_once(':')?;
    let found = context.state.api_keys.read(|keys| {
        let named = keys.iter().find(|(_, row)| row.key == key);
        named.map(|(name, row)| (name.clone(), row.clone()))
    });
    let (name, row) = found?;
    let is_over = row.expires_s.is_some_and(|at| at <= clock::unix_s());
    let right = same(&sha256_hex(secret.as_bytes()), &row.secret_sha256);
    (right && row.enable && !is_over).then_some(Caller {
        name,
        role: row.role,
        token: None,
    })
}

/// Whether a caller may do this. Below `/api/v5` a router sees paths without that prefix.
fn may(caller: &Caller, method: &Method, path: &str) -> bool {
    let path = path.strip_prefix("/api/v5").unwrap_or(path);
    let looks = method == Method::GET || method == Method::HEAD;
    let own_password = format!("/users/{}/change_pwd", caller.name);
    let own = path == "/logout" || path == own_password && caller.token.is_some();
    let publishes = ["/publish", "/publish/bulk"].contains(&path)
        || ["/api/v4/mqtt/publish", "/api/v4/mqtt/publish_batch"].contains(&path);
    match caller.role {
        Role::Administrator => true,
        Role::Viewer => looks || own,
        Role::Publisher => publishes && method == Method::POST || own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_allow_what_they_are_for() {
        let caller = |role| Caller {
            name: "ann".to_owned(),
            role,
            token: Some(String::new()),
        };
        let of = |role, method, path| may(&caller(role), &method, path);
        let clients = "/api/v5/clients";
        assert!(of(Role::Administrator, Method::DELETE, clients));
        assert!(of(Role::Viewer, Method::GET, clients));
        assert!(!of(Role::Viewer, Method::POST, "/api/v5/publish"));
        assert!(of(
            Role::Viewer,
            Method::POST,
            "/api/v5/users/ann/change_pwd"
        ));
        assert!(!of(
            Role::Viewer,
            Method::POST,
            "/api/v5/users/bob/change_pwd"
        ));
        assert!(of(Role::Publisher, Method::POST, "/api/v5/publish/bulk"));
        assert!(!of(Role::Publisher, Method::GET, clients));
        assert!(of(Role::Publisher, Method::POST, "/api/v5/logout"));
        assert!(of(Role::Publisher, Method::POST, "/publish"));
        assert!(!of(Role::Viewer, Method::DELETE, "/api_key/logout"));
    }

    #[test]
    fn pages_of_other_sites_are_told_from_our_own() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            is_cross_site(&headers)
        };
        assert!(!of(&[("host", "a:1")]));
        assert!(!of(&[("host", "a:1"), ("origin", "http://a:1")]));
        assert!(of(&[("host", "a:1"), ("origin", "http://b:1")]));
        assert!(of(&[("host", "a:1"), ("origin", "null")]));
        assert!(of(&[("host", "a:1"), ("sec-fetch-site", "cross-site")]));
        assert!(!of(&[("host", "a:1"), ("sec-fetch-site", "same-origin")]));
    }
}
