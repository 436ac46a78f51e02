//! What passes between the core of a member and the home core of its group; FIFO both ways.
//!
//! From the member's core: `Join` (again for new options), `Leave`, `Online`, `Offline`, `Acked` (so
//! many deliveries are over) and `Returned` (a message that the member has not taken). From the group's
//! core: `Joined` (the answer to each `Join`) and `Deliver`.

use crate::base::ids::{CoreId, Epoch};
use crate::mqtt::message::Publication;
use crate::mqtt::qos::QoS;
use crate::shard::cross::{SHARE, stage_short_or_long};
use crate::shard::outbox::Outboxes;

/// A session wants to share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Join<'a> {
    /// The member's core's name for the membership.
    pub share: u64,
    /// Its name for the SUBSCRIBE.
    pub waiter: u64,
    /// Granted QoS.
    pub qos: QoS,
    /// Messages of QoS 1 and 2 that the session takes at once.
    pub window: u16,
    /// Group and filter, with a slash between them.
    pub text: &'a str,
}

/// The answer to a `Join`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Joined {
    /// See [`Join::share`].
    pub share: u64,
    /// See [`Join::waiter`].
    pub waiter: u64,
    /// The group's core's name for the group.
    pub group: u64,
    /// The filter is matched from this epoch on.
    pub epoch: Epoch,
    /// False if the index has no room for the filter.
    pub granted: bool,
}

/// The head of a message on its way to a member, or back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sent {
    /// See [`Joined::group`].
    pub group: u64,
    /// See [`Join::share`].
    pub share: u64,
    /// The message's place in the order of the group.
    pub seq: u32,
    /// QoS of the delivery.
    pub qos: QoS,
}

/// A record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "told at the module and the parts")]
pub enum ShareRecord<'a> {
    Join(Join<'a>),
    Joined(Joined),
    Leave { share: u64 },
    Online { share: u64, window: u16 },
    Offline { share: u64 },
    Acked { share: u64, count: u32 },
    Deliver(Sent, Publication<'a>),
    Returned(Sent, Publication<'a>),
}

const JOIN: u8 = 1;
const JOINED: u8 = 2;
const LEAVE: u8 = 3;
const ONLINE: u8 = 4;
const OFFLINE: u8 = 5;
const ACKED: u8 = 6;
const DELIVER: u8 = 7;
const RETURNED: u8 = 8;

impl<'a> ShareRecord<'a> {
    /// Stages the record for a core.
    pub fn stage(&self, outboxes: &mut Outboxes, target: CoreId) {
        let len = match self {
            Self::Join(join) => join.text.len(),
            Self::Deliver(_, publication) | Self::Returned(_, publication) => {
                publication.record_len()
            }
            _ => 0,
        };
        stage_short_or_long(outboxes, target, len, |out| self.write(out));
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.push(SHARE);
        match *self {
            Self::Join(join) => {
                out.extend_from_slice(&[JOIN, join.qos.as_u8()]);
                out.extend_from_slice(&join.window.to_le_bytes());
                out.extend_from_slice(&join.share.to_le_bytes());
                out.extend_from_slice(&join.waiter.to_le_bytes());
                out.extend_from_slice(join.text.as_bytes());
            }
            Self::Joined(joined) => {
                out.extend_from_slice(&[JOINED, u8::from(joined.granted)]);
                out.extend_from_slice(&joined.share.to_le_bytes());
                out.extend_from_slice(&joined.waiter.to_le_bytes());
                out.extend_from_slice(&joined.group.to_le_bytes());
                out.extend_from_slice(&joined.epoch.0.to_le_bytes());
            }
            Self::Leave { share } => named(out, LEAVE, share),
            Self::Offline { share } => named(out, OFFLINE, share),
            Self::Online { share, window } => {
                named(out, ONLINE, share);
                out.extend_from_slice(&window.to_le_bytes());
            }
            Self::Acked { share, count } => {
                named(out, ACKED, share);
                out.extend_from_slice(&count.to_le_bytes());
            }
            Self::Deliver(sent, publication) => write_sent(out, DELIVER, sent, &publication),
            Self::Returned(sent, publication) => write_sent(out, RETURNED, sent, &publication),
        }
    }

    /// Reads what [`Self::stage`] wrote, behind the first byte.
    pub fn read(record: &'a [u8]) -> Option<Self> {
        let (kind, rest) = record.split_first()?;
        Some(match *kind {
            JOIN => {
                let (qos, rest) = rest.split_first()?;
                let (window, rest) = rest.split_first_chunk::<2>()?;
                let (share, rest) = word(rest)?;
                let (waiter, text) = word(rest)?;
                Self::Join(Join {
                    share,
                    waiter,
                    qos: QoS::from_u8(*qos)?,
                    window: u16::from_le_bytes(*window),
                    text: std::str::from_utf8(text).ok()?,
                })
            }
            JOINED => {
                let (granted, rest) = rest.split_first()?;
                let (share, rest) = word(rest)?;
                let (waiter, rest) = word(rest)?;
                let (group, rest) = word(rest)?;
                Self::Joined(Joined {
                    share,
                    waiter,
                    group,
                    epoch: Epoch(word(rest)?.0),
                    granted: *granted != 0,
                })
            }
            LEAVE => Self::Leave {
                share: word(rest)?.0,
            },
            OFFLINE => Self::Offline {
                share: word(rest)?.0,
            },
            ONLINE => {
                let (share, rest) = word(rest)?;
                let window = u16::from_le_bytes(*rest.first_chunk()?);
                Self::Online { share, window }
            }
            ACKED => {
                let (share, rest) = word(rest)?;
                let count = u32::from_le_bytes(*rest.first_chunk()?);
                Self::Acked { share, count }
            }
            DELIVER => {
                let (sent, publication) = read_sent(rest)?;
                Self::Deliver(sent, publication)
            }
            RETURNED => {
                let (sent, publication) = read_sent(rest)?;
                Self::Returned(sent, publication)
            }
            _ => return None,
        })
    }
}

fn named(out: &mut Vec<u8>, kind: u8, share: u64) {
    out.push(kind);
    out.extend_from_slice(&share.to_le_bytes());
}

fn write_sent(out: &mut Vec<u8>, kind: u8, sent: Sent, publication: &Publication<'_>) {
    out.extend_from_slice(&[kind, sent.qos.as_u8()]);
    out.extend_from_slice(&sent.group.to_le_bytes());
    out.extend_from_slice(&sent.share.to_le_bytes());
    out.extend_from_slice(&sent.seq.to_le_bytes());
    publication.write_record(out);
}

fn read_sent(rest: &[u8]) -> Option<(Sent, Publication<'_>)> {
    let (qos, rest) = rest.split_first()?;
    let (group, rest) = word(rest)?;
    let (share, rest) = word(rest)?;
    let (seq, rest) = rest.split_first_chunk::<4>()?;
    let sent = Sent {
        group,
        share,
        seq: u32::from_le_bytes(*seq),
        qos: QoS::from_u8(*qos)?,
    };
    Some((sent, Publication::from_record(rest)))
}

fn word(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*word), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::message::PublisherRef;

    #[test]
    fn what_is_read_is_what_was_written() {
        let publication = Publication {
            topic: "a/b",
            payload: b"payload",
            properties: &[],
            qos: QoS::ExactlyOnce,
            retain: true,
            received_us: 7,
            expires_us: None,
            publisher: PublisherRef(9),
        };
        let sent = Sent {
            group: 1 << 40,
            share: 2 << 41,
            seq: 3,
            qos: QoS::AtLeastOnce,
        };
        let (share, waiter) = (5 << 33, 6 << 34);
        for record in [
            ShareRecord::Join(Join {
                share,
                waiter,
                qos: QoS::ExactlyOnce,
                window: 32,
                text: "g/+/t",
            }),
            ShareRecord::Joined(Joined {
                share,
                waiter,
                group: 8,
                epoch: Epoch(9),
                granted: true,
            }),
            ShareRecord::Leave { share },
            ShareRecord::Online { share, window: 3 },
            ShareRecord::Offline { share },
            ShareRecord::Acked {
                share,
                count: 70_000,
            },
            ShareRecord::Deliver(sent, publication),
            ShareRecord::Returned(sent, publication),
        ] {
            let mut out = Vec::new();
            record.write(&mut out);
            assert_eq!(out[0], SHARE);
            assert_eq!(ShareRecord::read(&out[1..]), Some(record));
        }
        assert_eq!(ShareRecord::read(&[]), None);
        assert_eq!(ShareRecord::read(&[99]), None);
    }
}
