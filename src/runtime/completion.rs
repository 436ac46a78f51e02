//! What goes into the connection plane and what comes out of it, as plain data.

use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::base::wake_flag::WakeFlag;

/// Bits of a generation that the plane keeps and reports: the others are cut off.
pub const GENERATION_MASK: u32 = 0x00ff_ffff;

/// Most completions that one turn handles before their receive buffers go back to the kernel.
pub const COMPLETIONS_PER_TURN_MAX: usize = 256;

/// How long a socket that was sent its last packet waits for its peer's end: some round trips of a
/// bad mobile connection, with a retransmission.
pub const LINGER: Duration = Duration::from_secs(2);

/// Connections of one core that wait so at a time: each keeps its slot meanwhile.
pub const LINGERING_MAX: usize = 1024;

/// From so many cores on, each plane gets small rings and few buffers.
const MANY_CORES: usize = 9;

/// The sizes of one core's plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaneConfig {
    /// Entries of the submission queue: a power of two.
    pub submissions: u32,
    /// Entries of the completion queue: a power of two.
    pub completions: u32,
    /// Receive buffers shared by all connections of the core: a power of two.
    pub buffers: u16,
    /// Bytes of one receive buffer.
    pub buffer_bytes: u32,
    /// Direct descriptors, that is connections at home on this core. The kernel refuses more than
    /// RLIMIT_NOFILE, and more than 2^20.
    pub slots: u32,
    /// How long a connection that was closed with a last packet waits for its peer's end; zero for
    /// not at all.
    pub linger: Duration,
    /// Connections that wait so at a time; the oldest is cut for one more.
    pub lingering_max: usize,
}

impl PlaneConfig {
    /// Sizes for one of `cores` planes with room for `slots` connections.
    ///
    /// Few large receive buffers: 128 of 16 KiB against 512 of 2 KiB take 0.4 to 1.0 of the CPU with
    /// messages of 64 KiB, 0.3 to 0.6 with 1 KiB, 0.8 to 1.0 with small ones (3 interleaved rounds),
    /// because a burst comes in fewer completions. Many cores keep small ones, for their memory.
    pub fn for_cores(cores: usize, slots: u32) -> Self {
        if cores < MANY_CORES {
            Self {
                submissions: 4096,
                completions: 16_384,
                buffers: 128,
                buffer_bytes: 16 * 1024,
                slots,
                linger: LINGER,
                lingering_max: LINGERING_MAX,
            }
        } else {
            Self {
                submissions: 1024,
                completions: 4096,
                buffers: 256,
                buffer_bytes: 1024,
                slots,
                linger: LINGER,
                lingering_max: LINGERING_MAX,
            }
        }
    }

    /// Most completions that a turn handles: with fewer buffers than twice that, half of the
    /// buffers (rule R2).
    pub fn completions_per_turn(&self) -> usize {
        COMPLETIONS_PER_TURN_MAX
            .min(usize::from(self.buffers) / 2)
            .max(1)
    }
}

/// Why a plane could not be made; the text says what to do.
#[derive(Debug)]
pub enum PlaneError {
    /// RLIMIT_MEMLOCK is too small for the rings.
    LockedMemory(std::io::Error),
    /// The kernel refused the table of direct descriptors.
    Slots(u32, std::io::Error),
    /// The kernel is too old, or io_uring is switched off.
    Kernel(&'static str, std::io::Error),
}

impl std::fmt::Display for PlaneError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::LockedMemory(error) => {
                write!(
                    f,
                    "no locked memory left for a connection ring, raise RLIMIT_MEMLOCK: {error}"
                )
            }
            Self::Slots(slots, error) => write!(
                f,
                "no table of {slots} direct descriptors, raise RLIMIT_NOFILE or lower the connections \
                 a core: {error}"
            ),
            Self::Kernel(what, error) => write!(
                f,
                "{what} is refused by this kernel (6.8 or newer with io_uring enabled is needed): {error}"
            ),
        }
    }
}

impl std::error::Error for PlaneError {}

/// How a turn treats an empty completion queue.
#[derive(Clone, Copy, Debug)]
pub enum Wait<'a> {
    /// Take what is there.
    No,
    /// When nothing is there, sleep in the ring until something comes or the time is over.
    AtMost {
        /// The longest sleep.
        timeout: Duration,
        /// Said to be awake as soon as the sleep is over, before anything is handled.
        asleep: &'a WakeFlag,
    },
}

/// What one turn of the plane did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnStats {
    /// Completions handed to the callback or consumed by the plane itself.
    pub completions: usize,
    /// Completions that wait for the next turn: do not sleep when it is not zero.
    pub backlog: usize,
}

/// Something that the plane reports.
#[derive(Debug)]
pub enum Completion<'a> {
    /// A new connection: an ordinary, blocking, close-on-exec descriptor.
    Accepted {
        /// The listener's number.
        listener: u8,
        /// The socket; dropping it closes it.
        fd: OwnedFd,
    },
    /// Accepting ended and is not armed any more, with `EMFILE` or `ENFILE` when descriptors ran
    /// out. Nothing is lost: the connection waits in the backlog. The caller resumes when a
    /// handshake has ended (rule R11).
    AcceptFailed {
        /// The listener's number.
        listener: u8,
        /// The error.
        errno: i32,
    },
    /// `stop_accept` is done: the queue was drained, the listening socket is closed.
    AcceptStopped {
        /// The listener's number.
        listener: u8,
    },
    /// Bytes of a socket in handshake. Nothing is armed after this: take it, or receive again.
    HandshakeBytes {
        /// The handshake's number.
        handshake: u32,
        /// What came; at least one byte.
        bytes: &'a [u8],
    },
    /// The peer of a socket in handshake is gone. Nothing is armed; refuse it to close it.
    HandshakeEnded {
        /// The handshake's number.
        handshake: u32,
        /// 0 for an orderly end.
        errno: i32,
    },
    /// Bytes of a connection.
    Received {
        /// The connection's slot.
        slot: u32,
        /// What `install` was given, masked.
        generation: u32,
        /// Whether the caller has marked the slot.
        marked: bool,
        /// What came; at least one byte.
        bytes: &'a [u8],
    },
    /// The peer sends no more: a FIN (errno 0) or a broken connection. The caller closes the slot.
    Ended {
        /// The connection's slot.
        slot: u32,
        /// What `install` was given, masked.
        generation: u32,
        /// 0 for an orderly end.
        errno: i32,
    },
    /// A blocked slot has sent everything and takes more.
    Drained {
        /// The connection's slot.
        slot: u32,
        /// What `install` was given, masked.
        generation: u32,
    },
    /// A send failed for good. The caller closes the slot.
    SendFailed {
        /// The connection's slot.
        slot: u32,
        /// What `install` was given, masked.
        generation: u32,
        /// The error.
        errno: i32,
    },
    /// `pause_receive` is done: no bytes come until `resume_receive`.
    ReceivePaused {
        /// The connection's slot.
        slot: u32,
        /// What `install` was given, masked.
        generation: u32,
    },
    /// The slot is free again.
    Closed {
        /// The slot.
        slot: u32,
        /// What `install` was given, masked.
        generation: u32,
    },
    /// Another core or thread woke this one: look into the inboxes.
    Woken,
}

/// What a plane counted since it was made; plain numbers with one writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaneCounters {
    /// Calls of `io_uring_enter`.
    pub enters: u64,
    /// Enters that were meant to sleep.
    pub sleeps: u64,
    /// Completions seen.
    pub completions: u64,
    /// Submits in the middle of a turn because the submission queue was full.
    pub submission_queue_full: u64,
    /// Times that the completion queue overflowed (nothing is lost by it).
    pub completion_queue_overflows: u64,
    /// Receives that ended for want of a buffer, and were armed again later.
    pub buffers_exhausted: u64,
    /// Sends handed to the kernel.
    pub sends: u64,
    /// Sends that the socket did not take whole: the slot was blocked until it did.
    pub sends_blocked: u64,
    /// Bytes dropped because a connection closed before they could be sent.
    pub bytes_cut: u64,
    /// Bytes received on slots and in handshakes.
    pub bytes_in: u64,
    /// Bytes that sockets took.
    pub bytes_out: u64,
    /// Connections closed without a clean end because no descriptor was free for it (rule R6).
    pub closes_abrupt: u64,
    /// Sockets that waited for their peer's end after the last packet.
    pub lingers: u64,
    /// Those of them that were cut: too long, too many bytes, or too many sockets.
    pub lingers_cut: u64,
    /// Bytes that came meanwhile.
    pub bytes_thrown_away: u64,
}
