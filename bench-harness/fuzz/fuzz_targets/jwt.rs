//! Tokens and what they are verified with: any text as a token, claims and heads of any kind that are signed
//! properly, key sets, keys in PEM. Without the secret nothing is accepted.
#![no_main]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use libfuzzer_sys::fuzz_target;
use millrace::access::acl_client::ClientAcl;
use millrace::access::jwt::{JwtError, Keys, has_claims, seconds};

const NOW_S: u64 = 1_700_000_000;

fn of_a_secret(token: &str) {
    let keys = Keys::secret(b"secret");
    let Ok(claims) = keys.verify(token, NOW_S) else {
        return;
    };
    for claim in claims.values() {
        let _ = seconds(claim);
    }
    assert!(claims.get("exp").and_then(seconds).is_none_or(|exp| exp > NOW_S));
    has_claims(&claims, [("sub", "u".to_owned())].into_iter());
    if let Some(acl) = claims.get("acl") {
        let _ = ClientAcl::from_json(acl, None);
    }
    assert_eq!(keys.verify(token, NOW_S).as_ref(), Ok(&claims));
    let others = Keys::secret(b"Secret").verify(token, NOW_S);
    assert_eq!(others, Err(JwtError::Signature), "a token without its secret");
}

/// Head and claims as they are, signed.
fn signed(head: &[u8], claims: &[u8]) -> Option<String> {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
    let key = EncodingKey::from_secret(b"secret");
    let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &key, Algorithm::HS256).ok()?;
    Some(format!("{text}.{signature}"))
}

fuzz_target!(|data: &[u8]| {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let text = std::str::from_utf8(rest).ok();
    match (first % 5, text) {
        (0, Some(text)) => of_a_secret(text),
        (1, _) => {
            if let Some(token) = signed(br#"{"alg":"HS256"}"#, rest) {
                of_a_secret(&token);
            }
        }
        (2, _) => {
            if let Some(token) = signed(rest, br#"{"sub":"u"}"#) {
                of_a_secret(&token);
            }
        }
        (3, Some(text)) => match Keys::set(text) {
            Ok(keys) => {
                let token = signed(br#"{"alg":"HS256"}"#, b"{}").unwrap_or_default();
                assert!(keys.verify(&token, NOW_S).is_err(), "a public key is no secret");
            }
            Err(what) => assert!(!what.is_empty()),
        },
        (_, Some(text)) => match Keys::public_pem(text) {
            Ok(keys) => assert!(keys.verify("a.b.c", NOW_S).is_err()),
            Err(what) => assert!(!what.is_empty()),
        },
        _ => {}
    }
});
