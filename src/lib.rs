//! Millrace.

pub mod mqtt;
