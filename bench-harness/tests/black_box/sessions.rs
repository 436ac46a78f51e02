//! Sessions: kept, resumed, taken over, ended; and the keep-alive.

use std::time::Duration;

use bench_harness::client::{Client, Error};
use bench_harness::codec::{
    Disconnect, Packet, Properties, Property, SubscriptionOptions, Version,
};

use crate::broker::Broker;
use crate::peer::{
    PATIENCE, SILENCE, VERSIONS, clean, collect, connect, leave, message, numbered, persistent,
    ping, subscribe_with, success, texts, vanish,
};

const PROTOCOL_SESSION_TAKEN_OVER: u8 = 0x8E;
const KEEP_ALIVE_TIMEOUT: u8 = 0x8D;

#[test]
fn messages_wait_for_a_client_that_is_away() {
    for cores in [1, 2, 8] {
        let broker = Broker::start(cores);
        for version in VERSIONS {
            for qos in [1, 2] {
                let id = format!("sleeper-{version:?}-{qos}");
                let options = persistent(version, &id);
                let mut to = connect(broker.address(), &options);
                assert!(!to.connack.session_present);
                assert_eq!(to.subscribe(&id, qos).unwrap(), qos);
                leave(to);
                let mut from = connect(broker.address(), &clean(version, "from"));
                for text in numbered("", 100) {
                    from.publish(&id, qos, text.as_bytes()).unwrap();
                }
                let mut to = connect(broker.address(), &options);
                assert_eq!(to.connack.session_present, version != Version::V31);
                let got = collect(&mut to, 100);
                assert_eq!(texts(&got), numbered("", 100), "{version:?} {qos}");
                assert!(got.iter().all(|publish| publish.qos == qos && !publish.dup));
                to.expect_nothing(SILENCE / 4).unwrap();
                from.publish(&id, qos, b"live").unwrap();
                assert_eq!(texts(&collect(&mut to, 1)), ["live"]);
                leave(to);
                leave(from);
            }
        }
        broker.stop();
    }
}

#[test]
fn what_was_not_acknowledged_comes_again() {
    let broker = Broker::start(2);
    for version in [Version::V311, Version::V5] {
        let options = persistent(version, "forgetful");
        let mut to = connect(broker.address(), &options);
        assert_eq!(to.subscribe("t", 1).unwrap(), 1);
        let mut from = connect(broker.address(), &clean(version, "from"));
        for text in ["one", "two", "three"] {
            from.publish("t", 1, text.as_bytes()).unwrap();
        }
        let first = to.expect_publish().unwrap();
        to.send(&Packet::PubAck(success(first.packet_id.unwrap())))
            .unwrap();
        let second = to.expect_publish().unwrap();
        ping_past_publishes(&mut to);
        vanish(to);
        let mut to = connect(broker.address(), &options);
        assert!(to.connack.session_present);
        let got = collect(&mut to, 2);
        assert_eq!(texts(&got), ["two", "three"]);
        assert_eq!((got[0].packet_id, got[0].dup), (second.packet_id, true));
        to.send(&Packet::Disconnect(Disconnect::default())).unwrap();
        to.expect_closed(PATIENCE).unwrap();
        leave(connect(broker.address(), &clean(version, "forgetful")));
    }
    broker.stop();
}

/// Waits for a PINGRESP, whatever is delivered before it.
fn ping_past_publishes(client: &mut Client) {
    client.send(&Packet::PingReq).unwrap();
    while client.expect(PATIENCE).unwrap() != Packet::PingResp {}
}

#[test]
fn a_message_of_qos_2_is_delivered_once_across_a_reconnect() {
    let broker = Broker::start(2);
    for version in [Version::V311, Version::V5] {
        let options = persistent(version, "receiver");
        let mut to = connect(broker.address(), &options);
        assert_eq!(to.subscribe("t", 2).unwrap(), 2);
        let from_options = persistent(version, "sender");
        let mut from = connect(broker.address(), &from_options);
        let mut publish = message("t", "once");
        (publish.qos, publish.packet_id) = (2, Some(9));
        from.send(&Packet::Publish(publish.clone())).unwrap();
        assert!(
            matches!(from.expect(PATIENCE).unwrap(), Packet::PubRec(ack) if ack.packet_id == 9)
        );
        vanish(from);
        let mut from = connect(broker.address(), &from_options);
        assert!(from.connack.session_present);
        publish.dup = true;
        from.send(&Packet::Publish(publish)).unwrap();
        assert!(
            matches!(from.expect(PATIENCE).unwrap(), Packet::PubRec(ack) if ack.packet_id == 9)
        );
        from.send(&Packet::PubRel(success(9))).unwrap();
        assert!(
            matches!(from.expect(PATIENCE).unwrap(), Packet::PubComp(ack) if ack.packet_id == 9)
        );
        let got = to.expect_publish().unwrap();
        let id = got.packet_id.unwrap();
        to.send(&Packet::PubRec(success(id))).unwrap();
        assert!(matches!(to.expect(PATIENCE).unwrap(), Packet::PubRel(ack) if ack.packet_id == id));
        vanish(to);
        // The message is over, its release is not: that alone is repeated.
        let mut to = connect(broker.address(), &options);
        assert!(matches!(to.expect(PATIENCE).unwrap(), Packet::PubRel(ack) if ack.packet_id == id));
        to.send(&Packet::PubComp(success(id))).unwrap();
        to.expect_nothing(SILENCE).unwrap();
        leave(to);
        leave(connect(broker.address(), &clean(version, "receiver")));
        leave(from);
        leave(connect(broker.address(), &clean(version, "sender")));
    }
    broker.stop();
}

#[test]
fn a_clean_start_ends_the_session_and_version_5_names_its_expiry() {
    let broker = Broker::start(2);
    for version in [Version::V311, Version::V5] {
        let options = persistent(version, "c");
        let mut client = connect(broker.address(), &options);
        assert_eq!(client.subscribe("t", 1).unwrap(), 1);
        leave(client);
        let client = connect(broker.address(), &clean(version, "c"));
        assert!(!client.connack.session_present);
        leave(client);
        let mut client = connect(broker.address(), &options);
        assert!(!client.connack.session_present);
        client.publish("t", 1, b"x").unwrap();
        client.expect_nothing(SILENCE).unwrap();
        leave(client);
        leave(connect(broker.address(), &clean(version, "c")));
    }
    // Expiry 0, which is the default, ends the session with the connection.
    let mut options = persistent(Version::V5, "e");
    options.connect.properties = Properties::default();
    leave(connect(broker.address(), &options));
    assert!(!connect(broker.address(), &options).connack.session_present);
    // A second later it is over; DISCONNECT may change it.
    options.connect.properties = Properties(vec![Property::SessionExpiryInterval(3600)]);
    let mut client = connect(broker.address(), &options);
    let sooner = Disconnect {
        properties: Properties(vec![Property::SessionExpiryInterval(1)]),
        ..Disconnect::default()
    };
    client.send(&Packet::Disconnect(sooner)).unwrap();
    client.expect_closed(PATIENCE).unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    assert!(!connect(broker.address(), &options).connack.session_present);
    broker.stop();
}

#[test]
fn a_second_client_of_the_same_id_takes_over() {
    for cores in [2, 8] {
        let broker = Broker::start(cores);
        for version in VERSIONS {
            let options = persistent(version, "same");
            let mut first = connect(broker.address(), &options);
            assert_eq!(first.subscribe("t", 1).unwrap(), 1);
            let mut second = connect(broker.address(), &options);
            assert_eq!(second.connack.session_present, version != Version::V31);
            let farewell = first.expect_closed(PATIENCE).unwrap();
            let wanted = (version == Version::V5).then_some(PROTOCOL_SESSION_TAKEN_OVER);
            assert_eq!(farewell.map(|disconnect| disconnect.code), wanted);
            let mut from = connect(broker.address(), &clean(version, "from"));
            from.publish("t", 1, b"to the second").unwrap();
            assert_eq!(texts(&collect(&mut second, 1)), ["to the second"]);
            leave(second);
            leave(connect(broker.address(), &clean(version, "same")));
        }
        broker.stop();
    }
}

#[test]
fn clients_without_an_id_get_one_of_their_own() {
    let broker = Broker::start(4);
    let mut clients: Vec<Client> = (0..20)
        .map(|n| {
            let version = [Version::V311, Version::V5][n % 2];
            connect(broker.address(), &clean(version, ""))
        })
        .collect();
    let assigned: std::collections::BTreeSet<&str> = clients
        .iter()
        .filter_map(|client| {
            client.connack.properties.find(|property| match property {
                Property::AssignedClientIdentifier(id) => Some(id.as_str()),
                _ => None,
            })
        })
        .collect();
    assert_eq!(
        assigned.len(),
        10,
        "each client of version 5 is told another one"
    );
    for client in &mut clients {
        ping(client);
    }
    broker.stop();
}

#[test]
fn silence_beyond_the_keep_alive_ends_the_connection() {
    let broker = Broker::start(2);
    let lively: Vec<_> = VERSIONS
        .iter()
        .map(|version| {
            let mut options = clean(*version, &format!("lively-{version:?}"));
            options.connect.keep_alive_s = 2;
            connect(broker.address(), &options)
        })
        .collect();
    let pinging = std::thread::spawn(move || {
        let mut lively = lively;
        for _ in 0..8 {
            std::thread::sleep(Duration::from_millis(500));
            lively.iter_mut().for_each(ping);
        }
    });
    for version in VERSIONS {
        let mut options = clean(version, &format!("silent-{version:?}"));
        options.connect.keep_alive_s = 1;
        let mut silent = connect(broker.address(), &options);
        let farewell = silent.expect_closed(PATIENCE).unwrap();
        let wanted = (version == Version::V5).then_some(KEEP_ALIVE_TIMEOUT);
        assert_eq!(farewell.map(|disconnect| disconnect.code), wanted);
    }
    pinging.join().unwrap();
    broker.stop();
}

#[test]
fn a_connection_without_connect_is_closed() {
    let broker = Broker::with(&["--cores", "2", "--set", "mqtt.idle_timeout=1s"]);
    let mut silent = Client::open(broker.address(), Version::V311).unwrap();
    let mut halting = Client::open(broker.address(), Version::V311).unwrap();
    let bytes = Packet::Connect(clean(Version::V311, "x").connect).to_bytes(Version::V311);
    halting.send_raw(&bytes[..bytes.len() - 1]).unwrap();
    for client in [&mut silent, &mut halting] {
        assert_eq!(client.expect_closed(PATIENCE).unwrap(), None);
    }
    broker.stop();
}

/// A consumer that does not read harms neither the others nor the broker.
#[test]
fn a_client_that_does_not_read_harms_itself_alone() {
    let broker = Broker::start(2);
    let mut deaf = connect(broker.address(), &clean(Version::V311, "deaf"));
    assert_eq!(deaf.subscribe("t", 0).unwrap(), 0);
    let mut good = connect(broker.address(), &clean(Version::V5, "good"));
    let options = SubscriptionOptions::qos(1);
    assert_eq!(subscribe_with(&mut good, "t", options, vec![]), 1);
    let mut from = connect(broker.address(), &clean(Version::V311, "from"));
    let payload = vec![b'x'; 100_000];
    for _ in 0..200 {
        from.publish("t", 1, &payload).unwrap();
        assert_eq!(collect(&mut good, 1)[0].payload.len(), payload.len());
    }
    // What it reads in the end is whole messages, fewer than were sent.
    from.publish("end", 1, b"").unwrap();
    let mut got = 0;
    loop {
        match deaf.expect(Duration::from_secs(1)) {
            Ok(Packet::Publish(publish)) => {
                assert_eq!(publish.payload.len(), payload.len());
                got += 1;
            }
            Ok(other) => panic!("unexpected {other:?}"),
            Err(Error::Timeout) => break,
            Err(why) => panic!("{why}"),
        }
    }
    assert!((1..200).contains(&got), "{got}");
    broker.stop();
}
