//! One event as a line, in EMQX's words: `2026-11-25T03:50:00.123456Z [PUBLISH] c@127.0.0.1:1234 msg:
//! publish_to, topic: t, ...`, or the same as a JSON object.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::control::clock;
use crate::control::trace::record::{Formatter, Level, PayloadEncode};
use crate::gate::trace::{Traced, TracedMessage, TracedWhat};
use crate::mqtt::reason::ReasonCode;

/// How lines are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Their shape.
    pub formatter: Formatter,
    /// How payloads are written.
    pub payload_encode: PayloadEncode,
    /// Bytes of a payload that are written.
    pub payload_limit: usize,
    /// Events that are less severe are left out.
    pub level: Level,
}

/// An event in words.
struct Told {
    tag: &'static str,
    level: Level,
    message: &'static str,
    fields: Vec<(&'static str, Value)>,
}

/// The line of an event; nothing if it is not severe enough.
pub fn of(style: &Style, traced: &Traced) -> Option<String> {
    let told = words(style, &traced.what);
    if told.level < style.level {
        return None;
    }
    let peer = traced.peer.map(|peer| peer.to_string());
    let who = Who {
        client_id: &traced.client_id,
        username: traced.username.as_deref(),
        peer: peer.as_deref(),
    };
    Some(render(style, traced.at_us, &who, told))
}

/// So many events were lost.
pub fn lost(style: &Style, events: u64, at_us: u64) -> String {
    let told = Told {
        tag: "TRACE",
        level: Level::Warning,
        message: "events_lost",
        fields: vec![(
            "what",
            format!("{events} events came faster than they could be written").into(),
        )],
    };
    render(style, at_us, &Who::default(), told)
}

/// The file takes nothing more.
pub fn full(style: &Style, bytes_max: u64, at_us: u64) -> String {
    let told = Told {
        tag: "TRACE",
        level: Level::Warning,
        message: "file_full",
        fields: vec![(
            "what",
            format!("the file has its {bytes_max} bytes, so the trace ends here").into(),
        )],
    };
    render(style, at_us, &Who::default(), told)
}

#[derive(Default)]
struct Who<'a> {
    client_id: &'a str,
    username: Option<&'a str>,
    peer: Option<&'a str>,
}

fn render(style: &Style, at_us: u64, who: &Who<'_>, told: Told) -> String {
    match style.formatter {
        Formatter::Text => text(at_us, who, told),
        Formatter::Json => object(at_us, who, told),
    }
}

fn text(at_us: u64, who: &Who<'_>, told: Told) -> String {
    let mut line = String::new();
    let time = clock::rfc3339_us(at_us);
    // Writing to a string does not fail.
    let _ = write!(line, "{time} [{}] ", told.tag);
    plain(&mut line, who.client_id);
    if let Some(peer) = who.peer {
        let _ = write!(line, "@{peer}");
    }
    let _ = write!(line, " msg: {}", told.message);
    let username = who.username.map(|name| ("username", Value::from(name)));
    for (name, value) in told.fields.into_iter().chain(username) {
        let _ = write!(line, ", {name}: ");
        match value {
            Value::String(text) => plain(&mut line, &text),
            other => {
                let _ = write!(line, "{other}");
            }
        }
    }
    line
}

/// Text that stays on its line.
fn plain(line: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
}

fn object(at_us: u64, who: &Who<'_>, told: Told) -> String {
    let mut object = Map::new();
    let fixed = [
        ("time", json!(at_us)),
        ("level", json!(told.level)),
        ("tag", json!(told.tag)),
        ("msg", json!(told.message)),
        ("clientid", json!(who.client_id)),
    ];
    let more = [
        ("peername", who.peer.map(Value::from)),
        ("username", who.username.map(Value::from)),
    ];
    let more = more
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    for (name, value) in fixed.into_iter().chain(more).chain(told.fields) {
        object.insert(name.to_owned(), value);
    }
    Value::Object(object).to_string()
}

/// `not_authorized(0x87)`.
fn reason_word(code: u8) -> Value {
    let name =
        ReasonCode::from_u8(code).map_or_else(String::new, |code| snake(&format!("{code:?}")));
    format!("{name}(0x{code:02X})").into()
}

/// `NotAuthorized` -> `not_authorized`
fn snake(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

fn words(style: &Style, what: &TracedWhat) -> Told {
    let of = |tag, level, message, fields| Told {
        tag,
        level,
        message,
        fields,
    };
    match what {
        TracedWhat::Connect { .. } | TracedWhat::ConnAck { .. } | TracedWhat::Packet { .. } => {
            packet(what)
        }
        TracedWhat::Authenticated { reason, anonymous } => {
            let level = if *reason == 0 {
                Level::Debug
            } else {
                Level::Warning
            };
            let fields = vec![
                ("result", reason_word(*reason)),
                ("anonymous", json!(anonymous)),
            ];
            of("AUTHN", level, "authentication_result", fields)
        }
        TracedWhat::Authorized {
            action,
            topic,
            allowed,
        } => {
            let fields = vec![("action", json!(action)), ("topic", json!(topic))];
            let (level, said) = match allowed {
                true => (Level::Debug, "authorization_permission_allowed"),
                false => (Level::Warning, "authorization_permission_denied"),
            };
            of("AUTHZ", level, said, fields)
        }
        TracedWhat::Publish { sent, message } => {
            let said = if *sent { "message_sent" } else { "publish_to" };
            of(
                "PUBLISH",
                Level::Debug,
                said,
                message_fields(style, message),
            )
        }
        TracedWhat::Subscribe { .. } | TracedWhat::Unsubscribe { .. } => filter(what),
        TracedWhat::Dropped {
            topic,
            reason,
            delivery,
        } => {
            let fields = vec![("topic", json!(topic)), ("reason", json!(reason))];
            let said = match delivery {
                true => "delivery_dropped",
                false => "message_dropped",
            };
            of("DROP", Level::Warning, said, fields)
        }
        TracedWhat::Disconnected { reason } => {
            let fields = vec![("reason", json!(reason))];
            of("SOCKET", Level::Info, "connection_terminated", fields)
        }
    }
}

/// A filter of a SUBSCRIBE or an UNSUBSCRIBE.
fn filter(what: &TracedWhat) -> Told {
    let (tag, message, fields) = match what {
        TracedWhat::Subscribe {
            filter,
            qos,
            reason,
        } => {
            let fields = vec![
                ("topic", json!(filter)),
                ("qos", json!(qos.as_u8())),
                ("result", reason_word(*reason)),
            ];
            ("SUBSCRIBE", "subscribe", fields)
        }
        TracedWhat::Unsubscribe { filter, reason } => {
            let fields = vec![("topic", json!(filter)), ("result", reason_word(*reason))];
            ("UNSUBSCRIBE", "unsubscribe", fields)
        }
        _ => ("TRACE", "", Vec::new()),
    };
    Told {
        tag,
        level: Level::Debug,
        message,
        fields,
    }
}

/// Packets that have no topic.
fn packet(what: &TracedWhat) -> Told {
    let told = |sent: bool, level, fields| Told {
        tag: "MQTT",
        level,
        message: if sent {
            "mqtt_packet_sent"
        } else {
            "mqtt_packet_received"
        },
        fields,
    };
    match what {
        TracedWhat::Connect {
            version,
            clean_start,
            keep_alive_s,
            has_will,
        } => {
            let fields = vec![
                ("packet", json!("CONNECT")),
                ("proto_ver", json!(version.level())),
                ("clean_start", json!(clean_start)),
                ("keepalive", json!(keep_alive_s)),
                ("will", json!(has_will)),
            ];
            told(false, Level::Info, fields)
        }
        TracedWhat::ConnAck {
            reason,
            session_present,
        } => {
            let fields = vec![
                ("packet", json!("CONNACK")),
                ("reason_code", reason_word(*reason)),
                ("session_present", json!(session_present)),
            ];
            told(true, Level::Info, fields)
        }
        TracedWhat::Packet {
            sent,
            name,
            packet_id,
            reason,
        } => {
            let mut fields = vec![("packet", json!(name))];
            if *packet_id != 0 {
                fields.push(("packet_id", json!(packet_id)));
            }
            fields.extend(reason.map(|code| ("reason_code", reason_word(code))));
            told(*sent, Level::Debug, fields)
        }
        _ => told(false, Level::Debug, Vec::new()),
    }
}

fn message_fields(style: &Style, message: &TracedMessage) -> Vec<(&'static str, Value)> {
    let mut fields = vec![
        ("topic", json!(message.topic)),
        ("qos", json!(message.qos.as_u8())),
        ("retain", json!(message.retain)),
    ];
    if message.packet_id != 0 {
        fields.push(("packet_id", json!(message.packet_id)));
    }
    fields.push(("payload", payload(style, message).into()));
    fields
}

fn payload(style: &Style, message: &TracedMessage) -> String {
    let wanted = message.payload.len().min(style.payload_limit);
    let shown = message.payload.get(..wanted).unwrap_or_default();
    let mut text = match style.payload_encode {
        PayloadEncode::Hidden => return "******".to_owned(),
        PayloadEncode::Text => String::from_utf8_lossy(shown).into_owned(),
        PayloadEncode::Hex => shown.iter().map(|byte| format!("{byte:02X}")).collect(),
    };
    let more = message.payload_bytes - wanted;
    if more > 0 {
        let _ = write!(text, "...({more} bytes not shown)");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::qos::QoS;

    fn style(formatter: Formatter, payload_encode: PayloadEncode) -> Style {
        Style {
            formatter,
            payload_encode,
            payload_limit: 8,
            level: Level::Debug,
        }
    }

    fn event(what: TracedWhat) -> Traced {
        Traced {
            at_us: 1_764_030_602_123_456,
            traces: [1].into_iter().collect(),
            client_id: "c\n1".into(),
            username: Some("ann".into()),
            peer: Some("127.0.0.1:5".parse().unwrap()),
            what,
        }
    }

    fn message(payload: &[u8], payload_bytes: usize) -> TracedWhat {
        let message = TracedMessage {
            topic: "t/1".into(),
            payload: payload.into(),
            payload_bytes,
            qos: QoS::AtLeastOnce,
            retain: false,
            packet_id: 7,
        };
        TracedWhat::Publish {
            sent: false,
            message: Box::new(message),
        }
    }

    #[test]
    fn text_is_one_line_an_event() {
        let style = style(Formatter::Text, PayloadEncode::Text);
        let line = of(&style, &event(message(b"a\nb", 3))).unwrap();
        assert_eq!(
            line,
            "2025-11-25T00:30:02.123456Z [PUBLISH] c\\n1@127.0.0.1:5 msg: publish_to, topic: t/1, \
             qos: 1, retain: false, packet_id: 7, payload: a\\nb, username: ann"
        );
        let refused = TracedWhat::Authenticated {
            reason: 0x87,
            anonymous: false,
        };
        let line = of(&style, &event(refused)).unwrap();
        let end = "[AUTHN] c\\n1@127.0.0.1:5 msg: authentication_result, \
                   result: not_authorized(0x87), anonymous: false, username: ann";
        assert!(line.ends_with(end), "{line}");
    }

    #[test]
    fn payloads_are_text_hex_or_hidden_and_cut() {
        let shown = |encode, bytes: &[u8], all| {
            let style = style(Formatter::Json, encode);
            let line = of(&style, &event(message(bytes, all))).unwrap();
            let object: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(object["msg"], "publish_to");
            assert_eq!(object["clientid"], "c\n1");
            assert_eq!(object["peername"], "127.0.0.1:5");
            assert_eq!(object["level"], "debug");
            object["payload"].as_str().unwrap().to_owned()
        };
        assert_eq!(shown(PayloadEncode::Text, b"hi", 2), "hi");
        assert_eq!(shown(PayloadEncode::Hex, &[0, 0xAB], 2), "00AB");
        assert_eq!(shown(PayloadEncode::Hidden, b"hi", 2), "******");
        assert_eq!(
            shown(PayloadEncode::Text, b"0123456789", 20),
            "01234567...(12 bytes not shown)"
        );
    }

    #[test]
    fn what_is_not_severe_enough_is_left_out() {
        let mut style = style(Formatter::Text, PayloadEncode::Text);
        style.level = Level::Info;
        assert_eq!(of(&style, &event(message(b"x", 1))), None);
        let gone = TracedWhat::Disconnected { reason: "kicked" };
        assert!(of(&style, &event(gone.clone())).is_some());
        style.level = Level::Warning;
        assert_eq!(of(&style, &event(gone)), None);
    }
}
