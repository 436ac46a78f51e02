//! Waking cores that sleep: by a message from ring to ring, or by an eventfd.
//!
//! The protocol is [`WakeFlag`]'s. A core wakes another with MSG_RING in its own ring, so that the
//! wake leaves with the enter that its turn does anyway; every other thread writes to the eventfd
//! that the core's ring watches.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use super::plane::Actions;
use super::socket;
use crate::base::wake_flag::WakeFlag;

/// How to wake each core. Shared by all threads; it outlives the planes, whose descriptors it holds
/// copies of.
#[derive(Debug)]
pub struct Wakers {
    cores: Vec<Waker>,
}

#[derive(Debug)]
struct Waker {
    flag: WakeFlag,
    eventfd: OwnedFd,
    /// The core's ring, once it has one. A copy: its number stays this ring's as long as anyone may
    /// use it.
    ring: OnceLock<OwnedFd>,
}

impl Wakers {
    /// Makes the flags and eventfds of all cores.
    ///
    /// # Errors
    ///
    /// When the process is out of descriptors.
    pub fn new(cores: usize) -> io::Result<Arc<Self>> {
        let waker = |_| {
            let eventfd = socket::eventfd()?;
            Ok(Waker {
                flag: WakeFlag::default(),
                eventfd,
                ring: OnceLock::new(),
            })
        };
        Ok(Arc::new(Self {
            cores: (0..cores).map(waker).collect::<io::Result<_>>()?,
        }))
    }

    /// Called once by each core, on its thread: from then on it can be woken.
    ///
    /// # Errors
    ///
    /// When the process is out of descriptors.
    pub fn join(&self, core: usize, plane: &mut Actions) -> io::Result<()> {
        let waker = &self.cores[core];
        plane.watch(waker.eventfd.try_clone()?);
        let joined = waker.ring.set(plane.ring_fd_cloned()?);
        assert!(joined.is_ok(), "core {core} has one plane");
        Ok(())
    }

    /// The core's own flag.
    pub fn flag(&self, core: usize) -> &WakeFlag {
        &self.cores[core].flag
    }

    /// After a push to `target` by another core: wakes it, if it sleeps, with this plane's next
    /// enter. Says whether it did.
    pub fn wake_from_core(&self, plane: &mut Actions, target: usize) -> bool {
        let waker = &self.cores[target];
        let wakes = waker.flag.take_sleeper();
        if wakes {
            match waker.ring.get() {
                Some(ring) => plane.wake_ring(ring.as_raw_fd(), waker.eventfd.as_raw_fd()),
                None => socket::signal(waker.eventfd.as_raw_fd()),
            }
        }
        wakes
    }

    /// After a push to `target` by a thread that is no core: wakes it, if it sleeps. Says whether
    /// it did.
    pub fn wake_from_outside(&self, target: usize) -> bool {
        let waker = &self.cores[target];
        let wakes = waker.flag.take_sleeper();
        if wakes {
            socket::signal(waker.eventfd.as_fd().as_raw_fd());
        }
        wakes
    }
}
