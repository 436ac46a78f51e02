//! Client id to session, for the client ids whose home is this core.

use ahash::RandomState;
use compact_str::CompactString;
use hashbrown::HashTable;

use crate::base::slab::Slab;
use crate::session::state::Session;

/// Sessions of this core by index and by client id. The table holds indices only: the id itself
/// lies in the session.
pub struct Registry {
    sessions: Slab<Session>,
    by_id: HashTable<u32>,
    hasher: RandomState,
    /// Memory in bytes of client ids that are too long to lie in their sessions.
    long_id_bytes: usize,
}

impl Registry {
    /// An empty registry; `seed` keys the hash, because client ids are hostile input.
    pub fn new(seed: [u64; 4]) -> Self {
        Self {
            sessions: Slab::default(),
            by_id: HashTable::new(),
            hasher: RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]),
            long_id_bytes: 0,
        }
    }

    /// The session of a client id.
    pub fn find(&self, client_id: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(client_id);
        let sessions = &self.sessions;
        self.by_id
            .find(hash, |&index| {
                sessions
                    .at(index)
                    .is_some_and(|session| session.client_id == client_id)
            })
            .copied()
    }

    /// Takes a session in whose client id is not there yet.
    pub fn insert(&mut self, session: Session) -> u32 {
        let hash = self.hasher.hash_one(session.client_id.as_str());
        self.long_id_bytes += long_bytes(&session.client_id);
        let index = self.sessions.insert(session).index;
        let (sessions, hasher) = (&self.sessions, &self.hasher);
        self.by_id.insert_unique(hash, index, |&other| {
            sessions
                .at(other)
                .map_or(0, |session| hasher.hash_one(session.client_id.as_str()))
        });
        index
    }

    /// Takes a session out.
    pub fn remove(&mut self, index: u32) -> Option<Session> {
        let session = self.sessions.remove_at(index)?;
        self.long_id_bytes -= long_bytes(&session.client_id);
        let hash = self.hasher.hash_one(session.client_id.as_str());
        if let Ok(entry) = self.by_id.find_entry(hash, |&other| other == index) {
            entry.remove();
        }
        Some(session)
    }

    /// The session at an index.
    pub fn at(&self, index: u32) -> Option<&Session> {
        self.sessions.at(index)
    }

    /// The session at an index.
    pub fn at_mut(&mut self, index: u32) -> Option<&mut Session> {
        self.sessions.at_mut(index)
    }

    /// All indices in use are below.
    pub fn index_bound(&self) -> u32 {
        self.sessions.index_bound()
    }

    /// Guards an index against reuse.
    pub fn generation(&self, index: u32) -> u32 {
        self.sessions.generation(index).unwrap_or(0)
    }

    /// Sessions, connected or not.
    pub fn len(&self) -> u32 {
        self.sessions.len()
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.sessions.len() == 0
    }

    /// All sessions with their indices.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Session)> {
        self.sessions
            .iter()
            .map(|(key, session)| (key.index, session))
    }

    /// Memory in bytes of the sessions, what is boxed in them not counted.
    pub fn session_bytes(&self) -> usize {
        self.sessions.bytes()
    }

    /// Memory in bytes of what finds a session by its client id, and of ids longer than 24 bytes.
    pub fn client_id_bytes(&self) -> usize {
        self.by_id.allocation_size() + self.long_id_bytes
    }
}

fn long_bytes(client_id: &CompactString) -> usize {
    if client_id.is_heap_allocated() {
        client_id.capacity()
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::version::Version;

    #[test]
    fn finds_what_is_there_and_only_that() {
        let mut registry = Registry::new([1, 2, 3, 4]);
        let indices: Vec<u32> = (0..500)
            .map(|i| registry.insert(Session::new(format!("c{i}").into(), Version::V311)))
            .collect();
        assert_eq!(registry.find("c499"), Some(indices[499]));
        assert_eq!(registry.find("c500"), None);
        assert!(registry.remove(indices[7]).is_some());
        assert_eq!(registry.find("c7"), None);
        assert_eq!(registry.len(), 499);
        let short = registry.client_id_bytes();
        let long = registry.insert(Session::new("x".repeat(100).into(), Version::V311));
        assert_eq!(registry.client_id_bytes(), short + 100);
        registry.remove(long);
        assert_eq!(registry.client_id_bytes(), short);
    }
}
