//! Cutting a byte stream into packets: the fixed header (section 2.1).

use super::error::DecodeError;
use super::reason::ReasonCode;
use super::varint;

/// The fixed header of a packet takes at most this many bytes.
pub const MAX_FIXED_HEADER_BYTES: usize = 5;

/// The type of a control packet, the upper half of its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names of the specification")]
pub enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// The type in a packet's first byte, `None` for the reserved type 0.
    #[must_use]
    pub const fn from_first_byte(byte: u8) -> Option<Self> {
        Some(match byte >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The first byte of a packet of this type with its flags.
    #[must_use]
    pub const fn first_byte(self, flags: u8) -> u8 {
        (self as u8) << 4 | flags
    }

    /// The flags that every packet of this type but PUBLISH carries (table 2-2).
    pub(crate) const fn fixed_flags(self) -> u8 {
        match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }
}

/// One packet as it lies in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its type.
    pub packet_type: PacketType,
    /// The lower half of its first byte.
    pub flags: u8,
    /// Everything after the fixed header.
    pub body: &'a [u8],
    /// Bytes of the whole packet, fixed header included.
    pub wire_len: usize,
}

impl Frame<'_> {
    /// 5.0 wants the remaining length in as few bytes as possible, 3.x does not say.
    pub(crate) fn check_minimal_length(&self) -> Result<(), DecodeError> {
        let header_bytes = self.wire_len - self.body.len();
        let minimal = match self.body.len() {
            0..=0x7F => 2,
            0x80..=0x3FFF => 3,
            0x4000..=0x001F_FFFF => 4,
            _ => 5,
        };
        if header_bytes != minimal {
            return Err(DecodeError::malformed(
                "MQTT-1.5.5-1 remaining length is not minimal",
            ));
        }
        Ok(())
    }
}

const DUP: u8 = 0b1000;

/// Bytes of the first packet of `bytes`, fixed header included, as its header says; none while the
/// header is not complete or not valid.
#[must_use]
pub fn declared_len(bytes: &[u8]) -> Option<usize> {
    let (_, rest) = bytes.split_first()?;
    let (remaining, header_bytes) = varint::decode(rest).ok()??;
    Some(1 + header_bytes + remaining as usize)
}

/// Takes the first packet of `bytes`; `Ok(None)` says that more bytes are needed.
///
/// `max_packet_size` bounds the whole packet, fixed header included, and is checked as soon as
/// the length is known. The rules that differ between versions (a minimal remaining length, and
/// the DUP flag that 3.1 allows on PUBREL, SUBSCRIBE and UNSUBSCRIBE) are left to
/// [`super::packet::decode`].
///
/// # Errors
/// 0x81 for the reserved type 0, for flags no version allows [MQTT-2.1.3-1], and for a length of
/// more than four bytes; 0x95 for a packet that is too large.
#[inline]
pub fn next_frame(bytes: &[u8], max_packet_size: u32) -> Result<Option<Frame<'_>>, DecodeError> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    let Some(packet_type) = PacketType::from_first_byte(first) else {
        return Err(DecodeError::malformed("2.1.2 packet type 0 is reserved"));
    };
    let flags = first & 0x0F;
    if packet_type != PacketType::Publish {
        check_flags(packet_type, flags)?;
    }
    let Some((remaining, length_bytes)) = varint::decode(rest)? else {
        return Ok(None);
    };
    let header = 1 + length_bytes;
    let wire_len = header + remaining as usize;
    if wire_len > max_packet_size as usize {
        return Err(DecodeError::new(
            ReasonCode::PacketTooLarge,
            "MQTT-3.2.2-15 packet exceeds the maximum packet size",
        ));
    }
    let frame = bytes.get(header..wire_len);
    Ok(frame.map(|body| Frame {
        packet_type,
        flags,
        body,
        wire_len,
    }))
}

fn check_flags(packet_type: PacketType, flags: u8) -> Result<(), DecodeError> {
    let fixed = packet_type.fixed_flags();
    if flags == fixed || (fixed != 0 && flags == fixed | DUP) {
        return Ok(());
    }
    Err(DecodeError::malformed(
        "MQTT-2.1.3-1 reserved flags of the fixed header",
    ))
}
