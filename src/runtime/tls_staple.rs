//! OCSP responses that are fetched while the broker runs: which certificate they are for, and their way into
//! handshakes. Connections that are open do not notice.

use std::sync::Arc;

use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use super::tls_certificates::Certificates;
use super::tls_files::NamedFile;
use crate::base::ocsp::CertId;
use crate::config::TlsListenerSettings;
use crate::gate::tls::Stapling;

/// id-ad-ocsp: what a certificate calls the address of its responder.
const RESPONDER: &str = "1.3.6.1.5.5.7.48.1";

/// What is to be fetched for a listener's own certificate; none unless a setting asks for it.
///
/// # Errors
/// A sentence that names the setting.
pub(super) fn stapling(
    listener: &str,
    settings: &TlsListenerSettings,
    certified: &CertifiedKey,
) -> Result<Option<Stapling>, String> {
    let ocsp = &settings.ocsp;
    if !ocsp.enable_ocsp_stapling {
        return Ok(None);
    }
    let prefix = format!("{}.ocsp", settings.prefix);
    let wrong = |name: &str, what: &str| format!("key `{prefix}.{name}`: {what}");
    let der = certified
        .cert
        .first()
        .map(AsRef::as_ref)
        .unwrap_or_default();
    let (_, certificate) = X509Certificate::from_der(der)
        .map_err(|error| wrong("enable_ocsp_stapling", &error.to_string()))?;
    let issuer = match NamedFile::optional(&prefix, "issuer_pem", ocsp.issuer_pem.as_ref()) {
        Some(file) => file.certificates(&file.bytes()?)?.into_iter().next(),
        None => certified.cert.get(1).cloned(),
    };
    let issuer = issuer.ok_or_else(|| {
        wrong(
            "issuer_pem",
            "it is needed where `certfile` holds one certificate only",
        )
    })?;
    let (_, issuer) = X509Certificate::from_der(issuer.as_ref())
        .map_err(|error| wrong("issuer_pem", &error.to_string()))?;
    if issuer.subject().as_raw() != certificate.issuer().as_raw() {
        return Err(wrong(
            "issuer_pem",
            "this is not the certificate of the CA that signed the listener's",
        ));
    }
    let responder_url = match &ocsp.responder_url {
        Some(url) => Some(url.clone()),
        None => named_responder(&certificate),
    };
    let responder_url = responder_url
        .filter(|url| url.starts_with("http://") || url.starts_with("https://"))
        .ok_or_else(|| {
            wrong(
                "responder_url",
                "it is needed, as http:// or https://, because the certificate names no responder",
            )
        })?;
    Ok(Some(Stapling {
        listener: listener.to_owned(),
        certificate: CertId::new(
            issuer.subject().as_raw(),
            issuer.public_key().subject_public_key.data.as_ref(),
            certificate.raw_serial(),
        ),
        responder_url,
        refresh_interval: ocsp.refresh_interval,
        timeout: ocsp.refresh_http_timeout,
    }))
}

/// The address of a responder in a certificate.
fn named_responder(certificate: &X509Certificate<'_>) -> Option<String> {
    let mut extensions = certificate.extensions().iter();
    let access = extensions.find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => Some(access),
        _ => None,
    })?;
    let mut places = access.accessdescs.iter();
    places.find_map(|place| match &place.access_location {
        GeneralName::URI(uri) if place.access_method.to_id_string() == RESPONDER => {
            Some((*uri).to_owned())
        }
        _ => None,
    })
}

impl Certificates {
    /// The same with that response for the listener's own certificate.
    pub(super) fn stapled(&self, response: Option<Vec<u8>>) -> Self {
        let default = Arc::new(CertifiedKey {
            ocsp: response,
            ..(*self.default).clone()
        });
        let named = self.named.iter().map(|(name, certified)| {
            let is_default = Arc::ptr_eq(certified, &self.default);
            let certified = if is_default { &default } else { certified };
            (name.clone(), Arc::clone(certified))
        });
        Self {
            named: named.collect(),
            default: Arc::clone(&default),
        }
    }
}
