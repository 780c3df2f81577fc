//! What a decision changes, once it is known to be accepted or refused.

use tributary_ledger::{
    AccountStatus, AdvanceTime, Body, Capture, Command, Pay, PaymentKind, PaymentStatus,
    PutSetting, Refund, Rejection, ReturnPayout,
};

use super::parts::{assert_captured_in_proportion, begin_anew, parts_of_capture, parts_of_refund};
use super::rejections::{full_reference, queued, shares};
use super::review::{Risk, begin, end, held_by_rules, held_status, moved_status};
use super::{Account, ApiKey, Entry, Model, PLATFORM, Part, Payment, Setting, Touch};

/// Nanoseconds in a day.
const DAY: u64 = 24 * 60 * 60 * 1_000_000_000;

impl Model {
    /// Records a decision at the next position.
    /// `alone`: the command is not part of a refused group.
    pub(super) fn record(
        &mut self,
        command: &Command,
        refused: Option<Rejection>,
        now: u64,
        alone: bool,
    ) {
        let position = self.position() + 1;
        let waits = command.body.payment();
        let waits = waits.and_then(|id| self.state.payments.get(&id.0)?.queue);
        let deleted = self.setting_owner(command);
        let touched = match refused {
            None => self.perform(command, position, now),
            Some(_) if alone && let Some(payment) = self.runs(command, now) => {
                self.run(payment.0, false, None, position, now)
            }
            Some(rejection) => self.refuse(command, rejection, position, now),
        };
        for &(id, amount) in &touched {
            let account = self.account(id);
            account.posted += amount;
            account.touches += 1;
            account.touched_at = position;
            let (posted_after, held_after) = (account.posted, account.held);
            self.touches.entry(id).or_default().push(Touch {
                position,
                timestamp: now,
                amount,
                posted_after,
                held_after,
            });
        }
        let about = match touched.is_empty() {
            true => self.owners_concerned(command, refused.is_none(), deleted),
            false => Vec::new(),
        };
        let sum: i128 = touched.iter().map(|(_, amount)| amount).sum();
        assert_eq!(sum, 0, "the model invents no money");
        let still = command.body.payment();
        let still = still.and_then(|id| self.state.payments.get(&id.0)?.queue);
        let left_queue = waits.filter(|_| still.is_none());
        self.entries.push(Entry {
            reply_to: left_queue.and_then(|queued| queued.reply_to),
            position,
            timestamp: now,
            command: command.clone(),
            rejection: refused,
            touched,
            short_of_funds: None,
            limits: Vec::new(),
            about,
        });
    }

    pub(super) fn account(&mut self, id: u64) -> &mut Account {
        self.state.accounts.get_mut(&id).expect("it exists")
    }

    pub(super) fn payment(&mut self, id: u64) -> &mut Payment {
        self.state.payments.get_mut(&id).expect("it exists")
    }

    /// Performs an accepted command and returns the postings to the accounts that the command touches.
    fn perform(&mut self, command: &Command, position: u64, now: u64) -> Vec<(u64, i128)> {
        match &command.body {
            Body::OpenAccount(open) => {
                let owner = self.owner(open.owner.as_str(), position);
                if let Some(external) = &open.external_id {
                    let name = (owner, external.as_str().to_owned());
                    self.state.externals.insert(name, position);
                }
                let account = Account {
                    owner,
                    currency: open.currency.numeric(),
                    kind: open.kind,
                    status: AccountStatus::Open,
                    overdraft: open.overdraft.limit().map(i128::from),
                    posted: 0,
                    held: 0,
                    opened_at: now,
                    touches: 0,
                    touched_at: 0,
                };
                self.state.accounts.insert(position, account);
                vec![(position, 0)]
            }
            Body::FreezeAccount(id) => self.set_status(id.0, AccountStatus::Frozen),
            Body::UnfreezeAccount(id) => self.set_status(id.0, AccountStatus::Open),
            Body::CloseAccount(id) => self.set_status(id.0, AccountStatus::Closed),
            Body::Pay(pay) => self.pay(command, pay, position, now),
            Body::Capture(capture) => self.capture(capture, position),
            Body::Void(id) => {
                self.release(id.0, PaymentStatus::Voided, command.actor.owner.0, position)
            }
            Body::Expire(id) => self.release(
                id.0,
                PaymentStatus::Expired,
                command.actor.owner.0,
                position,
            ),
            Body::Approve(approve) => self.approve(approve, position),
            Body::Investigate(found) => {
                self.investigate(found, position);
                Vec::new()
            }
            Body::Refund(refund) => self.refund(refund, position),
            Body::SettlePayout(settle) => {
                self.settle_payout(settle.payout.0, settle.failure.is_none(), position)
            }
            Body::ReturnPayout(give) => self.return_payout(command, give, position, now),
            Body::CreateApiKey(create) => {
                let owner = self.owner(create.owner.as_str(), position);
                let key = ApiKey {
                    owner,
                    access: create.access,
                    revoked: false,
                    secret_hash: create.secret_hash,
                    previous: None,
                };
                self.state.api_keys.insert(position, key);
                Vec::new()
            }
            Body::RotateApiKey {
                api_key,
                secret_hash,
                overlap,
            } => {
                let key = self.state.api_keys.get_mut(&api_key.0).expect("it exists");
                let until = now + (*overlap).min(30 * DAY);
                key.previous = (*overlap > 0).then_some((key.secret_hash, until));
                key.secret_hash = *secret_hash;
                Vec::new()
            }
            Body::RevokeApiKey(api_key) => {
                let key = self.state.api_keys.get_mut(&api_key.0).expect("it exists");
                key.revoked = true;
                key.previous = None;
                Vec::new()
            }
            Body::Publish(_) => Vec::new(),
            Body::AdvanceTime(advance) => {
                let by = match *advance {
                    AdvanceTime::By(nanos) => nanos,
                    AdvanceTime::To(time) => time - now,
                };
                if by > 0 {
                    self.state.time_offset = (self.state.time_offset.0 + by, position);
                }
                Vec::new()
            }
            Body::SetQueue(mode) => {
                self.state.queue = (*mode, position);
                Vec::new()
            }
            Body::PutSetting(put) => {
                self.put_setting(put, command.actor.owner.0, position);
                Vec::new()
            }
            Body::DeleteSetting(delete) => {
                self.state.settings.remove(&delete.id.0);
                Vec::new()
            }
            Body::CreateOwner(create) => {
                self.create_owner(create, position);
                Vec::new()
            }
            Body::Update(update) => {
                self.update(update, position);
                Vec::new()
            }
            Body::Run(id) => self.run(id.0, true, held_by_rules(command), position, now),
        }
    }

    fn put_setting(&mut self, put: &PutSetting, actor: u64, position: u64) {
        let counted_since = self.counted_since(put, position);
        let before = self.state.settings.remove(&put.id.0);
        let owner = before.as_ref().map_or(actor, |before| before.owner);
        let mut revisions = before.map_or_else(Vec::new, |before| before.revisions);
        revisions.push(position);
        let setting = Setting {
            kind: put.kind.0,
            owner,
            slug: put.slug.as_str().to_owned(),
            managed_by: put.managed_by.as_ref().map(|name| name.as_str().to_owned()),
            body: put.body.as_bytes().to_vec(),
            revisions,
            counted_since,
        };
        self.state.settings.insert(put.id.0, setting);
    }

    fn owner(&mut self, name: &str, position: u64) -> u64 {
        *self.state.owners.entry(name.to_owned()).or_insert(position)
    }

    fn set_status(&mut self, id: u64, status: AccountStatus) -> Vec<(u64, i128)> {
        self.account(id).status = status;
        vec![(id, 0)]
    }

    fn new_payment(&self, command: &Command, pay: &Pay, position: u64, now: u64) -> Payment {
        Payment {
            kind: pay.kind,
            status: PaymentStatus::Failed,
            owner: self.payment_owner(pay, command.actor.owner.0),
            currency: pay.currency.numeric(),
            source: pay.source.0,
            amount: i128::from(pay.amount),
            held: 0,
            captured: 0,
            refunded: 0,
            fee_refunded: 0,
            parts: pay
                .accounts()
                .enumerate()
                .skip(1)
                .map(|(at, account)| Part {
                    account: account.0,
                    is_fee: at > pay.payees(),
                    amount: 0,
                    captured: 0,
                    refunded: 0,
                    with_fee: 0,
                    base: None,
                })
                .collect(),
            expires_at: pay.hold.map_or(0, |hold| hold.expires_at),
            created_at: now,
            effective_at: command
                .effective_at
                .map_or((now / DAY) as i32, |date| date.0),
            changed_at: position,
            actor: command.actor,
            queue: None,
            text: None,
            risk: Risk::default(),
            reached: true,
        }
    }

    fn pay(&mut self, command: &Command, pay: &Pay, position: u64, now: u64) -> Vec<(u64, i128)> {
        let mut payment = self.new_payment(command, pay, position, now);
        payment.parts = shares(pay).expect("an accepted payment adds up");
        if let Some(name) = full_reference(pay, command.actor.owner.0) {
            self.state.references.insert(name, position);
        }
        let amount = payment.amount;
        let mut touched = vec![(pay.source.0, 0)];
        if pay.queue.is_some() {
            payment.status = PaymentStatus::Queued;
            payment.queue = queued(pay);
            payment.reached = false;
        } else if pay.hold.is_some() || held_by_rules(command).is_some() {
            payment.status = held_status(payment.kind);
            if let Some(held) = held_by_rules(command) {
                begin(&mut payment, held, now);
            }
            payment.held = amount;
            self.account(pay.source.0).held += amount;
            touched.extend(payment.parts.iter().map(|part| (part.account, 0)));
        } else {
            payment.status = moved_status(payment.kind);
            payment.captured = amount;
            touched[0].1 = -amount;
            for part in &mut payment.parts {
                part.captured = part.amount;
                touched.push((part.account, part.amount));
            }
        }
        self.state.payments.insert(position, payment);
        touched
    }

    /// Decides a queued payment: the payment succeeds and reaches its payees, or it fails and releases its reference.
    /// `review`: what the rules say, if they hold it.
    fn run(
        &mut self,
        id: u64,
        through: bool,
        review: Option<(bool, u64)>,
        position: u64,
        now: u64,
    ) -> Vec<(u64, i128)> {
        let payment = self.payment(id);
        payment.queue = None;
        payment.changed_at = position;
        payment.reached = through;
        let (source, amount) = (payment.source, payment.amount);
        let mut touched = vec![(source, 0)];
        if through && payment.expires_at == 0 && review.is_none() {
            payment.status = moved_status(payment.kind);
            payment.captured = amount;
            touched[0].1 = -amount;
            for part in &mut payment.parts {
                part.captured = part.amount;
                touched.push((part.account, part.amount));
            }
            return touched;
        }
        if through {
            touched.extend(payment.parts.iter().map(|part| (part.account, 0)));
            payment.status = held_status(payment.kind);
            if let Some(held) = review {
                begin(payment, held, now);
            }
            payment.held = amount;
            self.account(source).held += amount;
        } else {
            payment.status = PaymentStatus::Failed;
            self.state.references.retain(|_, known| *known != id);
        }
        touched
    }

    fn capture(&mut self, capture: &Capture, position: u64) -> Vec<(u64, i128)> {
        let payment = self.payment(capture.payment.0);
        let parts = parts_of_capture(payment, capture);
        let amount: i128 = parts.iter().sum();
        let source = payment.source;
        let mut touched = vec![(source, -amount)];
        for (part, amount) in payment.parts.iter_mut().zip(parts) {
            part.captured += amount;
            touched.push((part.account, amount));
        }
        match capture.splits.is_empty() {
            true => assert_captured_in_proportion(payment),
            false => begin_anew(payment, |part| part.captured),
        }
        let before = payment.held;
        payment.captured += amount;
        payment.held = if capture.is_final { 0 } else { before - amount };
        payment.changed_at = position;
        payment.status = standing(payment);
        let released = before - payment.held;
        self.account(source).held -= released;
        touched
    }

    fn release(
        &mut self,
        id: u64,
        nothing: PaymentStatus,
        actor: u64,
        position: u64,
    ) -> Vec<(u64, i128)> {
        let payment = self.payment(id);
        end(payment, nothing, actor);
        let (source, held) = (payment.source, payment.held);
        payment.held = 0;
        payment.queue = None;
        payment.changed_at = position;
        payment.status = match payment.captured {
            0 => nothing,
            _ => standing(payment),
        };
        let payees = payment.parts.iter().filter(|_| payment.reached);
        let payees = payees.map(|part| (part.account, 0));
        let touched = std::iter::once((source, 0)).chain(payees).collect();
        self.account(source).held -= held;
        touched
    }

    fn refund(&mut self, refund: &Refund, position: u64) -> Vec<(u64, i128)> {
        let payment = self.payment(refund.payment.0);
        let parts = parts_of_refund(payment, refund);
        let amount: i128 = parts.iter().sum();
        let mut touched = vec![(payment.source, amount)];
        for (part, amount) in payment.parts.iter_mut().zip(parts) {
            part.refunded += amount;
            if part.is_fee {
                payment.fee_refunded += amount;
            } else if refund.refund_fee {
                part.with_fee += amount;
            }
            touched.push((part.account, -amount));
        }
        if !refund.splits.is_empty() {
            begin_anew(payment, |part| part.base.map_or(0, |base| base[0]));
        }
        payment.refunded += amount;
        payment.changed_at = position;
        payment.status = standing(payment);
        touched
    }

    fn settle_payout(&mut self, id: u64, paid: bool, position: u64) -> Vec<(u64, i128)> {
        let payout = self.payment(id);
        let (source, amount) = (payout.source, payout.amount);
        payout.held = 0;
        payout.changed_at = position;
        let mut touched = vec![(source, if paid { -amount } else { 0 })];
        for part in &mut payout.parts {
            part.captured = if paid { part.amount } else { 0 };
            touched.push((part.account, part.captured));
        }
        if paid {
            payout.status = PaymentStatus::Paid;
            payout.captured = amount;
        } else {
            payout.status = PaymentStatus::Failed;
            self.state.references.retain(|_, known| *known != id);
        }
        self.account(source).held -= amount;
        touched
    }

    fn return_payout(
        &mut self,
        command: &Command,
        give: &ReturnPayout,
        position: u64,
        now: u64,
    ) -> Vec<(u64, i128)> {
        let payout = self.payment(give.payout.0);
        let payee = &mut payout.parts[0];
        let left = payee.captured - payee.refunded;
        let amount = give.amount.map_or(left, i128::from);
        payee.refunded += amount;
        let from = payee.account;
        payout.refunded += amount;
        payout.changed_at = position;
        let back = Part {
            account: payout.source,
            is_fee: false,
            amount,
            captured: amount,
            refunded: 0,
            with_fee: 0,
            base: None,
        };
        let returned = Payment {
            kind: PaymentKind::PayoutReturn,
            status: PaymentStatus::Captured,
            source: from,
            amount,
            captured: amount,
            refunded: 0,
            fee_refunded: 0,
            parts: vec![back],
            expires_at: 0,
            created_at: now,
            effective_at: command
                .effective_at
                .map_or((now / DAY) as i32, |date| date.0),
            actor: command.actor,
            text: None,
            risk: Risk::default(),
            reached: true,
            ..payout.clone()
        };
        let to = returned.parts[0].account;
        self.state.payments.insert(position, returned);
        vec![(from, -amount), (to, amount)]
    }

    /// What a refusal leaves behind: a failed payment, mentioned on its source and payees that exist. If an owner asked, the payment
    /// is that owner's, and only that owner's accounts mention it.
    fn refuse(
        &mut self,
        command: &Command,
        rejection: Rejection,
        position: u64,
        now: u64,
    ) -> Vec<(u64, i128)> {
        let Body::Pay(pay) = &command.body else {
            return Vec::new();
        };
        let mut payment = self.new_payment(command, pay, position, now);
        if rejection.concerns_actor() {
            payment.owner = command.actor.owner.0;
            payment.reached = false;
            self.state.payments.insert(position, payment);
            return Vec::new();
        }
        let asking = command.actor.owner.0;
        if asking != PLATFORM {
            payment.owner = asking;
            payment.reached = false;
        }
        self.state.payments.insert(position, payment);
        let mut touched: Vec<(u64, i128)> = Vec::new();
        for id in pay.accounts().take(1 + pay.payees()) {
            let seen = touched.iter().any(|(known, _)| *known == id.0);
            let account = self.state.accounts.get(&id.0);
            let mentions = account.is_some_and(|of| asking == PLATFORM || of.owner == asking);
            if !seen && mentions {
                touched.push((id.0, 0));
            }
        }
        touched
    }
}

/// Returns the status of a payment with a captured amount.
fn standing(payment: &Payment) -> PaymentStatus {
    assert!(!payment.failed() && payment.captured > 0);
    assert!(payment.refunded <= payment.captured && payment.captured <= payment.amount);
    if payment.refunded == 0 {
        return match payment.held {
            0 => PaymentStatus::Captured,
            _ => PaymentStatus::PartiallyCaptured,
        };
    }
    if payment.refunded == payment.captured && payment.held == 0 {
        return PaymentStatus::Refunded;
    }
    PaymentStatus::PartiallyRefunded
}

impl Model {
    /// Returns the number of the platform among owners.
    pub fn platform(&self) -> u64 {
        PLATFORM
    }
}
