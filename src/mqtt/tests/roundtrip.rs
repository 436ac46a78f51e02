//! Whatever is encoded is decoded to the same, in every version; a packet cut short is never
//! taken for a whole one, and one with bytes after its last field is refused.

use super::{ClientPacket, ServerPacket, UNLIMITED, connect, from_client, from_server, packet};
use crate::mqtt::decode_ack::Ack;
use crate::mqtt::decode_auth::Auth;
use crate::mqtt::decode_connect::{Connect, ConnectProperties, Will, WillProperties};
use crate::mqtt::decode_disconnect::Disconnect;
use crate::mqtt::decode_server::ConnAck;
use crate::mqtt::decode_subscribe::{RetainHandling, SubscribeEntry, SubscribeOptions};
use crate::mqtt::encode_ack::{
    encode_pingresp, encode_puback, encode_pubcomp, encode_pubrec, encode_pubrel,
};
use crate::mqtt::encode_client::{
    encode_client_disconnect, encode_connect, encode_pingreq, encode_publish, encode_subscribe,
    encode_unsubscribe,
};
use crate::mqtt::encode_connack::{ConnAckProperties, encode_connack};
use crate::mqtt::encode_disconnect::{encode_auth, encode_disconnect};
use crate::mqtt::encode_publish::{OutgoingPublish, encode_publish_head, publish_wire_len};
use crate::mqtt::encode_suback::{encode_suback, encode_unsuback};
use crate::mqtt::frame::next_frame;
use crate::mqtt::property::{Forwardable, UserProperties, encode_user_property};
use crate::mqtt::qos::QoS;
use crate::mqtt::reason::{
    CONNACK_REASONS, PUBLISH_ANSWER_REASONS, RELEASE_REASONS, ReasonCode, ReasonSet,
    SERVER_DISCONNECT_REASONS, SUBACK_REASONS, UNSUBACK_REASONS,
};
use crate::mqtt::version::Version;
use proptest::option;
use proptest::prelude::*;

fn version() -> impl Strategy<Value = Version> {
    prop::sample::select(&super::VERSIONS[..])
}

fn qos() -> impl Strategy<Value = QoS> {
    prop::sample::select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

/// Mostly short, at times longer than a one-byte length.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "\\PC{0,8}", 1 => "[a-z\u{e4}]{100,200}"]
}

fn topic() -> impl Strategy<Value = String> {
    "[a-z0-9/$ \u{e4}]{1,30}"
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => prop::collection::vec(any::<u8>(), 0..16), 1 => prop::collection::vec(any::<u8>(), 100..300)]
}

fn reason_in(set: ReasonSet) -> impl Strategy<Value = ReasonCode> {
    let codes: Vec<_> = ReasonCode::ALL
        .iter()
        .copied()
        .filter(|&code| set.contains(code))
        .collect();
    prop::sample::select(codes)
}

fn user_block() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec((text(), text()), 0..3).prop_map(|pairs| {
        let mut out = Vec::new();
        for (name, value) in pairs {
            encode_user_property(&mut out, &name, &value);
        }
        out
    })
}

/// Properties to forward, encoded.
fn forwardable() -> impl Strategy<Value = Vec<u8>> {
    let optional = |id: u8, value: Option<Vec<u8>>| {
        value.map_or(Vec::new(), |value| {
            [&[id][..], &super::string(value)].concat()
        })
    };
    (
        option::of(any::<bool>()),
        option::of(text()),
        option::of(topic()),
        option::of(bytes()),
        user_block(),
    )
        .prop_map(move |(format, content, response, correlation, user)| {
            [
                format.map_or(Vec::new(), |format| vec![0x01, u8::from(format)]),
                optional(0x03, content.map(String::into_bytes)),
                user,
                optional(0x08, response.map(String::into_bytes)),
                optional(0x09, correlation),
            ]
            .concat()
        })
}

/// No prefix is a packet, and no packet has bytes after its last field.
fn check_framing(
    out: &[u8],
    accepts: impl Fn(&[u8]) -> bool,
    takes_the_rest: bool,
) -> Result<(), TestCaseError> {
    for end in 0..out.len() {
        prop_assert_eq!(next_frame(&out[..end], UNLIMITED), Ok(None));
    }
    let frame = next_frame(out, UNLIMITED).unwrap().unwrap();
    prop_assert_eq!(frame.wire_len, out.len());
    prop_assert!(accepts(out));
    let longer = packet(out[0], &[frame.body, &[0]]);
    prop_assert_eq!(accepts(&longer), takes_the_rest, "{:02x?}", longer);
    for end in 0..frame.body.len() {
        // A shorter body may be a shorter form or a shorter list, but must not panic.
        accepts(&packet(out[0], &[&frame.body[..end]]));
    }
    Ok(())
}

type OwnedWill = (String, Vec<u8>, QoS, bool, u32, Option<u32>, Vec<u8>);
type OwnedConnectProperties = (
    u32,
    u16,
    Option<u32>,
    u16,
    bool,
    bool,
    Option<(String, Option<Vec<u8>>)>,
    Vec<u8>,
);

fn will() -> impl Strategy<Value = OwnedWill> {
    (
        topic(),
        bytes(),
        qos(),
        any::<bool>(),
        any::<u32>(),
        any::<Option<u32>>(),
        forwardable(),
    )
}

fn connect_properties() -> impl Strategy<Value = OwnedConnectProperties> {
    (
        any::<u32>(),
        1..=u16::MAX,
        option::of(1..=u32::MAX),
        any::<u16>(),
        any::<bool>(),
        any::<bool>(),
        option::of((text(), option::of(bytes()))),
        user_block(),
    )
}

/// The typed fields of what is in `forwardable`, by way of an independent search.
fn will_properties(version: Version, will: &OwnedWill) -> WillProperties<'_> {
    use crate::mqtt::property::Property;
    if !version.is_v5() {
        return WillProperties::default();
    }
    let mut properties = WillProperties {
        delay_interval: will.4,
        message_expiry_interval: will.5,
        user_properties: UserProperties::new(&will.6),
        forwardable: Forwardable::contiguous(&will.6),
        ..WillProperties::default()
    };
    for property in crate::mqtt::property::properties(&will.6) {
        match property {
            Property::PayloadFormatIndicator(value) => {
                properties.payload_format_indicator = Some(value);
            }
            Property::ContentType(value) => properties.content_type = Some(value),
            Property::ResponseTopic(value) => properties.response_topic = Some(value),
            Property::CorrelationData(value) => properties.correlation_data = Some(value),
            _ => {}
        }
    }
    properties
}

fn borrow_connect_properties(
    version: Version,
    owned: &OwnedConnectProperties,
) -> ConnectProperties<'_> {
    if !version.is_v5() {
        return ConnectProperties::default();
    }
    let method = owned.6.as_ref();
    ConnectProperties {
        session_expiry_interval: owned.0,
        receive_maximum: owned.1,
        maximum_packet_size: owned.2,
        topic_alias_maximum: owned.3,
        request_response_information: owned.4,
        request_problem_information: owned.5,
        authentication_method: method.map(|(name, _)| name.as_str()),
        authentication_data: method.and_then(|(_, data)| data.as_deref()),
        user_properties: UserProperties::new(&owned.7),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn connects(
        version in version(),
        (bridge, clean_start, keep_alive) in any::<(bool, bool, u16)>(),
        client_id in "\\PC{1,30}",
        will in option::of(will()),
        (username, password) in (option::of(text()), option::of(bytes())),
        properties in connect_properties(),
    ) {
        let username = username.as_deref();
        let sent = Connect {
            version,
            bridge: bridge && !version.is_v5(),
            clean_start,
            keep_alive,
            client_id: &client_id,
            will: will.as_ref().map(|will| Will {
                topic: &will.0,
                payload: &will.1,
                qos: will.2,
                retain: will.3,
                properties: will_properties(version, will),
            }),
            username,
            password: password.as_deref().filter(|_| username.is_some() || version.is_v5()),
            properties: borrow_connect_properties(version, &properties),
        };
        let mut out = Vec::new();
        encode_connect(&mut out, &sent);
        prop_assert_eq!(connect(&out), Ok(sent));
        check_framing(&out, |bytes| connect(bytes).is_ok(), false)?;
    }

    #[test]
    fn publishes(
        version in version(),
        topic in topic(),
        payload in bytes(),
        qos in qos(),
        (dup, retain, without_topic) in any::<(bool, bool, bool)>(),
        packet_id in 1..=u16::MAX,
        topic_alias in option::of(1..=u16::MAX),
        message_expiry_interval: Option<u32>,
        properties in forwardable(),
        identifiers in prop::collection::vec(1..0x0FFF_FFFF_u32, 0..4),
    ) {
        let v5 = version.is_v5();
        let alias_alone = without_topic && v5 && topic_alias.is_some();
        let sent = OutgoingPublish {
            topic: if alias_alone { "" } else { &topic },
            payload_len: payload.len(),
            qos,
            dup,
            retain,
            packet_id,
            topic_alias,
            message_expiry_interval,
            properties: &properties,
            subscription_identifiers: &identifiers,
        };
        let mut out = vec![0xEE];
        let packet_id_at = encode_publish_head(&mut out, version, &sent);
        out.extend(&payload);
        if let Some(at) = packet_id_at {
            prop_assert_eq!(&out[at..at + 2], &packet_id.to_be_bytes());
        }
        prop_assert_eq!(packet_id_at.is_some(), qos != QoS::AtMostOnce);
        out.remove(0);
        prop_assert_eq!(out.len(), publish_wire_len(version, &sent));

        let Ok(ServerPacket::Publish(got)) = from_server(&out, version) else {
            return Err(TestCaseError::fail(format!("{:?}", from_server(&out, version))));
        };
        let has_id = qos != QoS::AtMostOnce;
        prop_assert_eq!((got.topic, got.payload), (sent.topic, &payload[..]));
        prop_assert_eq!((got.qos, got.dup, got.retain), (qos, dup && has_id, retain));
        prop_assert_eq!(got.packet_id, if has_id { packet_id } else { 0 });
        prop_assert_eq!(got.properties.topic_alias, topic_alias.filter(|_| v5));
        prop_assert_eq!(got.properties.message_expiry_interval, message_expiry_interval.filter(|_| v5));
        let expected: &[u8] = if v5 { &properties } else { &[] };
        prop_assert_eq!(got.properties.forwardable.as_slice(), Some(expected));
        let got_identifiers: Vec<_> = got.properties.subscription_identifiers().collect();
        prop_assert_eq!(&got_identifiers[..], if v5 { &identifiers[..] } else { &[] });
        check_framing(&out, |bytes| from_server(bytes, version).is_ok(), true)?;

        let plain = OutgoingPublish { subscription_identifiers: &[], ..sent };
        let mut out = Vec::new();
        encode_publish(&mut out, version, &plain, &payload);
        prop_assert_eq!(out.len(), publish_wire_len(version, &plain));
        let Ok(ClientPacket::Publish(got)) = from_client(&out, version) else {
            return Err(TestCaseError::fail(format!("{:?}", from_client(&out, version))));
        };
        prop_assert_eq!((got.topic, got.payload), (sent.topic, &payload[..]));
    }

    #[test]
    fn acknowledgements(
        version in version(),
        packet_id in 1..=u16::MAX,
        answer in reason_in(PUBLISH_ANSWER_REASONS),
        release in reason_in(RELEASE_REASONS),
    ) {
        let told = |reason| if version.is_v5() { reason } else { ReasonCode::Success };
        let answer_ack = Ack { packet_id, reason: told(answer) };
        let release_ack = Ack { packet_id, reason: told(release) };
        let mut outs = [const { Vec::new() }; 4];
        encode_puback(&mut outs[0], version, packet_id, answer);
        encode_pubrec(&mut outs[1], version, packet_id, answer);
        encode_pubrel(&mut outs[2], version, packet_id, release);
        encode_pubcomp(&mut outs[3], version, packet_id, release);
        let client = [
            ClientPacket::PubAck(answer_ack),
            ClientPacket::PubRec(answer_ack),
            ClientPacket::PubRel(release_ack),
            ClientPacket::PubComp(release_ack),
        ];
        let server = [
            ServerPacket::PubAck(answer_ack),
            ServerPacket::PubRec(answer_ack),
            ServerPacket::PubRel(release_ack),
            ServerPacket::PubComp(release_ack),
        ];
        for (at, out) in outs.iter().enumerate() {
            prop_assert_eq!(from_client(out, version), Ok(client[at]));
            prop_assert_eq!(from_server(out, version), Ok(server[at]));
            // In 5.0 one more byte is the reason or the length of the properties.
            check_framing(out, |bytes| from_client(bytes, version).is_ok(), version.is_v5())?;
            let first = out[0];
            let garbage = packet(first, &[&packet_id.to_be_bytes(), &[0, 0, 0]]);
            prop_assert!(from_client(&garbage, version).is_err());
        }
    }

    #[test]
    fn subscribes(
        version in version(),
        packet_id in 1..=u16::MAX,
        identifier in option::of(1..0x0FFF_FFFF_u32),
        entries in prop::collection::vec(("([a-z]{1,3}|\\+)(/[a-z]{0,3}|/\\+){0,3}(/#)?", qos(), any::<(bool, bool)>(), 0..3_u8), 1..6),
    ) {
        let v5 = version.is_v5();
        let sent: Vec<_> = entries
            .iter()
            .map(|(filter, qos, (no_local, retain_as_published), handling)| SubscribeEntry {
                filter,
                options: if v5 {
                    SubscribeOptions {
                        qos: *qos,
                        no_local: *no_local,
                        retain_as_published: *retain_as_published,
                        retain_handling: match handling {
                            0 => RetainHandling::SendAlways,
                            1 => RetainHandling::SendIfNew,
                            _ => RetainHandling::DoNotSend,
                        },
                    }
                } else {
                    SubscribeOptions { qos: *qos, ..SubscribeOptions::default() }
                },
            })
            .collect();
        let mut out = Vec::new();
        encode_subscribe(&mut out, version, packet_id, identifier, &sent);
        let Ok(ClientPacket::Subscribe(got)) = from_client(&out, version) else {
            return Err(TestCaseError::fail(format!("{:?}", from_client(&out, version))));
        };
        prop_assert_eq!(got.packet_id, packet_id);
        prop_assert_eq!(got.subscription_identifier, identifier.filter(|_| v5));
        prop_assert_eq!(got.filters().collect::<Vec<_>>(), sent.clone());
        check_framing(&out, |bytes| from_client(bytes, version).is_ok(), false)?;

        let filters: Vec<_> = sent.iter().map(|entry| entry.filter).collect();
        let mut out = Vec::new();
        encode_unsubscribe(&mut out, version, packet_id, &filters);
        let Ok(ClientPacket::Unsubscribe(got)) = from_client(&out, version) else {
            return Err(TestCaseError::fail(format!("{:?}", from_client(&out, version))));
        };
        prop_assert_eq!(got.filters().collect::<Vec<_>>(), filters);
        check_framing(&out, |bytes| from_client(bytes, version).is_ok(), false)?;
    }

    #[test]
    fn subscription_answers(
        version in version(),
        packet_id in 1..=u16::MAX,
        granted in prop::collection::vec(reason_in(SUBACK_REASONS), 1..5),
        ended in prop::collection::vec(reason_in(UNSUBACK_REASONS), 1..5),
    ) {
        let granted: Vec<u8> = granted.into_iter().map(ReasonCode::as_u8).collect();
        let ended: Vec<u8> = ended.into_iter().map(ReasonCode::as_u8).collect();
        let (mut suback, mut unsuback) = (Vec::new(), Vec::new());
        encode_suback(&mut suback, version, packet_id, &granted);
        encode_unsuback(&mut unsuback, version, packet_id, &ended);
        let (Ok(ServerPacket::SubAck(sub)), Ok(ServerPacket::UnsubAck(unsub))) =
            (from_server(&suback, version), from_server(&unsuback, version))
        else {
            return Err(TestCaseError::fail("not decoded"));
        };
        prop_assert_eq!((sub.packet_id, unsub.packet_id), (packet_id, packet_id));
        if version.is_v5() {
            prop_assert_eq!(sub.reasons, granted);
            prop_assert_eq!(unsub.reasons, ended);
        } else {
            let expected: Vec<u8> = granted.iter().map(|&code| code.min(0x80)).collect();
            prop_assert_eq!(sub.reasons, expected);
            prop_assert!(unsub.reasons.is_empty());
        }
        check_framing(&suback, |bytes| from_server(bytes, version).is_ok(), true)?;
        check_framing(&unsuback, |bytes| from_server(bytes, version).is_ok(), version.is_v5())?;
    }

    #[test]
    fn connacks(
        version in version(),
        session_present: bool,
        reason in reason_in(CONNACK_REASONS),
        (session_expiry_interval, topic_alias_maximum, server_keep_alive) in any::<(Option<u32>, Option<u16>, Option<u16>)>(),
        receive_maximum in option::of(1..=u16::MAX),
        maximum_packet_size in option::of(1..=u32::MAX),
        maximum_qos in option::of(0..=1_u8),
        flags in any::<[Option<bool>; 4]>(),
        texts in prop::collection::vec(option::of(text()), 5),
        authentication_data in option::of(bytes()),
        user in user_block(),
    ) {
        let properties = ConnAckProperties {
            session_expiry_interval,
            receive_maximum,
            maximum_qos: maximum_qos.and_then(QoS::from_u8),
            retain_available: flags[0],
            maximum_packet_size,
            assigned_client_identifier: texts[0].as_deref(),
            topic_alias_maximum,
            reason_string: texts[1].as_deref(),
            user_properties: UserProperties::new(&user),
            wildcard_subscription_available: flags[1],
            subscription_identifier_available: flags[2],
            shared_subscription_available: flags[3],
            server_keep_alive,
            response_information: texts[2].as_deref(),
            server_reference: texts[3].as_deref(),
            authentication_method: texts[4].as_deref(),
            authentication_data: authentication_data.as_deref(),
        };
        let mut out = Vec::new();
        encode_connack(&mut out, version, session_present, reason, &properties);
        let Ok(ServerPacket::ConnAck(got)) = from_server(&out, version) else {
            return Err(TestCaseError::fail(format!("{:?}", from_server(&out, version))));
        };
        let present = session_present && !reason.is_error() && version != Version::V31;
        prop_assert_eq!(got.session_present, present);
        if version.is_v5() {
            prop_assert_eq!(got, ConnAck { session_present: present, reason, properties });
        } else {
            prop_assert_eq!(got.reason.connack_return_code(), reason.connack_return_code());
            prop_assert_eq!(got.properties, ConnAckProperties::default());
            prop_assert_eq!(out.len(), 4);
        }
        check_framing(&out, |bytes| from_server(bytes, version).is_ok(), false)?;
    }

    #[test]
    fn disconnects(
        version in version(),
        reason in reason_in(SERVER_DISCONNECT_REASONS),
        (reason_string, server_reference) in (option::of(text()), option::of(text())),
        session_expiry_interval: Option<u32>,
        user in user_block(),
    ) {
        let mut out = Vec::new();
        encode_disconnect(&mut out, reason, reason_string.as_deref(), server_reference.as_deref());
        let sent = Disconnect {
            reason,
            reason_string: reason_string.as_deref(),
            server_reference: server_reference.as_deref(),
            ..Disconnect::default()
        };
        prop_assert_eq!(from_server(&out, Version::V5), Ok(ServerPacket::Disconnect(sent)));
        let short = out.len() <= 3;
        check_framing(&out, |bytes| from_server(bytes, Version::V5).is_ok(), short)?;

        let sent = Disconnect {
            reason: ReasonCode::DisconnectWithWillMessage,
            session_expiry_interval,
            user_properties: UserProperties::new(&user),
            ..sent
        };
        let mut out = Vec::new();
        encode_client_disconnect(&mut out, version, &sent);
        let expected = if version.is_v5() { sent } else { Disconnect::default() };
        prop_assert_eq!(from_client(&out, version), Ok(ClientPacket::Disconnect(expected)));
    }

    #[test]
    fn auths(
        continues: bool,
        method in text(),
        data in option::of(bytes()),
        reason_string in option::of(text()),
        user in user_block(),
    ) {
        let sent = Auth {
            reason: if continues { ReasonCode::ContinueAuthentication } else { ReasonCode::ReAuthenticate },
            authentication_method: Some(&method),
            authentication_data: data.as_deref(),
            reason_string: reason_string.as_deref(),
            user_properties: UserProperties::new(&user),
        };
        let mut out = Vec::new();
        encode_auth(&mut out, &sent);
        prop_assert_eq!(from_client(&out, Version::V5), Ok(ClientPacket::Auth(sent)));
        let success = Auth { reason: ReasonCode::Success, ..sent };
        let mut from_the_server = Vec::new();
        encode_auth(&mut from_the_server, &success);
        prop_assert_eq!(from_server(&from_the_server, Version::V5), Ok(ServerPacket::Auth(success)));
        check_framing(&out, |bytes| from_client(bytes, Version::V5).is_ok(), false)?;
    }
}

#[test]
fn pings() {
    let (mut request, mut response) = (Vec::new(), Vec::new());
    encode_pingreq(&mut request);
    encode_pingresp(&mut response);
    for version in super::VERSIONS {
        assert_eq!(from_client(&request, version), Ok(ClientPacket::PingReq));
        assert_eq!(from_server(&response, version), Ok(ServerPacket::PingResp));
    }
}

#[test]
fn short_forms() {
    let mut out = Vec::new();
    encode_puback(&mut out, Version::V5, 0x0102, ReasonCode::Success);
    encode_pubrel(
        &mut out,
        Version::V5,
        1,
        ReasonCode::PacketIdentifierNotFound,
    );
    encode_puback(&mut out, Version::V311, 1, ReasonCode::NotAuthorized);
    assert_eq!(out, [0x40, 2, 1, 2, 0x62, 3, 0, 1, 0x92, 0x40, 2, 0, 1]);
    let mut out = Vec::new();
    encode_disconnect(&mut out, ReasonCode::Success, None, None);
    encode_disconnect(&mut out, ReasonCode::ServerShuttingDown, None, None);
    assert_eq!(out, [0xE0, 0, 0xE0, 1, 0x8B]);
    let mut out = Vec::new();
    let defaults = ConnAckProperties::default();
    encode_connack(&mut out, Version::V5, true, ReasonCode::Success, &defaults);
    encode_connack(
        &mut out,
        Version::V311,
        true,
        ReasonCode::Success,
        &defaults,
    );
    encode_connack(&mut out, Version::V31, true, ReasonCode::Success, &defaults);
    encode_connack(
        &mut out,
        Version::V311,
        true,
        ReasonCode::BadUserNameOrPassword,
        &defaults,
    );
    let expected = [
        0x20, 3, 1, 0, 0, 0x20, 2, 1, 0, 0x20, 2, 0, 0, 0x20, 2, 0, 4,
    ];
    assert_eq!(out, expected);
}
