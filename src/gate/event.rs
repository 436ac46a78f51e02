//! What a core tells the control plane.

use crate::base::ids::CoreId;

/// From one core. Sent without waiting; a full channel loses it, which only the shutdown's steps
/// would notice, and they are asked again.
#[derive(Debug)]
pub struct Event {
    /// The core.
    pub core: CoreId,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Debug)]
pub enum What {
    /// The core has its ring and its tables and waits for listeners.
    Started,
    /// All listeners of the core are closed, and no socket is in handshake.
    AcceptingStopped,
    /// Nothing more is read.
    ReadingStopped,
    /// The wills are on their way.
    WillsPublished,
    /// Answer to `ReportCrossing`.
    Crossing(Crossing),
    /// Answer to `ReportTables`.
    Tables(Tables),
    /// No connection is left.
    FarewellDone,
}

/// How far records between cores have come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Crossing {
    /// Records staged for other cores so far.
    pub staged: u64,
    /// Records taken in from other cores so far.
    pub taken: u64,
    /// Nothing waits on this core to be sent to another.
    pub idle: bool,
}

/// Sizes of one core's tables: entries and bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Name, entries, bytes.
    pub rows: Vec<(&'static str, u64, u64)>,
}
