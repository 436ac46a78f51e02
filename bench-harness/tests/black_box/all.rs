//! Black-box tests: the real binary, real sockets, and a client that shares no code with it.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]
#![allow(unreachable_pub)] // The support module serves several test binaries.

mod access;
mod addons;
mod authn;
#[path = "../broker/mod.rs"]
mod broker;
mod ctl;
mod ends;
mod http;
#[path = "../support/http_stub.rs"]
mod http_stub;
mod listeners;
mod malformed;
mod matrices;
mod messages;
mod observe;
#[path = "../../../src/sim/will_oracle.rs"]
mod oracle;
mod peer;
mod retained;
mod scram_peer;
mod sessions;
mod shares;
mod shutdown;
mod start;
mod storms;
mod table;
mod tls;
mod tls_ocsp;
mod tls_peer;
mod websocket;
mod wills;
mod ws_peer;
