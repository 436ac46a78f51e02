//! Clients in other languages: a script each, which checks what it receives and ends with the line
//! `N passed, 0 failed`.

use std::process::Command;
use std::time::Duration;

use crate::broker::{Broker, run, source};

const TIMEOUT: Duration = Duration::from_secs(120);
const CORES: u32 = 4;

fn run_script(command: &mut Command, script: &str, kind: &str) {
    let listen = format!("{kind}://127.0.0.1:0");
    let broker = Broker::with(&["--cores", &CORES.to_string(), "--listen", &listen]);
    let address = broker.address();
    if let Some(script) = script.strip_prefix("script ") {
        command.arg(source("bench-harness/tests/clients").join(script));
    }
    command.args([address.ip().to_string(), address.port().to_string()]);
    if kind != "tcp" {
        command.arg(kind);
    }
    let said = run(command, TIMEOUT);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let last = said.out.lines().last().unwrap_or_default();
    assert!(
        last.ends_with(" passed, 0 failed") && !last.starts_with("0 "),
        "{}",
        said.out
    );
    println!("{script} over {kind}: {last}");
    broker.stop();
}

#[test]
#[ignore = "needs paho-mqtt, which scripts/test.sh installs"]
fn paho_mqtt_of_python() {
    let python = source("target/test-tools/venv/bin/python");
    run_script(&mut Command::new(python), "script paho_client.py", "tcp");
}

#[test]
#[ignore = "needs MQTT.js, which scripts/test.sh installs"]
fn mqtt_js_of_node() {
    let mut node = Command::new("node");
    node.env("NODE_PATH", source("target/test-tools/node/node_modules"));
    run_script(&mut node, "script mqttjs_client.cjs", "tcp");
}

#[test]
#[ignore = "needs MQTT.js, which scripts/test.sh installs"]
fn mqtt_js_of_node_over_websocket() {
    let mut node = Command::new("node");
    node.env("NODE_PATH", source("target/test-tools/node/node_modules"));
    run_script(&mut node, "script mqttjs_client.cjs", "ws");
}

#[test]
#[ignore = "needs aiomqtt, which scripts/test.sh installs"]
fn aiomqtt_of_python() {
    let python = source("target/test-tools/venv/bin/python");
    run_script(&mut Command::new(python), "script aiomqtt_client.py", "tcp");
}

#[test]
#[ignore = "needs gmqtt, which scripts/test.sh installs"]
fn gmqtt_of_python() {
    let python = source("target/test-tools/venv/bin/python");
    run_script(&mut Command::new(python), "script gmqtt_client.py", "tcp");
}

#[test]
#[ignore = "needs the program that scripts/test.sh compiles with libpaho-mqtt-dev"]
fn paho_mqtt_of_c() {
    let program = source("target/test-tools/paho_client");
    run_script(&mut Command::new(program), "paho_client", "tcp");
}
