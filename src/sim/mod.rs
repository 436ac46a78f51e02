//! The seeded simulation: several shards with their lanes, the index thread and clients in one
//! thread, in virtual time, in an order that a seed chooses; and a checker of what MQTT promises.
//!
//! A run goes through [`Phase`](world::Phase)s. In *traffic* a scheduler picks at random: a turn of
//! a shard (with some of the bytes that came, cut anywhere), a step of the index thread, an act of a
//! client, a jump of time, a fault. Then everything comes to *rest*: faults end, clients come back
//! and read, and a shard has a turn only when something wakes it. What must have arrived is judged
//! there. In the *farewell* all sessions end, and nothing may be left.
//!
//! Left open, because MQTT or the design does: a message on its way between cores goes to who
//! subscribes before it arrives there, and is lost by an UNSUBSCRIBE that comes first; whether a
//! client's own will is its own message.
//!
//! - [`plan`], [`rng`]: what a run is made of
//! - [`world`], [`turn`], [`index_thread`], [`lanes`], [`net`]: the broker's surroundings
//! - [`client`], [`act`], [`hear`]: clients, in bytes
//! - [`share`]: shared subscriptions
//! - `raw`: one shard in the hands of a fuzzer
//! - [`ledger`], [`checker`], [`ending`], [`verdict`]: what happened and what may not

pub mod act;
pub mod checker;
pub mod client;
pub mod ending;
pub mod hear;
pub mod index_thread;
pub mod lanes;
pub mod ledger;
pub mod net;
pub mod plan;
#[cfg(any(test, fuzzing))]
mod raw;
#[cfg(any(test, fuzzing))]
pub mod raw_input;
pub mod rng;
pub mod share;
pub mod turn;
pub mod verdict;
pub mod world;

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::sim::plan::Plan;
use crate::sim::verdict::{Failure, Stats};
use crate::sim::world::World;

/// Runs a seed.
///
/// # Errors
/// A promise was broken or the broker panicked. The run is then repeated with its events in words.
pub fn run(seed: u64, plan: &Plan) -> Result<Stats, Failure> {
    match run_once(seed, plan, false) {
        Ok(stats) => Ok(stats),
        Err(untraced) => Err(run_once(seed, plan, true).err().unwrap_or(untraced)),
    }
}

fn run_once(seed: u64, plan: &Plan, traced: bool) -> Result<Stats, Failure> {
    let mut world = World::new(seed, plan, traced);
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| world.run())) {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        world
            .ledger
            .fail(format!("panic: {}", text.unwrap_or_default()));
    }
    let stats = world.stats;
    world.ledger.verdict(plan.name, seed).map(|()| stats)
}
