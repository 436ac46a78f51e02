//! Variable byte integers (section 1.5.5): seven bits a byte, lowest first, the top bit says
//! that more follow.

use super::error::DecodeError;

/// The greatest value, and so the greatest remaining length: 268,435,455 bytes.
pub const MAX: u32 = 0x0FFF_FFFF;

/// Reads a value from the front of `bytes`: the value and how many bytes it took.
///
/// `Ok(None)` says that the value is not complete. An encoding with more bytes than the value
/// needs is accepted here, because 3.x does not forbid it; compare with [`encoded_len`].
///
/// # Errors
/// A fifth byte would be needed [MQTT-1.5.5-1].
#[inline]
pub fn decode(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    match bytes {
        [first, ..] if *first < 0x80 => Ok(Some((u32::from(*first), 1))),
        [] => Ok(None),
        _ => decode_long(bytes),
    }
}

fn decode_long(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    let mut value = 0;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * at);
        if byte < 0x80 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() < 4 {
        return Ok(None);
    }
    Err(DecodeError::malformed(
        "1.5.5 variable byte integer of more than four bytes",
    ))
}

/// How many bytes `value` takes, 1 to 4.
///
/// # Panics
/// If `value` is greater than [`MAX`].
#[inline]
#[must_use]
pub const fn encoded_len(value: u32) -> usize {
    assert!(value <= MAX, "a variable byte integer has at most 28 bits");
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x001F_FFFF => 3,
        _ => 4,
    }
}

/// Appends `value` with as few bytes as possible [MQTT-1.5.5-1].
///
/// # Panics
/// If `value` is greater than [`MAX`].
#[inline]
pub fn encode(out: &mut Vec<u8>, value: u32) {
    let (bytes, len) = to_bytes(value);
    out.extend_from_slice(&bytes[..len]);
}

/// The encoded value at the front of four bytes, and how many of them it takes.
pub(crate) const fn to_bytes(value: u32) -> ([u8; 4], usize) {
    let len = encoded_len(value);
    let mut bytes = [0; 4];
    let mut rest = value;
    let mut at = 0;
    while at < len {
        let more = if at + 1 < len { 0x80 } else { 0 };
        bytes[at] = (rest & 0x7F) as u8 | more;
        rest >>= 7;
        at += 1;
    }
    (bytes, len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn limits_of_each_length() {
        let vectors: [(u32, &[u8]); 8] = [
            (0, &[0x00]),
            (127, &[0x7F]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xFF, 0x7F]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xFF, 0xFF, 0x7F]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (268_435_455, &[0xFF, 0xFF, 0xFF, 0x7F]),
        ];
        for (value, bytes) in vectors {
            let mut out = Vec::new();
            encode(&mut out, value);
            assert_eq!(out, bytes);
            assert_eq!(encoded_len(value), bytes.len());
            assert_eq!(decode(bytes), Ok(Some((value, bytes.len()))));
        }
    }

    #[test]
    fn five_bytes_are_malformed() {
        assert!(decode(&[0xFF, 0xFF, 0xFF, 0xFF]).is_err());
        assert!(decode(&[0x80, 0x80, 0x80, 0x80, 0x01]).is_err());
        assert_eq!(decode(&[0x80, 0x80, 0x80]), Ok(None));
        assert_eq!(decode(&[]), Ok(None));
    }

    proptest! {
        #[test]
        fn round_trip(value in 0..=MAX, rest in any::<Vec<u8>>()) {
            let mut out = Vec::new();
            encode(&mut out, value);
            let len = out.len();
            for end in 0..len {
                prop_assert_eq!(decode(&out[..end]), Ok(None));
            }
            out.extend(rest);
            prop_assert_eq!(decode(&out), Ok(Some((value, len))));
        }
    }
}
