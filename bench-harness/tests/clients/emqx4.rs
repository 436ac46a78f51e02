//! A script that was written for EMQX 4, pointed at this broker.

use std::process::Command;
use std::time::Duration;

use crate::broker::{Broker, program, run, say, source};

const TIMEOUT: Duration = Duration::from_secs(120);
/// What the user's script has had all the time.
const SECRET: &str = "MjgzMzQ5MjYyMTY3ODk4MjA5NzMwODExODMxMDM1NDk0NDA";

#[test]
#[ignore = "needs requests and paho-mqtt, which scripts/test.sh installs"]
fn a_script_for_emqx_4() {
    let broker = Broker::with(&[
        "--cores",
        "2",
        "--set",
        "http.listen=127.0.0.1:0",
        "--set",
        "http.listen_v4=127.0.0.1:0",
        "--set",
        "sys_topics.dotted_names=true",
        "--set",
        "sys_topics.sys_msg_interval=1s",
        "--set",
        "sys_topics.sys_heartbeat_interval=1s",
    ]);
    let data = broker.directory().join("data");
    let data = data.to_str().unwrap();
    let words = ["mgmt", "insert", "901abdba8eb8c", "script", SECRET];
    let made = say(&[&["ctl", "--data-dir", data][..], &words].concat());
    assert_eq!(made.out, format!("AppSecret: {SECRET}\n"), "{made:?}");
    let python = source("target/test-tools/venv/bin/python");
    let mut script = Command::new(python);
    script.arg(source("bench-harness/tests/clients/emqx4_script.py"));
    let address = broker.address();
    script.args([address.ip().to_string(), address.port().to_string()]);
    script.arg(format!("http://{}", broker.http_v4.unwrap()));
    script.args(["901abdba8eb8c", SECRET]);
    script.arg(program()).arg(data);
    let said = run(&mut script, TIMEOUT);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let last = said.out.lines().last().unwrap_or_default();
    assert!(
        last.ends_with(" passed, 0 failed") && !last.starts_with("0 "),
        "{}",
        said.out
    );
    broker.stop();
}
