//! Numbered records in segments: growth never copies, and the peak is one segment above the need.

/// Records of a segment.
const SEGMENT: usize = 4096;

/// Records by number. Freed numbers are reused, last freed first.
#[derive(Debug)]
pub(super) struct Slab<T> {
    segments: Vec<Vec<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            segments: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T: Copy> Slab<T> {
    pub(super) fn insert(&mut self, record: T) -> u32 {
        if let Some(number) = self.free.pop() {
            *self.get_mut(number) = record;
            return number;
        }
        let full = self.segments.last().is_none_or(|s| s.len() == SEGMENT);
        if full {
            // The first segment grows from nothing, for cores with little to hold.
            let capacity = if self.segments.is_empty() { 0 } else { SEGMENT };
            self.segments.push(Vec::with_capacity(capacity));
        }
        let before = (self.segments.len() - 1) * SEGMENT;
        let last = self.segments.last_mut();
        let at = last.map_or(0, |segment| {
            segment.push(record);
            segment.len() - 1
        });
        number_of(before + at)
    }

    pub(super) fn remove(&mut self, number: u32) -> T {
        let record = *self.get(number);
        self.free.push(number);
        if self.len() == 0 {
            *self = Self::default();
        }
        record
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> &T {
        let number = number as usize;
        &self.segments[number / SEGMENT][number % SEGMENT]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> &mut T {
        let number = number as usize;
        &mut self.segments[number / SEGMENT][number % SEGMENT]
    }

    /// Numbers ever used: all below.
    pub(super) fn places(&self) -> u32 {
        number_of(self.len() + self.free.len())
    }

    /// Records in use.
    pub(super) fn len(&self) -> usize {
        let Some(last) = self.segments.last() else {
            return 0;
        };
        (self.segments.len() - 1) * SEGMENT + last.len() - self.free.len()
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        let records: usize = self.segments.iter().map(Vec::capacity).sum();
        records * size_of::<T>() + self.free.capacity() * size_of::<u32>()
    }
}

/// A count as a 32-bit number.
pub(super) fn number_of(count: usize) -> u32 {
    match u32::try_from(count) {
        Ok(number) => number,
        Err(_) => panic!("a core's tables are numbered with 32 bits"),
    }
}
