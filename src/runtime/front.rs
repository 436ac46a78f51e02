//! What a core's door knows of each listener.

use crate::runtime::admission::ListenerShare;

/// One listener, the same for all cores.
#[derive(Debug)]
pub struct Front {
    /// Its limits, and what is counted for them.
    pub share: ListenerShare,
    /// Whether TLS comes before everything but a PROXY header.
    pub tls: bool,
}

impl Front {
    /// A plain listener.
    pub fn plain(share: ListenerShare) -> Self {
        Self { share, tls: false }
    }
}
