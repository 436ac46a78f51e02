//! What clients hear: bytes to packets, and what each of them must be.

use crate::mqtt::decode_publish::Publish;
use crate::mqtt::decode_server::{ConnAck, ServerPacket, SubAck, decode_server};
use crate::mqtt::frame::next_frame;
use crate::mqtt::qos::QoS;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::version::Version;
use crate::sim::act::ALIASES_MAX;
use crate::sim::checker::Delivery;
use crate::sim::client::{Awaits, Owed, State};
use crate::sim::ledger::SessionLog;
use crate::sim::net::Stage;
use crate::sim::world::{Phase, World};

impl World {
    /// Reads some of what has come.
    pub fn read(&mut self, who: usize) {
        let Some(id) = self.clients[who].conn else {
            return;
        };
        let waiting = self.conns[id].down.len();
        let count = if self.phase >= Phase::Rest {
            waiting
        } else {
            self.rng.range(0, waiting)
        };
        let bytes: Vec<u8> = self.conns[id].down.drain(..count).collect();
        self.ledger.digest(&bytes);
        self.clients[who].inbox.extend(bytes);
        while self.clients[who].conn == Some(id) && self.ledger.failure.is_none() {
            let inbox = &mut self.clients[who].inbox;
            let wire_len = match next_frame(inbox, u32::MAX) {
                Ok(None) => return,
                Ok(Some(frame)) => frame.wire_len,
                Err(error) => return self.ledger.fail(format!("client {who}: {error:?}")),
            };
            let packet: Vec<u8> = inbox.drain(..wire_len).collect();
            self.hear(who, &packet);
        }
    }

    /// Sees that the broker has closed, when everything before has been read.
    pub fn notice_close(&mut self, who: usize) {
        let Some(id) = self.clients[who].conn else {
            return;
        };
        if self.conns[id].stage != Stage::Closed {
            return;
        }
        self.read(who);
        if !self.conns[id].down.is_empty() || self.clients[who].conn != Some(id) {
            return;
        }
        self.ledger
            .note(format_args!("client {who}: the broker has closed {id}"));
        let keep_alive_ms = u64::from(self.clients[who].keep_alive_s) * 1500;
        let conn = &self.conns[id];
        let silence_ms = conn.closed_ms.unwrap_or(0).saturating_sub(conn.heard_ms);
        let silent = keep_alive_ms > 0 && silence_ms >= keep_alive_ms;
        let client = &mut self.clients[who];
        let surprising = client.state == State::Online && !client.rival && !silent;
        client.state = State::Away;
        client.conn = None;
        if surprising {
            self.ledger.fail(format!(
                "client {who}: the broker has closed without a cause"
            ));
        }
    }

    fn hear(&mut self, who: usize, packet: &[u8]) {
        let version = self.clients[who].version;
        let Ok(Some(frame)) = next_frame(packet, u32::MAX) else {
            return self.ledger.fail("a packet changed");
        };
        let heard = match decode_server(&frame, version) {
            Ok(heard) => heard,
            Err(error) => {
                return self
                    .ledger
                    .fail(format!("client {who}: {error:?} {packet:?}"));
            }
        };
        if self.clients[who].disconnected {
            return self
                .ledger
                .fail(format!("client {who}: {heard:?} after DISCONNECT"));
        }
        let greeted = self.clients[who].state != State::Greeting;
        if greeted == matches!(heard, ServerPacket::ConnAck(_)) {
            return self
                .ledger
                .fail(format!("client {who}: {heard:?} at the wrong time"));
        }
        match heard {
            ServerPacket::ConnAck(connack) => self.hear_connack(who, &connack),
            ServerPacket::Publish(publish) => match self.topic_of(who, &publish) {
                Some(topic) => self.hear_publish(
                    who,
                    &Publish {
                        topic: &topic,
                        ..publish
                    },
                ),
                None => self.ledger.fail(format!(
                    "client {who}: an alias without a topic, {publish:?}"
                )),
            },
            ServerPacket::PubAck(ack) => {
                self.hear_answer(who, Awaits::Ack, ack.packet_id, ack.reason);
            }
            ServerPacket::PubRec(ack) => {
                self.hear_answer(who, Awaits::Rec, ack.packet_id, ack.reason);
            }
            ServerPacket::PubComp(ack) => self.hear_pubcomp(who, ack.packet_id),
            ServerPacket::PubRel(ack) => {
                let client = &mut self.clients[who];
                client.unreleased.remove(&ack.packet_id);
                client.owed.push_back(Owed::Comp(ack.packet_id));
            }
            ServerPacket::SubAck(suback) => self.hear_suback(who, &suback, false),
            ServerPacket::UnsubAck(suback) => self.hear_suback(who, &suback, true),
            ServerPacket::PingResp => match self.clients[who].pings.checked_sub(1) {
                Some(rest) => self.clients[who].pings = rest,
                None => self.ledger.fail(format!("client {who}: PINGRESP unasked")),
            },
            ServerPacket::Disconnect(disconnect) => self.hear_disconnect(who, disconnect.reason),
            ServerPacket::Auth(_) => self.ledger.fail("AUTH unasked"),
        }
    }

    fn hear_connack(&mut self, who: usize, connack: &ConnAck<'_>) {
        let client = &self.clients[who];
        let Some(id) = client.conn else {
            return;
        };
        let present = connack.session_present;
        self.ledger.note(format_args!(
            "client {who}: CONNACK on {id}, {:?}, present {present}",
            connack.reason
        ));
        if connack.reason.is_error() {
            if self.plan.queue_memory_bytes > 1 << 20 {
                self.ledger
                    .fail(format!("client {who}: refused, {:?}", connack.reason));
            }
            return;
        }
        let event = self.ledger.tick();
        self.ledger.conns[id].connack = Some(event);
        self.ledger.conns[id].connack_ms = Some(self.now.ms);
        self.clients[who].state = State::Online;
        if self.clients[who].rival {
            self.clients[who].forget_session();
            self.clients[who].session = None;
            return;
        }
        let session = self.clients[who].session;
        let expected = self.ledger.session_present(session, id, self.now.ms);
        if expected.is_some_and(|expected| expected != present) {
            return self
                .ledger
                .fail(format!("client {who}: session present is {present}"));
        }
        self.stats.resumed += u64::from(present);
        if present {
            let session = self.clients[who].session;
            self.ledger.sessions[session.unwrap_or(0)].conn = id;
            return self.resend(who);
        }
        if let Some(old) = self.clients[who].session {
            self.ledger.sessions[old].ended = true;
        }
        self.clients[who].forget_session();
        self.clients[who].session = Some(self.ledger.sessions.len());
        self.ledger.sessions.push(SessionLog {
            client: who,
            conn: id,
            ..SessionLog::default()
        });
    }

    /// PUBACK and PUBREC come in the order of the PUBLISHes.
    fn hear_answer(&mut self, who: usize, answer: Awaits, packet_id: u16, reason: ReasonCode) {
        let client = &mut self.clients[who];
        if client.acks_due.pop_front() != Some((answer, packet_id)) {
            return self
                .ledger
                .fail(format!("client {who}: {answer:?} {packet_id} out of order"));
        }
        let Some(at) = client.out.iter().position(|o| o.packet_id == packet_id) else {
            return self
                .ledger
                .fail(format!("client {who}: {answer:?} {packet_id} unasked"));
        };
        let message = client.out[at].message;
        let event = self.ledger.tick();
        self.ledger.published[message].acked.get_or_insert(event);
        self.ledger.note(format_args!(
            "client {who}: {answer:?} {packet_id} for {message}"
        ));
        if reason.is_error() {
            return self
                .ledger
                .fail(format!("client {who}: {answer:?} with {reason:?}"));
        }
        if reason == ReasonCode::NoMatchingSubscribers && !self.plan.overflow {
            self.ledger.check_unwanted(message);
        }
        if answer == Awaits::Ack {
            self.clients[who].out.remove(at);
        } else {
            self.clients[who].out[at].awaits = Awaits::Comp;
            self.put_pubrel(who, packet_id);
        }
    }

    fn hear_pubcomp(&mut self, who: usize, packet_id: u16) {
        let client = &mut self.clients[who];
        let known = client
            .out
            .iter()
            .position(|o| o.packet_id == packet_id && o.awaits == Awaits::Comp);
        match known {
            Some(at) => {
                client.out.remove(at);
            }
            None => self
                .ledger
                .fail(format!("client {who}: PUBCOMP {packet_id} unasked")),
        }
    }

    fn hear_suback(&mut self, who: usize, suback: &SubAck<'_>, unsubscribe: bool) {
        let client = &mut self.clients[who];
        let id = suback.packet_id;
        let at = client
            .asked
            .iter()
            .position(|a| a.packet_id == id && a.unsubscribe == unsubscribe);
        let Some(asked) = at.and_then(|at| client.asked.remove(at)) else {
            return self
                .ledger
                .fail(format!("client {who}: SUBACK {id} unasked"));
        };
        self.ledger.note(format_args!(
            "client {who}: SUBACK {id}, unsubscribe {unsubscribe}"
        ));
        let Some(session) = client.session else {
            return;
        };
        if unsubscribe {
            for ended in asked.subscriptions {
                self.ledger.unsubscribed(session, ended);
            }
            return;
        }
        for (subscription, reason) in asked.subscriptions.iter().zip(suback.reasons) {
            let (at, version) = *subscription;
            let wanted = self.ledger.sessions[session].subscriptions[at].versions[version].qos;
            if wanted.as_u8() != *reason {
                self.ledger
                    .fail(format!("client {who}: granted {reason} for {wanted:?}"));
            }
            self.ledger.subscribed(session, *subscription);
        }
    }

    fn hear_disconnect(&mut self, who: usize, reason: ReasonCode) {
        self.ledger
            .note(format_args!("client {who}: DISCONNECT {reason:?}"));
        let client = &mut self.clients[who];
        client.disconnected = true;
        let fair = match reason {
            ReasonCode::KeepAliveTimeout => client.keep_alive_s > 0,
            ReasonCode::SessionTakenOver => client.rival,
            _ => false,
        };
        if !fair {
            self.ledger
                .fail(format!("client {who}: DISCONNECT {reason:?}"));
        }
    }

    /// The topic that a PUBLISH names, itself or by its alias.
    fn topic_of(&mut self, who: usize, publish: &Publish<'_>) -> Option<String> {
        let Some(alias) = publish.properties.topic_alias else {
            return Some(publish.topic.to_owned());
        };
        if alias > ALIASES_MAX {
            return None;
        }
        self.stats.aliased += u64::from(publish.topic.is_empty());
        let aliases = &mut self.clients[who].aliases_heard;
        if !publish.topic.is_empty() {
            aliases.insert(alias, publish.topic.to_owned());
        }
        aliases.get(&alias).cloned()
    }

    fn hear_publish(&mut self, who: usize, publish: &Publish<'_>) {
        if self.clients[who].rival {
            return self.hear_as_rival(who, publish);
        }
        let Some(session) = self.clients[who].session else {
            return self.ledger.fail("a PUBLISH without a session");
        };
        let Ok(message) = number_of(publish.payload) else {
            return self.ledger.fail(format!("client {who}: a payload changed"));
        };
        let identifiers: Vec<u32> = publish.properties.subscription_identifiers().collect();
        self.ledger.note(format_args!(
            "client {who}: gets {message:?} on {}, {:?}, id {}, dup {}, retain {}, {identifiers:?}",
            publish.topic, publish.qos, publish.packet_id, publish.dup, publish.retain
        ));
        let again = publish.dup && publish.packet_id <= self.clients[who].last_id;
        if !self.take_packet_id(who, publish) {
            return;
        }
        self.stats.delivered += 1;
        let half_done = publish.qos == QoS::ExactlyOnce
            && !self.is_first(who, publish, message.unwrap_or(usize::MAX));
        match publish.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.clients[who]
                .owed
                .push_back(Owed::Ack(publish.packet_id)),
            QoS::ExactlyOnce => self.clients[who]
                .owed
                .push_back(Owed::Rec(publish.packet_id)),
        }
        if half_done {
            return;
        }
        let replayed = self.ledger.delivered(&Delivery {
            session,
            message,
            topic: publish.topic,
            qos: publish.qos,
            dup: publish.dup,
            again,
            retain: publish.retain,
            identifiers,
            is_v5: self.clients[who].version == Version::V5,
            now_ms: self.now.ms,
        });
        self.stats.replayed += u64::from(replayed);
    }

    /// Whether a QoS 2 message is not one that is half done.
    fn is_first(&mut self, who: usize, publish: &Publish<'_>, message: usize) -> bool {
        let id = publish.packet_id;
        match self.clients[who].unreleased.insert(id, message) {
            None => true,
            Some(before) => {
                if before != message || !publish.dup {
                    let text = format!("client {who}: identifier {id} is used for two messages");
                    self.ledger.fail(text);
                }
                false
            }
        }
    }

    /// Identifiers count up; what is sent again comes first; the window holds.
    fn take_packet_id(&mut self, who: usize, publish: &Publish<'_>) -> bool {
        if publish.qos == QoS::AtMostOnce {
            return true;
        }
        let window = usize::from(
            self.plan
                .max_inflight
                .min(self.clients[who].receive_maximum),
        );
        let client = &mut self.clients[who];
        let id = publish.packet_id;
        let next = client.last_id.checked_add(1).unwrap_or(1);
        let fair = if publish.dup {
            !client.fresh_seen && id <= next
        } else {
            client.fresh_seen = true;
            id == next
        };
        // What a member gave back leaves a gap.
        let fair = fair || self.plan.share_chance > 0;
        client.last_id = client.last_id.max(id);
        client.outstanding += 1;
        if !fair {
            self.ledger.fail(format!(
                "client {who}: identifier {id} where {next} was due"
            ));
        } else if client.outstanding > window {
            self.ledger
                .fail(format!("client {who}: more than {window} in flight"));
        }
        fair
    }

    fn hear_as_rival(&mut self, who: usize, publish: &Publish<'_>) {
        let id = publish.packet_id;
        match publish.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => self.clients[who].owed.push_back(Owed::Ack(id)),
            QoS::ExactlyOnce => self.clients[who].owed.push_back(Owed::Rec(id)),
        }
    }
}

/// The message that a payload belongs to; none if it is empty.
fn number_of(payload: &[u8]) -> Result<Option<usize>, ()> {
    let Some((number, filling)) = payload.split_first_chunk::<8>() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(())
        };
    };
    let number = usize::try_from(u64::from_be_bytes(*number)).map_err(|_| ())?;
    let intact = filling.iter().all(|byte| *byte == number.to_le_bytes()[0]);
    if intact { Ok(Some(number)) } else { Err(()) }
}
