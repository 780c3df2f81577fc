//! Clusters under faults, from a seed: nodes that crash, pause and lose their connections, a log that fails over, delays, repeats and
//! goes back, and clients that repeat their requests. Every promise is checked at every step.

mod log;
mod world;

use tributary_testkit::seeds::{ReplayHint, Seeds};

use crate::bug::Bug;
use world::{Report, World};

/// Seeds of the tests of every day.
const SEEDS: u64 = 150;

#[test]
fn simulated_clusters_keep_their_promises() {
    let mut sum = Report::default();
    for seed in Seeds::for_test("cluster", SEEDS) {
        let _hint = ReplayHint {
            test: "cluster",
            seed,
        };
        sum.add(&World::run(seed, None).unwrap_or_else(|broken| panic!("seed {seed}: {broken}")));
    }
    eprintln!("{sum:?}");
    if std::env::var_os("TRIBUTARY_SIMULATE").is_none() {
        // A simulation that never met a fault proves nothing.
        assert!(
            sum.failovers > 100 && sum.crashes > 100 && sum.unknown > 100,
            "{sum:?}"
        );
        assert!(
            sum.leaders > 500 && sum.went_back > 5 && sum.closed > 5,
            "{sum:?}"
        );
        assert!(sum.answered > 10_000 && sum.outward > 1_000, "{sum:?}");
        assert!(sum.besides > 10_000 && sum.barriers > 10_000, "{sum:?}");
    }
}

/// Checks that a bug is found, and within how many seeds.
#[track_caller]
fn check_found(bug: Bug) {
    const SEEDS_MAX: u64 = 400;
    let found =
        (0..SEEDS_MAX).find_map(|seed| World::run(seed, Some(bug)).err().map(|how| (seed, how)));
    match found {
        Some((seed, how)) => eprintln!("{bug:?} was found with seed {seed}: {how}"),
        None => panic!("{bug:?} was not found within {SEEDS_MAX} seeds"),
    }
}

#[test]
fn an_answer_before_its_entry_is_settled_is_found() {
    check_found(Bug::AnswersBeforeSettled);
}

#[test]
fn a_decision_before_the_own_claim_is_read_is_found() {
    check_found(Bug::DecidesBeforeClaimIsRead);
}

#[test]
fn an_unknown_append_that_is_taken_for_lost_is_found() {
    check_found(Bug::TakesUnknownForLost);
}

#[test]
fn a_follower_that_decides_is_found() {
    check_found(Bug::FollowerDecides);
}

#[test]
fn a_frame_of_an_earlier_term_that_counts_is_found() {
    check_found(Bug::CountsZombies);
}

#[test]
fn a_mirror_that_is_cut_to_a_log_that_went_back_is_found() {
    check_found(Bug::CutsMirror);
}

#[test]
fn a_delivery_after_the_window_is_found() {
    check_found(Bug::WorksAfterWindow);
}

#[test]
fn a_claim_without_a_reason_is_found() {
    check_found(Bug::ClaimsOnReconnect);
}

#[test]
fn two_nodes_that_go_on_alone_are_found() {
    check_found(Bug::BothLeave);
}

#[test]
fn a_buffer_from_before_a_failover_is_found() {
    check_found(Bug::KeepsBuffer);
}
