//! The connection plane (signatures first; the body follows).
use super::completion::{Completion, PlaneConfig, PlaneCounters, PlaneError, TurnStats, Wait};
use crate::shard::outgoing::Outgoing;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

/// One core's ring with its sockets. Made and used on one thread. Derefs to [`Actions`].
pub struct Plane {}
/// What can be done with the plane, also from within a turn's callback.
pub struct Actions {}

impl Plane {
    pub fn new(config: &PlaneConfig) -> Result<Plane, PlaneError>;
    /// One turn: builds the sends and closes that were asked for, submits, takes completions, calls `on` for each.
    pub fn turn(&mut self, wait: Wait<'_>, on: &mut dyn FnMut(&mut Actions, Completion<'_>)) -> io::Result<TurnStats>;
}
impl Actions {
    pub fn ring_fd(&self) -> RawFd;
    pub fn counters(&self) -> &PlaneCounters;
    /// Arms a poll on an eventfd that other threads signal: reported as Woken.
    pub fn watch(&mut self, eventfd: BorrowedFd<'static>);
    /// Queues a MSG_RING that makes the other ring report Woken (used by Wakers).
    pub fn wake_ring(&mut self, ring_fd: RawFd);

    pub fn listen(&mut self, listener: u8, fd: OwnedFd);
    pub fn pause_accept(&mut self, listener: u8);
    pub fn resume_accept(&mut self, listener: u8);
    pub fn stop_accept(&mut self, listener: u8);

    /// The plane chooses the number; it is not given out again before everything in flight for it is over,
    /// so the caller needs no generation. Nothing is armed yet: call handshake_receive.
    pub fn handshake_begin(&mut self, fd: OwnedFd) -> u32;
    pub fn handshake_receive(&mut self, handshake: u32);
    pub fn handshake_fd(&self, handshake: u32) -> BorrowedFd<'_>;
    /// By syscall, never blocks: bytes taken by the socket (AUTH exchange, TLS).
    pub fn handshake_send(&mut self, handshake: u32, bytes: &[u8]) -> io::Result<usize>;
    /// Only with no receive in flight.
    pub fn handshake_take(&mut self, handshake: u32) -> OwnedFd;
    pub fn handshake_refuse(&mut self, handshake: u32, last_bytes: &[u8]);

    pub fn install(&mut self, slot: u32, generation: u32, fd: OwnedFd, first: Outgoing);
    /// Queued until the next enter; several sends of one turn become one.
    pub fn send(&mut self, slot: u32, out: Outgoing);
    pub fn is_blocked(&self, slot: u32) -> bool;
    pub fn pause_receive(&mut self, slot: u32);
    pub fn resume_receive(&mut self, slot: u32);
    /// No completion but Closed is reported for the slot after this.
    pub fn close(&mut self, slot: u32, last: Option<Outgoing>);
    /// An empty one with memory from the pool.
    pub fn buffer(&mut self) -> Outgoing;
}
