//! One TLS listener as the handshake threads see it: rustls' configuration made from settings and files,
//! and made anew while the broker runs.
//!
//! A reload reads everything first and then puts the new in the place of the old: a file that is wrong
//! leaves the listener as it was. Sessions stay resumable over a reload unless what is asked of
//! clients' certificates has changed: resuming does not check a certificate again.
#![allow(clippy::disallowed_types)] // Held by handshake threads for a moment, never by a core.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, ServerConfig, ServerSessionMemoryCache,
    StoresServerSessions, WebPkiClientVerifier,
};
use rustls::{
    CipherSuite, DigitallySignedStruct, DistinguishedName, SignatureScheme,
    SupportedProtocolVersion,
};

use super::tls_certificates::{Certificates, Resolver};
use super::tls_files::{self, NamedFile};
use super::tls_staple;
use crate::base::ocsp::CertId;
use crate::config::{SessionTickets, TlsCipher, TlsListenerSettings, TlsVerify, TlsVersion};
use crate::gate::tls::Stapling;

/// Tickets sent after a TLS 1.3 handshake: a device that comes back uses one, and gets another then.
const TLS13_TICKETS: usize = 1;

/// A TLS listener.
#[derive(Debug)]
pub struct TlsListener {
    /// Its id, such as `ssl:default`.
    pub name: String,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    settings: TlsListenerSettings,
    threads: usize,
    live: Mutex<Live>,
}

/// What the next handshake uses.
#[derive(Debug)]
struct Live {
    /// One a handshake thread.
    configs: Vec<ThreadConfig>,
    clients: Clients,
    resumption: Resumption,
    certificates: Arc<Certificates>,
    /// What OCSP responses are fetched for.
    stapling: Option<Stapling>,
    /// What was fetched for it.
    staple: Option<Vec<u8>>,
}

/// rustls' configuration for one handshake thread.
#[derive(Clone, Debug)]
pub(super) struct ThreadConfig {
    pub(super) config: Arc<ServerConfig>,
    pub(super) resolver: Arc<Resolver>,
}

/// Where sessions to resume are: the same over reloads.
#[derive(Clone)]
struct Resumption {
    storage: Arc<dyn StoresServerSessions>,
    ticketer: Option<Arc<dyn ProducesTickets>>,
}

impl std::fmt::Debug for Resumption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resumption")
    }
}

/// What is asked of clients' certificates: the bytes of the files.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Clients {
    cas: Vec<u8>,
    revocations: Vec<u8>,
}

impl TlsListener {
    /// Reads a listener's files, for so many handshake threads. Also says what an operator should
    /// know.
    ///
    /// # Errors
    /// A sentence that names the setting and the file.
    pub fn load(
        name: String,
        settings: &TlsListenerSettings,
        threads: usize,
    ) -> Result<(Self, Vec<String>), String> {
        let (live, warnings) = make(&name, settings, threads, None)?;
        let listener = Self {
            name,
            handshake_timeout: settings.options.handshake_timeout,
            settings: settings.clone(),
            threads,
            live: Mutex::new(live),
        };
        Ok((listener, warnings))
    }

    /// Reads the files again; handshakes that begin from now on use them.
    ///
    /// # Errors
    /// A sentence that names the setting and the file; the listener stays as it was.
    pub fn reload(&self) -> Result<Vec<String>, String> {
        let (before, fetched) = {
            let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
            let fetched = (live.stapling.clone(), live.staple.clone());
            ((live.clients.clone(), live.resumption.clone()), fetched)
        };
        let (mut live, warnings) = make(&self.name, &self.settings, self.threads, Some(before))?;
        if let (true, (_, Some(response))) = (live.stapling == fetched.0, fetched) {
            live.staple(Some(response));
        }
        *self.live.lock().unwrap_or_else(PoisonError::into_inner) = live;
        Ok(warnings)
    }

    /// What OCSP responses are to be fetched for.
    pub(super) fn stapling(&self) -> Option<Stapling> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.stapling.clone()
    }

    /// Handshakes that begin from now on send this response, or none. Says whether it is for the
    /// certificate that is in use.
    pub(super) fn staple(&self, certificate: &CertId, response: Option<Vec<u8>>) -> bool {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = live.stapling.as_ref().map(|stapling| &stapling.certificate);
        let fits = wanted == Some(certificate);
        if fits {
            live.staple(response);
        }
        fits
    }

    /// What a handshake that begins now uses on that thread.
    pub(super) fn config(&self, thread: usize) -> Option<ThreadConfig> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.configs.get(thread).cloned()
    }
}

impl Live {
    /// Puts a response, or none, in the place of the one there is.
    fn staple(&mut self, response: Option<Vec<u8>>) {
        self.certificates = Arc::new(self.certificates.stapled(response.clone()));
        self.staple = response;
        for thread in &mut self.configs {
            *thread = ThreadConfig::new(&thread.config, &self.certificates);
        }
    }
}

impl ThreadConfig {
    fn new(config: &ServerConfig, certificates: &Arc<Certificates>) -> Self {
        let resolver = Arc::new(Resolver::new(Arc::clone(certificates)));
        let mut config = config.clone();
        config.cert_resolver = Arc::clone(&resolver) as _;
        Self {
            config: Arc::new(config),
            resolver,
        }
    }
}

fn make(
    name: &str,
    settings: &TlsListenerSettings,
    threads: usize,
    before: Option<(Clients, Resumption)>,
) -> Result<(Live, Vec<String>), String> {
    let options = &settings.options;
    let prefix = &settings.prefix;
    let provider = Arc::new(provider(settings));
    let (certificates, warnings) = certificates(settings, &provider)?;
    let stapling = tls_staple::stapling(name, settings, &certificates.default)?;
    let (verifier, clients) = client_verifier(settings, &provider)?;
    let resumption = match before {
        Some((same, resumption)) if same == clients => resumption,
        _ => resumption(settings)?,
    };
    let versions: Vec<&SupportedProtocolVersion> = options
        .versions
        .iter()
        .map(|version| match version {
            TlsVersion::V12 => &rustls::version::TLS12,
            TlsVersion::V13 => &rustls::version::TLS13,
        })
        .collect();
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|error| {
            format!("keys `{prefix}.versions` and `{prefix}.ciphers` do not fit: {error}")
        })?;
    let certificates = Arc::new(certificates);
    let first = Arc::new(Resolver::new(Arc::clone(&certificates)));
    let mut config = builder
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(first);
    config.ignore_client_order = options.honor_cipher_order;
    config.session_storage = Arc::clone(&resumption.storage);
    config.send_tls13_tickets = 0;
    if let Some(ticketer) = &resumption.ticketer {
        config.ticketer = Arc::clone(ticketer);
        config.send_tls13_tickets = TLS13_TICKETS;
    }
    let configs = (0..threads)
        .map(|_| ThreadConfig::new(&config, &certificates))
        .collect();
    let live = Live {
        configs,
        clients,
        resumption,
        certificates,
        stapling,
        staple: None,
    };
    Ok((live, warnings))
}

/// rustls' functions of *ring*, with the cipher suites that the listener names.
fn provider(settings: &TlsListenerSettings) -> CryptoProvider {
    let mut provider = ring::default_provider();
    if let Some(wanted) = &settings.options.ciphers {
        let all = std::mem::take(&mut provider.cipher_suites);
        provider.cipher_suites = wanted
            .iter()
            .filter_map(|cipher| all.iter().find(|one| one.suite() == suite_of(*cipher)))
            .copied()
            .collect();
    }
    provider
}

fn suite_of(cipher: TlsCipher) -> CipherSuite {
    match cipher {
        TlsCipher::Tls13Aes256 => CipherSuite::TLS13_AES_256_GCM_SHA384,
        TlsCipher::Tls13Aes128 => CipherSuite::TLS13_AES_128_GCM_SHA256,
        TlsCipher::Tls13Chacha20 => CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        TlsCipher::EcdsaAes256 => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        TlsCipher::EcdsaAes128 => CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        TlsCipher::EcdsaChacha20 => CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        TlsCipher::RsaAes256 => CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        TlsCipher::RsaAes128 => CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        TlsCipher::RsaChacha20 => CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

fn certificates(
    settings: &TlsListenerSettings,
    provider: &CryptoProvider,
) -> Result<(Certificates, Vec<String>), String> {
    let (prefix, options) = (&settings.prefix, &settings.options);
    let default = tls_files::identity(
        &NamedFile::required(prefix, "certfile", options.certfile.as_ref())?,
        &NamedFile::required(prefix, "keyfile", options.keyfile.as_ref())?,
        NamedFile::optional(
            prefix,
            "ocsp_staple_file",
            options.ocsp_staple_file.as_ref(),
        )
        .as_ref(),
        provider,
    )?;
    let mut warnings = default.warnings;
    let mut named = Vec::new();
    for (prefix, options) in &settings.sni {
        let identity = tls_files::identity(
            &NamedFile::required(prefix, "certfile", options.certfile.as_ref())?,
            &NamedFile::required(prefix, "keyfile", options.keyfile.as_ref())?,
            NamedFile::optional(
                prefix,
                "ocsp_staple_file",
                options.ocsp_staple_file.as_ref(),
            )
            .as_ref(),
            provider,
        )?;
        warnings.extend(identity.warnings);
        let names = match &options.hostname {
            Some(names) => names
                .split(',')
                .map(|name| name.trim().to_ascii_lowercase())
                .collect(),
            None => identity.names,
        };
        if names.is_empty() {
            return Err(format!(
                "key `{prefix}.hostname`: the certificate names no server, so this must"
            ));
        }
        named.extend(
            names
                .into_iter()
                .map(|name| (name, Arc::clone(&identity.key))),
        );
    }
    let default_names = default.names.into_iter();
    named.extend(default_names.map(|name| (name, Arc::clone(&default.key))));
    // Names in full come before those with a star, whatever the order in which they were given.
    named.sort_by_key(|(name, _)| name.starts_with("*."));
    let certificates = Certificates {
        default: default.key,
        named,
    };
    Ok((certificates, warnings))
}

fn client_verifier(
    settings: &TlsListenerSettings,
    provider: &Arc<CryptoProvider>,
) -> Result<(Arc<dyn ClientCertVerifier>, Clients), String> {
    let (prefix, options) = (&settings.prefix, &settings.options);
    if options.verify == TlsVerify::None {
        return Ok((WebPkiClientVerifier::no_client_auth(), Clients::default()));
    }
    let file = NamedFile::required(prefix, "cacertfile", options.cacertfile.as_ref())?;
    let mut clients = Clients {
        cas: file.bytes()?,
        revocations: Vec::new(),
    };
    let roots = tls_files::roots(&file, &clients.cas)?;
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    if !options.fail_if_no_peer_cert {
        builder = builder.allow_unauthenticated();
    }
    let mut lists = None;
    if options.enable_crl_check {
        let file = NamedFile::required(prefix, "crl_file", options.crl_file.as_ref())?;
        clients.revocations = file.bytes()?;
        builder = builder
            .with_crls(tls_files::revocations(&file, &clients.revocations)?)
            .only_check_end_entity_revocation()
            .enforce_revocation_expiration();
        lists = Some(file);
    }
    let verifier = builder.build().map_err(|error| match &lists {
        Some(lists) => lists.wrong(error),
        None => file.wrong(error),
    })?;
    let verifier = Arc::new(DepthLimited {
        verifier,
        depth: usize::from(options.depth),
    });
    Ok((verifier, clients))
}

fn resumption(settings: &TlsListenerSettings) -> Result<Resumption, String> {
    let options = &settings.options;
    if !options.reuse_sessions {
        return Ok(Resumption {
            storage: Arc::new(NoServerSessionStorage {}),
            ticketer: None,
        });
    }
    let ticketer = match options.session_tickets {
        SessionTickets::Disabled => None,
        SessionTickets::Stateless => Some(ring::Ticketer::new().map_err(|error| {
            format!("the system gives no random numbers for TLS tickets: {error}")
        })?),
    };
    Ok(Resumption {
        storage: ServerSessionMemoryCache::new(options.session_cache_size as usize),
        ticketer,
    })
}

/// A verifier that takes chains up to a length only.
#[derive(Debug)]
struct DepthLimited {
    verifier: Arc<dyn ClientCertVerifier>,
    depth: usize,
}

impl ClientCertVerifier for DepthLimited {
    fn offer_client_auth(&self) -> bool {
        self.verifier.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let within = intermediates.get(..self.depth).unwrap_or(intermediates);
        self.verifier.verify_client_cert(end_entity, within, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
