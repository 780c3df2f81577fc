//! Statements and lists of the read side against a scan of the model's whole history.

use std::collections::BTreeSet;

use tributary_engine::{Page, PaymentFilter, Reader, Slice, Start};
use tributary_ledger::{
    AccountId, Body, Date, ExternalId, OwnerId, OwnerName, PaymentId, PaymentKind, PaymentStatus,
    Reference, ReferenceSpace, SettingId, SettingKind, Slug,
};

use crate::model::{Model, PaymentQuery, Window, check_payment, check_setting};
use crate::random::Random;

/// Key of an item of a list: its position.
type Listed = (u64, u64);

/// Checks a few random pages of every kind of list.
pub fn check_random_pages(model: &Model, reader: &Reader, rng: &mut Random) -> Result<(), String> {
    for _ in 0..3 {
        let window = random_window(model, rng);
        if let Some(account) = random_account(model, rng) {
            check_statement(model, reader, account, window)?;
        }
        check_payments(model, reader, &random_query(model, rng), window)?;
        check_accounts(model, reader, random_owner(model, rng), window)?;
        check_records(model, reader, random_owner(model, rng), window)?;
    }
    check_setting_revisions(model, reader, rng)?;
    // With numbers of its own: a check that is added must not change what the seeds of other tests do.
    let mut own = Random::new(model.position());
    check_past_balances(model, reader, &mut own)?;
    check_filters(model, reader, &mut own)?;
    check_totals(model, reader)
}

/// Checks every statement and list page by page from the newest to the oldest, every payment and every name.
pub fn check_everything(model: &Model, reader: &Reader, rng: &mut Random) -> Result<(), String> {
    for _ in 0..6 {
        check_random_pages(model, reader, rng)?;
    }
    for &account in model.accounts().keys() {
        let whole = model.statement(account);
        let positions: Vec<u64> = whole.iter().rev().map(|touch| touch.position).collect();
        let limit = 1 + rng.index(9);
        let paged = page_through(limit, |page| {
            let slice = reader.statement(AccountId(account), page);
            read_positions(slice.map_err(|failure| failure.to_string())?, |line| {
                line.record.ctx.position
            })
        })?;
        check_same(
            &format!("the pages of statement {account}"),
            &paged,
            &positions,
        )?;
    }
    for owner in model.owners().values().map(|id| Some(*id)).chain([None]) {
        let limit = 1 + rng.index(30);
        let positions = newest_first(&model.list_records(owner));
        let paged = page_through(limit, |page| {
            let slice = reader.records(owner.map(OwnerId), page);
            read_positions(slice.map_err(|failure| failure.to_string())?, |record| {
                record.ctx.position
            })
        })?;
        check_same(
            &format!("the pages of records of {owner:?}"),
            &paged,
            &positions,
        )?;
    }
    for (&id, expected) in model.payments() {
        let payment = reader
            .payment(PaymentId(id))
            .map_err(|failure| failure.to_string())?
            .ok_or_else(|| format!("payment {id} is missing"))?;
        check_payment(expected, &payment)?;
        let mut viewers = BTreeSet::new();
        payment.viewers(
            |id| reader.account_owner(id),
            |owner| _ = viewers.insert(owner.0),
        );
        check_same(
            &format!("viewers of {id}"),
            &viewers,
            &model.viewers(expected),
        )?;
    }
    check_names(model, reader)?;
    check_settings(model, reader)
}

/// Checks every living setting by id, by slug and in lists.
fn check_settings(model: &Model, reader: &Reader) -> Result<(), String> {
    for (&id, expected) in model.settings() {
        let setting = reader
            .setting(SettingId(id))
            .ok_or_else(|| format!("setting {id} is missing"))?;
        check_setting(expected, &setting)?;
        let slug = Slug::new(&expected.slug).expect("it was one");
        let found = reader.setting_by_slug(setting.owner, setting.kind, &slug);
        check_same("holder of a slug", &found, &Some(setting))?;
    }
    let owners = model.owners().values().map(|id| Some(*id)).chain([None]);
    for (owner, kind) in owners.flat_map(|owner| [(owner, 1), (owner, 2)]) {
        let mut expected: Vec<(u64, u64)> = model
            .settings()
            .iter()
            .filter(|(_, setting)| setting.kind == kind)
            .filter(|(_, setting)| owner.is_none_or(|owner| setting.owner == owner))
            .map(|(id, setting)| (setting.revisions[0], *id))
            .collect();
        expected.sort_unstable();
        let listed = reader.settings(SettingKind(kind), owner.map(OwnerId));
        let listed: Vec<(u64, u64)> = listed
            .iter()
            .map(|setting| (setting.created.position, setting.id.0))
            .collect();
        check_same("settings of an owner", &listed, &expected)?;
    }
    Ok(())
}

/// Checks the revisions of a random setting: a window, and page by page.
fn check_setting_revisions(model: &Model, reader: &Reader, rng: &mut Random) -> Result<(), String> {
    let ids: Vec<u64> = model.settings().keys().copied().collect();
    let Some(&id) = rng.pick(&ids) else {
        return Ok(());
    };
    let window = Window {
        from: None,
        until: None,
        ..random_window(model, rng)
    };
    let what = format!("revisions of {id} {window:?}");
    let all = &model.settings()[&id].revisions;
    let (expected, more) = window.select(all, |position| (*position, 0));
    let revisions = |start, limit| {
        let slice = reader.setting_revisions(SettingId(id), start, limit);
        read_positions(slice.map_err(|failure| failure.to_string())?, |record| {
            record.ctx.position
        })
    };
    let slice = revisions(to_page(window).start, window.limit)?;
    check_same(&what, &slice.items, &expected)?;
    check_same(&format!("{what}: has_more"), &slice.has_more, &more)?;
    let paged = page_through(1 + rng.index(3), |page| revisions(page.start, page.limit))?;
    let newest_first: Vec<u64> = all.iter().rev().copied().collect();
    check_same(
        &format!("pages of revisions of {id}"),
        &paged,
        &newest_first,
    )
}

fn newest_first(all: &[Listed]) -> Vec<u64> {
    all.iter().rev().map(|(position, _)| *position).collect()
}

/// Returns the whole list, read in pages of `limit` by following the cursors.
fn page_through(
    limit: usize,
    mut fetch: impl FnMut(Page) -> Result<Slice<u64>, String>,
) -> Result<Vec<u64>, String> {
    let mut all = Vec::new();
    let mut page = Page::newest(limit);
    loop {
        let slice = fetch(page)?;
        all.extend(&slice.items);
        if !slice.has_more {
            return Ok(all);
        }
        let next = slice.next.ok_or("more is promised and no cursor given")?;
        page.start = Start::Before(next);
    }
}

fn read_positions<T>(slice: Slice<T>, position: impl Fn(&T) -> u64) -> Result<Slice<u64>, String> {
    Ok(Slice {
        items: slice.items.iter().map(position).collect(),
        has_more: slice.has_more,
        next: slice.next,
    })
}

fn to_page(window: Window) -> Page {
    Page {
        limit: window.limit,
        start: match (window.before, window.after) {
            (Some(before), _) => Start::Before(before),
            (None, Some(after)) => Start::After(after),
            (None, None) => Start::Newest,
        },
        from: window.from,
        until: window.until,
    }
}

fn random_window(model: &Model, rng: &mut Random) -> Window {
    let position = rng.below(model.position() + 3);
    let (before, after) = match rng.below(3) {
        0 => (None, None),
        1 => (Some(position), None),
        _ => (None, Some(position)),
    };
    let mut time = |percent: u64| {
        if !rng.chance(percent) {
            return None;
        }
        let entry = rng.pick(model.entries())?;
        Some(entry.timestamp + rng.below(3) - 1)
    };
    let (from, until) = (time(30), time(30));
    Window {
        limit: 1 + rng.index(25),
        before,
        after,
        from,
        until,
    }
}

fn random_account(model: &Model, rng: &mut Random) -> Option<u64> {
    let ids: Vec<u64> = model.accounts().keys().copied().collect();
    rng.pick(&ids).copied()
}

fn random_owner(model: &Model, rng: &mut Random) -> Option<u64> {
    let ids: Vec<u64> = model.owners().values().copied().collect();
    rng.chance(70)
        .then(|| *rng.pick(&ids).expect("the platform"))
}

fn random_query(model: &Model, rng: &mut Random) -> PaymentQuery {
    let account = if rng.chance(40) {
        random_account(model, rng)
    } else {
        None
    };
    let owner = if rng.chance(40) {
        random_owner(model, rng)
    } else {
        None
    };
    PaymentQuery {
        account,
        owner,
        reference: rng.chance(25).then(|| format!("order-{}", rng.below(150))),
        status: rng
            .chance(35)
            .then(|| PaymentStatus::ALL[rng.index(PaymentStatus::ALL.len())]),
        kind: rng
            .chance(25)
            .then(|| PaymentKind::ALL[rng.index(PaymentKind::ALL.len())]),
    }
}

fn check_statement(
    model: &Model,
    reader: &Reader,
    account: u64,
    window: Window,
) -> Result<(), String> {
    let what = format!("statement {account} {window:?}");
    let all = model.statement(account);
    let (expected, more) = window.select(&all, |touch| (touch.position, touch.timestamp));
    let slice = reader
        .statement(AccountId(account), to_page(window))
        .map_err(|failure| format!("{what}: {failure}"))?;
    let lines: Vec<_> = slice
        .items
        .iter()
        .map(|line| crate::model::Touch {
            position: line.record.ctx.position,
            timestamp: line.record.ctx.timestamp,
            amount: i128::from(line.leg.amount),
            posted_after: i128::from(line.leg.posted_after),
            held_after: i128::from(line.leg.held_after),
        })
        .collect();
    check_same(&what, &lines, &expected)?;
    check_same(&format!("{what}: has_more"), &slice.has_more, &more)
}

fn check_payments(
    model: &Model,
    reader: &Reader,
    query: &PaymentQuery,
    window: Window,
) -> Result<(), String> {
    let what = format!("payments {query:?} {window:?}");
    let listed = model.list_payments(query);
    let (expected, more) = window.select(&listed, |(_, position, time)| (*position, *time));
    let filter = PaymentFilter {
        account: query.account.map(AccountId),
        owner: query.owner.map(OwnerId),
        reference: query
            .reference
            .as_deref()
            .map(|name| Reference::new(name).expect("it was one")),
        status: query.status,
        kind: query.kind,
    };
    let slice = reader
        .payments(&filter, to_page(window))
        .map_err(|failure| format!("{what}: {failure}"))?;
    for (payment, record) in &slice.items {
        check_payment(&model.payments()[&payment.id.0], payment)?;
        check_same("request of a payment", &record.ctx.position, &payment.id.0)?;
    }
    let ids: Vec<u64> = slice.items.iter().map(|(found, _)| found.id.0).collect();
    let expected: Vec<u64> = expected.iter().map(|(id, _, _)| *id).collect();
    check_same(&what, &ids, &expected)?;
    let places = listed
        .iter()
        .rev()
        .map(|(id, position, _)| (*id, *position));
    for (id, position) in places.take(20) {
        let at = reader.listed_at(&filter, PaymentId(id));
        let at = at.map_err(|failure| failure.to_string())?;
        check_same(&format!("place of {id} in {what}"), &at, &position)?;
    }
    check_same(&format!("{what}: has_more"), &slice.has_more, &more)
}

fn check_accounts(
    model: &Model,
    reader: &Reader,
    owner: Option<u64>,
    window: Window,
) -> Result<(), String> {
    let what = format!("accounts of {owner:?} {window:?}");
    let (expected, more) = window.select(&model.list_accounts(owner), |found| *found);
    let slice = reader
        .accounts(owner.map(OwnerId), to_page(window), |_| true)
        .map_err(|failure| format!("{what}: {failure}"))?;
    let ids: Vec<Listed> = slice
        .items
        .iter()
        .map(|account| (account.id.0, account.opened_at))
        .collect();
    check_same(&what, &ids, &expected)?;
    check_same(&format!("{what}: has_more"), &slice.has_more, &more)
}

fn check_records(
    model: &Model,
    reader: &Reader,
    owner: Option<u64>,
    window: Window,
) -> Result<(), String> {
    let what = format!("records of {owner:?} {window:?}");
    let (expected, more) = window.select(&model.list_records(owner), |found| *found);
    let slice = reader
        .records(owner.map(OwnerId), to_page(window))
        .map_err(|failure| format!("{what}: {failure}"))?;
    let found: Vec<Listed> = slice
        .items
        .iter()
        .map(|record| (record.ctx.position, record.ctx.timestamp))
        .collect();
    check_same(&what, &found, &expected)?;
    check_same(&format!("{what}: has_more"), &slice.has_more, &more)
}

/// Checks the balances of the past at a random position, time and business date.
fn check_past_balances(model: &Model, reader: &Reader, rng: &mut Random) -> Result<(), String> {
    let position = rng.below(model.position() + 1);
    let failed = |failure: tributary_engine::Failure| failure.to_string();
    if let Some(account) = random_account(model, rng) {
        let last = model.touches_until(account, position).last().copied();
        let expected = last.map_or((0, 0, 0), |touch| {
            (touch.posted_after, touch.held_after, touch.position)
        });
        let found = reader
            .balance_at(AccountId(account), position)
            .map_err(failed)?
            .ok_or("an account has no balance")?;
        let found = (found.posted.into(), found.held.into(), found.last);
        let what = format!("balance of {account} at {position}");
        check_same(&what, &found, &expected)?;
    }
    let totals = reader
        .trial_balance_at(position)
        .map_err(failed)?
        .ok_or("a trial balance is refused")?;
    let (mut then, mut credit, mut held) = (0, 0, 0);
    for &account in model.accounts().keys().filter(|id| **id <= position) {
        let last = model.touches_until(account, position).last().copied();
        then += 1;
        credit += last.map_or(0, |touch| touch.posted_after.max(0));
        held += last.map_or(0, |touch| touch.held_after);
    }
    let found = (
        totals.values().map(|kind| kind.accounts).sum::<u64>(),
        totals.values().map(|kind| kind.credit).sum::<i128>(),
        totals.values().map(|kind| kind.debit).sum::<i128>(),
        totals.values().map(|kind| kind.held).sum::<i128>(),
    );
    let what = format!("trial balance at {position}");
    check_same(&what, &found, &(then, credit, credit, held))?;

    let Some(entry) = rng.pick(model.entries()) else {
        return Ok(());
    };
    let time = entry.timestamp + rng.below(3) - 1;
    let made = model.entries().iter();
    let made = made.filter(|entry| entry.timestamp <= time).count() as u64;
    let by = reader.position_by(time).map_err(failed)?;
    check_same(&format!("position by {time}"), &by, &made)?;
    let day = entry
        .command
        .effective_at
        .unwrap_or(Date::from_timestamp(entry.timestamp));
    let date = Date(day.0 + rng.index(3) as i32 - 1);
    let posted = model.posted_by_date(date.0);
    if let Some(account) = random_account(model, rng) {
        let found = reader
            .balance_on(AccountId(account), date, u64::MAX)
            .map_err(failed)?
            .ok_or("a balance of a date is refused")?;
        let expected = posted.get(&account).copied().unwrap_or_default();
        let what = format!("balance of {account} on {date:?}");
        check_same(&what, &found.posted, &expected)?;
    }
    let (through, totals) = reader
        .trial_balance_on(date)
        .map_err(failed)?
        .ok_or("a trial balance of a date is refused")?;
    let found = (
        through,
        totals.values().map(|kind| kind.accounts).sum::<u64>(),
        totals.values().map(|kind| kind.credit).sum::<i128>(),
        totals.values().map(|kind| kind.debit).sum::<i128>(),
    );
    let credit: i128 = posted.values().map(|posted| (*posted).max(0)).sum();
    let expected = (model.position(), posted.len() as u64, credit, credit);
    check_same(&format!("trial balance on {date:?}"), &found, &expected)
}

/// Checks the refunds of a random owner, and the events of a random payment.
fn check_filters(model: &Model, reader: &Reader, rng: &mut Random) -> Result<(), String> {
    let failed = |failure: tributary_engine::Failure| failure.to_string();
    let owner = random_owner(model, rng);
    let theirs = |account: &u64| owner.is_none_or(|it| model.accounts()[account].owner == it);
    let refunds = model.entries().iter().rev().filter(|entry| {
        let refund = matches!(entry.command.body, Body::Refund(_)) && entry.rejection.is_none();
        refund && entry.touched.iter().any(|(account, _)| theirs(account))
    });
    let expected: Vec<u64> = refunds.map(|entry| entry.position).collect();
    let found = page_through(1 + rng.index(9), |page| {
        let slice = reader.all_refunds(None, owner.map(OwnerId), page);
        read_positions(slice.map_err(failed)?, |record| record.ctx.position)
    })?;
    check_same(&format!("refunds of {owner:?}"), &found, &expected)?;

    let payments: Vec<u64> = model.payments().keys().copied().collect();
    let Some(&payment) = rng.pick(&payments) else {
        return Ok(());
    };
    let about = model.entries().iter().rev().filter(|entry| {
        let body = &entry.command.body;
        entry.position == payment || body.payment() == Some(PaymentId(payment))
    });
    let expected: Vec<u64> = about.map(|entry| entry.position).collect();
    let found = page_through(1 + rng.index(3), |page| {
        let slice = reader.payment_events(PaymentId(payment), page, |_| true);
        read_positions(slice.map_err(failed)?, |record| record.ctx.position)
    })?;
    check_same(&format!("events of payment {payment}"), &found, &expected)
}

fn check_totals(model: &Model, reader: &Reader) -> Result<(), String> {
    let (position, totals) = reader.trial_balance();
    check_same("trial balance position", &position, &model.position())?;
    for (currency, sum) in model.sums() {
        check_same("the model's books", &sum, &0)?;
        let of_kinds = || {
            totals
                .iter()
                .filter(|((known, _), _)| known.numeric() == currency)
                .map(|(_, totals)| totals)
        };
        let of_currency = || {
            model
                .accounts()
                .values()
                .filter(|account| account.currency == currency)
        };
        let credit: i128 = of_currency().map(|account| account.posted.max(0)).sum();
        let held: i128 = of_currency().map(|account| account.held).sum();
        check_same("credit", &of_kinds().map(|kind| kind.credit).sum(), &credit)?;
        check_same("debit", &of_kinds().map(|kind| kind.debit).sum(), &credit)?;
        check_same("held", &of_kinds().map(|kind| kind.held).sum(), &held)?;
        check_same(
            "accounts",
            &of_kinds().map(|kind| kind.accounts).sum(),
            &(of_currency().count() as u64),
        )?;
    }
    Ok(())
}

/// Checks that references, external ids and owners' names find their objects.
fn check_names(model: &Model, reader: &Reader) -> Result<(), String> {
    for (name, &id) in model.owners() {
        let name = OwnerName::new(name).expect("it was one");
        let found = reader.owner_by_name(&name).map(|owner| owner.0);
        check_same(&format!("owner {name}"), &found, &Some(id))?;
    }
    for ((owner, scope, name), &id) in model.references() {
        let reference = Reference::new(name).expect("it was one");
        let space = ReferenceSpace::new(OwnerId(*owner), Some(OwnerId(*scope)));
        let found = reader
            .payment_by_reference(space, &reference)
            .map_err(|failure| failure.to_string())?
            .map(|payment| payment.id.0);
        let what = format!("reference {name} of {owner} for {scope}");
        check_same(&what, &found, &Some(id))?;
    }
    for (&id, payment) in model.payments() {
        let asked = &model.entries()[id as usize - 1].command.body;
        let (PaymentStatus::Failed, Body::Pay(pay)) = (payment.status, asked) else {
            continue;
        };
        let Some(reference) = &pay.reference else {
            continue;
        };
        let owner = payment.actor.owner;
        let scope = pay.reference_scope.unwrap_or(owner);
        let name = (owner.0, scope.0, reference.as_str().to_owned());
        let found = reader
            .payment_by_reference(ReferenceSpace::new(owner, Some(scope)), reference)
            .map_err(|failure| failure.to_string())?
            .map(|payment| payment.id.0);
        let expected = model.references().get(&name).copied();
        check_same(&format!("freed reference {name:?}"), &found, &expected)?;
    }
    for ((owner, name), &id) in model.externals() {
        let external = ExternalId::new(name).expect("it was one");
        let found = reader
            .account_by_external(OwnerId(*owner), &external)
            .map_err(|failure| failure.to_string())?
            .map(|account| account.id.0);
        check_same(&format!("external id {name} of {owner}"), &found, &Some(id))?;
    }
    Ok(())
}

fn check_same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    real: &T,
    expected: &T,
) -> Result<(), String> {
    if real == expected {
        return Ok(());
    }
    Err(format!("{what}: got {real:?}, expected {expected:?}"))
}
