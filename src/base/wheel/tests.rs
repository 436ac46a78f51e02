//! The wheel against a sorted map, and what it costs.

use proptest::prelude::*;

use super::*;

const TICK_MS: u64 = 100;
const ROUND_MS: u64 = TICK_MS * WHEEL_SLOTS as u64;

fn expired(wheel: &mut TimerWheel, now_ms: u64) -> Vec<u64> {
    let mut out = Vec::new();
    assert!(wheel.expire(now_ms, usize::MAX, &mut out));
    out.sort_unstable();
    out
}

#[test]
fn fires_within_the_tick_after_its_time_and_not_before() {
    let mut wheel = TimerWheel::new(1_000, TICK_MS);
    wheel.arm(1, 1_250);
    wheel.arm(2, 1_300);
    wheel.arm(3, 1_301);
    assert_eq!(wheel.next_due_ms(), Some(1_300));
    assert_eq!(expired(&mut wheel, 1_299), [0_u64; 0]);
    assert_eq!(expired(&mut wheel, 1_300), [1, 2]);
    assert_eq!(wheel.next_due_ms(), Some(1_400));
    assert_eq!(expired(&mut wheel, 1_400), [3]);
    assert_eq!((wheel.next_due_ms(), wheel.len()), (None, 0));
}

#[test]
fn a_time_in_the_past_is_the_next_tick() {
    let mut wheel = TimerWheel::new(0, TICK_MS);
    expired(&mut wheel, 5_000);
    wheel.arm(1, 10);
    assert_eq!(wheel.next_due_ms(), Some(5_100));
    assert_eq!(expired(&mut wheel, 5_100), [1]);
}

#[test]
fn later_rounds_neither_fire_nor_wake_before_their_time() {
    let mut wheel = TimerWheel::new(0, TICK_MS);
    for slot in 0..WHEEL_SLOTS as u64 {
        wheel.arm(slot, 10 * ROUND_MS + slot * TICK_MS);
    }
    assert_eq!(wheel.next_due_ms(), Some(10 * ROUND_MS));
    wheel.arm(u64::MAX, 700);
    assert_eq!(expired(&mut wheel, 9 * ROUND_MS), [u64::MAX]);
    assert_eq!(wheel.next_due_ms(), Some(10 * ROUND_MS));
    assert_eq!(expired(&mut wheel, 11 * ROUND_MS - 1).len(), WHEEL_SLOTS);
}

#[test]
fn the_budget_bounds_a_call_and_the_rest_stays_due() {
    let mut wheel = TimerWheel::new(0, TICK_MS);
    for key in 0..10 {
        wheel.arm(key, 500);
        wheel.arm(100 + key, 500 + ROUND_MS);
    }
    let mut out = Vec::new();
    let mut calls = 0;
    while !wheel.expire(500, 3, &mut out) {
        calls += 1;
        assert_eq!(wheel.next_due_ms(), Some(500));
        // Armed for a later round of the slot in hand: not looked at again, not lost.
        wheel.arm(200 + calls, 500 + 2 * ROUND_MS);
        assert!(calls < 10, "each call gets on");
    }
    out.sort_unstable();
    assert_eq!(out, (0..10).collect::<Vec<_>>());
    assert_eq!(expired(&mut wheel, 500 + ROUND_MS).len(), 10);
    assert_eq!(expired(&mut wheel, 500 + 2 * ROUND_MS).len() as u64, calls);
}

#[test]
fn an_armed_timer_for_the_slot_in_hand_is_not_lost() {
    let mut wheel = TimerWheel::new(0, TICK_MS);
    wheel.arm(1, 500);
    wheel.arm(2, 500);
    let mut out = Vec::new();
    assert!(!wheel.expire(500, 1, &mut out));
    wheel.arm(3, 0);
    assert!(wheel.expire(500, 10, &mut out));
    out.sort_unstable();
    assert_eq!(out, [1, 2, 3]);
}

#[test]
fn the_end_of_time_is_no_overflow() {
    let mut wheel = TimerWheel::new(7, 1);
    wheel.arm(1, u64::MAX);
    assert_eq!(expired(&mut wheel, 1 << 31), [0_u64; 0]);
    assert_eq!(expired(&mut wheel, u64::MAX), [1]);
    wheel.arm(2, u64::MAX);
    assert_eq!(wheel.len(), 1);
}

#[test]
fn a_million_timers_cost_16_bytes_each_and_are_not_allocated_twice() {
    let mut wheel = TimerWheel::new(0, TICK_MS);
    let count = 1_000_000;
    for key in 0..count {
        wheel.arm(key, 300_000 + key % 300_000);
    }
    let bytes = wheel.bytes();
    assert!(bytes as u64 <= count * 16 + 100_000, "{bytes}");
    let mut out = Vec::new();
    let mut fired = 0;
    for second in 300..900 {
        wheel.expire(second * 1000, usize::MAX, &mut out);
        fired += out.len() as u64;
        for key in out.drain(..) {
            wheel.arm(key, second * 1000 + 300_000);
        }
    }
    assert!(fired > count, "{fired}");
    assert_eq!((wheel.len() as u64, wheel.bytes()), (count, bytes));
}

#[derive(Clone, Debug)]
enum Step {
    Arm { in_ms: u64 },
    Pass { ms: u64, budget: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let times = prop_oneof![0..300u64, 0..60_000u64, 0..5 * ROUND_MS, Just(ROUND_MS)];
    prop_oneof![
        3 => times.clone().prop_map(|in_ms| Step::Arm { in_ms }),
        1 => (times, prop_oneof![1..4usize, Just(usize::MAX)])
            .prop_map(|(ms, budget)| Step::Pass { ms, budget }),
    ]
}

proptest! {
    #[test]
    fn agrees_with_a_list(
        start_ms in 0..10_000u64,
        tick_ms in 1..200u64,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut wheel = TimerWheel::new(start_ms, tick_ms);
        let mut now_ms = start_ms;
        // (earliest moment, latest moment, key) of each timer; the wheel's answer must lie between.
        let mut armed: Vec<(u64, u64, u64)> = Vec::new();
        let mut complete_at_ms = start_ms;
        let mut through = true;
        for (key, step) in steps.into_iter().enumerate() {
            match step {
                Step::Arm { in_ms } => {
                    let at_ms = now_ms + in_ms;
                    wheel.arm(key as u64, at_ms);
                    armed.push((at_ms, at_ms.max(complete_at_ms) + tick_ms, key as u64));
                }
                Step::Pass { ms, budget } => {
                    now_ms += ms;
                    let mut out = Vec::new();
                    through = wheel.expire(now_ms, budget, &mut out);
                    for key in out {
                        let at = armed.iter().position(|timer| timer.2 == key);
                        let (at_ms, ..) = armed.swap_remove(at.expect("fires once, and only if armed"));
                        prop_assert!(at_ms <= now_ms, "early by {}", at_ms - now_ms);
                    }
                    if through {
                        complete_at_ms = now_ms;
                        let late = armed.iter().find(|timer| timer.1 <= now_ms);
                        prop_assert!(late.is_none(), "{late:?} at {now_ms}");
                    }
                }
            }
            prop_assert_eq!(wheel.len(), armed.len());
            // Not later than any timer may fire, and, unless a slot is half done, not earlier than
            // the first has to be asked for.
            let next = wheel.next_due_ms();
            prop_assert_eq!(next.is_none(), armed.is_empty());
            if let (Some(next), Some(latest)) = (next, armed.iter().map(|timer| timer.1).min()) {
                let earliest = armed.iter().map(|timer| timer.0).min().unwrap_or(0);
                let early = through && next + tick_ms <= earliest;
                prop_assert!(next <= latest && !early, "{earliest} {next} {latest}");
            }
        }
    }
}
