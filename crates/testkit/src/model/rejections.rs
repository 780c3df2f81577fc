//! Reasons to refuse a command: all reasons are collected, and the one with the lowest number counts.

use tributary_ledger::{
    Access, AccountId, AccountKind, AccountStatus, Actor, AdvanceTime, ApiKeyId, Body, Capture,
    Command, Destination, Effect, Overdraft, Part, Pay, PayeeAmount, PayeeAmounts, PaymentId,
    PaymentKind, PaymentStatus, PutSetting, QueueMode, Refund, Rejection, ReturnPayout, SettingId,
    SettingKind, SettlePayout,
};

use super::limits::{LIMIT, Terms};
use super::money::divide;
use super::parts::{concerns, limits_of_refund, parts_of_capture, parts_of_refund};
use super::review::held_by_rules;
use super::{Account, Model, PLATFORM, Payment, Setting};

/// 2^53 − 1.
const MAX: i128 = 9_007_199_254_740_991;

/// Reasons to refuse a command.
#[derive(Default)]
struct Reasons(Vec<Rejection>);

impl Reasons {
    fn when(&mut self, holds: bool, reason: Rejection) {
        if holds {
            self.0.push(reason);
        }
    }

    fn first(self) -> Option<Rejection> {
        self.0.into_iter().min_by_key(|reason| reason.number())
    }
}

fn is_blocked(command: &Command) -> bool {
    let found = command.assessment.as_deref();
    found.is_some_and(|found| found.effect() == Effect::Block)
}

impl Model {
    /// Returns the reason for which the command is refused at this time, or none. `grouped`: whether others are accepted or refused
    /// together with it.
    pub fn find_rejection(&self, command: &Command, grouped: bool, now: u64) -> Option<Rejection> {
        let mut reasons = Reasons::default();
        self.check_actor(command.actor, &mut reasons);
        let actor = command.actor.owner.0;
        match &command.body {
            Body::OpenAccount(open) => {
                let limit = open.overdraft.limit().map(i128::from);
                let too_large = limit.is_some_and(|limit| limit > MAX);
                reasons.when(too_large, Rejection::OverdraftTooLarge);
                let owner = self.state.owners.get(open.owner.as_str()).copied();
                let modest = matches!(open.kind, AccountKind::Wallet | AccountKind::Merchant)
                    && open.overdraft == Overdraft::NONE;
                let own = owner == Some(actor) && modest;
                reasons.when(actor != PLATFORM && !own, Rejection::Forbidden);
                if let (Some(owner), Some(external)) = (owner, &open.external_id) {
                    let name = (owner, external.as_str().to_owned());
                    let taken = self.state.externals.contains_key(&name);
                    reasons.when(taken, Rejection::ExternalIdInUse);
                }
                let inactive = self.is_inactive(open.owner.as_str());
                reasons.when(inactive, Rejection::OwnerInactive);
            }
            Body::FreezeAccount(account) => {
                if let Some(account) = self.check_account(*account, actor, false, &mut reasons) {
                    let frozen = account.status == AccountStatus::Frozen;
                    reasons.when(frozen, Rejection::AccountFrozen);
                }
            }
            Body::UnfreezeAccount(account) => {
                if let Some(account) = self.check_account(*account, actor, false, &mut reasons) {
                    let frozen = account.status == AccountStatus::Frozen;
                    reasons.when(!frozen, Rejection::AccountNotFrozen);
                }
            }
            Body::CloseAccount(account) => {
                if let Some(account) = self.check_account(*account, actor, true, &mut reasons) {
                    let frozen = account.status == AccountStatus::Frozen;
                    reasons.when(frozen, Rejection::AccountFrozen);
                    let empty = account.posted == 0 && account.held == 0;
                    reasons.when(!empty, Rejection::AccountNotEmpty);
                }
            }
            Body::Pay(pay) => {
                let waits = held_by_rules(command).is_some();
                self.check_pay(pay, actor, waits, now, &mut reasons);
                reasons.when(is_blocked(command), Rejection::PaymentBlocked);
                let impossible = grouped || pay.kind == PaymentKind::Adjustment;
                let waits_in_vain = waits && impossible && pay.queue.is_none();
                reasons.when(waits_in_vain, Rejection::ReviewNotPossible);
                self.check_limits(command, now, &mut reasons);
            }
            Body::Capture(capture) => self.check_capture(capture, actor, now, &mut reasons),
            Body::Void(payment) => {
                // Whoever asked for it may take it back while it is queued or in review.
                let taken_back = self.state.payments.get(&payment.0).is_some_and(|payment| {
                    [PaymentStatus::Queued, PaymentStatus::InReview].contains(&payment.status)
                        && payment.actor.owner.0 == actor
                });
                let actor = if taken_back { PLATFORM } else { actor };
                if let Some(payment) =
                    self.check_step(*payment, actor, Some(&Step::Release), &mut reasons)
                {
                    reasons.when(!payment.open(), Rejection::PaymentNotOpen);
                    let pending = payment.kind == PaymentKind::Payout
                        && payment.status == PaymentStatus::Pending;
                    reasons.when(pending, Rejection::PaymentIsPayout);
                }
            }
            Body::Run(payment) => {
                self.check_running(*payment, actor, now, &mut reasons);
                if reasons.0.is_empty() {
                    let waits = held_by_rules(command).is_some();
                    self.check_queued(*payment, waits, now, &mut reasons);
                    reasons.when(is_blocked(command), Rejection::PaymentBlocked);
                    self.check_limits(command, now, &mut reasons);
                }
            }
            Body::Expire(payment) => {
                if let Some(payment) = self.check_step(*payment, actor, None, &mut reasons) {
                    reasons.when(payment.held == 0, Rejection::PaymentNotOpen);
                    reasons.when(now < payment.expires_at, Rejection::HoldNotDue);
                }
            }
            Body::Approve(approve) => {
                for (holds, reason) in self.reasons_against_approval(approve, actor, now) {
                    reasons.when(holds, reason);
                }
                if let Some(payment) = self.state.payments.get(&approve.payment.0) {
                    self.check_closed(payment.parts.iter().map(|part| part.account), &mut reasons);
                    self.check_frozen(std::iter::once(payment.source), &mut reasons);
                }
            }
            Body::Investigate(found) => {
                for (holds, reason) in self.reasons_against_finding(found, actor) {
                    reasons.when(holds, reason);
                }
            }
            Body::Refund(refund) => self.check_refund(refund, actor, &mut reasons),
            Body::SettlePayout(settle) => self.check_settle(settle, actor, &mut reasons),
            Body::ReturnPayout(give) => self.check_return(give, actor, &mut reasons),
            Body::Publish(_) => {}
            Body::PutSetting(put) => self.check_put(put, actor, &mut reasons),
            Body::DeleteSetting(delete) => {
                check_kind(delete.kind, actor, &mut reasons);
                let found = self.check_setting(delete.id, delete.kind, actor, &mut reasons);
                let revision = found.map_or(0, |found| found.revisions.len() as u64);
                let other = delete.replaces != 0 && delete.replaces != revision;
                reasons.when(other, Rejection::SettingConflict);
            }
            Body::AdvanceTime(advance) => {
                let by = match *advance {
                    AdvanceTime::By(nanos) => i128::from(nanos),
                    AdvanceTime::To(time) => i128::from(time) - i128::from(now),
                };
                let in_all = i128::from(self.state.time_offset.0) + by;
                let century = 36_500 * 86_400 * 1_000_000_000;
                // The system says how late it is.
                let is_barrier = *advance == AdvanceTime::By(0) && command.actor == Actor::SYSTEM;
                let is_possible = is_barrier || by > 0 && in_all <= century;
                reasons.when(!is_possible, Rejection::TimeOutOfRange);
                reasons.when(actor != PLATFORM, Rejection::Forbidden);
            }
            Body::SetQueue(_) => reasons.when(actor != PLATFORM, Rejection::Forbidden),
            Body::CreateApiKey(create) => {
                reasons.when(actor != PLATFORM, Rejection::Forbidden);
                let inactive = self.is_inactive(create.owner.as_str());
                reasons.when(inactive, Rejection::OwnerInactive);
            }
            Body::CreateOwner(create) => {
                for (holds, reason) in self.reasons_against_owner(create, actor) {
                    reasons.when(holds, reason);
                }
            }
            Body::Update(update) => {
                for (holds, reason) in self.reasons_against_update(update, actor) {
                    reasons.when(holds, reason);
                }
            }
            Body::RotateApiKey { api_key, .. } | Body::RevokeApiKey(api_key) => {
                reasons.when(actor != PLATFORM, Rejection::Forbidden);
                match self.state.api_keys.get(&api_key.0) {
                    None => reasons.when(true, Rejection::ApiKeyNotFound),
                    Some(key) => reasons.when(key.revoked, Rejection::ApiKeyAlreadyRevoked),
                }
            }
        }
        reasons.first()
    }

    fn check_put(&self, put: &PutSetting, actor: u64, reasons: &mut Reasons) {
        check_kind(put.kind, actor, reasons);
        // An owner has a quarter, and a quarter is the platform's.
        let (body_max, in_all_max) = match put.kind.0 {
            1 => (32_768, 2_000),
            4 => (16_384, 100),
            5 => (16_384, 500),
            6 => (32_768, 100),
            LIMIT => (64, 10_000),
            8 => (32_768, 20),
            9 => (32_768, 100),
            10 => (32_768, 20),
            11 => (32_768, 2_048),
            _ => (1_024, 500),
        };
        let size = put.body.as_bytes().len();
        reasons.when(size > body_max, Rejection::SettingTooLarge);
        let mut owner = actor;
        let mut freed = 0;
        let settings = self.state.settings.values();
        let of_kind = settings.clone().filter(|found| found.kind == put.kind.0);
        if put.replaces == 0 {
            let taken = self.state.settings.contains_key(&put.id.0);
            reasons.when(taken, Rejection::SettingIdInUse);
            let theirs = of_kind.clone().filter(|found| found.owner == actor).count();
            let owners = of_kind
                .clone()
                .filter(|found| found.owner != PLATFORM)
                .count();
            let share = theirs >= in_all_max / 4 || owners >= in_all_max * 3 / 4;
            let all = of_kind.clone().count() >= in_all_max;
            reasons.when(
                actor != PLATFORM && share || all,
                Rejection::TooManySettings,
            );
        } else if let Some(found) = self.check_setting(put.id, put.kind, actor, reasons) {
            let other = found.revisions.len() as u64 != put.replaces;
            reasons.when(other, Rejection::SettingConflict);
            owner = found.owner;
            freed = found.body.len();
        }
        let holder = self.state.settings.iter().find(|(_, found)| {
            found.kind == put.kind.0 && found.owner == owner && found.slug == put.slug.as_str()
        });
        let taken = holder.is_some_and(|(id, _)| put.replaces == 0 || *id != put.id.0);
        reasons.when(taken, Rejection::SlugInUse);
        let bytes: usize = settings.map(|found| found.body.len()).sum();
        let full = bytes - freed + size > 80 * 1_048_576;
        reasons.when(full, Rejection::SettingsFull);
        if put.kind.0 == LIMIT {
            self.check_limit(put, reasons);
        }
    }

    /// Limits are the last that a payment meets: its accounts exist.
    fn check_limits(&self, command: &Command, now: u64, reasons: &mut Reasons) {
        if reasons.0.is_empty() {
            let exceeded = self.count_limits(command, now).is_err();
            reasons.when(exceeded, Rejection::LimitExceeded);
        }
    }

    fn check_limit(&self, put: &PutSetting, reasons: &mut Reasons) {
        let Some(terms) = Terms::read(put.body.as_bytes()) else {
            reasons.when(true, Rejection::LimitInvalid);
            return;
        };
        if terms.of_owner {
            let known = self.state.owners.values().any(|id| *id == terms.subject);
            reasons.when(!known, Rejection::OwnerNotFound);
        } else {
            let account = self.state.accounts.get(&terms.subject);
            reasons.when(account.is_none(), Rejection::AccountNotFound);
            let other = account.is_some_and(|account| account.currency != terms.currency);
            reasons.when(other && terms.currency > 0, Rejection::CurrencyMismatch);
        }
        let full = self.limits_beside(put.id.0, &terms) >= 4;
        reasons.when(full, Rejection::TooManyLimits);
    }

    /// Returns the setting, if the actor is allowed to see it.
    fn check_setting(
        &self,
        id: SettingId,
        kind: SettingKind,
        actor: u64,
        reasons: &mut Reasons,
    ) -> Option<&Setting> {
        let found =
            self.state.settings.get(&id.0).filter(|found| {
                found.kind == kind.0 && (actor == PLATFORM || found.owner == actor)
            });
        reasons.when(found.is_none(), Rejection::SettingNotFound);
        found
    }

    /// Returns the queued payment that the command decides at this time, whether the payment succeeds or fails.
    pub(super) fn runs(&self, command: &Command, now: u64) -> Option<PaymentId> {
        let Body::Run(payment) = command.body else {
            return None;
        };
        let mut reasons = Reasons::default();
        self.check_actor(command.actor, &mut reasons);
        self.check_running(payment, command.actor.owner.0, now, &mut reasons);
        reasons.0.is_empty().then_some(payment)
    }

    /// Collects the reasons not to decide the payment at this time.
    fn check_running(&self, payment: PaymentId, actor: u64, now: u64, reasons: &mut Reasons) {
        let Some(payment) = self.check_step(payment, actor, None, reasons) else {
            return;
        };
        match payment.queue {
            None => reasons.when(true, Rejection::PaymentNotQueued),
            Some(queue) => {
                reasons.when(!queue.due(now), Rejection::PaymentNotDue);
                let waits = self.state.queue.0 == QueueMode::Paused && !queue.expired(now);
                reasons.when(waits, Rejection::QueuePaused);
            }
        }
    }

    /// Collects the reasons for which a due payment fails.
    fn check_queued(&self, payment: PaymentId, waits: bool, now: u64, reasons: &mut Reasons) {
        let payment = &self.state.payments[&payment.0];
        let queue = payment.queue.expect("it is queued");
        self.check_actor(payment.actor, reasons);
        reasons.when(queue.expired(now), Rejection::QueueExpired);
        let hold = payment.expires_at > 0;
        let late = hold && payment.expires_at <= now;
        reasons.when(late, Rejection::HoldAlreadyDue);
        let hold = hold || waits;
        let impossible = waits && payment.kind == PaymentKind::Adjustment;
        reasons.when(impossible, Rejection::ReviewNotPossible);
        let named = payment.parts.iter().map(|part| part.account);
        self.check_closed(named.chain([payment.source]), reasons);
        self.check_frozen(std::iter::once(payment.source), reasons);
        let source = &self.state.accounts[&payment.source];
        check_debit(source, payment.amount, reasons);
        let too_much = hold && source.held + payment.amount > MAX;
        reasons.when(too_much, Rejection::BalanceOverflow);
        for part in payment.parts.iter().filter(|_| !hold) {
            check_credit(&self.state.accounts[&part.account], part.amount, reasons);
        }
    }

    fn check_actor(&self, actor: Actor, reasons: &mut Reasons) {
        if actor.api_key == ApiKeyId(0) {
            return;
        }
        match self.state.api_keys.get(&actor.api_key.0) {
            None => reasons.when(true, Rejection::ActorKeyNotFound),
            Some(key) => {
                reasons.when(key.revoked, Rejection::ActorKeyRevoked);
                reasons.when(key.owner != actor.owner.0, Rejection::ActorKeyMismatch);
                reasons.when(key.access == Access::Read, Rejection::ActorKeyReadOnly);
            }
        }
    }

    /// Checks what every change of an account's status requires.
    fn check_account(
        &self,
        account: AccountId,
        actor: u64,
        owner_may: bool,
        reasons: &mut Reasons,
    ) -> Option<&Account> {
        let Some(account) = self.state.accounts.get(&account.0) else {
            reasons.when(true, Rejection::AccountNotFound);
            return None;
        };
        let may = actor == PLATFORM || (owner_may && account.owner == actor);
        reasons.when(!may, Rejection::Forbidden);
        let closed = account.status == AccountStatus::Closed;
        reasons.when(closed, Rejection::AccountClosed);
        Some(account)
    }

    /// `waits`: whether the rules hold it for review.
    fn check_pay(&self, pay: &Pay, actor: u64, waits: bool, now: u64, reasons: &mut Reasons) {
        let holds = pay.hold.is_some() || waits;
        check_pay_alone(pay, now, reasons);
        let adjustment = pay.kind == PaymentKind::Adjustment;
        let paid = pay.kind == PaymentKind::Payout && pay.hold.is_none();
        reasons.when(
            (adjustment || paid) && actor != PLATFORM,
            Rejection::Forbidden,
        );
        reasons.when(pay.kind == PaymentKind::PayoutReturn, Rejection::Forbidden);
        let named: Vec<Option<&Account>> = pay
            .accounts()
            .map(|id| self.state.accounts.get(&id.0))
            .collect();
        let missing = named.iter().any(Option::is_none);
        reasons.when(missing, Rejection::AccountNotFound);
        for account in named.iter().flatten() {
            let currency = account.currency != pay.currency.numeric();
            reasons.when(currency, Rejection::CurrencyMismatch);
            let closed = account.status == AccountStatus::Closed;
            reasons.when(closed, Rejection::AccountClosed);
        }
        if let Some(source) = named[0] {
            let may = actor == PLATFORM || source.owner == actor;
            reasons.when(!may, Rejection::Forbidden);
            let frozen = source.status == AccountStatus::Frozen;
            reasons.when(frozen, Rejection::AccountFrozen);
            if pay.queue.is_none() {
                check_debit(source, i128::from(pay.amount), reasons);
                // Holds are bounded like balances.
                let held = source.held + i128::from(pay.amount);
                let too_much = holds && held > MAX;
                reasons.when(too_much, Rejection::BalanceOverflow);
            }
        }
        if let Some(name) = full_reference(pay, actor) {
            let taken = self.state.references.contains_key(&name);
            reasons.when(taken, Rejection::ReferenceInUse);
        }
        if let Some(scope) = pay.reference_scope {
            reasons.when(actor != PLATFORM, Rejection::Forbidden);
            let parties = named.iter().take(1 + pay.payees()).flatten();
            let outside = parties.clone().all(|party| party.owner != scope.0);
            reasons.when(outside, Rejection::ReferenceScopeNotParty);
        }
        // Who receives how much is only known of a payment that is sound by itself.
        if reasons.0.is_empty() && !holds && pay.queue.is_none() {
            for part in shares(pay).expect("it is sound") {
                let account = &self.state.accounts[&part.account];
                check_credit(account, part.amount, reasons);
            }
        }
    }

    /// Checks what every change of an existing payment requires.
    fn check_step(
        &self,
        payment: PaymentId,
        actor: u64,
        payees_step: Option<&Step<'_>>,
        reasons: &mut Reasons,
    ) -> Option<&Payment> {
        let Some(payment) = self.state.payments.get(&payment.0) else {
            reasons.when(true, Rejection::PaymentNotFound);
            return None;
        };
        let payee = payees_step.is_some_and(|step| self.payee_may(payment, actor, step));
        let may = actor == PLATFORM || payee;
        reasons.when(!may, Rejection::Forbidden);
        Some(payment)
    }

    /// Returns whether a payee's owner may do this step: all that others have been promised and not got must stay held.
    fn payee_may(&self, payment: &Payment, actor: u64, step: &Step<'_>) -> bool {
        // What comes from outside or goes there is settled by the platform alone.
        let inside = matches!(payment.kind, PaymentKind::Pay | PaymentKind::Transfer);
        if !inside || !payment.reached {
            return false;
        }
        let owned_by_actor = |account: u64| {
            let found = self.state.accounts.get(&account);
            found.is_some_and(|found| found.owner == actor)
        };
        let payees = payment.parts.iter().filter(|part| !part.is_fee);
        let (own, others): (Vec<&super::Part>, Vec<&super::Part>) =
            payees.partition(|part| owned_by_actor(part.account));
        let owed: i128 = others.iter().map(|part| part.amount - part.captured).sum();
        let owed_to_others = if payment.open() { owed } else { 0 };
        let keeps_the_rest = match step {
            Step::Release => false,
            Step::Capture(capture) => !capture.splits.is_empty() && !capture.is_final,
        };
        let named: &[PayeeAmount] = match step {
            Step::Release => &[],
            Step::Capture(capture) => &capture.splits,
        };
        let named_are_own = named.iter().all(|part| owned_by_actor(part.account.0));
        !own.is_empty() && named_are_own && (owed_to_others == 0 || keeps_the_rest)
    }

    fn check_capture(&self, capture: &Capture, actor: u64, now: u64, reasons: &mut Reasons) {
        check_amount(capture.amount, reasons);
        check_splits(capture.amount, &capture.splits, reasons);
        let Some(payment) = self.check_step(
            capture.payment,
            actor,
            Some(&Step::Capture(capture)),
            reasons,
        ) else {
            return;
        };
        check_payees(payment, &capture.splits, reasons);
        let parts = || payment.parts.iter();
        let concerned = parts().filter(|part| concerns(&capture.splits, part));
        self.check_closed(concerned.map(|part| part.account), reasons);
        self.check_frozen(std::iter::once(payment.source), reasons);
        let in_review = payment.status == PaymentStatus::InReview;
        reasons.when(in_review, Rejection::PaymentInReview);
        reasons.when(payment.held == 0, Rejection::PaymentNotOpen);
        if payment.held == 0 {
            return;
        }
        reasons.when(now >= payment.expires_at, Rejection::HoldExpired);
        let amount = capture.amount.map_or(payment.held, i128::from);
        let exact = !capture.splits.is_empty();
        reasons.when(
            !exact && amount > payment.held,
            Rejection::CaptureExceedsHold,
        );
        // How much each part takes is only known of a capture that is sound by itself.
        if !reasons.0.is_empty() {
            return;
        }
        let taken = parts_of_capture(payment, capture);
        let too_much = taken.iter().sum::<i128>() > payment.held;
        reasons.when(too_much, Rejection::CaptureExceedsHold);
        let payout = payment.kind == PaymentKind::Payout;
        reasons.when(payout, Rejection::PaymentIsPayout);
        for (part, amount) in parts().zip(taken) {
            let over = amount > part.amount - part.captured;
            reasons.when(over, Rejection::CaptureExceedsPart);
            check_credit(&self.state.accounts[&part.account], amount, reasons);
        }
    }

    fn check_closed(&self, accounts: impl Iterator<Item = u64>, reasons: &mut Reasons) {
        for account in accounts.filter_map(|id| self.state.accounts.get(&id)) {
            let closed = account.status == AccountStatus::Closed;
            reasons.when(closed, Rejection::AccountClosed);
        }
    }

    fn check_frozen(&self, accounts: impl Iterator<Item = u64>, reasons: &mut Reasons) {
        for account in accounts.filter_map(|id| self.state.accounts.get(&id)) {
            let frozen = account.status == AccountStatus::Frozen;
            reasons.when(frozen, Rejection::AccountFrozen);
        }
    }

    fn check_refund(&self, refund: &Refund, actor: u64, reasons: &mut Reasons) {
        check_amount(refund.amount, reasons);
        check_splits(refund.amount, &refund.splits, reasons);
        let Some(payment) = self.state.payments.get(&refund.payment.0) else {
            return reasons.when(true, Rejection::PaymentNotFound);
        };
        let owner_of = |account: u64| self.state.accounts.get(&account).map(|found| found.owner);
        check_payees(payment, &refund.splits, reasons);
        let concerned = payment
            .parts
            .iter()
            .filter(|part| concerns(&refund.splits, part) && (refund.refund_fee || !part.is_fee));
        let own = concerned.clone().count() > 0
            && concerned
                .clone()
                .all(|part| owner_of(part.account) == Some(actor));
        reasons.when(actor != PLATFORM && !own, Rejection::Forbidden);
        let givers = || concerned.clone().map(|part| part.account);
        self.check_closed(givers().chain([payment.source]), reasons);
        self.check_frozen(givers(), reasons);
        let final_kind = match payment.kind {
            PaymentKind::Pay | PaymentKind::Transfer | PaymentKind::TopUp => false,
            PaymentKind::Adjustment | PaymentKind::Payout | PaymentKind::PayoutReturn => true,
        };
        let never = final_kind || payment.captured == 0;
        reasons.when(never, Rejection::PaymentNotRefundable);
        if never {
            return;
        }
        let left = payment.captured - payment.refunded;
        reasons.when(left == 0, Rejection::PaymentAlreadyRefunded);
        let amount = refund.amount.map_or(left, i128::from);
        let exact = !refund.splits.is_empty();
        reasons.when(!exact && amount > left, Rejection::RefundExceedsCaptured);
        if !reasons.0.is_empty() {
            return;
        }
        let parts = parts_of_refund(payment, refund);
        let amount = parts.iter().sum();
        reasons.when(amount > left, Rejection::RefundExceedsCaptured);
        if exact {
            let limits = limits_of_refund(payment, refund.refund_fee);
            let mut each = payment.parts.iter().zip(&parts).zip(limits);
            let over = each.any(|((part, amount), limit)| !part.is_fee && *amount > limit);
            reasons.when(over, Rejection::RefundExceedsPart);
        }
        check_credit(&self.state.accounts[&payment.source], amount, reasons);
        for (part, amount) in payment.parts.iter().zip(parts) {
            if amount > 0 {
                check_debit(&self.state.accounts[&part.account], amount, reasons);
            }
        }
    }

    fn check_settle(&self, settle: &SettlePayout, actor: u64, reasons: &mut Reasons) {
        let Some(payout) = self.check_step(settle.payout, actor, None, reasons) else {
            return;
        };
        let paid = settle.failure.is_none();
        if paid {
            let named = payout.parts.iter().map(|part| part.account);
            self.check_closed(named.chain([payout.source]), reasons);
        }
        let kind = payout.kind == PaymentKind::Payout;
        reasons.when(!kind, Rejection::PaymentNotPayout);
        let pending = payout.status == PaymentStatus::Pending;
        reasons.when(!pending, Rejection::PayoutNotPending);
        if kind && pending && paid {
            for part in &payout.parts {
                check_credit(&self.state.accounts[&part.account], part.amount, reasons);
            }
        }
    }

    fn check_return(&self, give: &ReturnPayout, actor: u64, reasons: &mut Reasons) {
        check_amount(give.amount, reasons);
        let Some(payout) = self.check_step(give.payout, actor, None, reasons) else {
            return;
        };
        let named = payout.parts.iter().map(|part| part.account);
        self.check_closed(named.clone().chain([payout.source]), reasons);
        self.check_frozen(named.take(1), reasons);
        reasons.when(
            payout.kind != PaymentKind::Payout,
            Rejection::PaymentNotPayout,
        );
        let paid = payout.status == PaymentStatus::Paid;
        reasons.when(!paid, Rejection::PayoutNotPaid);
        if !paid {
            return;
        }
        let payee = &payout.parts[0];
        let left = payee.captured - payee.refunded;
        let amount = give.amount.map_or(left, i128::from);
        let too_much = amount > left || left == 0;
        reasons.when(too_much, Rejection::ReturnExceedsPaid);
        if !too_much {
            check_debit(&self.state.accounts[&payee.account], amount, reasons);
            check_credit(&self.state.accounts[&payout.source], amount, reasons);
        }
    }

    /// Returns the owner of a payment.
    pub(super) fn payment_owner(&self, pay: &Pay, actor: u64) -> u64 {
        let owner_of = |account: Option<AccountId>| {
            let account = self.state.accounts.get(&account?.0)?;
            Some(account.owner)
        };
        let owner = match pay.kind {
            PaymentKind::Pay | PaymentKind::TopUp | PaymentKind::PayoutReturn => {
                owner_of(pay.first_payee())
            }
            PaymentKind::Transfer | PaymentKind::Payout => owner_of(Some(pay.source)),
            PaymentKind::Adjustment => Some(PLATFORM),
        };
        owner.unwrap_or(actor)
    }
}

/// What a payee's owner may do with a hold.
enum Step<'a> {
    Capture(&'a Capture),
    Release,
}

fn check_kind(kind: SettingKind, actor: u64, reasons: &mut Reasons) {
    let known = matches!(kind.0, 1 | 2 | 4..=7);
    reasons.when(!known, Rejection::SettingKindUnknown);
    reasons.when(kind.0 != 1 && actor != PLATFORM, Rejection::Forbidden);
}

fn check_amount(amount: Option<u64>, reasons: &mut Reasons) {
    let Some(amount) = amount.map(i128::from) else {
        return;
    };
    reasons.when(amount == 0, Rejection::AmountZero);
    reasons.when(amount > MAX, Rejection::AmountTooLarge);
}

/// Checks amounts per payee without reading the payment.
fn check_splits(amount: Option<u64>, splits: &PayeeAmounts, reasons: &mut Reasons) {
    for (at, part) in splits.iter().enumerate() {
        check_amount(Some(part.amount), reasons);
        let twice = splits[..at]
            .iter()
            .any(|other| other.account == part.account);
        reasons.when(twice, Rejection::DuplicateAccount);
    }
    let both = amount.is_some() && splits.iter().count() > 0;
    reasons.when(both, Rejection::SplitMismatch);
}

/// Checks that amounts are given for payees only.
fn check_payees(payment: &Payment, splits: &PayeeAmounts, reasons: &mut Reasons) {
    for named in splits.iter() {
        let mut payees = payment.parts.iter().filter(|part| !part.is_fee);
        let known = payees.any(|part| part.account == named.account.0);
        reasons.when(!known, Rejection::PayeeNotFound);
    }
}

/// Checks that the account can pay the amount.
fn check_debit(account: &Account, amount: i128, reasons: &mut Reasons) {
    let left = account.posted - account.held - amount;
    match account.overdraft {
        Some(limit) => reasons.when(left < -limit, Rejection::InsufficientFunds),
        None => reasons.when(left < -MAX, Rejection::BalanceOverflow),
    }
}

/// Checks that the account can receive the amount.
fn check_credit(account: &Account, amount: i128, reasons: &mut Reasons) {
    reasons.when(account.posted + amount > MAX, Rejection::BalanceOverflow);
}

/// Checks a payment without reading any account.
fn check_pay_alone(pay: &Pay, now: u64, reasons: &mut Reasons) {
    let mut amounts = vec![i128::from(pay.amount)];
    let mut payees = 1;
    if let Destination::Split(split) = &pay.destination {
        payees = split.len();
        amounts.extend(split.iter().map(|share| match share.part {
            Part::Amount(amount) => i128::from(amount),
            Part::BasisPoints(points) => i128::from(points),
        }));
    }
    for fee in pay.fees.iter() {
        let flat = i128::from(fee.flat);
        let nothing = flat == 0 && fee.basis_points == 0;
        reasons.when(nothing, Rejection::AmountZero);
        reasons.when(flat > MAX, Rejection::AmountTooLarge);
    }
    reasons.when(amounts.contains(&0), Rejection::AmountZero);
    let too_large = amounts.iter().any(|amount| *amount > MAX);
    reasons.when(too_large, Rejection::AmountTooLarge);
    reasons.when(payees == 0, Rejection::PayeeMissing);
    let too_many = payees + pay.fees.len() > 16;
    reasons.when(too_many, Rejection::TooManyShares);
    let named: Vec<AccountId> = pay.accounts().collect();
    let twice = (1..named.len()).any(|at| named[..at].contains(&named[at]));
    reasons.when(twice, Rejection::DuplicateAccount);
    let adjustment = pay.kind == PaymentKind::Adjustment;
    let no_reason = adjustment && pay.reason.is_none();
    reasons.when(no_reason, Rejection::ReasonRequired);
    if let Some(hold) = pay.hold {
        // A payout is held without expiry.
        let expiring = pay.kind == PaymentKind::Payout && hold.expires_at != u64::MAX;
        reasons.when(adjustment || expiring, Rejection::HoldNotAllowed);
        reasons.when(hold.expires_at <= now, Rejection::HoldAlreadyDue);
    }
    if let Some(queue) = queued(pay) {
        let last = queue.expires_at.unwrap_or(u64::MAX);
        let never = last <= now || last <= queue.not_before && queue.expires_at.is_some();
        reasons.when(never, Rejection::QueueExpired);
    }
    if payees == 0 || pay.amount == 0 {
        return;
    }
    if let Err(reason) = shares(pay) {
        reasons.when(true, reason);
    }
}

/// Returns what must be unique: the requester's owner, the owner of the scope (the requester's own without one), and the
/// reference.
pub(super) fn full_reference(pay: &Pay, actor: u64) -> Option<(u64, u64, String)> {
    let scope = pay.reference_scope.map_or(actor, |scope| scope.0);
    let reference = pay.reference.as_ref()?;
    Some((actor, scope, reference.as_str().to_owned()))
}

/// Returns the terms of a payment that is to be queued.
pub(super) fn queued(pay: &Pay) -> Option<super::Queued> {
    let terms = pay.queue.as_ref()?.terms;
    Some(super::Queued {
        priority: terms.priority.number(),
        not_before: terms.not_before,
        expires_at: Some(terms.expires_at).filter(|at| *at > 0),
        reply_to: terms.reply_to.map(|reply_to| reply_to.0.get()),
    })
}

/// Returns the parts of the payees and the fees of a payment.
pub(super) fn shares(pay: &Pay) -> Result<Vec<super::Part>, Rejection> {
    let amount = i128::from(pay.amount);
    let fees: Vec<i128> = pay
        .fees
        .iter()
        .map(|fee| i128::from(fee.flat) + amount * i128::from(fee.basis_points) / 10_000)
        .collect();
    let net = amount - fees.iter().sum::<i128>();
    if net < 0 {
        return Err(Rejection::FeesExceedAmount);
    }
    let mut parts: Vec<(u64, bool, i128)> = Vec::new();
    match &pay.destination {
        Destination::One(account) => parts.push((account.0, false, net)),
        Destination::Split(split) => {
            let mut rest = net;
            let mut points = Vec::new();
            for share in split.iter() {
                match share.part {
                    Part::Amount(exact) => rest -= i128::from(exact),
                    Part::BasisPoints(share) => points.push(i128::from(share)),
                }
            }
            let whole: i128 = points.iter().sum();
            let adds_up = rest >= 0
                && if points.is_empty() {
                    rest == 0
                } else {
                    whole == 10_000
                };
            if !adds_up {
                return Err(Rejection::SplitMismatch);
            }
            let mut divided = if points.is_empty() {
                Vec::new()
            } else {
                divide(rest, &points)
            }
            .into_iter();
            for share in split.iter() {
                let amount = match share.part {
                    Part::Amount(exact) => i128::from(exact),
                    Part::BasisPoints(_) => divided.next().expect("one for each"),
                };
                parts.push((share.account.0, false, amount));
            }
        }
    }
    for (fee, amount) in pay.fees.iter().zip(fees) {
        parts.push((fee.account.0, true, amount));
    }
    Ok(parts
        .into_iter()
        .map(|(account, is_fee, amount)| super::Part {
            account,
            is_fee,
            amount,
            captured: 0,
            refunded: 0,
            with_fee: 0,
            base: None,
        })
        .collect())
}

impl Payment {
    /// Returns whether the payment was refused.
    pub(super) fn failed(&self) -> bool {
        self.status == PaymentStatus::Failed
    }
}
