//! The way to the cores for tasks of the control plane: ask one, wait for its answer without holding
//! it; walk a list over all of them.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::base::home::Homes;
use crate::base::ids::CoreId;
use crate::gate::command::Command;
use crate::gate::manage::{ClientRow, Manage, Page};
use crate::gate::port::Gate;
use crate::gate::reply::Reply;

/// How long a core has to take a request and to answer it: a core that is alive takes milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Pause before a full command channel is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(1);
/// Where the place ends and the core begins in a cursor.
const PLACE_BITS: u32 = 40;

/// Why there is no answer: the core is busy, or the broker stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unanswered;

/// The cores; clones are the same.
#[derive(Clone)]
pub struct Cores {
    gate: Gate,
    homes: Homes,
}

/// A place in a list over all cores.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cursor(u64);

impl Cursor {
    fn new(core: u8, place: u64) -> Self {
        Self(u64::from(core) << PLACE_BITS | place)
    }

    fn core(self) -> u64 {
        self.0 >> PLACE_BITS
    }

    fn place(self) -> u64 {
        self.0 & ((1 << PLACE_BITS) - 1)
    }

    /// As a number for the outside.
    pub fn number(self) -> u64 {
        self.0
    }

    /// From such a number; one that no list gave finds nothing or something, but harms nobody.
    pub fn from_number(number: u64) -> Self {
        Self(number)
    }
}

impl Cores {
    /// The cores behind a gate.
    pub fn new(gate: Gate, homes: Homes) -> Self {
        Self { gate, homes }
    }

    /// How many there are.
    pub fn count(&self) -> u8 {
        self.gate.cores()
    }

    /// The gate itself, for commands that are not requests of operators.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// The core of a client id.
    pub fn home_of_client(&self, client_id: &str) -> CoreId {
        self.homes.of_client(client_id)
    }

    /// The core that keeps the retained message of a topic.
    pub fn home_of_topic(&self, topic: &str) -> CoreId {
        self.homes.of_topic(topic)
    }

    /// Asks one core.
    ///
    /// # Errors
    /// It did not take the request or did not answer in time.
    pub async fn ask<T: Send + 'static>(
        &self,
        core: CoreId,
        request: impl FnOnce(Reply<T>) -> Manage,
    ) -> Result<T, Unanswered> {
        let (answer, answered) = oneshot::channel();
        let reply = Reply::new(move |value| drop(answer.send(value)));
        let mut command = Command::Manage(Box::new(request(reply)));
        let deadline = Instant::now() + ANSWER_WITHIN;
        while let Err(back) = self.gate.ask(core, command) {
            if Instant::now() >= deadline {
                return Err(Unanswered);
            }
            command = back;
            sleep(TRY_AGAIN_AFTER).await;
        }
        match timeout(ANSWER_WITHIN, answered).await {
            Ok(Ok(value)) => Ok(value),
            _ => Err(Unanswered),
        }
    }

    /// Makes the cores forget what others have answered about access: for one client, or for all.
    ///
    /// # Errors
    /// A core does not take the command.
    pub async fn forget_answers(&self, client_id: Option<&str>) -> Result<(), Unanswered> {
        let cores = match client_id {
            Some(client_id) => vec![self.home_of_client(client_id)],
            None => (0..self.count()).map(CoreId).collect(),
        };
        for core in cores {
            let mut command = Command::DrainAccessCache(client_id.map(Into::into));
            let deadline = Instant::now() + ANSWER_WITHIN;
            while let Err(back) = self.gate.ask(core, command) {
                if Instant::now() >= deadline {
                    return Err(Unanswered);
                }
                command = back;
                sleep(TRY_AGAIN_AFTER).await;
            }
            // Commands keep their order: with this answer that one is done.
            self.ask(core, |reply| Manage::Refresh { reply }).await?;
        }
        Ok(())
    }

    /// Brings the gauges of all cores up to date. A core that does not answer keeps its last ones.
    pub async fn refresh(&self) {
        for core in 0..self.count() {
            let _ = self
                .ask(CoreId(core), |reply| Manage::Refresh { reply })
                .await;
        }
    }

    /// One client, wherever it is.
    ///
    /// # Errors
    /// Its core does not answer.
    pub async fn client(&self, client_id: &str) -> Result<Option<ClientRow>, Unanswered> {
        let home = self.home_of_client(client_id);
        let client_id = client_id.into();
        self.ask(home, |reply| Manage::Client { client_id, reply })
            .await
    }

    /// Ends a session, wherever it is; says whether there was one.
    ///
    /// # Errors
    /// Its core does not answer.
    pub async fn kick(&self, client_id: &str) -> Result<bool, Unanswered> {
        let home = self.home_of_client(client_id);
        let client_id = client_id.into();
        self.ask(home, |reply| Manage::Kick { client_id, reply })
            .await
    }

    /// Up to `limit` entries of a list over all cores from `from` on, and where it goes on; nothing if
    /// there is no further entry. `step` makes the request for one page of one core: from which place,
    /// how many.
    ///
    /// # Errors
    /// A core does not answer.
    pub async fn list<T: Send + 'static>(
        &self,
        from: Cursor,
        limit: usize,
        step: impl Fn(u64, usize, Reply<Page<T>>) -> Manage,
    ) -> Result<(Vec<T>, Option<Cursor>), Unanswered> {
        let mut rows = Vec::new();
        let mut at = from;
        loop {
            // With the list full, one more entry is looked for: only then is there a next page.
            let wanted = limit.saturating_sub(rows.len()).max(1);
            let Some(core) = self.core_at(at) else {
                return Ok((rows, None));
            };
            let page = self
                .ask(core, |reply| step(at.place(), wanted, reply))
                .await?;
            let before = at;
            at = match page.next {
                Some(next) => Cursor::new(core.0, next),
                None => Cursor::new(core.0.saturating_add(1), 0),
            };
            if rows.len() == limit && !page.rows.is_empty() {
                return Ok((rows, Some(before)));
            }
            rows.extend(page.rows);
        }
    }

    fn core_at(&self, cursor: Cursor) -> Option<CoreId> {
        let core = u8::try_from(cursor.core()).ok()?;
        (core < self.count()).then_some(CoreId(core))
    }
}
