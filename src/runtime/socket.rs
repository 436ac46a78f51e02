//! Ordinary sockets, asked and told by plain system calls that never block.
#![allow(unsafe_code)] // libc's calls take numbers and raw addresses.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// The address of the peer (rule R12: asked before the hand-over).
///
/// # Errors
///
/// Those of `getpeername(2)`; `EAFNOSUPPORT` for a socket that is neither IPv4 nor IPv6.
pub fn peer_address(fd: impl AsFd) -> io::Result<SocketAddr> {
    address(fd.as_fd().as_raw_fd(), libc::getpeername)
}

/// The address of our own end.
///
/// # Errors
///
/// Those of `getsockname(2)`; `EAFNOSUPPORT` for a socket that is neither IPv4 nor IPv6.
pub fn local_address(fd: impl AsFd) -> io::Result<SocketAddr> {
    address(fd.as_fd().as_raw_fd(), libc::getsockname)
}

type AddressCall =
    unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn address(fd: RawFd, call: AddressCall) -> io::Result<SocketAddr> {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut len = length::<libc::sockaddr_storage>();
    // SAFETY: `storage` is writable and as long as `len` says; the kernel writes no more than that.
    check(unsafe { call(fd, storage.as_mut_ptr().cast(), &raw mut len) })?;
    // SAFETY: zeroed before the call, and every bit pattern is a valid sockaddr_storage.
    let storage = unsafe { storage.assume_init() };
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the kernel wrote a sockaddr_in, which is smaller than
            // the storage.
            let v4 = unsafe { &*(&raw const storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Ok(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the kernel wrote a sockaddr_in6, which is smaller than
            // the storage.
            let v6 = unsafe { &*(&raw const storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            Ok(SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into())
        }
        _ => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
    }
}

/// Sends what the socket takes at once; 0 when it is full.
pub(super) fn send_now(fd: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: pointer and length are those of a slice that outlives the call.
    let sent = unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
    match usize::try_from(sent) {
        Ok(sent) => Ok(sent),
        Err(_) => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            error => Err(error),
        },
    }
}

/// Receives what has come already; none when nothing has, 0 when the peer has ended its side.
pub(super) fn receive_now(fd: &OwnedFd, into: &mut [u8]) -> io::Result<Option<usize>> {
    // SAFETY: pointer and length are those of a slice that is ours alone during the call.
    let received = unsafe {
        libc::recv(
            fd.as_raw_fd(),
            into.as_mut_ptr().cast(),
            into.len(),
            libc::MSG_DONTWAIT,
        )
    };
    match usize::try_from(received) {
        Ok(received) => Ok(Some(received)),
        Err(_) => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            error => Err(error),
        },
    }
}

/// Ends our side: the peer reads an orderly end after what was sent. A socket that is gone already
/// stays so.
pub(super) fn shutdown_send(fd: &OwnedFd) {
    // SAFETY: takes no memory of ours.
    unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_WR) };
}

/// Makes calls on the socket return at once.
pub(super) fn set_nonblocking(fd: &OwnedFd) {
    // SAFETY: takes no memory of ours.
    unsafe {
        let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
        libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK);
    }
}

/// Takes a connection from the queue of a listener that does not block; none when it is empty, or
/// the process is out of descriptors.
pub(super) fn accept_now(listener: &OwnedFd) -> Option<OwnedFd> {
    let none = std::ptr::null_mut();
    // SAFETY: null addresses mean that the peer's address is not wanted.
    let fd = unsafe { libc::accept4(listener.as_raw_fd(), none, none.cast(), libc::SOCK_CLOEXEC) };
    // SAFETY: the kernel has just made this descriptor for us.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A new eventfd that never blocks its writers.
pub(super) fn eventfd() -> io::Result<OwnedFd> {
    new_eventfd(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)
}

/// A new eventfd whose reads wait for a signal.
pub(super) fn blocking_eventfd() -> io::Result<OwnedFd> {
    new_eventfd(libc::EFD_CLOEXEC)
}

fn new_eventfd(flags: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: takes no memory of ours.
    let fd = check(unsafe { libc::eventfd(0, flags) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adds one to an eventfd. One that is gone or full (then it is readable anyway) needs no signal.
pub(super) fn signal(eventfd: RawFd) {
    let one = 1_u64;
    // SAFETY: eight bytes of a live local are read.
    unsafe { libc::write(eventfd, (&raw const one).cast(), size_of::<u64>()) };
}

/// Sets a socket option to 1.
pub(super) fn set_flag(fd: &OwnedFd, level: i32, option: i32) -> io::Result<()> {
    set_option(fd, level, option, 1)
}

/// Sets a socket option that is a number.
pub(super) fn set_option(
    fd: &OwnedFd,
    level: i32,
    option: i32,
    value: libc::c_int,
) -> io::Result<()> {
    let len = length::<libc::c_int>();
    let value = (&raw const value).cast();
    // SAFETY: the option's value is a live local of the length given.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, value, len) }).map(drop)
}

/// A socket option that is a number.
#[cfg(test)]
pub(super) fn option(fd: &OwnedFd, level: i32, option: i32) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = length::<libc::c_int>();
    let to = (&raw mut value).cast();
    // SAFETY: both are live locals, and the kernel writes no more than `len` says.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, option, to, &raw mut len) })?;
    Ok(value)
}

/// A new TCP socket for this address's family.
pub(super) fn tcp_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    // SAFETY: takes no memory of ours.
    let fd = check(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Binds a socket.
pub(super) fn bind(fd: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    let bound = match address {
        SocketAddr::V4(address) => {
            let raw = libc::sockaddr_in {
                sin_family: family(libc::AF_INET),
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from(*address.ip()).to_be(),
                },
                sin_zero: [0; 8],
            };
            let len = length::<libc::sockaddr_in>();
            // SAFETY: a live sockaddr_in of the length given.
            unsafe { libc::bind(fd.as_raw_fd(), (&raw const raw).cast(), len) }
        }
        SocketAddr::V6(address) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: family(libc::AF_INET6),
                sin6_port: address.port().to_be(),
                sin6_flowinfo: address.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: address.ip().octets(),
                },
                sin6_scope_id: address.scope_id(),
            };
            let len = length::<libc::sockaddr_in6>();
            // SAFETY: a live sockaddr_in6 of the length given.
            unsafe { libc::bind(fd.as_raw_fd(), (&raw const raw).cast(), len) }
        }
    };
    check(bound).map(drop)
}

/// Starts listening with a queue of so many connections.
pub(super) fn listen(fd: &OwnedFd, backlog: u32) -> io::Result<()> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    // SAFETY: takes no memory of ours.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn length<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("addresses and options are short")
}

fn family(family: i32) -> libc::sa_family_t {
    libc::sa_family_t::try_from(family).expect("address families are small numbers")
}
