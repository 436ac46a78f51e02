//! Layer 5: the driver of the data plane, everything in it that touches the kernel.

mod accepts;
mod buffers;
pub mod completion;
mod connections;
mod handshakes;
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
