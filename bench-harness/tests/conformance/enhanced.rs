//! Enhanced authentication (3.15, 4.12) where a method is offered: the exchange before CONNACK, what may
//! come during it, and authenticating again.

use std::net::SocketAddr;

use bench_harness::client::{Client, Error};
use bench_harness::codec::{
    Auth, ConnAck, Disconnect, Packet, Properties, Property, Subscribe, SubscriptionOptions,
    Version,
};

use crate::broker::{Broker, Scratch};
use crate::peer::{PATIENCE, clean, message};
use crate::raw::packet;
use crate::scram_peer::{SCRAM, ScramClient, data_of, method};
use crate::world::{assert_alive, expect_cut, fresh};

const V5: Version = Version::V5;
const CONTINUE: u8 = 0x18;
const AGAIN: u8 = 0x19;

/// A broker that lets `good` in with `secret`, by SCRAM-SHA-256. (The file is read at the start.)
fn broker() -> Broker {
    let scratch = Scratch::new();
    let users = scratch.path("users.csv");
    std::fs::write(&users, "user_id,password,is_superuser\ngood,secret,false\n").unwrap();
    let chain = format!(
        r#"authentication=[{{"mechanism":"scram","backend":"built_in_database","bootstrap_file":"{}"}}]"#,
        users.display()
    );
    Broker::with(&["--cores", "2", "--set", &chain])
}

fn good() -> ScramClient {
    ScramClient::new("good", "secret")
}

fn auth(code: u8, properties: Properties) -> Packet {
    Packet::Auth(Auth { code, properties })
}

/// The next packet, which has to be an AUTH of this code that names the method [MQTT-4.12.0-5].
fn expect_auth(client: &mut Client, code: u8) -> Auth {
    let Packet::Auth(auth) = client.expect(PATIENCE).unwrap() else {
        panic!("no AUTH");
    };
    assert_eq!(auth.code, code);
    assert_eq!(method_of(&auth.properties).as_deref(), Some(SCRAM));
    auth
}

fn method_of(properties: &Properties) -> Option<String> {
    properties.find(|p| match p {
        Property::AuthenticationMethod(name) => Some(name.clone()),
        _ => None,
    })
}

/// CONNECT with the first message and more properties; what comes is not looked at.
fn begin(at: SocketAddr, scram: &ScramClient, more: &[Property]) -> Client {
    let mut options = clean(V5, &fresh("scram"));
    options.connect.properties = method(SCRAM, &scram.first());
    options.connect.properties.0.extend_from_slice(more);
    let mut client = Client::open(at, V5).unwrap();
    client.send(&Packet::Connect(options.connect)).unwrap();
    client
}

/// A client whose turn it is: it has been asked for more.
fn challenged(at: SocketAddr, scram: &ScramClient) -> (Client, Auth) {
    let mut client = begin(at, scram, &[]);
    let challenge = expect_auth(&mut client, CONTINUE);
    (client, challenge)
}

/// Answers a challenge.
fn answer(client: &mut Client, scram: &mut ScramClient, challenge: &Auth) {
    let last = scram.last(&data_of(&challenge.properties));
    client.send(&auth(CONTINUE, method(SCRAM, &last))).unwrap();
}

/// A client that has been let in.
fn entered(at: SocketAddr, scram: &mut ScramClient) -> Client {
    let (mut client, challenge) = challenged(at, scram);
    answer(&mut client, scram, &challenge);
    let Packet::ConnAck(ack) = client.expect(PATIENCE).unwrap() else {
        panic!("no CONNACK");
    };
    assert_eq!(ack.code, 0);
    assert_eq!(method_of(&ack.properties).as_deref(), Some(SCRAM));
    assert_eq!(data_of(&ack.properties), scram.expected);
    client
}

/// The end of a client that was not let in: a CONNACK, if any, and nothing behind it.
fn refusal(client: &mut Client) -> Option<ConnAck> {
    match client.expect(PATIENCE) {
        Ok(Packet::ConnAck(ack)) => {
            assert!(ack.code >= 0x80 && !ack.session_present, "{ack:?}");
            assert_eq!(client.expect_closed(PATIENCE).unwrap(), None);
            Some(ack)
        }
        Err(Error::Closed) => None,
        other => panic!("neither CONNACK nor an end but {other:?}"),
    }
}

#[test]
fn the_server_continues_with_0x18_and_the_method_is_the_same_throughout() {
    let broker = broker();
    let mut scram = good();
    let mut client = entered(broker.address(), &mut scram);
    assert_alive(&mut client);
    client
        .send(&auth(AGAIN, method(SCRAM, &scram.first())))
        .unwrap();
    let challenge = expect_auth(&mut client, CONTINUE);
    answer(&mut client, &mut scram, &challenge);
    let done = expect_auth(&mut client, 0x00);
    assert_eq!(data_of(&done.properties), scram.expected);
    assert_alive(&mut client);
}

#[test]
fn it_may_be_refused_at_any_step() {
    let broker = broker();
    let at = broker.address();
    // At the first: what it says is no SCRAM, or nothing.
    for first in [&b"nonsense"[..], b""] {
        let mut options = clean(V5, &fresh("first"));
        options.connect.properties = method(SCRAM, first);
        let mut client = Client::open(at, V5).unwrap();
        client.send(&Packet::Connect(options.connect)).unwrap();
        assert_eq!(refusal(&mut client).unwrap().code, 0x87);
    }
    // At the second: another password, no such user.
    for (user, password) in [("good", "wrong"), ("nobody", "secret")] {
        let mut scram = ScramClient::new(user, password);
        let (mut client, challenge) = challenged(at, &scram);
        answer(&mut client, &mut scram, &challenge);
        assert_eq!(refusal(&mut client).unwrap().code, 0x87);
    }
}

#[test]
fn before_connack_only_auth_and_disconnect_are_taken() {
    let broker = broker();
    let at = broker.address();
    let subscribe = Subscribe {
        packet_id: 1,
        filters: vec![("t".to_owned(), SubscriptionOptions::qos(0))],
        ..Subscribe::default()
    };
    for packet in [
        Packet::PingReq,
        Packet::Publish(message("t", "x")),
        Packet::Subscribe(subscribe),
        Packet::Connect(clean(V5, "twice").connect),
    ] {
        let (mut client, _) = challenged(at, &good());
        client.send(&packet).unwrap();
        assert_eq!(refusal(&mut client).unwrap().code, 0x82, "{packet:?}");
    }
    let (mut client, _) = challenged(at, &good());
    client
        .send(&Packet::Disconnect(Disconnect::default()))
        .unwrap();
    assert_eq!(refusal(&mut client), None);
}

#[test]
fn before_connack_a_client_can_but_continue_with_its_method() {
    let broker = broker();
    let at = broker.address();
    for code in [0x00, AGAIN] {
        let mut scram = good();
        let (mut client, challenge) = challenged(at, &scram);
        let last = scram.last(&data_of(&challenge.properties));
        client.send(&auth(code, method(SCRAM, &last))).unwrap();
        assert_eq!(refusal(&mut client).unwrap().code, 0x82, "{code:#x}");
    }
    for name in ["SCRAM-SHA-512", "scram-sha-256", ""] {
        let mut scram = good();
        let (mut client, challenge) = challenged(at, &scram);
        let last = scram.last(&data_of(&challenge.properties));
        client.send(&auth(CONTINUE, method(name, &last))).unwrap();
        assert_eq!(refusal(&mut client).unwrap().code, 0x8C, "{name}");
    }
    // Without a method at all.
    let (mut client, _) = challenged(at, &good());
    client.send_raw(&packet(0xF0, &[CONTINUE, 0])).unwrap();
    let code = refusal(&mut client).unwrap().code;
    assert!([0x82, 0x8C].contains(&code), "{code:#x}");
}

#[test]
fn authenticating_again_goes_on_with_the_method_of_connect() {
    let broker = broker();
    let at = broker.address();
    for name in ["SCRAM-SHA-512", "GSSAPI"] {
        let mut scram = good();
        let mut client = entered(at, &mut scram);
        client
            .send(&auth(AGAIN, method(name, &scram.first())))
            .unwrap();
        expect_cut(V5, &mut client, &[0x8C]);
    }
    // What nobody has begun is not continued.
    for code in [0x00, CONTINUE] {
        let mut scram = good();
        let mut client = entered(at, &mut scram);
        client
            .send(&auth(code, method(SCRAM, &scram.first())))
            .unwrap();
        expect_cut(V5, &mut client, &[0x82]);
    }
}

#[test]
fn authenticating_again_in_vain_ends_the_connection() {
    let broker = broker();
    let at = broker.address();
    let mut client = entered(at, &mut good());
    client
        .send(&auth(AGAIN, method(SCRAM, b"nonsense")))
        .unwrap();
    expect_cut(V5, &mut client, &[0x87]);

    let mut client = entered(at, &mut good());
    let mut wrong = ScramClient::new("good", "wrong");
    client
        .send(&auth(AGAIN, method(SCRAM, &wrong.first())))
        .unwrap();
    let challenge = expect_auth(&mut client, CONTINUE);
    // Meanwhile what was proved before holds.
    assert_alive(&mut client);
    answer(&mut client, &mut wrong, &challenge);
    expect_cut(V5, &mut client, &[0x87]);
}

/// The bytes of the AUTH of a server, which has no words that could be left out to make it smaller.
fn size(auth: Auth) -> usize {
    let is_word =
        |p: &Property| matches!(p, Property::ReasonString(_) | Property::UserProperty(..));
    assert!(!auth.properties.0.iter().any(is_word), "{auth:?}");
    Packet::Auth(auth).to_bytes(V5).len()
}

#[test]
fn auth_keeps_to_the_clients_maximum_packet_size() {
    let broker = broker();
    let at = broker.address();
    let long = "x".repeat(600);
    for maximum in [20, 100, 183, 200, 400, 1000] {
        for nonce in ["short", &long] {
            let mut scram = ScramClient::with_nonce("good", "secret", nonce);
            let limit = [Property::MaximumPacketSize(maximum)];
            let mut client = begin(at, &scram, &limit);
            match client.expect(PATIENCE) {
                Ok(Packet::Auth(challenge)) => {
                    answer(&mut client, &mut scram, &challenge);
                    assert!(size(challenge) <= maximum as usize, "{maximum} {nonce}");
                    let Packet::ConnAck(ack) = client.expect(PATIENCE).unwrap() else {
                        panic!("no CONNACK");
                    };
                    assert_eq!(ack.code, 0);
                    // As large as it is, it was taken; so it is when it comes again.
                    authenticate_again(&mut client, &mut scram, maximum as usize);
                }
                // There was no room for the exchange: the client is told so and let go.
                Ok(Packet::ConnAck(ack)) => {
                    assert_eq!(ack.code, 0x95, "{maximum} {nonce}");
                    assert_eq!(client.expect_closed(PATIENCE).unwrap(), None);
                    assert!(maximum < 1000, "that is room enough");
                }
                other => panic!("{maximum} {nonce}: {other:?}"),
            }
        }
    }
}

fn authenticate_again(client: &mut Client, scram: &mut ScramClient, maximum: usize) {
    client
        .send(&auth(AGAIN, method(SCRAM, &scram.first())))
        .unwrap();
    let challenge = expect_auth(client, CONTINUE);
    answer(client, scram, &challenge);
    assert!(size(challenge) <= maximum);
    assert!(size(expect_auth(client, 0x00)) <= maximum);
    // A challenge that the client could not take is not sent.
    let nonce = "y".repeat(maximum);
    let large = ScramClient::with_nonce("good", "secret", &nonce);
    client
        .send(&auth(AGAIN, method(SCRAM, &large.first())))
        .unwrap();
    expect_cut(V5, client, &[0x95]);
}
