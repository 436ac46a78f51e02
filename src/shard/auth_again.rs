//! Authentication at home: what is kept of it, its end, and authenticating again while messages come
//! and go [MQTT5 4.12.1].

use crate::base::limits::AUTHN_STEPS_MAX;
use crate::gate::authn::{AuthnAnswer, AuthnRequest, Exchange, Grant, Place, Verdict};
use crate::metrics::Counter;
use crate::mqtt::decode_auth::Auth;
use crate::mqtt::reason::ReasonCode;
use crate::shard::Shard;
use crate::shard::auth::{Identity, Pending};
use crate::shard::close::CloseReason;
use crate::shard::deliver::live;
use crate::shard::handshake::auth_packet;
use crate::shard::receive::Fault;
use crate::shard::timers::{HOP_MS, Timer};

impl Shard {
    /// What is known of a connected client besides its client id.
    pub fn identity(&self, slot: u32) -> Option<&Identity> {
        let connection = self.clients.connections.at(slot)?;
        connection.extra.as_ref()?.identity.as_deref()
    }

    fn identity_mut(&mut self, slot: u32) -> Option<&mut Identity> {
        let connection = live(&mut self.clients.connections, slot)?;
        connection.extra.as_mut()?.identity.as_deref_mut()
    }

    /// A client has come home: its authentication may expire.
    pub(super) fn keep_identity(&mut self, slot: u32, identity: Option<Box<Identity>>) {
        let Some(identity) = identity else {
            return;
        };
        if let Some(connection) = self.clients.connections.at_mut(slot) {
            connection.extra_mut().identity = Some(identity);
        }
        self.arm_identity(slot);
    }

    /// AUTH of a connected client.
    pub(super) fn auth_received(&mut self, slot: u32, auth: &Auth<'_>) -> Result<(), Fault> {
        let broken = || Fault::new(CloseReason::ProtocolError, ReasonCode::ProtocolError);
        let identity = self.identity(slot);
        // Without a method in CONNECT there is no AUTH [MQTT-4.12.0-6].
        let Some(method) = identity.and_then(|identity| identity.method.clone()) else {
            return Err(broken());
        };
        if auth.authentication_method != Some(&*method) {
            // [MQTT-4.12.1-1]
            return Err(Fault::new(
                CloseReason::NotAuthorized,
                ReasonCode::BadAuthenticationMethod,
            ));
        }
        let again = self.identity_mut(slot).and_then(|i| i.again.take());
        let (steps, state) = match (auth.reason, again) {
            (ReasonCode::ReAuthenticate, None) => (0, None),
            (ReasonCode::ContinueAuthentication, Some(pending))
                if pending.serial == 0 && pending.steps < AUTHN_STEPS_MAX =>
            {
                (pending.steps, pending.state)
            }
            (_, again) => {
                self.put_again(slot, again);
                return Err(broken());
            }
        };
        let Some((mut ticket, pending)) = self.open_question(steps, None) else {
            return Err(Fault::new(
                CloseReason::ServerBusy,
                ReasonCode::QuotaExceeded,
            ));
        };
        ticket.place = Place::Connection(slot);
        self.put_again(slot, Some(Box::new(pending)));
        let exchange = Exchange {
            method,
            data: auth.authentication_data.unwrap_or_default().to_vec(),
            state,
            again: true,
        };
        if let Some(request) = self.question_again(slot, ticket, exchange) {
            self.clients.effects.ask.push(request);
        }
        self.arm_identity(slot);
        Ok(())
    }

    fn put_again(&mut self, slot: u32, again: Option<Box<Pending>>) {
        if let Some(identity) = self.identity_mut(slot) {
            identity.again = again;
        }
    }

    fn question_again(
        &self,
        slot: u32,
        ticket: crate::gate::authn::Ticket,
        exchange: Exchange,
    ) -> Option<Box<AuthnRequest>> {
        let connection = self.clients.connections.at(slot)?;
        let session = self.clients.registry.at(connection.session)?;
        let identity = self.identity(slot)?;
        Some(Box::new(AuthnRequest {
            ticket,
            client_id: session.client_id.clone(),
            username: identity.username.clone(),
            password: None,
            peer: connection.peer.into(),
            listener: connection.listener,
            peer_names: identity.peer_names.clone(),
            version: connection.version,
            exchange: Some(Box::new(exchange)),
        }))
    }

    /// The next question about a connected client, for the driver to send.
    pub fn question(&mut self) -> Option<Box<AuthnRequest>> {
        self.clients.effects.ask.pop()
    }

    /// The control plane has answered about a connected client, or could not be asked.
    pub fn connection_answer(&mut self, answer: AuthnAnswer) {
        let Place::Connection(slot) = answer.ticket.place else {
            return;
        };
        let serial = answer.ticket.serial;
        let waits = |identity: &mut Identity| {
            let again = identity.again.as_deref();
            again.is_some_and(|again| again.serial == serial)
        };
        if serial == 0 || !self.identity_mut(slot).is_some_and(waits) {
            return self.clients.metrics.inc(Counter::AuthenticationLate);
        }
        self.authn.end();
        let Some(pending) = self.identity_mut(slot).and_then(|i| i.again.take()) else {
            return;
        };
        let end = |code| (CloseReason::of_refusal(code), code);
        let (reason, code) = match answer.verdict {
            Verdict::Allow(grant) => return self.confirmed(slot, &pending, *grant),
            Verdict::Continue { data, state } => {
                let again = Pending {
                    serial: 0,
                    state: Some(state),
                    ..*pending
                };
                return self.continue_again(slot, again, &data);
            }
            Verdict::Deny(_) => {
                self.count_answer(pending.asked_us, false);
                end(ReasonCode::NotAuthorized)
            }
            Verdict::Busy => {
                let metrics = &self.clients.metrics;
                metrics.inc(Counter::AuthenticationRefusedBusy);
                end(ReasonCode::QuotaExceeded)
            }
            Verdict::Unavailable => {
                let metrics = &self.clients.metrics;
                metrics.inc(Counter::AuthenticationRefusedTimeout);
                (CloseReason::ServerBusy, ReasonCode::UnspecifiedError)
            }
        };
        self.close(slot, reason, Some(code));
    }

    /// The next step is the client's.
    fn continue_again(&mut self, slot: u32, mut again: Pending, data: &[u8]) {
        again.deadline_ms = self.clients.now.ms + self.clients.rules.idle_timeout_ms;
        self.put_again(slot, Some(Box::new(again)));
        self.send_auth(slot, ReasonCode::ContinueAuthentication, Some(data));
        self.arm_identity(slot);
    }

    /// A client has proved again who it is: what it may do is as of now.
    fn confirmed(&mut self, slot: u32, pending: &Pending, grant: Grant) {
        self.count_answer(pending.asked_us, true);
        if let Some(identity) = self.identity_mut(slot) {
            identity.superuser = grant.superuser;
            identity.expires_us = grant.expires_us;
            identity.acl = grant.acl;
            identity.attributes = grant.attributes;
        }
        self.send_auth(slot, ReasonCode::Success, grant.data.as_deref());
        self.arm_identity(slot);
    }

    fn send_auth(&mut self, slot: u32, reason: ReasonCode, data: Option<&[u8]>) {
        let Some(method) = self.identity(slot).and_then(|i| i.method.clone()) else {
            return;
        };
        let packet = auth_packet(reason, &method, data);
        let connection = self.clients.connections.at(slot);
        if connection.is_some_and(|c| packet.len() > c.max_packet_size as usize) {
            // The method cannot go on with a client that does not take it [MQTT-3.1.2-24].
            let code = Some(ReasonCode::PacketTooLarge);
            return self.close(slot, CloseReason::ProtocolError, code);
        }
        self.clients.metrics.inc(Counter::PacketsAuthSent);
        if let Some(out) = self.clients.out(slot) {
            out.bytes.extend_from_slice(&packet);
        }
    }

    /// When something of a connection's authentication is over, milliseconds since process start.
    fn identity_ends_ms(&self, slot: u32) -> Option<u64> {
        let identity = self.identity(slot)?;
        let now = self.clients.now;
        let expires_ms = identity
            .expires_us
            .map(|us| now.ms + us.saturating_sub(now.unix_us).div_ceil(1000));
        let again_ms = identity.again.as_ref().map(|again| again.deadline_ms);
        expires_ms.into_iter().chain(again_ms).min()
    }

    fn arm_identity(&mut self, slot: u32) {
        if let Some(ends_ms) = self.identity_ends_ms(slot) {
            let at_ms = ends_ms.min(self.clients.now.ms + HOP_MS);
            self.arm(Timer::Identity, slot, at_ms);
        }
    }

    /// A timer of a connection's authentication fired.
    pub(super) fn identity_due(&mut self, slot: u32) {
        let now = self.clients.now;
        let Some(identity) = self.identity_mut(slot) else {
            return;
        };
        if identity.expires_us.is_some_and(|us| us <= now.unix_us) {
            let code = Some(ReasonCode::NotAuthorized);
            return self.close(slot, CloseReason::Expired, code);
        }
        let again = identity.again.as_ref();
        if again.is_some_and(|again| again.deadline_ms <= now.ms) {
            let metrics = &self.clients.metrics;
            metrics.inc(Counter::AuthenticationRefusedTimeout);
            let code = Some(ReasonCode::NotAuthorized);
            return self.close(slot, CloseReason::NotAuthorized, code);
        }
        self.arm_identity(slot);
    }
}
