//! Real peers around the real binary: the servers that it asks (started by `server.sh`), proxies in
//! front of it, a browser, and the Autobahn suite as judge of the WebSocket code.
//!
//! `scripts/test.sh servers` installs what they need. A server that is asked has to be there, so the
//! tests that need one are ignored otherwise. Where a proxy, the browser or the suite cannot be had,
//! its test says so by name (`SKIPPED ...`) and passes.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]
#![allow(unreachable_pub)] // The support module serves several test binaries.

mod authn;
mod autobahn;
#[path = "../broker/mod.rs"]
mod broker;
mod browser;
mod echo;
mod process;
mod prometheus;
mod proxies;
mod server;
