//! How a core runs and sleeps: the one task of its executor.
//!
//! While the core is the executor's only task it sleeps in its own ring, in the same enter that
//! submits what the turn asked for, and the executor is never entered. While there are guests
//! ([`Guests`]) it yields to them every 16 turns and sleeps in the executor: a read of an eventfd
//! that the ring signals, with a timeout in the ring, so that nothing is raced and nothing is
//! cancelled.
//!
//! # Figures
//!
//! Linux 6.18, 2 virtual CPUs shared with other work (load 4 to 5), release build. 64 bytes, one
//! connection, one message in flight, 10,000 round trips after 2,000 to warm up; CPU is the core
//! thread's own (`schedstat`); medians, read off by eye, of 3 to 6 runs, each with the loops
//! interleaved.
//!
//! | core sleeps | CPU us a message, client on the same CPU | round trip p50 us | CPU, client on the other CPU |
//! | --- | --- | --- | --- |
//! | bare loop: RECV, SEND, `submit_and_wait`, nothing else | 7.1 | 12.8 | 33 |
//! | the plane's turn in a plain loop, no executor | 7.2 | 13.1 | 33 |
//! | **in the ring, within the executor (no guests)** | **7.2** | **13.0** | **33** |
//! | in the executor (one idle guest) | 27 | 41 | 42 |
//! | in the ring after spinning for up to 50 us | 12 | 13.1 | 29 (round trip 27 instead of 42) |
//!
//! So the sleep in the ring costs 1.0 times the bare loop, and the sleep in the executor 3.8 times:
//! guests are for a piece of work, not for good. Spinning helps only where the core has its CPU to
//! itself and the peer another one.
//!
//! Cross-core wake of a sleeping core and its answer (two wakes, lane included): MSG_RING p50 26 to
//! 34 us, with a pause of 200 us before each 40 to 50 us; with both cores spinning 0.8 us. p99 was
//! 160 us when the machine was quiet and 2 to 4 ms (a time slice of the other work) when it was
//! not. CPU 21 to 27 us a core and round trip: the inter-processor interrupt of a virtual machine.
//! One way by eventfd from another thread: p50 22 to 24 us, p99 80 to 100 us, 3 ms when disturbed.
//! 240,000 round trips with sleeps of 15 s: no wake was lost.
//!
//! Load: 500 connections with 16 messages in flight each 300 to 450 ns of CPU a message, 2 to 8
//! enters a thousand messages; 1000 and 5000 connections with one in flight 5 to 9 us a message,
//! one send and one completion each.
#![allow(unsafe_code)] // glommio takes an eventfd only as a raw descriptor of a "file".

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use glommio::io::BufferedFile;

use super::completion::Wait;
use super::plane::Plane;
use super::socket;
use crate::base::wake_flag::WakeFlag;

/// Turns between two yields to the guests of the executor.
const TURNS_BETWEEN_YIELDS: u32 = 16;

/// Looks at the inboxes and the ring between two looks at the clock while spinning.
const SPINS_BETWEEN_CLOCK_LOOKS: u32 = 32;

/// A core, as its executor's task drives it.
pub trait CoreLoop {
    /// One turn. It passes `wait` to [`Plane::turn`] as it is, which is the turn's first step.
    ///
    /// # Errors
    ///
    /// The core cannot go on.
    fn turn(&mut self, wait: Wait<'_>) -> io::Result<Next>;

    /// Whether anything waits in an inbox that is not the plane's: lanes, commands, an epoch. Asked
    /// between "I am about to sleep" and the sleep, so that nothing that was pushed before is slept
    /// over.
    fn has_inbox_work(&self) -> bool;

    /// The core's plane.
    fn plane(&mut self) -> &mut Plane;
}

/// What a core wants after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There is more to do: turn at once.
    Again,
    /// Nothing is left to do but to wait for completions, wakes, or the next timer. What the turn
    /// asked of the plane need not be submitted yet: the sleep does it.
    Idle {
        /// Time until the next timer.
        at_most: Duration,
    },
    /// The core is done.
    Stop,
}

/// Other tasks on a core's executor (files written, for instance). While there are any the core
/// yields to them and sleeps in the executor, which costs twice as much: they are to be spawned for
/// a piece of work, not kept.
#[derive(Clone, Debug, Default)]
pub struct Guests {
    running: Rc<Cell<usize>>,
}

impl Guests {
    /// Runs a future on this core's executor. Only on the core's own thread, from within its task.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let guest = Guest {
            running: self.running.clone(),
        };
        guest.running.set(guest.running.get() + 1);
        let task = async move {
            future.await;
            drop(guest);
        };
        glommio::spawn_local(task).detach();
    }

    /// Guests that have not finished.
    pub fn running(&self) -> usize {
        self.running.get()
    }
}

/// Counts a guest as finished when its task is over, whichever way.
struct Guest {
    running: Rc<Cell<usize>>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.running.set(self.running.get() - 1);
    }
}

/// Runs a core until it stops. `spin` is how long it looks for work before it sleeps.
pub(super) async fn drive(
    core: &mut impl CoreLoop,
    flag: &WakeFlag,
    guests: &Guests,
    spin: Duration,
) -> io::Result<()> {
    let mut executor_sleep = None;
    let mut turns = 0_u32;
    let mut wait = Wait::No;
    loop {
        let mut next = core.turn(wait)?;
        wait = Wait::No;
        turns = turns.wrapping_add(1);
        if guests.running() > 0 {
            if let Next::Idle { at_most } = next {
                let sleep = match &mut executor_sleep {
                    Some(sleep) => sleep,
                    none => none.insert(ExecutorSleep::new(core.plane())?),
                };
                next = sleep.sleep(core, flag, at_most).await?;
            } else if turns.is_multiple_of(TURNS_BETWEEN_YIELDS) {
                glommio::executor().yield_task_queue_now().await;
            }
        }
        match next {
            Next::Stop => return Ok(()),
            Next::Again => {}
            // Slept already.
            Next::Idle { .. } if guests.running() > 0 => {}
            Next::Idle { at_most } => {
                if let Some(sleep) = executor_sleep.take() {
                    sleep.end(core.plane()).await?;
                }
                if found_by_spinning(core, spin)? {
                    continue;
                }
                flag.prepare_sleep();
                if core.has_inbox_work() {
                    flag.awake();
                } else {
                    wait = Wait::AtMost {
                        timeout: at_most,
                        asleep: flag,
                    };
                }
            }
        }
    }
}

/// Looks for work for a while before a sleep; true when there is some.
fn found_by_spinning(core: &mut impl CoreLoop, spin: Duration) -> io::Result<bool> {
    if spin.is_zero() {
        return Ok(false);
    }
    // Answers do not wait for the spin's end.
    core.plane().submit_now()?;
    let until = Instant::now() + spin;
    while Instant::now() < until {
        for _ in 0..SPINS_BETWEEN_CLOCK_LOOKS {
            if core.plane().has_completions() || core.has_inbox_work() {
                return Ok(true);
            }
            std::hint::spin_loop();
        }
    }
    Ok(false)
}

/// Sleeping in the executor, which runs its other tasks meanwhile: the plane's ring signals an
/// eventfd that a read of the executor waits for.
struct ExecutorSleep {
    eventfd: BufferedFile,
}

impl ExecutorSleep {
    fn new(plane: &mut Plane) -> io::Result<Self> {
        let eventfd = socket::blocking_eventfd()?;
        plane.signal_eventfd(Some(eventfd.as_raw_fd()))?;
        // SAFETY: the descriptor is owned by nobody else from here on; a read of 8 bytes is all
        // that is done to it.
        let eventfd = unsafe { BufferedFile::from_raw_fd(eventfd.into_raw_fd()) };
        Ok(Self { eventfd })
    }

    /// Lets the guests run, and sleeps when there is nothing for the core meanwhile. Says what the
    /// core's last turn said.
    async fn sleep(
        &mut self,
        core: &mut impl CoreLoop,
        flag: &WakeFlag,
        at_most: Duration,
    ) -> io::Result<Next> {
        glommio::executor().yield_task_queue_now().await;
        core.plane().set_alarm(at_most);
        // Submits everything and takes what is there; only an idle core sleeps.
        let next = core.turn(Wait::AtMost {
            timeout: Duration::ZERO,
            asleep: flag,
        })?;
        if !matches!(next, Next::Idle { .. }) {
            return Ok(next);
        }
        core.plane().submit_now()?;
        flag.prepare_sleep();
        if !core.has_inbox_work() && !core.plane().has_completions() {
            let read = self.eventfd.read_at(0, size_of::<u64>()).await;
            read.map_err(io::Error::from)?;
        }
        flag.awake();
        Ok(next)
    }

    async fn end(self, plane: &mut Plane) -> io::Result<()> {
        plane.signal_eventfd(None)?;
        self.eventfd.close().await.map_err(io::Error::from)
    }
}
