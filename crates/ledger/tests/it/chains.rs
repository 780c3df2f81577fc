//! Chains can be entered anywhere in few reads.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::ControlFlow;
use tributary_ledger::chain::{Chain, Link, Until, level, seek, walk};
use tributary_ledger::{AccountId, Currency, Leg};

/// A chain of `legs` legs at positions 3, 6, 9 …, two legs per unit of time.
fn chain(legs: u64) -> (Chain, BTreeMap<u64, Link>) {
    let mut chain = Chain::default();
    let mut links = BTreeMap::new();
    for at in 1..=legs {
        let (seq, prev, skip) = chain.next();
        let currency = Currency::from_code("EUR").unwrap();
        let leg = Leg {
            account: AccountId(1),
            amount: 1,
            posted_after: 0,
            held_after: 0,
            prev,
            skip,
            seq,
            currency,
        };
        links.insert(
            at * 3,
            Link {
                position: at * 3,
                timestamp: at / 2,
                leg,
            },
        );
        chain.push(at * 3);
    }
    (chain, links)
}

/// Reads to find `until`, which must be the leg numbered `expected` (0 = none).
fn reads(chain: &Chain, links: &BTreeMap<u64, Link>, until: Until, expected: u64) -> usize {
    let mut reads = 0;
    let read = |position| {
        reads += 1;
        Ok::<_, Infallible>(links[&position])
    };
    let found = seek(chain.last(), until, read).unwrap();
    assert_eq!(found.map_or(0, |link| link.leg.seq), expected, "{until:?}");
    reads
}

#[test]
fn a_seek_finds_the_newest_leg_that_is_not_past_its_goal() {
    for legs in [0, 1, 2, 31, 32, 33, 100, 1_023, 1_024, 1_025, 3_000] {
        let (chain, links) = chain(legs);
        assert_eq!(chain.seq(), legs);
        for seq in (0..=legs).step_by(1 + legs as usize / 97) {
            reads(&chain, &links, Until::Seq(seq), seq);
            reads(&chain, &links, Until::Position(seq * 3), seq);
            reads(&chain, &links, Until::Position(seq * 3 + 2), seq);
            reads(
                &chain,
                &links,
                Until::Timestamp(seq / 2),
                (seq / 2 * 2 + 1).min(legs),
            );
        }
        reads(&chain, &links, Until::Timestamp(u64::MAX), legs);
    }
}

#[test]
fn a_seek_in_a_long_chain_takes_few_reads() {
    let (chain, links) = chain(300_000);
    let most = (0..300_000)
        .step_by(1_111)
        .map(|seq| reads(&chain, &links, Until::Seq(seq), seq))
        .max();
    assert!(most.unwrap() <= 500, "{most:?} reads of 300,000");
}

#[test]
fn skip_is_the_last_leg_of_a_higher_level() {
    let (_, links) = chain(70_000);
    let mut last = [0; 5];
    for link in links.values() {
        let own = level(link.leg.seq) as usize;
        let higher = if own == 4 {
            last[4]
        } else {
            last[own + 1..].iter().copied().max().unwrap()
        };
        assert_eq!(link.leg.skip, higher, "leg {}", link.leg.seq);
        assert_eq!(link.leg.prev, link.position - 3);
        last[own] = link.position;
    }
}

#[test]
fn a_walk_sees_every_leg_newest_first() {
    let (chain, links) = chain(70);
    let read = |position| Ok::<_, Infallible>(links[&position]);
    let mut seen = Vec::new();
    let start = seek(chain.last(), Until::Seq(50), read).unwrap();
    walk(start, read, |link| {
        seen.push(link.leg.seq);
        if link.leg.seq == 20 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .unwrap();
    assert_eq!(seen, (20..=50).rev().collect::<Vec<_>>());
}

#[test]
fn levels_are_powers_of_32() {
    for (seq, expected) in [
        (1, 0),
        (31, 0),
        (32, 1),
        (64, 1),
        (1_024, 2),
        (32_768, 3),
        (1 << 20, 4),
        (1 << 30, 4),
    ] {
        assert_eq!(level(seq), expected, "{seq}");
    }
}
