//! Real clients against the real binary: mosquitto's, paho (Python and C), aiomqtt, gmqtt,
//! MQTT.js, rumqttc.
//!
//! Those that are not Rust have to be installed first; `scripts/test.sh` does that and then runs the
//! tests that are ignored without it.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]
#![allow(unreachable_pub)] // The support module serves several test binaries.

#[path = "../broker/mod.rs"]
mod broker;
mod emqx4;
mod mosquitto;
mod mosquitto_bridge;
mod rumqttc_v4;
mod rumqttc_v5;
mod scripted;
