//! Layer 2: what one client's MQTT session remembers and how it changes, sans-I/O.
//!
//! A [`Session`](state::Session) is small and stays small while nothing happens: the in-flight
//! window, the queue, the identifiers of QoS 2 and the will are boxed and absent until needed,
//! because a million idle sessions must fit into a few hundred megabytes.
//!
//! - [`state`]: the session record and what it is allowed to hold
//! - [`inflight`]: messages sent to the client and not yet acknowledged
//! - [`queue`]: messages that wait for room in the window, or for the client to come back
//! - [`awaiting_rel`]: QoS 2 identifiers received from the client and not yet released
//! - [`will`]: the last will and the rules of when it is published

pub mod awaiting_rel;
pub mod inflight;
pub mod queue;
pub mod state;
pub mod will;
