//! CONNACK (3.2).

use std::io::Read;

use bench_harness::client::Client;
use bench_harness::codec::{ConnAck, Packet, Properties, Property, Version};

use crate::peer::{PATIENCE, clean, connect, persistent};
use crate::raw;
use crate::world::{BOTH, address, anyone, fresh, publish, refused};

#[test]
fn it_is_the_first_packet_even_when_messages_wait() {
    for version in BOTH {
        let (id, topic) = (fresh("first"), fresh("first"));
        let mut client = connect(address(), &persistent(version, &id));
        client.subscribe(&topic, 1).unwrap();
        drop(client);
        for _ in 0..10 {
            publish(version, &topic, 1, "waits");
        }
        let mut client = Client::open(address(), version).unwrap();
        let packet = Packet::Connect(persistent(version, &id).connect);
        client.send(&packet).unwrap();
        assert!(matches!(client.expect(PATIENCE), Ok(Packet::ConnAck(_))));
        assert_eq!(client.expect_publish().unwrap().payload, b"waits");
    }
}

#[test]
fn there_is_one_only() {
    let id = fresh("one");
    let mut client = connect(address(), &clean(Version::V5, &id));
    client
        .send(&Packet::Connect(clean(Version::V5, &id).connect))
        .unwrap();
    // Anything but a DISCONNECT would be an error here.
    assert!(client.expect_closed(PATIENCE).unwrap().is_some());
}

#[test]
fn its_flags_hold_session_present_only() {
    for version in BOTH {
        let id = fresh("bits");
        for present in [0, 1] {
            let client = Client::open(address(), version).unwrap();
            let packet = Packet::Connect(persistent(version, &id).connect);
            std::io::Write::write_all(&mut client.stream(), &packet.to_bytes(version)).unwrap();
            client.stream().set_read_timeout(Some(PATIENCE)).unwrap();
            let mut head = [0; 4];
            client.stream().read_exact(&mut head).unwrap();
            assert_eq!((head[0], head[2], head[3]), (0x20, present, 0));
        }
    }
}

#[test]
fn a_clean_start_has_no_session_present() {
    for version in BOTH {
        let id = fresh("clean");
        drop(connect(address(), &persistent(version, &id)));
        let client = connect(address(), &clean(version, &id));
        assert!(!client.connack.session_present);
    }
}

#[test]
fn session_present_says_whether_there_was_one() {
    for version in BOTH {
        let id = fresh("present");
        let first = connect(address(), &persistent(version, &id));
        assert!(!first.connack.session_present);
        drop(first);
        let second = connect(address(), &persistent(version, &id));
        assert!(second.connack.session_present);
        // Also while the other connection is open.
        let third = connect(address(), &persistent(version, &id));
        assert!(third.connack.session_present);
    }
}

#[test]
fn a_refusal_has_no_session_present_and_closes() {
    // An unknown level while a session of that name exists; `refused` checks flag and close.
    let id = fresh("refused");
    drop(connect(address(), &persistent(Version::V311, &id)));
    let mut old = raw::Connect::new(Version::V311, &id);
    (old.level, old.flags) = (2, 0);
    assert_eq!(refused(Version::V311, &old.bytes()).unwrap().code, 0x01);
    drop(connect(address(), &persistent(Version::V5, &id)));
    let mut new = raw::Connect::new(Version::V5, &id);
    (new.level, new.flags) = (6, 0);
    assert_eq!(refused(Version::V5, &new.bytes()).unwrap().code, 0x84);
}

#[test]
fn without_a_fitting_code_3_1_1_closes_in_silence() {
    let id = fresh("silence");
    let reserved = raw::Connect::new(Version::V311, &id).with(0x01, &[]);
    assert_eq!(refused(Version::V311, &reserved.bytes()), None);
    let no_will = raw::Connect::new(Version::V311, &id).with(0x04, &[]);
    assert_eq!(refused(Version::V311, &no_will.bytes()), None);
}

#[test]
fn reason_codes_are_those_of_connack() {
    // The codec refuses any other code; these are the refusals a client can bring about here.
    let mut seen = Vec::new();
    let id = fresh("codes");
    seen.push(refused(
        Version::V5,
        &raw::Connect::new(Version::V5, &id).with(1, &[]).bytes(),
    ));
    let mut level = raw::Connect::new(Version::V5, &id);
    level.level = 77;
    seen.push(refused(Version::V5, &level.bytes()));
    let mut method = raw::Connect::new(Version::V5, &id);
    method.properties = vec![0x15, 0, 1, b'm'];
    seen.push(refused(Version::V5, &method.bytes()));
    let codes: Vec<u8> = seen.into_iter().map(|ack| ack.unwrap().code).collect();
    assert_eq!(codes, [0x81, 0x84, 0x8C]);
}

#[test]
fn response_information_only_when_asked_for() {
    let has_it = |properties: &Properties| {
        properties
            .0
            .iter()
            .any(|p| matches!(p, Property::ResponseInformation(_)))
    };
    assert!(!has_it(&anyone(Version::V5).connack.properties));
    let mut options = clean(Version::V5, &fresh("response"));
    options.connect.properties = Properties(vec![Property::RequestResponseInformation(0)]);
    assert!(!has_it(&connect(address(), &options).connack.properties));
}

#[test]
fn it_fits_the_clients_maximum_packet_size() {
    for maximum in [200, 60, 40] {
        let mut options = clean(Version::V5, &fresh("small"));
        options.connect.properties = Properties(vec![Property::MaximumPacketSize(maximum)]);
        let client = connect(address(), &options);
        let packet = Packet::ConnAck(client.connack.clone());
        let length = packet.to_bytes(Version::V5).len();
        assert!(length <= maximum as usize, "{length} of {maximum}");
    }
}

/// A client that takes packets of so many bytes, and how the connection ends.
fn too_small(maximum: u32) -> Option<ConnAck> {
    let mut options = clean(Version::V5, &fresh("tiny"));
    options.connect.properties = Properties(vec![Property::MaximumPacketSize(maximum)]);
    let bytes = Packet::Connect(options.connect).to_bytes(Version::V5);
    refused(Version::V5, &bytes)
}

#[test]
fn one_that_cannot_fit_is_not_sent() {
    for maximum in [5, 10, 15] {
        let refusal = too_small(maximum).map(|ack| Packet::ConnAck(ack).to_bytes(Version::V5));
        assert!(refusal.is_none_or(|bytes| bytes.len() <= maximum as usize));
    }
}

#[test]
fn a_refusal_that_cannot_fit_is_not_sent() {
    assert_eq!(too_small(4), None);
}

#[test]
fn no_server_keep_alive_means_the_clients() {
    let mut options = clean(Version::V5, &fresh("keep"));
    options.connect.keep_alive_s = 1;
    let mut client = connect(address(), &options);
    let imposed = client.connack.properties.find(|p| match p {
        Property::ServerKeepAlive(seconds) => Some(*seconds),
        _ => None,
    });
    assert_eq!(imposed, None);
    // Cut off by its own interval; `ping` has the times.
    let farewell = client.expect_closed(PATIENCE).unwrap().unwrap();
    assert_eq!(farewell.code, 0x8D);
}
