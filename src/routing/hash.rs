//! The seeded hashes of the index. Topic text is hostile input: without the seed nobody can make
//! two topics collide on purpose. The values live in this process only.

use std::hash::{BuildHasher, Hasher};

use super::shape::LEVELS_MAX;

/// Hashes whole topics, and filters level by level.
#[derive(Debug)]
pub(super) struct Hashes {
    state: ahash::RandomState,
    /// One odd multiplier a level, so that a filter's hash is a sum over its levels.
    level_keys: [u64; LEVELS_MAX + 1],
    plus: u64,
    multi: u64,
}

impl Hashes {
    pub(super) fn new(seed: [u64; 4]) -> Self {
        let state = ahash::RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]);
        let derive = |label: u64| state.hash_one(label) | 1;
        Self {
            level_keys: std::array::from_fn(|level| derive(level as u64)),
            plus: derive(1 << 32),
            multi: derive(1 << 33),
            state,
        }
    }

    /// The hash of an exact filter or of a whole topic.
    #[inline]
    pub(super) fn whole(&self, text: &[u8]) -> u64 {
        let mut hasher = self.state.build_hasher();
        hasher.write(text);
        hasher.finish()
    }

    /// The hash of one level's text.
    #[inline]
    pub(super) fn level(&self, text: &[u8]) -> u64 {
        self.whole(text)
    }

    /// What a literal level adds to a filter's sum.
    #[inline]
    pub(super) fn literal_term(&self, level: usize, hash: u64) -> u64 {
        hash.wrapping_mul(self.level_keys[level])
    }

    /// What a `+` adds to a filter's sum.
    #[inline]
    pub(super) fn plus_term(&self, level: usize) -> u64 {
        self.plus.wrapping_mul(self.level_keys[level])
    }

    /// What a `#` after `depth` levels adds to a filter's sum.
    #[inline]
    pub(super) fn multi_term(&self, depth: usize) -> u64 {
        self.multi.wrapping_mul(self.level_keys[depth])
    }

    /// The hash of an edge of the overflow trie.
    #[inline]
    pub(super) fn edge(&self, parent: u32, level: &[u8]) -> u64 {
        mix(self
            .whole(level)
            .wrapping_add(u64::from(parent).wrapping_mul(self.plus)))
    }
}

/// Spreads a sum over all bits: the tables use the top 8 and the low 32.
#[inline]
pub(super) fn mix(sum: u64) -> u64 {
    let wide = u128::from(sum ^ 0x9e37_79b9_7f4a_7c15) * u128::from(0xd6e8_feb8_6659_fd93_u64);
    let [low, high] = [wide, wide >> 64].map(|half| {
        let bytes = half.to_le_bytes();
        u64::from_le_bytes([
            bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7],
        ])
    });
    low ^ high
}
