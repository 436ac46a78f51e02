//! SIGTERM: wills are published, clients are told, the end comes in time; a second signal ends at once.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use bench_harness::client::{Client, Error};
use bench_harness::codec::{Packet, Version, Will};

use crate::broker::{Broker, STOP_TIMEOUT};
use crate::peer::{PATIENCE, VERSIONS, answer, clean, connect, ping, subscriber, success};

const SERVER_SHUTTING_DOWN: u8 = 0x8B;
const CLIENTS: usize = 60;

#[test]
fn clients_are_told_and_the_exit_code_is_0() {
    for cores in [1, 2, 8] {
        let mut broker = Broker::start(cores);
        let mut clients: Vec<(Version, Client)> = (0..CLIENTS)
            .map(|n| {
                let version = VERSIONS[n % 3];
                (
                    version,
                    connect(broker.address(), &clean(version, &format!("c{n}"))),
                )
            })
            .collect();
        broker.signal("TERM");
        for (version, client) in &mut clients {
            let farewell = client.expect_closed(PATIENCE).unwrap();
            let wanted = (*version == Version::V5).then_some(SERVER_SHUTTING_DOWN);
            assert_eq!(farewell.map(|disconnect| disconnect.code), wanted);
        }
        broker.expect_orderly_end();
        assert!(Client::open(broker.address(), Version::V311).is_err());
    }
}

#[test]
fn an_interrupt_is_orderly_too() {
    let mut broker = Broker::start(2);
    let mut client = connect(broker.address(), &clean(Version::V5, "c"));
    broker.signal("INT");
    let farewell = client.expect_closed(PATIENCE).unwrap();
    assert_eq!(
        farewell.map(|disconnect| disconnect.code),
        Some(SERVER_SHUTTING_DOWN)
    );
    broker.expect_orderly_end();
}

#[test]
fn wills_are_published_before_the_end() {
    for cores in [2, 8] {
        let mut broker = Broker::start(cores);
        let mut heirs: Vec<Client> = (0..4)
            .map(|n| {
                subscriber(
                    broker.address(),
                    Version::V5,
                    &format!("heir{n}"),
                    "wills/#",
                    1,
                )
            })
            .collect();
        let testators: Vec<Client> = (0..CLIENTS)
            .map(|n| {
                let mut options = clean(VERSIONS[n % 3], &format!("t{n}"));
                options.connect.will = Some(Will {
                    qos: u8::try_from(n % 2).unwrap(),
                    topic: format!("wills/{n}"),
                    payload: b"last".to_vec(),
                    ..Will::default()
                });
                connect(broker.address(), &options)
            })
            .collect();
        broker.signal("TERM");
        for heir in &mut heirs {
            assert_eq!(wills_until_the_end(heir), CLIENTS);
        }
        broker.expect_orderly_end();
        drop(testators);
    }
}

/// Counts messages, acknowledging what wants it, until the broker closes after its farewell.
fn wills_until_the_end(heir: &mut Client) -> usize {
    let mut seen = std::collections::BTreeSet::new();
    let mut told = false;
    loop {
        match heir.expect(PATIENCE) {
            Ok(Packet::Publish(publish)) => {
                if let Some(packet) = answer(&publish) {
                    // The broker may have closed by now.
                    let _ = heir.send(&packet);
                }
                seen.insert(publish.topic);
            }
            Ok(Packet::Disconnect(disconnect)) => {
                assert_eq!(disconnect.code, SERVER_SHUTTING_DOWN);
                told = true;
            }
            Ok(other) => panic!("unexpected {other:?}"),
            Err(Error::Closed) => {
                assert!(told, "no farewell");
                return seen.len();
            }
            Err(why) => panic!("{why}, with {} wills", seen.len()),
        }
    }
}

/// A subscriber that has stopped reading, with more waiting for it than sockets hold.
fn deaf_subscriber(broker: &Broker) -> Client {
    let mut deaf = subscriber(broker.address(), Version::V5, "deaf", "flood", 1);
    let mut from = connect(broker.address(), &clean(Version::V311, "flooder"));
    let payload = vec![b'x'; 500_000];
    for _ in 0..60 {
        from.publish("flood", 1, &payload).unwrap();
    }
    let first = deaf.expect_publish().unwrap();
    deaf.send(&Packet::PubAck(success(first.packet_id.unwrap())))
        .unwrap();
    deaf
}

#[test]
fn a_client_that_does_not_read_does_not_hold_it_up() {
    let mut broker = Broker::start(2);
    let deaf = deaf_subscriber(&broker);
    let mut others: Vec<Client> = (0..10)
        .map(|n| connect(broker.address(), &clean(Version::V5, &format!("c{n}"))))
        .collect();
    broker.signal("TERM");
    for other in &mut others {
        let farewell = other.expect_closed(PATIENCE).unwrap();
        assert_eq!(
            farewell.map(|disconnect| disconnect.code),
            Some(SERVER_SHUTTING_DOWN)
        );
    }
    broker.expect_orderly_end();
    drop(deaf);
}

#[test]
fn load_does_not_hold_it_up() {
    let mut broker = Broker::start(2);
    let address = broker.address();
    let mut to = subscriber(address, Version::V5, "to", "load", 0);
    let writers: Vec<_> = (0..4)
        .map(|n| {
            let mut from = connect(address, &clean(Version::V311, &format!("from{n}")));
            thread::spawn(move || while from.publish("load", 0, &[b'x'; 200]).is_ok() {})
        })
        .collect();
    let reader = thread::spawn(move || {
        let mut got = 0_u64;
        while let Ok(Packet::Publish(_)) = to.expect(PATIENCE) {
            got += 1;
        }
        got
    });
    thread::sleep(Duration::from_millis(500));
    broker.signal("TERM");
    broker.expect_orderly_end();
    writers
        .into_iter()
        .for_each(|writer| writer.join().unwrap());
    assert!(reader.join().unwrap() > 0);
}

/// `MILLRACE_CONNECTIONS` says how many; each tenth has a will.
#[test]
#[ignore = "needs 20,000 open files and a minute; scripts/test-long.sh runs it"]
fn many_connections_under_load_end_in_time() {
    let count: usize = std::env::var("MILLRACE_CONNECTIONS").map_or(18_000, |n| n.parse().unwrap());
    let mut broker = Broker::start(2);
    let address = broker.address();
    let mut heir = subscriber(address, Version::V5, "heir", "wills/#", 0);
    let crowd: Vec<_> = (0..4)
        .map(|part| {
            thread::spawn(move || -> Vec<Client> {
                (part..count)
                    .step_by(4)
                    .map(|n| member(address, n))
                    .collect()
            })
        })
        .collect();
    let crowd: Vec<Client> = crowd
        .into_iter()
        .flat_map(|part| part.join().unwrap())
        .collect();
    assert_eq!(crowd.len(), count);
    let deaf = deaf_subscriber(&broker);
    let mut from = connect(address, &clean(Version::V311, "from"));
    let load = thread::spawn(move || while from.publish("load", 0, &[b'x'; 200]).is_ok() {});
    broker.signal("TERM");
    let started = std::time::Instant::now();
    assert_eq!(wills_until_the_end(&mut heir), count.div_ceil(10));
    broker.expect_orderly_end();
    println!("{count} connections ended in {:?}", started.elapsed());
    load.join().unwrap();
    drop((crowd, deaf));
}

fn member(address: SocketAddr, number: usize) -> Client {
    let mut options = clean(VERSIONS[number % 3], &format!("member-{number}"));
    options.connect.will = number.is_multiple_of(10).then(|| Will {
        topic: format!("wills/{number}"),
        payload: b"last".to_vec(),
        ..Will::default()
    });
    connect(address, &options)
}

#[test]
fn a_second_signal_ends_at_once() {
    // So much time that only the second signal can be what ends it within the test's patience.
    let mut broker = Broker::with(&["--cores", "2", "--set", "node.shutdown_timeout=10m"]);
    let deaf = deaf_subscriber(&broker);
    let mut witness = connect(broker.address(), &clean(Version::V5, "witness"));
    ping(&mut witness);
    broker.signal("TERM");
    witness.expect_closed(PATIENCE).unwrap();
    if broker.is_running() {
        broker.signal("TERM");
    }
    let status = broker.wait_at_most(STOP_TIMEOUT).unwrap();
    assert!(
        status.code().is_some(),
        "it ends by itself, not by the signal: {status}"
    );
    drop(deaf);
}
