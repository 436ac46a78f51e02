//! The reason codes of MQTT 5.0 (section 2.4) and what 3.x is told instead.

macro_rules! reason_codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $value:literal,)+) => {
        /// A reason code. Below 0x80 it reports success, from 0x80 on a failure.
        ///
        /// 0x00 has three names in the specification: `Success` here, and the constants
        /// [`ReasonCode::NORMAL_DISCONNECTION`] and [`ReasonCode::GRANTED_QOS_0`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum ReasonCode {
            $($(#[doc = $doc])+ $name = $value,)+
        }

        impl ReasonCode {
            /// Every reason code, in the order of the specification's table.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The code for a byte on the wire, `None` if the specification has none.
            #[must_use]
            pub const fn from_u8(value: u8) -> Option<Self> {
                match value {
                    $($value => Some(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
}

reason_codes! {
    /// Success, normal disconnection, or granted QoS 0.
    Success = 0x00,
    /// Granted QoS 1.
    GrantedQos1 = 0x01,
    /// Granted QoS 2.
    GrantedQos2 = 0x02,
    /// Disconnect, and publish the will.
    DisconnectWithWillMessage = 0x04,
    /// The message was accepted, nobody subscribes to it.
    NoMatchingSubscribers = 0x10,
    /// There was no such subscription.
    NoSubscriptionExisted = 0x11,
    /// Continue the authentication with another step.
    ContinueAuthentication = 0x18,
    /// Start a new authentication.
    ReAuthenticate = 0x19,
    /// Unspecified error.
    UnspecifiedError = 0x80,
    /// The packet could not be parsed.
    MalformedPacket = 0x81,
    /// The packet was unexpected, or holds what the protocol does not allow.
    ProtocolError = 0x82,
    /// Valid, but not accepted by this implementation.
    ImplementationSpecificError = 0x83,
    /// The protocol version is not spoken here.
    UnsupportedProtocolVersion = 0x84,
    /// The client identifier is valid, but not allowed.
    ClientIdentifierNotValid = 0x85,
    /// Bad user name or password.
    BadUserNameOrPassword = 0x86,
    /// Not authorized.
    NotAuthorized = 0x87,
    /// The server is not available.
    ServerUnavailable = 0x88,
    /// The server is busy.
    ServerBusy = 0x89,
    /// The client is banned.
    Banned = 0x8A,
    /// The server is shutting down.
    ServerShuttingDown = 0x8B,
    /// The authentication method is not supported or not the one in use.
    BadAuthenticationMethod = 0x8C,
    /// Nothing was received for one and a half times the keep-alive.
    KeepAliveTimeout = 0x8D,
    /// Another connection uses the same client identifier.
    SessionTakenOver = 0x8E,
    /// The topic filter is not valid or not allowed.
    TopicFilterInvalid = 0x8F,
    /// The topic name is not valid or not allowed.
    TopicNameInvalid = 0x90,
    /// The packet identifier is in use.
    PacketIdentifierInUse = 0x91,
    /// The packet identifier is not known.
    PacketIdentifierNotFound = 0x92,
    /// More unacknowledged messages than the receive maximum.
    ReceiveMaximumExceeded = 0x93,
    /// The topic alias is 0 or greater than the maximum.
    TopicAliasInvalid = 0x94,
    /// The packet is larger than the receiver takes.
    PacketTooLarge = 0x95,
    /// The message rate is too high.
    MessageRateTooHigh = 0x96,
    /// A quota is exceeded.
    QuotaExceeded = 0x97,
    /// Closed by an administrator.
    AdministrativeAction = 0x98,
    /// The payload does not have the format that was indicated.
    PayloadFormatInvalid = 0x99,
    /// The server has no retained messages.
    RetainNotSupported = 0x9A,
    /// The quality of service is not supported.
    QosNotSupported = 0x9B,
    /// Use another server for the time being.
    UseAnotherServer = 0x9C,
    /// The server has moved.
    ServerMoved = 0x9D,
    /// Shared subscriptions are not supported.
    SharedSubscriptionsNotSupported = 0x9E,
    /// The connection rate is too high.
    ConnectionRateExceeded = 0x9F,
    /// The connection has been open for as long as is allowed.
    MaximumConnectTime = 0xA0,
    /// Subscription identifiers are not supported.
    SubscriptionIdentifiersNotSupported = 0xA1,
    /// Wildcard subscriptions are not supported.
    WildcardSubscriptionsNotSupported = 0xA2,
}

/// The return code of a SUBACK to a 3.1.1 client for a filter that was refused.
pub const SUBACK_FAILURE_V311: u8 = 0x80;

impl ReasonCode {
    /// 0x00 in a DISCONNECT.
    pub const NORMAL_DISCONNECTION: Self = Self::Success;
    /// 0x00 in a SUBACK.
    pub const GRANTED_QOS_0: Self = Self::Success;

    /// The byte on the wire.
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// Whether the code reports a failure (0x80 or greater).
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.as_u8() >= 0x80
    }

    /// The return code (0 to 5) of a 3.1 or 3.1.1 CONNACK that says the same.
    ///
    /// Failures without a counterpart are "server unavailable" (3).
    #[must_use]
    pub const fn connack_return_code(self) -> u8 {
        match self.as_u8() {
            0x00..=0x7F => 0,
            0x80..=0x84 => 1,
            0x85 => 2,
            0x86 => 4,
            0x87 | 0x8A | 0x8C => 5,
            _ => 3,
        }
    }

    /// The reason code for a return code of a 3.x CONNACK, `None` above 5.
    #[must_use]
    pub const fn from_connack_return_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }
}

/// A set of reason codes, to say which ones a packet may carry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReasonSet {
    low: u64,
    high: u64,
}

impl ReasonSet {
    pub(crate) const fn of(codes: &[ReasonCode]) -> Self {
        let mut set = Self { low: 0, high: 0 };
        let mut at = 0;
        while at < codes.len() {
            let code = codes[at].as_u8();
            // Codes lie in 0x00..=0x19 and 0x80..=0xA2.
            if code < 0x80 {
                set.low |= 1 << code;
            } else {
                set.high |= 1 << (code - 0x80);
            }
            at += 1;
        }
        set
    }

    pub(crate) const fn contains(self, code: ReasonCode) -> bool {
        let code = code.as_u8();
        if code < 0x80 {
            self.low >> code & 1 == 1
        } else {
            self.high >> (code - 0x80) & 1 == 1
        }
    }
}

/// The codes of PUBACK and PUBREC (sections 3.4.2.1, 3.5.2.1).
pub(crate) const PUBLISH_ANSWER_REASONS: ReasonSet = ReasonSet::of(&[
    ReasonCode::Success,
    ReasonCode::NoMatchingSubscribers,
    ReasonCode::UnspecifiedError,
    ReasonCode::ImplementationSpecificError,
    ReasonCode::NotAuthorized,
    ReasonCode::TopicNameInvalid,
    ReasonCode::PacketIdentifierInUse,
    ReasonCode::QuotaExceeded,
    ReasonCode::PayloadFormatInvalid,
]);

/// The codes of PUBREL and PUBCOMP (sections 3.6.2.1, 3.7.2.1).
pub(crate) const RELEASE_REASONS: ReasonSet =
    ReasonSet::of(&[ReasonCode::Success, ReasonCode::PacketIdentifierNotFound]);

/// The codes of a DISCONNECT that a client sends (section 3.14.2.1).
pub(crate) const CLIENT_DISCONNECT_REASONS: ReasonSet = ReasonSet::of(&[
    ReasonCode::Success,
    ReasonCode::DisconnectWithWillMessage,
    ReasonCode::UnspecifiedError,
    ReasonCode::MalformedPacket,
    ReasonCode::ProtocolError,
    ReasonCode::ImplementationSpecificError,
    ReasonCode::TopicNameInvalid,
    ReasonCode::ReceiveMaximumExceeded,
    ReasonCode::TopicAliasInvalid,
    ReasonCode::PacketTooLarge,
    ReasonCode::MessageRateTooHigh,
    ReasonCode::QuotaExceeded,
    ReasonCode::AdministrativeAction,
    ReasonCode::PayloadFormatInvalid,
]);

/// The codes of a DISCONNECT that a server sends (section 3.14.2.1, and 0x8C, which section 2.4
/// names for it).
pub(crate) const SERVER_DISCONNECT_REASONS: ReasonSet = ReasonSet::of(&[
    ReasonCode::Success,
    ReasonCode::UnspecifiedError,
    ReasonCode::MalformedPacket,
    ReasonCode::ProtocolError,
    ReasonCode::ImplementationSpecificError,
    ReasonCode::NotAuthorized,
    ReasonCode::ServerBusy,
    ReasonCode::ServerShuttingDown,
    ReasonCode::BadAuthenticationMethod,
    ReasonCode::KeepAliveTimeout,
    ReasonCode::SessionTakenOver,
    ReasonCode::TopicFilterInvalid,
    ReasonCode::TopicNameInvalid,
    ReasonCode::ReceiveMaximumExceeded,
    ReasonCode::TopicAliasInvalid,
    ReasonCode::PacketTooLarge,
    ReasonCode::MessageRateTooHigh,
    ReasonCode::QuotaExceeded,
    ReasonCode::AdministrativeAction,
    ReasonCode::PayloadFormatInvalid,
    ReasonCode::RetainNotSupported,
    ReasonCode::QosNotSupported,
    ReasonCode::UseAnotherServer,
    ReasonCode::ServerMoved,
    ReasonCode::SharedSubscriptionsNotSupported,
    ReasonCode::ConnectionRateExceeded,
    ReasonCode::MaximumConnectTime,
    ReasonCode::SubscriptionIdentifiersNotSupported,
    ReasonCode::WildcardSubscriptionsNotSupported,
]);

/// The codes of a CONNACK (section 3.2.2.2).
pub(crate) const CONNACK_REASONS: ReasonSet = ReasonSet::of(&[
    ReasonCode::Success,
    ReasonCode::UnspecifiedError,
    ReasonCode::MalformedPacket,
    ReasonCode::ProtocolError,
    ReasonCode::ImplementationSpecificError,
    ReasonCode::UnsupportedProtocolVersion,
    ReasonCode::ClientIdentifierNotValid,
    ReasonCode::BadUserNameOrPassword,
    ReasonCode::NotAuthorized,
    ReasonCode::ServerUnavailable,
    ReasonCode::ServerBusy,
    ReasonCode::Banned,
    ReasonCode::ServerShuttingDown,
    ReasonCode::BadAuthenticationMethod,
    ReasonCode::TopicNameInvalid,
    ReasonCode::PacketTooLarge,
    ReasonCode::QuotaExceeded,
    ReasonCode::PayloadFormatInvalid,
    ReasonCode::RetainNotSupported,
    ReasonCode::QosNotSupported,
    ReasonCode::UseAnotherServer,
    ReasonCode::ServerMoved,
    ReasonCode::ConnectionRateExceeded,
]);

/// The codes of a SUBACK (section 3.9.3).
pub(crate) const SUBACK_REASONS: ReasonSet = ReasonSet::of(&[
    ReasonCode::Success,
    ReasonCode::GrantedQos1,
    ReasonCode::GrantedQos2,
    ReasonCode::UnspecifiedError,
    ReasonCode::ImplementationSpecificError,
    ReasonCode::NotAuthorized,
    ReasonCode::TopicFilterInvalid,
    ReasonCode::PacketIdentifierInUse,
    ReasonCode::QuotaExceeded,
    ReasonCode::SharedSubscriptionsNotSupported,
    ReasonCode::SubscriptionIdentifiersNotSupported,
    ReasonCode::WildcardSubscriptionsNotSupported,
]);

/// The codes of an UNSUBACK (section 3.11.3).
pub(crate) const UNSUBACK_REASONS: ReasonSet = ReasonSet::of(&[
    ReasonCode::Success,
    ReasonCode::NoSubscriptionExisted,
    ReasonCode::UnspecifiedError,
    ReasonCode::ImplementationSpecificError,
    ReasonCode::NotAuthorized,
    ReasonCode::TopicFilterInvalid,
    ReasonCode::PacketIdentifierInUse,
]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_names_agree() {
        for value in 0..=u8::MAX {
            if let Some(code) = ReasonCode::from_u8(value) {
                assert_eq!(code.as_u8(), value);
            }
        }
        assert_eq!(ReasonCode::ALL.len(), 43);
    }

    #[test]
    fn return_codes_of_3_x() {
        let expected: [(u8, &[u8]); 6] = [
            (0, &[0x00]),
            (1, &[0x80, 0x81, 0x82, 0x83, 0x84]),
            (2, &[0x85]),
            (3, &[0x88, 0x89, 0x8B, 0x90, 0x95, 0x97, 0x9C, 0x9D, 0x9F]),
            (4, &[0x86]),
            (5, &[0x87, 0x8A, 0x8C]),
        ];
        for (return_code, reasons) in expected {
            for &reason in reasons {
                let code = ReasonCode::from_u8(reason).unwrap();
                assert_eq!(code.connack_return_code(), return_code, "{reason:#x}");
            }
        }
    }

    #[test]
    fn sets_hold_what_they_were_given() {
        for &code in ReasonCode::ALL {
            let in_release = matches!(code.as_u8(), 0x00 | 0x92);
            assert_eq!(RELEASE_REASONS.contains(code), in_release);
            assert_eq!(
                CLIENT_DISCONNECT_REASONS.contains(code)
                    && !SERVER_DISCONNECT_REASONS.contains(code),
                code == ReasonCode::DisconnectWithWillMessage,
            );
        }
    }
}
