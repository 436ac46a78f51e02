//! Stored passwords: every form EMQX knows, and those of LDAP directories.
//!
//! Pure functions; the slow ones (bcrypt, PBKDF2, Argon2) are called from threads for that purpose.

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pbkdf2::pbkdf2_hmac;
use sha2::Digest as _;

use crate::config::{Digest, PasswordHash, SaltPosition};

/// A password as it is stored.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Stored {
    /// The hash, in the form of its kind.
    pub hash: String,
    /// The salt, empty if there is none or the hash holds it.
    pub salt: String,
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stored")
    }
}

/// A password cannot be stored in that form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotStorable;

/// Whether `password` is the stored one.
pub fn verify(kind: &PasswordHash, password: &[u8], stored: &Stored) -> bool {
    let salt = stored.salt.as_bytes();
    match kind {
        PasswordHash::Pbkdf2 { .. } if stored.hash.starts_with('$') => {
            verify_mosquitto(&stored.hash, password)
        }
        PasswordHash::Plain => equal(password, stored.hash.as_bytes()),
        PasswordHash::Simple(digest, position) => {
            let computed = simple(*digest, *position, password, salt);
            equal_hex(&computed, &stored.hash)
        }
        PasswordHash::Pbkdf2 {
            mac,
            iterations,
            dk_length,
        } => {
            let computed = derive(*mac, password, salt, *iterations, *dk_length);
            equal_hex(&computed, &stored.hash)
        }
        PasswordHash::Bcrypt { .. } => bcrypt::verify(password, &stored.hash).unwrap_or(false),
        PasswordHash::Argon2 => phc::PasswordHash::new(&stored.hash)
            .is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok()),
    }
}

/// Whether checking a password of that kind takes long enough to matter to others.
pub fn is_slow(kind: &PasswordHash) -> bool {
    match kind {
        PasswordHash::Plain | PasswordHash::Simple(..) => false,
        PasswordHash::Pbkdf2 { .. } | PasswordHash::Bcrypt { .. } | PasswordHash::Argon2 => true,
    }
}

/// What to store for a password. `salt` is random: at least 16 bytes; a hash without a place for it
/// leaves it out.
///
/// # Errors
/// The password has a form that the hash does not take.
pub fn store(kind: &PasswordHash, password: &[u8], salt: [u8; 16]) -> Result<Stored, NotStorable> {
    let salt_text = hex(&salt);
    Ok(match kind {
        PasswordHash::Plain => Stored {
            hash: String::from_utf8(password.to_vec()).map_err(|_| NotStorable)?,
            salt: String::new(),
        },
        PasswordHash::Simple(digest, position) => {
            let salt = match position {
                SaltPosition::Disable => String::new(),
                SaltPosition::Prefix | SaltPosition::Suffix => salt_text,
            };
            Stored {
                hash: hex(&simple(*digest, *position, password, salt.as_bytes())),
                salt,
            }
        }
        PasswordHash::Pbkdf2 {
            mac,
            iterations,
            dk_length,
        } => Stored {
            hash: hex(&derive(
                *mac,
                password,
                salt_text.as_bytes(),
                *iterations,
                *dk_length,
            )),
            salt: salt_text,
        },
        PasswordHash::Bcrypt { rounds } => Stored {
            hash: bcrypt::hash_with_salt(password, *rounds, salt)
                .map_err(|_| NotStorable)?
                .to_string(),
            salt: String::new(),
        },
        PasswordHash::Argon2 => Stored {
            hash: Argon2::default()
                .hash_password_with_salt(password, &salt)
                .map_err(|_| NotStorable)?
                .to_string(),
            salt: String::new(),
        },
    })
}

/// Rounds of one of mosquitto's hashes that are computed: more would keep others waiting.
const MOSQUITTO_ROUNDS_MAX: u32 = 10_000_000;

/// Whether `password` is the one that mosquitto stores as `$7$<rounds>$<salt>$<hash>` (PBKDF2 with
/// SHA-512) or `$6$<salt>$<hash>` (SHA-512 over password and salt), in base64.
fn verify_mosquitto(stored: &str, password: &[u8]) -> bool {
    let mut parts = stored.split('$').skip(1);
    let kind = parts.next();
    let rounds = match kind {
        Some("7") => parts.next().and_then(|rounds| rounds.parse::<u32>().ok()),
        Some("6") => Some(1),
        _ => None,
    };
    let rounds = rounds.filter(|rounds| (1..=MOSQUITTO_ROUNDS_MAX).contains(rounds));
    let mut decoded = || STANDARD.decode(parts.next()?).ok();
    let (Some(rounds), Some(salt), Some(hash)) = (rounds, decoded(), decoded()) else {
        return false;
    };
    // An empty hash would be that of every password.
    if parts.next().is_some() || hash.is_empty() {
        return false;
    }
    let computed = match kind {
        Some("7") => derive(Digest::Sha512, password, &salt, rounds, Some(hash.len())),
        _ => simple(Digest::Sha512, SaltPosition::Suffix, password, &salt),
    };
    equal(&computed, &hash)
}

/// Whether `password` is the one in an LDAP entry's `userPassword`: `{SSHA}` and its kin, or plain.
pub fn verify_ldap(value: &str, password: &[u8]) -> bool {
    let Some((scheme, rest)) = value
        .strip_prefix('{')
        .and_then(|value| value.split_once('}'))
    else {
        return equal(password, value.as_bytes());
    };
    let (digest, len) = match scheme.to_ascii_uppercase().as_str() {
        "SSHA" | "SHA" => (Digest::Sha, 20),
        "SMD5" | "MD5" => (Digest::Md5, 16),
        "SSHA256" | "SHA256" => (Digest::Sha256, 32),
        "SSHA512" | "SHA512" => (Digest::Sha512, 64),
        "CRYPT" if rest.starts_with("$2") => {
            return bcrypt::verify(password, rest).unwrap_or(false);
        }
        _ => return false,
    };
    let Ok(bytes) = STANDARD.decode(rest) else {
        return false;
    };
    match bytes.split_at_checked(len) {
        Some((hash, salt)) => {
            let computed = simple(digest, SaltPosition::Suffix, password, salt);
            equal(&computed, hash)
        }
        None => false,
    }
}

fn simple(digest: Digest, position: SaltPosition, password: &[u8], salt: &[u8]) -> Vec<u8> {
    let (first, second): (&[u8], &[u8]) = match position {
        SaltPosition::Disable => (password, &[]),
        SaltPosition::Prefix => (salt, password),
        SaltPosition::Suffix => (password, salt),
    };
    fn of<D: sha2::Digest>(first: &[u8], second: &[u8]) -> Vec<u8> {
        D::new()
            .chain_update(first)
            .chain_update(second)
            .finalize()
            .to_vec()
    }
    match digest {
        Digest::Md5 => of::<md5::Md5>(first, second),
        Digest::Sha => of::<sha1::Sha1>(first, second),
        Digest::Sha256 => of::<sha2::Sha256>(first, second),
        Digest::Sha512 => of::<sha2::Sha512>(first, second),
    }
}

fn derive(
    mac: Digest,
    password: &[u8],
    salt: &[u8],
    iterations: u32,
    dk_length: Option<usize>,
) -> Vec<u8> {
    let own = match mac {
        Digest::Md5 => 16,
        Digest::Sha => 20,
        Digest::Sha256 => 32,
        Digest::Sha512 => 64,
    };
    let mut key = vec![0; dk_length.unwrap_or(own)];
    match mac {
        Digest::Md5 => pbkdf2_hmac::<md5::Md5>(password, salt, iterations, &mut key),
        Digest::Sha => pbkdf2_hmac::<sha1::Sha1>(password, salt, iterations, &mut key),
        Digest::Sha256 => pbkdf2_hmac::<sha2::Sha256>(password, salt, iterations, &mut key),
        Digest::Sha512 => pbkdf2_hmac::<sha2::Sha512>(password, salt, iterations, &mut key),
    }
    key
}

/// Whether two values are the same, in a time that does not tell how far they agree.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    // Comparing digests hides the lengths as well.
    let (a, b) = (sha2::Sha256::digest(a), sha2::Sha256::digest(b));
    let differing = a.iter().zip(b.iter()).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(differing) == 0
}

fn equal_hex(computed: &[u8], stored: &str) -> bool {
    equal(
        hex(computed).as_bytes(),
        stored.to_ascii_lowercase().as_bytes(),
    )
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    bytes
        .iter()
        .flat_map(|byte| {
            [
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(hash: &str, salt: &str) -> Stored {
        Stored {
            hash: hash.to_owned(),
            salt: salt.to_owned(),
        }
    }

    fn kinds() -> Vec<PasswordHash> {
        let mut kinds = vec![
            PasswordHash::Plain,
            PasswordHash::Bcrypt { rounds: 4 },
            PasswordHash::Argon2,
        ];
        for digest in [Digest::Md5, Digest::Sha, Digest::Sha256, Digest::Sha512] {
            for position in [
                SaltPosition::Disable,
                SaltPosition::Prefix,
                SaltPosition::Suffix,
            ] {
                kinds.push(PasswordHash::Simple(digest, position));
            }
            for dk_length in [None, Some(20)] {
                kinds.push(PasswordHash::Pbkdf2 {
                    mac: digest,
                    iterations: 3,
                    dk_length,
                });
            }
        }
        kinds
    }

    #[test]
    fn mosquittos_own_notation_is_understood_where_pbkdf2_is() {
        let kind = PasswordHash::Pbkdf2 {
            mac: Digest::Sha512,
            iterations: 101,
            dk_length: Some(64),
        };
        // Made with Python's hashlib.
        let file = include_str!("../cli/import/testdata/mosquitto.passwd");
        let mut seen = 0;
        for (line, password) in file.lines().zip(["first", "second", "third"]) {
            let (_, hash) = line.split_once(':').unwrap();
            let stored = Stored {
                hash: hash.to_owned(),
                salt: String::new(),
            };
            let password = format!("{password}-password");
            assert!(verify(&kind, password.as_bytes(), &stored), "{line}");
            assert!(!verify(&kind, b"another", &stored), "{line}");
            seen += 1;
        }
        assert_eq!(seen, 3);
        for wrong in [
            "$7$",
            "$7$0$YQ==$YQ==",
            "$7$x$YQ==$YQ==",
            "$6$YQ==$",
            "$7$1$YQ==$YQ==$",
            "$5$a",
        ] {
            let stored = Stored {
                hash: wrong.to_owned(),
                salt: String::new(),
            };
            assert!(!verify(&kind, b"", &stored), "{wrong}");
        }
    }

    #[test]
    fn what_is_stored_is_verified_and_nothing_else() {
        for kind in kinds() {
            let own = store(&kind, b"secret", [7; 16]).unwrap();
            assert!(verify(&kind, b"secret", &own), "{kind:?}");
            assert!(!verify(&kind, b"Secret", &own), "{kind:?}");
            assert!(!verify(&kind, b"", &own), "{kind:?}");
            assert!(!verify(&kind, b"secret", &Stored::default()), "{kind:?}");
        }
    }

    #[test]
    fn known_hashes_are_verified() {
        let simple = PasswordHash::Simple;
        let (prefix, suffix) = (SaltPosition::Prefix, SaltPosition::Suffix);
        let pbkdf2 = |mac, iterations, len| PasswordHash::Pbkdf2 {
            mac,
            iterations,
            dk_length: Some(len),
        };
        let bcrypt = || PasswordHash::Bcrypt { rounds: 10 };
        let cases = [
            // By coreutils: `echo -n public | md5sum` and so on.
            (
                simple(Digest::Md5, SaltPosition::Disable),
                "public",
                "4c9184f37cff01bcdc32dc486ec36961",
                "",
            ),
            (
                simple(Digest::Sha, prefix),
                "public",
                "54625c8c5d22e86e9a3d2732bf48d0f43d343366",
                "salt",
            ),
            (
                simple(Digest::Sha256, suffix),
                "public",
                "F4A8615BE301FBAF6213DF33CFE5F22953AAFC0C31BEB8F2DAEF55B127444D27",
                "salt",
            ),
            (
                simple(Digest::Sha512, prefix),
                "public",
                "82112846414ba6fd95be5ac402188c3a7cf1a178485e937fded30f9e398c9409\
                 4d2d742a41dd0982febd36484be12f19d3cf9130fe2d903d61b5c7ae9a327185",
                "salt",
            ),
            // RFC 6070, second case; RFC 7914, section 11.
            (
                pbkdf2(Digest::Sha, 2, 20),
                "password",
                "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957",
                "salt",
            ),
            (
                pbkdf2(Digest::Sha256, 1, 64),
                "passwd",
                "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc\
                 49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783",
                "salt",
            ),
            // The test vectors of crypt_blowfish.
            (
                bcrypt(),
                "U*U",
                "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
                "",
            ),
            (
                bcrypt(),
                "U*U*",
                "$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK",
                "",
            ),
        ];
        for (kind, password, hash, salt) in cases {
            let own = stored(hash, salt);
            assert!(verify(&kind, password.as_bytes(), &own), "{kind:?}");
            assert!(!verify(&kind, b"other", &own), "{kind:?}");
        }
    }

    #[test]
    fn entries_of_ldap_are_verified() {
        for (value, good) in [
            ("pw1", true),
            ("pw2", false),
            ("{SSHA}I49l5DXy4dlFomTdAR2jEPVuPLRzYWx0c2FsdA==", true),
            (
                "{SSHA256}NjQopvzKIscFmLWUl+LX4utFEvFN8ZDv8Dv9m7OJm+NzYWx0c2FsdA==",
                true,
            ),
            ("{md5}bm/flW0EKJNU3PFhnij+dw==", true),
            ("{SSHA}AAAA", false),
            ("{SSHA}!", false),
            ("{NEW}pw1", false),
        ] {
            assert_eq!(verify_ldap(value, b"pw1"), good, "{value}");
        }
    }
}
