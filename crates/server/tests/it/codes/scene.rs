//! Who and what is there when a code is provoked.

use std::time::Duration;

use serde_json::{Value, json};
use tributary_engine::IdKind;
use tributary_ledger::{
    AccountId, Actor, ApiKeyId, Body, Command, Currency, Destination, Fees, Key, Pay, PaymentKind,
    PutSetting, Queue, QueueTerms, SettingBody, SettingId, SettingKind, Slug,
};
use tributary_server::RateLimit;

use crate::client::{Answer, post};
use crate::fixture::{Fixture, hold, id, pay};

/// A server with somebody who has money and somebody who sells.
pub(super) struct Scene {
    pub(super) server: Fixture,
    pub(super) buyer: String,
    pub(super) shop: String,
}

impl Scene {
    pub(super) fn new() -> Scene {
        let rate = RateLimit {
            requests_per_second: 1_000_000,
            burst: 1_000_000,
        };
        let server = Fixture::with(|config| {
            config.limits.body_bytes_max = 1 << 20;
            config.limits.rate = Some(rate);
        });
        let (buyer, shop) = (
            server.wallet("ann", 1_000),
            server.account("shop", "merchant"),
        );
        Scene {
            server,
            buyer,
            shop,
        }
    }

    /// A payment through a server that waits for a second.
    pub(super) fn pay_hastily(&self) -> Answer {
        let server = &self.server;
        let hasty = server.beside(|limits| limits.request_timeout = Duration::from_secs(1));
        let (key, body) = (server.new_key(), self.pay(1).to_string());
        let key = Some(key.as_str());
        post(
            hasty.addr(),
            &server.platform,
            "/v1/payments",
            key,
            &[],
            body.as_bytes(),
        )
    }

    pub(super) fn pay(&self, amount: u64) -> Value {
        pay(&self.buyer, &self.shop, amount)
    }

    /// A payment with these fields besides, or instead.
    pub(super) fn pay_with(&self, fields: Value) -> Answer {
        let mut body = self.pay(100);
        for (name, value) in fields.as_object().expect("fields") {
            body[name] = value.clone();
        }
        self.server.post("/v1/payments", &body)
    }

    pub(super) fn paid(&self, amount: u64) -> String {
        id(&self
            .server
            .post("/v1/payments", &self.pay(amount))
            .expect(201))
    }

    pub(super) fn held(&self, amount: u64) -> String {
        id(&self
            .server
            .post("/v1/payments", &hold(&self.buyer, &self.shop, amount))
            .expect(201))
    }

    /// The form of an id of this kind that names another kind of thing.
    pub(super) fn id_of_something_else(&self, kind: IdKind) -> String {
        self.server.reader().ids().encode(kind, 1)
    }

    pub(super) fn position(&self, kind: IdKind, id: &str) -> u64 {
        self.server
            .reader()
            .ids()
            .decode(kind, id)
            .expect("an id of this server")
    }

    /// Has the ledger decide a command that no request can make, and answers what its event shows, as an error.
    pub(super) fn event_of(&self, actor: Actor, body: Body) -> Answer {
        self.event_under("driven", actor, body)
    }

    pub(super) fn event_under(&self, key: &str, actor: Actor, body: Body) -> Answer {
        let command = Command {
            key: Key::from_bytes(key.as_bytes()).expect("a key"),
            actor,
            linked: false,
            effective_at: None,
            text: None,
            origin: None,
            assessment: None,
            body,
        };
        self.server
            .engine
            .execute_blocking(vec![command])
            .expect("it is decided");
        let position = self.server.reader().head().position;
        let event = self.server.get(&format!(
            "/v1/events/{}",
            self.server.reader().ids().encode(IdKind::Event, position)
        ));
        let failure = event.expect(200)["data"]["failure"].clone();
        Answer {
            body: json!({"error": failure}).to_string().into_bytes(),
            ..event
        }
    }

    /// Puts a setting that no request makes, and answers what its event shows.
    pub(super) fn put_setting(&self, actor: Actor, id: u64, slug: &str, replaces: u64) -> Answer {
        let command = put_setting(actor, id, slug, replaces);
        let key = String::from_utf8(command.key.as_bytes().to_vec()).expect("text");
        self.event_under(&key, actor, command.body)
    }

    /// Makes a limit on the payments of the buyer.
    pub(super) fn limit(&self, slug: &str, payments_max: u64) -> Answer {
        let limit = json!({
            "slug": slug, "account": self.buyer, "window_seconds": 60, "payments_max": payments_max,
        });
        self.server.post("/v1/limits", &limit)
    }

    pub(super) fn queued(&self, not_before: u64, expires_at: u64) -> Pay {
        let terms = QueueTerms {
            not_before,
            expires_at,
            ..QueueTerms::default()
        };
        let queue = Queue {
            terms,
            ..Queue::default()
        };
        Pay {
            queue: Some(Box::new(queue)),
            ..self.pay_command(PaymentKind::Pay, 1)
        }
    }

    /// A payout by the platform, of ann's money: pending, or paid already.
    pub(super) fn payout(&self, paid: bool) -> String {
        let bank = self.server.account("platform", "external");
        let mut body = pay(&self.buyer, &bank, 10);
        body["paid"] = json!(paid);
        id(&self.server.post("/v1/payouts", &body).expect(201))
    }

    pub(super) fn about_payout(&self, payout: &str, verb: &str, body: Value) -> Answer {
        self.server
            .post(&format!("/v1/payouts/{payout}/{verb}"), &body)
    }

    pub(super) fn pay_command(&self, kind: PaymentKind, amount: u64) -> Pay {
        Pay {
            kind,
            source: AccountId(self.position(IdKind::Account, &self.buyer)),
            destination: Destination::One(AccountId(self.position(IdKind::Account, &self.shop))),
            fees: Fees::default(),
            amount,
            currency: Currency::from_code("EUR").expect("a currency"),
            hold: None,
            reference: None,
            reference_scope: None,
            reason: None,
            queue: None,
        }
    }
}

pub(super) fn put_setting(actor: Actor, id: u64, slug: &str, replaces: u64) -> Command {
    let put = PutSetting {
        id: SettingId(id),
        kind: SettingKind::SUBSCRIPTION,
        slug: Slug::new(slug).expect("a slug"),
        managed_by: None,
        replaces,
        body: SettingBody::new(b"{}").expect("a body"),
        request: [id as u8; 16],
    };
    Command {
        key: Key::from_bytes(format!("{id} {slug} {replaces}").as_bytes()).expect("a key"),
        actor,
        linked: false,
        effective_at: None,
        text: None,
        origin: None,
        assessment: None,
        body: Body::PutSetting(Box::new(put)),
    }
}

/// An actor of the platform by a key made for it.
pub(super) fn actor(scene: &Scene, owner: &str, access: &str) -> Actor {
    let key = scene
        .server
        .post("/v1/api_keys", &json!({"owner": owner, "access": access}))
        .expect(201);
    let id = ApiKeyId(scene.position(IdKind::ApiKey, &id(&key)));
    let key = scene.server.reader().api_key(id).expect("it was made");
    Actor {
        owner: key.owner,
        api_key: id,
    }
}
