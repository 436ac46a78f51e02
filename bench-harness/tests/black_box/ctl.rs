//! `broker ctl`, `doctor` and `estimate`: what they print, and what they do to clients.

mod diagnose;
mod tools;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bench_harness::client::Client;
use bench_harness::codec::Version;
use serde_json::{Value, json};

use crate::broker::{Broker, Said, Scratch, say};
use crate::http::Api;
use crate::peer::{PATIENCE, SILENCE, clean, connect, leave, ping, subscriber};

const V: Version = Version::V311;

fn data_dir(broker: &Broker) -> String {
    let path = broker.directory().join("data");
    path.to_str().unwrap().to_owned()
}

/// Runs a command with this broker.
fn ctl(broker: &Broker, words: &[&str]) -> Said {
    let dir = data_dir(broker);
    let mut arguments = vec!["ctl", "--data-dir", &dir];
    arguments.extend(words);
    say(&arguments)
}

/// What a command that succeeds prints, without the last end of line.
fn told(broker: &Broker, words: &[&str]) -> String {
    let said = ctl(broker, words);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{words:?}");
    said.out.trim_end_matches('\n').to_owned()
}

fn told_json(broker: &Broker, words: &[&str]) -> Value {
    let mut words = words.to_vec();
    words.push("--json");
    serde_json::from_str(&told(broker, &words)).unwrap()
}

/// What a command that is not done says.
fn refused(broker: &Broker, words: &[&str]) -> String {
    let said = ctl(broker, words);
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{words:?}");
    said.err
}

/// Asks until the text is as wished.
fn until(broker: &Broker, words: &[&str], wished: impl Fn(&str) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = told(broker, words);
        if wished(&text) {
            return;
        }
        assert!(Instant::now() < deadline, "{words:?}: {text}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_socket_is_the_owners_and_goes_with_the_broker() {
    let scratch = Scratch::new();
    // Longer than the address of a socket may be.
    let dir = scratch.path(&"long".repeat(40));
    let dir = dir.to_str().unwrap();
    let arguments = ["--cores", "1", "--data-dir", dir];
    let status = || say(&["ctl", "status", "--data-dir", dir]);
    let socket = PathBuf::from(dir).join("ctl.sock");
    let mut broker = Broker::with(&arguments);
    assert!(
        broker.http.is_none(),
        "it is there without the HTTP address"
    );
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(status().code, Some(0));
    // One that a killed broker left is replaced.
    broker.signal("KILL");
    broker.wait_at_most(PATIENCE).unwrap();
    assert!(socket.exists());
    let gone = status();
    assert_eq!(gone.code, Some(1));
    assert!(gone.err.starts_with("no broker is running"), "{gone:?}");
    let broker = Broker::with(&arguments);
    assert_eq!(status().code, Some(0));
    broker.stop();
    assert!(!socket.exists());
}

#[test]
fn without_a_broker_there_is_a_clear_message() {
    let scratch = Scratch::new();
    let dir = scratch.path("data");
    let dir = dir.to_str().unwrap();
    for words in [
        &["status"][..],
        &["clients", "list"],
        &["ping"],
        &["clients", "list", "--json"],
    ] {
        let mut arguments = vec!["ctl", "--data-dir", dir];
        arguments.extend(words);
        let said = say(&arguments);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.starts_with("no broker is running"), "{said:?}");
        assert!(said.err.contains("--data-dir"), "{said:?}");
    }
    assert!(!PathBuf::from(dir).exists(), "nothing is made");
    for words in [
        &["ctl"][..],
        &["ctl", "nonsense"],
        &["ctl", "clients", "kick"],
        &["ctl", "--x"],
    ] {
        assert_eq!(say(words).code, Some(2), "{words:?}");
    }
    let usage = say(&["ctl", "banned", "add"]);
    assert!(
        usage.err.contains("banned add clientid|username|peerhost"),
        "{usage:?}"
    );
    let help = say(&["ctl", "help"]);
    assert!(
        help.code == Some(0) && help.out.contains("clients kick <ClientId>"),
        "{help:?}"
    );
}

#[test]
fn the_broker_tells_of_itself() {
    let broker = Broker::start(1);
    let status = told(&broker, &["status"]);
    let lines: Vec<&str> = status.lines().collect();
    assert_eq!(lines[0], "Node 'millrace@127.0.0.1' is started");
    assert!(
        lines[1].starts_with("millrace ") && lines[1].ends_with(" is running"),
        "{status}"
    );
    assert_eq!(told_json(&broker, &["status"])["app_status"], "running");
    assert_eq!(told(&broker, &["ping"]), "pong");
    let about = told(&broker, &["broker"]);
    let names: Vec<&str> = about.lines().map(|line| &line[..12]).collect();
    assert_eq!(
        names,
        [
            "sysdescr  : ",
            "version   : ",
            "uptime    : ",
            "datetime  : "
        ]
    );
    let cluster = told(&broker, &["cluster", "status"]);
    let want = "Cluster status: #{running_nodes => ['millrace@127.0.0.1'],stopped_nodes => []}";
    assert_eq!(cluster, want);
    let _client = connect(broker.address(), &clean(V, "c"));
    let line = "connections.count             : 1";
    until(&broker, &["broker", "stats"], |text| {
        text.lines().any(|is| is == line)
    });
    let metrics = told_json(&broker, &["broker", "metrics"]);
    assert_eq!(metrics["packets.connect.received"], 1, "{metrics}");
    let conf = told(&broker, &["conf", "show", "node"]);
    assert!(
        conf.lines()
            .any(|line| line == "node.cores = 1    # --cores"),
        "{conf}"
    );
    assert!(conf.lines().all(|line| line.starts_with("node.")), "{conf}");
    let none = refused(&broker, &["conf", "show", "nothing"]);
    assert!(none.contains("there is no section"), "{none}");
}

#[test]
fn a_client_is_told_of_and_a_kicked_one_is_gone() {
    let broker = Broker::start(2);
    let mut victim = subscriber(broker.address(), V, "victim", "t/+", 1);
    let mut kept = connect(broker.address(), &clean(Version::V5, "a kept/one"));
    let line = told(&broker, &["clients", "show", "victim"]);
    assert!(
        line.starts_with("Client (victim, username=undefined, peername=127.0.0.1:"),
        "{line}"
    );
    for part in [
        "clean_start=true",
        "subscriptions=1",
        "inflight=0",
        "connected=true",
    ] {
        assert!(line.contains(&format!(", {part}, ")), "{line}");
    }
    let all = told(&broker, &["clients", "list"]);
    assert_eq!(all.lines().count(), 2, "{all}");
    assert_eq!(
        told_json(&broker, &["clients", "list"])
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(told(&broker, &["clients", "kick", "victim"]), "ok");
    victim.expect_closed(PATIENCE).unwrap();
    assert!(refused(&broker, &["clients", "kick", "victim"]).contains("no client `victim`"));
    assert!(refused(&broker, &["clients", "show", "victim"]).contains("no client `victim`"));
    assert!(told(&broker, &["clients", "show", "a kept/one"]).starts_with("Client (a kept/one,"));
    ping(&mut kept);
}

#[test]
fn subscriptions_come_and_go_and_are_listed() {
    let broker = Broker::start(2);
    let mut client = subscriber(broker.address(), V, "c", "t/+/x", 1);
    let mut sender = connect(broker.address(), &clean(V, "s"));
    assert_eq!(
        told(&broker, &["subscriptions", "add", "c", "new", "0"]),
        "ok"
    );
    sender.publish("new", 0, b"1").unwrap();
    assert_eq!(client.expect_publish().unwrap().payload, b"1");
    let shown = told(&broker, &["subscriptions", "show", "c"]);
    let mut shown: Vec<&str> = shown.lines().collect();
    shown.sort_unstable();
    assert_eq!(shown, ["c -> new:0", "c -> t/+/x:1"]);
    assert_eq!(told(&broker, &["subscriptions", "list"]).lines().count(), 2);
    until(&broker, &["topics", "list"], |text| {
        text.lines().count() == 2
    });
    // Both spellings.
    for group in ["routes", "topics"] {
        let route = told(&broker, &[group, "show", "t/+/x"]);
        assert_eq!(route, "t/+/x -> millrace@127.0.0.1");
        assert!(refused(&broker, &[group, "show", "none"]).contains("nobody has subscribed"));
    }
    assert_eq!(told(&broker, &["subscriptions", "del", "c", "new"]), "ok");
    sender.publish("new", 0, b"2").unwrap();
    client.expect_nothing(SILENCE).unwrap();
    assert!(refused(&broker, &["subscriptions", "add", "nobody", "t", "0"]).contains("nobody"));
    refused(&broker, &["subscriptions", "add", "c", "a/#/b", "0"]);
}

#[test]
fn listeners_stop_and_start_and_tell_why_connections_ended() {
    let broker = Broker::start(1);
    let address = broker.address();
    let mut stays = connect(address, &clean(V, "stays"));
    leave(connect(address, &clean(V, "leaves")));
    until(&broker, &["listeners"], |text| {
        text.contains("  shutdown_count  : [{normal,1}]")
    });
    let text = told(&broker, &["listeners"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "tcp:default");
    assert_eq!(lines[1], format!("  listen_on       : {address}"));
    assert!(lines.contains(&"  current_conn    : 1"), "{text}");
    let port = address.port().to_string();
    // EMQX 5's id, EMQX 4's, and its kind and port.
    for id in [
        &["tcp:default"][..],
        &["mqtt:tcp:external"],
        &["mqtt:tcp", &port],
    ] {
        let of = |verb| [&["listeners", verb], id].concat();
        let stopped = told(&broker, &of("stop"));
        assert_eq!(stopped, "Stop tcp:default listener successfully.");
        let mut options = clean(V, "late");
        options.timeout = Duration::from_secs(2);
        assert!(Client::connect(address, &options).is_err());
        ping(&mut stays);
        let started = told(&broker, &of("start"));
        assert_eq!(started, "Started tcp:default listener successfully.");
        leave(connect(address, &clean(V, "late")));
    }
    let restarted = told(&broker, &["listeners", "restart", "tcp:default"]);
    assert_eq!(restarted, "Restarted tcp:default listener successfully.");
    leave(connect(address, &clean(V, "late")));
    assert!(refused(&broker, &["listeners", "stop", "tcp:other"]).contains("no listener"));
    assert!(refused(&broker, &["listeners", "stop", "ssl", &port]).contains("no listener of ssl"));
}

#[test]
fn who_is_banned_is_refused_until_the_ban_ends() {
    let broker = Broker::start(1);
    let is_in = |id: &str| Client::connect(broker.address(), &clean(V, id)).is_ok();
    assert!(is_in("bad"));
    let words = [
        "banned",
        "add",
        "clientid",
        "bad",
        "3600",
        "too many messages",
    ];
    assert_eq!(told(&broker, &words), "ok");
    assert_eq!(
        told(&broker, &["banned", "add", "peerhost", "192.0.2.1"]),
        "ok"
    );
    assert!(!is_in("bad") && is_in("good"));
    let list = told(&broker, &["banned", "list"]);
    let bad = list
        .lines()
        .find(|line| line.starts_with("banned(clientid:bad, by=ctl"));
    assert!(
        bad.is_some_and(|line| line.contains("reason=too many messages, at=")),
        "{list}"
    );
    assert!(
        list.contains("banned(peerhost:192.0.2.1") && list.contains("until=infinity"),
        "{list}"
    );
    assert_eq!(told(&broker, &["banned", "del", "clientid", "bad"]), "ok");
    let deadline = Instant::now() + PATIENCE;
    while !is_in("bad") {
        assert!(Instant::now() < deadline, "still banned");
    }
    assert!(refused(&broker, &["banned", "del", "clientid", "bad"]).contains("not banned"));
    refused(&broker, &["banned", "add", "peerhost", "not an address"]);
}

/// The total, with the few under `$SYS` that the broker itself retains.
fn has_total(text: &str, own: u32) -> bool {
    let total = text.strip_prefix("retained/total: ").unwrap();
    (own..own + 10).contains(&total.parse().unwrap())
}

#[test]
fn retained_messages_are_counted_walked_and_cleaned() {
    let broker = Broker::start(2);
    let mut sender = connect(broker.address(), &clean(V, "s"));
    // More than a page of the walk.
    let mut wanted: Vec<String> = (0..2500).map(|n| format!("r/{n}")).collect();
    for topic in &wanted {
        let mut message = crate::peer::message(topic, "x");
        message.retain = true;
        sender
            .send(&bench_harness::codec::Packet::Publish(message))
            .unwrap();
    }
    ping(&mut sender);
    until(&broker, &["retainer", "info"], |text| has_total(text, 2500));
    let topics = told(&broker, &["retainer", "topics"]);
    let mut topics: Vec<&str> = topics.lines().collect();
    topics.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(topics, wanted);
    let json = told_json(&broker, &["retainer", "topics"]);
    assert_eq!(json.as_array().unwrap().len(), 2500);
    assert_eq!(told(&broker, &["retainer", "clean", "r/7"]), "ok");
    until(&broker, &["retainer", "info"], |text| has_total(text, 2499));
    let mut late = subscriber(broker.address(), V, "late", "r/7", 0);
    late.expect_nothing(SILENCE).unwrap();
    assert_eq!(told(&broker, &["retainer", "clean"]), "ok");
    until(&broker, &["retainer", "info"], |text| has_total(text, 0));
    assert_eq!(told(&broker, &["retainer", "topics"]), "");
}

#[test]
fn users_and_keys_made_here_open_the_api() {
    let api = Api::start(1);
    let broker = &api.broker;
    let words = [
        "admins",
        "add",
        "ann",
        "long enough",
        "night shift",
        "viewer",
    ];
    assert_eq!(told(broker, &words), "ok");
    api.login("ann", "long enough");
    // Without the present password, which the API asks for.
    assert_eq!(
        told(broker, &["admins", "passwd", "ann", "something else"]),
        "ok"
    );
    api.login("ann", "something else");
    let old = json!({ "username": "ann", "password": "long enough" });
    assert_eq!(
        api.as_nobody("POST", "/api/v5/login", Some(&old)).status,
        401
    );
    let wrong = json!({ "old_pwd": "", "new_pwd": "long enough" });
    assert_eq!(api.post("/api/v5/users/ann/change_pwd", &wrong).status, 400);
    let list = told(broker, &["admins", "list"]);
    assert!(
        list.contains("ann role=viewer description=night shift"),
        "{list}"
    );
    assert!(refused(broker, &["admins", "passwd", "ann", "short"]).contains("a password has"));
    assert_eq!(told(broker, &["admins", "del", "ann"]), "ok");
    assert!(refused(broker, &["admins", "del", "ann"]).contains("no user `ann`"));
    let key = told_json(broker, &["api_keys", "add", "probe", "viewer"]);
    let part = |field: &str| key[field].as_str().unwrap().to_owned();
    let who = crate::http::basic(&part("api_key"), &part("api_secret"));
    let status = || api.ask_as(&who, "GET", "/api/v5/clients", None).status;
    assert_eq!(status(), 200);
    let list = told(broker, &["api_keys", "list"]);
    assert!(
        list.starts_with("probe api_key=") && !list.contains("secret"),
        "{list}"
    );
    assert_eq!(told(broker, &["api_keys", "del", "probe"]), "ok");
    assert_eq!(status(), 401);
}

#[test]
fn applications_of_emqx_4_are_api_keys() {
    let api = Api::start(1);
    let broker = &api.broker;
    let own = "a-secret-of-the-user";
    let words = ["mgmt", "insert", "901abdba8eb8c", "hello", own];
    assert_eq!(told(broker, &words), format!("AppSecret: {own}"));
    let made = told(broker, &["mgmt", "insert", "other", "world"]);
    let made = made.strip_prefix("AppSecret: ").unwrap().to_owned();
    let status = |id: &str, secret: &str| {
        let who = crate::http::basic(id, secret);
        api.ask_as(&who, "GET", "/api/v4/clients", None).status
    };
    let both = || (status("901abdba8eb8c", own), status("other", &made));
    assert_eq!(both(), (200, 200));
    let list = told(broker, &["mgmt", "list"]);
    let line = "app_id: 901abdba8eb8c, secret: ******, name: hello, desc: , status: true, expired: undefined";
    assert!(list.lines().any(|is| is == line), "{list}");
    let stop = ["mgmt", "update", "901abdba8eb8c", "stop"];
    assert_eq!(told(broker, &stop), "update successfully.");
    assert_eq!(both(), (401, 200));
    let shown = told(broker, &["mgmt", "lookup", "901abdba8eb8c"]);
    assert!(shown.lines().any(|is| is == "status: false"), "{shown}");
    let start = ["mgmt", "update", "901abdba8eb8c", "start"];
    assert_eq!(told(broker, &start), "update successfully.");
    assert_eq!(told(broker, &["mgmt", "delete", "other"]), "ok");
    assert_eq!(both(), (200, 401));
    for (words, why) in [
        (&["mgmt", "lookup", "other"][..], "no API key `other`"),
        (&["mgmt", "delete", "other"], "no API key `other`"),
        (&["mgmt", "update", "other", "stop"], "no API key `other`"),
        (&["mgmt", "insert", "901abdba8eb8c", "x"], "already"),
        (&["mgmt", "insert", "new", "x", "public"], "16 to 255 bytes"),
        (&["mgmt", "insert", "a b", "x"], "a name has"),
    ] {
        assert!(refused(broker, words).contains(why), "{words:?}");
    }
}
