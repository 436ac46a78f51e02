//! Chains as users write them.

use super::backends::redis_cmd;
use super::*;
use crate::config::{BuiltInAuthn, Digest, PasswordHash, SaltPosition};

fn parse(json: &str) -> Result<Vec<AuthnProvider>, String> {
    AuthnProviders.parse(&Raw::Bare(json.to_owned()))
}

#[test]
fn a_chain_has_emqx_defaults() {
    let chain = parse(
        r#"[{"mechanism": "password_based", "backend": "built_in_database"},
            {"mechanism": "password_based", "backend": "redis", "server": "127.0.0.1:6379"},
            {"mechanism": "jwt", "enable": false,
             "verify_claims": [{"name": "sub", "value": "${username}"}]},
            {"mechanism": "scram", "backend": "built_in_database"}]"#,
    )
    .unwrap();
    assert!(
        matches!(&chain[0].kind, ProviderKind::BuiltIn(own) if own == &BuiltInAuthn::default())
    );
    let ProviderKind::Redis(redis) = &chain[1].kind else {
        panic!("not Redis");
    };
    assert_eq!(redis.cmd, redis_cmd());
    let ProviderKind::Jwt(jwt) = &chain[2].kind else {
        panic!("not JWT");
    };
    assert!(!chain[2].enable && jwt.verify_claims["sub"] == "${username}");
    assert_eq!(chain[3].kind.id(), "scram:built_in_database");
}

#[test]
fn password_hashes_are_read_in_both_notations() {
    for (json, want) in [
        (
            "\"salt,sha256\"",
            PasswordHash::Simple(Digest::Sha256, SaltPosition::Prefix),
        ),
        (
            "\"sha,salt\"",
            PasswordHash::Simple(Digest::Sha, SaltPosition::Suffix),
        ),
        (
            "\"md5\"",
            PasswordHash::Simple(Digest::Md5, SaltPosition::Disable),
        ),
        ("\"salt,bcrypt\"", PasswordHash::Bcrypt { rounds: 10 }),
        (
            "\"pbkdf2,sha256,1000,20\"",
            PasswordHash::Pbkdf2 {
                mac: Digest::Sha256,
                iterations: 1000,
                dk_length: Some(20),
            },
        ),
        (
            r#"{"name": "sha512", "salt_position": "disable"}"#,
            PasswordHash::Simple(Digest::Sha512, SaltPosition::Disable),
        ),
        (r#"{"name": "argon2"}"#, PasswordHash::Argon2),
    ] {
        let read: PasswordHash = serde_json::from_str(json).unwrap();
        assert_eq!(read, want, "{json}");
    }
}

#[test]
fn what_is_wrong_is_said_with_its_entry() {
    for (json, want) in [
        ("{}", "this is not a list of tables"),
        ("[1]", "entry 1: this is not a table"),
        (
            r#"[{"backend": "redis"}]"#,
            "entry 1: `mechanism` is missing",
        ),
        (
            r#"[{"mechanism": "password_based"}]"#,
            "entry 1: `backend` is missing",
        ),
        (
            r#"[{"mechanism": "jwt", "backend": "x"}]"#,
            "entry 1: there is no mechanism `jwt` with backend `x`",
        ),
        (
            r#"[{"mechanism": "jwt"}, {"mechanism": "jwt", "sercet": "x"}]"#,
            "entry 2: unknown field `sercet`",
        ),
        (
            r#"[{"mechanism": "password_based", "backend": "http"}]"#,
            "entry 1: missing field `url`",
        ),
        (
            r#"[{"mechanism": "password_based", "backend": "built_in_database",
                 "password_hash_algorithm": {"name": "crc"}}]"#,
            "entry 1: there is no password hash `crc`",
        ),
    ] {
        let said = parse(json).unwrap_err();
        assert!(said.starts_with(want), "{json}: {said}");
    }
}

#[test]
fn secrets_are_not_printed() {
    let chain = parse(r#"[{"mechanism": "jwt", "secret": "verysecret"}]"#).unwrap();
    assert!(!format!("{chain:?}").contains("verysecret"));
}
