//! What the self-test needs: a broker that is right, and a proxy that is not.

pub(crate) mod proxy;
pub(crate) mod stub;
