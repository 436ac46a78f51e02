//! The core's door: accepting, and sockets whose CONNECT is awaited.
//!
//! A socket in handshake is an ordinary descriptor, so their number is limited: at the limit the core
//! accepts no more until one ends, and clients wait in the backlog. So that those who say nothing do
//! not keep the others out for the whole time that a handshake may take, at the limit a handshake is
//! given up after [`PATIENCE_MS`].

mod away;
mod header;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::base::envelope::{Envelope, EnvelopeEnd, PeerNames};
use crate::gate::authn::{AuthnAnswer, AuthnRequest, Place, Verdict};
use crate::gate::reply::Reply;
use crate::metrics::Counter;
use crate::runtime::admission::Admission;
use crate::runtime::completion::Completion;
use crate::runtime::front::{Front, LOCAL_PEER};
use crate::runtime::log::RateLimit;
use crate::runtime::plane::Actions;
use crate::runtime::socket;
use crate::runtime::transport::desk::Desk;
use crate::shard::Shard;
use crate::shard::close::CloseReason;
use crate::shard::cross::stage_handover;
use crate::shard::handshake::{ClientSocket, Handshake, Step};

/// After descriptors ran out, accepting is tried again at the latest after this.
const RETRY_ACCEPT_MS: u64 = 100;

/// Places for handshakes that a door without any may keep: 24 KiB.
const PLACES_KEPT: usize = 256;

/// Time that a handshake has for its CONNECT while others wait for its place: a slow network's round
/// trip and one packet sent again.
const PATIENCE_MS: u64 = 2_000;

/// Bytes of a client that are taken when it is accepted: a CONNECT with a will and a password. What is
/// longer comes by the ring.
const FIRST_BYTES_MAX: usize = 2048;

/// The door of one core.
pub struct Door {
    /// By the plane's number.
    handshakes: Vec<Option<Open>>,
    open: usize,
    handshakes_max: usize,
    /// When handshakes are given up, in the order in which they began: the time allowed is the same
    /// for all.
    deadlines: VecDeque<(u64, u32, u64)>,
    /// When answers about clients are given up, in the order of the questions: the time allowed is the
    /// same for all.
    waits: VecDeque<(u64, u32, u64)>,
    /// Questions about clients, for the control plane.
    #[allow(clippy::vec_box, reason = "they go on as boxes")]
    questions: Vec<Box<AuthnRequest>>,
    /// By how much earlier they are given up while others wait for their places.
    hurry_ms: u64,
    /// Tells the tenants of one number apart.
    serial: u64,
    fronts: Arc<[Front]>,
    /// Where sockets of TLS listeners go first.
    desk: Option<Box<dyn Desk>>,
    /// Sockets that are there.
    away: usize,
    listeners: Vec<Listener>,
    stopping: bool,
    stop_told: bool,
    accept_failures: RateLimit,
    // Memory that is used again.
    plain: Vec<u8>,
    reply: Vec<u8>,
}

struct Open {
    handshake: Handshake,
    serial: u64,
    envelope: Option<Box<dyn Envelope>>,
    /// A PROXY header is awaited, of which so much has come.
    header: Option<Vec<u8>>,
}

/// A socket as it enters a handshake.
struct Entry {
    fd: OwnedFd,
    listener: u8,
    peer: SocketAddr,
    accepted_us: u64,
    envelope: Option<Box<dyn Envelope>>,
    peer_names: Option<Box<PeerNames>>,
}

struct Listener {
    number: u8,
    /// Accepting goes on at this time.
    paused_until_ms: Option<u64>,
    /// Accepting goes on when a handshake ends.
    waits_for_room: bool,
    stopped: bool,
    /// Who is told when it has stopped, the others going on.
    stops: Option<Reply<()>>,
    /// When sockets are given up whose PROXY header is awaited, in order.
    headers: VecDeque<(u64, u32, u64)>,
}

impl Door {
    /// A door without listeners.
    pub fn new(fronts: Arc<[Front]>, handshakes_max: usize) -> Self {
        Self {
            handshakes: Vec::new(),
            open: 0,
            handshakes_max,
            deadlines: VecDeque::new(),
            waits: VecDeque::new(),
            questions: Vec::new(),
            hurry_ms: 0,
            serial: 0,
            fronts,
            desk: None,
            away: 0,
            listeners: Vec::new(),
            stopping: false,
            stop_told: false,
            accept_failures: RateLimit::new(1, 5),
            plain: Vec::new(),
            reply: Vec::new(),
        }
    }

    /// Accepts on a socket from now on.
    pub fn listen(&mut self, plane: &mut Actions, number: u8, socket: OwnedFd) {
        plane.listen(number, socket);
        self.listeners.push(Listener {
            number,
            paused_until_ms: None,
            waits_for_room: false,
            stopped: false,
            stops: None,
            headers: VecDeque::new(),
        });
    }

    /// Accepts no more on one listener. Its connections stay.
    pub fn stop_listening(&mut self, plane: &mut Actions, number: u8, done: Reply<()>) {
        let stopping = self.stopping;
        match self.listener(number) {
            Some(listener) if !stopping && listener.stops.is_none() => {
                listener.stops = Some(done);
                plane.stop_accept(number);
            }
            _ => done.send(()),
        }
    }

    /// Closes listeners and handshakes.
    pub fn stop(&mut self, shard: &mut Shard, plane: &mut Actions) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        for listener in &self.listeners {
            plane.stop_accept(listener.number);
        }
        for number in 0..self.handshakes.len() {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            self.refuse(shard, plane, number, &[], CloseReason::Shutdown);
        }
    }

    /// True once, when a stop is done.
    pub fn has_just_stopped(&mut self) -> bool {
        let done = self.stopping && self.listeners.iter().all(|listener| listener.stopped);
        done && !std::mem::replace(&mut self.stop_told, true)
    }

    /// Sockets in handshake.
    pub fn handshakes(&self) -> usize {
        self.open + self.away
    }

    /// Frees what a storm made the tables take, when it is over.
    pub fn trim(&mut self) {
        self.plain = Vec::new();
        self.reply = Vec::new();
        if self.open == 0 && self.handshakes.capacity() > PLACES_KEPT {
            self.handshakes = Vec::new();
            self.deadlines = VecDeque::new();
            self.waits = VecDeque::new();
            self.questions = Vec::new();
        }
    }

    /// Memory in bytes, that of bytes received not counted.
    pub fn held_bytes(&self) -> usize {
        self.handshakes.capacity() * size_of::<Option<Open>>()
            + (self.deadlines.capacity() + self.waits.capacity()) * size_of::<(u64, u32, u64)>()
            + self.questions.capacity() * size_of::<Box<AuthnRequest>>()
    }

    /// When something here is due, milliseconds since process start.
    pub fn next_due_ms(&self) -> Option<u64> {
        let earlier_ms = if self.is_full() { self.hurry_ms } else { 0 };
        let first = self.deadlines.front();
        let deadline = first.map(|(at_ms, ..)| at_ms.saturating_sub(earlier_ms));
        let paused = self.listeners.iter().filter_map(|l| l.paused_until_ms);
        let headers = self.listeners.iter().filter_map(|l| l.headers.front());
        let headers = headers.map(|(at_ms, ..)| *at_ms);
        let waits = self.waits.front().map(|(at_ms, ..)| *at_ms);
        let rare = paused.chain(headers).chain(waits);
        deadline.into_iter().chain(rare).min()
    }

    /// A connection that came in here, or any other core's, has been closed.
    pub fn connection_closed(&self, listener: u8) {
        if let Some(front) = self.fronts.get(usize::from(listener)) {
            front.share.closed();
        }
    }

    /// What the plane reports of accepts and handshakes.
    pub fn on_completion(
        &mut self,
        shard: &mut Shard,
        plane: &mut Actions,
        completion: Completion<'_>,
    ) {
        match completion {
            Completion::Accepted { listener, fd } => self.accepted(shard, plane, listener, fd),
            Completion::AcceptFailed { listener, errno } => {
                shard.clients.metrics.inc(Counter::AcceptErrors);
                let now_ms = shard.clients.now.ms;
                self.log_accept_failed(now_ms, errno);
                let retry_ms = now_ms + RETRY_ACCEPT_MS;
                if let Some(listener) = self.listener(listener) {
                    listener.waits_for_room = true;
                    listener.paused_until_ms = Some(retry_ms);
                }
            }
            Completion::AcceptStopped { listener } => {
                if let Some(listener) = self.listener(listener) {
                    listener.stopped = true;
                    if let Some(done) = listener.stops.take() {
                        done.send(());
                    }
                }
                if !self.stopping {
                    self.listeners.retain(|one| one.number != listener);
                }
            }
            Completion::HandshakeBytes { handshake, bytes } => {
                self.handshake_bytes(shard, plane, handshake, bytes);
            }
            Completion::HandshakeEnded {
                handshake,
                errno: _,
            } => {
                self.refuse(shard, plane, handshake, &[], CloseReason::Closed);
            }
            _ => {}
        }
    }

    /// Clients can cause this as often as they like, so it is not logged each time.
    fn log_accept_failed(&mut self, now_ms: u64, errno: i32) {
        if let Some(suppressed) = self.accept_failures.admit(now_ms) {
            let error = std::io::Error::from_raw_os_error(errno);
            tracing::warn!(%error, suppressed, "a connection cannot be accepted, it waits");
        }
    }

    /// Gives up handshakes that take too long, and accepts again where a pause is over.
    pub fn expire(&mut self, shard: &mut Shard, plane: &mut Actions) {
        let now_ms = shard.clients.now.ms;
        self.give_up(shard, plane, now_ms);
        self.give_up_headers(shard, plane, now_ms);
        self.give_up_waiting(shard, plane, now_ms);
        // What the core has not come to look at yet is not held against its sender.
        if self.is_full() && !plane.has_completions() {
            let hurried_ms = now_ms + self.hurry_ms;
            let given_up = self.give_up(shard, plane, hurried_ms);
            let metrics = &shard.clients.metrics;
            metrics.add(Counter::AcceptRefusedHandshakes, given_up);
        }
        for at in 0..self.listeners.len() {
            if self.listeners[at]
                .paused_until_ms
                .is_some_and(|until| until <= now_ms)
            {
                self.listeners[at].paused_until_ms = None;
                self.accept_again(plane, at);
            }
        }
    }

    /// Gives up the handshakes whose time is over at a moment; says how many.
    fn give_up(&mut self, shard: &mut Shard, plane: &mut Actions, moment_ms: u64) -> u64 {
        let mut given_up = 0;
        while let Some((at_ms, number, serial)) = self.deadlines.front().copied() {
            if at_ms > moment_ms {
                break;
            }
            self.deadlines.pop_front();
            if self.is_overdue(number, serial, at_ms) {
                self.refuse(shard, plane, number, &[], CloseReason::IdleTimeout);
                given_up += 1;
            }
        }
        given_up
    }

    /// Whether a handshake has the deadline `at_ms` still: it waits for no answer, and has been given
    /// no later one.
    fn is_overdue(&self, number: u32, serial: u64, at_ms: u64) -> bool {
        self.is_open(number, serial)
            && self.at(number).is_some_and(|open| {
                let handshake = &open.handshake;
                handshake.waits_until_ms().is_none() && handshake.deadline_ms <= at_ms
            })
    }

    /// Refuses clients about whom no answer came in time.
    fn give_up_waiting(&mut self, shard: &mut Shard, plane: &mut Actions, now_ms: u64) {
        while let Some((at_ms, number, question)) = self.waits.front().copied() {
            let waits = self
                .at(number)
                .is_some_and(|open| open.handshake.awaits(question));
            if waits && at_ms > now_ms {
                break;
            }
            self.waits.pop_front();
            if waits {
                self.decide(shard, plane, number, Verdict::Unavailable);
            }
        }
    }

    fn at(&self, number: u32) -> Option<&Open> {
        self.handshakes
            .get(number as usize)
            .and_then(Option::as_ref)
    }

    /// The next question about a client in handshake.
    pub fn question(&mut self) -> Option<Box<AuthnRequest>> {
        self.questions.pop()
    }

    /// The control plane has answered about a client in handshake, or could not be asked.
    pub fn answer(&mut self, shard: &mut Shard, plane: &mut Actions, answer: AuthnAnswer) {
        let Place::Handshake(number) = answer.ticket.place else {
            return;
        };
        let serial = answer.ticket.serial;
        if self
            .at(number)
            .is_some_and(|open| open.handshake.awaits(serial))
        {
            self.decide(shard, plane, number, answer.verdict);
        } else {
            shard.clients.metrics.inc(Counter::AuthenticationLate);
        }
    }

    fn decide(&mut self, shard: &mut Shard, plane: &mut Actions, number: u32, verdict: Verdict) {
        if let Some(open) = self
            .handshakes
            .get_mut(number as usize)
            .and_then(Option::as_mut)
        {
            let step = shard.handshake_answer(&mut open.handshake, verdict);
            self.follow(shard, plane, number, step);
        }
    }

    /// Whether no further socket may be in handshake.
    fn is_full(&self) -> bool {
        self.open + self.away >= self.handshakes_max
    }

    /// Tells a client that no core takes, and closes its socket.
    pub fn refuse_taken(&mut self, plane: &mut Actions, socket: ClientSocket, last: &[u8]) {
        let number = plane.handshake_begin(socket.fd);
        let mut envelope = socket.envelope;
        self.say_last(plane, number, envelope.as_deref_mut(), last);
    }

    /// Refuses with last words, wrapped where there is an envelope.
    fn say_last(
        &mut self,
        plane: &mut Actions,
        number: u32,
        envelope: Option<&mut (dyn Envelope + 'static)>,
        last: &[u8],
    ) {
        let Some(envelope) = envelope else {
            return plane.handshake_refuse(number, last);
        };
        self.reply.clear();
        if !last.is_empty() {
            envelope.send(last, &mut self.reply);
        }
        envelope.close(&mut self.reply);
        plane.handshake_refuse(number, &self.reply);
    }

    fn accepted(&mut self, shard: &mut Shard, plane: &mut Actions, number: u8, fd: OwnedFd) {
        let metrics = &shard.clients.metrics;
        metrics.inc(Counter::AcceptAccepted);
        if self.stopping {
            return metrics.inc(Counter::ShutdownShutdown);
        }
        let now_ms = shard.clients.now.ms;
        let admission = match self.fronts.get(usize::from(number)) {
            Some(front) => front.share.accepted(now_ms),
            None => Admission::Full,
        };
        match admission {
            Admission::Full => return metrics.inc(Counter::AcceptRefusedMaxConnections),
            Admission::TakeAndPause(ms) => {
                self.pause_accept(plane, number, now_ms + ms);
            }
            Admission::Take if shard.is_overloaded() => {
                shard.clients.metrics.inc(Counter::OverloadDelay);
                let delay_ms = shard.clients.rules.overload.accept_delay_ms;
                self.pause_accept(plane, number, now_ms + delay_ms);
            }
            Admission::Take => {}
        }
        let Some(front) = self.fronts.get(usize::from(number)) else {
            return;
        };
        let peer = if front.unix {
            LOCAL_PEER
        } else if let Ok(peer) = socket::peer_address(&fd) {
            peer
        } else {
            // It has gone already.
            front.share.closed();
            return shard.handshake_ended(number, CloseReason::Closed);
        };
        let refused = front.refuses(peer.ip());
        if let Some(counter) = refused {
            front.share.closed();
            return metrics.inc(counter);
        }
        let (websocket, unix) = (front.websocket.as_ref(), front.unix);
        let entry = Entry {
            fd,
            listener: number,
            peer,
            accepted_us: shard.clients.now.unix_us,
            envelope: websocket
                .filter(|_| front.proxy.is_none() && !front.tls)
                .map(|websocket| websocket.begin(peer.ip()) as Box<dyn Envelope>),
            peer_names: None,
        };
        let header_ms = front.proxy.as_ref().map(|proxy| proxy.timeout_ms);
        if header_ms.is_none() && front.tls {
            return self.hand_in(shard, plane, entry, Vec::new());
        }
        let handshake = self.begin(shard, plane, entry);
        if let Some(header_ms) = header_ms {
            self.await_header(handshake, number, now_ms + header_ms);
        }
        if unix {
            plane.handshake_receive(handshake);
        } else {
            self.first_bytes(shard, plane, handshake);
        }
    }

    /// Accepting has waited for the client's first bytes (see `listener.rs`), so they are taken at once:
    /// by a receive in the ring they would come with the next enter, a turn later.
    fn first_bytes(&mut self, shard: &mut Shard, plane: &mut Actions, number: u32) {
        let mut piece = [0; FIRST_BYTES_MAX];
        match plane.handshake_receive_now(number, &mut piece) {
            Ok(None) => plane.handshake_receive(number),
            Ok(Some(0)) | Err(_) => self.refuse(shard, plane, number, &[], CloseReason::Closed),
            Ok(Some(len)) => self.handshake_bytes(shard, plane, number, &piece[..len]),
        }
    }

    /// Accepts nothing on a listener for a while.
    fn pause_accept(&mut self, plane: &mut Actions, number: u8, until_ms: u64) {
        plane.pause_accept(number);
        if let Some(listener) = self.listener(number) {
            listener.paused_until_ms = Some(until_ms);
        }
    }

    /// Notes that a socket has to begin with a PROXY header.
    fn await_header(&mut self, number: u32, listener: u8, due_ms: u64) {
        let serial = self.serial;
        if let Some(open) = self.open_mut(number) {
            open.header = Some(Vec::new());
        }
        if let Some(listener) = self.listener(listener) {
            listener.headers.push_back((due_ms, number, serial));
        }
    }

    fn open_mut(&mut self, number: u32) -> Option<&mut Open> {
        self.handshakes.get_mut(number as usize)?.as_mut()
    }

    /// Takes a socket into handshake; nothing is received yet.
    fn begin(&mut self, shard: &mut Shard, plane: &mut Actions, entry: Entry) -> u32 {
        let mut handshake = shard.begin_handshake(entry.listener, entry.peer);
        handshake.accepted_us = entry.accepted_us;
        handshake.peer_names = entry.peer_names;
        self.hurry_ms = shard
            .clients
            .rules
            .idle_timeout_ms
            .saturating_sub(PATIENCE_MS);
        let number = plane.handshake_begin(entry.fd);
        let at = number as usize;
        if self.handshakes.len() <= at {
            self.handshakes.resize_with(at + 1, || None);
        }
        self.serial += 1;
        self.deadlines
            .push_back((handshake.deadline_ms, number, self.serial));
        self.handshakes[at] = Some(Open {
            handshake,
            serial: self.serial,
            envelope: entry.envelope,
            header: None,
        });
        self.open += 1;
        self.pause_if_full(plane);
        number
    }

    fn pause_if_full(&mut self, plane: &mut Actions) {
        if self.is_full() {
            for listener in &mut self.listeners {
                listener.waits_for_room = true;
                plane.pause_accept(listener.number);
            }
        }
    }

    fn handshake_bytes(
        &mut self,
        shard: &mut Shard,
        plane: &mut Actions,
        number: u32,
        bytes: &[u8],
    ) {
        match self.open_mut(number) {
            Some(open) if open.header.is_some() => self.header_bytes(shard, plane, number, bytes),
            Some(_) => self.mqtt_bytes(shard, plane, number, bytes),
            None => {}
        }
    }

    /// Bytes behind a PROXY header, if there was one to be.
    fn mqtt_bytes(&mut self, shard: &mut Shard, plane: &mut Actions, number: u32, bytes: &[u8]) {
        let at = number as usize;
        let Some(open) = self.handshakes.get_mut(at).and_then(Option::as_mut) else {
            return;
        };
        let Some(envelope) = &mut open.envelope else {
            let step = shard.handshake_bytes(&mut open.handshake, bytes);
            return self.follow(shard, plane, number, step);
        };
        self.plain.clear();
        self.reply.clear();
        let end = envelope.receive(bytes, &mut self.plain, &mut self.reply);
        self.plain_bytes(shard, plane, number, end);
    }

    /// What came of bytes that went through an envelope: `self.plain` and `self.reply`.
    fn plain_bytes(
        &mut self,
        shard: &mut Shard,
        plane: &mut Actions,
        number: u32,
        end: Result<(), EnvelopeEnd>,
    ) {
        let at = number as usize;
        let Some(open) = self.handshakes.get_mut(at).and_then(Option::as_mut) else {
            return;
        };
        if let Some(told) = open.envelope.as_mut().and_then(|e| e.told_peer()) {
            let peer = &mut open.handshake.peer;
            *peer = SocketAddr::new(
                told.ip.unwrap_or_else(|| peer.ip()).to_canonical(),
                told.port.unwrap_or_else(|| peer.port()),
            );
        }
        if !self.reply.is_empty() && !plane.handshake_send(number, &self.reply) {
            return self.refuse(shard, plane, number, &[], CloseReason::SendFailed);
        }
        let step = if self.plain.is_empty() {
            Step::Wait
        } else {
            shard.handshake_bytes(&mut open.handshake, &self.plain)
        };
        match (step, end) {
            // The home core finds the end again, behind what came before it.
            (step @ (Step::Home(..) | Step::Refuse(_)), _) | (step, Ok(())) => {
                self.follow(shard, plane, number, step);
            }
            (_, Err(EnvelopeEnd::Closed)) => {
                self.refuse(shard, plane, number, &[], CloseReason::Closed);
            }
            (_, Err(EnvelopeEnd::Broken)) => {
                self.refuse(shard, plane, number, &[], CloseReason::Malformed);
            }
        }
    }

    /// Sends a packet before CONNACK; false if the socket does not take it whole, which a client that
    /// waits for it cannot have caused in good faith.
    fn say(&mut self, plane: &mut Actions, number: u32, packet: &[u8]) -> bool {
        let at = number as usize;
        let open = self.handshakes.get_mut(at).and_then(Option::as_mut);
        let Some(envelope) = open.and_then(|open| open.envelope.as_mut()) else {
            return plane.handshake_send(number, packet);
        };
        self.reply.clear();
        envelope.send(packet, &mut self.reply);
        plane.handshake_send(number, &self.reply)
    }

    /// Does what a handshake's next step is.
    fn follow(&mut self, shard: &mut Shard, plane: &mut Actions, number: u32, step: Step) {
        let at = number as usize;
        let Some(open) = self.handshakes.get_mut(at).and_then(Option::as_mut) else {
            return;
        };
        let mut envelope = open.envelope.take();
        match step {
            Step::Wait => {
                open.envelope = envelope;
                plane.handshake_receive(number);
            }
            Step::Say(bytes) => {
                open.envelope = envelope;
                self.deadlines
                    .push_back((open.handshake.deadline_ms, number, open.serial));
                if self.say(plane, number, &bytes) {
                    plane.handshake_receive(number);
                } else {
                    self.refuse(shard, plane, number, &[], CloseReason::SendFailed);
                }
            }
            Step::Ask(mut request) => {
                open.envelope = envelope;
                request.ticket.place = Place::Handshake(number);
                let until_ms = open.handshake.waits_until_ms().unwrap_or_default();
                self.waits
                    .push_back((until_ms, number, request.ticket.serial));
                self.questions.push(request);
            }
            Step::Refuse(last) => {
                let listener = open.handshake.listener;
                self.say_last(plane, number, envelope.as_deref_mut(), &last);
                self.connection_closed(listener);
                self.forget(plane, number);
            }
            Step::Home(home, mut handover) => {
                let fd = plane.handshake_take(number);
                handover.socket = Some(ClientSocket { fd, envelope });
                self.forget(plane, number);
                if home == shard.clients.core {
                    shard.arrive(handover);
                } else {
                    shard.clients.metrics.inc(Counter::HandoverSent);
                    stage_handover(&mut shard.outboxes, home, handover);
                }
            }
        }
    }

    /// Ends a handshake without a CONNECT.
    fn refuse(
        &mut self,
        shard: &mut Shard,
        plane: &mut Actions,
        number: u32,
        last: &[u8],
        reason: CloseReason,
    ) {
        let Some(open) = self
            .handshakes
            .get_mut(number as usize)
            .and_then(Option::as_mut)
        else {
            return;
        };
        let listener = open.handshake.listener;
        let mut envelope = open.envelope.take();
        shard.handshake_over(&mut open.handshake, reason);
        self.say_last(plane, number, envelope.as_deref_mut(), last);
        self.connection_closed(listener);
        self.forget(plane, number);
    }

    /// A handshake has ended: there is room for another.
    fn forget(&mut self, plane: &mut Actions, number: u32) {
        if let Some(open) = self.handshakes.get_mut(number as usize)
            && open.take().is_some()
        {
            self.open -= 1;
        }
        while let Some((_, number, serial)) = self.deadlines.front().copied() {
            if self.is_open(number, serial) {
                break;
            }
            self.deadlines.pop_front();
        }
        self.accept_if_room(plane);
    }

    fn accept_if_room(&mut self, plane: &mut Actions) {
        if !self.is_full() {
            for at in 0..self.listeners.len() {
                if std::mem::take(&mut self.listeners[at].waits_for_room) {
                    self.accept_again(plane, at);
                }
            }
        }
    }

    fn accept_again(&mut self, plane: &mut Actions, at: usize) {
        let listener = &self.listeners[at];
        let waits = listener.waits_for_room && self.is_full();
        if !self.stopping && !waits && listener.paused_until_ms.is_none() {
            plane.resume_accept(listener.number);
        }
    }

    fn is_open(&self, number: u32, serial: u64) -> bool {
        self.handshakes
            .get(number as usize)
            .and_then(Option::as_ref)
            .is_some_and(|open| open.serial == serial)
    }

    fn listener(&mut self, number: u8) -> Option<&mut Listener> {
        self.listeners
            .iter_mut()
            .find(|listener| listener.number == number)
    }
}
