//! From a configuration that may start to a running broker, and to its end. The only file that sees
//! both planes.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;

use crate::access::bans::Ban;
use crate::access::rules::AccessRules;
use crate::base::home::Homes;
use crate::base::ids::CoreId;
use crate::boot::listeners::Listeners;
use crate::boot::{Ready, Refusal, access, tls};
use crate::config::Config;
use crate::control::{Control, ControlParts};
use crate::gate::listeners::ListenerControl;
use crate::gate::port::{Gate, GatePort, WakeCore, gate};
use crate::metrics::{CoreMetrics, MetricsRegistry};
use crate::routing::reader::IndexReader;
use crate::routing::shared::SharedIndex;
use crate::runtime::clock::Clock;
use crate::runtime::completion::PlaneConfig;
use crate::runtime::core::{Core, CoreParts};
use crate::runtime::front::Front;
use crate::runtime::indexer::{IndexPort, Indexer};
use crate::runtime::mesh::{MeshEnd, mesh};
use crate::runtime::plane::Plane;
use crate::runtime::thread::{self, CoreFailed, CoresConfig};
use crate::runtime::tls_threads::{TlsPort, TlsThreads};
use crate::runtime::wake::Wakers;
use crate::shard::addons::AddonRules;
use crate::shard::auth::AuthnRules;
use crate::shard::cross::Parcel;
use crate::shard::rules::Rules;
use crate::shard::{Shard, ShardParts};

/// Sockets in handshake: a quarter of the process's descriptors, shared by all cores.
const HANDSHAKE_SHARE: u64 = 4;
/// Each core may have at least so many sockets in handshake.
const HANDSHAKES_MIN: u64 = 16;

/// A broker at work.
pub struct Broker {
    /// The way to its cores.
    pub gate: Gate,
    /// Its access rules, which may be read again.
    pub access: access::Reloading,
    /// Its figures.
    pub metrics: MetricsRegistry,
    /// Its index thread.
    pub indexer: Indexer,
    /// How its cores end: one message, when all have stopped or one has failed.
    pub ended: Receiver<Result<(), CoreFailed>>,
    /// Everything that is not messages.
    pub control: Control,
    /// Its listeners.
    pub listeners: Arc<Listeners>,
    /// Its handshake threads, if any listener speaks TLS.
    pub tls: Option<TlsThreads>,
    /// Who listens where: the listeners, and the API.
    pub listening: Vec<(String, String)>,
}

/// Starts index thread and cores, then opens the listeners.
///
/// # Errors
/// Sentences for the user; nothing is listening then.
pub fn start(ready: &Ready) -> Result<Broker, Refusal> {
    let config = &ready.config;
    let cores = u8::try_from(config.sizing.cores).unwrap_or(u8::MAX);
    let refused =
        |what: &str, error: &dyn std::fmt::Display| Refusal::from(format!("{what}: {error}"));
    let wakers = Wakers::new(usize::from(cores))
        .map_err(|error| refused("no descriptors to wake the cores with", &error))?;
    let (writer, readers, epochs) = SharedIndex::new(cores, seed()?)
        .map_err(|error| refused("no address space for the subscription index", &error))?;
    // The index thread counts as well.
    let writers = usize::from(cores) + 1 + tls::threads(config, cores);
    let (metrics, mut core_metrics) = MetricsRegistry::new(writers);
    let of_tls = core_metrics.split_off(usize::from(cores) + 1);
    let of_index = core_metrics.remove(usize::from(cores));
    let (indexer, index_ports) = Indexer::start(writer, cores, Arc::clone(&wakers), of_index)
        .map_err(|error| refused("the index thread cannot be started", &error))?;
    let (tls, desks) = tls::start(config, cores, &wakers, of_tls)?;
    let (gate, gate_ports) = gate(cores, wake_by(&wakers));
    let fronts = fronts(config);
    let plant = Plant {
        rules: rules(config, cores, Arc::clone(&ready.access)),
        bans: Arc::clone(&ready.bans),
        plane: PlaneConfig::for_cores(usize::from(cores), config.sizing.connections_per_core),
        hash_key: ready.hash_key,
        cores,
        epochs,
        wakers: Arc::clone(&wakers),
        listeners: Arc::clone(&fronts),
        handshakes_max: handshakes_per_core(ready.machine.descriptors_hard, cores),
        clock: Clock::start(),
    };
    let mut makers = Vec::new();
    let ends = mesh::<Parcel>(usize::from(cores))
        .into_iter()
        .zip(readers)
        .zip(core_metrics);
    let ports = index_ports.into_iter().zip(gate_ports).zip(desks);
    let all = ends.zip(ports).enumerate();
    for (core, (((mesh, index), metrics), ((index_port, gate), desk))) in all {
        let core = CoreId(u8::try_from(core).unwrap_or(u8::MAX));
        let own = CoreEnds {
            core,
            mesh,
            index,
            metrics,
            index_port,
            gate,
            desk,
            seed: seed()?,
        };
        let plant = plant.clone();
        makers.push(move |_| plant.core(own));
    }
    let cores = thread::start(cores_config(config), &wakers, makers)
        .map_err(|error| refused("a core cannot be started", &error))?;
    let (control, listeners, listening) = open(ready, fronts, &gate, &metrics, tls.as_ref())?;
    let ended =
        await_end(cores).map_err(|error| refused("no thread to wait for the cores", &error))?;
    Ok(Broker {
        gate,
        access: access::Reloading::new(config.clone()),
        metrics,
        indexer,
        ended,
        control,
        listeners,
        tls,
        listening,
    })
}

/// What the cores' doors know of each listener.
fn fronts(config: &Config) -> Arc<[Front]> {
    let packet_bytes_max = config.mqtt.max_packet_size;
    let of = |listener| Front::of(listener, packet_bytes_max);
    config.listeners.iter().map(of).collect()
}

fn cores_config(config: &Config) -> CoresConfig {
    CoresConfig {
        pin: config.node.pin_cores,
        spin_before_park: config.node.spin_before_park,
    }
}

/// How whoever commands a core wakes it.
fn wake_by(wakers: &Arc<Wakers>) -> WakeCore {
    let wakers = Arc::clone(wakers);
    Arc::new(move |core| {
        wakers.wake_from_outside(core.index());
    })
}

/// Starts the control plane, then opens the listeners, then serves the API; says who listens where.
fn open(
    ready: &Ready,
    fronts: Arc<[Front]>,
    gate: &Gate,
    metrics: &MetricsRegistry,
    tls: Option<&TlsThreads>,
) -> Opened {
    let mut control = Control::start(ControlParts {
        config: &ready.config,
        data_dir: ready.data_dir.path(),
        gate: gate.clone(),
        metrics: metrics.clone(),
        homes: Homes::new(ready.hash_key, gate.cores()),
        tls: tls.map(TlsThreads::desk),
    })?;
    control.tell_bans();
    let listeners = Arc::new(Listeners::open(&ready.config.listeners, fronts, gate)?);
    let serving = control.serve(Arc::clone(&listeners) as Arc<dyn ListenerControl>);
    let states = listeners.states().into_iter();
    let mut listening: Vec<(String, String)> = states.map(|state| (state.id, state.bind)).collect();
    let serving = serving.into_iter();
    listening.extend(serving.map(|(name, address)| (name, address.to_string())));
    Ok((control, listeners, listening))
}

/// The control plane, the listeners, and who listens where.
type Opened = Result<(Control, Arc<Listeners>, Vec<(String, String)>), Refusal>;

/// Waits for the cores' end on a thread of its own.
fn await_end(cores: thread::Cores) -> std::io::Result<Receiver<Result<(), CoreFailed>>> {
    let (tell, ended) = crossbeam_channel::bounded(1);
    std::thread::Builder::new()
        .name("join".to_owned())
        .spawn(move || drop(tell.send(cores.join())))?;
    Ok(ended)
}

/// What all cores are made from.
#[derive(Clone)]
struct Plant {
    rules: Rules,
    bans: Arc<[Arc<Ban>]>,
    plane: PlaneConfig,
    hash_key: [u8; 16],
    cores: u8,
    epochs: crate::base::epoch::EpochsHandle,
    wakers: Arc<Wakers>,
    listeners: Arc<[Front]>,
    handshakes_max: usize,
    clock: Clock,
}

/// What is one core's own.
struct CoreEnds {
    core: CoreId,
    mesh: MeshEnd<Parcel>,
    index: IndexReader,
    metrics: CoreMetrics,
    index_port: IndexPort,
    gate: GatePort,
    desk: Option<TlsPort>,
    seed: [u64; 4],
}

impl Plant {
    /// Makes a core, on its own thread.
    fn core(self, own: CoreEnds) -> std::io::Result<Core> {
        let plane = Plane::new(&self.plane).map_err(std::io::Error::other)?;
        let mut shard = Shard::new(ShardParts {
            core: own.core,
            cores: self.cores,
            rules: self.rules,
            hash_key: self.hash_key,
            seed: own.seed,
            index: own.index,
            epochs: self.epochs,
            metrics: own.metrics,
            now: self.clock.now(),
        });
        for ban in self.bans.iter() {
            shard.ban(Arc::clone(ban));
        }
        let parts = CoreParts {
            core: own.core,
            shard,
            mesh: own.mesh,
            index: own.index_port,
            gate: own.gate,
            wakers: self.wakers,
            listeners: self.listeners,
            desk: own.desk.map(|desk| Box::new(desk) as _),
            handshakes_max: self.handshakes_max,
            clock: self.clock,
        };
        Core::new(parts, plane)
    }
}

fn handshakes_per_core(descriptors: u64, cores: u8) -> usize {
    let share = (descriptors / HANDSHAKE_SHARE / u64::from(cores)).max(HANDSHAKES_MIN);
    usize::try_from(share).unwrap_or(usize::MAX)
}

/// Random numbers for hashes whose input is hostile.
fn seed() -> Result<[u64; 4], Refusal> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Refusal::from(format!("the system gives no random numbers: {error}")))?;
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(word)
    };
    Ok([word(0), word(8), word(16), word(24)])
}

/// The settings as the shards read them.
pub fn rules(config: &Config, cores: u8, access_rules: Arc<AccessRules>) -> Rules {
    let (mqtt, retainer) = (&config.mqtt, &config.retainer);
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "1.0 to 10.0"
    )]
    let keepalive_multiplier_permille = (mqtt.keepalive_multiplier * 1000.0).round() as u64;
    Rules {
        max_packet_size: mqtt.max_packet_size,
        max_clientid_len: usize::from(mqtt.max_clientid_len),
        max_topic_levels: usize::from(mqtt.max_topic_levels),
        max_qos_allowed: mqtt.max_qos_allowed,
        max_topic_alias: mqtt.max_topic_alias,
        max_topic_alias_out: mqtt.max_topic_alias_out,
        server_reference: mqtt.server_reference.as_deref().map(Into::into),
        response_information: mqtt.response_information.as_deref().map(Into::into),
        retain_available: mqtt.retain_available,
        wildcard_subscription: mqtt.wildcard_subscription,
        shared_subscription: mqtt.shared_subscription,
        share_strategy: mqtt.shared_subscription_strategy,
        share_groups: config.share_groups.as_slice().into(),
        idle_timeout_ms: u64::try_from(mqtt.idle_timeout.as_millis()).unwrap_or(u64::MAX),
        server_keepalive_s: mqtt.server_keepalive,
        keepalive_multiplier_permille,
        max_inflight: mqtt.max_inflight,
        max_awaiting_rel: mqtt.max_awaiting_rel,
        await_rel_timeout_s: seconds(mqtt.await_rel_timeout),
        session_expiry_s: mqtt.session_expiry_interval.map_or(u32::MAX, seconds),
        max_mqueue_len: mqtt.max_mqueue_len.map_or(0, |len| len as usize),
        mqueue_store_qos0: mqtt.mqueue_store_qos0,
        max_subscriptions: mqtt.max_subscriptions.unwrap_or(u32::MAX),
        max_out_queue_bytes: mqtt.max_out_queue as usize,
        allow_anonymous: mqtt.allow_anonymous,
        access: access_rules,
        limits: access::limits(config),
        flapping: access::flapping(config),
        overload: access::overload(config),
        listener_ids: config
            .listeners
            .iter()
            .map(|l| l.to_string().into())
            .collect(),
        authn: AuthnRules::new(config, cores),
        max_retained_messages: retainer.max_retained_messages.map_or(0, |max| max as usize),
        max_retained_payload: retainer.max_payload_size as usize,
        retained_expiry_s: retainer.expiry_interval.map_or(0, seconds),
        queue_memory_bytes: usize::try_from(config.sizing.queue_bytes_per_core)
            .unwrap_or(usize::MAX),
        max_connections: config.sizing.connections_per_core,
        addons: Arc::new(AddonRules::new(config)),
    }
}
