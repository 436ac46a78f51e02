//! The values that were given, each with where it came from.
//!
//! Sources are laid over one another from the lowest precedence to the highest. Every value is
//! checked when it is laid down, also one that a later source hides: a wrong value is an error
//! wherever it stands. What is left is read by type.

use std::collections::BTreeMap;
use std::fmt;

use super::kind::{Kind, Raw};
use super::schema;
use super::setting::full_name;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file and its line.
    File {
        /// The file, as the user named it.
        name: String,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// `--set`.
    Set,
    /// Another option of the command line, such as `--cores` or `--listen tcp://...`.
    Option(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Set => f.write_str("--set"),
            Self::Option(option) => f.write_str(option),
        }
    }
}

/// Something wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, if it is in one place.
    pub origin: Option<Origin>,
    /// Which setting, if it is one.
    pub key: Option<String>,
    /// What is wrong, and what to do where that is not plain.
    pub what: String,
}

impl Problem {
    /// A problem at `origin` that is not about one key.
    pub(crate) fn at(origin: Origin, what: impl Into<String>) -> Self {
        Self {
            origin: Some(origin),
            key: None,
            what: what.into(),
        }
    }

    /// A problem with the value or the name of `key`.
    pub(crate) fn with_key(origin: Origin, key: &str, what: impl Into<String>) -> Self {
        Self {
            origin: Some(origin),
            key: Some(key.to_owned()),
            what: what.into(),
        }
    }

    /// A problem of the configuration as a whole.
    pub(crate) fn overall(what: impl Into<String>) -> Self {
        Self {
            origin: None,
            key: None,
            what: what.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if let Some(key) = &self.key {
            write!(f, "key `{key}`: ")?;
        }
        f.write_str(&self.what)
    }
}

/// A value with its origin.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Given {
    pub(crate) raw: Raw,
    pub(crate) origin: Origin,
}

/// What was given, by the full name of the setting. Holds valid values of known settings only.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values {
    given: BTreeMap<String, Given>,
}

impl Values {
    /// Lays a value over what an earlier source gave.
    pub(crate) fn lay(&mut self, key: &str, raw: Raw, origin: Origin) -> Result<(), Problem> {
        let key = schema::full(key);
        let checked = schema::find(key).and_then(|setting| setting.kind.check(&raw));
        match checked {
            Ok(()) => {
                self.given.insert(key.to_owned(), Given { raw, origin });
                Ok(())
            }
            Err(what) => Err(Problem::with_key(origin, key, what)),
        }
    }

    /// Where the value of a setting came from; `None` for a default.
    pub(crate) fn origin(&self, key: &str) -> Option<&Origin> {
        self.given.get(key).map(|given| &given.origin)
    }

    /// The value of a setting with its origin; `None` for a default.
    pub(crate) fn given(&self, key: &str) -> Option<&Given> {
        self.given.get(key)
    }

    /// Everything that was given, by its full name.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Given)> {
        self.given.iter().map(|(key, given)| (key.as_str(), given))
    }

    /// Enters a value that was laid down elsewhere.
    pub(crate) fn keep(&mut self, key: &str, given: Given) {
        self.given.insert(key.to_owned(), given);
    }

    /// Everything that was given below `prefix.`, by the rest of its name.
    pub(crate) fn below(&self, prefix: &str) -> Vec<(&str, &Given)> {
        let rest = |key: &'_ str| -> Option<usize> {
            key.strip_prefix(prefix)?.strip_prefix('.').map(str::len)
        };
        let named = self.given.iter();
        named
            .filter_map(|(key, given)| rest(key).map(|len| (&key[key.len() - len..], given)))
            .collect()
    }

    /// A setting's value by type: the given one, or the default.
    pub(crate) fn typed<K: Kind>(
        &self,
        prefix: &str,
        key: &str,
        default: &str,
        kind: &K,
    ) -> K::Out {
        let given = self.given.get(&full_name(prefix, key));
        let parsed = match given {
            Some(given) => kind.parse(&given.raw),
            None => kind.parse(&Raw::Bare(default.to_owned())),
        };
        match parsed {
            Ok(value) => value,
            // Given values were checked by `lay`, defaults by a test over the table.
            Err(what) => panic!("{prefix}.{key} was accepted, then refused: {what}"),
        }
    }
}
