//! TLS listeners: messages over them, mutual TLS, names of servers, reload, resumption, and what comes in
//! that is not TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bench_harness::client::Client;
use bench_harness::codec::Version;

use crate::broker::{Broker, Said, run, say};
use crate::peer::{PATIENCE, VERSIONS, clean, connect, ping, subscriber};
use crate::tls_peer::{Ca, Kind, handshake, relay, server, set};
use crate::ws_peer::{CONNACK, WsClient, connect_packet};

const TLS: &str = "tls://127.0.0.1:0";
const TCP: &str = "tcp://127.0.0.1:0";

/// A broker with these listeners and settings.
fn broker(cores: u32, listen: &[&str], settings: &[(&str, String)]) -> Broker {
    let cores = cores.to_string();
    let mut arguments = vec!["--cores", &cores];
    for url in listen {
        arguments.extend(["--listen", url]);
    }
    let settings = set(settings);
    arguments.extend(settings.iter().map(String::as_str));
    Broker::with(&arguments)
}

/// Waits until the log has a line with all these words.
fn await_log(broker: &Broker, words: &[&str]) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = broker.log();
        let line = log
            .lines()
            .find(|line| words.iter().all(|word| line.contains(word)));
        if let Some(line) = line {
            return line.to_owned();
        }
        assert!(
            Instant::now() < deadline,
            "no line with {words:?} in:\n{log}"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn messages_cross_from_tls_to_plain_and_back() {
    for cores in [1, 2, 8] {
        let ca = Ca::new("ca");
        let own = ca.sign("localhost", 1, Kind::Server);
        let broker = broker(cores, &[TCP, TLS], &server(&own));
        let [plain, tls] = [broker.addresses[0], broker.addresses[1]];
        let sealed = relay(tls, &ca.client(None), "localhost");
        let large: Vec<u8> = (0..700_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        // So many clients that sockets go to other cores.
        let mut readers: Vec<Client> = (0..6)
            .map(|n| subscriber(sealed, VERSIONS[n % 3], &format!("r{n}"), "t/#", 2))
            .collect();
        for (from, name) in [(plain, "plain"), (sealed, "sealed")] {
            let mut writer = connect(from, &clean(Version::V5, name));
            for qos in 0..3 {
                let text = format!("{name} {qos}");
                writer.publish("t/1", qos, text.as_bytes()).unwrap();
                for reader in &mut readers {
                    let got = reader.expect_publish().unwrap();
                    assert_eq!(got.payload, text.as_bytes());
                }
            }
            writer.publish("t/2", 1, &large).unwrap();
            for reader in &mut readers {
                assert!(reader.expect_publish().unwrap().payload == large);
            }
        }
        for reader in &mut readers {
            ping(reader);
        }
        drop(readers);
        broker.stop();
    }
}

#[test]
fn clients_over_tls_are_told_of_the_end() {
    let ca = Ca::new("ca");
    let own = ca.sign("localhost", 1, Kind::Server);
    let mut broker = broker(2, &[TLS], &server(&own));
    let sealed = relay(broker.address(), &ca.client(None), "localhost");
    let mut client = connect(sealed, &clean(Version::V5, "c"));
    broker.signal("TERM");
    let told = client.expect_closed(PATIENCE).unwrap().unwrap();
    assert_eq!(told.code, 0x8B, "server shutting down");
    broker.expect_orderly_end();
}

/// Settings of mutual TLS.
fn mutual(ca: &Ca) -> Vec<(&'static str, String)> {
    let mut settings = server(&ca.sign("localhost", 1, Kind::Server));
    settings.extend([
        (
            "listeners.ssl.default.ssl_options.cacertfile",
            ca.file().display().to_string(),
        ),
        (
            "listeners.ssl.default.ssl_options.verify",
            "verify_peer".to_owned(),
        ),
        (
            "listeners.ssl.default.ssl_options.fail_if_no_peer_cert",
            "true".to_owned(),
        ),
        (
            "listeners.ssl.default.ssl_options.enable_crl_check",
            "true".to_owned(),
        ),
        (
            "listeners.ssl.default.ssl_options.crl_file",
            ca.revoke(&[66]).display().to_string(),
        ),
    ]);
    settings
}

#[test]
fn certificates_of_clients_are_judged_and_the_log_says_how() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let broker = broker(2, &[TLS], &mutual(&ca));
    let good = ca.sign("device", 7, Kind::Client);
    assert!(handshake(broker.address(), &ca.client(Some(&good)), "localhost").is_ok());
    for (own, word, alert) in [
        (None, "certificate_required", "Certificate Required"),
        (
            Some(other.sign("device", 8, Kind::Client)),
            "unknown_ca",
            "Unknown CA",
        ),
        (
            Some(ca.sign("device", 9, Kind::Expired)),
            "certificate_expired",
            "Certificate Expired",
        ),
        (
            Some(ca.sign("device", 66, Kind::Client)),
            "certificate_revoked",
            "Certificate Revoked",
        ),
    ] {
        let client = ca.client(own.as_ref());
        let why = handshake(broker.address(), &client, "localhost").unwrap_err();
        assert!(why.contains("alert"), "{word}: {why}");
        let raised = format!("generated SERVER ALERT: Fatal - {alert}");
        let line = await_log(&broker, &["tls handshake failed", word, &raised]);
        for part in ["peer=127.0.0.1:", "ssl:default", "hint="] {
            assert!(line.contains(part), "{line}");
        }
    }
    // The other side finds fault with ours.
    let stranger = other.client(Some(&good));
    assert!(handshake(broker.address(), &stranger, "localhost").is_err());
    await_log(
        &broker,
        &[
            "unknown_ca",
            "received CLIENT ALERT: Fatal - Unknown CA",
            "intermediate CA",
        ],
    );
    broker.stop();
}

#[test]
fn the_name_in_a_certificate_is_the_client_id() {
    let ca = Ca::new("ca");
    let mut settings = mutual(&ca);
    settings.push(("mqtt.peer_cert_as_clientid", "cn".to_owned()));
    let broker = broker(4, &[TLS], &settings);
    let own = |serial| ca.client(Some(&ca.sign("device-7", serial, Kind::Client)));
    let first = relay(broker.address(), &own(7), "localhost");
    let second = relay(broker.address(), &own(8), "localhost");
    let mut first = connect(first, &clean(Version::V5, "one"));
    let mut second = connect(second, &clean(Version::V5, "two"));
    let told = first.expect_closed(PATIENCE).unwrap().unwrap();
    assert_eq!(told.code, 0x8E, "session taken over");
    ping(&mut second);
    broker.stop();
}

#[test]
fn a_server_has_the_certificate_of_its_name() {
    let ca = Ca::new("ca");
    let mut settings = server(&ca.sign("localhost", 1, Kind::Server));
    for (name, key, cert) in [
        (
            "plant.example",
            "listeners.ssl.default.ssl_options.sni.plant.keyfile",
            "listeners.ssl.default.ssl_options.sni.plant.certfile",
        ),
        (
            "*.many.example",
            "listeners.ssl.default.ssl_options.sni.many.keyfile",
            "listeners.ssl.default.ssl_options.sni.many.certfile",
        ),
    ] {
        let own = ca.sign(name, 2, Kind::Server);
        settings.push((key, own.key.display().to_string()));
        settings.push((cert, own.certificate.display().to_string()));
    }
    let broker = broker(1, &[TLS], &settings);
    let client = ca.client(None);
    for name in ["localhost", "plant.example", "a.many.example"] {
        handshake(broker.address(), &client, name).unwrap();
    }
    assert!(handshake(broker.address(), &client, "b.example").is_err());
    broker.stop();
}

#[test]
fn new_certificates_are_used_while_clients_stay() {
    let ca = Ca::new("ca");
    let old = ca.sign("localhost", 1, Kind::Server);
    let broker = broker(2, &[TLS], &server(&old));
    let config = ca.client(None);
    let sealed = relay(broker.address(), &config, "localhost");
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let load = thread::spawn(move || {
        let mut reader = subscriber(sealed, Version::V311, "reader", "t", 1);
        let mut writer = connect(sealed, &clean(Version::V311, "writer"));
        let mut count = 0;
        while !stopped.load(Ordering::Relaxed) {
            writer.publish("t", 1, b"x").unwrap();
            assert_eq!(reader.expect_publish().unwrap().payload, b"x");
            count += 1;
        }
        count
    });
    let before = handshake(broker.address(), &config, "localhost").unwrap();
    std::fs::copy(&old.certificate, old.key.with_extension("saved")).unwrap();
    std::fs::write(&old.certificate, "no certificate").unwrap();
    broker.signal("HUP");
    await_log(
        &broker,
        &["keeps the certificates it has", "there is no certificate"],
    );
    let same = handshake(broker.address(), &config, "localhost").unwrap();
    assert_eq!(before, same);
    let new = ca.sign("localhost", 2, Kind::Server);
    std::fs::copy(&new.key, &old.key).unwrap();
    std::fs::copy(&new.certificate, &old.certificate).unwrap();
    broker.signal("HUP");
    await_log(&broker, &["uses the certificates it has read anew"]);
    let after = handshake(broker.address(), &ca.client(None), "localhost").unwrap();
    assert_ne!(before, after);
    stop.store(true, Ordering::Relaxed);
    assert!(load.join().unwrap() > 0);
    broker.stop();
}

/// `openssl s_client`, which stays as long as its input is open.
fn s_client(broker: &Broker, ca: &Ca, arguments: &[&str], input: &str) -> Said {
    let line = format!(
        "{{ {input}; }} | openssl s_client -connect {} -servername localhost -CAfile {} {}",
        broker.address(),
        ca.file().display(),
        arguments.join(" ")
    );
    run(Command::new("sh").args(["-c", &line]), PATIENCE * 2)
}

#[test]
fn openssl_resumes_its_sessions_and_does_not_renegotiate() {
    let ca = Ca::new("ca");
    let own = ca.sign("localhost", 1, Kind::Server);
    let broker = broker(2, &[TLS], &server(&own));
    let sessions = crate::broker::Scratch::new();
    for version in ["-tls1_2", "-tls1_3"] {
        let file = sessions.path(version).display().to_string();
        // A ticket of TLS 1.3 comes after the handshake.
        let first = s_client(
            &broker,
            &ca,
            &[version, "-sess_out", &file],
            "sleep 1; echo Q",
        );
        assert!(first.out.contains("New, TLSv1"), "{first:?}");
        assert!(first.out.contains("Verify return code: 0"), "{first:?}");
        let again = s_client(
            &broker,
            &ca,
            &[version, "-sess_in", &file],
            "sleep 1; echo Q",
        );
        assert!(again.out.contains("Reused, TLSv1"), "{again:?}");
    }
    let renegotiated = s_client(
        &broker,
        &ca,
        &["-tls1_2"],
        "sleep 1; echo R; sleep 1; echo Q",
    );
    let said = format!("{}{}", renegotiated.out, renegotiated.err);
    assert!(
        said.contains("RENEGOTIATING") && said.contains("no renegotiation"),
        "{said}"
    );
    let old = s_client(
        &broker,
        &ca,
        &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        "echo Q",
    );
    assert!(!old.out.contains("Verify return code: 0 (ok)") || old.out.contains("NONE"));
    await_log(&broker, &["protocol_version", "tlsv1.2, tlsv1.3"]);
    broker.stop();
}

#[test]
fn mosquitto_speaks_tls_with_a_certificate_of_its_own() {
    let ca = Ca::new("ca");
    let broker = broker(2, &[TLS], &mutual(&ca));
    let own = ca.sign("device", 7, Kind::Client);
    let port = broker.address().port().to_string();
    let files = [
        ca.file().display().to_string(),
        own.certificate.display().to_string(),
        own.key.display().to_string(),
    ];
    let mut arguments = vec![
        "-h",
        "localhost",
        "-p",
        &port,
        "-t",
        "t/1",
        "-r",
        "-m",
        "hello",
    ];
    arguments.extend([
        "--cafile", &files[0], "--cert", &files[1], "--key", &files[2],
    ]);
    arguments.extend(["-q", "1"]);
    let sent = run(Command::new("mosquitto_pub").args(&arguments), PATIENCE);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    let mut arguments = vec![
        "-h",
        "localhost",
        "-p",
        &port,
        "-t",
        "t/#",
        "-C",
        "1",
        "-W",
        "20",
    ];
    arguments.extend([
        "--cafile", &files[0], "--cert", &files[1], "--key", &files[2],
    ]);
    let got = run(Command::new("mosquitto_sub").args(&arguments), PATIENCE * 2);
    assert_eq!(got.out, "hello\n", "{got:?}");
    broker.stop();
}

#[test]
fn what_is_not_tls_on_a_tls_port_and_the_reverse_is_closed() {
    let ca = Ca::new("ca");
    let own = ca.sign("localhost", 1, Kind::Server);
    let broker = broker(2, &[TCP, TLS], &server(&own));
    let [plain, tls] = [broker.addresses[0], broker.addresses[1]];
    let mut bystander = connect(plain, &clean(Version::V311, "bystander"));
    for (first, hint) in [
        (
            &b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a"[..],
            "plain MQTT client",
        ),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "an HTTP client"),
        (b"\x80\x2e\x01\x03\x01", "does not speak TLS"),
    ] {
        let mut client = TcpStream::connect(tls).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(first).unwrap();
        let mut rest = Vec::new();
        // Closed, with or without a reset.
        let _ = client.read_to_end(&mut rest);
        assert!(rest.is_empty());
        await_log(&broker, &["not_tls", "ssl:default", hint]);
    }
    let refused = handshake(plain, &ca.client(None), "localhost");
    assert!(refused.is_err(), "TLS on the plain port");
    ping(&mut bystander);
    broker.stop();
}

#[test]
fn half_open_handshakes_by_the_thousand_do_not_hold_up_others() {
    let ca = Ca::new("ca");
    let own = ca.sign("localhost", 1, Kind::Server);
    let mut settings = server(&own);
    settings.push(("tls.max_handshakes", "64".to_owned()));
    settings.push(("tls.handshake_queue", "64".to_owned()));
    let broker = broker(2, &[TCP, TLS], &settings);
    let [plain, tls] = [broker.addresses[0], broker.addresses[1]];
    let mut bystander = connect(plain, &clean(Version::V311, "bystander"));
    let mut halves = Vec::new();
    for index in 0..1000 {
        let mut half = TcpStream::connect(tls).unwrap();
        if index % 2 == 0 {
            // Half a ClientHello; the others say nothing. It may be closed already.
            let _ = half.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
        }
        halves.push(half);
        if index % 50 == 0 {
            ping(&mut bystander);
        }
    }
    // Someone who means it comes through: at the latest when the others' patience is over.
    let deadline = Instant::now() + PATIENCE;
    while handshake(tls, &ca.client(None), "localhost").is_err() {
        assert!(Instant::now() < deadline, "nobody comes through");
        thread::sleep(Duration::from_millis(50));
    }
    ping(&mut bystander);
    drop(halves);
    broker.stop();
}

#[test]
fn wrong_files_are_said_at_the_start() {
    let ca = Ca::new("ca");
    let (one, two) = (
        ca.sign("localhost", 1, Kind::Server),
        ca.sign("localhost", 2, Kind::Server),
    );
    let mut settings = server(&one);
    settings[1].1 = two.key.display().to_string();
    let scratch = crate::broker::Scratch::new();
    let data = scratch.path("data").display().to_string();
    let settings = set(&settings);
    let mut arguments = vec!["--cores", "1", "--listen", TLS, "--data-dir", &data];
    for more in [&settings[..], &["--check".to_owned()]] {
        arguments.extend(more.iter().map(String::as_str));
        let said = say(&arguments);
        assert_eq!(said.code, Some(2), "{said:?}");
        let all = format!("{}{}", said.out, said.err);
        let want = "key `listeners.ssl.default.ssl_options.keyfile`: ";
        assert!(
            all.contains(want) && all.contains("does not belong to"),
            "{all}"
        );
    }
    let none = say(&["--listen", TLS, "--data-dir", &data]);
    assert!(
        none.err
            .contains("certfile`: a TLS listener needs this file"),
        "{none:?}"
    );
}

#[test]
fn websockets_over_tls_carry_mqtt() {
    let ca = Ca::new("ca");
    let own = ca.sign("localhost", 1, Kind::Server);
    let settings: Vec<(&str, String)> = vec![
        (
            "listeners.wss.default.ssl_options.certfile",
            own.certificate.display().to_string(),
        ),
        (
            "listeners.wss.default.ssl_options.keyfile",
            own.key.display().to_string(),
        ),
    ];
    let broker = broker(4, &["wss://127.0.0.1:0"], &settings);
    let sealed = relay(broker.address(), &ca.client(None), "localhost");
    for n in 0..4 {
        let mut client = WsClient::open(sealed);
        client.send(&connect_packet(&format!("w{n}")));
        client.expect(CONNACK);
        client.send(b"\xc0\0");
        client.expect(b"\xd0\0");
    }
    broker.stop();
}
