//! Whether the certificates and keys that the configuration names can be read, and are valid now.

use std::path::Path;

use x509_parser::pem::Pem;

use super::{Finding, Level};
use crate::config::Config;

/// A certificate that ends sooner is worth a warning.
const WARN_DAYS: i64 = 30;
const DAY_S: i64 = 86_400;
/// Settings that name a file of certificates end so.
const CERTIFICATES: [&str; 2] = ["certfile", AUTHORITIES];
/// That of authorities' certificates.
const AUTHORITIES: &str = "cacertfile";
/// Settings that name a file with a key end so.
const KEYS: &str = "keyfile";

/// One finding a file, of every section.
pub fn examine(config: &Config, now_s: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    for shown in &config.shown {
        let name = shown.key.rsplit('.').next().unwrap_or_default();
        let path = shown
            .value
            .as_str()
            .filter(|path| !["", "none"].contains(path));
        let Some(path) = path.map(Path::new) else {
            continue;
        };
        if CERTIFICATES.contains(&name) {
            findings.push(certificate(&shown.key, path, now_s));
        } else if name == KEYS {
            findings.push(match std::fs::File::open(path) {
                Ok(_) => Finding::ok(&shown.key, format!("{} can be read", path.display())),
                Err(error) => failed(&shown.key, path, &error.to_string()),
            });
        }
    }
    findings
}

fn failed(key: &str, path: &Path, why: &str) -> Finding {
    Finding {
        level: Level::Failed,
        check: key.to_owned(),
        found: format!("the file {} {why}", path.display()),
        fix: None,
    }
}

fn certificate(key: &str, path: &Path, now_s: u64) -> Finding {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return failed(key, path, &format!("cannot be read: {error}")),
    };
    let (first, last) = match validity(&bytes) {
        Ok(validity) => validity,
        Err(why) => return failed(key, path, &why),
    };
    let now = i64::try_from(now_s).unwrap_or(i64::MAX);
    let days = (last - now) / DAY_S;
    let shown = path.display();
    if now > last && key.ends_with(AUTHORITIES) {
        // One of many, as in a bundle of a system; the others go on.
        let found = format!("{shown} has an authority that has expired");
        return Finding::warning(key, found, "remove it, or renew it");
    }
    if now > last {
        return failed(key, path, "has a certificate that has expired; renew it");
    }
    if now < first {
        return failed(
            key,
            path,
            "has a certificate that is not valid yet; is the clock right?",
        );
    }
    match days < WARN_DAYS {
        true => Finding::warning(key, format!("{shown} expires in {days} days"), "renew it"),
        false => Finding::ok(key, format!("{shown} is valid for {days} more days")),
    }
}

/// From when until when all certificates of a file are valid, in seconds of UNIX time.
fn validity(bytes: &[u8]) -> Result<(i64, i64), String> {
    let (mut first, mut last) = (i64::MIN, i64::MAX);
    let mut is_empty = true;
    for pem in Pem::iter_from_buffer(bytes) {
        let pem = pem.map_err(|error| format!("is no PEM file: {error}"))?;
        if pem.label != "CERTIFICATE" {
            continue;
        }
        let parsed = pem.parse_x509();
        let parsed = parsed.map_err(|error| format!("has a broken certificate: {error}"))?;
        first = first.max(parsed.validity().not_before.timestamp());
        last = last.min(parsed.validity().not_after.timestamp());
        is_empty = false;
    }
    match is_empty {
        true => Err("has no certificate; it has to be PEM".to_owned()),
        false => Ok((first, last)),
    }
}
