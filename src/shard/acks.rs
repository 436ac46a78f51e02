//! Acknowledgements from subscribers: PUBACK, PUBREC, PUBCOMP.

use crate::metrics::Counter;
use crate::mqtt::decode_ack::Ack;
use crate::mqtt::encode_ack::encode_pubrel;
use crate::mqtt::qos::QoS;
use crate::mqtt::reason::ReasonCode;
use crate::session::inflight::{Acked, Inflight};
use crate::session::queue::{Delivery, ShareTag};
use crate::shard::Shard;
use crate::shard::clients::Clients;

impl Shard {
    /// PUBACK: a QoS 1 delivery is done.
    pub fn puback(&mut self, slot: u32, ack: Ack) {
        let acked = self
            .clients
            .finish_delivery(slot, ack.packet_id, |inflight| {
                inflight.puback(ack.packet_id)
            });
        self.count_missed(acked, Counter::PacketsPubackMissed);
    }

    /// PUBREC: a QoS 2 delivery has arrived; PUBREL follows. One that is not known is answered with
    /// 0x92 [MQTT5 3.6.2.1].
    pub fn pubrec(&mut self, slot: u32, ack: Ack) {
        let refused = ack.reason.is_error();
        let acked = self
            .clients
            .finish_delivery(slot, ack.packet_id, |inflight| {
                inflight.pubrec(ack.packet_id, refused)
            });
        self.count_missed(acked, Counter::PacketsPubrecMissed);
        match acked {
            Acked::Release => self
                .clients
                .send_pubrel(slot, ack.packet_id, ReasonCode::Success),
            Acked::Unknown if !refused => {
                self.clients
                    .send_pubrel(slot, ack.packet_id, ReasonCode::PacketIdentifierNotFound)
            }
            Acked::Unknown | Acked::Finished => {}
        }
    }

    /// PUBCOMP: a QoS 2 delivery is done.
    pub fn pubcomp(&mut self, slot: u32, ack: Ack) {
        let acked = self
            .clients
            .finish_delivery(slot, ack.packet_id, |inflight| {
                inflight.pubcomp(ack.packet_id)
            });
        self.count_missed(acked, Counter::PacketsPubcompMissed);
    }

    fn count_missed(&self, acked: Acked, counter: Counter) {
        if acked == Acked::Unknown {
            self.clients.metrics.inc(counter);
        }
    }

    /// The socket of a connection takes bytes again.
    pub fn drained(&mut self, slot: u32) {
        self.clients.drained(slot);
    }
}

impl Clients {
    /// Applies an acknowledgement to the window of the session behind a connection, and sends what
    /// there is room for now.
    fn finish_delivery(
        &mut self,
        slot: u32,
        packet_id: u16,
        apply: impl FnOnce(&mut Inflight) -> (Acked, Option<Delivery>),
    ) -> Acked {
        let Some(session_index) = self.connections.at(slot).map(|c| c.session) else {
            return Acked::Unknown;
        };
        let Some(traffic) = self
            .registry
            .at_mut(session_index)
            .and_then(|session| session.traffic.as_mut())
        else {
            return Acked::Unknown;
        };
        let (acked, delivery) = apply(&mut traffic.inflight);
        if let Some(delivery) = delivery {
            self.see_acked(session_index, &delivery);
            self.look_acked(session_index, packet_id, &delivery);
            self.let_go(delivery);
        }
        if acked == Acked::Finished {
            self.metrics.inc(Counter::MessagesAcked);
            self.pump(session_index);
            self.feed_replay(session_index);
        }
        acked
    }

    /// A delivery is over, whatever became of it: its memory is free, its group may send more.
    pub fn let_go(&mut self, delivery: Delivery) {
        self.share_done(delivery.share, delivery.qos);
        self.budget.release(delivery.message);
    }

    /// Notes for the group of a shared subscription that a delivery is over.
    pub fn share_done(&mut self, share: ShareTag, qos: QoS) {
        if share.is_shared() && qos != QoS::AtMostOnce {
            self.shares_done.push(share.membership);
        }
    }

    /// Sends PUBREL.
    pub fn send_pubrel(&mut self, slot: u32, packet_id: u16, reason: ReasonCode) {
        let Some(version) = self.connections.at(slot).map(|c| c.version) else {
            return;
        };
        self.metrics.inc(Counter::PacketsPubrelSent);
        self.look_sent(slot, "PUBREL", packet_id, Some(reason.as_u8()));
        if let Some(out) = self.out(slot) {
            encode_pubrel(&mut out.bytes, version, packet_id, reason);
        }
    }
}
