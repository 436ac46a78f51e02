//! Layer 5: the driver of the data plane, everything in it that touches the kernel.

mod accepts;
pub mod admission;
mod buffers;
pub mod clock;
pub mod completion;
mod connections;
pub mod core;
pub mod door;
mod handshakes;
pub mod indexer;
pub mod listener;
pub mod log;
pub mod mesh;
pub mod plane;
pub mod probe;
mod ring;
mod sends;
mod slots;
pub mod socket;
pub mod wake;
