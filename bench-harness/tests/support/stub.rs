//! A tiny MQTT broker with a thread a connection: exact filters, `+`, `#` and `$share`, QoS 0 to 2,
//! no sessions, no retained messages, no retransmission. Right, but for loopback tests only.
#![allow(clippy::unwrap_used)] // A test's server may panic.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use bench_harness::codec::{Ack, ConnAck, Packet, Publish, SubAck, UnsubAck, Version, decode};

/// One connected client.
struct Client {
    stream: TcpStream,
    version: Version,
    next_packet_id: u16,
    filters: Vec<(String, u8)>,
}

#[derive(Default)]
struct State {
    clients: HashMap<u64, Client>,
    next_client: u64,
    next_member: usize,
}

/// Starts the broker on a free port of its own; it ends with the test's process.
pub(crate) fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let state = Arc::new(Mutex::new(State::default()));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = Arc::clone(&state);
            thread::spawn(move || serve(stream, &state));
        }
    });
    address
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    stream.set_nodelay(true).unwrap();
    let mut received = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    let (mut id, mut version) = (None, Version::V311);
    while let Ok(n) = stream.read(&mut buffer) {
        if n == 0 {
            break;
        }
        received.extend_from_slice(&buffer[..n]);
        let mut start = 0;
        let mut state = state.lock().unwrap();
        let mut outbox = HashMap::new();
        while let Some((packet, length)) = decode(&received[start..], version).unwrap() {
            start += length;
            if let Packet::Connect(connect) = &packet {
                version = connect.version;
                id = Some(state.add(stream.try_clone().unwrap(), version));
            }
            state.handle(id.unwrap(), packet, &mut outbox);
        }
        received.drain(..start);
        for (client, bytes) in outbox {
            if let Some(client) = state.clients.get_mut(&client) {
                // A client that is gone gets nothing.
                let _ = client.stream.write_all(&bytes);
            }
        }
    }
    if let Some(id) = id {
        state.lock().unwrap().clients.remove(&id);
    }
}

type Outbox = HashMap<u64, Vec<u8>>;

impl State {
    fn add(&mut self, stream: TcpStream, version: Version) -> u64 {
        self.next_client += 1;
        let client = Client {
            stream,
            version,
            next_packet_id: 1,
            filters: Vec::new(),
        };
        self.clients.insert(self.next_client, client);
        self.next_client
    }

    fn handle(&mut self, id: u64, packet: Packet, outbox: &mut Outbox) {
        let answer = match packet {
            Packet::Connect(_) => Packet::ConnAck(ConnAck::default()),
            Packet::Subscribe(s) => {
                let codes = s.filters.iter().map(|(_, options)| options.qos).collect();
                let filters = s
                    .filters
                    .into_iter()
                    .map(|(filter, options)| (filter, options.qos));
                self.clients.get_mut(&id).unwrap().filters.extend(filters);
                Packet::SubAck(SubAck {
                    packet_id: s.packet_id,
                    codes,
                    ..SubAck::default()
                })
            }
            Packet::Unsubscribe(u) => {
                let filters = &mut self.clients.get_mut(&id).unwrap().filters;
                filters.retain(|(filter, _)| !u.filters.contains(filter));
                let codes = vec![0; u.filters.len()];
                Packet::UnsubAck(UnsubAck {
                    packet_id: u.packet_id,
                    codes,
                    ..UnsubAck::default()
                })
            }
            Packet::Publish(publish) => {
                self.route(&publish, outbox);
                let packet_id = publish.packet_id.unwrap_or(0);
                let ack = Ack {
                    packet_id,
                    ..Ack::default()
                };
                match publish.qos {
                    0 => return,
                    1 => Packet::PubAck(ack),
                    _ => Packet::PubRec(ack),
                }
            }
            Packet::PubRel(ack) => Packet::PubComp(ack),
            Packet::PubRec(ack) => Packet::PubRel(ack),
            Packet::PingReq => Packet::PingResp,
            _ => return,
        };
        self.send(id, &answer, outbox);
    }

    fn send(&self, id: u64, packet: &Packet, outbox: &mut Outbox) {
        let version = self.clients[&id].version;
        packet.encode(version, outbox.entry(id).or_default());
    }

    fn route(&mut self, publish: &Publish, outbox: &mut Outbox) {
        let mut members = Vec::new();
        let mut receivers = Vec::new();
        for (id, client) in &self.clients {
            let qos = |shared: bool| {
                let filters = client
                    .filters
                    .iter()
                    .filter(|f| f.0.starts_with("$share/") == shared);
                filters
                    .filter(|f| matches(strip_group(&f.0), &publish.topic))
                    .map(|f| f.1)
                    .max()
            };
            receivers.extend(qos(false).map(|qos| (*id, qos)));
            members.extend(qos(true).map(|qos| (*id, qos)));
        }
        if !members.is_empty() {
            members.sort_unstable();
            self.next_member += 1;
            receivers.push(members[self.next_member % members.len()]);
        }
        for (id, qos) in receivers {
            let client = self.clients.get_mut(&id).unwrap();
            let mut copy = publish.clone();
            copy.qos = qos.min(publish.qos);
            copy.packet_id = (copy.qos > 0).then(|| {
                let id = client.next_packet_id;
                client.next_packet_id = id.checked_add(1).unwrap_or(1);
                id
            });
            self.send(id, &Packet::Publish(copy), outbox);
        }
    }
}

fn strip_group(filter: &str) -> &str {
    filter
        .strip_prefix("$share/")
        .and_then(|f| f.split_once('/'))
        .map_or(filter, |(_, f)| f)
}

fn matches(filter: &str, topic: &str) -> bool {
    let mut topic = topic.split('/');
    for level in filter.split('/') {
        match (level, topic.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            _ => return false,
        }
    }
    topic.next().is_none()
}
