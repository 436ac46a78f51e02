//! JSON Web Tokens: signature, time, claims. Pure: the keys and the time are given.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};

use crate::config::JwtAlgorithm;

/// Bytes of the longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// Most keys of a set that are kept.
const KEYS_MAX: usize = 64;

const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
const EC: &[Algorithm] = &[Algorithm::ES256, Algorithm::ES384];
const ED: &[Algorithm] = &[Algorithm::EdDSA];

/// One key and the algorithms that it is for: a token never chooses a kind of key.
pub struct Key {
    id: Option<String>,
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

/// The keys that may have signed a token.
#[derive(Default)]
pub struct Keys(Vec<Key>);

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwtError {
    /// It is no token: another member of the chain may know what it is.
    NoToken,
    /// None of the keys has signed it.
    Signature,
    /// Its `exp` is over.
    Expired,
    /// Its `nbf` or `iat` is to come.
    NotYet,
    /// A claim is missing or has another value.
    Claims,
}

impl Keys {
    /// A secret.
    pub fn secret(secret: &[u8]) -> Self {
        Self(vec![Key {
            id: None,
            key: DecodingKey::from_secret(secret),
            algorithms: HMAC.to_vec(),
        }])
    }

    /// A public key or certificate's key in PEM.
    ///
    /// # Errors
    /// It is none that is known.
    pub fn public_pem(pem: &str) -> Result<Self, String> {
        let pem = pem.as_bytes();
        let read = [
            (DecodingKey::from_rsa_pem(pem), RSA),
            (DecodingKey::from_ec_pem(pem), EC),
            (DecodingKey::from_ed_pem(pem), ED),
        ];
        for (key, algorithms) in read {
            if let Ok(key) = key {
                return Ok(Self(vec![Key {
                    id: None,
                    key,
                    algorithms: algorithms.to_vec(),
                }]));
            }
        }
        Err("this is no public key of RSA, EC or Ed25519 in PEM".to_owned())
    }

    /// A key set (RFC 7517); keys of other kinds are passed over.
    ///
    /// # Errors
    /// It is no key set, or holds no key for signatures.
    pub fn set(json: &str) -> Result<Self, String> {
        let set: JwkSet =
            serde_json::from_str(json).map_err(|error| format!("this is no key set: {error}"))?;
        let keys = set.keys.iter().filter_map(|jwk| {
            let key = DecodingKey::from_jwk(jwk).ok()?;
            let own = jwk
                .common
                .key_algorithm
                .and_then(|algorithm| algorithm.to_string().parse::<Algorithm>().ok());
            let algorithms = own.map_or_else(
                || match key.family() {
                    jsonwebtoken::AlgorithmFamily::Rsa => RSA.to_vec(),
                    jsonwebtoken::AlgorithmFamily::Ec => EC.to_vec(),
                    jsonwebtoken::AlgorithmFamily::Ed => ED.to_vec(),
                    _ => Vec::new(),
                },
                |own| vec![own],
            );
            // A secret in a set that anybody may fetch is none.
            let public = !algorithms.is_empty() && !algorithms.iter().any(|a| HMAC.contains(a));
            public.then(|| Key {
                id: jwk.common.key_id.clone(),
                key,
                algorithms,
            })
        });
        let keys: Vec<Key> = keys.take(KEYS_MAX).collect();
        if keys.is_empty() {
            return Err("the key set holds no public key for signatures".to_owned());
        }
        Ok(Self(keys))
    }

    /// Whether a key of that name is there.
    pub fn has(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id.as_deref() == Some(id))
    }

    /// The claims of a token that one of the keys has signed and that holds at `now_s`, seconds of
    /// UNIX time.
    ///
    /// # Errors
    /// See [`JwtError`].
    pub fn verify(&self, token: &str, now_s: u64) -> Result<Map<String, Value>, JwtError> {
        if token.len() > TOKEN_BYTES_MAX || token.bytes().filter(|byte| *byte == b'.').count() != 2
        {
            return Err(JwtError::NoToken);
        }
        let header = decode_header(token).map_err(|error| match error.kind() {
            // `none` and others that are no signature.
            ErrorKind::InvalidAlgorithmName => JwtError::Signature,
            _ if names_an_algorithm(token) => JwtError::Signature,
            _ => JwtError::NoToken,
        })?;
        let fits = |key: &&Key| {
            let named = match (&header.kid, &key.id) {
                (Some(wanted), Some(own)) => wanted == own,
                (Some(_), None) => self.0.len() == 1,
                (None, _) => true,
            };
            named && key.algorithms.contains(&header.alg)
        };
        for key in self.0.iter().filter(fits) {
            let mut validation = Validation::new(header.alg);
            validation.required_spec_claims.clear();
            // Time is judged below: it is given.
            validation.validate_exp = false;
            validation.validate_nbf = false;
            validation.validate_aud = false;
            if let Ok(data) = decode::<Map<String, Value>>(token, &key.key, &validation) {
                return in_time(data.claims, now_s);
            }
        }
        Err(JwtError::Signature)
    }
}

/// Whether a token's head is a JSON object with `alg`, so that it was meant as one.
fn names_an_algorithm(token: &str) -> bool {
    use base64::Engine;
    let head = token.split('.').next().unwrap_or_default();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(head);
    let value = bytes
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    value.is_some_and(|value| value.get("alg").is_some())
}

fn in_time(claims: Map<String, Value>, now_s: u64) -> Result<Map<String, Value>, JwtError> {
    // A claim that is there but no number is wrong, not absent.
    let time = |name: &str| match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => seconds(value).map(Some).ok_or(JwtError::Claims),
    };
    if time("exp")?.is_some_and(|exp| exp <= now_s) {
        return Err(JwtError::Expired);
    }
    let begins = [time("nbf")?, time("iat")?];
    if begins.into_iter().flatten().any(|begin| begin > now_s) {
        return Err(JwtError::NotYet);
    }
    Ok(claims)
}

/// A time of a claim in seconds of UNIX time; EMQX takes numbers in text as well.
pub fn seconds(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| {
            let number = number.as_f64().filter(|n| (0.0..1e15).contains(n))?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "in range"
            )]
            Some(number as u64)
        }),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// Whether the claims have the wanted values; of a list one is enough (`aud`).
pub fn has_claims<'a>(
    claims: &Map<String, Value>,
    wanted: impl Iterator<Item = (&'a str, String)>,
) -> bool {
    let mut wanted = wanted;
    wanted.all(|(name, wanted)| match claims.get(name) {
        Some(Value::String(own)) => *own == wanted,
        Some(Value::Array(own)) => own.iter().any(|own| own.as_str() == Some(&wanted)),
        Some(Value::Number(own)) => own.to_string().eq(&wanted),
        Some(Value::Bool(own)) => own.to_string().eq(&wanted),
        _ => false,
    })
}

/// The algorithms that a configuration names, for messages.
pub fn algorithms(kind: JwtAlgorithm) -> &'static str {
    match kind {
        JwtAlgorithm::HmacBased => "HS256, HS384, HS512",
        JwtAlgorithm::PublicKey => "RS, PS, ES, EdDSA",
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::json;

    use super::*;

    const NOW_S: u64 = 1_700_000_000;
    const EC_PRIVATE: &str = include_str!("testdata/ec-private.pem");
    const EC_PUBLIC: &str = include_str!("testdata/ec-public.pem");
    const RSA_PRIVATE: &str = include_str!("testdata/rsa-private.pem");
    const RSA_PUBLIC: &str = include_str!("testdata/rsa-public.pem");

    fn signed(
        algorithm: Algorithm,
        kid: Option<&str>,
        claims: &Value,
        key: &EncodingKey,
    ) -> String {
        let header = Header {
            kid: kid.map(str::to_owned),
            ..Header::new(algorithm)
        };
        encode(&header, claims, key).unwrap()
    }

    fn by_secret(claims: &Value) -> String {
        let key = EncodingKey::from_secret(b"secret");
        signed(Algorithm::HS256, None, claims, &key)
    }

    #[test]
    fn a_secret_signs() {
        let keys = Keys::secret(b"secret");
        let token = by_secret(&json!({"sub": "u", "exp": NOW_S + 1}));
        assert_eq!(keys.verify(&token, NOW_S).unwrap()["sub"], "u");
        assert_eq!(keys.verify(&token, NOW_S + 1), Err(JwtError::Expired));
        let other = Keys::secret(b"other").verify(&token, NOW_S);
        assert_eq!(other, Err(JwtError::Signature));
        for algorithm in [Algorithm::HS384, Algorithm::HS512] {
            let key = EncodingKey::from_secret(b"secret");
            let token = signed(algorithm, Some("any"), &json!({}), &key);
            assert!(keys.verify(&token, NOW_S).is_ok());
        }
    }

    #[test]
    fn times_are_kept() {
        let keys = Keys::secret(b"secret");
        for (claims, want) in [
            (json!({"nbf": NOW_S + 5}), Some(JwtError::NotYet)),
            (json!({"iat": NOW_S + 5}), Some(JwtError::NotYet)),
            (json!({"nbf": NOW_S}), None),
            (json!({"exp": "soon"}), Some(JwtError::Claims)),
            (json!({"exp": (NOW_S + 9).to_string()}), None),
            (json!({"exp": 1_700_000_009.5}), None),
            (json!({"exp": []}), Some(JwtError::Claims)),
        ] {
            let token = by_secret(&claims);
            assert_eq!(keys.verify(&token, NOW_S).err(), want, "{claims}");
        }
    }

    #[test]
    fn a_public_key_is_no_secret() {
        for (public, private, algorithm) in [
            (
                EC_PUBLIC,
                EncodingKey::from_ec_pem(EC_PRIVATE.as_bytes()),
                Algorithm::ES256,
            ),
            (
                RSA_PUBLIC,
                EncodingKey::from_rsa_pem(RSA_PRIVATE.as_bytes()),
                Algorithm::RS256,
            ),
        ] {
            let keys = Keys::public_pem(public).unwrap();
            let token = signed(algorithm, None, &json!({"a": 1}), &private.unwrap());
            assert!(keys.verify(&token, NOW_S).is_ok(), "{algorithm:?}");
            // The attack: the public key as the secret of an HMAC.
            let secret = EncodingKey::from_secret(public.as_bytes());
            let token = signed(Algorithm::HS256, None, &json!({"a": 1}), &secret);
            assert_eq!(keys.verify(&token, NOW_S), Err(JwtError::Signature));
        }
    }

    #[test]
    fn no_signature_is_no_signature() {
        // {"alg":"none"}.{"sub":"admin"}. and {"alg":"nOnE"}
        for head in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJuT25FIn0"] {
            let token = format!("{head}.eyJzdWIiOiJhZG1pbiJ9.");
            let judged = Keys::secret(b"secret").verify(&token, NOW_S);
            assert_eq!(judged, Err(JwtError::Signature), "{head}");
        }
        let token = by_secret(&json!({"sub": "u"}));
        let (signed_part, _) = token.rsplit_once('.').unwrap();
        let judged = Keys::secret(b"secret").verify(&format!("{signed_part}."), NOW_S);
        assert_eq!(judged, Err(JwtError::Signature));
    }

    #[test]
    fn passwords_are_no_tokens() {
        let keys = Keys::secret(b"secret");
        for text in [
            "",
            "password",
            "a.b",
            "a.b.c",
            "..",
            "a.b.c.d",
            &"x".repeat(20_000),
        ] {
            assert_eq!(keys.verify(text, NOW_S), Err(JwtError::NoToken), "{text}");
        }
    }

    #[test]
    fn a_key_set_is_chosen_from_by_name() {
        let set = include_str!("testdata/jwks.json");
        let keys = Keys::set(set).unwrap();
        assert!(keys.has("rsa-1") && keys.has("ec-1") && !keys.has("secret-1"));
        let key = EncodingKey::from_rsa_pem(RSA_PRIVATE.as_bytes()).unwrap();
        for (kid, want) in [
            (Some("rsa-1"), None),
            (None, None),
            (Some("rsa-2"), Some(JwtError::Signature)),
            (Some("ec-1"), Some(JwtError::Signature)),
        ] {
            let token = signed(Algorithm::RS256, kid, &json!({}), &key);
            assert_eq!(keys.verify(&token, NOW_S).err(), want, "{kid:?}");
        }
        assert!(Keys::set("{\"keys\": []}").is_err());
        assert!(Keys::set("[]").is_err());
    }

    #[test]
    fn claims_must_have_their_values() {
        let claims = json!({"sub": "u", "aud": ["x", "mqtt"], "n": 5, "o": {}});
        let claims = claims.as_object().unwrap();
        let has = |name, value: &str| has_claims(claims, [(name, value.to_owned())].into_iter());
        assert!(has("sub", "u") && has("aud", "mqtt") && has("n", "5"));
        assert!(!has("sub", "v") && !has("aud", "y") && !has("o", "{}") && !has("iss", ""));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert!(Keys::public_pem("no key").is_err());
        assert!(Keys::public_pem(EC_PRIVATE).is_err());
    }
}
