//! Listening sockets: one a core on the same port, so that the kernel spreads new connections; a Unix
//! socket is one that all cores accept from.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::socket;

/// Seconds after which a client that has connected and says nothing is accepted anyway
/// (TCP_DEFER_ACCEPT). In every protocol spoken here the client speaks first (MQTT, TLS, WebSocket, a
/// PROXY header), so accepting waits for its first bytes: the core is woken once for a connect and not
/// twice, and who says nothing holds no descriptor for this time.
const DEFER_ACCEPT_S: i32 = 1;

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Port 0 lets the kernel choose one.
    pub address: SocketAddr,
    /// Connections that each core's socket may queue; the kernel caps it at `net.core.somaxconn`.
    pub backlog: u32,
    /// Whether small packets of what is accepted are sent at once (TCP_NODELAY).
    pub nodelay: bool,
    /// How long what is sent to an accepted client may stay without an acknowledgement, or its
    /// receive window closed, until the kernel breaks the connection (TCP_USER_TIMEOUT).
    pub send_timeout: Duration,
}

/// Binds one socket a core to the same address and port, with the options for what is
/// accepted, which inherits them.
/// Says the address with the port that was bound.
///
/// None listens when any of them fails: the port is then as free as before.
///
/// # Errors
///
/// `EADDRINUSE` also when the address has an owner that did not ask for SO_REUSEPORT or is another
/// user's; an owner that shares it, such as a second broker of the same user, is found by a bind
/// without the option first.
pub fn bind(config: &ListenerConfig, cores: usize) -> io::Result<(SocketAddr, Vec<OwnedFd>)> {
    assert!(cores > 0, "a listener belongs to at least one core");
    if config.address.port() != 0 {
        probe(config.address)?;
    }
    let mut address = config.address;
    let mut listeners = Vec::with_capacity(cores);
    for _ in 0..cores {
        let fd = socket::tcp_socket(address)?;
        socket::set_flag(&fd, libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
        socket::set_flag(&fd, libc::SOL_SOCKET, libc::SO_REUSEPORT)?;
        if config.nodelay {
            socket::set_flag(&fd, libc::IPPROTO_TCP, libc::TCP_NODELAY)?;
        }
        let send_timeout_ms = i32::try_from(config.send_timeout.as_millis()).unwrap_or(i32::MAX);
        socket::set_option(
            &fd,
            libc::IPPROTO_TCP,
            libc::TCP_USER_TIMEOUT,
            send_timeout_ms,
        )?;
        socket::set_option(
            &fd,
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            DEFER_ACCEPT_S,
        )?;
        socket::bind(&fd, address)?;
        address = socket::local_address(&fd)?;
        listeners.push(fd);
    }
    for fd in &listeners {
        socket::listen(fd, config.backlog)?;
    }
    Ok((address, listeners))
}

/// Fails when anyone else listens there, also with SO_REUSEPORT. Connections that linger after a
/// restart are no hindrance.
fn probe(address: SocketAddr) -> io::Result<()> {
    let fd = socket::tcp_socket(address)?;
    socket::set_flag(&fd, libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    socket::bind(&fd, address)
}

/// The file of a Unix socket; removed with its value, unless another has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// What tells it from another file of that name.
    identity: (u64, i64, i64),
}

/// Inode and time of the last change: inode numbers are used again.
fn identity(path: &Path) -> io::Result<(u64, i64, i64)> {
    let file = std::fs::symlink_metadata(path)?;
    Ok((file.ino(), file.ctime(), file.ctime_nsec()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            // Nothing is left to do about a failure.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Makes the file of a Unix socket with these permissions, and a descriptor of it for each core. A
/// file that nobody listens on any more is replaced.
///
/// # Errors
///
/// `EADDRINUSE` when somebody listens on it, `EEXIST` when it is no socket.
pub fn bind_unix(
    path: &Path,
    mode: u32,
    backlog: u32,
    cores: usize,
) -> io::Result<(SocketFile, Vec<OwnedFd>)> {
    if let Ok(found) = std::fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    let file = SocketFile {
        path: path.to_owned(),
        identity: identity(path)?,
    };
    let first = OwnedFd::from(listener);
    socket::listen(&first, backlog)?;
    let mut listeners = Vec::with_capacity(cores);
    for _ in 1..cores {
        listeners.push(first.try_clone()?);
    }
    listeners.push(first);
    Ok((file, listeners))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpStream;

    use super::*;

    const SEND_TIMEOUT: Duration = Duration::from_secs(7);

    fn config(address: &str) -> ListenerConfig {
        ListenerConfig {
            address: address.parse().unwrap(),
            backlog: 16,
            nodelay: true,
            send_timeout: SEND_TIMEOUT,
        }
    }

    #[test]
    fn all_cores_share_the_port_that_the_first_was_given() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let (address, listeners) = bind(&config(any), 3).unwrap();
            assert_ne!(address.port(), 0);
            for fd in &listeners {
                assert_eq!(socket::local_address(fd).unwrap(), address);
            }
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(b"x").unwrap();
            let accepted = listeners.iter().find_map(|fd| {
                socket::set_nonblocking(fd);
                socket::accept_now(fd)
            });
            let accepted = accepted.expect("one of the listeners has the connection");
            assert_eq!(
                socket::peer_address(&accepted).unwrap(),
                client.local_addr().unwrap()
            );
            let inherited = socket::option(&accepted, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT);
            assert_eq!(inherited.unwrap(), 7000);
            let nodelay = socket::option(&accepted, libc::IPPROTO_TCP, libc::TCP_NODELAY);
            assert_ne!(nodelay.unwrap(), 0);
        }
    }

    #[test]
    fn the_file_of_a_unix_socket_comes_and_goes() {
        let path = std::env::temp_dir().join(format!("millrace-{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let (file, listeners) = bind_unix(&path, 0o600, 16, 2).unwrap();
        assert_eq!(listeners.len(), 2);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let _client = UnixStream::connect(&path).unwrap();
        let again = bind_unix(&path, 0o600, 16, 1).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
        // As after a crash: the file is there, and nobody listens.
        drop(listeners);
        let (second, _listeners) = bind_unix(&path, 0o660, 16, 1).unwrap();
        drop(file);
        assert!(path.exists(), "it is the second one's by now");
        drop(second);
        assert!(!path.exists());
        std::fs::write(&path, "").unwrap();
        let occupied = bind_unix(&path, 0o660, 16, 1).unwrap_err();
        assert_eq!(occupied.raw_os_error(), Some(libc::EEXIST));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_port_with_another_owner_is_refused() {
        let (address, _listeners) = bind(&config("127.0.0.1:0"), 1).unwrap();
        let again = ListenerConfig {
            address,
            backlog: 16,
            nodelay: true,
            send_timeout: SEND_TIMEOUT,
        };
        assert_eq!(
            bind(&again, 1).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
    }
}
