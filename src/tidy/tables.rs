//! What the checks of the source go by: one table a rule.

/// Room -> rooms it may name. A room that is not in this table may not exist.
pub(super) const MAY_NAME: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("config", &["base", "mqtt"]),
    ("metrics", &["base"]),
    ("mqtt", &["base"]),
    ("ws", &["base"]),
    ("access", &["base", "config", "mqtt"]),
    ("routing", &["base", "mqtt"]),
    ("session", &["base", "config", "mqtt"]),
    ("store", &["base", "mqtt"]),
    // Commands carry compiled rules, questions name the action.
    ("gate", &["base", "config", "metrics", "mqtt", "access"]),
    ("shard", BELOW_THE_SHARD),
    ("runtime", BELOW_THE_RUNTIME),
    ("control", BELOW_THE_CONTROL),
    ("sim", BELOW_THE_SIMULATION),
    // Layer 6, which may name all below it.
    ("cli", &["config"]),
    // A client of a broker that is another process.
    ("ctl", &[]),
    ("boot", ALL),
    ("shutdown", ALL),
    ("main", ALL),
    ("lib", ALL),
    ("tidy", &[]),
    ("build", &[]),
];
const BELOW_THE_SHARD: &[&str] = &[
    "base", "config", "metrics", "mqtt", "access", "routing", "session", "store", "gate",
];
const BELOW_THE_RUNTIME: &[&str] = &[
    "base", "config", "metrics", "mqtt", "ws", "routing", "store", "gate", "shard",
];
const BELOW_THE_CONTROL: &[&str] = &[
    "base", "config", "metrics", "mqtt", "access", "store", "gate",
];
const BELOW_THE_SIMULATION: &[&str] = &[
    "base", "config", "metrics", "mqtt", "access", "routing", "session", "store", "gate", "shard",
];
const ALL: &[&str] = &[
    "base", "config", "metrics", "mqtt", "ws", "access", "routing", "session", "store", "gate",
    "shard", "runtime", "control", "cli", "ctl", "boot", "shutdown",
];

/// Crate -> the only rooms that may name it.
pub(super) const CONFINED: &[(&str, &[&str])] = &[
    ("glommio", &["runtime"]),
    ("io_uring", &["runtime"]),
    ("rtrb", &["runtime"]),
    ("tokio", &["control"]),
    ("redb", &["control"]),
    ("axum", &["control"]),
    (
        "crossbeam_channel",
        &["gate", "runtime", "control", "boot", "shutdown", "main"],
    ),
    ("getrandom", &["boot", "runtime", "control"]),
    ("tracing_subscriber", &["runtime"]),
    (
        "tracing",
        &["runtime", "control", "boot", "shutdown", "main"],
    ),
    ("clap", &["cli"]),
    ("toml", &["config", "control"]),
    ("mimalloc", &["main"]),
];

/// Text -> the only rooms whose code may hold it, tests included.
pub(super) const BANNED: &[(&str, &[&str])] = &[
    ("super::super", &[]),
    ("todo!", &[]),
    ("unimplemented!", &[]),
    ("dbg!", &[]),
    ("static mut", &[]),
    ("thread_local!", &["runtime"]),
    ("Instant::now", &["runtime", "control", "shutdown"]),
    ("SystemTime::now", &["runtime", "control", "boot"]),
];

/// Text -> the only rooms whose code may hold it; tests may, anywhere.
pub(super) const BANNED_OUTSIDE_TESTS: &[(&str, &[&str])] = &[
    ("thread::sleep", &["runtime", "control"]),
    ("thread::spawn", &["runtime", "control", "boot", "shutdown"]),
    ("std::net::TcpStream", &["runtime", "control", "boot"]),
    ("std::net::TcpListener", &["runtime", "control", "boot"]),
    // What a message passes through shares no memory with another core, but for the rings and the index
    // that others only read: no cache line is written by two cores for a message. What is written by
    // several lies in these rooms, on lines of its own where a message touches it.
    ("AtomicBool", SHARED_BY_CORES),
    ("AtomicU32", SHARED_BY_CORES),
    ("AtomicU64", SHARED_BY_CORES),
    ("AtomicUsize", SHARED_BY_CORES),
    ("Mutex", &["runtime", "control", "boot"]),
    ("RwLock", &["runtime", "control", "boot"]),
    // `ctl` opens the data directory to reach the socket in it.
    ("std::fs", &["runtime", "control", "boot", "ctl"]),
];

/// Rooms that hold what several threads write.
const SHARED_BY_CORES: &[&str] = &[
    "base", "metrics", "routing", "runtime", "gate", "control", "boot",
];

/// Text that may stand nowhere, comments included.
pub(super) const BANNED_EVERYWHERE: &[&str] = &["FIXME", "XXX", "TODO"];

/// Files that may hold `unsafe`. Each begins with `#![allow(unsafe_code)]` and the reason, or has
/// that attribute at the one module concerned.
pub(super) const UNSAFE_FILES: &[&str] = &[
    "src/base/epoch.rs",
    "src/boot/sys.rs",
    "src/mqtt/message.rs",
    "src/routing/arena.rs",
    "src/runtime/accepts.rs",
    "src/runtime/allocator.rs",
    "src/runtime/buffers.rs",
    "src/runtime/connections.rs",
    "src/runtime/park.rs",
    "src/runtime/plane.rs",
    "src/runtime/plane_tests.rs",
    "src/runtime/probe.rs",
    "src/runtime/ring.rs",
    "src/runtime/socket.rs",
    "src/runtime/thread.rs",
    "src/runtime/tls_poll.rs",
    "bench-harness/src/sys.rs",
    "bench-harness/fuzz/src/lib.rs",
    "bench-harness/tests/allocations/all.rs",
];

/// What may stand at the top of the tree, besides files that begin with a dot.
pub(super) const TOP_LEVEL: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "bench-harness",
    "docs",
    "results",
    "scripts",
    "src",
    "tuning",
];
