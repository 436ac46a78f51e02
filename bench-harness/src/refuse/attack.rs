//! What is done beside those who are connected: attempts on a schedule, or sockets that are held.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::cli::TlsVersionArg;
use crate::clock::Clock;
use crate::codec::{Connect, Packet, Version};
use crate::connect::tls::TlsPlan;
use crate::histogram::Times;
use crate::load::Sources;
use crate::sys::Socket;

/// Sockets that are opened before their first bytes are sent: a connect takes a moment.
const OPENED_AT_ONCE: usize = 200;
/// Between two bytes of a socket that is slow.
const DRIBBLE: Duration = Duration::from_millis(500);
/// Sockets of one thread at most: a descriptor table holds about 20,000 where tables are per process,
/// which is shared by all threads.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is done.
#[derive(Clone)]
pub(super) enum Kind {
    /// Connect and close.
    Bare,
    /// Send this CONNECT, and read what it is refused with.
    Login(Vec<u8>),
    /// A TLS handshake.
    Handshake(TlsPlan),
    /// Hold sockets that begin with these bytes, at once or one by one.
    Held(Vec<u8>, bool),
}

impl Kind {
    pub(super) fn login(version: Version, username: &str, password: &str) -> Self {
        let mut connect = Connect::new(version, "refused");
        connect.username = Some(username.to_owned());
        connect.password = Some(password.as_bytes().to_vec());
        Self::Login(Packet::Connect(connect).to_bytes(version))
    }

    pub(super) fn handshake(server: &str, version: TlsVersionArg) -> Result<Self, String> {
        TlsPlan::new(server, version, false, None).map(Self::Handshake)
    }

    /// A CONNECT with a long client id, byte by byte.
    pub(super) fn slow() -> Self {
        let connect = Connect::new(Version::V311, &"slow".repeat(1000));
        Self::Held(Packet::Connect(connect).to_bytes(Version::V311), true)
    }

    /// The beginning of a ClientHello of 508 bytes.
    pub(super) fn half_tls() -> Self {
        let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
        Self::Held(hello.to_vec(), false)
    }

    pub(super) fn holds_sockets(&self) -> bool {
        matches!(self, Self::Held(..))
    }
}

/// How it is done.
pub(super) struct Plan {
    pub(super) kind: Kind,
    pub(super) target: SocketAddr,
    pub(super) sources: Sources,
    /// Attempts a second.
    pub(super) rate: f64,
    pub(super) threads: usize,
    pub(super) sockets: usize,
    pub(super) timeout: Duration,
    pub(super) clock: Clock,
}

/// What came of it.
#[derive(Clone)]
pub(super) struct Count {
    pub(super) attempts: u64,
    /// Refused, or through with the handshake: what was wanted.
    pub(super) answered: u64,
    /// Anything else.
    pub(super) failed: u64,
    /// Sockets that were still open at the end.
    pub(super) open: u64,
    pub(super) latency: Times,
}

impl Count {
    pub(super) fn new() -> Self {
        Self {
            attempts: 0,
            answered: 0,
            failed: 0,
            open: 0,
            latency: Times::new(),
        }
    }

    fn add(&mut self, other: &Self) {
        self.attempts += other.attempts;
        self.answered += other.answered;
        self.failed += other.failed;
        self.open += other.open;
        self.latency.add(&other.latency);
    }
}

/// The threads that do it.
pub(super) struct Attackers {
    threads: Vec<JoinHandle<Count>>,
    ready: Arc<AtomicBool>,
}

impl Attackers {
    pub(super) fn start(plan: Plan, stop: &Arc<AtomicBool>) -> io::Result<Self> {
        let ready = Arc::new(AtomicBool::new(!plan.kind.holds_sockets()));
        let number = if plan.kind.holds_sockets() {
            1
        } else {
            plan.threads
        };
        let plan = Arc::new(plan);
        let next = Arc::new(AtomicU64::new(0));
        let begin_ns = plan.clock.now_ns();
        let mut threads = Vec::new();
        for _ in 0..number {
            let (plan, stop, next) = (Arc::clone(&plan), Arc::clone(stop), Arc::clone(&next));
            let own_ready = Arc::clone(&ready);
            let body = move || match &plan.kind {
                Kind::Held(bytes, slowly) => hold(&plan, (bytes, *slowly), &stop, &own_ready),
                _ => attempt_in_turn(&plan, begin_ns, &stop, &next),
            };
            threads.push(
                thread::Builder::new()
                    .name("attack".to_owned())
                    .spawn(body)?,
            );
        }
        Ok(Self { threads, ready })
    }

    /// Waits until all sockets are there that are to be held.
    pub(super) fn await_ready(&self) {
        while !self.ready.load(Ordering::Acquire)
            && !self.threads.iter().all(JoinHandle::is_finished)
        {
            thread::sleep(LOOK_EVERY);
        }
    }

    pub(super) fn join(self) -> Count {
        let mut all = Count::new();
        for thread in self.threads {
            if let Ok(count) = thread.join() {
                all.add(&count);
            }
        }
        all
    }
}

/// Takes the next attempt of the common schedule until it is over.
fn attempt_in_turn(plan: &Plan, begin_ns: u64, stop: &AtomicBool, next: &AtomicU64) -> Count {
    let mut count = Count::new();
    let interval_ns = 1e9 / plan.rate;
    while !stop.load(Ordering::Relaxed) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a schedule of minutes"
        )]
        let due_ns = begin_ns + (number as f64 * interval_ns) as u64;
        thread::sleep(plan.clock.until(due_ns, Duration::MAX));
        count.attempts += 1;
        let begun_ns = plan.clock.now_ns();
        match attempt(plan) {
            Ok(()) => {
                count.answered += 1;
                count.latency.record_ns(plan.clock.now_ns() - begun_ns);
            }
            Err(_) => count.failed += 1,
        }
    }
    count
}

fn attempt(plan: &Plan) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&plan.target, plan.timeout)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(plan.timeout))?;
    match &plan.kind {
        Kind::Bare | Kind::Held(..) => Ok(()),
        Kind::Login(connect) => {
            stream.write_all(connect)?;
            // CONNACK, its remaining length, flags and code.
            let mut answer = [0; 4];
            stream.read_exact(&mut answer)?;
            match answer {
                [0x20, _, _, 0] => Err(io::Error::other("it was let in")),
                [0x20, ..] => Ok(()),
                _ => Err(io::Error::other("no CONNACK")),
            }
        }
        Kind::Handshake(tls) => {
            let mut connection = tls.connection().map_err(io::Error::other)?;
            while connection.is_handshaking() {
                connection.complete_io(&mut stream)?;
            }
            Ok(())
        }
    }
}

/// Opens sockets and holds them; those that the broker closes are counted and opened again.
fn hold(
    plan: &Plan,
    (bytes, slowly): (&[u8], bool),
    stop: &AtomicBool,
    ready: &AtomicBool,
) -> Count {
    let mut count = Count::new();
    let mut held: Vec<(Socket, usize)> = Vec::new();
    let mut dribble_ns = 0;
    while !stop.load(Ordering::Relaxed) {
        let missing = plan.sockets.saturating_sub(held.len());
        for _ in 0..missing.min(OPENED_AT_ONCE) {
            let number = usize::try_from(count.attempts).unwrap_or(0);
            count.attempts += 1;
            match Socket::connect(&plan.target, plan.sources.address(number)) {
                Ok(socket) => held.push((socket, 0)),
                Err(_) => count.failed += 1,
            }
        }
        thread::sleep(LOOK_EVERY);
        let now_ns = plan.clock.now_ns();
        let is_due = now_ns >= dribble_ns;
        if is_due {
            dribble_ns = now_ns + u64::try_from(DRIBBLE.as_nanos()).unwrap_or(u64::MAX);
        }
        let before = held.len();
        held.retain_mut(|(socket, sent)| {
            if is_closed(socket) {
                return false;
            }
            let to = match (slowly, *sent) {
                (false, _) | (true, 0) if !bytes.is_empty() && *sent == 0 => {
                    if slowly {
                        1
                    } else {
                        bytes.len()
                    }
                }
                (true, _) if is_due => (*sent + 1).min(bytes.len().saturating_sub(1)),
                _ => *sent,
            };
            match bytes.get(*sent..to).filter(|piece| !piece.is_empty()) {
                Some(piece) => match socket.write(piece) {
                    Ok(len) => {
                        *sent += len;
                        true
                    }
                    Err(error) => error.kind() == io::ErrorKind::WouldBlock,
                },
                None => true,
            }
        });
        count.answered += u64::try_from(before - held.len()).unwrap_or(0);
        if missing <= OPENED_AT_ONCE {
            ready.store(true, Ordering::Release);
        }
    }
    count.open = u64::try_from(held.len()).unwrap_or(0);
    count
}

fn is_closed(socket: &Socket) -> bool {
    if socket.pending_error().is_err() {
        return true;
    }
    let mut piece = [0; 64];
    match socket.read(&mut piece) {
        Ok(len) => len == 0,
        Err(error) => {
            let waits = [io::ErrorKind::WouldBlock, io::ErrorKind::NotConnected];
            !waits.contains(&error.kind())
        }
    }
}
