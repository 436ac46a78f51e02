//! What the wheel fires: a timer asks its owner, who says "now" or when instead.

use std::num::NonZeroU64;

use crate::base::limits::{TIMERS_PER_TURN, WILLS_PER_TURN};
use crate::metrics::Counter;
use crate::mqtt::message::{Message, Publication};
use crate::mqtt::reason::ReasonCode;
use crate::session::will::WillFate;
use crate::shard::Shard;
use crate::shard::close::CloseReason;
use crate::shard::connection::HEARD_UNIT_MS;

/// What a timer is for; the index is the connection's or the session's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Timer {
    /// Silence of a connection.
    KeepAlive = 1,
    /// End of a session whose client is away.
    SessionExpiry = 2,
    /// A delayed will.
    Will = 3,
    /// QoS 2 identifiers that are not released.
    AwaitingRel = 4,
    /// Questions about what a connection may do that are not answered.
    Access = 8,
    /// A connection's authentication: its expiry, or an answer that does not come.
    Identity = 5,
}

/// No timer is armed further ahead than this, so that timers of connections, sessions and wills that
/// have gone do not pile up in the wheel: at 5,000 short-lived connections a second 320,000 of them.
pub const HOP_MS: u64 = 64_000;
/// The same for keep-alives while timers are more than a quarter more than connections: clients come
/// and go so quickly that the timers would be most of what a client costs.
const KEEP_ALIVE_SHORT_HOP_MS: u64 = 4_000;
/// Timers left behind that do not matter: 16 KiB.
const TIMERS_LEFT_BEHIND: usize = 1024;
/// Bits of the generation that a timer's key holds.
const GENERATION_BITS: u32 = 28;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

impl Shard {
    /// Fires `timer` for the present tenant of `index` at `at_ms`.
    pub fn arm(&mut self, timer: Timer, index: u32, at_ms: u64) {
        let generation = self.timer_generation(timer, index);
        let key = u64::from(timer as u8) << 60
            | u64::from(generation & GENERATION_MASK) << 32
            | u64::from(index);
        self.clients.wheel.arm(key, at_ms);
    }

    /// Fires what is due, a bounded number; says whether more is due.
    pub fn fire_timers(&mut self) -> bool {
        let now_ms = self.clients.now.ms;
        if let Some(due_ms) = self.clients.wheel.next_due_ms() {
            self.timer_lag_ms = self.timer_lag_ms.max(now_ms.saturating_sub(due_ms));
        }
        let mut due = std::mem::take(&mut self.due);
        let done = self
            .clients
            .wheel
            .expire(self.clients.now.ms, TIMERS_PER_TURN, &mut due);
        for key in due.drain(..) {
            self.fire(key);
        }
        self.due = due;
        !done
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the key is split into its parts"
    )]
    fn fire(&mut self, key: u64) {
        let index = key as u32;
        let generation = (key >> 32) as u32 & GENERATION_MASK;
        let timer = match key >> 60 {
            1 => Timer::KeepAlive,
            2 => Timer::SessionExpiry,
            3 => Timer::Will,
            4 => Timer::AwaitingRel,
            5 => Timer::Identity,
            _ => Timer::Access,
        };
        if self.timer_generation(timer, index) & GENERATION_MASK != generation {
            return;
        }
        match timer {
            Timer::KeepAlive => self.keep_alive_due(index),
            Timer::SessionExpiry => self.session_expiry_due(index),
            Timer::Will => self.will_due(index),
            Timer::Access => self.access_due(index),
            Timer::AwaitingRel => self.awaiting_rel_due(index),
            Timer::Identity => self.identity_due(index),
        }
    }

    fn timer_generation(&self, timer: Timer, index: u32) -> u32 {
        match timer {
            Timer::KeepAlive | Timer::Access | Timer::Identity => {
                self.clients.connections.generation(index).unwrap_or(0)
            }
            _ => self.clients.registry.generation(index),
        }
    }

    /// When the keep-alive timer of a connection is to fire next [MQTT-3.1.2-22].
    pub fn keep_alive_deadline_ms(&self, slot: u32) -> Option<u64> {
        let silence_ends = self.silence_ends_ms(slot)?;
        Some(silence_ends.min(self.clients.now.ms + self.keep_alive_hop_ms()))
    }

    fn keep_alive_hop_ms(&self) -> u64 {
        let connections = self.clients.connections.len() as usize;
        let expected = connections + connections / 4 + TIMERS_LEFT_BEHIND;
        if self.clients.wheel.len() > expected {
            KEEP_ALIVE_SHORT_HOP_MS
        } else {
            HOP_MS
        }
    }

    /// When a connection has been silent for too long.
    fn silence_ends_ms(&self, slot: u32) -> Option<u64> {
        let connection = self.clients.connections.at(slot)?;
        let keep_alive_s = u64::from(connection.keep_alive_s?.get());
        let allowed_ms = keep_alive_s * self.clients.rules.keepalive_multiplier_permille;
        // The unit is added because the moment was rounded down.
        Some(u64::from(connection.last_heard) * HEARD_UNIT_MS + allowed_ms + HEARD_UNIT_MS)
    }

    fn keep_alive_due(&mut self, slot: u32) {
        let Some(ends_ms) = self.silence_ends_ms(slot) else {
            return;
        };
        // Packets that we chose not to read or handle are no silence of the client; one of them may
        // be its DISCONNECT.
        if self.is_held_up(slot) {
            self.clients.heard(slot);
        } else if ends_ms <= self.clients.now.ms {
            return self.close(
                slot,
                CloseReason::KeepAliveTimeout,
                Some(ReasonCode::KeepAliveTimeout),
            );
        }
        if let Some(at_ms) = self.keep_alive_deadline_ms(slot) {
            self.arm(Timer::KeepAlive, slot, at_ms);
        }
    }

    fn session_expiry_due(&mut self, session_index: u32) {
        let now_s = self.clients.now_s();
        let Some(session) = self.clients.registry.at_mut(session_index) else {
            return;
        };
        if session
            .expiry_armed_s
            .is_none_or(|armed| armed.get() > now_s)
        {
            return;
        }
        session.expiry_armed_s = None;
        if session.is_connected() {
            return;
        }
        if session.since_s.saturating_add(session.expiry_s) <= now_s {
            self.end_session(session_index);
        } else {
            self.arm_session_expiry_in(session_index);
        }
    }

    fn will_due(&mut self, session_index: u32) {
        let now_ms = self.clients.now.ms;
        let Some(session) = self.clients.registry.at_mut(session_index) else {
            return;
        };
        let away = !session.is_connected();
        let Some(will) = session.will.as_deref_mut().filter(|_| away) else {
            return;
        };
        match (will.armed_ms, will.due_ms) {
            // The timer of another will, which is gone.
            (Some(armed), _) if armed > now_ms => {}
            (_, Some(due)) if due <= now_ms => self.settle_will(session_index, WillFate::Publish),
            (_, Some(_)) => self.arm_will(session_index),
            (_, None) => {}
        }
    }

    /// Arms the timer of a will that waits for its delay.
    pub fn arm_will(&mut self, session_index: u32) {
        let hop_ms = self.clients.now.ms + HOP_MS;
        let will = self
            .clients
            .registry
            .at_mut(session_index)
            .and_then(|session| session.will.as_deref_mut());
        let Some(will) = will else {
            return;
        };
        let Some(due_ms) = will.due_ms else {
            return;
        };
        let at_ms = due_ms.min(hop_ms);
        will.armed_ms = Some(at_ms);
        self.arm(Timer::Will, session_index, at_ms);
    }

    /// Forgets QoS 2 identifiers whose PUBREL never came.
    fn awaiting_rel_due(&mut self, session_index: u32) {
        let now_s = self.clients.now_s();
        let timeout_s = self.clients.rules.await_rel_timeout_s;
        let Some(session) = self.clients.registry.at_mut(session_index) else {
            return;
        };
        let Some(traffic) = session.traffic.as_mut() else {
            return;
        };
        let dropped = traffic
            .awaiting_rel
            .expire((now_s + 1).saturating_sub(timeout_s));
        let more = !traffic.awaiting_rel.is_empty();
        self.clients
            .metrics
            .add(Counter::MessagesDroppedAwaitPubrelTimeout, dropped as u64);
        if more {
            let at_ms = self.clients.now.ms + u64::from(timeout_s) * 1000;
            self.arm(Timer::AwaitingRel, session_index, at_ms);
        } else if let Some(traffic) = self
            .clients
            .registry
            .at_mut(session_index)
            .and_then(|s| s.traffic.as_mut())
        {
            traffic.awaiting_rel_armed = false;
        }
    }

    /// Publishes wills whose time has come, a bounded number while the outboxes have room.
    pub fn publish_wills(&mut self) {
        for _ in 0..WILLS_PER_TURN {
            if self.outboxes.over_limit() {
                return;
            }
            let Some(will) = self.pending_wills.pop_front() else {
                return;
            };
            self.publish_will(&will);
            self.clients.budget.release(will);
        }
    }

    fn publish_will(&mut self, will: &Message) {
        let now_us = self.clients.now.unix_us;
        let stored = will.view();
        let publication = Publication {
            received_us: now_us,
            // The record holds the interval (plus one, for an interval of zero); it runs from now.
            expires_us: stored
                .expires_us
                .and_then(|i| NonZeroU64::new(now_us + i.get() - 1)),
            ..stored
        };
        let routed = self.route(&publication);
        let metrics = &self.clients.metrics;
        metrics.inc(Counter::WillPublished);
        if !routed.wanted {
            metrics.inc(Counter::MessagesDroppedNoSubscribers);
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::*;
    use crate::base::time::Now;
    use crate::shard::handshake::Step;
    use crate::shard::rules::Rules;

    const CONNECT: &[u8] = b"\x10\x0e\0\x04MQTT\x04\x02\x01\x2c\0\x02id";

    /// One client comes, with a keep-alive of 300 s, and goes.
    fn come_and_go(shard: &mut Shard) {
        let peer = "127.0.0.1:1000".parse().unwrap();
        let mut handshake = shard.begin_handshake(0, peer);
        let Step::Home(_, handover) = shard.handshake_bytes(&mut handshake, CONNECT) else {
            panic!("the CONNECT is complete and welcome");
        };
        shard.arrive(handover);
        assert_eq!(shard.clients.connections.len(), 1);
        shard.close(0, CloseReason::Closed, None);
        shard.slot_closed(0);
    }

    #[test]
    fn clients_that_come_and_go_leave_few_timers_behind() {
        const A_SECOND: u64 = 2_000;
        let mut shard = Shard::for_tests(Rules::for_tests());
        let mut most = 0;
        for ms in 0..100_000 {
            shard.begin_turn(Now { ms, unix_us: 0 });
            for _ in 0..A_SECOND / 1000 {
                come_and_go(&mut shard);
            }
            shard.work();
            most = most.max(shard.clients.wheel.len());
        }
        let a_hop = (A_SECOND * KEEP_ALIVE_SHORT_HOP_MS / 1000) as usize;
        assert!(
            most < TIMERS_LEFT_BEHIND + a_hop + a_hop / 10,
            "{most} timers"
        );
        assert!(most > TIMERS_LEFT_BEHIND, "{most} timers");
    }
}
