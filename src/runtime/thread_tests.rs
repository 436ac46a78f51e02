//! Cores on threads of their own: they serve, sleep, are woken, host guests, stop, and fail loudly.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::completion::{Completion, PlaneConfig, Wait};
use super::listener::{self, ListenerConfig};
use super::park::{CoreLoop, Guests, Next};
use super::plane::Plane;
use super::thread::{self, CoresConfig};
use super::wake::Wakers;
use crate::shard::outgoing::Outgoing;

/// The longest that an answer may take; also what a core sleeps at most, so that a lost wake fails
/// the test.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers every byte. 's' spawns a guest that the answer waits for, '!' panics.
struct EchoCore {
    plane: Plane,
    guests: Guests,
    stop: Arc<AtomicBool>,
    next_slot: u32,
    /// Slots whose guest has finished.
    finished: Rc<Cell<Vec<u32>>>,
    turns: Arc<AtomicU64>,
}

impl CoreLoop for EchoCore {
    fn turn(&mut self, wait: Wait<'_>) -> io::Result<Next> {
        self.turns.fetch_add(1, Ordering::Relaxed);
        let Self {
            plane,
            guests,
            next_slot,
            finished,
            ..
        } = self;
        let stats = plane.turn(wait, &mut |plane, completion| match completion {
            Completion::Accepted { fd, .. } => {
                plane.install(*next_slot, 1, fd, Outgoing::default());
                *next_slot += 1;
            }
            Completion::Received { bytes: b"!", .. } => panic!("asked to"),
            Completion::Received {
                slot, bytes: b"s", ..
            } => {
                let finished = finished.clone();
                guests.spawn(async move {
                    glommio::timer::sleep(Duration::from_millis(20)).await;
                    let mut slots = finished.take();
                    slots.push(slot);
                    finished.set(slots);
                });
            }
            Completion::Received { slot, bytes, .. } => {
                let mut out = plane.buffer();
                out.bytes.extend_from_slice(bytes);
                plane.send(slot, out);
            }
            Completion::Ended { slot, .. } => plane.close(slot, None),
            _ => {}
        })?;
        let finished = self.finished.take();
        for &slot in &finished {
            let out = Outgoing {
                bytes: b"S".to_vec(),
                shared: Vec::new(),
            };
            self.plane.send(slot, out);
        }
        if self.stop.load(Ordering::Acquire) {
            Ok(Next::Stop)
        } else if stats.completions > 0 || stats.backlog > 0 || !finished.is_empty() {
            Ok(Next::Again)
        } else {
            // With a guest at work the core looks after it often; without, only a wake ends the
            // sleep in time.
            let guest = self.guests.running() > 0;
            Ok(Next::Idle {
                at_most: if guest {
                    Duration::from_millis(5)
                } else {
                    PATIENCE
                },
            })
        }
    }

    fn has_inbox_work(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn plane(&mut self) -> &mut Plane {
        &mut self.plane
    }
}

struct House {
    cores: thread::Cores,
    wakers: Arc<Wakers>,
    stop: Arc<AtomicBool>,
    turns: Arc<AtomicU64>,
    addresses: Vec<SocketAddr>,
}

/// Cores with a listener each, on ports of their own.
fn house(count: usize, config: CoresConfig) -> House {
    let wakers = Wakers::new(count).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let turns = Arc::new(AtomicU64::new(0));
    let mut addresses = Vec::new();
    let mut makers = Vec::new();
    for core in 0..count {
        let any = ListenerConfig {
            address: "127.0.0.1:0".parse().unwrap(),
            backlog: 16,
            nodelay: true,
            send_timeout: Duration::from_secs(15),
        };
        let (address, mut listeners) = listener::bind(&any, 1).unwrap();
        addresses.push(address);
        let listener: OwnedFd = listeners.pop().unwrap();
        let (wakers, stop, turns) = (wakers.clone(), stop.clone(), turns.clone());
        makers.push(move |guests: Guests| {
            let sizes = PlaneConfig {
                submissions: 64,
                completions: 256,
                ..PlaneConfig::for_cores(54, 64)
            };
            let mut plane = Plane::new(&sizes).map_err(io::Error::other)?;
            wakers.join(core, &mut plane)?;
            plane.listen(0, listener);
            let finished = Rc::default();
            Ok(EchoCore {
                plane,
                guests,
                stop,
                next_slot: 0,
                finished,
                turns,
            })
        });
    }
    let cores = thread::start(config, &wakers, makers).unwrap();
    House {
        cores,
        wakers,
        stop,
        turns,
        addresses,
    }
}

impl House {
    fn stop(self) -> Result<(), thread::CoreFailed> {
        self.stop.store(true, Ordering::Release);
        for core in 0..self.addresses.len() {
            self.wakers.wake_from_outside(core);
        }
        self.cores.join()
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE / 2)).unwrap();
    client.set_nodelay(true).unwrap();
    client
}

fn ask(client: &mut TcpStream, question: &[u8], answer: &[u8]) {
    client.write_all(question).unwrap();
    let mut got = vec![0; answer.len()];
    client.read_exact(&mut got).unwrap();
    assert_eq!(got, answer);
}

#[test]
fn more_cores_than_cpus_serve_and_stop_when_told() {
    let cpus = thread::usable_cpus().unwrap().len();
    let house = house(cpus + 1, CoresConfig::default());
    for &address in &house.addresses {
        let mut client = connect(address);
        for _ in 0..20 {
            ask(&mut client, b"question", b"question");
        }
    }
    house.stop().unwrap();
}

#[test]
fn a_core_that_spins_before_it_sleeps_serves_as_well() {
    let config = CoresConfig {
        pin: true,
        spin_before_park: Duration::from_micros(200),
    };
    let house = house(1, config);
    let mut client = connect(house.addresses[0]);
    for round in 0..20 {
        ask(&mut client, b"question", b"question");
        if round % 5 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    house.stop().unwrap();
}

#[test]
fn a_guest_runs_beside_the_core_and_the_core_serves_meanwhile() {
    let house = house(1, CoresConfig::default());
    let mut client = connect(house.addresses[0]);
    for _ in 0..5 {
        client.write_all(b"s").unwrap();
        // Served while the guest waits: each wakes the core out of the executor's sleep.
        let mut other = connect(house.addresses[0]);
        for _ in 0..5 {
            ask(&mut other, b"question", b"question");
        }
        ask(&mut client, b"", b"S");
        // And without a guest again.
        ask(&mut client, b"question", b"question");
    }
    house.stop().unwrap();
}

#[test]
fn an_idle_core_does_not_turn() {
    let house = house(1, CoresConfig::default());
    let mut client = connect(house.addresses[0]);
    ask(&mut client, b"question", b"question");
    std::thread::sleep(Duration::from_millis(50));
    let before = house.turns.load(Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(house.turns.load(Ordering::Relaxed), before);
    house.stop().unwrap();
}

#[test]
fn a_core_that_panics_is_reported_while_the_others_run() {
    let house = house(2, CoresConfig::default());
    let mut client = connect(house.addresses[1]);
    client.write_all(b"!").unwrap();
    let failed = house.cores.join().unwrap_err();
    assert_eq!(failed.core, 1);
    assert!(failed.reason.contains("asked to"), "{failed}");
    house.stop.store(true, Ordering::Release);
    house.wakers.wake_from_outside(0);
}

#[test]
fn a_core_that_cannot_be_made_is_reported() {
    let wakers = Wakers::new(1).unwrap();
    let make = |_: Guests| -> io::Result<EchoCore> { Err(io::Error::other("no luck")) };
    let failed = thread::start(CoresConfig::default(), &wakers, vec![make]).unwrap_err();
    assert_eq!(failed.to_string(), "core 0 failed: no luck");
}
