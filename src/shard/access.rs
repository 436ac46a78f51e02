//! What clients may do: where PUBLISH, SUBSCRIBE and wills meet the rules of `access/`.
//!
//! - Checked is the topic that the client named, after its alias and before rewriting and mount points;
//!   of a subscription the filter without `$share/<group>/`, `$queue/` and `$exclusive/`; of a delayed
//!   message the topic it is for.
//! - A will is checked when its connection ends, with what its client may do then. One that is denied
//!   is not published, and counted.
//! - Subscriptions that exist stay when rules change, as with EMQX.
//!
//! What the rules in memory leave open is asked of the control plane ([`crate::gate::access`]). The
//! connection is suspended before the packet, with nothing of it done. When the answers are there the
//! packet is looked at again, and finds them.

use smallvec::SmallVec;

use crate::access::acl::{Action, Permission, Subject};
use crate::access::cache::AnswerCache;
use crate::access::rules::{DenyAction, Verdict, real_filter, real_topic};
use crate::base::limits::{ACCESS_ANSWERS_MAX, ACCESS_QUESTIONS_MAX};
use crate::gate::access::{AccessAnswer, AccessQuestion, AccessReply, AccessTicket};
use crate::metrics::Counter;
use crate::mqtt::decode_publish::Publish;
use crate::mqtt::decode_subscribe::Subscribe;
use crate::mqtt::frame::{Frame, PacketType};
use crate::mqtt::packet::{ClientPacket, decode};
use crate::mqtt::qos::QoS;
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::version::Version;
use crate::shard::Shard;
use crate::shard::close::CloseReason;
use crate::shard::connection::{Connection, Flags};
use crate::shard::receive::Fault;
use crate::shard::timers::Timer;

/// What a connection has asked others, and what they said.
#[derive(Debug, Default)]
pub struct Asked {
    /// The number of the packet that waits.
    packet: u64,
    /// Questions without an answer yet.
    open: Vec<(u16, Action, Box<str>)>,
    /// Answers to the packet.
    answers: Vec<(Action, Box<str>, Permission)>,
    /// When the questions are given up, milliseconds since process start.
    deadline_ms: u64,
    /// Earlier answers.
    pub cache: AnswerCache,
    /// The question about the will: when it is given up, and the answer.
    will: Option<(u64, Option<Permission>)>,
}

/// Stands for the will where the number of a packet is expected.
const WILL: u64 = u64::MAX;

/// The questions of one core.
#[derive(Debug, Default)]
pub struct Asking {
    open: usize,
    packets: u64,
    /// How often the answers of all clients were forgotten.
    epoch: u64,
}

/// Whether each filter of a SUBSCRIBE is allowed, in their order.
pub(super) type Permits = SmallVec<[bool; 8]>;

impl Shard {
    /// Whether a client may publish; the end of the connection if it may not and that is what follows.
    pub(super) fn may_publish(
        &mut self,
        slot: u32,
        publish: &Publish<'_>,
        topic: &str,
    ) -> Result<bool, Fault> {
        let action = Action::publish(publish.qos, publish.retain);
        let allowed = self.permits(slot, action, real_topic(topic));
        if !allowed {
            self.clients.metrics.inc(Counter::PacketsPublishAuthError);
            self.end_if_denied()?;
        }
        Ok(allowed)
    }

    /// Which filters a client may subscribe to.
    pub(super) fn may_subscribe(
        &mut self,
        slot: u32,
        packet: &Subscribe<'_>,
    ) -> Result<Permits, Fault> {
        let mut permits = Permits::new();
        for entry in packet.filters() {
            let action = Action::subscribe(entry.options.qos);
            permits.push(self.permits(slot, action, real_filter(entry.filter)));
        }
        if permits.contains(&false) {
            self.clients.metrics.inc(Counter::PacketsSubscribeAuthError);
            self.end_if_denied()?;
        }
        Ok(permits)
    }

    /// Whether a client may have a subscription that is made for it. (Others are not asked.)
    pub(super) fn may_auto_subscribe(&mut self, slot: u32, filter: &str, qos: QoS) -> bool {
        self.permits(slot, Action::subscribe(qos), real_filter(filter))
    }

    /// Takes the will of a connection away that ends without a good-bye, if it may not be published.
    pub(super) fn judge_will(&mut self, slot: u32) {
        let session = self.clients.connections.at(slot).map(|c| c.session);
        let Some(session) = session.and_then(|index| self.clients.registry.at_mut(index)) else {
            return;
        };
        let Some(will) = session.will.take() else {
            return;
        };
        let message = will.message.view();
        let action = Action::publish(message.qos, message.retain);
        let topic = real_topic(message.topic);
        let own_answer = self.clients.connections.at_mut(slot).and_then(asked_of);
        let own_answer = own_answer.and_then(|asked| asked.will.and_then(|(_, said)| said));
        let allowed = match (self.verdict(slot, action, topic), own_answer) {
            (Verdict::Ask, Some(said)) => said == Permission::Allow,
            _ => self.permits(slot, action, topic),
        };
        if !allowed {
            self.clients.metrics.inc(Counter::WillDenied);
            return self.clients.budget.release(will.message);
        }
        let Some(will) = self.own_will(slot, will) else {
            return self.clients.metrics.inc(Counter::WillDenied);
        };
        let session = self.clients.connections.at(slot).map(|c| c.session);
        if let Some(session) = session.and_then(|index| self.clients.registry.at_mut(index)) {
            session.will = Some(will);
        }
    }

    /// Asks others about the will of a connection that has just come: at its end nobody waits for them.
    pub(super) fn ask_about_will(&mut self, slot: u32) {
        if !self.clients.rules.access.asks || self.asking.open >= ACCESS_QUESTIONS_MAX {
            return;
        }
        let session = self.clients.connections.at(slot).map(|c| c.session);
        let session = session.and_then(|index| self.clients.registry.at(index));
        let Some(will) = session.and_then(|session| session.will.as_deref()) else {
            return;
        };
        let message = will.message.view();
        let action = Action::publish(message.qos, message.retain);
        let topic: Box<str> = real_topic(message.topic).into();
        if self.verdict(slot, action, &topic) != Verdict::Ask {
            return;
        }
        let Some(connection) = self.clients.connections.key_at(slot) else {
            return;
        };
        let ticket = AccessTicket {
            core: self.clients.core,
            connection,
            packet: WILL,
            number: 0,
        };
        let question = self.access_question(slot, ticket, action, topic);
        self.clients.effects.questions.extend(question);
        self.asking.open += 1;
        let deadline_ms = self.clients.now.ms + self.clients.rules.access.ask_timeout_ms;
        if let Some(connection) = self.clients.connections.at_mut(slot) {
            let asked = connection
                .extra_mut()
                .asked
                .get_or_insert_with(Box::default);
            asked.will = Some((deadline_ms, None));
        }
        self.arm(Timer::Access, slot, deadline_ms);
    }

    /// Suspends a connection before a packet about which others have to be asked.
    pub(super) fn must_ask(&mut self, slot: u32, frame: &Frame<'_>, version: Version) -> bool {
        let concerned = matches!(
            frame.packet_type,
            PacketType::Publish | PacketType::Subscribe
        );
        if !concerned || !self.clients.rules.access.asks {
            return false;
        }
        let mut open: Vec<(Action, Box<str>)> = Vec::new();
        match decode(frame, version) {
            Ok(ClientPacket::Publish(publish)) => {
                let action = Action::publish(publish.qos, publish.retain);
                let topic = self.topic_of(slot, &publish);
                open.extend(topic.map(|topic| (action, real_topic(&topic).into())));
            }
            Ok(ClientPacket::Subscribe(subscribe)) => {
                open.extend(subscribe.filters().map(|entry| {
                    let action = Action::subscribe(entry.options.qos);
                    (action, real_filter(entry.filter).into())
                }));
            }
            _ => return false,
        }
        open.retain(|(action, topic)| self.is_open(slot, *action, topic));
        open.dedup();
        !open.is_empty() && self.ask_access(slot, open)
    }

    /// Others have answered.
    pub fn access_answered(&mut self, answer: AccessAnswer) {
        let ticket = answer.ticket;
        let (version, rules) = (self.answers_version(), self.clients.rules.access.cache);
        let permission = match answer.reply {
            AccessReply::Allow => Permission::Allow,
            AccessReply::Deny => Permission::Deny,
            AccessReply::Ignore | AccessReply::Unavailable => self.clients.rules.access.no_match,
        };
        let now_ms = self.clients.now.ms;
        let Some(connection) = self.clients.connections.get_mut(ticket.connection) else {
            return;
        };
        let Some(asked) = asked_of(connection) else {
            return;
        };
        if ticket.packet == WILL {
            if let Some((_, said @ None)) = &mut asked.will {
                *said = Some(permission);
                self.asking.open -= 1;
            }
            return;
        }
        if asked.packet != ticket.packet {
            return;
        }
        let place = asked.open.iter().position(|(n, ..)| *n == ticket.number);
        let Some(place) = place else {
            return;
        };
        let (_, action, topic) = asked.open.swap_remove(place);
        if answer.reply == AccessReply::Unavailable {
            self.clients.metrics.inc(Counter::AuthorizationUnavailable);
        } else {
            let kept = (action, &*topic, permission);
            asked.cache.keep(kept, rules, version, now_ms);
        }
        asked.answers.push((action, topic, permission));
        let all = asked.open.is_empty();
        self.asking.open -= 1;
        if all {
            self.suspended.push(ticket.connection.index);
        }
    }

    /// The control plane does not keep up: a question could not be put.
    pub fn access_not_asked(&mut self, question: &AccessQuestion) {
        self.access_answered(AccessAnswer {
            ticket: question.ticket,
            reply: AccessReply::Unavailable,
        });
    }

    /// The time of a connection's questions may be over.
    pub(super) fn access_due(&mut self, slot: u32) {
        let now_ms = self.clients.now.ms;
        let Some(connection) = self.clients.connections.at_mut(slot) else {
            return;
        };
        let Some(asked) = asked_of(connection) else {
            return;
        };
        if let Some((deadline_ms, said @ None)) = &mut asked.will
            && *deadline_ms <= now_ms
        {
            *said = Some(Permission::Deny);
            self.asking.open -= 1;
            self.clients.metrics.inc(Counter::AuthorizationTimeout);
        }
        if asked.open.is_empty() {
            return;
        }
        if asked.deadline_ms > now_ms {
            let at_ms = asked.deadline_ms;
            return self.arm(Timer::Access, slot, at_ms);
        }
        let given_up = asked.open.len();
        for (_, action, topic) in std::mem::take(&mut asked.open) {
            asked.answers.push((action, topic, Permission::Deny));
        }
        self.asking.open -= given_up;
        self.clients
            .metrics
            .add(Counter::AuthorizationTimeout, given_up as u64);
        self.suspended.push(slot);
    }

    /// A packet is done: what was answered for it is of the past.
    pub(super) fn forget_answers(&mut self, slot: u32) {
        if !self.clients.rules.access.asks {
            return;
        }
        if let Some(connection) = self.clients.connections.at_mut(slot)
            && let Some(asked) = asked_of(connection)
        {
            asked.answers.clear();
        }
    }

    /// A connection ends: nobody waits for its answers.
    pub(super) fn forget_questions(&mut self, slot: u32) {
        if let Some(connection) = self.clients.connections.at_mut(slot)
            && let Some(asked) = asked_of(connection)
        {
            self.asking.open -= asked.open.len();
            asked.open.clear();
            if let Some((_, said @ None)) = &mut asked.will {
                *said = Some(Permission::Deny);
                self.asking.open -= 1;
            }
        }
    }

    /// Other rules hold from now on; answers that were given beside the old ones are void.
    pub fn set_access(&mut self, rules: std::sync::Arc<crate::access::rules::AccessRules>) {
        if rules.version >= self.clients.rules.access.version {
            self.clients.rules.access = rules;
        }
    }

    /// Forgets the answers a client has had, or all clients'. No connection but the client's is looked
    /// at: what is kept from before the present epoch is void.
    pub fn drain_access_cache(&mut self, client_id: Option<&str>) {
        let Some(client_id) = client_id else {
            self.asking.epoch += 1;
            return;
        };
        let session = self.clients.registry.find(client_id);
        let session = session.and_then(|index| self.clients.registry.at(index));
        let slot = session.map(|session| session.connection);
        let connection = slot.and_then(|slot| self.clients.connections.at_mut(slot));
        if let Some(asked) = connection.and_then(asked_of) {
            asked.cache.drain();
        }
    }

    /// What answers that are kept have to be as new as.
    fn answers_version(&self) -> u64 {
        self.clients.rules.access.version ^ self.asking.epoch << 32
    }

    /// What a client is told whose PUBLISH is refused: 5.0 the reason, 3.x nothing, which is what success
    /// looks like there [MQTT-3.3.5-2 of 3.1.1].
    pub(super) fn refuse_publish(
        &mut self,
        slot: u32,
        publish: &Publish<'_>,
        reason: ReasonCode,
    ) -> Result<(), Fault> {
        self.count_published(publish.qos);
        if publish.qos != QoS::AtMostOnce {
            let waits = crate::base::core_set::CoreSet::EMPTY;
            self.acknowledge_in_order(slot, publish, reason, waits);
        }
        Ok(())
    }

    fn end_if_denied(&self) -> Result<(), Fault> {
        match self.clients.rules.access.deny_action {
            DenyAction::Ignore => Ok(()),
            DenyAction::Disconnect => Err(Fault::new(
                CloseReason::NotAuthorized,
                ReasonCode::NotAuthorized,
            )),
        }
    }

    /// Whether a client may do something, counted.
    fn permits(&mut self, slot: u32, action: Action, topic: &str) -> bool {
        let allowed = match self.verdict(slot, action, topic) {
            Verdict::Allow => true,
            Verdict::Deny => false,
            // Of a will nobody was asked; of everything else the answer is there by now.
            Verdict::Ask => self.answer_about(slot, action, topic) == Some(Permission::Allow),
        };
        let metrics = &self.clients.metrics;
        metrics.inc(Counter::ClientAuthorize);
        metrics.inc(if allowed {
            Counter::AuthorizationAllow
        } else {
            Counter::AuthorizationDeny
        });
        self.look_authorized(slot, action, topic, allowed);
        allowed
    }

    /// What the rules in memory say.
    fn verdict(&self, slot: u32, action: Action, topic: &str) -> Verdict {
        let access = &self.clients.rules.access;
        let Some(connection) = self.clients.connections.at(slot) else {
            return Verdict::Deny;
        };
        let identity = connection
            .extra
            .as_ref()
            .and_then(|e| e.identity.as_deref());
        if identity.is_some_and(|identity| identity.superuser) {
            return Verdict::Allow;
        }
        let own = identity.and_then(|identity| identity.acl.as_deref());
        if own.is_none() && access.is_open() {
            return Verdict::Allow;
        }
        let now_unix_s = self.clients.now.unix_us / 1_000_000;
        self.with_subject(connection, |subject| {
            access.judge(subject, own, (action, topic), now_unix_s)
        })
    }

    /// A connected client as rules see it.
    pub(super) fn with_subject<T>(
        &self,
        connection: &Connection,
        then: impl FnOnce(&Subject<'_>) -> T,
    ) -> T {
        let identity = connection
            .extra
            .as_ref()
            .and_then(|e| e.identity.as_deref());
        let names = identity.and_then(|identity| identity.peer_names.as_deref());
        let session = self.clients.registry.at(connection.session);
        let listeners = &self.clients.rules.listener_ids;
        then(&Subject {
            client_id: session.map_or("", |session| &session.client_id),
            peer: std::net::SocketAddr::from(connection.peer).ip(),
            listener: listeners
                .get(usize::from(connection.listener))
                .map_or("", |id| id),
            username: identity.and_then(|i| i.username.as_deref()),
            cert_common_name: names.and_then(|names| names.common_name.as_deref()),
            cert_subject: names.and_then(|names| names.subject.as_deref()),
            attributes: identity.map_or(&[], |i| &i.attributes),
        })
    }

    /// What others have answered.
    fn answer_about(&mut self, slot: u32, action: Action, topic: &str) -> Option<Permission> {
        let version = self.answers_version();
        let now_ms = self.clients.now.ms;
        let asked = asked_of(self.clients.connections.at_mut(slot)?)?;
        let found = asked
            .answers
            .iter()
            .find(|(own, text, _)| *own == action && **text == *topic);
        match found {
            Some((.., permission)) => Some(*permission),
            None => asked.cache.find(action, topic, version, now_ms),
        }
    }

    /// Whether others have to be asked. What they have answered before is noted for the packet.
    fn is_open(&mut self, slot: u32, action: Action, topic: &str) -> bool {
        if self.verdict(slot, action, topic) != Verdict::Ask {
            return false;
        }
        let Some(permission) = self.answer_about(slot, action, topic) else {
            return true;
        };
        let Some(connection) = self.clients.connections.at_mut(slot) else {
            return false;
        };
        let Some(asked) = asked_of(connection) else {
            return false;
        };
        let noted = asked
            .answers
            .iter()
            .any(|(own, text, _)| *own == action && **text == *topic);
        if !noted {
            self.clients.metrics.inc(Counter::AuthorizationCacheHit);
            if asked.answers.len() < ACCESS_ANSWERS_MAX {
                asked.answers.push((action, topic.into(), permission));
            }
        }
        false
    }

    /// Puts questions about one packet, as many as there is room for; further ones are put when these
    /// are answered. Always suspends the connection.
    fn ask_access(&mut self, slot: u32, open: Vec<(Action, Box<str>)>) -> bool {
        let room = ACCESS_QUESTIONS_MAX - self.asking.open;
        let Some(key) = self.clients.connections.key_at(slot) else {
            return false;
        };
        let deadline_ms = self.clients.now.ms + self.clients.rules.access.ask_timeout_ms;
        if let Some(connection) = self.clients.connections.at_mut(slot) {
            connection.flags.set(Flags::SUSPENDED);
        }
        if room == 0 {
            self.suspended.push(slot);
            return true;
        }
        self.asking.packets += 1;
        let packet = self.asking.packets;
        let mut questions = Vec::new();
        for (number, (action, topic)) in (0..).zip(open.into_iter().take(room)) {
            let ticket = AccessTicket {
                core: self.clients.core,
                connection: key,
                packet,
                number,
            };
            questions.extend(self.access_question(slot, ticket, action, topic));
        }
        let count = questions.len();
        self.asking.open += count;
        self.clients
            .metrics
            .add(Counter::AuthorizationCacheMiss, count as u64);
        if let Some(connection) = self.clients.connections.at_mut(slot) {
            let asked = connection
                .extra_mut()
                .asked
                .get_or_insert_with(Box::default);
            asked.packet = packet;
            asked.deadline_ms = deadline_ms;
            let open = questions.iter().map(|q| {
                let topic = q.topic.clone();
                (q.ticket.number, q.action, topic)
            });
            asked.open = open.collect();
        }
        self.clients.effects.questions.extend(questions);
        self.arm(Timer::Access, slot, deadline_ms);
        true
    }

    fn access_question(
        &self,
        slot: u32,
        ticket: AccessTicket,
        action: Action,
        topic: Box<str>,
    ) -> Option<Box<AccessQuestion>> {
        let connection = self.clients.connections.at(slot)?;
        let question = self.with_subject(connection, |subject| AccessQuestion {
            ticket,
            client_id: subject.client_id.into(),
            username: subject.username.map(Into::into),
            peer: connection.peer.into(),
            listener: connection.listener,
            cert_common_name: subject.cert_common_name.map(Into::into),
            cert_subject: subject.cert_subject.map(Into::into),
            attributes: subject.attributes.to_vec(),
            action,
            topic,
        });
        Some(Box::new(question))
    }

    /// The topic of a PUBLISH, its alias looked up; none if it has none.
    fn topic_of(&self, slot: u32, publish: &Publish<'_>) -> Option<Box<str>> {
        if !publish.topic.is_empty() {
            return Some(publish.topic.into());
        }
        let alias = publish.properties.topic_alias?;
        let connection = self.clients.connections.at(slot)?;
        connection.extra.as_ref()?.aliases.get(&alias).cloned()
    }
}

fn asked_of(connection: &mut Connection) -> Option<&mut Asked> {
    connection.extra.as_mut()?.asked.as_deref_mut()
}
