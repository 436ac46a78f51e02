//! MQTT packets of versions 3.1, 3.1.1 and 5.0, in both directions.
//!
//! This codec shares nothing with the broker's: a bug in a shared one would hide itself from the
//! tests. It decodes strictly, and an error names the rule that was broken; it encodes what it is
//! given, so that a test can send what no client should (for the rest there are raw bytes).
//! It is written for completeness, not for speed: load runs use [`crate::wire`].

mod decode;
mod encode;
mod properties;
#[cfg(test)]
mod tests;

pub use decode::{Malformed, decode};
pub(crate) use encode::put_varint;
pub use properties::{Properties, Property};

/// The protocol version of a connection; its number is the level in CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// MQTT 3.1, protocol name `MQIsdp`.
    V31 = 3,
    /// MQTT 3.1.1.
    V311 = 4,
    /// MQTT 5.0.
    V5 = 5,
}

/// Any MQTT control packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Type 1, client to server.
    Connect(Connect),
    /// Type 2, server to client.
    ConnAck(ConnAck),
    /// Type 3, both ways.
    Publish(Publish),
    /// Type 4, answer to a PUBLISH of QoS 1.
    PubAck(Ack),
    /// Type 5, first answer to a PUBLISH of QoS 2.
    PubRec(Ack),
    /// Type 6, answer to PUBREC.
    PubRel(Ack),
    /// Type 7, answer to PUBREL.
    PubComp(Ack),
    /// Type 8, client to server.
    Subscribe(Subscribe),
    /// Type 9, server to client.
    SubAck(SubAck),
    /// Type 10, client to server.
    Unsubscribe(Unsubscribe),
    /// Type 11, server to client.
    UnsubAck(UnsubAck),
    /// Type 12, client to server.
    PingReq,
    /// Type 13, server to client.
    PingResp,
    /// Type 14, client to server; in version 5 both ways.
    Disconnect(Disconnect),
    /// Type 15, version 5 only, both ways.
    Auth(Auth),
}

/// CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Chooses protocol name and level.
    pub version: Version,
    /// Clean session (3.x) or clean start (5).
    pub clean_start: bool,
    /// Seconds; 0 switches keep-alive off.
    pub keep_alive_s: u16,
    /// May be empty.
    pub client_id: String,
    /// The last will.
    pub will: Option<Will>,
    /// User name.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Vec<u8>>,
    /// Version 5 only.
    pub properties: Properties,
}

/// The last will inside a CONNECT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Will {
    /// 0 to 2.
    pub qos: u8,
    /// Whether the will is retained.
    pub retain: bool,
    /// Topic name.
    pub topic: String,
    /// Message.
    pub payload: Vec<u8>,
    /// Version 5 only.
    pub properties: Properties,
}

/// CONNACK.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the server holds a session for the client.
    pub session_present: bool,
    /// Return code (3.x) or reason code (5).
    pub code: u8,
    /// Version 5 only.
    pub properties: Properties,
}

/// PUBLISH.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publish {
    /// Redelivery.
    pub dup: bool,
    /// 0 to 2.
    pub qos: u8,
    /// Retain flag.
    pub retain: bool,
    /// Topic name; empty only beside a topic alias.
    pub topic: String,
    /// Present at QoS 1 and 2.
    pub packet_id: Option<u16>,
    /// Version 5 only.
    pub properties: Properties,
    /// Application message.
    pub payload: Vec<u8>,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// The PUBLISH's identifier.
    pub packet_id: u16,
    /// Version 5 only; 0 is success.
    pub code: u8,
    /// Version 5 only.
    pub properties: Properties,
}

/// SUBSCRIBE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscribe {
    /// Not 0.
    pub packet_id: u16,
    /// Version 5 only.
    pub properties: Properties,
    /// At least one.
    pub filters: Vec<(String, SubscriptionOptions)>,
}

/// The options byte of one filter in a SUBSCRIBE; in 3.x only the QoS is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// 0 to 2.
    pub qos: u8,
    /// Do not send the client its own messages.
    pub no_local: bool,
    /// Keep the retain flag as the publisher set it.
    pub retain_as_published: bool,
    /// 0 send retained, 1 only for a new subscription, 2 never.
    pub retain_handling: u8,
}

impl SubscriptionOptions {
    /// Options with this QoS and nothing else set.
    #[must_use]
    pub fn qos(qos: u8) -> Self {
        Self {
            qos,
            ..Self::default()
        }
    }
}

/// SUBACK.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubAck {
    /// The SUBSCRIBE's identifier.
    pub packet_id: u16,
    /// Version 5 only.
    pub properties: Properties,
    /// One a filter: granted QoS or failure.
    pub codes: Vec<u8>,
}

/// UNSUBSCRIBE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unsubscribe {
    /// Not 0.
    pub packet_id: u16,
    /// Version 5 only.
    pub properties: Properties,
    /// At least one.
    pub filters: Vec<String>,
}

/// UNSUBACK.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnsubAck {
    /// The UNSUBSCRIBE's identifier.
    pub packet_id: u16,
    /// Version 5 only.
    pub properties: Properties,
    /// Version 5 only: one a filter.
    pub codes: Vec<u8>,
}

/// DISCONNECT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disconnect {
    /// Version 5 only; 0 is a normal disconnection.
    pub code: u8,
    /// Version 5 only.
    pub properties: Properties,
}

/// AUTH.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// 0, 0x18 or 0x19.
    pub code: u8,
    /// Method and data among them.
    pub properties: Properties,
}

impl Connect {
    /// A clean connection without will, credentials or properties, keep-alive off.
    #[must_use]
    pub fn new(version: Version, client_id: &str) -> Self {
        Self {
            version,
            clean_start: true,
            keep_alive_s: 0,
            client_id: client_id.to_owned(),
            will: None,
            username: None,
            password: None,
            properties: Properties::default(),
        }
    }
}

impl Packet {
    /// Packet type, 1 to 15, as in the fixed header.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Self::Connect(_) => 1,
            Self::ConnAck(_) => 2,
            Self::Publish(_) => 3,
            Self::PubAck(_) => 4,
            Self::PubRec(_) => 5,
            Self::PubRel(_) => 6,
            Self::PubComp(_) => 7,
            Self::Subscribe(_) => 8,
            Self::SubAck(_) => 9,
            Self::Unsubscribe(_) => 10,
            Self::UnsubAck(_) => 11,
            Self::PingReq => 12,
            Self::PingResp => 13,
            Self::Disconnect(_) => 14,
            Self::Auth(_) => 15,
        }
    }

    /// Appends the packet as a connection of `version` carries it.
    ///
    /// Nothing is validated: what the fields say is what is sent. Strings longer than 65,535
    /// bytes and bodies longer than 268,435,455 bytes cannot be expressed and panic.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        encode::encode(self, version, out);
    }

    /// The packet's bytes, see [`Packet::encode`].
    #[must_use]
    pub fn to_bytes(&self, version: Version) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(version, &mut out);
        out
    }
}
