//! A cursor over the body of one packet: the data types of section 1.5.

use super::error::DecodeError;
use super::reason::ReasonCode;
use super::varint;

/// Reads fields from the front of a packet's body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

const CUT_OFF: DecodeError = DecodeError::malformed("1.2 a field ends after its packet");
const NUL: DecodeError = DecodeError::malformed("MQTT-1.5.4-2 U+0000 in a string");
const NOT_UTF8: DecodeError = DecodeError::malformed("MQTT-1.5.4-1 ill-formed UTF-8");

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What has not been read.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// Nothing may follow the last field of a packet.
    pub(super) fn finish(self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        Err(DecodeError::malformed(
            "2.1.4 bytes after the last field of the packet",
        ))
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        let (&value, rest) = self.bytes.split_first().ok_or(CUT_OFF)?;
        self.bytes = rest;
        Ok(value)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        let (value, rest) = self.bytes.split_first_chunk().ok_or(CUT_OFF)?;
        self.bytes = rest;
        Ok(u16::from_be_bytes(*value))
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        let (value, rest) = self.bytes.split_first_chunk().ok_or(CUT_OFF)?;
        self.bytes = rest;
        Ok(u32::from_be_bytes(*value))
    }

    /// A packet identifier, which is never 0 [MQTT-2.2.1-3].
    #[inline]
    pub(super) fn packet_id(&mut self) -> Result<u16, DecodeError> {
        match self.u16()? {
            0 => Err(DecodeError::protocol("MQTT-2.2.1-3 packet identifier 0")),
            id => Ok(id),
        }
    }

    pub(super) fn varint(&mut self) -> Result<u32, DecodeError> {
        let (value, len) = varint::decode(self.bytes)?.ok_or(CUT_OFF)?;
        if len != varint::encoded_len(value) {
            return Err(DecodeError::malformed(
                "MQTT-1.5.5-1 variable byte integer is not minimal",
            ));
        }
        self.bytes = self.bytes.get(len..).ok_or(CUT_OFF)?;
        Ok(value)
    }

    /// A property block without its length.
    pub(super) fn property_block(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.varint()? as usize;
        self.take(len)
    }

    pub(super) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = usize::from(self.u16()?);
        self.take(len)
    }

    /// A UTF-8 encoded string [MQTT-1.5.4-1] without U+0000 [MQTT-1.5.4-2].
    pub(super) fn string(&mut self) -> Result<&'a str, DecodeError> {
        let bytes = self.binary()?;
        if bytes.contains(&0) {
            return Err(NUL);
        }
        std::str::from_utf8(bytes).map_err(|_| NOT_UTF8)
    }

    /// A topic name, which may be empty here: a string without wildcards [MQTT-3.3.2-2].
    #[inline]
    pub(super) fn topic_name(&mut self) -> Result<&'a str, DecodeError> {
        let bytes = self.binary()?;
        if has_nul_or_wildcard(bytes) {
            return Err(explain_bad_topic(bytes));
        }
        std::str::from_utf8(bytes).map_err(|_| NOT_UTF8)
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(CUT_OFF)?;
        self.bytes = rest;
        Ok(taken)
    }
}

/// Eight bytes at a time and without early exit: topics are short and nearly all good.
#[inline]
fn has_nul_or_wildcard(bytes: &[u8]) -> bool {
    let (words, tail) = bytes.as_chunks::<8>();
    let mut found = 0;
    for word in words {
        found |= find_nul_or_wildcard(u64::from_le_bytes(*word));
    }
    let mut last = [b'/'; 8];
    for (to, from) in last.iter_mut().zip(tail) {
        *to = *from;
    }
    (found | find_nul_or_wildcard(u64::from_le_bytes(last))) != 0
}

/// Not 0 exactly if one of the bytes of `word` is U+0000, `+` or `#`.
#[inline]
const fn find_nul_or_wildcard(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    const PLUS: u64 = u64::from_le_bytes([b'+'; 8]);
    const HASH: u64 = u64::from_le_bytes([b'#'; 8]);
    // A zero byte borrows from its top bit; no other byte whose top bit is clear does, unless a
    // zero byte lies below it.
    const fn zero_byte(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word & HIGH
    }
    zero_byte(word) | zero_byte(word ^ PLUS) | zero_byte(word ^ HASH)
}

#[cold]
fn explain_bad_topic(bytes: &[u8]) -> DecodeError {
    if bytes.contains(&0) {
        return NUL;
    }
    DecodeError::new(
        ReasonCode::TopicNameInvalid,
        "MQTT-3.3.2-2 wildcard in a topic name",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_bad_byte_at_each_place() {
        for len in 0..40 {
            let good = vec![b'x'; len];
            assert!(!has_nul_or_wildcard(&good));
            for at in 0..len {
                for byte in 0..=u8::MAX {
                    let mut topic = good.clone();
                    topic[at] = byte;
                    let bad = matches!(byte, 0 | b'+' | b'#');
                    assert_eq!(
                        has_nul_or_wildcard(&topic),
                        bad,
                        "{byte:#x} at {at} of {len}"
                    );
                }
            }
        }
    }

    proptest! {
        #[test]
        fn words_find_what_bytes_find(topic in prop::collection::vec(prop_oneof![0x20..0x30_u8, 0..3_u8, 0x7E..0x83_u8], 0..24)) {
            let bad = topic.iter().any(|byte| matches!(byte, 0 | b'+' | b'#'));
            prop_assert_eq!(has_nul_or_wildcard(&topic), bad);
        }
    }
}
