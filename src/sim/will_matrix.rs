//! Wills in every combination of version, clean start, expiry, delay, QoS, retain, ending and return,
//! against [`will_oracle`](crate::sim::will_oracle). A seed's number names the combination.

use crate::mqtt::decode_connect::{Will, WillProperties};
use crate::mqtt::decode_disconnect::Disconnect;
use crate::mqtt::decode_subscribe::{SubscribeEntry, SubscribeOptions};
use crate::mqtt::encode_client::{encode_client_disconnect, encode_subscribe};
use crate::mqtt::qos::QoS;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::version::Version;
use crate::sim::plan::Plan;
use crate::sim::script::{Guest, Heard, Script};
use crate::sim::will_oracle::{Case, ENDINGS, Ending};

const TOPIC: &str = "will/topic";
/// Session expiry of 3.x, as the simulation's rules have it.
const EXPIRY_OF_3_S: u32 = 60;
/// Within so many seconds after it is due a will comes: two roundings to a second, a tick.
const SLACK_S: u32 = 3;
/// When the observer looks, seconds after the end; nothing is due within the slack before them.
const LOOKS_S: [u32; 6] = [0, 2, 8, 16, 50, 120];

/// All combinations.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for v5 in [true, false] {
        let (delays, expiries): (&[u32], &[u32]) = if v5 {
            (&[0, 4, 40], &[0, 10, 100])
        } else {
            (&[0], &[EXPIRY_OF_3_S])
        };
        for clean in [true, false] {
            for &delay_s in delays {
                for &expiry_s in expiries {
                    for ending in ENDINGS {
                        if ending == Ending::WithWill && !v5 {
                            continue;
                        }
                        for back in returns(ending) {
                            for (qos, retain) in (0..3).flat_map(|q| [(q, false), (q, true)]) {
                                cases.push(Case {
                                    v5,
                                    clean,
                                    expiry_s,
                                    delay_s,
                                    qos,
                                    retain,
                                    ending,
                                    back,
                                });
                            }
                        }
                    }
                }
            }
        }
    }
    cases
}

/// Before the short delay, after it, after the short expiry; or never.
fn returns(ending: Ending) -> Vec<Option<(u32, bool)>> {
    match ending {
        Ending::TakenOver { .. } | Ending::Shutdown => vec![None],
        _ => [1, 8, 16]
            .iter()
            .flat_map(|at| [Some((*at, true)), Some((*at, false))])
            .chain([None])
            .collect(),
    }
}

/// Runs a combination in the world of a seed; says whether there was a will to be published.
pub(super) fn run(seed: u64, plan: &Plan, case: &Case) -> bool {
    let mut script = Script::new(seed, plan);
    let (observer, _) = observe(&mut script, "observer");
    let client = guest(case, case.clean);
    let conn = script.connect(&client);
    script.settle();
    assert_eq!(script.take(conn), [Heard::ConnAck(false)]);
    let mut came_at = Vec::new();
    end(&mut script, conn, case);
    let mut now_s = 0;
    let mut successor = None;
    if let Ending::TakenOver { clean } = case.ending {
        successor = Some(come_back(&mut script, case, 0, clean));
        script.settle();
        assert!(script.is_closed(conn), "two connections of one client");
        if case.v5 {
            let told = script.take(conn);
            let expected = Heard::Disconnect(ReasonCode::SessionTakenOver);
            assert_eq!(told, [expected], "[MQTT-3.1.4-3]");
        }
    }
    look(&mut script, observer, now_s, case, &mut came_at);
    let mut looks = LOOKS_S.to_vec();
    looks.extend(case.back.map(|(at_s, _)| at_s));
    looks.sort_unstable();
    looks.dedup();
    for at_s in looks {
        script.wait_ms(u64::from(at_s - now_s) * 1000);
        now_s = at_s;
        look(&mut script, observer, now_s, case, &mut came_at);
        if let Some((back_s, clean)) = case.back
            && back_s == at_s
        {
            successor = Some(come_back(&mut script, case, at_s, clean));
            script.settle();
            look(&mut script, observer, now_s, case, &mut came_at);
        }
    }
    judge(case, &came_at);
    if successor.is_some_and(|successor| script.is_closed(successor)) {
        panic!("who came back was closed");
    }
    if case.ending != Ending::Shutdown {
        judge_stored(&mut script, case, &came_at);
    }
    !came_at.is_empty()
}

/// Subscribes; says whether there was a stored message.
fn observe(script: &mut Script, name: &str) -> (usize, bool) {
    let conn = script.connect(&Guest::new(name));
    let mut out = Vec::new();
    let entry = SubscribeEntry {
        filter: TOPIC,
        options: SubscribeOptions {
            qos: QoS::ExactlyOnce,
            ..SubscribeOptions::default()
        },
    };
    encode_subscribe(&mut out, Version::V5, 1, None, &[entry]);
    script.send(conn, &out);
    script.settle();
    let heard = script.take(conn);
    assert_eq!(heard[0], Heard::ConnAck(false));
    assert_eq!(heard[1], Heard::SubAck(1, vec![2]));
    for packet in &heard[2..] {
        let retained = matches!(packet, Heard::Publish { retain: true, .. });
        assert!(retained, "{packet:?} after SUBACK");
    }
    (conn, heard.len() > 2)
}

fn guest(case: &Case, clean: bool) -> Guest<'static> {
    Guest {
        name: "client",
        version: if case.v5 { Version::V5 } else { Version::V311 },
        clean,
        expiry_s: if case.v5 { case.expiry_s } else { 0 },
        keep_alive_s: if case.ending == Ending::Silent { 1 } else { 0 },
        receive_maximum: u16::MAX,
        will: Some(Will {
            topic: TOPIC,
            payload: b"gone",
            qos: QoS::from_u8(case.qos).unwrap_or_default(),
            retain: case.retain,
            properties: WillProperties {
                delay_interval: case.delay_s,
                ..WillProperties::default()
            },
        }),
    }
}

/// Ends the connection, up to the moment at which the broker knows.
fn end(script: &mut Script, conn: usize, case: &Case) {
    match case.ending {
        Ending::Normal | Ending::WithWill => {
            let mut out = Vec::new();
            let disconnect = Disconnect {
                reason: if case.ending == Ending::Normal {
                    ReasonCode::NORMAL_DISCONNECTION
                } else {
                    ReasonCode::DisconnectWithWillMessage
                },
                ..Disconnect::default()
            };
            let version = if case.v5 { Version::V5 } else { Version::V311 };
            encode_client_disconnect(&mut out, version, &disconnect);
            script.send(conn, &out);
        }
        Ending::Lost => script.cut(conn),
        Ending::Silent => {
            for _ in 0..40 {
                if script.is_closed(conn) {
                    return;
                }
                script.wait_ms(100);
            }
            panic!("a silent client is not ended");
        }
        Ending::TakenOver { .. } => return,
        Ending::Kicked => script.kick(conn),
        Ending::Shutdown => return script.shut_down(),
    }
    script.settle();
    assert!(script.is_closed(conn), "the broker does not close");
}

/// The same client without a will.
fn come_back(script: &mut Script, case: &Case, at_s: u32, clean: bool) -> usize {
    let conn = script.connect(&Guest {
        will: None,
        keep_alive_s: 0,
        ..guest(case, clean)
    });
    script.settle();
    let present = case.is_present(at_s, clean);
    assert_eq!(script.take(conn), [Heard::ConnAck(present)]);
    conn
}

fn look(script: &mut Script, observer: usize, now_s: u32, case: &Case, came_at: &mut Vec<u32>) {
    for packet in script.take(observer) {
        let Heard::Publish {
            topic,
            payload,
            qos,
            dup,
            retain,
            ..
        } = packet
        else {
            continue;
        };
        assert_eq!((topic.as_str(), &payload[..]), (TOPIC, &b"gone"[..]));
        assert_eq!((qos.as_u8(), dup, retain), (case.qos, false, false));
        came_at.push(now_s);
    }
}

fn judge(case: &Case, came_at: &[u32]) {
    let expected = case.published_at_s();
    let right = match (expected, came_at) {
        (None, []) => true,
        // Seen at the first look after it was due, or at the next one within the slack.
        (Some(due_s), [seen_s]) => {
            let looks = LOOKS_S
                .iter()
                .copied()
                .chain(case.back.map(|(at_s, _)| at_s));
            let first = looks.filter(|look| *look >= due_s + SLACK_S).min();
            *seen_s >= due_s && first.is_none_or(|first| *seen_s <= first)
        }
        _ => false,
    };
    let at_once = expected != Some(0) || came_at == [0];
    assert!(
        right && at_once,
        "the will came at {came_at:?}, due at {expected:?}"
    );
}

/// A retained will is stored when it is published, and not before.
fn judge_stored(script: &mut Script, case: &Case, came_at: &[u32]) {
    let (_, stored) = observe(script, "late");
    assert_eq!(stored, case.retain && !came_at.is_empty(), "stored");
}
