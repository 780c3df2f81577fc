//! Random commands that hit: they name what exists, what just came to be and what does not, amounts at every bound, keys
//! used before, groups, and everybody who may or may not ask.

mod details;
mod review;

use tributary_ledger::{
    AMOUNT_MAX, Access, AccountId, AccountKind, AccountStatus, Actor, AdvanceTime, ApiKeyId, Body,
    Capture, Command, CorrelationId, CreateApiKey, Currency, Data, Date, DeleteSetting,
    Destination, ExternalId, Fee, Fees, Hold, Key, LIMITED_KINDS, Label, LimitSubject, LimitTerms,
    ManagedBy, OpenAccount, OrderKey, Origin, Overdraft, OwnerId, OwnerName, Part, Pay,
    PayeeAmount, PayeeAmounts, Payees, PaymentId, PaymentKind, PaymentStatus, Priority, Publish,
    PutSetting, Queue, QueueMode, QueueTerms, Reason, Reference, Refund, ReplyAddress, ReplyTo,
    ReturnPayout, SHARES_MAX, SettingBody, SettingId, SettingKind, SettlePayout, Share, Slug, Text,
    Topic, Updated,
};

use crate::model::Model;
use crate::random::Random;

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;
/// Number of accounts that are opened first.
const ACCOUNTS_FIRST: usize = 10;
/// Names of the owners, including the platform.
const OWNERS: [&str; 6] = ["platform", "shop", "market", "user-1", "user-2", "user-3"];
/// Number of commands that are remembered for repetition.
const REMEMBERED_MAX: usize = 200;

/// Random requests. The same seed and the same model give the same requests.
#[derive(Clone, Debug)]
pub struct Workload {
    rng: Random,
    keys: u64,
    remembered: Vec<Command>,
    /// Maximum size of a text, bytes.
    pub text_bytes_max: usize,
    /// Maximum number of commands of a request.
    pub commands_max: u64,
}

impl Workload {
    /// Returns a workload for this seed, with short texts and requests of up to 12 commands.
    pub fn new(seed: u64) -> Workload {
        Workload {
            rng: Random::new(seed ^ 0x776f_726b),
            keys: 0,
            remembered: Vec::new(),
            text_bytes_max: 200,
            commands_max: 12,
        }
    }

    /// Returns the commands of the next request.
    pub fn request(&mut self, model: &Model, now: u64) -> Vec<Command> {
        let wanted = match self.rng.below(10) {
            0..=5 => 1,
            _ => 1 + self.rng.below(self.commands_max),
        };
        let mut commands: Vec<Command> = Vec::new();
        while (commands.len() as u64) < wanted {
            let command = self.command(model, now);
            // Two requests for the same thing at the same moment; a setting is made anew for each attempt.
            if self.rng.chance(4) {
                let mut again = command.clone();
                self.derive_again(&mut again);
                if self.rng.chance(60) {
                    again.key = self.fresh_key();
                }
                commands.push(again);
            }
            commands.push(command);
        }
        if commands.len() > 1 && self.rng.chance(30) {
            let from = self.rng.index(commands.len());
            let len = 1 + self.rng.index(5);
            for command in commands.iter_mut().skip(from).take(len) {
                command.linked = true;
            }
        }
        for command in &commands {
            if self.remembered.len() < REMEMBERED_MAX {
                self.remembered.push(command.clone());
            } else {
                let at = self.rng.index(REMEMBERED_MAX);
                self.remembered[at] = command.clone();
            }
        }
        commands
    }

    fn command(&mut self, model: &Model, now: u64) -> Command {
        if self.rng.chance(6)
            && let Some(mut known) = self.rng.pick(&self.remembered).cloned()
        {
            self.derive_again(&mut known);
            return known;
        }
        let body = self.body(model, now);
        let key = match self.rng.pick(&self.remembered) {
            Some(known) if self.rng.below(100) < 2 => known.key.clone(),
            _ => self.fresh_key(),
        };
        let effective_at = self
            .rng
            .chance(10)
            .then(|| Date(8_000 + self.rng.below(12_000) as i32));
        Command {
            key,
            actor: self.actor(model, &body),
            linked: false,
            effective_at,
            text: self.text(),
            origin: self.origin(),
            assessment: self.assessment(&body),
            body,
        }
    }

    /// Changes what the server derives from a request, which differs between attempts: only the digest of the request stays.
    pub fn derive_again(&mut self, command: &mut Command) {
        if self.rng.chance(20) {
            command.origin = self.origin();
            command.assessment = self.assessment(&command.body);
        }
        if let Body::PutSetting(put) = &mut command.body
            && self.rng.chance(50)
        {
            put.id = SettingId(1 + self.rng.below(1 << 20));
            put.body = SettingBody::new(b"sealed anew").expect("it is short");
            put.replaces += self.rng.below(2);
        }
    }

    fn fresh_key(&mut self) -> Key {
        self.keys += 1;
        let mut bytes = format!("key-{}", self.keys).into_bytes();
        if self.rng.chance(3) {
            bytes.resize(Key::BYTES_MAX, b'x');
        }
        Key::from_bytes(&bytes).expect("it is short and not empty")
    }

    /// Returns the origin of a command that came as a message, as one in five does.
    fn origin(&mut self) -> Option<Box<Origin>> {
        if !self.rng.chance(20) {
            return None;
        }
        let mut text = |bytes_min: usize| -> String {
            let len = bytes_min + self.rng.index(ReplyAddress::BYTES_MAX);
            "r".repeat(len.min(ReplyAddress::BYTES_MAX))
        };
        let (to, correlation_id) = (text(1), text(0));
        let correlation_id = Some(&*correlation_id).filter(|text| !text.is_empty());
        let reply = ReplyAddress::new(&to, correlation_id).expect("it is within its bounds");
        let reply = Some(reply).filter(|_| self.rng.chance(60));
        let mut message = [0; 32];
        message.fill_with(|| self.rng.any() as u8);
        let setting = SettingId(1 + self.rng.below(1 << 20));
        let revision = 1 + self.rng.below(5);
        let hops = 1 + self.rng.below(Origin::HOPS_MAX.into()) as u8;
        let origin = Origin::new(setting, revision, message, hops, reply);
        Some(Box::new(origin.expect("it is within its bounds")))
    }

    fn text(&mut self) -> Option<Text> {
        if !self.rng.chance(15) {
            return None;
        }
        let len = 1 + self.rng.index(self.text_bytes_max);
        let bytes: Vec<u8> = (0..len).map(|_| self.rng.any() as u8).collect();
        Some(Text::new(Text::PLAIN, &bytes).expect("it is within its bounds"))
    }

    /// Returns an actor who is usually allowed to make the command.
    fn actor(&mut self, model: &Model, body: &Body) -> Actor {
        let owners: Vec<u64> = model.owners().values().copied().collect();
        let system = |owner: u64| Actor {
            owner: OwnerId(owner),
            api_key: ApiKeyId(0),
        };
        match self.rng.below(100) {
            0..=54 => Actor::SYSTEM,
            55..=74 => system(self.main_owner(model, body).unwrap_or(0)),
            75..=82 => system(*self.rng.pick(&owners).expect("the platform is one")),
            _ => {
                let keys: Vec<u64> = model.api_keys().keys().copied().collect();
                let Some(&key) = self.rng.pick(&keys) else {
                    return Actor::SYSTEM;
                };
                let mut owner = model.api_keys()[&key].owner;
                if self.rng.chance(5) {
                    owner = *self.rng.pick(&owners).expect("the platform is one");
                }
                let stray = if self.rng.chance(3) { 1 } else { 0 };
                Actor {
                    owner: OwnerId(owner),
                    api_key: ApiKeyId(key + stray),
                }
            }
        }
    }

    /// Returns the owner whose account or object the command names first.
    fn main_owner(&mut self, model: &Model, body: &Body) -> Option<u64> {
        let owner_of = |account: u64| Some(model.accounts().get(&account)?.owner);
        let payee = self.rng.index(SHARES_MAX);
        let of_payment = |payment: PaymentId| {
            let payment = model.payments().get(&payment.0)?;
            let payees = payment.parts.iter().filter(|part| !part.is_fee).count();
            owner_of(payment.parts.get(payee % payees.max(1))?.account)
        };
        match body {
            Body::OpenAccount(open) => model.owners().get(open.owner.as_str()).copied(),
            Body::FreezeAccount(account)
            | Body::UnfreezeAccount(account)
            | Body::CloseAccount(account) => owner_of(account.0),
            Body::Pay(pay) => owner_of(pay.source.0),
            Body::Capture(capture) => match capture.splits.len() {
                0 => of_payment(capture.payment),
                named => owner_of(capture.splits[payee % named].account.0),
            },
            Body::Void(payment) | Body::Expire(payment) => of_payment(*payment),
            Body::Approve(approve) => Some(model.payments().get(&approve.payment.0)?.actor.owner.0),
            Body::Refund(refund) => of_payment(refund.payment),
            Body::SettlePayout(settle) => owner_of(model.payments().get(&settle.payout.0)?.source),
            Body::ReturnPayout(give) => owner_of(model.payments().get(&give.payout.0)?.source),
            Body::PutSetting(put) => Some(model.settings().get(&put.id.0)?.owner),
            Body::Update(update) => match &update.object {
                Updated::Account(id) => owner_of(id.0),
                Updated::Payment(id) => Some(model.payments().get(&id.0)?.actor.owner.0),
                Updated::Owner(id, _) => Some(id.0),
            },
            Body::DeleteSetting(delete) => Some(model.settings().get(&delete.id.0)?.owner),
            _ => None,
        }
    }

    fn body(&mut self, model: &Model, now: u64) -> Body {
        if model.accounts().len() < ACCOUNTS_FIRST {
            return self.open_account();
        }
        match self.rng.below(152) {
            0..=4 => self.open_account(),
            5..=6 => Body::FreezeAccount(self.account(model)),
            7..=9 => Body::UnfreezeAccount(self.frozen(model)),
            10..=11 => Body::CloseAccount(self.account(model)),
            12..=54 => Body::Pay(self.pay(model, now)),
            55..=66 => {
                let payment = self.payment(model, |payment| payment.held > 0);
                let held = model
                    .payments()
                    .get(&payment.0)
                    .map_or(0, |found| found.held);
                let splits = self.payee_amounts(model, payment, |part| part.amount - part.captured);
                Body::Capture(Capture {
                    payment,
                    amount: self.amount_beside(&splits, held),
                    is_final: self.rng.chance(25),
                    splits,
                })
            }
            67..=69 => Body::Void(self.payment(model, crate::model::Payment::open)),
            70..=73 => Body::Expire(self.payment(model, |payment| {
                payment.held > 0 && payment.expires_at <= now
            })),
            74..=92 => {
                let payment = self.payment(model, |payment| payment.captured > payment.refunded);
                let found = model.payments().get(&payment.0);
                let left = found.map_or(0, |found| found.captured - found.refunded);
                let splits =
                    self.payee_amounts(model, payment, |part| part.captured - part.refunded);
                Body::Refund(Refund {
                    payment,
                    amount: self.amount_beside(&splits, left),
                    refund_fee: self.rng.chance(40),
                    splits,
                })
            }
            93..=96 => Body::CreateApiKey(CreateApiKey {
                owner: self.owner(),
                access: match self.rng.below(4) {
                    0 => Access::Read,
                    _ => Access::Write,
                },
                secret_hash: [self.rng.any() as u8; 32],
                label: self
                    .rng
                    .chance(50)
                    .then(|| Label::new("till").expect("it is short")),
            }),
            97 => Body::RevokeApiKey(self.api_key(model)),
            100..=103 => self.publish(),
            104..=109 => Body::Run(self.payment(model, |payment| payment.queue.is_some())),
            113..=118 => self.put_setting(model),
            119..=120 => Body::DeleteSetting(self.delete_setting(model)),
            121..=122 => self.create_owner(),
            123..=127 => self.update(model),
            128..=129 => Body::AdvanceTime(self.advance_time(now)),
            130..=136 => Body::SettlePayout(self.settle_payout(model)),
            142..=147 => Body::Approve(self.approve(model)),
            148.. => Body::Investigate(Box::new(self.investigate(model))),
            137..=141 => Body::ReturnPayout(self.return_payout(model)),
            110..=112 => Body::SetQueue(match self.rng.below(6) {
                0 => QueueMode::Paused,
                1 => QueueMode::Draining,
                _ => QueueMode::Active,
            }),
            _ => Body::RotateApiKey {
                api_key: self.api_key(model),
                secret_hash: [self.rng.any() as u8; 32],
                overlap: match self.rng.below(3) {
                    0 => 0,
                    1 => self.rng.below(40 * SECOND),
                    _ => self.rng.any(),
                },
            },
        }
    }

    fn settle_payout(&mut self, model: &Model) -> SettlePayout {
        let pending = |payment: &crate::model::Payment| payment.status == PaymentStatus::Pending;
        SettlePayout {
            payout: self.payment(model, pending),
            failure: self
                .rng
                .chance(35)
                .then(|| Reason::new("account closed").expect("it is short")),
        }
    }

    fn return_payout(&mut self, model: &Model) -> ReturnPayout {
        let left = |payment: &crate::model::Payment| {
            let payee = payment.parts.first();
            // A payee that bears a kept fee has refunded more than it captured.
            payee.map_or(0, |payee| (payee.captured - payee.refunded).max(0))
        };
        let paid = |payment: &crate::model::Payment| {
            payment.status == PaymentStatus::Paid && left(payment) > 0
        };
        let payout = self.payment(model, paid);
        let left = model.payments().get(&payout.0).map_or(0, left);
        ReturnPayout {
            payout,
            amount: self.partial_amount(left),
            reason: self
                .rng
                .chance(50)
                .then(|| Reason::new("unknown account").expect("it is short")),
        }
    }

    /// Returns a new setting, or another revision of one. There are few slugs, so that they collide.
    fn put_setting(&mut self, model: &Model) -> Body {
        let (id, kind, revision) = self.setting(model);
        let replaces = match self.rng.below(20) {
            0 => 0,
            1 => revision + 1,
            2 => revision.saturating_sub(1),
            _ => revision,
        };
        let len = match self.rng.below(30) {
            0 => 2_048,
            1 => 1_024,
            2 => 1_025,
            3 => 16_384,
            4 => 16_385,
            _ => 1 + self.rng.index(self.text_bytes_max),
        };
        let byte = self.rng.any() as u8;
        let body = match kind {
            SettingKind::LIMIT if len != 1_025 => self.limit(model),
            _ => vec![byte; len],
        };
        Body::PutSetting(Box::new(PutSetting {
            id,
            kind,
            slug: Slug::new(&format!("slug-{}", self.rng.below(12))).expect("it is short"),
            managed_by: self
                .rng
                .chance(20)
                .then(|| ManagedBy::new("deploy").expect("it is short")),
            replaces,
            body: SettingBody::new(&body).expect("it is within its bounds"),
            request: [byte; 16],
        }))
    }

    /// Returns what a limit says that is usually met, and sometimes cannot be kept.
    fn limit(&mut self, model: &Model) -> Vec<u8> {
        let owners: Vec<u64> = model.owners().values().copied().collect();
        let account = self.account(model);
        let currency = match self.rng.below(10) {
            0 => Some(self.currency()),
            1..=4 => None,
            _ => {
                let known = model.accounts().get(&account.0);
                known.and_then(|account| Currency::from_numeric(account.currency).ok())
            }
        };
        let subject = match self.rng.pick(&owners) {
            Some(owner) if self.rng.chance(40) => LimitSubject::Owner(OwnerId(*owner)),
            _ => LimitSubject::Account(account),
        };
        let kinds = match self.rng.below(4) {
            0 => &LIMITED_KINDS[self.rng.index(LIMITED_KINDS.len())..],
            _ => &LIMITED_KINDS[..],
        };
        let windows = [1, 15, 60, 3_600, 86_400].map(|seconds| seconds * SECOND);
        let window = *self.rng.pick(&windows).expect("there are some");
        let payments = self.rng.chance(60).then(|| self.rng.below(8));
        let amount = (currency.is_some() && self.rng.chance(60)).then(|| self.rng.below(60_000));
        let payments = payments.or_else(|| amount.is_none().then_some(3));
        let terms = LimitTerms::new(subject, kinds, currency, window, payments, amount);
        let mut body = terms.expect("it says a limit").to_body();
        if self.rng.chance(5) {
            let at = self.rng.index(body.len());
            body[at] = self.rng.any() as u8;
        }
        body
    }

    /// Returns a move of the clock by some seconds, sometimes by much, none at all, too much or backwards.
    fn advance_time(&mut self, now: u64) -> AdvanceTime {
        let seconds = self.rng.below(5_000) * 1_000_000;
        match self.rng.below(12) {
            0 => AdvanceTime::By(0),
            1 => AdvanceTime::By(seconds * 1_000),
            2 => AdvanceTime::By(u64::MAX - seconds),
            3 => AdvanceTime::To(now - seconds),
            4..=6 => AdvanceTime::To(now + seconds),
            _ => AdvanceTime::By(seconds),
        }
    }

    fn delete_setting(&mut self, model: &Model) -> DeleteSetting {
        let (id, kind, revision) = self.setting(model);
        let replaces = match self.rng.below(4) {
            0 => 0,
            1 => revision + self.rng.below(2),
            _ => revision,
        };
        DeleteSetting { id, kind, replaces }
    }

    /// Returns the id, the kind and the revision of a setting that usually exists; revision 0 for a new one.
    fn setting(&mut self, model: &Model) -> (SettingId, SettingKind, u64) {
        let stray = match self.rng.below(20) {
            0 => Some(SettingKind(77)),
            1..=2 => Some(SettingKind::APPLIED_FILE),
            3 => Some(SettingKind::BINDER),
            4 => Some(SettingKind::BINDING),
            5 => Some(SettingKind::STREAM),
            6..=8 => Some(SettingKind::LIMIT),
            _ => None,
        };
        let ids: Vec<u64> = model.settings().keys().copied().collect();
        match self.rng.pick(&ids) {
            Some(id) if self.rng.chance(60) => {
                let found = &model.settings()[id];
                let kind = stray.unwrap_or(SettingKind(found.kind));
                (SettingId(*id), kind, found.revisions.len() as u64)
            }
            _ => {
                let id = SettingId(1 + self.rng.below(1 << 20));
                (id, stray.unwrap_or(SettingKind::SUBSCRIPTION), 0)
            }
        }
    }

    fn publish(&mut self) -> Body {
        let topic = format!("app.order.step-{}", self.rng.below(5));
        let len = 1 + self.rng.index(self.text_bytes_max);
        let bytes: Vec<u8> = (0..len).map(|_| self.rng.any() as u8).collect();
        Body::Publish(Publish {
            topic: Topic::new(&topic).expect("it is one"),
            key: self.rng.chance(50).then(|| {
                let key = format!("order-{}", self.rng.below(20));
                OrderKey::new(&key).expect("it is short")
            }),
            data: Data::new(Data::PLAIN, &bytes).expect("it is within its bounds"),
        })
    }

    fn owner(&mut self) -> OwnerName {
        let name = *self.rng.pick(&OWNERS).expect("there are some");
        OwnerName::new(name).expect("it is plain")
    }

    fn open_account(&mut self) -> Body {
        let kinds = [
            AccountKind::Wallet,
            AccountKind::Merchant,
            AccountKind::External,
            AccountKind::Fee,
            AccountKind::Suspense,
        ];
        let kind = *self.rng.pick(&kinds).expect("there are some");
        let overdraft = match self.rng.below(100) {
            0..=34 => Overdraft::UNLIMITED,
            35..=79 => Overdraft::NONE,
            80..=89 => Overdraft::limited(self.rng.below(5_000)),
            90..=95 => Overdraft::limited(AMOUNT_MAX),
            96..=97 => Overdraft::limited(AMOUNT_MAX + 1),
            _ => Overdraft::limited(u64::MAX - 1),
        };
        Body::OpenAccount(OpenAccount {
            owner: self.owner(),
            currency: self.currency(),
            kind,
            overdraft,
            external_id: self.rng.chance(40).then(|| {
                let name = format!("external-{}", self.rng.below(40));
                ExternalId::new(&name).expect("it is short")
            }),
        })
    }

    fn currency(&mut self) -> Currency {
        let code = if self.rng.chance(85) { "EUR" } else { "JPY" };
        Currency::from_code(code).expect("it is one")
    }

    /// Returns a random position, of any object, past or future.
    fn random_position(&mut self, model: &Model) -> u64 {
        match self.rng.below(4) {
            0 => 0,
            1 => model.position() + 1 + self.rng.below(6),
            2 => 1 + self.rng.below(model.position() + 1),
            _ => self.rng.any(),
        }
    }

    fn account(&mut self, model: &Model) -> AccountId {
        if self.rng.chance(2) {
            return AccountId(self.random_position(model));
        }
        let ids: Vec<u64> = model.accounts().keys().copied().collect();
        AccountId(self.rng.pick(&ids).copied().unwrap_or(1))
    }

    fn account_in(&mut self, model: &Model, currency: u16) -> AccountId {
        let ids: Vec<u64> = model
            .accounts()
            .iter()
            .filter(|(_, found)| {
                found.currency == currency && found.status != AccountStatus::Closed
            })
            .map(|(id, _)| *id)
            .collect();
        match self.rng.pick(&ids) {
            Some(&id) if self.rng.below(100) < 97 => AccountId(id),
            _ => self.account(model),
        }
    }

    fn frozen(&mut self, model: &Model) -> AccountId {
        let ids: Vec<u64> = model
            .accounts()
            .iter()
            .filter(|(_, found)| found.status == AccountStatus::Frozen)
            .map(|(id, _)| *id)
            .collect();
        match self.rng.pick(&ids) {
            Some(&id) if self.rng.below(100) < 85 => AccountId(id),
            _ => self.account(model),
        }
    }

    fn api_key(&mut self, model: &Model) -> ApiKeyId {
        let ids: Vec<u64> = model.api_keys().keys().copied().collect();
        match self.rng.pick(&ids) {
            Some(&id) if self.rng.below(100) < 90 => ApiKeyId(id),
            _ => ApiKeyId(self.random_position(model)),
        }
    }

    fn payment(
        &mut self,
        model: &Model,
        fits: impl Fn(&crate::model::Payment) -> bool,
    ) -> PaymentId {
        if self.rng.chance(3) {
            return PaymentId(self.random_position(model));
        }
        let all = model.payments();
        let fitting: Vec<u64> = all
            .iter()
            .filter(|(_, payment)| fits(payment))
            .map(|(id, _)| *id)
            .collect();
        if self.rng.chance(80)
            && let Some(&id) = self.rng.pick(&fitting)
        {
            return PaymentId(id);
        }
        let ids: Vec<u64> = all.keys().copied().collect();
        PaymentId(self.rng.pick(&ids).copied().unwrap_or(1))
    }

    /// Returns exact amounts for some payees of a payment, usually about what is left of their parts, and often none.
    fn payee_amounts(
        &mut self,
        model: &Model,
        payment: PaymentId,
        left: fn(&crate::model::Part) -> i128,
    ) -> PayeeAmounts {
        let found = model.payments().get(&payment.0);
        let (Some(found), true) = (found, self.rng.chance(40)) else {
            return PayeeAmounts::default();
        };
        let mut amounts = Vec::new();
        for part in found.parts.iter().take(SHARES_MAX) {
            let wanted = if part.is_fee { 2 } else { 60 };
            if !self.rng.chance(wanted) {
                continue;
            }
            let account = match self.rng.chance(1) {
                true => self.account(model),
                false => AccountId(part.account),
            };
            let whole = left(part).max(0);
            let amount = self.partial_amount(whole).unwrap_or(whole as u64);
            amounts.push(PayeeAmount { account, amount });
        }
        PayeeAmounts::new(amounts).expect("at most sixteen")
    }

    /// Returns an amount for a capture or refund, hardly ever together with exact amounts.
    fn amount_beside(&mut self, splits: &PayeeAmounts, whole: i128) -> Option<u64> {
        if !splits.is_empty() && self.rng.below(100) < 98 {
            return None;
        }
        self.partial_amount(whole)
    }

    /// Returns no amount (= all), a part, all, or one unit more.
    fn partial_amount(&mut self, whole: i128) -> Option<u64> {
        let whole = u64::try_from(whole.max(0)).expect("amounts are not negative");
        match self.rng.below(100) {
            0..=19 => None,
            20..=34 => Some(whole),
            35..=39 => Some(whole + 1),
            40..=41 => Some(self.boundary_amount()),
            42..=61 => Some(whole / 2 + 1),
            _ => Some(1 + self.rng.below(whole.max(1))),
        }
    }

    /// Returns an amount at a bound.
    fn boundary_amount(&mut self) -> u64 {
        let edges = [0, 1, AMOUNT_MAX - 1, AMOUNT_MAX, AMOUNT_MAX + 1, u64::MAX];
        *self.rng.pick(&edges).expect("there are some")
    }

    fn amount(&mut self, model: &Model, source: AccountId) -> u64 {
        let available = model
            .accounts()
            .get(&source.0)
            .map_or(0, |found| (found.posted - found.held).max(0));
        let available = u64::try_from(available).expect("it is not negative");
        match self.rng.below(100) {
            0..=34 => 1 + self.rng.below(100),
            35..=59 => 1 + self.rng.below(20_000),
            60..=79 => 1 + self.rng.below(available.max(1)),
            80..=84 => available,
            85..=88 => available + 1,
            89..=94 => AMOUNT_MAX - self.rng.below(AMOUNT_MAX / 2),
            _ => self.boundary_amount(),
        }
    }

    fn pay(&mut self, model: &Model, now: u64) -> Pay {
        let currency = self.currency();
        let source = self.account_in(model, currency.numeric());
        let kind = PaymentKind::ALL[self.rng.index(PaymentKind::ALL.len())];
        let amount = self.amount(model, source);
        let mut named = vec![source];
        let destination = self.destination(model, currency, amount, &mut named);
        let fees = self.fees(model, currency, amount, &mut named);
        let reference_scope = self.rng.chance(12).then(|| self.scope(model, &named));
        let pays_out = kind == PaymentKind::Payout;
        let hold = if pays_out && self.rng.chance(85) {
            Some(Hold::OF_PAYOUT)
        } else {
            self.hold(now)
        };
        Pay {
            kind,
            source,
            destination,
            fees,
            amount,
            currency,
            hold,
            reference: self.rng.chance(25).then(|| {
                let name = format!("order-{}", self.rng.below(150));
                Reference::new(&name).expect("it is short")
            }),
            reference_scope,
            reason: (self.rng.chance(5) || kind == PaymentKind::Adjustment && self.rng.chance(80))
                .then(|| Reason::new("a correction").expect("it is short")),
            queue: self.rng.chance(25).then(|| Box::new(self.queue(now))),
        }
    }

    fn hold(&mut self, now: u64) -> Option<Hold> {
        self.rng.chance(35).then(|| Hold {
            expires_at: match self.rng.below(20) {
                0 => now.saturating_sub(1),
                1 => now,
                2 => now + 1,
                3 => Hold::NO_EXPIRY,
                _ => now + self.rng.below(40 * SECOND),
            },
        })
    }

    /// Returns the owner of an account that a payment names, or now and then of any account.
    fn scope(&mut self, model: &Model, named: &[AccountId]) -> OwnerId {
        let party = match self.rng.pick(named) {
            Some(party) if self.rng.chance(90) => *party,
            _ => self.account(model),
        };
        let owner = model.accounts().get(&party.0).map(|found| found.owner);
        OwnerId(owner.unwrap_or(1))
    }

    /// Returns terms of the queue, usually of a payment that runs soon; some payments can never run.
    fn queue(&mut self, now: u64) -> Queue {
        let soon = |rng: &mut Random| match rng.below(20) {
            0 => now.saturating_sub(1),
            1 => now,
            2 => now + 1,
            _ => now + rng.below(40 * SECOND),
        };
        Queue {
            terms: QueueTerms {
                priority: Priority::new(self.rng.below(10) as u8).expect("it is one"),
                not_before: if self.rng.chance(40) {
                    soon(&mut self.rng)
                } else {
                    0
                },
                expires_at: if self.rng.chance(40) {
                    soon(&mut self.rng)
                } else {
                    0
                },
                reply_to: ReplyTo::new(self.rng.below(3)),
            },
            correlation_id: self
                .rng
                .chance(20)
                .then(|| CorrelationId::new("basket-7").expect("it is short")),
        }
    }

    /// Returns another account, usually one that the payment does not name yet.
    fn other_account(
        &mut self,
        model: &Model,
        currency: Currency,
        named: &mut Vec<AccountId>,
    ) -> AccountId {
        let mut account = self.account_in(model, currency.numeric());
        for _ in 0..8 {
            if !named.contains(&account) || self.rng.chance(1) {
                break;
            }
            account = self.account_in(model, currency.numeric());
        }
        named.push(account);
        account
    }

    fn destination(
        &mut self,
        model: &Model,
        currency: Currency,
        amount: u64,
        named: &mut Vec<AccountId>,
    ) -> Destination {
        if self.rng.chance(65) {
            return Destination::One(self.other_account(model, currency, named));
        }
        let count = match self.rng.below(20) {
            0 => 0,
            1 => 16,
            _ => 1 + self.rng.below(5),
        };
        let mut left = amount;
        let mut points_left: u16 = 10_000;
        let exact_only = self.rng.chance(25);
        let mut shares: Vec<Share> = Vec::new();
        for at in 0..count {
            let last = at + 1 == count;
            let part = if exact_only || (!last && self.rng.chance(30)) {
                let part = if last {
                    left
                } else {
                    self.rng.below(left / 2 + 2)
                };
                left = left.saturating_sub(part);
                Part::Amount(part)
            } else {
                let most = u64::from(points_left);
                let part = if last { most } else { self.rng.below(most + 1) };
                let part = u16::try_from(part).expect("not more than a whole");
                points_left -= part;
                Part::BasisPoints(part)
            };
            let account = self.other_account(model, currency, named);
            shares.push(Share { account, part });
        }
        // Now and then it does not add up.
        if self.rng.chance(4)
            && let Some(share) = shares.first_mut()
        {
            share.part = Part::Amount(self.boundary_amount());
        }
        Destination::Split(Payees::new(shares).expect("at most sixteen"))
    }

    fn fees(
        &mut self,
        model: &Model,
        currency: Currency,
        amount: u64,
        named: &mut Vec<AccountId>,
    ) -> Fees {
        if !self.rng.chance(30) {
            return Fees::default();
        }
        let count = 1 + self.rng.below(3);
        let fees = (0..count).map(|_| Fee {
            account: self.other_account(model, currency, named),
            flat: match self.rng.below(20) {
                0 => self.boundary_amount(),
                1 => amount,
                2..=9 => 0,
                _ => self.rng.below(40),
            },
            basis_points: match self.rng.below(20) {
                0 => 10_000,
                1 => 65_535,
                2..=6 => 0,
                _ => self.rng.below(500) as u16,
            },
        });
        Fees::new(fees.collect()).expect("at most sixteen")
    }
}
