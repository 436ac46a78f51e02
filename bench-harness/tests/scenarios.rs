//! Scenarios against the stub broker: everything that is promised is written, also when a run is stopped
//! half-way; and the scripts and plans beside them.
#![allow(clippy::disallowed_types)] // The stub broker is no data plane.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used)]

#[path = "support/stub.rs"]
mod stub;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a run of seconds may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(90);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("bench-scenarios-{name}-{}", std::process::id()));
    drop(fs::remove_dir_all(&path));
    fs::create_dir_all(&path).unwrap();
    path
}

/// The command that runs `scenario` against the stub and writes below `folder`.
fn harness(folder: &Path, scenario: &Value) -> Command {
    let file = folder.join("scenario.json");
    fs::write(&file, scenario.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench-harness"));
    command.arg("run").arg(file).arg("--out").arg(folder);
    command.args([
        "--target",
        &stub::start().to_string(),
        "--commit",
        "test",
        "--quiet",
    ]);
    command
        .args(["--broker-pid", "4000000000"])
        .stdout(Stdio::null());
    command
}

fn connections(count: usize, hold_seconds: f64) -> Value {
    json!({
        "name": "s", "about": "a", "sample_seconds": 0.25,
        "connections": {
            "count": count, "rate": 200, "ping_interval_seconds": 0.5,
            "settle_seconds": 0.2, "hold_seconds": hold_seconds,
        },
        "limits": {"failed_connects": {"equal": 0}, "disconnects": {"equal": 0}},
    })
}

/// What a run wrote that ends so.
fn written(folder: &Path, end: &str) -> String {
    let files = fs::read_dir(folder.join("s")).unwrap().flatten();
    let found: Vec<PathBuf> = files
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect();
    assert_eq!(found.len(), 1, "{end}: {found:?}");
    fs::read_to_string(&found[0]).unwrap()
}

fn result(folder: &Path) -> Value {
    serde_json::from_str(&written(folder, ".json")).unwrap()
}

#[test]
fn a_run_writes_series_samples_and_page() {
    let folder = scratch("hold");
    let status = harness(&folder, &connections(50, 1.0)).status().unwrap();
    assert!(status.success(), "{status}");
    let result = result(&folder);
    assert_eq!(result["measured"]["connected"], json!(50));
    assert_eq!(result["measured"]["complete"], json!(1));
    assert!(result["measured"]["pongs"].as_u64().unwrap() >= 50);
    let open: Vec<u64> = result["series"]["open"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_u64)
        .collect();
    assert_eq!(open.iter().max(), Some(&50), "{open:?}");
    let samples = written(&folder, ".jtl.csv");
    let connects = samples
        .lines()
        .filter(|line| line.contains(",MQTT Connect,200,"))
        .count();
    assert_eq!(connects, 50);
    assert!(samples.contains(",MQTT Ping,200,"));
    let page = written(&folder, ".html");
    assert!(page.contains("all 2 limits kept") && page.contains("<svg"));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_run_that_is_stopped_writes_what_it_has_seen() {
    let folder = scratch("stopped");
    let mut command = harness(&folder, &connections(50, 600.0));
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + DEADLINE;
    let is_holding = || {
        let files = fs::read_dir(folder.join("s"))
            .into_iter()
            .flatten()
            .flatten();
        files
            .filter(|entry| entry.path().to_string_lossy().ends_with(".live.jsonl"))
            .any(|entry| {
                fs::read_to_string(entry.path())
                    .unwrap_or_default()
                    .contains("\"hold\"")
            })
    };
    while !is_holding() {
        assert!(Instant::now() < deadline, "it never held");
        std::thread::sleep(Duration::from_millis(50));
    }
    let kill = Command::new("kill")
        .arg(child.id().to_string())
        .status()
        .unwrap();
    assert!(kill.success());
    assert_eq!(
        child.wait().unwrap().code(),
        Some(0),
        "no limit is on its length"
    );
    let result = result(&folder);
    assert_eq!(result["measured"]["complete"], json!(0));
    assert_eq!(result["measured"]["connected"], json!(50));
    assert!(result["cut_short"].as_str().unwrap().contains("hold"));
    assert!(written(&folder, ".html").contains("ended early"));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn messages_are_measured_with_connections_and_without() {
    let folder = scratch("beside");
    let mut scenario = connections(40, 0.0);
    scenario["messages"] = json!({
        "topology": "pairs", "publishers": 2, "subscribers": 2, "qos": 1, "rate": 50,
        "duration_seconds": 0.6,
    });
    scenario["limits"] = json!({"message_faults": {"equal": 0}, "complete": {"equal": 1}});
    let status = harness(&folder, &scenario).status().unwrap();
    assert!(status.success(), "{status}");
    let result = result(&folder);
    assert_eq!(result["measured"]["connected"], json!(40));
    let sent = |name: &str| result["measured"][name].as_f64().unwrap();
    assert!(sent("beside_messages_sent") > 50.0);
    assert!(sent("alone_messages_sent") > sent("beside_messages_sent"));
    assert!(written(&folder, ".jtl.csv").lines().count() > 40);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_plan_for_jmeter_is_well_formed() {
    let text = fs::read_to_string(root().join("bench-harness/jmeter/conn-1m.jmx")).unwrap();
    assert!(text.contains("NOT RUN HERE"));
    let mut rest = text.as_str();
    let mut open = Vec::new();
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        let end = if rest.starts_with("<!--") { "-->" } else { ">" };
        let length = rest.find(end).unwrap() + end.len();
        let tag = &rest[1..length - 1];
        let name = tag.split([' ', '/']).next().unwrap();
        match tag {
            _ if tag.starts_with(['!', '?']) => {}
            _ if tag.starts_with('/') => assert_eq!(open.pop(), Some(&tag[1..])),
            _ if tag.ends_with('/') => {}
            _ => open.push(name),
        }
        rest = &rest[length..];
    }
    assert!(open.is_empty(), "{open:?}");
}

/// Runs a script of `tuning` with what it would change in a folder of the test.
fn tune(script: &str, folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(root().join("tuning").join(script));
    command.args(arguments);
    command.env("STATE", folder.join("undo"));
    command.env("PROC", folder.join("proc"));
    command.env("SYS", folder.join("sys"));
    command.env("HUGE_PAGES", folder.join("huge_pages"));
    command.output().unwrap()
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

#[test]
fn settings_of_the_kernel_are_changed_and_put_back() {
    let folder = scratch("sysctl");
    let somaxconn = folder.join("proc/net/core/somaxconn");
    let reserved = folder.join("proc/net/ipv4/ip_local_reserved_ports");
    put(&somaxconn, "4096\n");
    put(&reserved, "\n");
    put(&folder.join("huge_pages"), "[always] madvise never\n");
    let out = |arguments: &[&str]| {
        let output = tune("sysctl.sh", &folder, arguments);
        String::from_utf8(output.stdout).unwrap()
    };
    let dry = out(&["--dry-run"]);
    assert!(dry.contains("net.core.somaxconn: 4096 -> 32768"), "{dry}");
    assert!(
        dry.contains("3 settings would be changed; nothing was"),
        "{dry}"
    );
    assert_eq!(fs::read_to_string(&somaxconn).unwrap(), "4096\n");
    if is_root() {
        let applied = out(&["--apply"]);
        assert!(
            applied.contains("ip_local_reserved_ports: (empty) -> 1883,"),
            "{applied}"
        );
        assert_eq!(fs::read_to_string(&somaxconn).unwrap(), "32768\n");
        assert_eq!(
            fs::read_to_string(folder.join("huge_pages")).unwrap(),
            "madvise\n"
        );
        out(&["--undo"]);
        assert_eq!(fs::read_to_string(&somaxconn).unwrap(), "4096\n");
        assert_eq!(fs::read_to_string(&reserved).unwrap(), "\n");
        assert_eq!(
            fs::read_to_string(folder.join("huge_pages")).unwrap(),
            "always\n"
        );
        assert!(out(&["--undo"]).contains("nothing was changed"));
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn settings_of_the_hardware_are_changed_and_put_back() {
    let folder = scratch("hardware");
    let governor = folder.join("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
    let steering = folder.join("sys/class/net/eth9/queues/rx-0/rps_cpus");
    put(&folder.join("sys/devices/system/cpu/online"), "0-3,33\n");
    put(&governor, "powersave\n");
    put(&steering, "0\n");
    put(
        &folder.join("proc/net/route"),
        "Iface Destination\neth9 00000000\n",
    );
    let out = |arguments: &[&str]| {
        let output = tune("hardware.sh", &folder, arguments);
        String::from_utf8(output.stdout).unwrap()
    };
    let dry = out(&["--dry-run"]);
    assert!(
        dry.contains("scaling_governor: powersave -> performance"),
        "{dry}"
    );
    assert!(
        dry.contains("rps_cpus: 0 -> 2,f"),
        "CPUs 0 to 3 and 33: {dry}"
    );
    assert_eq!(fs::read_to_string(&governor).unwrap(), "powersave\n");
    if is_root() {
        out(&["--apply"]);
        assert_eq!(fs::read_to_string(&governor).unwrap(), "performance\n");
        out(&["--undo"]);
        assert_eq!(fs::read_to_string(&governor).unwrap(), "powersave\n");
        assert_eq!(fs::read_to_string(&steering).unwrap(), "0\n");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn scripts_have_no_known_mistakes() {
    let scripts = [
        "tuning/sysctl.sh",
        "tuning/hardware.sh",
        "scripts/bench-all.sh",
    ];
    let Ok(output) = Command::new("shellcheck")
        .args(scripts)
        .current_dir(root())
        .output()
    else {
        // It is not everywhere; where it is, it is asked.
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
}
