//! The configuration as a whole: precedence, the sentences of errors, warnings.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const MACHINE: Machine = Machine {
    cpus: 4,
    memory_bytes: 8 << 30,
    descriptors_hard: 20_000,
};

fn toml(name: &str, text: &str) -> Option<TomlFile> {
    Some(TomlFile {
        name: name.to_owned(),
        text: text.to_owned(),
    })
}

fn file(text: &str) -> Sources {
    Sources {
        file: toml("m.toml", text),
        ..Sources::default()
    }
}

fn environment(variable: &str, value: &str) -> Sources {
    Sources {
        environment: vec![(variable.to_owned(), value.to_owned())],
        ..Sources::default()
    }
}

fn set(argument: &str) -> Sources {
    Sources {
        set: vec![argument.to_owned()],
        ..Sources::default()
    }
}

fn config(sources: &Sources) -> Config {
    Config::new(sources, &MACHINE).unwrap()
}

fn said(sources: &Sources) -> Vec<String> {
    let error = Config::new(sources, &MACHINE).unwrap_err();
    error.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_are_what_the_reference_promises() {
    let config = Config::defaults(&MACHINE);
    assert_eq!(config.node.name, "millrace@127.0.0.1");
    assert_eq!(config.node.shutdown_timeout, Duration::from_secs(15));
    assert_eq!(config.node.spin_before_park, Duration::ZERO);
    assert_eq!(config.sizing.cores, 4);
    assert_eq!(config.sizing.queue_bytes_per_core, 1 << 30);
    assert_eq!(config.mqtt.max_packet_size, 1_048_576);
    assert_eq!(config.mqtt.server_keepalive, None);
    assert_eq!(config.mqtt.max_mqueue_len, Some(1000));
    let two_hours = Some(Duration::from_secs(7200));
    assert_eq!(config.mqtt.session_expiry_interval, two_hours);
    assert_eq!(config.retainer.max_retained_messages, None);
    assert_eq!(config.retainer.expiry_interval, None);
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].to_string(), "tcp:default");
    assert_eq!(config.mqtt, Mqtt::default());
}

#[test]
fn a_file_sets_every_kind_of_value() {
    let config = config(&file(
        "[node]\nname = 'a@b'\ncores = 3\nqueue_memory = \"1GB\"\npin_cores = false\n\
         [listeners.tcp.plant]\nbind = 1884\nmax_conn_rate = \"500/s\"\n\
         [mqtt]\nkeepalive_multiplier = 2\nserver_keepalive = 60\nmax_mqueue_len = 0\n\
         [log]\nlevel = \"warning\"\nformat = \"json\"\n",
    ));
    assert_eq!(config.node.name, "a@b");
    assert_eq!(config.sizing.cores, 3);
    assert_eq!(config.sizing.queue_bytes_per_core, (1 << 30) / 3);
    assert!(!config.node.pin_cores);
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].settings.max_conn_rate, Some(500));
    assert_eq!(config.mqtt.server_keepalive, Some(60));
    assert_eq!(config.mqtt.max_mqueue_len, None);
    assert_eq!(config.log.level, LogLevel::Warn);
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn groups_of_shared_subscribers_may_have_a_strategy_of_their_own() {
    let config = config(&file(
        "[mqtt]\nshared_subscription_strategy = 'hash'\n\
         [broker.shared_subscription_group.plant]\nstrategy = 'sticky'\n\
         [broker.shared_subscription_group.office]\nstrategy = 'local'\n",
    ));
    let strategy = config.mqtt.shared_subscription_strategy;
    assert_eq!(strategy, ShareStrategy::HashClientId);
    let own = |name: &str, strategy| ShareGroup {
        name: name.to_owned(),
        strategy,
    };
    let groups = [
        own("office", ShareStrategy::Local),
        own("plant", ShareStrategy::Sticky),
    ];
    assert_eq!(config.share_groups, groups);
}

/// Each source sets a number of its own; the highest one present must win.
#[test]
fn the_order_of_sources() {
    let key = "mqtt.max_inflight";
    let mut sources = Sources::default();
    let inflight = |sources: &Sources| config(sources).mqtt.max_inflight;
    assert_eq!(inflight(&sources), 32);
    sources.file = toml("m.toml", "mqtt.max_inflight = 1");
    assert_eq!(inflight(&sources), 1);
    sources.overrides = toml("overrides.toml", "[mqtt]\nmax_inflight = 2");
    assert_eq!(inflight(&sources), 2);
    sources.environment = vec![("MILLRACE_MQTT__MAX_INFLIGHT".to_owned(), "3".to_owned())];
    assert_eq!(inflight(&sources), 3);
    sources.set = vec![format!("{key}=4"), format!("{key} = 5")];
    assert_eq!(inflight(&sources), 5);
    sources.options = vec![("--option", key, "6".to_owned())];
    assert_eq!(inflight(&sources), 6);
}

#[test]
fn listen_is_above_everything() {
    let mut sources = set("listeners.tcp.default.bind=127.0.0.1:1");
    sources.listen = vec!["tcp://127.0.0.1:2".to_owned()];
    let bind = config(&sources).listeners[0].bind.clone();
    assert_eq!(bind, Bind::Ip("127.0.0.1:2".parse().unwrap()));
}

#[test]
fn problems_in_a_file_name_line_and_key() {
    let text = "\
[mqtt]
max_qos_allowed = 3
max_paket_size = \"1MB\"

[node]
cores = 63
colour = \"red\"
data_dir = [1]

[listeners.ssl.default]
bnd = \"0.0.0.0:8883\"

[limits]
";
    assert_eq!(
        said(&file(text)),
        [
            "m.toml:2: key `mqtt.max_qos_allowed`: 3 is not a whole number from 0 to 2",
            "m.toml:3: key `mqtt.max_paket_size`: there is no such setting; did you mean \
             `mqtt.max_packet_size`?",
            "m.toml:6: key `node.cores`: 63 is not a whole number from 1 to 62, nor `auto`",
            "m.toml:7: key `node.colour`: there is no such setting; `broker --help` lists them all",
            "m.toml:8: key `node.data_dir`: a list is not a path; put it in quotes",
            "m.toml:11: key `listeners.ssl.default.bnd`: there is no such setting; did you mean \
             `listeners.ssl.default.bind`?",
            "m.toml:13: key `limits`: there is no such setting; `broker --help` lists them all",
        ]
    );
}

#[test]
fn a_section_may_be_empty() {
    let text = "[node]\n[listeners]\n[listeners.tcp.default]\n[mqtt]\n";
    assert_eq!(config(&file(text)), Config::defaults(&MACHINE));
    let said = said(&file("[listeners.tcp.plant]\n"));
    assert_eq!(said.len(), 1, "{said:?}");
}

#[test]
fn what_is_not_toml_names_the_line() {
    let said = said(&file("[mqtt]\nmax_inflight = 5\nmax_inflight = 6\n"));
    assert_eq!(said, ["m.toml:3: this is not TOML: duplicate key"]);
    let said = super::tests::said(&file("[mqtt]\nidle_timeout = 15s\n"));
    assert_eq!(said.len(), 1);
    assert!(
        said[0].starts_with("m.toml:2: this is not TOML: "),
        "{said:?}"
    );
}

#[test]
fn problems_on_the_command_line_name_the_option() {
    for (argument, want) in [
        (
            "mqtt.max_inflight",
            "--set: `mqtt.max_inflight` is not KEY=VALUE, such as mqtt.max_inflight=64",
        ),
        (
            "mqtt.max_inflight=0",
            "--set: key `mqtt.max_inflight`: \"0\" is not a whole number from 1 to 65535",
        ),
        (
            "mqtt.idle_timeout=15",
            "--set: key `mqtt.idle_timeout`: \"15\" is not a duration with its unit, such as 250ms, \
             15s, 5m or 2h",
        ),
        (
            "mqtt.max_inflite=1",
            "--set: key `mqtt.max_inflite`: there is no such setting; did you mean \
             `mqtt.max_inflight`?",
        ),
    ] {
        assert_eq!(said(&set(argument)), [want]);
    }
    let sources = Sources {
        options: vec![("--cores", "node.cores", "0".to_owned())],
        ..Sources::default()
    };
    let want = "--cores: key `node.cores`: \"0\" is not a whole number from 1 to 62, nor `auto`";
    assert_eq!(said(&sources), [want]);
}

#[test]
fn environment_maps_double_underscores_to_dots() {
    let sources = environment("MILLRACE_LISTENERS__TCP__PLANT_2__BIND", "[::1]:0");
    assert_eq!(config(&sources).listeners[0].to_string(), "tcp:plant_2");
    assert_eq!(
        said(&environment("MILLRACE_MQTT__MAX_QOS_ALLOWED", "x")),
        [
            "environment variable MILLRACE_MQTT__MAX_QOS_ALLOWED: key `mqtt.max_qos_allowed`: \"x\" is \
          not a whole number from 0 to 2"
        ]
    );
    assert_eq!(
        said(&environment("MILLRACE_MQTT__FOO_BAR_BAZ_QUX", "1")),
        [
            "environment variable MILLRACE_MQTT__FOO_BAR_BAZ_QUX: key `mqtt.foo_bar_baz_qux`: there is \
          no such setting; `broker --help` lists them all"
        ]
    );
    assert_eq!(
        said(&environment("MILLRACE_NODE_DATA_DIR", "/x")),
        [
            "environment variable MILLRACE_NODE_DATA_DIR: did you mean MILLRACE_NODE__DATA_DIR? A dot \
          is written `__`"
        ]
    );
    for platform in [
        "MILLRACE_PORT",
        "MILLRACE_SERVICE_HOST",
        "MILLRACE_PORT_1883_TCP",
        "PATH",
    ] {
        assert_eq!(
            config(&environment(platform, "x")),
            Config::defaults(&MACHINE)
        );
    }
}

#[test]
fn a_hidden_value_is_checked_as_well() {
    let mut sources = file("mqtt.max_inflight = 0");
    sources.set = vec!["mqtt.max_inflight=5".to_owned()];
    let want = "m.toml:1: key `mqtt.max_inflight`: 0 is not a whole number from 1 to 65535";
    assert_eq!(said(&sources), [want]);
}

#[test]
fn overrides_hold_only_what_can_change_at_run_time() {
    let text = "mqtt.max_inflight = 5\nnode.cores = 2\n";
    let sources = Sources {
        overrides: toml("data/overrides.toml", text),
        ..Sources::default()
    };
    assert_eq!(
        said(&sources),
        [
            "data/overrides.toml:2: key `node.cores`: it cannot be changed at run time; move it to the \
          configuration file"
        ]
    );
}

#[test]
fn data_dir_is_known_before_the_overrides() {
    let sources = set("node.data_dir=/tmp/x");
    assert_eq!(sources.data_dir().unwrap().to_str(), Some("/tmp/x"));
}

#[test]
fn open_access_is_warned_of() {
    let warned = |listen: &str, anonymous: &str| {
        let mut sources = set(&format!("mqtt.allow_anonymous={anonymous}"));
        sources.listen = vec![listen.to_owned()];
        config(&sources).open_access_warning()
    };
    assert_eq!(
        warned("tcp://0.0.0.0:1883", "true").as_deref(),
        Some(
            "anyone who can reach this machine may connect without a name or password (tcp:default \
             on 0.0.0.0:1883); set mqtt.allow_anonymous=false, or bind to 127.0.0.1"
        )
    );
    assert!(warned("tcp://[::]:1883", "true").is_some());
    assert!(warned("tcp://10.0.0.1:1883", "true").is_some());
    assert_eq!(warned("tcp://0.0.0.0:1883", "false"), None);
    for inside in ["127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"] {
        assert_eq!(
            warned(&format!("tcp://{inside}:1883"), "true"),
            None,
            "{inside}"
        );
    }
}

#[test]
fn more_cores_than_cpus_is_warned_of() {
    let warnings = |cores: u16| {
        let mut sources = set("mqtt.allow_anonymous=false");
        sources.options = vec![("--cores", "node.cores", cores.to_string())];
        config(&sources).warnings(&MACHINE)
    };
    assert!(warnings(4).is_empty());
    assert_eq!(
        warnings(5),
        [
            "node.cores is 5, but this process may use 4 CPUs only: cores will share them, at the cost \
          of latency"
        ]
    );
}

/// A setting that no code reads would be a key without effect.
#[test]
fn every_setting_is_read_by_some_code() {
    let src = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let mut code = String::new();
    let mut folders = vec![std::path::PathBuf::from(src)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_rust = path.extension().is_some_and(|extension| extension == "rs");
            if path.is_dir() {
                folders.push(path);
            } else if is_rust && !path.ends_with("config/tests.rs") {
                code.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let reads = |key: &str| {
        let field = format!(".{key}");
        let mut found = code.match_indices(&field);
        found.any(|(at, _)| !code[at + field.len()..].starts_with(|c| word(c) || c == '('))
    };
    let unread: Vec<String> = schema::all()
        .filter(|(_, setting)| !reads(setting.key))
        .map(|(section, setting)| section.full_name(setting))
        .collect();
    assert!(unread.is_empty(), "settings that nothing reads: {unread:?}");
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,80}", key in "[a-z._]{0,30}", value in ".{0,20}") {
        let mut sources = file(&text);
        sources.set = vec![format!("{key}={value}")];
        sources.environment = vec![(format!("MILLRACE_{text}"), value.clone())];
        sources.listen = vec![value];
        let _ = Config::new(&sources, &MACHINE);
    }
}
