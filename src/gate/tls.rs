//! What the control plane asks of the threads that do TLS handshakes.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::base::ocsp::CertId;
use crate::gate::reply::Reply;

/// Requests that may wait: they are an operator's.
const REQUESTS_MAX: usize = 16;

/// A request.
#[derive(Debug)]
pub enum TlsRequest {
    /// Read certificates, keys and revocation lists of all TLS listeners again. Connections stay;
    /// handshakes that begin afterwards use the new files.
    Reload(Reply<TlsReloaded>),
    /// Say which certificates OCSP responses are to be fetched for.
    Staplings(Reply<Vec<Stapling>>),
    /// Staple what was fetched from the next handshake on.
    Staple(Fetched),
}

/// A certificate that a response is fetched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stapling {
    /// The listener's id, `ssl:default`.
    pub listener: String,
    /// Its certificate.
    pub certificate: CertId,
    /// Whom to ask.
    pub responder_url: String,
    /// How long after a response the next one is fetched.
    pub refresh_interval: Duration,
    /// How long the responder may take.
    pub timeout: Duration,
}

/// What came of asking a responder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The listener's id.
    pub listener: String,
    /// The certificate that was asked about; another one may be in use by now.
    pub certificate: CertId,
    /// What to do.
    pub staple: Staple,
}

/// What is sent to clients from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Staple {
    /// This response.
    New(Vec<u8>),
    /// What was sent before: it still holds, and no new one came.
    Keep,
    /// None: what there was has ended, and no new one came.
    Drop,
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
