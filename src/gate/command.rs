//! What the control plane asks of a core.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::access::bans::{Ban, BanWho};
use crate::gate::access::AccessAnswer;

use crate::gate::manage::Manage;
use crate::gate::observe::Watch;
use crate::gate::reply::Reply;
use crate::gate::rules::Rules;

/// A request to one core. A full channel refuses it; the sender decides what that means.
#[derive(Debug)]
pub enum Command {
    /// Accept on this socket. Loss: the start fails.
    Listen {
        /// Number of the listener, the same on all cores.
        listener: u8,
        /// The core's own listening socket.
        socket: OwnedFd,
    },
    /// Accept no more on a listener; those who wait in its queue are let in first. Loss: the caller
    /// hears that it was not done.
    StopListening {
        /// The listener's number.
        listener: u8,
        /// Told when the core's socket is closed.
        done: Reply<()>,
    },
    /// A step of an operator's request. Loss: see [`Manage`].
    Manage(Box<Manage>),
    /// Say how large the tables are. Loss: the report is incomplete.
    ReportTables,
    /// Say how far records to and from other cores have come. Loss: asked again.
    ReportCrossing,
    /// From now on the core decides by these. Loss: the sender tries again.
    SetRules {
        /// All of them.
        rules: Arc<Rules>,
        /// Told when they hold.
        done: Reply<()>,
    },
    /// An answer about access. Loss: the question's time runs out.
    Access(AccessAnswer),
    /// Forget what others have answered about access: for one client, or for all. Loss: the answers
    /// run out by themselves.
    DrainAccessCache(Option<Box<str>>),
    /// Let these in no more, and end their connections. Loss: the sender tries again.
    Ban(Arc<Ban>),
    /// Let these in again. Loss: the sender tries again.
    Unban(Arc<BanWho>),
    /// From now on tell of this. Loss: the start fails, or the sender tries again.
    Watch(Arc<Watch>),
    /// First step of a shutdown: no new connections; those in handshake are closed.
    StopAccepting,
    /// Second step: nothing more is read from clients.
    StopReading,
    /// Third step: wills of sessions that end by the shutdown are published.
    PublishWills,
    /// Fourth step: clients are told and closed, a batch a turn.
    Farewell,
    /// Last step: the core's thread ends.
    Exit,
}
