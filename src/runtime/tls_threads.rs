//! The threads that do TLS handshakes, so that no core ever does asymmetric cryptography.
//!
//! A core hands over the socket and what it has read of it ([`TlsPort::offer`]); the queue is bounded,
//! and what it does not take the core closes. A thread has many handshakes in work, none of which it
//! waits for, each bounded in time and bytes. What comes back ([`TlsDone`]) is the socket, as blocking as
//! it came, the envelope with its keys, the bytes that came behind the handshake, and the names in the
//! client's certificate. The threads are nicer than the cores, which go first when CPUs are few.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use compact_str::CompactString;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use super::socket;
use super::tls_faults::FaultKind;
use super::tls_listener::TlsListener;
use super::tls_names::NamesWanted;
use super::tls_work::{Worker, WorkerParts};
use super::transport::desk::{Adopted, Desk, Errand, Outcome};
use super::transport::tls::{Agreed, TlsEnvelope};
use super::wake::Wakers;
use crate::base::envelope::PeerNames;
use crate::base::ids::CoreId;
use crate::base::wake_flag::WakeFlag;
use crate::gate::tls::TlsDesk;
use crate::metrics::CoreMetrics;
use crate::shard::close::CloseReason;

/// Handshakes that are done and may wait for one core; beyond it the threads take no new ones.
const DONE_MAX_PER_CORE: usize = 1024;

/// A socket whose handshake is to be done.
#[derive(Debug)]
pub struct TlsJob {
    /// The core it goes back to.
    pub core: CoreId,
    /// The listener it came in by.
    pub listener: u8,
    /// The other end, for the log.
    pub peer: SocketAddr,
    /// When it was accepted, microseconds of UNIX time.
    pub accepted_us: u64,
    /// What a proxy in front said of the client's certificate.
    pub peer_names: Option<Box<PeerNames>>,
    /// The socket, a blocking one, with no operation in flight.
    pub socket: OwnedFd,
    /// What the core has read of it.
    pub unread: Vec<u8>,
}

/// A handshake that is over.
#[derive(Debug)]
pub struct TlsDone {
    /// The listener it came in by.
    pub listener: u8,
    /// The other end.
    pub peer: SocketAddr,
    /// The connection; or why there is none: then everything is logged, counted and closed.
    pub outcome: Result<Box<Established>, FaultKind>,
}

/// A connection whose handshake is done.
pub struct Established {
    /// The socket, a blocking one.
    pub socket: OwnedFd,
    /// When it was accepted, microseconds of UNIX time.
    pub accepted_us: u64,
    /// Opens and seals its records.
    pub envelope: Box<TlsEnvelope>,
    /// What came behind the handshake, opened.
    pub plain: Vec<u8>,
    /// Version, cipher suite, and whether a session was resumed.
    pub agreed: Agreed,
    /// The server that the client asked for (SNI).
    pub server_name: Option<CompactString>,
    /// The names in the client's certificate, if it sent one.
    pub peer_names: Option<Box<PeerNames>>,
}

impl std::fmt::Debug for Established {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Established")
            .field("agreed", &self.agreed)
            .field("server_name", &self.server_name)
            .field("peer_names", &self.peer_names)
            .finish_non_exhaustive()
    }
}

/// A core's end.
#[derive(Debug)]
pub struct TlsPort {
    core: CoreId,
    threads: Arc<[ThreadDoor]>,
    jobs: Vec<Sender<TlsJob>>,
    done: Receiver<TlsDone>,
    next: usize,
}

/// How many threads, and their limits.
#[derive(Clone, Copy, Debug)]
pub struct TlsThreadsConfig {
    /// Threads.
    pub threads: usize,
    /// Sockets that may wait for one thread.
    pub queue: usize,
    /// Handshakes that one thread has in work.
    pub in_work_max: usize,
    /// Names of clients' certificates that are wanted.
    pub names: NamesWanted,
}

/// How to wake and stop a thread.
#[derive(Debug)]
pub(super) struct ThreadDoor {
    pub(super) flag: WakeFlag,
    pub(super) eventfd: OwnedFd,
    pub(super) stop: AtomicBool,
}

/// The threads.
pub struct TlsThreads {
    doors: Arc<[ThreadDoor]>,
    threads: Vec<JoinHandle<()>>,
    desk: TlsDesk,
}

impl TlsPort {
    /// Hands a socket over.
    ///
    /// # Errors
    /// The socket, when no thread's queue has room.
    pub fn offer(&mut self, job: TlsJob) -> Result<(), TlsJob> {
        let mut job = job;
        for _ in 0..self.jobs.len() {
            let at = self.next % self.jobs.len();
            self.next = self.next.wrapping_add(1);
            let Some((jobs, thread)) = self.jobs.get(at).zip(self.threads.get(at)) else {
                break;
            };
            match jobs.try_send(job) {
                Ok(()) => {
                    thread.wake();
                    return Ok(());
                }
                Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => job = back,
            }
        }
        Err(job)
    }

    /// The next handshake that is over.
    pub fn done(&self) -> Option<TlsDone> {
        self.done.try_recv().ok()
    }

    /// Memory in bytes of this core's share of the channels.
    pub fn held_bytes(&self) -> usize {
        DONE_MAX_PER_CORE * (size_of::<TlsDone>() + size_of::<usize>())
    }
}

impl Desk for TlsPort {
    fn hand_in(&mut self, errand: Errand) -> Result<(), Errand> {
        let job = TlsJob {
            core: self.core,
            listener: errand.listener,
            peer: errand.peer,
            accepted_us: errand.accepted_us,
            peer_names: errand.peer_names,
            socket: errand.fd,
            unread: errand.received,
        };
        self.offer(job).map_err(|job| Errand {
            fd: job.socket,
            listener: job.listener,
            peer: job.peer,
            accepted_us: job.accepted_us,
            received: job.unread,
            peer_names: job.peer_names,
        })
    }

    fn hand_out(&mut self) -> Option<Outcome> {
        let done = self.done()?;
        Some(match done.outcome {
            Ok(established) => Outcome::Done(Box::new(Adopted {
                fd: established.socket,
                listener: done.listener,
                peer: done.peer,
                accepted_us: established.accepted_us,
                envelope: established.envelope,
                plain: established.plain,
                peer_names: established.peer_names,
            })),
            Err(kind) => Outcome::Failed(done.listener, reason(kind)),
        })
    }

    fn has_work(&self) -> bool {
        !self.done.is_empty()
    }
}

/// How a connection whose handshake failed is counted among the ends of connections.
fn reason(kind: FaultKind) -> CloseReason {
    match kind {
        FaultKind::Timeout => CloseReason::IdleTimeout,
        FaultKind::Closed => CloseReason::Closed,
        FaultKind::CertificateExpired
        | FaultKind::UnknownCa
        | FaultKind::CertificateRevoked
        | FaultKind::CertificateRequired
        | FaultKind::BadCertificate => CloseReason::NotAuthorized,
        _ => CloseReason::ProtocolError,
    }
}

impl ThreadDoor {
    fn new() -> io::Result<Self> {
        Ok(Self {
            flag: WakeFlag::default(),
            eventfd: socket::eventfd()?,
            stop: AtomicBool::new(false),
        })
    }

    fn wake(&self) {
        if self.flag.take_sleeper() {
            socket::signal(self.eventfd.as_raw_fd());
        }
    }
}

impl TlsThreads {
    /// Starts the threads for `listeners` (by number; those without TLS are absent) and `cores`;
    /// `metrics` has one handle for each. Also makes each core's end.
    ///
    /// # Errors
    /// When the system has no thread or descriptor left.
    pub fn start(
        config: TlsThreadsConfig,
        listeners: &Arc<[Option<Arc<TlsListener>>]>,
        cores: u8,
        wakers: &Arc<Wakers>,
        metrics: Vec<CoreMetrics>,
    ) -> io::Result<(Self, Vec<TlsPort>)> {
        let doors: io::Result<Vec<ThreadDoor>> =
            (0..config.threads).map(|_| ThreadDoor::new()).collect();
        let doors: Arc<[ThreadDoor]> = doors?.into();
        let wake = Arc::clone(&doors);
        let (desk, requests) = TlsDesk::new(move || {
            if let Some(first) = wake.first() {
                first.wake();
            }
        });
        let (done, take): (Vec<_>, Vec<_>) = (0..cores).map(|_| bounded(DONE_MAX_PER_CORE)).unzip();
        let mut jobs = Vec::new();
        let mut threads = Vec::new();
        for (thread, metrics) in (0..config.threads).zip(metrics) {
            let (offer, waiting) = bounded(config.queue);
            jobs.push(offer);
            let worker = Worker::new(WorkerParts {
                thread,
                doors: Arc::clone(&doors),
                listeners: Arc::clone(listeners),
                jobs: waiting,
                requests: (thread == 0).then(|| requests.clone()),
                done: done.clone(),
                wakers: Arc::clone(wakers),
                in_work_max: config.in_work_max,
                names: config.names,
                metrics,
            })?;
            let run = std::thread::Builder::new()
                .name(format!("tls-{thread}"))
                .spawn(move || worker.run())?;
            threads.push(run);
        }
        let ports = (0..cores)
            .zip(take)
            .map(|(core, done)| TlsPort {
                core: CoreId(core),
                threads: Arc::clone(&doors),
                jobs: jobs.clone(),
                done,
                next: 0,
            })
            .collect();
        let threads = Self {
            doors,
            threads,
            desk,
        };
        Ok((threads, ports))
    }

    /// Where the control plane asks for a reload.
    pub fn desk(&self) -> TlsDesk {
        self.desk.clone()
    }

    /// Ends the threads; what they have in work is closed.
    pub fn stop(self) {
        for door in self.doors.iter() {
            door.stop.store(true, Ordering::Release);
            socket::signal(door.eventfd.as_raw_fd());
        }
        for thread in self.threads {
            // A thread that has panicked has said so.
            let _ = thread.join();
        }
    }
}
