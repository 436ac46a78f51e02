//! The Autobahn suite's judgement of the WebSocket code: sections 1 to 7 (framing, pings, reserved
//! bits, opcodes, fragmentation, UTF-8, closing) and 10; 9 (limits) as far as it takes little time; 12 and
//! 13 (compression).

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use millrace::ws::deflate::{DeflateRules, WINDOW_BITS_MAX};

use crate::broker::{Scratch, run, source};
use crate::echo;

const TIMEOUT: Duration = Duration::from_secs(600);
/// What the suite says of a case that is as it should be. `INFORMATIONAL` cases have no right answer.
const GOOD: [&str; 3] = ["OK", "NON-STRICT", "INFORMATIONAL"];
/// Cases of the sections that are asked for; fewer are a suite that did not run.
const CASES_MIN: usize = 240;

/// The same of sections 12 and 13: 5 and 7 groups of 18.
const COMPRESSION_CASES_MIN: usize = 216;

/// The interpreter that the suite needs.
fn python() -> Option<PathBuf> {
    let link = source("target/test-tools/autobahn/python");
    link.exists().then_some(link)
}

#[test]
fn autobahn_finds_no_failure() {
    let cases = [
        "1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.1.1", "9.2.1", "9.5.*", "10.*",
    ];
    judge("plain", None, &cases, CASES_MIN);
}

/// Compression with what the client asks for, with windows kept or not.
fn compression(takeover: bool) -> DeflateRules {
    DeflateRules {
        level: 6,
        server_takeover: takeover,
        client_takeover: takeover,
        server_window_bits: WINDOW_BITS_MAX,
        client_window_bits: WINDOW_BITS_MAX,
    }
}

/// Two of each group of sections 12 and 13, with windows kept and not.
#[test]
fn autobahn_finds_no_failure_of_compression() {
    let cases = ["12.*.2", "12.*.7", "13.*.2", "13.*.7"];
    judge("takeover", Some(compression(true)), &cases, 24);
    // The frames with compression on and nothing compressed, too.
    let cases = ["5.*", "6.1.*", "12.*.2", "13.*.2"];
    judge("no takeover", Some(compression(false)), &cases, 33);
}

#[test]
#[ignore = "sections 12 and 13 take minutes: `scripts/test-long.sh autobahn`"]
fn autobahn_finds_no_failure_in_all_of_compression() {
    let cases = ["12.*", "13.*"];
    judge(
        "takeover",
        Some(compression(true)),
        &cases,
        COMPRESSION_CASES_MIN,
    );
    let cases = ["12.1.*", "13.1.*"];
    judge("no takeover", Some(compression(false)), &cases, 36);
}

/// Runs these cases against an echo server with these rules.
fn judge(name: &str, deflate: Option<DeflateRules>, cases: &[&str], cases_min: usize) {
    let suite = source("target/test-tools/autobahn");
    let (Some(python), true) = (python(), suite.join("bin/wstest").exists()) else {
        println!(
            "SKIPPED autobahn: it needs Python 2.7; `scripts/test.sh servers` installs the suite"
        );
        return;
    };
    let scratch = Scratch::new();
    let address = echo::serve(deflate);
    let spec = json!({
        "outdir": scratch.path("reports"),
        "servers": [{ "agent": "millrace", "url": format!("ws://{address}/") }],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    });
    let file = scratch.path("spec.json");
    fs::write(&file, spec.to_string()).unwrap();
    let mut command = Command::new(python);
    command
        .env("PYTHONPATH", &suite)
        .current_dir(scratch.path(""));
    command.arg(suite.join("bin/wstest"));
    command.args(["-m", "fuzzingclient", "-s"]).arg(&file);
    let said = run(&mut command, TIMEOUT);
    let index = fs::read_to_string(scratch.path("reports/index.json"))
        .unwrap_or_else(|why| panic!("no report ({why}): {said:?}"));
    let index: Value = serde_json::from_str(&index).unwrap();
    let cases = index["millrace"].as_object().unwrap();
    let mut bad = Vec::new();
    for (case, result) in cases {
        for what in ["behavior", "behaviorClose"] {
            let found = result[what].as_str().unwrap_or_default();
            if !GOOD.contains(&found) {
                bad.push(format!("{case} {what}: {found}"));
            }
        }
    }
    let count = |word: &str| {
        cases
            .values()
            .filter(|case| case["behavior"] == word)
            .count()
    };
    let counts = GOOD.map(|word| format!("{word} {}", count(word)));
    println!(
        "autobahn, {name}: {} cases, {}",
        cases.len(),
        counts.join(", ")
    );
    assert!(bad.is_empty(), "{bad:?}");
    assert!(cases.len() >= cases_min, "only {} cases ran", cases.len());
}
