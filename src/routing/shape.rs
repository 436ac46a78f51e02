//! Wildcard filters by shape ("tuple space"): filters whose `+` stand at the same levels, of the
//! same length, with or without `#`, share one probe a topic.
//!
//! A filter's hash is a sum of one term a level, so a topic's hash under a shape is a few additions
//! from the topic's prefix sums. For each topic length there is one immutable list of the shapes
//! that can match it, found through one word and replaced by pointer when a shape comes or goes.
//! A probe that misses costs about 10 ns, so the live shapes are limited; filters of further
//! shapes go to the overflow trie.
//!
//! Each shape carries a 64-bit filter of the first levels in use: one bit by the level's hash, the
//! last bit for first levels that begin with `$`. A shape whose first level is a wildcard has all
//! bits but that last one, which is what [MQTT-4.7.2-1] asks for.

use std::collections::HashMap;

use super::arena::Arena;
use super::hash::{Hashes, mix};
use super::memory::{IndexFull, Kind, Memory};
use crate::base::atomic::{AtomicU64, Ordering};

/// Levels of a filter that can be served by shape: its `+` are bits of a u32.
pub const LEVELS_MAX: usize = 32;
/// Live shapes that can match topics of one length: a topic of this length pays about 11 ns for
/// each, so at most about 0.4 us.
pub const SHAPES_MAX: usize = if cfg!(loom) { 2 } else { 32 };

/// Lists: one for each topic length up to [`LEVELS_MAX`], the last for longer topics.
const LISTS: usize = LEVELS_MAX + 2;

const FIRST_DOLLAR: u64 = 1 << 63;
const FIRST_ANY: u64 = !FIRST_DOLLAR;

/// What a wildcard filter looks like without its literal levels.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct Shape {
    /// Bit i: level i is `+`.
    pub(super) plus: u32,
    /// Levels, without the `#`.
    pub(super) depth: u8,
    /// Ends with `#`.
    pub(super) multi: bool,
}

impl Shape {
    /// The shape of a valid filter with wildcards; `None` if it is too deep for one.
    pub(super) fn of(filter: &str) -> Option<Self> {
        let mut shape = Self {
            plus: 0,
            depth: 0,
            multi: false,
        };
        for level in filter.split('/') {
            if level == "#" {
                shape.multi = true;
                break;
            }
            if usize::from(shape.depth) == LEVELS_MAX {
                return None;
            }
            shape.plus |= u32::from(level == "+") << shape.depth;
            shape.depth += 1;
        }
        Some(shape)
    }

    #[inline]
    fn from_word(word: u64) -> Self {
        let [a, b, c, d, depth, multi, ..] = word.to_le_bytes();
        Self {
            plus: u32::from_le_bytes([a, b, c, d]),
            depth,
            multi: multi != 0,
        }
    }

    fn word(self) -> u64 {
        u64::from(self.plus) | u64::from(self.depth) << 32 | u64::from(self.multi) << 40
    }

    fn starts_with_wildcard(self) -> bool {
        self.plus & 1 != 0 || self.depth == 0
    }

    /// The lists of the topic lengths that filters of this shape can match.
    fn lists(self) -> std::ops::Range<usize> {
        let depth = usize::from(self.depth);
        if self.multi {
            depth.max(1)..LISTS
        } else {
            depth..depth + 1
        }
    }
}

/// The hash of a wildcard filter that has a shape.
pub(super) fn filter_hash(hashes: &Hashes, filter: &str) -> u64 {
    let terms = filter
        .split('/')
        .enumerate()
        .map(|(at, level)| match level {
            "+" => hashes.plus_term(at),
            "#" => hashes.multi_term(at),
            literal => hashes.literal_term(at, hashes.level(literal.as_bytes())),
        });
    mix(terms.fold(0, u64::wrapping_add))
}

/// The bit of a literal first level.
#[inline]
fn first_bit(text: &[u8], hash: u64) -> u64 {
    if text.first() == Some(&b'$') {
        FIRST_DOLLAR
    } else {
        1 << (hash >> 58).min(62)
    }
}

/// The shared part: for each topic length `deepest << 40 | count << 32 | address` of its list, or
/// 0. A list has two words a shape: the shape, and its filter of first levels.
#[derive(Debug)]
pub(super) struct ShapeLists {
    heads: [AtomicU64; LISTS],
}

/// One list as a reader sees it.
#[derive(Clone, Copy)]
pub(super) struct ShapeList<'a> {
    words: &'a [AtomicU64],
    deepest: usize,
}

impl ShapeLists {
    pub(super) fn new() -> Self {
        Self {
            heads: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// The shapes for topics of this many levels; `None` if there is none.
    #[inline]
    pub(super) fn list<'a>(&self, arena: &'a Arena, levels: usize) -> Option<ShapeList<'a>> {
        // Acquire: the list was written before its head.
        let head = self.heads[levels.min(LISTS - 1)].load(Ordering::Acquire);
        if head == 0 {
            return None;
        }
        let [a, b, c, d, count, deepest, ..] = head.to_le_bytes();
        let start = u32::from_le_bytes([a, b, c, d]) as usize;
        Some(ShapeList {
            words: &arena.words()[start..start + 2 * usize::from(count)],
            deepest: usize::from(deepest),
        })
    }
}

impl ShapeList<'_> {
    /// Levels of a topic that need hashing for this list.
    #[inline]
    pub(super) fn deepest(self) -> usize {
        self.deepest
    }

    /// Each shape that may match a topic with these levels, and the topic's hash under it.
    #[inline]
    pub(super) fn for_each_candidate(
        self,
        hashes: &Hashes,
        levels: &TopicLevels,
        mut candidate: impl FnMut(Shape, u64),
    ) {
        let (pairs, _) = self.words.as_chunks::<2>();
        for [shape, first] in pairs {
            if first.load(Ordering::Relaxed) & levels.first_bit == 0 {
                continue;
            }
            let shape = Shape::from_word(shape.load(Ordering::Relaxed));
            candidate(shape, levels.hash_under(hashes, shape));
        }
    }
}

/// A topic split and hashed, as far as the shapes of its length need. Kept and reused by a reader.
#[derive(Debug)]
pub(super) struct TopicLevels {
    /// `sums[n]`: the terms of the first n levels.
    sums: [u64; LEVELS_MAX + 1],
    /// What replaces the level's term by that of a `+`.
    swaps: [u64; LEVELS_MAX],
    /// End of each level in the topic (bytes).
    ends: [u32; LEVELS_MAX],
    first_bit: u64,
}

impl TopicLevels {
    pub(super) fn new() -> Self {
        Self {
            sums: [0; LEVELS_MAX + 1],
            swaps: [0; LEVELS_MAX],
            ends: [0; LEVELS_MAX],
            first_bit: 0,
        }
    }

    /// Splits the first `depth` levels (at least the first one, which carries the first bit).
    #[inline]
    pub(super) fn split(&mut self, hashes: &Hashes, topic: &[u8], depth: usize) {
        let mut start = 0;
        for level in 0..depth.clamp(1, LEVELS_MAX) {
            let rest = &topic[start..];
            let len = rest.iter().position(|byte| *byte == b'/');
            let end = len.map_or(topic.len(), |len| start + len);
            let hash = hashes.level(&topic[start..end]);
            let term = hashes.literal_term(level, hash);
            if level == 0 {
                self.first_bit = first_bit(topic, hash);
            }
            self.sums[level + 1] = self.sums[level].wrapping_add(term);
            self.swaps[level] = hashes.plus_term(level).wrapping_sub(term);
            self.ends[level] = u32::try_from(end).unwrap_or(u32::MAX);
            if end == topic.len() {
                return;
            }
            start = end + 1;
        }
    }

    #[inline]
    fn hash_under(&self, hashes: &Hashes, shape: Shape) -> u64 {
        let depth = usize::from(shape.depth);
        let mut sum = self.sums[depth];
        let mut plus = shape.plus;
        while plus != 0 {
            sum = sum.wrapping_add(self.swaps[plus.trailing_zeros() as usize]);
            plus &= plus - 1;
        }
        if shape.multi {
            sum = sum.wrapping_add(hashes.multi_term(depth));
        }
        mix(sum)
    }

    /// The text of the one filter of this shape that matches the topic.
    #[inline]
    pub(super) fn write_filter(&self, topic: &[u8], shape: Shape, out: &mut Vec<u8>) {
        out.clear();
        let mut from = 0;
        let mut plus = shape.plus;
        while plus != 0 {
            let level = plus.trailing_zeros() as usize;
            let start = if level == 0 {
                0
            } else {
                self.ends[level - 1] as usize + 1
            };
            out.extend_from_slice(&topic[from..start]);
            out.push(b'+');
            from = self.ends[level] as usize;
            plus &= plus - 1;
        }
        match (shape.multi, usize::from(shape.depth)) {
            (false, _) => out.extend_from_slice(&topic[from..]),
            (true, 0) => out.push(b'#'),
            (true, depth) => {
                out.extend_from_slice(&topic[from..self.ends[depth - 1] as usize]);
                out.extend_from_slice(b"/#");
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct LiveShape {
    filters: u32,
    first: u64,
}

/// The writer's part: how many filters each live shape has.
#[derive(Debug)]
pub(super) struct ShapeCounts {
    live: HashMap<Shape, LiveShape, ahash::RandomState>,
    /// Shapes in each list.
    listed: [usize; LISTS],
}

impl ShapeCounts {
    pub(super) fn new(seed: [u64; 4]) -> Self {
        let state = ahash::RandomState::with_seeds(seed[3], seed[2], seed[1], seed[0]);
        Self {
            live: HashMap::with_hasher(state),
            listed: [0; LISTS],
        }
    }

    /// Counts a filter in. False if its shape is not live and there is no room for it.
    pub(super) fn admit(
        &mut self,
        lists: &ShapeLists,
        memory: &mut Memory,
        hashes: &Hashes,
        shape: Shape,
        filter: &str,
    ) -> Result<bool, IndexFull> {
        let first = first_of_filter(hashes, shape, filter);
        if let Some(live) = self.live.get_mut(&shape) {
            live.filters += 1;
            if live.first | first != live.first {
                live.first |= first;
                store_first(lists, memory.arena(), shape, live.first);
            }
            return Ok(true);
        }
        if self.listed[shape.lists()].iter().any(|n| *n >= SHAPES_MAX) {
            return Ok(false);
        }
        replace_lists(lists, memory, shape, Some(first))?;
        self.live.insert(shape, LiveShape { filters: 1, first });
        self.listed[shape.lists()].iter_mut().for_each(|n| *n += 1);
        Ok(true)
    }

    /// Counts a filter out.
    pub(super) fn release(&mut self, lists: &ShapeLists, memory: &mut Memory, shape: Shape) {
        let Some(live) = self.live.get_mut(&shape) else {
            return;
        };
        live.filters = live.filters.saturating_sub(1);
        // Without memory for shorter lists the shape stays live without filters.
        if live.filters == 0 && replace_lists(lists, memory, shape, None).is_ok() {
            self.live.remove(&shape);
            self.listed[shape.lists()].iter_mut().for_each(|n| *n -= 1);
        }
    }

    /// Live shapes.
    pub(super) fn len(&self) -> usize {
        self.live.len()
    }
}

/// Writes new lists, with the shape if `first` is given or else without it, and swaps them in: all
/// or none.
fn replace_lists(
    lists: &ShapeLists,
    memory: &mut Memory,
    shape: Shape,
    first: Option<u64>,
) -> Result<(), IndexFull> {
    let mut written: Vec<(usize, u64)> = Vec::with_capacity(shape.lists().len());
    for at in shape.lists() {
        match write_list(lists, memory, at, shape, first) {
            Ok(head) => written.push((at, head)),
            Err(full) => {
                let blocks = written.iter().filter_map(|(_, head)| block_of(*head));
                blocks.for_each(|(address, words)| {
                    memory.free_unseen(Kind::Shapes, address, words);
                });
                return Err(full);
            }
        }
    }
    for (at, head) in written {
        let old = lists.heads[at].load(Ordering::Relaxed);
        lists.heads[at].store(head, Ordering::Release);
        if let Some((address, words)) = block_of(old) {
            memory.retire(Kind::Shapes, address, words);
        }
    }
    Ok(())
}

/// Writes a changed copy of one list; returns its head.
fn write_list(
    lists: &ShapeLists,
    memory: &mut Memory,
    at: usize,
    shape: Shape,
    first: Option<u64>,
) -> Result<u64, IndexFull> {
    let mut pairs: Vec<(u64, u64)> = Vec::with_capacity(SHAPES_MAX);
    if let Some(list) = lists.list(memory.arena(), at) {
        let old = list.words.as_chunks::<2>().0.iter();
        let old = old.map(|pair| pair.each_ref().map(|word| word.load(Ordering::Relaxed)));
        pairs.extend(old.map(|[shape, first]| (shape, first)));
        pairs.retain(|(listed, _)| *listed != shape.word());
    }
    pairs.extend(first.map(|first| (shape.word(), first)));
    let depths = pairs
        .iter()
        .map(|(shape, _)| Shape::from_word(*shape).depth);
    let Some(deepest) = depths.max() else {
        return Ok(0);
    };
    let address = memory.allocate(Kind::Shapes, 2 * pairs.len())?;
    let words = &memory.arena().words()[address as usize..];
    for ((shape, first), pair) in pairs.iter().zip(words.as_chunks::<2>().0) {
        pair[0].store(*shape, Ordering::Relaxed);
        pair[1].store(*first, Ordering::Relaxed);
    }
    Ok(u64::from(address) | (pairs.len() as u64) << 32 | u64::from(deepest) << 40)
}

fn block_of(head: u64) -> Option<(u32, usize)> {
    let [a, b, c, d, count, ..] = head.to_le_bytes();
    (head != 0).then(|| (u32::from_le_bytes([a, b, c, d]), 2 * usize::from(count)))
}

fn first_of_filter(hashes: &Hashes, shape: Shape, filter: &str) -> u64 {
    if shape.starts_with_wildcard() {
        return FIRST_ANY;
    }
    let level = filter.split('/').next().unwrap_or(filter).as_bytes();
    first_bit(level, hashes.level(level))
}

/// Widens a live shape's filter of first levels where it is listed. Release: it is followed by the
/// filter's own link, and a reader that finds neither misses a filter that is not acknowledged yet.
fn store_first(lists: &ShapeLists, arena: &Arena, shape: Shape, first: u64) {
    for at in shape.lists() {
        let Some(list) = lists.list(arena, at) else {
            continue;
        };
        for [word, firsts] in list.words.as_chunks::<2>().0 {
            if word.load(Ordering::Relaxed) == shape.word() {
                firsts.store(first, Ordering::Release);
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn a_topic_under_its_filters_shape_has_the_filters_hash_and_text() {
        let hashes = Hashes::new([1, 2, 3, 4]);
        let mut levels = TopicLevels::new();
        let mut text = Vec::new();
        for (filter, topic) in [
            ("#", "a/b"),
            ("+", ""),
            ("+/+", "/"),
            ("a/#", "a"),
            ("a/+/c", "a//c"),
            ("/+/#", "/x/y/z"),
            ("+/b/+/#", "a/b/c"),
        ] {
            let shape = Shape::of(filter).unwrap();
            levels.split(&hashes, topic.as_bytes(), LEVELS_MAX);
            let hash = levels.hash_under(&hashes, shape);
            assert_eq!(hash, filter_hash(&hashes, filter), "{filter}");
            levels.write_filter(topic.as_bytes(), shape, &mut text);
            assert_eq!(text, filter.as_bytes());
        }
    }

    #[test]
    fn too_deep_filters_have_no_shape() {
        let deep = "a/".repeat(LEVELS_MAX);
        assert_eq!(Shape::of(&format!("{deep}+")), None);
        let shape = Shape::of(&format!("{deep}#")).unwrap();
        assert_eq!(usize::from(shape.depth), LEVELS_MAX);
        assert_eq!(shape.lists(), LEVELS_MAX..LISTS);
    }
}
