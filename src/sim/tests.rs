//! Seeds of all plans. `MILLRACE_SIM_SEEDS` sets how many of each, `MILLRACE_SIM_FIRST` where they
//! begin; a failure names plan and seed.

use super::plan::Plan;
use super::run;
use super::verdict::Stats;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn run_seeds(plan: &Plan, default: u64) -> Stats {
    let first = number("MILLRACE_SIM_FIRST", 0);
    let seeds = number("MILLRACE_SIM_SEEDS", default);
    let mut sum = Stats::default();
    for seed in first..first + seeds {
        match run(seed, plan) {
            Ok(stats) => sum.add(&stats),
            Err(failure) => panic!("{failure}"),
        }
    }
    println!("{}: {seeds} seeds, {sum:?}", plan.name);
    sum
}

#[test]
fn a_bit_of_everything() {
    let sum = run_seeds(&Plan::mixed(), 40);
    assert!(sum.delivered > sum.published && sum.lanes_full > 0 && sum.blocks > 0);
    assert!(sum.aliased > 0);
}

#[test]
fn steady_traffic_through_tiny_lanes() {
    let sum = run_seeds(&Plan::steady(), 30);
    assert!(sum.lanes_full > 0 && sum.records_crossed > 0);
}

#[test]
fn sessions_that_resume_and_wills() {
    let sum = run_seeds(&Plan::reconnects(), 40);
    assert!(sum.resumed > 0 && sum.wills > 0);
}

#[test]
fn retained_messages_while_subscriptions_change() {
    let sum = run_seeds(&Plan::retained(), 40);
    assert!(sum.replayed > 0);
}

#[test]
fn everything_stands_still_at_times() {
    run_seeds(&Plan::stalls(), 40);
}

#[test]
fn silent_clients() {
    run_seeds(&Plan::silence(), 40);
}

#[test]
fn rivals_for_one_client_id() {
    run_seeds(&Plan::rivals(), 30);
}

#[test]
fn overflow_is_counted_exactly() {
    let sum = run_seeds(&Plan::overflow(), 30);
    assert!(sum.dropped > 0);
}

#[test]
fn lack_of_memory_is_counted_exactly() {
    let sum = run_seeds(&Plan::memory(), 30);
    assert!(sum.dropped > 0);
}

#[test]
fn shared_subscriptions() {
    let sum = run_seeds(&Plan::shared(), 60);
    assert!(sum.shared > 0 && sum.shared_repeats > 0);
}

#[test]
fn shared_subscriptions_whose_members_crash() {
    let sum = run_seeds(&Plan::shared_crashes(), 60);
    assert!(sum.shared > 0 && sum.shared_repeats > 0 && sum.resumed > 0);
}

#[test]
fn shared_subscriptions_keep_order_while_nobody_goes() {
    let sum = run_seeds(&Plan::shared_steady(), 40);
    assert!(sum.shared > 0 && sum.lanes_full > 0);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for plan in Plan::all() {
        let first = run(7, &plan).map_err(|failure| failure.to_string());
        let second = run(7, &plan).map_err(|failure| failure.to_string());
        assert_eq!(first, second, "{}", plan.name);
    }
    let other = run(8, &Plan::mixed()).map(|stats| stats.digest).ok();
    assert_ne!(run(7, &Plan::mixed()).map(|stats| stats.digest).ok(), other);
}

/// Runs the seeds of a matrix; a failure names its seed. `run` says what it saw.
fn run_matrix(name: &str, default: u64, run: impl Fn(u64) -> bool) -> u64 {
    let first = number("MILLRACE_SIM_FIRST", 0);
    let seeds = number("MILLRACE_SIM_SEEDS", default);
    let mut seen = 0;
    for seed in first..first + seeds {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed)));
        match outcome {
            Ok(saw) => seen += u64::from(saw),
            Err(_) => panic!("{name}: seed {seed} (what was broken stands above)"),
        }
    }
    println!("{name}: {seeds} seeds, {seen} of them saw it");
    seen
}

/// A small step through the list first, so that few seeds see cases of every kind.
fn spread(seed: u64, len: usize) -> usize {
    let len = len as u64;
    usize::try_from(seed.wrapping_mul(7919) % len).unwrap_or(0)
}

/// Runs a combination, and names it if it fails.
fn named<C: std::fmt::Debug>(case: &C, run: impl FnOnce() -> bool) -> bool {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    outcome.unwrap_or_else(|_| panic!("{case:?}"))
}

#[test]
fn wills_in_every_combination() {
    let cases = super::will_matrix::cases();
    assert!(cases.len() > 3_000 && !cases.len().is_multiple_of(7919));
    let plan = Plan::reconnects();
    let seen = run_matrix("wills", 400, |seed| {
        let case = &cases[spread(seed, cases.len())];
        named(case, || super::will_matrix::run(seed, &plan, case))
    });
    assert!(seen > 0);
}

#[test]
fn shared_groups_in_every_combination() {
    let cases = super::share_matrix::cases();
    assert!(cases.len() > 700 && !cases.len().is_multiple_of(7919));
    let plan = Plan::shared();
    let seen = run_matrix("shares", 300, |seed| {
        let case = &cases[spread(seed, cases.len())];
        named(case, || super::share_matrix::run(seed, &plan, case))
    });
    assert!(seen > 0);
}

#[test]
fn what_comes_again_comes_in_order() {
    let plan = Plan::reconnects();
    let seen = run_matrix("replays", 200, |seed| {
        super::replay_matrix::run(seed, &plan)
    });
    assert!(seen > 0);
}

/// Inputs of the fuzzer: what once failed, and what a small generator makes. See `raw.rs`.
#[test]
fn bytes_of_all_kinds_leave_nothing_behind() {
    // Stored messages wait for a client that reads nothing: the core rests.
    let waits: &[u8] = b"\x0e\x01\x00\x08\x40\xea\xe9\xea\x27\xf7\x85\x85\x85\x85\x85\x85\x85\x85\x85\
        \x85\x85\x85\x85\x85\x85\x85\x85\x85\x85\x85\x85\x85\x85\x85\x85\x85\x85\x85\x85\x85\x85\x85\x45\x64\x64\xf5\x68";
    // Messages fill the memory: others are let in nevertheless.
    let full: &[u8] =
        b"\xd6\x00\x01\x5b\x07\x07\x01\x5b\x29\x7e\x01\x40\x00\x00\x58\x81\x04\x00\x01\x5b\x07\
        \x07\x01\x5b\x29\x07\x07\x81\x81\x29\x7e\x0a\x2e\x24\x04\xfa\xff\x2d\x26\xd6\x2e\x3e";
    for input in [waits, full] {
        super::raw_input::run(input);
    }
    let seeds = number("MILLRACE_SIM_SEEDS", 300);
    for seed in 0..seeds {
        let mut rng = super::rng::Rng::new(seed);
        let len = rng.range(20, 400);
        let input: Vec<u8> = (0..len).map(|_| rng.word().to_le_bytes()[0]).collect();
        named(&seed, || {
            super::raw_input::run(&input);
            true
        });
    }
}
