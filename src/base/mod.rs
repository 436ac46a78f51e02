//! Layer 0: what every room uses and that knows nothing of MQTT or sockets.

pub mod atomic;
pub mod core_set;
pub mod envelope;
pub mod epoch;
pub mod home;
pub mod ids;
pub mod limits;
pub mod ocsp;
pub mod slab;
pub mod staged;
pub mod time;
pub mod wake_flag;
pub mod wheel;
