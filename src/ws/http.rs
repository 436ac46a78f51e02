//! An HTTP request's head, as far as a WebSocket needs it: one request line, some headers, no body.

/// Bytes that a head may have. Browsers send 500 to 1500, with cookies some thousand.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Headers that a head may have.
const HEADERS_MAX: usize = 100;

/// The end of a head.
const END: &[u8] = b"\r\n\r\n";

/// A request without a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// `GET` and its kin.
    pub method: &'a str,
    /// What is asked for.
    pub target: &'a str,
    /// Whether the version is 1.1 or a later 1.x.
    pub is_http_1_1: bool,
    headers: Vec<(&'a str, &'a str)>,
}

/// Why bytes are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpFault {
    /// They are no HTTP.
    Malformed,
    /// The head is larger than [`HEAD_BYTES_MAX`] or has too many headers.
    TooLarge,
}

/// Where a head ends in `bytes`, of which the first `seen` were looked at before without finding it.
///
/// # Errors
/// When it can no longer end within the limit, or does not begin like HTTP.
pub fn head_end(bytes: &[u8], seen: usize) -> Result<Option<usize>, HttpFault> {
    // Binary bytes, as of MQTT or TLS on the wrong port, are not waited for.
    if bytes
        .first()
        .is_some_and(|first| !first.is_ascii_uppercase())
    {
        return Err(HttpFault::Malformed);
    }
    let from = seen.saturating_sub(END.len() - 1).min(bytes.len());
    let found = bytes[from..].windows(END.len()).position(|end| end == END);
    match found.map(|at| from + at + END.len()) {
        Some(end) if end <= HEAD_BYTES_MAX => Ok(Some(end)),
        None if bytes.len() <= HEAD_BYTES_MAX => Ok(None),
        _ => Err(HttpFault::TooLarge),
    }
}

impl<'a> Request<'a> {
    /// Reads a whole head.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(head: &'a [u8]) -> Result<Self, HttpFault> {
        let text = std::str::from_utf8(head).map_err(|_| HttpFault::Malformed)?;
        let mut lines = text.strip_suffix("\r\n\r\n").unwrap_or(text).split("\r\n");
        let request_line = lines.next().unwrap_or_default();
        let mut words = request_line.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(HttpFault::Malformed);
        };
        let minor = version.strip_prefix("HTTP/1.");
        let minor: u8 = minor
            .and_then(|minor| minor.parse().ok())
            .ok_or(HttpFault::Malformed)?;
        if !is_token(method) || target.is_empty() || !is_visible(target) {
            return Err(HttpFault::Malformed);
        }
        let mut headers = Vec::new();
        for line in lines {
            if headers.len() >= HEADERS_MAX {
                return Err(HttpFault::TooLarge);
            }
            let (name, value) = line.split_once(':').ok_or(HttpFault::Malformed)?;
            // A name that ends in a space, and a folded line, are both not allowed (RFC 9112, 5).
            if !is_token(name) || value.chars().any(|c| c.is_control() && c != '\t') {
                return Err(HttpFault::Malformed);
            }
            headers.push((name, value.trim_matches([' ', '\t'])));
        }
        Ok(Self {
            method,
            target,
            is_http_1_1: minor >= 1,
            headers,
        })
    }

    /// The path of the target, without query.
    pub fn path(&self) -> &'a str {
        let target = self.target;
        let path = match target.split_once("://") {
            Some((_, rest)) if !target.starts_with('/') => {
                rest.find('/').map_or("/", |at| &rest[at..])
            }
            _ => target,
        };
        path.split(['?', '#']).next().unwrap_or(path)
    }

    /// All values of a header, in order.
    pub fn all<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'a str> + 'b {
        let named = move |(given, _): &&(&str, &str)| given.eq_ignore_ascii_case(name);
        self.headers.iter().filter(named).map(|(_, value)| *value)
    }

    /// The value of a header that stands once.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let mut values = self.all(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// The words of a header that is a list.
    pub fn words<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'a str> + 'b {
        self.all(name)
            .flat_map(|value| value.split(','))
            .map(|word| word.trim_matches([' ', '\t']))
            .filter(|word| !word.is_empty())
    }

    /// Whether a list names a word, in whichever case.
    pub fn names(&self, header: &str, word: &str) -> bool {
        self.words(header)
            .any(|given| given.eq_ignore_ascii_case(word))
    }
}

fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_head_is_found_however_it_comes() {
        let head = b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest";
        for cut in 0..head.len() {
            let first = head_end(&head[..cut], 0).unwrap();
            assert_eq!(first.is_some(), cut >= 24);
            assert_eq!(
                head_end(head, if first.is_some() { 0 } else { cut }),
                Ok(Some(24))
            );
        }
        assert_eq!(head_end(b"\x10\x0e", 0), Err(HttpFault::Malformed));
        let long = vec![b'A'; HEAD_BYTES_MAX + 1];
        assert_eq!(head_end(&long, 0), Err(HttpFault::TooLarge));
    }

    #[test]
    fn a_head_is_read() {
        let head = b"GET /mqtt?a=b HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\n\
            connection: te\r\nEmpty:\r\n\r\n";
        let request = Request::parse(head).unwrap();
        assert_eq!((request.method, request.path()), ("GET", "/mqtt"));
        assert!(request.is_http_1_1 && request.names("connection", "UPGRADE"));
        assert_eq!(request.words("Connection").count(), 3);
        assert_eq!(request.header("host"), Some("x"));
        assert_eq!(request.header("Empty"), Some(""));
        assert_eq!(request.header("connection"), None, "it stands twice");
        let absolute = Request::parse(b"GET ws://h:1/mqtt HTTP/1.0\r\n\r\n").unwrap();
        assert_eq!((absolute.path(), absolute.is_http_1_1), ("/mqtt", false));
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for head in [
            &b"GET /\r\n\r\n"[..],
            b"GET  / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/2\r\n\r\n",
            b"G(T / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nA\r\n\r\n",
            b"GET / HTTP/1.1\r\nA : b\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: b\r\n c: d\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n",
            b"GET / HTTP/1.1\r\nA: \xff\r\n\r\n",
        ] {
            let said = Request::parse(head);
            assert_eq!(said, Err(HttpFault::Malformed), "{}", head.escape_ascii());
        }
        let many = "A: b\r\n".repeat(HEADERS_MAX + 1);
        let head = format!("GET / HTTP/1.1\r\n{many}\r\n");
        assert_eq!(Request::parse(head.as_bytes()), Err(HttpFault::TooLarge));
    }

    proptest! {
        #[test]
        fn never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = head_end(&bytes, bytes.len() / 2);
            if let Ok(request) = Request::parse(&bytes) {
                let _ = request.path();
            }
        }
    }
}
