//! SCRAM-SHA-256 and SCRAM-SHA-512, the server's side (RFC 5802, RFC 7677).
//!
//! Two steps without memory of their own: what the second needs of the first is a text that the caller
//! keeps and that never leaves the broker. Passwords are taken as they are: no normalization (SASLprep)
//! beyond what clients do. A user that is not there is answered as one that is, until the last step.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use pbkdf2::pbkdf2_hmac;
use sha2::Digest as _;

use crate::access::password::equal;
use crate::config::ScramHash;

/// Rounds that a user who is not there seems to have.
const ROUNDS_OF_NOBODY: u32 = 4096;
/// Bytes of a client's first or last message; longer ones are refused.
const MESSAGE_BYTES_MAX: usize = 4096;

/// What is kept of a user's password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// Random.
    pub salt: Vec<u8>,
    /// Rounds of PBKDF2.
    pub iterations: u32,
    /// The digest of the client's key.
    pub stored_key: Vec<u8>,
    /// With which the server proves itself.
    pub server_key: Vec<u8>,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential")
    }
}

/// A client's message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScramError {
    /// It is not what the standard says.
    Malformed,
    /// It wants what is not offered: channel binding, extensions.
    Unsupported,
    /// The proof is wrong, or there is no such user.
    Refused,
}

/// What a client's first message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    /// Its user name.
    pub username: String,
    header: String,
    bare: String,
    nonce: String,
}

/// The answer to the first message, and what the second step needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// For the client.
    pub message: String,
    /// For [`finish`].
    pub state: String,
}

/// What to keep of a password.
pub fn credential(hash: ScramHash, password: &[u8], salt: &[u8], iterations: u32) -> Credential {
    let mut salted = vec![0; digest_len(hash)];
    match hash {
        ScramHash::Sha256 => {
            pbkdf2_hmac::<sha2::Sha256>(password, salt, iterations, &mut salted);
        }
        ScramHash::Sha512 => {
            pbkdf2_hmac::<sha2::Sha512>(password, salt, iterations, &mut salted);
        }
    }
    let client_key = mac(hash, &salted, b"Client Key");
    Credential {
        salt: salt.to_vec(),
        iterations,
        stored_key: digest(hash, &client_key),
        server_key: mac(hash, &salted, b"Server Key"),
    }
}

/// Reads a client's first message.
///
/// # Errors
/// See [`ScramError`].
pub fn read_first(message: &[u8]) -> Result<First, ScramError> {
    let text = text_of(message)?;
    let mut parts = text.splitn(3, ',');
    let (Some(flag), Some(authzid), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(ScramError::Malformed);
    };
    match flag {
        "n" | "y" => {}
        _ if flag.starts_with("p=") => return Err(ScramError::Unsupported),
        _ => return Err(ScramError::Malformed),
    }
    if !authzid.is_empty() {
        return Err(ScramError::Unsupported);
    }
    let mut attributes = bare.split(',');
    let name = attributes.next().unwrap_or_default();
    if name.starts_with("m=") {
        return Err(ScramError::Unsupported);
    }
    let name = name.strip_prefix("n=").ok_or(ScramError::Malformed)?;
    let nonce = attributes.next().and_then(|part| part.strip_prefix("r="));
    let nonce = nonce
        .filter(|nonce| is_nonce(nonce))
        .ok_or(ScramError::Malformed)?;
    Ok(First {
        username: unescape(name).ok_or(ScramError::Malformed)?,
        header: format!("{flag},{authzid},"),
        bare: bare.to_owned(),
        nonce: nonce.to_owned(),
    })
}

/// Answers a first message. `nonce` is random; `of_nobody` is the salt that a user who is not there
/// seems to have: the same each time for the same name.
pub fn challenge(
    first: &First,
    user: Option<&Credential>,
    nonce: &str,
    of_nobody: &[u8],
) -> Challenge {
    let salt = user.map_or(of_nobody, |user| &user.salt);
    let rounds = user.map_or(ROUNDS_OF_NOBODY, |user| user.iterations);
    let nonce = format!("{}{nonce}", first.nonce);
    let message = format!("r={nonce},s={},i={rounds}", STANDARD.encode(salt));
    // No part can hold a zero byte.
    let state = [
        first.username.as_str(),
        &first.header,
        &first.bare,
        &nonce,
        &message,
    ];
    Challenge {
        state: state.join("\0"),
        message,
    }
}

/// The user whose exchange a state belongs to.
pub fn user_of(state: &str) -> Option<&str> {
    state.split('\0').next()
}

/// Judges a client's last message; the answer is the last data for it.
///
/// # Errors
/// See [`ScramError`].
pub fn finish(
    hash: ScramHash,
    state: &str,
    message: &[u8],
    user: Option<&Credential>,
) -> Result<String, ScramError> {
    let parts: Vec<&str> = state.split('\0').collect();
    let [_, header, bare, nonce, server_first] = *parts else {
        return Err(ScramError::Malformed);
    };
    let text = text_of(message)?;
    let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
    let mut attributes = without_proof.split(',');
    let binding = attributes.next().and_then(|part| part.strip_prefix("c="));
    let echoed = attributes.next().and_then(|part| part.strip_prefix("r="));
    if binding != Some(&*STANDARD.encode(header)) || echoed != Some(nonce) {
        return Err(ScramError::Refused);
    }
    let proof = STANDARD
        .decode(proof)
        .map_err(|_| ScramError::Malformed)
        .and_then(|proof| match proof.len() == digest_len(hash) {
            true => Ok(proof),
            false => Err(ScramError::Malformed),
        })?;
    let user = user.ok_or(ScramError::Refused)?;
    let signed = format!("{bare},{server_first},{without_proof}");
    let signature = mac(hash, &user.stored_key, signed.as_bytes());
    let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
    if !equal(&digest(hash, &client_key), &user.stored_key) {
        return Err(ScramError::Refused);
    }
    let proof = mac(hash, &user.server_key, signed.as_bytes());
    Ok(format!("v={}", STANDARD.encode(proof)))
}

fn text_of(message: &[u8]) -> Result<&str, ScramError> {
    if message.len() > MESSAGE_BYTES_MAX || message.contains(&0) {
        return Err(ScramError::Malformed);
    }
    std::str::from_utf8(message).map_err(|_| ScramError::Malformed)
}

fn is_nonce(nonce: &str) -> bool {
    !nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `=2C` is a comma, `=3D` an equals sign; no other may stand there.
fn unescape(name: &str) -> Option<String> {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('=') {
        out.push_str(before);
        rest = if let Some(rest) = after.strip_prefix("2C") {
            out.push(',');
            rest
        } else {
            out.push('=');
            after.strip_prefix("3D")?
        };
    }
    out.push_str(rest);
    (!out.is_empty()).then_some(out)
}

fn digest_len(hash: ScramHash) -> usize {
    match hash {
        ScramHash::Sha256 => 32,
        ScramHash::Sha512 => 64,
    }
}

fn digest(hash: ScramHash, data: &[u8]) -> Vec<u8> {
    match hash {
        ScramHash::Sha256 => sha2::Sha256::digest(data).to_vec(),
        ScramHash::Sha512 => sha2::Sha512::digest(data).to_vec(),
    }
}

/// HMAC.
pub fn mac(hash: ScramHash, key: &[u8], data: &[u8]) -> Vec<u8> {
    fn of<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> Vec<u8> {
        let keyed = <M as KeyInit>::new_from_slice(key);
        let mut mac = keyed.expect("HMAC takes keys of every length");
        mac.update(data);
        mac.finalize().into_bytes().to_vec()
    }
    match hash {
        ScramHash::Sha256 => of::<Hmac<sha2::Sha256>>(key, data),
        ScramHash::Sha512 => of::<Hmac<sha2::Sha512>>(key, data),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: ScramHash = ScramHash::Sha256;
    // RFC 7677, section 3.
    const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn user() -> Credential {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        credential(HASH, b"pencil", &salt, 4096)
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let first = read_first(FIRST).unwrap();
        assert_eq!(first.username, "user");
        let challenge = challenge(&first, Some(&user()), SERVER_NONCE, b"");
        assert_eq!(
            challenge.message,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        assert_eq!(user_of(&challenge.state), Some("user"));
        let last = finish(HASH, &challenge.state, LAST.as_bytes(), Some(&user()));
        assert_eq!(
            last.as_deref(),
            Ok("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
        );
    }

    /// A client of this test; no other code of ours plays one.
    fn client_last(hash: ScramHash, password: &[u8], first_bare: &str, server: &str) -> String {
        let part = |name: &str| {
            let mut parts = server.split(',');
            parts.find_map(|part| part.strip_prefix(name)).unwrap()
        };
        let salt = STANDARD.decode(part("s=")).unwrap();
        let keys = credential(hash, password, &salt, part("i=").parse().unwrap());
        let mut salted = vec![0; digest_len(hash)];
        match hash {
            ScramHash::Sha256 => {
                pbkdf2_hmac::<sha2::Sha256>(password, &salt, keys.iterations, &mut salted);
            }
            ScramHash::Sha512 => {
                pbkdf2_hmac::<sha2::Sha512>(password, &salt, keys.iterations, &mut salted);
            }
        }
        let client_key = mac(hash, &salted, b"Client Key");
        let without = format!("c=biws,r={}", part("r="));
        let signed = format!("{first_bare},{server},{without}");
        let signature = mac(hash, &keys.stored_key, signed.as_bytes());
        let proof: Vec<u8> = client_key
            .iter()
            .zip(&signature)
            .map(|(a, b)| a ^ b)
            .collect();
        format!("{without},p={}", STANDARD.encode(proof))
    }

    #[test]
    fn both_digests_let_the_right_password_in_and_no_other() {
        for hash in [ScramHash::Sha256, ScramHash::Sha512] {
            let user = credential(hash, b"right", b"0123456789abcdef", 10);
            let first = read_first(b"n,,n=a=2Cb=3D,r=abc").unwrap();
            assert_eq!(first.username, "a,b=");
            let asked = challenge(&first, Some(&user), "xyz", b"");
            for (password, good) in [(&b"right"[..], true), (b"wrong", false)] {
                let last = client_last(hash, password, "n=a=2Cb=3D,r=abc", &asked.message);
                let judged = finish(hash, &asked.state, last.as_bytes(), Some(&user));
                assert_eq!(judged.is_ok(), good, "{hash:?}");
                let nobody = finish(hash, &asked.state, last.as_bytes(), None);
                assert_eq!(nobody, Err(ScramError::Refused));
            }
        }
    }

    #[test]
    fn nobody_looks_like_somebody() {
        let first = read_first(FIRST).unwrap();
        let asked = challenge(&first, None, "n", b"0123456789abcdef");
        assert_eq!(
            asked.message,
            "r=rOprNGfwEbeRWgbNEkqOn,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=4096"
        );
    }

    #[test]
    fn what_is_no_first_message_is_refused() {
        for (message, error) in [
            (&b""[..], ScramError::Malformed),
            (b"n,,", ScramError::Malformed),
            (b"n,,n=,r=x", ScramError::Malformed),
            (b"n,,n=u", ScramError::Malformed),
            (b"n,,n=u,r=", ScramError::Malformed),
            (b"n,,n=u=2D,r=x", ScramError::Malformed),
            (b"n,,n=u\0,r=x", ScramError::Malformed),
            (b"x,,n=u,r=x", ScramError::Malformed),
            (b"p=tls-unique,,n=u,r=x", ScramError::Unsupported),
            (b"n,a=admin,n=u,r=x", ScramError::Unsupported),
            (b"n,,m=x,n=u,r=x", ScramError::Unsupported),
        ] {
            assert_eq!(read_first(message), Err(error), "{message:?}");
        }
    }

    #[test]
    fn a_last_message_must_fit_the_first() {
        let first = read_first(FIRST).unwrap();
        let asked = challenge(&first, Some(&user()), SERVER_NONCE, b"");
        for wrong in [
            LAST.replace("c=biws", "c=eSws"),
            LAST.replace("k0,", "k1,"),
            LAST.replace("p=dHz", "p=dHy"),
            LAST.replace("p=dHz", "p=!"),
            LAST.replace(",p=", ",q="),
        ] {
            let judged = finish(HASH, &asked.state, wrong.as_bytes(), Some(&user()));
            assert!(judged.is_err(), "{wrong}");
        }
    }
}
