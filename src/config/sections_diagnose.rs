//! Settings of what operators look into: traces and slow subscriptions.

use std::time::Duration;

use super::kind::{Flag, bytes, choice, integer, span};
use super::setting::{Change, Section, Setting, parses_to, section};
use super::values::Values;

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

section! {
    /// Traces: what single clients, topics or addresses do, written to files in `trace/` of the data
    /// directory.
    pub struct Trace at "trace" {
        /// How many there may be, those that have ended included.
        max_traces: u8 = "30", integer(1, 100), Restart;

        /// The largest file; a trace whose file is full ends, and says so in it.
        max_file_size: u64 = "128MB", bytes(64 << 10, 1 << 40), Restart;

        /// How long a trace lasts that does not say when it ends.
        default_duration: Duration = "10m", span(MINUTE, DAY), Restart;

        /// Bytes of a payload that are written, unless a trace says otherwise.
        payload_limit: u32 = "1KB", bytes(0, 1 << 20), Restart;
    }
}

section! {
    /// Slow subscriptions: those to which messages come late.
    pub struct SlowSubs at "slow_subs" {
        /// Whether they are looked for. What is set by the API holds over these settings, after a
        /// restart as well.
        enable: bool = "false", Flag, Restart;

        /// From when on a message is late.
        threshold: Duration = "500ms", span(MILLISECOND, HOUR), Restart;

        /// When a subscription is forgotten to which no message has come late since.
        expire_interval: Duration = "300s", span(MILLISECOND, DAY), Restart;

        /// How many are kept: the slowest.
        top_k_num: u16 = "10", integer(1, 1000), Restart;

        /// What is measured. `whole`: from the message's coming to the subscriber's acknowledgement (of
        /// QoS 2: PUBREC). `internal`: from its coming to its being sent. `response`: from its being
        /// sent to the acknowledgement. At QoS 0 nothing is acknowledged, so the message's being sent
        /// is its end.
        stats_type: SlowStats = "whole", choice(SlowStats::WORDS), Restart;
    }
}

/// What is measured of a message's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlowStats {
    /// All of it.
    Whole,
    /// The broker's part.
    Internal,
    /// The subscriber's part.
    Response,
}

impl SlowStats {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("whole", Self::Whole),
        ("internal", Self::Internal),
        ("response", Self::Response),
    ];
}
