//! A broker in the background: `start`, `ping`, `stop`, `restart`.

use std::fs;

use bench_harness::codec::Version;

use crate::broker::{Scratch, say};
use crate::peer::{clean, connect, leave};

/// Ends the broker of a directory with the test, whatever happens in between.
struct Ends(String);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = say(&["stop", "--data-dir", &self.0]);
    }
}

#[test]
fn a_broker_in_the_background_from_start_to_stop() {
    let scratch = Scratch::new();
    let dir = scratch.path("data").to_str().unwrap().to_owned();
    let of = |word: &str| {
        say(&[
            word,
            "--data-dir",
            &dir,
            "--cores",
            "1",
            "--listen",
            "tcp://127.0.0.1:0",
        ])
    };
    let nobody = of("ping");
    assert_eq!(nobody.code, Some(1), "{nobody:?}");
    let nobody = of("stop");
    assert_eq!(nobody.code, Some(1));
    assert!(
        nobody
            .err
            .starts_with("no broker runs with the data directory"),
        "{}",
        nobody.err
    );
    let _ends = Ends(dir.clone());
    let started = of("start");
    assert_eq!(started.code, Some(0), "{started:?}");
    assert!(
        started.out.starts_with("millrace is started (process "),
        "{}",
        started.out
    );
    assert_eq!(of("ping").out, "pong\n");
    let second = of("start");
    assert_eq!(second.code, Some(1));
    assert!(second.err.contains("already"), "{}", second.err);
    let log = || fs::read_to_string(format!("{dir}/broker.log")).unwrap();
    let address = |log: &str| {
        let line = log
            .lines()
            .rev()
            .find(|line| line.starts_with("listening tcp:default "));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    };
    leave(connect(address(&log()), &clean(Version::V311, "a")));
    let pid = || fs::read_to_string(format!("{dir}/broker.pid")).unwrap();
    let before = pid();
    assert_eq!(of("restart").code, Some(0));
    assert_ne!(pid(), before);
    leave(connect(address(&log()), &clean(Version::V311, "a")));
    let stopped = of("stop");
    assert_eq!(
        (stopped.code, stopped.out.as_str()),
        (Some(0), "millrace is stopped\n")
    );
    assert_eq!(of("ping").code, Some(1));
    let wrong = say(&["start", "--data-dir", &dir, "--set", "mqtt.max_inflight=0"]);
    assert_eq!(wrong.code, Some(1));
    assert!(wrong.err.contains("mqtt.max_inflight"), "{}", wrong.err);
}
