//! `refuse`: what those who are connected notice while others are refused.
//!
//! Clients that are connected ask for a PINGRESP on a schedule, in phases of equal length: alone, beside
//! bare TCP connects at a rate, beside an attack at the same rate, and alone again. An attack is a failed
//! login, a full TLS handshake, or a crowd of sockets that say little or nothing.

mod attack;
mod victims;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::cli::{Common, TlsVersionArg};
use crate::clock::Clock;
use crate::codec::Version;
use crate::environment::Environment;
use crate::failure::{Context, Failure};
use crate::histogram::Times;
use crate::load::Sources;
use crate::probe::Probe;
use crate::progress::Progress;
use crate::results::{HarnessFigures, Report};
use crate::sys;
use attack::{Attackers, Count, Kind};
use victims::{Pings, Victims};

/// Each step down of `--find-rate` tries so much of the rate before.
const STEP_DOWN: f64 = 0.7;

/// Options of `refuse`.
#[derive(Args, Clone, Debug)]
pub struct RefuseArgs {
    /// Options of every sub-command. User name and password are the connected clients' own.
    #[command(flatten)]
    pub common: Common,
    /// What is done beside them.
    #[arg(long, value_enum)]
    pub attack: AttackArg,
    /// Where it is done, if not at the target; for TLS.
    #[arg(long, value_name = "HOST:PORT")]
    pub attack_target: Option<String>,
    /// Logins or handshakes a second, on a schedule that waits for nobody.
    #[arg(long, short, default_value_t = 1000.0)]
    pub rate: f64,
    /// Threads that do them; each does one at a time.
    #[arg(long, default_value_t = 32)]
    pub attackers: usize,
    /// Sockets that are held, for `silent`, `slow` and `half-tls`.
    #[arg(long, default_value_t = 1000)]
    pub sockets: usize,
    /// The user name of failed logins.
    #[arg(long, default_value = "mallory")]
    pub attack_username: String,
    /// The password of failed logins.
    #[arg(long, default_value = "wrong")]
    pub attack_password: String,
    /// The server name that is asked for, with TLS.
    #[arg(long, default_value = "localhost")]
    pub tls_server: String,
    /// TLS version.
    #[arg(long, value_enum, default_value = "1.3")]
    pub tls_version: TlsVersionArg,
    /// Clients that are connected.
    #[arg(long, short = 'n', default_value_t = 200)]
    pub clients: usize,
    /// Their PINGREQs a second, of all together.
    #[arg(long, default_value_t = 500.0)]
    pub ping_rate: f64,
    /// Threads that send them.
    #[arg(long, default_value_t = 2)]
    pub ping_threads: usize,
    /// Seconds of each phase.
    #[arg(long, short, default_value_t = 10.0)]
    pub duration: f64,
    /// If the limit of --max-p99-ratio does not hold at the rate, lower ones are tried, so many times.
    #[arg(long, default_value_t = 0)]
    pub find_rate: u32,
    /// Verdict: p99 beside the attack is so many times that alone, at most.
    #[arg(long)]
    pub max_p99_ratio: Option<f64>,
    /// Verdict: p99 beside the attack is so many times that beside bare connects, at most.
    #[arg(long)]
    pub max_p99_ratio_bare: Option<f64>,
    /// Verdict: PINGREQs without an answer, and connected clients that were cut.
    #[arg(long)]
    pub max_lost: Option<f64>,
    /// Verdict: logins or handshakes a second that were answered, at least.
    #[arg(long)]
    pub min_answered_rate: Option<f64>,
}

/// Kinds of attacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AttackArg {
    /// Logins with a wrong password.
    Logins,
    /// Full TLS handshakes, then nothing.
    Handshakes,
    /// Sockets that say nothing.
    Silent,
    /// Sockets that send a CONNECT byte by byte.
    Slow,
    /// Sockets that send half of a ClientHello.
    HalfTls,
}

/// What one phase has shown.
struct Phase {
    name: &'static str,
    rate: f64,
    pings: Pings,
    count: Count,
    seconds: f64,
    broker_cpu: Option<Duration>,
}

impl Phase {
    fn p99(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "microseconds")]
        let us = self.pings.latency.us_at(99.0) as f64;
        us
    }

    fn write_to(&self, measured: &mut Map<String, Value>) {
        let name = self.name;
        let mut put = |field: &str, value: Value| {
            measured.insert(format!("{name}_{field}"), value);
        };
        put("rate", json!(rounded(self.rate)));
        put("attempts", json!(self.count.attempts));
        put("answered", json!(self.count.answered));
        put("failed", json!(self.count.failed));
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let answered = self.count.answered as f64 / self.seconds;
        put("answered_per_second", json!(rounded(answered)));
        put("open_at_end", json!(self.count.open));
        put("pings_lost", json!(self.pings.lost));
        if let Some(cpu) = self.broker_cpu {
            put("broker_cpu_seconds", json!(rounded(cpu.as_secs_f64())));
        }
        self.pings
            .latency
            .write_to(measured, &format!("{name}_ping"));
        if self.count.latency.count() > 0 {
            self.count
                .latency
                .write_to(measured, &format!("{name}_answer"));
        }
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// What a run consists of.
struct Run<'a> {
    args: &'a RefuseArgs,
    target: SocketAddr,
    attack_target: SocketAddr,
    clock: Clock,
    probe: Option<Probe>,
    victims: Victims,
    progress: Progress,
}

/// Runs the phases and judges them.
///
/// # Errors
/// Options that cannot be met; clients that cannot connect.
pub fn run(args: &RefuseArgs) -> Result<Report, Failure> {
    let environment = Environment::read();
    let target = args.common.target_address()?;
    check(args)?;
    let attack_target = match &args.attack_target {
        None => target,
        Some(name) => Common {
            target: name.clone(),
            ..args.common.clone()
        }
        .target_address()?,
    };
    let own_cpu_before = sys::own_cpu();
    let mut run = Run {
        args,
        target,
        attack_target,
        clock: Clock::start(),
        probe: Probe::find(args.common.broker_pid, &target),
        victims: Victims::connect(args, &target)?,
        progress: Progress::new(args.common.quiet),
    };
    let mut phases = vec![run.phase("alone", None, 0.0)?];
    run.phase_of_attack(&mut phases)?;
    phases.push(run.phase("after", None, 0.0)?);
    run.progress.finish();
    let mut lag = Times::new();
    let mut measured = Map::new();
    for phase in &phases {
        phase.write_to(&mut measured);
        lag.add(&phase.pings.lag);
    }
    summarize(args, &phases, &mut measured);
    let own_cpu = sys::own_cpu().saturating_sub(own_cpu_before).as_secs_f64();
    let threads = args.ping_threads + args.attackers;
    let harness = HarnessFigures::new(threads, &lag, own_cpu);
    let scenario = "refuse";
    let mut report = Report::new(
        &args.common,
        scenario,
        environment,
        run.probe,
        harness,
        measured,
    );
    report.judge("p99_ratio", "<=", args.max_p99_ratio);
    report.judge("p99_ratio_bare", "<=", args.max_p99_ratio_bare);
    report.judge("lost", "<=", args.max_lost);
    report.judge("attack_answered_per_second", ">=", args.min_answered_rate);
    Ok(report)
}

fn check(args: &RefuseArgs) -> Result<(), Failure> {
    let positive = args.rate > 0.0 && args.ping_rate > 0.0 && args.duration > 0.0;
    let some = args.clients > 0 && args.attackers > 0 && args.ping_threads > 0;
    if !positive || !some || args.clients < args.ping_threads {
        return Failure::usage("rates, times and numbers of threads and clients must be positive");
    }
    Ok(())
}

/// The ratios, and the numbers of all phases together.
fn summarize(args: &RefuseArgs, phases: &[Phase], measured: &mut Map<String, Value>) {
    let of = |name: &str| phases.iter().find(|phase| phase.name == name);
    let lost: u64 = phases.iter().map(|phase| phase.pings.lost).sum();
    measured.insert("lost".to_owned(), json!(lost));
    let Some((alone, attack)) = of("alone").zip(of("attack")) else {
        return;
    };
    let mut ratio = |name: &str, other: &Phase| {
        measured.insert(
            name.to_owned(),
            json!(rounded(attack.p99() / other.p99().max(1.0))),
        );
    };
    ratio("p99_ratio", alone);
    if let Some(bare) = of("bare") {
        ratio("p99_ratio_bare", bare);
    }
    if args.find_rate > 0 {
        let holds = args
            .max_p99_ratio
            .is_none_or(|most| attack.p99() / alone.p99().max(1.0) <= most);
        let rate = if holds {
            json!(rounded(attack.rate))
        } else {
            Value::Null
        };
        measured.insert("rate_that_holds".to_owned(), rate);
    }
}

impl Run<'_> {
    /// The phases of bare connects and of the attack, at lower rates if that is wished.
    fn phase_of_attack(&mut self, phases: &mut Vec<Phase>) -> Result<(), Failure> {
        let kind = self.kind()?;
        let mut rate = self.args.rate;
        for step in 0..=self.args.find_rate {
            phases.retain(|phase| phase.name == "alone");
            if !kind.holds_sockets() {
                phases.push(self.phase("bare", Some(Kind::Bare), rate)?);
            }
            phases.push(self.phase("attack", Some(kind.clone()), rate)?);
            let (first, last) = (phases.first(), phases.last());
            let ratio = first
                .zip(last)
                .map_or(0.0, |(alone, attack)| attack.p99() / alone.p99().max(1.0));
            let holds = self.args.max_p99_ratio.is_none_or(|most| ratio <= most);
            if holds || step == self.args.find_rate {
                break;
            }
            rate *= STEP_DOWN;
        }
        Ok(())
    }

    fn kind(&self) -> Result<Kind, Failure> {
        let args = self.args;
        Ok(match args.attack {
            AttackArg::Logins => Kind::login(
                Version::from(args.common.mqtt_version),
                &args.attack_username,
                &args.attack_password,
            ),
            AttackArg::Handshakes => {
                Kind::handshake(&args.tls_server, args.tls_version).map_err(Failure::Usage)?
            }
            AttackArg::Silent => Kind::Held(Vec::new(), false),
            AttackArg::Slow => Kind::slow(),
            AttackArg::HalfTls => Kind::half_tls(),
        })
    }

    /// Pings for the time of a phase, beside something or nothing.
    fn phase(
        &mut self,
        name: &'static str,
        kind: Option<Kind>,
        rate: f64,
    ) -> Result<Phase, Failure> {
        let args = self.args;
        self.progress.tick(|| format!("{name}, {rate:.0} a second"));
        let stop = Arc::new(AtomicBool::new(false));
        let target = match kind {
            Some(Kind::Bare) | None => self.target,
            Some(_) => self.attack_target,
        };
        let attackers = kind
            .map(|kind| {
                let sources = Sources::new(&args.common, &target, args.sockets);
                let timeout = Duration::from_secs(args.common.connect_timeout);
                let plan = attack::Plan {
                    kind,
                    target,
                    sources,
                    rate,
                    threads: args.attackers,
                    sockets: args.sockets,
                    timeout,
                    clock: self.clock,
                };
                Attackers::start(plan, &stop)
            })
            .transpose()
            .context("cannot start the attack")?;
        // What is held has to be there before it is judged what others notice of it.
        if let Some(attackers) = &attackers {
            attackers.await_ready();
        }
        let cpu_before = self.probe.and_then(Probe::cpu);
        let begun_ns = self.clock.now_ns();
        let pings = self.victims.ping(args, self.clock, args.duration)?;
        let seconds = Duration::from_nanos(self.clock.now_ns() - begun_ns).as_secs_f64();
        let cpu_after = self.probe.and_then(Probe::cpu);
        stop.store(true, Ordering::Relaxed);
        let count = attackers.map_or_else(Count::new, Attackers::join);
        // What is refused late must not be the next phase's.
        thread::sleep(Duration::from_millis(500));
        Ok(Phase {
            name,
            rate,
            pings,
            count,
            seconds,
            broker_cpu: cpu_after
                .zip(cpu_before)
                .map(|(after, before)| after.since(&before)),
        })
    }
}
