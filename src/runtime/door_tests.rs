//! The door against real sockets, with a clock of the test's own.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::admission::ListenerShare;
use super::completion::{PlaneConfig, Wait};
use super::door::Door;
use super::listener::{self, ListenerConfig};
use super::plane::Plane;
use crate::base::time::Now;
use crate::metrics::Counter;
use crate::shard::Shard;
use crate::shard::rules::Rules;

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
        let shares = Arc::new([ListenerShare::new(None, None)]);
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
