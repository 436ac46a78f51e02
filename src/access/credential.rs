//! The broker's own users: tables in memory, and the files they begin with.
//!
//! Files are EMQX's: CSV with a head line, or a JSON list of objects. Columns are `user_id`,
//! `is_superuser` and either `password` or `password_hash` with `salt`.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::access::password::Stored;

/// Bytes of a user id or a password that are taken.
const FIELD_BYTES_MAX: usize = 65_535;

/// One user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// How the password is stored.
    pub stored: Stored,
    /// No access rule holds for it.
    pub superuser: bool,
}

/// One line of a file.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The user name or client id.
    pub user_id: String,
    /// What the file says of the password.
    pub secret: EntrySecret,
    /// No access rule holds for it.
    pub superuser: bool,
}

/// What a file says of a password.
#[derive(Clone, PartialEq, Eq)]
pub enum EntrySecret {
    /// The password itself.
    Plain(String),
    /// Its hash.
    Hash(Stored),
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({})", self.user_id)
    }
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProblem {
    /// The line of a CSV file, or the number of an entry of a JSON file; both from 1.
    pub at: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

/// Users by their ids.
#[derive(Debug)]
pub struct Users<T> {
    by_id: BTreeMap<String, T>,
}

impl<T> Default for Users<T> {
    fn default() -> Self {
        Self {
            by_id: BTreeMap::new(),
        }
    }
}

impl<T: Clone> Users<T> {
    /// The user of that id.
    pub fn find(&self, user_id: &str) -> Option<&T> {
        self.by_id.get(user_id)
    }

    /// Adds a user; false if there is one of that id.
    pub fn add(&mut self, user_id: &str, user: T) -> bool {
        let free = !self.by_id.contains_key(user_id);
        if free {
            self.by_id.insert(user_id.to_owned(), user);
        }
        free
    }

    /// Changes a user; false if there is none of that id.
    pub fn update(&mut self, user_id: &str, change: impl FnOnce(&mut T)) -> bool {
        let user = self.by_id.get_mut(user_id);
        user.map(change).is_some()
    }

    /// Deletes a user; false if there is none of that id.
    pub fn delete(&mut self, user_id: &str) -> bool {
        self.by_id.remove(user_id).is_some()
    }

    /// At most `limit` users whose ids come behind `after`, in order.
    pub fn list(&self, after: Option<&str>, limit: usize) -> Vec<(String, T)> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_id
            .range::<str, _>((from, Bound::Unbounded))
            .take(limit)
            .map(|(id, user)| (id.clone(), user.clone()))
            .collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

/// Reads a bootstrap file: JSON if its name says so, else CSV.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn read_file(name: &str, text: &str) -> Result<Vec<Entry>, FileProblem> {
    let is_json = name
        .rsplit_once('.')
        .is_some_and(|(_, ending)| ending.eq_ignore_ascii_case("json"));
    if is_json {
        read_json(text)
    } else {
        read_csv(text)
    }
}

fn read_json(text: &str) -> Result<Vec<Entry>, FileProblem> {
    let problem = |at, what: &str| FileProblem {
        at,
        what: what.to_owned(),
    };
    let value: Value = serde_json::from_str(text)
        .map_err(|error| problem(error.line(), &format!("this is not JSON: {error}")))?;
    let Value::Array(list) = value else {
        return Err(problem(1, "this is not a list"));
    };
    let entry = |(index, value): (usize, &Value)| {
        let at = index + 1;
        let object = value
            .as_object()
            .ok_or_else(|| problem(at, "this is not an object"))?;
        let field = |name: &str| {
            object.get(name).and_then(|value| match value {
                Value::String(text) => Some(text.clone()),
                Value::Bool(flag) => Some(flag.to_string()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            })
        };
        entry_of(at, field)
    };
    list.iter().enumerate().map(entry).collect()
}

fn read_csv(text: &str) -> Result<Vec<Entry>, FileProblem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = CsvLines {
        rest: text,
        line: 1,
    };
    let Some((head_at, head)) = lines.next().transpose()? else {
        return Ok(Vec::new());
    };
    let known = [
        "user_id",
        "password",
        "password_hash",
        "salt",
        "is_superuser",
    ];
    let head: Vec<&str> = head.iter().map(|name| name.trim()).collect();
    for name in &head {
        if !known.contains(name) {
            return Err(FileProblem {
                at: head_at,
                what: format!(
                    "there is no column `{name}`; there are {}",
                    known.join(", ")
                ),
            });
        }
    }
    let mut entries = Vec::new();
    for line in lines {
        let (at, fields) = line?;
        if fields.len() != head.len() {
            return Err(FileProblem {
                at,
                what: format!("{} fields, {} in the head line", fields.len(), head.len()),
            });
        }
        let field = |name: &str| {
            let index = head.iter().position(|column| *column == name)?;
            fields.get(index).cloned()
        };
        entries.push(entry_of(at, field)?);
    }
    Ok(entries)
}

fn entry_of(at: usize, field: impl Fn(&str) -> Option<String>) -> Result<Entry, FileProblem> {
    let problem = |what: &str| FileProblem {
        at,
        what: what.to_owned(),
    };
    let user_id = field("user_id").filter(|id| !id.is_empty());
    let user_id = user_id.ok_or_else(|| problem("`user_id` is missing"))?;
    let superuser = match field("is_superuser").as_deref() {
        None | Some("" | "false" | "0") => false,
        Some("true" | "1") => true,
        Some(_) => return Err(problem("`is_superuser` is neither true nor false")),
    };
    let secret = match (field("password_hash"), field("password")) {
        (Some(hash), _) if !hash.is_empty() => EntrySecret::Hash(Stored {
            hash,
            salt: field("salt").unwrap_or_default(),
        }),
        (_, Some(password)) if !password.is_empty() => EntrySecret::Plain(password),
        _ => return Err(problem("neither `password` nor `password_hash` is given")),
    };
    let len = match &secret {
        EntrySecret::Plain(password) => password.len(),
        EntrySecret::Hash(stored) => stored.hash.len() + stored.salt.len(),
    };
    if user_id.len() > FIELD_BYTES_MAX || len > FIELD_BYTES_MAX {
        return Err(problem("a field is longer than 65535 bytes"));
    }
    Ok(Entry {
        user_id,
        secret,
        superuser,
    })
}

/// The lines of a CSV text (RFC 4180) with their numbers; empty ones are passed over.
struct CsvLines<'a> {
    rest: &'a str,
    line: usize,
}

impl Iterator for CsvLines<'_> {
    type Item = Result<(usize, Vec<String>), FileProblem>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(rest) = self
            .rest
            .strip_prefix("\r\n")
            .or_else(|| self.rest.strip_prefix('\n'))
        {
            self.rest = rest;
            self.line += 1;
        }
        if self.rest.is_empty() {
            return None;
        }
        let at = self.line;
        let mut fields = Vec::new();
        loop {
            match self.field() {
                Ok(field) => fields.push(field),
                Err(what) => {
                    self.rest = "";
                    return Some(Err(FileProblem { at, what }));
                }
            }
            if let Some(rest) = self.rest.strip_prefix(',') {
                self.rest = rest;
            } else {
                return Some(Ok((at, fields)));
            }
        }
    }
}

impl CsvLines<'_> {
    /// One field; the rest begins with a comma, the end of the line, or is empty.
    fn field(&mut self) -> Result<String, String> {
        let Some(mut rest) = self.rest.strip_prefix('"') else {
            let end = self.rest.find([',', '\n']).unwrap_or(self.rest.len());
            let (field, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Ok(field.strip_suffix('\r').unwrap_or(field).to_owned());
        };
        let mut field = String::new();
        loop {
            let Some((before, after)) = rest.split_once('"') else {
                return Err("a quoted field does not end".to_owned());
            };
            field.push_str(before);
            self.line += before.matches('\n').count();
            match after.strip_prefix('"') {
                Some(after) => {
                    field.push('"');
                    rest = after;
                }
                None => {
                    self.rest = after.strip_prefix('\r').unwrap_or(after);
                    break;
                }
            }
        }
        match self.rest.chars().next() {
            None | Some(',' | '\n') => Ok(field),
            Some(_) => Err("something follows the end of a quoted field".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(user_id: &str, password: &str, superuser: bool) -> Entry {
        Entry {
            user_id: user_id.to_owned(),
            secret: EntrySecret::Plain(password.to_owned()),
            superuser,
        }
    }

    #[test]
    fn csv_is_read_as_emqx_writes_it() {
        let text = "user_id,password_hash,salt,is_superuser\r\n\
                    myuser1,b6c743545a7817ae8c8f624371d5f5f0373234bb0ff36b8ffbf19bce0e06ab75,de1024f462fb83910fd13151bd4bd235,true\r\n\
                    \r\n\"a,\"\"b\",00,,false\n";
        let entries = read_file("x.csv", text).unwrap();
        assert_eq!(entries.len(), 2);
        assert!(entries[0].superuser && entries[0].user_id == "myuser1");
        assert_eq!(entries[1].user_id, "a,\"b");
        let want = EntrySecret::Hash(Stored {
            hash: "00".to_owned(),
            salt: String::new(),
        });
        assert!(entries[1].secret == want);
    }

    #[test]
    fn plain_passwords_are_read_from_both_forms() {
        let want = [plain("a", "x y", false), plain("b", "z", true)];
        let csv = "user_id,is_superuser,password\na,0,x y\nb,1,z";
        assert_eq!(read_file("users", csv).unwrap(), want);
        let json = r#"[{"user_id": "a", "password": "x y"},
                       {"user_id": "b", "password": "z", "is_superuser": true}]"#;
        assert_eq!(read_file("users.JSON", json).unwrap(), want);
        assert!(read_file("x.csv", "").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, want) in [
            ("user,password\n", "1: there is no column `user`"),
            (
                "user_id,password\na,b\n\nc\n",
                "4: 1 fields, 2 in the head line",
            ),
            (
                "user_id,password\n\"x\ny\",b\n,b",
                "4: `user_id` is missing",
            ),
            ("user_id,password\na,\"b", "2: a quoted field does not end"),
            ("user_id,password\na,\"b\"c", "2: something follows"),
            ("user_id,password\na,", "2: neither `password` nor"),
            (
                "user_id,password,is_superuser\na,b,yes",
                "2: `is_superuser` is neither",
            ),
        ] {
            let said = read_file("x.csv", text).unwrap_err().to_string();
            assert!(said.starts_with(want), "{text:?}: {said}");
        }
        for (text, want) in [
            ("{", "1: this is not JSON"),
            ("{}", "1: this is not a list"),
            (
                "[{\"user_id\": \"a\", \"password\": \"b\"}, 1]",
                "2: this is not an object",
            ),
            ("[{\"password\": \"b\"}]", "1: `user_id` is missing"),
        ] {
            let said = read_file("x.json", text).unwrap_err().to_string();
            assert!(said.starts_with(want), "{text:?}: {said}");
        }
    }

    #[test]
    fn users_are_listed_in_pages() {
        let mut users = Users::default();
        for id in ["c", "a", "b"] {
            assert!(users.add(id, User::default()));
        }
        assert!(!users.add("a", User::default()));
        assert!(users.update("a", |user| user.superuser = true));
        assert!(!users.update("x", |_| {}));
        let page: Vec<String> = users.list(None, 2).into_iter().map(|(id, _)| id).collect();
        assert_eq!(page, ["a", "b"]);
        assert_eq!(users.list(Some("b"), 2).len(), 1);
        assert!(users.find("a").unwrap().superuser);
        assert!(users.delete("a") && !users.delete("a"));
        assert_eq!(users.len(), 2);
    }
}
