//! The driver: everything that touches the kernel.

pub mod log;
pub mod probe;
