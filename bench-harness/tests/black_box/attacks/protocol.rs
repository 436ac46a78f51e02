//! Packets that ask for more than they are, or more than there is.

use std::io::Write;

use bench_harness::client::Client;
use bench_harness::codec::{Packet, Properties, Property, Publish, Subscribe, SubscriptionOptions};

use super::{QUOTA, V5, V311, broker, dial, memory, told, until_closed, works};
use crate::peer::{PATIENCE, clean, connect, message, ping};
use crate::ws_peer::{CONNACK, connect_packet};

/// The largest remaining length there is.
const LONGEST: [u8; 4] = [0xFF, 0xFF, 0xFF, 0x7F];
const PACKET_TOO_LARGE: u8 = 0x95;
/// Far more than all these clients may cost.
const MEMORY_MAX: u64 = 64 << 20;

#[test]
fn a_length_of_256_megabytes_is_refused_by_its_head() {
    let broker = broker(&[]);
    let before = memory(&broker);
    for first in [0x10, 0x30, 0x82] {
        assert!(told(broker.address(), &[&[first][..], &LONGEST].concat()).is_empty());
    }
    // Nothing of the body has to come.
    for first in [0x30, 0x32, 0x82, 0xA2, 0x40, 0xE0, 0xF0] {
        let mut client = connect(broker.address(), &clean(V5, "c"));
        client.send_raw(&[first]).unwrap();
        client.send_raw(&LONGEST).unwrap();
        let farewell = client.expect_closed(PATIENCE).unwrap().unwrap();
        assert_eq!(farewell.code, PACKET_TOO_LARGE, "{first:#x}");
    }
    works(&broker);
    assert!(memory(&broker) < before + MEMORY_MAX);
}

#[test]
fn a_length_without_an_end_is_malformed() {
    let broker = broker(&[]);
    let endless = [&[0x10][..], &[0x80; 4]].concat();
    assert!(told(broker.address(), &endless).is_empty());
    let mut client = connect(broker.address(), &clean(V5, "c"));
    client
        .send_raw(&[&[0x30][..], &[0xFF; 4]].concat())
        .unwrap();
    assert_eq!(client.expect_closed(PATIENCE).unwrap().unwrap().code, 0x81);
}

#[test]
fn a_connect_that_never_ends_is_cut() {
    let broker = broker(&["mqtt.max_packet_size=250MB"]);
    let mut stream = dial(broker.address());
    // A CONNECT of 200 MB, of which no more than the limit of a handshake is kept.
    stream
        .write_all(&[0x10, 0x80, 0xA0, 0xAF, 0x5F, 0, 4])
        .unwrap();
    let filler = vec![b'x'; 16 * 1024];
    let mut sent = 0;
    while sent < 64 << 20 && stream.write_all(&filler).is_ok() {
        sent += filler.len();
    }
    assert!(sent < 64 << 20, "it takes everything");
    assert!(until_closed(&mut stream).is_empty());
    works(&broker);
}

#[test]
fn a_property_bomb_costs_nobody_else_anything() {
    let broker = broker(&[]);
    let mut bystander = connect(broker.address(), &clean(V311, "bystander"));
    // As many empty properties as fit into a CONNECT.
    let mut options = clean(V5, "bomb");
    let empty = Property::UserProperty(String::new(), String::new());
    options.connect.properties = Properties(vec![empty.clone(); 12_000]);
    let mut client = connect(broker.address(), &options);
    // And into a PUBLISH, five bytes each.
    for _ in 0..10 {
        let bomb = Publish {
            qos: 1,
            packet_id: Some(1),
            properties: Properties(vec![empty.clone(); 200_000]),
            ..message("bomb", "x")
        };
        client.send(&Packet::Publish(bomb)).unwrap();
        assert!(matches!(client.expect(PATIENCE), Ok(Packet::PubAck(_))));
        ping(&mut bystander);
    }
    works(&broker);
}

#[test]
fn topic_aliases_hold_only_so_much() {
    let broker = broker(&[]);
    let before = memory(&broker);
    for number in 0..8 {
        let mut client = connect(broker.address(), &clean(V5, &format!("c{number}")));
        // 65,535 aliases of 60,000 bytes would be 4 GB.
        let mut code = None;
        for alias in 1..=u16::MAX {
            let topic = format!("{alias}/{}", "x".repeat(60_000));
            let publish = Publish {
                properties: Properties(vec![Property::TopicAlias(alias)]),
                ..message(&topic, "x")
            };
            if client.send(&Packet::Publish(publish)).is_err() || alias == 16 {
                let farewell = client.expect_closed(PATIENCE).unwrap();
                code = farewell.map(|farewell| farewell.code);
                break;
            }
        }
        assert_eq!(code, Some(QUOTA));
    }
    works(&broker);
    assert!(memory(&broker) < before + MEMORY_MAX);
}

#[test]
fn an_alias_that_was_never_given_names_nothing() {
    let broker = broker(&[]);
    let mut first = connect(broker.address(), &clean(V5, "first"));
    let publish = |topic: &str| {
        Packet::Publish(Publish {
            properties: Properties(vec![Property::TopicAlias(7)]),
            ..message(topic, "x")
        })
    };
    first.send(&publish("secret/of/first")).unwrap();
    ping(&mut first);
    // Another connection has aliases of its own.
    let mut second = connect(broker.address(), &clean(V5, "second"));
    second.send(&publish("")).unwrap();
    assert_eq!(second.expect_closed(PATIENCE).unwrap().unwrap().code, 0x82);
    ping(&mut first);
}

#[test]
fn packet_identifiers_run_out_for_their_client_only() {
    let broker = broker(&[]);
    let mut other = connect(broker.address(), &clean(V5, "other"));
    // All 65,535 of version 3.1.1, never released; then all again.
    let mut client = connect(broker.address(), &clean(V311, "greedy"));
    let mut taken = 0_u32;
    for _ in 0..2 {
        for id in 1..=u16::MAX {
            let publish = Publish {
                qos: 2,
                packet_id: Some(id),
                ..message("q", "x")
            };
            client.send(&Packet::Publish(publish)).unwrap();
            if id % 64 == 0 || id == u16::MAX {
                let batch = if id == u16::MAX { 63 } else { 64 };
                for _ in 0..batch {
                    assert!(matches!(client.expect(PATIENCE), Ok(Packet::PubRec(_))));
                    taken += 1;
                }
            }
            if id % 4096 == 0 {
                ping(&mut other);
            }
        }
    }
    assert_eq!(taken, 2 * 65_535);
    ping(&mut client);
    works(&broker);
}

#[test]
fn subscriptions_are_as_many_as_allowed_and_filters_as_deep() {
    let broker = broker(&["mqtt.max_subscriptions=100"]);
    let mut client = connect(broker.address(), &clean(V5, "c"));
    let filters =
        |count: usize| (0..count).map(|n| (format!("f/{n}"), SubscriptionOptions::qos(0)));
    let subscribe = Subscribe {
        packet_id: 1,
        properties: Properties::default(),
        filters: filters(20_000).collect(),
    };
    client.send(&Packet::Subscribe(subscribe)).unwrap();
    let Ok(Packet::SubAck(ack)) = client.expect(PATIENCE) else {
        panic!("no SUBACK");
    };
    assert_eq!(ack.codes.iter().filter(|code| **code == 0).count(), 100);
    assert!(ack.codes[100..].iter().all(|code| *code == QUOTA));
    let deep = "+/".repeat(30_000) + "#";
    assert_eq!(client.subscribe(&deep, 0).unwrap(), 0x8F);
    works(&broker);
}

#[test]
fn a_filter_made_to_branch_does_not() {
    // A topic of many equal levels under many filters of `+` and words.
    let broker = broker(&[]);
    let mut client = connect(broker.address(), &clean(V5, "c"));
    for bits in 0..512_u32 {
        let levels: Vec<&str> = (0..9)
            .map(|n| if bits >> n & 1 == 1 { "+" } else { "a" })
            .collect();
        let filter = levels.join("/") + "/#";
        assert_eq!(client.subscribe(&filter, 0).unwrap(), 0);
    }
    let mut from = connect(broker.address(), &clean(V5, "from"));
    for _ in 0..20 {
        let topic = ["a"; 60].join("/");
        from.publish(&topic, 1, b"x").unwrap();
    }
    ping(&mut from);
    works(&broker);
}

#[test]
fn bytes_before_connect_get_no_answer() {
    let broker = broker(&[]);
    let noise: Vec<Vec<u8>> = vec![
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00".to_vec(),
        b"SSH-2.0-x\r\n".to_vec(),
        vec![0xC0, 0],
        vec![0x00, 0],
        vec![0xF0, 0],
        b"\x30\x03\0\x01a".to_vec(),
        [&[0x82, 5, 0, 1, 0, 1, b'#', 0][..], &connect_packet("x")].concat(),
    ];
    for bytes in noise {
        assert!(told(broker.address(), &bytes).is_empty(), "{bytes:?}");
    }
    // CONNECT in CONNECT's clothes, with another packet's flags.
    for flags in 1..16 {
        let mut bytes = connect_packet("x");
        bytes[0] |= flags;
        assert!(told(broker.address(), &bytes).is_empty(), "{flags}");
    }
    works(&broker);
}

#[test]
fn a_second_connect_takes_nobodys_place() {
    let broker = broker(&[]);
    let mut victim = connect(broker.address(), &clean(V311, "victim"));
    let mut client = Client::open(broker.address(), V311).unwrap();
    client.send_raw(&connect_packet("attacker")).unwrap();
    assert!(matches!(client.expect(PATIENCE), Ok(Packet::ConnAck(_))));
    client.send_raw(&connect_packet("victim")).unwrap();
    assert_eq!(client.expect_closed(PATIENCE).unwrap(), None);
    ping(&mut victim);
    // Right behind the first, in one write.
    let both = [connect_packet("attacker"), connect_packet("victim")].concat();
    assert_eq!(told(broker.address(), &both), CONNACK);
    ping(&mut victim);
}

#[test]
fn text_that_is_none_or_hides_something_is_refused() {
    let broker = broker(&[]);
    // A client id and a topic with U+0000, of which one may see the first half only.
    let mut connect_with_null = connect_packet("a.b");
    let at = connect_with_null.len() - 2;
    connect_with_null[at] = 0;
    assert!(!told(broker.address(), &connect_with_null).starts_with(CONNACK));
    for topic in [&b"a\0b"[..], b"a/\xED\xA0\x80", b"a/\xC0\xAF", b"a/\xFF"] {
        let mut client = connect(broker.address(), &clean(V5, "c"));
        let len = u8::try_from(topic.len()).unwrap();
        let packet = [&[0x30, len + 3, 0, len][..], topic, &[0]].concat();
        client.send_raw(&packet).unwrap();
        let code = client.expect_closed(PATIENCE).unwrap().unwrap().code;
        assert!([0x81, 0x90].contains(&code), "{topic:?}: {code:#x}");
    }
}
