//! The lingering close: after our last packet and our FIN the socket still receives, and what comes
//! is thrown away, until the peer has closed too.
//!
//! A socket that is closed while bytes of its peer lie unread, or are on their way, answers them
//! with RST. A client that is still sending then fails to write, and never reads the DISCONNECT that
//! says why. So both ends get the time to close in order, within limits: a time, a number of bytes
//! of each socket, and a number of sockets, of which the oldest is cut first. There is no timer
//! for each: the time is the same for all, so that they are due in the order in which they began,
//! and a turn looks at the first.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::plane::Actions;
use super::slots::{ENDED, LINGERING, RECEIVING, STARVED};

/// Bytes of one lingering socket that are thrown away before it is cut: more than a client has in
/// its send buffer when it learns that it is not wanted.
pub(super) const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// Refused handshakes of one core that linger at a time: ordinary descriptors, which are few
/// (RLIMIT_NOFILE, shared by all cores, with handshakes in progress having the better right).
pub(super) const REFUSED_LINGERING_MAX: usize = 16;

/// Entries of the queue, in multiples of the sockets that may linger, from which on those that are
/// over are swept out of its middle.
const SWEEP_AT: usize = 2;

/// Sockets that linger, by slot or by handshake.
#[derive(Debug, Default)]
pub(super) struct Lingers {
    open: HashMap<u32, Linger>,
    /// When each is due, with its number and serial; entries that are over are skipped.
    queue: VecDeque<(Instant, u32, u64)>,
    serial: u64,
    max: usize,
}

#[derive(Debug)]
struct Linger {
    serial: u64,
    bytes_left: usize,
}

impl Lingers {
    /// Room for so many.
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn holds(&self, number: u32) -> bool {
        self.open.contains_key(&number)
    }

    /// The oldest, when there is no room for one more.
    pub(super) fn in_the_way(&self) -> Option<u32> {
        let full = self.open.len() >= self.max;
        self.oldest().filter(|_| full)
    }

    /// The one that began first.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.queue.front().map(|(_, number, _)| *number)
    }

    /// When the first is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.queue.front().map(|(due, ..)| *due)
    }

    /// One that is due.
    pub(super) fn due(&self, now: Instant) -> Option<u32> {
        self.oldest().filter(|_| self.next_due() <= Some(now))
    }

    /// Begins; `due` is never earlier than that of one that began before.
    pub(super) fn begin(&mut self, number: u32, due: Instant) {
        self.serial += 1;
        let linger = Linger {
            serial: self.serial,
            bytes_left: LINGER_BYTES_MAX,
        };
        let before = self.open.insert(number, linger);
        assert!(before.is_none(), "a socket lingers once");
        self.queue.push_back((due, number, self.serial));
    }

    /// Counts bytes that are thrown away; false when they are too many.
    pub(super) fn allows(&mut self, number: u32, bytes: usize) -> bool {
        self.open.get_mut(&number).is_some_and(|linger| {
            linger.bytes_left = linger.bytes_left.saturating_sub(bytes);
            linger.bytes_left > 0
        })
    }

    /// Over, whichever way. False for one that does not linger.
    pub(super) fn end(&mut self, number: u32) -> bool {
        let ended = self.open.remove(&number).is_some();
        while self.queue.front().is_some_and(|entry| !self.is_open(entry)) {
            self.queue.pop_front();
        }
        if self.queue.len() > SWEEP_AT * self.max.max(1) {
            let mut queue = std::mem::take(&mut self.queue);
            queue.retain(|entry| self.is_open(entry));
            self.queue = queue;
        }
        ended
    }

    fn is_open(&self, (_, number, serial): &(Instant, u32, u64)) -> bool {
        let linger = self.open.get(number);
        linger.is_some_and(|linger| linger.serial == *serial)
    }
}

impl Actions {
    /// Sockets whose last packet is sent and whose peer has not closed yet: slots, and handshakes
    /// that were refused.
    pub fn lingering(&self) -> usize {
        self.lingers.len() + self.handshakes.lingers.len()
    }

    /// The time until the first lingering socket is cut; the next turn that ends after that does
    /// it.
    pub fn linger_left(&self) -> Option<Duration> {
        let slots = self.lingers.next_due();
        let due = slots.into_iter().chain(self.handshakes.lingers.next_due());
        due.min()
            .map(|due| due.saturating_duration_since(Instant::now()))
    }

    /// From now on no close lingers, and those that do are cut: for a shutdown, which closes
    /// thousands at once. Last packets are still sent before a FIN.
    pub fn hasten(&mut self) {
        self.linger = Duration::ZERO;
        while let Some(slot) = self.lingers.oldest() {
            self.end_linger(slot);
        }
        while let Some(handshake) = self.handshakes.lingers.oldest() {
            self.end_handshake_linger(handshake);
        }
    }

    /// The last packet is sent and our side is shut down.
    pub(super) fn begin_linger(&mut self, slot: u32) {
        if self.linger.is_zero() || self.slots.at(slot).has(ENDED) {
            self.end_linger(slot);
            return;
        }
        if let Some(oldest) = self.lingers.in_the_way() {
            self.ring.counters.lingers_cut += 1;
            self.end_linger(oldest);
        }
        self.ring.counters.lingers += 1;
        self.lingers.begin(slot, Instant::now() + self.linger);
        if !self.slots.at(slot).has(RECEIVING) {
            self.arm_receive(slot);
        }
    }

    /// A receive of a slot whose last packet is on its way or sent: what came is thrown away.
    /// `over` says that the receive is not armed any more, and `ended` that the peer has closed.
    pub(super) fn on_receive_lingering(&mut self, slot: u32, result: i32, over: bool, ended: bool) {
        if ended {
            self.slots.open_mut(slot).set(ENDED);
        }
        if !self.lingers.holds(slot) {
            // Our side is not shut down yet; that looks at the flags.
            return;
        }
        let bytes = usize::try_from(result).unwrap_or(0);
        self.ring.counters.bytes_thrown_away += bytes as u64;
        if ended {
            self.end_linger(slot);
        } else if !self.lingers.allows(slot, bytes) {
            self.ring.counters.lingers_cut += 1;
            self.end_linger(slot);
        } else if over && result == -libc::ENOBUFS {
            self.starve(slot);
        } else if over {
            self.arm_receive(slot);
        }
    }

    /// The second half of a close: the slot is taken out of the table.
    pub(super) fn end_linger(&mut self, slot: u32) {
        self.lingers.end(slot);
        let state = self.slots.open_mut(slot);
        state.clear(LINGERING);
        state.clear(STARVED);
        self.take_out_of_table(slot);
    }

    /// Cuts those whose time is over. Reads the clock only while something lingers.
    pub(super) fn cut_lingers(&mut self) {
        if self.lingering() == 0 {
            return;
        }
        let now = Instant::now();
        while let Some(slot) = self.lingers.due(now) {
            self.ring.counters.lingers_cut += 1;
            self.end_linger(slot);
        }
        while let Some(handshake) = self.handshakes.lingers.due(now) {
            self.ring.counters.lingers_cut += 1;
            self.end_handshake_linger(handshake);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_to_begin_is_the_first_to_be_due_and_the_first_in_the_way() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut lingers = Lingers::new(3);
        for number in [7, 5, 9] {
            assert_eq!(lingers.in_the_way(), None);
            lingers.begin(number, at(10 + u64::from(number == 9)));
        }
        assert_eq!(lingers.in_the_way(), Some(7));
        assert_eq!(lingers.due(at(9)), None);
        assert_eq!(lingers.due(at(10)), Some(7));
        assert!(lingers.end(5));
        assert!(!lingers.end(5));
        assert!(lingers.end(7));
        assert_eq!(lingers.due(at(10)), None);
        assert_eq!(lingers.next_due(), Some(at(11)));
        assert_eq!(lingers.len(), 1);
    }

    #[test]
    fn a_number_that_comes_back_is_not_due_when_its_former_owner_was() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let mut lingers = Lingers::new(2);
        lingers.begin(0, start);
        lingers.begin(1, start);
        assert!(lingers.end(1));
        lingers.begin(1, later);
        assert!(lingers.end(0));
        assert_eq!(lingers.due(start), None);
        assert_eq!(lingers.next_due(), Some(later));
    }

    #[test]
    fn the_queue_stays_short_while_one_lingers_and_many_come_and_go() {
        let now = Instant::now();
        let mut lingers = Lingers::new(4);
        lingers.begin(0, now);
        for number in 1..1000 {
            lingers.begin(number, now);
            assert!(lingers.end(number));
            assert!(lingers.queue.len() <= SWEEP_AT * 4);
        }
        assert_eq!(lingers.oldest(), Some(0));
    }

    #[test]
    fn bytes_are_counted_for_each_socket_alone() {
        let mut lingers = Lingers::new(2);
        lingers.begin(1, Instant::now());
        lingers.begin(2, Instant::now());
        assert!(lingers.allows(1, LINGER_BYTES_MAX - 1));
        assert!(lingers.allows(2, 1));
        assert!(!lingers.allows(1, 1));
        assert!(!lingers.allows(3, 0), "nobody");
    }
}
