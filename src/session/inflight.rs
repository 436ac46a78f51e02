//! The outgoing window: what was sent at QoS 1 and 2 and not yet acknowledged.
//!
//! Identifiers are handed out in order, 1 to 65,535 and round again, so the entries lie in the
//! order of their identifiers and an acknowledgement finds its entry by subtraction. An entry that
//! is acknowledged out of order stays as a tombstone until all before it are done.

use std::collections::VecDeque;

use crate::base::limits::PACKET_IDS;
use crate::mqtt::message::Message;
use crate::mqtt::qos::QoS;
use crate::session::queue::{Delivery, ShareTag};

/// Where one delivery stands [MQTT-4.3.2, 4.3.3].
#[derive(Clone, Debug)]
pub enum Stage {
    /// QoS 1: PUBLISH sent, PUBACK outstanding. QoS 2: PUBLISH sent, PUBREC outstanding.
    Sent(Delivery),
    /// QoS 2: PUBREL sent, PUBCOMP outstanding.
    Released,
    /// Acknowledged out of order.
    Done,
}

/// What an acknowledgement did. The delivery comes beside it, so that its memory can be accounted and
/// its group, if it was shared, be told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acked {
    /// The delivery is finished.
    Finished,
    /// PUBREC: PUBREL is due now.
    Release,
    /// No delivery with this identifier waits for this acknowledgement.
    Unknown,
}

/// Messages in flight to one client.
#[derive(Debug)]
pub struct Inflight {
    entries: VecDeque<Stage>,
    /// Identifier of `entries[0]`, 1..=65,535.
    first_id: u16,
    /// Entries that are not tombstones.
    live: u16,
    /// Entries at the end that the present connection has not been sent again.
    unsent: usize,
    /// Those of them that are not tombstones.
    unsent_live: u16,
}

impl Default for Inflight {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            first_id: 1,
            live: 0,
            unsent: 0,
            unsent_live: 0,
        }
    }
}

impl Inflight {
    /// Deliveries that wait for an acknowledgement.
    pub fn len(&self) -> usize {
        usize::from(self.live)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Whether one more may be sent under a window of `limit` messages.
    pub fn has_room(&self, limit: u16) -> bool {
        self.live < limit && self.unsent == 0 && self.entries.len() < PACKET_IDS
    }

    /// Takes a delivery into the window and names it. The caller has asked [`Self::has_room`].
    pub fn push(&mut self, delivery: Delivery) -> u16 {
        debug_assert!(
            self.entries.len() < PACKET_IDS,
            "a packet identifier would be used twice"
        );
        let id = self.id_at(self.entries.len());
        self.entries.push_back(Stage::Sent(delivery));
        self.live += 1;
        id
    }

    /// What was sent and not acknowledged, by packet identifier, from the `from`-th place in the order
    /// of sending on: places come with the deliveries.
    pub fn iter_from(&self, from: u64) -> impl Iterator<Item = (u64, &Delivery)> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let sent = self.entries.iter().enumerate().skip(from);
        sent.filter_map(|(at, stage)| match stage {
            Stage::Sent(delivery) => Some((at as u64, delivery)),
            Stage::Released | Stage::Done => None,
        })
    }

    /// PUBACK: ends a QoS 1 delivery.
    pub fn puback(&mut self, id: u16) -> (Acked, Option<Delivery>) {
        match self.entry(id) {
            Some(stage) if is_qos(stage, QoS::AtLeastOnce) => self.finish(id),
            _ => (Acked::Unknown, None),
        }
    }

    /// PUBREC. With `refused` (a reason code of 0x80 or more) the delivery ends here
    /// [MQTT-4.3.3-4]; otherwise PUBREL is due and the message is not needed any more. A repeated
    /// PUBREC asks for PUBREL again.
    pub fn pubrec(&mut self, id: u16, refused: bool) -> (Acked, Option<Delivery>) {
        match self.entry(id) {
            Some(stage) if is_qos(stage, QoS::ExactlyOnce) => {
                if refused {
                    return self.finish(id);
                }
                match std::mem::replace(stage, Stage::Released) {
                    Stage::Sent(delivery) => (Acked::Release, Some(delivery)),
                    _ => (Acked::Release, None),
                }
            }
            Some(Stage::Released) => (Acked::Release, None),
            _ => (Acked::Unknown, None),
        }
    }

    /// PUBCOMP: ends a QoS 2 delivery.
    pub fn pubcomp(&mut self, id: u16) -> (Acked, Option<Delivery>) {
        match self.entry(id) {
            Some(Stage::Released) => self.finish(id),
            _ => (Acked::Unknown, None),
        }
    }

    /// The client is back: everything has to be sent again.
    pub fn rewind(&mut self) {
        self.unsent = self.entries.len();
        self.unsent_live = self.live;
    }

    /// Whether nothing has to be sent again.
    pub fn is_sent_again(&self) -> bool {
        self.unsent == 0
    }

    /// What must be sent again next, in the original order [MQTT-4.4.0-1]. A PUBLISH has to wait while
    /// as many as the window holds are unacknowledged [MQTT-3.3.4-9], PUBREL has not.
    pub fn next_unsent(&mut self, limit: u16) -> Option<(u16, &Stage)> {
        loop {
            let offset = self.entries.len() - self.unsent;
            let in_flight = self.live - self.unsent_live;
            match self.entries.get(offset)? {
                Stage::Sent(_) if in_flight >= limit => return None,
                Stage::Sent(_) | Stage::Released => self.unsent_live -= 1,
                Stage::Done => {
                    self.unsent -= 1;
                    continue;
                }
            }
            self.unsent -= 1;
            return Some((self.id_at(offset), &self.entries[offset]));
        }
    }

    /// Ends a delivery that the client cannot be sent.
    pub fn give_up(&mut self, id: u16) -> Option<Delivery> {
        match self.entry(id) {
            Some(Stage::Sent(_) | Stage::Released) => self.finish(id).1,
            _ => None,
        }
    }

    /// The client has gone: takes out the QoS 1 deliveries that came through shared subscriptions, for
    /// others to get them. What was sent at QoS 2 stays, it is this client's alone [MQTT-4.8.2-4].
    pub fn take_shared(&mut self) -> Vec<Delivery> {
        let mut taken = Vec::new();
        let sent = self.entries.len() - self.unsent;
        for (at, entry) in self.entries.iter_mut().enumerate() {
            let leaves = |d: &Delivery| d.share.is_shared() && d.qos == QoS::AtLeastOnce;
            if !matches!(entry, Stage::Sent(delivery) if leaves(delivery)) {
                continue;
            }
            if let Stage::Sent(delivery) = std::mem::replace(entry, Stage::Done) {
                self.live -= 1;
                self.unsent_live -= u16::from(at >= sent);
                taken.push(delivery);
            }
        }
        self.trim();
        taken
    }

    /// The client has left a shared subscription: what it was sent is its own now.
    pub fn forget_share(&mut self, membership: u32) {
        for entry in &mut self.entries {
            if let Stage::Sent(delivery) = entry
                && delivery.share.membership == membership
            {
                delivery.share = ShareTag::NONE;
            }
        }
    }

    /// Gives up every delivery; yields the messages so that their memory can be accounted.
    pub fn drain(&mut self) -> impl Iterator<Item = Message> + '_ {
        self.live = 0;
        self.unsent = 0;
        self.unsent_live = 0;
        self.first_id = self.id_at(self.entries.len());
        self.entries.drain(..).filter_map(|stage| match stage {
            Stage::Sent(delivery) => Some(delivery.message),
            Stage::Released | Stage::Done => None,
        })
    }

    /// Ends the delivery of an entry that exists and is live.
    fn finish(&mut self, id: u16) -> (Acked, Option<Delivery>) {
        let delivery = match self
            .entry(id)
            .map(|stage| std::mem::replace(stage, Stage::Done))
        {
            Some(Stage::Sent(delivery)) => Some(delivery),
            _ => None,
        };
        self.live -= 1;
        if self.offset(id) >= self.entries.len() - self.unsent {
            self.unsent_live -= 1;
        }
        self.trim();
        (Acked::Finished, delivery)
    }

    /// Lets tombstones at the front go.
    fn trim(&mut self) {
        while matches!(self.entries.front(), Some(Stage::Done)) {
            self.entries.pop_front();
            self.first_id = next_id(self.first_id);
        }
        self.unsent = self.unsent.min(self.entries.len());
    }

    fn entry(&mut self, id: u16) -> Option<&mut Stage> {
        if id == 0 {
            return None;
        }
        let offset = self.offset(id);
        self.entries.get_mut(offset)
    }

    /// Where the entry of an identifier lies if there is one.
    fn offset(&self, id: u16) -> usize {
        (usize::from(id) + PACKET_IDS - usize::from(self.first_id)) % PACKET_IDS
    }

    fn id_at(&self, offset: usize) -> u16 {
        let zero_based = (usize::from(self.first_id) - 1 + offset) % PACKET_IDS;
        u16::try_from(zero_based + 1).unwrap_or(1)
    }
}

fn next_id(id: u16) -> u16 {
    if id == u16::MAX { 1 } else { id + 1 }
}

fn is_qos(stage: &Stage, qos: QoS) -> bool {
    matches!(stage, Stage::Sent(delivery) if delivery.qos == qos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::message::{Publication, PublisherRef};

    fn delivery(qos: QoS) -> Delivery {
        let message = Message::from_publication(&Publication {
            topic: "t",
            payload: b"p",
            properties: &[],
            qos,
            retain: false,
            received_us: 0,
            expires_us: None,
            publisher: PublisherRef::BROKER,
        });
        Delivery {
            message,
            qos,
            retain: false,
            identifiers: Default::default(),
            share: ShareTag::NONE,
        }
    }

    #[test]
    fn identifiers_start_at_one_and_count_up_round_the_end() {
        let mut inflight = Inflight::default();
        for round in 0..2 {
            for id in 1..=u16::MAX {
                assert_eq!(
                    inflight.push(delivery(QoS::AtLeastOnce)),
                    id,
                    "round {round}"
                );
                assert_eq!(inflight.puback(id).0, Acked::Finished);
            }
        }
        assert!(inflight.is_empty());
    }

    #[test]
    fn acknowledgements_out_of_order_leave_tombstones_and_no_gap() {
        let mut inflight = Inflight::default();
        for _ in 0..4 {
            inflight.push(delivery(QoS::AtLeastOnce));
        }
        assert_eq!(inflight.puback(3).0, Acked::Finished);
        assert_eq!(inflight.puback(3).0, Acked::Unknown);
        assert_eq!(inflight.puback(0).0, Acked::Unknown);
        assert_eq!(inflight.puback(5).0, Acked::Unknown);
        assert_eq!(inflight.len(), 3);
        inflight.rewind();
        let ids: Vec<u16> =
            std::iter::from_fn(|| inflight.next_unsent(10).map(|(id, _)| id)).collect();
        assert_eq!(ids, [1, 2, 4]);
        assert_eq!(inflight.puback(1).0, Acked::Finished);
        assert_eq!(inflight.puback(2).0, Acked::Finished);
        assert_eq!(inflight.push(delivery(QoS::AtLeastOnce)), 5);
        assert!(!inflight.has_room(2) && inflight.has_room(3));
    }

    #[test]
    fn what_is_sent_again_keeps_to_the_window() {
        let mut inflight = Inflight::default();
        for _ in 0..5 {
            inflight.push(delivery(QoS::AtLeastOnce));
        }
        inflight.rewind();
        let next = |inflight: &mut Inflight| inflight.next_unsent(2).map(|(id, _)| id);
        assert_eq!(
            [next(&mut inflight), next(&mut inflight)],
            [Some(1), Some(2)]
        );
        assert_eq!(next(&mut inflight), None);
        // Acknowledged although it was not sent again.
        inflight.puback(4);
        assert_eq!(next(&mut inflight), None);
        inflight.puback(2);
        assert_eq!(next(&mut inflight), Some(3));
        inflight.puback(1);
        assert!(!inflight.has_room(9), "order: what is new comes last");
        assert_eq!(next(&mut inflight), Some(5));
        assert_eq!(next(&mut inflight), None);
        assert!(inflight.has_room(3) && inflight.len() == 2);
    }

    #[test]
    fn qos_2_goes_its_own_way() {
        let mut inflight = Inflight::default();
        let id = inflight.push(delivery(QoS::ExactlyOnce));
        assert_eq!(inflight.puback(id).0, Acked::Unknown);
        assert_eq!(inflight.pubcomp(id).0, Acked::Unknown);
        let (acked, message) = inflight.pubrec(id, false);
        assert!(acked == Acked::Release && message.is_some());
        assert_eq!(inflight.pubrec(id, false).0, Acked::Release);
        assert_eq!(inflight.pubcomp(id).0, Acked::Finished);
        let id = inflight.push(delivery(QoS::ExactlyOnce));
        assert_eq!(inflight.pubrec(id, true).0, Acked::Finished);
        assert!(inflight.is_empty());
    }

    #[test]
    fn what_was_shared_at_qos_1_goes_back_and_qos_2_stays() {
        let mut inflight = Inflight::default();
        let tag = |seq| ShareTag { membership: 3, seq };
        for (seq, qos) in [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtLeastOnce]
            .into_iter()
            .enumerate()
        {
            let share = tag(u32::try_from(seq).unwrap());
            inflight.push(Delivery {
                share,
                ..delivery(qos)
            });
        }
        inflight.push(delivery(QoS::AtLeastOnce));
        inflight.rewind();
        assert_eq!(inflight.next_unsent(9).map(|(id, _)| id), Some(1));
        let taken: Vec<u32> = inflight.take_shared().iter().map(|d| d.share.seq).collect();
        assert_eq!(taken, [0, 2]);
        assert_eq!(inflight.len(), 2);
        assert_eq!(inflight.next_unsent(9).map(|(id, _)| id), Some(2));
        assert_eq!(inflight.next_unsent(9).map(|(id, _)| id), Some(4));
        inflight.forget_share(3);
        let acked = inflight.pubrec(2, false).1.map(|d| d.share);
        assert_eq!(acked, Some(ShareTag::NONE));
        inflight.pubcomp(2);
        inflight.puback(4);
        assert!(inflight.is_empty() && inflight.has_room(1));
    }

    #[test]
    fn the_window_ends_before_an_identifier_would_be_used_twice() {
        let mut inflight = Inflight::default();
        let first = inflight.push(delivery(QoS::AtLeastOnce));
        for _ in 1..PACKET_IDS {
            let id = inflight.push(delivery(QoS::AtLeastOnce));
            inflight.puback(id);
        }
        assert_eq!((first, inflight.len()), (1, 1));
        assert!(!inflight.has_room(u16::MAX));
        inflight.puback(first);
        assert!(inflight.has_room(1));
    }
}
