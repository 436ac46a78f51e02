//! For tests of TLS: certificates, listeners that have them, and clients: a relay that speaks TLS for the
//! plain client, and the programs of OpenSSL.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::broker::Scratch;
use crate::peer::PATIENCE;

/// How long the relay sleeps when nothing moves.
const NAP: Duration = Duration::from_millis(1);

/// A CA, with the directory in which what it signs lies.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
    scratch: Scratch,
}

/// A certificate with its key, as files.
#[derive(Clone)]
pub struct Own {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What a certificate is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Server,
    Client,
    Expired,
}

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let scratch = Scratch::new();
        std::fs::write(scratch.path("ca.pem"), &pem).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            pem,
            scratch,
        }
    }

    /// The file of its certificate.
    pub fn file(&self) -> PathBuf {
        self.scratch.path("ca.pem")
    }

    pub fn sign(&self, name: &str, serial: u64, kind: Kind) -> Own {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![match kind {
            Kind::Server => ExtendedKeyUsagePurpose::ServerAuth,
            _ => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        if kind == Kind::Expired {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2001, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let own = Own {
            certificate: self.scratch.path(&format!("{name}-{serial}.pem")),
            key: self.scratch.path(&format!("{name}-{serial}.key")),
        };
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        std::fs::write(&own.certificate, certificate).unwrap();
        std::fs::write(&own.key, key.serialize_pem()).unwrap();
        own
    }

    /// The file of a revocation list.
    pub fn revoke(&self, serials: &[u64]) -> PathBuf {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.scratch.path("crl.pem");
        let pem = params.signed_by(&self.issuer).unwrap().pem().unwrap();
        std::fs::write(&path, pem).unwrap();
        path
    }

    /// A client of both versions that trusts this CA.
    pub fn client(&self, own: Option<&Own>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = CertificateDer::from_pem_file(&own.certificate).unwrap();
                let key = PrivateKeyDer::from_pem_file(&own.key).unwrap();
                builder.with_client_auth_cert(vec![chain], key).unwrap()
            }
        })
    }
}

/// `--set` for each setting.
pub fn set(settings: &[(&str, String)]) -> Vec<String> {
    let one = |(key, value): &(&str, String)| ["--set".to_owned(), format!("{key}={value}")];
    settings.iter().flat_map(one).collect()
}

/// Settings of `ssl:default` with this certificate.
pub fn server(own: &Own) -> Vec<(&'static str, String)> {
    vec![
        (
            "listeners.ssl.default.ssl_options.certfile",
            own.certificate.display().to_string(),
        ),
        (
            "listeners.ssl.default.ssl_options.keyfile",
            own.key.display().to_string(),
        ),
    ]
}

/// A place that plain clients connect to and that speaks TLS to the broker for them.
pub fn relay(broker: SocketAddr, config: &Arc<ClientConfig>, server: &str) -> SocketAddr {
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = door.local_addr().unwrap();
    let (config, server) = (Arc::clone(config), server.to_owned());
    thread::spawn(move || {
        for client in door.incoming().map_while(Result::ok) {
            let name = ServerName::try_from(server.clone()).unwrap();
            let connection = ClientConnection::new(Arc::clone(&config), name).unwrap();
            thread::spawn(move || {
                if let Ok(socket) = TcpStream::connect(broker) {
                    // An error ends both sides, which the client sees.
                    let _ = pump(&client, &socket, connection);
                    let _ = client.shutdown(Shutdown::Both);
                }
            });
        }
    });
    address
}

fn pump(
    mut client: &TcpStream,
    mut socket: &TcpStream,
    mut connection: ClientConnection,
) -> std::io::Result<()> {
    client.set_nonblocking(true)?;
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    connection.set_buffer_limit(None);
    let mut piece = vec![0; 64 * 1024];
    loop {
        let mut moved = false;
        while connection.wants_write() {
            match connection.write_tls(&mut socket) {
                Ok(_) => moved = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if let Some(count) = now(client.read(&mut piece))? {
            if count == 0 {
                connection.send_close_notify();
                while connection.wants_write() {
                    connection.write_tls(&mut socket)?;
                }
                return socket.shutdown(Shutdown::Both);
            }
            connection.writer().write_all(&piece[..count])?;
            moved = true;
        }
        if let Some(count) = now(connection.read_tls(&mut socket))? {
            moved = true;
            let processed = connection.process_new_packets();
            while let Some(count) = now(connection.reader().read(&mut piece))? {
                if count == 0 {
                    break;
                }
                write_all(client, &piece[..count])?;
            }
            processed.map_err(std::io::Error::other)?;
            if count == 0 {
                return Ok(());
            }
        }
        if !moved {
            thread::sleep(NAP);
        }
    }
}

fn now(read: std::io::Result<usize>) -> std::io::Result<Option<usize>> {
    match read {
        Ok(count) => Ok(Some(count)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_all(mut client: &TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match client.write(rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(NAP),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// One handshake: the server's certificate, or why there is none.
pub fn handshake(
    broker: SocketAddr,
    config: &Arc<ClientConfig>,
    server: &str,
) -> Result<Vec<u8>, String> {
    let name = ServerName::try_from(server.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut socket = TcpStream::connect(broker).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // In TLS 1.3 the client is done before the server has judged its certificate: a PINGREQ before
    // CONNECT makes the broker close, so an end without an alert means that it was let in.
    while connection.is_handshaking() {
        connection
            .complete_io(&mut socket)
            .map_err(|error| error.to_string())?;
    }
    let certificate = connection
        .peer_certificates()
        .map(|chain| chain[0].to_vec());
    let mut stream = rustls::Stream::new(&mut connection, &mut socket);
    let mut rest = Vec::new();
    let ended = stream
        .write_all(b"\xc0\0")
        .and_then(|()| stream.read_to_end(&mut rest).map(drop));
    match ended {
        Err(error) if error.to_string().contains("alert") => Err(error.to_string()),
        _ => certificate.ok_or_else(|| "no certificate".to_owned()),
    }
}
