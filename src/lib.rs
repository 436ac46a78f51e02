//! Millrace.

pub mod base;
pub mod routing;
