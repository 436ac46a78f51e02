//! Load generator and judge for MQTT brokers.
fn main() {}
