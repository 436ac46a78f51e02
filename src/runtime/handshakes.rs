//! Sockets in handshake: ordinary descriptors that receive one piece at a time (rule R9), so that
//! they can be handed to another core whenever nothing is armed. There are few of them, and they
//! are short-lived; answers go out by plain system calls that never block.
//!
//! One that is refused with a last packet lingers for a while, as closed connections do.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use io_uring::squeue::Flags;
use io_uring::{opcode, types};

use super::buffers::BUFFER_GROUP;
use super::completion::{Completion, GENERATION_MASK};
use super::lingers::{Lingers, REFUSED_LINGERING_MAX};
use super::plane::{Actions, Op, UserData};
use super::socket;

#[derive(Debug, Default)]
struct Handshake {
    /// None when the entry is free.
    fd: Option<OwnedFd>,
    generation: u32,
    /// A receive is in the kernel.
    receiving: bool,
    /// The receive waits for buffers.
    starved: bool,
    /// The socket is closed when its receive is over. Not before: the receive may wait to be
    /// submitted, and would then be one on the next owner of the descriptor's number.
    closing: bool,
}

/// The sockets in handshake of a plane.
#[derive(Debug)]
pub(super) struct Handshakes {
    table: Vec<Handshake>,
    free: Vec<u32>,
    /// Those that were refused and are still open.
    pub(super) lingers: Lingers,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self {
            table: Vec::new(),
            free: Vec::new(),
            lingers: Lingers::new(REFUSED_LINGERING_MAX),
        }
    }
}

impl Handshakes {
    fn at(&self, handshake: u32) -> &Handshake {
        &self.table[handshake as usize]
    }

    fn at_mut(&mut self, handshake: u32) -> &mut Handshake {
        &mut self.table[handshake as usize]
    }

    fn fd(&self, handshake: u32) -> &OwnedFd {
        self.at(handshake)
            .fd
            .as_ref()
            .expect("the caller names handshakes that it has begun")
    }

    fn release(&mut self, handshake: u32) {
        let entry = self.at_mut(handshake);
        entry.generation = (entry.generation + 1) & GENERATION_MASK;
        entry.starved = false;
        entry.closing = false;
        entry.fd = None;
        self.free.push(handshake);
    }
}

impl Actions {
    /// Takes a socket into handshake; nothing is armed yet. The number is not given out again
    /// before everything in flight for it is over, so that it needs no generation.
    pub fn handshake_begin(&mut self, fd: OwnedFd) -> u32 {
        let table = &mut self.handshakes;
        let handshake = table.free.pop().unwrap_or_else(|| {
            table.table.push(Handshake::default());
            u32::try_from(table.table.len() - 1).expect("descriptors are fewer than 2^32")
        });
        table.at_mut(handshake).fd = Some(fd);
        handshake
    }

    /// The socket, to ask it for addresses and to set options.
    pub fn handshake_fd(&self, handshake: u32) -> BorrowedFd<'_> {
        self.handshakes.fd(handshake).as_fd()
    }

    /// Receives one piece: reports [`Completion::HandshakeBytes`] or [`Completion::HandshakeEnded`]
    /// once.
    pub fn handshake_receive(&mut self, handshake: u32) {
        let fd = types::Fd(self.handshakes.fd(handshake).as_raw_fd());
        let entry = self.handshakes.at_mut(handshake);
        assert!(
            !entry.receiving && !entry.starved,
            "a handshake receives one piece at a time"
        );
        entry.receiving = true;
        let data = UserData::new(Op::HandshakeReceive, entry.generation, handshake);
        let receive = opcode::Recv::new(fd, std::ptr::null_mut(), self.buffer_bytes)
            .buf_group(BUFFER_GROUP)
            .build()
            .flags(Flags::BUFFER_SELECT);
        self.push(receive, data);
    }

    /// Receives what has come already, by a plain system call; none when nothing has, 0 at the end. Only
    /// while no receive is armed.
    ///
    /// # Errors
    /// Those of `recv(2)`: the connection is broken.
    pub fn handshake_receive_now(
        &mut self,
        handshake: u32,
        into: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let entry = self.handshakes.at(handshake);
        assert!(
            !entry.receiving && !entry.starved,
            "a handshake receives one piece at a time"
        );
        let received = socket::receive_now(self.handshakes.fd(handshake), into)?;
        self.ring.counters.bytes_in += received.unwrap_or(0) as u64;
        Ok(received)
    }

    /// Sends bytes that need no order with anything; false when the socket did not take all of them,
    /// which ends a handshake.
    pub fn handshake_send(&mut self, handshake: u32, bytes: &[u8]) -> bool {
        let sent = socket::send_now(self.handshakes.fd(handshake), bytes).unwrap_or(0);
        self.ring.counters.bytes_out += sent as u64;
        self.ring.counters.bytes_cut += (bytes.len() - sent) as u64;
        sent == bytes.len()
    }

    /// Hands the socket out. Only while no receive is armed: after a completion and before the next
    /// receive.
    pub fn handshake_take(&mut self, handshake: u32) -> OwnedFd {
        let entry = self.handshakes.at_mut(handshake);
        assert!(
            !entry.receiving && !entry.starved,
            "a socket with an operation in flight is not handed over"
        );
        let fd = entry
            .fd
            .take()
            .expect("the caller names handshakes that it has begun");
        self.handshakes.release(handshake);
        fd
    }

    /// Ends a handshake: sends the last bytes as far as the socket takes them, then an orderly end,
    /// and with last bytes waits a while for the peer's. Nothing is reported for it any more.
    pub fn handshake_refuse(&mut self, handshake: u32, last_bytes: &[u8]) {
        let fd = self.handshakes.fd(handshake);
        let mut lingers = false;
        if !last_bytes.is_empty() {
            let sent = socket::send_now(fd, last_bytes).unwrap_or(0);
            self.ring.counters.bytes_out += sent as u64;
            self.ring.counters.bytes_cut += (last_bytes.len() - sent) as u64;
            lingers = sent > 0 && !self.linger.is_zero();
        }
        socket::shutdown_send(fd);
        if lingers {
            self.begin_handshake_linger(handshake);
        } else {
            self.close_handshake(handshake);
        }
    }

    fn begin_handshake_linger(&mut self, handshake: u32) {
        if let Some(oldest) = self.handshakes.lingers.in_the_way() {
            self.ring.counters.lingers_cut += 1;
            self.end_handshake_linger(oldest);
        }
        self.ring.counters.lingers += 1;
        let due = Instant::now() + self.linger;
        self.handshakes.lingers.begin(handshake, due);
        let entry = self.handshakes.at(handshake);
        if !entry.receiving && !entry.starved {
            self.handshake_receive(handshake);
        }
    }

    pub(super) fn end_handshake_linger(&mut self, handshake: u32) {
        self.handshakes.lingers.end(handshake);
        self.close_handshake(handshake);
    }

    /// Closes the socket and frees its number, both when no receive is in the kernel any more.
    fn close_handshake(&mut self, handshake: u32) {
        let entry = self.handshakes.at_mut(handshake);
        let data = UserData::new(Op::HandshakeReceive, entry.generation, handshake);
        if entry.receiving {
            entry.closing = true;
            self.cancel(data);
        } else {
            self.handshakes.release(handshake);
        }
    }

    /// What a refused client sends is thrown away, until it closes.
    fn on_receive_refused(&mut self, handshake: u32, bytes: usize) {
        self.ring.counters.bytes_thrown_away += bytes as u64;
        if bytes > 0 && self.handshakes.lingers.allows(handshake, bytes) {
            self.handshake_receive(handshake);
        } else {
            self.ring.counters.lingers_cut += u64::from(bytes > 0);
            self.end_handshake_linger(handshake);
        }
    }

    pub(super) fn on_handshake_receive(
        &mut self,
        data: UserData,
        result: i32,
        bytes: &[u8],
        on: &mut dyn FnMut(&mut Self, Completion<'_>),
    ) {
        let handshake = data.index;
        let refused = self.handshakes.lingers.holds(handshake);
        let entry = self.handshakes.at_mut(handshake);
        assert!(
            entry.generation == data.generation,
            "a number is free only when nothing is armed"
        );
        entry.receiving = false;
        if entry.closing {
            self.handshakes.release(handshake);
        } else if refused && result != -libc::ENOBUFS {
            self.on_receive_refused(handshake, bytes.len());
        } else if !bytes.is_empty() {
            self.ring.counters.bytes_in += bytes.len() as u64;
            on(self, Completion::HandshakeBytes { handshake, bytes });
        } else if result == -libc::ENOBUFS {
            self.ring.counters.buffers_exhausted += 1;
            entry.starved = true;
            self.starved.push_back(data);
        } else {
            on(
                self,
                Completion::HandshakeEnded {
                    handshake,
                    errno: -result,
                },
            );
        }
    }

    pub(super) fn arm_starved_handshake(&mut self, data: UserData) -> bool {
        let entry = self.handshakes.at_mut(data.index);
        let waits = entry.starved && entry.fd.is_some() && entry.generation == data.generation;
        if waits {
            entry.starved = false;
            self.handshake_receive(data.index);
        }
        waits
    }
}
