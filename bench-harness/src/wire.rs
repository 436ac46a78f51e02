//! The fast path of load runs: frames are found and PUBLISH packets read in place.
//!
//! For everything that is not hot (CONNECT, SUBSCRIBE, their answers) the complete [`crate::codec`]
//! is used.

use crate::codec::Version;

/// One complete packet inside a read buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) first: u8,
    pub(crate) body: &'a [u8],
    /// Bytes of the packet with its fixed header.
    pub(crate) length: usize,
}

/// What the front of a buffer holds.
pub(crate) enum Front<'a> {
    Frame(Frame<'a>),
    /// Not complete; the bytes the packet takes in all, once its length is known.
    Incomplete(Option<usize>),
    /// No packet can begin like this.
    Malformed,
}

/// Finds the first packet of `bytes`.
#[inline]
pub(crate) fn front(bytes: &[u8]) -> Front<'_> {
    let mut length = 0usize;
    for index in 0..4 {
        let Some(&byte) = bytes.get(1 + index) else {
            return Front::Incomplete(None);
        };
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let start = 2 + index;
            return match bytes.get(start..start + length) {
                Some(body) => Front::Frame(Frame {
                    first: bytes[0],
                    body,
                    length: start + length,
                }),
                None => Front::Incomplete(Some(start + length)),
            };
        }
    }
    Front::Malformed
}

/// The parts of a PUBLISH that are judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PublishView<'a> {
    pub(crate) dup: bool,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) topic: &'a [u8],
    /// 0 at QoS 0.
    pub(crate) packet_id: u16,
    pub(crate) payload: &'a [u8],
}

/// Reads a PUBLISH; `None` when it is malformed.
#[inline]
pub(crate) fn publish_view<'a>(frame: &Frame<'a>, version: Version) -> Option<PublishView<'a>> {
    let qos = frame.first >> 1 & 3;
    let (topic_length, rest) = take_u16(frame.body)?;
    let (topic, mut rest) = rest.split_at_checked(usize::from(topic_length))?;
    let mut packet_id = 0;
    if qos > 0 {
        (packet_id, rest) = take_u16(rest)?;
        if packet_id == 0 || qos == 3 {
            return None;
        }
    }
    if version == Version::V5 {
        let (length, after) = take_varint(rest)?;
        rest = after.get(length..)?;
    }
    let (dup, retain) = (frame.first & 8 != 0, frame.first & 1 != 0);
    Some(PublishView {
        dup,
        qos,
        retain,
        topic,
        packet_id,
        payload: rest,
    })
}

/// The packet identifier of an acknowledgement, and its reason code (0 when left out).
#[inline]
pub(crate) fn ack_view(frame: &Frame<'_>) -> Option<(u16, u8)> {
    let (id, rest) = take_u16(frame.body)?;
    Some((id, rest.first().copied().unwrap_or(0)))
}

fn take_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*head), rest))
}

fn take_varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0usize;
    for index in 0..4 {
        let byte = *bytes.get(index)?;
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Packet, Properties, Property, Publish};

    #[test]
    fn reads_what_the_codec_writes() {
        for version in [Version::V311, Version::V5] {
            let publish = Publish {
                dup: true,
                qos: 1,
                topic: "a/b".to_owned(),
                packet_id: Some(513),
                properties: Properties(vec![Property::MessageExpiryInterval(5)]),
                payload: vec![9; 300],
                ..Publish::default()
            };
            let bytes = Packet::Publish(publish).to_bytes(version);
            let Front::Frame(frame) = front(&bytes) else {
                panic!("not a frame")
            };
            let view = publish_view(&frame, version).unwrap();
            assert_eq!(
                (view.topic, view.packet_id, view.qos),
                (&b"a/b"[..], 513, 1)
            );
            assert!(view.dup && !view.retain);
            assert_eq!(view.payload, vec![9; 300]);
            for cut in 0..bytes.len() {
                assert!(matches!(front(&bytes[..cut]), Front::Incomplete(_)));
            }
        }
    }

    #[test]
    fn a_length_of_five_bytes_is_malformed() {
        assert!(matches!(
            front(&[0x30, 0x80, 0x80, 0x80, 0x80, 1]),
            Front::Malformed
        ));
    }

    #[test]
    fn a_publish_that_ends_early_is_none() {
        let frame = Frame {
            first: 0x32,
            body: &[0, 3, b'a', b'/', b'b', 0],
            length: 8,
        };
        assert!(publish_view(&frame, Version::V311).is_none());
    }
}
