//! JSON Web Tokens: keys from the configuration or from a URL that is read again and again.

use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::access::acl_client::ClientAcl;
use crate::access::jwt::{JwtError, Keys, has_claims, seconds};
use crate::config::{JwtAlgorithm, JwtAuthn, JwtFrom};
use crate::control::authn::grant::attributes_of;
use crate::control::authn::hashing::Hashing;
use crate::control::authn::http::{Client, read_body};
use crate::control::authn::member::Opinion;
use crate::control::authn::template::Template;
use crate::gate::authn::{AuthnRequest, Grant};
use crate::mqtt::reason::ReasonCode;

/// Time to read a key set.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// After a key set could not be read, the first next try; it doubles up to the interval.
const RETRY_MIN: Duration = Duration::from_secs(1);

pub(super) struct Jwt {
    from: JwtFrom,
    keys: Arc<RwLock<Arc<Keys>>>,
    claims: Vec<(String, Template)>,
    acl_claim: String,
    disconnects: bool,
    /// Signatures of public keys take long.
    slow: bool,
}

impl Jwt {
    pub(super) fn new(config: &JwtAuthn) -> Result<Self, String> {
        let keys = if config.use_jwks {
            Keys::default()
        } else {
            configured_keys(config)?
        };
        let keys = Arc::new(RwLock::new(Arc::new(keys)));
        if config.use_jwks {
            let endpoint = config.endpoint.clone();
            let endpoint = endpoint.ok_or("`endpoint` is missing, the URL of the key set")?;
            let client = Client::new(FETCH_TIMEOUT, 1, &config.ssl)?;
            let interval = config.refresh_interval.0;
            tokio::spawn(refresh(Arc::downgrade(&keys), client, endpoint, interval));
        }
        let claims = config.verify_claims.iter().map(|(name, value)| {
            let template = Template::new(value)?;
            Ok::<_, String>((name.clone(), template))
        });
        Ok(Self {
            from: config.from,
            keys,
            claims: claims.collect::<Result<_, _>>()?,
            acl_claim: config.acl_claim_name.clone(),
            disconnects: config.disconnect_after_expire,
            slow: config.use_jwks || config.algorithm == JwtAlgorithm::PublicKey,
        })
    }

    pub(super) async fn ask(
        &self,
        client: &AuthnRequest,
        hashing: &Hashing,
    ) -> Result<Opinion, String> {
        let token = match self.from {
            JwtFrom::Password => client.password.as_ref().and_then(|p| p.text()),
            JwtFrom::Username => client.username.as_deref(),
        };
        let Some(token) = token.map(str::to_owned) else {
            return Ok(Opinion::Ignore);
        };
        let keys = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        let now_s = unix_seconds();
        let verified = if self.slow {
            match hashing.run(move || keys.verify(&token, now_s)).await {
                Ok(verified) => verified,
                Err(_) => return Ok(Opinion::Busy),
            }
        } else {
            keys.verify(&token, now_s)
        };
        Ok(match verified {
            Ok(claims) => self.granted(&claims, client),
            Err(JwtError::NoToken) => Opinion::Ignore,
            // Another member may have the key, as in EMQX.
            Err(JwtError::Signature) => Opinion::Ignore,
            Err(JwtError::Expired | JwtError::NotYet | JwtError::Claims) => {
                Opinion::Deny(ReasonCode::BadUserNameOrPassword)
            }
        })
    }

    fn granted(&self, claims: &Map<String, Value>, client: &AuthnRequest) -> Opinion {
        let refused = Opinion::Deny(ReasonCode::BadUserNameOrPassword);
        let mut wanted = Vec::new();
        for (name, template) in &self.claims {
            let Some(value) = template.plain(client) else {
                return refused;
            };
            wanted.push((name.as_str(), value));
        }
        if !has_claims(claims, wanted.into_iter()) {
            return refused;
        }
        let expires_s = claims.get("exp").and_then(seconds);
        let acl = claims.get(&self.acl_claim);
        let acl = match acl
            .map(|acl| ClientAcl::from_json(acl, expires_s))
            .transpose()
        {
            Ok(acl) => acl.map(Box::new),
            Err(error) => {
                tracing::warn!(error, "authentication: a token's rules cannot be read");
                return refused;
            }
        };
        let superuser = claims.get("is_superuser").and_then(Value::as_bool);
        Opinion::Allow(Box::new(Grant {
            superuser: superuser.unwrap_or(false),
            expires_us: expires_s
                .filter(|_| self.disconnects)
                .map(|exp| exp.saturating_mul(1_000_000)),
            acl,
            attributes: attributes_of(claims.get("client_attrs")),
            ..Grant::default()
        }))
    }
}

fn configured_keys(config: &JwtAuthn) -> Result<Keys, String> {
    match config.algorithm {
        JwtAlgorithm::HmacBased => {
            let secret = config.secret.text();
            let secret = if config.secret_base64_encoded {
                STANDARD
                    .decode(secret)
                    .map_err(|_| "`secret` is not base64".to_owned())?
            } else {
                secret.as_bytes().to_vec()
            };
            if secret.is_empty() {
                return Err("`secret` is empty".to_owned());
            }
            Ok(Keys::secret(&secret))
        }
        JwtAlgorithm::PublicKey => {
            let key = config.public_key.as_deref();
            let key = key.ok_or("`public_key` is missing, a PEM file")?;
            let pem = if key.contains("-----BEGIN") {
                key.to_owned()
            } else {
                std::fs::read_to_string(key)
                    .map_err(|error| format!("the public key {key} cannot be read: {error}"))?
            };
            Keys::public_pem(&pem).map_err(|what| format!("`public_key`: {what}"))
        }
    }
}

/// Reads the key set again and again until nobody needs it any more; the last one that could be read
/// counts.
async fn refresh(
    keys: Weak<RwLock<Arc<Keys>>>,
    client: Client,
    endpoint: String,
    interval: Duration,
) {
    let mut retry = RETRY_MIN.min(interval);
    loop {
        let pause = match fetch(&client, &endpoint).await {
            Ok(new) => {
                let Some(keys) = keys.upgrade() else {
                    return;
                };
                *keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                retry = RETRY_MIN.min(interval);
                interval
            }
            Err(error) => {
                tracing::warn!(endpoint, error, "authentication: no key set could be read");
                let pause = retry;
                retry = (retry * 2).min(interval);
                pause
            }
        };
        tokio::time::sleep(pause).await;
        if keys.strong_count() == 0 {
            return;
        }
    }
}

async fn fetch(client: &Client, endpoint: &str) -> Result<Keys, String> {
    let response = client.get(endpoint).send().await;
    let response = response.map_err(|error| error.without_url().to_string())?;
    if !response.status().is_success() {
        return Err(format!("status {}", response.status()));
    }
    Keys::set(&read_body(response).await?)
}

fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
