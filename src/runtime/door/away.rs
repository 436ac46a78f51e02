//! Sockets whose envelope begins elsewhere: handed in at the desk, and adopted when they come back.

use super::{Door, Entry};
use crate::base::envelope::Stacked;
use crate::metrics::Counter;
use crate::runtime::plane::Actions;
use crate::runtime::transport::desk::{Adopted, Desk, Errand, Outcome};
use crate::shard::Shard;
use crate::shard::close::CloseReason;

impl Door {
    /// Sockets of TLS listeners go to this desk first. Without one such a listener takes nobody.
    pub fn set_desk(&mut self, desk: Box<dyn Desk>) {
        self.desk = Some(desk);
    }

    /// Whether the desk has something for [`Self::take_back`].
    pub fn has_work(&self) -> bool {
        self.desk.as_ref().is_some_and(|desk| desk.has_work())
    }

    /// Goes on with sockets that come back from the desk.
    pub fn take_back(&mut self, shard: &mut Shard, plane: &mut Actions) {
        while let Some(outcome) = self.desk.as_mut().and_then(|desk| desk.hand_out()) {
            self.away = self.away.saturating_sub(1);
            match outcome {
                Outcome::Done(adopted) => self.adopt(shard, plane, *adopted),
                Outcome::Failed(listener, reason) => {
                    shard.handshake_ended(listener, reason);
                    self.connection_closed(listener);
                    self.accept_if_room(plane);
                }
            }
        }
    }

    /// Takes a socket out of handshake again, towards the desk.
    pub(super) fn leave_for_desk(
        &mut self,
        shard: &mut Shard,
        plane: &mut Actions,
        number: u32,
        rest: Vec<u8>,
    ) {
        let Some(open) = self.open_mut(number) else {
            return;
        };
        let (listener, peer) = (open.handshake.listener, open.handshake.peer);
        let accepted_us = open.handshake.accepted_us;
        let peer_names = open.handshake.peer_names.take();
        let entry = Entry {
            fd: plane.handshake_take(number),
            listener,
            peer,
            accepted_us,
            envelope: None,
            peer_names,
        };
        self.forget(plane, number);
        self.hand_in(shard, plane, entry, rest);
    }

    /// Sends a socket to the desk.
    pub(super) fn hand_in(
        &mut self,
        shard: &mut Shard,
        plane: &mut Actions,
        entry: Entry,
        received: Vec<u8>,
    ) {
        let errand = Errand {
            fd: entry.fd,
            listener: entry.listener,
            peer: entry.peer,
            accepted_us: entry.accepted_us,
            received,
            peer_names: entry.peer_names,
        };
        let taken = match &mut self.desk {
            Some(desk) => desk.hand_in(errand),
            None => Err(errand),
        };
        match taken {
            Ok(()) => {
                self.away += 1;
                self.pause_if_full(plane);
            }
            Err(errand) => {
                shard.clients.metrics.inc(Counter::TlsHandshakesRefused);
                shard.handshake_ended(errand.listener, CloseReason::ServerBusy);
                self.connection_closed(errand.listener);
            }
        }
    }

    /// Goes on with a socket whose envelope has begun.
    pub fn adopt(&mut self, shard: &mut Shard, plane: &mut Actions, adopted: Adopted) {
        if self.stopping {
            shard.handshake_ended(adopted.listener, CloseReason::Shutdown);
            return self.connection_closed(adopted.listener);
        }
        self.plain.clear();
        self.reply.clear();
        let mut end = Ok(());
        let front = self.fronts.get(usize::from(adopted.listener));
        let envelope = match front.and_then(|front| front.websocket.as_ref()) {
            Some(websocket) => {
                let inner = websocket.begin(adopted.peer.ip());
                let mut both = Box::new(Stacked::new(adopted.envelope, inner));
                let (plain, reply) = (&mut self.plain, &mut self.reply);
                end = both.receive_unwrapped(&adopted.plain, plain, reply);
                both
            }
            None => {
                self.plain = adopted.plain;
                adopted.envelope
            }
        };
        let entry = Entry {
            fd: adopted.fd,
            listener: adopted.listener,
            peer: adopted.peer,
            accepted_us: adopted.accepted_us,
            envelope: Some(envelope),
            peer_names: adopted.peer_names,
        };
        let number = self.begin(shard, plane, entry);
        self.plain_bytes(shard, plane, number, end);
    }
}
