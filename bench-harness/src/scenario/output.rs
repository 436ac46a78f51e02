//! The files of one run, which share their name: `DATE-COMMIT.json` is the result.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::args::RunArgs;
use super::jtl::Jtl;
use super::series::Series;
use crate::environment::{self, Environment};
use crate::failure::{Context, Failure};
use crate::report;
use crate::results::Report;

/// Where a run writes.
#[derive(Debug)]
pub(super) struct Output {
    folder: PathBuf,
    stem: String,
    date: String,
    commit: String,
    is_on: bool,
}

impl Output {
    pub(super) fn new(args: &RunArgs, name: &str) -> Self {
        let date = environment::utc_now();
        let commit = args.commit.clone().unwrap_or_else(environment::commit);
        Self {
            folder: args.out.join(name),
            stem: format!("{date}-{commit}"),
            date,
            commit,
            is_on: !args.no_results,
        }
    }

    /// `name` with the run's own name before it.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}{name}", self.stem))
    }

    /// A series whose file says what run it is of.
    pub(super) fn series(&self, about: &Value) -> Result<Series, Failure> {
        if !self.is_on {
            return Ok(Series::default());
        }
        let header = json!({
            "schema": 1,
            "date": self.date,
            "commit": self.commit,
            "command": std::env::args().collect::<Vec<_>>(),
            "environment": Environment::read(),
            "about": about,
        });
        let path = self.path(".live.jsonl");
        Series::live(&path, &header).context(format!("cannot write {}", path.display()))
    }

    pub(super) fn jtl(&self) -> Result<Option<Jtl>, Failure> {
        if !self.is_on {
            return Ok(None);
        }
        let path = self.path(".jtl.csv");
        let jtl = Jtl::create(&path).context(format!("cannot write {}", path.display()))?;
        Ok(Some(jtl))
    }

    /// Prints the result and writes it.
    #[allow(clippy::print_stdout)] // The summary is the program's output.
    pub(super) fn finish(&self, report: &mut Report) -> Result<(), Failure> {
        report.began(&self.date, &self.commit);
        report.print();
        if !self.is_on {
            return Ok(());
        }
        let path = self.path(".json");
        report.write_to(&path)?;
        let page = self.path(".html");
        fs::write(&page, report::page_of(&report.value()))
            .context(format!("cannot write {}", page.display()))?;
        if let Some(table) = markdown(&report.value()["table"]) {
            let page = self.path(".md");
            fs::write(&page, table).context(format!("cannot write {}", page.display()))?;
        }
        println!("  written to {}", path.display());
        Ok(())
    }
}

/// A result's own table.
fn markdown(table: &Value) -> Option<String> {
    let line = |cells: &Vec<Value>| {
        let cell = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Null => "not measured".to_owned(),
            other => other.to_string(),
        };
        let cells: Vec<String> = cells.iter().map(cell).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let columns = table["columns"].as_array()?;
    let mut text = line(columns);
    text += &format!("|{}\n", " --- |".repeat(columns.len()));
    for row in table["rows"].as_array()?.iter().filter_map(Value::as_array) {
        text += &line(row);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown() {
        let table = json!({"columns": ["a", "b"], "rows": [["x", 1], ["y", null]]});
        let text = "| a | b |\n| --- | --- |\n| x | 1 |\n| y | not measured |\n";
        assert_eq!(markdown(&table).as_deref(), Some(text));
        assert_eq!(markdown(&Value::Null), None);
    }
}
