//! The door against real sockets, with a clock of the test's own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admission::ListenerShare;
use super::completion::{PlaneConfig, Wait};
use super::door::Door;
use super::front::{Front, ProxyFront, WebSocketFront};
use super::listener::{self, ListenerConfig};
use super::plane::Plane;
use super::transport::desk::{Adopted, Desk, Errand, Outcome};
use crate::base::envelope::{Envelope, EnvelopeEnd, PeerNames};
use crate::base::time::Now;
use crate::config::{AccessRule, Network};
use crate::metrics::Counter;
use crate::shard::Shard;
use crate::shard::close::CloseReason;
use crate::shard::rules::Rules;
use crate::ws::upgrade::WebSocketRules;

/// The longest that anything here may take.
const DEADLINE: Duration = Duration::from_secs(20);
const CONNECT: &[u8] = b"\x10\x0e\0\x04MQTT\x04\x02\x01\x2c\0\x02id";

struct Bench {
    plane: Plane,
    shard: Shard,
    door: Door,
    address: SocketAddr,
    now_ms: u64,
}

impl Bench {
    fn new(handshakes_max: usize) -> Self {
        let config = PlaneConfig {
            submissions: 64,
            completions: 256,
            buffers: 16,
            buffer_bytes: 512,
            slots: 64,
            linger: Duration::ZERO,
            lingering_max: 0,
        };
        let mut plane = Plane::new(&config).expect("this machine has io_uring");
        let shares = Arc::new([Front::plain(ListenerShare::new(None, None, None))]);
        let mut door = Door::new(shares, handshakes_max);
        let config = ListenerConfig {
            address: "127.0.0.1:0".parse().unwrap(),
            backlog: 16,
            nodelay: true,
            send_timeout: Duration::from_secs(15),
        };
        let (address, mut listeners) = listener::bind(&config, 1).unwrap();
        door.listen(&mut plane, 0, listeners.pop().unwrap());
        Self {
            plane,
            shard: Shard::for_tests(Rules::for_tests()),
            door,
            address,
            now_ms: 0,
        }
    }

    fn turn(&mut self) {
        let Self {
            plane, shard, door, ..
        } = self;
        shard.begin_turn(Now {
            ms: self.now_ms,
            unix_us: 0,
        });
        plane
            .turn(Wait::No, &mut |actions, completion| {
                door.on_completion(shard, actions, completion);
            })
            .expect("the ring works");
        door.expire(shard, plane);
    }

    /// Turns until the condition holds; the clock stands still.
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "no {what}");
            self.turn();
        }
    }

    fn client(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client
    }

    fn arrived(&self) -> u32 {
        self.shard.clients.connections.len()
    }
}

#[test]
fn at_the_limit_who_says_nothing_makes_room_for_others() {
    let mut bench = Bench::new(2);
    let mut silent = [bench.client(), bench.client()];
    bench.until("full door", |bench| bench.door.handshakes() == 2);
    let mut other = bench.client();
    other.write_all(CONNECT).unwrap();
    bench.now_ms = 1_900;
    assert_eq!(bench.door.next_due_ms(), Some(2_000));
    for _ in 0..100 {
        bench.turn();
    }
    assert_eq!((bench.door.handshakes(), bench.arrived()), (2, 0));
    bench.now_ms = 2_000;
    bench.until("client behind the limit", |bench| bench.arrived() == 1);
    assert_eq!(silent[0].read(&mut [0]).unwrap(), 0);
    assert_eq!(silent[1].read(&mut [0]).unwrap(), 0);
    let metrics = &bench.shard.clients.metrics;
    assert_eq!(metrics.count(Counter::AcceptRefusedHandshakes), 2);
}

#[test]
fn below_the_limit_a_handshake_has_the_whole_idle_timeout() {
    let mut bench = Bench::new(3);
    let _silent = [bench.client(), bench.client()];
    bench.until("two handshakes", |bench| bench.door.handshakes() == 2);
    assert_eq!(bench.door.next_due_ms(), Some(15_000));
    bench.now_ms = 14_999;
    for _ in 0..100 {
        bench.turn();
    }
    assert_eq!(bench.door.handshakes(), 2);
    bench.now_ms = 15_000;
    bench.until("end of both", |bench| bench.door.handshakes() == 0);
}

/// Every byte is one more on the wire than it is plain; a zero plain byte ends it.
struct OneMore;

impl Envelope for OneMore {
    fn receive(
        &mut self,
        wire: &[u8],
        plain: &mut Vec<u8>,
        reply: &mut Vec<u8>,
    ) -> Result<(), EnvelopeEnd> {
        for byte in wire {
            match byte.wrapping_sub(1) {
                b'!' => reply.push(b'?'),
                b'.' => return Err(EnvelopeEnd::Closed),
                byte => plain.push(byte),
            }
        }
        Ok(())
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) {
        wire.extend(plain.iter().map(|byte| byte.wrapping_add(1)));
    }

    fn close(&mut self, wire: &mut Vec<u8>) {
        wire.extend_from_slice(b"bye");
    }

    fn held_bytes(&self) -> usize {
        0
    }
}

/// Takes `room` sockets, gives each back with [`OneMore`] and the first bytes of its CONNECT.
struct TestDesk {
    room: usize,
    waiting: Vec<Errand>,
}

impl Desk for TestDesk {
    fn hand_in(&mut self, errand: Errand) -> Result<(), Errand> {
        if self.waiting.len() >= self.room {
            return Err(errand);
        }
        self.waiting.push(errand);
        Ok(())
    }

    fn hand_out(&mut self) -> Option<Outcome> {
        let errand = self.waiting.pop()?;
        if errand.peer.port() == 0 {
            return Some(Outcome::Failed(errand.listener, CloseReason::Malformed));
        }
        Some(Outcome::Done(Box::new(Adopted {
            fd: errand.fd,
            listener: errand.listener,
            peer: errand.peer,
            accepted_us: 7,
            envelope: Box::new(OneMore),
            plain: CONNECT[..4].to_vec(),
            peer_names: Some(Box::new(PeerNames {
                common_name: Some("device".into()),
                ..PeerNames::default()
            })),
        })))
    }

    fn has_work(&self) -> bool {
        !self.waiting.is_empty()
    }
}

fn wrapped(plain: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    OneMore.send(plain, &mut wire);
    wire
}

fn tls_bench(room: usize) -> Bench {
    let mut bench = bench_with(Front {
        tls: true,
        ..Front::plain(ListenerShare::new(None, None, None))
    });
    bench.door.set_desk(Box::new(TestDesk {
        room,
        waiting: Vec::new(),
    }));
    bench
}

#[test]
fn a_socket_comes_back_from_the_desk_with_an_envelope_and_goes_home_with_it() {
    let mut bench = tls_bench(1);
    let mut client = bench.client();
    bench.until("socket at the desk", |bench| bench.door.has_work());
    assert_eq!(bench.door.handshakes(), 1);
    let Bench {
        plane, shard, door, ..
    } = &mut bench;
    door.take_back(shard, plane);
    client.write_all(&wrapped(b"!")).unwrap();
    client.write_all(&wrapped(&CONNECT[4..])).unwrap();
    bench.until("client at home", |bench| bench.arrived() == 1);
    let mut pong = [0];
    client.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"?");
    let (_, socket) = bench.shard.clients.effects.install.pop().unwrap();
    assert!(socket.is_some_and(|socket| socket.envelope.is_some()));
    assert_eq!(bench.door.handshakes(), 0);
}

#[test]
fn a_refusal_goes_through_the_envelope_and_an_end_inside_it_ends_the_handshake() {
    for (sent, read) in [
        // A protocol level that there is not.
        (&b"\x09"[..], wrapped(b"\x20\x03\0\x84\0")),
        (&b"."[..], Vec::new()),
    ] {
        let mut bench = tls_bench(1);
        let mut client = bench.client();
        bench.until("socket at the desk", |bench| bench.door.has_work());
        let Bench {
            plane, shard, door, ..
        } = &mut bench;
        door.take_back(shard, plane);
        let mut rest = CONNECT[4..8].to_vec();
        rest.extend_from_slice(sent);
        rest.extend_from_slice(&CONNECT[9..]);
        client.write_all(&wrapped(&rest)).unwrap();
        bench.until("end", |bench| bench.door.handshakes() == 0);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, [read, b"bye".to_vec()].concat());
    }
}

#[test]
fn a_desk_without_room_refuses() {
    let mut bench = tls_bench(0);
    let mut client = bench.client();
    bench.until("accept", |bench| {
        bench
            .shard
            .clients
            .metrics
            .count(Counter::ShutdownServerBusy)
            == 1
    });
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!(bench.door.handshakes(), 0);
}

/// A door whose listener has this front.
fn bench_with(front: Front) -> Bench {
    let mut bench = Bench::new(8);
    let config = ListenerConfig {
        address: "127.0.0.1:0".parse().unwrap(),
        backlog: 16,
        nodelay: true,
        send_timeout: Duration::from_secs(15),
    };
    let (address, mut listeners) = listener::bind(&config, 1).unwrap();
    bench.plane.stop_accept(0);
    for _ in 0..3 {
        bench.plane.turn(Wait::No, &mut |_, _| {}).unwrap();
    }
    bench.door = Door::new(Arc::new([front]), 8);
    bench
        .door
        .listen(&mut bench.plane, 0, listeners.pop().unwrap());
    bench.address = address;
    bench
}

fn proxied() -> Front {
    Front {
        proxy: Some(ProxyFront {
            timeout_ms: 3_000,
            trusted: vec![Network::parse("127.0.0.0/8").unwrap()],
        }),
        access: vec![AccessRule {
            allow: false,
            network: Network::parse("192.0.2.0/24"),
        }],
        ..Front::plain(ListenerShare::new(None, None, None))
    }
}

fn websocket() -> Option<WebSocketFront> {
    Some(WebSocketFront {
        rules: Arc::new(WebSocketRules::default()),
        trusted: vec![Network::parse("127.0.0.0/8").unwrap()],
    })
}

const REQUEST: &[u8] =
    b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: mqtt\r\nX-Forwarded-For: 198.51.100.9\r\nX-Forwarded-Port: 99\r\n\r\n";

/// The peer's address as the home core has it, after these bytes and a CONNECT.
fn peer_after(front: Front, bytes: &[u8]) -> SocketAddr {
    let mut bench = bench_with(front);
    let mut client = bench.client();
    client.write_all(bytes).unwrap();
    bench.until("client at home", |bench| bench.arrived() == 1);
    let connection = bench.shard.clients.connections.at(0).unwrap();
    connection.peer.into()
}

#[test]
fn a_client_has_the_address_that_is_told() {
    let header = b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 1883\r\n";
    let told = peer_after(proxied(), &[header, CONNECT].concat());
    assert_eq!(told, "198.51.100.7:4711".parse().unwrap());

    let mut frame = vec![0x82, 0x80 | 16, 0, 0, 0, 0];
    frame.extend_from_slice(CONNECT);
    let front = Front {
        websocket: websocket(),
        ..Front::plain(ListenerShare::new(None, None, None))
    };
    let told = peer_after(front, &[REQUEST, &frame].concat());
    assert_eq!(told, "198.51.100.9:99".parse().unwrap());

    // The address in the PROXY header is none of those whose X-Forwarded-For is believed.
    let front = Front {
        websocket: websocket(),
        ..proxied()
    };
    let told = peer_after(front, &[header, REQUEST, &frame].concat());
    assert_eq!(told, "198.51.100.7:4711".parse().unwrap());
}

#[test]
fn what_is_wrong_with_a_proxy_header_is_counted() {
    for (bytes, counter) in [
        (&b"PROXY TCP4 nonsense\r\n"[..], Counter::ProxyMalformed),
        (CONNECT, Counter::ProxyMalformed),
        (
            b"PROXY TCP4 192.0.2.1 127.0.0.1 1 2\r\n",
            Counter::AcceptRefusedAccessRules,
        ),
    ] {
        let mut bench = bench_with(proxied());
        let mut client = bench.client();
        client.write_all(bytes).unwrap();
        bench.until("refusal", |bench| {
            bench.shard.clients.metrics.count(counter) == 1
        });
        assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
        assert_eq!(bench.door.handshakes(), 0);
    }
    let mut bench = bench_with(proxied());
    let mut client = bench.client();
    client.write_all(b"PROXY ").unwrap();
    bench.until("handshake", |bench| bench.door.handshakes() == 1);
    assert_eq!(bench.door.next_due_ms(), Some(3_000));
    bench.now_ms = 3_000;
    bench.until("end", |bench| bench.door.handshakes() == 0);
    let metrics = &bench.shard.clients.metrics;
    assert_eq!(metrics.count(Counter::ProxyTimeout), 1);
    let mut bench = bench_with(Front {
        proxy: Some(ProxyFront {
            timeout_ms: 3_000,
            trusted: Vec::new(),
        }),
        ..proxied()
    });
    let mut client = bench.client();
    bench.until("refusal", |bench| {
        let metrics = &bench.shard.clients.metrics;
        metrics.count(Counter::AcceptRefusedProxy) == 1
    });
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn a_tls_socket_goes_to_the_desk_behind_its_proxy_header() {
    let mut bench = bench_with(Front {
        tls: true,
        ..proxied()
    });
    bench.door.set_desk(Box::new(TestDesk {
        room: 1,
        waiting: Vec::new(),
    }));
    let mut client = bench.client();
    client
        .write_all(b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 8883\r\n")
        .unwrap();
    bench.until("socket at the desk", |bench| bench.door.has_work());
    let Bench {
        plane, shard, door, ..
    } = &mut bench;
    door.take_back(shard, plane);
    client.write_all(&wrapped(&CONNECT[4..])).unwrap();
    bench.until("client at home", |bench| bench.arrived() == 1);
    let connection = bench.shard.clients.connections.at(0).unwrap();
    let peer: SocketAddr = connection.peer.into();
    assert_eq!(peer, "198.51.100.7:4711".parse().unwrap());
}
