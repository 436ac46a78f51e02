//! Why a TLS handshake failed, in the words that EMQX's users look for in a log: what it was, which side
//! raised the alert, and what is usually the cause.

use std::fmt;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use crate::metrics::Counter;

/// Bytes of a TLS record's header and of a plain alert.
const PLAIN_ALERT_BYTES: usize = 7;

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFault {
    /// What it was.
    pub kind: FaultKind,
    /// The alert, and who raised it.
    pub alert: Option<(Side, AlertDescription)>,
    /// What rustls or the system said.
    pub said: String,
}

/// Who raised an alert.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The client: the broker received it.
    Client,
    /// The broker: it generated it.
    Server,
}

/// What kinds of failure are told apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// A certificate whose time is over or has not come.
    CertificateExpired,
    /// A certificate of a CA that the other side does not know.
    UnknownCa,
    /// A certificate that its CA has revoked.
    CertificateRevoked,
    /// The client should have sent a certificate.
    CertificateRequired,
    /// A certificate that is not good for another reason.
    BadCertificate,
    /// No cipher suite, group or signature that both sides have.
    NoSuitableCipher,
    /// No version of TLS that both sides speak.
    ProtocolVersion,
    /// The sides did not agree for another reason.
    HandshakeFailure,
    /// A plain MQTT client on the TLS port.
    PlainMqtt,
    /// A plain HTTP client on the TLS port.
    PlainHttp,
    /// Something else that is not TLS.
    NotTls,
    /// The handshake took too long, or made room for others.
    Timeout,
    /// The client went away.
    Closed,
    /// The client sent more than a handshake takes.
    TooLarge,
    /// Something in the broker or its system.
    Internal,
}

impl FaultKind {
    /// The word for it in the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::CertificateExpired => "certificate_expired",
            Self::UnknownCa => "unknown_ca",
            Self::CertificateRevoked => "certificate_revoked",
            Self::CertificateRequired => "certificate_required",
            Self::BadCertificate => "bad_certificate",
            Self::NoSuitableCipher => "no_suitable_cipher",
            Self::ProtocolVersion => "protocol_version",
            Self::HandshakeFailure => "handshake_failure",
            Self::PlainMqtt | Self::PlainHttp | Self::NotTls => "not_tls",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::TooLarge => "record_overflow",
            Self::Internal => "internal_error",
        }
    }

    /// What counts it.
    pub fn counter(self) -> Counter {
        match self {
            Self::CertificateExpired => Counter::TlsFailedCertificateExpired,
            Self::UnknownCa => Counter::TlsFailedUnknownCa,
            Self::CertificateRevoked => Counter::TlsFailedCertificateRevoked,
            Self::CertificateRequired => Counter::TlsFailedCertificateRequired,
            Self::BadCertificate => Counter::TlsFailedBadCertificate,
            Self::NoSuitableCipher => Counter::TlsFailedNoSuitableCipher,
            Self::ProtocolVersion => Counter::TlsFailedProtocolVersion,
            Self::HandshakeFailure | Self::TooLarge => Counter::TlsFailedHandshakeFailure,
            Self::PlainMqtt | Self::PlainHttp | Self::NotTls => Counter::TlsFailedNotTls,
            Self::Timeout => Counter::TlsFailedTimeout,
            Self::Closed => Counter::TlsFailedClosed,
            Self::Internal => Counter::TlsFailedInternal,
        }
    }
}

impl TlsFault {
    /// A failure that is not one of TLS' own.
    pub fn plain(kind: FaultKind, said: impl Into<String>) -> Self {
        Self {
            kind,
            alert: None,
            said: said.into(),
        }
    }

    /// What an error of rustls means; `reply` is what it made of it for the client.
    pub fn of(error: &Error, reply: &[u8]) -> Self {
        let (kind, alert) = classify(error);
        let alert = match (alert, plain_alert(reply)) {
            (Some((Side::Client, alert)), _) => Some((Side::Client, alert)),
            (_, Some(sent)) => Some((Side::Server, sent)),
            (alert, None) => alert,
        };
        Self {
            kind,
            alert,
            said: error.to_string(),
        }
    }

    /// What the first bytes of a client are when they are no TLS record.
    pub fn of_first_bytes(first: &[u8]) -> Option<Self> {
        const HTTP: &[&[u8]] = &[
            b"GET ", b"POST", b"PUT ", b"HEAD", b"OPTI", b"DELE", b"CONN", b"PRI ",
        ];
        let kind = match first {
            // The record of a ClientHello; the second byte is the major version, always 3.
            [0x16, 0x03, ..] | [0x16] | [] => return None,
            // An alert of TLS is left to rustls.
            [0x15, 0x03, ..] | [0x15] => return None,
            [0x10, ..] => FaultKind::PlainMqtt,
            _ if HTTP.iter().any(|word| first.starts_with(word)) => FaultKind::PlainHttp,
            _ => FaultKind::NotTls,
        };
        Some(Self::plain(kind, "the first bytes are not a TLS handshake"))
    }

    /// What is usually the cause; empty when nothing is.
    pub fn hint(&self) -> &'static str {
        let from_client = matches!(self.alert, Some((Side::Client, _)));
        match self.kind {
            FaultKind::CertificateExpired if from_client => {
                "the client finds the listener's certificate expired: renew certfile, or set the client's clock"
            }
            FaultKind::CertificateExpired => {
                "the client's certificate is expired or not yet valid: renew it, or set the clocks"
            }
            FaultKind::UnknownCa | FaultKind::BadCertificate if from_client => {
                "the client does not trust the listener's certificate: certfile lacks an intermediate CA, the client has the wrong root CA, or the name is not the one it connects to"
            }
            FaultKind::UnknownCa => {
                "no CA in cacertfile has signed the client's certificate: the client sends no intermediate CA, or cacertfile has the wrong root; or the CA's revocation list is missing or out of date"
            }
            FaultKind::CertificateRevoked => "the certificate is on its CA's revocation list",
            FaultKind::CertificateRequired => {
                "verify_peer and fail_if_no_peer_cert are set, and the client sent no certificate"
            }
            FaultKind::BadCertificate => {
                "the client's certificate cannot be used: wrong type, purpose, signature or form"
            }
            FaultKind::NoSuitableCipher => {
                "the two sides have no cipher suite, group or signature in common: compare ciphers, and whether the certificate's key (RSA or ECDSA) fits the client's suites"
            }
            FaultKind::ProtocolVersion => {
                "the client speaks none of the listener's versions (tlsv1.2, tlsv1.3; older ones are not available)"
            }
            FaultKind::HandshakeFailure if from_client => {
                "the client gave up: see its own log; often a cipher suite or a certificate type it does not know"
            }
            FaultKind::PlainMqtt => {
                "a plain MQTT client on a TLS port: use the tcp listener, or turn on TLS in the client"
            }
            FaultKind::PlainHttp => "an HTTP client on a TLS port: use https or wss",
            FaultKind::NotTls => "something that does not speak TLS is connected to a TLS port",
            _ => "",
        }
    }
}

impl fmt::Display for TlsFault {
    /// Such as `unknown_ca, received CLIENT ALERT: Fatal - Unknown CA (received fatal alert: ...)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.word())?;
        if let Some((side, alert)) = self.alert {
            let raised = match side {
                Side::Client => "received CLIENT ALERT",
                Side::Server => "generated SERVER ALERT",
            };
            write!(f, ", {raised}: Fatal - {}", alert_words(alert))?;
        }
        write!(f, " ({})", self.said)
    }
}

fn classify(error: &Error) -> (FaultKind, Option<(Side, AlertDescription)>) {
    let ours = |kind, alert| (kind, Some((Side::Server, alert)));
    match error {
        Error::AlertReceived(alert) => (of_client_alert(*alert), Some((Side::Client, *alert))),
        Error::InvalidCertificate(wrong) => {
            ours(of_certificate(wrong), AlertDescription::from(wrong.clone()))
        }
        Error::NoCertificatesPresented => ours(
            FaultKind::CertificateRequired,
            AlertDescription::CertificateRequired,
        ),
        Error::PeerIncompatible(why) => of_incompatible(why),
        Error::PeerSentOversizedRecord => {
            ours(FaultKind::TooLarge, AlertDescription::RecordOverflow)
        }
        Error::InvalidMessage(_) => {
            ours(FaultKind::HandshakeFailure, AlertDescription::DecodeError)
        }
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => ours(
            FaultKind::HandshakeFailure,
            AlertDescription::UnexpectedMessage,
        ),
        Error::DecryptError => ours(FaultKind::HandshakeFailure, AlertDescription::BadRecordMac),
        Error::PeerMisbehaved(_) => ours(
            FaultKind::HandshakeFailure,
            AlertDescription::IllegalParameter,
        ),
        // What rustls says when no certificate of the listener fits the client.
        Error::General(why) if why.contains("certificate") => {
            ours(FaultKind::NoSuitableCipher, AlertDescription::AccessDenied)
        }
        _ => (FaultKind::Internal, None),
    }
}

fn of_incompatible(why: &PeerIncompatible) -> (FaultKind, Option<(Side, AlertDescription)>) {
    use PeerIncompatible as Why;
    let (kind, alert) = match why {
        Why::NoCipherSuitesInCommon
        | Why::NoKxGroupsInCommon
        | Why::NoSignatureSchemesInCommon
        | Why::NoEcPointFormatsInCommon
        | Why::NamedGroupsExtensionRequired
        | Why::UncompressedEcPointsRequired => (
            FaultKind::NoSuitableCipher,
            AlertDescription::HandshakeFailure,
        ),
        Why::ServerDoesNotSupportTls12Or13
        | Why::ServerTlsVersionIsDisabledByOurConfig
        | Why::SupportedVersionsExtensionRequired
        | Why::Tls12NotOffered
        | Why::Tls12NotOfferedOrEnabled => (
            FaultKind::ProtocolVersion,
            AlertDescription::ProtocolVersion,
        ),
        // Clients of TLS 1.1 and older do not name signature algorithms, which is seen first.
        Why::SignatureAlgorithmsExtensionRequired => (
            FaultKind::ProtocolVersion,
            AlertDescription::HandshakeFailure,
        ),
        _ => (
            FaultKind::HandshakeFailure,
            AlertDescription::HandshakeFailure,
        ),
    };
    (kind, Some((Side::Server, alert)))
}

fn of_certificate(wrong: &CertificateError) -> FaultKind {
    use CertificateError as Wrong;
    match wrong {
        Wrong::Expired
        | Wrong::ExpiredContext { .. }
        | Wrong::NotValidYet
        | Wrong::NotValidYetContext { .. } => FaultKind::CertificateExpired,
        Wrong::Revoked => FaultKind::CertificateRevoked,
        Wrong::UnknownIssuer
        | Wrong::UnknownRevocationStatus
        | Wrong::ExpiredRevocationList
        | Wrong::ExpiredRevocationListContext { .. } => FaultKind::UnknownCa,
        _ => FaultKind::BadCertificate,
    }
}

fn of_client_alert(alert: AlertDescription) -> FaultKind {
    match alert {
        AlertDescription::CertificateExpired => FaultKind::CertificateExpired,
        AlertDescription::UnknownCA => FaultKind::UnknownCa,
        AlertDescription::CertificateRevoked => FaultKind::CertificateRevoked,
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate => FaultKind::BadCertificate,
        AlertDescription::ProtocolVersion => FaultKind::ProtocolVersion,
        AlertDescription::InsufficientSecurity => FaultKind::NoSuitableCipher,
        _ => FaultKind::HandshakeFailure,
    }
}

/// The alert at the end of what is sent, if it is not sealed.
fn plain_alert(reply: &[u8]) -> Option<AlertDescription> {
    let at = reply.len().checked_sub(PLAIN_ALERT_BYTES)?;
    match reply.get(at..)? {
        [0x15, 3, _, 0, 2, 2, alert] => Some(AlertDescription::from(*alert)),
        _ => None,
    }
}

/// `UnknownCA` as `Unknown CA`, the way Erlang's log writes it.
fn alert_words(alert: AlertDescription) -> String {
    let name = format!("{alert:?}");
    let mut words = String::with_capacity(name.len() + 4);
    let mut before_is_small = false;
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && before_is_small {
            words.push(' ');
        }
        before_is_small = letter.is_ascii_lowercase();
        words.push(letter);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_told_by_their_side_and_name() {
        let fault = TlsFault::of(&Error::AlertReceived(AlertDescription::UnknownCA), &[]);
        let want = "unknown_ca, received CLIENT ALERT: Fatal - Unknown CA (";
        assert!(fault.to_string().starts_with(want), "{fault}");
        assert!(fault.hint().contains("intermediate CA"));
        let expired = Error::InvalidCertificate(CertificateError::Expired);
        let fault = TlsFault::of(&expired, &[]);
        let want = "certificate_expired, generated SERVER ALERT: Fatal - Certificate Expired (";
        assert!(fault.to_string().starts_with(want), "{fault}");
    }

    #[test]
    fn an_alert_that_was_sent_in_the_clear_is_the_one_named() {
        let error = Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon);
        let sent = [0x15, 3, 3, 0, 2, 2, 71];
        let fault = TlsFault::of(&error, &sent);
        assert_eq!(
            fault.alert,
            Some((Side::Server, AlertDescription::InsufficientSecurity))
        );
        assert_eq!(fault.kind.word(), "no_suitable_cipher");
    }

    #[test]
    fn first_bytes_that_are_not_tls_are_named() {
        let kind = |first: &[u8]| TlsFault::of_first_bytes(first).map(|fault| fault.kind);
        assert_eq!(kind(&[0x16, 3, 1, 0, 5]), None);
        assert_eq!(kind(&[0x16]), None);
        assert_eq!(kind(b"\x10\x20\x00\x04MQTT"), Some(FaultKind::PlainMqtt));
        assert_eq!(kind(b"GET /mqtt HTTP/1.1"), Some(FaultKind::PlainHttp));
        assert_eq!(kind(&[0x80, 0x2e, 1, 3]), Some(FaultKind::NotTls));
    }
}
