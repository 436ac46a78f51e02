//! What the cores tell the index thread, and what it answers.

use crate::base::core_set::CoreSet;
use crate::base::ids::{CoreId, FilterId};

/// The highest bit of a core set that a delta may name: the control plane's.
pub const CORE_MAX: u8 = 62;

/// One change of the shared index: a core's first subscriber to a filter came, or its last one left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delta<'a> {
    /// `core` wants what matches `filter` (a valid filter of at most 65535 bytes).
    Add {
        /// The filter's text.
        filter: &'a str,
        /// Who wants it.
        core: CoreId,
    },
    /// `core` does not want it any more.
    Remove {
        /// The id from the answer to the core's `Add`.
        filter: FilterId,
        /// Who leaves.
        core: CoreId,
    },
}

/// The answer to a delta. It is in force with the epoch that the batch is published as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Applied {
    /// The filter concerned.
    pub filter: FilterId,
    /// False if the index was in that state already.
    pub changed: bool,
}

/// A filter that matches a topic, and who wants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hit {
    /// The filter.
    pub filter: FilterId,
    /// Never empty.
    pub cores: CoreSet,
}
