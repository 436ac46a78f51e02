//! Accepting on this core's own listeners.
#![allow(unsafe_code)] // Accepted descriptors come out of the kernel as numbers.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use io_uring::{cqueue, opcode, types};

use super::completion::Completion;
use super::plane::{Actions, Op, UserData};
use super::ring::Cqe;
use super::socket;

/// Most connections taken from the queue of a listener that stops: the largest backlog.
const ACCEPT_DRAIN_MAX: usize = 65_536;

/// What the caller wants of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Accept,
    Pause,
    Stop,
}

#[derive(Debug)]
struct Acceptor {
    fd: OwnedFd,
    wanted: Wanted,
    /// An accept is in the kernel.
    armed: bool,
}

/// The listeners of a plane, by number.
#[derive(Default, Debug)]
pub(super) struct Accepts {
    listeners: Vec<Option<Acceptor>>,
}

impl Accepts {
    fn at_mut(&mut self, listener: u32) -> Option<&mut Acceptor> {
        self.listeners
            .get_mut(listener as usize)
            .and_then(Option::as_mut)
    }
}

impl Actions {
    /// Accepts on a listening socket from now on. Accepted sockets inherit its TCP_NODELAY.
    pub fn listen(&mut self, listener: u8, fd: OwnedFd) {
        let at = usize::from(listener);
        let listeners = &mut self.accepts.listeners;
        if listeners.len() <= at {
            listeners.resize_with(at + 1, || None);
        }
        assert!(listeners[at].is_none(), "listener {listener} is in use");
        listeners[at] = Some(Acceptor {
            fd,
            wanted: Wanted::Accept,
            armed: false,
        });
        self.arm_accept(listener.into());
    }

    /// Leaves new connections in the backlog. A few that are on their way are still reported.
    pub fn pause_accept(&mut self, listener: u8) {
        self.cancel_accept(listener.into(), Wanted::Pause);
    }

    /// Accepts again, after a pause or [`Completion::AcceptFailed`].
    pub fn resume_accept(&mut self, listener: u8) {
        let Some(acceptor) = self.accepts.at_mut(listener.into()) else {
            return;
        };
        if acceptor.wanted == Wanted::Stop {
            return;
        }
        acceptor.wanted = Wanted::Accept;
        // While a cancel is on its way, the accept is armed again when it has ended.
        if !acceptor.armed {
            self.arm_accept(listener.into());
        }
    }

    /// Accepts no more: cancels, drains the queue (each reported as accepted), closes the listening
    /// socket and reports [`Completion::AcceptStopped`].
    pub fn stop_accept(&mut self, listener: u8) {
        let Some(acceptor) = self.accepts.at_mut(listener.into()) else {
            return;
        };
        let stops = acceptor.wanted == Wanted::Stop;
        let armed = acceptor.armed;
        if !stops && !armed {
            self.report(Op::OwnAcceptStopped, 0, listener.into(), 0);
        }
        self.cancel_accept(listener.into(), Wanted::Stop);
    }

    fn cancel_accept(&mut self, listener: u32, wanted: Wanted) {
        let Some(acceptor) = self.accepts.at_mut(listener) else {
            return;
        };
        if acceptor.wanted == Wanted::Stop {
            return;
        }
        acceptor.wanted = wanted;
        if acceptor.armed {
            self.cancel(UserData::new(Op::Accept, 0, listener));
        }
    }

    fn arm_accept(&mut self, listener: u32) {
        let Some(acceptor) = self.accepts.at_mut(listener) else {
            return;
        };
        acceptor.armed = true;
        let fd = types::Fd(acceptor.fd.as_raw_fd());
        let accept = opcode::AcceptMulti::new(fd)
            .flags(libc::SOCK_CLOEXEC)
            .build();
        self.push(accept, UserData::new(Op::Accept, 0, listener));
    }

    pub(super) fn on_accept(
        &mut self,
        data: UserData,
        cqe: Cqe,
        on: &mut dyn FnMut(&mut Self, Completion<'_>),
    ) {
        let listener = listener_number(data.index);
        if cqe.result >= 0 {
            // SAFETY: the kernel has just made this descriptor for this completion alone.
            let fd = unsafe { OwnedFd::from_raw_fd(cqe.result) };
            on(self, Completion::Accepted { listener, fd });
        }
        if cqueue::more(cqe.flags) {
            return;
        }
        let Some(acceptor) = self.accepts.at_mut(data.index) else {
            return;
        };
        acceptor.armed = false;
        match acceptor.wanted {
            Wanted::Accept if cqe.result >= 0 || is_passing(-cqe.result) => {
                self.arm_accept(data.index);
            }
            Wanted::Accept => {
                on(
                    self,
                    Completion::AcceptFailed {
                        listener,
                        errno: -cqe.result,
                    },
                );
            }
            Wanted::Pause => {}
            Wanted::Stop => self.drain_accepts(data.index, on),
        }
    }

    /// Nothing is armed: takes what lies in the queue, then closes the listener.
    pub(super) fn drain_accepts(
        &mut self,
        index: u32,
        on: &mut dyn FnMut(&mut Self, Completion<'_>),
    ) {
        let slot = self.accepts.listeners.get_mut(index as usize);
        let Some(acceptor) = slot.and_then(Option::take) else {
            return;
        };
        let listener = listener_number(index);
        socket::set_nonblocking(&acceptor.fd);
        for _ in 0..ACCEPT_DRAIN_MAX {
            let Some(fd) = socket::accept_now(&acceptor.fd) else {
                break;
            };
            on(self, Completion::Accepted { listener, fd });
        }
        drop(acceptor);
        on(self, Completion::AcceptStopped { listener });
    }
}

/// Errors of one connection, or of a cancel that was taken back: accept on.
fn is_passing(errno: i32) -> bool {
    matches!(
        errno,
        libc::ECANCELED | libc::ECONNABORTED | libc::EPROTO | libc::EINTR | libc::EAGAIN
    )
}

fn listener_number(index: u32) -> u8 {
    u8::try_from(index).expect("listeners are numbered by u8")
}
