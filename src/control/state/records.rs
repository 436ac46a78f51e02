//! The records that are kept. Their JSON is the file's format: fields may be added with a default, not
//! renamed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What someone may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Administrator,
    /// Look at everything.
    Viewer,
    /// Publish messages.
    Publisher,
}

/// A user of the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Argon2id, in PHC form.
    pub password_hash: String,
    /// What the user may do.
    pub role: Role,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// When the user was made, UNIX time in seconds.
    pub created_s: u64,
}

/// A key for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// The public half.
    pub key: String,
    /// SHA-256 of the secret half, in hexadecimal. The secret is 256 random bits, so nothing slower is
    /// needed to keep it.
    pub secret_sha256: String,
    /// What it may do.
    pub role: Role,
    /// Whether it is let in.
    pub enable: bool,
    /// UNIX time in seconds at which it ends; absent = never.
    #[serde(default)]
    pub expires_s: Option<u64>,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// When it was made, UNIX time in seconds.
    pub created_s: u64,
}

/// A client's user with a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptUser {
    /// The hash, in the form of its kind.
    pub hash: String,
    /// The salt, if the hash does not hold it.
    #[serde(default)]
    pub salt: String,
    /// No access rule holds for it.
    #[serde(default)]
    pub superuser: bool,
}

/// A client's user for SCRAM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptScramUser {
    /// The salt.
    pub salt: Vec<u8>,
    /// Rounds of PBKDF2.
    pub iterations: u32,
    /// The digest of the client's key.
    pub stored_key: Vec<u8>,
    /// With which the server proves itself.
    pub server_key: Vec<u8>,
    /// No access rule holds for it.
    #[serde(default)]
    pub superuser: bool,
}

/// What a ban looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BanKind {
    /// The client id.
    Clientid,
    /// The user name.
    Username,
    /// The address.
    Peerhost,
    /// A regular expression for the client id.
    ClientidRe,
    /// A regular expression for the user name.
    UsernameRe,
    /// A range of addresses, such as 10.0.0.0/8.
    PeerhostNet,
}

/// Someone who is not let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// What is looked at.
    pub kind: BanKind,
    /// Who.
    pub who: String,
    /// Who banned.
    #[serde(default)]
    pub by: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// From when on, UNIX time in seconds.
    pub at_s: u64,
    /// Until when, UNIX time in seconds; absent = for ever.
    #[serde(default)]
    pub until_s: Option<u64>,
}

/// Something that is wrong, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// Its name: there is one at a time of a name.
    pub name: String,
    /// What happened, for people.
    pub message: String,
    /// What happened, for programs.
    #[serde(default)]
    pub details: serde_json::Value,
    /// When it began, milliseconds of UNIX time.
    pub activated_ms: u64,
    /// When it ended, milliseconds of UNIX time; absent while it is active.
    #[serde(default)]
    pub deactivated_ms: Option<u64>,
}
