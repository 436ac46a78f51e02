//! What the broker keeps of a client's certificate: the names it needs, and not the certificate.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::base::envelope::PeerNames;
use crate::config::PeerCertAs;

/// Characters of base64 in a line of a PEM file.
const PEM_LINE: usize = 64;

/// Which names are wanted besides the common name and the subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamesWanted {
    /// What becomes the user name.
    pub username: Option<PeerCertAs>,
    /// What becomes the client id.
    pub client_id: Option<PeerCertAs>,
}

/// The names in a certificate, DER; none when it cannot be read. (rustls has verified it, so it can.)
pub fn names_of(der: &[u8], wanted: NamesWanted) -> Option<PeerNames> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    let common_name = common_name(subject);
    let subject = rfc4514(subject);
    let named = |kind| match kind {
        PeerCertAs::CommonName => common_name.clone(),
        PeerCertAs::Subject => Some(subject.clone()),
        PeerCertAs::Der => Some(STANDARD.encode(der)),
        PeerCertAs::Pem => Some(pem(der)),
        PeerCertAs::Md5 => Some(hexadecimal(&Md5::digest(der))),
    };
    let username = wanted.username.and_then(named).map(String::into_boxed_str);
    let client_id = wanted.client_id.and_then(named).map(String::into_boxed_str);
    Some(PeerNames {
        common_name: common_name.map(String::into_boxed_str),
        subject: Some(subject.into_boxed_str()),
        username,
        client_id,
    })
}

fn common_name(subject: &X509Name<'_>) -> Option<String> {
    let name = subject.iter_common_name().next()?;
    name.as_str().ok().map(str::to_owned)
}

/// RFC 4514: relative names from the last to the first, values of one with `+` between them.
fn rfc4514(name: &X509Name<'_>) -> String {
    let mut relative: Vec<String> = name
        .iter()
        .map(|set| set.iter().map(attribute).collect::<Vec<_>>().join("+"))
        .collect();
    relative.reverse();
    relative.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type();
    let short = match oid.to_id_string().as_str() {
        "2.5.4.3" => Some("CN"),
        "2.5.4.5" => Some("SERIALNUMBER"),
        "2.5.4.6" => Some("C"),
        "2.5.4.7" => Some("L"),
        "2.5.4.8" => Some("ST"),
        "2.5.4.9" => Some("STREET"),
        "2.5.4.10" => Some("O"),
        "2.5.4.11" => Some("OU"),
        "0.9.2342.19200300.100.1.1" => Some("UID"),
        "0.9.2342.19200300.100.1.25" => Some("DC"),
        "1.2.840.113549.1.9.1" => Some("EMAILADDRESS"),
        _ => None,
    };
    let kind = short.map_or_else(|| oid.to_id_string(), str::to_owned);
    match attribute.as_str() {
        Ok(value) => format!("{kind}={}", escaped(value)),
        Err(_) => format!("{kind}=#{}", hexadecimal(attribute.attr_value().data)),
    }
}

fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (at, letter) in value.chars().enumerate() {
        let special = matches!(letter, '"' | '+' | ',' | ';' | '<' | '>' | '\\');
        let edge = (at == 0 && matches!(letter, ' ' | '#')) || (at == last && letter == ' ');
        if special || edge {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, behind) = rest.split_at(rest.len().min(PEM_LINE));
        out.push_str(line);
        out.push('\n');
        rest = behind;
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        // Writing to a string does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(entries: &[(DnType, &str)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in entries {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn names_are_those_of_the_subject() {
        let der = certificate(&[
            (DnType::CountryName, "CN"),
            (DnType::OrganizationName, "Plant, Ltd."),
            (DnType::CommonName, "device-7"),
        ]);
        let wanted = NamesWanted {
            username: Some(PeerCertAs::CommonName),
            client_id: Some(PeerCertAs::Subject),
        };
        let names = names_of(&der, wanted).unwrap();
        assert_eq!(names.username.as_deref(), Some("device-7"));
        assert_eq!(
            names.client_id.as_deref(),
            Some("CN=device-7,O=Plant\\, Ltd.,C=CN")
        );
    }

    #[test]
    fn the_certificate_itself_can_be_the_name() {
        let der = certificate(&[(DnType::CommonName, "x")]);
        let name = |kind| {
            let wanted = NamesWanted {
                username: Some(kind),
                client_id: None,
            };
            names_of(&der, wanted).unwrap().username.unwrap()
        };
        assert_eq!(STANDARD.decode(&*name(PeerCertAs::Der)).unwrap(), der);
        let pem = name(PeerCertAs::Pem);
        assert!(pem.lines().all(|line| line.len() <= PEM_LINE), "{pem}");
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject;
        let back = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        assert_eq!(back.as_ref(), der);
        let md5 = name(PeerCertAs::Md5);
        assert_eq!(md5.len(), 32);
        assert!(
            md5.bytes()
                .all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
        );
    }

    #[test]
    fn what_is_no_certificate_has_no_names() {
        assert_eq!(
            names_of(&[0x30, 0x03, 1, 2, 3], NamesWanted::default()),
            None
        );
    }
}
