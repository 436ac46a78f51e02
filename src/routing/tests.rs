//! The shared index against a naive one, under a writer at full speed, and (under loom) in all
//! orders.

#[cfg(loom)]
mod model;
#[cfg(not(loom))]
mod oracle;
#[cfg(not(loom))]
mod stress;
#[cfg(not(loom))]
mod work;
