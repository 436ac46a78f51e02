//! TLS at the start: files are read and the handshake threads started, if any listener speaks it.

use std::sync::Arc;

use crate::boot::Refusal;
use crate::boot::preflight::Outcome;
use crate::config::Config;
use crate::metrics::CoreMetrics;
use crate::runtime::tls_listener::TlsListener;
use crate::runtime::tls_names::NamesWanted;
use crate::runtime::tls_threads::{TlsPort, TlsThreads, TlsThreadsConfig};
use crate::runtime::wake::Wakers;

/// Cores that one handshake thread serves, unless the setting says otherwise.
const CORES_PER_THREAD: u8 = 8;

/// Handshake threads that a configuration asks for: none without a TLS listener.
pub(super) fn threads(config: &Config, cores: u8) -> usize {
    if config
        .listeners
        .iter()
        .all(|listener| listener.tls.is_none())
    {
        return 0;
    }
    let auto = if cores <= CORES_PER_THREAD { 1 } else { 2 };
    usize::from(config.tls.handshake_threads.unwrap_or(auto))
}

/// Whether the files of each TLS listener can be used.
pub(super) fn check(config: &Config) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for listener in &config.listeners {
        let Some(settings) = &listener.tls else {
            continue;
        };
        match TlsListener::load(listener.to_string(), settings, 1) {
            Ok((_, warnings)) => {
                outcomes.push(Ok(format!("the certificates of {listener} can be used")));
                outcomes.extend(warnings.into_iter().map(Ok));
            }
            Err(what) => outcomes.push(Err(format!("listener {listener}: {what}"))),
        }
    }
    outcomes
}

/// Reads the files of all TLS listeners, by number.
fn listeners(config: &Config, threads: usize) -> Result<Vec<Option<Arc<TlsListener>>>, Refusal> {
    let mut listeners = Vec::new();
    for listener in &config.listeners {
        let Some(settings) = &listener.tls else {
            listeners.push(None);
            continue;
        };
        let (loaded, warnings) = TlsListener::load(listener.to_string(), settings, threads)
            .map_err(|what| Refusal::from(format!("listener {listener}: {what}")))?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        listeners.push(Some(Arc::new(loaded)));
    }
    Ok(listeners)
}

/// The handshake threads, if there are any, and each core's end.
type Started = (Option<TlsThreads>, Vec<Option<TlsPort>>);

/// Starts the threads; none when no listener speaks TLS.
///
/// # Errors
/// A file cannot be used, or the system has no thread or descriptor left.
pub(super) fn start(
    config: &Config,
    cores: u8,
    wakers: &Arc<Wakers>,
    metrics: Vec<CoreMetrics>,
) -> Result<Started, Refusal> {
    if metrics.is_empty() {
        return Ok((None, (0..cores).map(|_| None).collect()));
    }
    let listeners = listeners(config, metrics.len())?;
    let run = TlsThreadsConfig {
        threads: metrics.len(),
        queue: config.tls.handshake_queue as usize,
        in_work_max: config.tls.max_handshakes as usize,
        names: NamesWanted::of(&[
            config.mqtt.peer_cert_as_username,
            config.mqtt.peer_cert_as_clientid,
        ]),
    };
    TlsThreads::start(run, &listeners.into(), cores, wakers, metrics)
        .map(|(threads, ports)| (Some(threads), ports.into_iter().map(Some).collect()))
        .map_err(|error| Refusal::from(format!("a tls thread cannot be started: {error}")))
}
