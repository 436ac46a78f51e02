//! `mosquitto_pub` and `mosquitto_sub` against the real binary.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::broker::{Broker, Said, run};

const TIMEOUT: Duration = Duration::from_secs(30);
/// How long the programs themselves wait for what they want.
const WAIT_S: &str = "20";
const VERSIONS: [&str; 3] = ["mqttv31", "mqttv311", "mqttv5"];
const CORES: u32 = 4;

/// The program with unbuffered lines, so that each is seen when it is printed.
fn client(program: &str, broker: &Broker, version: &str) -> Command {
    let mut command = Command::new("stdbuf");
    command.args(["-oL", program]);
    let address = broker.address();
    command.args([
        "-h",
        &address.ip().to_string(),
        "-p",
        &address.port().to_string(),
    ]);
    command.args(["-V", version]);
    command
}

/// A `mosquitto_sub` that runs and has its subscriptions.
struct Subscriber {
    child: Child,
    lines: Receiver<String>,
}

/// What each received message is printed as; nothing else that it prints begins so.
const FORMAT: &str = "MESSAGE %t %q %r %p";

impl Subscriber {
    fn start(broker: &Broker, version: &str, arguments: &[&str]) -> Self {
        let mut command = client("mosquitto_sub", broker, version);
        command.args(["-d", "-F", FORMAT]).args(arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("mosquitto-clients are installed");
        let lines = lines_of(child.stdout.take().unwrap());
        let subscriber = Self { child, lines };
        while !subscriber.line().starts_with("Subscribed ") {}
        subscriber
    }

    fn line(&self) -> String {
        self.lines
            .recv_timeout(TIMEOUT)
            .expect("mosquitto_sub said nothing in time")
    }

    /// The next message as [`FORMAT`] prints it, without its first word.
    fn message(&self) -> String {
        loop {
            if let Some(message) = self.line().strip_prefix("MESSAGE ") {
                return message.to_owned();
            }
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of(stdout: ChildStdout) -> Receiver<String> {
    let (send, receive) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    receive
}

fn publish(broker: &Broker, version: &str, arguments: &[&str]) {
    let said = run(
        client("mosquitto_pub", broker, version).args(arguments),
        TIMEOUT,
    );
    assert_eq!(said.code, Some(0), "{version} {arguments:?}: {said:?}");
}

/// One message a line.
fn publish_lines(broker: &Broker, version: &str, arguments: &[&str], lines: &[String]) {
    let mut command = client("mosquitto_pub", broker, version);
    command.args(arguments).arg("-l").stdin(Stdio::piped());
    let mut child = command.spawn().expect("mosquitto-clients are installed");
    let mut stdin: ChildStdin = child.stdin.take().unwrap();
    stdin
        .write_all((lines.join("\n") + "\n").as_bytes())
        .unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success(), "{version} {arguments:?}");
}

/// A `mosquitto_sub` that ends by itself, and what it printed.
fn subscribe(broker: &Broker, version: &str, arguments: &[&str]) -> Said {
    let mut command = client("mosquitto_sub", broker, version);
    command.args(["-W", WAIT_S]).args(arguments);
    run(&mut command, TIMEOUT)
}

fn numbered(prefix: &str) -> Vec<String> {
    (0..50).map(|number| format!("{prefix}-{number}")).collect()
}

#[test]
#[ignore = "needs mosquitto-clients, which scripts/test.sh installs"]
fn messages_between_all_versions_at_every_qos() {
    let broker = Broker::start(CORES);
    for to in VERSIONS {
        for qos in ["0", "1", "2"] {
            let subscriber = Subscriber::start(&broker, to, &["-q", qos, "-t", "m/+"]);
            for from in VERSIONS {
                let sent = numbered(from);
                let topic = format!("m/{from}");
                publish_lines(&broker, from, &["-q", qos, "-t", &topic], &sent);
                for text in &sent {
                    assert_eq!(subscriber.message(), format!("{topic} {qos} 0 {text}"));
                }
            }
        }
    }
    broker.stop();
}

#[test]
#[ignore = "needs mosquitto-clients, which scripts/test.sh installs"]
fn retained_messages() {
    let broker = Broker::start(CORES);
    for version in VERSIONS {
        for qos in ["0", "1", "2"] {
            publish(
                &broker,
                version,
                &["-r", "-q", qos, "-t", "r/x", "-m", "kept"],
            );
            // At QoS 0 nothing says when it is stored; the subscriber waits for it.
            let late = ["-q", qos, "-t", "r/#", "-C", "1", "-F", FORMAT];
            let said = subscribe(&broker, version, &late);
            assert!(
                said.out.starts_with(&format!("MESSAGE r/x {qos} ")),
                "{said:?}"
            );
            assert!(said.out.trim_end().ends_with(" kept"), "{said:?}");
            publish(&broker, version, &["-r", "-q", "1", "-n", "-t", "r/x"]);
            publish(
                &broker,
                version,
                &["-r", "-q", "1", "-t", "r/y", "-m", "other"],
            );
            let said = subscribe(&broker, version, &late);
            assert_eq!(
                said.out,
                format!("MESSAGE r/y {} 1 other\n", qos.min("1")),
                "{said:?}"
            );
            publish(&broker, version, &["-r", "-q", "1", "-n", "-t", "r/y"]);
        }
    }
    broker.stop();
}

#[test]
#[ignore = "needs mosquitto-clients, which scripts/test.sh installs"]
fn wills() {
    let broker = Broker::start(CORES);
    for version in VERSIONS {
        let heir = Subscriber::start(&broker, version, &["-q", "2", "-t", "wills/x"]);
        let will = [
            "-t",
            "unused",
            "--will-topic",
            "wills/x",
            "--will-payload",
            "last",
            "--will-qos",
            "1",
        ];
        let mut testator = Subscriber::start(&broker, version, &will);
        testator.child.kill().unwrap();
        assert_eq!(heir.message(), "wills/x 1 0 last");
    }
    broker.stop();
}

#[test]
#[ignore = "needs mosquitto-clients, which scripts/test.sh installs"]
fn sessions() {
    let broker = Broker::start(CORES);
    for version in VERSIONS {
        for qos in ["1", "2"] {
            let session = ["-c", "-i", "sleeper", "-q", qos, "-t", "s/x"];
            let said = subscribe(&broker, version, &[&session[..], &["-E"]].concat());
            assert_eq!(said.code, Some(0), "{said:?}");
            let sent = numbered(qos);
            publish_lines(&broker, version, &["-q", qos, "-t", "s/x"], &sent);
            let said = subscribe(&broker, version, &[&session[..], &["-C", "50"]].concat());
            let got: Vec<&str> = said.out.lines().collect();
            assert_eq!(got, sent, "{version} {qos}");
            // A clean connection ends the session.
            let said = subscribe(&broker, version, &["-i", "sleeper", "-t", "s/x", "-E"]);
            assert_eq!(said.code, Some(0), "{said:?}");
        }
    }
    broker.stop();
}

#[test]
#[ignore = "needs mosquitto-clients, which scripts/test.sh installs"]
fn properties_of_version_5() {
    let broker = Broker::start(CORES);
    let mut command = client("mosquitto_sub", &broker, "mqttv5");
    command.args(["-W", WAIT_S, "-C", "1", "-t", "p/+", "-q", "1"]);
    command.args(["-D", "subscribe", "subscription-identifier", "7"]);
    command.args(["-F", "%t|%P|%C|%R|%D|%F|%S|%p"]);
    // The message is retained, so that it does not matter who comes first.
    let properties = "user-property a 1|user-property b 2|content-type text/plain|\
                      response-topic answers|correlation-data abc|payload-format-indicator 1";
    let mut arguments = vec!["-r", "-q", "1", "-t", "p/x", "-m", "text"];
    for property in properties.split('|') {
        arguments.extend(["-D", "publish"]);
        arguments.extend(property.split(' '));
    }
    publish(&broker, "mqttv5", &arguments);
    let said = run(&mut command, TIMEOUT);
    assert_eq!(
        said.out.trim_end(),
        "p/x|a:1 b:2|text/plain|answers|abc|1|7|text",
        "{said:?}"
    );
    broker.stop();
}
