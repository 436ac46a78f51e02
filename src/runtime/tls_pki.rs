//! For tests: a CA, what it signs, and clients of rustls.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use crate::config::{OcspOptions, SniOptions, SslOptions, TlsListenerSettings};

/// A CA.
pub(super) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub(super) pem: String,
}

/// A certificate with its key, PEM.
pub(super) struct Signed {
    pub(super) pem: String,
    pub(super) key: String,
}

/// What a certificate is for.
pub(super) enum Purpose {
    Server,
    Client,
    /// A client's whose time is over.
    ExpiredClient,
}

impl Ca {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate for a name, with a serial number of its own.
    pub(super) fn sign(&self, name: &str, serial: u64, purpose: &Purpose) -> Signed {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![match purpose {
            Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
            _ => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        if matches!(purpose, Purpose::ExpiredClient) {
            params.not_before = date_time_ymd(2000, 1, 1);
            params.not_after = date_time_ymd(2001, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        Signed {
            pem: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// A revocation list with these serial numbers.
    pub(super) fn revoke(&self, serials: &[u64]) -> String {
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
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// A client that trusts this CA, maybe with a certificate of its own.
    pub(super) fn client(
        &self,
        own: Option<&Signed>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = CertificateDer::pem_slice_iter(own.pem.as_bytes())
                    .collect::<Result<Vec<_>, _>>()
                    .unwrap();
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        }
    }
}

/// A client's connection that asks for a server.
pub(super) fn connection(config: &Arc<ClientConfig>, server: &str) -> ClientConnection {
    let name = ServerName::try_from(server.to_owned()).unwrap();
    ClientConnection::new(Arc::clone(config), name).unwrap()
}

/// A directory that goes with its value.
pub(super) struct Files(PathBuf);

impl Files {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("millrace-tls-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Settings of a listener with this certificate.
    pub(super) fn settings(&self, own: &Signed) -> TlsListenerSettings {
        TlsListenerSettings {
            prefix: "listeners.ssl.default.ssl_options".to_owned(),
            options: SslOptions {
                certfile: Some(self.write("server.pem", &own.pem)),
                keyfile: Some(self.write("server.key", &own.key)),
                ..SslOptions::default()
            },
            ocsp: OcspOptions::default(),
            sni: Vec::new(),
        }
    }

    /// Settings of a further certificate.
    pub(super) fn sni(&self, name: &str, own: &Signed) -> (String, SniOptions) {
        let options = SniOptions {
            certfile: Some(self.write(&format!("{name}.pem"), &own.pem)),
            keyfile: Some(self.write(&format!("{name}.key"), &own.key)),
            ..SniOptions::default()
        };
        let prefix = format!("listeners.ssl.default.ssl_options.sni.{name}");
        (prefix, options)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
