//! Which core is the home of a client id, of a retained topic: see [`crate::base::home`], where the
//! control plane reads it as well.

pub use crate::base::home::{Homes, SLOTS};
