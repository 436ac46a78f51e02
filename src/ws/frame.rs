//! WebSocket frames as a server reads and writes them [RFC 6455, section 5].
//!
//! Nothing is collected: the payload of a data frame is handed on as it comes, so that a frame of any
//! length takes no memory here. Only the payload of a control frame (at most 125 bytes) is kept until
//! it is whole.

/// The largest payload of a control frame, in bytes.
pub const CONTROL_BYTES_MAX: usize = 125;

/// The longest head of a frame from a client: two bytes, a length of eight, a mask of four.
const HEAD_BYTES_MAX: usize = 14;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV: u8 = 0x70;
const MASKED: u8 = 0x80;

/// Why a connection is closed, as close frames say it.
pub type CloseCode = u16;
/// The purpose is fulfilled.
pub const NORMAL: CloseCode = 1000;
/// The protocol was broken.
pub const PROTOCOL_ERROR: CloseCode = 1002;
/// Data of a type that is not taken: text, where MQTT needs binary frames.
pub const UNSUPPORTED_DATA: CloseCode = 1003;
/// Text that is not UTF-8.
pub const INVALID_PAYLOAD: CloseCode = 1007;
/// More than is taken.
pub const TOO_BIG: CloseCode = 1009;

/// What kind of data a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// Bytes.
    Binary,
}

/// What came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A piece of a data message, appended to the output.
    Data {
        /// The message's kind.
        kind: Kind,
        /// Whether the message is compressed.
        compressed: bool,
        /// Whether the message ends with it.
        last: bool,
    },
    /// [`Frames::control`] is to be sent back.
    Ping,
    /// Nothing to do.
    Pong,
    /// The peer closes: its code, if it gave one. [`Frames::control`] holds code and reason.
    Close(Option<CloseCode>),
}

/// The state of a connection's incoming frames.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    /// Payload of this frame that has not come.
    left: u64,
    head: [u8; HEAD_BYTES_MAX],
    head_len: u8,
    /// Bytes of the payload so far, modulo 4: where in the mask the next byte is.
    mask_at: u8,
    /// A message of several frames has begun.
    message: Option<(Kind, bool)>,
    /// The head is whole, and its payload is awaited.
    in_payload: bool,
    /// Payload of a control frame.
    control: Vec<u8>,
}

/// What may be received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// The largest payload of one frame, in bytes.
    pub frame_bytes_max: u64,
    /// Whether messages may be compressed, as was agreed on.
    pub compression: bool,
}

impl Frames {
    /// The payload of the control frame that the last event was about.
    pub fn control(&self) -> &[u8] {
        &self.control
    }

    /// Memory in bytes beyond its own size.
    pub fn held_bytes(&self) -> usize {
        self.control.capacity()
    }

    /// Takes bytes from the front of `wire` until something has come; none when more are needed.
    /// Payload is appended to `out`, unmasked.
    ///
    /// # Errors
    /// The code to close with.
    pub fn next(
        &mut self,
        wire: &mut &[u8],
        out: &mut Vec<u8>,
        limits: FrameLimits,
    ) -> Result<Option<Event>, CloseCode> {
        if !self.in_payload {
            if !self.take_head(wire) {
                return Ok(None);
            }
            self.judge_head(limits)?;
            self.in_payload = true;
        }
        if self.is_control() {
            return self.take_control(wire);
        }
        self.take_data(wire, out)
    }

    /// Collects the head; whether it is whole.
    fn take_head(&mut self, wire: &mut &[u8]) -> bool {
        if self.head_len == 0 {
            // What the last control frame needed; an idle connection keeps nothing.
            self.control = Vec::new();
        }
        loop {
            let have = usize::from(self.head_len);
            let wanted = self.head_bytes();
            if have >= wanted {
                return true;
            }
            let Some((byte, rest)) = wire.split_first() else {
                return false;
            };
            *wire = rest;
            self.head[have] = *byte;
            self.head_len += 1;
        }
    }

    /// Bytes of the head, as far as it is known.
    fn head_bytes(&self) -> usize {
        if self.head_len < 2 {
            return 2;
        }
        let length = match self.head[1] & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.head[1] & MASKED != 0 { 4 } else { 0 };
        2 + length + mask
    }

    /// Reads a whole head.
    fn judge_head(&mut self, limits: FrameLimits) -> Result<(), CloseCode> {
        let [first, second, ..] = self.head;
        if second & MASKED == 0 {
            return Err(PROTOCOL_ERROR); // 5.1
        }
        let word = |len: usize| {
            let bytes = &self.head[2..2 + len];
            bytes
                .iter()
                .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let (left, least) = match second & !MASKED {
            126 => (word(2), 126),
            127 => (word(8), 1 << 16),
            short => (u64::from(short), 0),
        };
        // The shortest form alone is allowed, and the highest bit is zero (5.2).
        if left < least || left >> 63 != 0 {
            return Err(PROTOCOL_ERROR);
        }
        let (opcode, fin) = (first & 0x0f, first & FIN != 0);
        let begins = matches!(opcode, 1 | 2);
        let compressed = first & RSV1 != 0;
        if first & RSV & !RSV1 != 0 || (compressed && !(begins && limits.compression)) {
            return Err(PROTOCOL_ERROR);
        }
        match opcode {
            0 if self.message.is_none() => return Err(PROTOCOL_ERROR),
            0 => {}
            1 | 2 if self.message.is_some() => return Err(PROTOCOL_ERROR),
            1 => self.message = Some((Kind::Text, compressed)),
            2 => self.message = Some((Kind::Binary, compressed)),
            8..=10 if fin && left <= CONTROL_BYTES_MAX as u64 => {}
            _ => return Err(PROTOCOL_ERROR),
        }
        if left > limits.frame_bytes_max {
            return Err(TOO_BIG);
        }
        self.left = left;
        self.mask_at = 0;
        Ok(())
    }

    fn is_control(&self) -> bool {
        self.head[0] & 0x08 != 0
    }

    fn mask(&self) -> [u8; 4] {
        let end = usize::from(self.head_len);
        let mut mask = [0; 4];
        mask.copy_from_slice(&self.head[end - 4..end]);
        mask
    }

    /// Moves what there is of the payload to `to`.
    fn take_payload(&mut self, wire: &mut &[u8], to: &mut Vec<u8>) {
        let len = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(wire.len());
        let (bytes, rest) = wire.split_at(len);
        *wire = rest;
        let from = to.len();
        to.extend_from_slice(bytes);
        apply_mask(&mut to[from..], self.mask(), self.mask_at);
        self.left -= len as u64;
        #[allow(clippy::cast_possible_truncation)] // modulo 4
        {
            self.mask_at = ((usize::from(self.mask_at) + len) % 4) as u8;
        }
    }

    fn end_frame(&mut self) {
        self.in_payload = false;
        self.head_len = 0;
    }

    fn take_data(
        &mut self,
        wire: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<Event>, CloseCode> {
        let before = out.len();
        self.take_payload(wire, out);
        let Some((kind, compressed)) = self.message else {
            return Err(PROTOCOL_ERROR);
        };
        let ends = self.left == 0;
        if !ends && out.len() == before {
            return Ok(None);
        }
        let last = ends && self.head[0] & FIN != 0;
        if ends {
            self.end_frame();
        }
        if last {
            self.message = None;
        }
        Ok(Some(Event::Data {
            kind,
            compressed,
            last,
        }))
    }

    fn take_control(&mut self, wire: &mut &[u8]) -> Result<Option<Event>, CloseCode> {
        let mut control = std::mem::take(&mut self.control);
        self.take_payload(wire, &mut control);
        self.control = control;
        if self.left > 0 {
            return Ok(None);
        }
        self.end_frame();
        match self.head[0] & 0x0f {
            8 => close_code(&self.control).map(|code| Some(Event::Close(code))),
            9 => Ok(Some(Event::Ping)),
            _ => Ok(Some(Event::Pong)),
        }
    }
}

/// The code in a close frame's payload, if that is a valid one [RFC 6455, 7.4].
fn close_code(payload: &[u8]) -> Result<Option<CloseCode>, CloseCode> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(PROTOCOL_ERROR),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(PROTOCOL_ERROR);
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(INVALID_PAYLOAD);
    }
    Ok(Some(code))
}

/// Masks or unmasks; `from` is where in the mask the first byte is.
pub fn apply_mask(bytes: &mut [u8], mask: [u8; 4], from: u8) {
    let mut turned = mask;
    turned.rotate_left(usize::from(from % 4));
    let [a, b, c, d] = turned;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut chunks = bytes.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let mut eight = [0; 8];
        eight.copy_from_slice(chunk);
        chunk.copy_from_slice(&(u64::from_ne_bytes(eight) ^ word).to_ne_bytes());
    }
    for (byte, mask) in chunks
        .into_remainder()
        .iter_mut()
        .zip(turned.iter().cycle())
    {
        *byte ^= mask;
    }
}

/// Appends the head of a whole message of one frame.
fn push_head(out: &mut Vec<u8>, first: u8, len: usize) {
    #[allow(clippy::cast_possible_truncation)] // each arm's pattern says that it fits
    match len {
        0..=125 => out.extend_from_slice(&[first, len as u8]),
        126..=0xffff => {
            out.extend_from_slice(&[first, 126]);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.extend_from_slice(&[first, 127]);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

/// Appends a data message of one frame.
pub fn push_data(out: &mut Vec<u8>, kind: Kind, compressed: bool, payload: &[u8]) {
    let opcode = match kind {
        Kind::Text => 1,
        Kind::Binary => 2,
    };
    let rsv = if compressed { RSV1 } else { 0 };
    push_head(out, FIN | rsv | opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends the answer to a ping.
pub fn push_pong(out: &mut Vec<u8>, payload: &[u8]) {
    push_head(out, FIN | 10, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a close frame; without a code it is empty.
pub fn push_close(out: &mut Vec<u8>, code: Option<CloseCode>) {
    push_head(out, FIN | 8, if code.is_some() { 2 } else { 0 });
    if let Some(code) = code {
        out.extend_from_slice(&code.to_be_bytes());
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
