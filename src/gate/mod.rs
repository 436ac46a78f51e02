//! Layer 3: where the two planes meet. Bounded channels of typed commands (control to core) and
//! events (core to control); nobody ever waits for room in one from a core.

pub mod access;
pub mod authn;
pub mod command;
pub mod event;
pub mod listeners;
pub mod log;
pub mod manage;
pub mod observe;
pub mod port;
pub mod reply;
pub mod slow_subs;
pub mod tls;
pub mod topic_counts;
pub mod trace;
