//! Errors (4.13; 4.8 of 3.1.1): who is cut off, and who is not.

use bench_harness::codec::{SubscriptionOptions, Version};

use crate::peer::{collect, connect, persistent, texts};
use crate::raw::{self, packet};
use crate::world::{
    BOTH, address, anyone, assert_alive, breaks, fresh, listener, publish, refused, subscribe_all,
};

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;

#[test]
fn a_malformed_packet_or_protocol_error_closes_the_connection() {
    for version in BOTH {
        let codes = [MALFORMED, PROTOCOL_ERROR];
        for bytes in [
            vec![0x00, 0x00],
            packet(0x40, &[]),
            packet(0x40, &[0]),
            packet(0x50, &[1]),
            packet(0x62, &[]),
            packet(0x70, &[9]),
            packet(0x82, &[0, 1]),
            packet(0xC0, &[1, 2, 3]),
            packet(0x32, &[0, 1, b't']),
            packet(0x20, &[0, 0]),
        ] {
            breaks(version, &bytes, &codes);
        }
    }
}

#[test]
fn others_are_not_concerned() {
    for version in BOTH {
        let topic = fresh("others");
        let mut other = listener(version, &topic, 1);
        breaks(version, &[0x00, 0x00], &[MALFORMED]);
        assert_alive(&mut other);
        publish(version, &topic, 1, "x");
        assert_eq!(texts(&collect(&mut other, 1)), ["x"]);
    }
}

#[test]
fn a_session_outlives_an_error_of_its_client() {
    for version in BOTH {
        let (id, topic) = (fresh("outlive"), fresh("outlive"));
        let mut client = connect(address(), &persistent(version, &id));
        let filters = [(topic.as_str(), SubscriptionOptions::qos(1))];
        subscribe_all(&mut client, &filters);
        client.send_raw(&[0x00, 0x00]).unwrap();
        client.expect_closed(crate::peer::PATIENCE).unwrap();
        publish(version, &topic, 1, "x");
        let mut client = connect(address(), &persistent(version, &id));
        assert!(client.connack.session_present);
        assert_eq!(texts(&collect(&mut client, 1)), ["x"]);
    }
}

#[test]
fn a_code_of_0x80_or_more_closes() {
    // `refused` and `breaks` wait for the end of the connection behind the code.
    let level = raw::Connect {
        level: 9,
        ..raw::Connect::new(Version::V5, &fresh("e"))
    };
    assert_eq!(refused(Version::V5, &level.bytes()).unwrap().code, 0x84);
    breaks(Version::V5, &packet(0xC0, &[0]), &[MALFORMED]);
}

#[test]
fn what_came_before_the_error_counts() {
    for version in BOTH {
        let topic = fresh("before");
        let mut witness = listener(version, &topic, 0);
        let mut bytes = raw::publish(version, topic.as_bytes(), b"valid");
        bytes.extend([0x00, 0x00]);
        bytes.extend(raw::publish(version, topic.as_bytes(), b"behind"));
        breaks(version, &bytes, &[MALFORMED]);
        publish(version, &topic, 0, "mark");
        let mut got = texts(&collect(&mut witness, 2));
        got.sort_unstable();
        assert_eq!(got, ["mark", "valid"]);
        witness.expect_nothing(crate::peer::SILENCE).unwrap();
        assert_alive(&mut anyone(version));
    }
}
