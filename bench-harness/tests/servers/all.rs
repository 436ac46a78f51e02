//! The broker against real servers: started by `server.sh`, installed by `scripts/lib.sh`. A server
//! that is not installed makes its test fail: `cargo test --test servers` is for machines that have
//! them (`scripts/test.sh servers`), so the tests are ignored otherwise.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]
#![allow(unreachable_pub)] // The support module serves several test binaries.

mod authn;
#[path = "../broker/mod.rs"]
mod broker;
mod server;
