//! Connections at home: direct descriptors that receive, send and close.
#![allow(unsafe_code)] // A descriptor that the kernel has installed comes as a number.

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use io_uring::{cqueue, opcode, types};

use super::buffers::BUFFER_GROUP;
use super::completion::Completion;
use super::plane::{Actions, Op, UserData};
use super::ring::Cqe;
use super::sends::Phase;
use super::slots::{CLOSING, ENDED, LINGERING, OUT_OF_TABLE, PAUSED, RECEIVING, STARVED};
use super::socket;
use crate::shard::outgoing::Outgoing;

/// Flags of a send that completes inside its submit.
const SEND_AT_ONCE: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// Flags of a send that waits in the kernel until the socket has taken everything.
const SEND_WAITING: i32 = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// Entries of one `install`: update, close, read.
const INSTALL_ENTRIES: usize = 3;

/// Connections of one core that are shut down at a time after last bytes: each needs an ordinary
/// descriptor for a moment, and those are few (RLIMIT_NOFILE, shared by all cores).
const INSTALLING_FOR_CLOSE_MAX: usize = 64;

type On<'a> = &'a mut dyn FnMut(&mut Actions, Completion<'_>);

impl Actions {
    /// Makes a socket the connection of `slot`, which must be free: moves it into the table of
    /// direct descriptors, sends `first` (the CONNACK) before anything else, and receives.
    /// `generation` comes back with the slot's completions, cut to 24 bits.
    /// The socket must be a blocking one (as accepted ones are): io_uring waits for those only.
    pub fn install(&mut self, slot: u32, generation: u32, fd: OwnedFd, first: Outgoing) {
        self.slots.open(slot, generation);
        self.make_room(INSTALL_ENTRIES);
        let fd = fd.into_raw_fd();
        let word = &mut self.installing[self.installing_used];
        *word = fd;
        let word = std::ptr::from_ref(word);
        self.installing_used += 1;
        let index = slot.cast_signed();
        let ignored = UserData::new(Op::Ignored, generation, slot);
        self.push_silent(
            opcode::FilesUpdate::new(word, 1).offset(index).build(),
            ignored,
        );
        self.push_silent(opcode::Close::new(types::Fd(fd)).build(), ignored);
        self.send(slot, first);
        self.arm_receive(slot);
    }

    /// Queues bytes for a connection; those of one turn leave in one send. A closed one sends
    /// nothing more.
    ///
    /// There is no limit here, because the caller's is enough: it asks [`Actions::is_blocked`] before
    /// each send and keeps to itself what a blocked slot does not take. So a slot holds at most what
    /// it was given in the turn in which it blocked: one out-queue of the shard, which has a limit
    /// (`mqtt.max_out_queue`), and before it the CONNACK. What a blocked slot is given nevertheless
    /// is kept and sent later.
    pub fn send(&mut self, slot: u32, out: Outgoing) {
        if out.is_empty() || self.slots.at(slot).has(CLOSING) {
            self.sends.recycle(out);
            return;
        }
        match self.slots.open_mut(slot).send() {
            Some(send) => self.sends.append(send, out),
            None => {
                let send = self.sends.queue(slot, out);
                self.slots.open_mut(slot).set_send(Some(send));
                self.bound_queued_sends();
            }
        }
    }

    /// Whether the socket has not yet taken what an earlier turn sent.
    pub fn is_blocked(&self, slot: u32) -> bool {
        let send = self.slots.at(slot).send();
        send.is_some_and(|send| self.sends.at(send).phase == Phase::Waiting)
    }

    /// Marks an open slot for the caller; it stays so until it is free again.
    pub fn mark(&mut self, slot: u32) {
        self.slots.open_mut(slot).mark();
    }

    /// Whether the caller has marked the slot.
    pub fn is_marked(&self, slot: u32) -> bool {
        self.slots.at(slot).is_marked()
    }

    /// Whether the peer sends no more.
    pub fn has_ended(&self, slot: u32) -> bool {
        self.slots.at(slot).has(ENDED)
    }

    /// Bytes that a slot was given while it was blocked.
    pub fn given_while_blocked(&self, slot: u32) -> usize {
        let send = self.slots.at(slot).send();
        send.map_or(0, |send| self.sends.at(send).left_of_next())
    }

    /// Stops receiving. Bytes that are on their way are still reported, then
    /// [`Completion::ReceivePaused`].
    pub fn pause_receive(&mut self, slot: u32) {
        let state = self.slots.open_mut(slot);
        if state.has(CLOSING) {
            return;
        }
        let generation = state.generation();
        state.set(PAUSED);
        state.clear(STARVED);
        if state.has(RECEIVING) {
            self.cancel(UserData::new(Op::Receive, generation, slot));
        } else {
            self.report(Op::OwnPaused, generation, slot, 0);
        }
    }

    /// Receives again.
    pub fn resume_receive(&mut self, slot: u32) {
        let state = self.slots.open_mut(slot);
        state.clear(PAUSED);
        let idle = !state.has(RECEIVING) && !state.has(STARVED) && !state.has(ENDED);
        if idle && !state.has(CLOSING) {
            self.arm_receive(slot);
        }
    }

    /// Closes a connection. What was queued, and `last` after it, is sent first; then our side ends,
    /// and what the peer sends is thrown away until it ends too or the linger is over, so that it
    /// reads everything and an orderly end although it was still sending (rule R6). Without anything
    /// to send the end is immediate; a blocked slot is cut off. No completion of the slot is
    /// reported any more but [`Completion::Closed`], after which it is free.
    pub fn close(&mut self, slot: u32, last: Option<Outgoing>) {
        if self.slots.at(slot).has(CLOSING) {
            return;
        }
        let blocked = self.is_blocked(slot);
        // A full submission queue may send it before this function ends.
        let mut speaks = false;
        match last {
            Some(last) if blocked => {
                self.ring.counters.bytes_cut += last.len() as u64;
                self.sends.recycle(last);
            }
            Some(last) => {
                speaks = !last.is_empty();
                self.send(slot, last);
            }
            None => {}
        }
        let blocked = self.is_blocked(slot);
        let state = self.slots.open_mut(slot);
        state.set(CLOSING);
        state.clear(STARVED);
        if (speaks || state.send().is_some()) && !blocked {
            state.set(LINGERING);
        }
        self.closing.push_back(slot);
    }

    /// An empty buffer from the pool.
    pub fn buffer(&mut self) -> Outgoing {
        self.sends.buffer()
    }

    /// Gives back a buffer that is not needed after all.
    pub fn recycle(&mut self, out: Outgoing) {
        self.sends.recycle(out);
    }

    /// Turns the queued sends into entries.
    pub(super) fn build_sends(&mut self) {
        let mut queued = std::mem::take(&mut self.sends.queued);
        for send in queued.drain(..) {
            let slot = self.sends.at(send).slot;
            let generation = self.slots.at(slot).generation();
            let entry = self.sends.entry(send, SEND_AT_ONCE);
            self.push_silent(entry, UserData::new(Op::Send, generation, slot));
            self.sends.at_mut(send).phase = Phase::Submitted;
            self.sends.submitted.push(send);
            self.ring.counters.sends += 1;
        }
        if self.sends.queued.is_empty() {
            self.sends.queued = queued;
        }
    }

    /// Turns the closes that were asked for into entries, in order. When too many ordinary
    /// descriptors are in use for it, the rest waits for a later turn.
    pub(super) fn build_closes(&mut self) {
        while let Some(&slot) = self.closing.front() {
            let state = self.slots.at(slot);
            if state.has(LINGERING) {
                if self.installing_for_close >= INSTALLING_FOR_CLOSE_MAX {
                    return;
                }
                self.installing_for_close += 1;
                let install = opcode::FixedFdInstall::new(types::Fixed(slot), 0).build();
                self.push(
                    install,
                    UserData::new(Op::InstallForClose, state.generation(), slot),
                );
            } else {
                if state.send().is_some() {
                    self.cancel(UserData::new(Op::SendWaiting, state.generation(), slot));
                }
                self.take_out_of_table(slot);
            }
            self.closing.pop_front();
        }
    }

    /// The last bytes are sent and the descriptor is an ordinary one for a moment: end our side by
    /// system call, since a FIN must leave before the kernel sees bytes that nobody has read.
    pub(super) fn on_installed_for_close(&mut self, data: UserData, result: i32) {
        self.installing_for_close -= 1;
        if result >= 0 {
            // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
            let fd = unsafe { OwnedFd::from_raw_fd(result) };
            socket::shutdown_send(&fd);
            self.begin_linger(data.index);
        } else {
            self.ring.counters.closes_abrupt += 1;
            self.end_linger(data.index);
        }
    }

    /// Cancels the receive and closes the direct descriptor, in that order (rule R5).
    pub(super) fn take_out_of_table(&mut self, slot: u32) {
        let state = self.slots.at(slot);
        if state.has(RECEIVING) {
            self.cancel(UserData::new(Op::Receive, state.generation(), slot));
        }
        let close = opcode::Close::new(types::Fixed(slot)).build();
        self.push(close, UserData::new(Op::Close, state.generation(), slot));
    }

    pub(super) fn on_closed(&mut self, data: UserData, on: On<'_>) {
        self.slots.open_mut(data.index).set(OUT_OF_TABLE);
        self.free_if_over(data, on);
    }

    /// Frees a closed slot when the kernel holds nothing of it any more.
    fn free_if_over(&mut self, data: UserData, on: On<'_>) {
        let state = self.slots.at(data.index);
        let over = state.has(OUT_OF_TABLE) && !state.has(RECEIVING) && state.send().is_none();
        if over {
            self.slots.free(data.index);
            let (slot, generation) = (data.index, data.generation);
            on(self, Completion::Closed { slot, generation });
        }
    }

    pub(super) fn cancel(&mut self, what: UserData) {
        let cancel = opcode::AsyncCancel::new(what.pack()).build();
        self.push_silent(
            cancel,
            UserData::new(Op::Ignored, what.generation, what.index),
        );
    }

    /// The one place that decides how a connection receives.
    pub(super) fn arm_receive(&mut self, slot: u32) {
        let state = self.slots.open_mut(slot);
        let generation = state.generation();
        state.set(RECEIVING);
        let read = opcode::ReadMulti::new(types::Fixed(slot), 0, BUFFER_GROUP).build();
        self.push(read, UserData::new(Op::Receive, generation, slot));
    }

    pub(super) fn on_receive(&mut self, data: UserData, cqe: Cqe, bytes: &[u8], on: On<'_>) {
        let (slot, generation) = (data.index, data.generation);
        let Some(before) = self.slots.current(slot, generation) else {
            return;
        };
        let over = !cqueue::more(cqe.flags);
        if over {
            self.slots.open_mut(slot).clear(RECEIVING);
        }
        if before.has(LINGERING) {
            let ended = over && is_end(cqe.result);
            return self.on_receive_lingering(slot, cqe.result, over, ended);
        }
        if before.has(CLOSING) {
            if over {
                self.free_if_over(data, on);
            }
            return;
        }
        if !bytes.is_empty() {
            self.ring.counters.bytes_in += bytes.len() as u64;
            on(
                self,
                Completion::Received {
                    slot,
                    generation,
                    marked: before.is_marked(),
                    bytes,
                },
            );
        }
        if over {
            self.on_receive_over(data, cqe.result, before.has(PAUSED), on);
        }
    }

    /// A receive is not armed any more: it was paused, found no buffer, ended, or merely has to be
    /// armed again.
    fn on_receive_over(&mut self, data: UserData, result: i32, was_paused: bool, on: On<'_>) {
        let (slot, generation) = (data.index, data.generation);
        // The callback may have closed, resumed or paused the slot meanwhile.
        let Some(now) = self.slots.current(slot, generation) else {
            return;
        };
        if now.has(CLOSING) || now.has(RECEIVING) {
            return;
        }
        if is_end(result) {
            self.slots.open_mut(slot).set(ENDED);
            on(
                self,
                Completion::Ended {
                    slot,
                    generation,
                    errno: -result,
                },
            );
        } else if now.has(PAUSED) {
            if was_paused {
                on(self, Completion::ReceivePaused { slot, generation });
            }
        } else if result == -libc::ENOBUFS {
            self.starve(slot);
        } else {
            self.arm_receive(slot);
        }
    }

    /// A receive found no buffer: it is armed again when there are some.
    pub(super) fn starve(&mut self, slot: u32) {
        self.ring.counters.buffers_exhausted += 1;
        let state = self.slots.open_mut(slot);
        state.set(STARVED);
        let data = UserData::new(Op::Receive, state.generation(), slot);
        self.starved.push_back(data);
    }

    /// Arms receives that had found no buffer: as many as buffers came back (rule R3), or as are
    /// free when none did.
    pub(super) fn arm_starved(&mut self, returned: usize, buffers: usize) {
        if self.starved.is_empty() {
            return;
        }
        let held = self
            .backlog
            .iter()
            .filter(|cqe| cqueue::buffer_select(cqe.flags).is_some());
        let free = buffers.saturating_sub(held.count());
        let mut left = if returned > 0 {
            free.min(returned)
        } else {
            free
        };
        while left > 0 {
            let Some(data) = self.starved.pop_front() else {
                break;
            };
            let armed = match data.op {
                Op::HandshakeReceive => self.arm_starved_handshake(data),
                _ => self.arm_starved_slot(data),
            };
            left -= usize::from(armed);
        }
    }

    fn arm_starved_slot(&mut self, data: UserData) -> bool {
        let current = self.slots.current(data.index, data.generation);
        if !current.is_some_and(|slot| slot.has(STARVED)) {
            return false;
        }
        self.slots.open_mut(data.index).clear(STARVED);
        self.arm_receive(data.index);
        true
    }

    /// A send that the socket did not take whole, or at all. The rest waits in the kernel.
    pub(super) fn on_partial_send(&mut self, data: UserData, result: i32) {
        let Some(state) = self.slots.current(data.index, data.generation) else {
            return;
        };
        let Some(send) = state.send() else { return };
        self.count_taken(send, result);
        if state.has(CLOSING) {
            self.cut(data.index, send);
        } else if result > 0 || is_passing(-result) {
            self.ring.counters.sends_blocked += 1;
            self.submit_waiting(data, send);
        } else {
            self.cut(data.index, send);
            self.report(Op::OwnSendFailed, data.generation, data.index, result);
        }
    }

    /// A send of which nothing was reported: the socket took it whole.
    pub(super) fn settle_send(&mut self, send: u32) {
        let Some(sending) = self.sends.find(send) else {
            return;
        };
        if sending.phase != Phase::Submitted {
            return;
        }
        let slot = sending.slot;
        self.ring.counters.bytes_out += sending.left_of_current() as u64;
        if self.sends.advance(send) {
            self.sends.at_mut(send).phase = Phase::Queued;
            self.sends.queued.push(send);
        } else {
            self.sends.remove(send);
            self.slots.open_mut(slot).set_send(None);
        }
    }

    fn submit_waiting(&mut self, data: UserData, send: u32) {
        self.sends.at_mut(send).phase = Phase::Waiting;
        let entry = self.sends.entry(send, SEND_WAITING);
        self.push(
            entry,
            UserData::new(Op::SendWaiting, data.generation, data.index),
        );
    }

    pub(super) fn on_waiting_send(&mut self, data: UserData, result: i32, on: On<'_>) {
        let (slot, generation) = (data.index, data.generation);
        let Some(state) = self.slots.current(slot, generation) else {
            return;
        };
        let Some(send) = state.send() else { return };
        self.count_taken(send, result);
        if state.has(CLOSING) {
            self.cut(slot, send);
            self.free_if_over(data, on);
        } else if result > 0 || (result < 0 && is_passing(-result)) {
            let partial = self.sends.at(send).left_of_current() > 0;
            if partial || self.sends.advance(send) {
                self.submit_waiting(data, send);
            } else {
                self.cut(slot, send);
                on(self, Completion::Drained { slot, generation });
            }
        } else {
            self.cut(slot, send);
            on(
                self,
                Completion::SendFailed {
                    slot,
                    generation,
                    errno: -result,
                },
            );
        }
    }

    fn count_taken(&mut self, send: u32, result: i32) {
        if let Ok(taken) = usize::try_from(result) {
            self.ring.counters.bytes_out += taken as u64;
            self.sends.at_mut(send).took(taken);
        }
    }

    /// Forgets a slot's send, whatever is left of it.
    fn cut(&mut self, slot: u32, send: u32) {
        self.ring.counters.bytes_cut += self.sends.at(send).left() as u64;
        self.sends.remove(send);
        self.slots.open_mut(slot).set_send(None);
    }
}

/// Whether a receive that is over with this result was the last.
fn is_end(result: i32) -> bool {
    result == 0 || (result < 0 && !is_passing(-result))
}

/// Whether an operation that failed so is simply tried again.
fn is_passing(errno: i32) -> bool {
    matches!(
        errno,
        libc::EAGAIN | libc::EINTR | libc::ECANCELED | libc::ENOBUFS
    )
}
