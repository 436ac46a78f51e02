//! Before the run: connections are opened at a rate, then subscribe; all have to succeed.

use super::plan::Part;
use super::worker::{Connection, Role, State, Worker};
use crate::codec::{self, ConnAck, Packet, Property, Subscribe, SubscriptionOptions};
use crate::load;
use crate::sys::{Interest, Socket};
use crate::wire::Frame;
use std::sync::atomic::Ordering;

/// Filters in one SUBSCRIBE.
const FILTERS_PER_PACKET: usize = 100;
const OPENS_PER_TURN: usize = 64;

/// Opens the connections that are due, and notices when it takes too long.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A time in ns is positive.
pub(super) fn open_due(worker: &mut Worker<'_>) {
    let plan = worker.plan;
    let now_ns = plan.clock.now_ns();
    let interval_ns = plan.connect_interval_ns * plan.workers as f64;
    let due_ns = |n: usize| worker.setup_start_ns + (n as f64 * interval_ns) as u64;
    let last_ns = due_ns(worker.connections.len()).saturating_add(plan.connect_timeout_ns);
    if now_ns > last_ns && worker.ready < worker.connections.len() {
        let ready = worker.ready;
        let text = format!(
            "only {ready} of {} connections were set up",
            worker.connections.len()
        );
        drop(worker.shared.setup_error.set(text));
    }
    let mut due = worker.setup_next;
    while due < worker.connections.len()
        && due < worker.setup_next + OPENS_PER_TURN
        && due_ns(due) <= now_ns
    {
        due += 1;
    }
    for index in worker.setup_next..due {
        open(worker, index);
    }
    worker.setup_next = due;
}

fn open(worker: &mut Worker<'_>, index: usize) {
    let source = worker
        .plan
        .sources
        .address(index * worker.plan.workers + worker.number);
    let socket = Socket::connect(&worker.plan.target, source).and_then(|socket| {
        worker
            .epoll
            .add(&socket, index as u64, Interest::ReadWrite)?;
        Ok(socket)
    });
    worker.connections[index].state = State::TcpConnecting;
    match socket {
        Ok(socket) => worker.connections[index].socket = Some(socket),
        Err(error) => worker.lose(index, &load::reason(&error)),
    }
}

/// TCP is there (or not): CONNECT.
pub(super) fn on_tcp_connected(worker: &mut Worker<'_>, index: usize) {
    let connection = &mut worker.connections[index];
    let Some(socket) = &connection.socket else {
        return;
    };
    let result = socket
        .pending_error()
        .and_then(|()| worker.epoll.modify(socket, index as u64, Interest::Read));
    if let Err(error) = result {
        return worker.lose(index, &load::reason(&error));
    }
    connection.state = State::AwaitingConnAck;
    let packet = worker.plan.connect_packet(connection.part);
    packet.encode(worker.plan.version, &mut connection.out);
    worker.mark_dirty(index);
}

/// CONNACK and SUBACK.
pub(super) fn on_frame(worker: &mut Worker<'_>, index: usize, frame: &Frame<'_>) {
    let mut bytes = vec![frame.first];
    codec::put_varint(&mut bytes, frame.body.len());
    bytes.extend_from_slice(frame.body);
    let packet = match codec::decode(&bytes, worker.plan.version) {
        Ok(Some((packet, _))) => packet,
        Ok(None) => return,
        Err(error) => return worker.lose(index, &error.to_string()),
    };
    match (worker.connections[index].state, packet) {
        (State::AwaitingConnAck, Packet::ConnAck(ack)) if ack.code == 0 => {
            on_connected(worker, index, &ack);
        }
        (State::AwaitingConnAck, Packet::ConnAck(ack)) => {
            worker.lose(index, &format!("refused with code 0x{:02X}", ack.code));
        }
        (State::Subscribing(left), Packet::SubAck(ack)) => {
            if let Some(code) = ack.codes.iter().find(|code| **code >= 0x80) {
                return worker.lose(index, &format!("subscription refused with 0x{code:02X}"));
            }
            match left.saturating_sub(ack.codes.len()) {
                0 => ready(worker, index),
                left => worker.connections[index].state = State::Subscribing(left),
            }
        }
        (State::Gone, _) => {}
        (_, packet) => worker.lose(index, &format!("unexpected packet {}", packet.kind())),
    }
}

fn on_connected(worker: &mut Worker<'_>, index: usize, ack: &ConnAck) {
    let maximum = ack.properties.find(|p| match p {
        Property::ReceiveMaximum(maximum) => Some(*maximum),
        _ => None,
    });
    let qos_max = ack.properties.find(|p| match p {
        Property::MaximumQos(qos) => Some(*qos),
        _ => None,
    });
    let connection = &mut worker.connections[index];
    if let (Role::Publisher(publisher), Some(maximum)) = (&mut connection.role, maximum) {
        publisher.limit_in_flight(maximum);
    }
    if matches!(connection.role, Role::Publisher(_)) && worker.plan.qos > qos_max.unwrap_or(2) {
        return worker.lose(index, "the broker's maximum QoS is too low");
    }
    let subscriber = match connection.part {
        Part::Subscriber(n) => n,
        Part::SlowSubscriber(n) => n % worker.plan.subscribers,
        Part::Publisher(_) | Part::Churner(_) => return ready(worker, index),
    };
    subscribe(worker, index, subscriber);
}

fn subscribe(worker: &mut Worker<'_>, index: usize, subscriber: usize) {
    let options = SubscriptionOptions::qos(worker.plan.sub_qos);
    let filters = worker.plan.filters(subscriber);
    let connection: &mut Connection = &mut worker.connections[index];
    connection.state = State::Subscribing(filters.len());
    for (n, filters) in filters.chunks(FILTERS_PER_PACKET).enumerate() {
        let packet_id = u16::try_from(n + 1).unwrap_or(u16::MAX);
        let filters = filters
            .iter()
            .map(|filter| (filter.clone(), options))
            .collect();
        let subscribe = Subscribe {
            packet_id,
            filters,
            ..Subscribe::default()
        };
        Packet::Subscribe(subscribe).encode(worker.plan.version, &mut connection.out);
    }
    worker.mark_dirty(index);
}

fn ready(worker: &mut Worker<'_>, index: usize) {
    let connection = &mut worker.connections[index];
    connection.state = State::Ready;
    let does_not_read = match connection.role {
        Role::Slow => true,
        Role::Subscriber(_) => worker.plan.pause_ns > 0,
        Role::Publisher(_) | Role::Churner(_) => false,
    };
    if let (true, Some(socket)) = (does_not_read, &connection.socket)
        && let Err(error) = worker.epoll.modify(socket, index as u64, Interest::Nothing)
    {
        return worker.lose(index, &load::reason(&error));
    }
    worker.ready += 1;
    let ready = worker.ready as u64;
    worker.shared.workers[worker.number]
        .ready
        .store(ready, Ordering::Release);
}
