//! What both kinds of load share: workers, source addresses, reading a socket into packets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::cli::Common;
use crate::environment;
use crate::failure::Failure;

/// Connections of one worker at most: a descriptor table here holds 20,000.
pub(crate) const CONNECTIONS_PER_WORKER_MAX: usize = 18_500;
/// Workers by default at most, while the descriptors suffice: the broker wants CPUs too.
const WORKERS_DEFAULT_MAX: usize = 2;
/// Connections from one source address. An ephemeral range holds about 28,000, but the kernel's
/// search for a free port was half of the CPU a connect cost with 15,000 of them in use.
const CONNECTIONS_PER_ADDRESS: usize = 2_500;
/// Token of a worker's wake descriptor.
pub(crate) const WAKE_TOKEN: u64 = u64::MAX;
/// Events taken by one wait.
pub(crate) const EVENTS_PER_WAIT: usize = 512;

/// How many workers a run with so many connections gets.
pub(crate) fn worker_count(common: &Common, connections: usize) -> Result<usize, Failure> {
    let needed = connections.div_ceil(CONNECTIONS_PER_WORKER_MAX).max(1);
    let default = environment::cpus()
        .min(WORKERS_DEFAULT_MAX)
        .min(connections.max(1));
    match common.workers {
        Some(0) => Failure::usage("--workers must be at least 1"),
        Some(workers) if workers < needed => Failure::usage(format!(
            "{connections} connections need at least {needed} workers, since one holds \
             {CONNECTIONS_PER_WORKER_MAX}"
        )),
        Some(workers) => Ok(workers),
        None => Ok(default.max(needed)),
    }
}

/// Source addresses for a loopback target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sources {
    first_net: u8,
    addresses: usize,
    is_loopback: bool,
}

impl Sources {
    pub(crate) fn new(common: &Common, target: &SocketAddr, connections: usize) -> Self {
        let is_loopback = matches!(target.ip(), IpAddr::V4(ip) if ip.is_loopback());
        let addresses = connections.div_ceil(CONNECTIONS_PER_ADDRESS).max(1);
        Self {
            first_net: common.source_net,
            addresses,
            is_loopback,
        }
    }

    /// The address that connection `index` comes from; none leaves it to the kernel.
    pub(crate) fn address(&self, index: usize) -> Option<Ipv4Addr> {
        if !self.is_loopback {
            return None;
        }
        let number = index % self.addresses;
        let octet = |value: usize| u8::try_from(value % 256).unwrap_or(0);
        let net = octet(usize::from(self.first_net) + number / 250);
        Some(Ipv4Addr::new(127, 0, net, octet(1 + number % 250)))
    }
}

/// A short name for why a connect failed or a connection ended.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => "refused".to_owned(),
        Some(libc::ECONNRESET) => "reset".to_owned(),
        Some(libc::EPIPE) => "broken pipe".to_owned(),
        Some(libc::ETIMEDOUT) => "timed out by the kernel".to_owned(),
        Some(libc::EADDRNOTAVAIL) => "no free source port".to_owned(),
        Some(libc::EMFILE) => "no free descriptor in the harness".to_owned(),
        _ => error.to_string(),
    }
}

/// A random number for the run's name; the standard library seeds its hashers from the system.
pub(crate) fn random_u32() -> u32 {
    use std::hash::{BuildHasher, Hasher};
    let hash = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    u32::try_from(hash >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_s_address_follows_from_its_number() {
        let sources = Sources {
            first_net: 1,
            addresses: 50,
            is_loopback: true,
        };
        assert_eq!(sources.address(0), Some(Ipv4Addr::new(127, 0, 1, 1)));
        assert_eq!(sources.address(49), Some(Ipv4Addr::new(127, 0, 1, 50)));
        assert_eq!(sources.address(50), Some(Ipv4Addr::new(127, 0, 1, 1)));
        let sources = Sources {
            addresses: 600,
            ..sources
        };
        assert_eq!(sources.address(599), Some(Ipv4Addr::new(127, 0, 3, 100)));
    }
}
