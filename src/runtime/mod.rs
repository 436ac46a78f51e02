//! The driver of the cores: layer 5. The only place that knows io_uring and glommio.
//!
//! - [`thread`] starts one pinned thread a core, each with a glommio executor whose one task is the core.
//! - [`park`] runs that task: turn after turn, and decides how the core sleeps.
//! - [`plane`] is the connection plane: one io_uring a core that owns the core's sockets.
//! - [`mesh`] carries records and parcels from core to core; [`wake`] wakes a core that sleeps.
//! - [`listener`] and [`socket`] make the sockets and ask them for addresses.

pub mod completion;
pub mod listener;
pub mod mesh;
pub mod park;
pub mod plane;
pub mod socket;
pub mod thread;
pub mod wake;
