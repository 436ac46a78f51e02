//! One publisher: its schedule or window, its packet identifiers, and its messages.

use super::plan::{Plan, Schedule};
use crate::codec::{Packet, Publish, Version};
use crate::wire::{self, Frame};

/// Bytes waiting for one socket at most before the publisher waits for it to take them.
pub(super) const OUT_BYTES_MAX: usize = 128 * 1024;

/// A window is refilled once a quarter of it is free, so that deep windows go out in few writes.
const WINDOW_STEPS: u64 = 4;

fn whole_step(room: u64, window: u64) -> u64 {
    if room >= (window / WINDOW_STEPS).max(1) {
        room
    } else {
        0
    }
}

/// What an acknowledgement was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acked {
    /// The handshake goes on.
    Halfway,
    /// The message is done.
    Done,
    /// Done, but the broker refused it by a reason code.
    Refused,
    /// It answers nothing.
    Unexpected,
}

/// The state of each packet identifier in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Free,
    AwaitingPubAck,
    AwaitingPubRec,
    AwaitingPubComp,
}

/// Packet identifiers, given out in turn; the table grows with what is in flight.
#[derive(Debug)]
struct PacketIds {
    slots: Vec<Slot>,
    last: usize,
    in_flight: usize,
}

impl PacketIds {
    fn new() -> Self {
        Self {
            slots: vec![Slot::Free; 16],
            last: 0,
            in_flight: 0,
        }
    }

    /// The next free identifier. The caller keeps fewer than 65,535 in flight.
    fn take(&mut self, state: Slot) -> u16 {
        if (self.in_flight + 1) * 2 > self.slots.len() && self.slots.len() < 65_536 {
            self.slots.resize(self.slots.len() * 2, Slot::Free);
        }
        loop {
            self.last = if self.last + 1 < self.slots.len() {
                self.last + 1
            } else {
                1
            };
            if self.slots[self.last] == Slot::Free {
                self.slots[self.last] = state;
                self.in_flight += 1;
                return u16::try_from(self.last).expect("the table holds at most 65,536 slots");
            }
        }
    }

    fn state(&mut self, id: u16) -> Option<&mut Slot> {
        self.slots
            .get_mut(usize::from(id))
            .filter(|slot| **slot != Slot::Free)
    }

    fn release(&mut self, id: u16) {
        self.slots[usize::from(id)] = Slot::Free;
        self.in_flight -= 1;
    }
}

/// A publisher's state.
pub(super) struct Publisher {
    pub(super) index: usize,
    pub(super) sent: u64,
    /// Messages due so far, on an open schedule.
    pub(super) due: u64,
    /// Messages that the window no longer waits for, since nothing moved for too long.
    pub(super) forgiven: u64,
    pub(super) last_seen: u64,
    pub(super) last_seen_ns: u64,
    /// Sends no more: all is sent, the time is over, or the connection is lost.
    pub(super) finished: bool,
    is_done: bool,
    ids: PacketIds,
    in_flight_max: usize,
    template: Vec<u8>,
    packet_id_offset: usize,
    payload_offset: usize,
    filling_hash: u64,
}

impl Publisher {
    pub(super) fn new(plan: &Plan, index: usize) -> Self {
        let number = u32::try_from(index).expect("the plan limits the publishers");
        let (payload, filling_hash) = plan.format.template(number);
        let payload_length = payload.len();
        let topic = plan.topic(index).to_owned();
        let topic_length = topic.len();
        let packet_id = (plan.qos > 0).then_some(0);
        let (qos, retain) = (plan.qos, plan.retain);
        let publish = Publish {
            qos,
            retain,
            topic,
            packet_id,
            payload,
            ..Publish::default()
        };
        let template = Packet::Publish(publish).to_bytes(plan.version);
        let payload_offset = template.len() - payload_length;
        let properties = usize::from(plan.version == Version::V5);
        let packet_id_offset = payload_offset - properties - if plan.qos > 0 { 2 } else { 0 };
        debug_assert!(packet_id_offset > topic_length);
        Self {
            index,
            sent: 0,
            due: 0,
            forgiven: 0,
            last_seen: 0,
            last_seen_ns: 0,
            finished: false,
            is_done: false,
            ids: PacketIds::new(),
            in_flight_max: plan.in_flight_max,
            template,
            packet_id_offset,
            payload_offset,
            filling_hash,
        }
    }

    /// Keeps to what the broker's CONNACK allows.
    pub(super) fn limit_in_flight(&mut self, receive_maximum: u16) {
        self.in_flight_max = self.in_flight_max.min(usize::from(receive_maximum));
    }

    /// Whether it has just come to its end: all sent and all acknowledged. True once.
    pub(super) fn becomes_done(&mut self) -> bool {
        let is_done = self.finished && self.ids.in_flight == 0;
        is_done && !std::mem::replace(&mut self.is_done, true)
    }

    /// Gives up waiting for acknowledgements, the connection being lost.
    pub(super) fn abandon(&mut self) {
        self.finished = true;
        self.ids = PacketIds::new();
    }

    /// Messages that the window still waits for, given how many all receivers have seen.
    pub(super) fn outstanding(&self, seen: u64) -> u64 {
        self.sent.saturating_sub(seen.max(self.forgiven))
    }

    /// Appends what may be sent now and returns how many messages that were.
    pub(super) fn pump(
        &mut self,
        plan: &Plan,
        start_ns: u64,
        now_ns: u64,
        seen: u64,
        out: &mut Vec<u8>,
    ) -> u64 {
        if self.finished {
            return 0;
        }
        let ack_room = (self.in_flight_max - self.ids.in_flight) as u64;
        let mut count = match plan.schedule {
            Schedule::Open { .. } => self.due - self.sent,
            Schedule::Closed { window } => {
                if now_ns.saturating_sub(start_ns) >= plan.duration_ns {
                    self.finished = true;
                    return 0;
                }
                let seen_room = window.saturating_sub(self.outstanding(seen));
                whole_step(seen_room, window).min(whole_step(ack_room, self.in_flight_max as u64))
            }
        };
        if plan.qos > 0 {
            count = count.min(ack_room);
        }
        count = count.min(plan.messages - self.sent);
        let room = OUT_BYTES_MAX
            .saturating_sub(out.len())
            .div_ceil(self.template.len());
        count = count.min(room as u64);
        for _ in 0..count {
            let scheduled_ns = match plan.schedule {
                Schedule::Open { interval_ns } => {
                    start_ns + plan.due_ns(interval_ns, self.index, self.sent)
                }
                Schedule::Closed { .. } => now_ns,
            };
            self.append(plan, scheduled_ns, out);
        }
        self.finished = self.sent >= plan.messages;
        count
    }

    #[inline]
    fn append(&mut self, plan: &Plan, scheduled_ns: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.template);
        if plan.qos > 0 {
            let state = if plan.qos == 1 {
                Slot::AwaitingPubAck
            } else {
                Slot::AwaitingPubRec
            };
            let id = self.ids.take(state);
            let offset = start + self.packet_id_offset;
            out[offset..offset + 2].copy_from_slice(&id.to_be_bytes());
        }
        let payload = &mut out[start + self.payload_offset..];
        plan.format
            .stamp(payload, self.filling_hash, self.sent, scheduled_ns);
        self.sent += 1;
    }

    /// Takes a PUBACK, PUBREC or PUBCOMP; a PUBREC is answered into `out`.
    #[inline]
    pub(super) fn on_ack(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Acked {
        let Some((id, code)) = wire::ack_view(frame) else {
            return Acked::Unexpected;
        };
        let Some(slot) = self.ids.state(id) else {
            return Acked::Unexpected;
        };
        match (frame.first >> 4, *slot) {
            (5, Slot::AwaitingPubRec) if code < 0x80 => {
                *slot = Slot::AwaitingPubComp;
                out.extend_from_slice(&[0x62, 2]);
                out.extend_from_slice(&id.to_be_bytes());
                return Acked::Halfway;
            }
            (4, Slot::AwaitingPubAck) | (5, Slot::AwaitingPubRec) | (7, Slot::AwaitingPubComp) => {
                self.ids.release(id)
            }
            _ => return Acked::Unexpected,
        }
        if code < 0x80 {
            Acked::Done
        } else {
            Acked::Refused
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_unique_while_in_flight_and_never_zero() {
        let mut ids = PacketIds::new();
        let mut taken = std::collections::HashSet::new();
        for _ in 0..65_535 {
            let id = ids.take(Slot::AwaitingPubAck);
            assert!(id != 0 && taken.insert(id));
        }
        ids.release(77);
        assert_eq!(ids.take(Slot::AwaitingPubAck), 77);
        assert_eq!(ids.in_flight, 65_535);
    }
}
