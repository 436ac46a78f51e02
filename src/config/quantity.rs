//! Quantities as people write them: `1MB`, `5m`, `1000/s`, `0.0.0.0:1883`.
//!
//! Pure text to number, and number back to the shortest text that reads the same. Bytes count in
//! powers of 1024 (1MB = 1,048,576), as MQTT brokers' settings do.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Units of bytes with their factors, largest first; the first spelling of a factor is the one written.
const BYTE_UNITS: &[(&str, u64)] = &[
    ("TB", 1 << 40),
    ("TIB", 1 << 40),
    ("GB", 1 << 30),
    ("GIB", 1 << 30),
    ("MB", 1 << 20),
    ("MIB", 1 << 20),
    ("KB", 1 << 10),
    ("KIB", 1 << 10),
    ("B", 1),
];

/// Units of time in nanoseconds, largest first.
const TIME_UNITS: &[(&str, u64)] = &[
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
];

/// A whole number of decimal digits; `_` may group them.
pub(crate) fn parse_whole(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let grouped_well = !text.starts_with('_') && !text.ends_with('_');
    if text.is_empty() || !digits || !grouped_well {
        return None;
    }
    text.replace('_', "").parse().ok()
}

/// Bytes: digits, then nothing or a unit of [`BYTE_UNITS`] in any case.
pub(crate) fn parse_bytes(text: &str) -> Option<u64> {
    let (digits, unit) = split_number(text);
    let count = parse_whole(digits)?;
    let unit = unit.trim().to_ascii_uppercase();
    if unit.is_empty() {
        return Some(count);
    }
    let (_, factor) = BYTE_UNITS.iter().find(|(name, _)| *name == unit)?;
    count.checked_mul(*factor)
}

/// Bytes in the largest unit that divides them.
pub(crate) fn show_bytes(bytes: u64) -> String {
    let fits = |factor: u64| bytes >= factor && bytes.is_multiple_of(factor);
    match BYTE_UNITS.iter().find(|(_, factor)| fits(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

/// A duration: one or more of digits and unit (`90s`, `1h30m`); a bare `0` needs no unit.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total_ns: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (digits, tail) = split_number(rest);
        let unit_len = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, next) = tail.split_at(unit_len);
        let (_, factor) = TIME_UNITS.iter().find(|(name, _)| *name == unit)?;
        let part_ns = parse_whole(digits)?.checked_mul(*factor)?;
        total_ns = total_ns.checked_add(part_ns)?;
        rest = next;
    }
    Some(Duration::from_nanos(total_ns))
}

/// A duration in the largest unit that divides it.
pub(crate) fn show_duration(duration: Duration) -> String {
    let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    if ns == 0 {
        return "0s".to_owned();
    }
    let fits = |factor: u64| ns.is_multiple_of(factor);
    match TIME_UNITS.iter().find(|(_, factor)| fits(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", ns / factor),
        None => format!("{ns}ns"),
    }
}

/// An address to bind: `1.2.3.4:1883`, `[::1]:1883`, `localhost:1883`; `:1883` and `1883` mean
/// every IPv4 address.
pub(crate) fn parse_address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port: u16 = parse_whole(port).and_then(|port| u16::try_from(port).ok())?;
    let ip = match host {
        "" | "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            Some(inner) => IpAddr::V6(inner.parse::<Ipv6Addr>().ok()?),
            None => IpAddr::V4(host.parse::<Ipv4Addr>().ok()?),
        },
    };
    Some(SocketAddr::new(ip, port))
}

/// Events a second: `1000` or `1000/s`.
pub(crate) fn parse_rate(text: &str) -> Option<u64> {
    parse_whole(text.strip_suffix("/s").unwrap_or(text))
}

fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_');
    text.split_at(end.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_take_units_of_1024() {
        for (text, want) in [
            ("0", Some(0)),
            ("1048576", Some(1 << 20)),
            ("1MB", Some(1 << 20)),
            ("1 mb", Some(1 << 20)),
            ("256KiB", Some(256 << 10)),
            ("2GB", Some(2 << 30)),
            ("1_000B", Some(1000)),
            ("", None),
            ("MB", None),
            ("-1MB", None),
            ("1.5MB", None),
            ("1MX", None),
            ("99999999999TB", None),
        ] {
            assert_eq!(parse_bytes(text), want, "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, want_us) in [
            ("0", Some(0)),
            ("15s", Some(15_000_000)),
            ("5m", Some(300_000_000)),
            ("2h", Some(7_200_000_000)),
            ("1h30m", Some(5_400_000_000)),
            ("1d", Some(86_400_000_000)),
            ("250ms", Some(250_000)),
            ("50us", Some(50)),
            ("15", None),
            ("", None),
            ("s", None),
            ("-5s", None),
            ("5 s", None),
            ("5x", None),
            ("1h30", None),
            ("99999999999999d", None),
        ] {
            let want = want_us.map(Duration::from_micros);
            assert_eq!(parse_duration(text), want, "{text}");
        }
    }

    #[test]
    fn addresses_may_leave_the_host_out() {
        for (text, want) in [
            ("127.0.0.1:1883", Some("127.0.0.1:1883")),
            ("[::1]:1883", Some("[::1]:1883")),
            ("[::]:0", Some("[::]:0")),
            (":1883", Some("0.0.0.0:1883")),
            ("1883", Some("0.0.0.0:1883")),
            ("*:1883", Some("0.0.0.0:1883")),
            ("localhost:1883", Some("127.0.0.1:1883")),
            ("::1:1883", None),
            ("127.0.0.1", None),
            ("127.0.0.1:", None),
            ("127.0.0.1:65536", None),
            ("broker.example:1883", None),
            ("", None),
        ] {
            let want = want.map(|want| want.parse().unwrap());
            assert_eq!(parse_address(text), want, "{text}");
        }
    }

    #[test]
    fn rates_are_a_second() {
        assert_eq!(parse_rate("1000/s"), Some(1000));
        assert_eq!(parse_rate("1000"), Some(1000));
        assert_eq!(parse_rate("1000/m"), None);
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(bytes in 0..u64::MAX, micros in 0..u64::MAX / 1000) {
            prop_assert_eq!(parse_bytes(&show_bytes(bytes)), Some(bytes));
            let duration = Duration::from_micros(micros);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = (parse_bytes(&text), parse_duration(&text), parse_address(&text), parse_rate(&text));
        }
    }
}
