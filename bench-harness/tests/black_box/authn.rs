//! Authentication by the real binary: own users, tokens, another service, SCRAM, and a storm of wrong
//! passwords.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bench_harness::client::{Client, Error, Options};
use bench_harness::codec::{Auth, Packet, Property, Publish, Version};

use crate::broker::{Broker, Scratch};
use crate::http_stub::HttpStub;
use crate::peer::{PATIENCE, VERSIONS, clean, connect, ping};
use crate::scram_peer::{SCRAM, ScramClient, data_of, method};

/// A broker with a chain.
fn broker(chain: &str, more: &[&str]) -> Broker {
    let chain = format!("authentication={chain}");
    let mut arguments = vec!["--cores", "2", "--set", &chain];
    for setting in more {
        arguments.extend(["--set", setting]);
    }
    Broker::with(&arguments)
}

fn login(version: Version, id: &str, user: &str, password: &str) -> Options {
    let mut options = clean(version, id);
    options.connect.username = Some(user.to_owned());
    options.connect.password = Some(password.as_bytes().to_vec());
    options
}

/// The code of the CONNACK.
fn code(address: SocketAddr, options: &Options) -> u8 {
    match Client::connect(address, options) {
        Ok(_) => 0,
        Err(Error::Unexpected(packet)) => match *packet {
            Packet::ConnAck(ack) => ack.code,
            other => panic!("no CONNACK but {other:?}"),
        },
        Err(other) => panic!("{other}"),
    }
}

/// A file of users: `good` with `secret`, `root` with `toor`.
fn users(scratch: &Scratch) -> String {
    let path = scratch.path("users.csv");
    let text = "user_id,password,is_superuser\ngood,secret,false\nroot,toor,true\n";
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn built_in(scratch: &Scratch, more: &str) -> String {
    format!(
        r#"{{"mechanism":"password_based","backend":"built_in_database",
            "bootstrap_file":"{}","bootstrap_type":"plain"{more}}}"#,
        users(scratch)
    )
}

#[test]
fn own_users_enter_and_others_do_not() {
    let scratch = Scratch::new();
    let bcrypt = r#","password_hash_algorithm":{"name":"bcrypt","salt_rounds":4}"#;
    for hash in ["", bcrypt] {
        let broker = broker(&format!("[{}]", built_in(&scratch, hash)), &[]);
        let address = broker.address();
        for version in VERSIONS {
            // Nobody is told whether there is such a user.
            let (wrong, nameless) = match version {
                Version::V5 => (0x86, 0x87),
                _ => (4, 5),
            };
            assert_eq!(code(address, &login(version, "a", "good", "secret")), 0);
            assert_eq!(code(address, &login(version, "a", "good", "Secret")), wrong);
            assert_eq!(code(address, &login(version, "a", "nobody", "x")), wrong);
            assert_eq!(code(address, &clean(version, "a")), nameless);
        }
        let log = broker.stop();
        assert!(!log.contains("secret"), "a password stands in the log");
    }
}

#[test]
fn what_is_sent_behind_connect_waits_for_the_answer() {
    let scratch = Scratch::new();
    let broker = broker(&format!("[{}]", built_in(&scratch, "")), &[]);
    let options = login(Version::V5, "a", "good", "secret");
    let mut client = Client::open(broker.address(), Version::V5).unwrap();
    let mut bytes = Packet::Connect(options.connect).to_bytes(Version::V5);
    bytes.extend(Packet::PingReq.to_bytes(Version::V5));
    client.send_raw(&bytes).unwrap();
    assert!(matches!(client.expect(PATIENCE), Ok(Packet::ConnAck(ack)) if ack.code == 0));
    assert!(matches!(client.expect(PATIENCE), Ok(Packet::PingResp)));
}

#[test]
fn a_user_name_becomes_the_client_id() {
    let scratch = Scratch::new();
    let chain = format!("[{}]", built_in(&scratch, ""));
    let broker = broker(&chain, &["mqtt.use_username_as_clientid=true"]);
    let mut first = connect(broker.address(), &login(Version::V5, "a", "good", "secret"));
    let _second = connect(broker.address(), &login(Version::V5, "b", "good", "secret"));
    let farewell = first.expect_closed(PATIENCE).unwrap();
    assert_eq!(farewell.map(|farewell| farewell.code), Some(0x8E));
}

#[test]
fn listeners_have_chains_of_their_own() {
    let scratch = Scratch::new();
    let chain = format!("authentication=[{}]", built_in(&scratch, ""));
    let own = r#"listeners.tcp.own.authentication=[{"mechanism":"jwt","secret":"s"}]"#;
    let broker = Broker::with(&[
        "--listen",
        "tcp://127.0.0.1:0",
        "--set",
        &chain,
        "--set",
        "listeners.tcp.open.bind=127.0.0.1:0",
        "--set",
        "listeners.tcp.open.enable_authn=false",
        "--set",
        "listeners.tcp.own.bind=127.0.0.1:0",
        "--set",
        own,
        "--set",
        "listeners.tcp.quick.bind=127.0.0.1:0",
        "--set",
        "listeners.tcp.quick.enable_authn=quick_deny_anonymous",
    ]);
    let [default, open, own, quick] = *broker.addresses else {
        panic!("four listeners");
    };
    let good = login(Version::V5, "a", "good", "secret");
    let anonymous = clean(Version::V5, "a");
    assert_eq!(code(default, &good), 0);
    assert_eq!(code(open, &anonymous), 0);
    assert_eq!(code(own, &good), 0x86);
    assert_eq!(code(quick, &anonymous), 0x87);
    assert_eq!(code(quick, &good), 0);
}

fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

#[test]
fn keys_come_from_a_set_that_is_fetched() {
    let set = include_str!("../../../src/access/testdata/jwks.json");
    let private = include_str!("../../../src/access/testdata/rsa-private.pem");
    let stub = HttpStub::start(move |_| (200, set.to_owned()));
    let broker = broker(
        &format!(
            r#"[{{"mechanism":"jwt","use_jwks":true,"endpoint":"http://{}/keys"}}]"#,
            stub.address
        ),
        &[],
    );
    let key = jsonwebtoken::EncodingKey::from_rsa_pem(private.as_bytes()).unwrap();
    let signed = |kid: &str| {
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
        header.kid = Some(kid.to_owned());
        let claims = serde_json::json!({"exp": now_s() + 600});
        login(
            Version::V5,
            "a",
            "u",
            &jsonwebtoken::encode(&header, &claims, &key).unwrap(),
        )
    };
    // Until the set has come nobody's key is known.
    let deadline = std::time::Instant::now() + PATIENCE;
    while code(broker.address(), &signed("rsa-1")) != 0 {
        assert!(
            std::time::Instant::now() < deadline,
            "the key set is not used"
        );
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(code(broker.address(), &signed("rsa-2")), 0x86);
    assert_eq!(code(broker.address(), &signed("ec-1")), 0x86);
}

fn token(claims: &serde_json::Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(b"not-a-word");
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).unwrap()
}

#[test]
fn a_token_lets_in_until_it_expires() {
    let broker = broker(
        r#"[{"mechanism":"jwt","secret":"not-a-word","verify_claims":{"sub":"%u"}}]"#,
        &[],
    );
    let address = broker.address();
    let claims = |sub: &str, exp: u64| serde_json::json!({"sub": sub, "exp": exp});
    let with = |claims| login(Version::V5, "a", "u", &token(&claims));
    assert_eq!(code(address, &with(claims("u", now_s() - 1))), 0x86);
    assert_eq!(code(address, &with(claims("v", now_s() + 60))), 0x86);
    let mut client = connect(address, &with(claims("u", now_s() + 3)));
    ping(&mut client);
    let farewell = client.expect_closed(PATIENCE).unwrap();
    assert_eq!(farewell.map(|farewell| farewell.code), Some(0x87));
}

#[test]
fn another_service_decides() {
    let stub = HttpStub::start(|request| {
        if request.body.contains("\"username\":\"bad\"") {
            return (200, r#"{"result":"deny"}"#.to_owned());
        }
        if request.body.contains("\"username\":\"later\"") {
            return (200, r#"{"result":"ignore"}"#.to_owned());
        }
        assert!(request.head.contains("x-key: k"), "{}", request.head);
        (200, r#"{"result":"allow","is_superuser":true}"#.to_owned())
    });
    let scratch = Scratch::new();
    let chain = format!(
        r#"[{{"mechanism":"password_based","backend":"http","url":"http://{}/auth",
             "headers":{{"x-key":"k"}}}},{}]"#,
        stub.address,
        built_in(&scratch, "")
    );
    let broker = broker(&chain, &[]);
    let address = broker.address();
    for _ in 0..20 {
        assert_eq!(code(address, &login(Version::V5, "a", "any", "p")), 0);
    }
    assert_eq!(code(address, &login(Version::V5, "a", "bad", "p")), 0x87);
    assert_eq!(code(address, &login(Version::V5, "a", "later", "p")), 0x86);
    assert!(stub.connections() < 20, "connections are kept");
    // It falls silent: the next in the chain decides.
    drop(stub);
    assert_eq!(code(address, &login(Version::V5, "a", "good", "secret")), 0);
}

#[test]
fn a_service_that_is_silent_is_not_waited_for_forever() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let chain = format!(
        r#"[{{"mechanism":"password_based","backend":"http","url":"http://{}/"}}]"#,
        held.local_addr().unwrap()
    );
    let broker = broker(
        &chain,
        &[
            "authentication_settings.timeout=300ms",
            "authentication_settings.max_waiting=16",
        ],
    );
    let address = broker.address();
    assert_eq!(code(address, &login(Version::V5, "a", "u", "p")), 0x88);
    assert_eq!(code(address, &login(Version::V311, "a", "u", "p")), 3);
    // Beyond so many (8 on each of two cores) nobody waits; those who do get their answer.
    let mut open: Vec<Client> = (0..60)
        .map(|_| {
            let mut client = Client::open(address, Version::V5).unwrap();
            let options = login(Version::V5, "", "u", "p");
            client.send(&Packet::Connect(options.connect)).unwrap();
            client
        })
        .collect();
    // Some go away while they wait.
    open.truncate(50);
    let codes: Vec<u8> = open
        .iter_mut()
        .map(|client| match client.expect(PATIENCE).unwrap() {
            Packet::ConnAck(ack) => ack.code,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(
        codes.iter().all(|code| [0x88, 0x97].contains(code)),
        "{codes:?}"
    );
    assert!(codes.contains(&0x88) && codes.contains(&0x97), "{codes:?}");
    assert_eq!(code(address, &login(Version::V5, "a", "u", "p")), 0x88);
}

/// The code of the PUBACK.
fn publish_code(client: &mut Client, topic: &str) -> u8 {
    let packet_id = client.packet_id();
    let publish = Publish {
        topic: topic.to_owned(),
        qos: 1,
        packet_id: Some(packet_id),
        ..Publish::default()
    };
    client.send(&Packet::Publish(publish)).unwrap();
    match client.expect(PATIENCE).unwrap() {
        Packet::PubAck(ack) if ack.packet_id == packet_id => ack.code,
        other => panic!("no PUBACK but {other:?}"),
    }
}

#[test]
fn another_service_decides_about_access() {
    let stub = HttpStub::start(|request| {
        let said =
            |name: &str, value: &str| request.body.contains(&format!("\"{name}\":\"{value}\""));
        assert!(
            said("username", "good") && said("clientid", "a"),
            "{}",
            request.body
        );
        let result = if said("topic", "yes") && said("action", "publish") {
            "allow"
        } else if said("topic", "no") {
            "deny"
        } else {
            "ignore"
        };
        (200, format!(r#"{{"result":"{result}"}}"#))
    });
    let scratch = Scratch::new();
    let sources = format!(
        r#"authorization.sources.remote=[{{"type":"http","url":"http://{}/acl"}}]"#,
        stub.address
    );
    for (no_match, other) in [("allow", 0), ("deny", 0x87)] {
        let no_match = format!("authorization.no_match={no_match}");
        let chain = format!("[{}]", built_in(&scratch, ""));
        let broker = broker(&chain, &[&sources, &no_match]);
        let mut client = connect(broker.address(), &login(Version::V5, "a", "good", "secret"));
        let unheard = |code: u8| if code == 0x10 { 0 } else { code };
        assert_eq!(unheard(publish_code(&mut client, "yes")), 0);
        assert_eq!(publish_code(&mut client, "no"), 0x87);
        assert_eq!(unheard(publish_code(&mut client, "else")), other);
        assert_eq!(client.subscribe("yes", 0).unwrap(), other);
        assert_eq!(client.subscribe("no", 0).unwrap(), 0x87);
    }
}

/// CONNECT and AUTH up to the CONNACK.
fn scram_connect(address: SocketAddr, scram: &mut ScramClient) -> (Client, u8) {
    let mut options = clean(Version::V5, "s");
    options.connect.properties = method(SCRAM, &scram.first());
    let mut client = Client::open(address, Version::V5).unwrap();
    client.send(&Packet::Connect(options.connect)).unwrap();
    let Packet::Auth(challenge) = client.expect(PATIENCE).unwrap() else {
        panic!("no AUTH");
    };
    assert_eq!(challenge.code, 0x18);
    let last = scram.last(&data_of(&challenge.properties));
    let answer = Auth {
        code: 0x18,
        properties: method(SCRAM, &last),
    };
    client.send(&Packet::Auth(answer)).unwrap();
    let Packet::ConnAck(ack) = client.expect(PATIENCE).unwrap() else {
        panic!("no CONNACK");
    };
    if ack.code == 0 {
        assert_eq!(data_of(&ack.properties), scram.expected);
        let named = |p: &Property| matches!(p, Property::AuthenticationMethod(m) if m == SCRAM);
        assert!(ack.properties.0.iter().any(named));
    }
    (client, ack.code)
}

#[test]
fn scram_lets_in_and_again() {
    let scratch = Scratch::new();
    let chain = format!(
        r#"[{{"mechanism":"scram","backend":"built_in_database","bootstrap_file":"{}"}}]"#,
        users(&scratch)
    );
    let broker = broker(&chain, &[]);
    let address = broker.address();
    let (_, refused) = scram_connect(address, &mut ScramClient::new("good", "wrong"));
    assert_eq!(refused, 0x87);
    let (_, refused) = scram_connect(address, &mut ScramClient::new("nobody", "secret"));
    assert_eq!(refused, 0x87);
    let mut scram = ScramClient::new("good", "secret");
    let (mut client, entered) = scram_connect(address, &mut scram);
    assert_eq!(entered, 0);
    assert_eq!(client.subscribe("t", 0).unwrap(), 0);
    // Again, with a message in between.
    let again = Auth {
        code: 0x19,
        properties: method(SCRAM, &scram.first()),
    };
    client.send(&Packet::Auth(again)).unwrap();
    let Packet::Auth(challenge) = client.expect(PATIENCE).unwrap() else {
        panic!("no AUTH");
    };
    client.publish("t", 0, b"between").unwrap();
    assert_eq!(client.expect_publish().unwrap().payload, b"between");
    let last = scram.last(&data_of(&challenge.properties));
    let answer = Auth {
        code: 0x18,
        properties: method(SCRAM, &last),
    };
    client.send(&Packet::Auth(answer)).unwrap();
    let Packet::Auth(done) = client.expect(PATIENCE).unwrap() else {
        panic!("no AUTH");
    };
    assert_eq!(
        (done.code, data_of(&done.properties)),
        (0, scram.expected.clone())
    );
    ping(&mut client);
    // Again with a wrong proof.
    let again = Auth {
        code: 0x19,
        properties: method(SCRAM, &scram.first()),
    };
    client.send(&Packet::Auth(again)).unwrap();
    assert!(matches!(client.expect(PATIENCE), Ok(Packet::Auth(_))));
    let answer = Auth {
        code: 0x18,
        properties: method(SCRAM, b"c=biws,r=x,p=AAAA"),
    };
    client.send(&Packet::Auth(answer)).unwrap();
    let farewell = client.expect_closed(PATIENCE).unwrap();
    assert_eq!(farewell.map(|farewell| farewell.code), Some(0x87));
}

#[test]
fn wrong_steps_of_a_method_have_their_codes() {
    let scratch = Scratch::new();
    let chain = format!(
        r#"[{{"mechanism":"scram","backend":"built_in_database","bootstrap_file":"{}"}}]"#,
        users(&scratch)
    );
    let broker = broker(&chain, &[]);
    let address = broker.address();
    let mut options = clean(Version::V5, "s");
    options.connect.properties = method("SCRAM-SHA-1", b"");
    assert_eq!(code(address, &options), 0x8C);
    options.connect.properties = method(SCRAM, b"nonsense");
    assert_eq!(code(address, &options), 0x87);
    let mut scram = ScramClient::new("good", "secret");
    let (mut client, _) = scram_connect(address, &mut scram);
    let other = Auth {
        code: 0x19,
        properties: method("GSSAPI", b""),
    };
    client.send(&Packet::Auth(other)).unwrap();
    let farewell = client.expect_closed(PATIENCE).unwrap();
    assert_eq!(farewell.map(|farewell| farewell.code), Some(0x8C));
    // A packet that is not AUTH before the CONNACK [MQTT-3.1.2-30].
    let mut client = Client::open(address, Version::V5).unwrap();
    options.connect.properties = method(SCRAM, &scram.first());
    client.send(&Packet::Connect(options.connect)).unwrap();
    assert!(matches!(client.expect(PATIENCE), Ok(Packet::Auth(_))));
    client.send(&Packet::PingReq).unwrap();
    assert!(matches!(client.expect(PATIENCE), Ok(Packet::ConnAck(ack)) if ack.code == 0x82));
}

#[test]
fn a_storm_of_wrong_passwords_is_refused_beside_a_client_that_works() {
    const STORMERS: u32 = 8;
    const EACH: u32 = 250;
    let scratch = Scratch::new();
    let broker = broker(&format!("[{}]", built_in(&scratch, "")), &[]);
    let address = broker.address();
    let mut client = connect(address, &login(Version::V5, "quiet", "good", "secret"));
    let refused = AtomicU32::new(0);
    let over = AtomicBool::new(false);
    let mut pings = 0;
    thread::scope(|scope| {
        let storm: Vec<_> = (0..STORMERS)
            .map(|number| {
                let refused = &refused;
                scope.spawn(move || {
                    for _ in 0..EACH {
                        let options = login(Version::V311, &format!("s{number}"), "good", "wrong");
                        assert_eq!(code(address, &options), 4);
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let over = &over;
        scope.spawn(move || {
            for stormer in storm {
                stormer.join().unwrap();
            }
            over.store(true, Ordering::Release);
        });
        while !over.load(Ordering::Acquire) {
            ping(&mut client);
            pings += 1;
            thread::sleep(Duration::from_millis(5));
        }
    });
    assert_eq!(refused.load(Ordering::Relaxed), STORMERS * EACH);
    assert!(pings > 0);
    ping(&mut client);
}

#[test]
fn a_chain_that_cannot_be_has_its_sentence() {
    for (chain, want) in [
        (r#"[{"mechanism":"jwt","sercet":"x"}]"#, "authentication"),
        (
            r#"[{"mechanism":"password_based","backend":"built_in_database","bootstrap_file":"/none.csv"}]"#,
            "the bootstrap file /none.csv cannot be read",
        ),
    ] {
        let chain = format!("authentication={chain}");
        let said = Broker::try_with(&["--set", &chain]).unwrap_err();
        assert!(said.contains(want), "{said}");
    }
}
