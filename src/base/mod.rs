//! What every layer may name.

pub mod atomic;
pub mod core_set;
pub mod epoch;
pub mod ids;
