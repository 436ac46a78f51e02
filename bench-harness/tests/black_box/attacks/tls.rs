//! What is tried with TLS and is not told in `tls.rs` beside this directory.

use std::io::Write;
use std::process::Command;
use std::sync::Arc;

use rustls::client::Resumption;

use super::{dial, memory, until_closed};
use crate::broker::{Broker, Said, run};
use crate::peer::{PATIENCE, clean, connect, ping};
use crate::tls_peer::{Ca, Kind, handshake, relay, server, set};

const TLS: &str = "tls://127.0.0.1:0";

fn broker(settings: &[(&str, String)]) -> Broker {
    let settings = set(settings);
    let mut arguments = vec!["--cores", "2", "--listen", TLS];
    arguments.extend(settings.iter().map(String::as_str));
    Broker::with(&arguments)
}

fn s_client(broker: &Broker, ca: &Ca, arguments: &str) -> Said {
    let line = format!(
        "{{ sleep 1; echo Q; }} | openssl s_client -connect {} -servername localhost -CAfile {} {arguments}",
        broker.address(),
        ca.file().display(),
    );
    run(Command::new("sh").args(["-c", &line]), PATIENCE * 2)
}

#[test]
fn weak_suites_and_old_versions_are_refused() {
    let ca = Ca::new("ca");
    let broker = broker(&server(&ca.sign("localhost", 1, Kind::Server)));
    for weak in [
        "-tls1 -cipher ALL:@SECLEVEL=0",
        "-tls1_1 -cipher ALL:@SECLEVEL=0",
        "-tls1_2 -cipher AES128-SHA:@SECLEVEL=0",
        "-tls1_2 -cipher AES256-GCM-SHA384:@SECLEVEL=0",
        "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0",
        "-tls1_2 -cipher aNULL:@SECLEVEL=0",
        "-tls1_2 -cipher NULL:@SECLEVEL=0",
    ] {
        let said = s_client(&broker, &ca, weak);
        let none = said.out.contains("Cipher is (NONE)") || !said.out.contains("Cipher is");
        assert!(none, "{weak}: {said:?}");
    }
    let good = s_client(&broker, &ca, "-tls1_2");
    assert!(good.out.contains("Verify return code: 0"), "{good:?}");
    broker.stop();
}

#[test]
fn a_ticket_of_another_server_opens_nothing() {
    let ca = Ca::new("ca");
    let mut mutual = server(&ca.sign("localhost", 1, Kind::Server));
    mutual.extend([
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
    ]);
    let strict = broker(&mutual);
    let lax = broker(&server(&ca.sign("localhost", 2, Kind::Server)));
    // One client, whose memory of sessions knows both servers by one name.
    let mut config = Arc::unwrap_or_clone(ca.client(None));
    config.resumption = Resumption::in_memory_sessions(8);
    let config = Arc::new(config);
    handshake(lax.address(), &config, "localhost").unwrap();
    handshake(lax.address(), &config, "localhost").unwrap();
    let refused = handshake(strict.address(), &config, "localhost");
    assert!(
        refused.is_err(),
        "without a certificate by another's ticket"
    );
    strict.stop();
    lax.stop();
}

#[test]
fn a_certificate_for_servers_is_none_for_clients() {
    let ca = Ca::new("ca");
    let mut mutual = server(&ca.sign("localhost", 1, Kind::Server));
    mutual.extend([
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
    ]);
    let broker = broker(&mutual);
    let wrong = ca.sign("localhost", 3, Kind::Server);
    let refused = handshake(broker.address(), &ca.client(Some(&wrong)), "localhost");
    assert!(refused.is_err());
    let good = ca.sign("device", 4, Kind::Client);
    assert!(handshake(broker.address(), &ca.client(Some(&good)), "localhost").is_ok());
    broker.stop();
}

#[test]
fn records_of_garbage_and_endless_hellos_are_cut() {
    let ca = Ca::new("ca");
    let broker = broker(&server(&ca.sign("localhost", 1, Kind::Server)));
    let before = memory(&broker);
    for first in [
        // A record of 65,535 bytes.
        vec![0x16, 3, 1, 0xFF, 0xFF],
        // An alert, application data and a change of cipher before any hello.
        vec![0x15, 3, 3, 0, 2, 2, 40],
        vec![0x17, 3, 3, 0, 4, 1, 2, 3, 4],
        vec![0x14, 3, 3, 0, 1, 1],
        // A hello of 16 MB that comes in records.
        [
            &[0x16, 3, 1, 0x40, 0, 1, 0xFF, 0xFF, 0xFF][..],
            &[0; 16_380],
        ]
        .concat(),
    ] {
        let mut stream = dial(broker.address());
        for _ in 0..64 {
            if stream.write_all(&first).is_err() {
                break;
            }
        }
        let said = until_closed(&mut stream);
        assert!(said.is_empty() || said[0] == 0x15, "{said:?}");
    }
    let sealed = relay(broker.address(), &ca.client(None), "localhost");
    ping(&mut connect(sealed, &clean(super::V5, "c")));
    assert!(memory(&broker) < before + (64 << 20));
    broker.stop();
}
