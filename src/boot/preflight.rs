//! What must be so before any listener opens. Each check gives what it found, or one sentence that
//! says what is missing and what to do; any such sentence ends the start with exit code 2.
//!
//! The checks of kernel and limits are functions of [`Facts`]; the checks of addresses and of the
//! data directory try the thing itself.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::data_dir::DataDir;
use super::machine::{self, Limits};
use super::sys::try_bind;
use crate::config::{Bind, Config, Listener};
use crate::runtime::probe::{RingAbilities, ring_abilities};

/// The oldest Linux that has all that is needed, for the advice only: what counts is what was tried.
const KERNEL_NEEDED: &str = "Linux 6.8";

/// Ordinary descriptors of a process before its first core: standard streams, log, lock, control
/// plane, and room for one batch of handshakes.
const DESCRIPTORS_BASE: u64 = 64;
/// Ordinary descriptors a core uses: rings (four), event and timer descriptors, listeners, and room
/// for handshakes.
const DESCRIPTORS_PER_CORE: u64 = 16;

/// Locked memory of the process that the executors insist on, whatever they use.
const LOCKED_BYTES_BASE: u64 = 512 << 10;
/// Locked memory a core's rings are charged for by kernels that account it (6.14 and later; found by
/// opening rings until ENOMEM on 6.18): 132 KiB for the connection ring with 1024 submissions and 4096
/// completions, 8 KiB for its buffer ring, 16 KiB for each of the executor's three rings of depth 128,
/// and a rest for what is registered.
const LOCKED_BYTES_PER_CORE: u64 = 224 << 10;

/// What the checks judge.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What io_uring can do, or the system's error number.
    pub rings: Result<RingAbilities, i32>,
    /// The kernel's release.
    pub kernel: String,
    /// The value of kernel.io_uring_disabled, where there is one.
    pub uring_switch: Option<u32>,
    /// The limits of the process.
    pub limits: Limits,
}

impl Facts {
    /// Asks the kernel.
    pub fn gather(limits: Limits) -> Self {
        Self {
            rings: ring_abilities().map_err(|error| error.raw_os_error().unwrap_or(0)),
            kernel: machine::kernel_release(),
            uring_switch: machine::uring_switch(),
            limits,
        }
    }
}

/// What a check found when all is well, or the sentence to say.
pub type Outcome = Result<String, String>;

/// Every check but that of the data directory, in a fixed order.
pub fn outcomes(config: &Config, facts: &Facts) -> Vec<Outcome> {
    let cores = config.sizing.cores;
    let mut outcomes = vec![check_uring(facts)];
    if outcomes.iter().all(Result::is_ok) {
        outcomes.push(check_abilities(facts));
    }
    outcomes.push(check_locked_memory(&facts.limits, cores));
    outcomes.push(check_descriptors(&facts.limits, cores));
    outcomes.push(check_tables(
        &facts.limits,
        config.sizing.connections_per_core,
    ));
    outcomes.extend(config.listeners.iter().map(check_address));
    for (setting, address) in [
        ("http.listen", config.http.listen),
        ("http.listen_v4", config.http.listen_v4),
    ] {
        let checked = address.map(|address| check_bind(&setting, address, setting));
        outcomes.extend(checked);
    }
    outcomes
}

/// Whether this process may use io_uring at all.
pub fn check_uring(facts: &Facts) -> Outcome {
    let kernel = &facts.kernel;
    let Err(error) = facts.rings else {
        return Ok(format!("io_uring is available (Linux {kernel})"));
    };
    Err(match (error, facts.uring_switch) {
        (libc::ENOSYS, _) => {
            format!("this kernel ({kernel}) has no io_uring; run {KERNEL_NEEDED} or newer")
        }
        (libc::EPERM, Some(switch)) if switch > 0 => format!(
            "io_uring is switched off (kernel.io_uring_disabled is {switch}); allow it with `sysctl \
             kernel.io_uring_disabled=0`"
        ),
        (libc::EPERM | libc::EACCES, _) => {
            "this process may not use io_uring, most likely because \
             of a container's seccomp profile; allow the io_uring system calls (Docker: \
             --security-opt seccomp=unconfined, or a profile that names them)"
                .to_owned()
        }
        (libc::ENOMEM, _) => format!(
            "the limit of locked memory is too low for io_uring; {}",
            advice_on_limit("memlock", "-l", "LimitMEMLOCK")
        ),
        _ => format!(
            "io_uring cannot be set up on this kernel ({kernel}): {}; run {KERNEL_NEEDED} or newer",
            io::Error::from_raw_os_error(error)
        ),
    })
}

/// Whether io_uring can do what the connection plane asks of it.
pub fn check_abilities(facts: &Facts) -> Outcome {
    let missing = facts
        .rings
        .as_ref()
        .map_or(&[][..], |abilities| &abilities.missing);
    if missing.is_empty() {
        return Ok("io_uring has every operation that is needed".to_owned());
    }
    Err(format!(
        "the io_uring of this kernel ({}) lacks {}; run {KERNEL_NEEDED} or newer",
        facts.kernel,
        missing.join(", ")
    ))
}

/// Whether the rings of all cores fit into the memory that may be locked.
pub fn check_locked_memory(limits: &Limits, cores: u16) -> Outcome {
    let allowed = limits.locked_memory_bytes;
    let needed = LOCKED_BYTES_BASE.max(u64::from(cores) * LOCKED_BYTES_PER_CORE);
    // The executors insist on their part even where the kernel does not count it.
    let needed = if limits.may_lock_all {
        LOCKED_BYTES_BASE
    } else {
        needed
    };
    if allowed >= needed {
        return Ok(format!(
            "locked memory: {} KiB are needed, {}",
            needed >> 10,
            shown_kib(allowed)
        ));
    }
    Err(format!(
        "{cores} cores need {} KiB of locked memory, but the limit is {} KiB; {}, or use fewer cores",
        needed >> 10,
        allowed >> 10,
        advice_on_limit("memlock", "-l", "LimitMEMLOCK")
    ))
}

/// Whether the process may open the files it needs besides its connections.
pub fn check_descriptors(limits: &Limits, cores: u16) -> Outcome {
    let needed = DESCRIPTORS_BASE + DESCRIPTORS_PER_CORE * u64::from(cores);
    let allowed = limits.descriptors;
    if allowed >= needed {
        return Ok(format!(
            "open files: {needed} are needed, {allowed} are allowed"
        ));
    }
    Err(format!(
        "{cores} cores need {needed} open files, but the limit is {allowed}; {}, or use fewer cores",
        advice_on_limit("nofile", "-n", "LimitNOFILE")
    ))
}

/// Whether the kernel will make tables of that many connections.
pub fn check_tables(limits: &Limits, connections_per_core: u32) -> Outcome {
    if u64::from(connections_per_core) <= limits.descriptors {
        return Ok(format!(
            "each core may hold {connections_per_core} connections"
        ));
    }
    Err(format!(
        "node.max_connections_per_core is {connections_per_core}, but the limit of open files, which \
         bounds it, is {}; {}, or lower the setting",
        limits.descriptors,
        advice_on_limit("nofile", "-n", "LimitNOFILE")
    ))
}

/// Whether the listener's address belongs to this machine and to no one else.
pub fn check_address(listener: &Listener) -> Outcome {
    match &listener.bind {
        Bind::Ip(address) => check_bind(listener, *address, "--listen"),
        Bind::Path(path) => check_socket_file(listener, path),
    }
}

/// Whether an address can be bound; `option` is where another one is chosen.
fn check_bind(owner: &dyn std::fmt::Display, address: SocketAddr, option: &str) -> Outcome {
    let Err(error) = try_bind(address) else {
        return Ok(format!("the address {address} of {owner} is free"));
    };
    let what = match error.raw_os_error() {
        Some(libc::EADDRINUSE) => format!(
            "is in use by another process; stop that, or choose another address with {option}"
        ),
        Some(libc::EADDRNOTAVAIL) => {
            "is not an address of this machine; choose one that is".to_owned()
        }
        Some(libc::EACCES) => {
            "needs a privilege (CAP_NET_BIND_SERVICE); grant it, or choose a port from 1024 on"
                .to_owned()
        }
        Some(libc::EAFNOSUPPORT) => {
            "is IPv6, which is off on this machine; choose an IPv4 address".to_owned()
        }
        _ => format!("cannot be used: {error}"),
    };
    Err(format!("the address {address} of {owner} {what}"))
}

/// Whether a Unix socket's file can be made, or replaces one that nobody listens on.
fn check_socket_file(listener: &Listener, path: &Path) -> Outcome {
    let shown = path.display();
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    let unusable = |why: &str| Err(format!("the file {shown} of {listener} {why}"));
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            unusable("is there and is no socket; choose another with --listen unix:///PATH")
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            unusable("is in use by another process; stop that, or choose another")
        }
        Ok(_) => Ok(format!(
            "the file {shown} of {listener} replaces a stale one"
        )),
        Err(_) if !folder.is_dir() => unusable("lies in no directory; make that first"),
        Err(_) => Ok(format!("the file {shown} of {listener} is free")),
    }
}

/// Whether the data directory could be opened; nothing is made.
pub fn check_data_dir(path: &Path) -> Outcome {
    let shown = path.display();
    DataDir::examine(path).map(|()| match path.exists() {
        true => format!("the data directory {shown} is free"),
        false => format!("the data directory {shown} will be made"),
    })
}

fn advice_on_limit(docker: &str, ulimit: &str, systemd: &str) -> String {
    format!("raise it (`ulimit {ulimit}`, systemd: {systemd}=, Docker: --ulimit {docker}=)")
}

fn shown_kib(bytes: u64) -> String {
    match bytes {
        u64::MAX => "there is no limit".to_owned(),
        _ => format!("{} KiB are allowed", bytes >> 10),
    }
}

#[cfg(test)]
mod tests;
