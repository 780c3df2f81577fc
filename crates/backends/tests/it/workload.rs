//! Commands: plain ones to write tests with, and a stream of arbitrary ones.

use tributary_engine::Batch;
use tributary_ledger::{
    Access, AccountId, AccountKind, Actor, ApiKeyId, Body, Capture, Command, CreateApiKey,
    Currency, Destination, ExternalId, Fee, Fees, Hold, Key, OpenAccount, Overdraft, OwnerName,
    Part, Pay, Payees, PaymentId, PaymentKind, Reason, Reference, Refund, Share, Text,
};

/// Nanoseconds in a second.
pub(crate) const SECOND: u64 = 1_000_000_000;

pub(crate) fn command(key: &str, body: Body) -> Command {
    Command {
        key: Key::from_bytes(key.as_bytes()).expect("a good key"),
        actor: Actor::SYSTEM,
        linked: false,
        effective_at: None,
        text: None,
        body,
    }
}

pub(crate) fn open(owner: &str, kind: AccountKind, overdraft: Overdraft) -> Body {
    Body::OpenAccount(OpenAccount {
        owner: OwnerName::new(owner).expect("a good name"),
        currency: eur(),
        kind,
        overdraft,
        external_id: None,
    })
}

pub(crate) fn pay(kind: PaymentKind, source: AccountId, payee: AccountId, amount: u64) -> Pay {
    Pay {
        kind,
        source,
        destination: Destination::One(payee),
        fees: Fees::default(),
        amount,
        currency: eur(),
        hold: None,
        reference: None,
        reason: None,
        queue: None,
    }
}

pub(crate) fn refund(payment: u64, amount: Option<u64>) -> Body {
    Body::Refund(Refund {
        payment: PaymentId(payment),
        amount,
        refund_fee: false,
    })
}

fn eur() -> Currency {
    Currency::from_code("EUR").expect("a currency")
}

/// A reproducible stream of numbers (SplitMix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).expect("less than the bound")
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<T: Clone>(&mut self, list: &[T]) -> Option<T> {
        match list.len() {
            0 => None,
            len => Some(list[self.below(len)].clone()),
        }
    }
}

/// Makes arbitrary commands about what earlier batches have made, and about what is not there.
pub(crate) struct Workload {
    pub(crate) dice: Dice,
    keys: u64,
    accounts: Vec<AccountId>,
    payments: Vec<PaymentId>,
    api_keys: Vec<ApiKeyId>,
    past: Vec<Command>,
    /// What the clock says, for holds that come due soon.
    pub(crate) now: u64,
}

impl Workload {
    pub(crate) fn new(seed: u64) -> Workload {
        Workload {
            dice: Dice::new(seed),
            keys: 0,
            accounts: Vec::new(),
            payments: Vec::new(),
            api_keys: Vec::new(),
            past: Vec::new(),
            now: 0,
        }
    }

    /// Takes note of what a batch made.
    pub(crate) fn saw(&mut self, batch: &Batch) {
        for record in &batch.records() {
            let position = record.ctx.position;
            match (&record.command.body, record.outcome.is_accepted()) {
                (Body::OpenAccount(_), true) => self.accounts.push(AccountId(position)),
                // Failed payments too: somebody will try to refund them.
                (Body::Pay(_), _) => self.payments.push(PaymentId(position)),
                (Body::CreateApiKey(_), true) => self.api_keys.push(ApiKeyId(position)),
                _ => {}
            }
        }
    }

    /// The commands of one request.
    pub(crate) fn request(&mut self) -> Vec<Command> {
        let count = 1 + self.dice.below(8);
        let mut commands: Vec<Command> = Vec::with_capacity(count);
        for _ in 0..count {
            let mut next = match self.dice.below(12) {
                // The same command again: from long ago, or from this very request.
                0 => self.dice.of(&self.past),
                1 => self.dice.of(&commands),
                // Its key with another body.
                2 => self.dice.of(&self.past).map(|mut command| {
                    command.text = Text::new(Text::PLAIN, b"something else").ok();
                    command
                }),
                _ => None,
            };
            let command = next.take().unwrap_or_else(|| self.fresh());
            self.past.push(command.clone());
            commands.push(command);
        }
        commands
    }

    fn fresh(&mut self) -> Command {
        self.keys += 1;
        let body = self.body();
        let mut command = command(&format!("key-{}", self.keys), body);
        command.linked = self.dice.one_in(6);
        if self.dice.one_in(5) {
            command.text = Text::new(Text::PLAIN, br#"{"description":"a book"}"#).ok();
        }
        if self.dice.one_in(6)
            && let Some(api_key) = self.dice.of(&self.api_keys)
        {
            command.actor.api_key = api_key;
        }
        command
    }

    fn body(&mut self) -> Body {
        match self.dice.below(20) {
            0 | 1 => self.open(),
            2 => Body::FreezeAccount(self.account()),
            3 | 4 => Body::UnfreezeAccount(self.account()),
            5 if self.dice.one_in(4) => Body::CloseAccount(self.account()),
            6..=8 => Body::Capture(Capture {
                payment: self.payment(),
                amount: self.some_amount(),
                is_final: self.dice.one_in(3),
            }),
            9 => Body::Void(self.payment()),
            10 => Body::Expire(self.payment()),
            11..=13 => Body::Refund(Refund {
                payment: self.payment(),
                amount: self.some_amount(),
                refund_fee: self.dice.one_in(2),
            }),
            14 if self.dice.one_in(3) => self.about_api_keys(),
            _ => self.pay(),
        }
    }

    fn open(&mut self) -> Body {
        let owners = ["anna", "ben", "shop-1", "shop-2", "platform"];
        let owner = owners[self.dice.below(owners.len())];
        let overdrafts = [
            Overdraft::NONE,
            Overdraft::UNLIMITED,
            Overdraft::UNLIMITED,
            Overdraft::limited(500),
        ];
        let mut body = open(owner, AccountKind::Wallet, overdrafts[self.dice.below(4)]);
        if let Body::OpenAccount(open) = &mut body
            && self.dice.one_in(2)
        {
            let name = format!("ext-{}\u{e9}\0", self.dice.below(12));
            open.external_id = Some(ExternalId::new(&name).expect("a good name"));
        }
        body
    }

    fn pay(&mut self) -> Body {
        let kinds = PaymentKind::ALL;
        let kind = kinds[self.dice.below(kinds.len())];
        let (source, payee) = (self.account(), self.account());
        let amount = 1 + self.dice.below(1_000) as u64;
        let mut pay = pay(kind, source, payee, amount);
        if self.dice.one_in(4) {
            let shares = [(source, 0), (payee, 6_000), (self.account(), 4_000)];
            let shares = shares[1..].iter().map(|&(account, points)| Share {
                account,
                part: Part::BasisPoints(points),
            });
            pay.destination = Destination::Split(Payees::new(shares.collect()).expect("two"));
        }
        if self.dice.one_in(3) {
            let fee = Fee {
                account: self.account(),
                flat: 3,
                basis_points: 150,
            };
            pay.fees = Fees::new(vec![fee]).expect("one");
        }
        if self.dice.one_in(3) {
            let soon = self.now + self.dice.below(40) as u64 * SECOND / 10;
            pay.hold = Some(Hold { expires_at: soon });
        }
        if self.dice.one_in(3) {
            let name = format!("order-{}\0\u{fc}", self.dice.below(40));
            pay.reference = Some(Reference::new(&name).expect("a good name"));
        }
        if self.dice.one_in(3) {
            pay.reason = Some(Reason::new("counted twice").expect("a good reason"));
        }
        if self.dice.one_in(40) {
            pay.amount = u64::MAX;
        }
        Body::Pay(pay)
    }

    fn about_api_keys(&mut self) -> Body {
        let known = self.dice.of(&self.api_keys).unwrap_or(ApiKeyId(u64::MAX));
        match self.dice.below(4) {
            0 => Body::RevokeApiKey(known),
            1 => Body::RotateApiKey {
                api_key: known,
                secret_hash: [3; 32],
            },
            _ => Body::CreateApiKey(CreateApiKey {
                owner: OwnerName::new(["platform", "carl"][self.dice.below(2)])
                    .expect("a good name"),
                access: Access::Write,
                secret_hash: [1; 32],
                label: None,
            }),
        }
    }

    fn some_amount(&mut self) -> Option<u64> {
        (!self.dice.one_in(3)).then(|| 1 + self.dice.below(400) as u64)
    }

    fn account(&mut self) -> AccountId {
        if self.dice.one_in(30) {
            return [AccountId(0), AccountId(u64::MAX), AccountId(1 << 40)][self.dice.below(3)];
        }
        self.dice.of(&self.accounts).unwrap_or(AccountId(1))
    }

    fn payment(&mut self) -> PaymentId {
        if self.dice.one_in(30) {
            return [PaymentId(0), PaymentId(u64::MAX)][self.dice.below(2)];
        }
        // Half of them new, so that what is being held is found too.
        let from = if self.dice.one_in(2) {
            self.payments.len().saturating_sub(12)
        } else {
            0
        };
        self.dice.of(&self.payments[from..]).unwrap_or(PaymentId(1))
    }
}
