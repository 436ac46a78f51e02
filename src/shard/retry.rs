//! `mqtt.retry_interval`: what a connected 3.x client has not acknowledged is sent again.
//!
//! (MQTT 5 forbids it [MQTT-4.4.0-1], and TCP makes it needless; some 3.x devices expect it.) One timer
//! a session, armed with the first message in flight and gone when none is. It fires every half
//! interval and sends again what was in flight already when it fired two times ago, so a message is
//! repeated after one to one and a half intervals, and no message needs a time of its own.

use crate::base::limits::RETRIES_PER_TIMER;
use crate::metrics::Counter;
use crate::mqtt::reason::ReasonCode;
use crate::session::inflight::Stage;
use crate::session::state::Retry;
use crate::shard::clients::Clients;
use crate::shard::timers::{Timer, timer_key};

/// When what had no room in one firing is sent.
const NEXT_MS: u64 = 100;

impl Clients {
    /// Something is in flight: arms the timer of its session if there has to be one.
    #[cold]
    pub(super) fn arm_retry(&mut self, session_index: u32) {
        let Some(session) = self.registry.at_mut(session_index) else {
            return;
        };
        let interval_ms = self.rules.addons.retry_ms(session.version);
        let retry = &mut session.traffic_mut().retry;
        let Some(interval_ms) = interval_ms else {
            *retry = Retry::Never;
            return;
        };
        *retry = Retry::Armed;
        self.arm_retry_in(session_index, interval_ms.get() / 2);
    }

    /// The same if it is not decided yet.
    pub(super) fn arm_retry_of(&mut self, session_index: u32) {
        let traffic = self
            .registry
            .at(session_index)
            .and_then(|s| s.traffic.as_ref());
        if traffic.is_some_and(|t| t.retry == Retry::Unknown && !t.inflight.is_empty()) {
            self.arm_retry(session_index);
        }
    }

    fn arm_retry_in(&mut self, session_index: u32, ms: u64) {
        let generation = self.registry.generation(session_index);
        let key = timer_key(Timer::Retry, generation, session_index);
        self.wheel.arm(key, self.now.ms + ms.max(1));
    }

    /// The retry timer of a session has fired.
    pub(super) fn retry_due(&mut self, session_index: u32) {
        let connected = self.is_online(session_index);
        let Some(session) = self.registry.at_mut(session_index) else {
            return;
        };
        let (slot, version) = (session.connection, session.version);
        let Some(traffic) = session.traffic.as_mut() else {
            return;
        };
        let interval_ms = self.rules.addons.retry_ms(version);
        let Some(interval_ms) = interval_ms.filter(|_| connected && !traffic.inflight.is_empty())
        else {
            traffic.retry = Retry::Unknown;
            return;
        };
        let mut sent = 0;
        while sent < RETRIES_PER_TIMER
            && self.has_room(slot)
            && self.retry_next(session_index, slot)
        {
            sent += 1;
        }
        let traffic = self.registry.at_mut(session_index);
        let Some(traffic) = traffic.and_then(|session| session.traffic.as_mut()) else {
            return;
        };
        let wait_ms = if sent == RETRIES_PER_TIMER {
            NEXT_MS
        } else {
            traffic.inflight.grow_older();
            interval_ms.get() / 2
        };
        self.arm_retry_in(session_index, wait_ms);
    }

    /// Sends the next old delivery again; false if there is none.
    fn retry_next(&mut self, session_index: u32, slot: u32) -> bool {
        let traffic = self.registry.at_mut(session_index);
        let Some(traffic) = traffic.and_then(|session| session.traffic.as_mut()) else {
            return false;
        };
        let Some((packet_id, stage)) = traffic.inflight.next_old() else {
            return false;
        };
        let stage = stage.clone();
        self.metrics.inc(Counter::MessagesRetried);
        match stage {
            Stage::Sent(delivery) => {
                self.resend(slot, &delivery, packet_id, true);
                self.budget.release(delivery.message);
            }
            Stage::Released | Stage::Done => {
                self.send_pubrel(slot, packet_id, ReasonCode::Success);
            }
        }
        true
    }
}
