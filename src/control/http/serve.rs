//! The sockets of the API: bound before the broker is ready, served with limits on what one peer can
//! hold.

pub mod socket;

use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Poller, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::config::{Config, HttpTls};
use crate::control::context::Context;
use crate::control::http;

/// Connections of one listener at a time; further ones wait.
const CONNECTIONS_MAX: usize = 1024;
/// How long a TLS handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// A connection from which nothing comes for so long is closed.
const IDLE_MAX: Duration = Duration::from_secs(120);
/// The same while fewer than [`PLACES_FREE`] are free: who says nothing makes room for others.
const IDLE_CROWDED_MAX: Duration = Duration::from_secs(3);
/// Free places below which the door is crowded.
const PLACES_FREE: usize = CONNECTIONS_MAX / 8;
/// From the first byte of a request to the first of its answer: who sends a byte now and then is not
/// waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How often each connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pause after an accept that failed, for want of descriptors for example.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A bound address that is not served yet.
pub struct Server {
    /// What it is called in the line that says where it listens.
    pub name: &'static str,
    /// Where it is.
    pub address: SocketAddr,
    socket: StdListener,
    tls: Option<Arc<ServerConfig>>,
}

/// Binds the addresses of the configuration.
///
/// # Errors
/// A sentence for the user.
pub fn bind(config: &Config) -> Result<Vec<Server>, String> {
    let tls = tls(&config.http_tls)?;
    let wanted = [
        ("http", "http.listen", config.http.listen),
        ("http_v4", "http.listen_v4", config.http.listen_v4),
    ];
    let mut servers = Vec::new();
    for (name, setting, address) in wanted {
        let Some(address) = address else { continue };
        let cannot = |error: &dyn std::fmt::Display| {
            format!(
                "the address {address} of {setting} cannot be used: {error}; choose another one, or \
                 `off`"
            )
        };
        let socket = StdListener::bind(address).map_err(|error| cannot(&error))?;
        socket
            .set_nonblocking(true)
            .map_err(|error| cannot(&error))?;
        servers.push(Server {
            name,
            address: socket.local_addr().map_err(|error| cannot(&error))?,
            socket,
            tls: tls.clone(),
        });
    }
    Ok(servers)
}

fn tls(settings: &HttpTls) -> Result<Option<Arc<ServerConfig>>, String> {
    let (Some(certfile), Some(keyfile)) = (&settings.certfile, &settings.keyfile) else {
        return Ok(None);
    };
    let wrong = |setting: &str, path: &std::path::Path, error: &dyn std::fmt::Display| {
        format!(
            "the file {} of {setting} cannot be used: {error}",
            path.display()
        )
    };
    let chain = CertificateDer::pem_file_iter(certfile)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong("http.tls.certfile", certfile, &error))?;
    let key = PrivateKeyDer::from_pem_file(keyfile)
        .map_err(|error| wrong("http.tls.keyfile", keyfile, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| wrong("http.tls.certfile", certfile, &error))?;
    Ok(Some(Arc::new(config)))
}

/// Serves an address from now on. Call it within the runtime.
pub fn start(server: Server, context: &Arc<Context>) {
    let router = http::router(context);
    let name = server.name;
    match TcpListener::from_std(server.socket) {
        Ok(socket) => {
            let door = Door::open(socket, server.address, server.tls);
            tokio::spawn(serve(door, router));
        }
        Err(error) => tracing::error!("{name} on {} is not served: {error}", server.address),
    }
}

async fn serve(door: Door, router: Router) {
    let service = router.into_make_service_with_connect_info::<Peer>();
    if let Err(error) = axum::serve(door, service).await {
        tracing::error!("the HTTP API has ended: {error}");
    }
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

impl Connected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// Connections that are through with TLS.
pub struct Door {
    address: SocketAddr,
    ready: mpsc::Receiver<(Guest, SocketAddr)>,
}

impl Door {
    fn open(socket: TcpListener, address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Self {
        let (send, ready) = mpsc::channel(1);
        tokio::spawn(accept(socket, tls.map(TlsAcceptor::from), send));
        Self { address, ready }
    }
}

impl Listener for Door {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guest, SocketAddr) {
        match self.ready.recv().await {
            Some(guest) => guest,
            // Whoever accepts goes on for ever.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Accepts for ever; each handshake is a task of its own, so that a slow one holds nobody up.
async fn accept(
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    ready: mpsc::Sender<(Guest, SocketAddr)>,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let (stream, peer) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("a connection to the HTTP API cannot be accepted: {error}");
                sleep(ACCEPT_AGAIN_AFTER).await;
                continue;
            }
        };
        let (tls, ready) = (tls.clone(), ready.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let stream: Box<dyn Stream> = match tls {
                None => Box::new(stream),
                Some(tls) => match timeout(HANDSHAKE_WITHIN, tls.accept(stream)).await {
                    Ok(Ok(stream)) => Box::new(stream),
                    _ => return,
                },
            };
            let _ = ready.send((Guest::new(stream, permit), peer)).await;
        });
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl Stream for TcpStream {}
impl Stream for tokio_rustls::server::TlsStream<TcpStream> {}

/// One connection: it counts as long as it lives, and does not live idle for ever.
pub struct Guest {
    stream: Box<dyn Stream>,
    room: Arc<Semaphore>,
    look: Pin<Box<Sleep>>,
    /// When bytes went, either way.
    moved: Instant,
    /// When the request that has no answer yet began.
    asked: Option<Instant>,
    _permit: OwnedSemaphorePermit,
}

impl Guest {
    fn new(stream: Box<dyn Stream>, permit: OwnedSemaphorePermit) -> Self {
        Self {
            stream,
            room: Arc::clone(permit.semaphore()),
            look: Box::pin(sleep(LOOK_EVERY)),
            moved: Instant::now(),
            asked: None,
            _permit: permit,
        }
    }

    /// Whether its time is over.
    fn is_over(&self) -> bool {
        let crowded = self.room.available_permits() < PLACES_FREE;
        let idle_max = if crowded { IDLE_CROWDED_MAX } else { IDLE_MAX };
        let unanswered = self
            .asked
            .is_some_and(|at| at.elapsed() > ANSWER_WITHIN.min(idle_max));
        unanswered || self.moved.elapsed() > idle_max
    }

    /// Nothing moves: waits until the time is over.
    fn poll_patience(&mut self, poller: &mut Poller<'_>) -> Poll<std::io::Error> {
        while !self.is_over() {
            ready!(self.look.as_mut().poll(poller));
            self.look.as_mut().reset(Instant::now() + LOOK_EVERY);
        }
        Poll::Ready(std::io::ErrorKind::TimedOut.into())
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        poller: &mut Poller<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if !self.is_over()
            && let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(poller, buffer)
        {
            self.moved = Instant::now();
            let now = self.moved;
            self.asked.get_or_insert(now);
            return Poll::Ready(read);
        }
        self.poll_patience(poller).map(Err)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        poller: &mut Poller<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.asked = None;
        if let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(poller, bytes) {
            self.moved = Instant::now();
            return Poll::Ready(written);
        }
        self.poll_patience(poller).map(Err)
    }

    fn poll_flush(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(poller)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        poller: &mut Poller<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(poller)
    }
}
