//! The flag by which a core that sleeps is woken exactly when it must be.
//!
//! The protocol, told once. The sleeper: [`WakeFlag::prepare_sleep`] (store `asleep`, full fence), look into every
//! inbox once more, and only when all are empty sleep; after that [`WakeFlag::awake`]. The pusher: push, then
//! [`WakeFlag::take_sleeper`] (full fence, swap `asleep` to false) and wake the sleeper when that says true. The
//! two fences are totally ordered: when the pusher's comes first the sleeper's last look finds the item, otherwise
//! the pusher finds the flag. Several pushers race for the swap, so that one of them alone pays for the wake.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// "This core sleeps, or is about to": alone in its cache line (two, because of the adjacent-line prefetcher),
/// since every other core reads it after a push.
#[derive(Debug)]
#[repr(align(128))]
pub struct WakeFlag {
    asleep: AtomicBool,
}

impl Default for WakeFlag {
    fn default() -> Self {
        Self { asleep: AtomicBool::new(false) }
    }
}

impl WakeFlag {
    /// Says that the caller is about to sleep. It must look into all its inboxes after this and before it sleeps.
    pub fn prepare_sleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Says that the caller is awake again, or did not go to sleep after all.
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// After a push: whether the caller must wake the sleeper. True for one of several racing pushers only.
    pub fn take_sleeper(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed)
    }
}
