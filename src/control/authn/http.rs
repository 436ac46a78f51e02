//! Another service that is asked by HTTP, in EMQX 5's form or EMQX 4's.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, StatusCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

use crate::access::acl::Permission;
use crate::access::acl_client::ClientAcl;
use crate::access::jwt::seconds;
use crate::config::{HttpAuthn, HttpMethod, HttpShape, Ssl, Time};
use crate::control::authn::grant::attributes_of;
use crate::control::authn::member::Opinion;
use crate::control::authn::template::{Template, Wish, percent_encoded};
use crate::gate::authn::{AuthnRequest, Grant};
use crate::mqtt::reason::ReasonCode;

/// Bytes of an answer that are read.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// How long a connection that nobody uses stays open.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// A client that follows no redirects and keeps connections.
pub struct Client(reqwest::Client);

impl Client {
    /// The client, and whom it trusts.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn new(connect_timeout: Duration, pool_size: u16, ssl: &Ssl) -> Result<Self, String> {
        reqwest::Client::builder()
            .tls_backend_preconfigured(tls(ssl)?)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(connect_timeout)
            .pool_max_idle_per_host(usize::from(pool_size))
            .pool_idle_timeout(IDLE_TIMEOUT)
            .no_proxy()
            .build()
            .map(Self)
            .map_err(|error| format!("no HTTP client: {error}"))
    }
}

/// Who is trusted behind `https://`.
fn tls(ssl: &Ssl) -> Result<ClientConfig, String> {
    if ssl
        .verify
        .as_deref()
        .is_some_and(|verify| verify != "verify_peer")
    {
        return Err("`ssl.verify` is not verify_peer".to_owned());
    }
    let mut roots = RootCertStore::empty();
    match &ssl.cacertfile {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(name) => {
            let wrong = |error: &dyn std::fmt::Display| {
                format!("`ssl.cacertfile` {name} cannot be read: {error}")
            };
            let pem = std::fs::read(name).map_err(|error| wrong(&error))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| wrong(&error))?;
                roots.add(certificate).map_err(|error| wrong(&error))?;
            }
            if roots.is_empty() {
                return Err(wrong(&"it holds no certificate"));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| format!("no TLS: {error}"))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

impl Deref for Client {
    type Target = reqwest::Client;

    fn deref(&self) -> &reqwest::Client {
        &self.0
    }
}

/// The text of an answer, as far as it may be long.
pub(super) async fn read_body(mut response: Response) -> Result<String, String> {
    let mut body = Vec::new();
    while let Some(piece) = response
        .chunk()
        .await
        .map_err(|error| error.without_url().to_string())?
    {
        if body.len() + piece.len() > BODY_BYTES_MAX {
            return Err(format!("an answer is longer than {BODY_BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&piece);
    }
    String::from_utf8(body).map_err(|_| "an answer is not UTF-8".to_owned())
}

pub(super) struct Http {
    client: Client,
    places: Semaphore,
    method: HttpMethod,
    shape: HttpShape,
    url: Template,
    headers: HeaderMap,
    is_form: bool,
    body: BTreeMap<String, Field>,
    timeout: Time,
}

/// A value of the body.
enum Field {
    Text(Template),
    Fixed(Value),
    Table(BTreeMap<String, Self>),
}

impl Field {
    fn new(value: &Value) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) => Self::Text(Template::new(text)?),
            Value::Object(table) => Self::Table(
                table
                    .iter()
                    .map(|(name, value)| Ok::<_, String>((name.clone(), Self::new(value)?)))
                    .collect::<Result<_, _>>()?,
            ),
            other => Self::Fixed(other.clone()),
        })
    }

    /// The value for a client; what the client does not have is empty, as in EMQX.
    fn render(&self, client: &AuthnRequest, wish: Option<&Wish<'_>>) -> Value {
        match self {
            Self::Text(template) => {
                let text = template.render(client, wish, str::to_owned);
                text.unwrap_or_default().into()
            }
            Self::Fixed(value) => value.clone(),
            Self::Table(table) => {
                let fields = table.iter();
                let fields = fields.map(|(name, field)| (name.clone(), field.render(client, wish)));
                Value::Object(fields.collect())
            }
        }
    }
}

impl Http {
    pub(super) fn new(config: &HttpAuthn) -> Result<Self, String> {
        let host_end = config.url.find("://").map_or(0, |at| at + 3);
        let host = config.url.get(host_end..).unwrap_or_default();
        let host = host.split(['/', '?']).next().unwrap_or_default();
        if !config.url.starts_with("http://") && !config.url.starts_with("https://") {
            return Err("`url` begins with neither http:// nor https://".to_owned());
        }
        if host.is_empty() || host.contains(['$', '%']) {
            return Err("`url` has no host, or a placeholder in it".to_owned());
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let known = HeaderName::try_from(name.as_str());
            let known = known.map_err(|_| format!("`{name}` is no header field"))?;
            let value = HeaderValue::try_from(value.as_str());
            let value =
                value.map_err(|_| format!("the header field `{name}` has no valid value"))?;
            headers.insert(known, value);
        }
        let default = match config.shape {
            HttpShape::V5 => "application/json",
            HttpShape::V4 => "application/x-www-form-urlencoded",
        };
        let kind = headers
            .entry(CONTENT_TYPE)
            .or_insert(HeaderValue::from_static(default));
        let is_form = kind
            .to_str()
            .is_ok_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let body = if config.body.is_empty() {
            default_body()
        } else {
            config.body.clone()
        };
        let body = body
            .iter()
            .map(|(name, value)| Ok::<_, String>((name.clone(), Field::new(value)?)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            client: Client::new(config.connect_timeout.0, config.pool_size, &config.ssl)?,
            places: Semaphore::new(usize::from(config.pool_size.max(1))),
            method: config.method,
            shape: config.shape,
            url: Template::new(&config.url)?,
            headers,
            is_form,
            body,
            timeout: config.request_timeout,
        })
    }

    pub(super) fn timeout(&self) -> Time {
        self.timeout
    }

    pub(super) async fn ask(&self, client: &AuthnRequest) -> Result<Opinion, String> {
        let Some((status, body)) = self.exchange(client, None).await? else {
            return Ok(Opinion::Ignore);
        };
        match self.shape {
            HttpShape::V5 => read_v5(status, &body),
            HttpShape::V4 => read_v4(status, &body),
        }
    }

    /// What the service says of a wish; nothing if it leaves that to others.
    pub(super) async fn allows(
        &self,
        client: &AuthnRequest,
        wish: &Wish<'_>,
    ) -> Result<Option<Permission>, String> {
        let Some((status, body)) = self.exchange(client, Some(wish)).await? else {
            return Ok(None);
        };
        let opinion = match self.shape {
            HttpShape::V5 => read_v5(status, &body),
            HttpShape::V4 => read_v4(status, &body),
        };
        Ok(match opinion? {
            Opinion::Allow(_) => Some(Permission::Allow),
            Opinion::Deny(_) => Some(Permission::Deny),
            _ => None,
        })
    }

    /// Sends a question; status and text of the answer.
    async fn exchange(
        &self,
        client: &AuthnRequest,
        wish: Option<&Wish<'_>>,
    ) -> Result<Option<(StatusCode, String)>, String> {
        let _place = self.places.acquire().await.map_err(|e| e.to_string())?;
        let Some(mut url) = self.url.render(client, wish, percent_encoded) else {
            return Ok(None);
        };
        let request = match self.method {
            HttpMethod::Get => {
                url.push(if url.contains('?') { '&' } else { '?' });
                url.push_str(&self.form(client, wish));
                self.client.get(url)
            }
            HttpMethod::Post if self.is_form => self.client.post(url).body(self.form(client, wish)),
            HttpMethod::Post => {
                let fields = self.body.iter();
                let fields = fields.map(|(name, field)| (name.clone(), field.render(client, wish)));
                let body = Value::Object(fields.collect::<Map<_, _>>());
                self.client.post(url).body(body.to_string())
            }
        };
        let response = request.headers(self.headers.clone()).send().await;
        // Its URL may hold what must not be logged.
        let response = response.map_err(|error| error.without_url().to_string())?;
        let status = response.status();
        Ok(Some((status, read_body(response).await?)))
    }

    fn form(&self, client: &AuthnRequest, wish: Option<&Wish<'_>>) -> String {
        let pairs = self.body.iter().map(|(name, field)| {
            let value = match field.render(client, wish) {
                Value::String(text) => text,
                other => other.to_string(),
            };
            format!("{}={}", percent_encoded(name), percent_encoded(&value))
        });
        pairs.collect::<Vec<_>>().join("&")
    }
}

fn default_body() -> BTreeMap<String, Value> {
    ["clientid", "username", "password"]
        .into_iter()
        .map(|name| (name.to_owned(), format!("${{{name}}}").into()))
        .collect()
}

/// EMQX 5: 200 with a JSON object, 204 lets in; everything else says nothing.
fn read_v5(status: StatusCode, body: &str) -> Result<Opinion, String> {
    if status == StatusCode::NO_CONTENT {
        return Ok(Opinion::Allow(Box::default()));
    }
    if status != StatusCode::OK {
        return Ok(Opinion::Ignore);
    }
    let answer: Value =
        serde_json::from_str(body).map_err(|error| format!("an answer is not JSON: {error}"))?;
    match answer.get("result").and_then(Value::as_str) {
        Some("ignore") => return Ok(Opinion::Ignore),
        Some("deny") => return Ok(Opinion::Deny(ReasonCode::NotAuthorized)),
        Some("allow") => {}
        _ => return Err("an answer's `result` is none of allow, deny, ignore".to_owned()),
    }
    let superuser = match answer.get("is_superuser") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(superuser)) => *superuser,
        Some(Value::String(text)) => text == "true",
        Some(Value::Number(number)) => number.as_u64() == Some(1),
        Some(_) => return Err("an answer's `is_superuser` is no boolean".to_owned()),
    };
    let expires = answer.get("expire_at").filter(|at| !at.is_null());
    let expires_us = match expires.map(|at| seconds(at).ok_or(at)) {
        None => None,
        Some(Ok(at)) => Some(at.saturating_mul(1_000_000)),
        Some(Err(_)) => return Err("an answer's `expire_at` is no time".to_owned()),
    };
    let acl = answer.get("acl").filter(|acl| !acl.is_null());
    let expires_s = expires_us.map(|us| us / 1_000_000);
    let acl = acl
        .map(|acl| ClientAcl::from_json(acl, expires_s))
        .transpose()?;
    Ok(Opinion::Allow(Box::new(Grant {
        superuser,
        expires_us,
        acl: acl.map(Box::new),
        attributes: attributes_of(answer.get("client_attrs")),
        ..Grant::default()
    })))
}

/// EMQX 4: 200 lets in unless the body is `ignore`, 4xx refuses; everything else says nothing.
fn read_v4(status: StatusCode, body: &str) -> Result<Opinion, String> {
    Ok(match status.as_u16() {
        200 if body.trim() == "ignore" => Opinion::Ignore,
        200 => Opinion::Allow(Box::default()),
        400..=499 => Opinion::Deny(ReasonCode::BadUserNameOrPassword),
        code => return Err(format!("status {code}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(opinion: Result<Opinion, String>) -> String {
        match opinion {
            Ok(Opinion::Allow(grant)) => format!(
                "allow {} {} {}",
                grant.superuser,
                grant.expires_us.unwrap_or(0),
                u8::from(grant.acl.is_some())
            ),
            Ok(Opinion::Deny(reason)) => format!("deny {:#x}", reason.as_u8()),
            Ok(Opinion::Ignore) => "ignore".to_owned(),
            Ok(other) => format!("{other:?}"),
            Err(_) => "error".to_owned(),
        }
    }

    #[test]
    fn answers_of_emqx_5() {
        for (status, body, want) in [
            (204, "", "allow false 0 0"),
            (
                200,
                r#"{"result": "allow", "is_superuser": true}"#,
                "allow true 0 0",
            ),
            (
                200,
                r#"{"result": "allow", "expire_at": 17, "acl": [{"permission": "deny", "action": "all", "topic": "t"}]}"#,
                "allow false 17000000 1",
            ),
            (200, r#"{"result": "deny"}"#, "deny 0x87"),
            (200, r#"{"result": "ignore"}"#, "ignore"),
            (200, r#"{"result": "perhaps"}"#, "error"),
            (200, r#"{"result": "allow", "acl": "x"}"#, "error"),
            (200, "allow", "error"),
            (401, r#"{"result": "allow"}"#, "ignore"),
            (302, "", "ignore"),
            (500, "", "ignore"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(short(read_v5(status, body)), want, "{status} {body}");
        }
    }

    #[test]
    fn answers_of_emqx_4() {
        for (status, body, want) in [
            (200, "", "allow false 0 0"),
            (200, "ignore", "ignore"),
            (401, "", "deny 0x86"),
            (403, "ignore", "deny 0x86"),
            (500, "", "error"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(short(read_v4(status, body)), want, "{status} {body}");
        }
    }
}
