//! The few system calls the standard library has no name for.
#![allow(unsafe_code)] // calls into libc

use std::io;
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A limit of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Open files.
    Descriptors,
    /// Locked memory, in bytes.
    LockedMemory,
}

/// Raises the soft limit to the hard one and returns it; `u64::MAX` is unlimited.
pub(crate) fn raise_limit(limit: Limit) -> io::Result<u64> {
    let resource = match limit {
        Limit::Descriptors => libc::RLIMIT_NOFILE,
        Limit::LockedMemory => libc::RLIMIT_MEMLOCK,
    };
    let mut value = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `value` is a valid rlimit to write to.
    check(unsafe { libc::getrlimit(resource, &raw mut value) })?;
    value.rlim_cur = value.rlim_max;
    // SAFETY: `value` is a valid rlimit to read from.
    check(unsafe { libc::setrlimit(resource, &raw const value) })?;
    Ok(value.rlim_cur)
}

/// Keeps the kernel from backing memory with huge pages, from now on.
///
/// The allocator asks for them, and then an idle connection costs two to three times its tables: with
/// 18,000 connections at `--cores 2` 583 to 922 bytes each, against 299 to 357 with small pages.
pub(crate) fn forbid_huge_pages() {
    // SAFETY: no pointers are involved. A kernel that does not know this goes on as before.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// Asks a process to end in order (SIGTERM).
pub(crate) fn terminate(pid: i32) -> io::Result<()> {
    // SAFETY: no pointers are involved.
    check(unsafe { libc::kill(pid, libc::SIGTERM) })
}

/// Binds a TCP socket to `address` and closes it again: an error says that it cannot be used.
///
/// With SO_REUSEADDR, so that connections of a broker that ran before and are now in TIME_WAIT do
/// not count as an owner; without SO_REUSEPORT, so that any listening socket does, also one that is
/// ready to share its port. It never listens, so no client can reach it.
pub(crate) fn try_bind(address: SocketAddr) -> io::Result<()> {
    let socket = open_socket(address)?;
    switch_on(&socket, libc::SO_REUSEADDR)?;
    bind_any(&socket, address)
}

/// A listening socket as a broker's core opens it: ready to share its port with others of its kind.
#[cfg(test)]
pub(crate) fn listen_shared(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = open_socket(address)?;
    switch_on(&socket, libc::SO_REUSEADDR)?;
    switch_on(&socket, libc::SO_REUSEPORT)?;
    bind_any(&socket, address)?;
    // SAFETY: no pointers are involved.
    check(unsafe { libc::listen(socket.as_raw_fd(), 16) })?;
    Ok(socket.into())
}

fn open_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = libc::c_int::from(family_of(address));
    // SAFETY: no pointers are involved.
    let fd = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    check(fd)?;
    // SAFETY: the descriptor was just opened and belongs to no one else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn switch_on(socket: &OwnedFd, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is the int `on`, which outlives the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const on).cast(),
            length_of::<libc::c_int>(),
        )
    })
}

fn bind_any(socket: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(v4) => bind(
            socket,
            &libc::sockaddr_in {
                sin_family: family_of(address),
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(v4.ip().octets()),
                },
                sin_zero: [0; 8],
            },
        ),
        SocketAddr::V6(v6) => bind(
            socket,
            &libc::sockaddr_in6 {
                sin6_family: family_of(address),
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            },
        ),
    }
}

fn bind<T>(socket: &OwnedFd, address: &T) -> io::Result<()> {
    let address: *const T = address;
    // SAFETY: the caller passes a sockaddr of the socket's family, whose size is that of `T`.
    check(unsafe { libc::bind(socket.as_raw_fd(), address.cast(), length_of::<T>()) })
}

#[allow(clippy::cast_possible_truncation)] // The families are small numbers.
const fn family_of(address: SocketAddr) -> libc::sa_family_t {
    match address {
        SocketAddr::V4(_) => libc::AF_INET as libc::sa_family_t,
        SocketAddr::V6(_) => libc::AF_INET6 as libc::sa_family_t,
    }
}

#[allow(clippy::cast_possible_truncation)] // sizes of sockaddr structures
const fn length_of<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
