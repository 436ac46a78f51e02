//! QoS 2 identifiers that the client used and has not released yet.
//!
//! A PUBLISH whose identifier is in here is the same message again and is not routed a second time
//! [MQTT-4.3.3-10]. An identifier that the client forgets is dropped after `await_rel_timeout`.

use std::hash::BuildHasherDefault;

use ahash::AHasher;
use hashbrown::HashMap;

/// Identifiers that wait for PUBREL, with the second in which each came.
#[derive(Debug, Default)]
pub struct AwaitingRel {
    since_s: HashMap<u16, u32, BuildHasherDefault<AHasher>>,
}

impl AwaitingRel {
    /// Whether the identifier is in use.
    pub fn contains(&self, id: u16) -> bool {
        self.since_s.contains_key(&id)
    }

    /// Remembers an identifier.
    pub fn insert(&mut self, id: u16, now_s: u32) {
        self.since_s.insert(id, now_s);
    }

    /// PUBREL: forgets the identifier; false if it was not known.
    pub fn release(&mut self, id: u16) -> bool {
        self.since_s.remove(&id).is_some()
    }

    /// Identifiers in use.
    pub fn len(&self) -> usize {
        self.since_s.len()
    }

    /// Whether none is in use.
    pub fn is_empty(&self) -> bool {
        self.since_s.is_empty()
    }

    /// Forgets what came before `oldest_s`; says how many that were.
    pub fn expire(&mut self, oldest_s: u32) -> usize {
        let before = self.since_s.len();
        self.since_s.retain(|_, since| *since >= oldest_s);
        before - self.since_s.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_until_released_or_expired() {
        let mut ids = AwaitingRel::default();
        ids.insert(1, 10);
        ids.insert(2, 20);
        assert!(ids.contains(1) && ids.release(1) && !ids.release(1));
        assert_eq!(ids.expire(20), 0);
        assert_eq!(ids.expire(21), 1);
        assert!(ids.is_empty());
    }
}
