//! `doctor` and `estimate`.

use std::net::TcpListener;
use std::process::Command;

use serde_json::Value;

use crate::broker::{Broker, Scratch, say, source};

fn openssl(scratch: &Scratch, line: &str) {
    let mut command = Command::new("openssl");
    let output = command
        .args(line.split(' '))
        .current_dir(scratch.path(""))
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "openssl {line}: {output:?}");
}

#[test]
fn the_doctor_fails_for_what_is_required_only() {
    let scratch = Scratch::new();
    let dir = scratch.path("data");
    let dir = dir.to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("tcp://{}", taken_address(&taken));
    let of = |listen: &str, more: &[&str]| {
        let mut arguments = vec![
            "doctor",
            "--data-dir",
            dir,
            "--cores",
            "1",
            "--listen",
            listen,
        ];
        arguments.extend(more);
        say(&arguments)
    };
    let well = of("tcp://127.0.0.1:0", &[]);
    assert_eq!(well.code, Some(0), "{well:?}");
    for line in well.out.lines().rev().skip(1) {
        assert!(
            line.starts_with("ok: ") || line.starts_with("warning: "),
            "{line}"
        );
    }
    assert!(well.out.contains(": net.core.somaxconn: "), "{well:?}");
    assert!(
        well.out.contains(": nofile: open files: soft limit "),
        "{well:?}"
    );
    assert!(well.out.trim_end().ends_with(" 0 failed"), "{well:?}");
    let busy = of(&taken, &[]);
    assert_eq!(busy.code, Some(1), "{busy:?}");
    let line = busy.out.lines().find(|line| line.starts_with("failed: "));
    assert!(
        line.is_some_and(|line| line.contains("in use by another process")),
        "{busy:?}"
    );
    let json = of(&taken, &["--json"]);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["ok"], false);
    let failed = json["checks"].as_array().unwrap().iter();
    assert_eq!(
        failed.filter(|check| check["result"] == "failed").count(),
        1,
        "{json}"
    );
    let wrong = of("tcp://127.0.0.1:0", &["--set", "mqtt.max_inflight=many"]);
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    assert!(wrong.out.contains("failed: required: ") && wrong.out.contains("max_inflight"));
    assert!(!std::path::Path::new(dir).exists(), "nothing is made");
}

fn taken_address(listener: &TcpListener) -> std::net::SocketAddr {
    listener.local_addr().unwrap()
}

#[test]
fn the_doctor_knows_a_running_broker() {
    let broker = Broker::start(1);
    let dir = broker.directory().join("data");
    let listen = format!("tcp://{}", broker.address());
    let arguments = ["doctor", "--cores", "1", "--listen", &listen];
    let said = say(&[&arguments[..], &["--data-dir", dir.to_str().unwrap()]].concat());
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.out.contains("ok: required: a broker runs with"),
        "{said:?}"
    );
}

#[test]
fn certificates_that_have_expired_or_cannot_be_read_are_found() {
    let scratch = Scratch::new();
    let ec = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x";
    openssl(
        &scratch,
        &format!("req -x509 {ec} -days 365 -keyout key.pem -out good.pem"),
    );
    openssl(
        &scratch,
        &format!("req -x509 {ec} -days 5 -keyout soon.key -out soon.pem"),
    );
    openssl(&scratch, "req -new -key key.pem -subj /CN=x -out old.csr");
    openssl(
        &scratch,
        "x509 -req -in old.csr -signkey key.pem -days -1 -out old.pem",
    );
    let path = |name: &str| scratch.path(name).to_str().unwrap().to_owned();
    let dir = path("data");
    let of = |first: &str, certificate: &str| {
        let certificate = format!("http.tls.certfile={}", path(certificate));
        let key = format!("http.tls.keyfile={}", path("key.pem"));
        let arguments = [
            first,
            "--cores",
            "1",
            "--listen",
            "tcp://127.0.0.1:0",
            "--data-dir",
            &dir,
        ];
        say(&[&arguments[..], &["--set", &certificate, "--set", &key]].concat())
    };
    for (certificate, code, says) in [
        ("good.pem", 0, "ok: http.tls.certfile: "),
        ("soon.pem", 0, "warning: http.tls.certfile: "),
        ("old.pem", 1, "failed: http.tls.certfile: "),
        ("old.csr", 1, "failed: http.tls.certfile: "),
    ] {
        let said = of("doctor", certificate);
        assert_eq!(said.code, Some(code), "{certificate}: {said:?}");
        assert!(said.out.contains(says), "{certificate}: {said:?}");
    }
    let check = of("--check", "old.pem");
    assert_eq!(check.code, Some(2), "{check:?}");
    assert!(
        check.out.contains("FAILED: ") && check.out.contains("has expired"),
        "{check:?}"
    );
    assert_eq!(of("--check", "good.pem").code, Some(0));
}

#[test]
fn estimates_tell_what_they_go_by() {
    let load = [
        "estimate",
        "--connections",
        "1000000",
        "--publish-rate",
        "1000",
        "--qos",
        "1",
    ];
    let said = say(&load);
    assert_eq!(said.code, Some(0), "{said:?}");
    for part in [
        "CPUs busy",
        "open files (nofile)",
        "Not included:",
        "commit ",
    ] {
        assert!(said.out.contains(part), "{part}: {said:?}");
    }
    let json = say(&[&load[..], &["--json"]].concat());
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert!(json["descriptors"].as_u64().unwrap() > 1_000_000, "{json}");
    let file = std::fs::read_to_string(source("results/coefficients.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    for used in json["coefficients"].as_array().unwrap() {
        let name = used["name"].as_str().unwrap();
        assert_eq!(
            used["value"].as_f64(),
            file["coefficients"][name]["value"].as_f64()
        );
        assert_eq!(used["commit"], file["coefficients"][name]["commit"]);
    }
    for wrong in [&["estimate"][..], &["estimate", "--connections", "many"]] {
        assert_eq!(say(wrong).code, Some(2));
    }
}
