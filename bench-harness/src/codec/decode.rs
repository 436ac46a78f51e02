//! Bytes to packets, strictly.

use std::fmt;

use super::properties::{Place, decode_properties};
use super::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, Properties, Publish, SubAck, Subscribe,
    SubscriptionOptions, UnsubAck, Unsubscribe, Version, Will,
};

/// A packet that breaks the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The statement (`MQTT-3.1.2-3`) or section of the specification.
    pub rule: &'static str,
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.what, self.rule)
    }
}

impl std::error::Error for Malformed {}

pub(super) fn malformed<T>(rule: &'static str, what: &'static str) -> Result<T, Malformed> {
    Err(Malformed { rule, what })
}

/// Decodes the first packet of `bytes` as a connection of `version` carries it, with the number of
/// bytes it took; `None` when it is not complete yet. A CONNECT names its own version.
///
/// # Errors
/// The rule that the packet breaks.
pub fn decode(bytes: &[u8], version: Version) -> Result<Option<(Packet, usize)>, Malformed> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let Some((length, varint_length)) = remaining_length(rest, version)? else {
        return Ok(None);
    };
    check_flags(first)?;
    let Some(body) = rest.get(varint_length..varint_length + length) else {
        return Ok(None);
    };
    let mut reader = Reader { bytes: body };
    let packet = decode_body(first, &mut reader, version)?;
    if !reader.is_empty() {
        return malformed("2.1.4", "bytes left after the packet's last field");
    }
    Ok(Some((packet, 1 + varint_length + length)))
}

fn remaining_length(bytes: &[u8], version: Version) -> Result<Option<(usize, usize)>, Malformed> {
    let mut value = 0usize;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            if version == Version::V5 && byte == 0 && index > 0 {
                return malformed("MQTT-1.5.5-1", "remaining length not in its shortest form");
            }
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() >= 4 {
        return malformed("2.1.4", "remaining length longer than 4 bytes");
    }
    Ok(None)
}

fn check_flags(first: u8) -> Result<(), Malformed> {
    let flags = first & 0x0F;
    match first >> 4 {
        0 => malformed("2.1.2", "packet type 0"),
        3 if flags & 0x06 == 0x06 => malformed("MQTT-3.3.1-4", "both QoS bits are set"),
        3 if flags & 0x0E == 0x08 => malformed("MQTT-3.3.1-2", "DUP at QoS 0"),
        3 => Ok(()),
        6 | 8 | 10 if flags != 2 => malformed("MQTT-2.1.3-1", "reserved flags must be 0010"),
        6 | 8 | 10 => Ok(()),
        _ if flags != 0 => malformed("MQTT-2.1.3-1", "reserved flags must be 0000"),
        _ => Ok(()),
    }
}

fn decode_body(first: u8, r: &mut Reader<'_>, version: Version) -> Result<Packet, Malformed> {
    let v5 = version == Version::V5;
    Ok(match first >> 4 {
        1 => Packet::Connect(decode_connect(r)?),
        2 => Packet::ConnAck(decode_connack(r, version)?),
        3 => Packet::Publish(decode_publish(first, r, v5)?),
        4 => Packet::PubAck(decode_ack(r, v5, PUBACK_CODES)?),
        5 => Packet::PubRec(decode_ack(r, v5, PUBACK_CODES)?),
        6 => Packet::PubRel(decode_ack(r, v5, PUBREL_CODES)?),
        7 => Packet::PubComp(decode_ack(r, v5, PUBREL_CODES)?),
        8 => Packet::Subscribe(decode_subscribe(r, v5)?),
        9 => Packet::SubAck(decode_suback(r, v5)?),
        10 => Packet::Unsubscribe(decode_unsubscribe(r, v5)?),
        11 => Packet::UnsubAck(decode_unsuback(r, v5)?),
        12 => Packet::PingReq,
        13 => Packet::PingResp,
        14 => {
            let (code, properties) =
                code_and_properties(r, v5, DISCONNECT_CODES, Place::Disconnect)?;
            Packet::Disconnect(Disconnect { code, properties })
        }
        _ if !v5 => return malformed("2.2.1", "packet type 15 before version 5"),
        _ => {
            let (code, properties) = code_and_properties(r, true, AUTH_CODES, Place::Auth)?;
            Packet::Auth(Auth { code, properties })
        }
    })
}

const PUBACK_CODES: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
const PUBREL_CODES: &[u8] = &[0x00, 0x92];
const SUBACK_CODES: &[u8] = &[
    0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2,
];
const UNSUBACK_CODES: &[u8] = &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
const AUTH_CODES: &[u8] = &[0x00, 0x18, 0x19];
const DISCONNECT_CODES: &[u8] = &[
    0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94,
    0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
];
const CONNACK_CODES: &[u8] = &[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97,
    0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
];

fn decode_connect(r: &mut Reader<'_>) -> Result<Connect, Malformed> {
    let name = r.string("protocol name")?;
    let version = match (name.as_str(), r.u8("protocol level")?) {
        ("MQIsdp", 3) => Version::V31,
        ("MQTT", 4) => Version::V311,
        ("MQTT", 5) => Version::V5,
        _ => return malformed("MQTT-3.1.2-1", "unknown protocol name and level"),
    };
    let v5 = version == Version::V5;
    let flags = r.u8("connect flags")?;
    check_connect_flags(flags, v5)?;
    let keep_alive_s = r.u16("keep alive")?;
    let properties = properties_if(v5, r, Place::Connect)?;
    let client_id = r.string("client identifier")?;
    let will = if flags & 4 != 0 {
        Some(Will {
            qos: flags >> 3 & 3,
            retain: flags & 0x20 != 0,
            properties: properties_if(v5, r, Place::Will)?,
            topic: topic_name(r)?,
            payload: r.binary("will payload")?,
        })
    } else {
        None
    };
    let username = if flags & 0x80 != 0 {
        Some(r.string("user name")?)
    } else {
        None
    };
    let password = if flags & 0x40 != 0 {
        Some(r.binary("password")?)
    } else {
        None
    };
    let clean_start = flags & 2 != 0;
    Ok(Connect {
        version,
        clean_start,
        keep_alive_s,
        client_id,
        will,
        username,
        password,
        properties,
    })
}

fn check_connect_flags(flags: u8, v5: bool) -> Result<(), Malformed> {
    if flags & 1 != 0 {
        return malformed("MQTT-3.1.2-3", "reserved connect flag is set");
    }
    if flags & 4 == 0 && flags & 0x38 != 0 {
        return malformed("MQTT-3.1.2-11", "will QoS or retain without a will");
    }
    if flags & 0x18 == 0x18 {
        return malformed("MQTT-3.1.2-12", "will QoS 3");
    }
    if !v5 && flags & 0xC0 == 0x40 {
        return malformed("MQTT-3.1.2-22", "password without user name");
    }
    Ok(())
}

fn decode_connack(r: &mut Reader<'_>, version: Version) -> Result<ConnAck, Malformed> {
    let v5 = version == Version::V5;
    let flags = r.u8("connect acknowledge flags")?;
    let code = r.u8("connect return code")?;
    // Version 3.1 leaves the first byte unused.
    if flags > 1 && version != Version::V31 {
        return malformed("MQTT-3.2.2-1", "reserved acknowledge flags are set");
    }
    let session_present = flags & 1 != 0 && version != Version::V31;
    if session_present && code != 0 {
        return malformed("MQTT-3.2.2-6", "session present beside a refusal");
    }
    if (v5 && !CONNACK_CODES.contains(&code)) || (!v5 && code > 5) {
        return malformed("MQTT-3.2.2-8", "unknown connect return code");
    }
    let properties = properties_if(v5, r, Place::ConnAck)?;
    Ok(ConnAck {
        session_present,
        code,
        properties,
    })
}

fn decode_publish(first: u8, r: &mut Reader<'_>, v5: bool) -> Result<Publish, Malformed> {
    let qos = first >> 1 & 3;
    let topic = r.string("topic name")?;
    let packet_id = if qos > 0 { Some(packet_id(r)?) } else { None };
    let properties = properties_if(v5, r, Place::Publish)?;
    let has_alias = properties
        .0
        .iter()
        .any(|p| matches!(p, super::Property::TopicAlias(_)));
    if topic.is_empty() && !has_alias {
        return malformed("MQTT-4.7.3-1", "empty topic name without a topic alias");
    }
    check_no_wildcard(&topic)?;
    let payload = r.rest().to_vec();
    let (dup, retain) = (first & 8 != 0, first & 1 != 0);
    Ok(Publish {
        dup,
        qos,
        retain,
        topic,
        packet_id,
        properties,
        payload,
    })
}

fn decode_ack(r: &mut Reader<'_>, v5: bool, allowed: &[u8]) -> Result<Ack, Malformed> {
    let packet_id = packet_id(r)?;
    let (code, properties) = code_and_properties(r, v5, allowed, Place::Acks)?;
    Ok(Ack {
        packet_id,
        code,
        properties,
    })
}

fn decode_subscribe(r: &mut Reader<'_>, v5: bool) -> Result<Subscribe, Malformed> {
    let packet_id = packet_id(r)?;
    let properties = properties_if(v5, r, Place::Subscribe)?;
    let mut filters = Vec::new();
    while !r.is_empty() {
        let filter = topic_filter(r)?;
        let byte = r.u8("subscription options")?;
        let options = subscription_options(byte, v5)?;
        if options.no_local && filter.starts_with("$share/") {
            return malformed("MQTT-3.8.3-4", "no local on a shared subscription");
        }
        filters.push((filter, options));
    }
    if filters.is_empty() {
        return malformed("MQTT-3.8.3-2", "subscribe without a filter");
    }
    Ok(Subscribe {
        packet_id,
        properties,
        filters,
    })
}

fn subscription_options(byte: u8, v5: bool) -> Result<SubscriptionOptions, Malformed> {
    let reserved = if v5 { 0xC0 } else { 0xFC };
    if byte & reserved != 0 {
        return malformed("MQTT-3.8.3-5", "reserved subscription option bits are set");
    }
    if byte & 3 == 3 {
        return malformed("3.8.3.1", "subscription QoS 3");
    }
    if byte & 0x30 == 0x30 {
        return malformed("3.8.3.1", "retain handling 3");
    }
    Ok(SubscriptionOptions {
        qos: byte & 3,
        no_local: byte & 4 != 0,
        retain_as_published: byte & 8 != 0,
        retain_handling: byte >> 4,
    })
}

fn decode_suback(r: &mut Reader<'_>, v5: bool) -> Result<SubAck, Malformed> {
    let packet_id = packet_id(r)?;
    let properties = properties_if(v5, r, Place::SubAcks)?;
    let codes = r.rest().to_vec();
    let allowed: &[u8] = if v5 { SUBACK_CODES } else { &[0, 1, 2, 0x80] };
    if codes.is_empty() || codes.iter().any(|c| !allowed.contains(c)) {
        return malformed("MQTT-3.9.3-2", "suback codes missing or not allowed");
    }
    Ok(SubAck {
        packet_id,
        properties,
        codes,
    })
}

fn decode_unsubscribe(r: &mut Reader<'_>, v5: bool) -> Result<Unsubscribe, Malformed> {
    let packet_id = packet_id(r)?;
    let properties = properties_if(v5, r, Place::Unsubscribe)?;
    let mut filters = Vec::new();
    while !r.is_empty() {
        filters.push(topic_filter(r)?);
    }
    if filters.is_empty() {
        return malformed("MQTT-3.10.3-2", "unsubscribe without a filter");
    }
    Ok(Unsubscribe {
        packet_id,
        properties,
        filters,
    })
}

fn decode_unsuback(r: &mut Reader<'_>, v5: bool) -> Result<UnsubAck, Malformed> {
    let packet_id = packet_id(r)?;
    let properties = properties_if(v5, r, Place::SubAcks)?;
    let codes = if v5 { r.rest().to_vec() } else { Vec::new() };
    if v5 && (codes.is_empty() || codes.iter().any(|c| !UNSUBACK_CODES.contains(c))) {
        return malformed("MQTT-3.11.3-2", "unsuback codes missing or not allowed");
    }
    Ok(UnsubAck {
        packet_id,
        properties,
        codes,
    })
}

fn code_and_properties(
    r: &mut Reader<'_>,
    v5: bool,
    allowed: &[u8],
    place: Place,
) -> Result<(u8, Properties), Malformed> {
    if !v5 || r.is_empty() {
        return Ok((0, Properties::default()));
    }
    let code = r.u8("reason code")?;
    if !allowed.contains(&code) {
        return malformed("2.4", "reason code not allowed in this packet");
    }
    let properties = if r.is_empty() {
        Properties::default()
    } else {
        decode_properties(r, place)?
    };
    Ok((code, properties))
}

fn properties_if(v5: bool, r: &mut Reader<'_>, place: Place) -> Result<Properties, Malformed> {
    if v5 {
        decode_properties(r, place)
    } else {
        Ok(Properties::default())
    }
}

fn packet_id(r: &mut Reader<'_>) -> Result<u16, Malformed> {
    match r.u16("packet identifier")? {
        0 => malformed("MQTT-2.2.1-3", "packet identifier 0"),
        id => Ok(id),
    }
}

fn topic_name(r: &mut Reader<'_>) -> Result<String, Malformed> {
    let topic = r.string("topic name")?;
    if topic.is_empty() {
        return malformed("MQTT-4.7.3-1", "empty topic name");
    }
    check_no_wildcard(&topic)?;
    Ok(topic)
}

fn check_no_wildcard(topic: &str) -> Result<(), Malformed> {
    if topic.contains(['+', '#']) {
        return malformed("MQTT-3.3.2-2", "wildcard in a topic name");
    }
    Ok(())
}

fn topic_filter(r: &mut Reader<'_>) -> Result<String, Malformed> {
    let filter = r.string("topic filter")?;
    if filter.is_empty() {
        return malformed("MQTT-4.7.3-1", "empty topic filter");
    }
    let last = filter.split('/').count() - 1;
    for (index, level) in filter.split('/').enumerate() {
        if level.contains('#') && (level.len() > 1 || index != last) {
            return malformed("MQTT-4.7.1-1", "# must be a whole last level");
        }
        if level.contains('+') && level.len() > 1 {
            return malformed("MQTT-4.7.1-2", "+ must be a whole level");
        }
    }
    if let Some(shared) = filter.strip_prefix("$share/") {
        match shared.split_once('/') {
            Some((group, rest))
                if !group.is_empty() && !group.contains(['+', '#']) && !rest.is_empty() => {}
            _ => return malformed("MQTT-4.8.2-1", "shared filter without group or filter"),
        }
    }
    Ok(filter)
}

/// Takes fields from the front of a packet's body.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        let Some((head, tail)) = self.bytes.split_at_checked(length) else {
            return malformed("2.1.4: the packet ends inside a field", what);
        };
        self.bytes = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    pub(super) fn sub_reader(
        &mut self,
        length: usize,
        what: &'static str,
    ) -> Result<Self, Malformed> {
        Ok(Self {
            bytes: self.take(length, what)?,
        })
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    pub(super) fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        Ok(self.array::<1>(what)?[0])
    }

    pub(super) fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array(what)?))
    }

    pub(super) fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array(what)?))
    }

    pub(super) fn varint(&mut self, what: &'static str) -> Result<u32, Malformed> {
        let mut value = 0u32;
        for index in 0..4 {
            let byte = self.u8(what)?;
            value |= u32::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                if byte == 0 && index > 0 {
                    return malformed("MQTT-1.5.5-1: integer not in its shortest form", what);
                }
                return Ok(value);
            }
        }
        malformed("1.5.5: variable byte integer longer than 4 bytes", what)
    }

    pub(super) fn binary(&mut self, what: &'static str) -> Result<Vec<u8>, Malformed> {
        let length = self.u16(what)?;
        Ok(self.take(usize::from(length), what)?.to_vec())
    }

    pub(super) fn string(&mut self, what: &'static str) -> Result<String, Malformed> {
        let Ok(string) = String::from_utf8(self.binary(what)?) else {
            return malformed("MQTT-1.5.4-1: not well-formed UTF-8", what);
        };
        if string.contains('\0') {
            return malformed("MQTT-1.5.4-2: U+0000 in a string", what);
        }
        Ok(string)
    }
}
