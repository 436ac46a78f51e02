//! OCSP responses that the broker fetches: `openssl ocsp` as the responder, `openssl s_client` as the client
//! that asks for a staple.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bench_harness::codec::Version;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::broker::{Broker, Scratch, run};
use crate::http_stub::HttpStub;
use crate::peer::{PATIENCE, clean, connect, ping};
use crate::tls_peer::{relay, set};

/// A CA of OpenSSL with its list of certificates.
struct Ca {
    scratch: Scratch,
}

impl Ca {
    fn new() -> Self {
        let ca = Self {
            scratch: Scratch::new(),
        };
        ca.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "9",
            "-subj",
            "/CN=ca",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ]);
        fs::write(ca.path("extensions"), "subjectAltName=DNS:localhost\n").unwrap();
        ca
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path(name)
    }

    fn openssl(&self, arguments: &[&str]) {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(self.scratch.path(""));
        let said = run(&mut command, PATIENCE);
        assert_eq!(said.code, Some(0), "{arguments:?}: {said:?}");
    }

    /// Certificate and key as `server.pem` and `server.key`, with this serial number.
    fn sign(&self, serial: u32) {
        self.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            "/CN=localhost",
            "-keyout",
            "new.key",
            "-out",
            "server.csr",
        ]);
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-set_serial",
            &serial.to_string(),
            "-days",
            "2",
            "-extfile",
            "extensions",
            "-out",
            "server.pem",
        ]);
        fs::rename(self.path("new.key"), self.path("server.key")).unwrap();
    }

    /// Which certificates there are, and which of them are revoked.
    fn list(&self, serials: &[(u32, bool)]) {
        let line = |(serial, revoked): &(u32, bool)| {
            let (kind, when) = if *revoked {
                ("R", "200101000000Z")
            } else {
                ("V", "")
            };
            format!(
                "{kind}\t351231235959Z\t{when}\t{serial:04X}\tunknown\t/CN=localhost-{serial}\n"
            )
        };
        let lines: String = serials.iter().map(line).collect();
        fs::write(self.path("index.txt"), lines).unwrap();
    }
}

/// `openssl ocsp` at work; killed with its value.
struct Responder {
    child: Child,
    address: SocketAddr,
}

impl Responder {
    fn start(ca: &Ca, port: u16) -> Self {
        let mut child = Command::new("openssl")
            .args([
                "ocsp",
                "-port",
                &port.to_string(),
                "-index",
                "index.txt",
                "-CA",
                "ca.pem",
            ])
            .args(["-rkey", "ca.key", "-rsigner", "ca.pem", "-nmin", "60"])
            .current_dir(ca.scratch.path(""))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.find_map(|line| Some(line.ok()?).filter(|line| line.contains("ACCEPT")));
        let line = line.expect("it says where it listens");
        // `ACCEPT [::]:46293 PID=28991`
        let port = line
            .split(' ')
            .nth(1)
            .and_then(|place| place.rsplit(':').next());
        let port: u16 = port.unwrap().parse().unwrap();
        thread::spawn(move || for _ in lines {});
        Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that trusts this CA.
fn trusting(ca: &Ca) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(ca.path("ca.pem")).unwrap();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// What `openssl s_client` says of a handshake in which it asks for a staple.
fn asked(broker: &Broker, ca: &Ca) -> String {
    let mut command = Command::new("openssl");
    command
        .args([
            "s_client",
            "-status",
            "-CAfile",
            "ca.pem",
            "-servername",
            "localhost",
        ])
        .arg("-connect")
        .arg(broker.address().to_string())
        .current_dir(ca.scratch.path(""));
    run(&mut command, PATIENCE).out
}

/// Handshakes until what OpenSSL says has all these words.
fn await_staple(broker: &Broker, ca: &Ca, words: &[&str]) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = asked(broker, ca);
        if words.iter().all(|word| said.contains(word)) {
            return said;
        }
        assert!(
            Instant::now() < deadline,
            "no {words:?} in:\n{said}\nthe broker says:\n{}",
            broker.log()
        );
        thread::sleep(Duration::from_millis(100));
    }
}

fn broker(ca: &Ca, responder: SocketAddr) -> Broker {
    let file = |name: &str| ca.path(name).display().to_string();
    let prefix = "listeners.ssl.default.ssl_options";
    let settings: Vec<(String, String)> = [
        ("certfile", file("server.pem")),
        ("keyfile", file("server.key")),
        ("ocsp.enable_ocsp_stapling", "true".to_owned()),
        ("ocsp.responder_url", format!("http://{responder}/")),
        ("ocsp.issuer_pem", file("ca.pem")),
        ("ocsp.refresh_interval", "1s".to_owned()),
        ("ocsp.refresh_http_timeout", "5s".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (format!("{prefix}.{name}"), value))
    .collect();
    let settings: Vec<(&str, String)> = settings
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    let settings = set(&settings);
    let mut arguments = vec!["--cores", "1", "--listen", "tls://127.0.0.1:0"];
    arguments.extend(settings.iter().map(String::as_str));
    Broker::with(&arguments)
}

const GOOD: &str = "OCSP Response Status: successful";

#[test]
fn responses_are_fetched_and_exchanged_while_connections_stay() {
    let ca = Ca::new();
    ca.sign(0x1001);
    ca.list(&[(0x1001, false), (0x1002, false)]);
    let responder = Responder::start(&ca, 0);
    let address = responder.address;
    let broker = broker(&ca, address);
    let sealed = relay(broker.address(), &trusting(&ca), "localhost");
    let mut client = connect(sealed, &clean(Version::V311, "stays"));
    let said = await_staple(
        &broker,
        &ca,
        &[GOOD, "Cert Status: good", "Verify return code: 0"],
    );
    assert!(said.contains("Serial Number: 1001"), "{said}");

    // A responder that is away: the last response still holds.
    drop(responder);
    let deadline = Instant::now() + PATIENCE;
    while !broker
        .log()
        .contains("no ocsp response for listener ssl:default")
    {
        assert!(Instant::now() < deadline, "{}", broker.log());
        thread::sleep(Duration::from_millis(50));
    }
    assert!(asked(&broker, &ca).contains("Cert Status: good"));

    // Revoked meanwhile: clients are told so.
    ca.list(&[(0x1001, true), (0x1002, false)]);
    let responder = Responder::start(&ca, address.port());
    await_staple(&broker, &ca, &[GOOD, "Cert Status: revoked"]);

    // A new certificate has a response of its own.
    ca.sign(0x1002);
    broker.signal("HUP");
    let words = [GOOD, "Cert Status: good", "Serial Number: 1002"];
    await_staple(&broker, &ca, &words);
    ping(&mut client);
    drop(responder);
    broker.stop();
}

#[test]
fn what_is_no_response_is_not_stapled() {
    let ca = Ca::new();
    ca.sign(0x1001);
    // The responder has never heard of it, and says so.
    ca.list(&[]);
    let responder = Responder::start(&ca, 0);
    let broker_of_unknown = broker(&ca, responder.address);
    await_staple(&broker_of_unknown, &ca, &[GOOD, "Cert Status: unknown"]);
    broker_of_unknown.stop();
    drop(responder);

    // One that answers with a page.
    let page = HttpStub::start(|_| (200, "<html>".to_owned()));
    let broker = broker(&ca, page.address);
    let deadline = Instant::now() + PATIENCE;
    while !broker.log().contains("its answer is of no use") {
        assert!(Instant::now() < deadline, "{}", broker.log());
        thread::sleep(Duration::from_millis(50));
    }
    assert!(asked(&broker, &ca).contains("OCSP response: no response sent"));
    broker.stop();
}

#[test]
fn an_issuer_that_is_none_is_said_at_the_start() {
    let (ca, other) = (Ca::new(), Ca::new());
    other.openssl(&[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "9",
        "-subj",
        "/CN=other",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
    ]);
    ca.sign(1);
    let file = |path: PathBuf| path.display().to_string();
    for (name, value, why) in [
        (
            "issuer_pem",
            file(other.path("ca.pem")),
            "is not the certificate of the CA",
        ),
        (
            "responder_url",
            "ldap://x".to_owned(),
            "as http:// or https://",
        ),
    ] {
        let settings = [
            ("certfile", file(ca.path("server.pem"))),
            ("keyfile", file(ca.path("server.key"))),
            ("ocsp.enable_ocsp_stapling", "true".to_owned()),
            ("ocsp.issuer_pem", file(ca.path("ca.pem"))),
            ("ocsp.responder_url", "http://127.0.0.1:1/".to_owned()),
        ];
        let mut arguments = vec!["--listen".to_owned(), "tls://127.0.0.1:0".to_owned()];
        for (name, value) in settings
            .iter()
            .chain([&(format!("ocsp.{name}").as_str(), value)])
        {
            arguments.push("--set".to_owned());
            arguments.push(format!("listeners.ssl.default.ssl_options.{name}={value}"));
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let said = Broker::try_with(&arguments).unwrap_err();
        let key = format!("listeners.ssl.default.ssl_options.ocsp.{name}");
        assert!(said.contains(&key) && said.contains(why), "{said}");
    }
}
