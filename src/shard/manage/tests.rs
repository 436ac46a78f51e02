//! Steps are bounded, walks are complete.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::channel;

use super::*;
use crate::base::limits::MANAGE_SCAN_PER_STEP;
use crate::base::time::Now;
use crate::gate::manage::{ClientQuery, NewMessage, Published, SubscriptionQuery};
use crate::gate::reply::Reply;
use crate::mqtt::qos::QoS;
use crate::shard::handshake::Step;
use crate::shard::rules::Rules;

fn shard() -> Shard {
    Shard::for_tests(Rules {
        max_connections: 20_000,
        ..Rules::for_tests()
    })
}

/// A client of 3.1.1 with a clean session (or not) and a name.
fn come(shard: &mut Shard, id: &str, clean: bool, username: Option<&str>) -> u32 {
    let mut body = b"\0\x04MQTT\x04".to_vec();
    body.push(u8::from(clean) << 1 | u8::from(username.is_some()) << 7);
    body.extend([1, 44]);
    for text in [Some(id), username].into_iter().flatten() {
        body.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
        body.extend(text.as_bytes());
    }
    let mut packet = vec![0x10, u8::try_from(body.len()).unwrap()];
    packet.extend(body);
    let peer = "127.0.0.9:1000".parse().unwrap();
    let mut handshake = shard.begin_handshake(3, peer);
    let Step::Home(_, handover) = shard.handshake_bytes(&mut handshake, &packet) else {
        panic!("the CONNECT is complete and welcome");
    };
    shard.arrive(handover);
    let session = shard.clients.registry.find(id).unwrap();
    shard.clients.registry.at(session).unwrap().connection
}

fn go(shard: &mut Shard, slot: u32) {
    shard.close(slot, crate::shard::close::CloseReason::Closed, None);
    shard.slot_closed(slot);
}

/// Asks and waits for the answer, which comes at once.
fn ask<T: Send + 'static>(shard: &mut Shard, request: impl FnOnce(Reply<T>) -> Manage) -> T {
    let (send, heard) = channel();
    shard.manage(request(Reply::new(move |answer| {
        send.send(answer).unwrap();
    })));
    heard.try_recv().expect("a step answers at once")
}

#[test]
fn a_step_looks_at_a_bounded_number_of_places_whatever_the_table() {
    let looked = Cell::new(0);
    let page = walk(0, 1_000_000, (100, MANAGE_SCAN_PER_STEP), |_| {
        looked.set(looked.get() + 1);
        None::<()>
    });
    assert_eq!(looked.get(), MANAGE_SCAN_PER_STEP);
    assert_eq!(page.next, Some(MANAGE_SCAN_PER_STEP as u64));
    looked.set(0);
    let page = walk(
        0,
        1_000_000,
        (rows(usize::MAX), MANAGE_SCAN_PER_STEP),
        |at| {
            looked.set(looked.get() + 1);
            Some(at)
        },
    );
    assert_eq!((looked.get(), page.rows.len()), (100, 100));
    assert_eq!(walk(7, 8, (9, 9), Some).next, None);
}

/// A number of entries of which a step may look at a part only.
const MANY: usize = 3 * MANAGE_SCAN_PER_STEP;

/// A shard with many clients, subscriptions (a thousand a client, which is the limit of a session) and
/// retained messages.
fn crowded() -> Shard {
    let mut shard = shard();
    shard.begin_turn(Now {
        ms: 1,
        unix_us: 1_000_000,
    });
    for n in 0..MANY {
        come(&mut shard, &format!("c{n}"), true, None);
    }
    for (client, from) in (0..MANY).step_by(1000).enumerate() {
        shard.manage(Manage::Subscribe {
            client_id: format!("c{client}").into(),
            filters: (from..from + 1000)
                .map(|n| (format!("t/{n}").into(), Default::default()))
                .collect(),
            reply: Reply::new(drop),
        });
    }
    for n in 0..MANY {
        let message = Box::new(NewMessage {
            topic: format!("r/{n}"),
            payload: b"x".to_vec(),
            properties: Vec::new(),
            qos: QoS::AtLeastOnce,
            retain: true,
            expiry_s: None,
            client_id: None,
        });
        ask(&mut shard, |reply| Manage::Publish { message, reply });
    }
    shard
}

#[test]
fn no_list_gives_out_more_than_a_step_may() {
    let mut shard = crowded();
    let (rows, max, from) = (MANAGE_ROWS_PER_STEP, usize::MAX, 0);
    let all = Arc::new(ClientQuery::default());
    let page = ask(&mut shard, |reply| Manage::Clients {
        from,
        query: all,
        max,
        reply,
    });
    assert_eq!(page.rows.len(), rows);
    let all = Arc::new(SubscriptionQuery::default());
    let page = ask(&mut shard, |reply| Manage::Subscriptions {
        from,
        query: all,
        max,
        reply,
    });
    assert_eq!(page.rows.len(), rows);
    let page = ask(&mut shard, |reply| Manage::SubscriptionsOf {
        client_id: "c0".into(),
        from,
        max,
        reply,
    });
    assert_eq!(page.map(|page| page.rows.len()), Some(rows));
    let (messages, bookmark) = ask(&mut shard, |reply| Manage::Retained {
        filter: "r/#".into(),
        payloads: false,
        bookmark: None,
        max,
        reply,
    });
    assert_eq!((messages.len(), bookmark.is_some()), (rows, true));
}

#[test]
fn no_list_looks_at_more_than_a_step_may() {
    let mut shard = crowded();
    let (rows, step) = (MANAGE_ROWS_PER_STEP, Some(MANAGE_SCAN_PER_STEP as u64));
    let none = ClientQuery {
        like_client_id: Some("nobody".to_owned()),
        ..ClientQuery::default()
    };
    let page = shard.list_clients(0, &none, rows);
    assert_eq!((page.rows.len(), page.next), (0, step));
    let none = SubscriptionQuery {
        filter: Some("nothing".to_owned()),
        ..SubscriptionQuery::default()
    };
    let page = shard.list_subscriptions(0, &none, rows);
    assert_eq!((page.rows.len(), page.next), (0, step));
    // The index has not got these filters yet, so no core lists them.
    let page = shard.list_topics(0, rows);
    assert_eq!((page.rows.len(), page.next), (0, step));
    let (messages, bookmark) = shard.list_retained(("+/+/+", false), None, rows);
    assert_eq!((messages.len(), bookmark.is_some()), (0, true));
}

#[test]
fn a_walk_over_all_clients_is_complete_while_others_come_and_go() {
    let mut shard = shard();
    for n in 0..5000 {
        come(&mut shard, &format!("known-{n}"), true, None);
    }
    let mut passing: Vec<u32> = (0..500)
        .map(|n| come(&mut shard, &format!("passing-{n}"), true, None))
        .collect();
    let query = Arc::new(ClientQuery::default());
    let (mut from, mut seen, mut pages) = (0, Vec::new(), 0);
    loop {
        let page = ask(&mut shard, |reply| Manage::Clients {
            from,
            query: Arc::clone(&query),
            max: usize::MAX,
            reply,
        });
        assert!(page.rows.len() <= MANAGE_ROWS_PER_STEP);
        seen.extend(page.rows.into_iter().map(|row| row.client_id));
        pages += 1;
        for slot in passing.drain(..5.min(passing.len())).collect::<Vec<_>>() {
            go(&mut shard, slot);
        }
        come(&mut shard, &format!("new-{pages}"), true, None);
        match page.next {
            Some(next) => from = next,
            None => break,
        }
    }
    let known: Vec<_> = seen.iter().filter(|id| id.starts_with("known-")).collect();
    let unique: BTreeSet<_> = known.iter().collect();
    assert_eq!((known.len(), unique.len()), (5000, 5000));
}

#[test]
fn filters_of_a_list_choose() {
    let mut shard = shard();
    shard.begin_turn(Now {
        ms: 5_000,
        unix_us: 1_000_005_000_000,
    });
    come(&mut shard, "one", true, Some("ann"));
    let two = come(&mut shard, "two", false, Some("bob"));
    come(&mut shard, "three", true, None);
    go(&mut shard, two);
    let found = |query: ClientQuery| {
        let page = shard.list_clients(0, &query, 100);
        page.rows
            .iter()
            .map(|row| row.client_id.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let none = ClientQuery::default;
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(found(none()), "one two three");
    assert_eq!(
        found(ClientQuery {
            connected: Some(false),
            ..none()
        }),
        "two"
    );
    assert_eq!(
        found(ClientQuery {
            clean_start: Some(true),
            ..none()
        }),
        "one three"
    );
    assert_eq!(
        found(ClientQuery {
            like_client_id: some("o"),
            ..none()
        }),
        "one two"
    );
    assert_eq!(
        found(ClientQuery {
            like_username: some("nn"),
            ..none()
        }),
        "one"
    );
    assert_eq!(
        found(ClientQuery {
            usernames: vec!["bob".into()],
            ..none()
        }),
        "two"
    );
    let ip = Some("127.0.0.9".parse().unwrap());
    assert_eq!(found(ClientQuery { ip, ..none() }), "one three");
    let mut late = none();
    late.connected_s.min = Some(1_000_005);
    assert_eq!(found(late), "one three");
    let mut later = none();
    later.created_s.min = Some(1_000_006);
    assert_eq!(found(later), "");
    let row = shard.client_row(0).unwrap();
    assert_eq!(row.username.as_deref(), Some("ann"));
    let connection = row.connection.unwrap();
    assert_eq!((connection.keep_alive_s, connection.listener), (300, 3));
}

#[test]
fn who_is_kicked_is_gone_with_the_session() {
    let mut shard = shard();
    come(&mut shard, "away", false, None);
    let slot = come(&mut shard, "gone", false, None);
    go(&mut shard, 0);
    for (id, there) in [
        ("gone", true),
        ("away", true),
        ("gone", false),
        ("nobody", false),
    ] {
        let client_id = id.into();
        let kicked = ask(&mut shard, |reply| Manage::Kick { client_id, reply });
        assert_eq!(kicked, there, "{id}");
    }
    assert!(shard.clients.registry.is_empty());
    assert_eq!(
        shard.clients.effects.close.last().map(|key| key.index),
        Some(slot)
    );
}

#[test]
fn subscriptions_are_those_of_a_client_and_a_filter_has_one_first() {
    let mut shard = shard();
    shard.begin_turn(Now::default());
    come(&mut shard, "c", false, None);
    let wanted: Vec<_> = (0..250)
        .map(|n| (format!("t/{n}").into(), Default::default()))
        .collect();
    let (send, heard) = channel();
    shard.manage(Manage::Subscribe {
        client_id: "c".into(),
        filters: wanted,
        reply: Reply::new(move |answer| send.send(answer).unwrap()),
    });
    assert!(
        heard.try_recv().is_err(),
        "the index thread has not answered"
    );
    let (mut from, mut seen) = (0, BTreeSet::new());
    loop {
        let page = shard.subscriptions_of("c", from, 100).unwrap();
        assert!(page.rows.len() <= 100);
        for row in page.rows {
            assert!(seen.insert(row.filter));
        }
        match page.next {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(seen.len(), 250);
    let all = shard.list_subscriptions(0, &SubscriptionQuery::default(), 100);
    assert_eq!((all.rows.len(), all.next), (100, Some(100)));
    let one = SubscriptionQuery {
        match_topic: Some("t/7".into()),
        ..SubscriptionQuery::default()
    };
    assert_eq!(shard.list_subscriptions(0, &one, 100).rows[0].filter, "t/7");
    let ended = shard.unsubscribe_for("c", &["t/7".into(), "t/250".into()]);
    assert_eq!(ended, Some(vec![true, false]));
    assert!(shard.list_subscriptions(0, &one, 100).rows.is_empty());
}

#[test]
fn retained_messages_are_listed_found_and_forgotten() {
    let mut shard = shard();
    shard.begin_turn(Now {
        ms: 1,
        unix_us: 1_000_000,
    });
    for n in 0..150 {
        let message = Box::new(NewMessage {
            topic: format!("r/{n}"),
            payload: b"x".to_vec(),
            properties: Vec::new(),
            qos: QoS::AtLeastOnce,
            retain: true,
            expiry_s: None,
            client_id: None,
        });
        let published = ask(&mut shard, |reply| Manage::Publish { message, reply });
        assert_eq!(published, Published::NoSubscribers);
    }
    let (first, bookmark) = shard.list_retained(("r/#", true), None, 100);
    let (second, end) = shard.list_retained(("r/#", false), bookmark, 100);
    assert_eq!((first.len(), second.len(), end.is_none()), (100, 50, true));
    assert_eq!(shard.retained_of("r/7").unwrap().payload, b"x");
    shard.begin_turn(Now {
        ms: 2,
        unix_us: 2_000_000,
    });
    assert!(shard.forget_retained("r/7") && !shard.forget_retained("r/7"));
    assert!(shard.retained_of("r/7").is_none());
}
