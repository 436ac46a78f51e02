//! One core's broker: layer 4.

pub mod outgoing;
