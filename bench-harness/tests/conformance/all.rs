//! Conformance: one black-box test at least for each normative statement of MQTT 3.1.1 and 5.0 that
//! binds a server. `docs/conformance.tsv` names statement and test, and `table` holds it to that.
//!
//! The tests run side by side against one broker, each with client identifiers and topics of its own;
//! those that need other settings start a broker for themselves.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]
#![allow(unreachable_pub, dead_code)] // The support modules serve several test binaries.

#[path = "../broker/mod.rs"]
mod broker;
#[path = "../black_box/peer.rs"]
mod peer;
mod raw;
#[path = "../black_box/scram_peer.rs"]
mod scram_peer;
mod world;
#[path = "../black_box/ws_peer.rs"]
mod ws_peer;

mod auth;
mod connack;
mod connect;
mod data;
mod disconnect;
mod disconnect_codes;
mod enhanced;
mod errors;
mod flow;
mod ping;
mod properties;
mod publish;
mod qos1;
mod qos2;
mod retained;
mod sessions;
mod settings;
mod shared;
mod subscribe;
mod subscriptions;
mod table;
mod topics;
mod unsubscribe;
mod version31;
mod websocket;
mod will_delay;
mod wills;
