//! A blocking client for black-box tests: it sends exactly what it is told, well-formed or not, and
//! decodes strictly what comes back.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::codec::{
    self, Ack, ConnAck, Connect, Disconnect, Malformed, Packet, Publish, Subscribe,
    SubscriptionOptions, Version,
};

/// How a [`Client`] connects.
#[derive(Clone, Debug)]
pub struct Options {
    /// The CONNECT to send.
    pub connect: Connect,
    /// How long each step may take.
    pub timeout: Duration,
}

impl Options {
    /// A clean connection of `version`, five seconds for each step.
    #[must_use]
    pub fn new(version: Version, client_id: &str) -> Self {
        Self {
            connect: Connect::new(version, client_id),
            timeout: Duration::from_secs(5),
        }
    }
}

/// Why a step of a script did not go as written.
#[derive(Debug)]
pub enum Error {
    /// The socket failed.
    Io(io::Error),
    /// The server sent what the specification forbids.
    Malformed(Malformed),
    /// Nothing (complete) came in time.
    Timeout,
    /// The server closed the connection.
    Closed,
    /// Another packet came than the script wants.
    Unexpected(Box<Packet>),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Malformed(error) => write!(f, "malformed packet from the server: {error}"),
            Self::Timeout => f.write_str("nothing came in time"),
            Self::Closed => f.write_str("the server closed the connection"),
            Self::Unexpected(packet) => write!(f, "unexpected packet {packet:?}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// One connection to a server.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    version: Version,
    received: Vec<u8>,
    timeout: Duration,
    /// The CONNACK that opened the connection; the default one after [`Client::open`].
    pub connack: ConnAck,
    next_packet_id: u16,
}

impl Client {
    /// Opens a TCP connection and sends nothing.
    ///
    /// # Errors
    /// The connect's error.
    pub fn open(address: SocketAddr, version: Version) -> Result<Self, Error> {
        let timeout = Duration::from_secs(5);
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(timeout))?;
        let connack = ConnAck::default();
        Ok(Self {
            stream,
            version,
            received: Vec::new(),
            timeout,
            connack,
            next_packet_id: 1,
        })
    }

    /// Opens, sends the CONNECT of `options` and waits for a CONNACK with code 0.
    ///
    /// # Errors
    /// What went wrong; a refusing CONNACK is [`Error::Unexpected`].
    pub fn connect(address: SocketAddr, options: &Options) -> Result<Self, Error> {
        let mut client = Self::open(address, options.connect.version)?;
        client.timeout = options.timeout;
        client.send(&Packet::Connect(options.connect.clone()))?;
        match client.expect(options.timeout)? {
            Packet::ConnAck(connack) if connack.code == 0 => client.connack = connack,
            other => return Err(Error::Unexpected(Box::new(other))),
        }
        Ok(client)
    }

    /// Sends any bytes.
    ///
    /// # Errors
    /// The socket's error.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<(), Error> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Sends a packet as it is.
    ///
    /// # Errors
    /// The socket's error.
    pub fn send(&mut self, packet: &Packet) -> Result<(), Error> {
        self.send_raw(&packet.to_bytes(self.version))
    }

    /// The next packet, whatever it is.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn expect(&mut self, timeout: Duration) -> Result<Packet, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            let decoded = codec::decode(&self.received, self.version).map_err(Error::Malformed)?;
            if let Some((packet, length)) = decoded {
                self.received.drain(..length);
                return Ok(packet);
            }
            self.read_more(deadline)?;
        }
    }

    /// Whether the next packet is there already, so that [`expect`](Self::expect) will not read from the
    /// socket.
    #[must_use]
    pub fn has_packet(&self) -> bool {
        let mut length = 0_usize;
        for (index, byte) in self.received.iter().skip(1).take(4).enumerate() {
            length |= usize::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return self.received.len() >= 2 + index + length;
            }
        }
        false
    }

    fn read_more(&mut self, deadline: Instant) -> Result<(), Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout);
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(Error::Closed),
            Ok(n) => {
                self.received.extend_from_slice(&buffer[..n]);
                Ok(())
            }
            // A signal, or a machine that was stopped for a moment: the caller looks again.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Succeeds when nothing comes for `duration`.
    ///
    /// # Errors
    /// What came, or how the connection ended.
    pub fn expect_nothing(&mut self, duration: Duration) -> Result<(), Error> {
        match self.expect(duration) {
            Err(Error::Timeout) => Ok(()),
            Err(error) => Err(error),
            Ok(packet) => Err(Error::Unexpected(Box::new(packet))),
        }
    }

    /// Succeeds when the server closes, after a DISCONNECT or without one, which is returned.
    ///
    /// # Errors
    /// Any other packet, or [`Error::Timeout`] while the connection stays open.
    pub fn expect_closed(&mut self, timeout: Duration) -> Result<Option<Disconnect>, Error> {
        let mut farewell = None;
        loop {
            match self.expect(timeout) {
                Err(Error::Closed) => return Ok(farewell),
                Ok(Packet::Disconnect(disconnect)) => farewell = Some(disconnect),
                Ok(packet) => return Err(Error::Unexpected(Box::new(packet))),
                Err(error) => return Err(error),
            }
        }
    }

    /// The next packet, which has to be a PUBLISH; it is not acknowledged.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn expect_publish(&mut self) -> Result<Publish, Error> {
        match self.expect(self.timeout)? {
            Packet::Publish(publish) => Ok(publish),
            other => Err(Error::Unexpected(Box::new(other))),
        }
    }

    /// Subscribes to one filter and returns the SUBACK's code.
    ///
    /// # Errors
    /// See [`Error`]; a PUBLISH before the SUBACK is unexpected here.
    pub fn subscribe(&mut self, filter: &str, qos: u8) -> Result<u8, Error> {
        let packet_id = self.packet_id();
        let filters = vec![(filter.to_owned(), SubscriptionOptions::qos(qos))];
        self.send(&Packet::Subscribe(Subscribe {
            packet_id,
            filters,
            ..Subscribe::default()
        }))?;
        match self.expect(self.timeout)? {
            Packet::SubAck(ack) if ack.packet_id == packet_id && ack.codes.len() == 1 => {
                Ok(ack.codes[0])
            }
            other => Err(Error::Unexpected(Box::new(other))),
        }
    }

    /// Publishes and, at QoS 1 and 2, carries the acknowledgements to their end.
    ///
    /// # Errors
    /// See [`Error`]; any other packet in between is unexpected here.
    pub fn publish(&mut self, topic: &str, qos: u8, payload: &[u8]) -> Result<(), Error> {
        let packet_id = (qos > 0).then(|| self.packet_id());
        let (topic, payload) = (topic.to_owned(), payload.to_vec());
        let publish = Publish {
            qos,
            topic,
            packet_id,
            payload,
            ..Publish::default()
        };
        self.send(&Packet::Publish(publish))?;
        let Some(id) = packet_id else { return Ok(()) };
        match self.expect(self.timeout)? {
            Packet::PubAck(ack) if qos == 1 && ack.packet_id == id => return Ok(()),
            Packet::PubRec(ack) if qos == 2 && ack.packet_id == id => {}
            other => return Err(Error::Unexpected(Box::new(other))),
        }
        self.send(&Packet::PubRel(Ack {
            packet_id: id,
            ..Ack::default()
        }))?;
        match self.expect(self.timeout)? {
            Packet::PubComp(ack) if ack.packet_id == id => Ok(()),
            other => Err(Error::Unexpected(Box::new(other))),
        }
    }

    /// A packet identifier this client has not used lately.
    pub fn packet_id(&mut self) -> u16 {
        let id = self.next_packet_id;
        self.next_packet_id = id.checked_add(1).unwrap_or(1);
        id
    }

    /// Ends the sending side; the server reads an end of stream.
    ///
    /// # Errors
    /// The socket's error.
    pub fn shut_down_writing(&mut self) -> Result<(), Error> {
        Ok(self.stream.shutdown(Shutdown::Write)?)
    }

    /// The socket itself, for what a script cannot say.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }
}
