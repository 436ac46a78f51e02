//! Packets to bytes.

use super::{Connect, Packet, Properties, Publish, SubscriptionOptions, Version};

pub(super) fn encode(packet: &Packet, version: Version, out: &mut Vec<u8>) {
    let version = if let Packet::Connect(c) = packet {
        c.version
    } else {
        version
    };
    let mut body = Vec::new();
    encode_body(packet, version, &mut body);
    out.push(packet.kind() << 4 | fixed_flags(packet));
    put_varint(out, body.len());
    out.extend_from_slice(&body);
}

fn fixed_flags(packet: &Packet) -> u8 {
    match packet {
        Packet::Publish(p) => u8::from(p.dup) << 3 | (p.qos & 3) << 1 | u8::from(p.retain),
        Packet::PubRel(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) => 2,
        _ => 0,
    }
}

fn encode_body(packet: &Packet, version: Version, out: &mut Vec<u8>) {
    let v5 = version == Version::V5;
    match packet {
        Packet::Connect(connect) => encode_connect(connect, out),
        Packet::ConnAck(ack) => {
            out.push(u8::from(ack.session_present));
            out.push(ack.code);
            put_properties_if(v5, &ack.properties, out);
        }
        Packet::Publish(publish) => encode_publish(publish, v5, out),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            put_u16(out, ack.packet_id);
            put_code_and_properties(v5, ack.code, &ack.properties, out);
        }
        Packet::Subscribe(subscribe) => {
            put_u16(out, subscribe.packet_id);
            put_properties_if(v5, &subscribe.properties, out);
            for (filter, options) in &subscribe.filters {
                put_bytes(out, filter.as_bytes());
                out.push(if v5 {
                    options_byte(*options)
                } else {
                    options.qos
                });
            }
        }
        Packet::SubAck(ack) => {
            put_u16(out, ack.packet_id);
            put_properties_if(v5, &ack.properties, out);
            out.extend_from_slice(&ack.codes);
        }
        Packet::Unsubscribe(unsubscribe) => {
            put_u16(out, unsubscribe.packet_id);
            put_properties_if(v5, &unsubscribe.properties, out);
            for filter in &unsubscribe.filters {
                put_bytes(out, filter.as_bytes());
            }
        }
        Packet::UnsubAck(ack) => {
            put_u16(out, ack.packet_id);
            put_properties_if(v5, &ack.properties, out);
            if v5 {
                out.extend_from_slice(&ack.codes);
            }
        }
        Packet::PingReq | Packet::PingResp => {}
        Packet::Disconnect(d) => put_code_and_properties(v5, d.code, &d.properties, out),
        Packet::Auth(a) => put_code_and_properties(true, a.code, &a.properties, out),
    }
}

fn encode_connect(connect: &Connect, out: &mut Vec<u8>) {
    let v5 = connect.version == Version::V5;
    put_bytes(
        out,
        if connect.version == Version::V31 {
            b"MQIsdp"
        } else {
            b"MQTT"
        },
    );
    out.push(connect.version as u8);
    let mut flags = u8::from(connect.clean_start) << 1;
    if let Some(will) = &connect.will {
        flags |= 4 | (will.qos & 3) << 3 | u8::from(will.retain) << 5;
    }
    flags |= u8::from(connect.password.is_some()) << 6 | u8::from(connect.username.is_some()) << 7;
    out.push(flags);
    put_u16(out, connect.keep_alive_s);
    put_properties_if(v5, &connect.properties, out);
    put_bytes(out, connect.client_id.as_bytes());
    if let Some(will) = &connect.will {
        put_properties_if(v5, &will.properties, out);
        put_bytes(out, will.topic.as_bytes());
        put_bytes(out, &will.payload);
    }
    if let Some(username) = &connect.username {
        put_bytes(out, username.as_bytes());
    }
    if let Some(password) = &connect.password {
        put_bytes(out, password);
    }
}

fn encode_publish(publish: &Publish, v5: bool, out: &mut Vec<u8>) {
    put_bytes(out, publish.topic.as_bytes());
    if let Some(id) = publish.packet_id {
        put_u16(out, id);
    }
    put_properties_if(v5, &publish.properties, out);
    out.extend_from_slice(&publish.payload);
}

fn options_byte(options: SubscriptionOptions) -> u8 {
    options.qos
        | u8::from(options.no_local) << 2
        | u8::from(options.retain_as_published) << 3
        | options.retain_handling << 4
}

/// The short forms of [MQTT5 3.4.2.1]: no property length without properties, no code when 0.
fn put_code_and_properties(v5: bool, code: u8, properties: &Properties, out: &mut Vec<u8>) {
    if !v5 || (code == 0 && properties.0.is_empty()) {
        return;
    }
    out.push(code);
    if !properties.0.is_empty() {
        put_properties_if(true, properties, out);
    }
}

fn put_properties_if(v5: bool, properties: &Properties, out: &mut Vec<u8>) {
    if !v5 {
        return;
    }
    let mut body = Vec::new();
    for property in &properties.0 {
        property.encode(&mut body);
    }
    put_varint(out, body.len());
    out.extend_from_slice(&body);
}

pub(super) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("an MQTT string holds at most 65,535 bytes");
    put_u16(out, length);
    out.extend_from_slice(bytes);
}

/// A variable byte integer [MQTT5 1.5.5].
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    assert!(
        value <= 268_435_455,
        "a variable byte integer holds at most 268,435,455"
    );
    loop {
        let [low, ..] = (value & 0x7F).to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}
