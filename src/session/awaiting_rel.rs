//! QoS 2 identifiers that the client used and has not released yet.
//!
//! A PUBLISH whose identifier is in here is the same message again and is not routed a second time
//! [MQTT-4.3.3-10]. An identifier that the client forgets is dropped after `await_rel_timeout`.

use std::hash::BuildHasherDefault;

use ahash::AHasher;
use hashbrown::HashMap;

/// Identifiers that wait for PUBREL.
#[derive(Debug, Default)]
pub struct AwaitingRel {
    ids: HashMap<u16, Waits, BuildHasherDefault<AHasher>>,
    /// Those that came on the present connection.
    current: u16,
}

#[derive(Debug)]
struct Waits {
    /// The second in which it came.
    since_s: u32,
    /// It came on the present connection, and counts against the Receive Maximum.
    current: bool,
}

impl AwaitingRel {
    /// Whether the identifier is in use.
    pub fn contains(&self, id: u16) -> bool {
        self.ids.contains_key(&id)
    }

    /// Whether the identifier is in use and came on the present connection.
    pub fn is_current(&self, id: u16) -> bool {
        self.ids.get(&id).is_some_and(|waits| waits.current)
    }

    /// Remembers an identifier.
    pub fn insert(&mut self, id: u16, now_s: u32) {
        let waits = Waits {
            since_s: now_s,
            current: true,
        };
        let before = self.ids.insert(id, waits);
        self.current += u16::from(before.is_none_or(|before| !before.current));
    }

    /// A message came again.
    pub fn repeated(&mut self, id: u16) {
        if let Some(waits) = self.ids.get_mut(&id) {
            self.current += u16::from(!waits.current);
            waits.current = true;
        }
    }

    /// PUBREL: forgets the identifier; false if it was not known.
    pub fn release(&mut self, id: u16) -> bool {
        let waits = self.ids.remove(&id);
        self.current -= u16::from(waits.as_ref().is_some_and(|waits| waits.current));
        waits.is_some()
    }

    /// The client is back: what it sends on a new connection is counted anew [MQTT5 4.9].
    pub fn begin_connection(&mut self) {
        self.current = 0;
        for waits in self.ids.values_mut() {
            waits.current = false;
        }
    }

    /// Identifiers that came on the present connection.
    pub fn current(&self) -> u16 {
        self.current
    }

    /// Identifiers in use.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether none is in use.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Forgets what came before `oldest_s`; says how many that were.
    pub fn expire(&mut self, oldest_s: u32) -> usize {
        let before = self.ids.len();
        let mut current = 0;
        self.ids.retain(|_, waits| {
            let stays = waits.since_s >= oldest_s;
            current += u16::from(stays && waits.current);
            stays
        });
        self.current = current;
        before - self.ids.len()
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

    #[test]
    fn a_new_connection_is_counted_anew() {
        let mut ids = AwaitingRel::default();
        ids.insert(1, 10);
        ids.insert(2, 20);
        ids.insert(2, 20);
        assert_eq!(ids.current(), 2);
        ids.begin_connection();
        assert_eq!((ids.current(), ids.len()), (0, 2));
        ids.repeated(1);
        ids.repeated(1);
        ids.repeated(9);
        assert!(ids.is_current(1) && !ids.is_current(2));
        assert_eq!(ids.current(), 1);
        ids.release(2);
        ids.insert(3, 30);
        assert_eq!(ids.current(), 2);
        assert_eq!(ids.expire(20), 1);
        assert_eq!(ids.current(), 1);
        ids.release(3);
        assert_eq!(ids.current(), 0);
    }
}
