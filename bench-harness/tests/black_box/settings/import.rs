//! Files of other brokers become ours: written, taken by the broker, with their users and rights.

use std::fs;

use bench_harness::client::Client;
use bench_harness::codec::Version;

use crate::broker::{Broker, Scratch, say, source};
use crate::peer::{clean, connect, leave};

fn testdata(name: &str) -> String {
    let path = source("src/cli/import/testdata").join(name);
    path.to_str().unwrap().to_owned()
}

/// A directory with the files of EMQX, and the words that import them to `new.toml` there.
fn emqx(scratch: &Scratch) -> Vec<String> {
    let plugins = scratch.path("plugins");
    fs::create_dir(&plugins).unwrap();
    for name in [
        "emqx_auth_http.conf",
        "emqx_auth_mysql.conf",
        "emqx_web_hook.conf",
    ] {
        fs::copy(testdata(name), plugins.join(name)).unwrap();
    }
    let acl = scratch.path("acl.conf");
    fs::write(
        &acl,
        "{allow, {user, \"ann\"}, pubsub, [\"a/#\"]}.\n{deny, all}.\n",
    )
    .unwrap();
    let shown = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let mut words = vec!["import".to_owned(), "emqx".to_owned()];
    for (option, value) in [
        ("--file", testdata("emqx.conf")),
        ("--acl", shown(&acl)),
        ("--plugins", shown(&plugins)),
        ("--out", shown(&scratch.path("new.toml"))),
    ] {
        words.extend([option.to_owned(), value]);
    }
    words
}

#[test]
fn a_configuration_of_emqx_is_taken_and_what_is_lost_is_said() {
    let scratch = Scratch::new();
    let (words, out) = (emqx(&scratch), scratch.path("new.toml"));
    let run = |more: &[&'static str]| {
        let words = words.iter().map(String::as_str);
        say(&words.chain(more.iter().copied()).collect::<Vec<_>>())
    };
    let said = run(&[]);
    assert_eq!(said.code, Some(1), "something is lost: {said:?}");
    assert!(said.out.contains("new.toml is written"), "{}", said.out);
    let why = "emqx.conf:6: cluster.discovery: this broker is one node";
    assert!(said.err.contains(why), "{}", said.err);
    let text = fs::read_to_string(&out).unwrap();
    for line in said.err.lines() {
        assert!(text.contains(line), "it stands in the file as well: {line}");
    }
    // The broker takes it; certificates are not there, so that listener is left out.
    let lines = text.lines();
    let lines = lines.filter(|line| !line.starts_with("listeners.ssl"));
    fs::write(&out, lines.collect::<Vec<_>>().join("\n")).unwrap();
    let data = scratch.path("data");
    let checked = say(&[
        "--check",
        "--config",
        out.to_str().unwrap(),
        "--data-dir",
        data.to_str().unwrap(),
    ]);
    let valid = "ok: the configuration is valid";
    assert!(checked.out.starts_with(valid), "{checked:?}");
    let again = run(&[]);
    assert_eq!(again.code, Some(2));
    let there = "is there already; --force replaces it";
    assert!(again.err.contains(there), "{}", again.err);
    assert_eq!(run(&["--force"]).code, Some(1));
    let none = say(&["import", "emqx", "--file", "/nowhere/emqx.conf"]);
    assert_eq!(none.code, Some(2));
    let unread = "the file /nowhere/emqx.conf cannot be read";
    assert!(none.err.starts_with(unread), "{}", none.err);
    assert_eq!(say(&["import", "emqx"]).code, Some(2));
}

#[test]
fn users_and_rights_of_mosquitto_hold_here() {
    let scratch = Scratch::new();
    let (passwd, acl) = (testdata("mosquitto.passwd"), testdata("mosquitto.acl"));
    let conf = scratch.path("mosquitto.conf");
    fs::write(
        &conf,
        format!("listener 1883\npassword_file {passwd}\nacl_file {acl}\n"),
    )
    .unwrap();
    let out = scratch.path("new.toml");
    let out = out.to_str().unwrap();
    let said = say(&[
        "import",
        "mosquitto",
        "--file",
        conf.to_str().unwrap(),
        "--out",
        out,
    ]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
    let broker = Broker::with(&[
        "--cores",
        "1",
        "--config",
        out,
        "--listen",
        "tcp://127.0.0.1:0",
    ]);
    let named = |user: &str, password: &str| {
        let mut options = clean(Version::V311, user);
        options.connect.username = Some(user.to_owned());
        options.connect.password = Some(password.as_bytes().to_vec());
        options
    };
    for (user, password) in [
        ("ann", "first-password"),
        ("bob", "second-password"),
        ("carl", "third-password"),
    ] {
        leave(connect(broker.address(), &named(user, password)));
        let wrong = Client::connect(broker.address(), &named(user, "wrong"));
        assert!(wrong.is_err(), "{user}");
    }
    assert!(Client::connect(broker.address(), &clean(Version::V311, "nobody")).is_err());
    let mut ann = connect(broker.address(), &named("ann", "first-password"));
    for (filter, code) in [("ann/x", 0), ("public/x", 0x80), ("bob/x", 0x80)] {
        assert_eq!(ann.subscribe(filter, 0).unwrap(), code, "{filter}");
    }
    leave(ann);
    broker.stop();
}
