//! Holds `docs/api-tests.tsv` to the program: each endpoint of the document, each path of EMQX 4's API
//! and each command of `broker ctl` has a row, and the tests that a row names are in this binary and run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::broker::{say, source};
use crate::http::Api;

const TABLE: &str = "docs/api-tests.tsv";

/// One line of the table.
#[derive(Debug)]
struct Row {
    what: String,
    /// Tests of what it does.
    effect: Vec<String>,
    /// Tests of what it refuses; none where nothing can be refused but by role and login.
    errors: Vec<String>,
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(source(TABLE)).unwrap();
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines.next(), Some("what\teffect\terrors"));
    lines.map(row).collect()
}

fn row(line: &str) -> Row {
    let fields: Vec<&str> = line.split('\t').collect();
    let [what, effect, errors] = fields[..] else {
        panic!("not three columns: {line}");
    };
    let names = |field: &str| match field {
        "-" => Vec::new(),
        names => names.split(", ").map(str::to_owned).collect(),
    };
    Row {
        what: what.to_owned(),
        effect: names(effect),
        errors: names(errors),
    }
}

/// The rows that begin so, by what they are about.
fn about(begins: impl Fn(&str) -> bool) -> BTreeMap<String, Row> {
    let mut found = BTreeMap::new();
    for row in rows().into_iter().filter(|row| begins(&row.what)) {
        let what = row.what.clone();
        assert!(found.insert(what.clone(), row).is_none(), "{what} twice");
    }
    found
}

fn assert_same(rows: &BTreeMap<String, Row>, wanted: &BTreeSet<String>) {
    let there: BTreeSet<String> = rows.keys().cloned().collect();
    let missing: Vec<_> = wanted.difference(&there).collect();
    assert!(missing.is_empty(), "no row in {TABLE} for {missing:#?}");
    let unknown: Vec<_> = there.difference(wanted).collect();
    assert!(
        unknown.is_empty(),
        "rows of {TABLE} for nothing: {unknown:#?}"
    );
}

/// Endpoints of the document with the status codes that it has answers for.
fn documented() -> BTreeMap<String, BTreeSet<u16>> {
    let text = fs::read_to_string(source("docs/openapi.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let mut all = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let answers = operation["responses"].as_object().unwrap();
            let answers = answers.keys().map(|status| status.parse().unwrap());
            all.insert(
                format!("{} {path}", method.to_uppercase()),
                answers.collect(),
            );
        }
    }
    all
}

fn is_v4(what: &str) -> bool {
    what.contains(" /api/v4/")
}

fn is_command(what: &str) -> bool {
    what.starts_with("ctl ")
}

#[test]
fn every_endpoint_of_the_document_has_a_row_with_tests() {
    let rows = about(|what| !is_v4(what) && !is_command(what));
    let documented = documented();
    assert_same(&rows, &documented.keys().cloned().collect());
    for (endpoint, answers) in &documented {
        let row = &rows[endpoint];
        assert!(!row.effect.is_empty(), "{endpoint}: no test of its effect");
        // Login, role and size are the same for all and tested for all in `http::every`.
        let own = answers
            .iter()
            .any(|status| (400..500).contains(status) && ![401, 403, 413].contains(status));
        assert!(
            !own || !row.errors.is_empty(),
            "{endpoint}: no test of its errors"
        );
    }
}

#[test]
fn every_path_of_emqx_4_has_a_row_with_tests() {
    let api = Api::start(1);
    let index = api.get("/api/v4");
    let paths = index["data"].as_array().unwrap().iter().map(|entry| {
        let part = |name: &str| entry[name].as_str().unwrap().to_owned();
        let path = part("path");
        format!("{} /api/v4{}", part("method"), path.trim_end_matches('/'))
    });
    let paths: BTreeSet<String> = paths.collect();
    let rows = about(is_v4);
    assert_same(&rows, &paths);
    let untested: Vec<_> = rows.values().filter(|row| row.effect.is_empty()).collect();
    assert!(untested.is_empty(), "{untested:#?}");
}

#[test]
fn every_command_has_a_row_with_tests() {
    let help = say(&["ctl", "help"]).out;
    let commands = help.lines().skip(1);
    // What a command does stands below it, farther in.
    let commands = commands.filter_map(|line| line.strip_prefix("  "));
    let commands = commands.filter(|line| !line.starts_with(' '));
    let commands: BTreeSet<String> = commands.map(|words| format!("ctl {words}")).collect();
    assert!(commands.len() > 25, "{help}");
    let rows = about(is_command);
    assert_same(&rows, &commands);
    let untested: Vec<_> = rows.values().filter(|row| row.effect.is_empty()).collect();
    assert!(untested.is_empty(), "{untested:#?}");
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

#[test]
fn every_test_that_a_row_names_runs() {
    let all = listed(&[]);
    let ignored = listed(&["--ignored"]);
    assert!(all.len() > 100, "the list of tests: {all:?}");
    let mut wrong = Vec::new();
    for row in rows() {
        for test in row.effect.iter().chain(&row.errors) {
            if !all.contains(test) {
                wrong.push(format!("{}: there is no test {test}", row.what));
            } else if ignored.contains(test) {
                wrong.push(format!("{}: {test} is ignored", row.what));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
