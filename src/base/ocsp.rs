//! OCSP as a server that staples needs it [RFC 6960]: the request for one certificate, and whether an answer
//! is about that certificate and still holds. Bytes in, bytes out.
//!
//! The signature is not looked at: whoever gets the staple verifies it, and a server that refuses what its
//! clients would refuse gains nothing. What is looked at is what a broken responder or a proxy in between
//! gets wrong.

use sha1::{Digest, Sha1};

/// Bytes of the longest answer that is kept: with a certificate of the responder in it, some 2 KB.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

const SEQUENCE: u8 = 0x30;
const OCTETS: u8 = 0x04;
const INTEGER: u8 = 0x02;
const ENUMERATED: u8 = 0x0a;
const OID: u8 = 0x06;
const TIME: u8 = 0x18;
/// `[0]`, constructed.
const EXPLICIT_0: u8 = 0xa0;
/// SHA-1, with the parameter NULL; what every responder knows.
const SHA1: &[u8] = b"\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00";
/// id-pkix-ocsp-basic.
const BASIC: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x30\x01\x01";
/// What the statuses of a certificate are written as: good, revoked, unknown.
const STATUSES: [(u8, CertStatus); 3] = [
    (0x80, CertStatus::Good),
    (0xa1, CertStatus::Revoked),
    (0x82, CertStatus::Unknown),
];
/// How far the responder's clock may be ahead.
const CLOCK_SKEW_S: i64 = 300;

/// The certificate that is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertId {
    issuer_name_hash: [u8; 20],
    issuer_key_hash: [u8; 20],
    /// As in the certificate: big-endian, two's complement.
    serial: Vec<u8>,
}

/// What the responder says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertStatus {
    /// Not revoked.
    Good,
    /// Revoked.
    Revoked,
    /// The responder does not know it.
    Unknown,
}

/// An answer about the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub status: CertStatus,
    /// Until when, seconds of UNIX time, if it says so.
    pub until_unix_s: Option<i64>,
}

impl CertId {
    /// A certificate of that serial number whose issuer has this name (DER) and key (the bits).
    pub fn new(issuer_name: &[u8], issuer_key: &[u8], serial: &[u8]) -> Self {
        Self {
            issuer_name_hash: Sha1::digest(issuer_name).into(),
            issuer_key_hash: Sha1::digest(issuer_key).into(),
            serial: serial.to_vec(),
        }
    }

    fn encoded(&self) -> Vec<u8> {
        let parts = [
            SHA1.to_vec(),
            tlv(OCTETS, &self.issuer_name_hash),
            tlv(OCTETS, &self.issuer_key_hash),
            tlv(INTEGER, &self.serial),
        ];
        tlv(SEQUENCE, &parts.concat())
    }

    /// The request, DER.
    pub fn request(&self) -> Vec<u8> {
        // OCSPRequest, TBSRequest, requestList, Request.
        (0..4).fold(self.encoded(), |inner, _| tlv(SEQUENCE, &inner))
    }

    /// Judges an answer, DER, at `now_unix_s`.
    ///
    /// # Errors
    /// Why it is none that can be stapled, as the end of a sentence.
    pub fn judge(&self, answer: &[u8], now_unix_s: i64) -> Result<Answer, String> {
        let (status, rest) = split(answer)
            .filter(|(tag, ..)| *tag == SEQUENCE)
            .and_then(|(_, body, _)| take(body, ENUMERATED))
            .ok_or("it is not OCSP")?;
        if status != [0] {
            return Err(format!("the responder says {}", refusal(status)));
        }
        let mut found = None;
        for (id, single) in singles(rest).ok_or("it is not a basic OCSP response")? {
            if self.is(id).unwrap_or(false) {
                found = Some(single);
                break;
            }
        }
        let single = found.ok_or("it is not about this certificate")?;
        let (status, this, next) = read_single(single).ok_or("it is not whole")?;
        if this > now_unix_s.saturating_add(CLOCK_SKEW_S) {
            return Err("it holds in the future only".to_owned());
        }
        if next.is_some_and(|next| next <= now_unix_s) {
            return Err("its time is over".to_owned());
        }
        Ok(Answer {
            status,
            until_unix_s: next,
        })
    }

    /// Whether a CertID in an answer is this one. A responder may have used another hash: then the serial
    /// number, which is unique at the issuer that was asked, decides.
    fn is(&self, id: &[u8]) -> Option<bool> {
        let (algorithm, rest) = take(id, SEQUENCE)?;
        let (name, rest) = take(rest, OCTETS)?;
        let (key, rest) = take(rest, OCTETS)?;
        let (serial, _) = take(rest, INTEGER)?;
        let (own, _) = take(SHA1, SEQUENCE)?;
        let hashes = take(algorithm, OID)? != take(own, OID)?
            || (name == self.issuer_name_hash && key == self.issuer_key_hash);
        Some(hashes && serial == self.serial)
    }
}

/// What the statuses of an answer that is no answer mean.
fn refusal(status: &[u8]) -> &'static str {
    match status {
        [1] => "malformed request",
        [2] => "internal error",
        [3] => "try later",
        [5] => "signature required",
        [6] => "unauthorized",
        _ => "something unknown",
    }
}

/// The CertIDs of an answer's parts, with what stands behind each.
fn singles(response_bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let (explicit, _) = take(response_bytes, EXPLICIT_0)?;
    let (bytes, _) = take(explicit, SEQUENCE)?;
    let (kind, rest) = take(bytes, OID)?;
    let (basic, _) = take(rest, OCTETS)?;
    if kind != BASIC {
        return None;
    }
    let (basic, _) = take(basic, SEQUENCE)?;
    let (mut data, _) = take(basic, SEQUENCE)?;
    // The version, which may be left out, then who answers, then when.
    if let Some((_, rest)) = take(data, EXPLICIT_0) {
        data = rest;
    }
    let (_, _, rest) = split(data)?;
    let (_, rest) = take(rest, TIME)?;
    let (mut list, _) = take(rest, SEQUENCE)?;
    let mut singles = Vec::new();
    while !list.is_empty() {
        let (single, rest) = take(list, SEQUENCE)?;
        singles.push(take(single, SEQUENCE)?);
        list = rest;
    }
    Some(singles)
}

/// Status, `thisUpdate`, `nextUpdate`.
fn read_single(single: &[u8]) -> Option<(CertStatus, i64, Option<i64>)> {
    let (tag, _, rest) = split(single)?;
    let (_, status) = STATUSES.into_iter().find(|(known, _)| *known == tag)?;
    let (this, rest) = take(rest, TIME)?;
    let next = match take(rest, EXPLICIT_0) {
        Some((explicit, _)) => Some(unix_s(take(explicit, TIME)?.0)?),
        None => None,
    };
    Some((status, unix_s(this)?, next))
}

/// `YYYYMMDDHHMMSSZ` in seconds of UNIX time.
fn unix_s(time: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(time).ok()?.strip_suffix('Z')?;
    if text.len() != 14 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
    let fits = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !fits {
        return None;
    }
    // Days since 1970-01-01, years beginning in March.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let era_days = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = era_days + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Tag, content and what is behind it, from the front of DER.
fn split(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (len, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        long => {
            let count = usize::from(long & 0x7f);
            if !(1..=3).contains(&count) {
                return None;
            }
            let (bytes, rest) = rest.split_at_checked(count)?;
            let len = bytes
                .iter()
                .fold(0, |len, byte| len << 8 | usize::from(*byte));
            (len, rest)
        }
    };
    let (content, behind) = rest.split_at_checked(len)?;
    Some((*tag, content, behind))
}

/// Content of that tag, and what is behind it.
fn take(der: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, behind) = split(der)?;
    (tag == wanted).then_some((content, behind))
}

/// Tag, length and content.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let [.., high, low] = len.to_be_bytes();
    let mut out = vec![tag];
    match len {
        0..0x80 => out.push(low),
        0x80..0x100 => out.extend_from_slice(&[0x81, low]),
        _ => out.extend_from_slice(&[0x82, high, low]),
    }
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn id() -> CertId {
        CertId::new(b"name", b"key", &[0x10, 0x01])
    }

    fn single(id: &CertId, status: u8, this: &str, next: Option<&str>) -> Vec<u8> {
        let next = next.map_or(Vec::new(), |next| {
            tlv(EXPLICIT_0, &tlv(TIME, next.as_bytes()))
        });
        let parts = [
            id.encoded(),
            tlv(status, b""),
            tlv(TIME, this.as_bytes()),
            next,
        ];
        tlv(SEQUENCE, &parts.concat())
    }

    fn answer(singles: &[Vec<u8>]) -> Vec<u8> {
        let data = [
            tlv(EXPLICIT_0, &tlv(INTEGER, &[0])),
            tlv(0xa1, b"who"),
            tlv(TIME, b"20231114220000Z"),
            tlv(SEQUENCE, &singles.concat()),
        ];
        let basic = tlv(SEQUENCE, &tlv(SEQUENCE, &data.concat()));
        let bytes = [tlv(OID, BASIC), tlv(OCTETS, &basic)].concat();
        let bytes = tlv(EXPLICIT_0, &tlv(SEQUENCE, &bytes));
        tlv(SEQUENCE, &[tlv(ENUMERATED, &[0]), bytes].concat())
    }

    const THIS: &str = "20231114210000Z";
    const NEXT: &str = "20231115210000Z";

    #[test]
    fn a_request_is_as_openssl_makes_it() {
        let request = id().request();
        assert_eq!(&request[..10], b"\x30\x43\x30\x41\x30\x3f\x30\x3d\x30\x3b");
        assert_eq!(&request[10..21], SHA1);
        assert_eq!(&request[request.len() - 4..], b"\x02\x02\x10\x01");
    }

    #[test]
    fn times() {
        assert_eq!(unix_s(b"19700101000000Z"), Some(0));
        assert_eq!(unix_s(b"20231114221320Z"), Some(NOW));
        assert_eq!(unix_s(b"20240229000000Z"), Some(1_709_164_800));
        for wrong in [
            &b"20231314221320Z"[..],
            b"2023111422132Z",
            b"20231114221320",
            b"",
        ] {
            assert_eq!(unix_s(wrong), None);
        }
    }

    #[test]
    fn an_answer_is_found_among_others() {
        let other = CertId::new(b"name", b"key", &[9]);
        let both = answer(&[
            single(&other, 0x82, THIS, None),
            single(&id(), 0x80, THIS, Some(NEXT)),
        ]);
        let said = id().judge(&both, NOW).unwrap();
        assert_eq!(said.status, CertStatus::Good);
        assert_eq!(said.until_unix_s, Some(1_700_082_000));
        let said = other.judge(&both, NOW).unwrap();
        assert_eq!(
            (said.status, said.until_unix_s),
            (CertStatus::Unknown, None)
        );
        let third = CertId::new(b"name", b"key", &[7]);
        assert!(
            third
                .judge(&both, NOW)
                .unwrap_err()
                .contains("not about this")
        );
        let elsewhere = CertId::new(b"name", b"other key", &[9]);
        assert!(elsewhere.judge(&both, NOW).is_err());
    }

    #[test]
    fn what_does_not_hold_is_refused() {
        let over = answer(&[single(&id(), 0x80, THIS, Some("20231114220000Z"))]);
        assert!(id().judge(&over, NOW).unwrap_err().contains("over"));
        let ahead = answer(&[single(&id(), 0x80, "20231115000000Z", None)]);
        assert!(id().judge(&ahead, NOW).unwrap_err().contains("future"));
        let later = tlv(SEQUENCE, &tlv(ENUMERATED, &[3]));
        assert!(id().judge(&later, NOW).unwrap_err().contains("try later"));
        let revoked = answer(&[single(&id(), 0xa1, THIS, Some(NEXT))]);
        assert_eq!(
            id().judge(&revoked, NOW).unwrap().status,
            CertStatus::Revoked
        );
        assert!(id().judge(b"<html>", NOW).is_err());
    }

    proptest! {
        #[test]
        fn a_damaged_answer_is_no_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
            let mut bytes = answer(&[single(&id(), 0x80, THIS, Some(NEXT))]);
            let at = at.index(bytes.len());
            if cut {
                bytes.truncate(at);
                prop_assert!(id().judge(&bytes, NOW).is_err());
            } else {
                bytes[at] = byte;
                let _ = id().judge(&bytes, NOW);
            }
        }

        #[test]
        fn any_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = id().judge(&bytes, NOW);
        }
    }
}
