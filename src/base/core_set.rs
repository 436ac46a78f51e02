//! A set of cores in one word.

use crate::base::ids::CoreId;

/// Cores concerned by something. Bits 0..=61 are cores, 62 is the control plane, 63 is reserved.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CoreSet(pub u64);

impl CoreSet {
    /// No core.
    pub const EMPTY: Self = Self(0);
    /// The bits that stand for cores.
    const CORES: u64 = (1 << 62) - 1;

    /// The set of one core.
    pub fn single(core: CoreId) -> Self {
        Self(1 << core.0)
    }

    /// Adds a core.
    pub fn insert(&mut self, core: CoreId) {
        self.0 |= 1 << core.0;
    }

    /// Takes a core out.
    pub fn remove(&mut self, core: CoreId) {
        self.0 &= !(1 << core.0);
    }

    /// Whether the core is in the set.
    pub fn contains(self, core: CoreId) -> bool {
        self.0 & (1 << core.0) != 0
    }

    /// Whether nothing is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Number of members.
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Members of both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The cores, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = CoreId> {
        let mut rest = self.0 & Self::CORES;
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let bit = rest.trailing_zeros();
            rest &= rest - 1;
            u8::try_from(bit).ok().map(CoreId)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_put_in() {
        let mut set = CoreSet::EMPTY;
        for core in [61, 0, 7] {
            set.insert(CoreId(core));
        }
        assert_eq!(set.len(), 3);
        assert_eq!(set.iter().collect::<Vec<_>>(), [CoreId(0), CoreId(7), CoreId(61)]);
        set.remove(CoreId(7));
        assert!(!set.contains(CoreId(7)) && set.contains(CoreId(61)));
        assert_eq!(CoreSet::single(CoreId(3)).union(set).len(), 3);
    }
}
