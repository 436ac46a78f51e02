//! Layer 1: what stands before and around MQTT on a socket, sans-I/O: the PROXY header, WebSocket.
