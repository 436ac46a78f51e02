//! Grace periods: when may memory that readers could still hold be freed?
//!
//! One writer changes a structure in place, in batches; each batch is an [`Epoch`]. Readers take
//! no reference counts. The protocol:
//!
//! - A reader keeps nothing of the structure beyond its turn. Once a turn it *passes*: it loads the
//!   published epoch (Acquire) and stores it on a cache line of its own (Release). The Release puts
//!   every read of the turn before the store; the Acquire makes everything up to that epoch visible
//!   to the next turn.
//! - The writer unlinks memory in batch E, publishes E (Release), and frees the memory once every
//!   reader's line says E or more: such a reader has finished the turns that could have seen the
//!   memory linked, and will not find it again.
//! - Before a reader sleeps it stores OFFLINE (Release) and is not waited for. When it wakes it
//!   stores its last epoch, then a SeqCst fence, and only then loads the published epoch and reads.
//!   Whoever judges the readers runs a SeqCst fence between the publication and the look at the
//!   lines. Of the two fences one comes first: either the waking reader is seen (and waited for),
//!   or it sees everything that was published, so that it cannot find what is being freed.
//!
//! The same look answers "will every match from now on know epoch E?" ([`EpochsHandle::all_passed`]),
//! for which the asker must have learnt E from the writer, directly or through others.
//!
//! What a core found in an older epoch may still be on its way to other cores when it passes the
//! next. So beside its line each reader has a second one: it has *settled* an epoch when all that it
//! sent because of earlier ones lies in the lanes of those whom it concerns
//! ([`Reader::settle`], [`EpochsHandle::all_settled`]). A reader settles nothing that it has not
//! passed, so both lines follow the same rules.
//!
//! Within one epoch the same is asked of time: which of what a core received up to a moment may still
//! be on its way? So a core says with each settlement in which millisecond the oldest of what it has
//! not sent was received ([`EpochsHandle::all_sent_through`]). A sleeping core has sent everything, and reads
//! the clock only when it has said that it is awake.
//!
//! A reader that never ends its turn stops the freeing, not the visibility of changes.
//! Model-checked with loom, weak orders included (`RUSTFLAGS="--cfg loom" cargo test --release
//! --lib loom_`).

use std::sync::Arc;

use super::atomic::{AtomicU64, Ordering, fence};
use super::ids::{CoreId, Epoch};

/// The value of a reader's line while it sleeps.
const OFFLINE: u64 = u64::MAX;

/// One reader's line: 128 bytes, because processors fetch lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Line(AtomicU64);

/// What one reader has settled.
#[derive(Debug)]
#[repr(align(128))]
struct Settled {
    epoch: AtomicU64,
    /// All that it received in earlier milliseconds is in the lanes.
    sent_before_ms: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    published: Line,
    readers: Box<[Line]>,
    settled: Box<[Settled]>,
}

/// The writer's side. There is one, and it is not `Clone`.
#[derive(Debug)]
pub struct Epochs {
    handle: EpochsHandle,
    published: u64,
}

/// A view of the epochs for whoever must know how far the readers are.
#[derive(Clone, Debug)]
pub struct EpochsHandle {
    shared: Arc<Shared>,
}

/// One core's side. There is one a core, and it is not `Clone`. Starts parked.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    core: CoreId,
    seen: u64,
    parked: bool,
    /// The last epoch settled.
    settled: u64,
    /// All that was received in earlier milliseconds is in the lanes.
    sent_before_ms: u64,
    /// Something of an earlier epoch than `seen` is still to be sent.
    unsettled: bool,
}

impl Epochs {
    /// The writer's side and one reader for each of the cores `0..readers`.
    pub fn new(readers: u8) -> (Self, Vec<Reader>) {
        let line = |_| Line(AtomicU64::new(OFFLINE));
        let settled = |_| Settled {
            epoch: AtomicU64::new(OFFLINE),
            sent_before_ms: AtomicU64::new(OFFLINE),
        };
        let shared = Arc::new(Shared {
            published: Line(AtomicU64::new(0)),
            readers: (0..readers).map(line).collect(),
            settled: (0..readers).map(settled).collect(),
        });
        let own = (0..readers)
            .map(|core| Reader {
                shared: Arc::clone(&shared),
                core: CoreId(core),
                seen: 0,
                parked: true,
                settled: 0,
                sent_before_ms: 0,
                unsettled: false,
            })
            .collect();
        let handle = EpochsHandle { shared };
        (
            Self {
                handle,
                published: 0,
            },
            own,
        )
    }

    /// Ends the batch: what was changed before becomes the next epoch.
    pub fn publish(&mut self) -> Epoch {
        self.published += 1;
        self.handle
            .shared
            .published
            .0
            .store(self.published, Ordering::Release);
        Epoch(self.published)
    }

    /// The last published epoch.
    pub fn published(&self) -> Epoch {
        Epoch(self.published)
    }

    /// See [`EpochsHandle::oldest_in_use`]; memory retired up to it may be freed.
    pub fn oldest_in_use(&self) -> Epoch {
        self.handle.oldest_in_use()
    }

    /// See [`EpochsHandle::passed`].
    pub fn passed(&self, core: CoreId, epoch: Epoch) -> bool {
        self.handle.passed(core, epoch)
    }

    /// See [`EpochsHandle::all_passed`].
    pub fn all_passed(&self, epoch: Epoch) -> bool {
        self.handle.all_passed(epoch)
    }

    /// A view that may be given to any thread.
    pub fn handle(&self) -> EpochsHandle {
        self.handle.clone()
    }
}

impl EpochsHandle {
    /// The last epoch the writer has published.
    pub fn published(&self) -> Epoch {
        Epoch(self.shared.published.0.load(Ordering::Acquire))
    }

    /// The epoch up to which every reader has passed; parked readers are not waited for.
    pub fn oldest_in_use(&self) -> Epoch {
        let published = self.published().0;
        // Between the publication and the look at the lines: see the module's head.
        fence(Ordering::SeqCst);
        let lines = self.shared.readers.iter();
        let oldest = lines.map(|line| line.0.load(Ordering::Acquire)).min();
        Epoch(oldest.map_or(published, |epoch| epoch.min(published)))
    }

    /// Whether every turn of `core` from now on knows `epoch`, which must have been published.
    /// True for a parked core, and for one that does not exist (the control plane).
    pub fn passed(&self, core: CoreId, epoch: Epoch) -> bool {
        fence(Ordering::SeqCst);
        let line = self.shared.readers.get(usize::from(core.0));
        line.is_none_or(|line| line.0.load(Ordering::Acquire) >= epoch.0)
    }

    /// Whether every turn of every core from now on knows `epoch`, which must have been published.
    pub fn all_passed(&self, epoch: Epoch) -> bool {
        fence(Ordering::SeqCst);
        let mut lines = self.shared.readers.iter();
        lines.all(|line| line.0.load(Ordering::Acquire) >= epoch.0)
    }

    /// Whether, besides, everything that a core sent because of earlier epochs is in the lanes.
    pub fn all_settled(&self, epoch: Epoch) -> bool {
        fence(Ordering::SeqCst);
        let mut lines = self.shared.settled.iter();
        lines.all(|line| line.epoch.load(Ordering::Acquire) >= epoch.0)
    }

    /// Whether all that cores other than `asker` received up to the end of a millisecond that is over
    /// is in the lanes, for `asker` and everyone else.
    pub fn all_sent_through(&self, asker: CoreId, ms: u64) -> bool {
        fence(Ordering::SeqCst);
        let lines = self.shared.settled.iter().enumerate();
        lines
            .filter(|(core, _)| *core != usize::from(asker.0))
            .all(|(_, line)| line.sent_before_ms.load(Ordering::Acquire) > ms)
    }
}

impl Reader {
    /// Ends the last turn and begins the next, which knows the returned epoch. Call it once a
    /// turn, when nothing of the structure is held. Unparks a parked reader.
    pub fn pass(&mut self) -> Epoch {
        if self.parked {
            return self.unpark();
        }
        self.seen = self.shared.published.0.load(Ordering::Acquire);
        self.line().store(self.seen, Ordering::Release);
        Epoch(self.seen)
    }

    /// Ends the turn; until [`Self::unpark`] the structure may not be read and nobody waits for
    /// this core. To be called before the core sleeps.
    pub fn park(&mut self) {
        self.parked = true;
        self.line().store(OFFLINE, Ordering::Release);
        if !self.unsettled {
            let line = self.settled_line();
            line.epoch.store(OFFLINE, Ordering::Release);
            line.sent_before_ms.store(OFFLINE, Ordering::Release);
        }
    }

    /// Says at the end of a turn that began at `turn_ms` that all is in the lanes that was sent because
    /// of epochs before the `oldest` one and was received before its millisecond; `None`: that was sent
    /// at all.
    pub fn settle(&mut self, oldest: Option<(Epoch, u64)>, turn_ms: u64) {
        self.unsettled = oldest.is_some();
        let (epoch, ms) = oldest.unwrap_or((Epoch(self.seen), turn_ms));
        self.settled = epoch.0.min(self.seen);
        self.sent_before_ms = ms;
        self.show_settled();
    }

    fn show_settled(&self) {
        let line = self.settled_line();
        line.epoch.store(self.settled, Ordering::Release);
        line.sent_before_ms
            .store(self.sent_before_ms, Ordering::Release);
    }

    /// Begins the first turn after sleeping, which knows the returned epoch.
    pub fn unpark(&mut self) -> Epoch {
        self.parked = false;
        // Release again: whoever reads this value must have the reads of all earlier turns behind it.
        self.line().store(self.seen, Ordering::Release);
        self.show_settled();
        fence(Ordering::SeqCst);
        self.pass()
    }

    /// The epoch this turn knows (it may see parts of later ones).
    pub fn epoch(&self) -> Epoch {
        Epoch(self.seen)
    }

    /// Whether the reader is parked.
    pub fn is_parked(&self) -> bool {
        self.parked
    }

    /// The core whose line this is.
    pub fn core(&self) -> CoreId {
        self.core
    }

    fn line(&self) -> &AtomicU64 {
        &self.shared.readers[usize::from(self.core.0)].0
    }

    fn settled_line(&self) -> &Settled {
        &self.shared.settled[usize::from(self.core.0)]
    }
}

impl Drop for Reader {
    /// A core that has ended is never waited for.
    fn drop(&mut self) {
        self.unsettled = false;
        self.park();
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_settled_when_nothing_of_earlier_ones_waits() {
        let (mut epochs, mut readers) = Epochs::new(2);
        let handle = epochs.handle();
        let first = epochs.publish();
        assert!(
            handle.all_settled(first),
            "parked readers hold nothing back"
        );
        readers[0].unpark();
        let second = epochs.publish();
        assert!(!handle.all_settled(second));
        // It passes, but what it found in the first epoch is still to be sent.
        readers[0].pass();
        readers[0].settle(Some((first, 3)), 5);
        assert!(handle.all_passed(second) && !handle.all_settled(second));
        readers[0].park();
        assert!(!handle.all_settled(second), "not even when it sleeps");
        readers[0].unpark();
        readers[0].settle(None, 6);
        assert!(handle.all_settled(second));
    }

    #[test]
    fn a_millisecond_is_sent_when_nothing_that_came_in_it_waits() {
        let (_, mut readers) = Epochs::new(2);
        let handle = readers[1].shared.clone();
        let handle = EpochsHandle { shared: handle };
        let sent = |ms| handle.all_sent_through(CoreId(1), ms);
        assert!(sent(9), "a sleeping core has sent everything");
        readers[1].unpark();
        assert!(sent(9), "one does not wait for oneself");
        readers[0].unpark();
        assert!(!sent(0));
        readers[0].settle(None, 5);
        assert!(sent(4) && !sent(5), "more may come in the same millisecond");
        readers[0].settle(Some((Epoch(0), 5)), 8);
        assert!(sent(4) && !sent(5));
        readers[0].park();
        assert!(!sent(5), "not even when it sleeps");
        readers[0].unpark();
        readers[0].settle(None, 8);
        assert!(sent(7) && !sent(8));
        readers[0].park();
        assert!(sent(8));
    }

    #[test]
    fn a_slow_reader_holds_the_oldest_epoch_back_and_a_parked_one_does_not() {
        let (mut epochs, mut readers) = Epochs::new(2);
        let handle = epochs.handle();
        assert_eq!(epochs.oldest_in_use(), Epoch(0));
        for reader in &mut readers {
            assert_eq!(reader.unpark(), Epoch(0));
        }
        let first = epochs.publish();
        assert_eq!(readers[0].pass(), first);
        assert!(handle.passed(CoreId(0), first));
        assert!(!handle.passed(CoreId(1), first) && !epochs.all_passed(first));
        assert_eq!(handle.oldest_in_use(), Epoch(0));
        readers[1].park();
        assert!(handle.all_passed(first) && epochs.passed(CoreId(1), first));
        assert_eq!(epochs.oldest_in_use(), first);
        let second = epochs.publish();
        assert_eq!(readers[1].pass(), second, "pass unparks");
        assert_eq!(epochs.oldest_in_use(), first);
        drop(readers);
        assert_eq!(epochs.oldest_in_use(), second);
        assert_eq!(handle.published(), second);
    }

    #[test]
    fn the_control_plane_has_no_line_and_is_never_waited_for() {
        let (mut epochs, mut readers) = Epochs::new(1);
        readers[0].unpark();
        let epoch = epochs.publish();
        assert!(epochs.passed(CoreId(62), epoch));
        assert!(!epochs.passed(CoreId(0), epoch));
    }
}

#[cfg(test)]
#[cfg(loom)]
#[allow(unsafe_code)] // loom's cells, whose accesses the models are about
mod loom_tests {
    use super::*;
    use loom::cell::UnsafeCell;
    use loom::thread;

    /// A link to one of two cells; a cell that is written while a reader reads it is a failure
    /// that loom reports by itself.
    struct Memory {
        link: AtomicU64,
        cells: [UnsafeCell<u64>; 2],
    }

    // SAFETY: the cells are what the model is about: loom checks each access.
    unsafe impl Sync for Memory {}

    impl Memory {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                link: AtomicU64::new(0),
                cells: [UnsafeCell::new(7), UnsafeCell::new(7)],
            })
        }

        fn read(&self) {
            let at = usize::try_from(self.link.load(Ordering::Acquire)).unwrap();
            // SAFETY: loom checks that nobody writes meanwhile.
            self.cells[at].with(|value| assert_eq!(unsafe { *value }, 7, "freed under a reader"));
        }

        fn free_first(&self) {
            // SAFETY: loom checks that nobody reads meanwhile.
            self.cells[0].with_mut(|value| unsafe { *value = 0 });
        }
    }

    fn model(check: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(check);
    }

    /// Unlinks the first cell, publishes, and frees it if nobody is waited for.
    fn unlink_and_try_to_free(epochs: &mut Epochs, memory: &Memory, looks: usize) -> bool {
        memory.link.store(1, Ordering::Release);
        let epoch = epochs.publish();
        let free = (0..looks).any(|_| epochs.oldest_in_use() >= epoch);
        if free {
            memory.free_first();
        }
        free
    }

    #[test]
    fn loom_memory_is_freed_only_after_every_reader_passed() {
        model(|| {
            let memory = Memory::new();
            let (mut epochs, readers) = Epochs::new(2);
            let threads: Vec<_> = readers
                .into_iter()
                .map(|mut reader| {
                    reader.unpark();
                    let memory = Arc::clone(&memory);
                    thread::spawn(move || {
                        memory.read();
                        reader.pass();
                        memory.read();
                        std::mem::forget(reader);
                    })
                })
                .collect();
            unlink_and_try_to_free(&mut epochs, &memory, 1);
            threads.into_iter().for_each(|t| t.join().unwrap());
        });
    }

    #[test]
    fn loom_a_reader_that_wakes_is_waited_for_or_sees_the_change() {
        model(|| {
            let memory = Memory::new();
            let (mut epochs, mut readers) = Epochs::new(1);
            let mut reader = readers.remove(0);
            let seen = Arc::clone(&memory);
            let thread = thread::spawn(move || {
                reader.unpark();
                seen.read();
                reader.park();
                reader.unpark();
                seen.read();
                std::mem::forget(reader);
            });
            unlink_and_try_to_free(&mut epochs, &memory, 2);
            thread.join().unwrap();
        });
    }

    #[test]
    fn loom_a_parked_core_that_was_counted_as_passed_knows_the_epoch_when_it_wakes() {
        model(|| {
            let memory = Memory::new();
            let (mut epochs, mut readers) = Epochs::new(1);
            let mut reader = readers.remove(0);
            let handle = epochs.handle();
            // The asker is a third thread that learnt of the epoch from the writer.
            let told = Arc::new(AtomicU64::new(0));
            let judged = Arc::new(AtomicU64::new(0));
            let (asked, answer) = (Arc::clone(&told), Arc::clone(&judged));
            let asker = thread::spawn(move || {
                let epoch = asked.load(Ordering::Acquire);
                if epoch > 0 && handle.passed(CoreId(0), Epoch(epoch)) {
                    answer.store(epoch, Ordering::Release);
                }
            });
            let (link, verdict) = (Arc::clone(&memory), Arc::clone(&judged));
            let core = thread::spawn(move || {
                let judged_before = verdict.load(Ordering::Acquire);
                let epoch = reader.unpark();
                if judged_before > 0 {
                    assert!(epoch.0 >= judged_before, "woke up without the epoch");
                    assert_eq!(link.link.load(Ordering::Acquire), 1);
                }
                // Not judged before: then it was waited for, or the two raced and it must be
                // either seen online or know the epoch.
                let missed = link.link.load(Ordering::Relaxed) == 0;
                std::mem::forget(reader);
                missed
            });
            memory.link.store(1, Ordering::Release);
            let epoch = epochs.publish();
            told.store(epoch.0, Ordering::Release);
            asker.join().unwrap();
            let missed = core.join().unwrap();
            if judged.load(Ordering::Acquire) == epoch.0 {
                assert!(!missed, "counted as passed, yet it missed the change");
            }
        });
    }
}
