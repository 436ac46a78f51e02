//! Millrace.

pub mod base;
