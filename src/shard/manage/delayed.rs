//! Delayed messages: which wait, and the end of one.

use crate::gate::manage::{AboutDelayed, Page};
use crate::shard::Shard;

use super::{place, rows};

impl Shard {
    pub(super) fn manage_delayed(&mut self, about: AboutDelayed) {
        match about {
            AboutDelayed::List { from, max, reply } => {
                let (rows, next) = self.delayed_page(place(from), rows(max));
                let next = next.map(u64::from);
                reply.send(Page { rows, next });
            }
            AboutDelayed::One { id, reply } => reply.send(self.delayed_message(id)),
            AboutDelayed::Forget { id, reply } => reply.send(self.delete_delayed(id)),
        }
    }
}
