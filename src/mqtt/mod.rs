//! Layer 1: the wire format of MQTT 3.1, 3.1.1 and 5.0, sans-I/O.
