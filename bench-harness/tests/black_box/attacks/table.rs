//! Holds `docs/attacks.tsv` to the tests: each attack once, each named test there and run.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::broker::source;

/// The groups of attacks, in the order of the table.
const GROUPS: [&str; 7] = [
    "protocol",
    "tls",
    "websocket",
    "authentication",
    "authorization",
    "api",
    "exhaustion",
];

/// Where a test is that is not one of this binary.
const ELSEWHERE: [(&str, &str); 2] = [
    ("conformance::", "bench-harness/tests/conformance/"),
    ("src/", ""),
];

struct Row {
    group: String,
    attack: String,
    tests: Vec<String>,
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(source("docs/attacks.tsv")).unwrap();
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines.next(), Some("group\tattack\twhat comes of it\ttests"));
    let row = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [group, attack, outcome, tests] = fields[..] else {
            panic!("not four columns: {line}");
        };
        assert!(!outcome.is_empty() && !tests.is_empty(), "{line}");
        Row {
            group: group.to_owned(),
            attack: attack.to_owned(),
            tests: tests.split(", ").map(str::to_owned).collect(),
        }
    };
    lines.map(row).collect()
}

/// The tests that this binary lists with these arguments.
fn listed(arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--list", "--format", "terse"])
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let name = |line: &str| line.strip_suffix(": test").map(str::to_owned);
    text.lines().filter_map(name).collect()
}

/// Whether a source file has a test of that name that is run.
fn is_in_source(path: &str, name: &str) -> bool {
    let Ok(text) = fs::read_to_string(source(path)) else {
        return false;
    };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_it = |line: &str| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("fn ")
            .is_some_and(|rest| rest.starts_with(&format!("{name}(")))
    };
    lines.iter().enumerate().any(|(at, line)| {
        let attributes: Vec<&str> = lines[..at]
            .iter()
            .rev()
            .take_while(|line| line.starts_with("#[") || line.starts_with("//"))
            .copied()
            .collect();
        let has = |what: &str| attributes.iter().any(|line| line.starts_with(what));
        is_it(line) && (has("#[test]") || has("#[tokio::test")) && !has("#[ignore")
    })
}

/// Whether there is a test as the table names it: one of this binary by its path, one of the conformance
/// suite as `conformance::file::name`, a unit test as `src/path/file.rs::name`.
fn is_run(test: &str, all: &BTreeSet<String>, ignored: &BTreeSet<String>) -> bool {
    for (prefix, directory) in ELSEWHERE {
        let Some(rest) = test.strip_prefix(prefix) else {
            continue;
        };
        let Some((file, name)) = rest.rsplit_once("::") else {
            return false;
        };
        let path = match directory {
            "" => format!("{prefix}{file}"),
            _ => format!("{directory}{file}.rs"),
        };
        return is_in_source(&path, name);
    }
    all.contains(test) && !ignored.contains(test)
}

#[test]
fn every_attack_names_tests_that_run() {
    let (all, ignored) = (listed(&[]), listed(&["--ignored"]));
    assert!(all.len() > 100, "the list of tests: {all:?}");
    let mut wrong = Vec::new();
    for row in rows() {
        if !GROUPS.contains(&row.group.as_str()) {
            wrong.push(format!("no such group: {}", row.group));
        }
        for test in &row.tests {
            if !is_run(test, &all, &ignored) {
                wrong.push(format!("{}: {test} is not run", row.attack));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_attack_is_there_once_and_each_group_has_some() {
    let rows = rows();
    let attacks: BTreeSet<&str> = rows.iter().map(|row| row.attack.as_str()).collect();
    assert_eq!(attacks.len(), rows.len(), "one is there twice");
    assert!(rows.len() >= 60, "{} attacks", rows.len());
    for group in GROUPS {
        let count = rows.iter().filter(|row| row.group == group).count();
        assert!(count >= 5, "{group}: {count}");
    }
}

#[test]
fn every_test_of_attacks_is_named_by_a_row() {
    let named: BTreeSet<String> = rows().into_iter().flat_map(|row| row.tests).collect();
    let nameless: Vec<String> = listed(&[])
        .into_iter()
        .filter(|test| test.starts_with("attacks::") && !test.starts_with("attacks::table::"))
        .filter(|test| !named.contains(test))
        .collect();
    assert!(nameless.is_empty(), "in no row: {nameless:?}");
}
