//! The io_uring itself: set up, submit, take completions. Knows nothing of connections.
#![allow(unsafe_code)] // Entries hold pointers for the kernel, and `enter` is a raw system call.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Probe, opcode, squeue};

use super::buffers::BufferRing;
use super::completion::{PlaneConfig, PlaneCounters, PlaneError};

/// Tries of one submit before the kernel is thought to be out of memory for good.
const SUBMIT_TRIES_MAX: u32 = 1000;

/// The longest wait in seconds for everything to be cancelled when a ring ends.
const CANCEL_TIMEOUT_SECONDS: u64 = 1;

/// A completion, copied out of the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cqe {
    pub(super) user_data: u64,
    pub(super) result: i32,
    pub(super) flags: u32,
}

/// One ring, used by the thread that made it.
pub(super) struct Ring {
    uring: IoUring,
    pub(super) counters: PlaneCounters,
}

impl Ring {
    /// Makes the ring with its table of direct descriptors.
    pub(super) fn new(config: &PlaneConfig) -> Result<Self, PlaneError> {
        let uring = build(config, true)
            .or_else(|error| match error.raw_os_error() {
                Some(libc::EINVAL) => build(config, false),
                _ => Err(error),
            })
            .map_err(|error| match error.raw_os_error() {
                Some(libc::ENOMEM) => PlaneError::LockedMemory(error),
                _ => PlaneError::Kernel("a ring of single issuer and deferred task work", error),
            })?;
        require_operations(&uring)?;
        uring
            .submitter()
            .register_files_sparse(config.slots)
            .map_err(|error| PlaneError::Slots(config.slots, error))?;
        Ok(Self {
            uring,
            counters: PlaneCounters::default(),
        })
    }

    /// Makes the receive buffers known to the kernel.
    pub(super) fn register(&self, buffers: &BufferRing) -> Result<(), PlaneError> {
        buffers
            .register(&self.uring.submitter())
            .map_err(|error| PlaneError::Kernel("a ring of provided buffers", error))
    }

    /// Signals an eventfd whenever there is something to take, or no more.
    pub(super) fn signal_eventfd(&self, eventfd: Option<RawFd>) -> io::Result<()> {
        let submitter = self.uring.submitter();
        match eventfd {
            Some(eventfd) => submitter.register_eventfd(eventfd),
            None => submitter.unregister_eventfd(),
        }
    }

    pub(super) fn fd(&self) -> RawFd {
        self.uring.as_raw_fd()
    }

    /// Queues an entry; false when the queue is full.
    ///
    /// # Safety
    ///
    /// What the entry points to must stay valid until its completion was taken, or, for an
    /// operation that only reads it at submission, until the next submit has returned.
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: the caller's promise is the one that `push` asks for.
        unsafe { self.uring.submission().push(entry).is_ok() }
    }

    pub(super) fn queued(&mut self) -> usize {
        self.uring.submission().len()
    }

    /// Whether an enter would find something: completions, or task work that waits to be run.
    pub(super) fn has_completions(&mut self) -> bool {
        let pending = {
            let submission = self.uring.submission();
            submission.taskrun() || submission.cq_overflow()
        };
        pending || !self.uring.completion().is_empty()
    }

    /// Submits everything queued, without taking completions.
    pub(super) fn submit(&mut self) -> io::Result<()> {
        for _ in 0..SUBMIT_TRIES_MAX {
            let queued = self.queued();
            if queued == 0 {
                return Ok(());
            }
            self.enter(queued, 0, EnterFlags::empty(), None)?;
        }
        Err(io::Error::from_raw_os_error(libc::EBUSY))
    }

    /// Submits everything queued and runs pending task work until `want` completions are there or
    /// the time is over. With `want` 0 the kernel runs a few items of task work and does not wait.
    pub(super) fn submit_and_take(&mut self, want: usize, timeout: Duration) -> io::Result<()> {
        let queued = self.queued();
        let timespec = Timespec::from(timeout);
        let args = SubmitArgs::new().timespec(&timespec);
        let (flags, args) = if want == 0 {
            (EnterFlags::GETEVENTS, None)
        } else {
            (EnterFlags::GETEVENTS | EnterFlags::EXT_ARG, Some(&args))
        };
        self.enter(queued, want, flags, args)?;
        self.submit()
    }

    fn enter(
        &mut self,
        queued: usize,
        want: usize,
        flags: EnterFlags,
        args: Option<&SubmitArgs<'_, '_>>,
    ) -> io::Result<()> {
        self.counters.enters += 1;
        let (queued, want) = (count(queued), count(want));
        // SAFETY: `args` is null or points to a SubmitArgs, which is what EXT_ARG announces; the
        // caller passes the flag exactly when there are args. A null argument without EXT_ARG means
        // "no signal mask".
        let entered = unsafe {
            self.uring
                .submitter()
                .enter(queued, want, flags.bits(), args)
        };
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // A time-out, a signal, an overflown queue that the caller takes from next: not
                // failures.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Takes every completion that the kernel has posted, including those that had overflown.
    pub(super) fn take(&mut self, mut each: impl FnMut(Cqe)) -> io::Result<()> {
        loop {
            for entry in self.uring.completion() {
                self.counters.completions += 1;
                each(Cqe {
                    user_data: entry.user_data(),
                    result: entry.result(),
                    flags: entry.flags(),
                });
            }
            if !self.uring.submission().cq_overflow() {
                return Ok(());
            }
            self.counters.completion_queue_overflows += 1;
            self.enter(0, 0, EnterFlags::GETEVENTS, None)?;
        }
    }

    /// Cancels everything in flight and closes all direct descriptors. True when the kernel holds
    /// nothing of ours any more.
    pub(super) fn cancel_all(&mut self) -> bool {
        // What was queued is submitted first, so that descriptors on their way to be closed are
        // closed.
        let submitted = self.submit().is_ok();
        let submitter = self.uring.submitter();
        let timeout = Timespec::new().sec(CANCEL_TIMEOUT_SECONDS);
        let cancelled = match submitter.register_sync_cancel(Some(timeout), CancelBuilder::any()) {
            Ok(()) => true,
            Err(error) => error.raw_os_error() == Some(libc::ENOENT),
        };
        let closed = submitter.unregister_files().is_ok();
        submitted && cancelled && closed
    }
}

/// Asks for the youngest operations that the plane needs.
fn require_operations(uring: &IoUring) -> Result<(), PlaneError> {
    let mut probe = Probe::new();
    uring
        .submitter()
        .register_probe(&mut probe)
        .map_err(|error| PlaneError::Kernel("asking for operations", error))?;
    let needed = [
        (opcode::ReadMulti::CODE, "a read of many shots"),
        (
            opcode::FixedFdInstall::CODE,
            "making a direct descriptor an ordinary one",
        ),
        (opcode::MsgRingData::CODE, "a message from ring to ring"),
    ];
    match needed.iter().find(|(code, _)| !probe.is_supported(*code)) {
        None => Ok(()),
        Some((_, what)) => Err(PlaneError::Kernel(what, io::ErrorKind::Unsupported.into())),
    }
}

/// A count as the kernel takes it; queues are far shorter than 2^32.
fn count(entries: usize) -> u32 {
    u32::try_from(entries).unwrap_or(u32::MAX)
}

fn build(config: &PlaneConfig, no_sqarray: bool) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_cqsize(config.completions);
    if no_sqarray {
        builder.setup_no_sqarray();
    }
    builder.build(config.submissions)
}
