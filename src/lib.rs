//! Millrace.

pub mod config;
