//! What a run comes to.

use std::fmt;

/// Figures of a run.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    /// Digest of everything that clients sent and got: the same seed has the same.
    pub digest: u64,
    /// Turns of all shards.
    pub turns: u64,
    /// Messages published.
    pub published: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Deliveries that the broker counted as dropped.
    pub dropped: u64,
    /// Wills delivered or due.
    pub wills: u64,
    /// Connections made.
    pub connects: u64,
    /// Sessions resumed.
    pub resumed: u64,
    /// Records that crossed.
    pub records_crossed: u64,
    /// Flushes that left something behind.
    pub lanes_full: u64,
    /// Sends that blocked.
    pub blocks: u64,
    /// Connections from which nothing was received for a while.
    pub pauses: u64,
    /// Clients that were refused.
    pub refused: u64,
    /// Messages that groups of shared subscribers got.
    pub shared: u64,
    /// Deliveries of such a message beyond the first.
    pub shared_repeats: u64,
    /// Messages delivered from the store of retained ones.
    pub replayed: u64,
    /// Deliveries whose topic was told by an alias.
    pub aliased: u64,
}

impl Stats {
    /// Adds the figures of another run.
    pub fn add(&mut self, other: &Self) {
        self.digest ^= other.digest;
        self.turns += other.turns;
        self.published += other.published;
        self.delivered += other.delivered;
        self.dropped += other.dropped;
        self.wills += other.wills;
        self.connects += other.connects;
        self.resumed += other.resumed;
        self.records_crossed += other.records_crossed;
        self.lanes_full += other.lanes_full;
        self.blocks += other.blocks;
        self.pauses += other.pauses;
        self.refused += other.refused;
        self.replayed += other.replayed;
        self.aliased += other.aliased;
        self.shared += other.shared;
        self.shared_repeats += other.shared_repeats;
    }
}

/// A broken promise, with what is needed to see it again.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The plan's name.
    pub plan: &'static str,
    /// The seed.
    pub seed: u64,
    /// What was broken.
    pub what: String,
    /// The last events.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        write!(f, "plan {}, seed {}: {}", self.plan, self.seed, self.what)
    }
}
