//! Bytes from a connection: cut into packets and handled in order.
//!
//! What cannot be handled now is copied to a box of the connection: an incomplete packet, or all
//! that comes while the connection is suspended. A connection is suspended before a packet that
//! must wait: for a PUBLISH while an outbox is over its limit, for anything but SUBSCRIBE while a
//! SUBACK waits for the index (so what a client sends behind a SUBSCRIBE finds it done), for SUBSCRIBE
//! while many wait. Nobody else is held up by that.

use crate::base::limits::{RECEIVED_BYTES_PAUSE, RECEIVED_BYTES_RESUME, SUBSCRIBES_PENDING_MAX};
use crate::metrics::Counter;
use crate::mqtt::decode_disconnect::Disconnect;
use crate::mqtt::encode_ack::encode_pingresp;
use crate::mqtt::error::DecodeError;
use crate::mqtt::frame::{Frame, PacketType, declared_len, next_frame};
use crate::mqtt::packet::{ClientPacket, decode};
use crate::mqtt::reason::ReasonCode;
use crate::mqtt::version::Version;
use crate::shard::Shard;
use crate::shard::close::CloseReason;
use crate::shard::connection::Flags;
use crate::shard::deliver::live;

/// Incomplete packets and what waits unhandled may take this part of the memory for messages.
const PARTIAL_SHARE: usize = 4;
/// And at least so many bytes.
const PARTIAL_BYTES_MIN: usize = 1 << 20;

/// A box has room for at most so many times what has come, and for no more than the packet: who declares
/// much and sends little takes little.
const BOX_GROWTH: usize = 2;

/// The connection has to end: why, and what a 5.0 client is told.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// For counting.
    pub reason: CloseReason,
    /// For DISCONNECT.
    pub code: Option<ReasonCode>,
}

impl Fault {
    /// Ends with a reason code.
    pub fn new(reason: CloseReason, code: ReasonCode) -> Self {
        Self {
            reason,
            code: Some(code),
        }
    }
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        let reason = match error.reason {
            ReasonCode::PacketTooLarge => CloseReason::FrameTooLarge,
            ReasonCode::MalformedPacket => CloseReason::Malformed,
            _ => CloseReason::ProtocolError,
        };
        Self::new(reason, error.reason)
    }
}

/// How far a run of bytes was handled.
enum Progress {
    /// So many bytes; what is left is an incomplete packet.
    Incomplete(usize),
    /// So many bytes; the next packet has to wait.
    Suspended(usize),
    /// The connection has ended.
    Ended,
}

/// Room for a box that begins with these bytes and will hold so many: for the whole of its first packet,
/// within [`BOX_GROWTH`].
fn room_for(begin: &[u8], needed: usize) -> usize {
    let packet = declared_len(begin).unwrap_or(0);
    packet.clamp(needed, BOX_GROWTH * needed)
}

/// Makes room for more bytes in a box.
fn make_room(received: &mut Vec<u8>, more: usize) {
    let needed = received.len() + more;
    if needed > received.capacity() {
        let room = room_for(received, needed).max(received.len());
        received.reserve_exact(room - received.len());
    }
}

impl Shard {
    /// Bytes came from a connection.
    pub fn receive(&mut self, slot: u32, bytes: &[u8]) {
        self.clients
            .metrics
            .add(Counter::BytesReceived, bytes.len() as u64);
        self.take_bytes(slot, bytes);
        self.charge_bytes(slot, bytes.len());
    }

    /// The same for bytes that are counted already.
    pub(super) fn take_bytes(&mut self, slot: u32, bytes: &[u8]) {
        let heard = self.clients.heard_now();
        let Some(connection) = live(&mut self.clients.connections, slot) else {
            return;
        };
        connection.last_heard = heard;
        if self.deaf {
            return;
        }
        if let Some(received) = &mut connection.received {
            let before = received.capacity();
            make_room(received, bytes.len());
            received.extend_from_slice(bytes);
            self.clients.partial_bytes += received.capacity() - before;
            if !connection.flags.has(Flags::SUSPENDED) {
                self.work_off(slot);
            }
        } else {
            let progress = self.handle_bytes(slot, bytes);
            self.keep_rest(slot, bytes, &progress);
        }
        self.pause_if_full(slot);
        self.end_if_no_memory(slot);
    }

    /// When the boxes of all connections hold more than they may, the one that asks for more has to go.
    fn end_if_no_memory(&mut self, slot: u32) {
        let share = self.clients.rules.queue_memory_bytes / PARTIAL_SHARE;
        let limit = share.max(PARTIAL_BYTES_MIN);
        if self.clients.partial_bytes <= limit {
            return;
        }
        let holds = live(&mut self.clients.connections, slot).is_some_and(|c| c.received.is_some());
        if holds {
            let code = Some(ReasonCode::QuotaExceeded);
            self.close(slot, CloseReason::ServerBusy, code);
        }
    }

    /// Goes on with suspended connections whose reason may have gone.
    pub fn resume_suspended(&mut self) {
        if self.suspended.is_empty() || self.deaf {
            return;
        }
        let blocked = self.outboxes.over_limit();
        // Those that must wait again enter `self.suspended` while the others are looked at.
        let spare = std::mem::take(&mut self.suspended_spare);
        let mut suspended = std::mem::replace(&mut self.suspended, spare);
        for slot in suspended.drain(..) {
            let Some(connection) = live(&mut self.clients.connections, slot) else {
                continue;
            };
            if !connection.flags.has(Flags::SUSPENDED) {
                continue;
            }
            if blocked || connection.awaits_index > 0 {
                self.suspended.push(slot);
                continue;
            }
            connection.flags.clear(Flags::SUSPENDED);
            self.work_off(slot);
            self.resume_if_drained(slot);
            self.close_if_peer_has(slot);
        }
        self.suspended_spare = suspended;
    }

    /// Ends a connection that the client has closed, once its last packet was handled.
    fn close_if_peer_has(&mut self, slot: u32) {
        let flags = self.clients.connections.at(slot).map(|c| c.flags);
        if flags.is_some_and(|f| f.has(Flags::PEER_CLOSED) && !f.has(Flags::SUSPENDED)) {
            self.close(slot, CloseReason::Closed, None);
        }
    }

    /// Whether we have chosen not to read from a connection, or hold packets of it back.
    pub fn is_held_up(&self, slot: u32) -> bool {
        self.clients
            .connections
            .at(slot)
            .is_some_and(|c| c.flags.has(Flags::RECEIVE_PAUSED) || c.flags.has(Flags::SUSPENDED))
    }

    /// Handles what a connection's box holds.
    fn work_off(&mut self, slot: u32) {
        let Some(mut received) =
            live(&mut self.clients.connections, slot).and_then(|c| c.received.take())
        else {
            return;
        };
        self.clients.partial_bytes -= received.capacity();
        match self.handle_bytes(slot, &received) {
            Progress::Incomplete(done) | Progress::Suspended(done) if done < received.len() => {
                received.drain(..done);
                // A stream of large packets keeps its room.
                let next = declared_len(&received).unwrap_or(0);
                if received.capacity() > 2 * RECEIVED_BYTES_PAUSE.max(received.len()).max(next) {
                    received.shrink_to_fit();
                }
                if let Some(connection) = live(&mut self.clients.connections, slot) {
                    self.clients.partial_bytes += received.capacity();
                    connection.received = Some(received);
                }
            }
            _ => {}
        }
    }

    /// Keeps what was not handled.
    fn keep_rest(&mut self, slot: u32, bytes: &[u8], progress: &Progress) {
        let (Progress::Incomplete(done) | Progress::Suspended(done)) = progress else {
            return;
        };
        if *done == bytes.len() {
            return;
        }
        if let Some(connection) = live(&mut self.clients.connections, slot) {
            let rest = &bytes[*done..];
            let mut received = Vec::with_capacity(room_for(rest, rest.len()));
            received.extend_from_slice(rest);
            self.clients.partial_bytes += received.capacity();
            connection.received = Some(Box::new(received));
        }
    }

    /// Handles whole packets from the front of `bytes`.
    fn handle_bytes(&mut self, slot: u32, bytes: &[u8]) -> Progress {
        let mut done = 0;
        let max = self.clients.rules.max_packet_size;
        loop {
            let frame = match next_frame(&bytes[done..], max) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Progress::Incomplete(done),
                Err(error) => return self.end(slot, error.into()),
            };
            let Some(connection) = live(&mut self.clients.connections, slot) else {
                return Progress::Ended;
            };
            let version = connection.version;
            if self.must_wait(slot, frame.packet_type) || self.must_ask(slot, &frame, version) {
                return Progress::Suspended(done);
            }
            done += frame.wire_len;
            if let Err(fault) = self.handle_frame(slot, &frame, version) {
                return self.end(slot, fault);
            }
            self.forget_answers(slot);
        }
    }

    fn end(&mut self, slot: u32, fault: Fault) -> Progress {
        self.close(slot, fault.reason, fault.code);
        Progress::Ended
    }

    /// Suspends a connection before a packet that cannot be handled now.
    fn must_wait(&mut self, slot: u32, packet: PacketType) -> bool {
        let Some(connection) = self.clients.connections.at(slot) else {
            return false;
        };
        let index = match packet {
            PacketType::Subscribe => connection.awaits_index >= SUBSCRIBES_PENDING_MAX,
            _ => connection.awaits_index > 0,
        };
        let outbox = packet == PacketType::Publish && self.outboxes_over_limit();
        if !index && !outbox {
            return false;
        }
        if let Some(connection) = self.clients.connections.at_mut(slot) {
            connection.flags.set(Flags::SUSPENDED);
            self.suspended.push(slot);
        }
        true
    }

    /// One packet.
    fn handle_frame(
        &mut self,
        slot: u32,
        frame: &Frame<'_>,
        version: Version,
    ) -> Result<(), Fault> {
        self.count_received(frame.packet_type);
        if frame.packet_type == PacketType::Connect {
            // [MQTT-3.1.0-2]: a second CONNECT is a protocol error.
            return Err(Fault::new(
                CloseReason::SecondConnect,
                ReasonCode::ProtocolError,
            ));
        }
        let packet = match decode(frame, version) {
            Ok(packet) => packet,
            Err(error) => {
                self.count_error(frame.packet_type);
                return Err(error.into());
            }
        };
        self.look_received(slot, &packet);
        match packet {
            ClientPacket::Publish(publish) => self.publish(slot, &publish),
            ClientPacket::PubAck(ack) => {
                self.puback(slot, ack);
                Ok(())
            }
            ClientPacket::PubRec(ack) => {
                self.pubrec(slot, ack);
                Ok(())
            }
            ClientPacket::PubRel(ack) => {
                self.pubrel(slot, ack);
                Ok(())
            }
            ClientPacket::PubComp(ack) => {
                self.pubcomp(slot, ack);
                Ok(())
            }
            ClientPacket::Subscribe(subscribe) => self.subscribe(slot, &subscribe),
            ClientPacket::Unsubscribe(unsubscribe) => {
                self.unsubscribe(slot, &unsubscribe);
                Ok(())
            }
            ClientPacket::PingReq => {
                self.ping(slot);
                Ok(())
            }
            ClientPacket::Disconnect(disconnect) => self.disconnect_received(slot, &disconnect),
            ClientPacket::Auth(auth) => self.auth_received(slot, &auth),
        }
    }

    /// Tells those who trace of packets that have no topic; the others are told of where they are
    /// handled.
    #[inline]
    fn look_received(&mut self, slot: u32, packet: &ClientPacket<'_>) {
        if self.clients.is_tracing()
            && let Some((name, packet_id, reason)) = described(packet)
        {
            let reason = reason.map(ReasonCode::as_u8);
            self.clients
                .trace_packet(slot, (false, name), packet_id, reason);
        }
    }

    fn ping(&mut self, slot: u32) {
        self.clients.metrics.inc(Counter::PacketsPingrespSent);
        self.clients.look_sent(slot, "PINGRESP", 0, None);
        if let Some(out) = self.clients.out(slot) {
            encode_pingresp(&mut out.bytes);
        }
    }

    /// The client says good-bye; it may change the life of its session, but not give one to a
    /// session that had none [MQTT-3.14.2-2].
    fn disconnect_received(&mut self, slot: u32, packet: &Disconnect<'_>) -> Result<(), Fault> {
        let session_index = self.clients.connections.at(slot).map(|c| c.session);
        if let Some(session) = session_index.and_then(|i| self.clients.registry.at_mut(i))
            && let Some(expiry_s) = packet.session_expiry_interval
        {
            if session.expiry_s == 0 && expiry_s != 0 {
                return Err(Fault::new(
                    CloseReason::ProtocolError,
                    ReasonCode::ProtocolError,
                ));
            }
            session.expiry_s = expiry_s;
        }
        let reason = match packet.reason {
            ReasonCode::Success => CloseReason::Normal,
            _ => CloseReason::NormalWithWill,
        };
        self.close(slot, reason, None);
        Ok(())
    }

    /// Stops receiving from a connection whose box is full of packets that wait.
    fn pause_if_full(&mut self, slot: u32) {
        let Some(connection) = live(&mut self.clients.connections, slot) else {
            return;
        };
        let waiting = connection
            .received
            .as_ref()
            .map_or(0, |received| received.len());
        let flags = &mut connection.flags;
        if waiting > RECEIVED_BYTES_PAUSE
            && flags.has(Flags::SUSPENDED)
            && !flags.has(Flags::RECEIVE_PAUSED)
        {
            flags.set(Flags::RECEIVE_PAUSED);
            let waits_for_index = connection.awaits_index > 0;
            self.clients.effects.pause.push(slot);
            self.clients.metrics.inc(if waits_for_index {
                Counter::ReadPausedIndex
            } else {
                Counter::ReadPausedOutbox
            });
        }
    }

    pub(super) fn resume_if_drained(&mut self, slot: u32) {
        let heard = self.clients.heard_now();
        let Some(connection) = live(&mut self.clients.connections, slot) else {
            return;
        };
        let waiting = connection
            .received
            .as_ref()
            .map_or(0, |received| received.len());
        let drained = waiting < RECEIVED_BYTES_RESUME || !connection.flags.has(Flags::SUSPENDED);
        let limiter = connection.extra.as_ref().and_then(|e| e.limiter.as_ref());
        let drained = drained && limiter.is_none_or(|own| own.paused_until_ms.is_none());
        if drained && connection.flags.has(Flags::RECEIVE_PAUSED) {
            connection.flags.clear(Flags::RECEIVE_PAUSED);
            // The silence was ours.
            connection.last_heard = heard;
            self.clients.effects.resume.push(slot);
        }
    }

    fn count_error(&self, packet: PacketType) {
        let counter = match packet {
            PacketType::Publish => Counter::PacketsPublishError,
            PacketType::Subscribe => Counter::PacketsSubscribeError,
            PacketType::Unsubscribe => Counter::PacketsUnsubscribeError,
            _ => return,
        };
        self.clients.metrics.inc(counter);
    }

    fn count_received(&mut self, packet: PacketType) {
        let metrics = &mut self.clients.metrics;
        metrics.inc(match packet {
            PacketType::Connect => Counter::PacketsConnectReceived,
            PacketType::Publish => Counter::PacketsPublishReceived,
            PacketType::PubAck => Counter::PacketsPubackReceived,
            PacketType::PubRec => Counter::PacketsPubrecReceived,
            PacketType::PubRel => Counter::PacketsPubrelReceived,
            PacketType::PubComp => Counter::PacketsPubcompReceived,
            PacketType::Subscribe => Counter::PacketsSubscribeReceived,
            PacketType::Unsubscribe => Counter::PacketsUnsubscribeReceived,
            PacketType::PingReq => Counter::PacketsPingreqReceived,
            PacketType::Disconnect => Counter::PacketsDisconnectReceived,
            _ => Counter::PacketsAuthReceived,
        });
    }
}

/// Name, packet identifier and reason code of a packet that has no topic.
fn described(packet: &ClientPacket<'_>) -> Option<(&'static str, u16, Option<ReasonCode>)> {
    Some(match packet {
        ClientPacket::PubAck(ack) => ("PUBACK", ack.packet_id, Some(ack.reason)),
        ClientPacket::PubRec(ack) => ("PUBREC", ack.packet_id, Some(ack.reason)),
        ClientPacket::PubRel(ack) => ("PUBREL", ack.packet_id, Some(ack.reason)),
        ClientPacket::PubComp(ack) => ("PUBCOMP", ack.packet_id, Some(ack.reason)),
        ClientPacket::PingReq => ("PINGREQ", 0, None),
        ClientPacket::Disconnect(packet) => ("DISCONNECT", 0, Some(packet.reason)),
        ClientPacket::Auth(packet) => ("AUTH", 0, Some(packet.reason)),
        ClientPacket::Subscribe(packet) => ("SUBSCRIBE", packet.packet_id, None),
        ClientPacket::Unsubscribe(packet) => ("UNSUBSCRIBE", packet.packet_id, None),
        ClientPacket::Publish(_) => return None,
    })
}
