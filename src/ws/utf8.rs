//! Whether text is UTF-8, as it comes piece by piece: a fault is seen at the first byte that cannot
//! belong to any valid text.

/// What has come of an unfinished character.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Utf8 {
    begun: [u8; 3],
    len: u8,
}

/// The text is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUtf8;

impl Utf8 {
    /// More of the text.
    ///
    /// # Errors
    /// When it can no longer become UTF-8.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), NotUtf8> {
        let mut rest = bytes;
        while self.len > 0 {
            let Some((byte, behind)) = rest.split_first() else {
                return Ok(());
            };
            rest = behind;
            let len = usize::from(self.len);
            let mut character = [0; 4];
            character[..len].copy_from_slice(&self.begun[..len]);
            character[len] = *byte;
            self.keep(&character[..=len])?;
        }
        self.keep(rest)
    }

    /// The text is over.
    ///
    /// # Errors
    /// When a character is unfinished.
    pub fn end(&mut self) -> Result<(), NotUtf8> {
        let unfinished = std::mem::take(self).len > 0;
        if unfinished { Err(NotUtf8) } else { Ok(()) }
    }

    /// Checks bytes that begin with a character, and keeps one that is unfinished.
    fn keep(&mut self, bytes: &[u8]) -> Result<(), NotUtf8> {
        self.len = 0;
        let Err(error) = std::str::from_utf8(bytes) else {
            return Ok(());
        };
        if error.error_len().is_some() {
            return Err(NotUtf8);
        }
        let left = bytes.get(error.valid_up_to()..).unwrap_or_default();
        for (to, from) in self.begun.iter_mut().zip(left) {
            *to = *from;
            self.len += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(pieces: &[&[u8]]) -> bool {
        let mut text = Utf8::default();
        pieces.iter().all(|piece| text.take(piece).is_ok()) && text.end().is_ok()
    }

    #[test]
    fn a_fault_is_seen_at_once() {
        let mut text = Utf8::default();
        assert_eq!(text.take(b"\xf4"), Ok(()));
        assert_eq!(
            text.take(b"\x90"),
            Err(NotUtf8),
            "beyond the last character"
        );
        let mut text = Utf8::default();
        assert_eq!(text.take(b"\xed\xa0"), Err(NotUtf8), "a surrogate");
        assert!(!whole(&[b"\xce"]));
        assert!(whole(&[b"\xce", b"", b"\xba"]));
    }

    proptest! {
        #[test]
        fn pieces_are_judged_as_the_whole(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..12),
                any::<String>().prop_map(String::into_bytes),
            ],
            cut in 0usize..12,
            second in 0usize..12,
        ) {
            let a = cut.min(bytes.len());
            let b = a + second.min(bytes.len() - a);
            let valid = std::str::from_utf8(&bytes).is_ok();
            prop_assert_eq!(whole(&[&bytes[..a], &bytes[a..b], &bytes[b..]]), valid);
        }
    }
}
