//! TLS of the connections: a client of rustls for each, with sessions shared by all or by none.
//!
//! Certificates are not judged: what is measured is the broker.
#![allow(clippy::disallowed_types)] // The store of sessions has a lock of its own, by rustls' design.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, NamedGroup,
    SignatureScheme, SupportedProtocolVersion,
};

use crate::cli::TlsVersionArg;
use crate::sys::Socket;

/// Tickets that are kept: more than handshakes are in flight.
const TICKETS_MAX: usize = 4096;
/// Bytes of a socket taken at once.
const WIRE_BYTES: usize = 32 * 1024;

/// What all connections begin with.
#[derive(Clone)]
pub(crate) struct TlsPlan {
    config: Arc<ClientConfig>,
    server: ServerName<'static>,
}

impl TlsPlan {
    /// Clients of these versions that ask for `server`, maybe with certificate and key of their own.
    pub(crate) fn new(
        server: &str,
        version: TlsVersionArg,
        resume: bool,
        own: Option<(&Path, &Path)>,
    ) -> Result<Self, String> {
        let provider = Arc::new(ring::default_provider());
        let versions: &[&SupportedProtocolVersion] = match version {
            TlsVersionArg::V12 => &[&rustls::version::TLS12],
            TlsVersionArg::V13 => &[&rustls::version::TLS13],
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting(provider)));
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let wrong = |file: &Path, error: String| format!("{}: {error}", file.display());
                let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate)
                    .map_err(|error| wrong(certificate, error.to_string()))?
                    .collect();
                let chain = chain.map_err(|error| wrong(certificate, error.to_string()))?;
                let secret = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| wrong(key, error.to_string()))?;
                builder
                    .with_client_auth_cert(chain, secret)
                    .map_err(|error| wrong(key, error.to_string()))?
            }
        };
        config.resumption = if resume {
            Resumption::store(Arc::new(Sessions::default()))
        } else {
            Resumption::disabled()
        };
        let server = ServerName::try_from(server.to_owned()).map_err(|error| error.to_string())?;
        Ok(Self {
            config: Arc::new(config),
            server,
        })
    }

    pub(crate) fn connection(&self) -> Result<ClientConnection, rustls::Error> {
        ClientConnection::new(Arc::clone(&self.config), self.server.clone())
    }

    pub(super) fn begin(&self) -> Result<Box<Tls>, rustls::Error> {
        Ok(Box::new(Tls {
            connection: self.connection()?,
            wire: Vec::new(),
        }))
    }
}

/// One connection's TLS.
pub(super) struct Tls {
    connection: ClientConnection,
    wire: Vec<u8>,
}

/// What was read.
pub(super) enum Came {
    /// So many bytes.
    Bytes(usize),
    /// Nothing is there now.
    Nothing,
    /// The broker closed.
    End,
}

impl Tls {
    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    pub(super) fn was_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Sends what TLS itself has to send.
    pub(super) fn flush(&mut self, socket: &Socket) -> io::Result<()> {
        self.wire.clear();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.wire)?;
        }
        if !self.wire.is_empty() && socket.write(&self.wire)? < self.wire.len() {
            return Err(io::Error::new(
                io::ErrorKind::WriteZero,
                "socket buffer full",
            ));
        }
        Ok(())
    }

    pub(super) fn write(&mut self, plain: &[u8], socket: &Socket) -> io::Result<()> {
        self.connection.writer().write_all(plain)?;
        self.flush(socket)
    }

    /// Opens what the socket has.
    pub(super) fn read(&mut self, into: &mut [u8], socket: &Socket) -> io::Result<Came> {
        loop {
            match self.connection.reader().read(into) {
                Ok(0) => return Ok(Came::End),
                Ok(count) => return Ok(Came::Bytes(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            let mut wire = [0; WIRE_BYTES];
            let came = match socket.read(&mut wire) {
                Ok(0) => return Ok(Came::End),
                Ok(came) => came,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Came::Nothing);
                }
                Err(error) => return Err(error),
            };
            let mut rest = &wire[..came];
            while !rest.is_empty() {
                self.connection.read_tls(&mut rest)?;
                let processed = self.connection.process_new_packets();
                // An alert of ours, if it was an error.
                self.flush(socket)?;
                processed.map_err(|error| io::Error::other(format!("tls: {error}")))?;
            }
        }
    }
}

/// Takes every certificate.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Sessions that any connection may resume: there is one server.
#[derive(Default)]
struct Sessions(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    tls13: VecDeque<Tls13ClientSessionValue>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

impl Sessions {
    fn with<T>(&self, look: impl FnOnce(&mut Kept) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.with(|kept| kept.group = Some(group));
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.with(|kept| kept.group)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.with(|kept| kept.tls12 = Some(value));
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.with(|kept| kept.tls12.clone())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.with(|kept| kept.tls12 = None);
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.with(|kept| {
            kept.tls13.push_back(value);
            if kept.tls13.len() > TICKETS_MAX {
                kept.tls13.pop_front();
            }
        });
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.with(|kept| kept.tls13.pop_front())
    }
}
