//! How WebSocket messages are compressed (permessage-deflate, RFC 7692).
//!
//! Names are EMQX 5's. Windows are not kept from message to message unless a setting says so, because a
//! million kept windows are 300 GB; `mem_level` and `strategy`, which the compressor here does not have, are
//! refused like any unknown setting.

use super::kind::{choice, integer};
use super::setting::{Change, Section, Setting, parses_to, section};
use super::values::Values;

section! {
    /// Compression of a WebSocket listener's messages, with `websocket.compress`. `wss` listeners have the
    /// same settings.
    pub struct DeflateOpts at "listeners.ws.<name>.websocket.deflate_opts" {
        /// `best_speed`, `default` or `best_compression`; `none` compresses nothing that is sent and takes
        /// what clients compress.
        level: DeflateLevel = "default", choice(DeflateLevel::WORDS), Restart;

        /// `takeover`: the broker keeps what it has sent and refers to it in later messages, which then are
        /// shorter. That takes up to 260 KB for each connection that was sent a message.
        server_context_takeover: Takeover = "no_takeover", choice(Takeover::WORDS), Restart;

        /// `takeover`: clients may do the same, which takes up to 40 KB for each that has sent a message.
        client_context_takeover: Takeover = "no_takeover", choice(Takeover::WORDS), Restart;

        /// The broker's window: 2^n bytes. (8 is not possible: a client that asks for it is answered
        /// without compression.)
        server_max_window_bits: u8 = "15", integer(9, 15), Restart;

        /// Clients' windows. Below 15, a client that cannot be told so is answered without compression.
        client_max_window_bits: u8 = "15", integer(9, 15), Restart;
    }
}

/// The same declarations for listeners of kind `wss`.
pub(crate) const WSS_DEFLATE_OPTS: Section = Section {
    prefix: "listeners.wss.<name>.websocket.deflate_opts",
    doc: "Compression of a `wss` listener's messages; see `listeners.ws.<name>.websocket.deflate_opts`.\n",
    settings: DeflateOpts::SECTION.settings,
};

/// How hard is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeflateLevel {
    /// Not at all.
    None,
    /// As quick as can be.
    BestSpeed,
    /// A compromise.
    Default,
    /// As small as can be.
    BestCompression,
}

impl DeflateLevel {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("best_speed", Self::BestSpeed),
        ("default", Self::Default),
        ("best_compression", Self::BestCompression),
    ];

    /// zlib's number for it.
    pub fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::BestSpeed => 1,
            Self::Default => 6,
            Self::BestCompression => 9,
        }
    }
}

/// Whether a window is kept from message to message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takeover {
    /// It is.
    Takeover,
    /// It is not.
    NoTakeover,
}

impl Takeover {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("takeover", Self::Takeover),
        ("no_takeover", Self::NoTakeover),
    ];
}
