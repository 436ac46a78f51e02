//! What the bytes of a fuzzer mean to [`Raw`]: connects, packets good and bad, cuts, time.

use crate::config::ShareStrategy;
use crate::mqtt::decode_connect::{Connect, ConnectProperties, Will, WillProperties};
use crate::mqtt::decode_disconnect::Disconnect;
use crate::mqtt::decode_subscribe::{RetainHandling, SubscribeEntry, SubscribeOptions};
use crate::mqtt::encode_client::{
    encode_client_disconnect, encode_connect, encode_pingreq, encode_publish, encode_subscribe,
    encode_unsubscribe,
};
use crate::mqtt::encode_publish::OutgoingPublish;
use crate::mqtt::qos::QoS;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::version::Version;
use crate::sim::raw::Raw;

/// Steps of an input at most: what more there is would only make it slow.
const STEPS_MAX: usize = 400;
/// Connections of an input at most.
const CONNS_MAX: usize = 64;

const NAMES: [&str; 5] = ["a", "b", "c", "d", ""];
const TOPICS: [&str; 8] = [
    "t",
    "t/1",
    "t/2",
    "u",
    "$x",
    "/",
    "s/1",
    "a/b/c/d/e/f/g/h/i",
];
const FILTERS: [&str; 16] = [
    "t",
    "t/+",
    "#",
    "+",
    "t/#",
    "$x",
    "u",
    "/",
    "$share/g/t",
    "$share/g/#",
    "$share/h/t/+",
    "$queue/t",
    "$queue/#",
    "s/1",
    "$share//t",
    "a/#/b",
];
const WAITS_MS: [u64; 8] = [1, 100, 1_000, 2_000, 15_000, 61_000, 300_000, 7_200_000];

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let at = usize::from(self.byte()?);
        from.get(at % from.len()).copied()
    }

    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

/// Runs an input.
///
/// # Panics
/// If something does not hold.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let first = input.byte().unwrap_or(0);
    let mut raw = Raw::new(|rules| {
        rules.share_strategy = [
            ShareStrategy::RoundRobin,
            ShareStrategy::Random,
            ShareStrategy::Sticky,
            ShareStrategy::HashClientId,
            ShareStrategy::HashTopic,
            ShareStrategy::Local,
        ][usize::from(first) % 6];
        if first & 0x80 > 0 {
            rules.queue_memory_bytes = 600;
        }
        if first & 0x40 > 0 {
            rules.max_mqueue_len = 0;
            rules.max_inflight = 20;
        }
    });
    for _ in 0..STEPS_MAX {
        if step(&mut raw, &mut input).is_none() {
            break;
        }
    }
    raw.end();
}

/// One step; none at the end of the input.
fn step(raw: &mut Raw, input: &mut Input<'_>) -> Option<()> {
    let op = input.byte()?;
    let who = (!raw.conns.is_empty()).then(|| usize::from(op >> 4) % raw.conns.len());
    // The latest ones are the ones that are alive.
    let who = who.map(|who| raw.conns.len() - 1 - who);
    match (op % 16, who) {
        (0 | 1, _) if raw.conns.len() < CONNS_MAX => connect(raw, input)?,
        (2, _) if raw.conns.len() < CONNS_MAX => {
            let id = raw.accept();
            let len = usize::from(input.byte()?);
            raw.conns[id].wild = true;
            raw.send(id, input.bytes(len));
        }
        (3, Some(id)) => {
            let len = usize::from(input.byte()?);
            raw.conns[id].wild = true;
            raw.send(id, input.bytes(len));
        }
        (4..=6, Some(id)) => publish(raw, input, id)?,
        (7, Some(id)) => subscribe(raw, input, id)?,
        (8, Some(id)) => {
            let filter = input.pick(&FILTERS)?;
            let packet_id = next_id(raw, id);
            let mut out = Vec::new();
            encode_unsubscribe(&mut out, raw.conns[id].version, packet_id, &[filter]);
            raw.send(id, &out);
        }
        (9 | 10, Some(id)) => {
            for _ in 0..=input.byte()? % 8 {
                if let Some(ack) = raw.conns[id].next_ack() {
                    raw.send(id, &ack);
                }
            }
        }
        (11, Some(id)) => disconnect(raw, input, id)?,
        (12, Some(id)) => match input.byte()? % 4 {
            0 => raw.cut(id),
            1 => raw.stick(id),
            2 => raw.unstick(id),
            _ => {
                let mut out = Vec::new();
                encode_pingreq(&mut out);
                raw.send(id, &out);
            }
        },
        (13, _) => raw.index_stands = !raw.index_stands,
        (14, _) => {
            let ms = input.pick(&WAITS_MS)?;
            raw.wait_ms(ms);
            raw.rest();
        }
        (15, _) => {
            raw.turn();
        }
        _ => {}
    }
    // Half of the steps leave what came to the next.
    if op & 1 == 0 {
        raw.rest();
    }
    Some(())
}

fn next_id(raw: &mut Raw, id: usize) -> u16 {
    let conn = &mut raw.conns[id];
    conn.packet_id = conn.packet_id % 6 + 1;
    conn.packet_id
}

fn connect(raw: &mut Raw, input: &mut Input<'_>) -> Option<()> {
    let name = input.pick(&NAMES)?;
    let flags = input.byte()?;
    let version = [Version::V5, Version::V5, Version::V311, Version::V31][usize::from(flags) % 4];
    let is_v5 = version.is_v5();
    let limits = input.byte()?;
    let (will, will_topic) = (input.byte()?, input.pick(&TOPICS)?);
    let properties = ConnectProperties {
        session_expiry_interval: [0, 2, 60, u32::MAX][usize::from(limits) % 4],
        receive_maximum: [u16::MAX, 1, 2, 5][usize::from(limits >> 2) % 4],
        maximum_packet_size: [None, None, Some(40), Some(100)][usize::from(limits >> 4) % 4],
        topic_alias_maximum: [0, 0, 2, 10][usize::from(limits >> 6) % 4],
        ..ConnectProperties::default()
    };
    let mut out = Vec::new();
    encode_connect(
        &mut out,
        &Connect {
            version,
            bridge: flags & 0x80 > 0 && !is_v5,
            clean_start: flags & 4 > 0,
            keep_alive: [0, 0, 1, 30][usize::from(flags >> 3) % 4],
            client_id: name,
            will: (will & 1 > 0).then(|| Will {
                topic: will_topic,
                payload: b"will",
                qos: QoS::from_u8((will >> 1) % 3).unwrap_or(QoS::AtMostOnce),
                retain: will & 0x10 > 0,
                properties: WillProperties {
                    delay_interval: if is_v5 { u32::from(will >> 5) * 3 } else { 0 },
                    ..WillProperties::default()
                },
            }),
            username: None,
            password: None,
            properties: if is_v5 {
                properties
            } else {
                ConnectProperties::default()
            },
        },
    );
    let id = raw.accept();
    // At times cut somewhere.
    let cut = usize::from(input.byte()?);
    if cut < out.len() {
        raw.send(id, &out[..cut]);
        raw.turn();
        raw.send(id, &out[cut..]);
    } else {
        raw.send(id, &out);
    }
    Some(())
}

fn publish(raw: &mut Raw, input: &mut Input<'_>, id: usize) -> Option<()> {
    let topic = input.pick(&TOPICS)?;
    let flags = input.byte()?;
    let version = raw.conns[id].version;
    let qos = QoS::from_u8(flags % 4).unwrap_or(QoS::AtLeastOnce);
    let alias = [None, None, Some(1), Some(2)][usize::from(flags >> 2) % 4];
    let alias = alias.filter(|_| version.is_v5());
    let bare = alias.is_some() && flags & 0x10 > 0;
    let payload_len = [0, 5, 30, 1500][usize::from(flags >> 6) % 4];
    let packet_id = next_id(raw, id);
    let mut out = Vec::new();
    let head = OutgoingPublish {
        topic: if bare { "" } else { topic },
        qos,
        dup: flags & 0x20 > 0 && flags & 0x10 > 0,
        retain: flags & 0x20 > 0,
        packet_id,
        topic_alias: alias,
        message_expiry_interval: (version.is_v5() && flags & 0x30 == 0x10).then_some(3),
        ..OutgoingPublish::default()
    };
    encode_publish(&mut out, version, &head, &vec![flags; payload_len]);
    raw.send(id, &out);
    Some(())
}

fn subscribe(raw: &mut Raw, input: &mut Input<'_>, id: usize) -> Option<()> {
    let version = raw.conns[id].version;
    let count = input.byte()?;
    let mut entries = Vec::new();
    for _ in 0..=count % 3 {
        let filter = input.pick(&FILTERS)?;
        let flags = input.byte()?;
        let options = SubscribeOptions {
            qos: QoS::from_u8(flags % 3).unwrap_or(QoS::AtMostOnce),
            no_local: flags & 0x10 > 0,
            retain_as_published: flags & 0x20 > 0,
            retain_handling: match flags >> 6 {
                0 | 1 => RetainHandling::SendAlways,
                2 => RetainHandling::SendIfNew,
                _ => RetainHandling::DoNotSend,
            },
        };
        entries.push(SubscribeEntry { filter, options });
    }
    let identifier = (count & 0x80 > 0 && version.is_v5()).then_some(u32::from(count));
    let packet_id = next_id(raw, id);
    let mut out = Vec::new();
    encode_subscribe(&mut out, version, packet_id, identifier, &entries);
    raw.send(id, &out);
    Some(())
}

fn disconnect(raw: &mut Raw, input: &mut Input<'_>, id: usize) -> Option<()> {
    let flags = input.byte()?;
    let version = raw.conns[id].version;
    let is_v5 = version.is_v5();
    let mut out = Vec::new();
    let disconnect = Disconnect {
        reason: if is_v5 && flags & 1 > 0 {
            ReasonCode::DisconnectWithWillMessage
        } else {
            ReasonCode::NORMAL_DISCONNECTION
        },
        session_expiry_interval: [None, Some(0), Some(5), None][usize::from(flags >> 1) % 4]
            .filter(|_| is_v5),
        ..Disconnect::default()
    };
    encode_client_disconnect(&mut out, version, &disconnect);
    raw.send(id, &out);
    Some(())
}

/// The CONNECT of a client that comes to end its session.
pub(super) fn last_connect(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    encode_connect(
        &mut out,
        &Connect {
            version: Version::V5,
            bridge: false,
            clean_start: true,
            keep_alive: 0,
            client_id: name,
            will: None,
            username: None,
            password: None,
            properties: ConnectProperties::default(),
        },
    );
    out
}
