//! Layer 5: the driver of the data plane, everything in it that touches the kernel. The only place
//! that knows io_uring and glommio.
//!
//! - [`thread`] starts one pinned thread a core, each with a glommio executor whose one task is the
//!   core; [`park`] runs that task turn after turn and decides how the core sleeps
//! - [`core`] is the turn; [`door`] is the part of it before CONNECT is accepted, under the limits of
//!   [`admission`]
//! - [`plane`] is the connection plane: one io_uring a core that owns the core's sockets;
//!   [`completion`] is what it reports, `lingers` how a connection ends
//! - [`mesh`] carries records and parcels from core to core; [`wake`] wakes a core that sleeps
//! - [`indexer`] is the thread that writes the shared index
//! - [`listener`] and [`socket`] make the sockets; [`probe`] asks what the kernel can; [`log`] writes
//!   the log; [`clock`] reads the time
//! - [`tls_threads`] do TLS handshakes for [`tls_listener`]s; [`tls_names`] is what stays of a client's
//!   certificate, [`tls_faults`] how failures are told;
//!   `tls_staple` puts OCSP responses into them
//! - [`transport`] is what may lie between MQTT and a socket; [`front`] is what each listener wants

mod accepts;
pub mod admission;
pub mod allocator;
mod buffers;
pub mod clock;
pub mod completion;
mod connections;
pub mod core;
pub mod door;
#[cfg(test)]
mod door_tests;
pub mod front;
#[cfg(test)]
mod hand_over_tests;
mod handshakes;
pub mod indexer;
#[cfg(test)]
mod linger_tests;
mod lingers;
pub mod listener;
pub mod log;
pub mod mesh;
pub mod park;
pub mod plane;
#[cfg(test)]
mod plane_tests;
pub mod probe;
mod ring;
mod sends;
mod slots;
pub mod socket;
pub mod thread;
#[cfg(test)]
mod thread_tests;
mod tls_certificates;
pub mod tls_faults;
mod tls_files;
pub mod tls_listener;
pub mod tls_names;
#[cfg(test)]
mod tls_pki;
mod tls_poll;
mod tls_staple;
#[cfg(test)]
mod tls_tests;
pub mod tls_threads;
mod tls_work;
pub mod transport;
pub mod wake;
