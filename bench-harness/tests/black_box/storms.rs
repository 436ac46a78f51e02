//! Many clients at once: connects, take-overs of one id, and restarts under connect load.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bench_harness::client::{Client, Error};
use bench_harness::codec::Version;

use crate::broker::{Broker, STOP_TIMEOUT, Scratch};
use crate::peer::{PATIENCE, VERSIONS, clean, connect, leave, ping, vanish};

#[test]
fn connects_from_many_threads_all_succeed() {
    for cores in [2, 8] {
        let broker = Broker::start(cores);
        let address = broker.address();
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                thread::spawn(move || {
                    for n in 0..100 {
                        let version = VERSIONS[n % 3];
                        let mut client =
                            connect(address, &clean(version, &format!("c{thread}-{n}")));
                        ping(&mut client);
                        match n % 2 {
                            0 => leave(client),
                            _ => vanish(client),
                        }
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        broker.stop();
    }
}

#[test]
fn of_many_clients_with_one_id_the_last_one_stays() {
    for cores in [2, 8] {
        let broker = Broker::start(cores);
        let address = broker.address();
        let threads: Vec<_> = (0..6)
            .map(|n| {
                thread::spawn(move || -> Vec<Client> {
                    (0..20)
                        .map(|_| connect(address, &clean(VERSIONS[n % 3], "one")))
                        .collect()
                })
            })
            .collect();
        let clients: Vec<Client> = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        let mut last = connect(address, &clean(Version::V5, "one"));
        for mut client in clients {
            client.expect_closed(PATIENCE).unwrap();
        }
        ping(&mut last);
        broker.stop();
    }
}

/// A free port that the system does not give to outgoing connections, so that no client's own port
/// is in the way when the broker comes back.
fn lasting_port() -> u16 {
    let start = 18_000 + u16::try_from(std::process::id() % 8_000).unwrap();
    (start..32_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("no port below 32000 is free")
}

/// What a thread of connects saw.
#[derive(Default)]
struct Seen {
    connected: AtomicU32,
    failed: AtomicU32,
    hung: AtomicU32,
}

fn connect_until(
    stop: &Arc<AtomicBool>,
    seen: &Arc<Seen>,
    address: SocketAddr,
    name: usize,
) -> JoinHandle<()> {
    let (stop, seen) = (Arc::clone(stop), Arc::clone(seen));
    thread::spawn(move || {
        let mut kept = Vec::new();
        for n in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let options = clean(VERSIONS[n % 3], &format!("storm-{name}-{}", n % 50));
            let outcome = match Client::connect(address, &options) {
                Ok(client) => {
                    kept.push(client);
                    kept.drain(..kept.len().saturating_sub(20));
                    &seen.connected
                }
                Err(Error::Timeout) => &seen.hung,
                Err(_) => {
                    thread::sleep(Duration::from_millis(1));
                    &seen.failed
                }
            };
            outcome.fetch_add(1, Ordering::Relaxed);
        }
    })
}

/// `MILLRACE_RESTARTS` says how many; the default keeps a run of all tests short.
#[test]
fn restarts_under_connect_load() {
    let restarts: u32 = std::env::var("MILLRACE_RESTARTS").map_or(15, |count| {
        count.parse().expect("MILLRACE_RESTARTS is a number")
    });
    let scratch = Scratch::new();
    let data = scratch.path("data");
    let address = SocketAddr::from(([127, 0, 0, 1], lasting_port()));
    let url = format!("tcp://{address}");
    let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()));
    let clients: Vec<_> = (0..3)
        .map(|n| connect_until(&stop, &seen, address, n))
        .collect();
    for restart in 0..restarts {
        let cores = ["1", "2", "4"][restart as usize % 3];
        let arguments = [
            "--cores",
            cores,
            "--listen",
            &url,
            "--data-dir",
            data.to_str().unwrap(),
        ];
        let before = seen.connected.load(Ordering::Relaxed);
        let mut broker = Broker::with(&arguments);
        let mut waited = 0;
        while seen.connected.load(Ordering::Relaxed) < before + 20 {
            assert!(
                waited < 4000 && broker.is_running(),
                "restart {restart}: nobody gets in"
            );
            waited += 1;
            thread::sleep(Duration::from_millis(5));
        }
        broker.signal("TERM");
        let status = broker.wait_at_most(STOP_TIMEOUT);
        assert_eq!(
            status.and_then(|status| status.code()),
            Some(0),
            "restart {restart}"
        );
    }
    stop.store(true, Ordering::Relaxed);
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
    let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
    println!(
        "{restarts} restarts: {} connects succeeded, {} failed, {} hung",
        count(&seen.connected),
        count(&seen.failed),
        count(&seen.hung)
    );
    assert_eq!(count(&seen.hung), 0);
    assert!(
        count(&seen.failed) > 0,
        "the load ran on while the broker was away"
    );
}
