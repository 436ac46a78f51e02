//! Authentication as the shard sees it: clients that wait, AUTH packets, authenticating again.

use super::lines::read_lines;
use super::support::{Broker, Bye, Client, Packet, ping, publish, rules, run_of};
use super::support::{subscribe, v5, v311};
use crate::base::envelope::PeerNames;
use crate::config::CertName;
use crate::gate::authn::{AuthnAnswer, AuthnRequest, Grant, Place, Secret, Ticket, Verdict};
use crate::metrics::{Counter, Latency};
use crate::mqtt::decode_auth::Auth;
use crate::mqtt::decode_connect::{Connect, ConnectProperties};
use crate::mqtt::encode_client::encode_connect;
use crate::mqtt::encode_disconnect::encode_auth;
use crate::mqtt::property::UserProperties;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::version::Version;
use crate::shard::auth::ListenerAuthn;
use crate::shard::close::CloseReason;
use crate::shard::handshake::{Handover, Handshake, Step};
use crate::shard::rules::Rules;

const METHOD: &str = "M";

fn asking() -> Rules {
    let mut rules = rules();
    rules.authn.listeners = [ListenerAuthn::Ask].into();
    rules.authn.methods = [METHOD.into()].into();
    rules
}

fn broker() -> Broker {
    Broker::with(1, asking())
}

fn named(version: Version, id: &str, user: Option<&str>, password: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let connect = Connect {
        version,
        bridge: false,
        clean_start: true,
        keep_alive: 0,
        client_id: id,
        will: None,
        username: user,
        password: user.map(|_| password.as_bytes()),
        properties: ConnectProperties::default(),
    };
    encode_connect(&mut out, &connect);
    out
}

fn begin(broker: &Broker) -> Handshake {
    let peer = "127.0.0.1:4000".parse().unwrap();
    broker.shard.begin_handshake(0, peer)
}

/// A client that has sent this and is asked about.
fn waiting(broker: &mut Broker, bytes: &[u8]) -> (Handshake, Box<AuthnRequest>) {
    let mut handshake = begin(broker);
    match broker.shard.handshake_bytes(&mut handshake, bytes) {
        Step::Ask(request) => (handshake, request),
        step => panic!("no question: {step:?}"),
    }
}

fn home(step: Step) -> Box<Handover> {
    match step {
        Step::Home(_, handover) => handover,
        step => panic!("not accepted: {step:?}"),
    }
}

fn refused(step: Step, version: Version) -> Vec<String> {
    match step {
        Step::Refuse(last) => read_lines(&last, version),
        step => panic!("not refused: {step:?}"),
    }
}

fn allow() -> Verdict {
    Verdict::Allow(Box::default())
}

fn method_client() -> Client<'static> {
    Client {
        auth_method: Some(METHOD),
        ..v5("m")
    }
}

fn auth(reason: ReasonCode, method: &str, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let auth = Auth {
        reason,
        authentication_method: Some(method),
        authentication_data: Some(data),
        reason_string: None,
        user_properties: UserProperties::default(),
    };
    encode_auth(&mut out, &auth);
    out
}

fn go_on(data: &[u8], state: &[u8]) -> Verdict {
    Verdict::Continue {
        data: data.to_vec(),
        state: Secret::new(state),
    }
}

const CONTINUE: ReasonCode = ReasonCode::ContinueAuthentication;
const AGAIN: ReasonCode = ReasonCode::ReAuthenticate;

#[test]
fn a_client_waits_and_enters_with_what_it_was_granted() {
    let mut broker = broker();
    let mut bytes = named(Version::V5, "a", Some("u"), "secret-word");
    bytes.extend(run_of(&[&ping(), &subscribe(1, &[("t", 0)])]));
    let (mut handshake, request) = waiting(&mut broker, &bytes);
    assert_eq!(request.client_id, "a");
    assert_eq!(request.username.as_deref(), Some("u"));
    assert_eq!(request.password.as_ref().unwrap().bytes(), b"secret-word");
    assert!(!format!("{request:?}").contains("secret-word"));
    assert!(handshake.waits_until_ms().is_some() && handshake.awaits(request.ticket.serial));
    let grant = Grant {
        superuser: true,
        ..Grant::default()
    };
    let verdict = Verdict::Allow(Box::new(grant));
    let handover = home(broker.shard.handshake_answer(&mut handshake, verdict));
    let word = b"secret-word";
    assert!(!handover.received.windows(word.len()).any(|w| w == word));
    let slot = broker.arrive(handover, Version::V5);
    assert_eq!(broker.sent(slot), ["connack", "pingresp", "suback 1 [0]"]);
    let identity = broker.shard.identity(slot).unwrap();
    assert!(identity.superuser && identity.username.as_deref() == Some("u"));
    assert_eq!(broker.count(Counter::AuthenticationSuccess), 1);
    assert_eq!(broker.count(Counter::ClientAuthAnonymous), 0);
    assert_eq!(broker.shard.authn_waiting(), 0);
}

#[test]
fn every_refusal_has_its_code_in_every_version() {
    for (verdict, v5_code, v3_code) in [
        (
            Verdict::Deny(ReasonCode::BadUserNameOrPassword),
            "0x86",
            "0x86",
        ),
        (Verdict::Deny(ReasonCode::NotAuthorized), "0x87", "0x87"),
        (Verdict::Busy, "0x97", "0x88"),
        (Verdict::Unavailable, "0x88", "0x88"),
    ] {
        for (version, code) in [(Version::V5, v5_code), (Version::V311, v3_code)] {
            let mut broker = broker();
            let bytes = named(version, "a", Some("u"), "p");
            let (mut handshake, _) = waiting(&mut broker, &bytes);
            let verdict = match &verdict {
                Verdict::Deny(code) => Verdict::Deny(*code),
                Verdict::Busy => Verdict::Busy,
                _ => Verdict::Unavailable,
            };
            let step = broker.shard.handshake_answer(&mut handshake, verdict);
            assert_eq!(refused(step, version), [format!("connack {code}")]);
            assert_eq!(broker.shard.authn_waiting(), 0);
        }
    }
}

#[test]
fn so_many_wait_and_no_more() {
    let mut rules = asking();
    rules.authn.waiting_max = 3000;
    let mut broker = Broker::with(1, rules);
    let bytes = named(Version::V5, "a", None, "");
    let mut open: Vec<Handshake> = (0..3000).map(|_| waiting(&mut broker, &bytes).0).collect();
    let mut next = begin(&broker);
    let step = broker.shard.handshake_bytes(&mut next, &bytes);
    assert_eq!(refused(step, Version::V5), ["connack 0x97"]);
    assert_eq!(broker.count(Counter::AuthenticationRefusedBusy), 1);
    // One goes while it waits: there is room for another.
    broker
        .shard
        .handshake_over(&mut open[0], CloseReason::Closed);
    let (_, request) = waiting(&mut broker, &bytes);
    assert_eq!(request.ticket.serial, 3001);
    assert_eq!(broker.shard.authn_waiting(), 3000);
}

#[test]
fn what_needs_no_question_is_decided_at_once() {
    for (authn, user, want) in [
        (ListenerAuthn::Off, None, Ok(())),
        (ListenerAuthn::Unset, Some("u"), Ok(())),
        (ListenerAuthn::AskNamed, None, Err("connack 0x87")),
    ] {
        let mut rules = asking();
        rules.authn.listeners = [authn].into();
        let mut broker = Broker::with(1, rules);
        let mut handshake = begin(&broker);
        let bytes = named(Version::V5, "a", user, "p");
        let step = broker.shard.handshake_bytes(&mut handshake, &bytes);
        match want {
            Ok(()) => {
                let identity = home(step).identity;
                let username = identity.and_then(|identity| identity.username);
                assert_eq!(username.as_deref(), user);
                assert_eq!(broker.count(Counter::AuthenticationSuccessAnonymous), 1);
            }
            Err(line) => {
                assert_eq!(refused(step, Version::V5), [line]);
                assert_eq!(broker.count(Counter::AuthenticationFailure), 1);
            }
        }
    }
}

#[test]
fn names_come_from_user_name_and_certificate() {
    let names = PeerNames {
        common_name: Some("cn".into()),
        subject: Some("CN=cn,O=o".into()),
        ..PeerNames::default()
    };
    type Change = fn(&mut Rules);
    let cases: [(Change, &str, &str); 4] = [
        (|_| {}, "a", "u"),
        (
            |rules| rules.authn.use_username_as_clientid = true,
            "u",
            "u",
        ),
        (
            |rules| rules.authn.peer_cert_as_username = Some(CertName::Cn),
            "a",
            "cn",
        ),
        (
            |rules| {
                rules.authn.peer_cert_as_username = Some(CertName::Dn);
                rules.authn.peer_cert_as_clientid = Some(CertName::Cn);
            },
            "cn",
            "CN=cn,O=o",
        ),
    ];
    for (change, client_id, username) in cases {
        let mut rules = asking();
        change(&mut rules);
        let mut broker = Broker::with(1, rules);
        let mut handshake = begin(&broker);
        handshake.peer_names = Some(Box::new(names.clone()));
        let bytes = named(Version::V311, "a", Some("u"), "p");
        let Step::Ask(request) = broker.shard.handshake_bytes(&mut handshake, &bytes) else {
            panic!("no question");
        };
        assert_eq!(request.client_id, client_id);
        assert_eq!(request.username.as_deref(), Some(username));
    }
}

#[test]
fn a_method_goes_step_by_step() {
    let mut broker = broker();
    let (mut handshake, request) = waiting(&mut broker, &method_client().bytes());
    let exchange = request.exchange.unwrap();
    assert_eq!((&*exchange.method, exchange.again), (METHOD, false));
    let step = broker
        .shard
        .handshake_answer(&mut handshake, go_on(b"challenge", b"state"));
    let Step::Say(said) = step else {
        panic!("nothing is said: {step:?}");
    };
    assert_eq!(read_lines(&said, Version::V5), ["auth"]);
    assert!(handshake.waits_until_ms().is_none());
    let bytes = auth(CONTINUE, METHOD, b"proof");
    // In pieces, as a slow client sends it.
    let step = broker.shard.handshake_bytes(&mut handshake, &bytes[..4]);
    assert!(matches!(step, Step::Wait), "{step:?}");
    let Step::Ask(request) = broker.shard.handshake_bytes(&mut handshake, &bytes[4..]) else {
        panic!("no question");
    };
    let exchange = request.exchange.unwrap();
    assert_eq!(exchange.data, b"proof");
    assert_eq!(exchange.state.unwrap().bytes(), b"state");
    let grant = Grant {
        data: Some(b"final".to_vec()),
        ..Grant::default()
    };
    let verdict = Verdict::Allow(Box::new(grant));
    let handover = home(broker.shard.handshake_answer(&mut handshake, verdict));
    let slot = broker.arrive(handover, Version::V5);
    let connack = broker.raw(slot);
    assert!(connack.windows(5).any(|w| w == b"final"));
    assert!(connack.windows(4).any(|w| w == [0x15, 0, 1, b'M']));
}

#[test]
fn a_method_is_held_to_the_protocol() {
    let cases: [(&str, Vec<u8>, Option<&str>); 6] = [
        (
            "another method",
            auth(CONTINUE, "N", b""),
            Some("connack 0x8C"),
        ),
        (
            "another reason",
            auth(AGAIN, METHOD, b""),
            Some("connack 0x82"),
        ),
        ("no method", vec![0xF0, 2, 0x18, 0], Some("connack 0x82")),
        ("no AUTH", ping(), Some("connack 0x82")),
        (
            "a goodbye",
            Bye(ReasonCode::Success, None).bytes(Version::V5),
            None,
        ),
        ("no packet", vec![0x00, 0x00], Some("connack 0x81")),
    ];
    for (what, bytes, want) in cases {
        let mut broker = broker();
        let (mut handshake, _) = waiting(&mut broker, &method_client().bytes());
        broker
            .shard
            .handshake_answer(&mut handshake, go_on(b"", b""));
        let step = broker.shard.handshake_bytes(&mut handshake, &bytes);
        let said = refused(step, Version::V5);
        assert_eq!(said.first().map(String::as_str), want, "{what}");
        assert_eq!(broker.shard.authn_waiting(), 0);
    }
    // Something behind CONNECT, before the server has answered [MQTT-3.1.2-30].
    let mut broker = broker();
    let mut bytes = method_client().bytes();
    bytes.extend(ping());
    let (mut handshake, _) = waiting(&mut broker, &bytes);
    let step = broker
        .shard
        .handshake_answer(&mut handshake, go_on(b"", b""));
    assert_eq!(refused(step, Version::V5), ["connack 0x82"]);
}

#[test]
fn an_endless_exchange_ends() {
    let mut broker = broker();
    let (mut handshake, _) = waiting(&mut broker, &method_client().bytes());
    let bytes = auth(CONTINUE, METHOD, b"");
    for _ in 1..crate::base::limits::AUTHN_STEPS_MAX {
        broker
            .shard
            .handshake_answer(&mut handshake, go_on(b"", b""));
        let step = broker.shard.handshake_bytes(&mut handshake, &bytes);
        assert!(matches!(step, Step::Ask(_)), "{step:?}");
    }
    broker
        .shard
        .handshake_answer(&mut handshake, go_on(b"", b""));
    let step = broker.shard.handshake_bytes(&mut handshake, &bytes);
    assert_eq!(refused(step, Version::V5), ["connack 0x82"]);
}

#[test]
fn an_unknown_method_is_refused() {
    let mut broker = broker();
    let mut handshake = begin(&broker);
    let client = Client {
        auth_method: Some("other"),
        ..v5("m")
    };
    let step = broker
        .shard
        .handshake_bytes(&mut handshake, &client.bytes());
    assert_eq!(refused(step, Version::V5), ["connack 0x8C"]);
}

/// A client that was let in by a method.
fn let_in(broker: &mut Broker, grant: Grant) -> u32 {
    let (mut handshake, _) = waiting(broker, &method_client().bytes());
    let verdict = Verdict::Allow(Box::new(grant));
    let handover = home(broker.shard.handshake_answer(&mut handshake, verdict));
    let slot = broker.arrive(handover, Version::V5);
    assert_eq!(broker.sent(slot), ["connack"]);
    slot
}

fn asked(broker: &mut Broker) -> Ticket {
    broker.run();
    let request = broker.questions.pop().expect("a question");
    assert!(request.exchange.is_some_and(|exchange| exchange.again));
    request.ticket
}

fn answer(broker: &mut Broker, ticket: Ticket, verdict: Verdict) {
    broker
        .shard
        .connection_answer(AuthnAnswer { ticket, verdict });
    broker.run();
}

#[test]
fn a_client_authenticates_again_while_messages_go_on() {
    let mut broker = broker();
    let slot = let_in(&mut broker, Grant::default());
    assert_eq!(
        broker.ask(slot, &subscribe(1, &[("t", 0)])),
        ["suback 1 [0]"]
    );
    broker.receive(slot, &auth(AGAIN, METHOD, b"first"));
    let ticket = asked(&mut broker);
    assert_eq!(ticket.place, Place::Connection(slot));
    assert_eq!(
        broker.ask(slot, &publish("t", "between")),
        ["publish t=between"]
    );
    answer(&mut broker, ticket, go_on(b"c", b"s"));
    assert_eq!(broker.sent(slot), ["auth"]);
    broker.receive(slot, &auth(CONTINUE, METHOD, b"proof"));
    let ticket = asked(&mut broker);
    let grant = Grant {
        superuser: true,
        ..Grant::default()
    };
    answer(&mut broker, ticket, Verdict::Allow(Box::new(grant)));
    assert_eq!(broker.sent(slot), ["auth"]);
    assert!(broker.shard.identity(slot).unwrap().superuser);
    assert_eq!(broker.shard.authn_waiting(), 0);
    assert_eq!(broker.count(Counter::PacketsAuthSent), 2);
    assert_eq!(broker.count(Counter::PacketsAuthReceived), 2);
}

#[test]
fn who_fails_to_authenticate_again_is_disconnected() {
    for (verdict, want) in [
        (
            Verdict::Deny(ReasonCode::BadUserNameOrPassword),
            "disconnect 0x87",
        ),
        (Verdict::Busy, "disconnect 0x97"),
        (Verdict::Unavailable, "disconnect 0x80"),
    ] {
        let mut broker = broker();
        let slot = let_in(&mut broker, Grant::default());
        broker.receive(slot, &auth(AGAIN, METHOD, b""));
        let ticket = asked(&mut broker);
        answer(&mut broker, ticket, verdict);
        assert_eq!(broker.sent(slot), [want]);
        assert_eq!(broker.shard.authn_waiting(), 0);
    }
}

#[test]
fn authenticating_again_is_held_to_the_protocol() {
    for (bytes, want) in [
        (auth(AGAIN, "N", b""), "disconnect 0x8C"),
        (auth(CONTINUE, METHOD, b""), "disconnect 0x82"),
        (vec![0xF0, 2, 0x19, 0], "disconnect 0x82"),
        // A second one before the first is over.
        (
            [auth(AGAIN, METHOD, b""), auth(AGAIN, METHOD, b"")].concat(),
            "disconnect 0x82",
        ),
    ] {
        let mut broker = broker();
        let slot = let_in(&mut broker, Grant::default());
        assert_eq!(broker.ask(slot, &bytes), [want]);
        assert_eq!(broker.shard.authn_waiting(), 0);
    }
    let mut broker = broker();
    let (mut handshake, _) = waiting(&mut broker, &v311("a", true).bytes());
    let handover = home(broker.shard.handshake_answer(&mut handshake, allow()));
    let slot = broker.arrive(handover, Version::V311);
    broker.sent(slot);
    broker.send(slot, &auth(AGAIN, METHOD, b""));
    assert_eq!(broker.closed, [slot]);
}

#[test]
fn a_late_answer_means_nothing() {
    let mut broker = broker();
    let slot = let_in(&mut broker, Grant::default());
    broker.receive(slot, &auth(AGAIN, METHOD, b""));
    let ticket = asked(&mut broker);
    broker.cut(slot);
    broker.slot_closed(slot);
    assert_eq!(broker.shard.authn_waiting(), 0);
    answer(
        &mut broker,
        ticket,
        Verdict::Deny(ReasonCode::NotAuthorized),
    );
    assert_eq!(broker.count(Counter::AuthenticationLate), 1);
}

#[test]
fn an_answer_that_never_comes_ends_the_connection() {
    let mut broker = broker();
    let slot = let_in(&mut broker, Grant::default());
    broker.receive(slot, &auth(AGAIN, METHOD, b""));
    asked(&mut broker);
    broker.wait_ms(9_000);
    assert!(broker.closed.is_empty());
    broker.wait_ms(2_000);
    assert_eq!(broker.sent(slot), ["disconnect 0x87"]);
    assert_eq!(broker.shard.authn_waiting(), 0);
}

#[test]
fn what_expires_ends_the_connection() {
    let mut broker = broker();
    let expires_us = broker.now.unix_us + 100_000_000;
    let grant = Grant {
        expires_us: Some(expires_us),
        ..Grant::default()
    };
    let slot = let_in(&mut broker, grant);
    broker.wait_ms(95_000);
    assert!(broker.closed.is_empty());
    broker.wait_ms(6_000);
    assert_eq!(broker.sent(slot), ["disconnect 0x87"]);
    assert_eq!(broker.count(Counter::ShutdownExpired), 1);
}

#[test]
fn a_stopping_broker_lets_nobody_in() {
    let mut broker = broker();
    let bytes = named(Version::V5, "a", Some("u"), "p");
    let (mut handshake, _) = waiting(&mut broker, &bytes);
    broker.shard.stop_accepting();
    let step = broker.shard.handshake_answer(&mut handshake, allow());
    assert_eq!(refused(step, Version::V5), ["connack 0x8B"]);
    assert_eq!(Latency::Authenticate.name(), "latency.authenticate_us");
}
