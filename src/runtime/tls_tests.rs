//! Listeners, handshake threads and what comes back, over sockets of this machine.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use rustls::{ClientConfig, StreamOwned};

use super::tls_faults::FaultKind;
use super::tls_listener::TlsListener;
use super::tls_names::NamesWanted;
use super::tls_pki::{Ca, Files, Purpose, Signed, connection};
use super::tls_threads::{Established, TlsDone, TlsJob, TlsPort, TlsThreads, TlsThreadsConfig};
use super::transport::Envelope;
use super::wake::Wakers;
use crate::base::ids::CoreId;
use crate::config::{SessionTickets, TlsListenerSettings, TlsVerify};
use crate::gate::reply::Reply;
use crate::gate::tls::{TlsReloaded, TlsRequest};
use crate::metrics::{Counter, MetricsRegistry};

const PATIENCE: Duration = Duration::from_secs(30);
const VERSIONS: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

/// Handshake threads for one core and one listener.
struct World {
    threads: Option<TlsThreads>,
    port: TlsPort,
    metrics: MetricsRegistry,
    listener: Arc<TlsListener>,
    door: TcpListener,
}

const SMALL: TlsThreadsConfig = TlsThreadsConfig {
    threads: 2,
    queue: 64,
    in_work_max: 64,
    names: NamesWanted {
        crt: false,
        pem: false,
        md5: true,
    },
};

impl World {
    fn new(settings: &TlsListenerSettings) -> Self {
        Self::with(settings, SMALL)
    }

    fn with(settings: &TlsListenerSettings, config: TlsThreadsConfig) -> Self {
        let loaded = TlsListener::load("ssl:default".to_owned(), settings, config.threads);
        let listener = Arc::new(loaded.unwrap().0);
        let (metrics, handles) = MetricsRegistry::new(config.threads);
        let listeners: Arc<[_]> = [Some(Arc::clone(&listener))].into();
        let wakers = Wakers::new(1).unwrap();
        let (threads, ports) = TlsThreads::start(config, &listeners, 1, &wakers, handles).unwrap();
        Self {
            threads: Some(threads),
            port: ports.into_iter().next().unwrap(),
            metrics,
            listener,
            door: TcpListener::bind("127.0.0.1:0").unwrap(),
        }
    }

    fn dial(&self) -> TcpStream {
        let client = TcpStream::connect(self.door.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client
    }

    /// Accepts the next connection and hands it over.
    fn accept(&mut self) -> Result<(), TlsJob> {
        let (socket, peer) = self.door.accept().unwrap();
        self.port.offer(TlsJob {
            core: CoreId(0),
            accepted_us: 5,
            peer_names: None,
            listener: 0,
            peer,
            socket: socket.into(),
            unread: Vec::new(),
        })
    }

    fn done(&self) -> TlsDone {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(done) = self.port.done() {
                return done;
            }
            assert!(Instant::now() < deadline, "nothing came back");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// One client's handshake; it says `hello` behind it. What came back, and what the client saw.
    fn handshake(
        &mut self,
        client: &Arc<ClientConfig>,
        server: &str,
    ) -> (TlsDone, std::io::Result<String>) {
        let socket = self.dial();
        let connection = connection(client, server);
        let (tell, told) = bounded(1);
        let talk = std::thread::spawn(move || {
            let mut stream = StreamOwned::new(connection, socket);
            let said = stream.write_all(b"hello").and_then(|()| stream.flush());
            // The broker's word is awaited, or its alert.
            let mut answer = [0; 5];
            let heard = said.and_then(|()| stream.read_exact(&mut answer));
            let names = |chain: &[rustls::pki_types::CertificateDer<'_>]| format!("{:?}", chain[0]);
            let seen = stream.conn.peer_certificates().map(names);
            tell.send(heard.map(|()| seen.unwrap_or_default())).unwrap();
        });
        self.accept().unwrap();
        let mut done = self.done();
        if let Ok(established) = &mut done.outcome {
            answer(established);
        }
        let heard = told.recv_timeout(PATIENCE).unwrap();
        talk.join().unwrap();
        (done, heard)
    }

    fn outcome(&mut self, client: &Arc<ClientConfig>) -> Result<Box<Established>, FaultKind> {
        self.handshake(client, "localhost").0.outcome
    }

    fn reload(&self) -> TlsReloaded {
        let (tell, told) = bounded(1);
        let reply = Reply::new(move |reloaded| tell.send(reloaded).unwrap());
        let threads = self.threads.as_ref().unwrap();
        threads.desk().ask(TlsRequest::Reload(reply)).unwrap();
        told.recv_timeout(PATIENCE).unwrap()
    }

    fn count(&self, counter: Counter) -> u64 {
        self.metrics.count(counter)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.stop();
        }
    }
}

/// Reads until `hello` is there, as a core would, and answers.
fn answer(established: &mut Established) {
    let mut wire = Vec::new();
    let mut socket = TcpStream::from(established.socket.try_clone().unwrap());
    let mut some = [0; 1000];
    while established.plain.len() < 5 {
        let count = socket.read(&mut some).unwrap();
        assert_ne!(count, 0, "the client has gone");
        established
            .envelope
            .receive(&some[..count], &mut established.plain, &mut wire)
            .unwrap();
    }
    established.envelope.send(b"world", &mut wire);
    socket.write_all(&wire).unwrap();
}

fn is_blocking(fd: &OwnedFd) -> bool {
    let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
    let info = std::fs::read_to_string(path).unwrap();
    let flags = info
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .unwrap();
    let flags = i32::from_str_radix(flags.trim(), 8).unwrap();
    flags & libc::O_NONBLOCK == 0
}

fn server(ca: &Ca) -> Signed {
    ca.sign("localhost", 1, &Purpose::Server)
}

#[test]
fn a_handshake_comes_back_with_everything() {
    let (ca, files) = (Ca::new("ca"), Files::new());
    let mut world = World::new(&files.settings(&server(&ca)));
    for (version, name) in VERSIONS.into_iter().zip(["tlsv1.2", "tlsv1.3"]) {
        let client = Arc::new(ca.client(None, &[version]));
        let (done, heard) = world.handshake(&client, "localhost");
        let established = done.outcome.unwrap();
        assert_eq!(established.plain, b"hello");
        assert_eq!(established.agreed.version, name);
        assert!(
            established.agreed.cipher.contains("AES_256_GCM"),
            "{established:?}"
        );
        assert_eq!(established.server_name.as_deref(), Some("localhost"));
        assert_eq!(established.peer_names, None);
        assert!(is_blocking(&established.socket));
        heard.unwrap();
    }
    assert_eq!(world.count(Counter::TlsHandshakesFull), 2);
}

#[test]
fn sessions_are_resumed_unless_switched_off() {
    let (ca, files) = (Ca::new("ca"), Files::new());
    let mut settings = files.settings(&server(&ca));
    // Tickets, then session ids, then neither. TLS 1.3 has no session ids.
    for (reuse, tickets, resumed) in [
        (true, SessionTickets::Stateless, [1, 1]),
        (true, SessionTickets::Disabled, [1, 0]),
        (false, SessionTickets::Stateless, [0, 0]),
    ] {
        settings.options.reuse_sessions = reuse;
        settings.options.session_tickets = tickets;
        for (version, resumed) in VERSIONS.into_iter().zip(resumed) {
            let mut world = World::new(&settings);
            let client = Arc::new(ca.client(None, &[version]));
            world.outcome(&client).unwrap();
            world.outcome(&client).unwrap();
            let count = world.count(Counter::TlsHandshakesResumed);
            assert_eq!(count, resumed, "{reuse} {tickets:?} {version:?}");
        }
    }
}

/// A listener that verifies clients of `ca`; serial number 66 is revoked.
fn mutual(ca: &Ca, files: &Files, required: bool) -> TlsListenerSettings {
    let mut settings = files.settings(&server(ca));
    settings.options.verify = TlsVerify::Peer;
    settings.options.cacertfile = Some(files.write("ca.pem", &ca.pem));
    settings.options.fail_if_no_peer_cert = required;
    settings.options.enable_crl_check = true;
    settings.options.crl_file = Some(files.write("crl.pem", &ca.revoke(&[66])));
    settings
}

#[test]
fn clients_are_verified() {
    let (ca, files) = (Ca::new("ca"), Files::new());
    let mut world = World::new(&mutual(&ca, &files, true));
    let other = Ca::new("other");
    for version in VERSIONS {
        let mut outcome = |own: Option<Signed>| {
            let client = Arc::new(ca.client(own.as_ref(), &[version]));
            let (done, heard) = world.handshake(&client, "localhost");
            assert_eq!(done.outcome.is_ok(), heard.is_ok());
            let told = heard.map_err(|error| error.to_string()).err();
            (
                done.outcome.map(|ok| ok.peer_names),
                told.unwrap_or_default(),
            )
        };
        let (good, _) = outcome(Some(ca.sign("device", 7, &Purpose::Client)));
        let names = good.unwrap().unwrap();
        assert_eq!(names.common_name.as_deref(), Some("device"));
        assert_eq!((names.md5.is_some(), names.crt), (true, None));
        for (own, want, alert) in [
            (None, FaultKind::CertificateRequired, ""),
            (
                Some(other.sign("device", 7, &Purpose::Client)),
                FaultKind::UnknownCa,
                "UnknownCA",
            ),
            (
                Some(ca.sign("device", 8, &Purpose::ExpiredClient)),
                FaultKind::CertificateExpired,
                "CertificateExpired",
            ),
            (
                Some(ca.sign("device", 66, &Purpose::Client)),
                FaultKind::CertificateRevoked,
                "CertificateRevoked",
            ),
            (
                Some(ca.sign("server", 9, &Purpose::Server)),
                FaultKind::BadCertificate,
                "UnsupportedCertificate",
            ),
        ] {
            let (got, told) = outcome(own);
            assert_eq!(got.unwrap_err(), want, "{version:?}");
            assert!(told.contains(alert), "{want:?} {version:?}: {told}");
        }
    }
    for counter in [
        Counter::TlsFailedCertificateRequired,
        Counter::TlsFailedUnknownCa,
        Counter::TlsFailedCertificateExpired,
        Counter::TlsFailedCertificateRevoked,
        Counter::TlsFailedBadCertificate,
    ] {
        assert_eq!(world.count(counter), 2, "{}", counter.name());
    }
}

#[test]
fn a_certificate_may_be_left_out_where_it_is_not_required() {
    let (ca, files) = (Ca::new("ca"), Files::new());
    let mut world = World::new(&mutual(&ca, &files, false));
    let client = Arc::new(ca.client(None, &VERSIONS));
    assert_eq!(world.outcome(&client).unwrap().peer_names, None);
}

#[test]
fn the_name_of_the_server_chooses_the_certificate() {
    let (ca, files) = (Ca::new("ca"), Files::new());
    let mut settings = files.settings(&server(&ca));
    for name in ["one.example", "*.many.example"] {
        let own = ca.sign(name, 2, &Purpose::Server);
        let file = name.trim_start_matches("*.").replace('.', "-");
        settings.sni.push(files.sni(&file, &own));
    }
    let mut world = World::new(&settings);
    let client = Arc::new(ca.client(None, &VERSIONS));
    for name in ["one.example", "a.many.example", "localhost"] {
        let (done, heard) = world.handshake(&client, name);
        // The client has verified that the certificate is for that name.
        heard.unwrap();
        assert_eq!(done.outcome.unwrap().server_name.as_deref(), Some(name));
    }
    let (done, heard) = world.handshake(&client, "nobody.example");
    assert!(heard.is_err());
    let fault = done.outcome.unwrap_err();
    assert_eq!(
        fault,
        FaultKind::BadCertificate,
        "the client refuses the default one"
    );
}

#[test]
fn new_files_are_used_from_the_next_handshake_on() {
    let (ca, files) = (Ca::new("ca"), Files::new());
    let mut world = World::new(&mutual(&ca, &files, true));
    let device = ca.sign("device", 7, &Purpose::Client);
    let client = Arc::new(ca.client(Some(&device), &[&rustls::version::TLS13]));
    let (first, seen) = world.handshake(&client, "localhost");
    let mut old = first.outcome.unwrap();
    // A broken file changes nothing.
    files.write("server.pem", "nothing");
    let reloaded = world.reload();
    assert_eq!(reloaded.reloaded, [""; 0]);
    assert!(
        reloaded.failed[0]
            .1
            .contains("server.pem: there is no certificate"),
        "{reloaded:?}"
    );
    assert_eq!(world.count(Counter::TlsReloadsFailed), 1);
    let again = world.outcome(&client).unwrap();
    assert!(again.agreed.resumed);
    // A new certificate and a list that revokes the client.
    let renewed = server(&ca);
    files.write("server.pem", &renewed.pem);
    files.write("server.key", &renewed.key);
    assert_eq!(world.reload().reloaded, ["ssl:default"]);
    let fresh = Arc::new(ca.client(Some(&device), &VERSIONS));
    let (done, renewed_seen) = world.handshake(&fresh, "localhost");
    assert!(done.outcome.is_ok());
    assert_ne!(seen.unwrap(), renewed_seen.unwrap());
    assert!(
        world.outcome(&client).unwrap().agreed.resumed,
        "sessions stay"
    );
    files.write("crl.pem", &ca.revoke(&[66, 7]));
    world.reload();
    let revoked = world.outcome(&client).unwrap_err();
    assert_eq!(
        revoked,
        FaultKind::CertificateRevoked,
        "nobody resumes past a new list"
    );
    // The first connection is as it was.
    let mut wire = Vec::new();
    old.envelope.send(b"still here", &mut wire);
    assert!(!wire.is_empty());
}

#[test]
fn what_is_not_tls_is_told_apart_and_closed() {
    let (ca, files) = (Ca::new("ca"), Files::new());
    let mut world = World::new(&files.settings(&server(&ca)));
    for (first, want) in [
        (
            &b"\x10\x0c\x00\x04MQTT\x05\x02\x00\x3c\x00\x00"[..],
            FaultKind::PlainMqtt,
        ),
        (b"GET /mqtt HTTP/1.1\r\n\r\n", FaultKind::PlainHttp),
        (b"\x16\x03\x01\x00\x02\x01\x00", FaultKind::HandshakeFailure),
    ] {
        let mut client = world.dial();
        client.write_all(first).unwrap();
        world.accept().unwrap();
        if want == FaultKind::HandshakeFailure {
            // Half a hello, then the end.
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let closed = world.done().outcome.unwrap_err();
            assert_eq!(closed, FaultKind::Closed);
        } else {
            assert_eq!(world.done().outcome.unwrap_err(), want);
        }
        let mut rest = Vec::new();
        assert!(client.read_to_end(&mut rest).is_ok_and(|n| n == 0) || rest.is_empty());
    }
    assert_eq!(world.count(Counter::TlsFailedNotTls), 2);
    assert_eq!(world.count(Counter::TlsFailedClosed), 1);
}

#[test]
fn what_was_read_before_counts() {
    let (ca, files) = (Ca::new("ca"), Files::new());
    let mut world = World::new(&files.settings(&server(&ca)));
    let mut hello = Vec::new();
    let client = Arc::new(ca.client(None, &VERSIONS));
    let mut connection = connection(&client, "localhost");
    connection.write_tls(&mut hello).unwrap();
    let socket = world.dial();
    let (accepted, peer) = world.door.accept().unwrap();
    let job = TlsJob {
        core: CoreId(0),
        accepted_us: 5,
        peer_names: None,
        listener: 0,
        peer,
        socket: accepted.into(),
        unread: hello,
    };
    world.port.offer(job).unwrap();
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(b"hello").unwrap();
    assert_eq!(world.done().outcome.unwrap().accepted_us, 5);
}

#[test]
fn no_version_or_suite_in_common_is_told() {
    let (ca, files) = (Ca::new("ca"), Files::new());
    let mut settings = files.settings(&server(&ca));
    settings.options.versions = vec![crate::config::TlsVersion::V13];
    let mut world = World::new(&settings);
    let old = Arc::new(ca.client(None, &[&rustls::version::TLS12]));
    let (done, heard) = world.handshake(&old, "localhost");
    assert_eq!(done.outcome.unwrap_err(), FaultKind::ProtocolVersion);
    assert!(heard.unwrap_err().to_string().contains("ProtocolVersion"));
    settings.options.versions = vec![crate::config::TlsVersion::V12];
    settings.options.ciphers = Some(vec![crate::config::TlsCipher::RsaAes128]);
    let mut world = World::new(&settings);
    // The certificate's key is an elliptic one, and the only suite wants RSA.
    let fault = world.outcome(&old).unwrap_err();
    assert_eq!(fault, FaultKind::NoSuitableCipher);
}

#[test]
fn handshakes_are_bounded_in_time_and_number() {
    let (ca, files) = (Ca::new("ca"), Files::new());
    let mut settings = files.settings(&server(&ca));
    settings.options.handshake_timeout = Duration::from_millis(50);
    let mut world = World::new(&settings);
    let silent = world.dial();
    world.accept().unwrap();
    assert_eq!(world.done().outcome.unwrap_err(), FaultKind::Timeout);
    drop(silent);
    // One place, one that waits for it, and no room for a third.
    settings.options.handshake_timeout = Duration::from_secs(300);
    let config = TlsThreadsConfig {
        threads: 1,
        queue: 1,
        in_work_max: 1,
        ..SMALL
    };
    let mut world = World::with(&settings, config);
    let mut silent = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    let mut taken = 0;
    while taken < 2 {
        silent.push(world.dial());
        taken += u32::from(world.accept().is_ok());
        assert!(
            Instant::now() < deadline,
            "the thread does not take up the first"
        );
    }
    let another = world.dial();
    assert!(world.accept().is_err(), "the queue is full");
    drop(another);
    // The one that says nothing makes room for the next.
    let done = world.done();
    assert_eq!(done.outcome.unwrap_err(), FaultKind::Timeout);
    assert!(world.count(Counter::TlsFailedTimeout) >= 1);
}

#[test]
fn wrong_files_are_named_with_their_setting() {
    let (ca, files) = (Ca::new("ca"), Files::new());
    let good = files.settings(&server(&ca));
    let other = server(&ca);
    let said = |change: &dyn Fn(&mut TlsListenerSettings)| {
        let mut settings = good.clone();
        change(&mut settings);
        TlsListener::load("ssl:default".to_owned(), &settings, 1).unwrap_err()
    };
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    for (change, want) in [
        (
            &(|s: &mut TlsListenerSettings| s.options.certfile = None)
                as &dyn Fn(&mut TlsListenerSettings),
            "certfile`: a TLS listener needs this file",
        ),
        (
            &|s| s.options.certfile = Some("/no/such.pem".into()),
            "certfile`: /no/such.pem: No such file",
        ),
        (
            &|s| s.options.certfile = s.options.keyfile.clone(),
            "server.key: there is no certificate in the file",
        ),
        (
            &|s| s.options.keyfile = s.options.certfile.clone(),
            "server.pem: there is no private key",
        ),
        (
            &|s| s.options.keyfile = Some(files.write("other.key", &other.key)),
            "other.key: the key does not belong to the first certificate in",
        ),
        (
            &|s| s.options.keyfile = Some(files.write("secret.key", encrypted)),
            "secret.key: the key is encrypted, which is not supported",
        ),
        (
            &|s| s.options.verify = TlsVerify::Peer,
            "cacertfile`: a TLS listener needs this file",
        ),
        (
            &|s| {
                *s = mutual(&ca, &files, true);
                s.options.crl_file = s.options.certfile.clone();
            },
            "crl_file`: ",
        ),
        (
            &|s| s.options.ocsp_staple_file = s.options.certfile.clone(),
            "ocsp_staple_file`: ",
        ),
        (
            &|s| {
                s.options.versions = vec![crate::config::TlsVersion::V13];
                s.options.ciphers = Some(vec![crate::config::TlsCipher::RsaAes128]);
            },
            "ssl_options.ciphers` do not fit",
        ),
    ] {
        let said = said(change);
        assert!(said.contains(want), "{said}");
        assert!(
            said.contains("`listeners.ssl.default.ssl_options."),
            "{said}"
        );
    }
}

#[test]
fn a_certificate_whose_time_is_over_is_warned_of() {
    let (ca, files) = (Ca::new("ca"), Files::new());
    let settings = files.settings(&ca.sign("localhost", 1, &Purpose::ExpiredClient));
    let (_, warnings) = TlsListener::load("ssl:default".to_owned(), &settings, 1).unwrap();
    assert!(
        warnings[0].contains("the certificate has expired on"),
        "{warnings:?}"
    );
}

#[test]
fn the_listener_is_the_one_that_was_loaded() {
    let (ca, files) = (Ca::new("ca"), Files::new());
    let world = World::new(&files.settings(&server(&ca)));
    assert_eq!(world.listener.name, "ssl:default");
    assert_eq!(world.listener.handshake_timeout, Duration::from_secs(15));
}
