//! Layer 2: who gets a message, and which message a new subscription gets first.

pub mod retained;
