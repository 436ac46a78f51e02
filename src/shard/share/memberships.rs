//! The shared subscriptions of this core's sessions.

use ahash::RandomState;
use compact_str::CompactString;
use hashbrown::HashTable;

use crate::base::ids::CoreId;
use crate::base::slab::{Key, Slab};
use crate::routing::local::SubOptions;
use crate::session::state::NONE;

/// One shared subscription of one session.
#[derive(Debug)]
pub struct Membership {
    /// The session.
    pub session: u32,
    /// The home core of the group.
    pub home: CoreId,
    /// That core's name for the group, once it has answered.
    pub group: u64,
    /// Granted options.
    pub options: SubOptions,
    /// Subscription identifier, if any.
    pub identifier: Option<u32>,
    /// Group and filter, with a slash between them.
    pub text: CompactString,
    next_of_session: u32,
    previous_of_session: u32,
}

impl Membership {
    /// The index of the session's next one, or [`NONE`].
    pub fn next_of_session(&self) -> u32 {
        self.next_of_session
    }
}

/// All of them, found by index, by session, and by session and text.
pub struct Memberships {
    all: Slab<Membership>,
    by_text: HashTable<u32>,
    hasher: RandomState,
}

impl Memberships {
    /// An empty table; texts are hostile input, hence the hasher's seed.
    pub fn new(hasher: RandomState) -> Self {
        Self {
            all: Slab::default(),
            by_text: HashTable::new(),
            hasher,
        }
    }

    /// A session's membership of a group.
    pub fn find(&self, session: u32, text: &str) -> Option<u32> {
        let hash = self.hasher.hash_one((session, text));
        let all = &self.all;
        let is_it = |index: &u32| {
            all.at(*index)
                .is_some_and(|m| m.session == session && m.text == text)
        };
        self.by_text.find(hash, is_it).copied()
    }

    /// Enters one that is not there; `first` is the head of the session's chain.
    pub fn insert(&mut self, session: u32, first: &mut u32, home: CoreId, text: &str) -> Key {
        let key = self.all.insert(Membership {
            session,
            home,
            group: 0,
            options: SubOptions::default(),
            identifier: None,
            text: text.into(),
            next_of_session: *first,
            previous_of_session: NONE,
        });
        if let Some(next) = self.all.at_mut(*first) {
            next.previous_of_session = key.index;
        }
        *first = key.index;
        let hash = self.hasher.hash_one((session, text));
        let (all, hasher) = (&self.all, &self.hasher);
        self.by_text.insert_unique(hash, key.index, |other| {
            all.at(*other)
                .map_or(0, |m| hasher.hash_one((m.session, m.text.as_str())))
        });
        key
    }

    /// Takes one out of its session's chain and of the table.
    pub fn remove(&mut self, index: u32, first: &mut u32) -> Option<(Key, Membership)> {
        let key = self.all.key_at(index)?;
        let gone = self.all.remove_at(index)?;
        let hash = self.hasher.hash_one((gone.session, gone.text.as_str()));
        if let Ok(entry) = self.by_text.find_entry(hash, |other| *other == index) {
            entry.remove();
        }
        match self.all.at_mut(gone.previous_of_session) {
            Some(previous) => previous.next_of_session = gone.next_of_session,
            None => *first = gone.next_of_session,
        }
        if let Some(next) = self.all.at_mut(gone.next_of_session) {
            next.previous_of_session = gone.previous_of_session;
        }
        Some((key, gone))
    }

    /// The memberships of a session.
    pub fn of_session(&self, first: u32) -> impl Iterator<Item = (Key, &Membership)> {
        let mut next = first;
        std::iter::from_fn(move || {
            let found = self.all.key_at(next).zip(self.all.at(next))?;
            next = found.1.next_of_session;
            Some(found)
        })
    }

    /// All indices in use are below.
    pub fn index_bound(&self) -> u32 {
        self.all.index_bound()
    }

    /// The present one at an index.
    pub fn at(&self, index: u32) -> Option<(Key, &Membership)> {
        self.all.key_at(index).zip(self.all.at(index))
    }

    /// The present one at an index.
    pub fn at_mut(&mut self, index: u32) -> Option<&mut Membership> {
        self.all.at_mut(index)
    }

    /// One by its name, unless it has ended.
    pub fn get(&self, share: u64) -> Option<&Membership> {
        self.all.get(Key::unpack(share))
    }

    /// One by its name, unless it has ended.
    pub fn get_mut(&mut self, share: u64) -> Option<&mut Membership> {
        self.all.get_mut(Key::unpack(share))
    }

    /// Shared subscriptions.
    pub fn len(&self) -> usize {
        self.all.len() as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory of the tables in bytes.
    pub fn bytes(&self) -> usize {
        self.all.bytes() + self.by_text.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_by_text_and_by_session_whatever_leaves() {
        let mut table = Memberships::new(RandomState::with_seeds(1, 2, 3, 4));
        let mut firsts = [NONE; 2];
        for (session, first) in (0..).zip(&mut firsts) {
            for text in ["g/a", "g/b", "h/a"] {
                table.insert(session, first, CoreId(0), text);
            }
        }
        let texts = |table: &Memberships, first: u32| -> Vec<String> {
            table
                .of_session(first)
                .map(|(_, m)| m.text.to_string())
                .collect()
        };
        assert_eq!(texts(&table, firsts[0]), ["h/a", "g/b", "g/a"]);
        for (text, rest) in [
            ("g/b", vec!["h/a", "g/a"]),
            ("h/a", vec!["g/a"]),
            ("g/a", vec![]),
        ] {
            let index = table.find(1, text).unwrap();
            let (key, gone) = table.remove(index, &mut firsts[1]).unwrap();
            assert_eq!(gone.text, text);
            assert!(table.get(key.pack()).is_none() && table.find(1, text).is_none());
            assert_eq!(texts(&table, firsts[1]), rest);
        }
        assert_eq!((table.len(), firsts[1]), (3, NONE));
        assert!(table.find(0, "g/b").is_some());
    }
}
