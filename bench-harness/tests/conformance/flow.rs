//! Flow control (4.9, 3.3.4) and maximum packet sizes (3.1.2.11.4).

use bench_harness::client::Client;
use bench_harness::codec::{
    Ack, Disconnect, Packet, Property, Publish, Subscribe, SubscriptionOptions, Version,
};

use crate::peer::{
    PATIENCE, SILENCE, answer, clean, collect, connect, leave, message, persistent, subscribe_with,
    success, texts,
};
use crate::raw;
use crate::world::{
    BOTH, address, anyone, assert_alive, expect_cut, fresh, publish, publish_all, pubrec, pubrel,
    release, send, subscribe_all, unsubscribe_all, with_properties, with_qos,
};

const V5: Version = Version::V5;

/// A subscriber that takes so many messages before it has acknowledged one.
fn window(maximum: u16, topic: &str, qos: u8) -> Client {
    let property = [Property::ReceiveMaximum(maximum)];
    let options = with_properties(clean(V5, &fresh("window")), &property);
    let mut client = connect(address(), &options);
    assert_eq!(client.subscribe(topic, qos).unwrap(), qos);
    client
}

#[test]
fn no_more_than_the_receive_maximum_is_in_flight() {
    for qos in [1, 2] {
        let topic = fresh("window");
        let mut client = window(3, &topic, qos);
        let texts_of_all = ["0", "1", "2", "3", "4", "5"];
        publish_all(V5, &topic, texts_of_all.map(|text| (qos, text)));
        let first: Vec<Publish> = (0..3).map(|_| client.expect_publish().unwrap()).collect();
        client.expect_nothing(SILENCE).unwrap();
        assert_eq!(texts(&first), ["0", "1", "2"]);
        // Each acknowledgement lets one more go: at QoS 2 this is PUBCOMP.
        let id = first[0].packet_id.unwrap();
        client.send(&answer(&first[0]).unwrap()).unwrap();
        if qos == 2 {
            assert_eq!(pubrel(&mut client), id);
            client.expect_nothing(SILENCE).unwrap();
            client.send(&Packet::PubComp(success(id))).unwrap();
        }
        assert_eq!(client.expect_publish().unwrap().payload, b"3");
        client.expect_nothing(SILENCE).unwrap();
    }
}

#[test]
fn a_negative_pubrec_gives_the_quota_back() {
    let topic = fresh("window");
    let mut client = window(1, &topic, 2);
    publish_all(V5, &topic, [(2, "a"), (2, "b")]);
    let first = client.expect_publish().unwrap();
    let refusal = Ack {
        packet_id: first.packet_id.unwrap(),
        code: 0x80,
        ..Ack::default()
    };
    client.send(&Packet::PubRec(refusal)).unwrap();
    assert_eq!(client.expect_publish().unwrap().payload, b"b");
}

#[test]
fn everything_else_goes_on_while_the_quota_is_used_up() {
    let topic = fresh("window");
    let mut client = window(1, &topic, 1);
    publish_all(V5, &topic, [(1, "a"), (1, "b")]);
    let first = client.expect_publish().unwrap();
    assert_alive(&mut client);
    let other = fresh("other");
    let granted = subscribe_all(&mut client, &[(&other, SubscriptionOptions::qos(0))]);
    assert_eq!(granted, [0]);
    // QoS 0 has no quota.
    publish(V5, &other, 0, "zero");
    assert_eq!(client.expect_publish().unwrap().payload, b"zero");
    // The client's own publications are acknowledged.
    client.publish(&fresh("own"), 1, b"x").unwrap();
    client.publish(&fresh("own"), 2, b"x").unwrap();
    assert_eq!(unsubscribe_all(&mut client, &[&other]), [0]);
    client.send(&answer(&first).unwrap()).unwrap();
    assert_eq!(client.expect_publish().unwrap().payload, b"b");
}

/// A persistent client that takes so many messages at once.
fn persistent_window(id: &str, maximum: u16) -> Client {
    let property = [Property::ReceiveMaximum(maximum)];
    connect(address(), &with_properties(persistent(V5, id), &property))
}

#[test]
fn the_window_holds_for_what_waited() {
    let (id, topic) = (fresh("window"), fresh("window"));
    let mut client = persistent_window(&id, 5);
    client.subscribe(&topic, 1).unwrap();
    leave(client);
    publish_all(V5, &topic, ["0", "1", "2", "3"].map(|text| (1, text)));
    let mut client = persistent_window(&id, 2);
    for wanted in [b"0", b"1"] {
        let got = client.expect_publish().unwrap();
        assert_eq!((&got.payload[..], got.dup), (&wanted[..], false));
    }
    client.expect_nothing(SILENCE).unwrap();
}

#[test]
fn the_window_holds_for_what_is_sent_again() {
    let (id, topic) = (fresh("window"), fresh("window"));
    let mut client = persistent_window(&id, 5);
    client.subscribe(&topic, 1).unwrap();
    for number in 0..3 {
        publish(V5, &topic, 1, &number.to_string());
        client.expect_publish().unwrap();
    }
    drop(client);
    let mut client = persistent_window(&id, 1);
    for wanted in ["0", "1", "2"] {
        let got = client.expect_publish().unwrap();
        assert_eq!((&got.payload[..], got.dup), (wanted.as_bytes(), true));
        client.expect_nothing(SILENCE).unwrap();
        client.send(&answer(&got).unwrap()).unwrap();
    }
}

#[test]
fn a_client_beyond_the_servers_receive_maximum_is_cut_off() {
    let mut client = anyone(V5);
    let maximum = client.connack.properties.find(|p| match p {
        Property::ReceiveMaximum(maximum) => Some(*maximum),
        _ => None,
    });
    let maximum = maximum.unwrap_or(u16::MAX);
    assert!(maximum < 1000, "too many to try: {maximum}");
    let topic = fresh("beyond");
    for id in 1..=maximum {
        send(&mut client, with_qos(message(&topic, "x"), 2, id));
        assert_eq!(pubrec(&mut client).0, id);
    }
    // A repeated one is no new one; a released one makes room.
    let again = Publish {
        dup: true,
        ..with_qos(message(&topic, "x"), 2, 1)
    };
    send(&mut client, again);
    assert_eq!(pubrec(&mut client).0, 1);
    assert_eq!(release(&mut client, 1), 0);
    send(&mut client, with_qos(message(&topic, "x"), 2, 1));
    assert_eq!(pubrec(&mut client).0, 1);
    send(&mut client, with_qos(message(&topic, "x"), 2, maximum + 1));
    expect_cut(V5, &mut client, &[0x93]);
}

/// A subscriber that takes packets of so many bytes.
fn narrow(maximum: u32, topic: &str, qos: u8) -> Client {
    let property = [Property::MaximumPacketSize(maximum)];
    let options = with_properties(clean(V5, &fresh("narrow")), &property);
    let mut client = connect(address(), &options);
    assert_eq!(client.subscribe(topic, qos).unwrap(), qos);
    client
}

#[test]
fn no_packet_is_larger_than_the_client_takes() {
    let topic = fresh("narrow");
    let maximum = 200;
    let mut client = narrow(maximum, &topic, 0);
    // Fixed header 3, topic, property length.
    let fits = maximum as usize - 3 - 2 - topic.len() - 1;
    let texts = [fits - 1, fits, fits + 1, 5000, 4].map(|length| "x".repeat(length));
    publish_all(V5, &topic, texts.iter().map(|text| (0, text.as_str())));
    let lengths: Vec<usize> = collect(&mut client, 3)
        .iter()
        .map(|p| p.payload.len())
        .collect();
    assert_eq!(lengths, [fits - 1, fits, 4]);
}

#[test]
fn what_is_too_large_counts_as_sent() {
    for qos in [1, 2] {
        let topic = fresh("narrow");
        let property = [
            Property::MaximumPacketSize(100),
            Property::ReceiveMaximum(1),
        ];
        let id = fresh("narrow");
        let options = with_properties(persistent(V5, &id), &property);
        let mut client = connect(address(), &options);
        client.subscribe(&topic, qos).unwrap();
        let large = "x".repeat(500);
        let messages = [&large, &large, &large, "fits"].map(|text| (qos, text));
        publish_all(V5, &topic, messages);
        // The quota of one is free, so the large ones do not block the way.
        assert_eq!(texts(&collect(&mut client, 1)), ["fits"]);
        // The acknowledgement has been handled when what was sent behind it is answered.
        assert_alive(&mut client);
        drop(client);
        // And they do not come to a later connection that could take them.
        let mut client = connect(address(), &persistent(V5, &id));
        assert!(client.connack.session_present);
        client.expect_nothing(SILENCE).unwrap();
    }
}

#[test]
fn retained_messages_that_are_too_large_are_left_out() {
    let base = fresh("narrow");
    for (leaf, length) in [("a", 500), ("b", 10), ("c", 500)] {
        let payload = "x".repeat(length);
        crate::world::publish_retained(V5, &format!("{base}/{leaf}"), &payload);
    }
    let mut client = narrow(100, &format!("{base}/#"), 1);
    assert_eq!(collect(&mut client, 1)[0].payload.len(), 10);
    client.expect_nothing(SILENCE).unwrap();
}

/// A persistent client that takes packets of 100 bytes.
fn persistent_narrow(id: &str) -> Client {
    let property = [Property::MaximumPacketSize(100)];
    connect(address(), &with_properties(persistent(V5, id), &property))
}

#[test]
fn waiting_messages_that_are_too_large_are_left_out() {
    let (id, topic) = (fresh("narrow"), fresh("narrow"));
    let mut client = connect(address(), &persistent(V5, &id));
    client.subscribe(&topic, 1).unwrap();
    leave(client);
    publish_all(V5, &topic, [(1, "x".repeat(500).as_str()), (1, "fits")]);
    let mut client = persistent_narrow(&id);
    assert_eq!(texts(&collect(&mut client, 1)), ["fits"]);
    client.expect_nothing(SILENCE).unwrap();
}

#[test]
fn messages_in_flight_that_have_become_too_large_are_left_out() {
    let (id, topic) = (fresh("narrow"), fresh("narrow"));
    let mut client = connect(address(), &persistent(V5, &id));
    client.subscribe(&topic, 1).unwrap();
    for payload in ["x".repeat(500), "fits".to_owned()] {
        publish(V5, &topic, 1, &payload);
        client.expect_publish().unwrap();
    }
    drop(client);
    let mut client = persistent_narrow(&id);
    assert_eq!(texts(&collect(&mut client, 1)), ["fits"]);
    client.expect_nothing(SILENCE).unwrap();
}

#[test]
fn a_packet_beyond_the_servers_maximum_ends_the_connection() {
    for version in BOTH {
        let mut client = anyone(version);
        let mut other = anyone(version);
        // The head of a PUBLISH of 200 MB; the rest need not come.
        client
            .send_raw(&[0x30, 0x80, 0x84, 0xAF, 0x5F, 0, 1, b't'])
            .unwrap();
        expect_cut(version, &mut client, &[0x95]);
        assert_alive(&mut other);
    }
}

/// Lets every acknowledgement come, those with a failure where there is one, and returns their sizes.
fn sizes_of_acknowledgements(client: &mut Client) -> Vec<usize> {
    let topic = fresh("fit");
    let mut packets = vec![
        Packet::Publish(with_qos(message(&topic, "x"), 1, 1)),
        Packet::Publish(with_qos(message(&topic, "x"), 2, 2)),
        Packet::PubRel(success(2)),
        Packet::PubRel(success(99)),
        Packet::PubRec(success(98)),
        Packet::PingReq,
    ];
    packets.insert(3, Packet::PubRel(success(77)));
    let mut sizes = Vec::new();
    for packet in packets {
        client.send(&packet).unwrap();
        sizes.push(client.expect(PATIENCE).unwrap().to_bytes(V5).len());
    }
    for bytes in [
        raw::subscribe(V5, b"$share/group/f", 1),
        raw::unsubscribe(V5, b"never/subscribed"),
    ] {
        client.send_raw(&bytes).unwrap();
        sizes.push(client.expect(PATIENCE).unwrap().to_bytes(V5).len());
    }
    client.send_raw(&[0xC1, 0x00]).unwrap();
    let farewell: Option<Disconnect> = client.expect_closed(PATIENCE).unwrap();
    sizes.extend(farewell.map(|f| Packet::Disconnect(f).to_bytes(V5).len()));
    sizes
}

#[test]
fn acknowledgements_fit_a_small_maximum_packet_size() {
    let maximum = 40;
    let property = [Property::MaximumPacketSize(maximum)];
    let options = with_properties(clean(V5, &fresh("fit")), &property);
    let mut client = connect(address(), &options);
    for size in sizes_of_acknowledgements(&mut client) {
        assert!(size <= maximum as usize, "{size}");
    }
}

#[test]
fn a_suback_that_cannot_fit_is_not_sent() {
    let property = [Property::MaximumPacketSize(60)];
    let options = with_properties(clean(V5, &fresh("fit")), &property);
    let mut client = connect(address(), &options);
    let filters: Vec<String> = (0..100).map(|_| fresh("f")).collect();
    let options = SubscriptionOptions::qos(0);
    let subscribe = Subscribe {
        packet_id: 1,
        filters: filters.iter().map(|f| (f.clone(), options)).collect(),
        ..Subscribe::default()
    };
    client.send(&Packet::Subscribe(subscribe)).unwrap();
    // Its codes alone are too many; all that is left is to say so.
    expect_cut(V5, &mut client, &[0x95]);
}

#[test]
fn without_problem_information_acknowledgements_have_no_reason_string() {
    let property = [Property::RequestProblemInformation(0)];
    let options = with_properties(clean(V5, &fresh("terse")), &property);
    let mut client = connect(address(), &options);
    let topic = fresh("terse");
    let no_words = |packet: Packet| {
        let properties = match packet {
            Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubComp(ack) => ack.properties,
            Packet::PubRel(ack) => ack.properties,
            Packet::SubAck(ack) => ack.properties,
            Packet::UnsubAck(ack) => ack.properties,
            other => panic!("{other:?}"),
        };
        assert_eq!(properties.0, []);
    };
    for packet in [
        Packet::Publish(with_qos(message(&topic, "x"), 1, 1)),
        Packet::Publish(with_qos(message(&topic, "x"), 2, 2)),
        Packet::PubRel(success(99)),
        Packet::PubRec(success(98)),
    ] {
        client.send(&packet).unwrap();
        no_words(client.expect(PATIENCE).unwrap());
    }
    client
        .send_raw(&raw::subscribe(V5, b"$share/g/f", 1))
        .unwrap();
    no_words(client.expect(PATIENCE).unwrap());
    client.send_raw(&raw::unsubscribe(V5, b"never")).unwrap();
    no_words(client.expect(PATIENCE).unwrap());
    let options = SubscriptionOptions::qos(0);
    assert_eq!(subscribe_with(&mut client, &topic, options, vec![]), 0);
}
