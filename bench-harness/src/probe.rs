//! CPU and memory of the broker's process, read from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use crate::sys;

/// The broker's process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    pub(crate) pid: u32,
}

/// CPU time so far.
#[derive(Clone, Debug)]
pub(crate) struct CpuSample {
    /// User and system time in clock ticks (`/proc/PID/stat`), of ended threads too.
    ticks: u64,
    /// Run time in ns of each thread (`schedstat`): finer, but it dies with its thread.
    threads_ns: BTreeMap<u32, u64>,
}

impl CpuSample {
    /// CPU time between `earlier` and this sample: from the scheduler's ns while the threads are
    /// the same ones, else from ticks.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let same_threads = self.threads_ns.keys().eq(earlier.threads_ns.keys());
        let sum = |sample: &Self| sample.threads_ns.values().sum::<u64>();
        if same_threads && sum(self) > 0 {
            return Duration::from_nanos(sum(self).saturating_sub(sum(earlier)));
        }
        let ticks = self.ticks.saturating_sub(earlier.ticks);
        Duration::from_micros(ticks * 1_000_000 / sys::clock_ticks_per_second())
    }
}

/// User-space memory of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemorySample {
    pub(crate) anonymous_bytes: u64,
    pub(crate) shared_bytes: u64,
}

impl MemorySample {
    pub(crate) fn user_bytes(self) -> u64 {
        self.anonymous_bytes + self.shared_bytes
    }
}

/// Run times of all threads so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunTimes {
    pub(crate) running: Duration,
    /// Ready to run, and waiting for a CPU.
    pub(crate) waiting: Duration,
}

impl Probe {
    /// The process given, else the owner of the socket that listens on `target`, if it lives on
    /// this machine and may be looked at.
    pub(crate) fn find(pid: Option<u32>, target: &SocketAddr) -> Option<Self> {
        match pid {
            Some(pid) => Some(Self { pid }),
            None if target.ip().is_loopback() => {
                let inodes = listening_inodes(target.port());
                owner_of_socket(&inodes).map(|pid| Self { pid })
            }
            None => None,
        }
    }

    pub(crate) fn cpu(self) -> Option<CpuSample> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The command's name may hold spaces; the fields after it are counted from its bracket.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let user: u64 = fields.next()?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        Some(CpuSample {
            ticks: user + system,
            threads_ns: self.threads_ns(),
        })
    }

    fn threads_ns(self) -> BTreeMap<u32, u64> {
        self.schedstats()
            .into_iter()
            .map(|(thread, running, _)| (thread, running))
            .collect()
    }

    /// None when the process is gone or may not be looked at.
    pub(crate) fn run_times(self) -> Option<RunTimes> {
        let stats = self.schedstats();
        let running = Duration::from_nanos(stats.iter().map(|s| s.1).sum());
        let waiting = Duration::from_nanos(stats.iter().map(|s| s.2).sum());
        (!stats.is_empty()).then_some(RunTimes { running, waiting })
    }

    /// How long threads that could run have waited for a CPU so far.
    pub(crate) fn cpu_wait(self) -> Option<Duration> {
        self.run_times().map(|times| times.waiting)
    }

    /// Each thread with the ns it ran and the ns it waited for a CPU.
    fn schedstats(self) -> Vec<(u32, u64, u64)> {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.pid)) else {
            return Vec::new();
        };
        let stat = |task: fs::DirEntry| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            let mut fields = text.split_whitespace().map(str::parse);
            let (running, waiting) = (fields.next()?.ok()?, fields.next()?.ok()?);
            Some((task.file_name().to_str()?.parse().ok()?, running, waiting))
        };
        tasks.flatten().filter_map(stat).collect()
    }

    pub(crate) fn memory(self) -> Option<MemorySample> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).ok()?;
        Some(MemorySample {
            anonymous_bytes: kib_field(&text, "Anonymous:")? * 1024,
            shared_bytes: kib_field(&text, "Pss_Shmem:").unwrap_or(0) * 1024,
        })
    }
}

/// Slab of the whole machine in bytes: sockets are most of it in a connection test.
pub(crate) fn kernel_slab_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    Some(kib_field(&text, "Slab:")? * 1024)
}

/// Clock ticks of all CPUs since the machine started: those in which something ran, and all.
pub(crate) fn machine_ticks() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let fields = text.lines().next()?.split_whitespace().skip(1).take(8);
    let fields: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
    let all: u64 = fields.iter().sum();
    let idle = fields.get(3)? + fields.get(4)?;
    Some((all - idle, all))
}

/// The load averages of one minute.
pub(crate) fn load_average() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// Bytes in the buffers of all TCP sockets of the machine.
pub(crate) fn tcp_buffer_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/net/sockstat").ok()?;
    let line = text.lines().find(|line| line.starts_with("TCP:"))?;
    let pages: u64 = line.rsplit_once("mem ")?.1.trim().parse().ok()?;
    Some(pages * 4096)
}

pub(crate) fn kib_field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn listening_inodes(port: u16) -> Vec<String> {
    let mut inodes = Vec::new();
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(path).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(state), Some(inode)) =
                (fields.get(1), fields.get(3), fields.get(9))
            else {
                continue;
            };
            if *state == "0A" && local.ends_with(&format!(":{port:04X}")) {
                inodes.push(format!("socket:[{inode}]"));
            }
        }
    }
    inodes
}

fn owner_of_socket(inodes: &[String]) -> Option<u32> {
    if inodes.is_empty() {
        return None;
    }
    let pids: Vec<u32> = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .collect();
    let by_process = pids
        .iter()
        .find(|pid| holds(&format!("/proc/{pid}/fd"), inodes));
    // A thread with a descriptor table of its own may hold the listener.
    by_process
        .or_else(|| pids.iter().find(|pid| a_thread_holds(**pid, inodes)))
        .copied()
}

fn a_thread_holds(pid: u32, inodes: &[String]) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    tasks
        .flatten()
        .any(|task| holds(&task.path().join("fd").to_string_lossy(), inodes))
}

fn holds(directory: &str, inodes: &[String]) -> bool {
    let Ok(descriptors) = fs::read_dir(directory) else {
        return false;
    };
    descriptors
        .flatten()
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .any(|link| {
            inodes
                .iter()
                .any(|inode| link.as_os_str() == inode.as_str())
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn finds_this_process_by_its_listener_and_reads_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let probe = Probe::find(None, &listener.local_addr().unwrap()).unwrap();
        assert_eq!(probe.pid, std::process::id());
        assert!(probe.memory().unwrap().user_bytes() > 0);
        let first = probe.cpu().unwrap();
        assert!(probe.cpu().unwrap().ticks >= first.ticks);
    }

    #[test]
    fn cpu_falls_back_to_ticks_when_a_thread_has_ended() {
        let early = CpuSample {
            ticks: 100,
            threads_ns: [(1, 500), (2, 500)].into(),
        };
        let late = CpuSample {
            ticks: 150,
            threads_ns: [(1, 700)].into(),
        };
        let ticks = sys::clock_ticks_per_second();
        assert_eq!(
            late.since(&early),
            Duration::from_micros(50 * 1_000_000 / ticks)
        );
        let later = CpuSample {
            ticks: 150,
            threads_ns: [(1, 900)].into(),
        };
        assert_eq!(later.since(&late), Duration::from_nanos(200));
    }
}
