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
