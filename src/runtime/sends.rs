//! Sends on their way: who holds the memory that the kernel reads, and for how long.
//!
//! A send is queued until the next enter, so that everything of a turn for one connection is one
//! send. It is then submitted with MSG_DONTWAIT: it completes inside the submit, success posts
//! nothing, and the memory is free when the enter has returned and its completions were taken. What
//! the socket did not take is submitted again without MSG_DONTWAIT and waits in the kernel: the
//! slot is blocked until that completes.

use io_uring::{opcode, squeue, types};

use crate::shard::outgoing::{Outgoing, SpareOutgoing};

/// Messages kept for reuse by one plane: about one submission queue full.
const MESSAGES_KEPT: usize = 1024;

/// Places that an empty table of sends may keep: 32 KiB.
const PLACES_KEPT: usize = 256;

/// Memory in bytes of a fresh buffer: a small packet or two.
const BUFFER_BYTES: usize = 128;

/// Most pieces of one send (UIO_MAXIOV is 1024); what is in more pieces is copied into one.
const PIECES_MAX: usize = 256;

/// Where a send is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not yet seen by the kernel.
    Queued,
    /// Submitted; settled when the completions of that submit were taken.
    Submitted,
    /// Held by the kernel until its completion.
    Waiting,
}

/// One connection's send.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) slot: u32,
    pub(super) phase: Phase,
    out: Outgoing,
    /// Bytes of `out` that the socket took.
    taken: usize,
    /// What comes after `out`, given while the slot was blocked.
    next: Outgoing,
    /// What the kernel reads when `out` is in several pieces.
    message: Option<Box<Message>>,
}

#[derive(Debug)]
struct Message {
    header: libc::msghdr,
    pieces: Vec<libc::iovec>,
}

impl Sending {
    /// Bytes that the socket has not taken.
    pub(super) fn left(&self) -> usize {
        self.out.len() - self.taken + self.next.len()
    }

    /// Bytes of the send in the kernel that the socket has not taken.
    pub(super) fn left_of_current(&self) -> usize {
        self.out.len() - self.taken
    }

    /// Bytes that come after the send in the kernel.
    pub(super) fn left_of_next(&self) -> usize {
        self.next.len()
    }

    pub(super) fn took(&mut self, bytes: usize) {
        self.taken += bytes;
        assert!(
            self.taken <= self.out.len(),
            "a socket takes no more than it is given"
        );
    }
}

/// All sends of a plane, and the pool of their memory.
#[derive(Default)]
pub(super) struct Sends {
    table: Vec<Option<Sending>>,
    free: Vec<u32>,
    /// Sends to be submitted, in order.
    pub(super) queued: Vec<u32>,
    /// Sends that were submitted and have not settled.
    pub(super) submitted: Vec<u32>,
    pool: SpareOutgoing,
    #[allow(clippy::vec_box)] // the kernel reads a message where it lies
    messages: Vec<Box<Message>>,
}

impl Sends {
    /// Queues a send for a slot that has none; says its index.
    pub(super) fn queue(&mut self, slot: u32, out: Outgoing) -> u32 {
        let sending = Sending {
            slot,
            phase: Phase::Queued,
            out,
            taken: 0,
            next: Outgoing::default(),
            message: None,
        };
        let index = if let Some(index) = self.free.pop() {
            self.table[index as usize] = Some(sending);
            index
        } else {
            self.table.push(Some(sending));
            u32::try_from(self.table.len() - 1).expect("one send a slot, and slots are u32")
        };
        self.queued.push(index);
        index
    }

    /// Appends to a slot's send.
    pub(super) fn append(&mut self, index: u32, mut more: Outgoing) {
        let sending = self.at_mut(index);
        match sending.phase {
            Phase::Queued => sending.out.append(&mut more),
            Phase::Submitted | Phase::Waiting => sending.next.append(&mut more),
        }
        self.recycle(more);
    }

    /// A send, unless it is over.
    pub(super) fn find(&self, index: u32) -> Option<&Sending> {
        self.table[index as usize].as_ref()
    }

    pub(super) fn at(&self, index: u32) -> &Sending {
        self.table[index as usize]
            .as_ref()
            .expect("a slot names a send that exists")
    }

    pub(super) fn at_mut(&mut self, index: u32) -> &mut Sending {
        self.table[index as usize]
            .as_mut()
            .expect("a slot names a send that exists")
    }

    /// Makes what was given while the slot was blocked the current part; false when there is none.
    pub(super) fn advance(&mut self, index: u32) -> bool {
        let sending = self.at_mut(index);
        let next = std::mem::take(&mut sending.next);
        sending.taken = 0;
        let more = !next.is_empty();
        let done = std::mem::replace(&mut sending.out, next);
        let message = sending.message.take();
        self.recycle(done);
        self.messages.extend(message);
        more
    }

    /// Forgets a send and keeps its memory for others.
    pub(super) fn remove(&mut self, index: u32) {
        let sending = self.table[index as usize]
            .take()
            .expect("a send is removed once");
        self.free.push(index);
        self.recycle(sending.out);
        self.recycle(sending.next);
        self.messages.extend(sending.message);
        self.messages.truncate(MESSAGES_KEPT);
    }

    /// An empty one, with memory from the pool.
    pub(super) fn buffer(&mut self) -> Outgoing {
        self.pool.take().unwrap_or_else(|| Outgoing {
            bytes: Vec::with_capacity(BUFFER_BYTES),
            shared: Vec::new(),
        })
    }

    /// Keeps the memory for others, unless it is none, too much, or enough is kept.
    pub(super) fn recycle(&mut self, out: Outgoing) {
        self.pool.give(out);
    }

    /// Frees what the pool has not needed since the last call, and what a burst left behind.
    pub(super) fn trim(&mut self) {
        self.pool.trim();
        if self.free.len() == self.table.len() && self.table.capacity() > PLACES_KEPT {
            self.table = Vec::new();
            self.free = Vec::new();
            self.messages = Vec::new();
        }
    }

    /// Sends that are not over, and memory in bytes of all and of the pool.
    pub(super) fn size(&self) -> (usize, usize) {
        let lists = self.free.capacity() + self.queued.capacity() + self.submitted.capacity();
        let sendings = self.table.iter().flatten();
        let held: usize = sendings
            .map(|sending| sending.out.held_bytes() + sending.next.held_bytes())
            .sum();
        let bytes = self.table.capacity() * size_of::<Option<Sending>>()
            + lists * size_of::<u32>()
            + self.messages.capacity() * size_of::<Box<Message>>()
            + held
            + self.pool.bytes();
        (self.table.len() - self.free.len(), bytes)
    }

    /// The entry that sends what is left of the current part from direct descriptor `slot`. What it
    /// points to belongs to this table and stays where it is until the send is advanced or removed.
    pub(super) fn entry(&mut self, index: u32, flags: i32) -> squeue::Entry {
        let spare = if self.at(index).out.shared.is_empty() {
            None
        } else {
            self.messages.pop()
        };
        let sending = self.at_mut(index);
        if sending.out.shared.len() > PIECES_MAX {
            sending.out = Outgoing {
                bytes: sending.out.runs().collect::<Vec<_>>().concat(),
                shared: Vec::new(),
            };
        }
        let fd = types::Fixed(sending.slot);
        if sending.out.shared.is_empty() {
            let rest = &sending.out.bytes[sending.taken..];
            let len =
                u32::try_from(rest.len()).expect("one turn's bytes for a connection fit 32 bits");
            return opcode::Send::new(fd, rest.as_ptr(), len)
                .flags(flags)
                .build();
        }
        let message = sending
            .message
            .get_or_insert_with(|| spare.unwrap_or_else(Message::empty));
        message.fill(&sending.out, sending.taken);
        opcode::SendMsg::new(fd, &raw const message.header)
            .flags(flags.cast_unsigned())
            .build()
    }
}

impl Message {
    fn empty() -> Box<Self> {
        let header = libc::msghdr {
            msg_name: std::ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: std::ptr::null_mut(),
            msg_iovlen: 0,
            msg_control: std::ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        };
        Box::new(Self {
            header,
            pieces: Vec::new(),
        })
    }

    /// Points at everything of `out` but the first `taken` bytes.
    fn fill(&mut self, out: &Outgoing, mut taken: usize) {
        self.pieces.clear();
        for run in out.runs() {
            let skipped = taken.min(run.len());
            taken -= skipped;
            let rest = &run[skipped..];
            if !rest.is_empty() {
                self.pieces.push(libc::iovec {
                    iov_base: rest.as_ptr().cast_mut().cast(),
                    iov_len: rest.len(),
                });
            }
        }
        self.header.msg_iov = self.pieces.as_mut_ptr();
        self.header.msg_iovlen = self.pieces.len();
    }
}
