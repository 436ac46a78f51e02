//! Everything together: cores that accept on one port, read the first bytes, hand the socket over
//! to its home core through the mesh with a wake, and serve it there.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::completion::{Completion, PlaneConfig, Wait};
use super::listener::{self, ListenerConfig};
use super::mesh::{MeshEnd, mesh};
use super::park::{CoreLoop, Guests, Next};
use super::plane::{Actions, Plane};
use super::thread::{self, CoresConfig};
use super::wake::Wakers;
use crate::base::staged::Staged;

const CORES: usize = 3;
const PATIENCE: Duration = Duration::from_secs(10);
const SLOTS: u32 = 64;

/// The first byte names the home core; there, everything is echoed behind an 'A'.
struct Core {
    plane: Plane,
    mesh: MeshEnd<OwnedFd>,
    outboxes: Vec<Staged<OwnedFd>>,
    homes: Homes,
    wakers: Arc<Wakers>,
    stop: Arc<AtomicBool>,
    crossed: Arc<AtomicU64>,
}

/// Free slots, oldest first, and a generation for each owner.
struct Homes {
    free: VecDeque<u32>,
    generation: u32,
}

impl Homes {
    fn take_in(&mut self, plane: &mut Actions, fd: OwnedFd, early: &[u8]) {
        let slot = self
            .free
            .pop_front()
            .expect("the test has fewer connections than slots");
        self.generation += 1;
        let mut first = plane.buffer();
        first.bytes.push(b'A');
        first.bytes.extend_from_slice(early);
        plane.install(slot, self.generation, fd, first);
    }
}

impl CoreLoop for Core {
    fn turn(&mut self, wait: Wait<'_>) -> io::Result<Next> {
        let Self {
            plane,
            mesh,
            outboxes,
            homes,
            ..
        } = self;
        let me = mesh.core();
        let stats = plane.turn(wait, &mut |plane, completion| match completion {
            Completion::Accepted { fd, .. } => {
                let handshake = plane.handshake_begin(fd);
                plane.handshake_receive(handshake);
            }
            Completion::HandshakeBytes { handshake, bytes } => {
                let fd = plane.handshake_take(handshake);
                let home = usize::from(bytes[0]) % CORES;
                if home == me {
                    homes.take_in(plane, fd, bytes);
                } else {
                    outboxes[home].record_with(fd, |out| out.extend_from_slice(bytes));
                }
            }
            Completion::HandshakeEnded { handshake, .. } => plane.handshake_refuse(handshake, b""),
            Completion::Received { slot, bytes, .. } => {
                let mut out = plane.buffer();
                out.bytes.extend_from_slice(bytes);
                plane.send(slot, out);
            }
            Completion::Ended { slot, .. } => plane.close(slot, None),
            Completion::Closed { slot, .. } => homes.free.push_back(slot),
            _ => {}
        })?;
        let crossed = &self.crossed;
        let drained = mesh.drain(10_000, &mut |_, early, fd| {
            homes.take_in(plane, fd.expect("a socket comes with each record"), early);
            crossed.fetch_add(1, Ordering::Relaxed);
        });
        let mut all = true;
        for target in (0..CORES).filter(|&target| target != me) {
            let flushed = mesh.flush(target, &mut outboxes[target]);
            all &= flushed.all;
            if flushed.moved.records > 0 {
                self.wakers.wake_from_core(plane, target);
            }
        }
        if self.stop.load(Ordering::Acquire) {
            return Ok(Next::Stop);
        }
        let more = stats.backlog > 0 || drained.more || !all;
        Ok(if more {
            Next::Again
        } else {
            Next::Idle { at_most: PATIENCE }
        })
    }

    fn has_inbox_work(&self) -> bool {
        !self.mesh.inbox_is_empty() || self.stop.load(Ordering::Acquire)
    }

    fn plane(&mut self) -> &mut Plane {
        &mut self.plane
    }
}

fn serve(address: SocketAddr, round: usize) {
    let mut client = TcpStream::connect(address).unwrap();
    client.set_nodelay(true).unwrap();
    client.set_read_timeout(Some(PATIENCE / 2)).unwrap();
    let mut expected = b"A".to_vec();
    for piece in 0..6 {
        let bytes: Vec<_> = (0..40 + piece)
            .map(|at| u8::try_from((round + piece * 3 + at) % 256).unwrap())
            .collect();
        client.write_all(&bytes).unwrap();
        expected.extend_from_slice(&bytes);
        if piece % 2 == round % 2 {
            std::thread::yield_now();
        }
    }
    let mut got = vec![0; expected.len()];
    client.read_exact(&mut got).unwrap();
    assert!(
        got == expected,
        "round {round}: bytes lost or out of order in the hand-over"
    );
}

#[test]
fn sockets_move_to_their_home_with_every_byte_in_order() {
    let wakers = Wakers::new(CORES).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let crossed = Arc::new(AtomicU64::new(0));
    let any = ListenerConfig {
        address: "127.0.0.1:0".parse().unwrap(),
        backlog: 64,
        nodelay: true,
        send_timeout: Duration::from_secs(15),
    };
    let (address, listeners) = listener::bind(&any, CORES).unwrap();
    let ends = mesh(CORES);
    let makers = ends.into_iter().zip(listeners).map(|(mesh, listener)| {
        let (wakers, stop, crossed) = (wakers.clone(), stop.clone(), crossed.clone());
        move |_: Guests| {
            let sizes = PlaneConfig {
                submissions: 32,
                completions: 128,
                buffers: 8,
                buffer_bytes: 64,
                slots: SLOTS,
                linger: Duration::ZERO,
                lingering_max: 16,
            };
            let mut plane = Plane::new(&sizes).map_err(io::Error::other)?;
            wakers.join(mesh.core(), &mut plane)?;
            plane.listen(0, listener);
            let homes = Homes {
                free: (0..SLOTS).collect(),
                generation: 0,
            };
            let outboxes = (0..CORES).map(|_| Staged::default()).collect();
            Ok(Core {
                plane,
                mesh,
                outboxes,
                homes,
                wakers,
                stop,
                crossed,
            })
        }
    });
    let cores = thread::start(CoresConfig::default(), &wakers, makers.collect()).unwrap();
    let clients = (0..4).map(|client| {
        std::thread::spawn(move || (0..100).for_each(|round| serve(address, client + round * 4)))
    });
    for client in clients.collect::<Vec<_>>() {
        client.join().unwrap();
    }
    assert!(
        crossed.load(Ordering::Relaxed) > 100,
        "most sockets change cores"
    );
    stop.store(true, Ordering::Release);
    for core in 0..CORES {
        wakers.wake_from_outside(core);
    }
    cores.join().unwrap();
}
