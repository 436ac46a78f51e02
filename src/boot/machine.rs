//! The machine as this process sees it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::sys::{Limit, raise_limit};
use crate::config::Machine;

/// The capability that takes locked memory out of account (CAP_IPC_LOCK).
const CAP_IPC_LOCK_BIT: u32 = 14;

/// What of the kernel and the process decides whether the broker can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Open files the process may have, after the soft limit was raised to the hard one.
    pub descriptors: u64,
    /// Memory it may lock, likewise. Bytes; `u64::MAX` is unlimited.
    pub locked_memory_bytes: u64,
    /// Whether that limit does not apply (CAP_IPC_LOCK).
    pub may_lock_all: bool,
}

/// Raises the soft limits of open files and locked memory to the hard ones and reads the machine.
pub fn look() -> io::Result<(Machine, Limits)> {
    let limits = Limits {
        descriptors: raise_limit(Limit::Descriptors)?,
        locked_memory_bytes: raise_limit(Limit::LockedMemory)?,
        may_lock_all: may_lock_all(&fs::read_to_string("/proc/self/status")?),
    };
    let cpus = std::thread::available_parallelism()?.get();
    let machine = Machine {
        cpus: u16::try_from(cpus).unwrap_or(u16::MAX),
        memory_bytes: memory_bytes()?,
        descriptors_hard: limits.descriptors,
    };
    Ok((machine, limits))
}

/// The release of the running kernel, such as `6.18.44`.
pub(crate) fn kernel_release() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease");
    release.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// The switch that takes io_uring away from some (1) or all (2) processes.
pub(crate) fn uring_switch() -> Option<u32> {
    let text = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?;
    text.trim().parse().ok()
}

fn may_lock_all(status: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    effective.is_some_and(|effective| effective >> CAP_IPC_LOCK_BIT & 1 == 1)
}

/// Memory of the machine or of the nearest control group, whichever is less.
fn memory_bytes() -> io::Result<u64> {
    let total = total_memory(&fs::read_to_string("/proc/meminfo")?)
        .ok_or_else(|| io::Error::other("/proc/meminfo has no line MemTotal"))?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = group_folders(&groups)
        .into_iter()
        .flat_map(|(folder, file)| group_limits(&folder, file));
    Ok(limits.fold(total, u64::min))
}

fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// The folders of the control groups of a process (from /proc/self/cgroup), with the file that holds
/// the limit: of version 2, and of version 1's memory controller.
fn group_folders(groups: &str) -> Vec<(PathBuf, &'static str)> {
    let mut folders = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let path = path.trim_start_matches('/');
        if controllers.is_empty() {
            folders.push((Path::new("/sys/fs/cgroup").join(path), "memory.max"));
        } else if controllers
            .split(',')
            .any(|controller| controller == "memory")
        {
            let root = Path::new("/sys/fs/cgroup/memory");
            folders.push((root.join(path), "memory.limit_in_bytes"));
        }
    }
    folders
}

/// The limits of a group and the groups around it.
fn group_limits(folder: &Path, file: &str) -> Vec<u64> {
    let around = folder
        .ancestors()
        .take_while(|folder| folder.starts_with("/sys/fs/cgroup"));
    around
        .filter_map(|folder| fs::read_to_string(folder.join(file)).ok())
        .filter_map(|text| text.trim().parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_seen() {
        let (machine, limits) = look().unwrap();
        assert!(machine.cpus >= 1 && machine.memory_bytes > 64 << 20);
        assert_eq!(machine.descriptors_hard, limits.descriptors);
        assert!(kernel_release().contains('.'));
    }

    #[test]
    fn capabilities_are_a_bit_set() {
        assert!(may_lock_all("Name:\tx\nCapEff:\t000001fffeffffff\n"));
        assert!(!may_lock_all("CapEff:\t0000000000000000\n"));
        assert!(may_lock_all("CapEff:\t0000000000004000\n"));
        assert!(!may_lock_all(""));
    }

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(
            total_memory("MemTotal:       16 kB\nMemFree: 1 kB\n"),
            Some(16384)
        );
        assert_eq!(total_memory("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn both_versions_of_control_groups_are_found() {
        let v2 = group_folders("0::/system.slice/broker.service\n");
        let folder = PathBuf::from("/sys/fs/cgroup/system.slice/broker.service");
        assert_eq!(v2, [(folder, "memory.max")]);
        let v1 = group_folders("5:cpu,memory:/x\n4:pids:/y\n");
        let folder = PathBuf::from("/sys/fs/cgroup/memory/x");
        assert_eq!(v1, [(folder, "memory.limit_in_bytes")]);
    }
}
