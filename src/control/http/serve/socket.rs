//! `ctl.sock` in the data directory: the same API for whoever may open that file. The directory has
//! mode 0700 and the socket 0600, so that is the broker's own user and root; no login is asked for.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::serve::Listener;
use axum::{Extension, Router};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::control::context::Context;
use crate::control::http;
use crate::control::http::auth::Caller;
use crate::control::http::serve::{ACCEPT_AGAIN_AFTER, CONNECTIONS_MAX, Guest, Stream};
use crate::control::state::Role;

/// The file's name in the data directory.
pub const FILE: &str = "ctl.sock";

/// A request that came by the control socket: its sender could change every file of the broker.
#[derive(Debug, Clone, Copy)]
pub struct Trusted;

/// The socket's file, which goes with its value.
pub struct ControlSocket {
    path: PathBuf,
    socket: Option<StdUnixListener>,
}

impl ControlSocket {
    /// Binds the socket. The data directory is locked, so that one which is there is of a broker that
    /// was killed: it is replaced.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn bind(data_dir: &Path) -> Result<Self, String> {
        let path = data_dir.join(FILE);
        let cannot = |error: io::Error| {
            let shown = path.display();
            format!("the control socket {shown} cannot be made: {error}")
        };
        let socket = listen(data_dir, &path).map_err(cannot)?;
        Ok(Self {
            path,
            socket: Some(socket),
        })
    }

    /// Serves it from now on. Call it within the runtime.
    pub fn start(&mut self, context: &Arc<Context>) {
        let Some(socket) = self.socket.take() else {
            return;
        };
        let caller = Caller {
            name: "ctl".to_owned(),
            role: Role::Administrator,
            token: None,
        };
        let router = http::router(context)
            .layer(Extension(caller))
            .layer(Extension(Trusted));
        match UnixListener::from_std(socket) {
            Ok(socket) => {
                tokio::spawn(serve(socket, router));
            }
            Err(error) => tracing::error!("the control socket is not served: {error}"),
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = fs::remove_file(&self.path);
    }
}

fn listen(data_dir: &Path, path: &Path) -> io::Result<StdUnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // By the directory's descriptor: a socket's address has room for 107 bytes only.
    let directory = File::open(data_dir)?;
    let address = format!("/proc/self/fd/{}/{FILE}", directory.as_raw_fd());
    let socket = StdUnixListener::bind(address)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

async fn serve(socket: UnixListener, router: Router) {
    let door = SocketDoor {
        socket,
        room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
    };
    if let Err(error) = axum::serve(door, router).await {
        tracing::error!("the control socket has ended: {error}");
    }
}

impl Stream for UnixStream {}

/// Accepts at the socket, with the limits of the other addresses.
struct SocketDoor {
    socket: UnixListener,
    room: Arc<Semaphore>,
}

impl Listener for SocketDoor {
    type Io = Guest;
    type Addr = ();

    async fn accept(&mut self) -> (Guest, ()) {
        loop {
            let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else {
                // The semaphore is never closed; whoever accepts goes on for ever.
                return std::future::pending().await;
            };
            match self.socket.accept().await {
                Ok((stream, _)) => return (Guest::new(Box::new(stream), permit), ()),
                Err(error) => {
                    tracing::warn!("the control socket cannot accept: {error}");
                    sleep(ACCEPT_AGAIN_AFTER).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}
