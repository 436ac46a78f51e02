//! Layer 2: who may enter and what they may do: decisions in memory, synchronous. What has to be asked
//! of others (databases, HTTP) is asked by `control/`.

#[cfg(not(loom))]
pub mod credential;
#[cfg(not(loom))]
pub mod jwt;
#[cfg(not(loom))]
pub mod password;
#[cfg(not(loom))]
pub mod scram;
