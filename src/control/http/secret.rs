//! Passwords, keys and tokens: how they are made, kept and compared.

use std::sync::OnceLock;

use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use argon2::{Algorithm, Argon2, Params, Version};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

/// Passwords that are hashed at the same time: each takes [`HASH_MEMORY_KIB`] and tens of milliseconds.
static HASHING: Semaphore = Semaphore::const_new(2);
/// Memory of one hash, in KiB, and passes over it. OWASP names this pair as strong as 19 MiB and two
/// passes; the smaller memory counts in the idle broker's, since the first start hashes a password.
const HASH_MEMORY_KIB: u32 = 7 * 1024;
const HASH_PASSES: u32 = 5;
/// Digits of random texts: 62 of them, six bits less a little each.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// So many random digits and letters.
pub fn random_text(len: usize) -> std::io::Result<String> {
    let mut text = String::with_capacity(len);
    let mut bytes = [0; 64];
    while text.len() < len {
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        // Of 256 values 248 are shared evenly among the digits; the others are thrown away.
        let even = bytes.iter().filter(|byte| **byte < 248);
        let digits = even.map(|byte| char::from(DIGITS[usize::from(byte % 62)]));
        text.extend(digits.take(len - text.len()));
    }
    Ok(text)
}

/// SHA-256 in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Whether two texts are the same, in a time that does not tell where they differ.
pub fn same(a: &str, b: &str) -> bool {
    let differences = a
        .bytes()
        .zip(b.bytes())
        .fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(differences) == 0 && a.len() == b.len()
}

/// The hash of a password as it is kept. It takes tens of milliseconds.
///
/// # Errors
/// The system gives no random numbers, or the password is beyond 4 GiB.
pub fn hash_password(password: &str) -> Result<String, String> {
    let params = Params::new(HASH_MEMORY_KIB, HASH_PASSES, 1, None);
    let params = params.map_err(|error| error.to_string())?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string())
        .map_err(|error| error.to_string())
}

/// The same, on a thread where waiting harms nobody.
///
/// # Errors
/// See [`hash_password`].
pub async fn hash_password_apart(password: String) -> Result<String, String> {
    let _turn = HASHING.acquire().await;
    let hashed = tokio::task::spawn_blocking(move || hash_password(&password)).await;
    hashed.map_err(|error| error.to_string())?
}

/// Whether a password is that of a kept hash. Without a hash (no such user) it takes as long.
pub async fn verify_password_apart(password: String, hash: Option<String>) -> bool {
    let _turn = HASHING.acquire().await;
    let verify = move || {
        static NOBODY: OnceLock<String> = OnceLock::new();
        let known = hash.is_some();
        let nobody = || {
            NOBODY
                .get_or_init(|| hash_password("nobody").unwrap_or_default())
                .clone()
        };
        let hash = hash.unwrap_or_else(nobody);
        let Ok(hash) = PasswordHash::new(&hash) else {
            return false;
        };
        let verified = Argon2::default().verify_password(password.as_bytes(), &hash);
        verified.is_ok() && known
    };
    tokio::task::spawn_blocking(verify).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_texts_differ_and_have_their_length() {
        let (a, b) = (random_text(43).unwrap(), random_text(43).unwrap());
        assert!(a.len() == 43 && a != b && a.bytes().all(|byte| DIGITS.contains(&byte)));
    }

    #[test]
    fn texts_are_compared_as_a_whole() {
        assert!(same("abc", "abc") && same("", ""));
        assert!(!same("abc", "abd") && !same("abc", "ab") && !same("", "a"));
        let want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_hex(b"abc"), want);
    }

    #[tokio::test]
    async fn a_password_is_known_again_and_nobody_has_none() {
        let hash = hash_password("secret").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=7168,t=5,p=1$"), "{hash}");
        assert!(verify_password_apart("secret".to_owned(), Some(hash.clone())).await);
        assert!(!verify_password_apart("Secret".to_owned(), Some(hash)).await);
        assert!(!verify_password_apart("nobody".to_owned(), None).await);
    }
}
