//! Whether a core has enough to do already: then nobody new is let in, and who is there stays served.
//!
//! The measure is the time of one turn of the core's loop, which is how long a client may have to wait
//! for it. A turn over the threshold closes the door for a while; the next one keeps it closed.

/// When a core is overloaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OverloadRules {
    /// A turn that takes longer is a sign of it, microseconds; absent = nothing is.
    pub turn_us_max: Option<u64>,
    /// For how long nobody new is let in after such a turn, milliseconds.
    pub cool_down_ms: u64,
    /// For how long accepting pauses after each connection meanwhile, milliseconds.
    pub accept_delay_ms: u64,
}

impl OverloadRules {
    /// No protection.
    pub const OFF: Self = Self {
        turn_us_max: None,
        cool_down_ms: 0,
        accept_delay_ms: 0,
    };
}

/// What is known of one core.
#[derive(Clone, Copy, Default, Debug)]
pub struct Overload {
    /// The door is closed until then, milliseconds since process start.
    until_ms: u64,
}

impl Overload {
    /// A turn took so long; says whether the door closes by that.
    pub fn note_turn(&mut self, us: u64, rules: OverloadRules, now_ms: u64) -> bool {
        if rules.turn_us_max.is_none_or(|most| us <= most) {
            return false;
        }
        let was_closed = self.is_closed(now_ms);
        // The turn ended later than it began.
        self.until_ms = now_ms + us / 1000 + rules.cool_down_ms;
        !was_closed
    }

    /// Whether nobody new is let in.
    pub fn is_closed(&self, now_ms: u64) -> bool {
        now_ms < self.until_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_turn_closes_the_door_for_a_while() {
        let rules = OverloadRules {
            turn_us_max: Some(500_000),
            cool_down_ms: 1000,
            accept_delay_ms: 100,
        };
        let mut overload = Overload::default();
        assert!(!overload.note_turn(500_000, rules, 10));
        assert!(!overload.is_closed(10));
        assert!(overload.note_turn(600_000, rules, 10));
        assert!(overload.is_closed(1609));
        assert!(!overload.is_closed(1610));
        assert!(overload.note_turn(600_000, rules, 2000));
        assert!(
            !overload.note_turn(600_000, rules, 2500),
            "it is closed already"
        );
        assert!(overload.is_closed(4000));
        assert!(!overload.note_turn(9_000_000, OverloadRules::OFF, 9000));
        assert!(!overload.is_closed(9000));
    }
}
