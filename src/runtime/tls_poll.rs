//! Waiting for many sockets at once on a thread that is no core: epoll, level-triggered. The sockets stay
//! blocking ones, as the connection plane needs them; each call here says that it must not wait.
#![allow(unsafe_code)] // epoll and recv are asked of libc.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 64;

/// Sockets that are waited for, each with a number of the caller's.
pub(super) struct Poll {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Poll {
    /// Waits for nothing yet.
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: takes no memory of ours.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        Ok(Self {
            // SAFETY: the kernel has just made this descriptor for us.
            epoll: unsafe { OwnedFd::from_raw_fd(fd) },
            events: Vec::with_capacity(EVENTS_MAX),
        })
    }

    /// Waits for bytes on a socket; an end or an error counts as such.
    pub(super) fn add(&self, fd: RawFd, number: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN, number)
    }

    /// Waits for room to send instead, or for bytes again.
    pub(super) fn change(&self, fd: RawFd, number: u64, for_room: bool) -> io::Result<()> {
        let event = if for_room {
            libc::EPOLLOUT
        } else {
            libc::EPOLLIN
        };
        self.control(libc::EPOLL_CTL_MOD, fd, event, number)
    }

    /// Waits for a socket no longer. (Closing is not enough while a copy of it is open elsewhere.)
    pub(super) fn remove(&self, fd: RawFd) {
        // It is no error that matters when it was not waited for.
        let _ = self.control(libc::EPOLL_CTL_DEL, fd, 0, 0);
    }

    fn control(&self, what: i32, fd: RawFd, event: i32, number: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: event.cast_unsigned(),
            u64: number,
        };
        // SAFETY: `event` is a live local; the kernel copies it.
        check(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), what, fd, &raw mut event) })
            .map(drop)
    }

    /// Waits, and appends the numbers of sockets that are ready.
    pub(super) fn wait(&mut self, timeout: Duration, ready: &mut Vec<u64>) -> io::Result<()> {
        let timeout_ms = i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        let max = i32::try_from(EVENTS_MAX).unwrap_or(i32::MAX);
        self.events.clear();
        // SAFETY: the vector has room for `max` events, and the kernel writes no more.
        let came = check(unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                max,
                timeout_ms,
            )
        });
        let came = match came {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            other => usize::try_from(other?).unwrap_or(0),
        };
        // SAFETY: the kernel has written that many events.
        unsafe { self.events.set_len(came.min(EVENTS_MAX)) };
        ready.extend(self.events.iter().map(|event| event.u64));
        Ok(())
    }
}

/// Receives what is there: `None` when nothing is, 0 at the peer's end.
pub(super) fn receive_now(fd: &OwnedFd, into: &mut [u8]) -> io::Result<Option<usize>> {
    // SAFETY: pointer and length are those of a slice that outlives the call.
    let received = unsafe {
        libc::recv(
            fd.as_raw_fd(),
            into.as_mut_ptr().cast(),
            into.len(),
            libc::MSG_DONTWAIT,
        )
    };
    match usize::try_from(received) {
        Ok(received) => Ok(Some(received)),
        Err(_) => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            error if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            error => Err(error),
        },
    }
}

/// Empties an eventfd.
pub(super) fn clear(eventfd: &OwnedFd) {
    let mut count = 0_u64;
    // SAFETY: eight bytes are written to a live local.
    unsafe {
        libc::read(
            eventfd.as_raw_fd(),
            (&raw mut count).cast(),
            size_of::<u64>(),
        );
    }
}

/// Makes the calling thread yield to others: Linux keeps the value by thread.
pub(super) fn be_nice(nice: i32) {
    // SAFETY: takes no memory of ours. An error leaves the thread as it was, which is no harm.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
