//! The connection plane against real sockets on the loopback interface.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use super::completion::{Completion, PlaneConfig, Wait};
use super::listener::{self, ListenerConfig};
use super::plane::{Actions, Plane};
use super::socket;
use super::wake::Wakers;
use crate::base::wake_flag::WakeFlag;
use crate::mqtt::message::{Message, Publication, PublisherRef};
use crate::mqtt::qos::QoS;
use crate::shard::outgoing::Outgoing;

/// The longest that anything here may take.
const DEADLINE: Duration = Duration::from_secs(20);

pub(super) fn small() -> PlaneConfig {
    PlaneConfig {
        submissions: 64,
        completions: 256,
        buffers: 16,
        buffer_bytes: 512,
        slots: 1024,
        linger: Duration::ZERO,
        lingering_max: 16,
    }
}

fn plane(config: PlaneConfig) -> Plane {
    Plane::new(&config).expect("this machine has io_uring and enough descriptors")
}

/// What a plane reported, owned.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(super) enum Seen {
    Ended(u32, i32),
    Drained(u32),
    SendFailed(u32, i32),
    Paused(u32),
    Closed(u32, u32),
    Woken,
    AcceptStopped,
    HandshakeEnded(u32, i32),
}

/// A plane, what it reported, and the bytes of each slot and handshake.
pub(super) struct Bench {
    pub(super) plane: Plane,
    pub(super) seen: Vec<Seen>,
    pub(super) accepted: Vec<OwnedFd>,
    received: HashMap<u32, Vec<u8>>,
    generations: HashMap<u32, u32>,
    pub(super) handshakes: HashMap<u32, Vec<u8>>,
    flag: WakeFlag,
}

impl Bench {
    pub(super) fn new(config: PlaneConfig) -> Self {
        Self {
            plane: plane(config),
            seen: Vec::new(),
            accepted: Vec::new(),
            received: HashMap::new(),
            generations: HashMap::new(),
            handshakes: HashMap::new(),
            flag: WakeFlag::default(),
        }
    }

    pub(super) fn turn(&mut self, wait_ms: u64) {
        let Self {
            plane,
            seen,
            accepted,
            received,
            generations,
            handshakes,
            flag,
        } = self;
        let wait = match wait_ms {
            0 => Wait::No,
            ms => Wait::AtMost {
                timeout: Duration::from_millis(ms),
                asleep: flag,
            },
        };
        let mut on = |_: &mut Actions, completion: Completion<'_>| match completion {
            Completion::Accepted { fd, .. } => accepted.push(fd),
            Completion::AcceptFailed { errno, .. } => panic!("accept failed: {errno}"),
            Completion::AcceptStopped { .. } => seen.push(Seen::AcceptStopped),
            Completion::HandshakeBytes { handshake, bytes } => {
                handshakes
                    .entry(handshake)
                    .or_default()
                    .extend_from_slice(bytes);
            }
            Completion::HandshakeEnded { handshake, errno } => {
                seen.push(Seen::HandshakeEnded(handshake, errno));
            }
            Completion::Received {
                slot,
                generation,
                bytes,
                ..
            } => {
                generations.insert(slot, generation);
                received.entry(slot).or_default().extend_from_slice(bytes);
            }
            Completion::Ended { slot, errno, .. } => seen.push(Seen::Ended(slot, errno)),
            Completion::Drained { slot, .. } => seen.push(Seen::Drained(slot)),
            Completion::SendFailed { slot, errno, .. } => seen.push(Seen::SendFailed(slot, errno)),
            Completion::ReceivePaused { slot, .. } => seen.push(Seen::Paused(slot)),
            Completion::Closed { slot, generation } => seen.push(Seen::Closed(slot, generation)),
            Completion::Woken => seen.push(Seen::Woken),
        };
        plane.turn(wait, &mut on).expect("the ring works");
    }

    /// Turns until the condition holds.
    pub(super) fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "no {what}; seen {:?}", self.seen);
            self.turn(5);
        }
    }

    pub(super) fn until_seen(&mut self, wanted: Seen) {
        let text = format!("{wanted:?}");
        self.until(&text, |bench| bench.seen.contains(&wanted));
        self.seen.retain(|seen| *seen != wanted);
    }

    fn bytes_of(&self, slot: u32) -> &[u8] {
        self.received.get(&slot).map_or(&[], |bytes| bytes)
    }

    pub(super) fn send(&mut self, slot: u32, bytes: &[u8]) {
        let mut out = self.plane.buffer();
        out.bytes.extend_from_slice(bytes);
        self.plane.send(slot, out);
    }

    fn close_slot(&mut self, slot: u32, generation: u32) {
        self.plane.close(slot, None);
        self.until_seen(Seen::Closed(slot, generation));
        self.received.remove(&slot);
    }
}

fn listen(bench: &mut Bench) -> SocketAddr {
    let config = ListenerConfig {
        address: "127.0.0.1:0".parse().unwrap(),
        backlog: 128,
        nodelay: true,
        send_timeout: Duration::from_secs(15),
    };
    let (address, mut listeners) = listener::bind(&config, 1).unwrap();
    bench.plane.listen(0, listeners.pop().unwrap());
    address
}

pub(super) fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.set_write_timeout(Some(DEADLINE)).unwrap();
    client.set_nodelay(true).unwrap();
    client
}

/// A client that has said something: accepting waits for that.
fn connect_and_speak(address: SocketAddr) -> TcpStream {
    let mut client = connect(address);
    client.write_all(b"x").unwrap();
    client
}

/// A client and our end of it.
pub(super) fn pair(listener: &std::net::TcpListener) -> (TcpStream, OwnedFd) {
    let client = connect(listener.local_addr().unwrap());
    let (server, _) = listener.accept().unwrap();
    server.set_nodelay(true).unwrap();
    (client, server.into())
}

pub(super) fn std_listener() -> std::net::TcpListener {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap()
}

/// A client at home in `slot`.
pub(super) fn installed(
    bench: &mut Bench,
    listener: &std::net::TcpListener,
    slot: u32,
) -> TcpStream {
    let (client, server) = pair(listener);
    bench
        .plane
        .install(slot, slot + 1, server, Outgoing::default());
    client
}

pub(super) fn read_exactly(client: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    client.read_exact(&mut bytes).unwrap();
    bytes
}

/// Resets instead of ending when dropped.
pub(super) fn reset_on_drop(client: &TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let len = libc::socklen_t::try_from(size_of::<libc::linger>()).unwrap();
    #[allow(unsafe_code)]
    // SAFETY: the option's value is a live local of the length given.
    let set = unsafe {
        libc::setsockopt(
            client.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            len,
        )
    };
    assert_eq!(set, 0);
}

/// Bytes that differ from place to place.
pub(super) fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len)
        .map(|at| u8::try_from((at * 31 + at / 251 + seed * 7) % 256).unwrap())
        .collect()
}

#[test]
fn from_accept_over_a_hand_over_to_echo_and_end() {
    let mut entry = Bench::new(small());
    let mut home = Bench::new(small());
    let address = listen(&mut entry);
    let mut client = connect(address);
    client.write_all(b"CONNECT").unwrap();

    entry.until("accepted", |bench| !bench.accepted.is_empty());
    let fd = entry.accepted.pop().unwrap();
    let handshake = entry.plane.handshake_begin(fd);
    let peer = socket::peer_address(entry.plane.handshake_fd(handshake)).unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    entry.plane.handshake_receive(handshake);
    entry.until("CONNECT", |bench| bench.handshakes.contains_key(&handshake));
    assert_eq!(entry.handshakes[&handshake], b"CONNECT");

    let fd = entry.plane.handshake_take(handshake);
    client.write_all(b"early").unwrap();
    let mut first = home.plane.buffer();
    first.bytes.extend_from_slice(b"CONNACK");
    home.plane.install(5, 0x0100_0007, fd, first);
    home.until("early bytes", |bench| bench.bytes_of(5).len() == 5);
    assert_eq!(home.bytes_of(5), b"early");
    assert_eq!(home.generations[&5], 7, "the generation is cut to 24 bits");
    home.send(5, b"one ");
    home.send(5, b"two");
    home.turn(0);
    assert_eq!(read_exactly(&mut client, 14), b"CONNACKone two");

    client.shutdown(Shutdown::Write).unwrap();
    home.until_seen(Seen::Ended(5, 0));
    home.send(5, b"last words");
    home.turn(0);
    assert_eq!(read_exactly(&mut client, 10), b"last words");
    home.close_slot(5, 7);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!(home.plane.counters().sends, 3);
    assert_eq!(home.plane.counters().bytes_out, 24);
}

#[test]
fn a_reset_is_reported_and_the_slot_comes_back() {
    let mut bench = Bench::new(small());
    let listener = std_listener();
    for round in 0..3 {
        let client = installed(&mut bench, &listener, 1);
        bench.turn(0);
        reset_on_drop(&client);
        drop(client);
        bench.until_seen(Seen::Ended(1, libc::ECONNRESET));
        bench.send(1, b"into the void");
        bench.until("send failure", |bench| {
            bench
                .seen
                .iter()
                .any(|seen| matches!(seen, Seen::SendFailed(1, libc::EPIPE)))
        });
        bench.seen.clear();
        bench.close_slot(1, 2);
        assert!(round < 3);
    }
}

#[test]
fn the_last_packet_and_an_end_arrive_although_bytes_lie_unread() {
    let mut bench = Bench::new(small());
    let listener = std_listener();
    for _ in 0..50 {
        let mut client = installed(&mut bench, &listener, 3);
        bench.turn(0);
        bench.plane.pause_receive(3);
        bench.until_seen(Seen::Paused(3));
        client.write_all(b"nobody reads this").unwrap();
        let last = Outgoing {
            bytes: b"bye!".to_vec(),
            shared: Vec::new(),
        };
        bench.plane.close(3, Some(last));
        bench.until_seen(Seen::Closed(3, 4));
        assert_eq!(read_exactly(&mut client, 4), b"bye!");
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    assert_eq!(bench.plane.counters().closes_abrupt, 0);
}

#[test]
fn a_close_without_last_words_ends_an_armed_connection() {
    let mut bench = Bench::new(small());
    let listener = std_listener();
    let mut client = installed(&mut bench, &listener, 0);
    bench.turn(0);
    bench.close_slot(0, 1);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);

    // Installed and closed in the same turn.
    let mut client = installed(&mut bench, &listener, 0);
    bench.close_slot(0, 1);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

/// Sends until the socket is full.
pub(super) fn block(bench: &mut Bench, slot: u32) -> usize {
    let piece = pattern(256 * 1024, 1);
    let mut given = 0;
    for _ in 0..200 {
        if bench.plane.is_blocked(slot) {
            return given;
        }
        bench.send(slot, &piece);
        given += piece.len();
        bench.turn(0);
    }
    panic!("a socket took {given} bytes that nobody reads");
}

#[test]
fn a_blocked_connection_is_cut_off_by_a_close() {
    let mut bench = Bench::new(small());
    let listener = std_listener();
    for round in 0..5 {
        let mut client = installed(&mut bench, &listener, 2);
        let given = block(&mut bench, 2);
        if round % 2 == 0 {
            bench.turn(1);
        }
        let last = Outgoing {
            bytes: b"unsaid".to_vec(),
            shared: Vec::new(),
        };
        bench.plane.close(2, Some(last));
        bench.until_seen(Seen::Closed(2, 3));
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert!(rest.len() < given);
    }
    assert!(bench.plane.counters().bytes_cut > 0);
}

fn message(payload: &[u8]) -> Message {
    Message::from_publication(&Publication {
        topic: "t",
        payload,
        properties: &[],
        qos: QoS::AtMostOnce,
        retain: false,
        received_us: 0,
        expires_us: None,
        publisher: PublisherRef::BROKER,
    })
}

#[test]
fn a_reader_that_stops_and_goes_on_gets_every_byte() {
    const ROUNDS: usize = 120;
    let mut bench = Bench::new(small());
    let listener = std_listener();
    let mut client = installed(&mut bench, &listener, 9);
    let shared = message(&pattern(60_000, 3));
    let mut expected = Vec::new();
    let mut got = Vec::new();
    let mut drained = 0;
    for round in 0..ROUNDS {
        let mut out = bench.plane.buffer();
        for piece in 0..4 {
            let own = pattern(100 + round * piece, round);
            out.bytes.extend_from_slice(&own);
            expected.extend_from_slice(&own);
            if round % 3 != 0 {
                let until = u32::try_from(20_000 + round * 300).unwrap();
                out.push_shared(shared.clone(), 17..until);
                expected.extend_from_slice(&shared.record()[17..until as usize]);
            }
        }
        bench.plane.send(9, out);
        bench.turn(0);
        while bench.plane.is_blocked(9) {
            let mut bytes = vec![0; 100_000];
            let read = client.read(&mut bytes).unwrap();
            got.extend_from_slice(&bytes[..read]);
            bench.turn(1);
        }
        drained += bench
            .seen
            .iter()
            .filter(|seen| **seen == Seen::Drained(9))
            .count();
        bench.seen.clear();
    }
    bench.plane.close(9, None);
    let reader = std::thread::spawn(move || {
        client.read_to_end(&mut got).unwrap();
        got
    });
    bench.until_seen(Seen::Closed(9, 10));
    let got = reader.join().unwrap();
    assert!(drained > 0, "the socket never was full");
    assert_eq!(got.len(), expected.len());
    assert!(got == expected, "bytes arrived changed or out of order");
    assert_eq!(bench.plane.counters().bytes_out, expected.len() as u64);
    assert_eq!(shared.shares(), 1);
}

#[test]
fn many_connections_share_few_buffers_without_loss() {
    const CONNECTIONS: u32 = 100;
    const MESSAGES: usize = 40;
    let config = PlaneConfig {
        buffers: 4,
        buffer_bytes: 128,
        completions: 64,
        ..small()
    };
    let mut bench = Bench::new(config);
    let listener = std_listener();
    let mut clients: Vec<_> = (0..CONNECTIONS)
        .map(|slot| installed(&mut bench, &listener, slot))
        .collect();
    let handshake = {
        let (mut client, server) = pair(&listener);
        client.write_all(b"hello").unwrap();
        clients.push(client);
        bench.plane.handshake_begin(server)
    };
    for message in 0..MESSAGES {
        for (slot, client) in clients.iter_mut().take(CONNECTIONS as usize).enumerate() {
            client.write_all(&pattern(100, slot + message)).unwrap();
        }
        if message == MESSAGES / 2 {
            bench.plane.handshake_receive(handshake);
        }
        bench.turn(0);
    }
    bench.until("all bytes", |bench| {
        (0..CONNECTIONS).all(|slot| bench.bytes_of(slot).len() == MESSAGES * 100)
            && bench.handshakes.contains_key(&handshake)
    });
    for slot in 0..CONNECTIONS {
        let expected: Vec<_> = (0..MESSAGES)
            .flat_map(|m| pattern(100, slot as usize + m))
            .collect();
        assert!(
            bench.bytes_of(slot) == expected,
            "slot {slot} got other bytes"
        );
    }
    assert!(
        bench.plane.counters().buffers_exhausted > 0,
        "the test did not reach its subject"
    );
    // Closing works for those that starve as well.
    for (slot, client) in clients.iter_mut().take(CONNECTIONS as usize).enumerate() {
        client.write_all(&pattern(5000, slot)).unwrap();
    }
    bench.turn(0);
    for slot in 0..CONNECTIONS {
        bench.plane.close(slot, None);
    }
    bench.until("all closed", |bench| {
        bench
            .seen
            .iter()
            .filter(|seen| matches!(seen, Seen::Closed(..)))
            .count()
            == 100
    });
}

#[test]
fn a_slot_that_changes_hands_never_mixes_its_owners() {
    let mut bench = Bench::new(small());
    let listener = std_listener();
    for round in 0..400_u32 {
        let (mut client, server) = pair(&listener);
        let mut first = bench.plane.buffer();
        first.bytes.extend_from_slice(&round.to_le_bytes());
        bench.plane.install(7, round, server, first);
        let question = pattern(40, round as usize);
        client.write_all(&question).unwrap();
        bench.until("question", |bench| {
            bench.bytes_of(7).len() == question.len()
        });
        assert_eq!(bench.bytes_of(7), question);
        assert_eq!(bench.generations[&7], round);
        match round % 4 {
            0 => drop(client.write_all(b"late bytes of the old owner")),
            1 => client.shutdown(Shutdown::Both).unwrap(),
            2 => reset_on_drop(&client),
            _ => assert_eq!(read_exactly(&mut client, 4), round.to_le_bytes()),
        }
        if round % 4 == 2 {
            drop(client);
        }
        bench.close_slot(7, round);
        bench.seen.clear();
    }
}

#[test]
fn more_sends_than_the_submission_queue_has_entries() {
    const CONNECTIONS: u32 = 150;
    let config = PlaneConfig {
        submissions: 8,
        completions: 16,
        ..small()
    };
    let mut bench = Bench::new(config);
    let listener = std_listener();
    let mut clients: Vec<_> = (0..CONNECTIONS)
        .map(|slot| installed(&mut bench, &listener, slot))
        .collect();
    for round in 0..20 {
        for slot in 0..CONNECTIONS {
            bench.send(slot, &pattern(64, slot as usize + round));
            bench.send(slot, b"+");
        }
        bench.turn(0);
    }
    bench.turn(0);
    for (slot, client) in clients.iter_mut().enumerate() {
        for round in 0..20 {
            let mut expected = pattern(64, slot + round);
            expected.push(b'+');
            assert!(
                read_exactly(client, 65) == expected,
                "slot {slot}, round {round}"
            );
        }
    }
    assert!(bench.plane.counters().submission_queue_full > 0);
    // And as many closes.
    for slot in 0..CONNECTIONS {
        let last = Outgoing {
            bytes: b"bye".to_vec(),
            shared: Vec::new(),
        };
        bench.plane.close(slot, Some(last));
    }
    bench.until("all closed", |bench| {
        bench
            .seen
            .iter()
            .filter(|seen| matches!(seen, Seen::Closed(..)))
            .count()
            == CONNECTIONS as usize
    });
    for client in &mut clients {
        assert_eq!(read_exactly(client, 3), b"bye");
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn receiving_pauses_and_goes_on() {
    let mut bench = Bench::new(small());
    let listener = std_listener();
    let mut client = installed(&mut bench, &listener, 4);
    bench.turn(0);
    for round in 1..50_usize {
        bench.plane.pause_receive(4);
        if round % 3 == 0 {
            // Taken back before the kernel has seen it, or while it is on its way.
            bench.plane.resume_receive(4);
            bench.plane.pause_receive(4);
        }
        bench.until_seen(Seen::Paused(4));
        client.write_all(b"x").unwrap();
        bench.turn(0);
        assert_eq!(
            bench.bytes_of(4).len(),
            round - 1,
            "bytes came while it was paused"
        );
        bench.plane.resume_receive(4);
        bench.until("the byte", |bench| bench.bytes_of(4).len() == round);
        bench.plane.pause_receive(4);
        bench.plane.resume_receive(4);
        bench.seen.clear();
    }
    bench.turn(1);
    bench.close_slot(4, 5);
}

#[test]
fn accepting_pauses_goes_on_and_stops_with_an_empty_queue() {
    let mut bench = Bench::new(small());
    let address = listen(&mut bench);
    let _first = connect(address);
    bench.until("accepted", |bench| bench.accepted.len() == 1);
    bench.plane.pause_accept(0);
    bench.turn(1);
    bench.turn(1);
    let _second = connect_and_speak(address);
    bench.turn(1);
    assert_eq!(bench.accepted.len(), 1, "accepted while it was paused");
    bench.plane.resume_accept(0);
    bench.until("accepted after the pause", |bench| {
        bench.accepted.len() == 2
    });

    bench.plane.pause_accept(0);
    bench.turn(1);
    let waiting: Vec<_> = (0..10).map(|_| connect_and_speak(address)).collect();
    bench.plane.stop_accept(0);
    bench.until_seen(Seen::AcceptStopped);
    assert_eq!(bench.accepted.len(), 2 + waiting.len());
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn an_armed_accept_stops_too() {
    let mut bench = Bench::new(small());
    let address = listen(&mut bench);
    bench.turn(0);
    let _waiting: Vec<_> = (0..10).map(|_| connect_and_speak(address)).collect();
    bench.plane.stop_accept(0);
    bench.plane.stop_accept(0);
    bench.until_seen(Seen::AcceptStopped);
    assert_eq!(bench.accepted.len(), 10);
}

#[test]
fn a_refused_handshake_gets_its_last_bytes_and_an_end() {
    let mut bench = Bench::new(small());
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
        bench.turn(1);
        assert_eq!(read_exactly(&mut client, 2), b"no");
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        assert!(handshake < 2, "numbers come back");
    }
    let (client, server) = pair(&listener);
    let handshake = bench.plane.handshake_begin(server);
    bench.plane.handshake_receive(handshake);
    drop(client);
    bench.until_seen(Seen::HandshakeEnded(handshake, 0));
    bench.plane.handshake_refuse(handshake, b"");
}

#[test]
fn a_sleeping_plane_is_woken_by_a_core_and_by_another_thread() {
    let wakers = Wakers::new(2).unwrap();
    let mut bench = Bench::new(small());
    let mut other = Bench::new(small());
    wakers.join(0, &mut bench.plane).unwrap();
    wakers.join(1, &mut other.plane).unwrap();
    bench.turn(0);
    for _ in 0..5 {
        assert!(!wakers.wake_from_core(&mut other.plane, 0), "nobody sleeps");
        wakers.flag(0).prepare_sleep();
        assert!(wakers.wake_from_core(&mut other.plane, 0));
        assert!(!wakers.wake_from_outside(0), "one wake a sleep");
        other.turn(0);
        bench.until_seen(Seen::Woken);

        wakers.flag(0).prepare_sleep();
        let from_outside = wakers.clone();
        std::thread::spawn(move || assert!(from_outside.wake_from_outside(0)))
            .join()
            .unwrap();
        bench.until_seen(Seen::Woken);
    }
}

#[test]
fn a_plane_may_be_dropped_with_everything_in_flight() {
    let listener = std_listener();
    let mut bench = Bench::new(small());
    listen(&mut bench);
    let mut client = installed(&mut bench, &listener, 1);
    let _idle = installed(&mut bench, &listener, 2);
    let (_handshaking, server) = pair(&listener);
    let handshake = bench.plane.handshake_begin(server);
    bench.plane.handshake_receive(handshake);
    block(&mut bench, 1);
    drop(bench);
    let mut rest = Vec::new();
    // An end or a reset, but no hang.
    drop(client.read_to_end(&mut rest));
}

#[test]
fn a_table_that_the_machine_refuses_is_named() {
    let config = PlaneConfig {
        slots: u32::MAX,
        ..small()
    };
    let error = Plane::new(&config)
        .err()
        .expect("no machine has so many descriptors");
    assert!(error.to_string().contains("direct descriptors"), "{error}");
}
