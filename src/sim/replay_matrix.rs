//! What a session gets when its client comes back: first what was in flight, in order and under the
//! old identifiers, then the queue. The expectation is a list kept by the test.

use std::collections::VecDeque;

use crate::mqtt::decode_disconnect::Disconnect;
use crate::mqtt::decode_subscribe::{SubscribeEntry, SubscribeOptions};
use crate::mqtt::encode_ack::{encode_puback, encode_pubcomp, encode_pubrec, encode_pubrel};
use crate::mqtt::encode_client::{encode_client_disconnect, encode_publish, encode_subscribe};
use crate::mqtt::encode_publish::OutgoingPublish;
use crate::mqtt::qos::QoS;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::version::Version;
use crate::sim::plan::Plan;
use crate::sim::script::{Guest, Heard, Script};

/// A message in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Flight {
    id: u16,
    number: u8,
    qos: QoS,
    /// PUBREC was sent: PUBREL is what comes again.
    released: bool,
}

/// What the client knows.
struct Model {
    version: Version,
    window: usize,
    flights: Vec<Flight>,
    /// Messages that wait: number and QoS.
    queue: VecDeque<(u8, QoS)>,
    last_id: u16,
    next_number: u8,
}

/// Runs a seed; says whether something was sent again.
pub(super) fn run(seed: u64, plan: &Plan) -> bool {
    let mut script = Script::new(seed, plan);
    let version = *script.world.rng.pick(&[Version::V5, Version::V311]);
    let receive_maximum = *script.world.rng.pick(&[1, 2, 3, 20]);
    let limit = if version.is_v5() {
        receive_maximum
    } else {
        u16::MAX
    };
    let guest = Guest {
        name: "client",
        version,
        clean: false,
        expiry_s: 1000,
        receive_maximum,
        ..Guest::new("")
    };
    let publisher = script.connect(&Guest::new("publisher"));
    let mut model = Model {
        version,
        window: usize::from(limit.min(plan.max_inflight)),
        flights: Vec::new(),
        queue: VecDeque::new(),
        last_id: 0,
        next_number: 0,
    };
    let mut conn = script.connect(&guest);
    subscribe(&mut script, conn, version);
    script.settle();
    assert_eq!(
        script.take(conn),
        [Heard::ConnAck(false), Heard::SubAck(1, vec![2])]
    );
    let mut again = false;
    for _ in 0..script.world.rng.range(2, 5) {
        for _ in 0..script.world.rng.range(1, 6) {
            publish(&mut script, publisher, &mut model);
            hear_fresh(&mut script, conn, &mut model);
            for _ in 0..script.world.rng.below(3) {
                acknowledge(&mut script, conn, &mut model);
            }
        }
        let gone = leave(&mut script, conn, version);
        for _ in 0..script.world.rng.below(5) {
            publish(&mut script, publisher, &mut model);
            if !gone {
                hear_fresh(&mut script, conn, &mut model);
            }
        }
        again |= !model.flights.is_empty();
        conn = script.connect(&guest);
        script.settle();
        hear_again(&mut script, conn, &mut model);
    }
    // Everything comes to its end.
    while let Some(flight) = model.flights.first().copied() {
        finish(&mut script, conn, &mut model, flight);
    }
    assert!(model.queue.is_empty(), "{:?} never came", model.queue);
    again
}

fn subscribe(script: &mut Script, conn: usize, version: Version) {
    let mut out = Vec::new();
    let entry = SubscribeEntry {
        filter: "m/+",
        options: SubscribeOptions {
            qos: QoS::ExactlyOnce,
            ..SubscribeOptions::default()
        },
    };
    encode_subscribe(&mut out, version, 1, None, &[entry]);
    script.send(conn, &out);
}

/// One publisher, one topic, one message at a time: the order is known.
fn publish(script: &mut Script, publisher: usize, model: &mut Model) {
    let qos = *script.world.rng.pick(&[QoS::AtLeastOnce, QoS::ExactlyOnce]);
    let number = model.next_number;
    model.next_number += 1;
    let packet_id = u16::from(number) + 1;
    let mut out = Vec::new();
    let head = OutgoingPublish {
        topic: "m/x",
        qos,
        packet_id,
        ..OutgoingPublish::default()
    };
    encode_publish(&mut out, Version::V5, &head, &[number]);
    if qos == QoS::ExactlyOnce {
        encode_pubrel(&mut out, Version::V5, packet_id, ReasonCode::Success);
    }
    script.send(publisher, &out);
    script.settle();
    let answers = script.take(publisher);
    let acked = answers
        .iter()
        .any(|a| matches!(a, Heard::Ack(4 | 7, id) if *id == packet_id));
    assert!(acked, "not acknowledged: {answers:?}");
    model.queue.push_back((number, qos));
}

/// What the window has room for, in order.
fn fresh(model: &mut Model) -> Vec<Heard> {
    let mut expected = Vec::new();
    while model.flights.len() < model.window
        && let Some((number, qos)) = model.queue.pop_front()
    {
        model.last_id += 1;
        let flight = Flight {
            id: model.last_id,
            number,
            qos,
            released: false,
        };
        model.flights.push(flight);
        expected.push(heard(flight, false));
    }
    expected
}

fn heard(flight: Flight, dup: bool) -> Heard {
    Heard::Publish {
        topic: "m/x".to_owned(),
        payload: vec![flight.number],
        qos: flight.qos,
        id: flight.id,
        dup,
        retain: false,
    }
}

fn hear_fresh(script: &mut Script, conn: usize, model: &mut Model) {
    script.settle();
    let expected = fresh(model);
    assert_eq!(script.take(conn), expected);
}

/// [MQTT-4.4.0-1, 4.6.0-1, 4.6.0-4]: PUBLISH in the order in which they were sent first, PUBREL in the
/// order in which PUBREC came; all of it before anything new.
fn hear_again(script: &mut Script, conn: usize, model: &mut Model) {
    let mut got = script.take(conn);
    assert_eq!(got.remove(0), Heard::ConnAck(true));
    let again = model.flights.len();
    assert!(got.len() >= again, "{got:?} of {:?}", model.flights);
    let news = got.split_off(again);
    let is_release = |h: &Heard| matches!(h, Heard::Ack(6, _));
    let releases: Vec<Heard> = got.iter().filter(|h| is_release(h)).cloned().collect();
    let publishes: Vec<Heard> = got.iter().filter(|h| !is_release(h)).cloned().collect();
    let mut due_releases: Vec<Heard> = Vec::new();
    let mut due_publishes = Vec::new();
    for flight in &model.flights {
        if flight.released {
            due_releases.push(Heard::Ack(6, flight.id));
        } else {
            due_publishes.push(heard(*flight, true));
        }
    }
    assert_eq!(publishes, due_publishes, "what comes again");
    assert_eq!(releases, due_releases, "what is released again");
    let expected = fresh(model);
    assert_eq!(news, expected, "the queue");
}

/// The client answers the oldest message that it has not answered: messages are answered in order
/// [MQTT-4.6.0-2, 4.6.0-3], those in their second half in any order.
fn acknowledge(script: &mut Script, conn: usize, model: &mut Model) {
    let released = model.flights.iter().position(|f| f.released);
    let waiting = model.flights.iter().position(|f| !f.released);
    let at = match (released, waiting) {
        (Some(at), Some(_)) if script.world.rng.percent(50) => at,
        (_, Some(at)) | (Some(at), None) => at,
        (None, None) => return,
    };
    let flight = model.flights[at];
    let (mut out, reason) = (Vec::new(), ReasonCode::Success);
    let mut expected = Vec::new();
    if flight.released {
        encode_pubcomp(&mut out, model.version, flight.id, reason);
        model.flights.remove(at);
    } else if flight.qos == QoS::AtLeastOnce {
        encode_puback(&mut out, model.version, flight.id, reason);
        model.flights.remove(at);
    } else {
        encode_pubrec(&mut out, model.version, flight.id, reason);
        model.flights[at].released = true;
        expected.push(Heard::Ack(6, flight.id));
    }
    script.send(conn, &out);
    script.settle();
    expected.extend(fresh(model));
    assert_eq!(script.take(conn), expected);
}

fn finish(script: &mut Script, conn: usize, model: &mut Model, flight: Flight) {
    while model.flights.contains(&flight) || model.flights.iter().any(|f| f.id == flight.id) {
        acknowledge(script, conn, model);
    }
}

/// The connection ends in one way or another; or not before the next one takes over.
fn leave(script: &mut Script, conn: usize, version: Version) -> bool {
    match script.world.rng.below(3) {
        0 => script.cut(conn),
        1 => {
            let mut out = Vec::new();
            encode_client_disconnect(&mut out, version, &Disconnect::default());
            script.send(conn, &out);
        }
        _ => return false,
    }
    script.settle();
    assert!(script.is_closed(conn));
    true
}
