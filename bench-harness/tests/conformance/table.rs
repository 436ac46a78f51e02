//! Holds `docs/conformance.tsv` to this binary: each statement once, each named test there and run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use crate::broker::source;

/// The numbers of a section's statements: the first and the last.
type Section = (&'static str, u32, u32);

/// Appendix B of version 5.0: 251 statements.
const V5: &[Section] = &[
    ("1.5.4", 1, 3),
    ("1.5.5", 1, 1),
    ("1.5.7", 1, 1),
    ("2.1.3", 1, 1),
    ("2.2.1", 2, 6),
    ("2.2.2", 1, 1),
    ("3.1.0", 1, 2),
    ("3.1.2", 1, 30),
    ("3.1.3", 1, 12),
    ("3.1.4", 1, 6),
    ("3.2.0", 1, 2),
    ("3.2.2", 1, 22),
    ("3.3.1", 1, 13),
    ("3.3.2", 1, 20),
    ("3.3.4", 1, 10),
    ("3.4.2", 1, 3),
    ("3.5.2", 1, 3),
    ("3.6.1", 1, 1),
    ("3.6.2", 1, 3),
    ("3.7.2", 1, 3),
    ("3.8.1", 1, 1),
    ("3.8.3", 1, 5),
    ("3.8.4", 1, 8),
    ("3.9.2", 1, 2),
    ("3.9.3", 1, 2),
    ("3.10.1", 1, 1),
    ("3.10.3", 1, 2),
    ("3.10.4", 1, 6),
    ("3.11.2", 1, 2),
    ("3.11.3", 1, 2),
    ("3.12.4", 1, 1),
    ("3.14.0", 1, 1),
    ("3.14.1", 1, 1),
    ("3.14.2", 1, 4),
    ("3.14.4", 1, 3),
    ("3.15.1", 1, 1),
    ("3.15.2", 1, 3),
    ("4.1.0", 1, 2),
    ("4.2.0", 1, 1),
    ("4.3.1", 1, 1),
    ("4.3.2", 1, 5),
    ("4.3.3", 1, 13),
    ("4.4.0", 1, 2),
    ("4.5.0", 1, 2),
    ("4.6.0", 1, 6),
    ("4.7.0", 1, 1),
    ("4.7.1", 1, 2),
    ("4.7.2", 1, 1),
    ("4.7.3", 1, 4),
    ("4.8.2", 1, 6),
    ("4.9.0", 1, 3),
    ("4.12.0", 1, 7),
    ("4.12.1", 1, 2),
    ("4.13.1", 1, 1),
    ("4.13.2", 1, 1),
    ("6.0.0", 1, 4),
];

/// Appendix B of version 3.1.1.
const V311: &[Section] = &[
    ("1.5.3", 1, 3),
    ("2.2.2", 1, 2),
    ("2.3.1", 1, 7),
    ("3.1.0", 1, 2),
    ("3.1.2", 1, 24),
    ("3.1.3", 1, 11),
    ("3.1.4", 1, 5),
    ("3.2.0", 1, 1),
    ("3.2.2", 1, 6),
    ("3.3.1", 1, 12),
    ("3.3.2", 1, 3),
    ("3.3.4", 1, 1),
    ("3.3.5", 1, 2),
    ("3.6.1", 1, 1),
    ("3.8.1", 1, 1),
    ("3.8.3", 1, 4),
    ("3.8.4", 1, 6),
    ("3.9.3", 1, 2),
    ("3.10.1", 1, 1),
    ("3.10.3", 1, 2),
    ("3.10.4", 1, 6),
    ("3.12.4", 1, 1),
    ("3.14.1", 1, 1),
    ("3.14.4", 1, 3),
    ("4.1.0", 1, 2),
    ("4.3.1", 1, 1),
    ("4.3.2", 1, 2),
    ("4.3.3", 1, 2),
    ("4.4.0", 1, 1),
    ("4.5.0", 1, 2),
    ("4.6.0", 1, 6),
    ("4.7.1", 1, 3),
    ("4.7.2", 1, 1),
    ("4.7.3", 1, 4),
    ("4.8.0", 1, 2),
    ("6.0.0", 1, 4),
    ("7.0.0", 1, 2),
    ("7.1.1", 1, 1),
    ("7.1.2", 1, 1),
];

/// One line of the table.
#[derive(Debug)]
struct Row {
    version: String,
    statement: String,
    binds: String,
    /// Test names, or one entry `gap: reason`, or nothing.
    tests: Vec<String>,
}

impl Row {
    fn is_gap(&self) -> bool {
        self.tests.iter().any(|test| test.starts_with("gap: "))
    }

    /// A rule of the text without a number of its own.
    fn is_numbered(&self) -> bool {
        self.statement.starts_with("MQTT-")
    }
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(source("docs/conformance.tsv")).unwrap();
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let head = lines.next().unwrap();
    assert_eq!(head, "version\tstatement\tbinds\tdemands\ttests");
    lines.map(row).collect()
}

fn row(line: &str) -> Row {
    let fields: Vec<&str> = line.split('\t').collect();
    let [version, statement, binds, demands, tests] = fields[..] else {
        panic!("not five columns: {line}");
    };
    assert!(!demands.is_empty(), "{line}");
    let tests = match tests {
        "-" => Vec::new(),
        gap if gap.starts_with("gap: ") => vec![gap.to_owned()],
        tests => tests.split(", ").map(str::to_owned).collect(),
    };
    let own = str::to_owned;
    Row {
        version: own(version),
        statement: own(statement),
        binds: own(binds),
        tests,
    }
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
fn every_statement_is_there_once() {
    let mut wanted: BTreeSet<(String, String)> = BTreeSet::new();
    for (version, sections) in [("5.0", V5), ("3.1.1", V311)] {
        for (section, first, last) in sections {
            for number in *first..=*last {
                let statement = format!("MQTT-{section}-{number}");
                wanted.insert((version.to_owned(), statement));
            }
        }
    }
    let count = |version| wanted.iter().filter(|(v, _)| v == version).count();
    assert_eq!((count("5.0"), count("3.1.1")), (251, 141));
    let mut found = BTreeMap::new();
    for row in rows().iter().filter(|row| row.is_numbered()) {
        let key = (row.version.clone(), row.statement.clone());
        *found.entry(key).or_insert(0) += 1;
    }
    let twice: Vec<_> = found.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "more than once: {twice:?}");
    let found: BTreeSet<_> = found.into_keys().collect();
    let missing: Vec<_> = wanted.difference(&found).collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    let unknown: Vec<_> = found.difference(&wanted).collect();
    assert!(unknown.is_empty(), "no such statement: {unknown:?}");
}

#[test]
fn every_row_names_tests_that_run_or_is_a_gap() {
    let all = listed(&[]);
    let ignored = listed(&["--ignored"]);
    assert!(all.len() > 100, "the list of tests: {all:?}");
    let mut wrong = Vec::new();
    for row in rows() {
        match row.binds.as_str() {
            "server" if row.tests.is_empty() => wrong.push(format!("no test: {row:?}")),
            "server" | "client" => {}
            _ => wrong.push(format!("binds server or client: {row:?}")),
        }
        if row.is_gap() {
            continue;
        }
        for test in &row.tests {
            if !all.contains(test) {
                wrong.push(format!("{}: there is no test {test}", row.statement));
            } else if ignored.contains(test) {
                wrong.push(format!("{}: {test} is ignored", row.statement));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a release may leave open, each with its reason.
const GAPS_MAX: usize = 4;

#[test]
fn few_rows_are_gaps() {
    let rows = rows();
    let gaps: Vec<_> = rows.iter().filter(|row| row.is_gap()).collect();
    assert!(gaps.len() <= GAPS_MAX, "{gaps:#?}");
}

#[test]
fn every_test_is_named_by_a_row() {
    let named: BTreeSet<String> = rows().into_iter().flat_map(|row| row.tests).collect();
    let ignored = listed(&["--ignored"]);
    let nameless: Vec<String> = listed(&[])
        .into_iter()
        .filter(|test| !test.starts_with("table::"))
        .filter(|test| !named.contains(test) && !ignored.contains(test))
        .collect();
    assert!(nameless.is_empty(), "in no row: {nameless:?}");
}
