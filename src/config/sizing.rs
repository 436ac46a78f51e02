//! What the settings that say `auto` come to on this machine.

use super::sections::CORES_MAX;
use super::{Mqtt, Node, Retainer};

/// Entries of one ring's table of direct descriptors the kernel allows (`IORING_MAX_FIXED_FILES`).
const DIRECT_DESCRIPTORS_MAX: u64 = 1 << 20;

/// Bytes of the machine's memory for each session there may be: a session with its client id, a
/// subscription and its place in the tables takes about a quarter of that.
const MEMORY_PER_SESSION: u64 = 2048;

/// What the machine gives this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// CPUs the process may run on.
    pub cpus: u16,
    /// Memory it may use: of the machine or of its control group, whichever is less. Bytes.
    pub memory_bytes: u64,
    /// The hard limit of open files (RLIMIT_NOFILE).
    pub descriptors_hard: u64,
}

/// Sizes in numbers, made of [`Node`] and [`Machine`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizing {
    /// Cores to run.
    pub cores: u16,
    /// Bytes of queued messages each core may hold.
    pub queue_bytes_per_core: u64,
    /// Connections each core may hold: the size of its table of direct descriptors.
    pub connections_per_core: u32,
    /// Bytes of retained messages each core may hold.
    pub retained_bytes_per_core: u64,
    /// Sessions each core may hold.
    pub sessions_per_core: u32,
}

impl Sizing {
    /// Resolves what is `auto`.
    pub fn new(node: &Node, mqtt: &Mqtt, retainer: &Retainer, machine: &Machine) -> Self {
        let cores = node
            .cores
            .unwrap_or_else(|| machine.cpus.clamp(1, CORES_MAX));
        let queue_bytes = node.queue_memory.unwrap_or(machine.memory_bytes / 2);
        let table_max = machine.descriptors_hard.min(DIRECT_DESCRIPTORS_MAX);
        let table_max = u32::try_from(table_max).unwrap_or(u32::MAX);
        let retained_bytes = retainer.max_memory.unwrap_or(machine.memory_bytes / 4);
        let room_for = u32::try_from(machine.memory_bytes / MEMORY_PER_SESSION).unwrap_or(u32::MAX);
        let sessions = mqtt.max_sessions.unwrap_or_else(|| room_for.max(1));
        Self {
            cores,
            queue_bytes_per_core: queue_bytes / u64::from(cores),
            connections_per_core: node.max_connections_per_core.unwrap_or(table_max),
            retained_bytes_per_core: retained_bytes / u64::from(cores),
            sessions_per_core: sessions.div_ceil(u32::from(cores)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine {
        cpus: 8,
        memory_bytes: 16 << 30,
        descriptors_hard: 20_000,
    };

    fn sizing(node: &Node, machine: &Machine) -> Sizing {
        Sizing::new(node, &Mqtt::default(), &Retainer::default(), machine)
    }

    #[test]
    fn auto_takes_from_the_machine() {
        let sizing = sizing(&Node::default(), &MACHINE);
        assert_eq!(sizing.cores, 8);
        assert_eq!(sizing.queue_bytes_per_core, 1 << 30);
        assert_eq!(sizing.connections_per_core, 20_000);
        assert_eq!(sizing.retained_bytes_per_core, 512 << 20);
        assert_eq!(sizing.sessions_per_core, 1 << 20);
    }

    #[test]
    fn what_is_set_holds() {
        let node = Node {
            cores: Some(54),
            queue_memory: Some(54 << 20),
            max_connections_per_core: Some(5),
            ..Node::default()
        };
        let mqtt = Mqtt {
            max_sessions: Some(55),
            ..Mqtt::default()
        };
        let retainer = Retainer {
            max_memory: Some(54 << 21),
            ..Retainer::default()
        };
        let sizing = Sizing::new(&node, &mqtt, &retainer, &MACHINE);
        assert_eq!(sizing.sessions_per_core, 2);
        assert_eq!(sizing.retained_bytes_per_core, 2 << 20);
        assert_eq!(sizing.cores, 54);
        assert_eq!(sizing.queue_bytes_per_core, 1 << 20);
        assert_eq!(sizing.connections_per_core, 5);
    }

    #[test]
    fn large_machines_meet_the_limits() {
        let machine = Machine {
            cpus: 512,
            descriptors_hard: u64::MAX,
            ..MACHINE
        };
        let sizing = sizing(&Node::default(), &machine);
        assert_eq!(sizing.cores, 62);
        assert_eq!(sizing.connections_per_core, 1 << 20);
    }
}
