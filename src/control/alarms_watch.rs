//! Looks every now and then for what should worry an operator, and raises or ends alarms.
//!
//! What comes and goes quickly is no alarm: a condition has to be there at two checks in a row.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use x509_parser::parse_x509_certificate;

use crate::base::ids::CoreId;
use crate::config::{Config, Sysmon};
use crate::control::context::Context;
use crate::control::machine::Machine;
use crate::control::{alarms, clock};
use crate::gate::manage::Manage;
use crate::metrics::Counter;

/// Checks in a row at which a condition must be there.
const CHECKS_IN_A_ROW: u32 = 2;
/// What is dropped for want of room.
const DROPS: &[Counter] = &[
    Counter::DeliveryDroppedQueueFull,
    Counter::DeliveryDroppedOutQueueFull,
    Counter::DeliveryDroppedMemory,
];

/// What was found about one alarm.
#[derive(Debug, Clone, PartialEq)]
enum Finding {
    /// It is so.
    Bad(String, Value),
    /// Neither: an alarm that is there stays.
    Between,
    /// It is not so.
    Good,
}

/// Checks from now on. Call it within the runtime.
pub fn start(context: &Arc<Context>) {
    let settings = context.config.observe.sysmon.clone();
    let Some(every) = settings.check_interval else {
        return;
    };
    let context = Arc::clone(context);
    tokio::spawn(async move {
        let mut watch = Watch::new(&context);
        let mut tick = tokio::time::interval(every);
        tick.tick().await;
        loop {
            tick.tick().await;
            let found = watch.look(&context, &settings).await;
            for (name, finding) in found {
                watch.note(&context, name, finding);
            }
        }
    });
}

struct Watch {
    ticks: (u64, u64),
    drops: u64,
    bad_for: BTreeMap<String, u32>,
    certificates: Vec<PathBuf>,
}

impl Watch {
    fn new(context: &Context) -> Self {
        Self {
            ticks: Machine::look().cpu_ticks,
            drops: drops(context),
            bad_for: BTreeMap::new(),
            certificates: certificates(&context.config),
        }
    }

    async fn look(&mut self, context: &Context, settings: &Sysmon) -> Vec<(String, Finding)> {
        let machine = Machine::look();
        let cpu = cpu_percent(self.ticks, machine.cpu_ticks);
        self.ticks = machine.cpu_ticks;
        let memory = machine.memory_used * 100 / machine.memory_total.max(1);
        let now = drops(context);
        let dropped = now.saturating_sub(self.drops);
        self.drops = now;
        let mut found = vec![
            ("high_cpu_usage".to_owned(), cpu_finding(cpu, settings)),
            (
                "high_system_memory_usage".to_owned(),
                memory_finding(memory, settings),
            ),
            ("queue_drops".to_owned(), drops_finding(dropped)),
        ];
        for core in 0..context.cores.count() {
            let finding = stall_finding(context, CoreId(core), settings).await;
            found.push((format!("core_stall/{core}"), finding));
        }
        for (name, is_down) in context.authn.backends() {
            found.push((
                format!("resource_down/{name}"),
                backend_finding(&name, is_down),
            ));
        }
        for path in &self.certificates {
            let name = format!("certificate_expiry/{}", path.display());
            found.push((name, certificate_finding(path, settings)));
        }
        found
    }

    fn note(&mut self, context: &Context, name: String, finding: Finding) {
        let done = match self.judge(&name, finding) {
            Finding::Bad(message, details) => {
                alarms::raise(context, &name, &message, details).map(drop)
            }
            Finding::Good if context.state.alarms.get(&name).is_some() => {
                alarms::end(context, &name).map(drop)
            }
            _ => Ok(()),
        };
        if let Err(error) = done {
            tracing::error!("the alarm `{name}` cannot be kept: {error}");
        }
    }

    /// What is bad at one check only is neither bad nor good.
    fn judge(&mut self, name: &str, finding: Finding) -> Finding {
        if !matches!(finding, Finding::Bad(..)) {
            self.bad_for.remove(name);
            return finding;
        }
        let times = self.bad_for.entry(name.to_owned()).or_insert(0);
        *times += 1;
        match *times >= CHECKS_IN_A_ROW {
            true => finding,
            false => Finding::Between,
        }
    }
}

fn drops(context: &Context) -> u64 {
    let counts = DROPS.iter().map(|counter| context.metrics.count(*counter));
    counts.sum()
}

/// How much of the processors was in use between two moments, percent.
fn cpu_percent(before: (u64, u64), now: (u64, u64)) -> u64 {
    let busy = now.0.saturating_sub(before.0);
    busy * 100 / now.1.saturating_sub(before.1).max(1)
}

fn cpu_finding(percent: u64, settings: &Sysmon) -> Finding {
    if percent >= u64::from(settings.cpu_high_watermark) {
        let details = json!({
            "usage": percent,
            "high_watermark": settings.cpu_high_watermark,
            "low_watermark": settings.cpu_low_watermark,
        });
        return Finding::Bad(format!("{percent}% of the processors are in use"), details);
    }
    match percent < u64::from(settings.cpu_low_watermark) {
        true => Finding::Good,
        false => Finding::Between,
    }
}

fn memory_finding(percent: u64, settings: &Sysmon) -> Finding {
    if percent < u64::from(settings.sysmem_high_watermark) {
        return Finding::Good;
    }
    let details = json!({ "usage": percent, "high_watermark": settings.sysmem_high_watermark });
    Finding::Bad(
        format!("{percent}% of the machine's memory are in use"),
        details,
    )
}

fn drops_finding(dropped: u64) -> Finding {
    if dropped == 0 {
        return Finding::Good;
    }
    let message =
        format!("{dropped} deliveries were dropped for want of room since the last check");
    Finding::Bad(message, json!({ "dropped": dropped }))
}

fn backend_finding(name: &str, is_down: bool) -> Finding {
    if !is_down {
        return Finding::Good;
    }
    let message = format!("resource down: {name} does not answer");
    Finding::Bad(message, json!({ "resource": name }))
}

async fn stall_finding(context: &Context, core: CoreId, settings: &Sysmon) -> Finding {
    let asked = Instant::now();
    let answer = context.cores.ask(core, |reply| Manage::Refresh { reply });
    let answered = answer.await.is_ok();
    let took = asked.elapsed();
    if answered && took < settings.core_stall_threshold {
        return Finding::Good;
    }
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let details = json!({ "core": core.0, "took_ms": took_ms, "answered": answered });
    Finding::Bad(
        format!("core {} needs {took_ms} ms to answer", core.0),
        details,
    )
}

/// The certificates that the broker shows.
fn certificates(config: &Config) -> Vec<PathBuf> {
    let listeners = config.listeners.iter().filter_map(|l| l.tls.as_ref());
    let of_listeners = listeners.flat_map(|tls| {
        let further = tls.sni.iter().map(|(_, sni)| &sni.certfile);
        std::iter::once(&tls.options.certfile).chain(further)
    });
    let all = of_listeners.chain([&config.http_tls.certfile]);
    let all: BTreeSet<PathBuf> = all.flatten().cloned().collect();
    all.into_iter().collect()
}

fn certificate_finding(path: &Path, settings: &Sysmon) -> Finding {
    let pem = std::fs::read(path).unwrap_or_default();
    let Some(ends_s) = first_expiry_s(&pem) else {
        return Finding::Between; // The start has refused a file that holds none.
    };
    let left_s = ends_s.saturating_sub(clock::unix_s());
    if Duration::from_secs(left_s) > settings.cert_expiry_warning {
        return Finding::Good;
    }
    let ends = clock::rfc3339(ends_s);
    let message = format!("the certificate in {} expires at {ends}", path.display());
    Finding::Bad(message, json!({ "file": path, "expires_at": ends }))
}

/// When the first of the certificates in a file ends, UNIX time in seconds.
fn first_expiry_s(pem: &[u8]) -> Option<u64> {
    let all = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    let ends = all.filter_map(|der| {
        let (_, certificate) = parse_x509_certificate(&der).ok()?;
        u64::try_from(certificate.validity().not_after.timestamp()).ok()
    });
    ends.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = include_str!("testdata/expiry.pem");
    const CERTIFICATE_ENDS_S: u64 = 4_949_172_372;

    #[test]
    fn two_checks_in_a_row_make_an_alarm() {
        let mut watch = Watch {
            ticks: (0, 0),
            drops: 0,
            bad_for: BTreeMap::new(),
            certificates: Vec::new(),
        };
        let bad = || drops_finding(3);
        assert_eq!(watch.judge("a", bad()), Finding::Between);
        assert_eq!(watch.judge("a", drops_finding(0)), Finding::Good);
        assert_eq!(watch.judge("a", bad()), Finding::Between);
        assert_eq!(watch.judge("b", bad()), Finding::Between);
        assert!(matches!(watch.judge("a", bad()), Finding::Bad(..)));
        assert!(matches!(watch.judge("a", bad()), Finding::Bad(..)));
    }

    #[test]
    fn between_the_watermarks_nothing_changes() {
        let settings = Sysmon::default();
        assert_eq!(cpu_finding(59, &settings), Finding::Good);
        assert_eq!(cpu_finding(70, &settings), Finding::Between);
        assert!(matches!(cpu_finding(80, &settings), Finding::Bad(..)));
        assert_eq!(memory_finding(69, &settings), Finding::Good);
        assert!(matches!(memory_finding(70, &settings), Finding::Bad(..)));
        assert_eq!(cpu_percent((10, 100), (40, 200)), 30);
        assert_eq!(cpu_percent((10, 100), (10, 100)), 0);
    }

    #[test]
    fn the_end_of_a_certificate_is_found() {
        assert_eq!(
            first_expiry_s(CERTIFICATE.as_bytes()),
            Some(CERTIFICATE_ENDS_S)
        );
        assert_eq!(first_expiry_s(b"nothing"), None);
    }
}
