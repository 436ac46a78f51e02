//! Retained messages at scale: what a look-up costs with few and with many messages stored, whether
//! `#` gets all of them exactly once, and what a stream of other messages notices of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::cli::RetainedArgs;
use crate::client::{Client, Error, Options};
use crate::clock::Clock;
use crate::codec::{Ack, Connect, Packet, Publish, Subscribe, SubscriptionOptions, Version};
use crate::environment::Environment;
use crate::failure::Failure;
use crate::histogram::Times;
use crate::probe::Probe;
use crate::results::{HarnessFigures, Report};
use crate::sys;

/// Messages that are on their way to be stored at most.
const STORE_WINDOW: usize = 500;
/// Messages that match the leaf pattern.
const LEAF_MATCHES: usize = 10;
/// How long a step may take.
const STEP: Duration = Duration::from_secs(120);
/// After the last expected message further ones are waited for so long.
const TAIL: Duration = Duration::from_millis(300);
/// Topic of the stream; it is not retained.
const STREAM_TOPIC: &str = "stream/x";

/// Runs the scenario.
///
/// # Errors
/// A broker that does not do what the run needs.
pub fn run(args: &RetainedArgs) -> Result<Report, Failure> {
    if args.few < LEAF_MATCHES || args.many < args.few {
        return Failure::usage("--few is at least 10 and at most --many");
    }
    let environment = Environment::read();
    let target = args.common.target_address()?;
    let probe = Probe::find(args.common.broker_pid, &target);
    let bench = Bench { args, target };
    let cpu_before = sys::own_cpu();
    let clock = Clock::start();
    let mut measured = Map::new();

    bench.store(0, args.few, false)?;
    let few = bench.leaf_rounds()?;
    bench.store(args.few, args.many, false)?;
    let many = bench.leaf_rounds()?;
    let (few_us, many_us) = (median_us(&few), median_us(&many));
    put(&mut measured, "retained_few", json!(args.few));
    put(&mut measured, "retained_many", json!(args.many));
    put(&mut measured, "leaf_few_us", json!(rounded_us(&few)));
    put(&mut measured, "leaf_many_us", json!(rounded_us(&many)));
    put(&mut measured, "leaf_few_us_median", json!(few_us));
    put(&mut measured, "leaf_many_us_median", json!(many_us));
    let ratio = many_us / few_us.max(0.001);
    put(
        &mut measured,
        "leaf_ratio",
        json!((ratio * 1000.0).round() / 1000.0),
    );

    let stream = bench.stream_alone_and_beside(clock, &mut measured)?;
    if !args.keep {
        bench.store(0, args.many, true)?;
    }
    let own_cpu = sys::own_cpu().saturating_sub(cpu_before).as_secs_f64();
    let harness = HarnessFigures::new(3, &stream, own_cpu);
    let mut report = Report::new(
        &args.common,
        "retained",
        environment,
        probe,
        harness,
        measured,
    );
    report.judge("leaf_ratio", "<=", args.max_leaf_ratio);
    report.judge("missing", "=", Some(0.0));
    report.judge("repeated", "=", Some(0.0));
    report.judge("foreign", "=", Some(0.0));
    report.judge("stream_p99_ratio", "<=", args.max_stream_ratio);
    Ok(report)
}

fn put(measured: &mut Map<String, Value>, name: &str, value: Value) {
    measured.insert(name.to_owned(), value);
}

/// The topic of a message: ten share their second but last level with nine others.
fn topic(number: usize) -> String {
    let (line, sensor) = (number / LEAF_MATCHES, number % LEAF_MATCHES);
    format!("tree/{}/{line}/{sensor}", line / 100)
}

/// A pattern with ten matches.
fn leaf_pattern(round: usize) -> String {
    format!("tree/0/{round}/+")
}

fn median_us(rounds: &[Duration]) -> f64 {
    let mut sorted = rounds.to_vec();
    sorted.sort_unstable();
    let middle = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    (middle.as_secs_f64() * 1e7).round() / 10.0
}

fn rounded_us(rounds: &[Duration]) -> Vec<u128> {
    rounds.iter().map(Duration::as_micros).collect()
}

/// What the `#` subscriber saw.
#[derive(Default)]
struct Seen {
    took: Duration,
    missing: usize,
    repeated: usize,
    foreign: usize,
}

struct Bench<'a> {
    args: &'a RetainedArgs,
    target: SocketAddr,
}

fn broken(what: &str) -> impl Fn(Error) -> Failure + '_ {
    move |error| Failure::Broker(format!("{what}: {error}"))
}

fn connect(target: SocketAddr, common: &crate::cli::Common, id: &str) -> Result<Client, Failure> {
    let version: Version = common.mqtt_version.into();
    let mut options = Options::new(version, id);
    options.timeout = STEP;
    options.connect = Connect {
        username: common.username.clone(),
        password: common.password.clone().map(String::into_bytes),
        ..options.connect
    };
    Client::connect(target, &options).map_err(broken("a client cannot connect"))
}

impl Bench<'_> {
    fn connect(&self, id: &str) -> Result<Client, Failure> {
        connect(self.target, &self.args.common, id)
    }

    /// Stores the messages `from..to`, or clears them.
    fn store(&self, from: usize, to: usize, clear: bool) -> Result<(), Failure> {
        let mut client = self.connect("retained-store")?;
        let version: Version = self.args.common.mqtt_version.into();
        let numbers: Vec<usize> = (from..to).collect();
        for batch in numbers.chunks(STORE_WINDOW) {
            let mut bytes = Vec::new();
            for number in batch {
                let publish = Publish {
                    qos: 1,
                    retain: true,
                    topic: topic(*number),
                    packet_id: Some(client.packet_id()),
                    payload: if clear {
                        Vec::new()
                    } else {
                        vec![b'r'; self.args.size]
                    },
                    ..Publish::default()
                };
                bytes.extend(Packet::Publish(publish).to_bytes(version));
            }
            client
                .send_raw(&bytes)
                .map_err(broken("a message cannot be stored"))?;
            for _ in batch {
                match client.expect(STEP).map_err(broken("no PUBACK"))? {
                    Packet::PubAck(ack) if ack.code < 0x80 => {}
                    other => return Err(Failure::Broker(format!("not a PUBACK: {other:?}"))),
                }
            }
        }
        Ok(())
    }

    /// Times from SUBSCRIBE to the last of ten messages; the first round, which warms up, is not
    /// among them.
    fn leaf_rounds(&self) -> Result<Vec<Duration>, Failure> {
        let mut rounds = Vec::new();
        for round in 0..=self.args.rounds {
            let mut client = self.connect(&format!("retained-leaf-{round}"))?;
            let pattern = leaf_pattern(round % (self.args.few / LEAF_MATCHES).min(100));
            let seen = self.collect(&mut client, &pattern, LEAF_MATCHES, false)?;
            if seen.missing + seen.repeated + seen.foreign > 0 {
                return Err(Failure::Broker(format!("{pattern} got something else")));
            }
            rounds.push(seen.took);
        }
        Ok(rounds.split_off(1))
    }

    /// Subscribes and reads until all is there, then a little longer.
    fn collect(
        &self,
        client: &mut Client,
        filter: &str,
        expected: usize,
        all: bool,
    ) -> Result<Seen, Failure> {
        let begun = Instant::now();
        let packet_id = client.packet_id();
        client
            .send(&Packet::Subscribe(Subscribe {
                packet_id,
                filters: vec![(filter.to_owned(), SubscriptionOptions::qos(self.args.qos))],
                ..Subscribe::default()
            }))
            .map_err(broken("SUBSCRIBE"))?;
        let mut topics = BTreeSet::new();
        let mut seen = Seen::default();
        // What one read brought is acknowledged by one write.
        let mut acks = Vec::new();
        loop {
            if !acks.is_empty() && !client.has_packet() {
                client.send_raw(&acks).map_err(broken("acknowledgements"))?;
                acks.clear();
            }
            let complete = topics.len() >= expected;
            let patience = if complete { TAIL } else { self.patience() };
            match client.expect(patience) {
                Ok(Packet::SubAck(ack)) if ack.codes.iter().all(|code| *code < 0x80) => {}
                Ok(Packet::Publish(publish)) => {
                    self.acknowledge(&publish, &mut acks);
                    // The stream comes to `#` as well.
                    if all && publish.topic == STREAM_TOPIC {
                        if complete && begun.elapsed() > seen.took + TAIL {
                            break;
                        }
                        continue;
                    }
                    if !publish.retain || !publish.topic.starts_with("tree/") {
                        seen.foreign += 1;
                    } else if !topics.insert(publish.topic) {
                        seen.repeated += 1;
                    }
                    if topics.len() == expected && seen.took.is_zero() {
                        seen.took = begun.elapsed();
                    }
                }
                Ok(other) => return Err(Failure::Broker(format!("{filter}: {other:?}"))),
                Err(Error::Timeout) => break,
                Err(error) => return Err(broken("while reading")(error)),
            }
        }
        seen.missing = expected.saturating_sub(topics.len());
        if seen.took.is_zero() {
            seen.took = begun.elapsed();
        }
        Ok(seen)
    }

    fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.args.drain)
    }

    fn acknowledge(&self, publish: &Publish, acks: &mut Vec<u8>) {
        let Some(packet_id) = publish.packet_id.filter(|_| publish.qos == 1) else {
            return;
        };
        let ack = Ack {
            packet_id,
            ..Ack::default()
        };
        acks.extend(Packet::PubAck(ack).to_bytes(self.args.common.mqtt_version.into()));
    }

    /// A stream of QoS 0 alone and as long beside subscribers to `#`, several times in turn, because
    /// what else the machine does comes and goes; the medians of the p99 are compared. Yields by how
    /// much the stream's publisher was behind its schedule.
    fn stream_alone_and_beside(
        &self,
        clock: Clock,
        measured: &mut Map<String, Value>,
    ) -> Result<Times, Failure> {
        let span = Duration::from_secs_f64(self.args.duration);
        let (mut alone, mut beside) = (Rounds::default(), Rounds::default());
        let mut sweeps = Vec::new();
        for _ in 0..self.args.rounds {
            let stream = Stream::start(self, clock)?;
            std::thread::sleep(span);
            alone.add(stream.stop()?);
            let stream = Stream::start(self, clock)?;
            let begun = Instant::now();
            while begun.elapsed() < span {
                let mut client = self.connect("retained-all")?;
                sweeps.push(self.collect(&mut client, "#", self.args.many, true)?);
            }
            beside.add(stream.stop()?);
        }
        let sum = |of: fn(&Seen) -> usize| json!(sweeps.iter().map(of).sum::<usize>());
        put(measured, "all_subscribers", json!(sweeps.len()));
        let times: Vec<_> = sweeps.iter().map(|seen| seen.took.as_millis()).collect();
        put(measured, "all_ms", json!(times));
        put(measured, "missing", sum(|seen| seen.missing));
        put(measured, "repeated", sum(|seen| seen.repeated));
        put(measured, "foreign", sum(|seen| seen.foreign));
        alone.write_to(measured, "stream_alone");
        beside.write_to(measured, "stream_beside");
        let ratio = beside.median_p99_us() / alone.median_p99_us().max(1.0);
        put(
            measured,
            "stream_p99_ratio",
            json!((ratio * 1000.0).round() / 1000.0),
        );
        alone.lag.add(&beside.lag);
        Ok(alone.lag)
    }
}

/// The stream's latencies, and by how much its publisher was behind its schedule, over all rounds.
struct Rounds {
    latency: Times,
    lag: Times,
    p99_us: Vec<u64>,
}

impl Default for Rounds {
    fn default() -> Self {
        Self {
            latency: Times::new(),
            lag: Times::new(),
            p99_us: Vec::new(),
        }
    }
}

impl Rounds {
    fn add(&mut self, (latency, lag): (Times, Times)) {
        self.p99_us.push(latency.us_at(99.0));
        self.latency.add(&latency);
        self.lag.add(&lag);
    }

    #[allow(clippy::cast_precision_loss)] // latencies are far below 2^52
    fn median_p99_us(&self) -> f64 {
        let mut sorted = self.p99_us.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or(0) as f64
    }

    fn write_to(&self, measured: &mut Map<String, Value>, name: &str) {
        self.latency.write_to(measured, name);
        let rounds = format!("{name}_us_p99_of_rounds");
        measured.insert(rounds, json!(self.p99_us));
    }
}

/// A publisher on a schedule and its subscriber.
struct Stream {
    stop: Arc<AtomicBool>,
    publisher: JoinHandle<Result<Times, Failure>>,
    subscriber: JoinHandle<Result<Times, Failure>>,
}

impl Stream {
    fn start(bench: &Bench<'_>, clock: Clock) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut reader = bench.connect("retained-stream-reader")?;
        reader
            .subscribe(STREAM_TOPIC, 0)
            .map_err(broken("the stream's SUBSCRIBE"))?;
        let mut writer = bench.connect("retained-stream-writer")?;
        let version: Version = bench.args.common.mqtt_version.into();
        let step = Duration::from_secs_f64(1.0 / bench.args.rate.max(1.0));
        let stopping = Arc::clone(&stop);
        let publisher = std::thread::spawn(move || {
            let mut lag = Times::new();
            let mut due = Instant::now();
            while !stopping.load(Ordering::Relaxed) {
                due += step;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let late = due.elapsed();
                lag.record_ns(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX));
                // Latency counts from when it was due.
                let late_ns = u64::try_from(late.as_nanos()).unwrap_or(0);
                let due_ns = clock.now_ns().saturating_sub(late_ns);
                let publish = Publish {
                    topic: STREAM_TOPIC.to_owned(),
                    payload: due_ns.to_be_bytes().to_vec(),
                    ..Publish::default()
                };
                writer
                    .send_raw(&Packet::Publish(publish).to_bytes(version))
                    .map_err(broken("the stream"))?;
            }
            Ok(lag)
        });
        let stopping = Arc::clone(&stop);
        let subscriber = std::thread::spawn(move || {
            let mut times = Times::new();
            loop {
                match reader.expect(Duration::from_millis(200)) {
                    Ok(Packet::Publish(publish)) => {
                        let sent = publish.payload.try_into().unwrap_or([0; 8]);
                        let sent_ns = u64::from_be_bytes(sent);
                        times.record_ns(clock.now_ns().saturating_sub(sent_ns));
                    }
                    Ok(other) => return Err(Failure::Broker(format!("the stream: {other:?}"))),
                    Err(Error::Timeout) if stopping.load(Ordering::Relaxed) => return Ok(times),
                    Err(Error::Timeout) => {}
                    Err(error) => return Err(broken("the stream's reader")(error)),
                }
            }
        });
        Ok(Self {
            stop,
            publisher,
            subscriber,
        })
    }

    /// Latencies, and the publisher's lag.
    fn stop(self) -> Result<(Times, Times), Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let joined = |handle: JoinHandle<Result<Times, Failure>>| {
            let result = handle.join();
            result.unwrap_or_else(|_| Err(Failure::Broker("a thread of the stream died".into())))
        };
        let lag = joined(self.publisher)?;
        Ok((joined(self.subscriber)?, lag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_pattern_has_ten_matches_and_no_topic_comes_twice() {
        let topics: BTreeSet<String> = (0..5_000).map(topic).collect();
        assert_eq!(topics.len(), 5_000);
        for round in [0, 7, 99] {
            let pattern = leaf_pattern(round);
            let prefix = pattern.trim_end_matches('+');
            let matches = topics.iter().filter(|topic| topic.starts_with(prefix));
            assert_eq!(matches.count(), LEAF_MATCHES);
        }
    }

    #[test]
    fn the_median_is_the_middle_one() {
        let rounds = [5, 1, 9, 3, 7].map(Duration::from_micros);
        assert!((median_us(&rounds) - 5.0).abs() < f64::EPSILON);
    }
}
