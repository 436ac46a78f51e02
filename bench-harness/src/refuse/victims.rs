//! Those who are connected and want to be served.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use super::RefuseArgs;
use crate::client::{Client, Options};
use crate::clock::Clock;
use crate::codec::Version;
use crate::failure::Failure;
use crate::histogram::Times;

const PINGREQ: [u8; 2] = [0xC0, 0];
const PINGRESP: [u8; 2] = [0xD0, 0];

/// Connected clients, some for each thread.
pub(super) struct Victims {
    shares: Vec<Vec<Client>>,
}

/// What their pings have shown.
pub(super) struct Pings {
    pub(super) latency: Times,
    /// How much later than due they were sent.
    pub(super) lag: Times,
    /// Without an answer.
    pub(super) lost: u64,
}

impl Pings {
    fn new() -> Self {
        Self {
            latency: Times::new(),
            lag: Times::new(),
            lost: 0,
        }
    }
}

impl Victims {
    /// Connects them all.
    pub(super) fn connect(args: &RefuseArgs, target: &SocketAddr) -> Result<Self, Failure> {
        let mut shares: Vec<Vec<Client>> = (0..args.ping_threads).map(|_| Vec::new()).collect();
        for number in 0..args.clients {
            let version = Version::from(args.common.mqtt_version);
            let mut options = Options::new(version, &format!("victim-{number}"));
            options.timeout = Duration::from_secs(args.common.connect_timeout);
            options.connect.username = args.common.username.clone();
            let password = args.common.password.as_ref();
            options.connect.password = password.map(|text| text.clone().into_bytes());
            let client = Client::connect(*target, &options)
                .map_err(|why| Failure::Broker(format!("a client cannot connect: {why}")))?;
            let share = number % shares.len();
            shares[share].push(client);
        }
        Ok(Self { shares })
    }

    /// Sends PINGREQs on a schedule for so many seconds. A client that does not answer is given up.
    pub(super) fn ping(
        &mut self,
        args: &RefuseArgs,
        clock: Clock,
        seconds: f64,
    ) -> Result<Pings, Failure> {
        let threads = self.shares.len();
        #[expect(clippy::cast_precision_loss, reason = "few threads")]
        let interval_s = threads as f64 / args.ping_rate;
        let begin_ns = clock.now_ns();
        let end_ns = begin_ns + nanos(seconds);
        let timeout = Duration::from_secs(args.common.connect_timeout);
        let parts = thread::scope(|scope| {
            let handles: Vec<_> = self
                .shares
                .iter_mut()
                .map(|share| {
                    scope.spawn(move || {
                        ping_in_turn(share, clock, (begin_ns, end_ns), nanos(interval_s), timeout)
                    })
                })
                .collect();
            handles
                .into_iter()
                .map(thread::ScopedJoinHandle::join)
                .collect::<Vec<_>>()
        });
        let mut all = Pings::new();
        for part in parts {
            let part = part.map_err(|_| Failure::Broker("a thread panicked".to_owned()))?;
            all.latency.add(&part.latency);
            all.lag.add(&part.lag);
            all.lost += part.lost;
        }
        Ok(all)
    }
}

fn nanos(seconds: f64) -> u64 {
    u64::try_from(Duration::from_secs_f64(seconds).as_nanos()).unwrap_or(u64::MAX)
}

/// One thread's share, each client in its turn. Latency counts from when a ping was due; who is late
/// because the one before was answered late is so by the broker.
fn ping_in_turn(
    share: &mut Vec<Client>,
    clock: Clock,
    (begin_ns, end_ns): (u64, u64),
    interval_ns: u64,
    timeout: Duration,
) -> Pings {
    let mut pings = Pings::new();
    let mut due_ns = begin_ns;
    let mut turn = 0;
    while due_ns < end_ns && !share.is_empty() {
        let wait = clock.until(due_ns, Duration::MAX);
        if !wait.is_zero() {
            thread::sleep(wait);
            let late_ns = clock.now_ns().saturating_sub(due_ns);
            pings.lag.record_ns(late_ns);
        }
        turn %= share.len();
        if answered(share[turn].stream(), timeout) {
            pings.latency.record_ns(clock.now_ns() - due_ns);
            turn += 1;
        } else {
            pings.lost += 1;
            share.swap_remove(turn);
        }
        due_ns += interval_ns;
    }
    pings
}

fn answered(mut stream: &TcpStream, timeout: Duration) -> bool {
    let mut answer = [0; 2];
    let asked = stream
        .set_read_timeout(Some(timeout))
        .and_then(|()| stream.write_all(&PINGREQ))
        .and_then(|()| stream.read_exact(&mut answer));
    asked.is_ok() && answer == PINGRESP
}
