//! Sockets, epoll and the few other system calls the load needs, without an allocation a call.
#![allow(unsafe_code)] // The only place of this crate that talks to the kernel by raw calls.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

const EPOLL_PWAIT2: libc::c_long = 441;

/// A result of a system call as Rust has it.
fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(mem::size_of::<T>()).expect("socket structures are small")
}

/// A non-blocking TCP socket.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

impl Socket {
    /// One that the caller has made non-blocking.
    pub(crate) fn owned(socket: impl Into<OwnedFd>) -> Self {
        Self(socket.into())
    }
}

impl Socket {
    /// Starts to connect to `target`, from `source` when one is given. The port is chosen at
    /// connect time (`IP_BIND_ADDRESS_NO_PORT`), so that one address serves about 25,000
    /// connections to one target.
    pub(crate) fn connect(target: &SocketAddr, source: Option<Ipv4Addr>) -> io::Result<Self> {
        let family = family_of(target);
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: takes no pointer; a non-negative result is a descriptor that nobody else owns.
        let socket = unsafe {
            let fd = checked(libc::socket(family, kind, 0))?;
            Self(OwnedFd::from_raw_fd(fd))
        };
        socket.set_option(libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
        if let (Some(source), true) = (source, target.is_ipv4()) {
            socket.set_option(libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
            let address = ipv4_address(source, 0);
            // SAFETY: the pointer and the length describe the local `address`, alive here.
            checked(unsafe {
                libc::bind(
                    socket.raw(),
                    (&raw const address).cast(),
                    length_of::<libc::sockaddr_in>(),
                )
            })?;
        }
        match socket.start_connect(target) {
            Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => Err(e),
            _ => Ok(socket),
        }
    }

    fn start_connect(&self, target: &SocketAddr) -> io::Result<()> {
        let result = match target {
            SocketAddr::V4(v4) => {
                let address = ipv4_address(*v4.ip(), v4.port());
                let length = length_of::<libc::sockaddr_in>();
                // SAFETY: the pointer and the length describe the local `address`, alive here.
                unsafe { libc::connect(self.raw(), (&raw const address).cast(), length) }
            }
            SocketAddr::V6(v6) => {
                // SAFETY: all zeros is a valid sockaddr_in6.
                let mut address: libc::sockaddr_in6 = unsafe { mem::zeroed() };
                address.sin6_family = family_field(family_of(target));
                address.sin6_port = v6.port().to_be();
                address.sin6_addr.s6_addr = v6.ip().octets();
                address.sin6_scope_id = v6.scope_id();
                let length = length_of::<libc::sockaddr_in6>();
                // SAFETY: the pointer and the length describe the local `address`, alive here.
                unsafe { libc::connect(self.raw(), (&raw const address).cast(), length) }
            }
        };
        checked(result).map(|_| ())
    }

    fn set_option(&self, level: i32, name: i32, value: libc::c_int) -> io::Result<()> {
        // SAFETY: the pointer and the length describe the argument `value`, alive here.
        checked(unsafe {
            libc::setsockopt(
                self.raw(),
                level,
                name,
                (&raw const value).cast(),
                length_of::<libc::c_int>(),
            )
        })
        .map(|_| ())
    }

    /// Makes closing the socket reset the connection instead of ending it in order.
    pub(crate) fn reset_on_close(&self) -> io::Result<()> {
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // SAFETY: the pointer and the length describe the local `linger`, alive here.
        checked(unsafe {
            libc::setsockopt(
                self.raw(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                length_of::<libc::linger>(),
            )
        })
        .map(|_| ())
    }

    /// The error the kernel holds for the socket (`SO_ERROR`), for example of its connect.
    pub(crate) fn pending_error(&self) -> io::Result<()> {
        let mut value: libc::c_int = 0;
        let mut length = length_of::<libc::c_int>();
        // SAFETY: both pointers point at locals alive here, and `length` is the size of `value`.
        checked(unsafe {
            libc::getsockopt(
                self.raw(),
                libc::SOL_SOCKET,
                libc::SO_ERROR,
                (&raw mut value).cast(),
                &raw mut length,
            )
        })?;
        if value == 0 {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(value))
        }
    }

    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the kernel writes at most `buffer.len()` bytes into the exclusive slice.
        let n = unsafe { libc::read(self.raw(), buffer.as_mut_ptr().cast(), buffer.len()) };
        usize::try_from(n).map_err(|_| io::Error::last_os_error())
    }

    /// Writes what the socket takes; a closed peer is an error, never a signal.
    pub(crate) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: the kernel reads at most `bytes.len()` bytes from the slice.
        let n = unsafe {
            libc::send(
                self.raw(),
                bytes.as_ptr().cast(),
                bytes.len(),
                libc::MSG_NOSIGNAL,
            )
        };
        usize::try_from(n).map_err(|_| io::Error::last_os_error())
    }

    /// Waits until it takes bytes, or is broken.
    pub(crate) fn wait_writable(&self) -> io::Result<()> {
        let mut poll = libc::pollfd {
            fd: self.raw(),
            events: libc::POLLOUT,
            revents: 0,
        };
        // SAFETY: one live entry, as many as said.
        checked(unsafe { libc::poll(&raw mut poll, 1, -1) }).map(|_| ())
    }

    fn raw(&self) -> libc::c_int {
        self.0.as_raw_fd()
    }
}

fn family_of(target: &SocketAddr) -> libc::c_int {
    if target.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    }
}

fn family_field(family: libc::c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(family).expect("address families are small numbers")
}

fn ipv4_address(ip: Ipv4Addr, port: u16) -> libc::sockaddr_in {
    // SAFETY: all zeros is a valid sockaddr_in.
    let mut address: libc::sockaddr_in = unsafe { mem::zeroed() };
    address.sin_family = family_field(libc::AF_INET);
    address.sin_port = port.to_be();
    address.sin_addr.s_addr = u32::from_ne_bytes(ip.octets());
    address
}

/// What a socket is watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Level-triggered reading.
    Read,
    /// Level-triggered reading and writing.
    ReadWrite,
    /// Nothing but errors.
    Nothing,
    /// Both, reported once a change: one registration serves connect and reading.
    Edges,
}

impl Interest {
    fn bits(self) -> u32 {
        let bits = match self {
            Self::Read => libc::EPOLLIN,
            Self::ReadWrite => libc::EPOLLIN | libc::EPOLLOUT,
            Self::Nothing => 0,
            Self::Edges => libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET,
        };
        bits.cast_unsigned()
    }
}

/// One report of [`Epoll::wait`].
#[derive(Clone, Copy)]
pub(crate) struct Event {
    pub(crate) token: u64,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// An epoll instance with room for the events of one wait.
pub(crate) struct Epoll {
    fd: OwnedFd,
    events: Vec<libc::epoll_event>,
    ready: usize,
}

impl Epoll {
    pub(crate) fn new(events_a_wait: usize) -> io::Result<Self> {
        // SAFETY: takes no pointer; a non-negative result is a descriptor that nobody else owns.
        let fd = unsafe {
            let fd = checked(libc::epoll_create1(libc::EPOLL_CLOEXEC))?;
            OwnedFd::from_raw_fd(fd)
        };
        let events = vec![libc::epoll_event { events: 0, u64: 0 }; events_a_wait];
        Ok(Self {
            fd,
            events,
            ready: 0,
        })
    }

    pub(crate) fn add(&self, socket: &Socket, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket.raw(), token, interest)
    }

    pub(crate) fn modify(&self, socket: &Socket, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, socket.raw(), token, interest)
    }

    pub(crate) fn add_wake(&self, wake: &Wake, token: u64) -> io::Result<()> {
        self.control(
            libc::EPOLL_CTL_ADD,
            wake.0.as_raw_fd(),
            token,
            Interest::Read,
        )
    }

    fn control(&self, operation: i32, fd: i32, token: u64, interest: Interest) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: interest.bits(),
            u64: token,
        };
        // SAFETY: the pointer points at the local `event`; both descriptors are open.
        checked(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd, &raw mut event) })
            .map(|_| ())
    }

    /// Waits for events; the number is returned, each is read by [`Epoll::event`].
    pub(crate) fn wait(&mut self, timeout: Duration) -> io::Result<usize> {
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // SAFETY: the kernel writes at most `events.len()` entries into the exclusive vector, and
        // reads the local `timeout`; no signal mask is given.
        let n = unsafe {
            libc::syscall(
                EPOLL_PWAIT2,
                self.fd.as_raw_fd(),
                self.events.as_mut_ptr(),
                self.events.len(),
                &raw const timeout,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        self.ready = match usize::try_from(n) {
            Ok(n) => n,
            Err(_) => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => 0,
                e => return Err(e),
            },
        };
        Ok(self.ready)
    }

    pub(crate) fn event(&self, index: usize) -> Event {
        let event = self.events[..self.ready][index];
        let bits = event.events.cast_signed();
        let failed = bits & (libc::EPOLLERR | libc::EPOLLHUP | libc::EPOLLRDHUP) != 0;
        Event {
            token: event.u64,
            readable: failed || bits & libc::EPOLLIN != 0,
            writable: failed || bits & libc::EPOLLOUT != 0,
        }
    }
}

/// An eventfd by which another thread ends a wait.
#[derive(Debug)]
pub(crate) struct Wake(OwnedFd);

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointer; a non-negative result is a descriptor that nobody else owns.
        let fd = unsafe {
            let fd = checked(libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC))?;
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Self(fd))
    }

    /// One whose [`Wake::clear`] waits to be notified.
    pub(crate) fn blocking() -> io::Result<Self> {
        // SAFETY: takes no pointer; a non-negative result is a descriptor that nobody else owns.
        let fd = unsafe {
            let fd = checked(libc::eventfd(0, libc::EFD_CLOEXEC))?;
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Self(fd))
    }

    pub(crate) fn notify(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the kernel reads 8 bytes from the local `one`. A full counter is notified already.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    pub(crate) fn clear(&self) {
        let mut count = [0u8; 8];
        // SAFETY: the kernel writes 8 bytes into the local `count`.
        unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

/// Gives the calling thread a descriptor table of its own (a copy of the present one), since the
/// limit on descriptors holds for each table; and lets its timed waits end within microseconds.
pub(crate) fn private_descriptor_table() -> io::Result<()> {
    // SAFETY: neither call takes a pointer. Descriptors that other threads open later are never
    // used by this thread, and it closes only what it opened itself.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1000 as libc::c_ulong);
        checked(libc::unshare(libc::CLONE_FILES)).map(|_| ())
    }
}

/// Raises the soft limit of descriptors to the hard one and returns it.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointers point at the local `limit`, alive here.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
            libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        }
    }
    limit.rlim_cur
}

/// Sends a signal to a process.
pub(crate) fn send_signal(pid: u32, signal: libc::c_int) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: takes no pointer.
    checked(unsafe { libc::kill(pid, signal) }).map(|_| ())
}

/// Keeps the calling thread on one CPU, if there is such a one.
pub(crate) fn stay_on_cpu(cpu: usize) {
    // SAFETY: all zeros is a valid set, the number is below its size, and the kernel reads the local.
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, mem::size_of_val(&set), &raw const set);
    }
}

/// Lets the calling thread run on every CPU.
pub(crate) fn stay_on_any_cpu() {
    // SAFETY: all ones names CPUs that there may not be, which the kernel leaves out.
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        for cpu in 0..libc::CPU_SETSIZE.unsigned_abs() as usize {
            libc::CPU_SET(cpu, &mut set);
        }
        libc::sched_setaffinity(0, mem::size_of_val(&set), &raw const set);
    }
}

/// CPU time of this process so far (user and system).
pub(crate) fn own_cpu() -> Duration {
    // SAFETY: all zeros is a valid rusage, and the pointer points at the local.
    let usage = unsafe {
        let mut usage: libc::rusage = mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let part = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec.cast_unsigned())
            + Duration::from_micros(t.tv_usec.cast_unsigned())
    };
    part(usage.ru_utime) + part(usage.ru_stime)
}

/// Clock ticks a second of the times in `/proc/PID/stat`.
pub(crate) fn clock_ticks_per_second() -> u64 {
    // SAFETY: takes no pointer.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).unwrap_or(100).max(1)
}

/// Waits until one of two sockets has bytes or has ended; says which.
pub(crate) fn wait_readable(sockets: [&std::net::TcpStream; 2]) -> io::Result<[bool; 2]> {
    use std::os::fd::AsRawFd;
    let mut polls = sockets.map(|socket| libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    // SAFETY: two live entries, as many as said.
    let ready = unsafe { libc::poll(polls.as_mut_ptr(), 2, -1) };
    if ready < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(polls.map(|poll| poll.revents != 0))
}
