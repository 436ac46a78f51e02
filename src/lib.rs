//! Millrace.

pub mod base;
pub mod runtime;
pub mod shard;
