//! One handshake thread at work.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use compact_str::CompactString;
use crossbeam_channel::{Receiver, Sender, TrySendError};

use super::log::RateLimit;
use super::socket;
use super::tls_certificates::Resolver;
use super::tls_faults::{FaultKind, TlsFault};
use super::tls_listener::TlsListener;
use super::tls_names::{NamesWanted, names_of};
use super::tls_poll::{self, Poll};
use super::tls_threads::{Established, ThreadDoor, TlsDone, TlsJob};
use super::transport::tls::{Progress, TlsEnvelope};
use super::wake::Wakers;
use crate::base::envelope::PeerNames;
use crate::base::ids::CoreId;
use crate::gate::tls::{Fetched, Staple, TlsReloaded, TlsRequest};
use crate::metrics::{CoreMetrics, Counter, Gauge};

/// Bytes received at once.
const RECEIVE_BYTES: usize = 16 * 1024;
/// Bytes of a client that one handshake takes: two times the largest message, a chain of certificates.
const CLIENT_BYTES_MAX: usize = 128 * 1024;
/// Time that a handshake has while others wait for its place.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a client whose handshake failed may take to read why.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes of such a client that are thrown away.
const LINGER_BYTES_MAX: usize = 64 * 1024;
/// Sockets taken from the queue in one round: those in work are not kept waiting for long.
const JOBS_PER_ROUND: usize = 64;
/// Longest sleep.
const SLEEP_MAX: Duration = Duration::from_secs(10);
/// Sleep while a core has no room for what is done.
const RETRY: Duration = Duration::from_millis(5);
/// How much nicer than the cores: about a third of their CPU time when both want it.
const NICE: i32 = 5;
/// The number of the thread's own eventfd among its sockets.
const DOORBELL: u64 = u64::MAX;
/// Lines of one kind of failure: at once, and a second.
const LOG_BURST: u32 = 10;
const LOG_PER_SECOND: u32 = 1;

/// What a worker is made from.
pub(super) struct WorkerParts {
    pub(super) thread: usize,
    pub(super) doors: Arc<[ThreadDoor]>,
    pub(super) listeners: Arc<[Option<Arc<TlsListener>>]>,
    pub(super) jobs: Receiver<TlsJob>,
    /// Requests of the control plane, for one of the threads.
    pub(super) requests: Option<Receiver<TlsRequest>>,
    pub(super) done: Vec<Sender<TlsDone>>,
    pub(super) wakers: Arc<Wakers>,
    pub(super) in_work_max: usize,
    pub(super) names: NamesWanted,
    pub(super) metrics: CoreMetrics,
}

/// One thread.
pub(super) struct Worker {
    parts: WorkerParts,
    poll: Poll,
    work: Vec<Option<Running>>,
    free: Vec<u32>,
    generation: u32,
    /// When those in work are given up, the soonest first.
    deadlines: BTreeSet<(Instant, u32)>,
    /// Done, but its core has no room.
    undelivered: VecDeque<(CoreId, TlsDone)>,
    received: Box<[u8]>,
    limits: Vec<(FaultKind, RateLimit)>,
    started: Instant,
}

/// A handshake in work, or a client that is still told how it failed.
struct Running {
    socket: OwnedFd,
    core: CoreId,
    listener: u8,
    peer: std::net::SocketAddr,
    generation: u32,
    accepted_us: u64,
    peer_names: Option<Box<PeerNames>>,
    begun: Instant,
    deadline: Instant,
    received: usize,
    /// Absent until the first bytes come, so that a client that says nothing costs little.
    tls: Option<(Box<TlsEnvelope>, Arc<Resolver>)>,
    server_name: Option<CompactString>,
    plain: Vec<u8>,
    unsent: Vec<u8>,
    established: bool,
    waits_for_room: bool,
    lingers: bool,
}

impl Worker {
    pub(super) fn new(parts: WorkerParts) -> io::Result<Self> {
        let poll = Poll::new()?;
        if let Some(door) = parts.doors.get(parts.thread) {
            poll.add(door.eventfd.as_raw_fd(), DOORBELL)?;
        }
        Ok(Self {
            poll,
            work: Vec::new(),
            free: Vec::new(),
            generation: 0,
            deadlines: BTreeSet::new(),
            undelivered: VecDeque::new(),
            received: vec![0; RECEIVE_BYTES].into(),
            limits: Vec::new(),
            started: Instant::now(),
            parts,
        })
    }

    /// The thread's life.
    pub(super) fn run(mut self) {
        tls_poll::be_nice(NICE);
        let doors = Arc::clone(&self.parts.doors);
        let Some(door) = doors.get(self.parts.thread) else {
            return;
        };
        let mut ready = Vec::new();
        while !door.stop.load(Ordering::Acquire) {
            self.serve_requests();
            self.deliver_waiting();
            self.take_jobs();
            self.expire();
            let metrics = &self.parts.metrics;
            metrics.set(Gauge::TlsHandshakes, self.in_work() as u64);
            door.flag.prepare_sleep();
            let sleep = if self.has_inbox_work() {
                Duration::ZERO
            } else {
                self.sleep()
            };
            let waited = self.poll.wait(sleep, &mut ready);
            door.flag.awake();
            if let Err(error) = waited {
                tracing::error!(%error, "a tls thread cannot wait for its sockets and ends");
                return;
            }
            for number in ready.drain(..) {
                if number == DOORBELL {
                    tls_poll::clear(&door.eventfd);
                } else {
                    self.ready(number);
                }
            }
        }
    }

    fn in_work(&self) -> usize {
        self.work.len() - self.free.len()
    }

    fn is_full(&self) -> bool {
        self.in_work() >= self.parts.in_work_max
    }

    fn has_inbox_work(&self) -> bool {
        let requests = self.parts.requests.as_ref();
        let asked = requests.is_some_and(|requests| !requests.is_empty());
        let takes = !self.is_full() && self.undelivered.is_empty();
        asked || (takes && !self.parts.jobs.is_empty())
    }

    fn sleep(&self) -> Duration {
        if !self.undelivered.is_empty() {
            return RETRY;
        }
        let now = Instant::now();
        let first = self.deadlines.first().map(|(deadline, _)| *deadline);
        let patience = self.oldest().map(|running| running.begun + PATIENCE);
        let hurried = patience.filter(|_| self.is_full() && !self.parts.jobs.is_empty());
        let due = first.into_iter().chain(hurried).min();
        due.map_or(SLEEP_MAX, |due| due.saturating_duration_since(now))
            .min(SLEEP_MAX)
    }

    /// The one whose time is over first. Those of one listener have the same time, so it is about the
    /// oldest.
    fn oldest(&self) -> Option<&Running> {
        let (_, at) = self.deadlines.first()?;
        self.work.get(*at as usize)?.as_ref()
    }

    fn take_jobs(&mut self) {
        for _ in 0..JOBS_PER_ROUND {
            if self.is_full() || !self.undelivered.is_empty() {
                return;
            }
            match self.parts.jobs.try_recv() {
                Ok(job) => self.begin(job),
                Err(_) => return,
            }
        }
    }

    fn begin(&mut self, job: TlsJob) {
        let listener = self.listener(job.listener);
        let timeout = listener.map_or(Duration::ZERO, |listener| listener.handshake_timeout);
        let begun = Instant::now();
        let at = self.free.pop().unwrap_or_else(|| {
            self.work.push(None);
            u32::try_from(self.work.len() - 1).unwrap_or(u32::MAX)
        });
        self.generation = self.generation.wrapping_add(1);
        let running = Running {
            socket: job.socket,
            core: job.core,
            listener: job.listener,
            peer: job.peer,
            generation: self.generation,
            accepted_us: job.accepted_us,
            peer_names: job.peer_names,
            begun,
            deadline: begun + timeout,
            received: 0,
            tls: None,
            server_name: None,
            plain: Vec::new(),
            unsent: Vec::new(),
            established: false,
            waits_for_room: false,
            lingers: false,
        };
        self.deadlines.insert((running.deadline, at));
        let number = number(at, running.generation);
        let added = self.poll.add(running.socket.as_raw_fd(), number);
        if let Some(place) = self.work.get_mut(at as usize) {
            *place = Some(running);
        }
        if let Err(error) = added {
            self.fail(at, &TlsFault::plain(FaultKind::Internal, error.to_string()));
        } else if !job.unread.is_empty() {
            self.feed(at, &job.unread);
        }
    }

    fn listener(&self, number: u8) -> Option<&Arc<TlsListener>> {
        let listener = self.parts.listeners.get(usize::from(number));
        listener.and_then(Option::as_ref)
    }

    fn running(&mut self, at: u32) -> Option<&mut Running> {
        self.work.get_mut(at as usize)?.as_mut()
    }

    /// A socket has bytes, room, or has ended.
    fn ready(&mut self, number: u64) {
        let (at, generation) = place(number);
        let Some(running) = self.running(at) else {
            return;
        };
        if running.generation != generation {
            return;
        }
        if running.waits_for_room {
            return self.flush(at);
        }
        let mut buffer = std::mem::take(&mut self.received);
        let received = match self.running(at) {
            Some(running) => tls_poll::receive_now(&running.socket, &mut buffer),
            None => Ok(None),
        };
        match received {
            Ok(None) => {}
            Ok(Some(bytes)) if bytes > 0 => {
                self.feed(at, buffer.get(..bytes).unwrap_or_default());
            }
            Ok(Some(_)) => self.fail(at, &TlsFault::plain(FaultKind::Closed, "the client closed")),
            Err(error) => self.fail(at, &TlsFault::plain(FaultKind::Closed, error.to_string())),
        }
        self.received = buffer;
    }

    /// Bytes of the client.
    fn feed(&mut self, at: u32, bytes: &[u8]) {
        let thread = self.parts.thread;
        let listeners = Arc::clone(&self.parts.listeners);
        let Some(running) = self.running(at) else {
            return;
        };
        running.received += bytes.len();
        if running.lingers {
            if running.received > LINGER_BYTES_MAX {
                self.end(at);
            }
            return;
        }
        if running.received > CLIENT_BYTES_MAX {
            let fault = TlsFault::plain(FaultKind::TooLarge, "more bytes than a handshake takes");
            return self.fail(at, &fault);
        }
        if running.tls.is_none() {
            if let Some(fault) = TlsFault::of_first_bytes(bytes) {
                return self.fail(at, &fault);
            }
            let listener = listeners.get(usize::from(running.listener));
            let listener = listener.and_then(Option::as_ref);
            match begin_tls(listener, thread) {
                Ok(tls) => running.tls = Some(tls),
                Err(fault) => return self.fail(at, &fault),
            }
        }
        let Some((envelope, resolver)) = &mut running.tls else {
            return;
        };
        let progress = envelope.advance(bytes, &mut running.plain, &mut running.unsent);
        if let Some(asked) = resolver.take_asked() {
            running.server_name = Some(asked);
        }
        match progress {
            Ok(Progress::Handshaking) => self.flush(at),
            Ok(Progress::Established) => {
                running.established = true;
                self.flush(at);
            }
            Ok(Progress::Closed) => {
                let fault = TlsFault::plain(FaultKind::Closed, "the client closed");
                self.fail(at, &fault);
            }
            Err(error) => {
                let fault = TlsFault::of(&error, &running.unsent);
                self.fail(at, &fault);
            }
        }
    }

    /// Sends what is to be sent; what is established and sent is done.
    fn flush(&mut self, at: u32) {
        let Some(Some(running)) = self.work.get_mut(at as usize) else {
            return;
        };
        if !running.unsent.is_empty() {
            match socket::send_now(&running.socket, &running.unsent) {
                Ok(sent) => {
                    running.unsent.drain(..sent);
                }
                Err(error) => {
                    let fault = TlsFault::plain(FaultKind::Closed, error.to_string());
                    return self.fail(at, &fault);
                }
            }
        }
        let waits = !running.unsent.is_empty();
        if waits != running.waits_for_room {
            running.waits_for_room = waits;
            let number = number(at, running.generation);
            let changed = self.poll.change(running.socket.as_raw_fd(), number, waits);
            if let Err(error) = changed {
                return self.fail(at, &TlsFault::plain(FaultKind::Internal, error.to_string()));
            }
        }
        if !waits {
            running.unsent = Vec::new();
            if running.established {
                self.finish(at);
            }
        }
    }

    /// The handshake is done: back to the core.
    fn finish(&mut self, at: u32) {
        let envelope = self.running(at).and_then(|running| running.tls.take());
        let agreed = envelope
            .as_ref()
            .and_then(|(envelope, _)| envelope.agreed());
        let (Some((envelope, _)), Some(agreed)) = (envelope, agreed) else {
            let fault = TlsFault::plain(FaultKind::Internal, "nothing was agreed on");
            return self.fail(at, &fault);
        };
        let Some(running) = self.remove(at) else {
            return;
        };
        self.parts.metrics.inc(if agreed.resumed {
            Counter::TlsHandshakesResumed
        } else {
            Counter::TlsHandshakesFull
        });
        let names = self.parts.names;
        let certificate = envelope.peer_certificate();
        let peer_names = certificate.and_then(|der| names_of(der, names));
        let done = TlsDone {
            listener: running.listener,
            peer: running.peer,
            outcome: Ok(Box::new(Established {
                socket: running.socket,
                accepted_us: running.accepted_us,
                envelope,
                plain: running.plain,
                agreed,
                server_name: running.server_name,
                peer_names: peer_names.map(Box::new).or(running.peer_names),
            })),
        };
        self.deliver(running.core, done);
    }

    /// The handshake has failed: counted, logged, told to the core; the client may read the alert.
    fn fail(&mut self, at: u32, fault: &TlsFault) {
        let Some(running) = self.running(at) else {
            return;
        };
        if running.lingers {
            return self.end(at);
        }
        let core = running.core;
        let done = TlsDone {
            listener: running.listener,
            peer: running.peer,
            outcome: Err(fault.kind),
        };
        let mut lingers = false;
        if !running.unsent.is_empty() && !running.waits_for_room {
            lingers = socket::send_now(&running.socket, &running.unsent).is_ok_and(|sent| sent > 0);
        }
        self.log(&done, fault);
        self.parts.metrics.inc(fault.kind.counter());
        if lingers {
            self.linger(at);
        } else {
            self.end(at);
        }
        self.deliver(core, done);
    }

    /// Keeps a client that was sent an alert until it has gone: closing a socket with bytes unread
    /// would take the alert back.
    fn linger(&mut self, at: u32) {
        let Some(Some(running)) = self.work.get_mut(at as usize) else {
            return;
        };
        socket::shutdown_send(&running.socket);
        running.lingers = true;
        running.received = 0;
        running.tls = None;
        running.plain = Vec::new();
        running.unsent = Vec::new();
        self.deadlines.remove(&(running.deadline, at));
        running.deadline = Instant::now() + LINGER;
        self.deadlines.insert((running.deadline, at));
    }

    fn remove(&mut self, at: u32) -> Option<Running> {
        let running = self.work.get_mut(at as usize)?.take()?;
        self.free.push(at);
        self.deadlines.remove(&(running.deadline, at));
        self.poll.remove(running.socket.as_raw_fd());
        Some(running)
    }

    /// Closes a socket.
    fn end(&mut self, at: u32) {
        drop(self.remove(at));
    }

    /// Gives up those whose time is over; when all places are taken and others wait, also the oldest.
    fn expire(&mut self) {
        let now = Instant::now();
        while let Some((deadline, at)) = self.deadlines.first().copied() {
            let waited = self.is_full() && !self.parts.jobs.is_empty();
            let hurried = self
                .oldest()
                .is_some_and(|running| running.lingers || running.begun + PATIENCE <= now);
            if deadline > now && !(waited && hurried) {
                return;
            }
            let said = if deadline > now {
                "others waited for its place"
            } else {
                "handshake_timeout is over"
            };
            self.fail(at, &TlsFault::plain(FaultKind::Timeout, said));
        }
    }

    fn deliver(&mut self, core: CoreId, done: TlsDone) {
        if let Some(done) = self.try_deliver(core, done) {
            self.undelivered.push_back((core, done));
        }
    }

    fn deliver_waiting(&mut self) {
        for _ in 0..self.undelivered.len() {
            let Some((core, done)) = self.undelivered.pop_front() else {
                return;
            };
            self.deliver(core, done);
        }
    }

    /// Gives it back when the core has no room.
    fn try_deliver(&self, core: CoreId, done: TlsDone) -> Option<TlsDone> {
        match self.parts.done.get(core.index())?.try_send(done) {
            Ok(()) => {
                self.parts.wakers.wake_from_outside(core.index());
                None
            }
            Err(TrySendError::Full(done)) => Some(done),
            Err(TrySendError::Disconnected(_)) => None,
        }
    }

    /// Clients can cause this as often as they like, so not each of them is logged.
    fn log(&mut self, done: &TlsDone, fault: &TlsFault) {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let known = self.limits.iter().position(|(kind, _)| *kind == fault.kind);
        let at = known.unwrap_or_else(|| {
            let limit = RateLimit::new(LOG_PER_SECOND, LOG_BURST);
            self.limits.push((fault.kind, limit));
            self.limits.len() - 1
        });
        let Some((_, limit)) = self.limits.get_mut(at) else {
            return;
        };
        let Some(suppressed) = limit.admit(now_ms) else {
            return;
        };
        let listener = self.listener(done.listener).map_or("", |l| l.name.as_str());
        let (peer, hint) = (done.peer, fault.hint());
        if fault.kind == FaultKind::Closed {
            tracing::info!(%peer, listener, suppressed, "tls handshake failed: {fault}");
        } else {
            tracing::warn!(%peer, listener, hint, suppressed, "tls handshake failed: {fault}");
        }
    }

    fn serve_requests(&mut self) {
        let Some(requests) = self.parts.requests.clone() else {
            return;
        };
        while let Ok(request) = requests.try_recv() {
            match request {
                TlsRequest::Reload(reply) => reply.send(self.reload()),
                TlsRequest::Staplings(reply) => {
                    let listeners = self.parts.listeners.iter().flatten();
                    reply.send(listeners.filter_map(|one| one.stapling()).collect());
                }
                TlsRequest::Staple(fetched) => self.staple(fetched),
            }
        }
    }

    /// What came of asking an OCSP responder.
    fn staple(&self, fetched: Fetched) {
        let mut listeners = self.parts.listeners.iter().flatten();
        let listener = listeners.find(|one| one.name == fetched.listener);
        let (counter, response) = match fetched.staple {
            Staple::New(response) => (Counter::TlsOcspFetched, Some(Some(response))),
            Staple::Keep => (Counter::TlsOcspFailed, None),
            Staple::Drop => (Counter::TlsOcspFailed, Some(None)),
        };
        self.parts.metrics.inc(counter);
        if let (Some(listener), Some(response)) = (listener, response) {
            listener.staple(&fetched.certificate, response);
        }
    }

    fn reload(&self) -> TlsReloaded {
        let mut reloaded = TlsReloaded::default();
        for listener in self.parts.listeners.iter().flatten() {
            let name = &listener.name;
            match listener.reload() {
                Ok(warnings) => {
                    for warning in warnings {
                        tracing::warn!("{warning}");
                    }
                    tracing::info!("listener {name} uses the certificates it has read anew");
                    self.parts.metrics.inc(Counter::TlsReloads);
                    reloaded.reloaded.push(name.clone());
                }
                Err(why) => {
                    tracing::error!("listener {name} keeps the certificates it has: {why}");
                    self.parts.metrics.inc(Counter::TlsReloadsFailed);
                    reloaded.failed.push((name.clone(), why));
                }
            }
        }
        reloaded
    }
}

fn begin_tls(
    listener: Option<&Arc<TlsListener>>,
    thread: usize,
) -> Result<(Box<TlsEnvelope>, Arc<Resolver>), TlsFault> {
    let config = listener.and_then(|listener| listener.config(thread));
    let Some(config) = config else {
        let said = "the listener has no tls";
        return Err(TlsFault::plain(FaultKind::Internal, said));
    };
    match TlsEnvelope::new(config.config) {
        Ok(envelope) => Ok((Box::new(envelope), config.resolver)),
        Err(error) => Err(TlsFault::plain(FaultKind::Internal, error.to_string())),
    }
}

/// What epoll reports for a place and its tenant.
fn number(at: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(at)
}

/// The reverse of [`number`].
fn place(number: u64) -> (u32, u32) {
    let low = u32::try_from(number & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let high = u32::try_from(number >> 32).unwrap_or(u32::MAX);
    (low, high)
}
