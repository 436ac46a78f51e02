//! What the control plane asks of the threads that do TLS handshakes.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::gate::reply::Reply;

/// Requests that may wait: they are an operator's.
const REQUESTS_MAX: usize = 16;

/// A request.
#[derive(Debug)]
pub enum TlsRequest {
    /// Read certificates, keys and revocation lists of all TLS listeners again. Connections stay;
    /// handshakes that begin afterwards use the new files.
    Reload(Reply<TlsReloaded>),
}

/// What became of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsReloaded {
    /// Listeners that use new files.
    pub reloaded: Vec<String>,
    /// Listeners that stay as they were, and why.
    pub failed: Vec<(String, String)>,
}

/// Where requests are handed in; clones lead to the same place.
#[derive(Clone)]
pub struct TlsDesk {
    requests: Sender<TlsRequest>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl TlsDesk {
    /// A desk, and the end where its requests are taken; `wake` wakes who takes them.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> (Self, Receiver<TlsRequest>) {
        let (requests, waiting) = bounded(REQUESTS_MAX);
        let desk = Self {
            requests,
            wake: Arc::new(wake),
        };
        (desk, waiting)
    }

    /// Hands a request in.
    ///
    /// # Errors
    /// The request, if too many wait or nobody takes them.
    pub fn ask(&self, request: TlsRequest) -> Result<(), TlsRequest> {
        match self.requests.try_send(request) {
            Ok(()) => {
                (self.wake)();
                Ok(())
            }
            Err(TrySendError::Full(request) | TrySendError::Disconnected(request)) => Err(request),
        }
    }
}
