//! The sources of values, and their order.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::kind::Raw;
use super::listener;
use super::schema;
use super::values::{Origin, Problem, Values};
use super::{ConfigError, Node};
use std::path::PathBuf;

/// What an environment variable that names a setting begins with.
const ENVIRONMENT_PREFIX: &str = "MILLRACE_";

/// A TOML file that was read.
#[derive(Debug, Clone, Default)]
pub struct TomlFile {
    /// Its name, as messages should give it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// All that a configuration is made of, as text. The order of the fields is their precedence.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file of `--config`.
    pub file: Option<TomlFile>,
    /// Changes made at run time: `overrides.toml` of the data directory.
    pub overrides: Option<TomlFile>,
    /// The environment; variables that do not begin with `MILLRACE_` are passed over.
    pub environment: Vec<(String, String)>,
    /// The arguments of `--set`, `KEY=VALUE`.
    pub set: Vec<String>,
    /// Options that stand for one setting: option, setting, value.
    pub options: Vec<(&'static str, &'static str, String)>,
    /// The arguments of `--listen`.
    pub listen: Vec<String>,
}

impl Sources {
    /// The data directory, which must be known before the overrides in it can be read.
    pub fn data_dir(&self) -> Result<PathBuf, ConfigError> {
        let values = self.collect()?;
        Ok(Node::read(&values, Node::SECTION.prefix).data_dir)
    }

    /// Every value laid over the ones of lower precedence; or every problem found.
    pub(crate) fn collect(&self) -> Result<Values, ConfigError> {
        let mut values = Values::default();
        let mut problems = Vec::new();
        if let Some(file) = &self.file {
            lay_toml(&mut values, file, &mut problems, |_| None);
        }
        if let Some(file) = &self.overrides {
            lay_toml(&mut values, file, &mut problems, refuse_in_overrides);
        }
        for (variable, value) in &self.environment {
            problems.extend(lay_variable(&mut values, variable, value).err());
        }
        for argument in &self.set {
            problems.extend(lay_argument(&mut values, argument).err());
        }
        for (option, key, value) in &self.options {
            let origin = Origin::Option((*option).to_owned());
            problems.extend(values.lay(key, Raw::Bare(value.clone()), origin).err());
        }
        problems.extend(
            listener::lay_urls(&mut values, &self.listen)
                .err()
                .into_iter()
                .flatten(),
        );
        if problems.is_empty() {
            Ok(values)
        } else {
            Err(ConfigError { problems })
        }
    }
}

/// A setting that only a start can change does not belong among the changes made at run time.
fn refuse_in_overrides(key: &str) -> Option<String> {
    let setting = schema::find(key).ok()?;
    let what = "it cannot be changed at run time; move it to the configuration file";
    (!setting.change.is_live()).then(|| what.to_owned())
}

fn lay_variable(values: &mut Values, variable: &str, value: &str) -> Result<(), Problem> {
    let Some(name) = variable.strip_prefix(ENVIRONMENT_PREFIX) else {
        return Ok(());
    };
    let origin = Origin::Environment(variable.to_owned());
    let name = name.to_ascii_lowercase();
    if name.contains("__") {
        return values.lay(
            &name.replace("__", "."),
            Raw::Bare(value.to_owned()),
            origin,
        );
    }
    if schema::find(&name).is_ok() {
        return values.lay(&name, Raw::Bare(value.to_owned()), origin);
    }
    // Any other variable without `__` names no setting. Container platforms set such variables on their own
    // (MILLRACE_PORT, MILLRACE_SERVICE_HOST for a service of that name), so they are passed over,
    // unless one spells a setting with `_` for the dot.
    let meant = schema::all()
        .map(|(section, setting)| section.full_name(setting))
        .find(|full_name| full_name.replace('.', "_") == name);
    match meant {
        Some(full_name) => {
            let right = full_name.to_ascii_uppercase().replace('.', "__");
            let what = format!("did you mean {ENVIRONMENT_PREFIX}{right}? A dot is written `__`");
            Err(Problem::at(origin, what))
        }
        None => Ok(()),
    }
}

fn lay_argument(values: &mut Values, argument: &str) -> Result<(), Problem> {
    match argument.split_once('=') {
        Some((key, value)) => {
            values.lay(key.trim(), Raw::Bare(value.trim().to_owned()), Origin::Set)
        }
        None => {
            let what = format!("`{argument}` is not KEY=VALUE, such as mqtt.max_inflight=64");
            Err(Problem::at(Origin::Set, what))
        }
    }
}

fn lay_toml(
    values: &mut Values,
    file: &TomlFile,
    problems: &mut Vec<Problem>,
    refuse: impl Fn(&str) -> Option<String>,
) {
    let origin = |at: usize| Origin::File {
        name: file.name.clone(),
        line: line_of(&file.text, at),
    };
    let table = match DeTable::parse(&file.text) {
        Ok(table) => table,
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            let message = error.message().trim().replace('\n', ", ");
            problems.push(Problem::at(
                origin(at),
                format!("this is not TOML: {message}"),
            ));
            return;
        }
    };
    let mut leaves = Vec::new();
    flatten("", table.get_ref(), &mut leaves);
    leaves.sort_by_key(|(_, at, _)| *at);
    for (key, at, raw) in leaves {
        let laid = match refuse(&key) {
            Some(what) => Err(Problem::with_key(origin(at), &key, what)),
            None => values.lay(&key, raw, origin(at)),
        };
        problems.extend(laid.err());
    }
}

/// The values of a table with their dotted names and where the names stand.
fn flatten(prefix: &str, table: &DeTable<'_>, leaves: &mut Vec<(String, usize, Raw)>) {
    for (name, value) in table {
        let key = match prefix {
            "" => name.get_ref().to_string(),
            _ => format!("{prefix}.{}", name.get_ref()),
        };
        match value.get_ref() {
            // A section may be empty, say with every line of it commented out.
            DeValue::Table(inner) if !inner.is_empty() || schema::is_group(&key) => {
                match as_lines(&key, inner) {
                    Some(lines) => leaves.push((key, name.span().start, Raw::Text(lines))),
                    None => flatten(&key, inner, leaves),
                }
            }
            // `[[rewrite]]`: sections by number.
            DeValue::Array(items) if schema::is_list(&key) => {
                for (index, item) in items.iter().enumerate() {
                    let key = format!("{key}.{}", index + 1);
                    match item.get_ref() {
                        DeValue::Table(inner) => flatten(&key, inner, leaves),
                        _ => leaves.push((key, item.span().start, raw_of(item))),
                    }
                }
            }
            _ => leaves.push((key, name.span().start, raw_of(value))),
        }
    }
}

/// A table that is the value of one setting: an entry a line.
fn as_lines(key: &str, table: &DeTable<'_>) -> Option<String> {
    schema::find(key).ok()?;
    let entry = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let value = raw_of(value);
        format!("{}={}\n", name.get_ref(), value.text().unwrap_or_default())
    };
    Some(table.iter().map(entry).collect())
}

fn raw_of(value: &Spanned<DeValue<'_>>) -> Raw {
    match value.get_ref() {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Boolean(flag) => Raw::Flag(*flag),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Raw::Other("a number out of all range"), Raw::Integer),
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .map_or(Raw::Other("a number out of all range"), Raw::Float),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Array(_) => json_of(value).map_or(Raw::Other("a list"), Raw::List),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

/// The same for what lies in a list.
fn json_of(value: &Spanned<DeValue<'_>>) -> Option<serde_json::Value> {
    match value.get_ref() {
        DeValue::Array(items) => items.iter().map(json_of).collect(),
        DeValue::Table(table) => table
            .iter()
            .map(|(name, value)| Some((name.get_ref().to_string(), json_of(value)?)))
            .collect::<Option<serde_json::Map<_, _>>>()
            .map(Into::into),
        _ => match raw_of(value) {
            Raw::Text(text) => Some(text.into()),
            Raw::Flag(flag) => Some(flag.into()),
            Raw::Integer(number) => Some(number.into()),
            Raw::Float(number) => Some(number.into()),
            _ => None,
        },
    }
}

/// The line, from 1, of a byte offset.
fn line_of(text: &str, at: usize) -> usize {
    let before = text.as_bytes().iter().take(at);
    before.filter(|byte| **byte == b'\n').count() + 1
}
