//! A ledger with everything in memory. Each record is also encoded, decoded and applied to a second set, so that every
//! test is a test of the codec.

use tributary_ledger::codec::{Record, RecordRef, decode, encode};
use tributary_ledger::*;

pub(crate) const DAY: u64 = DATE_NANOS;

pub(crate) struct World {
    pub(crate) set: WorkingSet,
    pub(crate) mirror: WorkingSet,
    pub(crate) position: u64,
    pub(crate) timestamp: u64,
    pub(crate) records: Vec<Vec<u8>>,
}

pub(crate) fn owner(name: &str) -> OwnerName {
    OwnerName::new(name).unwrap()
}

pub(crate) fn eur() -> Currency {
    Currency::from_code("EUR").unwrap()
}

pub(crate) fn command(actor: Actor, body: Body) -> Command {
    Command {
        key: Key::from_bytes(b"0123456789abcdef").unwrap(),
        actor,
        linked: false,
        effective_at: None,
        text: None,
        origin: None,
        assessment: None,
        body,
    }
}

pub(crate) fn by(owner: OwnerId) -> Actor {
    Actor {
        owner,
        api_key: ApiKeyId::SYSTEM,
    }
}

pub(crate) fn plain_pay(source: AccountId, payee: AccountId, amount: u64) -> Pay {
    Pay {
        kind: PaymentKind::Pay,
        source,
        destination: Destination::One(payee),
        fees: Fees::default(),
        amount,
        currency: eur(),
        hold: None,
        reference: None,
        reference_scope: None,
        reason: None,
        queue: None,
    }
}

pub(crate) fn split(shares: &[(AccountId, Part)]) -> Destination {
    Destination::Split(
        Payees::new(
            shares
                .iter()
                .map(|(account, part)| Share {
                    account: *account,
                    part: *part,
                })
                .collect(),
        )
        .unwrap(),
    )
}

pub(crate) fn fees(list: &[(AccountId, u64, u16)]) -> Fees {
    let fee = |(account, flat, basis_points): &(AccountId, u64, u16)| Fee {
        account: *account,
        flat: *flat,
        basis_points: *basis_points,
    };
    Fees::new(list.iter().map(fee).collect()).unwrap()
}

impl World {
    pub(crate) fn new() -> Self {
        let set = WorkingSet::new(Residency::Everything);
        World {
            mirror: set.clone(),
            set,
            position: 0,
            timestamp: 1_000 * DAY,
            records: Vec::new(),
        }
    }

    pub(crate) fn next(&self) -> Context {
        Context {
            position: self.position + 1,
            timestamp: self.timestamp,
        }
    }

    /// Decides, records and applies.
    pub(crate) fn run(&mut self, command: &Command) -> Outcome {
        let ctx = self.next();
        let outcome = decide(&self.set, command, ctx);
        apply(&mut self.set, command, &outcome, ctx);
        self.record(command, &outcome, ctx);
        outcome
    }

    pub(crate) fn run_group(&mut self, commands: &[Command]) -> Vec<Outcome> {
        let first = self.next();
        let outcomes = decide_group(&mut self.set, commands, first);
        for (command, outcome) in commands.iter().zip(&outcomes) {
            let ctx = Context {
                timestamp: first.timestamp,
                ..self.next()
            };
            self.record(command, outcome, ctx);
        }
        outcomes
    }

    /// Takes an outcome that was decided elsewhere.
    pub(crate) fn take(&mut self, command: &Command, outcome: &Outcome) {
        let ctx = self.next();
        apply(&mut self.set, command, outcome, ctx);
        self.record(command, outcome, ctx);
    }

    fn record(&mut self, command: &Command, outcome: &Outcome, ctx: Context) {
        let mut bytes = Vec::new();
        encode(
            command,
            &command.digest(),
            outcome,
            ctx,
            FORMAT_VERSION,
            &mut bytes,
        );
        let record = decode(&bytes, FORMAT_VERSION).unwrap();
        let (mut written, mut made) = (Vec::new(), Vec::new());
        index_keys(&bytes, &mut |hash| written.push(hash)).unwrap();
        let key_hash = hash::hash_key(command.actor.owner, &command.key);
        index_command_keys(command, key_hash, outcome, &mut |hash| made.push(hash));
        assert_eq!(
            made, written,
            "a record is found again by what it was made from"
        );
        let mut original = Record {
            ctx,
            digest: command.digest(),
            command: command.clone(),
            outcome: outcome.clone(),
        };
        if outcome.rejection.is_some_and(Rejection::concerns_actor) {
            original.command.text = None;
        }
        assert_eq!(record, original);
        agrees(&RecordRef::parse(&bytes, FORMAT_VERSION).unwrap(), &record);
        apply(
            &mut self.mirror,
            &record.command,
            &record.outcome,
            record.ctx,
        );
        self.position += 1;
        self.timestamp += 1;
        self.records.push(bytes);
    }

    pub(crate) fn submit(&mut self, actor: Actor, body: Body) -> Outcome {
        self.run(&command(actor, body))
    }

    /// Done by the platform, and must be accepted.
    pub(crate) fn must(&mut self, body: Body) -> Outcome {
        let outcome = self.submit(Actor::SYSTEM, body);
        assert_eq!(outcome.rejection, None);
        outcome
    }

    pub(crate) fn open(
        &mut self,
        name: &str,
        kind: AccountKind,
        overdraft: Overdraft,
    ) -> AccountId {
        let open = OpenAccount {
            owner: owner(name),
            currency: eur(),
            kind,
            overdraft,
            external_id: None,
        };
        self.must(Body::OpenAccount(open)).account.unwrap().id
    }

    pub(crate) fn wallet(&mut self, name: &str) -> AccountId {
        self.open(name, AccountKind::Wallet, Overdraft::NONE)
    }

    /// A wallet with money from an external account of the platform.
    pub(crate) fn funded(&mut self, name: &str, amount: u64) -> AccountId {
        let bank = self.open("platform", AccountKind::External, Overdraft::UNLIMITED);
        let wallet = self.wallet(name);
        self.must(Body::Pay(Pay {
            kind: PaymentKind::TopUp,
            ..plain_pay(bank, wallet, amount)
        }));
        wallet
    }

    pub(crate) fn pay(&mut self, pay: Pay) -> PaymentId {
        self.must(Body::Pay(pay)).payment.unwrap().id
    }

    pub(crate) fn refund(&mut self, payment: PaymentId, amount: Option<u64>) -> Outcome {
        self.submit(
            Actor::SYSTEM,
            Body::Refund(Refund {
                payment,
                amount,
                refund_fee: false,
                splits: PayeeAmounts::default(),
            }),
        )
    }

    pub(crate) fn capture(&mut self, payment: PaymentId, amount: Option<u64>) -> Outcome {
        self.submit(
            Actor::SYSTEM,
            Body::Capture(Capture {
                payment,
                amount,
                is_final: false,
                splits: PayeeAmounts::default(),
            }),
        )
    }

    pub(crate) fn api_key(&mut self, name: &str, access: Access) -> ApiKeyId {
        let create = CreateApiKey {
            owner: owner(name),
            access,
            secret_hash: [7; 32],
            label: None,
        };
        self.must(Body::CreateApiKey(create)).api_key.unwrap().id
    }

    pub(crate) fn owner_of(&self, account: AccountId) -> OwnerId {
        self.set.account(account).unwrap().owner
    }

    pub(crate) fn posted(&self, account: AccountId) -> i64 {
        self.set.account(account).unwrap().posted
    }

    pub(crate) fn available(&self, account: AccountId) -> i64 {
        self.set.account(account).unwrap().available()
    }

    pub(crate) fn payment(&self, id: PaymentId) -> &Payment {
        self.set.payment(id).unwrap()
    }

    /// What must hold after every record.
    pub(crate) fn check(&self) {
        for (currency, totals) in self.set.totals() {
            assert_eq!(
                totals.debit, totals.credit,
                "the books of {currency} balance"
            );
        }
        let max = i64::try_from(AMOUNT_MAX).unwrap();
        for account in self.set.accounts() {
            let open = self
                .set
                .payments()
                .filter(|payment| payment.source == account.id);
            assert_eq!(
                account.held,
                open.map(|payment| payment.held).sum::<u64>(),
                "held is the sum of open holds"
            );
            assert!((-max..=max).contains(&account.posted) && account.available() >= -max);
            if let Some(limit) = account.overdraft.limit() {
                assert!(
                    i128::from(account.available()) >= -i128::from(limit),
                    "nobody spends more than there is"
                );
            }
            assert!(
                account.status != AccountStatus::Closed
                    || (account.posted == 0 && account.held == 0)
                    || account.posted > 0
            );
        }
        let bodies = self.set.settings().map(|it| it.body.as_bytes().len());
        assert_eq!(bodies.sum::<usize>(), self.set.settings_bytes());
        for setting in self.set.settings() {
            let holder = self
                .set
                .setting_by_slug(setting.owner, setting.kind, &setting.slug);
            assert_eq!(holder, Some(setting), "a slug names one setting");
        }
        for limit in self.set.limits() {
            let counted = limit.totals(self.timestamp);
            let most = |max: Option<u64>| max.unwrap_or(u64::MAX);
            // A limit may have been lowered below what was counted before.
            if self.set.setting(limit.id).unwrap().revision == 1 {
                assert!(counted.payments <= most(limit.terms.payments_max));
                assert!(counted.amount <= most(limit.terms.amount_max));
            }
        }
        for payment in self
            .set
            .payments()
            .filter(|payment| payment.status != PaymentStatus::Failed)
        {
            check_payment(payment);
        }
    }

    /// The decoded records lead to the same state.
    pub(crate) fn check_mirror(&self) {
        assert_eq!(self.set.digest_all(), self.mirror.digest_all());
    }
}

fn check_payment(payment: &Payment) {
    let sum = |of: fn(&PaymentShare) -> u64| payment.shares.iter().map(of).sum::<u64>();
    assert_eq!(sum(|share| share.amount), payment.amount);
    assert_eq!(sum(|share| share.captured), payment.captured);
    assert_eq!(sum(|share| share.refunded), payment.refunded);
    assert_eq!(
        sum(|share| if share.is_fee { share.refunded } else { 0 }),
        payment.fee_refunded
    );
    assert!(
        payment.refunded <= payment.captured && payment.captured + payment.held <= payment.amount
    );
    let (captured, refunded, held) = (payment.captured, payment.refunded, payment.held);
    let expected = match payment.status {
        PaymentStatus::Authorized => captured == 0 && held == payment.amount,
        PaymentStatus::PartiallyCaptured => captured > 0 && held > 0 && refunded == 0,
        PaymentStatus::Captured => captured > 0 && held == 0 && refunded == 0,
        PaymentStatus::PartiallyRefunded => refunded > 0 && (refunded < captured || held > 0),
        PaymentStatus::Refunded => refunded == captured && captured > 0 && held == 0,
        PaymentStatus::Voided | PaymentStatus::Expired => captured == 0 && held == 0,
        PaymentStatus::Queued => captured == 0 && held == 0 && payment.queue.is_some(),
        PaymentStatus::InReview | PaymentStatus::Pending => captured == 0 && held == payment.amount,
        PaymentStatus::Paid => captured == payment.amount && held == 0,
        PaymentStatus::Failed => false,
    };
    assert!(expected, "{payment:?}");
}

/// What is read in place is what is read in full.
fn agrees(view: &RecordRef<'_>, record: &Record) {
    assert_eq!(view.context(), record.ctx);
    assert_eq!(view.rejection(), record.outcome.rejection);
    assert_eq!(view.actor(), record.command.actor);
    assert_eq!(view.key(), record.command.key.as_bytes());
    assert_eq!(view.linked(), record.command.linked);
    assert_eq!(
        view.legs().collect::<Vec<_>>(),
        record.outcome.legs.to_vec()
    );
    assert_eq!(
        view.limits().collect::<Vec<_>>(),
        record.outcome.limits.to_vec()
    );
    assert_eq!(
        view.text(),
        record
            .command
            .text
            .as_ref()
            .map(|text| (text.scheme(), text.as_bytes()))
    );
    let legs = &record.outcome.legs;
    let again =
        |(at, leg): (usize, &Leg)| legs[..at].iter().any(|other| other.account == leg.account);
    assert!(
        !legs.iter().enumerate().any(again),
        "an account has one leg in a record"
    );
    for leg in &record.outcome.legs {
        assert_eq!(view.find_leg(leg.account), Some(*leg));
    }
    let changed = [
        record.outcome.payout.as_deref(),
        record.outcome.payment.as_ref(),
    ];
    if let Some(payment) = changed.into_iter().flatten().next() {
        assert_eq!(view.payment(), Some(payment.id));
    }
    if let Body::Pay(pay) = &record.command.body {
        let payment = record.outcome.payment.as_ref().unwrap();
        assert_eq!(view.amount(), Some((pay.amount, pay.currency)));
        assert_eq!(view.payment_kind(), Some(pay.kind));
        let waits = payment.queue.is_some();
        assert_eq!(view.payment_owner(), (!waits).then_some(payment.owner));
        assert_eq!(view.effective_at(), payment.effective_at);
        assert_eq!(
            view.reference(),
            pay.reference.as_ref().map(|reference| reference.as_bytes())
        );
        assert_eq!(view.reference_scope(), pay.reference_scope);
        assert_eq!(view.is_hold(), pay.hold.is_some());
        assert_eq!(view.is_queued(), pay.queue.is_some());
    }
    assert_eq!(view.reply_to(), record.outcome.reply_to);
    if view.operation() != codec::Operation::Pay {
        assert_eq!(view.changes_payment(), record.outcome.payment.is_some());
    }
    if let Body::OpenAccount(open) = &record.command.body {
        assert_eq!(
            view.external_id(),
            open.external_id.as_ref().map(|id| id.as_bytes())
        );
        assert_eq!(
            view.account_owner(),
            record.outcome.account.as_ref().map(|account| account.owner)
        );
    }
    if let Body::Publish(publish) = &record.command.body {
        assert_eq!(view.topic(), Some(publish.topic.as_str()));
        let key = publish.key.as_ref().map(|key| key.as_bytes());
        assert_eq!(view.order_key(), key);
        let data = (publish.data.scheme(), publish.data.as_bytes());
        assert_eq!(view.data(), Some(data));
    }
    let named = match &record.command.body {
        Body::PutSetting(put) => Some((put.id, put.kind, put.replaces, put.body.as_bytes())),
        Body::DeleteSetting(delete) => Some((delete.id, delete.kind, delete.replaces, &[][..])),
        _ => None,
    };
    let setting = view.setting();
    let setting = setting.map(|it| (it.id, it.kind, it.replaces, it.body));
    assert_eq!(setting, named);
    let change = record.outcome.setting.as_deref().copied();
    assert_eq!(view.setting_change(), change);
    assert_eq!(
        change.is_some(),
        named.is_some() && view.rejection().is_none()
    );
    let updated = match &record.command.body {
        Body::Update(update) => Some(update.object.object()),
        _ => None,
    };
    assert_eq!(view.updated(), updated);
    let payment = record.outcome.payment.clone();
    let payment = payment.filter(|_| updated.is_some());
    assert_eq!(view.updated_payment(), payment);
    let created = record.outcome.owner.as_ref().map(|owner| owner.id);
    let creates = matches!(record.command.body, Body::CreateOwner(_));
    assert_eq!(view.created_owner(), created.filter(|_| creates));
    let mode = match record.command.body {
        Body::SetQueue(mode) => Some(mode),
        _ => None,
    };
    assert_eq!(view.queue_mode(), mode);
    assert!(!event_type(view).is_empty());
}
