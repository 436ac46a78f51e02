//! What clients do: connect, subscribe, publish, acknowledge, go away.

use crate::mqtt::decode_connect::{Connect, ConnectProperties, Will, WillProperties};
use crate::mqtt::decode_disconnect::Disconnect;
use crate::mqtt::decode_subscribe::{RetainHandling, SubscribeEntry, SubscribeOptions};
use crate::mqtt::encode_ack::{encode_puback, encode_pubcomp, encode_pubrec, encode_pubrel};
use crate::mqtt::encode_client::{
    encode_client_disconnect, encode_connect, encode_pingreq, encode_publish, encode_subscribe,
    encode_unsubscribe,
};
use crate::mqtt::encode_publish::OutgoingPublish;
use crate::mqtt::property::UserProperties;
use crate::mqtt::qos::QoS;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::topic::is_shared;
use crate::mqtt::version::Version;
use crate::sim::client::{Asked, Awaits, Outgoing, Owed, State};
use crate::sim::ledger::{ConnLog, End, Published};
use crate::sim::net::Conn;
use crate::sim::world::{Phase, World};

/// Topics of ordinary messages.
const TOPICS: [&str; 5] = ["t/0", "t/1", "t/a/b", "t/a/c", "u"];
/// Filters that clients choose from.
pub const FILTERS: [&str; 12] = [
    "t/0", "t/1", "t/+", "t/#", "#", "+/0", "t/a/+", "u", "r/#", "r/+/0", "r/0/0", "w/#",
];
/// Payload bytes of a message that crosses as a parcel, and of one that is spliced as well.
const LARGE: [usize; 2] = [700, 4500];

/// Topic aliases that a client takes: fewer than there are topics.
pub const ALIASES_MAX: u16 = 2;

impl World {
    /// A client does something, if there is something to do.
    pub fn act(&mut self, who: usize) {
        self.notice_close(who);
        match self.clients[who].state {
            State::Away => self.come(who),
            State::Greeting => self.read(who),
            State::Leaving => {
                self.read(who);
                // Some do not wait for the broker to close.
                if self.phase == Phase::Traffic && self.rng.percent(10) {
                    self.hang_up(who);
                }
            }
            State::Online => self.act_online(who),
        }
    }

    fn act_online(&mut self, who: usize) {
        let patient = self.clients[who].slow && self.phase < Phase::Rest;
        if self.rng.percent(if patient { 8 } else { 70 }) {
            self.read(who);
        }
        if self.clients[who].state != State::Online {
            return;
        }
        self.pay(who, patient);
        self.keep_alive(who);
        match self.phase {
            Phase::Setup => self.set_up(who),
            Phase::Traffic => self.act_in_traffic(who),
            Phase::Rest => {}
            Phase::Farewell => self.leave_for_good(who),
        }
    }

    fn act_in_traffic(&mut self, who: usize) {
        let dice = self.rng.below(100);
        let (drop, churn) = (self.plan.drop_chance, self.plan.churn_chance);
        if dice < drop {
            self.go_away(who);
        } else if dice < drop + churn {
            if self.rng.percent(65) {
                self.subscribe(who);
            } else {
                self.unsubscribe(who);
            }
        } else if dice < drop + churn + 3 {
            self.ping(who);
        } else {
            for _ in 0..self.rng.range(0, 3) {
                self.publish(who);
            }
        }
    }

    /// Subscribes; when that is acknowledged, some go away again.
    fn set_up(&mut self, who: usize) {
        let client = &self.clients[who];
        if client.ready {
            return;
        }
        let Some(session) = client.session else {
            return;
        };
        if self.ledger.sessions[session].subscriptions.is_empty() {
            self.subscribe(who);
        } else if client.asked.is_empty() {
            let leaves = client.persistent && self.rng.percent(40);
            self.clients[who].ready = true;
            if leaves {
                self.leave(who, 0, false);
            }
        }
    }

    fn come(&mut self, who: usize) {
        let client = &self.clients[who];
        match self.phase {
            Phase::Setup if client.ready => {}
            Phase::Setup => self.connect(who, !client.persistent),
            Phase::Traffic if self.plan.overflow => {}
            Phase::Traffic if self.rng.percent(25) => {
                let clean = !client.persistent || self.rng.percent(10);
                self.connect(who, clean);
            }
            Phase::Traffic => {}
            Phase::Rest if client.rival => {}
            Phase::Rest => self.connect(who, !client.persistent),
            Phase::Farewell if !client.done => self.connect(who, true),
            Phase::Farewell => {}
        }
    }

    /// Opens a connection to some core and says CONNECT, and maybe more at once.
    fn connect(&mut self, who: usize, clean: bool) {
        let core = self.rng.below(self.cores.len());
        let id = self.conns.len();
        let capacity = self
            .rng
            .range(self.plan.socket_bytes.0, self.plan.socket_bytes.1);
        self.conns.push(Conn::new(who, core, capacity, self.now.ms));
        self.open.push(id);
        self.cores[core].accept(id);
        self.stats.connects += 1;
        let log = self.conn_log(who, clean, id);
        if let Some(last) = self.clients[who].last_conn {
            self.ledger.superseded(last, id, self.now.ms);
        }
        self.ledger.conns.push(log);
        let mut out = Vec::new();
        self.write_connect(who, clean, id, &mut out);
        self.ledger.note(format_args!(
            "client {who}: CONNECT on {id} at core {core}, clean {clean}"
        ));
        let client = &mut self.clients[who];
        client.forget_connection();
        client.conn = Some(id);
        client.last_conn = Some(id);
        client.state = State::Greeting;
        self.send(who, &out);
        if self.phase == Phase::Traffic && !self.plan.overflow && self.rng.percent(30) {
            self.ping(who);
            self.publish_with(who, QoS::AtMostOnce, false);
        }
    }

    fn conn_log(&mut self, who: usize, clean: bool, id: usize) -> ConnLog {
        let client = &self.clients[who];
        let expiry_s = match (client.version.is_v5(), clean) {
            (true, _) if self.phase == Phase::Farewell => 0,
            (true, _) => client.expiry_s,
            (false, true) => 0,
            (false, false) => self.rules.session_expiry_s,
        };
        let (rival, is_v5, session) = (client.rival, client.version.is_v5(), client.session);
        let keep_alive_s = client.keep_alive_s;
        let will = (self.phase == Phase::Traffic
            && !rival
            && self.rng.percent(self.plan.will_chance))
        .then(|| {
            let delay_s = if is_v5 {
                *self.rng.pick(&[0, 0, 1, 3])
            } else {
                0
            };
            let qos = *self
                .rng
                .pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
            let message = self.ledger.published.len();
            self.ledger.published.push(Published {
                client: who,
                session,
                topic: format!("w/{who}"),
                qos,
                retain: false,
                empty: false,
                conn: None,
                sent: u64::MAX,
                acked: None,
                attempts: 1,
                will_of: Some(id),
                deliveries: 0,
            });
            (message, delay_s)
        });
        ConnLog {
            client: who,
            sent: self.ledger.tick(),
            sent_ms: self.now.ms,
            clean,
            connack: None,
            connack_ms: None,
            expiry_s,
            will,
            end: End::Open,
            ended_ms: None,
            closed_ms: None,
            unread: false,
            next: None,
            abandoned: false,
            keep_alive_s,
            turned_ms: self.cores.iter().map(|c| c.turned_ms).min().unwrap_or(0),
        }
    }

    fn write_connect(&self, who: usize, clean: bool, id: usize, out: &mut Vec<u8>) {
        let client = &self.clients[who];
        let log = &self.ledger.conns[id];
        let message = log.will.map(|(message, _)| message);
        let payload = message
            .map(|message| payload_of(message, 10))
            .unwrap_or_default();
        let is_v5 = client.version.is_v5();
        let will = log.will.map(|(message, delay_s)| {
            let published = &self.ledger.published[message];
            Will {
                topic: &published.topic,
                payload: &payload,
                qos: published.qos,
                retain: false,
                properties: WillProperties {
                    delay_interval: delay_s,
                    ..WillProperties::default()
                },
            }
        });
        let mut properties = ConnectProperties::default();
        if is_v5 {
            properties.session_expiry_interval = log.expiry_s;
            properties.receive_maximum = client.receive_maximum;
            properties.topic_alias_maximum = ALIASES_MAX;
        }
        encode_connect(
            out,
            &Connect {
                version: client.version,
                bridge: false,
                clean_start: clean,
                keep_alive: client.keep_alive_s,
                client_id: &client.name,
                will,
                username: None,
                password: None,
                properties,
            },
        );
    }

    /// Bytes to the broker.
    pub fn send(&mut self, who: usize, bytes: &[u8]) {
        let Some(conn) = self.clients[who].conn else {
            return;
        };
        self.clients[who].sent_ms = self.now.ms;
        self.ledger.digest(bytes);
        self.ledger.digest(&[0xC0, who.to_le_bytes()[0]]);
        self.clients[who].only_pings = false;
        self.conns[conn].up.extend(bytes);
    }

    fn ping(&mut self, who: usize) {
        let mut out = Vec::new();
        encode_pingreq(&mut out);
        self.clients[who].pings += 1;
        let unheard = self.clients[who]
            .conn
            .is_some_and(|id| !self.conns[id].up.is_empty());
        let only_pings = self.clients[who].only_pings || !unheard;
        self.send(who, &out);
        self.clients[who].only_pings = only_pings;
    }

    /// Most clients remember their keep-alive in time; before the end all do.
    fn keep_alive(&mut self, who: usize) {
        let client = &self.clients[who];
        let half_ms = u64::from(client.keep_alive_s) * 500;
        let due = half_ms > 0 && self.now.ms >= client.sent_ms + half_ms;
        if due && (self.phase >= Phase::Rest || self.rng.percent(80)) {
            self.ping(who);
        }
    }

    fn publish(&mut self, who: usize) {
        let client = &self.clients[who];
        if client.to_publish == 0 || client.out.len() >= self.plan.publish_window {
            return;
        }
        self.clients[who].to_publish -= 1;
        let mut qos = *self
            .rng
            .pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
        let rival = self.clients[who].rival;
        if rival {
            // Rivals share a session and do not know of each other's identifiers.
            qos = qos.min(QoS::AtLeastOnce);
        }
        let retain = self.rng.percent(self.plan.retain_chance) && !rival;
        self.publish_with(who, qos, retain);
    }

    /// A retained topic has one publisher and one QoS, so that its newest message is known.
    fn publish_with(&mut self, who: usize, qos: QoS, retain: bool) {
        let rival = self.clients[who].rival;
        let topic = if retain {
            format!("r/{who}/{}", self.rng.below(2))
        } else if rival {
            "rival".to_owned()
        } else {
            match self.share_topic() {
                Some(topic) => topic.to_owned(),
                None => (*self.rng.pick(&TOPICS)).to_owned(),
            }
        };
        let qos = if retain { QoS::AtLeastOnce } else { qos };
        let len = if self.rng.percent(self.plan.large_chance) {
            *self.rng.pick(&LARGE)
        } else {
            self.rng.range(8, 40)
        };
        let empty = retain && self.rng.percent(15);
        let message = self.ledger.published.len();
        let sent = self.ledger.tick();
        self.ledger.published.push(Published {
            client: who,
            session: self.clients[who].session,
            topic,
            qos,
            retain,
            empty,
            conn: self.clients[who].conn,
            sent,
            acked: None,
            attempts: 0,
            will_of: None,
            deliveries: 0,
        });
        self.stats.published += 1;
        let mut packet_id = 0;
        if qos != QoS::AtMostOnce {
            let client = &mut self.clients[who];
            packet_id = client.next_packet_id();
            let awaits = first_answer(qos);
            client.out.push(Outgoing {
                packet_id,
                message,
                awaits,
            });
        }
        self.put_publish(who, message, packet_id, false, if empty { 0 } else { len });
    }

    /// Writes a PUBLISH.
    pub fn put_publish(
        &mut self,
        who: usize,
        message: usize,
        packet_id: u16,
        dup: bool,
        len: usize,
    ) {
        let published = &mut self.ledger.published[message];
        published.attempts += 1;
        let (qos, topic) = (published.qos, published.topic.clone());
        let payload = if published.empty {
            Vec::new()
        } else {
            payload_of(message, len)
        };
        let retain = published.retain;
        let version = self.clients[who].version;
        let (topic_alias, by_alias) = self.alias(who, &topic);
        let mut out = Vec::new();
        let publish = OutgoingPublish {
            topic: if by_alias { "" } else { &topic },
            payload_len: payload.len(),
            qos,
            dup,
            retain,
            packet_id,
            topic_alias,
            ..OutgoingPublish::default()
        };
        encode_publish(&mut out, version, &publish, &payload);
        if qos != QoS::AtMostOnce {
            let answer = (first_answer(qos), packet_id);
            self.clients[who].acks_due.push_back(answer);
        }
        self.ledger.note(format_args!(
            "client {who}: PUBLISH {message} to {topic}, {qos:?}, id {packet_id}, dup {dup}, retain {retain}, {} bytes",
            payload.len()
        ));
        self.send(who, &out);
    }

    /// Some messages of 5.0 use an alias; says whether it stands alone.
    fn alias(&mut self, who: usize, topic: &str) -> (Option<u16>, bool) {
        let client = &mut self.clients[who];
        if !client.version.is_v5() || client.state != State::Online || !self.rng.percent(30) {
            return (None, false);
        }
        let known = client.aliases.iter().find(|(_, t)| *t == topic);
        if let Some((alias, _)) = known {
            return (Some(*alias), true);
        }
        let alias = u16::try_from(self.rng.range(1, 3)).unwrap_or(1);
        client.aliases.insert(alias, topic.to_owned());
        (Some(alias), false)
    }

    /// Acknowledges some of what is to be acknowledged.
    fn pay(&mut self, who: usize, patient: bool) {
        let count = if self.phase >= Phase::Rest {
            usize::MAX
        } else if patient {
            self.rng.below(2)
        } else {
            self.rng.range(0, 6)
        };
        let mut out = Vec::new();
        for _ in 0..count {
            let owed = self.clients[who].owed.len();
            if owed == 0 {
                break;
            }
            let at = if self.rng.percent(15) {
                self.rng.below(owed)
            } else {
                0
            };
            let Some(debt) = self.clients[who].owed.remove(at) else {
                break;
            };
            self.write_ack(who, debt, &mut out);
        }
        if !out.is_empty() {
            self.send(who, &out);
        }
    }

    fn write_ack(&mut self, who: usize, owed: Owed, out: &mut Vec<u8>) {
        self.ledger.note(format_args!("client {who}: {owed:?}"));
        let client = &mut self.clients[who];
        let (version, ok) = (client.version, ReasonCode::Success);
        match owed {
            Owed::Ack(id) => {
                client.outstanding = client.outstanding.saturating_sub(1);
                encode_puback(out, version, id, ok);
            }
            Owed::Rec(id) => encode_pubrec(out, version, id, ok),
            Owed::Comp(id) => {
                client.outstanding = client.outstanding.saturating_sub(1);
                encode_pubcomp(out, version, id, ok);
            }
        }
    }

    /// Sends what was not acknowledged once more, in its order [MQTT-4.4.0-1].
    pub fn resend(&mut self, who: usize) {
        for outgoing in self.clients[who].out.clone() {
            match outgoing.awaits {
                Awaits::Ack | Awaits::Rec => {
                    self.put_publish(who, outgoing.message, outgoing.packet_id, true, 12);
                }
                Awaits::Comp => self.put_pubrel(who, outgoing.packet_id),
            }
        }
    }

    /// Writes a PUBREL.
    pub fn put_pubrel(&mut self, who: usize, packet_id: u16) {
        let mut out = Vec::new();
        encode_pubrel(
            &mut out,
            self.clients[who].version,
            packet_id,
            ReasonCode::Success,
        );
        self.send(who, &out);
    }

    fn pick_filter(&mut self, who: usize) -> &'static str {
        if self.plan.share_chance > 0 {
            self.share_filter(who)
        } else {
            FILTERS[self.rng.below(FILTERS.len())]
        }
    }

    /// SUBSCRIBE to one to three filters.
    pub fn subscribe(&mut self, who: usize) {
        if self.clients[who].asked.len() >= 3 {
            return;
        }
        let mut filters: Vec<&str> = Vec::new();
        for _ in 0..self.rng.range(1, 3) {
            let filter = self.pick_filter(who);
            if !filters.contains(&filter) {
                filters.push(filter);
            }
        }
        let is_v5 = self.clients[who].version.is_v5();
        let identifier = (is_v5 && self.rng.percent(60)).then(|| self.rng.range(1, 300));
        let identifier = identifier.and_then(|id| u32::try_from(id).ok());
        let entries: Vec<SubscribeEntry<'_>> = filters
            .iter()
            .map(|filter| SubscribeEntry {
                filter,
                options: SubscribeOptions {
                    qos: if is_shared(filter) {
                        self.share_qos()
                    } else {
                        *self
                            .rng
                            .pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
                    },
                    no_local: is_v5 && !is_shared(filter) && self.rng.percent(15),
                    retain_as_published: is_v5 && self.rng.percent(25),
                    retain_handling: if is_v5 {
                        *self.rng.pick(&[
                            RetainHandling::SendAlways,
                            RetainHandling::SendAlways,
                            RetainHandling::SendIfNew,
                            RetainHandling::DoNotSend,
                        ])
                    } else {
                        RetainHandling::SendAlways
                    },
                },
            })
            .collect();
        let packet_id = self.clients[who].next_packet_id();
        self.remember_subscribe(who, packet_id, identifier, &entries);
        let mut out = Vec::new();
        let version = self.clients[who].version;
        encode_subscribe(&mut out, version, packet_id, identifier, &entries);
        self.ledger.note(format_args!(
            "client {who}: SUBSCRIBE {packet_id} {entries:?}"
        ));
        self.send(who, &out);
    }

    fn remember_subscribe(
        &mut self,
        who: usize,
        packet_id: u16,
        identifier: Option<u32>,
        entries: &[SubscribeEntry<'_>],
    ) {
        let Some(conn) = self.clients[who].conn else {
            return;
        };
        let session = self.clients[who].session;
        let subscriptions = match session {
            None => Vec::new(),
            Some(session) => entries
                .iter()
                .map(|entry| self.ledger.subscribes(session, conn, identifier, entry))
                .collect(),
        };
        self.clients[who].asked.push_back(Asked {
            packet_id,
            unsubscribe: false,
            subscriptions,
        });
    }

    fn unsubscribe(&mut self, who: usize) {
        if self.clients[who].asked.len() >= 3 {
            return;
        }
        let filter = self.pick_filter(who);
        let packet_id = self.clients[who].next_packet_id();
        let subscriptions = match self.clients[who].session {
            None => Vec::new(),
            Some(session) => self.ledger.unsubscribes(session, filter),
        };
        self.clients[who].asked.push_back(Asked {
            packet_id,
            unsubscribe: true,
            subscriptions,
        });
        let mut out = Vec::new();
        encode_unsubscribe(&mut out, self.clients[who].version, packet_id, &[filter]);
        self.ledger.note(format_args!(
            "client {who}: UNSUBSCRIBE {packet_id} {filter}"
        ));
        self.send(who, &out);
    }

    /// Ends the connection in one way or another.
    fn go_away(&mut self, who: usize) {
        let dice = self.rng.below(100);
        if dice < 40 {
            self.leave(who, 0, false);
        } else if dice < 50 && self.clients[who].version.is_v5() {
            self.leave(who, 4, false);
        } else if dice < 85 {
            self.hang_up(who);
        } else {
            // Away without a word: the broker does not learn of it.
            let Some(conn) = self.clients[who].conn.take() else {
                return;
            };
            self.ledger
                .note(format_args!("client {who}: lost sight of {conn}"));
            self.ledger.client_ends(conn, End::Lost, self.now.ms);
            self.clients[who].state = State::Away;
        }
    }

    /// Ends the session: 5.0 says so in DISCONNECT, 3.x needs a clean connection for it.
    fn leave_for_good(&mut self, who: usize) {
        let clean = self.clients[who]
            .conn
            .is_some_and(|id| self.ledger.conns[id].clean);
        let forget = clean || self.clients[who].version.is_v5();
        self.leave(who, 0, forget);
    }

    /// Says DISCONNECT; `forget` ends the session too.
    pub fn leave(&mut self, who: usize, reason: u8, forget: bool) {
        let Some(conn) = self.clients[who].conn else {
            return;
        };
        let version = self.clients[who].version;
        let normal = reason == 0 || version != Version::V5;
        let end = if normal { End::Normal } else { End::WithWill };
        self.ledger.tick();
        self.ledger.client_ends(conn, end, self.now.ms);
        self.ledger
            .note(format_args!("client {who}: DISCONNECT {reason} on {conn}"));
        let mut out = Vec::new();
        let disconnect = Disconnect {
            reason: if normal {
                ReasonCode::Success
            } else {
                ReasonCode::DisconnectWithWillMessage
            },
            session_expiry_interval: (forget && version.is_v5()).then_some(0),
            reason_string: None,
            server_reference: None,
            user_properties: UserProperties::default(),
        };
        encode_client_disconnect(&mut out, version, &disconnect);
        self.send(who, &out);
        self.clients[who].state = State::Leaving;
        self.clients[who].done |= forget;
    }

    /// Closes the socket.
    fn hang_up(&mut self, who: usize) {
        let Some(conn) = self.clients[who].conn.take() else {
            return;
        };
        self.ledger
            .note(format_args!("client {who}: closes {conn}"));
        self.ledger.tick();
        self.conns[conn].up_ended = true;
        self.conns[conn].down.clear();
        self.ledger.client_ends(conn, End::Lost, self.now.ms);
        self.clients[who].state = State::Away;
    }
}

/// The answer that an outgoing message waits for first.
fn first_answer(qos: QoS) -> Awaits {
    if qos == QoS::ExactlyOnce {
        Awaits::Rec
    } else {
        Awaits::Ack
    }
}

/// A payload: the message's number, then filling that depends on it.
fn payload_of(message: usize, len: usize) -> Vec<u8> {
    let mut payload = (message as u64).to_be_bytes().to_vec();
    payload.resize(len.max(8), message.to_le_bytes()[0]);
    payload
}
