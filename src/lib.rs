//! Millrace.

pub mod base;
pub mod config;
pub mod metrics;
pub mod mqtt;
pub mod routing;
pub mod runtime;
pub mod session;
pub mod shard;
