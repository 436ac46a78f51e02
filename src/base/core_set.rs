//! A set of cores in one word.

use super::ids::CoreId;

/// Bits 0..=61 are cores, 62 is the control plane, 63 is reserved ("see the side table").
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CoreSet(pub u64);

impl CoreSet {
    /// No core.
    pub const EMPTY: Self = Self(0);

    /// The set of one core.
    pub fn single(core: CoreId) -> Self {
        assert!(core.0 < 64, "a core set has 64 bits");
        Self(1 << core.0)
    }

    /// Puts a core in.
    pub fn insert(&mut self, core: CoreId) {
        self.0 |= Self::single(core).0;
    }

    /// Takes a core out.
    pub fn remove(&mut self, core: CoreId) {
        self.0 &= !Self::single(core).0;
    }

    /// Whether the core is in the set.
    pub fn contains(self, core: CoreId) -> bool {
        self.0 & Self::single(core).0 != 0
    }

    /// Whether no core is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many cores are in the set.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The cores in ascending order.
    pub fn iter(self) -> impl Iterator<Item = CoreId> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let bit = rest.trailing_zeros();
            rest &= rest - 1;
            u8::try_from(bit).ok().map(CoreId)
        })
    }

    /// The cores of either set.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_go_in_and_out() {
        let mut set = CoreSet::single(CoreId(3));
        set.insert(CoreId(62));
        set.insert(CoreId(0));
        assert_eq!(
            set.iter().collect::<Vec<_>>(),
            [CoreId(0), CoreId(3), CoreId(62)]
        );
        set.remove(CoreId(3));
        assert!(!set.contains(CoreId(3)) && set.contains(CoreId(62)));
        assert_eq!(set.len(), 2);
        assert_eq!(set.union(CoreSet::single(CoreId(1))).0, 1 << 62 | 0b11);
        assert!(CoreSet::EMPTY.is_empty());
    }
}
