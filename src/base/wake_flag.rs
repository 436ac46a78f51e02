//! The flag by which a core that sleeps is woken exactly when it must be.
//!
//! The protocol, told once. The sleeper: [`WakeFlag::prepare_sleep`] (store `asleep`, full fence),
//! look into every inbox once more, and only when all are empty sleep; after that
//! [`WakeFlag::awake`]. The pusher: push, then [`WakeFlag::take_sleeper`] (full fence, swap
//! `asleep` to false) and wake the sleeper when that says true. The two fences are totally ordered:
//! when the pusher's comes first the sleeper's last look finds the item, otherwise the pusher finds
//! the flag. Several pushers race for the swap, so that one of them alone pays for the wake.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// "This core sleeps, or is about to": alone in its cache line (two, because of the adjacent-line
/// prefetcher), since every other core reads it after a push.
#[derive(Debug)]
#[repr(align(128))]
pub struct WakeFlag {
    asleep: AtomicBool,
}

impl Default for WakeFlag {
    fn default() -> Self {
        Self {
            asleep: AtomicBool::new(false),
        }
    }
}

impl WakeFlag {
    /// Says that the caller is about to sleep. It must look into all its inboxes after this and
    /// before it sleeps.
    pub fn prepare_sleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Says that the caller is awake again, or did not go to sleep after all.
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// After a push: whether the caller must wake the sleeper. True for one of several racing
    /// pushers only.
    pub fn take_sleeper(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_sleeper_is_taken_once() {
        let flag = WakeFlag::default();
        assert!(!flag.take_sleeper());
        flag.prepare_sleep();
        assert!(flag.take_sleeper());
        assert!(!flag.take_sleeper());
        flag.prepare_sleep();
        flag.awake();
        assert!(!flag.take_sleeper());
    }
}

#[cfg(all(test, loom))]
mod models {
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicU64;
    use loom::thread;

    use super::*;

    /// An inbox (a count of pushed items), a flag, and the wakes that pushers sent.
    #[derive(Default)]
    struct World {
        pushed: [AtomicU64; 2],
        flag: WakeFlag,
        wakes: AtomicU64,
    }

    fn push(world: &World, lane: usize) {
        world.pushed[lane].store(1, Ordering::Release);
        if world.flag.take_sleeper() {
            world.wakes.fetch_add(1, Ordering::Release);
        }
    }

    fn inbox(world: &World) -> u64 {
        world
            .pushed
            .iter()
            .map(|lane| lane.load(Ordering::Acquire))
            .sum()
    }

    /// Whoever sleeps without having seen an item has been woken, or will be: never a lost wake.
    /// And one sleep costs at most one wake, however many push.
    #[test]
    fn no_wake_is_lost_and_none_is_sent_twice() {
        let mut model = loom::model::Builder::new();
        // Three threads of a few steps: more preemptions find nothing new, and take minutes.
        model.preemption_bound = Some(3);
        model.check(|| {
            let world = Arc::new(World::default());
            let pushers: Vec<_> = (0..2)
                .map(|lane| {
                    let world = world.clone();
                    thread::spawn(move || push(&world, lane))
                })
                .collect();
            world.flag.prepare_sleep();
            let seen = inbox(&world);
            let sleeps = seen == 0;
            if !sleeps {
                world.flag.awake();
            }
            for pusher in pushers {
                pusher.join().unwrap();
            }
            let wakes = world.wakes.load(Ordering::Acquire);
            assert!(wakes <= 1, "one sleep, {wakes} wakes");
            assert!(
                !sleeps || wakes == 1,
                "asleep with {} items and no wake",
                inbox(&world)
            );
        });
    }

    /// A core that goes on until it has seen everything, sleeping whenever it has not, is woken
    /// each time: a lost wake would be a deadlock, which loom finds.
    #[test]
    fn a_core_that_sleeps_again_and_again_sees_everything() {
        loom::model(|| {
            let world = Arc::new(World::default());
            let sleeper = thread::current();
            let pusher = {
                let world = world.clone();
                thread::spawn(move || {
                    for lane in 0..2 {
                        world.pushed[lane].store(1, Ordering::Release);
                        if world.flag.take_sleeper() {
                            sleeper.unpark();
                        }
                    }
                })
            };
            loop {
                world.flag.prepare_sleep();
                if inbox(&world) == 2 {
                    world.flag.awake();
                    break;
                }
                thread::park();
                world.flag.awake();
            }
            pusher.join().unwrap();
        });
    }
}
