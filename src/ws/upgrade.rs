//! The request that asks for a WebSocket, and what it is answered [RFC 6455, section 4.2].

use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use crate::base::envelope::ToldPeer;
use crate::ws::deflate::{Agreed, DeflateRules, agree};
use crate::ws::http::{HttpFault, Request};

/// What every key is hashed with [RFC 6455, 1.3].
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a listener asks of a request, and of what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocketRules {
    /// The path it must name.
    pub path: String,
    /// The sub-protocols that are taken.
    pub protocols: Vec<String>,
    /// Whether one of them must be offered.
    pub fail_if_no_protocol: bool,
    /// Whether the origin is looked at.
    pub check_origin: bool,
    /// Whether a request without an origin passes, as all do that are not a browser's.
    pub allow_origin_absence: bool,
    /// The origins that pass.
    pub origins: Vec<String>,
    /// The header in which a proxy tells the client's address.
    pub address_header: String,
    /// The header in which a proxy tells the client's port.
    pub port_header: String,
    /// The largest payload of one frame, in bytes.
    pub frame_bytes_max: u64,
    /// Whether each packet is sent in a frame of its own.
    pub one_packet_a_frame: bool,
    /// What is agreed to with clients that offer compression; none of them is, without it.
    pub deflate: Option<DeflateRules>,
    /// Bytes that a compressed message, and all of those in one receive, may give.
    pub inflated_bytes_max: u64,
}

impl Default for WebSocketRules {
    /// Those of a listener that is configured with nothing but its address.
    fn default() -> Self {
        let words = ["mqtt", "mqttv3.1", "mqtt-v3", "mqtt-v3.1.1", "mqtt-v5"];
        Self {
            path: "/mqtt".to_owned(),
            protocols: words.map(str::to_owned).to_vec(),
            fail_if_no_protocol: true,
            check_origin: false,
            allow_origin_absence: true,
            origins: Vec::new(),
            address_header: "X-Forwarded-For".to_owned(),
            port_header: "X-Forwarded-Port".to_owned(),
            frame_bytes_max: u64::MAX,
            one_packet_a_frame: false,
            deflate: None,
            inflated_bytes_max: 1024 * 1024,
        }
    }
}

/// A request that was accepted.
#[derive(Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The whole answer.
    pub answer: Vec<u8>,
    /// Who the client is, as a proxy says.
    pub told: Option<ToldPeer>,
    /// How messages may be compressed, if they may.
    pub compression: Option<Agreed>,
}

/// A request that was not.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused {
    status: &'static str,
    header: &'static str,
    why: String,
}

impl Refused {
    fn new(status: &'static str, why: impl Into<String>) -> Self {
        Self {
            status,
            header: "",
            why: why.into(),
        }
    }

    fn with_header(self, header: &'static str) -> Self {
        Self { header, ..self }
    }

    /// The whole answer.
    pub fn answer(&self) -> Vec<u8> {
        let Self {
            status,
            header,
            why,
        } = self;
        let len = why.len() + 1;
        format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\n{header}Content-Type: text/plain\r\n\
             Content-Length: {len}\r\n\r\n{why}\n"
        )
        .into_bytes()
    }
}

impl From<HttpFault> for Refused {
    fn from(fault: HttpFault) -> Self {
        match fault {
            HttpFault::Malformed => Self::new("400 Bad Request", "this is no HTTP request"),
            HttpFault::TooLarge => Self::new(
                "431 Request Header Fields Too Large",
                "the request's headers are too large",
            ),
        }
    }
}

const BAD: &str = "400 Bad Request";

/// Judges a request's head. What a proxy tells of the client is believed when it is `trusted`.
///
/// # Errors
/// What it is answered otherwise.
pub fn judge(head: &[u8], rules: &WebSocketRules, trusted: bool) -> Result<Accepted, Refused> {
    let request = Request::parse(head)?;
    judge_http(&request, rules)?;
    let key = judge_websocket(&request)?;
    judge_origin(&request, rules)?;
    let protocol = choose_protocol(&request, rules)?;
    let offers = request.words("sec-websocket-extensions");
    let compression = rules.deflate.and_then(|rules| agree(rules, offers));
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n",
        accept_of(key)
    );
    if let Some(protocol) = protocol {
        answer.push_str("Sec-WebSocket-Protocol: ");
        answer.push_str(protocol);
        answer.push_str("\r\n");
    }
    if let Some(agreed) = &compression {
        answer.push_str("Sec-WebSocket-Extensions: ");
        answer.push_str(&agreed.answer());
        answer.push_str("\r\n");
    }
    answer.push_str("\r\n");
    let told = trusted.then(|| told_peer(&request, rules)).flatten();
    Ok(Accepted {
        answer: answer.into_bytes(),
        told,
        compression,
    })
}

/// The value of `Sec-WebSocket-Accept` for a key.
pub fn accept_of(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(KEY_SUFFIX);
    STANDARD.encode(hash.finalize())
}

fn judge_http(request: &Request<'_>, rules: &WebSocketRules) -> Result<(), Refused> {
    if request.method != "GET" {
        let refused = Refused::new("405 Method Not Allowed", "a WebSocket begins with GET");
        return Err(refused.with_header("Allow: GET\r\n"));
    }
    if !request.is_http_1_1 {
        return Err(Refused::new(BAD, "a WebSocket needs HTTP/1.1"));
    }
    if request.path() != rules.path {
        let why = format!("there is nothing here; MQTT is at {}", rules.path);
        return Err(Refused::new("404 Not Found", why));
    }
    if request.header("host").is_none() {
        return Err(Refused::new(BAD, "the header Host is missing"));
    }
    Ok(())
}

/// Says the key.
fn judge_websocket<'a>(request: &Request<'a>) -> Result<&'a str, Refused> {
    const UPGRADE: &str = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    let required = |why: &str| Refused::new("426 Upgrade Required", why).with_header(UPGRADE);
    if !request.names("upgrade", "websocket") || !request.names("connection", "upgrade") {
        return Err(required("this is a WebSocket for MQTT, not a web page"));
    }
    if request.header("sec-websocket-version") != Some("13") {
        return Err(required(
            "only version 13 of the WebSocket protocol is spoken",
        ));
    }
    let key = request.header("sec-websocket-key");
    let bytes = key.and_then(|key| STANDARD.decode(key).ok());
    match (key, bytes) {
        (Some(key), Some(bytes)) if bytes.len() == 16 => Ok(key),
        _ => Err(Refused::new(
            BAD,
            "Sec-WebSocket-Key is not 16 bytes in base64",
        )),
    }
}

fn judge_origin(request: &Request<'_>, rules: &WebSocketRules) -> Result<(), Refused> {
    if !rules.check_origin {
        return Ok(());
    }
    let forbidden = |why: &str| Err(Refused::new("403 Forbidden", why));
    match request.header("origin") {
        None if request.all("origin").next().is_some() => {
            forbidden("the header Origin stands twice")
        }
        None if rules.allow_origin_absence => Ok(()),
        None => forbidden("the header Origin is missing"),
        Some(origin) if rules.origins.iter().any(|o| o.eq_ignore_ascii_case(origin)) => Ok(()),
        Some(_) => forbidden("this origin is not allowed"),
    }
}

/// The first sub-protocol of the client's that is taken.
fn choose_protocol<'a>(
    request: &'a Request<'a>,
    rules: &WebSocketRules,
) -> Result<Option<&'a str>, Refused> {
    let header = "sec-websocket-protocol";
    let taken = |offered: &&str| rules.protocols.iter().any(|known| known == offered);
    if let Some(protocol) = request.words(header).find(taken) {
        return Ok(Some(protocol));
    }
    let known = rules.protocols.join(", ");
    match request.words(header).next() {
        None if !rules.fail_if_no_protocol => Ok(None),
        None => Err(Refused::new(
            BAD,
            format!("the header Sec-WebSocket-Protocol is missing; it is to name one of {known}"),
        )),
        Some(_) => Err(Refused::new(
            BAD,
            format!("none of the sub-protocols is known; known are {known}"),
        )),
    }
}

/// Address and port as a proxy gives them; of a chain of proxies' addresses the first is the
/// client's.
fn told_peer(request: &Request<'_>, rules: &WebSocketRules) -> Option<ToldPeer> {
    let mut told = ToldPeer::default();
    if let Some(first) = request.words(&rules.address_header).next() {
        let bare = first.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = first.parse::<SocketAddr>() {
            told.ip = Some(address.ip());
            told.port = Some(address.port());
        } else {
            told.ip = bare.parse::<IpAddr>().ok();
        }
    }
    if let Some(port) = request.words(&rules.port_header).next() {
        told.port = port.parse().ok().or(told.port);
    }
    (told != ToldPeer::default()).then_some(told)
}

#[cfg(test)]
#[path = "upgrade_tests.rs"]
mod tests;
