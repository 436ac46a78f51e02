//! What a simulation is made of: sizes, chances and faults. Chances are in percent.

/// The make-up of one run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name, for reports.
    pub name: &'static str,
    /// Number of shards, drawn from this range.
    pub cores: (usize, usize),
    /// Clients that keep to the protocol and whose promises are checked.
    pub clients: usize,
    /// Further clients that fight over the first few client ids of their own.
    pub rivals: usize,
    /// Steps of the scheduler before everything is let come to rest.
    pub steps: u64,
    /// Bytes of a lane, drawn from this range; small ones fill up.
    pub lane_bytes: (usize, usize),
    /// Parcels of a lane.
    pub lane_parcels: (usize, usize),
    /// Bytes that a socket takes before it blocks.
    pub socket_bytes: (usize, usize),
    /// Bytes staged towards a core above which producers wait.
    pub outbox_bytes: usize,
    /// Messages that one client publishes at most.
    pub publishes: usize,
    /// Messages a publisher has in flight at most.
    pub publish_window: usize,
    /// The chance that an act of a client is the loss of its connection.
    pub drop_chance: usize,
    /// The chance that an act of a client changes its subscriptions.
    pub churn_chance: usize,
    /// The chance that a message is retained.
    pub retain_chance: usize,
    /// The chance that a filter is shared; with 0 none is.
    pub share_chance: usize,
    /// The chance that a connection has a will.
    pub will_chance: usize,
    /// The chance that a step begins a fault: a stalled lane, core or index thread.
    pub fault_chance: usize,
    /// The chance that a payload is large (crosses as a parcel, is spliced into sends).
    pub large_chance: usize,
    /// The chance that a client is a slow reader.
    pub slow_chance: usize,
    /// Limit of a session's queue; 0 for none.
    pub max_mqueue_len: usize,
    /// Messages in flight to one client.
    pub max_inflight: u16,
    /// Bytes that wait in user space for a connection.
    pub max_out_queue_bytes: usize,
    /// Byte budget of a core for queued messages.
    pub queue_memory_bytes: usize,
    /// Keep-alive in seconds, drawn from this range; 0 for none.
    pub keep_alive_s: (usize, usize),
    /// Milliseconds by which time advances at once, at most.
    pub time_jump_ms: usize,
    /// Subscribe first, then publish; nobody changes anything meanwhile. What does not arrive is
    /// then known exactly, and compared with the counters of drops.
    pub overflow: bool,
}

impl Plan {
    /// A bit of everything, no limit exceeded.
    pub fn mixed() -> Self {
        Self {
            name: "mixed",
            cores: (1, 6),
            clients: 7,
            rivals: 0,
            steps: 2500,
            lane_bytes: (60, 900),
            lane_parcels: (1, 4),
            socket_bytes: (50, 3000),
            outbox_bytes: 1500,
            publishes: 60,
            publish_window: 6,
            drop_chance: 3,
            churn_chance: 8,
            retain_chance: 15,
            share_chance: 0,
            will_chance: 30,
            fault_chance: 1,
            large_chance: 6,
            slow_chance: 15,
            max_mqueue_len: 0,
            max_inflight: 4,
            max_out_queue_bytes: 2000,
            queue_memory_bytes: 1 << 30,
            keep_alive_s: (0, 0),
            time_jump_ms: 40,
            overflow: false,
        }
    }

    /// Nothing but messages: no losses of connections, many messages through tiny lanes.
    pub fn steady() -> Self {
        Self {
            name: "steady",
            drop_chance: 0,
            publishes: 150,
            publish_window: 20,
            lane_bytes: (60, 300),
            ..Self::mixed()
        }
    }

    /// Connections come and go all the time, with wills, and sessions resume.
    pub fn reconnects() -> Self {
        Self {
            name: "reconnects",
            drop_chance: 15,
            will_chance: 70,
            publishes: 40,
            time_jump_ms: 1500,
            ..Self::mixed()
        }
    }

    /// Subscriptions come and go while retained messages change.
    pub fn retained() -> Self {
        Self {
            name: "retained",
            churn_chance: 30,
            retain_chance: 70,
            drop_chance: 2,
            fault_chance: 2,
            ..Self::mixed()
        }
    }

    /// Lanes, cores and the index thread stand still for long.
    pub fn stalls() -> Self {
        Self {
            name: "stalls",
            fault_chance: 10,
            lane_bytes: (60, 120),
            outbox_bytes: 300,
            ..Self::mixed()
        }
    }

    /// Keep-alive, with time that jumps.
    pub fn silence() -> Self {
        Self {
            name: "silence",
            keep_alive_s: (1, 10),
            time_jump_ms: 6000,
            will_chance: 60,
            drop_chance: 4,
            publishes: 30,
            ..Self::mixed()
        }
    }

    /// Several clients fight over one client id.
    pub fn rivals() -> Self {
        Self {
            name: "rivals",
            rivals: 4,
            clients: 4,
            ..Self::mixed()
        }
    }

    /// Tiny queues: what is lost is counted.
    pub fn overflow() -> Self {
        Self {
            name: "overflow",
            drop_chance: 0,
            churn_chance: 0,
            retain_chance: 0,
            will_chance: 0,
            slow_chance: 60,
            max_mqueue_len: 5,
            max_out_queue_bytes: 300,
            publishes: 80,
            overflow: true,
            ..Self::mixed()
        }
    }

    /// A tiny byte budget: what is lost is counted.
    pub fn memory() -> Self {
        Self {
            name: "memory",
            max_mqueue_len: 0,
            queue_memory_bytes: 6000,
            ..Self::overflow()
        }
    }

    /// Shared subscriptions whose members come and go.
    pub fn shared() -> Self {
        Self {
            name: "shared",
            share_chance: 75,
            clients: 9,
            churn_chance: 10,
            retain_chance: 15,
            max_inflight: 3,
            publishes: 40,
            ..Self::mixed()
        }
    }

    /// Members of shared subscriptions crash all the time.
    pub fn shared_crashes() -> Self {
        Self {
            name: "shared crashes",
            drop_chance: 15,
            fault_chance: 2,
            time_jump_ms: 1500,
            ..Self::shared()
        }
    }

    /// Nobody goes: order holds.
    pub fn shared_steady() -> Self {
        Self {
            name: "shared steady",
            drop_chance: 0,
            publishes: 100,
            publish_window: 20,
            lane_bytes: (60, 300),
            ..Self::shared()
        }
    }

    /// All of them.
    pub fn all() -> Vec<Self> {
        vec![
            Self::mixed(),
            Self::steady(),
            Self::reconnects(),
            Self::retained(),
            Self::stalls(),
            Self::silence(),
            Self::rivals(),
            Self::overflow(),
            Self::memory(),
            Self::shared(),
            Self::shared_crashes(),
            Self::shared_steady(),
        ]
    }
}
