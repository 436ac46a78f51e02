//! One thread's share of a message run: its connections in one epoll.
//!
//! A turn: wait; read what is readable, judge deliveries, collect answers; tell publishers how far
//! their receivers are; let publishers append what is due or what the window allows; write each
//! connection that has something once.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::judge::{Judge, Subscriber};
use super::plan::{Part, Plan, Schedule};
use super::publisher::{Acked, OUT_BYTES_MAX, Publisher};
use super::setup;
use super::{Phase, Shared, Tally};
use crate::codec::{Packet, Publish, Subscribe, SubscriptionOptions, Unsubscribe};
use crate::load::{self, EVENTS_PER_WAIT, WAKE_TOKEN};
use crate::sys::{self, Epoll, Interest, Socket};
use crate::wire::{self, Frame, Front};

/// A worker looks at the phase at least this often.
const WAIT_MAX: Duration = Duration::from_millis(20);
/// Bytes read from one connection a turn.
const READ_BUFFER_BYTES: usize = 256 * 1024;
/// Messages of an open schedule handled in one turn at most, so that answers are read in between.
const DUE_PER_TURN: usize = 1024;
const STALL_CHECK_NS: u64 = 100_000_000;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Unborn,
    TcpConnecting,
    AwaitingConnAck,
    /// Filters whose SUBACK is outstanding.
    Subscribing(usize),
    Ready,
    Gone,
}

pub(super) enum Role {
    Publisher(Box<Publisher>),
    Subscriber(Box<Subscriber>),
    Slow,
    Churner(Box<Churner>),
}

/// A client that subscribes and unsubscribes on a schedule of its own.
#[derive(Default)]
pub(super) struct Churner {
    operations: u64,
    /// Packet identifier and due time of what is not answered yet, in order.
    unanswered: VecDeque<(u16, u64)>,
}

pub(super) struct Connection {
    pub(super) part: Part,
    pub(super) role: Role,
    pub(super) state: State,
    pub(super) socket: Option<Socket>,
    /// Bytes to be written.
    pub(super) out: Vec<u8>,
    /// The beginning of a packet that is not complete yet.
    partial: Vec<u8>,
    is_dirty: bool,
    /// The socket's buffer is full.
    is_blocked: bool,
    /// Epoll reports when it can be written to.
    watches_writing: bool,
    is_queued: bool,
}

impl Connection {
    fn new(plan: &Plan, part: Part) -> Self {
        let role = match part {
            Part::Publisher(n) => Role::Publisher(Box::new(Publisher::new(plan, n))),
            Part::Subscriber(n) => Role::Subscriber(Box::new(Subscriber::new(plan, n))),
            Part::SlowSubscriber(_) => Role::Slow,
            Part::Churner(_) => Role::Churner(Box::default()),
        };
        Self {
            part,
            role,
            state: State::Unborn,
            socket: None,
            out: Vec::new(),
            partial: Vec::new(),
            is_dirty: false,
            is_blocked: false,
            watches_writing: false,
            is_queued: false,
        }
    }
}

pub(super) struct Worker<'a> {
    pub(super) plan: &'a Plan,
    pub(super) shared: &'a Shared,
    pub(super) number: usize,
    pub(super) epoll: Epoll,
    pub(super) connections: Vec<Connection>,
    /// Connections of the publishers, by publisher; `usize::MAX` for another worker's.
    publisher_at: Vec<usize>,
    /// This worker's publishers and churners, as connection indices.
    publishers: Vec<usize>,
    churners: Vec<usize>,
    judge: Judge<'a>,
    pub(super) tally: Tally,
    buffer: Vec<u8>,
    dirty: Vec<usize>,
    /// Publishers that may have something to send.
    queue: Vec<usize>,
    woken_workers: Vec<bool>,
    /// Turn and place of the next message of an open schedule.
    next_due: (u64, usize),
    churn_next: u64,
    stall_check_ns: u64,
    publishers_done: u64,
    is_paused: bool,
    pub(super) setup_next: usize,
    pub(super) setup_start_ns: u64,
    pub(super) ready: usize,
}

impl<'a> Worker<'a> {
    pub(super) fn new(plan: &'a Plan, shared: &'a Shared, number: usize) -> io::Result<Self> {
        sys::private_descriptor_table()?;
        let epoll = Epoll::new(EVENTS_PER_WAIT)?;
        epoll.add_wake(&shared.workers[number].wake, WAKE_TOKEN)?;
        let parts = plan.parts_of(number);
        let connections: Vec<_> = parts.iter().map(|p| Connection::new(plan, *p)).collect();
        let mut publisher_at = vec![usize::MAX; plan.publishers];
        let (mut publishers, mut churners) = (Vec::new(), Vec::new());
        for (index, part) in parts.iter().enumerate() {
            match part {
                Part::Publisher(n) => {
                    publisher_at[*n] = index;
                    publishers.push(index);
                }
                Part::Churner(_) => churners.push(index),
                Part::Subscriber(_) | Part::SlowSubscriber(_) => {}
            }
        }
        Ok(Self {
            plan,
            shared,
            number,
            epoll,
            connections,
            publisher_at,
            publishers,
            churners,
            judge: Judge::new(plan, &parts, shared.intervals.part()),
            tally: Tally::new(),
            buffer: vec![0; READ_BUFFER_BYTES],
            dirty: Vec::new(),
            queue: Vec::new(),
            woken_workers: vec![false; plan.workers],
            next_due: (0, 0),
            churn_next: 0,
            stall_check_ns: 0,
            publishers_done: 0,
            is_paused: plan.pause_ns > 0,
            setup_next: 0,
            setup_start_ns: plan.clock.now_ns(),
            ready: 0,
        })
    }

    pub(super) fn run(mut self) -> io::Result<Tally> {
        while self.shared.phase() == Phase::Setup {
            setup::open_due(&mut self);
            self.flush_dirty()?;
            self.wait_and_handle(Duration::from_millis(1))?;
        }
        self.judge.advance_all();
        self.spread_advances();
        self.queue_publishers();
        while self.shared.phase() == Phase::Run {
            let now_ns = self.plan.clock.now_ns();
            if now_ns >= self.shared.start_ns() {
                self.schedule_due(now_ns);
                self.churn_due(now_ns);
                self.forgive_stalls(now_ns);
                self.resume_reading(now_ns)?;
                self.pump_queue(now_ns);
            }
            self.flush_dirty()?;
            self.publish_counters();
            self.judge.recent.hand_in(&self.shared.intervals);
            let timeout = if self.queue.is_empty() {
                self.plan.clock.until(self.next_due_ns(), WAIT_MAX)
            } else {
                Duration::ZERO
            };
            self.wait_and_handle(timeout)?;
            self.spread_advances();
        }
        self.publish_counters();
        self.judge.recent.hand_in_now(&self.shared.intervals);
        self.wind_up()
    }

    fn wait_and_handle(&mut self, timeout: Duration) -> io::Result<()> {
        let ready = self.epoll.wait(timeout)?;
        for index in 0..ready {
            let event = self.epoll.event(index);
            if event.token == WAKE_TOKEN {
                self.shared.workers[self.number].wake.clear();
                self.queue_publishers();
                continue;
            }
            let index = usize::try_from(event.token).unwrap_or(usize::MAX);
            if index >= self.connections.len() {
                continue;
            }
            if event.writable {
                self.on_writable(index);
            }
            if event.readable {
                self.on_readable(index);
            }
        }
        Ok(())
    }

    fn on_writable(&mut self, index: usize) {
        if self.connections[index].state == State::TcpConnecting {
            return setup::on_tcp_connected(self, index);
        }
        self.connections[index].is_blocked = false;
        self.mark_dirty(index);
        self.enqueue(index);
    }

    fn on_readable(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if matches!(
            (&connection.role, connection.state),
            (Role::Slow, State::Ready)
        ) {
            // It does not read; what is reported is the end of the connection.
            return self.lose(index, "slow subscriber cut off");
        }
        let Some(socket) = &connection.socket else {
            return;
        };
        let kept = connection.partial.len();
        self.buffer[..kept].copy_from_slice(&connection.partial);
        connection.partial.clear();
        match socket.read(&mut self.buffer[kept..]) {
            Ok(0) => self.lose(index, "closed by the broker"),
            Ok(n) => self.take_frames(index, kept + n),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.connections[index]
                    .partial
                    .extend_from_slice(&self.buffer[..kept]);
            }
            Err(error) => self.lose(index, &load::reason(&error)),
        }
    }

    fn take_frames(&mut self, index: usize, end: usize) {
        let now_ns = self.plan.clock.now_ns();
        // The buffer is lent to the frames, so that nothing is copied.
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut start = 0;
        let mut wanted = 0;
        while start < end {
            match wire::front(&buffer[start..end]) {
                Front::Frame(frame) => {
                    start += frame.length;
                    self.on_frame(index, &frame, now_ns);
                }
                Front::Incomplete(length) => {
                    wanted = length.unwrap_or(0);
                    break;
                }
                Front::Malformed => {
                    self.lose(index, "malformed packet from the broker");
                    start = end;
                }
            }
        }
        self.connections[index]
            .partial
            .extend_from_slice(&buffer[start..end]);
        if wanted + READ_BUFFER_BYTES > buffer.len() && wanted > READ_BUFFER_BYTES / 2 {
            buffer.resize(wanted + READ_BUFFER_BYTES, 0);
        }
        self.buffer = buffer;
        if !self.connections[index].out.is_empty() {
            self.mark_dirty(index);
        }
    }

    #[inline]
    fn on_frame(&mut self, index: usize, frame: &Frame<'_>, now_ns: u64) {
        let connection = &mut self.connections[index];
        if connection.state != State::Ready && frame.first >> 4 != 3 {
            return setup::on_frame(self, index, frame);
        }
        match frame.first >> 4 {
            3 => self.on_publish(index, frame, now_ns),
            4 | 5 | 7 => self.on_ack(index, frame),
            6 => {
                if let Some((id, _)) = wire::ack_view(frame) {
                    put_ack(&mut connection.out, 0x70, id);
                }
            }
            9 | 11 => self.on_churn_ack(index, frame, now_ns),
            13 => {}
            14 => {
                let code = frame.body.first().copied().unwrap_or(0);
                self.lose(index, &format!("DISCONNECT with code 0x{code:02X}"));
            }
            _ => self.judge.faults.protocol_errors += 1,
        }
    }

    #[inline]
    fn on_publish(&mut self, index: usize, frame: &Frame<'_>, now_ns: u64) {
        let connection = &mut self.connections[index];
        let Some(view) = wire::publish_view(frame, self.plan.version) else {
            self.judge.faults.protocol_errors += 1;
            return;
        };
        match &mut connection.role {
            Role::Subscriber(subscriber) => self.judge.deliver(subscriber, &view, now_ns),
            Role::Churner(_) => self.judge.deliver_to_churner(&view, now_ns),
            Role::Slow => {}
            Role::Publisher(_) => self.judge.faults.misdelivered += 1,
        }
        match view.qos {
            1 => put_ack(&mut connection.out, 0x40, view.packet_id),
            2 => put_ack(&mut connection.out, 0x50, view.packet_id),
            _ => {}
        }
    }

    #[inline]
    fn on_ack(&mut self, index: usize, frame: &Frame<'_>) {
        let connection = &mut self.connections[index];
        let Role::Publisher(publisher) = &mut connection.role else {
            self.judge.faults.protocol_errors += 1;
            return;
        };
        match publisher.on_ack(frame, &mut connection.out) {
            Acked::Halfway => return,
            Acked::Done => {}
            Acked::Refused => self.tally.refused_publishes += 1,
            Acked::Unexpected => return self.judge.faults.protocol_errors += 1,
        }
        self.tally.acked += 1;
        self.publishers_done += u64::from(publisher.becomes_done());
        self.enqueue(index);
    }

    fn on_churn_ack(&mut self, index: usize, frame: &Frame<'_>, now_ns: u64) {
        let Role::Churner(churner) = &mut self.connections[index].role else {
            self.judge.faults.protocol_errors += 1;
            return;
        };
        let id = wire::ack_view(frame).map_or(0, |(id, _)| id);
        match churner.unanswered.pop_front() {
            Some((expected, due_ns)) if expected == id => {
                self.tally
                    .churn_latency
                    .record_ns(now_ns.saturating_sub(due_ns));
            }
            _ => self.judge.faults.protocol_errors += 1,
        }
    }

    // What is due.

    /// Puts a publisher on the list of those that may have something to send.
    fn enqueue(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if matches!(connection.role, Role::Publisher(_)) && !connection.is_queued {
            connection.is_queued = true;
            self.queue.push(index);
        }
    }

    fn queue_publishers(&mut self) {
        for n in 0..self.publishers.len() {
            self.enqueue(self.publishers[n]);
        }
    }

    fn schedule_due(&mut self, now_ns: u64) {
        let Schedule::Open { interval_ns } = self.plan.schedule else {
            return;
        };
        if self.publishers.is_empty() {
            return;
        }
        for _ in 0..DUE_PER_TURN {
            let (sequence, place) = self.next_due;
            let index = self.publishers[place];
            let Role::Publisher(publisher) = &mut self.connections[index].role else {
                return;
            };
            let due_ns =
                self.shared.start_ns() + self.plan.due_ns(interval_ns, publisher.index, sequence);
            if due_ns > now_ns || sequence >= self.plan.messages {
                return;
            }
            publisher.due = sequence + 1;
            self.tally.lag.record_ns(now_ns - due_ns);
            let is_last = place + 1 == self.publishers.len();
            self.next_due = if is_last {
                (sequence + 1, 0)
            } else {
                (sequence, place + 1)
            };
            self.enqueue(index);
        }
    }

    fn next_due_ns(&self) -> u64 {
        let start_ns = self.shared.start_ns();
        if self.plan.clock.now_ns() < start_ns {
            return start_ns;
        }
        let mut due_ns = u64::MAX;
        if let (Schedule::Open { interval_ns }, Some(&index)) =
            (self.plan.schedule, self.publishers.get(self.next_due.1))
            && self.next_due.0 < self.plan.messages
            && let Part::Publisher(n) = self.connections[index].part
        {
            due_ns = start_ns + self.plan.due_ns(interval_ns, n, self.next_due.0);
        }
        if !self.churners.is_empty() {
            due_ns = due_ns.min(self.churn_due_ns());
        }
        due_ns
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A time in ns is positive.
    fn churn_due_ns(&self) -> u64 {
        let share = self.plan.churners as f64 / self.churners.len() as f64;
        let interval_ns = self.plan.churn_interval_ns * share;
        self.shared.start_ns() + (self.churn_next as f64 * interval_ns) as u64
    }

    fn churn_due(&mut self, now_ns: u64) {
        if self.churners.is_empty() || self.shared.publishing_is_over() {
            return;
        }
        for _ in 0..DUE_PER_TURN {
            let due_ns = self.churn_due_ns();
            if due_ns > now_ns {
                return;
            }
            self.tally.lag.record_ns(now_ns - due_ns);
            let place = usize::try_from(self.churn_next).unwrap_or(0) % self.churners.len();
            self.churn_next += 1;
            self.churn(self.churners[place], due_ns);
        }
    }

    /// Subscribes to the next filter, or unsubscribes from it again.
    fn churn(&mut self, index: usize, due_ns: u64) {
        let connection = &mut self.connections[index];
        let (Role::Churner(churner), State::Ready) = (&mut connection.role, connection.state)
        else {
            return;
        };
        let packet_id = u16::try_from(churner.operations % 65_535).unwrap_or(0) + 1;
        let filter = self.plan.churn_filter(churner.operations / 2);
        let packet = if churner.operations % 2 == 0 {
            let filters = vec![(filter, SubscriptionOptions::qos(self.plan.sub_qos))];
            Packet::Subscribe(Subscribe {
                packet_id,
                filters,
                ..Subscribe::default()
            })
        } else {
            let filters = vec![filter];
            Packet::Unsubscribe(Unsubscribe {
                packet_id,
                filters,
                ..Unsubscribe::default()
            })
        };
        churner.operations += 1;
        churner.unanswered.push_back((packet_id, due_ns));
        packet.encode(self.plan.version, &mut connection.out);
        self.tally.churn_operations += 1;
        self.mark_dirty(index);
    }

    /// Ends the subscribers' pause, if there is one.
    fn resume_reading(&mut self, now_ns: u64) -> io::Result<()> {
        if !self.is_paused || now_ns < self.shared.start_ns() + self.plan.pause_ns {
            return Ok(());
        }
        self.is_paused = false;
        for (index, connection) in self.connections.iter().enumerate() {
            if let (Role::Subscriber(_), Some(socket)) = (&connection.role, &connection.socket) {
                self.epoll.modify(socket, index as u64, Interest::Read)?;
            }
        }
        Ok(())
    }

    /// Opens windows again that nothing moves: what they wait for is lost.
    fn forgive_stalls(&mut self, now_ns: u64) {
        if !matches!(self.plan.schedule, Schedule::Closed { .. })
            || now_ns < self.stall_check_ns + STALL_CHECK_NS
        {
            return;
        }
        self.stall_check_ns = now_ns;
        for n in 0..self.publishers.len() {
            let index = self.publishers[n];
            if now_ns.saturating_sub(self.shared.start_ns()) >= self.plan.duration_ns {
                self.enqueue(index);
            }
            let Role::Publisher(publisher) = &mut self.connections[index].role else {
                continue;
            };
            let seen = self.shared.seen(publisher.index);
            let outstanding = publisher.outstanding(seen);
            if seen != publisher.last_seen || outstanding == 0 || publisher.finished {
                publisher.last_seen = seen;
                publisher.last_seen_ns = now_ns;
            } else if now_ns - publisher.last_seen_ns.max(self.shared.start_ns())
                > self.plan.stall_ns
            {
                publisher.forgiven = publisher.sent;
                publisher.last_seen_ns = now_ns;
                self.tally.window_stalls += 1;
                self.enqueue(index);
            }
        }
    }

    /// Lets every queued publisher append what it may; one that filled its buffer comes again.
    fn pump_queue(&mut self, now_ns: u64) {
        let start_ns = self.shared.start_ns();
        for n in 0..self.queue.len() {
            let index = self.queue[n];
            let connection = &mut self.connections[index];
            connection.is_queued = false;
            if connection.is_blocked || connection.state != State::Ready {
                continue;
            }
            let Role::Publisher(publisher) = &mut connection.role else {
                continue;
            };
            let seen = self.shared.seen(publisher.index);
            let count = publisher.pump(self.plan, start_ns, now_ns, seen, &mut connection.out);
            self.publishers_done += u64::from(publisher.becomes_done());
            if count > 0 {
                self.shared.publishers[publisher.index]
                    .sent
                    .store(publisher.sent, Ordering::Relaxed);
                self.tally.sent += count;
                self.tally.expected += count * self.plan.fan(publisher.index);
                self.mark_dirty(index);
            }
        }
        self.queue.clear();
    }

    /// Tells publishers how far their receivers are, and wakes the threads of those elsewhere.
    fn spread_advances(&mut self) {
        for n in 0..self.judge.advanced.len() {
            let publisher = self.judge.advanced[n];
            let head = self.judge.take_head(publisher);
            self.shared.publishers[publisher].heads[self.number].store(head, Ordering::Relaxed);
            if !matches!(self.plan.schedule, Schedule::Closed { .. }) {
                continue;
            }
            match self.publisher_at[publisher] {
                usize::MAX => {
                    let owner = self.plan.worker_of(Part::Publisher(publisher));
                    self.woken_workers[owner] = true;
                }
                index => self.enqueue(index),
            }
        }
        self.judge.advanced.clear();
        for (worker, is_woken) in self.woken_workers.iter_mut().enumerate() {
            if std::mem::take(is_woken) {
                self.shared.workers[worker].wake.notify();
            }
        }
    }

    // Writing.

    pub(super) fn mark_dirty(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if !connection.is_dirty && !connection.is_blocked {
            connection.is_dirty = true;
            self.dirty.push(index);
        }
    }

    fn flush_dirty(&mut self) -> io::Result<()> {
        for n in 0..self.dirty.len() {
            let index = self.dirty[n];
            self.connections[index].is_dirty = false;
            self.flush(index)?;
        }
        self.dirty.clear();
        Ok(())
    }

    fn flush(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let Some(socket) = &connection.socket else {
            return Ok(());
        };
        if connection.out.is_empty() {
            return Ok(());
        }
        match socket.write(&connection.out) {
            Ok(n) if n == connection.out.len() => {
                connection.out.clear();
                if std::mem::take(&mut connection.watches_writing) {
                    self.epoll.modify(socket, index as u64, Interest::Read)?;
                }
                if n >= OUT_BYTES_MAX {
                    self.enqueue(index);
                }
            }
            Ok(n) => self.block(index, n)?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.block(index, 0)?,
            Err(error) => self.lose(index, &load::reason(&error)),
        }
        Ok(())
    }

    /// Waits until the socket takes the rest.
    fn block(&mut self, index: usize, written: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        connection.out.drain(..written);
        connection.is_blocked = true;
        connection.watches_writing = true;
        match &connection.socket {
            Some(socket) => self.epoll.modify(socket, index as u64, Interest::ReadWrite),
            None => Ok(()),
        }
    }

    // The end.

    /// A connection is gone; what it would have got is lost, what it would have sent is not.
    pub(super) fn lose(&mut self, index: usize, reason: &str) {
        let connection = &mut self.connections[index];
        if connection.state == State::Gone {
            return;
        }
        let was_ready = connection.state == State::Ready;
        connection.state = State::Gone;
        connection.socket = None;
        connection.out.clear();
        if !was_ready {
            let text = format!("{:?} could not be set up: {reason}", connection.part);
            return drop(self.shared.setup_error.set(text));
        }
        match &mut connection.role {
            Role::Publisher(publisher) => {
                publisher.abandon();
                self.publishers_done += u64::from(publisher.becomes_done());
            }
            Role::Slow => return self.tally.slow_subscribers_cut_off += 1,
            Role::Subscriber(subscriber) => self.judge.retire(subscriber),
            Role::Churner(_) => {}
        }
        *self
            .tally
            .connections_lost
            .entry(reason.to_owned())
            .or_default() += 1;
    }

    fn publish_counters(&self) {
        let counters = &self.shared.workers[self.number];
        counters.sent.store(self.tally.sent, Ordering::Relaxed);
        counters
            .expected
            .store(self.tally.expected, Ordering::Relaxed);
        counters.acked.store(self.tally.acked, Ordering::Relaxed);
        counters
            .deliveries
            .store(self.judge.deliveries, Ordering::Relaxed);
        counters
            .arrived
            .store(self.judge.arrived, Ordering::Relaxed);
        counters
            .publishers_done
            .store(self.publishers_done, Ordering::Release);
    }

    fn wind_up(mut self) -> io::Result<Tally> {
        if self.plan.retain {
            self.clear_retained();
            self.flush_dirty()?;
        }
        let shared = self.shared;
        let sent = |publisher: usize| shared.publishers[publisher].sent.load(Ordering::Relaxed);
        if self.number == 0 {
            self.judge.close_group(sent);
        }
        for connection in &self.connections {
            if let Role::Subscriber(subscriber) = &connection.role {
                self.judge.close(subscriber, sent);
            }
            if let Some(socket) = &connection.socket {
                // A socket that cannot take 2 bytes is closed all the same.
                drop(socket.write(&[0xE0, 0]));
            }
        }
        self.tally.faults = self.judge.faults;
        self.tally.latency = self.judge.latency;
        self.tally.deliveries = self.judge.deliveries;
        self.tally.arrived = self.judge.arrived;
        self.tally.last_delivery_ns = self.judge.last_delivery_ns;
        self.tally.overlap_copies = self.judge.overlap_copies;
        self.tally.churn_deliveries = self.judge.churn_deliveries;
        Ok(self.tally)
    }

    /// An empty retained message removes the stored one [MQTT-3.3.1-6].
    fn clear_retained(&mut self) {
        for n in 0..self.publishers.len() {
            let index = self.publishers[n];
            let Role::Publisher(publisher) = &self.connections[index].role else {
                continue;
            };
            let topic = self.plan.topic(publisher.index).to_owned();
            let publish = Publish {
                retain: true,
                topic,
                ..Publish::default()
            };
            let packet = Packet::Publish(publish);
            packet.encode(self.plan.version, &mut self.connections[index].out);
            self.mark_dirty(index);
        }
    }
}

fn put_ack(out: &mut Vec<u8>, first: u8, id: u16) {
    let [high, low] = id.to_be_bytes();
    out.extend_from_slice(&[first, 2, high, low]);
}
