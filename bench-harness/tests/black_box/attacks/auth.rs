//! Entering without credentials, with those of others, or with text that means more than itself.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bench_harness::client::Client;
use bench_harness::codec::{Auth, Packet};

use super::{V5, V311, broker, code, named, told};
use crate::broker::{Broker, Scratch};
use crate::http_stub::HttpStub;
use crate::peer::{PATIENCE, clean};
use crate::scram_peer::{SCRAM, ScramClient, data_of, method};
use crate::ws_peer::CONNACK;

const WRONG: u8 = 0x86;
const DENIED: u8 = 0x87;

/// Text that breaks out of a statement, a filter, a command, a path or a line where somebody forgets that
/// it is text.
const HOSTILE: &[&str] = &[
    "' OR '1'='1",
    "good' --",
    "good'; DROP TABLE mqtt_user; --",
    "\" OR \"\"=\"",
    "good\\' OR 1=1 #",
    "*",
    "*)(uid=*))(|(uid=*",
    "good)(&)",
    "good,dc=x",
    "good\r\nHGETALL mqtt_user:good",
    "*3\r\n$3\r\nSET\r\n",
    "{\"$ne\": null}",
    "{\"$gt\": \"\"}",
    "$where: '1'",
    "good\"}, \"x\": {\"y\": \"",
    "../good",
    "..%2fgood",
    "good%00",
    "good ",
    "GOOD",
    "${username}",
    "%u",
    "%c",
    "${password}",
    "good\u{202e}",
    "g\u{f6}od",
];

/// A file of users: `good` with `secret`.
fn users(scratch: &Scratch, mechanism: &str) -> String {
    let path = scratch.path("users.csv");
    std::fs::write(&path, "user_id,password,is_superuser\ngood,secret,true\n").unwrap();
    format!(
        r#"authentication=[{{{mechanism},"backend":"built_in_database","bootstrap_file":"{}"{}}}]"#,
        path.display(),
        if mechanism.contains("scram") {
            ""
        } else {
            r#","bootstrap_type":"plain""#
        },
    )
}

fn passwords(scratch: &Scratch) -> Broker {
    broker(&[&users(scratch, r#""mechanism":"password_based""#)])
}

#[test]
fn an_empty_or_cut_password_is_wrong() {
    let scratch = Scratch::new();
    let broker = passwords(&scratch);
    let address = broker.address();
    assert_eq!(code(address, &named(V5, "c", "good", Some("secret"))), 0);
    for password in [
        "",
        "\0",
        "secret\0",
        "secret\0x",
        "secre",
        "secret ",
        "%00",
        "secret%00",
    ] {
        let options = named(V5, "c", "good", Some(password));
        assert_eq!(code(address, &options), WRONG, "{password:?}");
    }
    assert_eq!(code(address, &named(V5, "c", "good", None)), DENIED);
    assert_eq!(code(address, &named(V311, "c", "good", None)), 5);
    let mut nameless = clean(V5, "c");
    nameless.connect.password = Some(b"secret".to_vec());
    assert_eq!(code(address, &nameless), WRONG);
    // A name that ends where a careless reader stops.
    let connect = named(V5, "c", "good\0", Some("secret")).connect;
    let bytes = Packet::Connect(connect).to_bytes(V5);
    assert!(!told(address, &bytes).starts_with(&[0x20, 0x03, 0, 0]));
}

#[test]
fn names_are_text_and_nothing_else() {
    let scratch = Scratch::new();
    let broker = passwords(&scratch);
    for hostile in HOSTILE {
        for password in ["secret", hostile] {
            let options = named(V5, hostile, hostile, Some(password));
            assert_eq!(code(broker.address(), &options), WRONG, "{hostile:?}");
        }
        let options = named(V5, "c", "good", Some(hostile));
        assert_eq!(code(broker.address(), &options), WRONG, "{hostile:?}");
    }
    assert_eq!(
        code(broker.address(), &named(V5, "c", "good", Some("secret"))),
        0
    );
}

#[test]
fn unknown_users_and_wrong_passwords_look_the_same() {
    let scratch = Scratch::new();
    let broker = passwords(&scratch);
    for version in [V311, V5] {
        let of = |user| code(broker.address(), &named(version, "c", user, Some("no")));
        assert_eq!(of("good"), of("nobody"), "{version:?}");
    }
}

#[test]
fn a_service_gets_what_a_client_says_as_data() {
    let stub = HttpStub::start(|request| {
        let lines: Vec<&str> = request.head.lines().collect();
        let injected = lines.iter().any(|line| line.starts_with("x-admin"));
        let body: serde_json::Value = serde_json::from_str(&request.body).unwrap_or_default();
        let same = body["username"] == body["clientid"] && body["username"].is_string();
        let plain =
            lines[0].starts_with("post /auth/") && lines[0].matches(['?', '#']).count() == 0;
        let shown = lines[0].matches('/').count() == 3;
        if injected || !same || !plain || !shown {
            // What is asserted here would only be logged.
            return (200, r#"{"result":"allow"}"#.to_owned());
        }
        (200, r#"{"result":"deny"}"#.to_owned())
    });
    let chain = format!(
        r#"authentication=[{{"mechanism":"password_based","backend":"http",
            "url":"http://{}/auth/${{username}}","headers":{{"x-user":"${{username}}"}},
            "body":{{"username":"${{username}}","clientid":"${{clientid}}"}}}}]"#,
        stub.address
    );
    let broker = broker(&[&chain]);
    let more = [
        "x\r\nx-admin: 1",
        "x\nx-admin: 1",
        "?admin=1",
        "#admin",
        "/../admin",
        "\",\"is_superuser\":\"true",
    ];
    for hostile in HOSTILE.iter().chain(&more) {
        let options = named(V5, hostile, hostile, Some("p"));
        let code = code(broker.address(), &options);
        assert!([WRONG, DENIED].contains(&code), "{hostile:?}: {code:#x}");
    }
}

fn token(header: &str, claims: &str, signature: &[u8]) -> String {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    format!(
        "{}.{}.{}",
        part(header.as_bytes()),
        part(claims.as_bytes()),
        part(signature)
    )
}

fn signed(header: &str, claims: &str, secret: &[u8]) -> String {
    use hmac::{KeyInit, Mac};
    let unsigned = token(header, claims, b"");
    let unsigned = unsigned.trim_end_matches('.');
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
    mac.update(unsigned.as_bytes());
    token(header, claims, &mac.finalize().into_bytes())
}

const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
const CLAIMS: &str = r#"{"sub":"u","exp":4000000000}"#;

#[test]
fn tokens_that_nobody_signed_open_nothing() {
    let broker = broker(&[r#"authentication=[{"mechanism":"jwt","secret":"k"}]"#]);
    let of = |token: &str| code(broker.address(), &named(V5, "c", "u", Some(token)));
    assert_eq!(of(&signed(HS256, CLAIMS, b"k")), 0);
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let header = format!(r#"{{"alg":"{alg}"}}"#);
        assert_eq!(of(&token(&header, CLAIMS, b"")), WRONG, "{alg}");
        assert_eq!(of(&signed(&header, CLAIMS, b"k")), WRONG, "{alg}");
    }
    for (header, secret) in [
        (HS256, &b""[..]),
        (HS256, b"K"),
        (r#"{"alg":"HS256","kid":"../../../../dev/null"}"#, b""),
        (r#"{"alg":"HS256","kid":"x' UNION SELECT 'k"}"#, b"x"),
        (r#"{"alg":"HS256","jwk":{"kty":"oct","k":"eA"}}"#, b"x"),
        (r#"{"alg":"HS256","jku":"http://127.0.0.1:9/"}"#, b"x"),
        (r#"{"alg":"RS256"}"#, b"k"),
    ] {
        assert_eq!(of(&signed(header, CLAIMS, secret)), WRONG, "{header}");
    }
    for claims in [
        r#"{"exp":1}"#,
        r#"{"exp":4000000000,"nbf":3999999999}"#,
        r#"{"exp":-1}"#,
        "[]",
        "null",
    ] {
        assert_eq!(of(&signed(HS256, claims, b"k")), WRONG, "{claims}");
    }
    for text in ["", "..", "a.b.c", "....", &"x.".repeat(10_000)] {
        assert_eq!(of(text), WRONG, "{text:.10}");
    }
}

#[test]
fn a_public_key_signs_nothing() {
    let public = include_str!("../../../../src/access/testdata/rsa-public.pem");
    let broker = broker(&[&format!(
        "authentication={}",
        serde_json::json!([{"mechanism": "jwt", "algorithm": "public-key", "public_key": public}])
    )]);
    for secret in [public, public.trim_end()] {
        let confused = signed(HS256, CLAIMS, secret.as_bytes());
        let options = named(V5, "c", "u", Some(&confused));
        assert_eq!(code(broker.address(), &options), WRONG);
    }
}

/// Begins an exchange; the challenge.
fn challenged(broker: &Broker, first: &[u8]) -> (Client, Vec<u8>) {
    let mut client = Client::open(broker.address(), V5).unwrap();
    let mut options = clean(V5, "s");
    options.connect.properties = method(SCRAM, first);
    client.send(&Packet::Connect(options.connect)).unwrap();
    match client.expect(PATIENCE).unwrap() {
        Packet::Auth(auth) => (client, data_of(&auth.properties)),
        other => panic!("no challenge but {other:?}"),
    }
}

/// Ends it; the code of the CONNACK.
fn proved(mut client: Client, last: &[u8]) -> u8 {
    let auth = Auth {
        code: 0x18,
        properties: method(SCRAM, last),
    };
    client.send(&Packet::Auth(auth)).unwrap();
    match client.expect(PATIENCE).unwrap() {
        Packet::ConnAck(ack) => ack.code,
        other => panic!("no CONNACK but {other:?}"),
    }
}

#[test]
fn a_proof_that_was_overheard_proves_nothing_again() {
    let scratch = Scratch::new();
    let broker = broker(&[&users(&scratch, r#""mechanism":"scram""#)]);
    let mut scram = ScramClient::new("good", "secret");
    let (client, challenge) = challenged(&broker, &scram.first());
    let proof = scram.last(&challenge);
    assert_eq!(proved(client, &proof), 0);
    // Everything that went over the wire, again.
    let (client, other) = challenged(&broker, &scram.first());
    assert_ne!(challenge, other, "the server's part of the nonce is new");
    assert_eq!(proved(client, &proof), DENIED);
    // The proof with the new nonce put in.
    let (client, other) = challenged(&broker, &scram.first());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let nonce = |text: &str| {
        text.split(',')
            .find_map(|part| part.strip_prefix("r=").map(str::to_owned))
    };
    let (old, new) = (
        nonce(&text(&challenge)).unwrap(),
        nonce(&text(&other)).unwrap(),
    );
    let forged = text(&proof).replace(&old, &new);
    assert_eq!(proved(client, forged.as_bytes()), DENIED);
}

#[test]
fn a_name_without_proof_is_nobody() {
    let broker = broker(&["mqtt.allow_anonymous=false"]);
    for user in ["dashboard", "admin", "root", ""] {
        for password in [None, Some(""), Some("public")] {
            let options = named(V5, "c", user, password);
            assert_eq!(
                code(broker.address(), &options),
                DENIED,
                "{user} {password:?}"
            );
        }
    }
    assert_eq!(code(broker.address(), &clean(V5, "c")), DENIED);
    let bytes = Packet::Connect(clean(V311, "c").connect).to_bytes(V311);
    assert_ne!(told(broker.address(), &bytes), CONNACK);
}
