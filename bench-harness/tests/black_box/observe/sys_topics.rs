//! `$SYS`: EMQX's tree and mosquitto's.

use bench_harness::codec::Version;

use super::{NODE, gather};
use crate::broker::Broker;
use crate::peer::{SILENCE, clean, connect, subscriber};

const OFTEN: [&str; 4] = [
    "--set",
    "sys_topics.sys_msg_interval=1s",
    "--set",
    "sys_topics.sys_heartbeat_interval=1s",
];

fn often(more: &[&str]) -> Broker {
    let mut arguments = vec!["--cores", "2"];
    arguments.extend(OFTEN);
    arguments.extend(more);
    Broker::with(&arguments)
}

#[test]
fn the_tree_of_emqx_is_published() {
    let broker = often(&[]);
    let _other = subscriber(broker.address(), Version::V311, "other", "a/b", 0);
    let mut client = subscriber(broker.address(), Version::V5, "c", "$SYS/#", 0);
    let prefix = format!("$SYS/brokers/{NODE}");
    let last = format!("{prefix}/stats/topics/max");
    let metric = format!("{prefix}/metrics/session/takeovered");
    let uptime = format!("{prefix}/uptime");
    let all = gather(&mut client, |all| {
        [&last, &metric, &uptime]
            .iter()
            .all(|name| all.contains_key(*name))
    });
    assert_eq!(all["$SYS/brokers"], NODE);
    let of = |name: &str| all[&format!("{prefix}/{name}")].as_str();
    assert_eq!(of("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(of("sysdescr"), "Millrace");
    assert!(of("uptime").ends_with(" seconds"), "{}", of("uptime"));
    assert_eq!(of("datetime").len(), "2026-11-25 00:00:00".len());
    for (name, wanted) in [
        ("stats/connections/count", "2"),
        ("stats/sessions/count", "2"),
        ("stats/live_connections/count", "2"),
        ("stats/subscriptions/count", "2"),
        ("stats/subscriptions/shared/count", "0"),
        ("stats/topics/count", "2"),
        ("metrics/client/connected", "2"),
        ("metrics/packets/connect/received", "2"),
        ("metrics/messages/qos1/received", "0"),
        ("metrics/session/created", "2"),
    ] {
        assert_eq!(of(name), wanted, "{name}");
    }
    assert!(!all.contains_key(&format!("{prefix}/stats/connections.count")));
    assert!(all.keys().all(|topic| !topic.starts_with("$SYS/broker/")));
}

#[test]
fn the_names_of_emqx_4_and_of_mosquitto_are_there_when_asked_for() {
    let broker = often(&[
        "--set",
        "sys_topics.dotted_names=true",
        "--set",
        "sys_topics.slash_names=false",
        "--set",
        "sys_topics.mosquitto=true",
    ]);
    let mut client = subscriber(broker.address(), Version::V311, "c", "$SYS/#", 0);
    let dotted = format!("$SYS/brokers/{NODE}/stats/connections.count");
    let last = "$SYS/broker/load/connections/15min";
    let all = gather(&mut client, |all| {
        all.contains_key(&dotted) && all.contains_key(last)
    });
    assert_eq!(all[&dotted], "1");
    assert!(!all.contains_key(&format!("$SYS/brokers/{NODE}/stats/connections/count")));
    for (name, wanted) in [
        ("clients/connected", "1"),
        ("clients/total", "1"),
        ("subscriptions/count", "1"),
        ("publish/messages/received", "0"),
    ] {
        assert_eq!(all[&format!("$SYS/broker/{name}")], wanted, "{name}");
    }
    assert!(all["$SYS/broker/version"].starts_with("millrace version "));
    assert!(all["$SYS/broker/uptime"].ends_with(" seconds"));
    let load: f64 = all["$SYS/broker/load/bytes/received/1min"].parse().unwrap();
    assert!(load >= 0.0);
}

#[test]
fn what_is_retained_comes_at_once_and_nobody_gets_what_he_did_not_ask_for() {
    let broker = often(&["--set", "sys_topics.sys_msg_interval=1h"]);
    let mut all = connect(broker.address(), &clean(Version::V5, "all"));
    assert_eq!(all.subscribe("#", 0).unwrap(), 0);
    let mut client = connect(broker.address(), &clean(Version::V5, "c"));
    let filter = format!("$SYS/brokers/{NODE}/version");
    assert_eq!(client.subscribe(&filter, 0).unwrap(), 0);
    let got = gather(&mut client, |all| all.contains_key(&filter));
    assert_eq!(got[&filter], env!("CARGO_PKG_VERSION"));
    assert!(all.expect(SILENCE).is_err(), "`#` is not for `$SYS`");
}
