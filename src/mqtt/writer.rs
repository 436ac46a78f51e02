//! Appending the data types of section 1.5 and whole packets to a buffer.

use super::frame::PacketType;
use super::property::{PropertyId, UserProperties};
use super::varint;

/// Appends a two-byte integer.
pub(super) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a four-byte integer.
pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a two-byte length and the bytes.
pub(super) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).expect("strings and binary data are at most 65,535 bytes");
    put_u16(out, len);
    out.extend_from_slice(bytes);
}

/// Appends a UTF-8 encoded string.
pub(super) fn put_string(out: &mut Vec<u8>, string: &str) {
    put_binary(out, string.as_bytes());
}

/// Appends a packet: first byte, remaining length, and the body that `body` appends.
///
/// The length is written after the body, which moves a body of 128 bytes or more once; PUBLISH
/// has an encoder that does not.
pub(super) fn put_packet(
    out: &mut Vec<u8>,
    packet_type: PacketType,
    body: impl FnOnce(&mut Vec<u8>),
) {
    out.push(packet_type.first_byte(packet_type.fixed_flags()));
    put_with_length(out, body);
}

/// Appends a property block with its length.
pub(super) fn put_properties(out: &mut Vec<u8>, properties: impl FnOnce(&mut PropertyWriter<'_>)) {
    put_with_length(out, |out| properties(&mut PropertyWriter { out }));
}

fn put_with_length(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.push(0);
    content(out);
    let len = out.len() - start - 1;
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    let (bytes, count) = varint::to_bytes(len);
    if count > 1 {
        out.splice(start..=start, bytes[..count].iter().copied());
    } else {
        out[start] = bytes[0];
    }
}

/// Appends properties; an absent one (`None`) appends nothing.
pub(super) struct PropertyWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl PropertyWriter<'_> {
    pub(super) fn byte(&mut self, id: PropertyId, value: Option<u8>) {
        if let Some(value) = value {
            self.out.extend_from_slice(&[id.as_u8(), value]);
        }
    }

    pub(super) fn flag(&mut self, id: PropertyId, value: Option<bool>) {
        self.byte(id, value.map(u8::from));
    }

    pub(super) fn u16(&mut self, id: PropertyId, value: Option<u16>) {
        if let Some(value) = value {
            self.out.push(id.as_u8());
            put_u16(self.out, value);
        }
    }

    pub(super) fn u32(&mut self, id: PropertyId, value: Option<u32>) {
        if let Some(value) = value {
            self.out.push(id.as_u8());
            put_u32(self.out, value);
        }
    }

    pub(super) fn varint(&mut self, id: PropertyId, value: Option<u32>) {
        if let Some(value) = value {
            self.out.push(id.as_u8());
            varint::encode(self.out, value);
        }
    }

    pub(super) fn string(&mut self, id: PropertyId, value: Option<&str>) {
        self.binary(id, value.map(str::as_bytes));
    }

    pub(super) fn binary(&mut self, id: PropertyId, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.out.push(id.as_u8());
            put_binary(self.out, value);
        }
    }

    pub(super) fn user_properties(&mut self, properties: UserProperties<'_>) {
        for (name, value) in properties {
            put_user_property(self.out, name, value);
        }
    }

    /// Appends properties that are encoded already.
    pub(super) fn raw(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        append(self.out);
    }
}

/// Appends one encoded user property.
pub(super) fn put_user_property(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(PropertyId::UserProperty.as_u8());
    put_string(out, name);
    put_string(out, value);
}
