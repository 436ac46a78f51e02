//! Compressed messages: the extension permessage-deflate [RFC 7692].
//!
//! What is inflated is bounded before it is there: a message, and all that one receive brings, gives at most
//! so many bytes, and the connection of one that would give more is closed (1009). State lies here only while
//! a message is under way, unless a side keeps its window from message to message (`takeover`), which was
//! agreed on.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::ws::frame::{CloseCode, INVALID_PAYLOAD, Kind, TOO_BIG, push_data};

/// The extension's name.
const NAME: &str = "permessage-deflate";
/// Windows of 2^8 bytes cannot be made by zlib; a client that insists on one is not compressed for.
pub const WINDOW_BITS_MIN: u8 = 9;
/// Deflate's largest window: 32 KiB.
pub const WINDOW_BITS_MAX: u8 = 15;
/// The smallest window that the extension can name.
const WINDOW_BITS_NAMED_MIN: u8 = 8;
/// What a message ends with, and is sent without [RFC 7692, 7.2.1].
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];
/// Payloads below it are sent as they are where no window is kept: they would hardly get shorter.
const COMPRESSED_FROM_BYTES: usize = 64;
/// Bytes that output grows by at a time.
const STEP_BYTES: usize = 4096;

/// What a listener agrees to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateRules {
    /// 0 (stored) to 9 (smallest).
    pub level: u8,
    /// Whether our side keeps its window from message to message.
    pub server_takeover: bool,
    /// Whether clients may.
    pub client_takeover: bool,
    /// Our window at most: 2^n bytes, [`WINDOW_BITS_MIN`] to [`WINDOW_BITS_MAX`].
    pub server_window_bits: u8,
    /// Clients' windows at most.
    pub client_window_bits: u8,
}

/// What was agreed on with a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    rules: DeflateRules,
    /// The client's window as it was named, if it was.
    client_bits_named: Option<u8>,
}

/// One offer of a client's, as far as it is understood.
#[derive(Default)]
struct Offer {
    server_no_takeover: bool,
    client_no_takeover: bool,
    server_bits: Option<u8>,
    /// That the client can do with a smaller window, and maybe with which.
    client_bits: Option<Option<u8>>,
}

/// The first of the client's offers that can be agreed to, each one a word of the header
/// `Sec-WebSocket-Extensions`.
pub fn agree<'a>(rules: DeflateRules, mut offers: impl Iterator<Item = &'a str>) -> Option<Agreed> {
    offers.find_map(|offer| Offer::read(offer)?.judge(rules))
}

impl Offer {
    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(';').map(|word| word.trim_matches([' ', '\t']));
        if !words.next()?.eq_ignore_ascii_case(NAME) {
            return None;
        }
        let mut offer = Self::default();
        for word in words {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name.trim_end(), Some(unquoted(value.trim_start())?)),
                None => (word, None),
            };
            // What is unknown, stands twice or has a wrong value makes the offer void (7.1).
            let is_new = match (name, value) {
                ("server_no_context_takeover", None) => set(&mut offer.server_no_takeover),
                ("client_no_context_takeover", None) => set(&mut offer.client_no_takeover),
                ("server_max_window_bits", Some(bits)) => {
                    offer.server_bits.replace(window_bits(bits)?).is_none()
                }
                ("client_max_window_bits", bits) => {
                    let bits = match bits {
                        Some(bits) => Some(window_bits(bits)?),
                        None => None,
                    };
                    offer.client_bits.replace(bits).is_none()
                }
                _ => return None,
            };
            if !is_new {
                return None;
            }
        }
        Some(offer)
    }

    fn judge(&self, rules: DeflateRules) -> Option<Agreed> {
        let server_bits = self.server_bits.unwrap_or(WINDOW_BITS_MAX);
        let server_window_bits = rules.server_window_bits.min(server_bits);
        if server_window_bits < WINDOW_BITS_MIN {
            return None;
        }
        let client_bits_named = match self.client_bits {
            Some(bits) => {
                let bits = rules
                    .client_window_bits
                    .min(bits.unwrap_or(WINDOW_BITS_MAX));
                (bits < WINDOW_BITS_MAX).then_some(bits)
            }
            // It cannot be told to use a smaller one.
            None if rules.client_window_bits < WINDOW_BITS_MAX => return None,
            None => None,
        };
        Some(Agreed {
            rules: DeflateRules {
                server_takeover: rules.server_takeover && !self.server_no_takeover,
                client_takeover: rules.client_takeover && !self.client_no_takeover,
                server_window_bits,
                client_window_bits: client_bits_named.unwrap_or(WINDOW_BITS_MAX),
                ..rules
            },
            client_bits_named,
        })
    }
}

/// Whether it was not set before.
fn set(flag: &mut bool) -> bool {
    !std::mem::replace(flag, true)
}

/// A value may stand in quotes.
fn unquoted(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"'),
        None => Some(value),
    }
}

fn window_bits(text: &str) -> Option<u8> {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let bits = text.parse().ok().filter(|_| is_decimal)?;
    (WINDOW_BITS_NAMED_MIN..=WINDOW_BITS_MAX)
        .contains(&bits)
        .then_some(bits)
}

impl Agreed {
    /// The value of the answer's header `Sec-WebSocket-Extensions`.
    pub fn answer(&self) -> String {
        let mut answer = String::from(NAME);
        if !self.rules.server_takeover {
            answer.push_str("; server_no_context_takeover");
        }
        if !self.rules.client_takeover {
            answer.push_str("; client_no_context_takeover");
        }
        if self.rules.server_window_bits < WINDOW_BITS_MAX {
            let bits = self.rules.server_window_bits;
            answer.push_str(&format!("; server_max_window_bits={bits}"));
        }
        if let Some(bits) = self.client_bits_named {
            answer.push_str(&format!("; client_max_window_bits={bits}"));
        }
        answer
    }
}

/// Both directions of a connection.
pub struct Deflate {
    rules: DeflateRules,
    inflating: Option<Decompress>,
    deflating: Option<Compress>,
    /// Bytes that a message may give.
    message_bytes_max: u64,
    /// Bytes that the message under way has given.
    message_bytes: u64,
}

impl Deflate {
    /// As agreed; a message may give `message_bytes_max`. No state is there yet.
    pub fn new(agreed: Agreed, message_bytes_max: u64) -> Self {
        Self {
            rules: agreed.rules,
            inflating: None,
            deflating: None,
            message_bytes_max,
            message_bytes: 0,
        }
    }

    /// Memory in bytes beyond its own size, as zlib's documentation counts it.
    pub fn held_bytes(&self) -> usize {
        let inflating = (1 << self.rules.client_window_bits) + (7 << 10);
        let deflating = (1 << (self.rules.server_window_bits + 2)) + (1 << 17);
        self.inflating.as_ref().map_or(0, |_| inflating)
            + self.deflating.as_ref().map_or(0, |_| deflating)
    }

    /// Inflates a piece of a message, the last one or not, to the end of `out`, which may grow by
    /// `room_bytes`. Nothing is appended of a piece that is refused.
    ///
    /// # Errors
    /// The code to close with.
    pub fn inflate(
        &mut self,
        piece: &[u8],
        last: bool,
        out: &mut Vec<u8>,
        room_bytes: u64,
    ) -> Result<(), CloseCode> {
        let from = out.len();
        let of_message = self.message_bytes_max.saturating_sub(self.message_bytes);
        let room = usize::try_from(of_message.min(room_bytes)).unwrap_or(usize::MAX);
        let end = from.saturating_add(room);
        let mut result = self.inflate_bytes(piece, out, end);
        if last && result.is_ok() {
            result = self.inflate_bytes(&TAIL, out, end);
        }
        if result.is_err() {
            out.truncate(from);
        }
        self.message_bytes += (out.len() - from) as u64;
        if last {
            self.message_bytes = 0;
            if !self.rules.client_takeover {
                self.inflating = None;
            }
        }
        result
    }

    /// Inflates `bytes` while `out` is not longer than `end`.
    fn inflate_bytes(
        &mut self,
        mut bytes: &[u8],
        out: &mut Vec<u8>,
        end: usize,
    ) -> Result<(), CloseCode> {
        let bits = self.rules.client_window_bits.max(WINDOW_BITS_MIN);
        let new = || Decompress::new_with_window_bits(false, bits);
        let state = self.inflating.get_or_insert_with(new);
        let mut buffer = [0; STEP_BYTES];
        while !bytes.is_empty() {
            let (taken, made) = (state.total_in(), state.total_out());
            let status = state
                .decompress(bytes, &mut buffer, FlushDecompress::Sync)
                .map_err(|_| INVALID_PAYLOAD)?;
            let count = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
            let took = count(state.total_in(), taken);
            let got = count(state.total_out(), made);
            bytes = bytes.get(took..).unwrap_or_default();
            out.extend_from_slice(buffer.get(..got).unwrap_or_default());
            if out.len() > end {
                return Err(TOO_BIG);
            }
            match status {
                // A block that says it is the last: what follows begins anew (7.2.3.4).
                Status::StreamEnd => state.reset(false),
                _ if took == 0 && got == 0 => return Err(INVALID_PAYLOAD),
                _ => {}
            }
        }
        Self::drain(state, out, end)
    }

    /// What is inflated already and had no room in the buffer.
    fn drain(state: &mut Decompress, out: &mut Vec<u8>, end: usize) -> Result<(), CloseCode> {
        let mut buffer = [0; STEP_BYTES];
        loop {
            let made = state.total_out();
            state
                .decompress(&[], &mut buffer, FlushDecompress::Sync)
                .map_err(|_| INVALID_PAYLOAD)?;
            let got = usize::try_from(state.total_out() - made).unwrap_or(usize::MAX);
            out.extend_from_slice(buffer.get(..got).unwrap_or_default());
            if out.len() > end {
                return Err(TOO_BIG);
            }
            if got < STEP_BYTES {
                return Ok(());
            }
        }
    }

    /// Appends a message of one frame, compressed where that is of use.
    pub fn push(&mut self, kind: Kind, payload: &[u8], wire: &mut Vec<u8>) {
        // A window that is kept is the reason to compress short ones, too.
        let keeps = self.rules.server_takeover;
        if !keeps && payload.len() < COMPRESSED_FROM_BYTES {
            return push_data(wire, kind, false, payload);
        }
        let level = Compression::new(u32::from(self.rules.level));
        let bits = self.rules.server_window_bits;
        let new = || Compress::new_with_window_bits(level, false, bits);
        let packed = compressed(self.deflating.get_or_insert_with(new), payload);
        if !keeps || packed.is_none() {
            self.deflating = None;
        }
        match packed {
            Some(packed) if keeps || packed.len() < payload.len() => {
                push_data(wire, kind, true, &packed);
            }
            _ => push_data(wire, kind, false, payload),
        }
    }
}

/// A message's payload, compressed and without the tail; none when zlib refuses.
fn compressed(state: &mut Compress, payload: &[u8]) -> Option<Vec<u8>> {
    let mut packed = Vec::with_capacity(payload.len() / 2 + COMPRESSED_FROM_BYTES);
    let mut rest = payload;
    loop {
        let taken = state.total_in();
        state
            .compress_vec(rest, &mut packed, FlushCompress::Sync)
            .ok()?;
        let took = usize::try_from(state.total_in() - taken).ok()?;
        rest = rest.get(took..)?;
        if packed.len() < packed.capacity() {
            break;
        }
        packed.reserve(STEP_BYTES);
    }
    packed.ends_with(&TAIL).then(|| {
        packed.truncate(packed.len() - TAIL.len());
        packed
    })
}

#[cfg(test)]
#[path = "deflate_tests.rs"]
mod tests;
