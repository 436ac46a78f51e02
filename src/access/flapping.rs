//! Clients that come and go too often (EMQX: `flapping_detect`).
//!
//! Each core counts the clients whose home it is: disconnects of one client id within a window. Who
//! reaches the limit is banned for a while, by the client id alone.

use std::collections::VecDeque;

use ahash::RandomState;
use hashbrown::HashMap;

use crate::base::limits::FLAPPING_CLIENTS_MAX;

/// When a client flaps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlappingRules {
    /// The window, milliseconds.
    pub window_ms: u64,
    /// Disconnects within the window that are one too many.
    pub max_count: u32,
    /// How long a client that flaps is banned, seconds.
    pub ban_s: u64,
}

/// Who has disconnected lately. Empty while nobody does.
#[derive(Debug)]
pub struct Flapping {
    /// Count, and the end of the window it is for.
    counts: HashMap<Box<str>, (u32, u64), RandomState>,
    /// The windows in the order of their ends.
    windows: VecDeque<(u64, Box<str>)>,
}

impl Flapping {
    /// Nobody has disconnected; `seed` keys the hash, because client ids are hostile input.
    pub fn new(seed: [u64; 4]) -> Self {
        let hasher = RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]);
        Self {
            counts: HashMap::with_hasher(hasher),
            windows: VecDeque::new(),
        }
    }

    /// A client has disconnected; says whether it is to be banned.
    pub fn disconnected(&mut self, client_id: &str, rules: FlappingRules, now_ms: u64) -> bool {
        self.forget(now_ms);
        if let Some((count, _)) = self.counts.get_mut(client_id) {
            *count += 1;
            if *count >= rules.max_count {
                self.counts.remove(client_id);
                return true;
            }
            return false;
        }
        if rules.max_count <= 1 {
            return true;
        }
        while self.windows.len() >= FLAPPING_CLIENTS_MAX {
            self.forget_first();
        }
        let end_ms = now_ms.saturating_add(rules.window_ms);
        self.counts.insert(client_id.into(), (1, end_ms));
        self.windows.push_back((end_ms, client_id.into()));
        false
    }

    /// Client ids that are counted.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether nobody is counted.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    fn forget(&mut self, now_ms: u64) {
        while self
            .windows
            .front()
            .is_some_and(|(end_ms, _)| *end_ms <= now_ms)
        {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some((end_ms, client_id)) = self.windows.pop_front() else {
            return;
        };
        // Who was banned meanwhile, and began anew, has another window.
        if self
            .counts
            .get(&client_id)
            .is_some_and(|(_, own)| *own == end_ms)
        {
            self.counts.remove(&client_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: FlappingRules = FlappingRules {
        window_ms: 1000,
        max_count: 3,
        ban_s: 60,
    };

    #[test]
    fn so_many_disconnects_in_a_window_are_too_many() {
        let mut flapping = Flapping::new([1, 2, 3, 4]);
        assert!(!flapping.disconnected("a", RULES, 0));
        assert!(!flapping.disconnected("b", RULES, 1));
        assert!(!flapping.disconnected("a", RULES, 500));
        assert!(flapping.disconnected("a", RULES, 999));
        assert!(
            !flapping.disconnected("a", RULES, 999),
            "it is counted anew"
        );
        assert!(
            !flapping.disconnected("b", RULES, 1001),
            "its window is over"
        );
        assert_eq!(flapping.len(), 2);
        assert!(!flapping.disconnected("c", RULES, 5000));
        assert_eq!(flapping.len(), 1);
    }

    #[test]
    fn who_is_counted_is_limited() {
        let mut flapping = Flapping::new([1, 2, 3, 4]);
        for n in 0..FLAPPING_CLIENTS_MAX + 10 {
            flapping.disconnected(&format!("c{n}"), RULES, 0);
        }
        assert_eq!(flapping.len(), FLAPPING_CLIENTS_MAX);
    }
}
