//! The settings of TLS: those of a listener, those of its further certificates, and those of the
//! threads that do the handshakes.
//!
//! Names and defaults are EMQX 5's, but for `session_tickets`, which is on: devices that come back all
//! at once are what resumption is for.

use std::path::PathBuf;
use std::time::Duration;

use super::kind::{FilePath, Flag, choice, integer, span, text, unless, words};
use super::listener::ListenerKind;
use super::sections::SECOND;
use super::setting::{Change, Section, Setting, parses_to, section};
use super::values::Values;

/// Responses hold for some days.
const REFRESH_INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);
/// A handshake that takes longer is no use to anyone.
const HANDSHAKE_TIMEOUT_MAX: Duration = Duration::from_secs(300);

section! {
    /// TLS of a listener. `wss` listeners have the same settings. Files are read at the start and again
    /// at SIGHUP; connections stay. See `docs/tls.md`.
    pub struct SslOptions at "listeners.ssl.<name>.ssl_options" {
        /// PEM file with the listener's certificate, followed by the intermediate CAs' certificates.
        certfile: Option<PathBuf> = "none", unless(&["none"], FilePath), Restart;

        /// PEM file with the certificate's private key (PKCS#8, PKCS#1 or SEC1; not encrypted: keys
        /// with a password are refused).
        keyfile: Option<PathBuf> = "none", unless(&["none"], FilePath), Restart;

        /// PEM file with the CAs that may have signed clients' certificates.
        cacertfile: Option<PathBuf> = "none", unless(&["none"], FilePath), Restart;

        /// `verify_peer` asks clients for a certificate and checks it.
        verify: TlsVerify = "verify_none", choice(TlsVerify::WORDS), Restart;

        /// With `verify_peer`: whether a client without a certificate is refused.
        fail_if_no_peer_cert: bool = "false", Flag, Restart;

        /// Versions of TLS that are spoken.
        versions: Vec<TlsVersion> = "tlsv1.3,tlsv1.2", words(TlsVersion::WORDS), Restart;

        /// Cipher suites by their OpenSSL names, the preferred ones first; `default` is all that there
        /// are: `TLS_AES_256_GCM_SHA384`, `TLS_AES_128_GCM_SHA256`, `TLS_CHACHA20_POLY1305_SHA256` of
        /// TLS 1.3; `ECDHE-ECDSA-AES256-GCM-SHA384`, `ECDHE-ECDSA-AES128-GCM-SHA256`,
        /// `ECDHE-ECDSA-CHACHA20-POLY1305` and the same three with `RSA` for `ECDSA` of TLS 1.2.
        ciphers: Option<Vec<TlsCipher>> = "default", unless(&["default"], words(TlsCipher::WORDS)), Restart;

        /// Whether the listener's order of cipher suites counts, and not the client's.
        honor_cipher_order: bool = "true", Flag, Restart;

        /// Certificates that may lie between a client's and its root CA's. (Never more than 6.)
        depth: u8 = "10", integer(0, 255), Restart;

        /// Whether clients may resume a session instead of doing a full handshake.
        reuse_sessions: bool = "true", Flag, Restart;

        /// Whether sessions are resumed by tickets that the client keeps. `stateless`: the broker keeps
        /// nothing. `stateless_with_cert` is the same: tickets carry the client's certificate always.
        /// `disabled`: TLS 1.2 clients resume by session ids, TLS 1.3 clients do not resume.
        session_tickets: SessionTickets = "stateless", choice(SessionTickets::WORDS), Restart;

        /// Sessions that the listener remembers by their ids.
        session_cache_size: u32 = "16384", integer(1, 1 << 20), Restart;

        /// How long a handshake may take.
        handshake_timeout: Duration = "15s", span(SECOND, HANDSHAKE_TIMEOUT_MAX), Restart;

        /// Whether clients' certificates are looked up in `crl_file`.
        enable_crl_check: bool = "false", Flag, Restart;

        /// PEM file with the revocation lists of the CAs that sign clients' certificates. A list whose
        /// time is over refuses its clients.
        crl_file: Option<PathBuf> = "none", unless(&["none"], FilePath), Restart;

        /// DER file with an OCSP response for the listener's certificate, which is sent to clients that
        /// ask for it.
        ocsp_staple_file: Option<PathBuf> = "none", unless(&["none"], FilePath), Restart;
    }
}

section! {
    /// OCSP responses that the broker fetches for the listener's certificate and sends to clients that ask
    /// for one (stapling). `wss` listeners have the same settings. See `docs/tls.md`.
    pub struct OcspOptions at "listeners.ssl.<name>.ssl_options.ocsp" {
        /// Whether they are fetched.
        enable_ocsp_stapling: bool = "false", Flag, Restart;

        /// Whom to ask. Without it, the one that the certificate names (authority information access).
        responder_url: Option<String> = "none", unless(&["none"], text(2048)), Restart;

        /// PEM file with the certificate of the CA that signed the listener's. Without it, the second
        /// certificate in `certfile`.
        issuer_pem: Option<PathBuf> = "none", unless(&["none"], FilePath), Restart;

        /// How long after a response the next one is fetched.
        refresh_interval: Duration = "5m", span(SECOND, REFRESH_INTERVAL_MAX), Restart;

        /// How long the responder may take.
        refresh_http_timeout: Duration = "15s", span(SECOND, HANDSHAKE_TIMEOUT_MAX), Restart;
    }
}

section! {
    /// A further certificate of a TLS listener, for clients that name one of its servers (SNI). Clients
    /// that name none, or another, get the listener's `certfile`. `wss` listeners have the same
    /// settings.
    pub struct SniOptions at "listeners.ssl.<name>.ssl_options.sni.<name>" {
        /// Names of servers, such as `mqtt.example.com` or `*.example.com`; `auto` takes those in the
        /// certificate.
        hostname: Option<String> = "auto", unless(&["auto"], text(4096)), Restart;

        /// PEM file with the certificate, followed by the intermediate CAs' certificates.
        certfile: Option<PathBuf> = "none", unless(&["none"], FilePath), Restart;

        /// PEM file with the certificate's private key.
        keyfile: Option<PathBuf> = "none", unless(&["none"], FilePath), Restart;

        /// DER file with an OCSP response for the certificate.
        ocsp_staple_file: Option<PathBuf> = "none", unless(&["none"], FilePath), Restart;
    }
}

section! {
    /// Threads that do TLS handshakes, so that no core ever does.
    pub struct Tls at "tls" {
        /// How many. `auto` is 1 with up to 8 cores, else 2.
        handshake_threads: Option<u16> = "auto", unless(&["auto"], integer(1, 16)), Restart;

        /// Connections that may wait for each of these threads. Further ones are closed and counted.
        handshake_queue: u32 = "1024", integer(1, 65536), Restart;

        /// Handshakes that each of these threads has in work at once. When so many are, one that has
        /// taken 2s makes room for those that wait.
        max_handshakes: u32 = "4096", integer(1, 65536), Restart;
    }
}

/// What a TLS listener has.
#[derive(Debug, Clone, PartialEq)]
pub struct TlsListenerSettings {
    /// The prefix of the settings' names, for messages.
    pub prefix: String,
    /// Its settings.
    pub options: SslOptions,
    /// Its OCSP responses.
    pub ocsp: OcspOptions,
    /// Further certificates, with the prefix of their settings' names.
    pub sni: Vec<(String, SniOptions)>,
}

impl TlsListenerSettings {
    /// Whether nobody gets in without a certificate.
    pub fn requires_certificate(&self) -> bool {
        self.options.verify == TlsVerify::Peer && self.options.fail_if_no_peer_cert
    }

    /// Those of a listener, `kind` being `ssl` or `wss`.
    pub(crate) fn read(values: &Values, kind: ListenerKind, name: &str) -> Self {
        let prefix = format!("listeners.{}.{name}.ssl_options", kind.name());
        let sni_prefix = format!("{prefix}.sni");
        let mut names: Vec<&str> = values
            .below(&sni_prefix)
            .into_iter()
            .filter_map(|(key, _)| key.split_once('.').map(|(name, _)| name))
            .collect();
        names.dedup();
        let sni = names
            .into_iter()
            .map(|name| {
                let prefix = format!("{sni_prefix}.{name}");
                let options = SniOptions::read(values, &prefix);
                (prefix, options)
            })
            .collect();
        Self {
            options: SslOptions::read(values, &prefix),
            ocsp: OcspOptions::read(values, &format!("{prefix}.ocsp")),
            sni,
            prefix,
        }
    }
}

/// The same declarations for listeners of kind `wss`.
pub(crate) const WSS_OPTIONS: Section = Section {
    prefix: "listeners.wss.<name>.ssl_options",
    doc: "TLS of a `wss` listener; see `listeners.ssl.<name>.ssl_options`.\n",
    settings: SslOptions::SECTION.settings,
};

/// The same declarations for listeners of kind `wss`.
pub(crate) const WSS_OCSP_OPTIONS: Section = Section {
    prefix: "listeners.wss.<name>.ssl_options.ocsp",
    doc: "OCSP responses of a `wss` listener; see `listeners.ssl.<name>.ssl_options.ocsp`.\n",
    settings: OcspOptions::SECTION.settings,
};

/// The same declarations for listeners of kind `wss`.
pub(crate) const WSS_SNI_OPTIONS: Section = Section {
    prefix: "listeners.wss.<name>.ssl_options.sni.<name>",
    doc: "A further certificate of a `wss` listener; see `listeners.ssl.<name>.ssl_options.sni.<name>`.\n",
    settings: SniOptions::SECTION.settings,
};

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsVerify {
    /// They are not.
    None,
    /// They are, and it is checked.
    Peer,
}

impl TlsVerify {
    const WORDS: &'static [(&'static str, Self)] =
        &[("verify_none", Self::None), ("verify_peer", Self::Peer)];
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// TLS 1.2.
    V12,
    /// TLS 1.3.
    V13,
}

impl TlsVersion {
    const WORDS: &'static [(&'static str, Self)] =
        &[("tlsv1.3", Self::V13), ("tlsv1.2", Self::V12)];
}

/// A cipher suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsCipher {
    /// TLS 1.3, AES-256-GCM.
    Tls13Aes256,
    /// TLS 1.3, AES-128-GCM.
    Tls13Aes128,
    /// TLS 1.3, ChaCha20-Poly1305.
    Tls13Chacha20,
    /// TLS 1.2, ECDSA, AES-256-GCM.
    EcdsaAes256,
    /// TLS 1.2, ECDSA, AES-128-GCM.
    EcdsaAes128,
    /// TLS 1.2, ECDSA, ChaCha20-Poly1305.
    EcdsaChacha20,
    /// TLS 1.2, RSA, AES-256-GCM.
    RsaAes256,
    /// TLS 1.2, RSA, AES-128-GCM.
    RsaAes128,
    /// TLS 1.2, RSA, ChaCha20-Poly1305.
    RsaChacha20,
}

impl TlsCipher {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("TLS_AES_256_GCM_SHA384", Self::Tls13Aes256),
        ("TLS_AES_128_GCM_SHA256", Self::Tls13Aes128),
        ("TLS_CHACHA20_POLY1305_SHA256", Self::Tls13Chacha20),
        ("ECDHE-ECDSA-AES256-GCM-SHA384", Self::EcdsaAes256),
        ("ECDHE-ECDSA-AES128-GCM-SHA256", Self::EcdsaAes128),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", Self::EcdsaChacha20),
        ("ECDHE-RSA-AES256-GCM-SHA384", Self::RsaAes256),
        ("ECDHE-RSA-AES128-GCM-SHA256", Self::RsaAes128),
        ("ECDHE-RSA-CHACHA20-POLY1305", Self::RsaChacha20),
    ];
}

/// How sessions are resumed by tickets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionTickets {
    /// Not at all.
    Disabled,
    /// The client keeps the session, sealed.
    Stateless,
}

impl SessionTickets {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("stateless", Self::Stateless),
        ("stateless_with_cert", Self::Stateless),
        ("disabled", Self::Disabled),
    ];
}

#[cfg(test)]
mod tests {
    use crate::config::kind::Raw;
    use crate::config::values::Origin;

    use super::*;

    fn values(given: &[(&str, &str)]) -> Values {
        let mut values = Values::default();
        for (key, value) in given {
            let raw = Raw::Bare((*value).to_owned());
            values.lay(key, raw, Origin::Set).unwrap();
        }
        values
    }

    #[test]
    fn a_listener_has_its_options_and_its_further_certificates() {
        for kind in [ListenerKind::Ssl, ListenerKind::Wss] {
            let below = |key: &str| format!("listeners.{}.default.ssl_options.{key}", kind.name());
            let given = [
                (below("certfile"), "/a.pem"),
                (below("versions"), "tlsv1.2"),
                (
                    below("ciphers"),
                    "ECDHE-RSA-AES128-GCM-SHA256, TLS_AES_128_GCM_SHA256",
                ),
                (below("sni.one.certfile"), "/one.pem"),
                (below("sni.one.keyfile"), "/one.key"),
                (below("sni.two.hostname"), "*.two.example,two.example"),
            ];
            let given: Vec<(&str, &str)> = given.iter().map(|(k, v)| (k.as_str(), *v)).collect();
            let read = TlsListenerSettings::read(&values(&given), kind, "default");
            assert_eq!(read.options.certfile, Some("/a.pem".into()));
            assert_eq!(read.options.versions, [TlsVersion::V12]);
            assert_eq!(
                read.options.ciphers,
                Some(vec![TlsCipher::RsaAes128, TlsCipher::Tls13Aes128])
            );
            let names: Vec<&str> = read.sni.iter().map(|(p, _)| &p[p.len() - 3..]).collect();
            assert_eq!(names, ["one", "two"]);
            assert_eq!(read.sni[0].1.keyfile, Some("/one.key".into()));
            assert_eq!(
                read.sni[1].1.hostname.as_deref(),
                Some("*.two.example,two.example")
            );
        }
    }

    #[test]
    fn defaults_are_those_of_emqx_with_tickets() {
        let read = TlsListenerSettings::read(&values(&[]), ListenerKind::Ssl, "default");
        let options = read.options;
        assert_eq!(options.verify, TlsVerify::None);
        assert_eq!(options.versions, [TlsVersion::V13, TlsVersion::V12]);
        assert_eq!((options.depth, options.reuse_sessions), (10, true));
        assert_eq!(options.handshake_timeout, Duration::from_secs(15));
        assert_eq!(options.session_tickets, SessionTickets::Stateless);
        assert!(read.sni.is_empty() && options.ciphers.is_none());
    }
}
