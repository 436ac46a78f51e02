//! One HTTP/1.1 request on a connection of its own, over the control socket.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::ctl::Failure;

/// The socket's name in the data directory.
const FILE: &str = "ctl.sock";
/// How long the broker may be silent; its cores answer within seconds, or it says that they do not.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Bytes of one answer: a page of 10,000 rows has some 10 MB.
const ANSWER_MAX: u64 = 256 << 20;
/// What may stand in a part of a path as it is, besides letters and digits.
const UNRESERVED: &[u8] = b"-._~";

/// The broker's API.
pub struct Client {
    data_dir: PathBuf,
}

/// An answer.
#[derive(Debug, PartialEq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body; null when it is empty.
    pub body: Value,
}

impl Client {
    /// Of the broker with this data directory.
    pub fn of(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
        }
    }

    /// Asks, and takes 2xx for an answer only.
    ///
    /// # Errors
    /// The broker is not there, or what it objects.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let answer = self.exchange(method, path, body)?;
        match answer.status {
            200..300 => Ok(answer.body),
            status => {
                let message = answer.body["message"].as_str().map(str::to_owned);
                let message = message.unwrap_or_else(|| format!("the broker answered {status}"));
                Err(Failure::Failed(message))
            }
        }
    }

    /// Asks; whatever is answered.
    ///
    /// # Errors
    /// The broker is not there, or what comes is no answer.
    pub fn exchange(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let mut stream = self.connect()?;
        let cut = |error: io::Error| {
            Failure::Failed(format!("the broker has not answered the command: {error}"))
        };
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: ctl\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.set_read_timeout(Some(SILENCE_MAX)).map_err(cut)?;
        stream.set_write_timeout(Some(SILENCE_MAX)).map_err(cut)?;
        stream.write_all(request.as_bytes()).map_err(cut)?;
        let mut bytes = Vec::new();
        stream
            .take(ANSWER_MAX)
            .read_to_end(&mut bytes)
            .map_err(cut)?;
        answer_of(&bytes)
            .ok_or_else(|| Failure::Failed("what the broker answered is no answer".to_owned()))
    }

    fn connect(&self) -> Result<UnixStream, Failure> {
        let path = self.data_dir.join(FILE);
        let connected = File::open(&self.data_dir).and_then(|directory| {
            // By the directory's descriptor: a socket's address has room for 107 bytes only.
            let address = format!("/proc/self/fd/{}/{FILE}", directory.as_raw_fd());
            UnixStream::connect(address)
        });
        connected.map_err(|error| {
            let shown = path.display();
            Failure::Failed(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => format!(
                    "no broker is running with this data directory ({shown}: {error}); start it, or \
                     name the directory of the one you mean with --data-dir"
                ),
                io::ErrorKind::PermissionDenied => format!(
                    "only the broker's own user and root may use {shown}; be one of them"
                ),
                _ => format!("the control socket {shown} cannot be used: {error}"),
            })
        })
    }
}

/// The answer in these bytes, which are all that came: whole by its length, and JSON or text.
fn answer_of(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = (bytes.get(..end)?, bytes.get(end + 4..)?);
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    first
        .next()
        .filter(|version| version.starts_with("HTTP/1."))?;
    let status = first.next()?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    let body = match length {
        Some(length) => body.get(..length)?,
        None => body,
    };
    let body = match body.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(body)
            .unwrap_or_else(|_| String::from_utf8_lossy(body).into_owned().into()),
    };
    Some(Answer { status, body })
}

/// A word as a part of a path, or a value of a query.
pub fn encoded(word: &str) -> String {
    let mut text = String::new();
    for byte in word.bytes() {
        if byte.is_ascii_alphanumeric() || UNRESERVED.contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn answers_are_whole_or_none() {
        let of = |text: &str| answer_of(text.as_bytes());
        let answer = |status, body| Some(Answer { status, body });
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n";
        assert_eq!(
            of(&format!("{head}{{\"a\":1}}")),
            answer(200, json!({ "a": 1 }))
        );
        assert_eq!(of(&format!("{head}{{\"a\"")), None);
        assert_eq!(
            of("HTTP/1.1 204 No Content\r\n\r\n"),
            answer(204, Value::Null)
        );
        let text = "HTTP/1.1 503 x\r\ncontent-length: 2\r\n\r\nno";
        assert_eq!(of(text), answer(503, json!("no")));
        for nothing in ["", "\r\n\r\n", "HTTP/1.1 x\r\n\r\n", "SSH-2.0 200\r\n\r\n"] {
            assert_eq!(of(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn words_become_parts_of_paths() {
        assert_eq!(encoded("a/+/#"), "a%2F%2B%2F%23");
        assert_eq!(encoded("tcp:default-1.~_"), "tcp%3Adefault-1.~_");
        assert_eq!(encoded("\u{e4} ?&%"), "%C3%A4%20%3F%26%25");
    }

    #[test]
    fn without_a_broker_there_is_a_sentence() {
        let client = Client::of(Path::new("/nonexistent"));
        let Err(Failure::Failed(why)) = client.ask("GET", "/status", None) else {
            panic!("somebody answered");
        };
        assert!(why.starts_with("no broker is running"), "{why}");
        assert!(why.contains("/nonexistent/ctl.sock"), "{why}");
    }
}
