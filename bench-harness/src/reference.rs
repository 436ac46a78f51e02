//! `reference`: no broker, but the least that can lie between a publisher and a subscriber: one thread
//! with an epoll that copies bytes from one socket to others. The same load is driven through it as
//! through a broker, so what a broker takes beyond it is the broker's own.
//!
//! It reads as much MQTT as that needs: CONNECT and SUBSCRIBE are answered, and from a connection's first
//! PUBLISH on all of its bytes go unread to those who have subscribed to that PUBLISH's topic, exactly. So
//! it is for QoS 0 with one topic a publisher.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::time::Duration;

use crate::cli::ReferenceArgs;
use crate::clock::Clock;
use crate::failure::{Context, Failure};
use crate::histogram::Times;
use crate::sys::{self, Epoll, Interest, Socket};

const PIECE_BYTES: usize = 256 * 1024;
const EVENTS: usize = 256;
const LISTENER: u64 = u64::MAX;
const FOREVER: Duration = Duration::from_secs(3600);
const DISCONNECT: [u8; 2] = [0xE0, 0];

/// One connection.
struct Peer {
    socket: Socket,
    state: State,
}

enum State {
    /// What has come of packets that are read.
    Reading { head: Vec<u8>, is_v5: bool },
    /// Its bytes go to these.
    Publishing { to: Vec<usize> },
}

struct Reference {
    epoll: Epoll,
    peers: Vec<Option<Peer>>,
    subscribers: HashMap<Vec<u8>, Vec<usize>>,
}

/// Serves until the process is ended.
///
/// # Errors
/// When it cannot listen.
#[allow(clippy::print_stdout)] // Whoever starts it waits for the line.
pub(crate) fn run(args: &ReferenceArgs) -> Result<Infallible, Failure> {
    if args.wakes > 0 {
        let times = wakes(args.wakes).context("cannot measure wakes")?;
        let [p50, p99] = [50.0, 99.0].map(|percentile| times.us_at(percentile) / 2);
        println!("wake of a thread on another CPU: p50 {p50} us, p99 {p99} us");
    }
    let listener = TcpListener::bind(&args.listen).context("cannot listen")?;
    let address = listener.local_addr().context("cannot listen")?;
    println!("listening tcp:reference {address}\nready");
    serve(&listener).context("the reference cannot go on")
}

fn serve(listener: &TcpListener) -> io::Result<Infallible> {
    listener.set_nonblocking(true)?;
    let mut reference = Reference {
        epoll: Epoll::new(EVENTS)?,
        peers: Vec::new(),
        subscribers: HashMap::new(),
    };
    let door = Socket::owned(listener.try_clone()?);
    reference.epoll.add(&door, LISTENER, Interest::Read)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        for at in 0..reference.epoll.wait(FOREVER)? {
            let token = reference.epoll.event(at).token;
            if token == LISTENER {
                reference.accept(listener)?;
            } else if let Ok(index) = usize::try_from(token) {
                reference.read(index, &mut piece);
            }
        }
    }
}

impl Reference {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let socket = Socket::owned(stream);
            let index = self.peers.len();
            self.epoll.add(&socket, index as u64, Interest::Read)?;
            let state = State::Reading {
                head: Vec::new(),
                is_v5: false,
            };
            self.peers.push(Some(Peer { socket, state }));
        }
    }

    fn read(&mut self, index: usize, piece: &mut [u8]) {
        let Some(peer) = self.peers.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        let bytes = match peer.socket.read(piece) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Ok(0) | Err(_) => return self.peers[index] = None,
            Ok(count) => &piece[..count],
        };
        match &mut peer.state {
            State::Publishing { .. } if bytes == DISCONNECT => {}
            State::Publishing { to } => {
                let to = std::mem::take(to);
                self.copy(&to, bytes);
                self.publishes(index, to);
            }
            State::Reading { head, .. } => {
                head.extend_from_slice(bytes);
                self.read_packets(index);
            }
        }
    }

    /// A peer that is gone gets nothing more.
    fn copy(&self, to: &[usize], bytes: &[u8]) {
        for peer in to.iter().filter_map(|index| self.peers[*index].as_ref()) {
            // Its end is seen when it is read from.
            let _ = write_all(&peer.socket, bytes);
        }
    }

    fn publishes(&mut self, index: usize, to: Vec<usize>) {
        if let Some(peer) = &mut self.peers[index] {
            peer.state = State::Publishing { to };
        }
    }

    fn read_packets(&mut self, index: usize) {
        loop {
            let Some(Peer { socket, state }) = &mut self.peers[index] else {
                return;
            };
            let State::Reading { head, is_v5 } = state else {
                return;
            };
            let Some((body_at, len)) = frame(head) else {
                return;
            };
            let body = &head[body_at..len];
            match head[0] >> 4 {
                1 => {
                    // Protocol name, then the level: 5 for MQTT 5.0.
                    *is_v5 = body.get(6) == Some(&5);
                    let connack: &[u8] = if *is_v5 {
                        &[0x20, 3, 0, 0, 0]
                    } else {
                        &[0x20, 2, 0, 0]
                    };
                    let _ = write_all(socket, connack);
                }
                3 => {
                    let topic = text(body).unwrap_or_default();
                    let to = self.subscribers.get(topic).cloned().unwrap_or_default();
                    let bytes = std::mem::take(head);
                    self.copy(&to, &bytes);
                    return self.publishes(index, to);
                }
                8 => {
                    let filters_at = if *is_v5 { 3 } else { 2 };
                    let topic = body.get(filters_at..).and_then(text).unwrap_or_default();
                    let entry = self.subscribers.entry(topic.to_vec()).or_default();
                    entry.push(index);
                    let id = [body.first().copied(), body.get(1).copied()]
                        .map(Option::unwrap_or_default);
                    let suback: &[u8] = if *is_v5 {
                        &[0x90, 4, id[0], id[1], 0, 0]
                    } else {
                        &[0x90, 3, id[0], id[1], 0]
                    };
                    let _ = write_all(socket, suback);
                }
                _ => {}
            }
            head.drain(..len);
        }
    }
}

/// Where the body of the first packet begins, and the packet's length; none while it is incomplete.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut body = 0;
    for at in 1..5 {
        let byte = *bytes.get(at)?;
        body |= usize::from(byte & 0x7F) << (7 * (at - 1));
        if byte & 0x80 == 0 {
            let len = at + 1 + body;
            return (bytes.len() >= len).then_some((at + 1, len));
        }
    }
    None
}

/// A string with its length before it.
fn text(bytes: &[u8]) -> Option<&[u8]> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*len)))
}

/// Writes everything, waiting for the receiver if need be.
fn write_all(socket: &Socket, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => socket.wait_writable()?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Round trips of two sleeping threads on two CPUs that wake each other by eventfds: two wakes each. A
/// pause before each lets both go to sleep.
fn wakes(rounds: u32) -> io::Result<Times> {
    let clock = Clock::start();
    let (there, back) = (sys::Wake::blocking()?, sys::Wake::blocking()?);
    let mut times = Times::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            sys::stay_on_cpu(1);
            for _ in 0..rounds {
                there.clear();
                back.notify();
            }
        });
        sys::stay_on_cpu(0);
        for _ in 0..rounds {
            std::thread::sleep(Duration::from_micros(200));
            let begun = clock.now_ns();
            there.notify();
            back.clear();
            times.record_ns(clock.now_ns() - begun);
        }
        sys::stay_on_any_cpu();
    });
    Ok(times)
}
