//! What the broker keeps of a client's certificate: the names it needs, and not the certificate.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::base::envelope::PeerNames;
use crate::config::CertName;

/// Characters of base64 in a line of a PEM file.
const PEM_LINE: usize = 64;

/// Which forms of the certificate itself are wanted besides the common name and the subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamesWanted {
    /// The certificate, DER in base64.
    pub crt: bool,
    /// The certificate, PEM.
    pub pem: bool,
    /// Its hash.
    pub md5: bool,
}

impl NamesWanted {
    /// What these settings need.
    pub fn of(settings: &[Option<CertName>]) -> Self {
        let has = |name| settings.contains(&Some(name));
        Self {
            crt: has(CertName::Crt),
            pem: has(CertName::Pem),
            md5: has(CertName::Md5),
        }
    }
}

/// The names in a certificate, DER; none when it cannot be read. (rustls has verified it, so it can.)
pub fn names_of(der: &[u8], wanted: NamesWanted) -> Option<PeerNames> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let subject = certificate.subject();
    Some(PeerNames {
        common_name: common_name(subject).map(Box::from),
        subject: Some(rfc4514(subject).into()),
        crt: wanted.crt.then(|| STANDARD.encode(der).into()),
        pem: wanted.pem.then(|| pem(der).into()),
        md5: wanted.md5.then(|| hexadecimal(&Md5::digest(der)).into()),
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
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

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
        let names = names_of(&der, NamesWanted::default()).unwrap();
        assert_eq!(names.common_name.as_deref(), Some("device-7"));
        let want = "CN=device-7,O=Plant\\, Ltd.,C=CN";
        assert_eq!(names.subject.as_deref(), Some(want));
        assert_eq!((names.crt, names.pem, names.md5), (None, None, None));
    }

    #[test]
    fn the_certificate_itself_can_be_the_name() {
        let der = certificate(&[(DnType::CommonName, "x")]);
        let all = [CertName::Crt, CertName::Pem, CertName::Md5].map(Some);
        let names = names_of(&der, NamesWanted::of(&all)).unwrap();
        assert_eq!(STANDARD.decode(&*names.crt.unwrap()).unwrap(), der);
        let pem = names.pem.unwrap();
        assert!(pem.lines().all(|line| line.len() <= PEM_LINE), "{pem}");
        let back = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        assert_eq!(back.as_ref(), der);
        let md5 = names.md5.unwrap();
        assert_eq!(md5.len(), 32);
        assert!(md5.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        let cn = NamesWanted::of(&[None, Some(CertName::Cn)]);
        assert_eq!(cn, NamesWanted::default());
    }

    #[test]
    fn what_is_no_certificate_has_no_names() {
        assert_eq!(
            names_of(&[0x30, 0x03, 1, 2, 3], NamesWanted::default()),
            None
        );
    }
}
