//! The kinds of values a setting can have: what they accept, what type they become, how the
//! reference describes them.
//!
//! A value arrives [`Raw`] (as its source wrote it) and leaves typed; nothing in between. The error
//! of a kind says what is wrong with the value; where the value came from is added by the caller.

use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::quantity::{
    parse_address, parse_bytes, parse_duration, parse_rate, parse_whole, show_bytes, show_duration,
};

/// A value as its source wrote it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Raw {
    /// Characters without a type: from the environment, the command line, a default.
    Bare(String),
    /// A quoted string of a TOML file.
    Text(String),
    /// A whole number of a TOML file.
    Integer(i64),
    /// A number with a fraction of a TOML file.
    Float(f64),
    /// `true` or `false` of a TOML file.
    Flag(bool),
    /// A list of a TOML file.
    List(serde_json::Value),
    /// Something that no setting takes, by its name ("an array").
    Other(&'static str),
}

impl Raw {
    /// The value as text, if it is text or stands for it: a number may be given with or without
    /// quotes where the setting takes both.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Bare(text) | Self::Text(text) => Some(text.clone()),
            Self::Integer(number) => Some(number.to_string()),
            Self::Float(_) | Self::Flag(_) | Self::List(_) | Self::Other(_) => None,
        }
    }

    fn whole(&self) -> Option<u64> {
        match self {
            Self::Bare(text) => parse_whole(text),
            Self::Integer(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bare(text) | Self::Text(text) => write!(f, "\"{}\"", text.escape_debug()),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::List(_) => f.write_str("a list"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// One kind of value: the parser and its description.
pub(crate) trait Kind {
    /// The type a value of this kind becomes.
    type Out;

    /// The typed value, or what is wrong with it, as the end of a sentence.
    fn parse(&self, raw: &Raw) -> Result<Self::Out, String>;

    /// Type and range for the reference, such as `integer, 1 to 65535`.
    fn describe(&self) -> String;
}

/// A [`Kind`] without its type, for the table of declarations.
pub(crate) trait Check: Sync {
    /// What is wrong with the value, if anything.
    fn check(&self, raw: &Raw) -> Result<(), String>;
    /// See [`Kind::describe`].
    fn describe(&self) -> String;
}

impl<K: Kind + Sync> Check for K {
    fn check(&self, raw: &Raw) -> Result<(), String> {
        self.parse(raw).map(drop)
    }

    fn describe(&self) -> String {
        Kind::describe(self)
    }
}

/// `true` or `false`.
pub(crate) struct Flag;

impl Kind for Flag {
    type Out = bool;

    fn parse(&self, raw: &Raw) -> Result<bool, String> {
        match raw {
            Raw::Flag(flag) => Ok(*flag),
            Raw::Bare(text) if text == "true" => Ok(true),
            Raw::Bare(text) if text == "false" => Ok(false),
            _ => Err(format!("{raw} is neither true nor false")),
        }
    }

    fn describe(&self) -> String {
        "true or false".to_owned()
    }
}

/// A whole number from `min` to `max`.
pub(crate) struct Integer<T> {
    min: u64,
    max: u64,
    out: PhantomData<fn() -> T>,
}

/// See [`Integer`].
pub(crate) const fn integer<T>(min: u64, max: u64) -> Integer<T> {
    Integer {
        min,
        max,
        out: PhantomData,
    }
}

impl<T: TryFrom<u64>> Kind for Integer<T> {
    type Out = T;

    fn parse(&self, raw: &Raw) -> Result<T, String> {
        let wrong = || {
            format!(
                "{raw} is not a whole number from {} to {}",
                self.min, self.max
            )
        };
        let number = raw.whole().ok_or_else(wrong)?;
        in_range(number, self.min, self.max).ok_or_else(wrong)
    }

    fn describe(&self) -> String {
        format!("integer, {} to {}", self.min, self.max)
    }
}

/// A number of bytes, with or without a unit.
pub(crate) struct Bytes<T> {
    min: u64,
    max: u64,
    out: PhantomData<fn() -> T>,
}

/// See [`Bytes`].
pub(crate) const fn bytes<T>(min: u64, max: u64) -> Bytes<T> {
    Bytes {
        min,
        max,
        out: PhantomData,
    }
}

impl<T: TryFrom<u64>> Kind for Bytes<T> {
    type Out = T;

    fn parse(&self, raw: &Raw) -> Result<T, String> {
        let wrong = || format!("{raw} is not a size such as 256KB or 1MB");
        let count = raw
            .text()
            .and_then(|text| parse_bytes(&text))
            .ok_or_else(wrong)?;
        in_range(count, self.min, self.max).ok_or_else(|| {
            let (min, max) = (show_bytes(self.min), show_bytes(self.max));
            format!("{raw} is out of range, which is {min} to {max}")
        })
    }

    fn describe(&self) -> String {
        format!(
            "bytes, {} to {}",
            show_bytes(self.min),
            show_bytes(self.max)
        )
    }
}

/// A length of time with its unit.
pub(crate) struct Span {
    min: Duration,
    max: Duration,
}

/// See [`Span`].
pub(crate) const fn span(min: Duration, max: Duration) -> Span {
    Span { min, max }
}

impl Kind for Span {
    type Out = Duration;

    fn parse(&self, raw: &Raw) -> Result<Duration, String> {
        let wrong =
            || format!("{raw} is not a duration with its unit, such as 250ms, 15s, 5m or 2h");
        let duration = raw
            .text()
            .and_then(|text| parse_duration(&text))
            .ok_or_else(wrong)?;
        if duration < self.min || duration > self.max {
            let (min, max) = (show_duration(self.min), show_duration(self.max));
            return Err(format!("{raw} is out of range, which is {min} to {max}"));
        }
        Ok(duration)
    }

    fn describe(&self) -> String {
        format!(
            "duration, {} to {}",
            show_duration(self.min),
            show_duration(self.max)
        )
    }
}

/// Whole seconds as MQTT carries them in two bytes: a duration, or a number of seconds.
pub(crate) struct Seconds;

impl Kind for Seconds {
    type Out = u16;

    fn parse(&self, raw: &Raw) -> Result<u16, String> {
        let wrong = || {
            format!(
                "{raw} is not a whole number of seconds from 1s to {}s",
                u16::MAX
            )
        };
        let spelled = || raw.text().and_then(|text| parse_duration(&text));
        let duration = raw
            .whole()
            .map(Duration::from_secs)
            .or_else(spelled)
            .ok_or_else(wrong)?;
        match u16::try_from(duration.as_secs()) {
            Ok(seconds) if seconds > 0 && duration.subsec_nanos() == 0 => Ok(seconds),
            _ => Err(wrong()),
        }
    }

    fn describe(&self) -> String {
        format!("duration in whole seconds, 1s to {}s", u16::MAX)
    }
}

/// A number with a fraction, from `min` to `max`.
pub(crate) struct Decimal {
    min: f64,
    max: f64,
}

/// See [`Decimal`].
pub(crate) const fn decimal(min: f64, max: f64) -> Decimal {
    Decimal { min, max }
}

impl Kind for Decimal {
    type Out = f64;

    fn parse(&self, raw: &Raw) -> Result<f64, String> {
        let number = match raw {
            Raw::Bare(text) => text.parse().ok(),
            Raw::Float(number) => Some(*number),
            Raw::Integer(number) => i32::try_from(*number).ok().map(f64::from),
            _ => None,
        };
        // Not-a-number is in no range, so it ends here as well.
        number
            .filter(|number| (self.min..=self.max).contains(number))
            .ok_or_else(|| format!("{raw} is not a number from {} to {}", self.min, self.max))
    }

    fn describe(&self) -> String {
        format!("number, {} to {}", self.min, self.max)
    }
}

/// Text without control characters, not empty.
pub(crate) struct Text {
    max_len: usize,
}

/// See [`Text`]; `max_len` in bytes.
pub(crate) const fn text(max_len: usize) -> Text {
    Text { max_len }
}

impl Kind for Text {
    type Out = String;

    fn parse(&self, raw: &Raw) -> Result<String, String> {
        let (Raw::Bare(text) | Raw::Text(text)) = raw else {
            return Err(format!("{raw} is not text; put it in quotes"));
        };
        if text.is_empty() {
            return Err("the text is empty".to_owned());
        }
        if text.len() > self.max_len {
            return Err(format!("the text is longer than {} bytes", self.max_len));
        }
        if text.chars().any(char::is_control) {
            return Err(format!("{raw} holds a control character"));
        }
        Ok(text.clone())
    }

    fn describe(&self) -> String {
        format!("text, at most {} bytes", self.max_len)
    }
}

/// A path of the file system.
pub(crate) struct FilePath;

impl Kind for FilePath {
    type Out = PathBuf;

    fn parse(&self, raw: &Raw) -> Result<PathBuf, String> {
        match raw {
            Raw::Bare(text) | Raw::Text(text) if text.contains('\0') => {
                Err(format!("{raw} holds a null character"))
            }
            Raw::Bare(text) | Raw::Text(text) if !text.is_empty() => Ok(PathBuf::from(text)),
            _ => Err(format!("{raw} is not a path; put it in quotes")),
        }
    }

    fn describe(&self) -> String {
        "path".to_owned()
    }
}

/// One of a few words.
pub(crate) struct Choice<T: 'static> {
    words: &'static [(&'static str, T)],
}

/// See [`Choice`].
pub(crate) const fn choice<T>(words: &'static [(&'static str, T)]) -> Choice<T> {
    Choice { words }
}

impl<T: Copy> Choice<T> {
    fn listed(&self) -> String {
        let words: Vec<&str> = self.words.iter().map(|(word, _)| *word).collect();
        words.join(", ")
    }
}

impl<T: Copy> Kind for Choice<T> {
    type Out = T;

    fn parse(&self, raw: &Raw) -> Result<T, String> {
        let text = raw.text();
        let named = self
            .words
            .iter()
            .find(|(word, _)| text.as_deref() == Some(word));
        match named {
            Some((_, value)) => Ok(*value),
            None => Err(format!("{raw} is none of {}", self.listed())),
        }
    }

    fn describe(&self) -> String {
        format!("one of {}", self.listed())
    }
}

/// Words that the reference lists; with more the setting's documentation does.
const WORDS_SHOWN: usize = 5;

/// The entries of a list, or of text with commas between them.
pub(crate) fn entries(raw: &Raw) -> Option<Vec<String>> {
    match raw {
        Raw::List(list) => {
            let text = |entry: &serde_json::Value| entry.as_str().map(str::to_owned);
            list.as_array()?.iter().map(text).collect()
        }
        Raw::Bare(text) | Raw::Text(text) => {
            let all = text.split(',').map(|entry| entry.trim().to_owned());
            Some(all.filter(|entry| !entry.is_empty()).collect())
        }
        _ => None,
    }
}

/// Some of a few words: a list, or text with commas between them.
pub(crate) struct Words<T: 'static> {
    one: Choice<T>,
}

/// See [`Words`].
pub(crate) const fn words<T>(words: &'static [(&'static str, T)]) -> Words<T> {
    Words { one: choice(words) }
}

impl<T: Copy> Kind for Words<T> {
    type Out = Vec<T>;

    fn parse(&self, raw: &Raw) -> Result<Vec<T>, String> {
        let words = entries(raw).ok_or_else(|| format!("{raw} is not a list of words"))?;
        if words.is_empty() {
            return Err("the list is empty".to_owned());
        }
        let word = |word: String| self.one.parse(&Raw::Text(word));
        words.into_iter().map(word).collect()
    }

    fn describe(&self) -> String {
        let words = self.one.words;
        match words {
            [(first, _), .., (last, _)] if words.len() > WORDS_SHOWN => {
                format!("list of {} words, {first} to {last}", words.len())
            }
            _ => format!("list of {}", self.one.listed()),
        }
    }
}

/// Events a second.
pub(crate) struct Rate;

impl Kind for Rate {
    type Out = u32;

    fn parse(&self, raw: &Raw) -> Result<u32, String> {
        let rate = raw.text().and_then(|text| parse_rate(&text));
        rate.and_then(|rate| in_range(rate, 1, u64::from(u32::MAX)))
            .ok_or_else(|| format!("{raw} is not a rate such as 1000/s"))
    }

    fn describe(&self) -> String {
        "rate a second, such as 1000/s".to_owned()
    }
}

/// An IP address with a port.
pub(crate) struct Address;

impl Kind for Address {
    type Out = SocketAddr;

    fn parse(&self, raw: &Raw) -> Result<SocketAddr, String> {
        raw.text()
            .and_then(|text| parse_address(&text))
            .ok_or_else(|| {
                format!("{raw} is not an IP address with a port, such as 0.0.0.0:1883 or [::]:1883")
            })
    }

    fn describe(&self) -> String {
        "IP address and port".to_owned()
    }
}

/// A value of another kind, or a word that stands for its absence (`infinity`, `disabled`, `auto`).
pub(crate) struct Unless<K> {
    words: &'static [&'static str],
    kind: K,
}

/// See [`Unless`]. The first word is the one the reference names first.
pub(crate) const fn unless<K>(words: &'static [&'static str], kind: K) -> Unless<K> {
    Unless { words, kind }
}

impl<K: Kind> Kind for Unless<K> {
    type Out = Option<K::Out>;

    fn parse(&self, raw: &Raw) -> Result<Option<K::Out>, String> {
        if raw
            .text()
            .is_some_and(|text| self.words.contains(&text.as_str()))
        {
            return Ok(None);
        }
        let or = |wrong: String| format!("{wrong}, nor `{}`", self.words.join("` or `"));
        self.kind.parse(raw).map(Some).map_err(or)
    }

    fn describe(&self) -> String {
        format!("{}; or `{}`", self.kind.describe(), self.words.join("`, `"))
    }
}

fn in_range<T: TryFrom<u64>>(number: u64, min: u64, max: u64) -> Option<T> {
    if number < min || number > max {
        return None;
    }
    T::try_from(number).ok()
}

#[cfg(test)]
mod tests;
