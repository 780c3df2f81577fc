//! Messages as payments, beside the same payments as requests.

mod faults;
mod requests;
mod wrong_maps;

use std::sync::Arc;

use serde_json::{Value, json};
use tributary_engine::{IdKind, JournalMeta, Memory, Reader, Stepper, SystemClock};
use tributary_ledger::{
    Access, ApiKeyId, Body, Command, CreateApiKey, ExternalId, OwnerId, OwnerName, Pay, PaymentKind,
};

use super::*;
use crate::caller::{Caller, authenticate};
use crate::draft::CommandDraft;
use crate::error::ApiError;
use crate::form::batch::Operation;
use crate::form::json;
use crate::form::request::{AccountCreate, Notes};
use crate::form::value::KeyText;
use crate::intake::read_reply;
use crate::token::Secret;

const PAGE: &str = include_str!("../../../../../docs/maps.md");
const JSON: &str = "application/json";
const XML: &str = "application/xml";

/// A journal with accounts: of the platform `world`, `world-jpy` and `fees`; of alice `wallet` and `wallet-jpy`; of shop `till`.
struct Books {
    stepper: Stepper,
    shop: Caller,
}

impl Books {
    fn new() -> Books {
        let memory = Memory::new(JournalMeta {
            cluster_id: [1; 16],
            id_key: [7; 16],
            sandbox: false,
            epochs: vec![(1, 1)],
        });
        let stepper = Stepper::start(Box::new(memory), Arc::new(SystemClock));
        let mut books = Books {
            stepper: stepper.expect("it starts"),
            shop: Caller::system(),
        };
        for (owner, external_id, kind, currency) in [
            ("platform", "world", "external", "EUR"),
            ("platform", "world-jpy", "external", "JPY"),
            ("platform", "fees", "fee", "EUR"),
            ("platform", "fees-jpy", "fee", "JPY"),
            ("alice", "wallet", "wallet", "EUR"),
            ("alice", "wallet-jpy", "wallet", "JPY"),
            ("shop", "till", "merchant", "EUR"),
            ("shop", "till-jpy", "merchant", "JPY"),
        ] {
            books.open(owner, external_id, kind, currency);
        }
        let secret = Secret::random();
        let position = books.apply(Body::CreateApiKey(CreateApiKey {
            owner: OwnerName::new("shop").expect("a name"),
            access: Access::Write,
            secret_hash: secret.hash(),
            label: None,
        }));
        let reader = books.reader();
        let token = secret.token(reader.ids(), ApiKeyId(position));
        let bearer = format!("Bearer {token}");
        books.shop = authenticate(&reader, None, Some(&bearer), || 0).expect("a key");
        books
    }

    fn reader(&self) -> Reader {
        self.stepper.reader()
    }

    fn open(&mut self, owner: &str, external_id: &str, kind: &str, currency: &str) {
        let form =
            json!({"owner": owner, "external_id": external_id, "kind": kind, "currency": currency});
        let form: AccountCreate = json::parse(form.to_string().as_bytes()).expect("a form");
        let draft = form.into_draft(&self.reader(), &Caller::system());
        self.apply(draft.expect("a draft").body);
    }

    /// Decides a command of the platform, which must be accepted; gives its position.
    fn apply(&mut self, body: Body) -> u64 {
        let key = format!("setup-{}", self.reader().published());
        let command = command(CommandDraft::new(body), &Caller::system(), &key);
        let pending = self.stepper.accept(vec![command]);
        self.stepper.settle();
        let replies = self.stepper.answer(&pending).expect("an answer");
        let replies = replies.expect("it is taken");
        let done = read_reply(replies.into_iter().next().expect("one")).ok();
        let done = done.expect("it is decided");
        assert!(
            done.record.outcome.is_accepted(),
            "{:?}",
            done.record.outcome.rejection
        );
        done.record.ctx.position
    }

    /// The id of an account by the name of its owner and its external id.
    fn id(&self, owner: &str, external_id: &str) -> String {
        let reader = self.reader();
        let owner = match owner {
            "platform" => OwnerId::PLATFORM,
            name => reader
                .owner_by_name(&OwnerName::new(name).expect("a name"))
                .expect("an owner"),
        };
        let external = ExternalId::new(external_id).expect("an id");
        let account = reader
            .account_by_external(owner, &external)
            .expect("it reads");
        reader
            .ids()
            .encode(IdKind::Account, account.expect("an account").id.0)
    }

    /// The draft of a message, or the code, the field and the text of the fault.
    fn draft(
        &self,
        map: &CompiledMap,
        message: &[u8],
        content_type: &str,
        caller: &Caller,
    ) -> Result<Option<CommandDraft>, (&'static str, String, String)> {
        let shown = |fault: Fault| (fault.code.as_str(), fault.field, fault.why);
        let document = Document::read(message, content_type).map_err(shown)?;
        map.draft(&document, &self.reader(), caller)
            .map_err(|error| match error {
                MapError::Fault(fault) => shown(fault),
                MapError::Unavailable(error) => panic!("the store can be read: {error:?}"),
            })
    }

    /// The payment that a message of the platform becomes.
    fn pay(&self, map: &Value, message: &str) -> Result<Pay, (&'static str, String, String)> {
        let draft = self.draft(&compile(map), message.as_bytes(), JSON, &Caller::system())?;
        match draft.expect("no rule leaves it out").body {
            Body::Pay(pay) => Ok(pay),
            other => panic!("a payment: {other:?}"),
        }
    }
}

fn command(draft: CommandDraft, caller: &Caller, key: &str) -> Command {
    let key = KeyText::parse(key, "key").expect("a key");
    draft.into_command(caller.actor, key, false)
}

fn parse(map: &Value) -> Result<MessageMap, ApiError> {
    json::parse(map.to_string().as_bytes())
}

fn compile(map: &Value) -> CompiledMap {
    parse(map)
        .expect("it is a map")
        .check()
        .expect("it is sound")
}

#[test]
fn the_examples_of_the_page_of_maps_work_as_it_says() {
    let books = Books::new();
    let blocks = PAGE.split("```json\n").skip(1);
    let examples: Vec<Value> = blocks
        .map(|block| block.split("```").next().unwrap_or_default())
        .map(|json| serde_json::from_str(json).expect("JSON"))
        .collect();
    let (message, maps) = examples.split_first().expect("examples");
    let (message, map) = (message.to_string(), &maps[0]);
    let pay = books.pay(map, &message).expect("a payment");
    assert_eq!(
        (pay.kind, pay.amount, pay.currency.code()),
        (PaymentKind::Pay, 100, "EUR")
    );
    assert_eq!(pay.reference.expect("a reference").as_str(), "123456");
    assert!(pay.queue.is_none(), "it is decided at once");
    let rest = json!({
        "amount": 100, "currency": "EUR", "reference": "123456",
        "source": books.id("platform", "world"), "destination": books.id("shop", "till"),
    });
    let form = json::parse(rest.to_string().as_bytes()).map(Operation::Payment);
    let (reader, caller) = (books.reader(), Caller::system());
    let asked = form
        .and_then(|form| form.into_draft(&reader, &caller))
        .expect("a draft");
    let asked = command(asked, &caller, "k");
    let xml = "<order><order_id>123456</order_id><amount>100</amount></order>";
    assert!(PAGE.contains(xml), "the page has the message in XML");
    for (message, content_type) in [(&*message, JSON), (xml, XML)] {
        let mapped = books.draft(&compile(map), message.as_bytes(), content_type, &caller);
        let mapped = mapped.expect("a draft").expect("it is not left out");
        assert_eq!(command(mapped, &caller, "k"), asked, "{message}");
    }
    assert!(maps.len() > 1, "the page has another map");
    for map in maps {
        compile(map);
    }
}

/// A map with rules.
fn rules() -> Value {
    json!({
        "currency": "EUR",
        "amount": {"field": "total", "unit": "minor"},
        "accounts": {
            "wallet": {"external_id": "wallet", "owner": "{customer}"},
            "till": {"external_id": "till", "owner": "shop"},
            "named": {"id": "{account}"},
            "fees": {"external_id": "fees"},
        },
        "rules": [
            {"when": {"test": ["true", "yes"]}, "skip": true},
            {"when": {"type": "sale"}, "payment": "pay", "from": "wallet", "to": "till",
             "fee": {"to": "fees", "field": "fee?", "sign": "positive"},
             "reference": "{id}", "description": "order {id}", "metadata": {"note": "{note?}"}},
            {"when": {"type": "refund", "note": {"empty": false}}, "sign": "negative",
             "payment": "transfer", "from": "till", "to": "wallet"},
            {"when": {"type": "named"}, "payment": "transfer", "from": "till", "to": "named"},
        ],
    })
}

#[test]
fn the_first_rule_that_matches_decides() {
    let books = Books::new();
    let pay = |message: &str| books.pay(&rules(), message).expect(message);
    let sale = pay(r#"{"type": "sale", "customer": "alice", "total": 500, "id": 7, "fee": "20"}"#);
    assert_eq!((sale.kind, sale.amount), (PaymentKind::Pay, 500));
    assert_eq!(
        sale.fees.iter().map(|fee| fee.flat).collect::<Vec<_>>(),
        [20]
    );
    let plain =
        pay(r#"{"type": "sale", "customer": "alice", "total": 500, "id": 8, "test": false}"#);
    assert!(
        plain.fees.is_empty(),
        "a fee that may be missing is missing"
    );
    let refund = r#"{"type": "refund", "customer": "alice", "total": -500, "note": "broken"}"#;
    assert_eq!(
        (pay(refund).kind, pay(refund).amount),
        (PaymentKind::Transfer, 500)
    );
    let id = books.id("alice", "wallet");
    let named = pay(&format!(
        r#"{{"type": "named", "total": 1, "account": "{id}"}}"#
    ));
    assert_eq!(named.kind, PaymentKind::Transfer);
    let map = compile(&rules());
    for left_out in [r#"{"test": true}"#, r#"{"test": "yes", "type": "sale"}"#] {
        let draft = books.draft(&map, left_out.as_bytes(), JSON, &Caller::system());
        assert!(matches!(draft, Ok(None)), "{left_out}: {draft:?}");
    }
}

#[test]
fn a_long_description_becomes_one_line_of_a_thousand_bytes() {
    let books = Books::new();
    let map = json!({
        "currency": "EUR", "amount": {"field": "a", "unit": "minor"}, "source": "world",
        "destination": {"external_id": "till", "owner": "shop"}, "description": "{d}",
    });
    let message = json!({"a": 5, "d": format!("first\nsecond {}", "x".repeat(1_000))});
    let draft = books.draft(
        &compile(&map),
        message.to_string().as_bytes(),
        JSON,
        &Caller::system(),
    );
    let text = draft.expect("a draft").expect("a payment").text;
    let notes = Notes::read(text.as_ref());
    let description = notes.description.expect("a description");
    assert!(description.starts_with("first second xxx") && description.ends_with('…'));
    assert_eq!(description.len(), 1_000);
}

#[test]
fn an_owners_key_finds_its_own_accounts_by_external_id_and_others_by_id() {
    let books = Books::new();
    let draft = |source: Value, destination: Value| {
        let map = json!({
            "currency": "EUR", "amount": {"field": "a", "unit": "minor"},
            "source": source, "destination": destination,
        });
        let draft = books.draft(&compile(&map), br#"{"a": 5}"#, JSON, &books.shop);
        draft.map(|draft| draft.is_some())
    };
    let wallet = json!({"id": books.id("alice", "wallet")});
    assert_eq!(draft(json!("till"), wallet.clone()), Ok(true));
    let own = json!({"external_id": "till", "owner": "shop"});
    assert_eq!(draft(own, wallet.clone()), Ok(true));
    let missing = |source: Value, destination: Value, at: &str| {
        let (code, field, why) = draft(source, destination).expect_err(at);
        assert_eq!((code, field.as_str()), ("account_missing", at), "{why}");
        why
    };
    let alice = |account: &str| json!({"external_id": account, "owner": "alice"});
    let hidden = missing(json!("till"), alice("wallet"), "destination");
    let absent = missing(json!("till"), alice("purse"), "destination");
    assert_eq!(
        hidden.replace("wallet", "purse"),
        absent,
        "the two are not told apart"
    );
    missing(json!("fees"), wallet, "source");
}

#[test]
fn a_map_that_is_read_and_written_stays_the_same() {
    for map in [
        rules(),
        json!({
            "currency": "EUR", "amount": {"column": "a", "unit": "decimal", "thousands": ","},
            "source": "world", "destination": {"id": "{to}"}, "queue": {"priority": 3},
        }),
    ] {
        let map = parse(&map).expect("a map");
        let written = serde_json::to_value(&map).expect("it is JSON");
        assert_eq!(parse(&written).ok(), Some(map));
    }
}
