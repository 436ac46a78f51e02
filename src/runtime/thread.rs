//! The core threads: one a core, pinned, each with an executor whose one task is the core.
#![allow(unsafe_code)] // The CPUs that the process may use are asked of libc.

use std::any::Any;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use glommio::{LocalExecutorBuilder, Placement};

use super::park::{CoreLoop, Guests, drive};
use super::wake::Wakers;

/// Locked memory in bytes of each executor's own rings: it serves the guests' file I/O only.
const EXECUTOR_IO_MEMORY_BYTES: usize = 65_536;

/// Entries of each executor's own rings.
const EXECUTOR_RING_ENTRIES: usize = 128;

/// How cores are run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoresConfig {
    /// Whether each core stays on one CPU.
    pub pin: bool,
    /// How long a core looks for work before it sleeps (`spin_before_park_us`). Zero on machines
    /// that do other things as well.
    pub spin_before_park: Duration,
}

/// A core that did not end as it should.
#[derive(Debug)]
pub struct CoreFailed {
    /// Which one.
    pub core: usize,
    /// Why: an error's text or a panic's.
    pub reason: String,
}

impl fmt::Display for CoreFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "core {} failed: {}", self.core, self.reason)
    }
}

impl std::error::Error for CoreFailed {}

/// The running cores.
#[derive(Debug)]
pub struct Cores {
    threads: Vec<JoinHandle<()>>,
    reports: Receiver<(usize, Report)>,
}

/// What a core's thread tells.
#[derive(Debug)]
enum Report {
    Started,
    Stopped,
    Failed(String),
}

/// Starts one core for each of `makers`, which run on the cores' threads and make what is driven
/// there. Returns when all are made.
///
/// # Errors
///
/// The first core that could not be made. The others run on: the process is to exit.
pub fn start<C, F>(
    config: CoresConfig,
    wakers: &Arc<Wakers>,
    makers: Vec<F>,
) -> Result<Cores, CoreFailed>
where
    C: CoreLoop,
    F: FnOnce(Guests) -> io::Result<C> + Send + 'static,
{
    let cores = makers.len();
    let cpus = usable_cpus().map_err(|error| failed(0, &error))?;
    // Two reports a core: it started, it ended.
    let (reporter, reports) = crossbeam_channel::bounded(2 * cores);
    let mut threads = Vec::with_capacity(cores);
    for (core, make) in makers.into_iter().enumerate() {
        let cpu = cpus[core % cpus.len()];
        let (wakers, reporter) = (wakers.clone(), reporter.clone());
        let body = move || run_reported(core, cpu, config, &wakers, make, &reporter);
        let thread = std::thread::Builder::new()
            .name(format!("core-{core}"))
            .spawn(body);
        threads.push(thread.map_err(|error| failed(core, &error))?);
    }
    let cores = Cores { threads, reports };
    cores.wait_for(Report::is_started)?;
    Ok(cores)
}

impl Cores {
    /// Waits until every core has stopped, or one has failed.
    ///
    /// # Errors
    ///
    /// The first core that failed, as soon as it has. The others may run on or wait for it: the
    /// process is to exit.
    pub fn join(self) -> Result<(), CoreFailed> {
        self.wait_for(Report::is_stopped)?;
        for thread in self.threads {
            // Whatever happened in there has been reported.
            drop(thread.join());
        }
        Ok(())
    }

    fn wait_for(&self, wanted: fn(&Report) -> bool) -> Result<(), CoreFailed> {
        let mut waiting = self.threads.len();
        while waiting > 0 {
            match self.reports.recv() {
                Ok((core, Report::Failed(reason))) => return Err(CoreFailed { core, reason }),
                Ok((_, report)) => waiting -= usize::from(wanted(&report)),
                Err(_) => {
                    let reason = "its thread is gone without a report".to_owned();
                    return Err(CoreFailed { core: 0, reason });
                }
            }
        }
        Ok(())
    }
}

impl Report {
    fn is_started(&self) -> bool {
        matches!(self, Self::Started)
    }

    fn is_stopped(&self) -> bool {
        matches!(self, Self::Stopped)
    }
}

fn failed(core: usize, error: &io::Error) -> CoreFailed {
    CoreFailed {
        core,
        reason: error.to_string(),
    }
}

fn run_reported<C: CoreLoop>(
    core: usize,
    cpu: usize,
    config: CoresConfig,
    wakers: &Wakers,
    make: impl FnOnce(Guests) -> io::Result<C>,
    reporter: &Sender<(usize, Report)>,
) {
    let run = || run(core, cpu, config, wakers, make, reporter);
    let report = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => Report::Stopped,
        Ok(Err(error)) => Report::Failed(error.to_string()),
        Err(panic) => Report::Failed(format!("panic: {}", panic_text(panic.as_ref()))),
    };
    // Nobody listens when another core has failed first.
    drop(reporter.send((core, report)));
}

fn run<C: CoreLoop>(
    core: usize,
    cpu: usize,
    config: CoresConfig,
    wakers: &Wakers,
    make: impl FnOnce(Guests) -> io::Result<C>,
    reporter: &Sender<(usize, Report)>,
) -> io::Result<()> {
    let placement = if config.pin {
        Placement::Fixed(cpu)
    } else {
        Placement::Unbound
    };
    let executor = LocalExecutorBuilder::new(placement)
        .io_memory(EXECUTOR_IO_MEMORY_BYTES)
        .ring_depth(EXECUTOR_RING_ENTRIES)
        .make()
        .map_err(|error| io::Error::other(format!("no executor: {error}")))?;
    executor.run(async {
        let guests = Guests::default();
        let mut body = make(guests.clone())?;
        drop(reporter.send((core, Report::Started)));
        drive(
            &mut body,
            wakers.flag(core),
            &guests,
            config.spin_before_park,
        )
        .await
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("of no text")
}

/// The CPUs that this process may run on, in order; never none.
///
/// # Errors
///
/// Those of `sched_getaffinity(2)`.
pub fn usable_cpus() -> io::Result<Vec<usize>> {
    // SAFETY: all zeroes is a valid cpu_set_t, and the kernel writes no more than its size.
    let set = unsafe {
        let mut set = std::mem::zeroed::<libc::cpu_set_t>();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
            return Err(io::Error::last_os_error());
        }
        set
    };
    let limit = libc::CPU_SETSIZE.unsigned_abs() as usize;
    // SAFETY: every number is below CPU_SETSIZE.
    let cpus: Vec<_> = (0..limit)
        .filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) })
        .collect();
    if cpus.is_empty() {
        return Err(io::Error::other("this process may run on no CPU"));
    }
    Ok(cpus)
}
