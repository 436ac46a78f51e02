//! When a will is published, computed from the specification and from nothing else. Shared with the
//! tests over real sockets, so it names nothing of the broker.

/// How a connection with a will ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// DISCONNECT 0x00, or any DISCONNECT of 3.x.
    Normal,
    /// DISCONNECT 0x04, of 5.0.
    WithWill,
    /// The network connection is lost.
    Lost,
    /// Silence for longer than 1.5 times the keep-alive.
    Silent,
    /// Another connection comes with the same client id.
    TakenOver {
        /// With clean start.
        clean: bool,
    },
    /// An administrator ends it.
    Kicked,
    /// The server stops.
    Shutdown,
}

/// All of them.
pub const ENDINGS: [Ending; 8] = [
    Ending::Normal,
    Ending::WithWill,
    Ending::Lost,
    Ending::Silent,
    Ending::TakenOver { clean: true },
    Ending::TakenOver { clean: false },
    Ending::Kicked,
    Ending::Shutdown,
];

/// A connection with a will, and what comes after it. Times in seconds after its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Case {
    /// Speaks 5.0; else 3.1.1.
    pub v5: bool,
    /// Clean start (3.1.1: clean session).
    pub clean: bool,
    /// Life of the session without a connection: asked for (5.0), or the server's (3.1.1, where it
    /// is 0 if the session is clean).
    pub expiry_s: u32,
    /// Will delay interval, 0 in 3.1.1.
    pub delay_s: u32,
    /// QoS of the will.
    pub qos: u8,
    /// The will is retained.
    pub retain: bool,
    /// How it ends.
    pub ending: Ending,
    /// Whether the client comes back, when, and whether with clean start.
    pub back: Option<(u32, bool)>,
}

impl Case {
    /// When the will is published, seconds after the end; none for never.
    ///
    /// [MQTT-3.1.2-8, 3.1.2-10, 3.1.3-9, 3.1.4-3 and 4.13.2 of 5.0]: not after a normal DISCONNECT;
    /// else when its delay has passed or the session ends, whichever comes first; not if a new
    /// connection to the session comes before that. A clean start ends the session.
    pub fn published_at_s(&self) -> Option<u32> {
        let session_s = if self.v5 || !self.clean {
            self.expiry_s
        } else {
            0
        };
        let due_s = self.delay_s.min(session_s);
        match self.ending {
            Ending::Normal => None,
            // In memory all sessions end with the server.
            Ending::Shutdown => Some(0),
            Ending::TakenOver { clean } => Self::at_return(due_s, 0, clean),
            _ => match self.back {
                Some((at_s, clean)) => Self::at_return(due_s, at_s, clean),
                None => Some(due_s),
            },
        }
    }

    fn at_return(due_s: u32, at_s: u32, clean: bool) -> Option<u32> {
        if due_s <= at_s {
            Some(due_s)
        } else if clean {
            Some(at_s)
        } else {
            None
        }
    }

    /// Whether who comes back at `at_s` finds the session.
    pub fn is_present(&self, at_s: u32, clean: bool) -> bool {
        let kept_s = if self.v5 || !self.clean {
            self.expiry_s
        } else {
            0
        };
        !clean && kept_s > at_s
    }
}
