//! Settings that change while the broker runs, and files of other brokers that become ours.

mod import;
mod service;
mod users;

use std::fs;
use std::time::{Duration, Instant};

use bench_harness::codec::{Property, Version};
use serde_json::{Value, json};

use crate::broker::{Broker, Said, Scratch, say};
use crate::http::Api;
use crate::peer::{PATIENCE, clean, connect, leave, ping};
use crate::tls_peer::{Ca, Kind, handshake, relay, server, set};

/// A broker with this configuration file, and the file.
fn with_file(scratch: &Scratch, text: &str) -> (Api, String) {
    let path = scratch.path("millrace.toml").to_str().unwrap().to_owned();
    fs::write(&path, text).unwrap();
    (Api::with(2, &["--config", &path]), path)
}

fn ctl(broker: &Broker, words: &[&str]) -> Said {
    let dir = broker.directory().join("data");
    let mut arguments = vec!["ctl", "--data-dir", dir.to_str().unwrap()];
    arguments.extend(words);
    say(&arguments)
}

fn overrides(api: &Api) -> String {
    let path = api.broker.directory().join("data/overrides.toml");
    fs::read_to_string(path).unwrap_or_default()
}

/// The Receive Maximum and the Server Keep Alive that a new client is told.
fn told(api: &Api, name: &str) -> (Option<u16>, Option<u16>) {
    let client = connect(api.mqtt(), &clean(Version::V5, name));
    let properties = client.connack.properties.clone();
    leave(client);
    let receive_maximum = properties.find(|property| match property {
        Property::ReceiveMaximum(most) => Some(*most),
        _ => None,
    });
    let keep_alive = properties.find(|property| match property {
        Property::ServerKeepAlive(seconds) => Some(*seconds),
        _ => None,
    });
    (receive_maximum, keep_alive)
}

#[test]
fn a_reload_takes_over_what_is_live_and_names_what_is_not() {
    let scratch = Scratch::new();
    let (api, path) = with_file(&scratch, "[mqtt]\nmax_awaiting_rel = 20\n");
    let mut old = connect(api.mqtt(), &clean(Version::V5, "old"));
    assert_eq!(told(&api, "a").0, Some(20));
    fs::write(
        &path,
        "[mqtt]\nmax_awaiting_rel = 30\nserver_keepalive = 60\n[node]\nname = 'other'\n",
    )
    .unwrap();
    let said = ctl(&api.broker, &["conf", "reload"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(
        said.out,
        "mqtt.max_awaiting_rel: 20 -> 30\nmqtt.server_keepalive: disabled -> 60\n\
         node.name: millrace@127.0.0.1 -> other (needs a restart)\n"
    );
    assert_eq!(told(&api, "b"), (Some(30), Some(60)));
    let node = api.ask("GET", "/api/v5/configs/node", None).body;
    assert_eq!(node["name"], "millrace@127.0.0.1", "until the next start");
    ping(&mut old);
    // A wrong file touches nothing.
    fs::write(&path, "[mqtt]\nmax_awaiting_rel = 40\nmax_inflight = 0\n").unwrap();
    let said = ctl(&api.broker, &["conf", "reload"]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
    let want = format!("{path}:3: key `mqtt.max_inflight`: 0 is not");
    assert!(said.err.starts_with(&want), "{}", said.err);
    let answer = api.ask("POST", "/api/v5/configs_reload", None);
    assert_eq!(
        (answer.status, &answer.body["code"]),
        (400, &json!("BAD_REQUEST"))
    );
    assert_eq!(told(&api, "c").0, Some(30));
    // SIGHUP does the same, and says so in the log.
    api.broker.signal("HUP");
    until(|| api.broker.log().contains(&want));
    fs::write(&path, "[mqtt]\nmax_awaiting_rel = 50\n").unwrap();
    api.broker.signal("HUP");
    until(|| told(&api, "d") == (Some(50), None));
    let nothing = ctl(&api.broker, &["conf", "reload"]);
    assert_eq!(nothing.out, "nothing has changed\n");
    ping(&mut old);
    api.broker.stop();
}

fn until(wished: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !wished() {
        assert!(Instant::now() < deadline, "it does not come about");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_section_is_changed_by_put_and_stays_so_over_a_restart() {
    let scratch = Scratch::new();
    let data = scratch.path("data");
    let data = data.to_str().unwrap();
    let api = Api::with(2, &["--data-dir", data]);
    let body = json!({ "max_awaiting_rel": 33, "server_keepalive": 44, "max_qos_allowed": 2 });
    let answer = api.ask("PUT", "/api/v5/configs/mqtt", Some(&body));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["max_awaiting_rel"], 33);
    assert_eq!(answer.body["max_inflight"], 32, "the section as a whole");
    assert_eq!(told(&api, "a"), (Some(33), Some(44)));
    let kept = fs::read_to_string(scratch.path("data/overrides.toml")).unwrap();
    assert!(
        kept.ends_with("\nmqtt.max_awaiting_rel = 33\nmqtt.server_keepalive = 44\n"),
        "{kept}"
    );
    // What was read may be sent back.
    let section = api.ask("GET", "/api/v5/configs/listeners", None).body;
    let answer = api.ask("PUT", "/api/v5/configs/listeners", Some(&section));
    assert_eq!((answer.status, &answer.body), (200, &section));
    let cleared = json!({ "server_keepalive": null });
    assert_eq!(
        api.ask("PUT", "/api/v5/configs/mqtt", Some(&cleared))
            .status,
        200
    );
    assert_eq!(told(&api, "b"), (Some(33), None));
    api.broker.stop();
    let api = Api::with(1, &["--data-dir", data]);
    assert_eq!(told(&api, "c"), (Some(33), None));
    let rows = api.ask("GET", "/api/v5/configs_settings", None).body;
    let mut rows = rows.as_array().unwrap().iter();
    let row = rows
        .find(|row| row["key"] == "mqtt.max_awaiting_rel")
        .unwrap();
    assert!(
        row["origin"].as_str().unwrap().contains("overrides.toml:"),
        "{row}"
    );
    api.broker.stop();
}

#[test]
fn what_cannot_be_put_is_refused_as_a_whole() {
    let scratch = Scratch::new();
    let (api, _) = with_file(&scratch, "");
    let put = |section: &str, body: &Value| {
        let path = format!("/api/v5/configs/{section}");
        let answer = api.ask("PUT", &path, Some(body));
        let message = answer.body["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (answer.status, message)
    };
    for (section, body, status, want) in [
        (
            "mqtt",
            json!({ "max_awaiting_rel": 3, "max_inflight": 0 }),
            400,
            "mqtt.max_inflight",
        ),
        (
            "mqtt",
            json!({ "max_inflite": 3 }),
            400,
            "did you mean `mqtt.max_inflight`?",
        ),
        (
            "node",
            json!({ "name": "x" }),
            400,
            "cannot be changed while the broker runs",
        ),
        (
            "http",
            json!({ "listen": "127.0.0.1:1" }),
            400,
            "cannot be changed while",
        ),
        ("nothing", json!({}), 404, "there is no section"),
        ("mqtt", json!([1]), 400, "no object"),
    ] {
        let (got, message) = put(section, &body);
        assert_eq!(got, status, "{body}: {message}");
        assert!(message.contains(want), "{message}");
    }
    assert_eq!(told(&api, "a").0, Some(100));
    assert_eq!(overrides(&api), "");
    api.broker.stop();
}

#[test]
fn who_may_only_look_changes_no_settings() {
    let api = Api::start(1);
    let viewer = api.key("look", "viewer");
    for (method, path) in [
        ("PUT", "/api/v5/configs/mqtt"),
        ("POST", "/api/v5/configs_reload"),
        ("POST", "/api/v5/tls/reload"),
    ] {
        assert_eq!(
            api.ask_as(&viewer, method, path, Some(&json!({}))).status,
            403,
            "{path}"
        );
        assert_eq!(
            api.as_nobody(method, path, Some(&json!({}))).status,
            401,
            "{path}"
        );
    }
    assert_eq!(
        api.ask_as(&viewer, "GET", "/api/v5/configs/mqtt", None)
            .status,
        200
    );
    let none = ctl(&api.broker, &["tls", "reload"]);
    assert_eq!(none.out, "no listener speaks TLS\n");
    api.broker.stop();
}

#[test]
fn the_command_line_goes_before_a_change() {
    let api = Api::with(1, &["--set", "mqtt.max_inflight=9"]);
    let body = json!({ "max_inflight": 10 });
    let answer = api.ask("PUT", "/api/v5/configs/mqtt", Some(&body));
    let message = answer.body["message"].as_str().unwrap();
    assert!(message.contains("it is set by --set"), "{message}");
    api.broker.stop();
}

#[test]
fn limits_of_listeners_and_settings_of_the_control_plane_change() {
    let api = Api::start(1);
    let put = |section: &str, body: &Value| {
        let path = format!("/api/v5/configs/{section}");
        let answer = api.ask("PUT", &path, Some(body));
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let first = connect(api.mqtt(), &clean(Version::V311, "first"));
    put("listeners.tcp.default", &json!({ "max_connections": 1 }));
    let refused = std::net::TcpStream::connect(api.mqtt()).map(|mut stream| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        std::io::Read::read(&mut stream, &mut [0; 1])
    });
    assert!(
        matches!(refused, Ok(Ok(0) | Err(_)) | Err(_)),
        "one is enough: {refused:?}"
    );
    let listeners = api.ask("GET", "/api/v5/listeners", None).body;
    assert_eq!(listeners[0]["max_connections"], 1);
    put(
        "listeners.tcp.default",
        &json!({ "max_connections": "infinity" }),
    );
    leave(connect(api.mqtt(), &clean(Version::V311, "second")));
    leave(first);
    assert_eq!(api.as_nobody("GET", "/metrics", None).status, 200);
    put("prometheus", &json!({ "enable_basic_auth": true }));
    assert_eq!(api.as_nobody("GET", "/metrics", None).status, 401);
    assert!(!api.ask("GET", "/metrics", None).text.contains("emqx_"));
    put("prometheus", &json!({ "emqx_names": true }));
    assert!(api.ask("GET", "/metrics", None).text.contains("emqx_"));
    let mut watcher = crate::peer::subscriber(api.mqtt(), Version::V5, "w", "$SYS/#", 0);
    put(
        "sys_topics",
        &json!({ "sys_msg_interval": "1s", "dotted_names": true, "slash_names": false }),
    );
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "no figures come");
        let publish = crate::peer::collect(&mut watcher, 1).remove(0);
        assert!(
            !publish.topic.contains("/stats/connections/count"),
            "{}",
            publish.topic
        );
        if publish.topic.ends_with("/stats/connections.count") {
            break;
        }
    }
    api.broker.stop();
}

#[test]
fn nested_names_come_from_the_environment() {
    let scratch = Scratch::new();
    let path = scratch.path("m.toml");
    fs::write(&path, "[mqtt]\nmax_inflight = 5\n").unwrap();
    let program = crate::broker::program();
    let check = |variables: &[(&str, &str)]| {
        let mut command = std::process::Command::new(&program);
        command.args(["--check", "--config", path.to_str().unwrap(), "--data-dir"]);
        command
            .arg(scratch.path("data"))
            .envs(variables.iter().copied());
        crate::broker::run(&mut command, PATIENCE)
    };
    let good = [
        ("MILLRACE_MQTT__MAX_INFLIGHT", "7"),
        ("MILLRACE_LISTENERS__TCP__DEFAULT__BIND", "127.0.0.1:0"),
        ("MILLRACE_AUTHORIZATION__CACHE__MAX_SIZE", "9"),
        ("MILLRACE_SERVICE_HOST", "passed over"),
    ];
    let said = check(&good);
    assert_eq!(said.code, Some(0), "{said:?}");
    for (wrong, want) in [
        (
            ("MILLRACE_MQTT__MAX_INFLIGHT", "0"),
            "environment variable MILLRACE_MQTT__MAX_INFLIGHT: key",
        ),
        (
            ("MILLRACE_MQTT__MAX_INFLITE", "1"),
            "did you mean `mqtt.max_inflight`?",
        ),
        (
            ("MILLRACE_MQTT_MAX_INFLIGHT", "1"),
            "did you mean MILLRACE_MQTT__MAX_INFLIGHT?",
        ),
    ] {
        let said = check(&[wrong]);
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.err.contains(want), "{}", said.err);
    }
    // A running broker says where a value came from.
    let api = Api::with(1, &[]);
    let rows = api.ask("GET", "/api/v5/configs_settings", None).body;
    let mut rows = rows.as_array().unwrap().iter();
    let row = rows.find(|row| row["key"] == "http.listen").unwrap();
    assert_eq!(
        row["origin"], "--set",
        "it goes before MILLRACE_HTTP__LISTEN"
    );
    api.broker.stop();
}

#[test]
fn certificates_are_read_again_by_command_and_connections_stay() {
    let ca = Ca::new("ca");
    let own = ca.sign("localhost", 1, Kind::Server);
    let settings = set(&server(&own));
    let mut arguments = vec!["--listen", "tls://127.0.0.1:0"];
    arguments.extend(settings.iter().map(String::as_str));
    let api = Api::with(2, &arguments);
    let config = ca.client(None);
    let sealed = relay(api.mqtt(), &config, "localhost");
    let mut stays = connect(sealed, &clean(Version::V311, "stays"));
    let before = handshake(api.mqtt(), &config, "localhost").unwrap();
    let done = api.ask("POST", "/api/v5/tls/reload", None);
    assert_eq!(done.status, 200);
    assert_eq!(
        done.body,
        json!({ "reloaded": ["ssl:default"], "failed": [] })
    );
    fs::copy(&own.certificate, own.key.with_extension("saved")).unwrap();
    fs::write(&own.certificate, "no certificate").unwrap();
    let failed = api.ask("POST", "/api/v5/tls/reload", None).body;
    assert_eq!(failed["failed"][0]["listener"], "ssl:default");
    let said = ctl(&api.broker, &["tls", "reload"]);
    assert!(
        said.out.starts_with("ssl:default: stays as it was: "),
        "{said:?}"
    );
    assert_eq!(handshake(api.mqtt(), &config, "localhost").unwrap(), before);
    let new = ca.sign("localhost", 2, Kind::Server);
    fs::copy(&new.key, &own.key).unwrap();
    fs::copy(&new.certificate, &own.certificate).unwrap();
    let said = ctl(&api.broker, &["pem_cache", "clean"]);
    assert_eq!(said.out, "ssl:default: reloaded\n");
    let after = handshake(api.mqtt(), &ca.client(None), "localhost").unwrap();
    assert_ne!(before, after);
    ping(&mut stays);
    api.broker.stop();
}
