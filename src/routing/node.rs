//! The node of one filter, and text in the arena.
//!
//! ```text
//! word 0   the cores that want it (CoreSet)
//! word 1   length u16 | flags u16 | the first 4 bytes of the text
//! word 2.. the rest of the text, padded with zeroes
//! ```
//!
//! 12 bytes and the text, rounded up to 8: 32 for a filter of 19 bytes. Only word 0 changes while
//! the node is linked.

use super::arena::{Address, Arena};
use crate::base::atomic::{AtomicU64, Ordering};

/// The filter has `+` or `#`.
pub(super) const FLAG_WILDCARD: u16 = 1;
/// The filter hangs in the overflow trie.
pub(super) const FLAG_IN_TRIE: u16 = 2;

/// Bytes of the text in word 1.
const HEAD_BYTES: usize = 4;
const FLAGS_MASK: u64 = 0xffff_0000;

/// Words of a node whose text has `len` bytes.
pub(super) fn node_words(len: usize) -> usize {
    2 + len.saturating_sub(HEAD_BYTES).div_ceil(8)
}

/// Writes a node that is not linked yet.
pub(super) fn write(arena: &Arena, address: Address, cores: u64, flags: u16, text: &[u8]) {
    arena.word(address).store(cores, Ordering::Relaxed);
    let head = head_word(text) | u64::from(flags) << 16;
    arena.word(address + 1).store(head, Ordering::Relaxed);
    write_text(arena, address + 2, text.get(HEAD_BYTES..).unwrap_or(&[]));
}

/// Whether the node's text is `text` (of at most 65535 bytes).
#[inline]
pub(super) fn text_is(arena: &Arena, address: Address, text: &[u8]) -> bool {
    let head = arena.word(address + 1).load(Ordering::Relaxed) & !FLAGS_MASK;
    head == head_word(text) && rest_is(arena, address, text)
}

#[inline]
fn rest_is(arena: &Arena, address: Address, text: &[u8]) -> bool {
    text.len() <= HEAD_BYTES || stored_text_is(arena, address + 2, text, HEAD_BYTES)
}

/// The node's flags.
#[inline]
pub(super) fn flags(arena: &Arena, address: Address) -> u16 {
    let [_, _, low, high, ..] = arena
        .word(address + 1)
        .load(Ordering::Relaxed)
        .to_le_bytes();
    u16::from_le_bytes([low, high])
}

/// Appends the node's text to `out`. A wrong address gives wrong bytes, or none.
pub(super) fn read_text(arena: &Arena, address: Address, out: &mut Vec<u8>) {
    let words = arena.words();
    let Some(head) = words.get(address as usize + 1) else {
        return;
    };
    let head = head.load(Ordering::Relaxed).to_le_bytes();
    let len = usize::from(u16::from_le_bytes([head[0], head[1]]));
    let start = out.len();
    out.extend_from_slice(&head[4..]);
    let rest = &words[address as usize + 2..];
    for word in &rest[..rest.len().min(node_words(len) - 2)] {
        out.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
    }
    out.truncate(start + len);
}

/// Length and first bytes of a text as word 1 holds them.
#[inline]
fn head_word(text: &[u8]) -> u64 {
    let head = match text {
        [a, b, c, d, ..] => u32::from_le_bytes([*a, *b, *c, *d]),
        [a, b, c] => u32::from_le_bytes([*a, *b, *c, 0]),
        [a, b] => u32::from_le_bytes([*a, *b, 0, 0]),
        [a] => u32::from(*a),
        [] => 0,
    };
    text.len() as u64 | u64::from(head) << 32
}

/// Writes text, padded with zeroes, from a word on.
pub(super) fn write_text(arena: &Arena, address: Address, text: &[u8]) {
    let words = &arena.words()[address as usize..];
    for (word, chunk) in words.iter().zip(text.chunks(8)) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
    }
}

/// Whether the words from `address` on hold `text[from..]`, padded with zeroes.
#[inline]
pub(super) fn stored_text_is(arena: &Arena, address: Address, text: &[u8], from: usize) -> bool {
    let rest = &text[from..];
    let start = address as usize;
    let Some(stored) = arena.words().get(start..start + rest.len().div_ceil(8)) else {
        return false;
    };
    let (chunks, tail) = rest.as_chunks::<8>();
    let (whole, last) = stored.split_at(chunks.len());
    let same = |(word, chunk): (&AtomicU64, &[u8; 8])| {
        word.load(Ordering::Relaxed) == u64::from_le_bytes(*chunk)
    };
    if !whole.iter().zip(chunks).all(same) {
        return false;
    }
    last.first()
        .is_none_or(|word| word.load(Ordering::Relaxed) == tail_word(text, tail))
}

/// The last 1 to 7 bytes of a text as a word: by one load when there are 8 before its end.
#[inline]
fn tail_word(text: &[u8], tail: &[u8]) -> u64 {
    if let Some(last) = text.last_chunk::<8>() {
        return u64::from_le_bytes(*last) >> (8 * (8 - tail.len()));
    }
    let mut bytes = [0; 8];
    bytes[..tail.len()].copy_from_slice(tail);
    u64::from_le_bytes(bytes)
}
