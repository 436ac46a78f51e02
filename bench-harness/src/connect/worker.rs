//! One thread's share of the connections: every `workers`-th one, in one epoll.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::tls::{Came, Tls};
use super::ws;
use super::{Counters, Plan, Shared, Tally};
use crate::codec::{self, Packet, Subscribe, SubscriptionOptions};
use crate::interval::{Kind, Part};
use crate::load::{self, EVENTS_PER_WAIT};
use crate::sys::{self, Epoll, Interest, Socket};

/// A worker looks at the stop flag at least this often.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// Connects and pings started in one turn at most, so that answers are read in between.
const STARTS_PER_TURN: usize = 64;
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// A share of the connections is told in this many steps.
pub(super) const STORM_STEPS: usize = 1000;
const SUBSCRIBE_PACKET_ID: u16 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unborn,
    TcpConnecting,
    TlsHandshaking,
    WsUpgrading,
    AwaitingConnAck,
    AwaitingSubAck,
    Ready,
    Gone,
}

/// An idle connection is this and nothing else.
struct Connection {
    socket: Option<Socket>,
    state: State,
    /// Low bits of a time in us: while opening, when that was due; then that of the SUBSCRIBE or
    /// of an unanswered ping; 0 when none.
    asked_us: u32,
    /// Counts the attempts to open it, so that an old deadline is not taken for a new one.
    attempt: u8,
    was_ready: bool,
    /// The beginning of a packet that is not complete yet.
    partial: Option<Box<[u8]>>,
}

const _: () = assert!(
    size_of::<Connection>() <= 32,
    "a million of these have to fit"
);

pub(super) struct Worker<'a> {
    plan: &'a Plan,
    counters: &'a Counters,
    shared: &'a Shared,
    number: usize,
    epoll: Epoll,
    connections: Vec<Connection>,
    /// Their TLS; empty without it.
    tls: Vec<Option<Box<Tls>>>,
    /// The next connection to open.
    next: usize,
    /// Attempts in the order of their start: time, connection, its attempt.
    pending: VecDeque<(u64, usize, u8)>,
    in_flight: usize,
    /// Connections to be opened again, with the time for it.
    retries: VecDeque<(u64, usize)>,
    has_stormed: bool,
    /// The next connection to leave and come again, and when.
    churn_next: usize,
    churn_due_ns: f64,
    open: u64,
    /// The next connection to ping in each round that has begun and not ended.
    ping_rounds: Vec<(u64, usize)>,
    ping_round_next: u64,
    buffer: Vec<u8>,
    packet: Vec<u8>,
    disconnected: u64,
    failed_for_good: u64,
    tally: Tally,
    recent: Part,
}

impl<'a> Worker<'a> {
    pub(super) fn new(plan: &'a Plan, shared: &'a Shared, number: usize) -> io::Result<Self> {
        sys::private_descriptor_table()?;
        let mine = (plan.connections + plan.workers - 1 - number) / plan.workers;
        let unborn = || Connection {
            socket: None,
            state: State::Unborn,
            asked_us: 0,
            attempt: 0,
            was_ready: false,
            partial: None,
        };
        Ok(Self {
            plan,
            counters: &shared.counters[number],
            shared,
            number,
            epoll: Epoll::new(EVENTS_PER_WAIT)?,
            connections: (0..mine).map(|_| unborn()).collect(),
            tls: match plan.tls {
                Some(_) => (0..mine).map(|_| None).collect(),
                None => Vec::new(),
            },
            next: 0,
            pending: VecDeque::new(),
            in_flight: 0,
            retries: VecDeque::new(),
            has_stormed: false,
            churn_next: 0,
            churn_due_ns: 0.0,
            open: 0,
            ping_rounds: Vec::new(),
            ping_round_next: 0,
            buffer: vec![0; READ_BUFFER_BYTES],
            packet: Vec::new(),
            disconnected: 0,
            failed_for_good: 0,
            tally: Tally::new(),
            recent: shared.intervals.part(),
        })
    }

    pub(super) fn run(mut self) -> io::Result<Tally> {
        while !self.shared.stop.load(Ordering::Relaxed) {
            let now_ns = self.plan.clock.now_ns();
            self.storm_if_told(now_ns);
            self.start_due(now_ns);
            self.churn_due(now_ns);
            self.retry_due(now_ns);
            self.ping_due(now_ns);
            self.expire_pending(now_ns);
            self.publish_counters();
            self.recent.hand_in(&self.shared.intervals);
            let timeout = self.plan.clock.until(self.next_due_ns(), WAIT_MAX);
            let ready = self.epoll.wait(timeout)?;
            for index in 0..ready {
                let event = self.epoll.event(index);
                let index = usize::try_from(event.token).unwrap_or(usize::MAX);
                self.on_event(index, event.readable);
            }
        }
        self.recent.hand_in_now(&self.shared.intervals);
        self.close_all();
        self.publish_counters();
        Ok(self.tally)
    }

    fn global_index(&self, index: usize) -> usize {
        index * self.plan.workers + self.number
    }

    /// When connection `index` of this worker is due.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A time in ns is positive.
    fn connect_due_ns(&self, index: usize) -> u64 {
        self.plan.start_ns + (self.global_index(index) as f64 * self.plan.interval_ns) as u64
    }

    /// When connection `index` pings for the `round`-th time. Without a connect schedule the pings
    /// are spread over the interval.
    fn ping_due_ns(&self, index: usize, round: u64) -> u64 {
        let interval_ns = self.plan.ping_interval_ns;
        let base_ns = if self.plan.interval_ns > 0.0 {
            self.connect_due_ns(index)
        } else {
            let spread = u128::from(interval_ns) * index as u128 / self.connections.len() as u128;
            self.plan.start_ns + u64::try_from(spread).unwrap_or(0)
        };
        base_ns.saturating_add(interval_ns.saturating_mul(round + 1))
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A time in ns is positive.
    fn next_due_ns(&self) -> u64 {
        let mut due_ns = u64::MAX;
        if self.churn_due_ns > 0.0 && self.shared.churn.load(Ordering::Relaxed) {
            due_ns = self.churn_due_ns as u64;
        }
        if self.next < self.connections.len() && !self.is_held_back() {
            due_ns = due_ns.min(self.connect_due_ns(self.next));
        }
        if let Some((retry_ns, _)) = self.retries.front()
            && self.in_flight < self.plan.in_flight_max
        {
            due_ns = due_ns.min(*retry_ns);
        }
        if self.plan.ping_interval_ns > 0 && !self.connections.is_empty() {
            due_ns = due_ns.min(self.ping_due_ns(0, self.ping_round_next));
            for (round, index) in &self.ping_rounds {
                due_ns = due_ns.min(self.ping_due_ns(*index, *round));
            }
        }
        due_ns
    }

    /// Without a schedule, answers set the pace.
    fn is_held_back(&self) -> bool {
        self.plan.interval_ns == 0.0 && self.in_flight >= self.plan.in_flight_max
    }

    fn start_due(&mut self, now_ns: u64) {
        for _ in 0..STARTS_PER_TURN {
            if self.next >= self.connections.len() || self.is_held_back() {
                return;
            }
            let due_ns = self.connect_due_ns(self.next);
            if due_ns > now_ns {
                return;
            }
            let index = self.next;
            self.next += 1;
            let now_ns = self.plan.clock.now_ns();
            if self.plan.interval_ns > 0.0 {
                self.tally.lag.record_ns(now_ns.saturating_sub(due_ns));
                self.open(index, due_ns);
            } else {
                self.open(index, now_ns);
            }
        }
    }

    /// Opens again what was lost, as fast as the answers come.
    fn retry_due(&mut self, now_ns: u64) {
        for _ in 0..STARTS_PER_TURN {
            match self.retries.front() {
                Some((due_ns, _))
                    if *due_ns <= now_ns && self.in_flight < self.plan.in_flight_max => {}
                _ => return,
            }
            if let Some((due_ns, index)) = self.retries.pop_front() {
                self.open(index, due_ns);
            }
        }
    }

    fn open(&mut self, index: usize, due_ns: u64) {
        let source = self.plan.sources.address(self.global_index(index));
        let socket = Socket::connect(&self.plan.target, source).and_then(|socket| {
            self.epoll.add(&socket, index as u64, Interest::Edges)?;
            Ok(socket)
        });
        self.in_flight += 1;
        let connection = &mut self.connections[index];
        connection.state = State::TcpConnecting;
        connection.asked_us = low_us(due_ns);
        connection.attempt = connection.attempt.wrapping_add(1);
        self.pending.push_back((due_ns, index, connection.attempt));
        match socket {
            Ok(socket) => connection.socket = Some(socket),
            Err(error) => self.end(index, &load::reason(&error)),
        }
    }

    /// Cuts the wanted share of the connections at once; each comes back.
    fn storm_if_told(&mut self, now_ns: u64) {
        if self.has_stormed || !self.shared.storm.load(Ordering::Acquire) {
            return;
        }
        self.has_stormed = true;
        for index in 0..self.connections.len() {
            let number = self.global_index(index);
            let share_of = |n: usize| n * self.plan.storm_steps / STORM_STEPS;
            let connection = &mut self.connections[index];
            if connection.state != State::Ready || share_of(number) == share_of(number + 1) {
                continue;
            }
            if let Some(socket) = &connection.socket {
                // Without the option the connection ends in order, which cuts it too.
                drop(socket.reset_on_close());
            }
            self.leave(index);
            self.tally.cut += 1;
            self.retries.push_back((now_ns, index));
        }
        self.counters.open.store(self.open, Ordering::Relaxed);
        self.counters.has_stormed.store(1, Ordering::Release);
    }

    /// Closes a connection that is to come again.
    fn leave(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.socket = None;
        connection.state = State::Gone;
        connection.partial = None;
        if let Some(tls) = self.tls.get_mut(index) {
            *tls = None;
        }
        self.open -= 1;
    }

    /// Lets connections leave in order, one after the other; each comes back.
    fn churn_due(&mut self, now_ns: u64) {
        if self.plan.churn_interval_ns == 0.0
            || self.connections.is_empty()
            || !self.shared.churn.load(Ordering::Relaxed)
        {
            return;
        }
        if self.churn_due_ns == 0.0 {
            self.churn_due_ns = now_ns as f64;
        }
        for _ in 0..STARTS_PER_TURN {
            if self.churn_due_ns > now_ns as f64 {
                return;
            }
            self.churn_due_ns += self.plan.churn_interval_ns;
            let index = self.churn_next;
            self.churn_next = (index + 1) % self.connections.len();
            let connection = &mut self.connections[index];
            if connection.state != State::Ready {
                continue;
            }
            if let Some(socket) = &connection.socket {
                // Without a farewell it leaves all the same.
                drop(socket.write(&[0xE0, 0]));
            }
            self.leave(index);
            self.tally.churned += 1;
            self.retries.push_back((now_ns, index));
        }
    }

    fn ping_due(&mut self, now_ns: u64) {
        if self.plan.ping_interval_ns == 0 || self.connections.is_empty() {
            return;
        }
        if self.ping_due_ns(0, self.ping_round_next) <= now_ns {
            self.ping_rounds.push((self.ping_round_next, 0));
            self.ping_round_next += 1;
        }
        for slot in 0..self.ping_rounds.len() {
            for _ in 0..STARTS_PER_TURN {
                let (round, index) = self.ping_rounds[slot];
                if index >= self.connections.len() || self.ping_due_ns(index, round) > now_ns {
                    break;
                }
                self.ping_rounds[slot].1 += 1;
                let lag_ns = now_ns.saturating_sub(self.ping_due_ns(index, round));
                self.tally.lag.record_ns(lag_ns);
                self.ping(index, now_ns);
            }
        }
        self.ping_rounds
            .retain(|(_, index)| *index < self.connections.len());
    }

    fn ping(&mut self, index: usize, now_ns: u64) {
        let connection = &mut self.connections[index];
        let (State::Ready, Some(socket)) = (connection.state, &connection.socket) else {
            return;
        };
        let ping: &[u8] = match self.plan.ws_request {
            Some(_) => &ws::PING,
            None => &[0xC0, 0],
        };
        let written = match self.tls.get_mut(index) {
            Some(Some(tls)) => tls.write(ping, socket),
            _ => socket.write(ping).map(drop),
        };
        match written {
            Ok(()) => {
                connection.asked_us = low_us(now_ns);
                self.tally.pings += 1;
            }
            Err(error) => self.end(index, &load::reason(&error)),
        }
    }

    fn expire_pending(&mut self, now_ns: u64) {
        while let Some((start_ns, index, attempt)) = self.pending.front().copied() {
            let connection = &self.connections[index];
            let is_pending = connection.attempt == attempt
                && !matches!(connection.state, State::Ready | State::Gone);
            if is_pending && now_ns.saturating_sub(start_ns) < self.plan.connect_timeout_ns {
                return;
            }
            self.pending.pop_front();
            if is_pending {
                self.end(index, "no CONNACK in time");
            }
        }
    }

    fn on_event(&mut self, index: usize, readable: bool) {
        let Some(connection) = self.connections.get(index) else {
            return;
        };
        if connection.state == State::TcpConnecting {
            let Some(socket) = &connection.socket else {
                return;
            };
            let begun = match (socket.pending_error(), &self.plan.tls) {
                (Err(error), _) => Err(error),
                (Ok(()), Some(_)) => self.begin_tls(index),
                (Ok(()), None) => self.begin_mqtt(index),
            };
            let us = self.since(self.connections[index].asked_us) / 1000;
            self.recent.note_tcp(self.global_index(index), us);
            if let Err(error) = begun {
                return self.end(index, &load::reason(&error));
            }
        }
        if readable {
            self.read(index);
        }
    }

    fn send_connect(&mut self, index: usize) -> io::Result<()> {
        let number = self.global_index(index);
        self.packet.clear();
        self.packet.extend_from_slice(&self.plan.connect_template);
        let (start, length) = (self.plan.client_id_offset, self.plan.client_ids.length);
        self.plan
            .client_ids
            .write(number, &mut self.packet[start..start + length]);
        self.connections[index].state = State::AwaitingConnAck;
        self.send_packet(index)
    }

    fn begin_tls(&mut self, index: usize) -> io::Result<()> {
        self.connections[index].state = State::TlsHandshaking;
        let Some((plan, socket)) = self
            .plan
            .tls
            .as_ref()
            .zip(self.connections[index].socket.as_ref())
        else {
            return Ok(());
        };
        let mut tls = plan.begin().map_err(io::Error::other)?;
        let flushed = tls.flush(socket);
        self.tls[index] = Some(tls);
        flushed
    }

    /// After bytes came: whether TLS is still in its handshake. Once it is not, CONNECT follows.
    fn goes_on_with_tls(&mut self, index: usize) -> io::Result<()> {
        let Some(Some(tls)) = self.tls.get(index) else {
            return Ok(());
        };
        if self.connections[index].state != State::TlsHandshaking || tls.is_handshaking() {
            return Ok(());
        }
        if tls.was_resumed() {
            self.tally.tls_resumed += 1;
        } else {
            self.tally.tls_full += 1;
        }
        self.begin_mqtt(index)
    }

    /// CONNECT, or the request for a WebSocket to send it in.
    fn begin_mqtt(&mut self, index: usize) -> io::Result<()> {
        let Some(request) = &self.plan.ws_request else {
            return self.send_connect(index);
        };
        self.connections[index].state = State::WsUpgrading;
        self.packet.clone_from(request);
        self.send_bytes(index)
    }

    fn send_packet(&mut self, index: usize) -> io::Result<()> {
        if self.plan.ws_request.is_some() {
            let packet = std::mem::take(&mut self.packet);
            ws::wrap(&packet, &mut self.packet);
        }
        self.send_bytes(index)
    }

    fn send_bytes(&mut self, index: usize) -> io::Result<()> {
        let Some(socket) = &self.connections[index].socket else {
            return Ok(());
        };
        if let Some(Some(tls)) = self.tls.get_mut(index) {
            return tls.write(&self.packet, socket);
        }
        if socket.write(&self.packet)? < self.packet.len() {
            return Err(io::Error::new(
                io::ErrorKind::WriteZero,
                "socket buffer full",
            ));
        }
        Ok(())
    }

    /// Reads until the socket is empty, since it reports only edges.
    fn read(&mut self, index: usize) {
        loop {
            let connection = &mut self.connections[index];
            let Some(socket) = &connection.socket else {
                return;
            };
            let kept = match connection.partial.take() {
                Some(partial) => {
                    let kept = partial.len().min(READ_BUFFER_BYTES / 2);
                    self.buffer[..kept].copy_from_slice(&partial[..kept]);
                    kept
                }
                None => 0,
            };
            let room = &mut self.buffer[kept..];
            let came = match self.tls.get_mut(index) {
                Some(Some(tls)) => tls.read(room, socket),
                _ => match socket.read(room) {
                    Ok(0) => Ok(Came::End),
                    Ok(count) => Ok(Came::Bytes(count)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Came::Nothing),
                    Err(error) => Err(error),
                },
            };
            let came = came.and_then(|came| self.goes_on_with_tls(index).map(|()| came));
            match came {
                Ok(Came::End) => return self.end(index, "closed by the broker"),
                Ok(Came::Bytes(count)) if self.plan.ws_request.is_some() => {
                    self.take_frames(index, kept + count);
                }
                Ok(Came::Bytes(count)) => self.take_packets(index, 0, kept + count),
                Ok(Came::Nothing) => {
                    if kept > 0 {
                        self.keep_partial(index, 0, kept);
                    }
                    return;
                }
                Err(error) => return self.end(index, &load::reason(&error)),
            }
        }
    }

    /// The answer to the request for a WebSocket, then frames with whole packets.
    fn take_frames(&mut self, index: usize, end: usize) {
        let mut start = 0;
        while start < end && self.connections[index].socket.is_some() {
            let bytes = &self.buffer[start..end];
            if self.connections[index].state == State::WsUpgrading {
                match ws::answer_len(bytes) {
                    Ok(Some(length)) => start += length,
                    Ok(None) => return self.keep_partial(index, start, end),
                    Err(reason) => return self.end(index, &reason),
                }
                if let Err(error) = self.send_connect(index) {
                    return self.end(index, &load::reason(&error));
                }
                continue;
            }
            match ws::frame(bytes) {
                Ok(Some((head, length))) => {
                    self.take_packets(index, start + head, start + length);
                    if self.connections[index].partial.take().is_some() {
                        return self.end(index, "a packet that is not in one frame");
                    }
                    start += length;
                }
                Ok(None) => return self.keep_partial(index, start, end),
                Err(reason) => return self.end(index, &reason),
            }
        }
    }

    fn take_packets(&mut self, index: usize, mut start: usize, end: usize) {
        while start < end {
            match codec::decode(&self.buffer[start..end], self.plan.version) {
                Ok(Some((packet, length))) => {
                    start += length;
                    self.on_packet(index, &packet);
                }
                Ok(None) => return self.keep_partial(index, start, end),
                Err(error) => return self.end(index, &format!("malformed packet: {error}")),
            }
        }
    }

    fn keep_partial(&mut self, index: usize, start: usize, end: usize) {
        self.connections[index].partial = Some(self.buffer[start..end].into());
    }

    fn on_packet(&mut self, index: usize, packet: &Packet) {
        match (self.connections[index].state, packet) {
            (State::AwaitingConnAck, Packet::ConnAck(ack)) if ack.code == 0 => {
                self.on_connected(index);
            }
            (State::AwaitingConnAck, Packet::ConnAck(ack)) => {
                self.end(index, &format!("refused with code 0x{:02X}", ack.code));
            }
            (State::AwaitingSubAck, Packet::SubAck(ack)) if ack.codes[0] < 0x80 => {
                let asked_us = std::mem::take(&mut self.connections[index].asked_us);
                let ns = self.since(asked_us);
                self.tally.subscribe_latency.record_ns(ns);
                self.note_latency(Kind::Subscribe, index, ns);
                self.ready(index);
            }
            (State::AwaitingSubAck, Packet::SubAck(_)) => self.end(index, "subscription refused"),
            (State::Ready, Packet::PingResp) => {
                let asked_us = std::mem::take(&mut self.connections[index].asked_us);
                if asked_us != 0 {
                    let ns = self.since(asked_us);
                    self.tally.ping_latency.record_ns(ns);
                    self.tally.pongs += 1;
                    self.note_latency(Kind::Ping, index, ns);
                }
            }
            (_, Packet::Disconnect(d)) => {
                self.end(index, &format!("DISCONNECT with code 0x{:02X}", d.code));
            }
            _ => {}
        }
    }

    fn since(&self, asked_us: u32) -> u64 {
        u64::from(low_us(self.plan.clock.now_ns()).wrapping_sub(asked_us)) * 1000
    }

    fn note_latency(&mut self, kind: Kind, index: usize, ns: u64) {
        let now_ns = self.plan.clock.now_ns();
        self.recent
            .record(kind, self.global_index(index), now_ns, ns);
    }

    fn on_connected(&mut self, index: usize) {
        let now_ns = self.plan.clock.now_ns();
        let latency_ns = self.since(self.connections[index].asked_us);
        self.note_latency(Kind::Connect, index, latency_ns);
        if self.connections[index].was_ready {
            self.tally.reconnect_latency.record_ns(latency_ns);
        } else {
            self.tally.connect_latency.record_ns(latency_ns);
        }
        if !self.plan.subscribe_own {
            self.connections[index].asked_us = 0;
            return self.ready(index);
        }
        self.packet.clear();
        let filter = format!("bench/own/{}", self.global_index(index));
        let filters = vec![(filter, SubscriptionOptions::qos(0))];
        let packet_id = SUBSCRIBE_PACKET_ID;
        let subscribe = Subscribe {
            packet_id,
            filters,
            ..Subscribe::default()
        };
        Packet::Subscribe(subscribe).encode(self.plan.version, &mut self.packet);
        self.connections[index].state = State::AwaitingSubAck;
        self.connections[index].asked_us = low_us(now_ns);
        if let Err(error) = self.send_packet(index) {
            self.end(index, &load::reason(&error));
        }
    }

    fn ready(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.state = State::Ready;
        self.in_flight -= 1;
        self.open += 1;
        let now_ns = self.plan.clock.now_ns();
        if std::mem::replace(&mut connection.was_ready, true) {
            self.tally.reconnected += 1;
            self.tally.last_reconnected_ns = now_ns;
        } else {
            self.tally.connected += 1;
            self.tally.last_connected_ns = now_ns;
        }
    }

    /// Closes a connection that failed to open or was lost.
    fn end(&mut self, index: usize, reason: &str) {
        let (number, now_ns) = (self.global_index(index), self.plan.clock.now_ns());
        let since_ns = self.since(self.connections[index].asked_us);
        let connection = &mut self.connections[index];
        let state = std::mem::replace(&mut connection.state, State::Gone);
        connection.socket = None;
        connection.partial = None;
        if let Some(tls) = self.tls.get_mut(index) {
            *tls = None;
        }
        match state {
            State::Gone => return,
            State::Ready => {
                *self.tally.disconnects.entry(reason.to_owned()).or_default() += 1;
                self.disconnected += 1;
                self.recent.fail(Kind::Ping, number, now_ns, 0, reason);
                self.open -= 1;
            }
            _ => {
                self.in_flight -= 1;
                self.recent
                    .fail(Kind::Connect, number, now_ns, since_ns, reason);
                self.failed_for_good += u64::from(self.plan.reconnect_ns.is_none());
                *self.tally.failures.entry(reason.to_owned()).or_default() += 1;
            }
        }
        if let Some(delay_ns) = self.plan.reconnect_ns {
            self.retries
                .push_back((self.plan.clock.now_ns() + delay_ns, index));
        }
    }

    fn publish_counters(&self) {
        self.counters
            .connected
            .store(self.tally.connected, Ordering::Relaxed);
        self.counters.open.store(self.open, Ordering::Relaxed);
        self.counters
            .failed
            .store(self.failed_for_good, Ordering::Relaxed);
        self.counters
            .disconnected
            .store(self.disconnected, Ordering::Relaxed);
        self.counters
            .pongs
            .store(self.tally.pongs, Ordering::Relaxed);
    }

    fn close_all(&mut self) {
        for connection in &mut self.connections {
            let Some(socket) = connection.socket.take() else {
                continue;
            };
            // A socket that cannot take 2 bytes or an option is closed all the same.
            if self.plan.abort || self.plan.tls.is_some() || self.plan.ws_request.is_some() {
                drop(socket.reset_on_close());
            } else {
                drop(socket.write(&[0xE0, 0]));
            }
        }
    }
}

/// Microseconds, wrapped to 32 bits, never 0.
#[allow(clippy::cast_possible_truncation)] // Only differences are used, modulo 2^32.
fn low_us(ns: u64) -> u32 {
    ((ns / 1000) as u32).max(1)
}
