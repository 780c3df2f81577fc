//! Promises about sets that are too large to be looked at in one go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tributary_engine::{Engine, Options, Page, PaymentFilter, Start, SystemClock};
use tributary_ledger::{AccountId, Body, Command, OwnerId, OwnerName};
use tributary_testkit::store::TestStore;

use crate::support::{codes, command, in_directory, open, pay};

fn execute(engine: &Engine, commands: Vec<Command>) {
    let replies = engine
        .execute_blocking(commands)
        .expect("nothing is in the way");
    assert!(codes(&replies).iter().all(Option::is_none));
}

/// Opens accounts of `owner` numbered from `first` on.
fn open_many(engine: &Engine, owner: &str, first: usize, count: usize) {
    for from in (first..first + count).step_by(4_000) {
        let to = (from + 4_000).min(first + count);
        let opening = (from..to).map(|number| open(&format!("open-{number}"), owner));
        execute(engine, opening.collect());
    }
}

/// Payments go on while the accounts are summed in slices: no sum may take the one side of a payment without the other.
#[test]
fn a_trial_balance_made_while_payments_go_on_is_of_one_moment() {
    const ACCOUNTS: u64 = 1_500;
    let engine = in_directory().start(Arc::new(SystemClock), Options::default());
    open_many(&engine, "shop", 0, ACCOUNTS as usize);
    let (done, summed) = (AtomicBool::new(false), AtomicU64::new(0));
    let rounds = std::thread::scope(|scope| {
        let summing = scope.spawn(|| {
            let mut newest = 0;
            while !done.load(Ordering::Acquire) {
                let (position, totals) = engine.reader().trial_balance();
                assert!(position >= newest, "time goes on");
                newest = position;
                let (mut debit, mut credit, mut accounts) = (0, 0, 0);
                for sums in totals.values() {
                    debit += sums.debit;
                    credit += sums.credit;
                    accounts += sums.accounts;
                }
                assert_eq!(debit, credit, "as of {position}");
                assert!(accounts >= ACCOUNTS);
                summed.fetch_add(1, Ordering::AcqRel);
            }
        });
        let mut round = 0_u64;
        // At least until something was summed meanwhile.
        while round < 40 || summed.load(Ordering::Acquire) == 0 && !summing.is_finished() {
            let paying = (0..500_u64).map(|at| {
                let source = 1 + (at * 7 + round * 13) % ACCOUNTS;
                let destination = 1 + (source + at * 31) % ACCOUNTS;
                let destination = if destination == source {
                    1 + source % ACCOUNTS
                } else {
                    destination
                };
                command(
                    &format!("pay-{round}-{at}"),
                    Body::Pay(pay(source, destination, 1 + at)),
                )
            });
            execute(&engine, paying.collect());
            open_many(&engine, "late", 10_000 + round as usize, 1);
            round += 1;
        }
        done.store(true, Ordering::Release);
        summing.join().expect("every sum was right");
        round
    });
    let (_, totals) = engine.reader().trial_balance();
    let accounts: u64 = totals.values().map(|sums| sums.accounts).sum();
    assert_eq!(accounts, ACCOUNTS + rounds);
}

/// Ids of the owner's accounts, page by page from `start` on.
fn accounts_of(engine: &Engine, owner: OwnerId, mut start: Start) -> Vec<u64> {
    let mut ids = Vec::new();
    let newest_first = !matches!(start, Start::After(_));
    loop {
        let page = Page {
            start,
            ..Page::newest(4_000)
        };
        let slice = engine
            .reader()
            .accounts(Some(owner), page, |_| true)
            .expect("it is read");
        let found = slice.items.iter().map(|account| account.id.0);
        if newest_first {
            ids.extend(found);
        } else {
            ids.extend(found.rev());
        }
        match slice.next.filter(|_| slice.has_more) {
            Some(at) if newest_first => start = Start::Before(at),
            Some(at) => start = Start::After(at),
            None => return ids,
        }
    }
}

#[test]
fn an_owner_with_very_many_accounts_is_listed_whole() {
    let engine = TestStore::in_memory().start(Arc::new(SystemClock), Options::default());
    open_many(&engine, "other", 0, 10);
    open_many(&engine, "crowd", 10, 10_500);
    open_many(&engine, "other", 20_000, 10);
    let name = OwnerName::new("crowd").expect("a plain name");
    let owner = engine
        .reader()
        .owner_by_name(&name)
        .expect("it owns accounts");
    let ascending: Vec<u64> = (11..=10_510).collect();
    let descending: Vec<u64> = ascending.iter().rev().copied().collect();
    assert_eq!(accounts_of(&engine, owner, Start::Newest), descending);
    assert_eq!(accounts_of(&engine, owner, Start::After(0)), ascending);
    assert_eq!(
        accounts_of(&engine, owner, Start::Before(100)),
        descending[descending.len() - 89..]
    );
    assert_eq!(
        accounts_of(&engine, owner, Start::After(10_500)),
        ascending[ascending.len() - 10..]
    );

    let paid =
        |key: &str, source, destination| command(key, Body::Pay(pay(source, destination, 5)));
    execute(
        &engine,
        vec![
            paid("within", 20, 10_000),
            paid("others", 1, 2),
            paid("across", 3, 11),
        ],
    );
    let filter = PaymentFilter {
        owner: Some(owner),
        ..PaymentFilter::default()
    };
    let payments = engine
        .reader()
        .payments(&filter, Page::newest(10))
        .expect("it is read");
    let keys: Vec<&[u8]> = payments
        .items
        .iter()
        .map(|item| item.1.command.key.as_bytes())
        .collect();
    assert_eq!(keys, [&b"across"[..], b"within"]);
    let newest = engine
        .reader()
        .records(Some(owner), Page::newest(3))
        .expect("it is read");
    let positions: Vec<u64> = newest
        .items
        .iter()
        .map(|record| record.ctx.position)
        .collect();
    assert_eq!(positions, [10_523, 10_521, 10_510]);
    assert!(newest.has_more);
    assert_eq!(
        engine
            .reader()
            .account(AccountId(11))
            .expect("it is there")
            .posted,
        5
    );
}
