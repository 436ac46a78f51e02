//! The connection plane: one io_uring a core that owns the core's sockets.
//!
//! A turn, told once. What the callbacks asked for since the last turn was collected: sends (one a
//! connection, however often it was asked), closes, and entries that need no order. [`Plane::turn`]
//! turns the sends and after them the closes into entries, enters the kernel once, takes every
//! completion into a backlog, settles the sends (their memory is free, or the slot is blocked), and
//! hands up to 256 completions to the caller. Then the receive buffers of those go back, all at
//! once, and receives that had found none are armed again.
//!
//! Connections at home are direct descriptors: the slot is the shard's own connection index. A slot
//! has at most one multishot read and one send in the kernel. It is free again when the kernel has
//! taken it out of its table and both are over; one that was closed with a last packet lingers
//! before that (`lingers.rs`). Sockets in handshake are ordinary descriptors with
//! at most one one-shot receive, so that they can be handed to another core at once.
//!
//! What the kernel holds of ours: receive buffers (until the ring is gone), the memory of a send
//! (until it settles), the words of descriptors to be installed (until the enter that submits them
//! has returned). All belong to the plane, which cancels everything before it frees them, or leaks
//! them when it cannot.
#![allow(unsafe_code)] // Entries point to memory; descriptors come out of the kernel as numbers.

use std::collections::VecDeque;
use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use io_uring::{cqueue, opcode, squeue, types};

use super::accepts::Accepts;
use super::buffers::BufferRing;
use super::completion::{
    Completion, GENERATION_MASK, PlaneConfig, PlaneCounters, PlaneError, TurnStats, Wait,
};
use super::handshakes::Handshakes;
use super::lingers::Lingers;
use super::ring::{Cqe, Ring};
use super::sends::Sends;
use super::slots::{CLOSING, PAUSED, Slots};
use super::socket;

/// Completions from which on one enter may have left task work behind: without a larger
/// `min_complete` the kernel runs 20 items (rule R1).
const SMALL_ENTER_COMPLETIONS: usize = 16;

/// Turns in a row that may leave the kernel alone because the ring shows nothing to take. The
/// kernel keeps task work that one enter did not get to without showing it, so that an enter is due
/// now and then.
const SKIPPED_ENTERS_MAX: u32 = 16;

/// Entries that lists keep room for when memory is trimmed: a few KiB each.
const LIST_ENTRIES_KEPT: usize = 256;

/// One core's ring with its sockets. Made and used on one thread; [`Actions`] is what can be done
/// with it.
pub struct Plane {
    // Dropped first: it ends the ring, which uses the buffers.
    actions: Actions,
    buffers: BufferRing,
    completions_per_turn: usize,
}

/// What can be asked of a plane, also from within a turn's callback.
pub struct Actions {
    pub(super) ring: Ring,
    pub(super) slots: Slots,
    pub(super) sends: Sends,
    pub(super) accepts: Accepts,
    pub(super) handshakes: Handshakes,
    /// Completions that were taken from the ring and not yet handled, and some that the plane made
    /// itself.
    pub(super) backlog: VecDeque<Cqe>,
    /// Slots to be closed at the next turn, after the sends.
    pub(super) closing: VecDeque<u32>,
    /// Closing slots whose descriptor is on its way to be an ordinary one.
    pub(super) installing_for_close: usize,
    /// Closing slots that wait for the peer's end.
    pub(super) lingers: Lingers,
    /// How long they wait; zero for not at all.
    pub(super) linger: Duration,
    /// Receives that found no buffer, oldest first.
    pub(super) starved: VecDeque<UserData>,
    /// Descriptors on their way into the table: FILES_UPDATE reads them during the submit.
    pub(super) installing: Box<[RawFd]>,
    pub(super) installing_used: usize,
    pub(super) buffer_bytes: u32,
    watched: Option<OwnedFd>,
    alarm: Alarm,
    /// Turns in a row that did not enter the kernel.
    skipped_enters: u32,
    /// The last enter took so much that there may be more.
    busy: bool,
    /// An error in the middle of a turn; the next turn reports it.
    failed: Option<io::Error>,
}

/// The one timeout of the ring, for sleeps in the executor.
#[derive(Default)]
struct Alarm {
    due: Option<Instant>,
    number: u32,
    /// Read by the kernel at submission.
    timeout: Box<types::Timespec>,
}

/// What an entry is, as its completion says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Op {
    /// Nobody waits for it; it reports only failures, which are seen elsewhere.
    Ignored,
    Accept,
    HandshakeReceive,
    Receive,
    Send,
    SendWaiting,
    InstallForClose,
    Close,
    Watch,
    Woken,
    Wake,
    Alarm,
    /// Made by the plane itself, never by the kernel.
    OwnSendFailed,
    OwnPaused,
    OwnAcceptStopped,
}

const OPS: [Op; 15] = [
    Op::Ignored,
    Op::Accept,
    Op::HandshakeReceive,
    Op::Receive,
    Op::Send,
    Op::SendWaiting,
    Op::InstallForClose,
    Op::Close,
    Op::Watch,
    Op::Woken,
    Op::Wake,
    Op::Alarm,
    Op::OwnSendFailed,
    Op::OwnPaused,
    Op::OwnAcceptStopped,
];

/// Operation, generation and index (slot, handshake, listener) in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UserData {
    pub(super) op: Op,
    pub(super) generation: u32,
    pub(super) index: u32,
}

impl UserData {
    pub(super) fn new(op: Op, generation: u32, index: u32) -> Self {
        Self {
            op,
            generation: generation & GENERATION_MASK,
            index,
        }
    }

    pub(super) fn pack(self) -> u64 {
        u64::from(self.op as u8) << 56 | u64::from(self.generation) << 32 | u64::from(self.index)
    }

    #[allow(clippy::cast_possible_truncation)] // each part is cut to its width on purpose
    fn unpack(word: u64) -> Self {
        let op = OPS
            .get((word >> 56) as usize)
            .copied()
            .unwrap_or(Op::Ignored);
        Self {
            op,
            generation: (word >> 32) as u32 & GENERATION_MASK,
            index: word as u32,
        }
    }
}

impl Plane {
    /// Makes the ring, its table and its buffers.
    ///
    /// # Errors
    ///
    /// [`PlaneError`] says which limit of the machine is in the way.
    pub fn new(config: &PlaneConfig) -> Result<Self, PlaneError> {
        let buffers = BufferRing::new(config).map_err(PlaneError::LockedMemory)?;
        let ring = Ring::new(config)?;
        ring.register(&buffers)?;
        let actions = Actions {
            ring,
            slots: Slots::new(config.slots),
            sends: Sends::default(),
            accepts: Accepts::default(),
            handshakes: Handshakes::default(),
            backlog: VecDeque::new(),
            closing: VecDeque::new(),
            installing_for_close: 0,
            lingers: Lingers::new(config.lingering_max),
            linger: config.linger,
            starved: VecDeque::new(),
            installing: vec![-1; config.submissions as usize].into_boxed_slice(),
            installing_used: 0,
            buffer_bytes: config.buffer_bytes,
            watched: None,
            alarm: Alarm::default(),
            skipped_enters: 0,
            busy: false,
            failed: None,
        };
        Ok(Self {
            actions,
            buffers,
            completions_per_turn: config.completions_per_turn(),
        })
    }

    /// One turn: submits what was asked for, takes completions, calls `on` for each. At most
    /// [`PlaneConfig::completions_per_turn`] are handled; [`TurnStats::backlog`] says what is left.
    ///
    /// # Errors
    ///
    /// The ring is unusable after an error: the core cannot go on.
    pub fn turn(
        &mut self,
        wait: Wait<'_>,
        on: &mut dyn FnMut(&mut Actions, Completion<'_>),
    ) -> io::Result<TurnStats> {
        if let Some(error) = self.actions.failed.take() {
            return Err(error);
        }
        self.actions.build_sends();
        self.actions.build_closes();
        self.actions.enter(wait, self.completions_per_turn)?;
        let mut handled = 0;
        while handled < self.completions_per_turn {
            let Some(cqe) = self.actions.backlog.pop_front() else {
                break;
            };
            self.dispatch(cqe, on);
            handled += 1;
        }
        let returned = self.buffers.publish();
        self.actions.arm_starved(returned, self.buffers.count());
        self.actions.cut_lingers();
        Ok(TurnStats {
            completions: handled,
            backlog: self.actions.backlog.len(),
        })
    }

    /// Memory in bytes of the receive buffers.
    pub fn receive_buffer_bytes(&self) -> usize {
        self.buffers.held_bytes()
    }

    fn dispatch(&mut self, cqe: Cqe, on: &mut dyn FnMut(&mut Actions, Completion<'_>)) {
        let actions = &mut self.actions;
        let data = UserData::unpack(cqe.user_data);
        let (slot, generation) = (data.index, data.generation);
        match data.op {
            Op::Receive => {
                let bytes = taken_bytes(&self.buffers, cqe);
                actions.on_receive(data, cqe, bytes, on);
            }
            Op::HandshakeReceive => {
                let bytes = taken_bytes(&self.buffers, cqe);
                actions.on_handshake_receive(data, cqe.result, bytes, on);
            }
            Op::SendWaiting => actions.on_waiting_send(data, cqe.result, on),
            Op::Accept => actions.on_accept(data, cqe, on),
            Op::OwnAcceptStopped => actions.drain_accepts(data.index, on),
            Op::InstallForClose => actions.on_installed_for_close(data, cqe.result),
            Op::Close => actions.on_closed(data, on),
            Op::Woken => on(actions, Completion::Woken),
            Op::Watch => {
                if !cqueue::more(cqe.flags) {
                    actions.arm_watch();
                }
                on(actions, Completion::Woken);
            }
            Op::Alarm => {
                if actions.alarm.number == generation {
                    actions.alarm.due = None;
                }
            }
            Op::Wake => actions.on_wake_failed(data.index),
            Op::OwnSendFailed if actions.reports(data) => {
                on(
                    actions,
                    Completion::SendFailed {
                        slot,
                        generation,
                        errno: -cqe.result,
                    },
                );
            }
            Op::OwnPaused if actions.reports(data) && actions.slots.at(slot).has(PAUSED) => {
                on(actions, Completion::ReceivePaused { slot, generation });
            }
            Op::OwnSendFailed | Op::OwnPaused | Op::Send | Op::Ignored => {}
        }
        if let Some(id) = cqueue::buffer_select(cqe.flags) {
            self.buffers.give_back(id);
        }
    }
}

/// The bytes of a receive; none when it failed or ended.
fn taken_bytes(buffers: &BufferRing, cqe: Cqe) -> &[u8] {
    match (
        cqueue::buffer_select(cqe.flags),
        usize::try_from(cqe.result),
    ) {
        (Some(id), Ok(len)) => buffers.bytes(id, len),
        _ => &[],
    }
}

impl Deref for Plane {
    type Target = Actions;

    fn deref(&self) -> &Actions {
        &self.actions
    }
}

impl DerefMut for Plane {
    fn deref_mut(&mut self) -> &mut Actions {
        &mut self.actions
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        if !self.actions.ring.cancel_all() {
            // The kernel may still use them: memory is the lesser loss.
            self.buffers.leak = true;
            std::mem::forget(std::mem::take(&mut self.actions.sends));
            std::mem::forget(std::mem::take(&mut self.actions.installing));
        }
    }
}

impl Actions {
    /// The ring's descriptor, for MSG_RING by other cores.
    pub fn ring_fd(&self) -> RawFd {
        self.ring.fd()
    }

    /// A copy of the ring's descriptor, which keeps its number from being used for anything else.
    ///
    /// # Errors
    ///
    /// When the process is out of descriptors.
    pub fn ring_fd_cloned(&self) -> io::Result<OwnedFd> {
        // SAFETY: the ring's descriptor is open as long as `self.ring` lives, and is borrowed for
        // this call only.
        unsafe { BorrowedFd::borrow_raw(self.ring.fd()) }.try_clone_to_owned()
    }

    /// What was counted since the plane was made.
    pub fn counters(&self) -> &PlaneCounters {
        &self.ring.counters
    }

    /// Frees what a burst made the lists take, and buffers that were not needed since the last
    /// call.
    pub fn trim(&mut self) {
        self.sends.trim();
        self.backlog.shrink_to(LIST_ENTRIES_KEPT);
        self.closing.shrink_to(LIST_ENTRIES_KEPT);
        self.starved.shrink_to(LIST_ENTRIES_KEPT);
    }

    /// Memory in bytes of what [`Self::trim`] looks at.
    pub fn trimmed_bytes(&self) -> usize {
        self.list_bytes() + self.sends.size().1
    }

    fn list_bytes(&self) -> usize {
        self.backlog.capacity() * size_of::<Cqe>()
            + self.closing.capacity() * size_of::<u32>()
            + self.starved.capacity() * size_of::<UserData>()
    }

    /// Memory in bytes by table: name, entries, bytes. The receive buffers are the [`Plane`]'s.
    pub fn tables(&self) -> [(&'static str, usize, usize); 3] {
        let lists = self.list_bytes() + self.installing.len() * size_of::<RawFd>();
        let (sends, send_bytes) = self.sends.size();
        [
            ("slots", self.slots.places(), self.slots.bytes()),
            ("send buffers", sends, send_bytes),
            ("lists of the plane", self.backlog.len(), lists),
        ]
    }

    /// Whether the next turn would find completions without waiting: two loads, for spinning.
    pub fn has_completions(&mut self) -> bool {
        !self.backlog.is_empty() || self.ring.has_completions()
    }

    /// Submits what was asked for without waiting for the next turn; completions stay for it.
    pub(super) fn submit_now(&mut self) -> io::Result<()> {
        self.build_sends();
        self.build_closes();
        self.ring.submit()?;
        self.settle()
    }

    /// Makes the ring signal an eventfd whenever there is something to take, or no more.
    pub(super) fn signal_eventfd(&mut self, eventfd: Option<RawFd>) -> io::Result<()> {
        self.ring.signal_eventfd(eventfd)
    }

    /// Makes a completion appear within this time, for a sleep that is not the ring's own.
    pub(super) fn set_alarm(&mut self, timeout: Duration) {
        let due = Instant::now() + timeout;
        if self.alarm.due.is_some_and(|armed| armed <= due) {
            return;
        }
        let old = UserData::new(Op::Alarm, self.alarm.number, 0);
        if self.alarm.due.is_some() {
            let remove = opcode::TimeoutRemove::new(old.pack()).build();
            self.push_silent(remove, UserData::new(Op::Ignored, 0, 0));
        }
        self.make_room(1);
        self.alarm.due = Some(due);
        self.alarm.number = (self.alarm.number + 1) & GENERATION_MASK;
        *self.alarm.timeout = timeout.into();
        let alarm = opcode::Timeout::new(&raw const *self.alarm.timeout).build();
        self.push(alarm, UserData::new(Op::Alarm, self.alarm.number, 0));
    }

    /// Reports [`Completion::Woken`] whenever another thread writes to this eventfd.
    pub fn watch(&mut self, eventfd: OwnedFd) {
        self.watched = Some(eventfd);
        self.arm_watch();
    }

    fn arm_watch(&mut self) {
        let Some(eventfd) = &self.watched else { return };
        let fd = types::Fd(eventfd.as_raw_fd());
        let poll = opcode::PollAdd::new(fd, libc::POLLIN.cast_unsigned().into()).multi(true);
        self.push(poll.build(), UserData::new(Op::Watch, 0, 0));
    }

    /// Makes the plane of another core report [`Completion::Woken`], with this plane's next enter.
    /// `eventfd` is what that plane watches: it is written to when the ring refuses the message.
    pub fn wake_ring(&mut self, ring_fd: RawFd, eventfd: RawFd) {
        let woken = UserData::new(Op::Woken, 0, 0).pack();
        let entry = opcode::MsgRingData::new(types::Fd(ring_fd), 0, woken, None).build();
        let eventfd = eventfd.cast_unsigned();
        self.push_silent(entry, UserData::new(Op::Wake, 0, eventfd));
    }

    fn on_wake_failed(&mut self, eventfd: u32) {
        socket::signal(eventfd.cast_signed());
    }

    /// Whether completions of a slot are still the caller's concern.
    pub(super) fn reports(&self, data: UserData) -> bool {
        self.slots
            .current(data.index, data.generation)
            .is_some_and(|slot| !slot.has(CLOSING))
    }

    /// Queues an entry; when the queue is full, everything queued is submitted first.
    pub(super) fn push(&mut self, entry: squeue::Entry, data: UserData) {
        let entry = entry.user_data(data.pack());
        // SAFETY: entries point to receive buffers (by group), to sends in `self.sends`, to words
        // in `self.installing`, or to nothing. The plane keeps each as long as the module's head
        // says.
        if unsafe { self.ring.push(&entry) } {
            return;
        }
        self.submit_early();
        // SAFETY: as above.
        let pushed = unsafe { self.ring.push(&entry) };
        assert!(
            pushed || self.failed.is_some(),
            "a queue that was submitted has room"
        );
    }

    /// Queues an entry that reports only failures.
    pub(super) fn push_silent(&mut self, entry: squeue::Entry, data: UserData) {
        self.push(entry.flags(squeue::Flags::SKIP_SUCCESS), data);
    }

    /// Makes a completion of the plane's own.
    pub(super) fn report(&mut self, op: Op, generation: u32, index: u32, result: i32) {
        let user_data = UserData::new(op, generation, index).pack();
        self.backlog.push_back(Cqe {
            user_data,
            result,
            flags: 0,
        });
    }

    /// Submits early when the queue has no room for so many entries that belong together.
    pub(super) fn make_room(&mut self, entries: usize) {
        if self.ring.queued() + entries > self.installing.len() {
            self.submit_early();
        }
    }

    /// Submits the queued sends early when they are as many as the queue takes: their memory is
    /// bounded by it.
    pub(super) fn bound_queued_sends(&mut self) {
        if self.sends.queued.len() >= self.installing.len() {
            self.build_sends();
            self.submit_early();
        }
    }

    fn submit_early(&mut self) {
        self.ring.counters.submission_queue_full += 1;
        let submitted = self.ring.submit().and_then(|()| self.settle());
        if let Err(error) = submitted {
            self.failed.get_or_insert(error);
        }
    }

    /// Submits and takes completions as `wait` says (rule R1).
    fn enter(&mut self, wait: Wait<'_>, per_turn: usize) -> io::Result<()> {
        let before = self.backlog.len();
        let want = per_turn.saturating_sub(before);
        match wait {
            _ if want == 0 => self.ring.submit()?,
            Wait::AtMost { timeout, .. } => {
                if before == 0 && !self.ring.has_completions() {
                    self.ring.counters.sleeps += 1;
                    self.ring.submit_and_take(1, timeout)?;
                } else {
                    self.ring.submit_and_take(0, Duration::ZERO)?;
                }
            }
            Wait::No if self.busy => self.ring.submit_and_take(want, Duration::ZERO)?,
            Wait::No => {
                let nothing = self.ring.queued() == 0 && !self.ring.has_completions();
                if nothing && self.skipped_enters < SKIPPED_ENTERS_MAX {
                    self.skipped_enters += 1;
                    return Ok(());
                }
                self.ring.submit_and_take(0, Duration::ZERO)?;
            }
        }
        self.skipped_enters = 0;
        if let Wait::AtMost { asleep, .. } = wait {
            asleep.awake();
        }
        self.settle()?;
        let mut gained = self.backlog.len() - before;
        if !self.busy && gained >= SMALL_ENTER_COMPLETIONS && gained < want {
            self.ring.submit_and_take(want - gained, Duration::ZERO)?;
            self.settle()?;
            gained = self.backlog.len() - before;
        }
        self.busy = gained >= SMALL_ENTER_COMPLETIONS;
        Ok(())
    }

    /// Takes completions into the backlog. All sends submitted so far are over by then: those that
    /// are not among the completions were taken whole.
    fn settle(&mut self) -> io::Result<()> {
        let Self {
            ring,
            backlog,
            sends,
            ..
        } = self;
        let mut partial = Vec::new();
        ring.take(|cqe| {
            let data = UserData::unpack(cqe.user_data);
            if data.op == Op::Send {
                partial.push((data, cqe.result));
            } else {
                backlog.push_back(cqe);
            }
        })?;
        let mut submitted = std::mem::take(&mut sends.submitted);
        self.installing_used = 0;
        for (data, result) in partial {
            self.on_partial_send(data, result);
        }
        for index in submitted.drain(..) {
            self.settle_send(index);
        }
        if self.sends.submitted.is_empty() {
            self.sends.submitted = submitted;
        }
        Ok(())
    }
}
