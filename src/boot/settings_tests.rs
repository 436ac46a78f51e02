//! Every setting that says it is live is: it changes what cores, listeners or the control plane go by.

use std::path::PathBuf;

use super::*;
use crate::access::rules::AccessRules;
use crate::config::{Machine, Sources, live_settings};

const MACHINE: Machine = Machine {
    cpus: 2,
    memory_bytes: 1 << 30,
    descriptors_hard: 1 << 16,
};

/// In force before: so much of it that each setting below makes a difference.
const BASE: &str = r#"
flapping_detect.enable = true
broker.shared_subscription_group.g.strategy = "sticky"
authorization.sources.file.path = "ACL"

[[rewrite]]
source_topic = "a/#"
re = "^(.+)$"
dest_topic = "b/$1"

[[auto_subscribe.topics]]
topic = "c/${clientid}"

[listeners.tcp.l]
bind = "127.0.0.1:1"
LIMITS
[listeners.ws.l]
bind = "127.0.0.1:2"
LIMITS
[listeners.ssl.l]
bind = "127.0.0.1:3"
ssl_options.certfile = "c.pem"
ssl_options.keyfile = "k.pem"
LIMITS
[listeners.wss.l]
bind = "127.0.0.1:4"
ssl_options.certfile = "c.pem"
ssl_options.keyfile = "k.pem"
LIMITS
[listeners.unix.l]
bind = "/tmp/l.sock"
LIMITS
"#;
const LIMITS: &str = "messages_rate = '100/s'\nbytes_rate = '1MB/s'\nmax_conn_rate = 100\n";

/// A value of each live setting that is not in force before; of the five kinds of listeners once.
const EXAMPLES: &[(&str, &str)] = &[
    ("node.shutdown_timeout", "16s"),
    ("mqtt.max_packet_size", "2KB"),
    ("mqtt.max_clientid_len", "100"),
    ("mqtt.max_topic_levels", "5"),
    ("mqtt.max_qos_allowed", "1"),
    ("mqtt.max_topic_alias", "7"),
    ("mqtt.max_topic_alias_out", "8"),
    ("mqtt.server_reference", "other:1883"),
    ("mqtt.response_information", "answers/"),
    ("mqtt.retain_available", "false"),
    ("mqtt.wildcard_subscription", "false"),
    ("mqtt.shared_subscription", "false"),
    ("mqtt.shared_subscription_strategy", "random"),
    ("mqtt.exclusive_subscription", "true"),
    ("mqtt.ignore_loop_deliver", "true"),
    ("mqtt.upgrade_qos", "true"),
    ("mqtt.retry_interval", "31s"),
    ("mqtt.allow_anonymous", "false"),
    ("mqtt.use_username_as_clientid", "true"),
    ("mqtt.idle_timeout", "16s"),
    ("mqtt.server_keepalive", "60"),
    ("mqtt.keepalive_multiplier", "2.5"),
    ("mqtt.max_inflight", "64"),
    ("mqtt.max_awaiting_rel", "50"),
    ("mqtt.await_rel_timeout", "100s"),
    ("mqtt.session_expiry_interval", "3h"),
    ("mqtt.max_session_expiry_interval", "4h"),
    ("mqtt.max_mqueue_len", "500"),
    ("mqtt.mqueue_store_qos0", "false"),
    ("mqtt.max_subscriptions", "9"),
    ("mqtt.max_out_queue", "64KB"),
    ("authorization.no_match", "deny"),
    ("authorization.deny_action", "disconnect"),
    ("authorization.deny_reason", "false"),
    ("authorization.deny_overlapping", "true"),
    ("authorization.timeout", "6s"),
    ("authorization.cache.enable", "false"),
    ("authorization.cache.max_size", "10"),
    ("authorization.cache.ttl", "2m"),
    ("authorization.sources.file.path", "OTHER"),
    ("authorization.sources.file.enable", "false"),
    ("flapping_detect.enable", "false"),
    ("flapping_detect.window_time", "2m"),
    ("flapping_detect.max_count", "3"),
    ("flapping_detect.ban_time", "7m"),
    ("overload_protection.enable", "false"),
    ("overload_protection.turn_threshold", "2s"),
    ("overload_protection.cool_down", "2s"),
    ("overload_protection.accept_delay", "20ms"),
    ("authentication_settings.timeout", "9s"),
    ("authentication_settings.max_waiting", "100"),
    ("broker.shared_subscription_group.<name>.strategy", "random"),
    ("retainer.max_retained_messages", "1000"),
    ("retainer.max_payload_size", "2KB"),
    ("retainer.expiry_interval", "1h"),
    ("retainer.stop_publish_clear_msg", "true"),
    ("delayed.enable", "false"),
    ("delayed.max_delayed_messages", "10"),
    ("rewrite.<name>.action", "publish"),
    ("rewrite.<name>.source_topic", "x/#"),
    ("rewrite.<name>.re", "^x/(.+)$"),
    ("rewrite.<name>.dest_topic", "y/$1"),
    ("auto_subscribe.topics.<name>.topic", "d/${clientid}"),
    ("auto_subscribe.topics.<name>.qos", "1"),
    ("auto_subscribe.topics.<name>.rh", "1"),
    ("auto_subscribe.topics.<name>.rap", "1"),
    ("auto_subscribe.topics.<name>.nl", "1"),
    ("listeners.<kind>.<name>.max_connections", "17"),
    ("listeners.<kind>.<name>.max_conn_rate", "18"),
    ("listeners.<kind>.<name>.max_conn_burst", "40"),
    ("listeners.<kind>.<name>.messages_rate", "20/s"),
    ("listeners.<kind>.<name>.messages_burst", "21"),
    ("listeners.<kind>.<name>.bytes_rate", "22KB/s"),
    ("listeners.<kind>.<name>.bytes_burst", "23"),
    ("listeners.<kind>.<name>.rate_limit", "1024,4096"),
    ("listeners.<kind>.<name>.rate_exceeded", "drop"),
    ("log.level", "debug"),
    ("prometheus.enable_basic_auth", "true"),
    ("prometheus.emqx_names", "true"),
    ("sys_topics.sys_msg_interval", "2m"),
    ("sys_topics.sys_heartbeat_interval", "31s"),
    ("sys_topics.slash_names", "false"),
    ("sys_topics.dotted_names", "true"),
    ("sys_topics.mosquitto", "true"),
    ("sysmon.check_interval", "31s"),
    ("sysmon.cpu_high_watermark", "81"),
    ("sysmon.cpu_low_watermark", "59"),
    ("sysmon.sysmem_high_watermark", "71"),
    ("sysmon.core_stall_threshold", "2s"),
    ("sysmon.cert_expiry_warning", "31d"),
];

/// What is not told to cores or listeners, since the control plane looks at the settings in force
/// whenever it needs them. See `nobody_reads_what_is_live_from_the_configuration_of_the_start`.
const READ_WHERE_NEEDED: &[&str] = &[
    "node.shutdown_timeout",
    "prometheus.",
    "sys_topics.",
    "sysmon.",
    "log.level",
];

fn files() -> (PathBuf, String) {
    let dir = std::env::temp_dir().join(format!("millrace-live-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let (acl, other) = (dir.join("acl.conf"), dir.join("other.conf"));
    fs::write(&acl, "{allow, {user, \"a\"}, subscribe, [\"a/#\"]}.\n").unwrap();
    fs::write(&other, "{deny, all, subscribe, [\"b/#\"]}.\n").unwrap();
    let base = BASE.replace("LIMITS", LIMITS);
    let base = base.replace("ACL", acl.to_str().unwrap());
    (other, base)
}

/// What cores and listeners go by.
fn snapshot(config: &Config) -> String {
    let access: AccessRules = access::rules(config, 1).unwrap_or_else(|error| panic!("{error}"));
    let rules = Rules::new(config, 2, Arc::new(access));
    let fronts: Vec<Front> = config.listeners.iter().map(|l| Front::of(l, 1)).collect();
    let shares: Vec<_> = fronts.iter().map(|front| &front.share).collect();
    format!("{rules:?} {shares:?}")
}

/// The setting of an example that a declared name stands for.
fn example_of(declared: &str) -> Option<(&'static str, &'static str)> {
    let mut parts = declared.split('.').collect::<Vec<_>>();
    if parts.first() == Some(&"listeners") {
        parts[1] = "<kind>";
    }
    let wanted = parts.join(".");
    EXAMPLES.iter().find(|(key, _)| *key == wanted).copied()
}

#[test]
fn every_live_setting_is_taken_over() {
    let (other, base) = files();
    let start = |overrides: &str| Sources {
        file: Some(TomlFile {
            name: "base.toml".to_owned(),
            text: base.clone(),
        }),
        overrides: Some(TomlFile {
            name: OVERRIDES_FILE.to_owned(),
            text: overrides.to_owned(),
        }),
        ..Sources::default()
    };
    let in_force = InForce::at_start(&start(""), &MACHINE).unwrap_or_else(|e| panic!("{e}"));
    let before = snapshot(in_force.config());
    for declared in live_settings() {
        let example = example_of(&declared);
        let (_, value) = example.unwrap_or_else(|| panic!("give an example of {declared}"));
        let value = value.replace("OTHER", other.to_str().unwrap());
        let of_list = declared.starts_with("rewrite") || declared.starts_with("auto_subscribe");
        let name = match (of_list, declared.starts_with("listeners")) {
            (true, _) => "1",
            (false, true) => "l",
            (false, false) => "g",
        };
        let key = declared.replace("<name>", name);
        let body = serde_json::from_str(&value).unwrap_or_else(|_| Value::from(value.as_str()));
        let mut object = serde_json::json!({});
        object[key.as_str()] = body;
        let text = in_force.overridden(&start(""), "", &object);
        let text = text.unwrap_or_else(|error| panic!("{key}: {error}"));
        let (next, changed) = in_force
            .with(&start(&text))
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(changed.len(), 1, "{key}: {changed:?}");
        assert!(changed[0].taken && changed[0].key == key, "{changed:?}");
        if READ_WHERE_NEEDED
            .iter()
            .any(|prefix| key.starts_with(prefix))
        {
            let differs = next.config().observe != in_force.config().observe
                || next.config().node != in_force.config().node
                || next.config().log != in_force.config().log;
            assert!(differs, "{key}");
        } else {
            assert_ne!(snapshot(next.config()), before, "{key} changes nothing");
        }
    }
}

#[test]
fn every_example_is_of_a_live_setting() {
    for (key, _) in EXAMPLES {
        let key = key.replace("<kind>", "tcp");
        assert!(live_settings().any(|live| live == key), "{key}");
    }
}

#[test]
fn nobody_reads_what_is_live_from_the_configuration_of_the_start() {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/control"));
    let mut folders = vec![root];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            seen += 1;
            let text = fs::read_to_string(&path).unwrap_or_default();
            for wrong in [
                "context.config.observe.prometheus",
                "context.config.observe.sys_topics",
                "context.config.observe.sysmon",
                "context.config.mqtt",
                "context.config.retainer",
                "context.config.access",
                "context.config.shown",
                "context.config.messaging",
                "context.config.log",
            ] {
                assert!(!text.contains(wrong), "{}: {wrong}", path.display());
            }
        }
    }
    assert!(seen > 50, "the sources are elsewhere");
}

#[test]
fn a_file_is_replaced_as_a_whole() {
    let dir = std::env::temp_dir().join(format!("millrace-whole-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let path = dir.join(OVERRIDES_FILE);
    write_whole(&path, "one = 1\n").unwrap();
    write_whole(&path, "two = 2\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "two = 2\n");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    assert!(write_whole(&dir.join("none").join("x"), "").is_err());
    fs::remove_dir_all(&dir).unwrap();
}

#[derive(Default)]
struct Levels(Mutex<Vec<LogLevel>>);

impl LogControl for Levels {
    fn level(&self) -> LogLevel {
        LogLevel::Info
    }

    fn set_level(&self, level: LogLevel) -> Result<(), String> {
        self.0.lock().unwrap().push(level);
        Ok(())
    }
}

#[test]
fn the_level_of_the_log_follows_the_settings() {
    let (_, base) = files();
    let sources = |text: &str| Sources {
        file: Some(TomlFile {
            name: "base.toml".to_owned(),
            text: format!("{text}{base}"),
        }),
        ..Sources::default()
    };
    let in_force = InForce::at_start(&sources(""), &MACHINE).unwrap_or_else(|e| panic!("{e}"));
    let (gate, _) = crate::gate::port::gate(0, Arc::new(|_: CoreId| {}));
    let settings = Settings {
        gate,
        fronts: Vec::new().into(),
        arguments: Arguments::default(),
        data_dir: PathBuf::new(),
        tls: None,
        log: OnceLock::new(),
        config: RwLock::new(Arc::clone(in_force.config())),
        state: Mutex::new(State {
            in_force: in_force.clone(),
            version: 0,
        }),
    };
    let levels = Arc::new(Levels::default());
    settings.set_log(Arc::<Levels>::clone(&levels));
    for text in ["", "log.level = 'debug'\n", "log.level = 'debug'\n", ""] {
        let mut state = settings.state();
        let (next, _) = state
            .in_force
            .with(&sources(text))
            .unwrap_or_else(|e| panic!("{e}"));
        settings.put_in_force(&mut state, next, || Ok(())).unwrap();
    }
    assert_eq!(*levels.0.lock().unwrap(), [LogLevel::Debug, LogLevel::Info]);
    assert_eq!(settings.config().log.level, LogLevel::Info);
}
