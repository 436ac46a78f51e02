//! Closes with a last packet against clients that go on writing, stay, or go.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use super::completion::PlaneConfig;
use super::lingers::{LINGER_BYTES_MAX, REFUSED_LINGERING_MAX};
use super::listener::{self, ListenerConfig};
use super::plane_tests::{
    Bench, Seen, block, connect, installed, pair, pattern, read_exactly, reset_on_drop, small,
    std_listener,
};
use crate::shard::outgoing::Outgoing;

/// Longer than any test waits: what ends then was not ended by the time.
const FOR_GOOD: Duration = Duration::from_secs(3600);

fn lingering(linger: Duration) -> Bench {
    Bench::new(PlaneConfig { linger, ..small() })
}

fn close_saying(bench: &mut Bench, slot: u32, last: &[u8]) {
    let last = Outgoing {
        bytes: last.to_vec(),
        shared: Vec::new(),
    };
    bench.plane.close(slot, Some(last));
}

fn closed(bench: &Bench) -> usize {
    let closed = |seen: &&Seen| matches!(seen, Seen::Closed(..));
    bench.seen.iter().filter(closed).count()
}

fn assert_reads_and_ends(client: &mut TcpStream, last: &[u8]) {
    assert_eq!(read_exactly(client, last.len()), last);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_client_that_goes_on_writing_reads_the_last_packet_and_an_end() {
    const PIECES: usize = 100;
    let mut bench = lingering(FOR_GOOD);
    let listener = std_listener();
    let mut client = installed(&mut bench, &listener, 3);
    bench.turn(0);
    close_saying(&mut bench, 3, b"bye!");
    for piece in 0..PIECES {
        client.write_all(&pattern(1000, piece)).unwrap();
        bench.turn(0);
    }
    assert_eq!(bench.plane.lingering(), 1);
    assert_reads_and_ends(&mut client, b"bye!");
    client.write_all(b"and still").unwrap();
    assert_eq!(bench.seen, [], "closed before the client has");
    drop(client);
    bench.until_seen(Seen::Closed(3, 4));
    let counters = *bench.plane.counters();
    assert_eq!((counters.lingers, counters.lingers_cut), (1, 0));
    // What came while our side was being shut down is not counted.
    assert!(counters.bytes_thrown_away > 90_000);
    assert!(bench.plane.linger_left().is_none());
}

#[test]
fn a_client_that_stays_is_cut_when_the_time_is_over() {
    let mut bench = lingering(Duration::from_millis(30));
    let listener = std_listener();
    let mut client = installed(&mut bench, &listener, 1);
    close_saying(&mut bench, 1, b"bye");
    bench.until("lingering", |bench| bench.plane.lingering() == 1);
    while let Some(left) = bench.plane.linger_left() {
        bench.turn(u64::try_from(left.as_millis()).unwrap() + 1);
    }
    bench.until_seen(Seen::Closed(1, 2));
    assert_eq!(bench.plane.counters().lingers_cut, 1);
    assert_reads_and_ends(&mut client, b"bye");
}

#[test]
fn a_client_that_floods_is_cut() {
    let mut bench = lingering(FOR_GOOD);
    let listener = std_listener();
    let mut client = installed(&mut bench, &listener, 1);
    close_saying(&mut bench, 1, b"bye");
    let flood = std::thread::spawn(move || {
        let piece = pattern(64 * 1024, 0);
        while client.write_all(&piece).is_ok() {}
    });
    bench.until_seen(Seen::Closed(1, 2));
    let counters = *bench.plane.counters();
    assert_eq!(counters.lingers_cut, 1);
    let thrown = usize::try_from(counters.bytes_thrown_away).unwrap();
    assert!((LINGER_BYTES_MAX..LINGER_BYTES_MAX * 2).contains(&thrown));
    flood.join().unwrap();
}

#[test]
fn of_many_that_linger_the_oldest_are_cut() {
    const CONNECTIONS: u32 = 100;
    const STAY: usize = 16;
    let mut bench = lingering(FOR_GOOD);
    let listener = std_listener();
    let mut clients: Vec<_> = (0..CONNECTIONS)
        .map(|slot| installed(&mut bench, &listener, slot))
        .collect();
    bench.turn(0);
    for slot in 0..CONNECTIONS {
        close_saying(&mut bench, slot, b"bye");
    }
    bench.until("the first cut", |bench| {
        closed(bench) == CONNECTIONS as usize - STAY
    });
    assert_eq!(bench.plane.lingering(), STAY);
    let first = (0..CONNECTIONS - 16).map(|slot| Seen::Closed(slot, slot + 1));
    assert!(first.into_iter().all(|seen| bench.seen.contains(&seen)));
    for client in &mut clients {
        assert_reads_and_ends(client, b"bye");
    }
    drop(clients);
    bench.until("all closed", |bench| closed(bench) == CONNECTIONS as usize);
    assert_eq!(bench.plane.counters().lingers_cut, 84);
}

#[test]
fn a_slot_is_used_again_after_every_kind_of_end() {
    let mut bench = lingering(FOR_GOOD);
    let listener = std_listener();
    for round in 0..100 {
        let mut client = installed(&mut bench, &listener, 3);
        bench.turn(0);
        match round % 5 {
            // Its bytes lie in the socket.
            0 => {
                bench.plane.pause_receive(3);
                bench.until_seen(Seen::Paused(3));
                client.write_all(b"nobody reads this").unwrap();
            }
            // The pause is on its way.
            1 => bench.plane.pause_receive(3),
            // It has ended already.
            2 => {
                client.shutdown(Shutdown::Write).unwrap();
                bench.until_seen(Seen::Ended(3, 0));
            }
            // Its end arrives while ours is on its way.
            3 => client.shutdown(Shutdown::Write).unwrap(),
            _ => {}
        }
        close_saying(&mut bench, 3, b"bye!");
        bench.turn(0);
        if round % 5 == 4 {
            bench.until("lingering", |bench| bench.plane.lingering() == 1);
            reset_on_drop(&client);
        } else {
            bench.until("our end", |bench| {
                bench.plane.lingering() == 1 || closed(bench) == 1
            });
            assert_reads_and_ends(&mut client, b"bye!");
        }
        drop(client);
        bench.until_seen(Seen::Closed(3, 4));
    }
    assert_eq!(bench.plane.counters().lingers_cut, 0);
    assert_eq!(bench.plane.counters().closes_abrupt, 0);
    // A close without last bytes does not linger.
    let mut client = installed(&mut bench, &listener, 3);
    bench.turn(0);
    bench.plane.close(3, None);
    bench.until_seen(Seen::Closed(3, 4));
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn those_that_linger_share_few_buffers() {
    const CONNECTIONS: u32 = 60;
    let mut bench = Bench::new(PlaneConfig {
        linger: FOR_GOOD,
        lingering_max: CONNECTIONS as usize,
        buffers: 4,
        buffer_bytes: 128,
        ..small()
    });
    let listener = std_listener();
    let mut clients: Vec<_> = (0..CONNECTIONS)
        .map(|slot| installed(&mut bench, &listener, slot))
        .collect();
    for slot in 0..CONNECTIONS {
        close_saying(&mut bench, slot, b"bye");
    }
    bench.until("all linger", |bench| {
        bench.plane.lingering() == CONNECTIONS as usize
    });
    let before = bench.plane.counters().buffers_exhausted;
    for client in &mut clients {
        client.write_all(&pattern(5000, 1)).unwrap();
    }
    bench.until("everything thrown away", |bench| {
        bench.plane.counters().bytes_thrown_away == u64::from(CONNECTIONS) * 5000
    });
    assert!(bench.plane.counters().buffers_exhausted > before);
    for client in &mut clients {
        assert_reads_and_ends(client, b"bye");
    }
    drop(clients);
    bench.until("all closed", |bench| closed(bench) == CONNECTIONS as usize);
}

#[test]
fn a_shutdown_waits_for_nobody() {
    let mut bench = lingering(FOR_GOOD);
    let listener = std_listener();
    let mut clients: Vec<_> = (0..40)
        .map(|slot| installed(&mut bench, &listener, slot))
        .collect();
    let (refused, server) = pair(&listener);
    let refused_number = bench.plane.handshake_begin(server);
    bench.plane.handshake_refuse(refused_number, b"bye");
    clients.push(refused);
    for slot in 0..10 {
        close_saying(&mut bench, slot, b"bye");
    }
    bench.until("lingering", |bench| bench.plane.lingering() == 11);
    // Some on their way, some later.
    for slot in 10..20 {
        close_saying(&mut bench, slot, b"bye");
    }
    bench.turn(0);
    bench.plane.hasten();
    assert_eq!(bench.plane.lingering(), 0);
    for slot in 20..40 {
        close_saying(&mut bench, slot, b"bye");
    }
    bench.until("all closed", |bench| closed(bench) == 40);
    for client in &mut clients {
        assert_reads_and_ends(client, b"bye");
    }
}

#[test]
fn a_refused_client_that_goes_on_writing_reads_why() {
    let mut bench = lingering(FOR_GOOD);
    let listener = std_listener();
    for round in 0..20 {
        let (mut client, server) = pair(&listener);
        let handshake = bench.plane.handshake_begin(server);
        if round % 2 == 0 {
            bench.plane.handshake_receive(handshake);
            bench.turn(0);
        } else {
            client.write_all(b"unread").unwrap();
        }
        bench.plane.handshake_refuse(handshake, b"no");
        for _ in 0..20 {
            client.write_all(&pattern(300, round)).unwrap();
            bench.turn(0);
        }
        assert_reads_and_ends(&mut client, b"no");
        assert_eq!(bench.plane.lingering(), 1);
        if round % 4 == 0 {
            reset_on_drop(&client);
        }
        drop(client);
        bench.until("its end", |bench| bench.plane.lingering() == 0);
        assert!(handshake < 2, "numbers come back");
    }
    assert_eq!(bench.plane.counters().lingers_cut, 0);
}

#[test]
fn a_receive_of_a_refused_client_takes_nothing_from_the_next_owner_of_its_descriptor() {
    let mut bench = lingering(FOR_GOOD);
    let listener = std_listener();
    for round in 0..50 {
        let (_refused, server) = pair(&listener);
        let handshake = bench.plane.handshake_begin(server);
        bench.plane.handshake_receive(handshake);
        bench.plane.handshake_refuse(handshake, b"");
        let (mut client, server) = pair(&listener);
        let mut server = TcpStream::from(server);
        server.write_all(&pattern(10, round)).unwrap();
        client.write_all(&pattern(10, round)).unwrap();
        bench.turn(0);
        bench.turn(0);
        assert_eq!(read_exactly(&mut client, 10), pattern(10, round));
        assert_eq!(read_exactly(&mut server, 10), pattern(10, round));
        assert!(bench.handshakes.is_empty());
    }
}

#[test]
fn refused_clients_linger_in_bounded_number_and_time() {
    let mut bench = lingering(Duration::from_millis(100));
    let listener = std_listener();
    let mut clients: Vec<_> = (0..REFUSED_LINGERING_MAX + 10)
        .map(|_| {
            let (client, server) = pair(&listener);
            let handshake = bench.plane.handshake_begin(server);
            bench.plane.handshake_refuse(handshake, b"no");
            assert!(bench.plane.lingering() <= REFUSED_LINGERING_MAX);
            client
        })
        .collect();
    assert!(bench.plane.counters().lingers_cut >= 10);
    bench.until("all cut", |bench| bench.plane.lingering() == 0);
    for client in &mut clients {
        assert_reads_and_ends(client, b"no");
    }
}

#[test]
fn a_client_that_reads_nothing_times_out() {
    let mut bench = lingering(FOR_GOOD);
    let config = ListenerConfig {
        address: "127.0.0.1:0".parse().unwrap(),
        backlog: 16,
        nodelay: true,
        send_timeout: Duration::from_millis(300),
    };
    let (address, mut listeners) = listener::bind(&config, 1).unwrap();
    bench.plane.listen(0, listeners.pop().unwrap());
    let _client = connect(address);
    bench.until("accepted", |bench| !bench.accepted.is_empty());
    let fd = bench.accepted.pop().unwrap();
    bench.plane.install(2, 3, fd, Outgoing::default());
    block(&mut bench, 2);
    let ends = |seen: &&Seen| matches!(seen, Seen::Ended(..) | Seen::SendFailed(..));
    bench.until("an end", |bench| bench.seen.iter().any(|seen| ends(&seen)));
    // Whichever of the two operations in the kernel is told first.
    let first = bench.seen.iter().find(ends).unwrap();
    assert!(matches!(
        first,
        Seen::Ended(2, libc::ETIMEDOUT) | Seen::SendFailed(2, libc::ETIMEDOUT)
    ));
}
