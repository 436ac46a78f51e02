//! The sheet on which settings are collected, each with the line it comes from.

use std::fmt::Write;

use crate::cli::import::Imported;
use crate::config::{Config, Machine, Origin, Sources, TomlFile, quoted};

/// Rounds in which values that do not fit are taken out: at least one goes in each.
const ROUNDS_MAX: usize = 10_000;
/// The name under which the text is tried.
const TRIED: &str = "import";

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What stands there, such as `zone.external.max_inflight`.
    pub what: String,
}

impl Place {
    fn shown(&self) -> String {
        format!("{}:{}: {}", self.file, self.line, self.what)
    }
}

/// One setting of the new configuration.
#[derive(Debug, Clone)]
struct Entry {
    key: String,
    /// As TOML.
    value: String,
    from: Place,
}

/// A table of a list, such as one of `[[authentication]]`.
#[derive(Debug, Clone)]
struct Table {
    name: &'static str,
    entries: Vec<Entry>,
}

/// What is carried over and what is not.
#[derive(Debug, Default)]
pub struct Sheet {
    settings: Vec<Entry>,
    tables: Vec<Table>,
    files: Vec<(&'static str, String)>,
    lost: Vec<(Place, String)>,
    needless: Vec<(Place, String)>,
    remarks: Vec<String>,
}

/// A value as TOML: what is a whole number, `true` or `false` stands bare, everything else in quotes.
pub fn plain(value: &str) -> String {
    match value {
        "true" | "false" => value.to_owned(),
        number if number.parse::<i64>().is_ok_and(|n| n.to_string() == number) => number.to_owned(),
        text => quoted(text),
    }
}

impl Sheet {
    /// Carries a setting over; `value` is TOML. What a later line says goes before.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>, from: &Place) {
        let key = key.into();
        self.settings.retain(|entry| entry.key != key);
        self.settings.push(Entry {
            key,
            value: value.into(),
            from: from.clone(),
        });
    }

    /// Whether a setting is there with that value.
    pub fn has_value(&self, key: &str, value: &str) -> bool {
        let mut all = self.settings.iter();
        all.any(|entry| entry.key == key && entry.value == value)
    }

    /// Adds a table to a list; values are TOML.
    pub fn table(&mut self, name: &'static str, fields: Vec<(String, String, Place)>) {
        let entry = |(key, value, from)| Entry { key, value, from };
        self.tables.push(Table {
            name,
            entries: fields.into_iter().map(entry).collect(),
        });
    }

    /// Adds a file that the configuration names.
    pub fn file(&mut self, ending: &'static str, text: String) {
        self.files.push((ending, text));
    }

    /// Notes what is not carried over, and why.
    pub fn lose(&mut self, from: &Place, why: impl Into<String>) {
        self.lost.push((from.clone(), why.into()));
    }

    /// Notes what is not needed here, and why.
    pub fn drop(&mut self, from: &Place, why: impl Into<String>) {
        self.needless.push((from.clone(), why.into()));
    }

    /// Says something at the top of the new file.
    pub fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }

    /// The new configuration, which this broker takes.
    ///
    /// # Errors
    /// A sentence: what is carried over cannot be right as a whole.
    pub fn finish(mut self) -> Result<Imported, String> {
        let machine = Machine {
            cpus: 1,
            memory_bytes: 1 << 34,
            descriptors_hard: 1 << 20,
        };
        for _ in 0..ROUNDS_MAX {
            let (text, lines) = self.body();
            let sources = Sources {
                file: Some(TomlFile {
                    name: TRIED.to_owned(),
                    text,
                }),
                ..Sources::default()
            };
            let Err(error) = Config::new(&sources, &machine) else {
                return Ok(self.imported());
            };
            let placed = error.problems.iter().find_map(|problem| {
                let Some(Origin::File { line, .. }) = &problem.origin else {
                    return None;
                };
                let entry = (*lines.get(line.checked_sub(1)?)?)?;
                Some((entry, problem.what.clone()))
            });
            let Some((at, what)) = placed else {
                return Err(error.to_string());
            };
            self.take_out(at, &what);
        }
        Err("the values do not fit together".to_owned())
    }

    /// Takes out what does not fit: a setting, or a whole table of a list.
    fn take_out(&mut self, at: At, what: &str) {
        match at {
            At::Setting(index) => {
                let entry = self.settings.remove(index);
                self.lost
                    .push((entry.from, format!("`{}`: {what}", entry.key)));
            }
            At::Table(index) => {
                let table = self.tables.remove(index);
                if let Some(first) = table.entries.into_iter().next() {
                    self.lost
                        .push((first.from, format!("[[{}]]: {what}", table.name)));
                }
            }
        }
    }

    /// The settings as TOML, and what each line holds.
    fn body(&self) -> (String, Vec<Option<At>>) {
        let mut text = String::new();
        let mut lines = Vec::new();
        let mut push = |line: &str, at: Option<At>| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{line}");
            lines.push(at);
        };
        let mut section = "";
        for (index, entry) in self.settings.iter().enumerate() {
            let own = entry.key.split('.').next().unwrap_or_default();
            if own != section && index > 0 {
                push("", None);
            }
            section = own;
            push(&line_of(entry), Some(At::Setting(index)));
        }
        for (index, table) in self.tables.iter().enumerate() {
            push("", None);
            push(&format!("[[{}]]", table.name), Some(At::Table(index)));
            for entry in &table.entries {
                push(&line_of(entry), Some(At::Table(index)));
            }
        }
        (text, lines)
    }

    fn imported(mut self) -> Imported {
        self.settings
            .sort_by_cached_key(|entry| section_of(&entry.key));
        let (body, _) = self.body();
        let line = |(from, why): &(Place, String)| format!("{}: {why}", from.shown());
        let lost: Vec<String> = self.lost.iter().map(line).collect();
        let needless: Vec<String> = self.needless.iter().map(line).collect();
        let mut head = self.remarks.clone();
        for (title, lines) in [
            ("Not carried over:", &lost),
            ("Not needed here:", &needless),
        ] {
            if !lines.is_empty() {
                head.push(String::new());
                head.push(title.to_owned());
                head.extend(lines.iter().map(|line| format!("  {line}")));
            }
        }
        let comment = |line: String| match line.is_empty() {
            true => "#\n".to_owned(),
            false => format!("# {}\n", one_line(&line)),
        };
        let head: String = head.into_iter().map(comment).collect();
        Imported {
            toml: format!("{head}\n{body}"),
            files: self.files,
            lost,
            needless,
        }
    }
}

/// Where something stands on the sheet.
#[derive(Debug, Clone, Copy)]
enum At {
    Setting(usize),
    Table(usize),
}

/// Sections in an order that people expect, then by name; what stands in one keeps its order.
fn section_of(key: &str) -> (usize, String) {
    const FIRST: &[&str] = &["node", "listeners", "mqtt", "authorization"];
    let section = key.split('.').next().unwrap_or_default();
    let rank = FIRST.iter().position(|first| *first == section);
    let listener = match section {
        "listeners" => key.split('.').take(3).collect::<Vec<_>>().join("."),
        other => other.to_owned(),
    };
    (rank.unwrap_or(FIRST.len()), listener)
}

fn line_of(entry: &Entry) -> String {
    let Entry { key, value, from } = entry;
    let what = one_line(&from.what);
    format!(
        "{key} = {value} # {}:{}: {what}",
        one_line(&from.file),
        from.line
    )
}

/// Text that fits behind a `#`.
fn one_line(text: &str) -> String {
    let fits = |c: char| !c.is_control();
    text.chars()
        .map(|c| if fits(c) { c } else { ' ' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: usize, what: &str) -> Place {
        Place {
            file: "a.conf".to_owned(),
            line,
            what: what.to_owned(),
        }
    }

    #[test]
    fn each_line_names_its_origin_and_what_does_not_fit_is_noted() {
        let mut sheet = Sheet::default();
        sheet.set("mqtt.max_inflight", "99999", &place(3, "inflight"));
        sheet.set("mqtt.max_inflight", "64", &place(4, "inflight"));
        sheet.set(
            "mqtt.max_packet_size",
            quoted("much"),
            &place(5, "packet\tsize"),
        );
        sheet.set("node.name", quoted("a # b"), &place(1, "node.name"));
        let table = |key: &str, value: &str| (key.to_owned(), quoted(value), place(9, "sub"));
        sheet.table("auto_subscribe.topics", vec![table("topic", "c/%c")]);
        sheet.table("auto_subscribe.topics", vec![table("topic", "c/#/x")]);
        sheet.lose(&place(7, "bridge"), "there are none");
        sheet.drop(&place(8, "cookie"), "nobody asks");
        sheet.remark("From a.conf.");
        let done = sheet.finish().unwrap();
        let want = "# From a.conf.\n#\n# Not carried over:\n#   a.conf:7: bridge: there are none\n\
            #   a.conf:5: packet size: `mqtt.max_packet_size`: \"much\" is not a size such as 256KB or \
            1MB\n\
            #   a.conf:9: sub: [[auto_subscribe.topics]]: this is not a topic filter\n#\n\
            # Not needed here:\n#   a.conf:8: cookie: nobody asks\n\n\
            node.name = \"a # b\" # a.conf:1: node.name\n\n\
            mqtt.max_inflight = 64 # a.conf:4: inflight\n\n\
            [[auto_subscribe.topics]]\ntopic = \"c/%c\" # a.conf:9: sub\n";
        assert_eq!(done.toml, want);
        assert_eq!((done.lost.len(), done.needless.len()), (3, 1));
    }

    #[test]
    fn values_stand_as_toml_has_them() {
        for (value, want) in [
            ("5", "5"),
            ("true", "true"),
            ("05", "\"05\""),
            ("1MB", "\"1MB\""),
            ("", "\"\""),
            ("a\"b", "\"a\\\"b\""),
        ] {
            assert_eq!(plain(value), want);
        }
    }
}
