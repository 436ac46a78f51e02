//! The wire format against the specification: hand-written vectors, round trips, and bytes that
//! mean nothing.

mod arbitrary;
mod connect;
mod frames;
mod messages;
mod publish;
mod roundtrip;
mod session_packets;
mod subscribe;
mod topics;

use super::decode_connect::{Connect, ConnectError, decode_connect};
use super::decode_server::{ServerPacket, decode_server};
use super::error::DecodeError;
use super::frame::next_frame;
use super::packet::{ClientPacket, decode};
use super::version::Version;

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
const UNLIMITED: u32 = u32::MAX;

/// A packet with a correct remaining length.
fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = vec![first];
    super::varint::encode(&mut out, u32::try_from(body.len()).unwrap());
    out.extend(body);
    out
}

/// A string or binary data with its length.
fn string(text: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = text.as_ref();
    let mut out = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

/// A property block with its length.
fn block(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = Vec::new();
    super::varint::encode(&mut out, u32::try_from(body.len()).unwrap());
    out.extend(body);
    out
}

fn from_client(bytes: &[u8], version: Version) -> Result<ClientPacket<'_>, DecodeError> {
    decode(
        &next_frame(bytes, UNLIMITED)?.expect("the packet is complete"),
        version,
    )
}

fn from_server(bytes: &[u8], version: Version) -> Result<ServerPacket<'_>, DecodeError> {
    decode_server(
        &next_frame(bytes, UNLIMITED)?.expect("the packet is complete"),
        version,
    )
}

fn connect(bytes: &[u8]) -> Result<Connect<'_>, ConnectError> {
    let frame = next_frame(bytes, UNLIMITED).expect("the fixed header is good");
    decode_connect(&frame.expect("the packet is complete"))
}

/// Asserts that an error has this reason code and names this rule.
#[track_caller]
fn assert_error<T: std::fmt::Debug>(
    result: Result<T, DecodeError>,
    reason: u8,
    rule: &str,
    bytes: &[u8],
) {
    match result {
        Ok(accepted) => panic!("{rule}: accepted {bytes:02x?} as {accepted:?}"),
        Err(error) => {
            let names_rule = error.rule.split(' ').any(|word| word == rule);
            assert!(
                error.reason.as_u8() == reason && names_rule,
                "expected {reason:#x} {rule}, got {error} for {bytes:02x?}"
            );
        }
    }
}
