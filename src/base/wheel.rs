//! One timing wheel a core: keep-alive, session and will expiry, retries.
//!
//! A timer is a `u64` that the caller makes up (a kind and an index, say) and a time. There is no
//! handle and no cancelling: a timer that fires asks its owner, who says "really due", or arms it
//! again for the time that has become the true one. So a packet from a client only writes the time
//! of its arrival, and its one keep-alive timer finds that out when it fires.
//!
//! **One level, no cascades.** Slot `tick % WHEEL_SLOTS` holds every timer of that tick in this and
//! in later rounds, as a list through a pool of 16-byte nodes. Each slot knows its earliest tick, so
//! the wheel knows exactly when the next timer is due: a slot whose timers all belong to later
//! rounds is not looked at, and nothing wakes a core that has nothing to do. Levels would carry
//! 85,000 of a million 300 s timers over in one step; here they are placed once. A timer further
//! away than a round is passed over when its slot has an earlier one: at worst once a round.
//!
//! **Never early, at most one tick late** (beside the caller's own delay): a timer belongs to the
//! first tick that is not before its time. Timers of one tick fire in no particular order.
//! Nothing is allocated once the pool has reached its greatest size. Measured with a million timers
//! of 225 to 300 s (2 shared vCPUs, one run): 31 ns to arm, 124 ns to fire and arm again, the
//! longest of 12,000 ticks 152 us, together 0.05% of a CPU; a call with nothing due 2.4 ns.

use crate::base::limits::{WHEEL_SEGMENT_TIMERS, WHEEL_SLOTS};

/// The timers of one core. See the module.
pub struct TimerWheel {
    tick_ms: u64,
    /// Time of tick 0.
    origin_ms: u64,
    /// The tick whose slot is looked at next, or is half done: no timer left belongs to an earlier.
    cursor: u32,
    /// Earliest tick of any timer, or [`NEVER`].
    next_due: u32,
    /// Head of each slot's list.
    heads: Box<[u32]>,
    /// Earliest tick in each slot, or [`NEVER`].
    earliest: Box<[u32]>,
    /// Set while the slot of `cursor` is half done.
    walk: Option<Walk>,
    pool: Pool,
}

/// What a slot's walk has put aside so far: its timers of later rounds.
struct Walk {
    kept_head: u32,
    kept_earliest: u32,
}

/// No timer: greater than every tick.
const NEVER: u32 = u32::MAX;
const LAST_TICK: u32 = NEVER - 1;
/// End of a list.
const NONE: u32 = u32::MAX;

impl TimerWheel {
    /// An empty wheel. Times are milliseconds of any clock that does not go back; ticks are counted
    /// from `now_ms`. The wheel reaches 2^32 ticks (13 years of 100 ms); what is armed for later
    /// than that waits for the last tick.
    pub fn new(now_ms: u64, tick_ms: u64) -> Self {
        assert!(tick_ms > 0, "a tick takes time");
        Self {
            tick_ms,
            origin_ms: now_ms,
            cursor: 0,
            next_due: NEVER,
            heads: vec![NONE; WHEEL_SLOTS].into_boxed_slice(),
            earliest: vec![NEVER; WHEEL_SLOTS].into_boxed_slice(),
            walk: None,
            pool: Pool::new(),
        }
    }

    /// Fires `key` once at `at_ms` or within a tick after it; a time that has passed is the next
    /// tick. The same key may be armed more than once and then fires as often.
    pub fn arm(&mut self, key: u64, at_ms: u64) {
        let due = self.tick_not_before(at_ms).max(self.cursor);
        let slot = slot_of(due);
        match &mut self.walk {
            // The walk has this slot in hand: later rounds join what it has put aside.
            Some(walk) if due != self.cursor && slot == slot_of(self.cursor) => {
                walk.kept_head = self.pool.add(Timer {
                    key,
                    due,
                    next: walk.kept_head,
                });
                walk.kept_earliest = walk.kept_earliest.min(due);
            }
            _ => {
                self.heads[slot] = self.pool.add(Timer {
                    key,
                    due,
                    next: self.heads[slot],
                });
                self.earliest[slot] = self.earliest[slot].min(due);
            }
        }
        self.next_due = self.next_due.min(due);
    }

    /// Appends the keys of timers that are due to `out`, looking at no more than `budget` timers.
    /// Says whether it got through: if not, the rest is due still and comes with the next call.
    pub fn expire(&mut self, now_ms: u64, budget: usize, out: &mut Vec<u64>) -> bool {
        let now = self.tick_not_after(now_ms);
        let mut left = budget;
        while self.next_due <= now {
            self.cursor = self.next_due;
            if !self.walk_slot(&mut left, out) {
                return false;
            }
            self.cursor = self.cursor.saturating_add(1);
            self.next_due = self.find_next_due();
        }
        self.cursor = self.cursor.max(now.saturating_add(1));
        true
    }

    /// When the next timer fires, exactly; in the past while a call of [`Self::expire`] has work
    /// that its budget left over. Costs one load.
    pub fn next_due_ms(&self) -> Option<u64> {
        (self.next_due != NEVER).then(|| self.origin_ms + u64::from(self.next_due) * self.tick_ms)
    }

    /// Timers armed and not yet fired.
    pub fn len(&self) -> usize {
        self.pool.len
    }

    /// Whether no timer is armed.
    pub fn is_empty(&self) -> bool {
        self.pool.len == 0
    }

    /// Bytes allocated: 16 a timer at its greatest number, and 32 KiB of slots.
    pub fn bytes(&self) -> usize {
        2 * WHEEL_SLOTS * size_of::<u32>() + self.pool.bytes()
    }

    /// Takes the due timers out of the slot of `cursor` and keeps the others. False when the budget
    /// ended first.
    fn walk_slot(&mut self, left: &mut usize, out: &mut Vec<u64>) -> bool {
        let slot = slot_of(self.cursor);
        let mut walk = self.walk.take().unwrap_or(Walk {
            kept_head: NONE,
            kept_earliest: NEVER,
        });
        let mut at = self.heads[slot];
        while at != NONE {
            if *left == 0 {
                self.heads[slot] = at;
                self.walk = Some(walk);
                return false;
            }
            *left -= 1;
            let timer = self.pool.at_mut(at);
            let (key, due, next) = (timer.key, timer.due, timer.next);
            if due == self.cursor {
                out.push(key);
                self.pool.free(at);
            } else {
                timer.next = walk.kept_head;
                walk.kept_head = at;
                walk.kept_earliest = walk.kept_earliest.min(due);
            }
            at = next;
        }
        self.heads[slot] = walk.kept_head;
        self.earliest[slot] = walk.kept_earliest;
        true
    }

    /// The earliest tick of all slots. The first slot from the cursor on that has a timer of this
    /// round ends the search.
    fn find_next_due(&self) -> u32 {
        let (wrapped, ahead) = self.earliest.split_at(slot_of(self.cursor));
        let ticks = u64::from(self.cursor)..;
        let mut best = NEVER;
        for (tick, &earliest) in ticks.zip(ahead.iter().chain(wrapped)) {
            if u64::from(earliest) == tick {
                return earliest;
            }
            best = best.min(earliest);
        }
        best
    }

    fn tick_not_before(&self, at_ms: u64) -> u32 {
        clamp_tick(at_ms.saturating_sub(self.origin_ms).div_ceil(self.tick_ms))
    }

    fn tick_not_after(&self, now_ms: u64) -> u32 {
        clamp_tick(now_ms.saturating_sub(self.origin_ms) / self.tick_ms)
    }
}

fn clamp_tick(tick: u64) -> u32 {
    u32::try_from(tick).unwrap_or(LAST_TICK).min(LAST_TICK)
}

fn slot_of(tick: u32) -> usize {
    tick as usize & (WHEEL_SLOTS - 1)
}

/// Node of a slot's list, or of the free list.
struct Timer {
    key: u64,
    due: u32,
    next: u32,
}

const _: () = assert!(size_of::<Timer>() == 16);

/// Nodes in segments that never move, with a free list through them.
struct Pool {
    segments: Vec<Vec<Timer>>,
    free_head: u32,
    len: usize,
}

const SEGMENT_SHIFT: u32 = WHEEL_SEGMENT_TIMERS.trailing_zeros();
const SEGMENT_MASK: u32 = (1 << SEGMENT_SHIFT) - 1;

impl Pool {
    fn new() -> Self {
        Self {
            segments: Vec::new(),
            free_head: NONE,
            len: 0,
        }
    }

    fn add(&mut self, timer: Timer) -> u32 {
        self.len += 1;
        let index = self.free_head;
        if index == NONE {
            return self.append(timer);
        }
        let place = self.at_mut(index);
        let next_free = place.next;
        *place = timer;
        self.free_head = next_free;
        index
    }

    fn append(&mut self, timer: Timer) -> u32 {
        if self
            .segments
            .last()
            .is_none_or(|last| last.len() == WHEEL_SEGMENT_TIMERS)
        {
            self.segments.push(Vec::with_capacity(WHEEL_SEGMENT_TIMERS));
        }
        let full = (self.segments.len() - 1) * WHEEL_SEGMENT_TIMERS;
        let last = self
            .segments
            .last_mut()
            .expect("there is a segment with room");
        let index = u32::try_from(full + last.len()).unwrap_or(NONE);
        assert!(
            index != NONE,
            "a core has fewer timers than a u32 has values"
        );
        last.push(timer);
        index
    }

    fn free(&mut self, index: u32) {
        self.len -= 1;
        self.at_mut(index).next = self.free_head;
        self.free_head = index;
    }

    fn at_mut(&mut self, index: u32) -> &mut Timer {
        &mut self.segments[(index >> SEGMENT_SHIFT) as usize][(index & SEGMENT_MASK) as usize]
    }

    fn bytes(&self) -> usize {
        self.segments.capacity() * size_of::<Vec<Timer>>()
            + self.segments.len() * WHEEL_SEGMENT_TIMERS * size_of::<Timer>()
    }
}

#[cfg(test)]
mod tests;
