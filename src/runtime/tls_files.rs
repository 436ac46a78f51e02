//! Files of a TLS listener: certificates, keys, CAs, revocation lists, OCSP responses. An error names the
//! setting and the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The largest file that is read: a bundle of all public CAs takes a quarter of a megabyte, the
/// revocation list of a large plant some megabytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A certificate that ends so soon is worth a warning.
const EXPIRES_SOON_S: i64 = 14 * 24 * 3600;
/// What the head of a key file with a password holds, in its two forms.
const ENCRYPTED: [&str; 2] = ["ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"];

/// A file that a setting names.
pub(super) struct NamedFile<'a> {
    key: String,
    path: &'a Path,
}

impl<'a> NamedFile<'a> {
    /// The file of `prefix.name`.
    ///
    /// # Errors
    /// When the setting is not given.
    pub(super) fn required(
        prefix: &str,
        name: &str,
        path: Option<&'a PathBuf>,
    ) -> Result<Self, String> {
        match path {
            Some(path) => Ok(Self {
                key: format!("{prefix}.{name}"),
                path,
            }),
            None => Err(format!(
                "key `{prefix}.{name}`: a TLS listener needs this file, and none is named"
            )),
        }
    }

    /// Like [`Self::required`], for a file that may be absent.
    pub(super) fn optional(prefix: &str, name: &str, path: Option<&'a PathBuf>) -> Option<Self> {
        Self::required(prefix, name, path).ok()
    }

    /// An error about this file.
    pub(super) fn wrong(&self, what: impl std::fmt::Display) -> String {
        format!("key `{}`: {}: {what}", self.key, self.path.display())
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, String> {
        let length = std::fs::metadata(self.path).map_err(|error| self.wrong(error))?;
        if length.len() > FILE_BYTES_MAX {
            return Err(self.wrong(format_args!(
                "the file is larger than {FILE_BYTES_MAX} bytes"
            )));
        }
        std::fs::read(self.path).map_err(|error| self.wrong(error))
    }

    /// The certificates in PEM bytes of this file; at least one.
    pub(super) fn certificates(&self, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let read = read.map_err(|error| self.wrong(format_args!("not PEM: {error}")))?;
        if read.is_empty() {
            return Err(self.wrong("there is no certificate in the file (PEM is expected)"));
        }
        Ok(read)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, String> {
        let pem = self.bytes()?;
        PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
            let text = String::from_utf8_lossy(&pem);
            if ENCRYPTED.iter().any(|word| text.contains(word)) {
                self.wrong(
                    "the key is encrypted, which is not supported: store it without a password, by \
                     `openssl pkey -in KEY -out PLAIN`, readable to the broker alone",
                )
            } else {
                self.wrong(format_args!("there is no private key in the file: {error}"))
            }
        })
    }
}

/// A certificate with its key, and what an operator should know of it.
pub(super) struct Identity {
    pub(super) key: Arc<CertifiedKey>,
    /// Names of servers in the certificate, in lower case.
    pub(super) names: Vec<String>,
    pub(super) warnings: Vec<String>,
}

/// Reads certificate, key and OCSP response.
pub(super) fn identity(
    certificate: &NamedFile<'_>,
    key: &NamedFile<'_>,
    staple: Option<&NamedFile<'_>>,
    provider: &CryptoProvider,
) -> Result<Identity, String> {
    let chain = certificate.certificates(&certificate.bytes()?)?;
    let signing = provider
        .key_provider
        .load_private_key(key.private_key()?)
        .map_err(|error| {
            key.wrong(format_args!(
                "the key cannot be used: {error} (RSA of 2048 to 8192 bits, ECDSA P-256 or P-384, \
                 Ed25519)"
            ))
        })?;
    let mut certified = CertifiedKey::new(chain, signing);
    match certified.keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            return Err(key.wrong(format_args!(
                "the key does not belong to the first certificate in {}",
                certificate.path.display()
            )));
        }
        Err(rustls::Error::InconsistentKeys(_)) | Ok(()) => {}
        Err(error) => return Err(certificate.wrong(error)),
    }
    if let Some(staple) = staple {
        let response = staple.bytes()?;
        if response.first() != Some(&0x30) {
            return Err(staple.wrong("this is not an OCSP response in DER"));
        }
        certified.ocsp = Some(response);
    }
    let (names, warnings) = describe(certificate, &certified)?;
    Ok(Identity {
        key: Arc::new(certified),
        names,
        warnings,
    })
}

/// The names in the first certificate, and a warning when its time is over or soon will be.
fn describe(
    file: &NamedFile<'_>,
    certified: &CertifiedKey,
) -> Result<(Vec<String>, Vec<String>), String> {
    let der = certified
        .cert
        .first()
        .map(AsRef::as_ref)
        .unwrap_or_default();
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| file.wrong(error))?;
    let mut names: Vec<String> = Vec::new();
    if let Ok(Some(alternative)) = parsed.subject_alternative_name() {
        for name in &alternative.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push(name.to_ascii_lowercase());
            }
        }
    }
    if names.is_empty() {
        let common = parsed.subject().iter_common_name().next();
        names.extend(
            common
                .and_then(|name| name.as_str().ok())
                .map(str::to_ascii_lowercase),
        );
    }
    let now_s = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        });
    let validity = parsed.validity();
    let mut warnings = Vec::new();
    if now_s < validity.not_before.timestamp() {
        warnings.push(file.wrong(format_args!(
            "the certificate is not valid before {}",
            validity.not_before
        )));
    } else if now_s > validity.not_after.timestamp() {
        warnings.push(file.wrong(format_args!(
            "the certificate has expired on {}",
            validity.not_after
        )));
    } else if validity.not_after.timestamp() - now_s < EXPIRES_SOON_S {
        warnings.push(file.wrong(format_args!(
            "the certificate expires on {}",
            validity.not_after
        )));
    }
    Ok((names, warnings))
}

/// The CAs in PEM bytes of a file.
pub(super) fn roots(file: &NamedFile<'_>, pem: &[u8]) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in file.certificates(pem)? {
        store.add(certificate).map_err(|error| {
            file.wrong(format_args!(
                "a certificate cannot be a trusted CA: {error}"
            ))
        })?;
    }
    Ok(store)
}

/// The revocation lists in PEM bytes of a file; one list may also be DER.
pub(super) fn revocations(
    file: &NamedFile<'_>,
    bytes: &[u8],
) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    if bytes.first() == Some(&0x30) {
        return Ok(vec![CertificateRevocationListDer::from(bytes.to_vec())]);
    }
    let read: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(bytes).collect();
    let read = read.map_err(|error| file.wrong(format_args!("not PEM: {error}")))?;
    if read.is_empty() {
        return Err(file.wrong("there is no revocation list in the file (PEM is expected)"));
    }
    Ok(read)
}
