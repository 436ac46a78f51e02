//! As much HTTP as the run needs: one connection that stays, answers with a length.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Asked;
use crate::cli::ManageArgs;
use crate::failure::{Context, Failure};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes read at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// The broker's API.
pub(super) struct Api {
    stream: TcpStream,
    address: SocketAddr,
    authorization: String,
    body: String,
}

impl Api {
    pub(super) fn connect(args: &ManageArgs) -> Result<Self, Failure> {
        let what = format!("cannot reach the API at {}", args.api);
        let mut addresses = args.api.to_socket_addrs().context(what.clone())?;
        let address = addresses
            .next()
            .ok_or_else(|| Failure::Usage(what.clone()))?;
        let stream = TcpStream::connect(address).context(what.clone())?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .context(what.clone())?;
        stream.set_nodelay(true).context(what)?;
        Ok(Self {
            stream,
            address,
            authorization: format!("Basic {}", base64(args.api_key.as_bytes())),
            body: String::new(),
        })
    }

    /// The body of what a path answers; anything but success ends the run.
    pub(super) fn get(&mut self, path: &str, asked: &mut Asked) -> Result<&str, Failure> {
        let begun = Instant::now();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\n\r\n",
            self.address, self.authorization
        );
        let what = || format!("GET {path}");
        self.stream.write_all(head.as_bytes()).context(what())?;
        let (mut bytes, mut piece) = (Vec::new(), vec![0; PIECE_BYTES]);
        let (begins, length) = loop {
            let count = self.stream.read(&mut piece).context(what())?;
            bytes.extend_from_slice(piece.get(..count).unwrap_or_default());
            if let Some(found) = head_of(&bytes) {
                break found.map_err(|why| Failure::Broker(format!("GET {path}: {why}")))?;
            }
            if count == 0 {
                return Err(Failure::Broker(format!("GET {path}: no answer")));
            }
        };
        let missing = (begins + length).saturating_sub(bytes.len());
        let there = bytes.len();
        bytes.resize(there + missing, 0);
        let rest = bytes.get_mut(there..).unwrap_or_default();
        self.stream.read_exact(rest).context(what())?;
        let body = bytes.get(begins..begins + length).unwrap_or_default();
        self.body = String::from_utf8_lossy(body).into_owned();
        asked.requests += 1;
        asked.bytes += bytes.len() as u64;
        asked.slowest = asked.slowest.max(begun.elapsed());
        Ok(&self.body)
    }

    /// A number in an answer.
    pub(super) fn number(&mut self, path: &str, field: &str) -> Result<u64, Failure> {
        let body = self.get(path, &mut Asked::default())?;
        let answer: Value = serde_json::from_str(body).unwrap_or_default();
        let missing = || Failure::Broker(format!("GET {path}: no `{field}` in {body}"));
        answer[field].as_u64().ok_or_else(missing)
    }
}

/// Where the body begins and its length; nothing while the head is incomplete.
fn head_of(bytes: &[u8]) -> Option<Result<(usize, usize), String>> {
    let ends = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(bytes.get(..ends)?).to_ascii_lowercase();
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    if !first.contains(" 200 ") {
        return Some(Err(first.to_owned()));
    }
    let length = lines.find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    Some(match length {
        Some(length) => Ok((ends + 4, length)),
        None => Err("an answer without a length".to_owned()),
    })
}

fn base64(bytes: &[u8]) -> String {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for three in bytes.chunks(3) {
        let word = three
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - three.len()));
        for digit in 0..4 {
            let at = (word >> (18 - 6 * digit)) as usize & 63;
            let is_padding = digit > three.len();
            encoded.push(if is_padding {
                '='
            } else {
                char::from(digits[at])
            });
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_where_the_body_begins() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(head_of(whole), Some(Ok((38, 5))));
        assert_eq!(head_of(&whole[..30]), None);
        let other = b"HTTP/1.1 401 Unauthorized\r\n\r\n";
        assert!(matches!(head_of(other), Some(Err(_))));
    }

    #[test]
    fn base64_has_its_padding() {
        assert_eq!(base64(b"a:b"), "YTpi");
        assert_eq!(base64(b"ab:c"), "YWI6Yw==");
        assert_eq!(base64(b"ab:cd"), "YWI6Y2Q=");
    }
}
