//! The real binary among real peers: proxies in front of it, a browser, the Autobahn suite as judge of
//! the WebSocket code, and servers that know who may enter.
//!
//! What they need is installed by `scripts/test.sh servers`. Where a peer of the first kind cannot be had,
//! its test says so by name (`SKIPPED ...`) and passes; the tests with servers are ignored unless they
//! are asked for, and fail without their server, which `server.sh` starts.
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
mod proxies;
mod server;
