//! Acknowledgements, CONNACK, PINGREQ, DISCONNECT and AUTH.

use super::{VERSIONS, assert_error, block, from_client, from_server, packet, string};
use crate::mqtt::decode_ack::Ack;
use crate::mqtt::packet::ClientPacket;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::version::Version::{self, V5, V31, V311};

const ACKS: [u8; 4] = [0x40, 0x50, 0x62, 0x70];

fn ack(bytes: &[u8], version: Version) -> Ack {
    match from_client(bytes, version) {
        Ok(
            ClientPacket::PubAck(ack)
            | ClientPacket::PubRec(ack)
            | ClientPacket::PubRel(ack)
            | ClientPacket::PubComp(ack),
        ) => ack,
        other => panic!("not an acknowledgement: {other:?}"),
    }
}

#[test]
fn forms_of_an_acknowledgement() {
    let success = Ack {
        packet_id: 0x0102,
        reason: ReasonCode::Success,
    };
    for first in ACKS {
        for version in VERSIONS {
            assert_eq!(ack(&[first, 2, 1, 2], version), success);
        }
        let failure = if first < 0x60 { 0x87 } else { 0x92 };
        for body in [
            vec![1, 2, failure],
            vec![1, 2, failure, 0],
            [&[1, 2, failure][..], &block(&[&[0x1F], &string("why")])].concat(),
        ] {
            let bytes = packet(first, &[&body]);
            assert_eq!(ack(&bytes, V5).reason.as_u8(), failure);
        }
        assert_eq!(ack(&[first, 3, 1, 2, 0], V5), success);
    }
}

#[test]
fn refused_acknowledgements() {
    for first in ACKS {
        for version in VERSIONS {
            let zero = [first, 2, 0, 0];
            assert_error(from_client(&zero, version), 0x82, "MQTT-2.2.1-3", &zero);
            assert_error(
                from_client(&[first, 1, 1], version),
                0x81,
                "1.2",
                &[first, 1, 1],
            );
        }
        let three = [first, 3, 0, 1, 0];
        assert_error(from_client(&three, V31), 0x81, "2.1.4", &three);
        assert_error(from_client(&three, V311), 0x81, "2.1.4", &three);
        let other_packets = if first < 0x60 { 0x92 } else { 0x87 };
        for reason in [other_packets, 0x01, 0x8D, 0x05, 0xFF] {
            let bytes = [first, 3, 0, 1, reason];
            assert_error(from_client(&bytes, V5), 0x82, "2.4", &bytes);
        }
        let twice = block(&[&[0x1F], &string("a"), &[0x1F], &string("b")]);
        for (tail, reason, rule) in [
            (twice, 0x82, "2.2.2.2"),
            (block(&[&[0x03], &string("a")]), 0x81, "2.2.2.2"),
            (vec![1], 0x81, "1.2"),
            (vec![0, 0], 0x81, "2.1.4"),
        ] {
            let bytes = packet(first, &[&[0, 1, 0], &tail]);
            assert_error(from_client(&bytes, V5), reason, rule, &bytes);
        }
    }
}

#[test]
fn ping_and_disconnect_have_no_body_in_3_x() {
    for version in VERSIONS {
        assert_eq!(from_client(&[0xC0, 0], version), Ok(ClientPacket::PingReq));
        assert_error(
            from_client(&[0xC0, 1, 0], version),
            0x81,
            "2.1.4",
            &[0xC0, 1, 0],
        );
        let normal = from_client(&[0xE0, 0], version);
        assert!(matches!(normal, Ok(ClientPacket::Disconnect(d)) if !d.reason.is_error()));
    }
    for version in [V31, V311] {
        assert_error(
            from_client(&[0xE0, 1, 0], version),
            0x81,
            "2.1.4",
            &[0xE0, 1, 0],
        );
    }
}

#[test]
fn disconnect_of_5_0() {
    let bytes = packet(
        0xE0,
        &[
            &[0x04],
            &block(&[&[0x11, 0, 0, 0, 7], &[0x1F], &string("bye")]),
        ],
    );
    let Ok(ClientPacket::Disconnect(disconnect)) = from_client(&bytes, V5) else {
        panic!("not accepted");
    };
    assert_eq!(disconnect.reason, ReasonCode::DisconnectWithWillMessage);
    assert_eq!(disconnect.session_expiry_interval, Some(7));
    assert_eq!(disconnect.reason_string, Some("bye"));
    assert!(from_client(&[0xE0, 1, 0], V5).is_ok());
    assert!(from_client(&[0xE0, 2, 0, 0], V5).is_ok());

    let session_expiry = packet(0xE0, &[&[0x00], &block(&[&[0x11, 0, 0, 0, 7]])]);
    assert_error(
        from_server(&session_expiry, V5),
        0x81,
        "2.2.2.2",
        &session_expiry,
    );
    for (bytes, reason, rule) in [
        (vec![0xE0, 1, 0x8B], 0x82, "2.4"),
        (vec![0xE0, 1, 0x01], 0x82, "2.4"),
        (
            packet(0xE0, &[&[0], &block(&[&[0x21, 0, 1]])]),
            0x81,
            "2.2.2.2",
        ),
        (vec![0xE0, 3, 0, 0, 0], 0x81, "2.1.4"),
        (vec![0xE0, 2, 0, 1], 0x81, "1.2"),
    ] {
        assert_error(from_client(&bytes, V5), reason, rule, &bytes);
    }
    assert_error(
        from_server(&[0xE0, 1, 0x04], V5),
        0x82,
        "2.4",
        &[0xE0, 1, 0x04],
    );
}

#[test]
fn auth() {
    let method = block(&[&[0x15], &string("SCRAM"), &[0x16], &string([0])]);
    let bytes = packet(0xF0, &[&[0x18], &method]);
    let Ok(ClientPacket::Auth(auth)) = from_client(&bytes, V5) else {
        panic!("not accepted");
    };
    assert_eq!(auth.reason, ReasonCode::ContinueAuthentication);
    assert_eq!(auth.authentication_method, Some("SCRAM"));
    assert_eq!(auth.authentication_data, Some(&[0][..]));
    assert!(from_server(&[0xF0, 0], V5).is_ok());
    for (bytes, reason, rule) in [
        (vec![0xF0, 0], 0x82, "MQTT-3.15.2-1"),
        (packet(0xF0, &[&[0x00], &method]), 0x82, "2.4"),
        (vec![0xF0, 2, 0x18, 0], 0x82, "3.15.2.2.2"),
        (vec![0xF0, 1, 0x18], 0x81, "1.2"),
        (packet(0xF0, &[&[0x18], &method, &[0]]), 0x81, "2.1.4"),
        (
            packet(0xF0, &[&[0x18], &block(&[&[0x21, 0, 1]])]),
            0x81,
            "2.2.2.2",
        ),
    ] {
        assert_error(from_client(&bytes, V5), reason, rule, &bytes);
    }
    let again = packet(0xF0, &[&[0x19], &method]);
    assert!(from_client(&again, V5).is_ok());
    assert_error(from_server(&again, V5), 0x82, "2.4", &again);
}

#[test]
fn refused_connacks() {
    for (version, bytes, reason, rule) in [
        (V311, vec![0x20, 2, 2, 0], 0x81, "MQTT-3.2.2-1"),
        (V311, vec![0x20, 2, 0, 6], 0x81, "3.2.2.3"),
        (V311, vec![0x20, 2, 1, 5], 0x82, "MQTT-3.2.2-6"),
        (V311, vec![0x20, 3, 0, 0, 0], 0x81, "2.1.4"),
        (V5, vec![0x20, 2, 0, 0], 0x81, "1.2"),
        (V5, vec![0x20, 3, 0, 0x8E, 0], 0x82, "2.4"),
        (V5, vec![0x20, 3, 1, 0x87, 0], 0x82, "MQTT-3.2.2-6"),
        (V5, vec![0x20, 5, 0, 0, 2, 0x24, 2], 0x82, "2.2.2.2"),
        (V5, vec![0x20, 4, 0, 0, 0, 0], 0x81, "2.1.4"),
    ] {
        assert_error(from_server(&bytes, version), reason, rule, &bytes);
    }
}
