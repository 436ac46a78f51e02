//! The last will: when it is published, and when not.

use super::support::{Broker, Bye, Client, publish, subscribe, v5, v311};
use crate::metrics::Counter;
use crate::mqtt::reason::ReasonCode;
use crate::shard::close::CloseReason;

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Cut,
    Bye(ReasonCode),
    Fault,
    TakenOver { clean: bool },
}

/// A broker with a listener to wills and a client that has one.
fn broker_with(client: &Client<'_>) -> (Broker, u32, u32) {
    let mut broker = Broker::new();
    let listener = broker.connect(&v5("listener"));
    broker.ask(listener, &subscribe(1, &[("w", 0)]));
    let slot = broker.connect(client);
    (broker, listener, slot)
}

fn end(broker: &mut Broker, slot: u32, client: &Client<'_>, how: End) {
    match how {
        End::Cut => broker.cut(slot),
        End::Bye(reason) => broker.send(slot, &Bye(reason, None)),
        End::Fault => broker.send(slot, &vec![0_u8, 0]),
        End::TakenOver { clean } => {
            let next = Client {
                clean,
                will: None,
                ..*client
            };
            broker.enter(&next, &[]);
        }
    }
}

#[test]
fn every_end_and_every_delay() {
    use End::{Bye, Cut, Fault, TakenOver};
    let ok = ReasonCode::Success;
    let with_will = ReasonCode::DisconnectWithWillMessage;
    // End, session expiry, will delay; seconds until the will is there, if it ever is.
    let cases = [
        (Cut, 0, 0, Some(0)),
        (Cut, 100, 0, Some(0)),
        (Cut, 0, 50, Some(0)),
        (Cut, 100, 50, Some(50)),
        (Cut, 50, 100, Some(50)),
        (Fault, 0, 0, Some(0)),
        (Bye(ok), 100, 50, None),
        (Bye(with_will), 0, 0, Some(0)),
        (Bye(with_will), 100, 20, Some(20)),
        (TakenOver { clean: false }, 100, 0, Some(0)),
        (TakenOver { clean: false }, 100, 50, None),
        (TakenOver { clean: false }, 0, 50, Some(0)),
        (TakenOver { clean: true }, 100, 50, Some(0)),
    ];
    for (how, expiry_s, delay_s, expected) in cases {
        let client = Client {
            expiry_s,
            clean: false,
            ..v5("a").wills("w", delay_s)
        };
        let (mut broker, listener, slot) = broker_with(&client);
        end(&mut broker, slot, &client, how);
        let case = format!("{how:?}, expiry {expiry_s}, delay {delay_s}");
        match expected {
            Some(0) => assert_eq!(broker.payloads(listener), ["will"], "{case}"),
            Some(seconds) => {
                broker.wait_ms(seconds * 1000 - 1000);
                assert!(broker.payloads(listener).is_empty(), "{case}");
                broker.wait_ms(3000);
                assert_eq!(broker.payloads(listener), ["will"], "{case}");
            }
            None => {
                broker.wait_ms(200_000);
                assert!(broker.payloads(listener).is_empty(), "{case}");
            }
        }
        let published = u64::from(expected.is_some());
        assert_eq!(broker.count(Counter::WillPublished), published, "{case}");
        assert_eq!(broker.shard.clients.budget.used(), 0, "{case}");
    }
}

#[test]
fn a_session_resumed_in_time_deletes_the_will() {
    // [MQTT-3.1.3-9]
    let client = v5("a").wills("w", 50).keeps(100);
    let (mut broker, listener, slot) = broker_with(&client);
    broker.cut(slot);
    broker.wait_ms(40_000);
    broker.connect_again(&v5("a").keeps(100));
    broker.wait_ms(100_000);
    assert!(broker.payloads(listener).is_empty());
}

#[test]
fn a_clean_start_ends_the_session_and_publishes_its_will() {
    let client = v5("a").wills("w", 50).keeps(100);
    let (mut broker, listener, slot) = broker_with(&client);
    broker.cut(slot);
    broker.connect(&v5("a"));
    assert_eq!(broker.payloads(listener), ["will"]);
}

#[test]
fn a_3_1_1_client_says_goodbye_or_not() {
    let client = v311("a", true).wills("w", 0);
    let (mut broker, listener, slot) = broker_with(&client);
    broker.send(slot, &Bye(ReasonCode::Success, None));
    assert!(broker.payloads(listener).is_empty());
    let slot = broker.connect(&client);
    broker.cut(slot);
    assert_eq!(broker.payloads(listener), ["will"]);
}

#[test]
fn the_expiry_of_a_will_runs_from_its_publication() {
    let mut client = v5("a").wills("w", 20).keeps(100);
    if let Some(will) = &mut client.will {
        will.properties.message_expiry_interval = Some(5);
    }
    let (mut broker, listener, slot) = broker_with(&client);
    broker.cut(slot);
    broker.wait_ms(22_000);
    assert_eq!(broker.sent(listener), ["publish w=will 5s"]);
}

#[test]
fn a_retained_will_is_stored() {
    let mut client = v5("a").wills("w", 0);
    if let Some(will) = &mut client.will {
        will.retain = true;
    }
    let (mut broker, _, slot) = broker_with(&client);
    broker.cut(slot);
    let late = broker.connect(&v5("late"));
    let got = broker.ask(late, &subscribe(1, &[("w", 0)]));
    assert_eq!(got, ["suback 1 [0]", "publish w=will retain"]);
}

#[test]
fn a_will_nobody_wants_is_counted() {
    let mut broker = Broker::new();
    let slot = broker.connect(&v5("a").wills("w", 0));
    broker.cut(slot);
    assert_eq!(broker.count(Counter::MessagesDroppedNoSubscribers), 1);
}

#[test]
fn a_shutdown_publishes_the_wills_of_all_sessions() {
    let client = v5("a").wills("w", 50).keeps(100);
    let (mut broker, listener, slot) = broker_with(&client);
    broker.cut(slot);
    broker.connect(&v5("b").wills("w", 0));
    broker.shard.stop_accepting();
    broker.shard.stop_reading();
    broker.shard.publish_all_wills();
    broker.run();
    assert_eq!(broker.payloads(listener).len(), 2);
    assert!(broker.shard.crossing().idle);
    while broker.shard.farewell(false) {
        broker.run();
    }
    assert_eq!(broker.sent(listener), ["disconnect 0x8B"]);
    assert_eq!(broker.count(Counter::WillPublished), 2);
}

#[test]
fn many_wills_are_published_in_bounded_steps_and_all_of_them() {
    let mut broker = Broker::new();
    let listener = broker.connect(&v5("listener"));
    broker.ask(listener, &subscribe(1, &[("w", 0)]));
    let ids: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    let slots: Vec<u32> = ids
        .iter()
        .map(|id| broker.connect(&v5(id).wills("w", 0)))
        .collect();
    for slot in slots {
        broker.shard.peer_closed(slot, CloseReason::Closed);
    }
    broker.turn();
    assert!(broker.payloads(listener).len() < 100);
    broker.run();
    assert_eq!(broker.count(Counter::WillPublished), 300);
}

#[test]
fn the_publisher_of_a_will_does_not_get_it_back() {
    // A will is no message to the session that left it, if it has asked for none of its own.
    let client = v5("a").wills("w", 0).keeps(100);
    let (mut broker, _, slot) = broker_with(&client);
    broker.ask(
        slot,
        &subscribe(2, &[("w", 0)]).options(|o| o.no_local = true),
    );
    broker.cut(slot);
    let slot = broker.enter(&v5("a").keeps(100), &[]);
    assert_eq!(broker.sent(slot), ["connack present"]);
    broker.send(slot, &publish("w", "own"));
    assert_eq!(broker.sent(slot), Vec::<String>::new());
    assert_eq!(broker.count(Counter::DeliveryDroppedNoLocal), 2);
}
