//! Which certificate a client gets: by the name of the server it asks for, and by what it can verify.
#![allow(clippy::disallowed_types)] // Held by handshake threads for a moment, never by a core.

use std::sync::{Arc, Mutex, PoisonError};

use compact_str::CompactString;
use rustls::SignatureAlgorithm;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The first byte of cipher suites that are TLS 1.3's, which fit every key.
const TLS13_SUITES: u8 = 0x13;

/// The certificates of a listener.
#[derive(Debug)]
pub(super) struct Certificates {
    /// For clients that name no server, or an unknown one.
    pub(super) default: Arc<CertifiedKey>,
    /// Names in lower case, maybe with `*` as the first label, and their certificate.
    pub(super) named: Vec<(String, Arc<CertifiedKey>)>,
}

impl Certificates {
    fn choose(&self, hello: &ClientHello<'_>) -> Arc<CertifiedKey> {
        let Some(asked) = hello.server_name() else {
            return Arc::clone(&self.default);
        };
        let fitting = self
            .named
            .iter()
            .filter(|(name, _)| names_server(name, asked));
        let mut first = None;
        for (_, certified) in fitting {
            if is_usable(certified, hello) {
                return Arc::clone(certified);
            }
            first.get_or_insert(certified);
        }
        match first {
            Some(unusable) if !is_usable(&self.default, hello) => Arc::clone(unusable),
            _ => Arc::clone(&self.default),
        }
    }
}

/// Whether a name of a certificate is that of a server; `*` stands for one label.
fn names_server(name: &str, asked: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(domain) => asked
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(domain)),
        None => name.eq_ignore_ascii_case(asked),
    }
}

/// Whether the client can verify signatures of that key, and has a cipher suite for it.
fn is_usable(certified: &CertifiedKey, hello: &ClientHello<'_>) -> bool {
    let signs = certified
        .key
        .choose_scheme(hello.signature_schemes())
        .is_some();
    let word = match certified.key.algorithm() {
        SignatureAlgorithm::RSA => "_RSA_",
        _ => "_ECDSA_",
    };
    let fits = |suite: &rustls::CipherSuite| {
        u16::from(*suite).to_be_bytes().first() == Some(&TLS13_SUITES)
            || suite.as_str().is_some_and(|name| name.contains(word))
    };
    signs && hello.cipher_suites().iter().any(fits)
}

/// Resolves for one handshake thread, and remembers the name that the last client asked for: rustls'
/// connection without buffers does not tell it.
#[derive(Debug)]
pub(super) struct Resolver {
    certificates: Arc<Certificates>,
    asked: Mutex<Option<CompactString>>,
}

impl Resolver {
    pub(super) fn new(certificates: Arc<Certificates>) -> Self {
        Self {
            certificates,
            asked: Mutex::new(None),
        }
    }

    /// The name that was asked for since the last call.
    pub(super) fn take_asked(&self) -> Option<CompactString> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.take()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(CompactString::from);
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = name;
        Some(self.certificates.choose(&hello))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label() {
        assert!(names_server("mqtt.example.com", "MQTT.example.com"));
        assert!(names_server("*.example.com", "a.example.com"));
        assert!(!names_server("*.example.com", "example.com"));
        assert!(!names_server("*.example.com", "a.b.example.com"));
        assert!(!names_server("*.example.com", ".example.com"));
        assert!(!names_server("example.com", "a.example.com"));
    }
}
