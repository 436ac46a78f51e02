//! How the passwords of a backend are stored.

use serde::Deserialize;
use serde::de::{self, Deserializer};
use serde_json::Value;

/// Where the salt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SaltPosition {
    /// There is none.
    Disable,
    /// Before the password.
    #[default]
    Prefix,
    /// Behind it.
    Suffix,
}

/// A digest, and that of PBKDF2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Digest {
    /// MD5.
    Md5,
    /// SHA-1.
    #[serde(alias = "sha1")]
    Sha,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How passwords are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PasswordHash {
    /// As they are.
    Plain,
    /// A digest over password and salt, hexadecimal.
    Simple(Digest, SaltPosition),
    /// bcrypt; the cost is that of new hashes.
    Bcrypt {
        /// Cost, a power of two.
        rounds: u32,
    },
    /// PBKDF2, hexadecimal.
    Pbkdf2 {
        /// Of the HMAC.
        mac: Digest,
        /// Rounds.
        iterations: u32,
        /// Bytes of the hash; those of the digest if absent.
        dk_length: Option<usize>,
    },
    /// Argon2 in its own notation (`$argon2id$...`), which names its parameters.
    Argon2,
}

impl Default for PasswordHash {
    fn default() -> Self {
        Self::Simple(Digest::Sha256, SaltPosition::Prefix)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HashTable {
    name: String,
    salt_position: Option<SaltPosition>,
    salt_rounds: Option<u32>,
    mac_fun: Option<Digest>,
    iterations: Option<u32>,
    dk_length: Option<usize>,
}

impl<'de> Deserialize<'de> for PasswordHash {
    /// A table as in EMQX 5, or a text as in EMQX 4 (`salt,sha256`).
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let parsed = match value {
            Value::String(text) => Self::of_notation(&text),
            other => serde_json::from_value::<HashTable>(other)
                .map_err(|error| error.to_string())
                .and_then(|table| Self::of_table(&table)),
        };
        parsed.map_err(de::Error::custom)
    }
}

impl PasswordHash {
    fn of_table(table: &HashTable) -> Result<Self, String> {
        let position = table.salt_position.unwrap_or_default();
        Ok(match table.name.as_str() {
            "plain" => Self::Plain,
            "md5" => Self::Simple(Digest::Md5, position),
            "sha" | "sha1" => Self::Simple(Digest::Sha, position),
            "sha256" => Self::Simple(Digest::Sha256, position),
            "sha512" => Self::Simple(Digest::Sha512, position),
            "bcrypt" => match table.salt_rounds.unwrap_or(10) {
                rounds @ 4..=16 => Self::Bcrypt { rounds },
                _ => return Err("`salt_rounds` is not from 4 to 16".to_owned()),
            },
            "pbkdf2" => Self::pbkdf2(
                table.mac_fun.unwrap_or(Digest::Sha256),
                table.iterations.unwrap_or(4096),
                table.dk_length,
            )?,
            "argon2" | "argon2id" => Self::Argon2,
            name => return Err(format!("there is no password hash `{name}`")),
        })
    }

    fn pbkdf2(mac: Digest, iterations: u32, dk_length: Option<usize>) -> Result<Self, String> {
        if !(1..=10_000_000).contains(&iterations) {
            return Err("`iterations` is not from 1 to 10000000".to_owned());
        }
        if dk_length.is_some_and(|len| !(1..=256).contains(&len)) {
            return Err("`dk_length` is not from 1 to 256".to_owned());
        }
        Ok(Self::Pbkdf2 {
            mac,
            iterations,
            dk_length,
        })
    }

    /// EMQX 4's notation.
    fn of_notation(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(',').map(str::trim).collect();
        let digest = |name: &str| match name {
            "md5" => Some(Digest::Md5),
            "sha" | "sha1" => Some(Digest::Sha),
            "sha256" => Some(Digest::Sha256),
            "sha512" => Some(Digest::Sha512),
            _ => None,
        };
        let unknown = || format!("`{text}` is no password hash, such as \"salt,sha256\"");
        match *parts {
            ["plain"] => Ok(Self::Plain),
            ["bcrypt"] | ["salt", "bcrypt"] => Ok(Self::Bcrypt { rounds: 10 }),
            ["argon2"] => Ok(Self::Argon2),
            [name] => digest(name)
                .map(|digest| Self::Simple(digest, SaltPosition::Disable))
                .ok_or_else(unknown),
            ["salt", name] => digest(name)
                .map(|digest| Self::Simple(digest, SaltPosition::Prefix))
                .ok_or_else(unknown),
            [name, "salt"] => digest(name)
                .map(|digest| Self::Simple(digest, SaltPosition::Suffix))
                .ok_or_else(unknown),
            ["pbkdf2", mac, iterations, len] => {
                let number = |text: &str| text.parse::<u32>().map_err(|_| unknown());
                let mac = digest(mac).ok_or_else(unknown)?;
                let len = usize::try_from(number(len)?).map_err(|_| unknown())?;
                Self::pbkdf2(mac, number(iterations)?, Some(len))
            }
            _ => Err(unknown()),
        }
    }
}
