//! Millrace: an MQTT broker for machines that hold a million device connections.
//!
//! # Two planes
//!
//! - **Data plane**: one pinned thread a core, each with one glommio executor, one io_uring for its
//!   sockets, and one [`shard::Shard`] that owns the core's connections and sessions. Everything below
//!   [`runtime`] is sans-I/O: bytes and the time in, effects out.
//! - **Control plane**: everything else, on one tokio runtime in `control`. It meets the cores in
//!   [`gate`] only.
//!
//! # Layers, from the ground up
//!
//! | layer | room | what is in it |
//! | --- | --- | --- |
//! | 0 | [`base`] | indices, slabs, the timing wheel, epochs, outboxes' framing, limits |
//! | 1 | [`config`] | every setting, declared once |
//! | 1 | [`metrics`] | every figure, declared once |
//! | 1 | [`mqtt`] | the wire format of MQTT 3.1, 3.1.1 and 5.0; the message |
//! | 1 | [`ws`] | the PROXY header and WebSocket |
//! | 2 | [`access`] | who may enter and what they may do |
//! | 2 | [`routing`] | who wants what: the shared index, a core's own index, retained messages |
//! | 2 | [`session`] | what a client's session remembers |
//! | 3 | [`gate`] | commands to cores, events from cores |
//! | 4 | [`shard`] | one core's broker |
//! | 5 | [`runtime`] | the driver: rings, threads, sockets, the index thread, the clock |
//! | 5 | `control` | everything that is not messages: HTTP, authentication by others |
//! | 6 | [`boot`], [`shutdown`], [`cli`] | from the command line to a running broker, and its end |
//! | 6 | `ctl` | `broker ctl`: a client of the HTTP API of a broker that runs |
//! | test | `sim`, `tidy` | many shards in one thread with virtual time; checks of this source |
//!
//! A room names rooms below it only; `tidy` holds the table.
//!
//! # The path of a PUBLISH
//!
//! The publisher's core: [`runtime::core`] takes completions and passes the index's epoch;
//! [`shard::receive`] cuts the packet out of the receive buffer, [`mqtt::decode_publish`] reads it
//! where it lies, [`shard::publish`] checks and routes it: [`routing::reader`] says which filters match
//! and which cores want them. Own subscribers get it at once ([`shard::subscribe`],
//! [`shard::deliver`]); each other core gets one record in its outbox ([`shard::cross`],
//! [`shard::outbox`]), which [`runtime::mesh`] carries. PUBACK leaves when the record is in the
//! target's ring. The subscriber's core: [`routing::local`] says which sessions,
//! [`shard::deliver`] what window and queue allow, and all that a connection gets in a turn leaves in
//! one send ([`runtime::plane`]).
//!
//! # The path of a setting
//!
//! [`config`] declares it and says when a change takes effect. At the start and at each change
//! `boot::settings` makes [`gate::rules::Rules`] of the configuration in force and gives them to each core
//! as a command; `shard::settings` puts them in place between two turns. Clients are held to what their
//! CONNACK has said ([`shard::offers`]). The control plane looks at the configuration in force when it
//! needs it.
//!
//! # What is not there
//!
//! - No lock, no shared mutable state, no allocation in the steady state on the data path, and no
//!   task, waker or timer a connection.
//! - No connection or session ever moves from its home core, which its client id determines
//!   ([`shard::home`]).
//! - No core waits for another: rings never block, what finds no room waits at its source.
//! - No queue without a limit ([`base::limits`], [`config`]) and no drop without a counter
//!   ([`metrics`]).

pub mod access;
pub mod base;
#[cfg(not(any(loom, fuzzing)))]
pub mod boot;
#[cfg(not(any(loom, fuzzing)))]
pub mod cli;
pub mod config;
#[cfg(not(any(loom, fuzzing)))]
pub mod control;
#[cfg(not(any(loom, fuzzing)))]
pub mod ctl;
pub mod gate;
pub mod metrics;
pub mod mqtt;
pub mod routing;
pub mod runtime;
pub mod session;
pub mod shard;
#[cfg(not(any(loom, fuzzing)))]
pub mod shutdown;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
#[cfg(test)]
mod tidy;
pub mod ws;
