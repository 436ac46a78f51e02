//! Subscribers to whom messages come late (EMQX: slow subscriptions): what is measured, and whom a core
//! has found.

use compact_str::CompactString;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowSettings {
    /// From so many milliseconds on a subscription is slow.
    pub threshold_ms: u64,
    /// The slowest so many are kept.
    pub most: usize,
    /// What is forgotten that was not seen for so many milliseconds.
    pub expire_ms: u64,
    /// From where to where is measured.
    pub span: SlowSpan,
}

/// From where to where is measured. Messages of QoS 0 end when they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowSpan {
    /// From the message's coming to the subscriber's acknowledgement.
    Whole,
    /// From the message's coming to its being sent.
    Internal,
    /// From its being sent to the acknowledgement.
    Response,
}

/// A slow subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowRow {
    /// The subscriber.
    pub client_id: CompactString,
    /// The topic of the message.
    pub topic: Box<str>,
    /// How long it took, milliseconds: the most that was seen.
    pub took_ms: u64,
    /// When that was last seen, milliseconds of UNIX time.
    pub at_ms: u64,
}
