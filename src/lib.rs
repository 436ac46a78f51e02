//! Millrace.

pub mod base;
pub mod boot;
pub mod cli;
pub mod config;
pub mod gate;
pub mod metrics;
pub mod mqtt;
pub mod routing;
pub mod runtime;
pub mod session;
pub mod shard;
pub mod shutdown;
#[cfg(any(test, feature = "sim"))]
pub mod sim;

#[cfg(test)]
mod tidy;
