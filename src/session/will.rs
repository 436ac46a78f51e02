//! The last will and when it is published [MQTT-3.1.2-8, 3.1.3-9].

use crate::mqtt::message::Message;

/// A will as CONNECT left it.
#[derive(Debug)]
pub struct Will {
    /// The message, ready to be routed.
    pub message: Message,
    /// Will Delay Interval in seconds (5.0; 0 in 3.x).
    pub delay_s: u32,
    /// When it is published, milliseconds since process start, once its delay runs.
    pub due_ms: Option<u64>,
    /// When its timer fires next.
    pub armed_ms: Option<u64>,
}

/// How a network connection ended, as far as the will is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// DISCONNECT with reason 0x00 (any DISCONNECT in 3.x): the will is deleted unsent.
    Normal,
    /// Anything else, including DISCONNECT with Will Message (0x04).
    Abnormal,
}

/// What becomes of a will now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WillFate {
    /// Deleted without being published.
    Discard,
    /// Published at once.
    Publish,
    /// Published after so many seconds unless the session is resumed before.
    Delay(u32),
}

/// The fate of a will whose network connection has ended. It is sent after its delay or when the
/// session ends, whichever comes first [MQTT-3.1.3-9].
pub fn fate_at_close(end: End, delay_s: u32, session_expiry_s: u32) -> WillFate {
    match (end, delay_s.min(session_expiry_s)) {
        (End::Normal, _) => WillFate::Discard,
        (End::Abnormal, 0) => WillFate::Publish,
        (End::Abnormal, delay) => WillFate::Delay(delay),
    }
}

/// The fate of a will whose session is taken over by another CONNECT with the same client id
/// [MQTT-3.1.4-3, 3.1.3-9]: without a delay the end of the connection publishes it, with a delay
/// only the end of the session does; a session that is resumed in time deletes it.
pub fn fate_at_take_over(delay_s: u32, session_expiry_s: u32, clean_start: bool) -> WillFate {
    if delay_s == 0 || session_expiry_s == 0 || clean_start {
        WillFate::Publish
    } else {
        WillFate::Discard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_normal_end_deletes_the_will() {
        assert_eq!(fate_at_close(End::Normal, 0, 0), WillFate::Discard);
        assert_eq!(fate_at_close(End::Normal, 5, 10), WillFate::Discard);
    }

    #[test]
    fn the_delay_ends_with_the_session() {
        assert_eq!(fate_at_close(End::Abnormal, 0, 100), WillFate::Publish);
        assert_eq!(fate_at_close(End::Abnormal, 100, 0), WillFate::Publish);
        assert_eq!(fate_at_close(End::Abnormal, 5, 3), WillFate::Delay(3));
        assert_eq!(fate_at_close(End::Abnormal, 5, 100), WillFate::Delay(5));
    }

    #[test]
    fn a_take_over_publishes_unless_a_delayed_will_is_resumed() {
        assert_eq!(fate_at_take_over(0, 100, false), WillFate::Publish);
        assert_eq!(fate_at_take_over(5, 0, false), WillFate::Publish);
        assert_eq!(fate_at_take_over(5, 100, true), WillFate::Publish);
        assert_eq!(fate_at_take_over(5, 100, false), WillFate::Discard);
    }
}
