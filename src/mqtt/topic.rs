//! Topic names and filters (section 4.7) and shared subscriptions (section 4.8.2).

use super::error::DecodeError;
use super::reason::ReasonCode;

/// Topic names and filters have at most this many bytes [MQTT-4.7.3-3].
pub const MAX_TOPIC_BYTES: usize = 65_535;

/// A valid topic name: what a message is published to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks a topic name.
    ///
    /// # Errors
    /// 0x90 if it is empty [MQTT-4.7.3-1], contains U+0000 [MQTT-4.7.3-2] or a wildcard
    /// [MQTT-4.7.0-1], or is too long [MQTT-4.7.3-3].
    pub fn new(name: &'a str) -> Result<Self, DecodeError> {
        check_length_and_nul(name, ReasonCode::TopicNameInvalid)?;
        if has_wildcard(name) {
            return Err(DecodeError::new(
                ReasonCode::TopicNameInvalid,
                "MQTT-4.7.0-1 wildcard in a topic name",
            ));
        }
        Ok(Self(name))
    }

    /// The name.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }
}

/// A valid topic filter, without a share prefix: what a subscription asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter<'a>(&'a str);

impl<'a> TopicFilter<'a> {
    /// Checks a topic filter.
    ///
    /// # Errors
    /// 0x8F if it is empty [MQTT-4.7.3-1], contains U+0000 [MQTT-4.7.3-2], is too long
    /// [MQTT-4.7.3-3], or has a misplaced wildcard [MQTT-4.7.1-1, MQTT-4.7.1-2].
    pub fn new(filter: &'a str) -> Result<Self, DecodeError> {
        const INVALID: ReasonCode = ReasonCode::TopicFilterInvalid;
        check_length_and_nul(filter, INVALID)?;
        if !has_wildcard(filter) {
            return Ok(Self(filter));
        }
        let mut levels = filter.split('/').peekable();
        while let Some(level) = levels.next() {
            if level == "#" {
                if levels.peek().is_some() {
                    return Err(DecodeError::new(INVALID, "MQTT-4.7.1-1 levels after #"));
                }
            } else if level.contains('#') {
                return Err(DecodeError::new(
                    INVALID,
                    "MQTT-4.7.1-1 # is not a whole level",
                ));
            } else if level != "+" && level.contains('+') {
                return Err(DecodeError::new(
                    INVALID,
                    "MQTT-4.7.1-2 + is not a whole level",
                ));
            }
        }
        Ok(Self(filter))
    }

    /// The filter.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether it contains `+` or `#`.
    #[must_use]
    pub fn has_wildcard(self) -> bool {
        has_wildcard(self.0)
    }

    /// Whether a message published to `topic` matches.
    #[must_use]
    pub fn matches(self, topic: TopicName<'_>) -> bool {
        topic_matches(self.0, topic.0)
    }
}

fn check_length_and_nul(topic: &str, reason: ReasonCode) -> Result<(), DecodeError> {
    if topic.is_empty() {
        return Err(DecodeError::new(reason, "MQTT-4.7.3-1 empty topic"));
    }
    if topic.len() > MAX_TOPIC_BYTES {
        return Err(DecodeError::new(
            reason,
            "MQTT-4.7.3-3 topic of more than 65,535 bytes",
        ));
    }
    if topic.as_bytes().contains(&0) {
        return Err(DecodeError::new(reason, "MQTT-4.7.3-2 U+0000 in a topic"));
    }
    Ok(())
}

/// Whether `topic` contains `+` or `#`.
#[must_use]
pub fn has_wildcard(topic: &str) -> bool {
    topic.bytes().any(|byte| matches!(byte, b'+' | b'#'))
}

/// How many levels a topic name or filter has; separators plus one.
#[must_use]
pub fn level_count(topic: &str) -> usize {
    topic.bytes().filter(|&byte| byte == b'/').count() + 1
}

/// Whether a topic name or filter has at most `max_levels` levels.
#[must_use]
pub fn is_within_levels(topic: &str, max_levels: usize) -> bool {
    // No topic has more levels than bytes plus one, so the usual short topic is not scanned.
    topic.len() < max_levels || level_count(topic) <= max_levels
}

/// The group name that stands for `$queue/`.
pub const QUEUE_GROUP: &str = "$queue";

const SHARE_PREFIX: &str = "$share/";
const QUEUE_PREFIX: &str = "$queue/";

/// The parts of a filter that a client subscribes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SharedFilter<'a> {
    /// The share name (`$queue` for a `$queue/` filter), `None` for an ordinary subscription.
    pub group: Option<&'a str>,
    /// The filter that messages are matched with.
    pub filter: TopicFilter<'a>,
}

impl<'a> SharedFilter<'a> {
    /// Splits `$share/<group>/<filter>` and `$queue/<filter>`, and checks every part.
    ///
    /// A shared filter inside a shared filter is refused: messages to topics below `$share/`
    /// do not exist.
    ///
    /// # Errors
    /// 0x8F for a group that is empty [MQTT-4.8.2-1], contains a wildcard or has no filter after
    /// it [MQTT-4.8.2-2], and for what [`TopicFilter::new`] refuses.
    pub fn parse(full: &'a str) -> Result<Self, DecodeError> {
        const INVALID: ReasonCode = ReasonCode::TopicFilterInvalid;
        if let Some(filter) = full.strip_prefix(QUEUE_PREFIX) {
            return Self::shared(QUEUE_GROUP, filter);
        }
        let Some(rest) = full.strip_prefix(SHARE_PREFIX) else {
            return Ok(Self {
                group: None,
                filter: TopicFilter::new(full)?,
            });
        };
        let Some((group, filter)) = rest.split_once('/') else {
            return Err(DecodeError::new(
                INVALID,
                "MQTT-4.8.2-2 no filter after the share name",
            ));
        };
        if group.is_empty() {
            return Err(DecodeError::new(INVALID, "MQTT-4.8.2-1 empty share name"));
        }
        if has_wildcard(group) {
            return Err(DecodeError::new(
                INVALID,
                "MQTT-4.8.2-2 wildcard in a share name",
            ));
        }
        if group.as_bytes().contains(&0) {
            return Err(DecodeError::new(
                INVALID,
                "MQTT-4.7.3-2 U+0000 in a share name",
            ));
        }
        Self::shared(group, filter)
    }

    fn shared(group: &'a str, filter: &'a str) -> Result<Self, DecodeError> {
        if is_shared(filter) {
            return Err(DecodeError::new(
                ReasonCode::TopicFilterInvalid,
                "MQTT-4.8.2-2 shared filter inside a shared filter",
            ));
        }
        Ok(Self {
            group: Some(group),
            filter: TopicFilter::new(filter)?,
        })
    }
}

/// Whether `filter` asks for a shared subscription.
#[must_use]
pub fn is_shared(filter: &str) -> bool {
    filter.starts_with(SHARE_PREFIX) || filter.starts_with(QUEUE_PREFIX)
}

/// Whether a message to `topic` matches `filter`: the reference that faster matchers are tested
/// against.
///
/// `#` matches the parent level too, and a filter that begins with a wildcard does not match a
/// topic that begins with `$` [MQTT-4.7.2-1].
#[must_use]
pub fn topic_matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut topic_levels = topic.split('/');
    for filter_level in filter.split('/') {
        if filter_level == "#" {
            return true;
        }
        match topic_levels.next() {
            Some(level) if filter_level == "+" || filter_level == level => {}
            _ => return false,
        }
    }
    topic_levels.next().is_none()
}
