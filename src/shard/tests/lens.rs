//! What operators look at: traces, figures of topics, slow subscriptions.

use std::sync::Arc;

use super::support::{Broker, ack, ping, publish, subscribe, v5, v311};
use crate::base::limits::TRACED_PER_TURN_MAX;
use crate::gate::manage::Look;
use crate::gate::slow_subs::{SlowSettings, SlowSpan};
use crate::gate::topic_counts::{TopicCounts, TopicTable};
use crate::gate::trace::{TraceBy, TraceRule, TracedWhat};
use crate::metrics::Counter;
use crate::shard::close::CloseReason;

fn trace(broker: &mut Broker, all: Vec<TraceBy>) -> Vec<Arc<TraceRule>> {
    let numbered = (1..).zip(all);
    let rules: Vec<_> = numbered
        .map(|(id, by)| Arc::new(TraceRule::new(id, by, 4)))
        .collect();
    broker.shard.look(Look::Traces(rules.clone().into()));
    rules
}

/// What was told, one short line an event.
fn told(broker: &mut Broker) -> Vec<String> {
    let events = std::mem::take(&mut broker.traced);
    events.iter().map(|event| line(&event.what)).collect()
}

fn line(what: &TracedWhat) -> String {
    let way = |sent: &bool| if *sent { "out" } else { "in" };
    match what {
        TracedWhat::Connect { clean_start, .. } => format!("connect {clean_start}"),
        TracedWhat::ConnAck {
            reason,
            session_present,
        } => format!("connack {reason} {session_present}"),
        TracedWhat::Authenticated { reason, anonymous } => format!("authn {reason} {anonymous}"),
        TracedWhat::Authorized {
            action,
            topic,
            allowed,
        } => format!("authz {action} {topic} {allowed}"),
        TracedWhat::Publish { sent, message } => {
            let text = String::from_utf8_lossy(&message.payload);
            let (topic, id) = (&message.topic, message.packet_id);
            let (of, qos) = (message.payload_bytes, message.qos.as_u8());
            format!("publish {} {topic}={text}/{of} q{qos} #{id}", way(sent))
        }
        TracedWhat::Packet {
            sent,
            name,
            packet_id,
            reason,
        } => {
            let reason = reason.map_or("-".to_owned(), |reason| reason.to_string());
            format!("{name} {} #{packet_id} {reason}", way(sent))
        }
        TracedWhat::Subscribe { filter, reason, .. } => format!("subscribe {filter} {reason}"),
        TracedWhat::Unsubscribe { filter, reason } => format!("unsubscribe {filter} {reason}"),
        TracedWhat::Dropped {
            topic,
            reason,
            delivery,
        } => format!("dropped {topic} {reason} {delivery}"),
        TracedWhat::Disconnected { reason } => format!("gone {reason}"),
    }
}

#[test]
fn a_client_is_traced_from_its_connect_to_its_end() {
    let mut broker = Broker::new();
    trace(&mut broker, vec![TraceBy::ClientId("a".into())]);
    let other = broker.connect(&v5("b"));
    let slot = broker.connect(&v5("a"));
    assert_eq!(
        told(&mut broker),
        ["connect true", "authn 0 true", "connack 0 false"]
    );
    broker.ask(slot, &subscribe(1, &[("t/+", 1)]));
    assert_eq!(
        told(&mut broker),
        [
            "SUBSCRIBE in #1 -",
            "authz subscribe t/+ true",
            "subscribe t/+ 1",
            "SUBACK out #1 -"
        ]
    );
    broker.send(other, &publish("t/1", "payload").qos(1, 9));
    assert_eq!(told(&mut broker), ["publish out t/1=payl/7 q1 #1"]);
    broker.receive(slot, &ack(4, 1, 0));
    broker.run();
    assert_eq!(told(&mut broker), ["PUBACK in #1 0"]);
    broker.send(slot, &publish("none", "x").qos(2, 3));
    assert_eq!(
        told(&mut broker),
        [
            "authz publish none true",
            "publish in none=x/1 q2 #3",
            "dropped none no_subscribers false",
            "PUBREC out #3 16",
        ]
    );
    broker.receive(slot, &ack(6, 3, 0));
    broker.receive(slot, &ping());
    broker.run();
    assert_eq!(
        told(&mut broker),
        [
            "PUBREL in #3 0",
            "PUBCOMP out #3 0",
            "PINGREQ in #0 -",
            "PINGRESP out #0 -"
        ]
    );
    broker.shard.close(slot, CloseReason::Kicked, None);
    broker.run();
    assert_eq!(told(&mut broker), ["gone kicked"]);
    trace(&mut broker, Vec::new());
    assert!(broker.shard.clients.lens.is_none());
    broker.connect(&v5("a"));
    assert!(told(&mut broker).is_empty());
}

#[test]
fn topics_and_addresses_choose_as_well_and_an_event_names_all_who_want_it() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a"));
    let from = broker.shard.clients.connections.at(slot).unwrap().peer;
    let ip = std::net::SocketAddr::from(from).ip();
    trace(
        &mut broker,
        vec![TraceBy::Topic("t/#".into()), TraceBy::Ip(ip)],
    );
    broker.send(slot, &publish("t/1", "x"));
    broker.send(slot, &publish("u", "x"));
    broker.send(slot, &ping());
    let events: Vec<_> = std::mem::take(&mut broker.traced);
    let named: Vec<_> = events
        .iter()
        .map(|event| (line(&event.what), event.traces.to_vec()))
        .collect();
    let of = |line: &str, traces: &[u32]| (line.to_owned(), traces.to_vec());
    assert_eq!(
        named,
        [
            of("authz publish t/1 true", &[1, 2]),
            of("publish in t/1=x/1 q0 #0", &[1, 2]),
            of("dropped t/1 no_subscribers false", &[1, 2]),
            of("authz publish u true", &[2]),
            of("publish in u=x/1 q0 #0", &[2]),
            of("dropped u no_subscribers false", &[2]),
            of("PINGREQ in #0 -", &[2]),
            of("PINGRESP out #0 -", &[2]),
        ]
    );
    assert!(events.iter().all(|event| event.client_id == "a"));
    assert!(events.iter().all(|event| event.peer.is_some()));
}

#[test]
fn who_is_refused_is_traced_by_its_id() {
    let mut broker = Broker::ruled(|rules| rules.allow_anonymous = false);
    trace(&mut broker, vec![TraceBy::ClientId("a".into())]);
    assert!(broker.handshake(&v5("a").bytes()).is_err());
    assert!(broker.handshake(&v5("b").bytes()).is_err());
    broker.run();
    assert_eq!(
        told(&mut broker),
        [
            "connect true",
            "authn 135 false",
            "connack 135 false",
            "gone not_authorized"
        ]
    );
}

#[test]
fn what_a_queue_drops_is_traced() {
    let mut broker = Broker::ruled(|rules| rules.max_mqueue_len = 1);
    let away = broker.connect(&v5("away").keeps(100));
    broker.ask(away, &subscribe(1, &[("t", 1)]));
    broker.cut(away);
    trace(&mut broker, vec![TraceBy::ClientId("away".into())]);
    let sender = broker.connect(&v311("s", true));
    for id in 1..=2 {
        broker.send(sender, &publish("t", "x").qos(1, id));
    }
    assert_eq!(told(&mut broker), ["dropped t queue_full true"]);
}

#[test]
fn what_finds_no_room_is_counted_at_its_trace() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a"));
    let rules = trace(
        &mut broker,
        vec![TraceBy::ClientId("a".into()), TraceBy::ClientId("b".into())],
    );
    let beyond = 3;
    for _ in 0..(TRACED_PER_TURN_MAX + beyond) / 2 + 1 {
        broker.receive(slot, &ping());
    }
    broker.run();
    let told = broker.traced.len();
    assert_eq!(told, TRACED_PER_TURN_MAX);
    let lost = rules[0].take_lost();
    assert!((beyond as u64..beyond as u64 + 2).contains(&lost), "{lost}");
    assert_eq!(rules[1].take_lost(), 0);
    let last = broker.traced.pop().unwrap();
    broker.shard.trace_lost(&last);
    assert_eq!(rules[0].take_lost(), 1);
    assert_eq!(broker.count(Counter::TraceDropped), lost + 1);
}

#[test]
fn chosen_topics_are_counted() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a"));
    broker.ask(slot, &subscribe(1, &[("t", 2)]));
    let counts = Arc::new(TopicCounts::new(1));
    let none = Arc::new(TopicCounts::new(1));
    let table = TopicTable::new([
        ("t".into(), Arc::clone(&counts)),
        ("none".into(), Arc::clone(&none)),
    ]);
    broker.shard.look(Look::Topics(Some(Arc::new(table))));
    broker.send(slot, &publish("t", "1"));
    broker.send(slot, &publish("t", "2").qos(1, 1));
    broker.send(slot, &publish("none", "3").qos(2, 2));
    broker.send(slot, &publish("other", "4"));
    assert_eq!(counts.sum(), [1, 1, 0, 1, 1, 0, 0]);
    assert_eq!(none.sum(), [0, 0, 1, 0, 0, 0, 1]);
    broker.shard.look(Look::Topics(None));
    broker.send(slot, &publish("t", "5"));
    assert_eq!(counts.sum(), [1, 1, 0, 1, 1, 0, 0]);
    assert!(broker.shard.clients.lens.is_none());
}

fn slow(span: SlowSpan) -> Look {
    Look::SlowSubs(Some(SlowSettings {
        threshold_ms: 500,
        most: 10,
        expire_ms: 60_000,
        span,
    }))
}

fn found(broker: &mut Broker) -> Vec<(String, u64)> {
    let rows = broker.shard.slow_subs(true).into_iter();
    rows.map(|row| (format!("{} {}", row.client_id, row.topic), row.took_ms))
        .collect()
}

#[test]
fn who_answers_late_is_a_slow_subscriber() {
    for span in [SlowSpan::Whole, SlowSpan::Response, SlowSpan::Internal] {
        let mut broker = Broker::new();
        broker.shard.look(slow(span));
        let client = broker.connect(&v5("c"));
        broker.ask(client, &subscribe(1, &[("t", 1)]));
        let sender = broker.connect(&v5("s"));
        broker.send(sender, &publish("t", "x").qos(1, 1));
        broker.wait_ms(400);
        broker.send(client, &ack(4, 1, 0));
        assert!(found(&mut broker).is_empty(), "{span:?}");
        broker.send(sender, &publish("t", "y").qos(1, 2));
        broker.wait_ms(700);
        broker.send(client, &ack(4, 2, 0));
        let found = found(&mut broker);
        if span == SlowSpan::Internal {
            assert!(found.is_empty(), "it was sent at once: {found:?}");
        } else {
            assert_eq!(found, [("c t".to_owned(), 700)], "{span:?}");
        }
    }
}

#[test]
fn what_waits_in_the_queue_is_slow_inside() {
    let mut broker = Broker::ruled(|rules| rules.max_inflight = 1);
    broker.shard.look(slow(SlowSpan::Internal));
    let client = broker.connect(&v5("c"));
    broker.ask(client, &subscribe(1, &[("t", 1)]));
    let sender = broker.connect(&v5("s"));
    for id in 1..=2 {
        broker.send(sender, &publish("t", "x").qos(1, id));
    }
    broker.wait_ms(600);
    assert!(found(&mut broker).is_empty());
    broker.send(client, &ack(4, 1, 0));
    assert_eq!(found(&mut broker), [("c t".to_owned(), 600)]);
    // A stored message is as old as it is.
    broker.send(client, &ack(4, 2, 0));
    broker.send(sender, &publish("r", "x").retain());
    broker.wait_ms(5_000);
    broker.ask(client, &subscribe(2, &[("r", 0)]));
    broker.run();
    assert!(found(&mut broker).is_empty());
    broker.shard.look(Look::SlowSubs(None));
    assert!(broker.shard.clients.lens.is_none());
}
