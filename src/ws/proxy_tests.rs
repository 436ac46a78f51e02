//! Headers of both versions, and a corpus of malformed ones.

use proptest::prelude::*;

use super::*;

/// A header of version 2.
fn v2(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).unwrap().to_be_bytes();
    [V2_START, &[version_command, family], &len, body].concat()
}

fn extension(kind: u8, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len()).unwrap().to_be_bytes();
    [&[kind], &len[..], value].concat()
}

const TCP4: &[u8] = &[192, 0, 2, 7, 127, 0, 0, 1, 0x12, 0x67, 7, 91];

fn ssl(client: u8, verify: u32) -> Vec<u8> {
    let parts = [
        &[client][..],
        &verify.to_be_bytes(),
        &extension(TLV_SSL_VERSION, b"TLSv1.3"),
        &extension(TLV_SSL_CN, b"device-7"),
    ];
    extension(TLV_SSL, &parts.concat())
}

fn source(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

#[test]
fn version_1() {
    for (line, want) in [
        (
            "PROXY TCP4 192.0.2.7 10.0.0.1 4711 1883\r\n",
            source("192.0.2.7:4711"),
        ),
        (
            "PROXY TCP6 2001:db8::7 ::1 1 65535\r\n",
            source("[2001:db8::7]:1"),
        ),
        ("PROXY UNKNOWN\r\n", None),
        (
            "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
            None,
        ),
    ] {
        let bytes = [line.as_bytes(), b"\x10\x0e"].concat();
        let (header, len) = parse(&bytes).unwrap().unwrap();
        assert_eq!((header.source, len), (want, line.len()), "{line}");
        for cut in 0..line.len() {
            assert_eq!(parse(&bytes[..cut]), Ok(None), "{cut} bytes of {line}");
        }
    }
}

#[test]
fn version_2() {
    let tcp6 = [
        &[0x20, 1, 0xd, 0xb8][..],
        &[0; 11],
        &[7],
        &[0; 16],
        &[0, 9, 0, 1],
    ]
    .concat();
    let with_name = [TCP4, &extension(4, b"no operation"), &ssl(7, 0)].concat();
    for (bytes, want) in [
        (v2(0x21, 0x11, TCP4), source("192.0.2.7:4711")),
        (v2(0x21, 0x12, TCP4), source("192.0.2.7:4711")),
        (v2(0x21, 0x21, &tcp6), source("[2001:db8::7]:9")),
        (v2(0x21, 0x31, &[b'/'; 216]), None),
        (v2(0x21, 0x00, b"anything"), None),
        (v2(0x20, 0x00, b""), None),
        (v2(0x20, 0x11, TCP4), None),
        (v2(0x21, 0x11, &with_name), source("192.0.2.7:4711")),
    ] {
        let (header, len) = parse(&bytes).unwrap().unwrap();
        assert_eq!((header.source, len), (want, bytes.len()));
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), Ok(None));
        }
    }
}

#[test]
fn the_name_of_a_certificate_counts_when_it_was_verified() {
    for (client, verify, want) in [
        (0x07, 0, Some("device-7")),
        (0x05, 0, Some("device-7")),
        (0x07, 1, None),
        (0x01, 0, None),
        (0x00, 0, None),
    ] {
        let bytes = v2(0x21, 0x11, &[TCP4, &ssl(client, verify)].concat());
        let (header, _) = parse(&bytes).unwrap().unwrap();
        assert_eq!(header.common_name.as_deref(), want, "{client} {verify}");
        assert_eq!(header.tls_version.is_some(), client & 1 != 0);
    }
}

#[test]
fn a_checksum_is_checked() {
    assert_eq!(crc32c(b"123456789", 100), 0xe306_9283);
    let mut bytes = v2(
        0x21,
        0x11,
        &[TCP4, &extension(TLV_CRC32C, &[0; 4])].concat(),
    );
    assert_eq!(parse(&bytes), Err(NoProxyHeader));
    let at = bytes.len() - 4;
    let sum = crc32c(&bytes, at);
    bytes[at..].copy_from_slice(&sum.to_be_bytes());
    assert!(parse(&bytes).unwrap().is_some());
    bytes[17] ^= 1;
    assert_eq!(parse(&bytes), Err(NoProxyHeader));
}

/// Each of these must be refused as soon as it has wholly come.
#[test]
fn a_corpus_of_malformed_headers() {
    let long = format!("PROXY UNKNOWN {}", "x".repeat(107));
    let text: [&[u8]; 22] = [
        b"\x10\x0e\0\x04MQTT",
        b"GET / HTTP/1.1\r\n",
        b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY\r\n      ",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
        b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 -2\r\n",
        b"PROXY TCP4 1.2.3.4 x 1 2\r\n",
        b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY unknown\r\n",
        b"PROXY TCP4 1.2.3.4\xff 1.2.3.4 1 2\r\n",
        long.as_bytes(),
    ];
    let with = |more: &[u8]| v2(0x21, 0x11, &[TCP4, more].concat());
    let name = |value: &[u8]| {
        let parts = [&[7, 0, 0, 0, 0][..], &extension(TLV_SSL_CN, value)];
        with(&extension(TLV_SSL, &parts.concat()))
    };
    let binary = [
        b"\r\n\r\n\0\r\nQUIT\r".to_vec(),
        v2(0x11, 0x11, TCP4),
        v2(0x31, 0x11, TCP4),
        v2(0x22, 0x11, TCP4),
        v2(0x21, 0x41, TCP4),
        v2(0x21, 0x13, TCP4),
        v2(0x21, 0x11, &TCP4[..11]),
        v2(0x21, 0x21, TCP4),
        v2(0x21, 0x31, TCP4),
        v2(0x21, 0x11, &[0; HEADER_BYTES_MAX]),
        with(b"\x04"),
        with(b"\x04\0"),
        with(b"\x04\0\x05four"),
        with(&extension(TLV_SSL, b"")),
        with(&extension(TLV_SSL, b"\x07\0\0\0")),
        with(&extension(TLV_SSL, b"\x07\0\0\0\0\x22\0\x09short")),
        with(&extension(TLV_CRC32C, b"abc")),
        with(&extension(TLV_CRC32C, b"abcd")),
        name(b""),
        name(b"\xff\xfe"),
        name(b"a\nb"),
        name(&[b'a'; COMMON_NAME_BYTES_MAX + 1]),
    ];
    let all = text.iter().copied().chain(binary.iter().map(Vec::as_slice));
    for bytes in all {
        assert_eq!(parse(bytes), Err(NoProxyHeader), "{}", bytes.escape_ascii());
    }
}

proptest! {
    #[test]
    fn never_a_panic_and_never_a_change_of_mind(
        bytes in proptest::collection::vec(any::<u8>(), 0..64),
        start in 0_usize..3,
        more in any::<u8>(),
    ) {
        let start: &[u8] = [&b""[..], V1_START, V2_START][start];
        let bytes = [start, &bytes].concat();
        let said = parse(&bytes);
        if let Ok(None) = said {
            prop_assert!(bytes.len() < HEADER_BYTES_MAX);
        } else {
            let longer = [&bytes[..], &[more]].concat();
            prop_assert_eq!(parse(&longer), said);
        }
    }
}
