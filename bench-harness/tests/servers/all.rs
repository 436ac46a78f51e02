//! Real peers around the real binary: proxies in front of it, a browser, and the Autobahn suite as
//! judge of the WebSocket code.
//!
//! What they need is installed by `scripts/test.sh servers`. Where one cannot be had, its test says
//! so by name (`SKIPPED ...`) and passes.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]
#![allow(unreachable_pub)] // The support module serves several test binaries.

mod autobahn;
#[path = "../broker/mod.rs"]
mod broker;
mod browser;
mod echo;
mod process;
mod proxies;
