//! The machine and the process as the kernel tells of them, for reports; what it does not tell is 0.

use std::fs;

/// What is known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Machine {
    /// Load averages of 1, 5 and 15 minutes.
    pub load: [f64; 3],
    /// Memory of the machine, bytes.
    pub memory_total: u64,
    /// Memory in use, bytes.
    pub memory_used: u64,
    /// Memory of this process, bytes.
    pub process_memory: u64,
    /// Open files this process may have.
    pub descriptors: u64,
    /// Processor time of this process so far, milliseconds.
    pub process_cpu_ms: u64,
    /// Processor time of the machine so far, in ticks: not idle, and all.
    pub cpu_ticks: (u64, u64),
}

/// Ticks of a second in `/proc`: the same on every Linux that this runs on.
const TICKS_PER_SECOND: u64 = 100;

impl Machine {
    /// Asks the kernel.
    pub fn look() -> Self {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let mut load = load.split(' ').map(|part| part.parse().unwrap_or(0.0));
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let total = kib(&memory, "MemTotal:");
        Self {
            load: std::array::from_fn(|_| load.next().unwrap_or(0.0)),
            memory_total: total,
            memory_used: total.saturating_sub(kib(&memory, "MemAvailable:")),
            process_memory: kib(&own, "VmRSS:"),
            descriptors: limit(&limits, "Max open files"),
            process_cpu_ms: own_ticks(&fs::read_to_string("/proc/self/stat").unwrap_or_default())
                * (1000 / TICKS_PER_SECOND),
            cpu_ticks: all_ticks(&fs::read_to_string("/proc/stat").unwrap_or_default()),
        }
    }
}

/// Processor time so far of the threads of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadTime {
    /// The name, at most 15 bytes of it.
    pub name: String,
    /// Milliseconds.
    pub cpu_ms: u64,
}

/// The processor time of this process's threads, by their names.
pub fn thread_times() -> Vec<ThreadTime> {
    let mut times: Vec<ThreadTime> = Vec::new();
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    for task in tasks.filter_map(Result::ok) {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        let Some(name) = thread_name(&stat) else {
            continue;
        };
        // Nanoseconds, where the kernel counts them; ticks are too coarse for two seconds.
        let precise = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        let nanoseconds = precise
            .split(' ')
            .next()
            .and_then(|ns| ns.parse::<u64>().ok());
        let ticks_ms = own_ticks(&stat) * (1000 / TICKS_PER_SECOND);
        let cpu_ms = nanoseconds.map_or(ticks_ms, |ns| ns / 1_000_000);
        match times.iter_mut().find(|time| time.name == name) {
            Some(time) => time.cpu_ms += cpu_ms,
            None => times.push(ThreadTime {
                name: name.to_owned(),
                cpu_ms,
            }),
        }
    }
    times
}

/// What stands within the outermost parentheses of `/proc/self/task/*/stat`.
fn thread_name(stat: &str) -> Option<&str> {
    let (_, rest) = stat.split_once('(')?;
    rest.rsplit_once(") ").map(|(name, _)| name)
}

/// User and system time in `/proc/self/stat`, whose second field may hold anything within parentheses.
fn own_ticks(text: &str) -> u64 {
    let after = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let fields = after.split(' ').skip(11).take(2);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// Ticks not idle, and all, from the first line of `/proc/stat`.
fn all_ticks(text: &str) -> (u64, u64) {
    let line = text.lines().next().unwrap_or_default();
    let fields = line.split_whitespace().skip(1).take(8);
    let ticks: Vec<u64> = fields.map(|field| field.parse().unwrap_or(0)).collect();
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    let all: u64 = ticks.iter().sum();
    (all - idle, all)
}

fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

fn limit(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory_and_files() {
        let machine = Machine::look();
        assert!(machine.memory_total > machine.process_memory && machine.process_memory > 0);
        assert!(machine.descriptors > 0 && machine.load.iter().all(|load| *load >= 0.0));
        assert_eq!(own_ticks("7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 30 12 0 0"), 42);
        assert_eq!(thread_name("7 (a (b) c) S 1"), Some("a (b) c"));
        assert!(!thread_times().is_empty());
        assert_eq!(all_ticks("cpu  10 0 20 60 10 0 0 0 0 0\ncpu0"), (30, 100));
        assert_eq!(kib("A: 3 kB\nB: 5 kB", "B:"), 5 * 1024);
    }
}
