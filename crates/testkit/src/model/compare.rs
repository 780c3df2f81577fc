//! Whether the real ledger says what the model says. Differences are said in words, with positions.

use tributary_ledger::codec::Record;
use tributary_ledger::{self as ledger, Command, Rejection, WorkingSet};

use super::details::{check_details, text_of};
use super::{Entry, LimitUse, Model, Payment, Setting};

/// Checks a record against the model's decision. The error names the difference.
pub fn check_record(entry: &Entry, record: &Record) -> Result<(), String> {
    let at = entry.position;
    let asked = &entry.command;
    same("position", at, &record.ctx.position, &at)?;
    same("timestamp", at, &record.ctx.timestamp, &entry.timestamp)?;
    // What the actor may not do is recorded without its text.
    let whole = !entry.rejection.is_some_and(Rejection::concerns_actor);
    let without_text = |command: &Command| Command {
        text: None,
        ..command.clone()
    };
    let as_asked = match whole {
        true => record.command == *asked,
        false => without_text(&record.command) == without_text(asked),
    };
    if !as_asked {
        return Err(format!(
            "at {at}: recorded {:?}, asked {asked:?}",
            record.command
        ));
    }
    if record.outcome.rejection != entry.rejection {
        return Err(format!(
            "at {at}: the ledger says {:?}, the model {:?} to {asked:?}",
            record.outcome.rejection, entry.rejection
        ));
    }
    let told = record.outcome.reply_to.map(|reply_to| reply_to.0.get());
    same("receiver of the result", at, &told, &entry.reply_to)?;
    let short = record.outcome.short_of_funds.map(|account| account.0);
    same("account short of funds", at, &short, &entry.short_of_funds)?;
    let uses = record.outcome.limits.iter();
    let uses: Vec<LimitUse> = uses
        .map(|usage| (usage.limit.0, usage.bucket, usage.totals))
        .map(|(limit, bucket, totals)| (limit, bucket, totals.payments, totals.amount))
        .collect();
    same("limits", at, &uses, &entry.limits)?;
    let legs: Vec<(u64, i128)> = record
        .outcome
        .legs
        .iter()
        .map(|leg| (leg.account.0, i128::from(leg.amount)))
        .collect();
    if legs != entry.touched {
        return Err(format!(
            "at {at}: the ledger posts {legs:?}, the model {:?} for {asked:?}",
            entry.touched
        ));
    }
    Ok(())
}

/// Checks a set against the model. The set must contain all accounts, owners, API keys and open payments. The error names the difference.
pub fn check_set(model: &Model, set: &WorkingSet) -> Result<(), String> {
    let count = |what, real: usize, expected: usize| same(what, 0, &real, &expected);
    count("accounts", set.accounts().count(), model.accounts().len())?;
    for (&id, expected) in model.accounts() {
        let account = set
            .account(ledger::AccountId(id))
            .ok_or_else(|| format!("account {id} is missing"))?;
        same("owner", id, &account.owner.0, &expected.owner)?;
        same(
            "currency",
            id,
            &account.currency.numeric(),
            &expected.currency,
        )?;
        same("kind", id, &account.kind, &expected.kind)?;
        same("status", id, &account.status, &expected.status)?;
        let overdraft = account.overdraft.limit().map(i128::from);
        same("overdraft", id, &overdraft, &expected.overdraft)?;
        same("posted", id, &i128::from(account.posted), &expected.posted)?;
        same("held", id, &i128::from(account.held), &expected.held)?;
        same("opened_at", id, &account.opened_at, &expected.opened_at)?;
        same("legs", id, &account.chain.seq(), &expected.touches)?;
        same("last leg", id, &account.chain.last(), &expected.touched_at)?;
    }
    count("owners", set.owners().count(), model.owners().len())?;
    for (name, &id) in model.owners() {
        let owner = set
            .owner(ledger::OwnerId(id))
            .ok_or_else(|| format!("owner {id} is missing"))?;
        same("name", id, &owner.name.as_str(), &name.as_str())?;
        let newest = model
            .accounts()
            .iter()
            .filter(|(_, account)| account.owner == id)
            .map(|(id, _)| *id)
            .max();
        same(
            "last account",
            id,
            &owner.last_account.map(|id| id.0),
            &newest,
        )?;
    }
    count("API keys", set.api_keys().count(), model.api_keys().len())?;
    for (&id, expected) in model.api_keys() {
        let key = set
            .api_key(ledger::ApiKeyId(id))
            .ok_or_else(|| format!("API key {id} is missing"))?;
        same("owner", id, &key.owner.0, &expected.owner)?;
        same("access", id, &key.access, &expected.access)?;
        same("secret", id, &key.secret_hash, &expected.secret_hash)?;
        let previous = key.previous.as_deref();
        let previous = previous.map(|old| (old.secret_hash, old.valid_until));
        same("old secret", id, &previous, &expected.previous)?;
        let revoked = key.status == ledger::ApiKeyStatus::Revoked;
        same("revoked", id, &revoked, &expected.revoked)?;
    }
    check_settings(model, set)?;
    check_details(model, set)?;
    let open = set.payments().filter(|payment| payment.is_open()).count();
    let expected = model.payments().iter().filter(|(_, found)| found.open());
    count("open payments", open, expected.clone().count())?;
    for (&id, expected) in expected {
        let payment = set
            .payment(ledger::PaymentId(id))
            .ok_or_else(|| format!("payment {id} is missing"))?;
        check_payment(expected, payment)?;
    }
    let waits = |payment: &Payment| payment.status == ledger::PaymentStatus::InReview;
    let expected = model.payments().iter().filter(|(_, found)| waits(found));
    let expected: Vec<u64> = expected.map(|(id, _)| *id).collect();
    let in_review: Vec<u64> = set.in_review().iter().map(|id| id.0).collect();
    same("payments in review", 0, &in_review, &expected)?;
    let queue = set.queue();
    let stands = (queue.mode, queue.changed_at);
    same("mode", 0, &stands, &model.queue())?;
    let time = set.time_offset();
    let time = (time.nanos, time.changed_at);
    same("added time", 0, &time, &model.time_offset())?;
    count("queued payments", set.queued(), model.queued())?;
    for &owner in model.owners().values() {
        let (found, expected) = (
            set.queued_by(ledger::OwnerId(owner)),
            model.queued_by(owner),
        );
        count("queued payments of an owner", found, expected)?;
    }
    for (currency, totals) in set.totals() {
        if totals.debit != totals.credit {
            return Err(format!(
                "the books of {currency} do not balance: {totals:?}"
            ));
        }
    }
    Ok(())
}

fn check_settings(model: &Model, set: &WorkingSet) -> Result<(), String> {
    let (found, expected) = (set.settings().count(), model.settings().len());
    same("settings", 0, &found, &expected)?;
    for (&id, expected) in model.settings() {
        let setting = set
            .setting(ledger::SettingId(id))
            .ok_or_else(|| format!("setting {id} is missing"))?;
        check_setting(expected, setting)?;
    }
    let bodies = model.settings().values().map(|setting| setting.body.len());
    same("bytes of settings", 0, &set.settings_bytes(), &bodies.sum())?;
    let now = model.entries().last().map_or(0, |entry| entry.timestamp);
    let expected = model.limits(now);
    same("limits", 0, &set.limits().count(), &expected.len())?;
    for (id, since, payments, amount) in expected {
        let limit = set.limit(ledger::SettingId(id));
        let limit = limit.ok_or_else(|| format!("limit {id} is missing"))?;
        let counted = limit.totals(now);
        let counted = (limit.since, counted.payments, counted.amount);
        let since = model.entries()[since as usize - 1].timestamp;
        same("limit", id, &counted, &(since, payments, amount))?;
    }
    Ok(())
}

/// Checks the ledger's setting against the model's. The error names the difference.
pub fn check_setting(expected: &Setting, setting: &ledger::Setting) -> Result<(), String> {
    let id = setting.id.0;
    let revisions = &expected.revisions;
    let last = |back: usize| {
        let at = revisions.len().checked_sub(back);
        at.map_or(0, |at| revisions[at])
    };
    let managed_by = setting.managed_by.as_ref().map(|name| name.as_str());
    same("kind", id, &setting.kind.0, &expected.kind)?;
    same("owner", id, &setting.owner.0, &expected.owner)?;
    same("slug", id, &setting.slug.as_str(), &expected.slug.as_str())?;
    same("manager", id, &managed_by, &expected.managed_by.as_deref())?;
    same("body", id, &setting.body.as_bytes(), &&expected.body[..])?;
    let revision = revisions.len() as u64;
    same("revision", id, &setting.revision, &revision)?;
    same("creation", id, &setting.created.position, &revisions[0])?;
    same("change", id, &setting.changed.position, &last(1))?;
    same("revision before", id, &setting.prev, &last(2))
}

/// Checks the ledger's payment against the model's. The error names the difference.
pub fn check_payment(expected: &Payment, payment: &ledger::Payment) -> Result<(), String> {
    let id = payment.id.0;
    let units = |amount: u64| i128::from(amount);
    same("kind", id, &payment.kind, &expected.kind)?;
    same("status", id, &payment.status, &expected.status)?;
    same("owner", id, &payment.owner.0, &expected.owner)?;
    same(
        "currency",
        id,
        &payment.currency.numeric(),
        &expected.currency,
    )?;
    same("source", id, &payment.source.0, &expected.source)?;
    same("amount", id, &units(payment.amount), &expected.amount)?;
    same("held", id, &units(payment.held), &expected.held)?;
    same("captured", id, &units(payment.captured), &expected.captured)?;
    same("refunded", id, &units(payment.refunded), &expected.refunded)?;
    let fees = units(payment.fee_refunded);
    same("fee refunded", id, &fees, &expected.fee_refunded)?;
    same("created_at", id, &payment.created_at, &expected.created_at)?;
    let date = payment.effective_at.0;
    same("effective_at", id, &date, &expected.effective_at)?;
    same("changed_at", id, &payment.changed_at, &expected.changed_at)?;
    same("expires_at", id, &payment.expires_at, &expected.expires_at)?;
    same("actor", id, &payment.actor, &expected.actor)?;
    let queue = payment.queue.as_deref().map(|terms| super::Queued {
        priority: terms.priority.number(),
        not_before: terms.not_before,
        expires_at: Some(terms.expires_at).filter(|at| *at > 0),
        reply_to: terms.reply_to.map(|reply_to| reply_to.0.get()),
    });
    same("queue", id, &queue, &expected.queue)?;
    same("text", id, &text_of(payment), &expected.text)?;
    let review = payment.review.as_deref().map(|review| super::Review {
        is_challenge: review.kind == ledger::ReviewKind::Challenge,
        stage: review.stage,
        asked_expiry: review.hold.map(|hold| hold.expires_at),
        assignee: review
            .assignee
            .as_ref()
            .map(|name| name.as_str().to_owned()),
    });
    same("review", id, &review, &expected.risk.review)?;
    same("label", id, &payment.label, &expected.risk.label)?;
    same("reached", id, &payment.reached_payees, &expected.reached)?;
    let base = |at: usize| {
        let base = payment.split_base.as_ref()?.get(at)?;
        Some([base.captured, base.refunded, base.refunded_with_fee].map(units))
    };
    let parts: Vec<super::Part> = payment
        .shares
        .iter()
        .enumerate()
        .map(|(at, share)| super::Part {
            account: share.account.0,
            is_fee: share.is_fee,
            amount: units(share.amount),
            captured: units(share.captured),
            refunded: units(share.refunded),
            with_fee: units(share.refunded_with_fee),
            base: base(at),
        })
        .collect();
    same("shares", id, &parts, &expected.parts)
}

fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    id: u64,
    real: &T,
    expected: &T,
) -> Result<(), String> {
    if real == expected {
        return Ok(());
    }
    Err(format!(
        "{what} of {id}: the ledger has {real:?}, the model {expected:?}"
    ))
}
