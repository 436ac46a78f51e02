//! Millrace.

pub mod base;
pub mod metrics;
pub mod routing;
