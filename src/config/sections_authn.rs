//! What the configuration says of authentication.
//!
//! A chain is a list of tables, as EMQX 5 writes it: `[[authentication]]` with `mechanism`, `backend`
//! and what that backend needs. Its members are not settings of their own: the whole list is one
//! value, so that listener and management API take it in the same form. `docs/authentication.md`
//! shows each backend by an example.

use std::time::Duration;

use super::authn::sources::{AccessSource, AccessSourceList};
use super::authn::{AuthnProvider, AuthnProviders};
use super::kind::{Choice, Kind, Raw, choice, integer, span, unless};
use super::setting::{Change, Section, Setting, parses_to, section};
use super::values::Values;

section! {
    /// Who authenticates clients.
    pub struct GlobalAuthn at "" {
        /// The chain of those who are asked about a client, in order: the first that says allow or deny
        /// decides; if all ignore it, it is refused. `[]`: nobody, see `mqtt.allow_anonymous`. In a file
        /// a list of tables, `[[authentication]]`; elsewhere the same as JSON. See
        /// `docs/authentication.md`.
        authentication: Vec<AuthnProvider> = "[]", AuthnProviders, Restart;
    }
}

section! {
    /// Limits of authentication.
    pub struct AuthnSettings at "authentication_settings" {
        /// How long an answer about a client may take; then it is refused with 0x88 (3.x: 3).
        timeout: Duration = "10s", span(Duration::from_millis(100), Duration::from_secs(60)), Joining;

        /// Clients that may wait for an answer at once, on all cores together; the next are refused with
        /// 0x97 (3.x: 3).
        max_waiting: u32 = "4096", integer(1, 1 << 20), Joining;

        /// Threads that compute password hashes. `auto` is half the CPUs, at least 1 and at most 8.
        hash_threads: Option<u16> = "auto", unless(&["auto"], integer(1, 64)), Restart;

        /// Password hashes that may wait for such a thread; clients beyond it are refused with 0x97.
        hash_queue: u32 = "4096", integer(1, 1 << 20), Restart;
    }
}

section! {
    /// Sources of access rules that have to be asked.
    pub struct AccessSources at "authorization.sources" {
        /// Who is asked, in order, where the rules in memory say nothing: a list of tables with `type`
        /// (`http`, `redis`, `mysql`, `postgresql`, `mongodb`) and what that needs. See
        /// `docs/authentication.md`.
        remote: Vec<AccessSource> = "[]", AccessSourceList, Restart;
    }
}

/// Whether clients of a listener are authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnableAuthn {
    /// They are.
    Yes,
    /// Everybody enters.
    No,
    /// They are; who comes without a user name is refused at once.
    QuickDenyAnonymous,
}

/// The words of [`EnableAuthn`], which may also be given as a boolean.
pub(crate) struct EnableAuthnKind;

impl Kind for EnableAuthnKind {
    type Out = EnableAuthn;

    fn parse(&self, raw: &Raw) -> Result<EnableAuthn, String> {
        let word = match raw {
            Raw::Flag(true) => "true",
            Raw::Flag(false) => "false",
            Raw::Bare(text) | Raw::Text(text) => text,
            _ => "",
        };
        match word {
            "true" => Ok(EnableAuthn::Yes),
            "false" => Ok(EnableAuthn::No),
            "quick_deny_anonymous" => Ok(EnableAuthn::QuickDenyAnonymous),
            _ => Err(format!(
                "{raw} is none of true, false, quick_deny_anonymous"
            )),
        }
    }

    fn describe(&self) -> String {
        "one of true, false, quick_deny_anonymous".to_owned()
    }
}

/// A name taken from a client's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertName {
    /// The subject's common name.
    Cn,
    /// The subject's distinguished name.
    Dn,
    /// The certificate, DER in base64.
    Crt,
    /// The certificate, PEM.
    Pem,
    /// MD5 of the certificate.
    Md5,
}

impl CertName {
    /// EMQX's words.
    pub(crate) const KIND: Choice<Self> = choice(&[
        ("cn", Self::Cn),
        ("dn", Self::Dn),
        ("crt", Self::Crt),
        ("pem", Self::Pem),
        ("md5", Self::Md5),
    ]);
}
