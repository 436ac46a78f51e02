//! What comes in that is none of PROXY, WebSocket or TLS: each such connection ends, is counted with its
//! reason, and nobody else notices.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench_harness::client::Client;
use bench_harness::codec::Version;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use crate::broker::Broker;
use crate::ends::report;
use crate::peer::{PATIENCE, clean, connect, ping};
use crate::tls_peer::{Ca, Kind, server, set};
use crate::ws_peer::{CONNACK, MQTT, WsClient, connect_packet, frame, request};

/// One of a corpus: what it is, and its bytes.
type Case = (&'static str, Vec<u8>);

/// A counter of the broker, all listeners and cores together.
fn counter(broker: &Broker, name: &str) -> u64 {
    let report = report(broker);
    let value = &report["metrics"][name];
    value
        .as_u64()
        .unwrap_or_else(|| panic!("no counter {name}: {report}"))
}

/// Waits until a counter stands at a value; it never passes it.
fn expect_counter(broker: &Broker, name: &str, wanted: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = counter(broker, name);
        if now == wanted {
            return;
        }
        assert!(
            now < wanted && Instant::now() < deadline,
            "{name}: {now}, not {wanted}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Everything that comes until the broker ends the connection; it has to.
fn heard(mut stream: &TcpStream, case: &str) -> Vec<u8> {
    let mut got = Vec::new();
    match stream.read_to_end(&mut got) {
        Ok(_) => {}
        // It closes before it has read everything.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{case}: {error}"),
    }
    got
}

/// Sends bytes and hears the rest. The broker may have closed already.
fn sent(address: SocketAddr, bytes: &[u8], case: &str) -> Vec<u8> {
    let mut stream = dial(address);
    let _ = stream.write_all(bytes);
    heard(&stream, case)
}

/// A version 2 header: version and command, family, body, with that length.
fn v2(command: u8, family: u8, len: u16, body: &[u8]) -> Vec<u8> {
    let head = b"\r\n\r\n\0\r\nQUIT\n";
    [&head[..], &[command, family], &len.to_be_bytes(), body].concat()
}

fn proxy_headers() -> Vec<Case> {
    [lines_of_version_1(), headers_of_version_2()].concat()
}

fn lines_of_version_1() -> Vec<Case> {
    let line = |text: &str| text.as_bytes().to_vec();
    vec![
        ("mqtt without a header", connect_packet("x")),
        (
            "a space before it",
            line(" PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n"),
        ),
        ("small letters", line("proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n")),
        ("two spaces", line("PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n")),
        ("no such family", line("PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n")),
        ("too few words", line("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n")),
        (
            "too many words",
            line("PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n"),
        ),
        ("octal", line("PROXY TCP4 01.2.3.4 1.2.3.4 1 1\r\n")),
        (
            "an address of five",
            line("PROXY TCP4 1.2.3.4.5 1.2.3.4 1 1\r\n"),
        ),
        ("the other family", line("PROXY TCP4 ::1 ::1 1 1\r\n")),
        ("a name", line("PROXY TCP4 localhost 1.2.3.4 1 1\r\n")),
        (
            "a port too large",
            line("PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n"),
        ),
        (
            "a port with a sign",
            line("PROXY TCP4 1.2.3.4 1.2.3.4 +1 1\r\n"),
        ),
        (
            "a port with a zero",
            line("PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n"),
        ),
        (
            "a line that does not end",
            [&b"PROXY UNKNOWN "[..], &[b'x'; 120]].concat(),
        ),
        ("no text", b"PROXY TCP4 \xff\xfe 1.2.3.4 1 1\r\n".to_vec()),
    ]
}

fn headers_of_version_2() -> Vec<Case> {
    let addresses = [10, 0, 0, 1, 10, 0, 0, 2, 4, 0, 7, 91];
    let with = |extension: &[u8]| {
        let body = [&addresses[..], extension].concat();
        v2(0x21, 0x11, u16::try_from(body.len()).unwrap(), &body)
    };
    vec![
        ("version 1 in version 2", v2(0x11, 0x11, 12, &addresses)),
        ("version 3", v2(0x31, 0x11, 12, &addresses)),
        ("no such command", v2(0x22, 0x11, 12, &addresses)),
        (
            "no such family of version 2",
            v2(0x21, 0x41, 12, &addresses),
        ),
        ("datagrams of nothing", v2(0x21, 0x13, 12, &addresses)),
        (
            "addresses that are too short",
            v2(0x21, 0x11, 11, &addresses[..11]),
        ),
        (
            "a length beyond all bounds",
            v2(0x21, 0x11, u16::MAX, &[0; 5000]),
        ),
        ("an extension without a length", with(&[0x20])),
        (
            "an extension that is longer than all",
            with(&[0x20, 0xff, 0xff, 1]),
        ),
        ("tls without a verdict", with(&[0x20, 0, 2, 7, 0])),
        (
            "tls with half an extension",
            with(&[0x20, 0, 7, 7, 0, 0, 0, 0, 0x22, 9]),
        ),
        (
            "a name that is no text",
            with(&[0x20, 0, 9, 7, 0, 0, 0, 0, 0x22, 0, 1, 0xff]),
        ),
        (
            "an empty name",
            with(&[0x20, 0, 8, 7, 0, 0, 0, 0, 0x22, 0, 0]),
        ),
        ("a wrong sum", with(&[3, 0, 4, 1, 2, 3, 4])),
        ("a sum of three bytes", with(&[3, 0, 3, 1, 2, 3])),
    ]
}

#[test]
fn malformed_proxy_headers() {
    let broker = Broker::with(&[
        "--cores",
        "2",
        "--listen",
        "tcp://127.0.0.1:0",
        "--set",
        "listeners.tcp.default.proxy_protocol=true",
        "--set",
        "listeners.tcp.other.bind=127.0.0.1:0",
    ]);
    let mut bystander = bystander(broker.addresses[1]);
    let cases = proxy_headers();
    for (number, (case, bytes)) in cases.iter().enumerate() {
        assert_eq!(sent(broker.address(), bytes, case), b"", "{case}");
        expect_counter(&broker, "proxy_protocol.malformed", number as u64 + 1);
    }
    // In pieces they are what they are.
    for (case, bytes) in cases.iter().take(25) {
        let mut stream = dial(broker.address());
        for piece in bytes.chunks(7) {
            if stream.write_all(piece).is_err() {
                break;
            }
        }
        assert_eq!(heard(&stream, case), b"", "{case} in pieces");
    }
    assert!(cases.len() >= 30);
    ping(&mut bystander);
    let good = b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 1883\r\n";
    let mut stream = dial(broker.address());
    stream
        .write_all(&[&good[..], &connect_packet("good")].concat())
        .unwrap();
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).unwrap();
    assert_eq!(connack, CONNACK);
    broker.stop();
}

fn bystander(address: SocketAddr) -> Client {
    connect(address, &clean(Version::V311, "bystander"))
}

/// A head of a frame and what follows, without the mask being applied.
fn raw(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

/// Frames after a handshake, and the code that they are closed with.
fn frames() -> Vec<(&'static str, Vec<u8>, u16)> {
    let mut unmasked = frame(0x82, b"x");
    unmasked[1] &= 0x7f;
    vec![
        ("not masked", unmasked, 1002),
        ("reserved bit 1", frame(0xc2, b"x"), 1002),
        ("reserved bit 2", frame(0xa2, b"x"), 1002),
        ("reserved bit 3", frame(0x92, b"x"), 1002),
        ("opcode 3", frame(0x83, b"x"), 1002),
        ("opcode 7", frame(0x87, b"x"), 1002),
        ("opcode 11", frame(0x8b, b"x"), 1002),
        ("opcode 15", frame(0x8f, b"x"), 1002),
        ("a continuation of nothing", frame(0x80, b"x"), 1002),
        (
            "a message in a message",
            [frame(0x02, b"\xc0"), frame(0x82, b"x")].concat(),
            1002,
        ),
        ("a ping in pieces", frame(0x09, b"x"), 1002),
        ("a close in pieces", frame(0x08, b"\x03\xe8"), 1002),
        ("a ping of 126 bytes", frame(0x89, &[0; 126]), 1002),
        ("a close of one byte", frame(0x88, b"\x03"), 1002),
        ("a close with 999", frame(0x88, b"\x03\xe7"), 1002),
        ("a close with 1004", frame(0x88, b"\x03\xec"), 1002),
        ("a close with 1005", frame(0x88, b"\x03\xed"), 1002),
        ("a close with 1006", frame(0x88, b"\x03\xee"), 1002),
        ("a close with 1015", frame(0x88, b"\x03\xf7"), 1002),
        ("a close with 5000", frame(0x88, b"\x13\x88"), 1002),
        (
            "a close whose reason is no text",
            frame(0x88, b"\x03\xe8\xff\xfe"),
            1007,
        ),
        (
            "a short length in two bytes",
            raw(b"\x82\xfe\0\x05abcdhello"),
            1002,
        ),
        (
            "a short length in eight bytes",
            raw(b"\x82\xff\0\0\0\0\0\0\0\x05abcdhello"),
            1002,
        ),
        (
            "a length with the highest bit",
            raw(b"\x82\xff\x80\0\0\0\0\0\0\0abcd"),
            1002,
        ),
        (
            "more than a frame may have",
            raw(b"\x82\xff\0\0\0\0\0\x01\0\0abcd"),
            1009,
        ),
        ("text", frame(0x81, b"text"), 1003),
        ("text in pieces", frame(0x01, b"text"), 1003),
    ]
}

#[test]
fn malformed_websocket_frames() {
    let broker = Broker::with(&[
        "--cores",
        "2",
        "--listen",
        "ws://127.0.0.1:0",
        "--set",
        "listeners.ws.default.websocket.max_frame_size=1000",
    ]);
    let mut good = WsClient::open(broker.address());
    good.send(&connect_packet("good"));
    good.expect(CONNACK);
    let name = "shutdown_count.function_clause";
    let mut ended = counter(&broker, name);
    let cases = frames();
    for (case, bytes, code) in &cases {
        // Before CONNECT, and after it, on the client's home core.
        for is_connected in [false, true] {
            let mut client = WsClient::open(broker.address());
            if is_connected {
                client.send(&connect_packet("bad"));
                client.expect(CONNACK);
            }
            client.stream.write_all(bytes).unwrap();
            let close = [&b"\x88\x02"[..], &code.to_be_bytes()].concat();
            assert_eq!(heard(&client.stream, case), close, "{case}");
            ended += 1;
            expect_counter(&broker, name, ended);
        }
    }
    assert!(cases.len() >= 25);
    // Frames that are cut off anywhere: the client goes, the connection ends.
    let whole = frame(0x82, &connect_packet("cut"));
    for cut in 1..whole.len() {
        let mut client = WsClient::open(broker.address());
        client.stream.write_all(&whole[..cut]).unwrap();
        client.stream.shutdown(Shutdown::Write).unwrap();
        heard(&client.stream, "cut off");
    }
    good.send(b"\xc0\0");
    good.expect(b"\xd0\0");
    broker.stop();
}

#[test]
fn malformed_requests_for_a_websocket() {
    let broker = Broker::with(&["--listen", "ws://127.0.0.1:0"]);
    let good = request("/mqtt", &[MQTT]);
    let with = |from: &str, to: &str| good.replace(from, to).into_bytes();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("mqtt", connect_packet("x"), ""),
        ("tls", b"\x16\x03\x01\x02\0\x01\0".to_vec(), ""),
        ("no version", with(" HTTP/1.1", ""), "400"),
        ("version 2", with("HTTP/1.1", "HTTP/2"), "400"),
        ("a post", with("GET ", "POST "), "405"),
        ("no such path", with("/mqtt", "/x"), "404"),
        ("no upgrade", with("Upgrade: websocket\r\n", ""), "426"),
        ("no connection", with("Connection: Upgrade\r\n", ""), "426"),
        ("an old version", with("Version: 13", "Version: 8"), "426"),
        ("no key", with("Sec-WebSocket-Key: ", "X: "), "400"),
        (
            "a short key",
            with("dGhlIHNhbXBsZSBub25jZQ==", "AAAA"),
            "400",
        ),
        (
            "a folded line",
            with("Upgrade: websocket", "Upgrade: websocket\r\n x"),
            "400",
        ),
        ("a space in a name", with("Upgrade:", "Upgrade :"), "400"),
        (
            "no protocol",
            with("Sec-WebSocket-Protocol: mqtt\r\n", ""),
            "400",
        ),
        (
            "no text",
            [b"GET /\xff HTTP/1.1\r\n\r\n".to_vec()].concat(),
            "400",
        ),
        (
            "headers by the hundred",
            with("Host: ", &format!("{}Host: ", "A: b\r\n".repeat(200))),
            "431",
        ),
        (
            "a head without end",
            [b"GET /mqtt HTTP/1.1\r\nA: ".to_vec(), vec![b'x'; 20_000]].concat(),
            "431",
        ),
    ];
    let name = "shutdown_count.function_clause";
    let mut ended = counter(&broker, name);
    for (case, bytes, status) in &cases {
        let answer = sent(broker.address(), bytes, case);
        let answer = String::from_utf8(answer).unwrap();
        if status.is_empty() {
            assert_eq!(answer, "", "{case}");
        } else if !answer.is_empty() || *case != "a head without end" {
            // (What was sent behind the limit may take the answer away.)
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{case}: {answer}"
            );
        }
        ended += 1;
        expect_counter(&broker, name, ended);
    }
    WsClient::open(broker.address()).send(&connect_packet("good"));
    broker.stop();
}

/// A ClientHello of rustls.
fn client_hello(ca: &Ca) -> Vec<u8> {
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(Arc::clone(&ca.client(None)), name).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    hello
}

/// Bytes at the beginning of a connection, and what counts their end.
fn records(ca: &Ca) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let hello = client_hello(ca);
    let changed = |at: usize, byte: u8| {
        let mut changed = hello.clone();
        changed[at] = byte;
        changed
    };
    let not_tls = "tls.handshakes.failed.not_tls";
    let failure = "tls.handshakes.failed.handshake_failure";
    vec![
        (
            "http",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            not_tls,
        ),
        (
            "an http post",
            b"POST /mqtt HTTP/1.1\r\n\r\n".to_vec(),
            not_tls,
        ),
        ("mqtt", connect_packet("x"), not_tls),
        (
            "mqtt 5",
            b"\x10\x10\0\x04MQTT\x05\x02\0\x3c\0\0\x03abc".to_vec(),
            not_tls,
        ),
        (
            "ssl 2",
            b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80".to_vec(),
            not_tls,
        ),
        (
            "ssl 2 with a hello of version 3",
            b"\x80\x46\x01\x03\x01\x00\x2d\x00\x00\x00\x10".to_vec(),
            not_tls,
        ),
        ("zeroes", vec![0; 64], not_tls),
        (
            "a proxy header",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n".to_vec(),
            not_tls,
        ),
        ("ssh", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), not_tls),
        (
            "a record of 64 KB",
            b"\x16\x03\x01\xff\xff\x01\x00\xff\xfb".to_vec(),
            failure,
        ),
        (
            "application data first",
            b"\x17\x03\x03\0\x05hello".to_vec(),
            not_tls,
        ),
        ("a record without content", b"\x16\x03\x01\0\0".to_vec(), ""),
        ("another handshake message", changed(5, 2), ""),
        ("a hello longer than its record", changed(8, 0xff), ""),
        ("a session id of 255 bytes", changed(43, 0xff), ""),
    ]
}

#[test]
fn malformed_tls_records() {
    let ca = Ca::new("ca");
    let own = ca.sign("localhost", 1, Kind::Server);
    let mut settings = server(&own);
    settings.push((
        "listeners.ssl.default.ssl_options.handshake_timeout",
        "2s".to_owned(),
    ));
    let settings = set(&settings);
    let mut arguments = vec![
        "--cores",
        "2",
        "--listen",
        "tcp://127.0.0.1:0",
        "--listen",
        "tls://127.0.0.1:0",
    ];
    arguments.extend(settings.iter().map(String::as_str));
    let broker = Broker::with(&arguments);
    let [plain, tls] = [broker.addresses[0], broker.addresses[1]];
    let mut bystander = bystander(plain);
    let cases = records(&ca);
    let all = |broker: &Broker| {
        let report = report(broker);
        let metrics = report["metrics"].as_object().unwrap().iter();
        let failed = metrics.filter(|(name, _)| name.starts_with("tls.handshakes.failed."));
        failed
            .map(|(_, count)| count.as_u64().unwrap())
            .sum::<u64>()
    };
    let mut ended = 0;
    for (case, bytes, name) in &cases {
        let before = if name.is_empty() {
            0
        } else {
            counter(&broker, name)
        };
        let got = sent(tls, bytes, case);
        assert!(
            got.is_empty() || got[0] == 0x15,
            "{case}: an alert or nothing: {got:?}"
        );
        ended += 1;
        let deadline = Instant::now() + PATIENCE;
        while all(&broker) < ended {
            assert!(Instant::now() < deadline, "{case} is not counted");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(all(&broker), ended, "{case}");
        if !name.is_empty() {
            assert_eq!(counter(&broker, name), before + 1, "{case}");
        }
    }
    truncated_hellos(&broker, tls, &ca);
    garbage_after_the_handshake(&broker, tls, &ca);
    ping(&mut bystander);
    broker.stop();
}

/// A hello cut off anywhere: nothing more comes (time-out), or the client goes (closed).
fn truncated_hellos(broker: &Broker, tls: SocketAddr, ca: &Ca) {
    let hello = client_hello(ca);
    for cut in [1, 4, 5, 6, 40, hello.len() - 1] {
        let before = counter(broker, "tls.handshakes.failed.closed");
        let mut stream = dial(tls);
        stream.write_all(&hello[..cut]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        heard(&stream, "cut off");
        expect_counter(broker, "tls.handshakes.failed.closed", before + 1);
    }
    let timed_out = counter(broker, "tls.handshakes.failed.timeout");
    let waiting: Vec<TcpStream> = [5, 40]
        .map(|cut| {
            let mut stream = dial(tls);
            stream.write_all(&hello[..cut]).unwrap();
            stream
        })
        .into();
    for stream in &waiting {
        heard(stream, "truncated");
    }
    expect_counter(broker, "tls.handshakes.failed.timeout", timed_out + 2);
}

/// Records that nobody has sealed, once the keys are there.
fn garbage_after_the_handshake(broker: &Broker, tls: SocketAddr, ca: &Ca) {
    let name = "shutdown_count.function_clause";
    let mut ended = counter(broker, name);
    for garbage in [
        &b"\x17\x03\x03\0\x20this was sealed by nobody at all"[..],
        b"\x17\x03\x03\xff\xff",
        b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0",
        b"\x16\x03\x03\0\x04\0\0\0\0",
    ] {
        let server = ServerName::try_from("localhost").unwrap();
        let mut connection = ClientConnection::new(Arc::clone(&ca.client(None)), server).unwrap();
        let mut stream = dial(tls);
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).unwrap();
        }
        // Connected, on its home core.
        let mut sealed = rustls::Stream::new(&mut connection, &mut stream);
        sealed.write_all(&connect_packet("garbage")).unwrap();
        let mut connack = [0; 4];
        sealed.read_exact(&mut connack).unwrap();
        assert_eq!(connack, CONNACK);
        stream.write_all(garbage).unwrap();
        heard(&stream, "garbage");
        ended += 1;
        expect_counter(broker, name, ended);
    }
}
