//! The ends of the gate: one port a core, one handle for everybody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::base::ids::CoreId;
use crate::base::limits::ACCESS_QUESTIONS_MAX;
use crate::gate::access::AccessQuestion;
use crate::gate::authn::{AuthnAnswer, AuthnRequest};
use crate::gate::command::Command;
use crate::gate::event::{Event, What};
use crate::gate::observe::Seen;
use crate::gate::trace::Traced;

/// Commands that may wait for one core.
const COMMANDS_MAX: usize = 256;
/// Events that may wait for the control plane, for each core.
const EVENTS_MAX_PER_CORE: usize = 256;
/// Questions about clients that may wait for the control plane, of all cores: what it answers in a
/// second at most, and 64 KiB.
const AUTHN_REQUESTS_MAX: usize = 4096;
/// Answers about clients that may wait for one core: 16 KiB.
const AUTHN_ANSWERS_MAX: usize = 1024;

/// What cores have seen that may wait for the control plane, of all cores: some tenths of a second of the
/// busiest comings and goings.
const SEEN_MAX: usize = 16_384;
/// Bytes of that: messages are among it.
const SEEN_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Events of traces that may wait for the control plane, of all cores: some tenths of a second of what one
/// thread writes.
const TRACED_MAX: usize = 16_384;
/// Bytes of those.
const TRACED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A core's end.
#[derive(Debug)]
pub struct GatePort {
    core: CoreId,
    commands: Receiver<Command>,
    events: Sender<Event>,
    access_questions: Sender<Box<AccessQuestion>>,
    authn_requests: Sender<Box<AuthnRequest>>,
    authn_answers: Receiver<Box<AuthnAnswer>>,
    seen: Sender<Box<Seen>>,
    seen_bytes: Arc<AtomicUsize>,
    traced: Sender<Box<Traced>>,
    traced_bytes: Arc<AtomicUsize>,
}

/// Wakes a core that sleeps.
pub type WakeCore = Arc<dyn Fn(CoreId) + Send + Sync>;

/// The control plane's end.
#[derive(Clone)]
pub struct Gate {
    commands: Vec<Sender<Command>>,
    events: Receiver<Event>,
    access_questions: Receiver<Box<AccessQuestion>>,
    authn_requests: Receiver<Box<AuthnRequest>>,
    authn_answers: Vec<Sender<Box<AuthnAnswer>>>,
    seen: Receiver<Box<Seen>>,
    seen_bytes: Arc<AtomicUsize>,
    traced: Receiver<Box<Traced>>,
    traced_bytes: Arc<AtomicUsize>,
    wake: WakeCore,
}

/// The ends for `cores` cores.
pub fn gate(cores: u8, wake: WakeCore) -> (Gate, Vec<GatePort>) {
    let (events, heard) = bounded(EVENTS_MAX_PER_CORE * usize::from(cores));
    let (ask_access, access_questions) = bounded(ACCESS_QUESTIONS_MAX * usize::from(cores));
    let (authn_requests, authn_asked) = bounded(AUTHN_REQUESTS_MAX);
    let (seen, told) = bounded(SEEN_MAX);
    let seen_bytes = Arc::new(AtomicUsize::new(0));
    let (trace, traced) = bounded(TRACED_MAX);
    let traced_bytes = Arc::new(AtomicUsize::new(0));
    let mut gate = Gate {
        commands: Vec::new(),
        events: heard,
        access_questions,
        authn_requests: authn_asked,
        authn_answers: Vec::new(),
        seen: told,
        seen_bytes: Arc::clone(&seen_bytes),
        traced,
        traced_bytes: Arc::clone(&traced_bytes),
        wake,
    };
    let ports = (0..cores)
        .map(|core| {
            let (command, commands) = bounded(COMMANDS_MAX);
            let (answer, answers) = bounded(AUTHN_ANSWERS_MAX);
            gate.commands.push(command);
            gate.authn_answers.push(answer);
            GatePort {
                core: CoreId(core),
                commands,
                events: events.clone(),
                access_questions: ask_access.clone(),
                authn_requests: authn_requests.clone(),
                authn_answers: answers,
                seen: seen.clone(),
                seen_bytes: Arc::clone(&seen_bytes),
                traced: trace.clone(),
                traced_bytes: Arc::clone(&traced_bytes),
            }
        })
        .collect();
    (gate, ports)
}

impl GatePort {
    /// The next command, if there is one.
    pub fn take(&self) -> Option<Command> {
        self.commands.try_recv().ok()
    }

    /// Memory in bytes of this core's share of the channels.
    pub fn held_bytes(&self) -> usize {
        let stamp = size_of::<usize>();
        COMMANDS_MAX * (size_of::<Command>() + stamp)
            + EVENTS_MAX_PER_CORE * (size_of::<Event>() + stamp)
            + AUTHN_ANSWERS_MAX * 2 * stamp
            + ACCESS_QUESTIONS_MAX * 2 * stamp
    }

    /// Asks the control plane about access.
    ///
    /// # Errors
    /// The question, if the control plane does not keep up.
    pub fn ask_access(&self, question: Box<AccessQuestion>) -> Result<(), Box<AccessQuestion>> {
        self.access_questions
            .try_send(question)
            .map_err(TrySendError::into_inner)
    }

    /// Asks about a client.
    ///
    /// # Errors
    /// The question, if the control plane does not keep up.
    pub fn ask_authn(&self, request: Box<AuthnRequest>) -> Result<(), Box<AuthnRequest>> {
        self.authn_requests
            .try_send(request)
            .map_err(TrySendError::into_inner)
    }

    /// The next answer about a client, if there is one.
    pub fn authn_answer(&self) -> Option<Box<AuthnAnswer>> {
        self.authn_answers.try_recv().ok()
    }

    /// Whether a command or an answer waits.
    pub fn has_work(&self) -> bool {
        !self.commands.is_empty() || !self.authn_answers.is_empty()
    }

    /// Tells what was seen; false if the control plane does not keep up and it is lost.
    pub fn tell_seen(&self, seen: Box<Seen>) -> bool {
        let bytes = seen.bytes();
        let held = self.seen_bytes.fetch_add(bytes, Ordering::Relaxed);
        let told = held < SEEN_BYTES_MAX && self.seen.try_send(seen).is_ok();
        if !told {
            self.seen_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        told
    }

    /// Tells of an event of a trace.
    ///
    /// # Errors
    /// The event, if the control plane does not keep up.
    pub fn tell_traced(&self, traced: Box<Traced>) -> Result<(), Box<Traced>> {
        let bytes = traced.bytes();
        let held = self.traced_bytes.fetch_add(bytes, Ordering::Relaxed);
        let sent = match held < TRACED_BYTES_MAX {
            true => self
                .traced
                .try_send(traced)
                .map_err(TrySendError::into_inner),
            false => Err(traced),
        };
        if sent.is_err() {
            self.traced_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        sent
    }

    /// Tells the control plane; false if it does not keep up and the event is lost.
    pub fn tell(&self, what: What) -> bool {
        self.events
            .try_send(Event {
                core: self.core,
                what,
            })
            .is_ok()
    }
}

impl Gate {
    /// Number of cores.
    pub fn cores(&self) -> u8 {
        u8::try_from(self.commands.len()).unwrap_or(u8::MAX)
    }

    /// Asks one core.
    ///
    /// # Errors
    /// The command, if the core's channel is full or the core is gone.
    pub fn ask(&self, core: CoreId, command: Command) -> Result<(), Command> {
        let Some(channel) = self.commands.get(core.index()) else {
            return Err(command);
        };
        match channel.try_send(command) {
            Ok(()) => {
                (self.wake)(core);
                Ok(())
            }
            Err(TrySendError::Full(command) | TrySendError::Disconnected(command)) => Err(command),
        }
    }

    /// Asks every core; says how many could be asked.
    pub fn ask_all(&self, command: impl Fn() -> Command) -> usize {
        (0..self.cores())
            .filter(|core| self.ask(CoreId(*core), command()).is_ok())
            .count()
    }

    /// What cores ask about access; answers go back as [`Command::Access`].
    pub fn access_questions(&self) -> &Receiver<Box<AccessQuestion>> {
        &self.access_questions
    }

    /// What cores ask about clients.
    pub fn authn_requests(&self) -> &Receiver<Box<AuthnRequest>> {
        &self.authn_requests
    }

    /// Answers a core about a client.
    ///
    /// # Errors
    /// The answer, if the core's channel is full or the core is gone. The core gives the client up in
    /// the end.
    pub fn answer_authn(&self, answer: Box<AuthnAnswer>) -> Result<(), Box<AuthnAnswer>> {
        let core = answer.ticket.core;
        let Some(channel) = self.authn_answers.get(core.index()) else {
            return Err(answer);
        };
        channel.try_send(answer).map_err(TrySendError::into_inner)?;
        (self.wake)(core);
        Ok(())
    }

    /// The next of what cores have seen, waited for; nothing once they have ended.
    pub fn seen(&self) -> Option<Box<Seen>> {
        let seen = self.seen.recv().ok()?;
        self.seen_bytes.fetch_sub(seen.bytes(), Ordering::Relaxed);
        Some(seen)
    }

    /// Events of traces; who takes one says so by [`Self::took_traced`].
    pub fn traced(&self) -> &Receiver<Box<Traced>> {
        &self.traced
    }

    /// An event of a trace was taken.
    pub fn took_traced(&self, traced: &Traced) {
        self.traced_bytes
            .fetch_sub(traced.bytes(), Ordering::Relaxed);
    }

    /// What cores tell.
    pub fn events(&self) -> &Receiver<Event> {
        &self.events
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn commands_wake_their_core_and_a_full_channel_refuses() {
        let wakes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&wakes);
        let wake: WakeCore = Arc::new(move |core| {
            counted.fetch_add(1 + u64::from(core.0) * 1000, Ordering::Relaxed);
        });
        let (gate, ports) = gate(2, wake);
        assert_eq!(gate.ask_all(|| Command::StopReading), 2);
        assert_eq!(wakes.load(Ordering::Relaxed), 1002);
        assert!(ports[0].has_work() && matches!(ports[0].take(), Some(Command::StopReading)));
        assert!(ports[0].take().is_none());
        for _ in 0..COMMANDS_MAX {
            gate.ask(CoreId(0), Command::ReportCrossing).unwrap();
        }
        assert!(gate.ask(CoreId(0), Command::ReportCrossing).is_err());
        assert!(gate.ask(CoreId(7), Command::ReportCrossing).is_err());
        assert!(ports[1].tell(What::Started));
        assert_eq!(gate.events().recv().unwrap().core, CoreId(1));
    }
}
