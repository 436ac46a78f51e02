//! A trace as it is kept.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control::trace::line::Style;
use crate::gate::trace::TraceBy;

/// What a trace looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TraceKind {
    /// A client id.
    Clientid,
    /// A topic filter.
    Topic,
    /// An address.
    IpAddress,
}

impl TraceKind {
    /// As the API writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Clientid => "clientid",
            Self::Topic => "topic",
            Self::IpAddress => "ip_address",
        }
    }
}

/// How payloads are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PayloadEncode {
    /// As text; what is no UTF-8 is replaced.
    #[default]
    Text,
    /// In hexadecimal.
    Hex,
    /// Not at all.
    Hidden,
}

/// The shape of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Formatter {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How severe an event is: EMQX's words, the least severe first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Each packet.
    #[default]
    Debug,
    /// Comings and goings.
    Info,
    /// As info: nothing here is between the two.
    Notice,
    /// What was refused, dropped or lost.
    Warning,
    /// Nothing here is as severe as this.
    Error,
    /// As error.
    Critical,
    /// As error.
    Alert,
    /// As error.
    Emergency,
}

/// Where a trace is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its time has not come.
    Waiting,
    /// It is written.
    Running,
    /// It is over.
    Stopped,
}

/// A trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRecord {
    /// Its name.
    pub name: String,
    /// What it looks for.
    pub kind: TraceKind,
    /// Which one.
    pub of: String,
    /// When it begins, UNIX time in seconds.
    pub start_s: u64,
    /// When it ends, UNIX time in seconds.
    pub end_s: u64,
    /// It was ended before that.
    #[serde(default)]
    pub stopped: bool,
    /// How payloads are written.
    #[serde(default)]
    pub payload_encode: PayloadEncode,
    /// Bytes of a payload that are written.
    pub payload_limit: u32,
    /// The shape of its lines.
    #[serde(default)]
    pub formatter: Formatter,
    /// Events that are less severe are left out.
    #[serde(default)]
    pub level: Level,
    /// Name of its file.
    pub file: String,
}

impl TraceRecord {
    /// Where it is in its life.
    pub fn status(&self, now_s: u64) -> Status {
        if self.stopped || now_s >= self.end_s {
            Status::Stopped
        } else if now_s < self.start_s {
            Status::Waiting
        } else {
            Status::Running
        }
    }

    /// What cores go by; nothing if the address is none.
    pub fn by(&self) -> Option<TraceBy> {
        Some(match self.kind {
            TraceKind::Clientid => TraceBy::ClientId(self.of.as_str().into()),
            TraceKind::Topic => TraceBy::Topic(self.of.as_str().into()),
            TraceKind::IpAddress => TraceBy::Ip(self.of.parse().ok()?),
        })
    }

    /// How its lines are made.
    pub fn style(&self) -> Style {
        Style {
            formatter: self.formatter,
            payload_encode: self.payload_encode,
            payload_limit: self.payload_limit as usize,
            level: self.level,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_waits_runs_and_ends() {
        let mut record = TraceRecord {
            name: "n".to_owned(),
            kind: TraceKind::IpAddress,
            of: "::1".to_owned(),
            start_s: 10,
            end_s: 20,
            stopped: false,
            payload_encode: PayloadEncode::Text,
            payload_limit: 1,
            formatter: Formatter::Text,
            level: Level::Debug,
            file: "f".to_owned(),
        };
        assert_eq!(record.status(9), Status::Waiting);
        assert_eq!(record.status(10), Status::Running);
        assert_eq!(record.status(20), Status::Stopped);
        assert!(matches!(record.by(), Some(TraceBy::Ip(_))));
        record.stopped = true;
        record.of = "x".to_owned();
        assert_eq!(record.status(10), Status::Stopped);
        assert_eq!(record.by(), None);
    }
}
