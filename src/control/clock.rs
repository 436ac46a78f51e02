//! The wall clock of the control plane, and how its moments are written.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Milliseconds of UNIX time.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// Seconds of UNIX time.
pub fn unix_s() -> u64 {
    unix_ms() / 1000
}

/// A moment as RFC 3339 has it, in UTC.
pub fn rfc3339_ms(unix_ms: u64) -> String {
    rfc3339_us(unix_ms.saturating_mul(1000))
}

/// The same of microseconds.
pub fn rfc3339_us(unix_us: u64) -> String {
    let nanoseconds = i128::from(unix_us) * 1000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
        .ok()
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// Seconds of UNIX time as RFC 3339 has them.
pub fn rfc3339(unix_s: u64) -> String {
    rfc3339_ms(unix_s.saturating_mul(1000))
}

/// Seconds of UNIX time from RFC 3339, or from a number of seconds.
pub fn parse_s(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    // A plus sign that was not encoded in a query has become a space.
    let moment = OffsetDateTime::parse(&text.replace(' ', "+"), &Rfc3339).ok()?;
    u64::try_from(moment.unix_timestamp()).ok()
}

/// Seconds of UNIX time as EMQX 4 writes them: `2026-11-25 00:30:02`, in UTC.
pub fn plain(unix_s: u64) -> String {
    let text = rfc3339(unix_s).replace('T', " ");
    text.trim_end_matches('Z').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_and_read() {
        assert_eq!(rfc3339(1_764_030_602), "2025-11-25T00:30:02Z");
        assert_eq!(rfc3339_ms(1_764_030_602_120), "2025-11-25T00:30:02.12Z");
        assert_eq!(plain(1_764_030_602), "2025-11-25 00:30:02");
        assert_eq!(parse_s("2025-11-25T00:30:02Z"), Some(1_764_030_602));
        assert_eq!(parse_s("2025-11-25T01:30:02 01:00"), Some(1_764_030_602));
        assert_eq!(parse_s("17"), Some(17));
        assert_eq!(parse_s("soon"), None);
    }
}
