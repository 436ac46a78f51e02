//! Millrace.

pub mod base;
pub mod boot;
pub mod cli;
pub mod config;
pub mod runtime;
