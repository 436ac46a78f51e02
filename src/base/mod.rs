//! Layer 0: what every room uses and that knows nothing of MQTT or sockets.

pub mod limits;
pub mod slab;
pub mod time;
pub mod wheel;
