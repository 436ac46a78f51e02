//! How much a connection may send: over its rate nothing more is read from it, or messages are dropped.
//!
//! What a client sends while we do not read waits in its socket, so its keep-alive is not counted then.

use crate::access::limiter::{ConnectionLimits, Excess, Limiter};
use crate::metrics::Counter;
use crate::mqtt::decode_publish::Publish;
use crate::shard::Shard;
use crate::shard::connection::Flags;
use crate::shard::deliver::live;
use crate::shard::timers::Timer;

impl Shard {
    /// Bytes have come from a connection.
    pub(super) fn charge_bytes(&mut self, slot: u32, bytes: usize) {
        if self.clients.rules.limits.is_empty() {
            return;
        }
        self.charge(slot, 0, bytes as u64);
    }

    /// Whether a message is within the limits, or is dropped; where nothing is dropped it counts.
    pub(super) fn is_within_quota(&mut self, slot: u32, publish: &Publish<'_>) -> bool {
        if self.clients.rules.limits.is_empty() {
            return true;
        }
        let now_ms = self.clients.now.ms;
        let Some(limits) = self.limits_of(slot) else {
            return true;
        };
        if limits.excess == Excess::Pause {
            self.charge(slot, 1, 0);
            return true;
        }
        let bytes = (publish.topic.len() + publish.payload.len()) as u64;
        let Some(limiter) = self.limiter(slot, limits) else {
            return true;
        };
        let admitted = limiter.admit(bytes, now_ms);
        if !admitted {
            let metrics = &self.clients.metrics;
            metrics.inc(Counter::PacketsPublishQuotaExceeded);
            metrics.inc(Counter::MessagesDroppedQuotaExceeded);
        }
        admitted
    }

    /// Reads again from a connection whose rate allows it.
    pub(super) fn limiter_due(&mut self, slot: u32) {
        let now_ms = self.clients.now.ms;
        let Some(connection) = live(&mut self.clients.connections, slot) else {
            return;
        };
        let limiter = connection.extra.as_mut().and_then(|e| e.limiter.as_mut());
        let Some(limiter) = limiter else {
            return;
        };
        match limiter.paused_until_ms {
            None => {}
            Some(until_ms) if until_ms > now_ms => self.arm(Timer::Limiter, slot, until_ms),
            Some(_) => {
                limiter.paused_until_ms = None;
                self.resume_if_drained(slot);
            }
        }
    }

    fn charge(&mut self, slot: u32, messages: u64, bytes: u64) {
        let now_ms = self.clients.now.ms;
        let limits = self.limits_of(slot);
        let Some(limits) = limits.filter(|limits| limits.excess == Excess::Pause) else {
            return;
        };
        let Some(limiter) = self.limiter(slot, limits) else {
            return;
        };
        let Some(wait_ms) = limiter.take(messages, bytes, now_ms) else {
            return;
        };
        let until_ms = now_ms.saturating_add(wait_ms);
        let was_paused = limiter.paused_until_ms.replace(until_ms).is_some();
        if !was_paused {
            self.clients.metrics.inc(Counter::ReadPausedQuota);
            self.arm(Timer::Limiter, slot, until_ms);
        }
        if let Some(connection) = live(&mut self.clients.connections, slot)
            && !connection.flags.has(Flags::RECEIVE_PAUSED)
        {
            connection.flags.set(Flags::RECEIVE_PAUSED);
            self.clients.effects.pause.push(slot);
        }
    }

    /// The limits of the listener by which a connection came, if there are some.
    fn limits_of(&self, slot: u32) -> Option<ConnectionLimits> {
        let listener = self.clients.connections.at(slot)?.listener;
        let limits = *self.clients.rules.limits.get(usize::from(listener))?;
        (!limits.is_empty()).then_some(limits)
    }

    fn limiter(&mut self, slot: u32, limits: ConnectionLimits) -> Option<&mut Limiter> {
        let now_ms = self.clients.now.ms;
        let connection = live(&mut self.clients.connections, slot)?;
        let limiter = &mut connection.extra_mut().limiter;
        Some(limiter.get_or_insert_with(|| Box::new(Limiter::new(&limits, now_ms))))
    }
}
