//! Chains without a network.

use std::sync::Arc;
use std::sync::Mutex;

use serde_json::json;

use super::builtin::{UserError, UserStore};
use super::chain::Chain;
use super::hashing::Hashing;
use crate::access::credential::User;
use crate::base::ids::CoreId;
use crate::config::AuthnProvider;
use crate::gate::authn::{AuthnRequest, Exchange, Place, Secret, Ticket, Verdict};
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::version::Version;

/// A client as a core asks about it.
pub(super) fn client(id: &str, username: Option<&str>, password: Option<&str>) -> AuthnRequest {
    AuthnRequest {
        ticket: Ticket {
            core: CoreId(0),
            place: Place::Handshake(0),
            serial: 1,
        },
        client_id: id.into(),
        username: username.map(Box::from),
        password: password.map(|password| Secret::new(password.as_bytes())),
        peer: "127.0.0.1:5000".parse().unwrap(),
        listener: 0,
        peer_names: None,
        version: Version::V5,
        exchange: None,
    }
}

fn chain(members: &serde_json::Value) -> Chain {
    let list = members.as_array().unwrap().iter();
    let providers: Vec<AuthnProvider> = list
        .map(|member| AuthnProvider::parse(member.clone()).unwrap())
        .collect();
    let hashing = Hashing::start(1, 16).unwrap();
    Chain::new("test", &providers, &hashing).unwrap()
}

async fn decided(chain: &Chain, user: Option<&str>, password: Option<&str>) -> String {
    let mut client = client("c", user, password);
    let verdict = chain.decide(&mut client).await;
    assert!(client.password.is_none(), "the password is not kept");
    match verdict {
        Verdict::Allow(grant) if grant.superuser => "superuser".to_owned(),
        Verdict::Allow(_) => "allow".to_owned(),
        Verdict::Deny(reason) => format!("{:#x}", reason.as_u8()),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn who_is_unknown_to_all_is_refused() {
    let chain = chain(&json!([
        {"mechanism": "password_based", "backend": "built_in_database"},
        {"mechanism": "password_based", "backend": "built_in_database",
         "password_hash_algorithm": {"name": "bcrypt", "salt_rounds": 4}}
    ]));
    let users = chain.members()[0].users().unwrap();
    users.add("a", b"pw", false).unwrap();
    users.add("root", b"pw", true).unwrap();
    let second = chain.members()[1].users().unwrap();
    second.add("b", b"pw", false).unwrap();
    assert_eq!(decided(&chain, Some("a"), Some("pw")).await, "allow");
    assert_eq!(decided(&chain, Some("root"), Some("pw")).await, "superuser");
    assert_eq!(decided(&chain, Some("b"), Some("pw")).await, "allow");
    assert_eq!(decided(&chain, Some("b"), Some("no")).await, "0x86");
    assert_eq!(decided(&chain, Some("a"), Some("no")).await, "0x86");
    // As with a wrong password: nobody learns who there is.
    assert_eq!(decided(&chain, Some("c"), Some("pw")).await, "0x86");
    assert_eq!(decided(&chain, Some("a"), None).await, "0x87");
    assert_eq!(decided(&chain, None, None).await, "0x87");
    let figures = chain.members()[0].figures();
    assert_eq!(
        (figures.success, figures.failed, figures.nomatch),
        (2, 1, 5)
    );
}

/// What takes long for a wrong password takes as long for nobody: it goes the same way, through the
/// queue of hashes, which is full here.
#[tokio::test]
async fn nobody_is_looked_for_as_long_as_somebody() {
    let provider = AuthnProvider::parse(json!({
        "mechanism": "password_based", "backend": "built_in_database",
        "password_hash_algorithm": {"name": "bcrypt", "salt_rounds": 4}}));
    let hashing = Hashing::start(1, 1).unwrap();
    let chain = Chain::new("test", &[provider.unwrap()], &hashing).unwrap();
    let users = chain.members()[0].users().unwrap();
    users.add("somebody", b"pw", false).unwrap();
    for name in ["somebody", "nobody"] {
        assert_eq!(decided(&chain, Some(name), Some("no")).await, "0x86");
    }
    let (release, held) = crossbeam_channel::bounded::<()>(1);
    let (started, running) = tokio::sync::oneshot::channel();
    let (own, waits) = (hashing.clone(), held.clone());
    let first = tokio::spawn(async move {
        own.run(move || {
            let _ = started.send(());
            waits.recv().ok()
        })
        .await
    });
    running.await.unwrap();
    let (own, waits) = (hashing.clone(), held);
    let second = tokio::spawn(async move { own.run(move || waits.recv().ok()).await });
    // All of this is one thread: the second job is in the queue by now.
    tokio::task::yield_now().await;
    for name in ["somebody", "nobody"] {
        assert_eq!(decided(&chain, Some(name), Some("no")).await, "Busy");
    }
    drop(release);
    assert!(first.await.unwrap().is_ok() && second.await.unwrap().is_ok());
}

#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl UserStore<User> for Recorder {
    fn save(&self, users: &[(String, User)]) -> Result<(), String> {
        for (user_id, user) in users {
            if user_id == "full" {
                return Err("no room".to_owned());
            }
            let line = format!("save {user_id} {}", user.superuser);
            self.0.lock().unwrap().push(line);
        }
        Ok(())
    }

    fn remove(&self, user_id: &str) -> Result<(), String> {
        self.0.lock().unwrap().push(format!("remove {user_id}"));
        Ok(())
    }
}

#[tokio::test]
async fn users_are_changed_and_kept() {
    let chain = chain(
        &json!([{"mechanism": "password_based", "backend": "built_in_database",
        "user_id_type": "clientid"}]),
    );
    let users = chain.members()[0].users().unwrap();
    let recorder = Arc::new(Recorder::default());
    let store: Arc<dyn UserStore<User>> = Arc::<Recorder>::clone(&recorder);
    users.keep_in(store, Vec::new());
    users.add("c", b"one", false).unwrap();
    assert_eq!(users.add("c", b"one", false), Err(UserError::Exists));
    users.update("c", Some(b"two"), None).unwrap();
    assert_eq!(decided(&chain, None, Some("two")).await, "allow");
    users.update("c", None, Some(true)).unwrap();
    assert_eq!(decided(&chain, None, Some("two")).await, "superuser");
    assert_eq!(users.update("x", None, None), Err(UserError::Unknown));
    assert_eq!(users.list(None, 10), [("c".to_owned(), true)]);
    let no_room = users.add("full", b"one", false);
    assert_eq!(no_room, Err(UserError::Store("no room".to_owned())));
    assert_eq!(users.is_superuser("full"), None, "nothing has changed");
    users.delete("c").unwrap();
    assert_eq!(users.delete("c"), Err(UserError::Unknown));
    let lines = recorder.0.lock().unwrap().clone();
    assert_eq!(
        lines,
        ["save c false", "save c false", "save c true", "remove c"]
    );
}

#[tokio::test]
async fn a_backend_that_fails_is_passed_over_and_left_alone() {
    // Nobody listens at port 9 of a reserved loopback address.
    let chain = chain(&json!([
        {"mechanism": "password_based", "backend": "http", "url": "http://127.0.0.9:9/auth"},
        {"mechanism": "password_based", "backend": "built_in_database"}
    ]));
    let users = chain.members()[1].users().unwrap();
    users.add("a", b"pw", false).unwrap();
    for _ in 0..8 {
        assert_eq!(decided(&chain, Some("a"), Some("pw")).await, "allow");
    }
    assert_eq!(chain.members()[0].figures().errors, 8);
}

#[tokio::test]
async fn a_token_is_judged_by_its_claims() {
    use jsonwebtoken::{EncodingKey, Header, encode};
    let chain = chain(&json!([{"mechanism": "jwt", "secret": "s",
        "verify_claims": {"sub": "${username}", "aud": "mqtt"}}]));
    let far = 4_000_000_000_u64;
    let token = |claims: serde_json::Value| {
        encode(&Header::default(), &claims, &EncodingKey::from_secret(b"s")).unwrap()
    };
    for (claims, want) in [
        (json!({"sub": "u", "aud": "mqtt", "exp": far}), "allow"),
        (
            json!({"sub": "u", "aud": ["x", "mqtt"], "is_superuser": true}),
            "superuser",
        ),
        (json!({"sub": "v", "aud": "mqtt"}), "0x86"),
        (json!({"sub": "u", "aud": "other"}), "0x86"),
        (json!({"sub": "u"}), "0x86"),
        (json!({"sub": "u", "aud": "mqtt", "exp": 1}), "0x86"),
        (
            json!({"sub": "u", "aud": "mqtt", "acl": [{"permission": "x"}]}),
            "0x86",
        ),
    ] {
        let token = token(claims.clone());
        let verdict = decided(&chain, Some("u"), Some(&token)).await;
        assert_eq!(verdict, want, "{claims}");
    }
    assert_eq!(decided(&chain, Some("u"), Some("no token")).await, "0x86");
    let mut client = client("c", Some("u"), None);
    let claims = json!({"sub": "u", "aud": "mqtt", "exp": far,
        "acl": {"pub": ["a"]}, "client_attrs": {"group": "g"}});
    client.password = Some(Secret::new(token(claims).as_bytes()));
    let Verdict::Allow(grant) = chain.decide(&mut client).await else {
        panic!("not allowed");
    };
    assert_eq!(grant.expires_us, Some(far * 1_000_000));
    assert!(grant.acl.is_some());
    assert_eq!(grant.attributes, [("group".into(), "g".into())]);
}

#[tokio::test]
async fn scram_asks_and_refuses() {
    let chain = chain(&json!([
        {"mechanism": "password_based", "backend": "built_in_database"},
        {"mechanism": "scram", "backend": "built_in_database", "iteration_count": 10}
    ]));
    let users = chain.members()[1].scram_users().unwrap();
    users.add("user", b"pencil", false).unwrap();
    let step = |username: Option<&str>, data: &[u8], state: Option<Secret>| {
        let mut client = client("c", username, None);
        client.exchange = Some(Box::new(Exchange {
            method: "SCRAM-SHA-256".into(),
            data: data.to_vec(),
            state,
            again: false,
        }));
        client
    };
    let mut first = step(None, b"n,,n=user,r=abc", None);
    let Verdict::Continue { data, state } = chain.decide(&mut first).await else {
        panic!("no challenge");
    };
    assert!(data.starts_with(b"r=abc") && data.ends_with(b",i=10"));
    let mut wrong = step(None, b"c=biws,r=abc,p=AAAA", Some(state));
    let verdict = chain.decide(&mut wrong).await;
    assert!(matches!(verdict, Verdict::Deny(ReasonCode::NotAuthorized)));
    // Whose name CONNECT says is who must prove it.
    let mut other = step(Some("admin"), b"n,,n=user,r=abc", None);
    let verdict = chain.decide(&mut other).await;
    assert!(matches!(verdict, Verdict::Deny(_)));
    // A password does not go to SCRAM, nor a method to the table of passwords.
    assert_eq!(decided(&chain, Some("user"), Some("pencil")).await, "0x86");
}

/// A service behind TLS that lets everybody in, once.
async fn tls_service() -> u16 {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let own = CertificateDer::from_pem_slice(include_bytes!("testdata/cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("testdata/key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

#[tokio::test]
async fn who_is_not_trusted_is_not_asked() {
    let port = tls_service().await;
    let trusted = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/control/authn/testdata/cert.pem"
    );
    let url = format!("https://localhost:{port}/auth");
    let member = |ssl: serde_json::Value| json!([{"mechanism": "password_based", "backend": "http", "url": url, "ssl": ssl}]);
    let good = chain(&member(json!({"enable": true, "cacertfile": trusted})));
    assert_eq!(decided(&good, Some("a"), Some("pw")).await, "allow");
    let stranger = chain(&member(json!({})));
    assert_eq!(decided(&stranger, Some("a"), Some("pw")).await, "0x86");
    assert_eq!(stranger.members()[0].figures().errors, 1);
}

#[test]
fn files_and_keys_that_are_none_end_the_start() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _context = runtime.enter();
    for (member, want) in [
        (
            json!({"mechanism": "password_based", "backend": "built_in_database",
                   "bootstrap_file": "/none/users.csv"}),
            "the bootstrap file /none/users.csv cannot be read",
        ),
        (
            json!({"mechanism": "jwt", "algorithm": "public-key"}),
            "`public_key` is missing",
        ),
        (
            json!({"mechanism": "jwt", "algorithm": "public-key", "public_key": "-----BEGIN X"}),
            "`public_key`: this is no public key",
        ),
        (
            json!({"mechanism": "jwt", "use_jwks": true}),
            "`endpoint` is missing",
        ),
        (
            json!({"mechanism": "jwt", "secret": ""}),
            "`secret` is empty",
        ),
        (
            json!({"mechanism": "password_based", "backend": "http", "url": "http://${username}/"}),
            "`url` has no host",
        ),
        (
            json!({"mechanism": "password_based", "backend": "redis", "server": "r", "cmd": "GET x"}),
            "`cmd` is not HMGET",
        ),
        (
            json!({"mechanism": "password_based", "backend": "mysql", "server": "m:x",
                   "database": "d", "username": "u"}),
            "`m:x` is not HOST:PORT",
        ),
    ] {
        let provider = AuthnProvider::parse(member).unwrap();
        let hashing = Hashing::start(1, 1).unwrap();
        let said = Chain::new("test", &[provider], &hashing).err().unwrap();
        assert!(said.contains(want), "{said}");
    }
}
