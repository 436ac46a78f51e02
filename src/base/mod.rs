//! What every layer may use: layer 0.

pub mod staged;
pub mod wake_flag;
