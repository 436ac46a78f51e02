//! Who publishes where, who subscribes to what, and who is expected to get it.

use std::net::SocketAddr;

use crate::cli::{OverlapCopies, PubsubArgs, Topology};
use crate::clock::Clock;
use crate::codec::{Connect, Packet, Properties, Property, Version};
use crate::failure::Failure;
use crate::load::{self, CONNECTIONS_PER_WORKER_MAX, Sources};
use crate::payload::{COMPACT_HEADER_BYTES, FULL_HEADER_BYTES, Format};

/// Messages a publisher by default, when no duration is given either.
const MESSAGES_DEFAULT: u64 = 10_000;
const WINDOW_DEFAULT: u32 = 100;
/// An MQTT packet holds less than 256 MiB.
const SIZE_MAX: usize = 256 * 1024 * 1024 - 1024;

/// When messages are sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Schedule {
    /// Each publisher's messages are due at this interval, whatever the broker does.
    Open { interval_ns: f64 },
    /// Each publisher has at most this many on their way.
    Closed { window: u64 },
}

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Publisher(usize),
    Subscriber(usize),
    SlowSubscriber(usize),
    Churner(usize),
}

/// The run as all workers know it.
pub(super) struct Plan {
    pub(super) clock: Clock,
    pub(super) target: SocketAddr,
    pub(super) sources: Sources,
    pub(super) version: Version,
    pub(super) run: u32,
    pub(super) topology: Topology,
    plus: bool,
    pub(super) publishers: usize,
    pub(super) subscribers: usize,
    pub(super) slow_subscribers: usize,
    pub(super) churners: usize,
    pub(super) churn_interval_ns: f64,
    pub(super) qos: u8,
    pub(super) sub_qos: u8,
    pub(super) retain: bool,
    pub(super) overlap_copies: OverlapCopies,
    pub(super) format: Format,
    pub(super) schedule: Schedule,
    /// Messages a publisher.
    pub(super) messages: u64,
    pub(super) duration_ns: u64,
    pub(super) stall_ns: u64,
    /// From the start, no subscriber reads for so long.
    pub(super) pause_ns: u64,
    pub(super) in_flight_max: usize,
    pub(super) connect_timeout_ns: u64,
    pub(super) connect_interval_ns: f64,
    pub(super) workers: usize,
    topics: Vec<String>,
    connect: Connect,
}

impl Plan {
    pub(super) fn new(args: &PubsubArgs) -> Result<Self, Failure> {
        check(args)?;
        let target = args.common.target_address()?;
        let run = load::random_u32();
        let churners = if args.churn > 0.0 {
            args.churn_connections.max(1)
        } else {
            0
        };
        let connections = args.publishers + args.subscribers + args.slow_subscribers + churners;
        let schedule = match args.rate {
            Some(rate) => Schedule::Open {
                interval_ns: 1e9 / rate,
            },
            None => Schedule::Closed {
                window: u64::from(args.window.unwrap_or(WINDOW_DEFAULT)),
            },
        };
        let format = Format::new(run, args.size);
        let in_flight_max = args.window.unwrap_or(args.max_in_flight).min(65_535);
        let plan = Self {
            clock: Clock::start(),
            target,
            sources: Sources::new(&args.common, &target, connections),
            version: args.common.mqtt_version.into(),
            run,
            topology: args.topology,
            plus: args.plus,
            publishers: args.publishers,
            subscribers: args.subscribers,
            slow_subscribers: args.slow_subscribers,
            churners,
            churn_interval_ns: if churners > 0 { 1e9 / args.churn } else { 0.0 },
            qos: args.qos,
            sub_qos: args.sub_qos.unwrap_or(args.qos),
            retain: args.retain,
            overlap_copies: args.overlap_copies,
            format,
            schedule,
            messages: messages(args, format),
            duration_ns: args.duration.map_or(u64::MAX, seconds_ns),
            stall_ns: seconds_ns(args.stall),
            pause_ns: seconds_ns(args.pause_subscribers),
            in_flight_max: in_flight_max as usize,
            connect_timeout_ns: args.common.connect_timeout.saturating_mul(1_000_000_000),
            connect_interval_ns: 1e9 / args.connect_rate,
            workers: load::worker_count(&args.common, connections)?,
            topics: topics(args, run),
            connect: connect(args),
        };
        plan.check_placement()?;
        Ok(plan)
    }

    fn check_placement(&self) -> Result<(), Failure> {
        if self.publishers as u64 > self.format.publishers_max() {
            return Failure::usage("that many publishers need messages of at least 32 bytes");
        }
        let most = (0..self.workers)
            .map(|worker| self.parts_of(worker).len())
            .max()
            .unwrap_or(0);
        if most > CONNECTIONS_PER_WORKER_MAX {
            return Failure::usage(format!(
                "one worker would hold {most} connections, at most {CONNECTIONS_PER_WORKER_MAX} \
                 fit; a shared group has to fit into one"
            ));
        }
        Ok(())
    }

    /// The connections of one worker. Pairs stay together, so that a window opens without waking
    /// another thread; a shared group stays together, since its members' deliveries are judged as
    /// one stream.
    pub(super) fn parts_of(&self, worker: usize) -> Vec<Part> {
        let mine = |part: Part| self.worker_of(part) == worker;
        let subscribers = (0..self.subscribers).map(Part::Subscriber);
        let slow = (0..self.slow_subscribers).map(Part::SlowSubscriber);
        let churners = (0..self.churners).map(Part::Churner);
        let publishers = (0..self.publishers).map(Part::Publisher);
        subscribers
            .chain(slow)
            .chain(churners)
            .chain(publishers)
            .filter(|p| mine(*p))
            .collect()
    }

    pub(super) fn worker_of(&self, part: Part) -> usize {
        match (self.topology, part) {
            (Topology::Pairs | Topology::Wildcard, Part::Publisher(p)) => {
                p % self.subscribers % self.workers
            }
            (Topology::Shared, Part::Subscriber(_)) => 0,
            (_, Part::Publisher(n) | Part::Subscriber(n)) => n % self.workers,
            (_, Part::SlowSubscriber(n) | Part::Churner(n)) => n % self.workers,
        }
    }

    pub(super) fn topic(&self, publisher: usize) -> &str {
        &self.topics[publisher]
    }

    /// Deliveries expected of one message.
    pub(super) fn fan(&self, publisher: usize) -> u64 {
        let fan = match self.topology {
            Topology::Pairs | Topology::Wildcard if self.publishers >= self.subscribers => 1,
            Topology::Pairs | Topology::Wildcard => {
                (self.subscribers - publisher).div_ceil(self.publishers)
            }
            Topology::FanIn | Topology::FanOut => self.subscribers,
            Topology::Shared => 1,
        };
        fan as u64
    }

    /// Streams a subscriber follows.
    pub(super) fn streams(&self, subscriber: usize) -> usize {
        match self.topology {
            Topology::Pairs | Topology::Wildcard if self.publishers >= self.subscribers => {
                (self.publishers - subscriber).div_ceil(self.subscribers)
            }
            Topology::Pairs | Topology::Wildcard => 1,
            _ => self.publishers,
        }
    }

    /// Which of a subscriber's streams a publisher's messages are; none when it gets none.
    #[inline]
    pub(super) fn stream_index(&self, subscriber: usize, publisher: usize) -> Option<usize> {
        match self.topology {
            Topology::Pairs | Topology::Wildcard if self.publishers >= self.subscribers => {
                (publisher % self.subscribers == subscriber).then(|| publisher / self.subscribers)
            }
            Topology::Pairs | Topology::Wildcard => {
                (subscriber % self.publishers == publisher).then_some(0)
            }
            _ => Some(publisher),
        }
    }

    /// The publisher of a subscriber's stream: the inverse of [`Plan::stream_index`].
    pub(super) fn publisher_of_stream(&self, subscriber: usize, stream: usize) -> usize {
        match self.topology {
            Topology::Pairs | Topology::Wildcard if self.publishers >= self.subscribers => {
                stream * self.subscribers + subscriber
            }
            Topology::Pairs | Topology::Wildcard => subscriber % self.publishers,
            _ => stream,
        }
    }

    /// The filters of a subscriber.
    pub(super) fn filters(&self, subscriber: usize) -> Vec<String> {
        let run = self.run;
        let publishers =
            (0..self.streams(subscriber)).map(|n| self.publisher_of_stream(subscriber, n));
        match self.topology {
            Topology::FanIn => vec![self.topics[0].clone()],
            Topology::Shared => vec![format!("$share/bench-{run:08x}/bench/{run:08x}/+")],
            Topology::Wildcard => publishers
                .flat_map(|p| {
                    let exact = self.topics[p].clone();
                    let multi = format!("bench/{run:08x}/{p}/#");
                    let plus = format!("+/{run:08x}/{p}");
                    [exact, multi, plus, format!("bench/+/{p}")]
                })
                .collect(),
            Topology::Pairs | Topology::FanOut if self.plus => {
                publishers.map(|p| format!("bench/+/{p}")).collect()
            }
            Topology::Pairs | Topology::FanOut => {
                publishers.map(|p| self.topics[p].clone()).collect()
            }
        }
    }

    /// Filters that match one message of a subscriber's stream.
    pub(super) fn overlap(&self) -> u64 {
        if self.topology == Topology::Wildcard {
            4
        } else {
            1
        }
    }

    /// The filter of a churner's `number`-th subscription: one in four matches real traffic, the
    /// others share its levels or its shape.
    pub(super) fn churn_filter(&self, number: u64) -> String {
        let run = self.run;
        let p = usize::try_from(number / 4).unwrap_or(0) % self.publishers;
        match number % 4 {
            0 => format!("bench/{run:08x}/{p}/#"),
            1 => format!("bench/{run:08x}/{p}/+/{}", number % 1000),
            2 => format!("bench/{run:08x}/churn/{}", number % 1000),
            _ => format!("+/{run:08x}/{p}/x{}/#", number % 1000),
        }
    }

    /// The CONNECT of a connection.
    pub(super) fn connect_packet(&self, part: Part) -> Packet {
        let mut connect = self.connect.clone();
        let run = self.run;
        connect.client_id = match part {
            Part::Publisher(n) => format!("bench-{run:08x}-p{n}"),
            Part::Subscriber(n) => format!("bench-{run:08x}-s{n}"),
            Part::SlowSubscriber(n) => format!("bench-{run:08x}-z{n}"),
            Part::Churner(n) => format!("bench-{run:08x}-c{n}"),
        };
        Packet::Connect(connect)
    }

    /// When a publisher's message is due on an open schedule: the publishers take turns.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A time in ns is positive.
    #[inline]
    pub(super) fn due_ns(&self, interval_ns: f64, publisher: usize, sequence: u64) -> u64 {
        let phase = publisher as f64 / self.publishers as f64;
        ((sequence as f64 + phase) * interval_ns) as u64
    }
}

fn check(args: &PubsubArgs) -> Result<(), Failure> {
    if args.publishers == 0 || args.subscribers == 0 {
        return Failure::usage("at least one publisher and one subscriber");
    }
    if args.size < COMPACT_HEADER_BYTES || args.size > SIZE_MAX {
        return Failure::usage(format!(
            "--size must be {COMPACT_HEADER_BYTES} to {SIZE_MAX} bytes; from \
             {FULL_HEADER_BYTES} on messages carry the full header"
        ));
    }
    if args.window == Some(0) || args.max_in_flight == 0 || args.messages == Some(0) {
        return Failure::usage("windows and numbers of messages must be at least 1");
    }
    let positive = |value: f64| value.is_finite() && value > 0.0;
    if args.rate.is_some_and(|rate| !positive(rate)) || !positive(args.connect_rate) {
        return Failure::usage("rates must be above 0");
    }
    if args.churn < 0.0 || args.drain < 0.0 || args.stall < 0.0 || args.pause_subscribers < 0.0 {
        return Failure::usage("times and rates must not be negative");
    }
    Ok(())
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Saturates, as wanted.
fn messages(args: &PubsubArgs, format: Format) -> u64 {
    let by_duration = match (args.duration, args.rate) {
        (Some(duration), Some(rate)) => (duration * rate).round() as u64,
        (Some(_), None) => u64::MAX,
        (None, _) => args.messages.unwrap_or(MESSAGES_DEFAULT),
    };
    by_duration
        .min(args.messages.unwrap_or(u64::MAX))
        .min(format.messages_max())
}

fn topics(args: &PubsubArgs, run: u32) -> Vec<String> {
    let topic = |publisher: usize| match args.topology {
        Topology::FanIn => format!("bench/{run:08x}/all"),
        _ => format!("bench/{run:08x}/{publisher}"),
    };
    (0..args.publishers).map(topic).collect()
}

fn connect(args: &PubsubArgs) -> Connect {
    let mut connect = Connect::new(args.common.mqtt_version.into(), "");
    connect.keep_alive_s = args.keep_alive;
    connect.username.clone_from(&args.common.username);
    connect.password = args
        .common
        .password
        .as_ref()
        .map(|p| p.clone().into_bytes());
    if let Some(maximum) = args.receive_maximum {
        connect.properties = Properties(vec![Property::ReceiveMaximum(maximum)]);
    }
    connect
}

pub(super) fn seconds_ns(seconds: f64) -> u64 {
    std::time::Duration::try_from_secs_f64(seconds).map_or(u64::MAX, |d| {
        u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn plan(line: &str) -> Plan {
        let words = ["bench-harness", "pubsub"]
            .into_iter()
            .chain(line.split_whitespace());
        match Cli::parse_from(words).command {
            Command::Pubsub(args) => Plan::new(&args).unwrap(),
            _ => panic!("not pubsub"),
        }
    }

    /// Every topology: fans, streams and their inverse agree, and each filter set covers its
    /// streams.
    #[test]
    fn expectations_are_consistent() {
        for topology in ["pairs", "fan-in", "fan-out", "shared", "wildcard"] {
            for (p, s) in [(1, 1), (3, 7), (7, 3), (10, 10), (1, 5), (5, 1)] {
                let plan = plan(&format!("-p {p} -s {s} --topology {topology} --workers 2"));
                let mut deliveries = vec![0u64; p];
                for subscriber in 0..s {
                    for stream in 0..plan.streams(subscriber) {
                        let publisher = plan.publisher_of_stream(subscriber, stream);
                        assert_eq!(plan.stream_index(subscriber, publisher), Some(stream));
                        deliveries[publisher] += 1;
                    }
                    assert!(!plan.filters(subscriber).is_empty());
                }
                for (publisher, deliveries) in deliveries.iter().enumerate() {
                    let fan = if topology == "shared" {
                        s as u64
                    } else {
                        plan.fan(publisher)
                    };
                    assert_eq!(*deliveries, fan, "{topology} {p} {s}");
                }
            }
        }
    }

    #[test]
    fn every_connection_has_one_worker() {
        let plan = plan("-p 7 -s 3 --slow-subscribers 2 --churn 5 --workers 3");
        let total: usize = (0..3).map(|w| plan.parts_of(w).len()).sum();
        assert_eq!(total, 7 + 3 + 2 + 4);
    }
}
