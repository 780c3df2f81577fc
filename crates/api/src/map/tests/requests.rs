//! Messages beside requests that say the same.

use std::cell::Cell;
use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};
use tributary_ledger::AMOUNT_MAX;

use super::{Books, JSON, XML, command, compile};
use crate::caller::Caller;
use crate::draft::CommandDraft;
use crate::error::ApiError;
use crate::form::batch::Operation;
use crate::form::json;
use crate::render::xml::xml_of_json;

/// What a payment says, whichever way it is asked for.
#[derive(Clone, Debug)]
struct Order {
    kind: &'static str,
    jpy: bool,
    amount: u64,
    fee: Option<u64>,
    day: Option<(u16, u8, u8)>,
    reference: String,
    description: String,
    note: String,
    priority: Option<u64>,
    correlation: Option<String>,
    is_queued: bool,
    paid: bool,
    as_text: bool,
}

fn orders() -> impl Strategy<Value = Order> {
    let text = || "[ -~]{0,12}|\\PC{0,24}|[a-z]{60,70}";
    let kinds = vec!["pay", "transfer", "top_up", "payout", "adjustment"];
    let amounts = (
        prop_oneof![1..=5_000u64, 1..=AMOUNT_MAX],
        proptest::option::of(0..=5_000u64),
        proptest::option::of((1900..2100u16, 1..=12u8, 1..=28u8)),
    );
    let queue = (
        proptest::option::of(0..12u64),
        proptest::option::of(text()),
        any::<bool>(),
    );
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (
        proptest::sample::select(kinds),
        amounts,
        (text(), text(), text()),
        queue,
        flags,
    )
        .prop_map(|(kind, amounts, texts, queue, flags)| Order {
            kind,
            amount: amounts.0,
            fee: amounts.1.filter(|_| kind != "adjustment"),
            day: amounts.2,
            reference: texts.0,
            description: texts.1,
            note: texts.2,
            priority: queue.0,
            correlation: queue.1,
            is_queued: queue.2,
            jpy: flags.0,
            paid: flags.1 && kind == "payout",
            as_text: flags.2,
        })
}

impl Order {
    fn account(&self, name: &str) -> String {
        match self.jpy {
            true => format!("{name}-jpy"),
            false => name.to_owned(),
        }
    }

    fn currency(&self) -> &'static str {
        match self.jpy {
            true => "JPY",
            false => "EUR",
        }
    }

    fn day(&self) -> Option<String> {
        self.day
            .map(|(year, month, day)| format!("{year:04}-{month:02}-{day:02}"))
    }

    /// The payment as a request, and what reads it.
    fn request(&self, books: &Books) -> Result<CommandDraft, ApiError> {
        let mut body = json!({
            "amount": self.amount,
            "currency": self.currency(),
            "source": books.id("platform", &self.account("world")),
            "destination": books.id("alice", &self.account("wallet")),
        });
        let mut set = |name: &str, value: Value| body[name] = value;
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        if let Some(fee) = self.fee.filter(|fee| *fee > 0) {
            let account = books.id("platform", &self.account("fees"));
            set("fees", json!([{"account": account, "amount": fee}]));
        }
        if let Some(day) = self.day() {
            set("effective_at", json!(day));
        }
        if let Some(reference) = given(&self.reference) {
            set("reference", json!(reference));
        }
        if let Some(description) = given(&self.description) {
            set("description", json!(description));
        }
        if let Some(note) = given(&self.note) {
            set("metadata", json!({"note": note}));
        }
        if self.kind == "adjustment" {
            set("reason", json!("because"));
        }
        if self.paid {
            set("paid", json!(true));
        }
        if self.is_queued {
            let mut queue = json!({});
            if let Some(priority) = self.priority {
                queue["priority"] = json!(priority);
            }
            if let Some(correlation) = self.correlation.as_deref().and_then(given) {
                queue["correlation_id"] = json!(correlation);
            }
            set("queue", queue);
        }
        let body = body.to_string();
        let body = body.as_bytes();
        let form = match self.kind {
            "pay" => Operation::Payment(json::parse(body)?),
            "transfer" => Operation::Transfer(json::parse(body)?),
            "top_up" => Operation::TopUp(json::parse(body)?),
            "payout" => Operation::Payout(json::parse(body)?),
            _ => Operation::Adjustment(json::parse(body)?),
        };
        form.into_draft(&books.reader(), &Caller::system())
    }

    fn map(&self) -> Value {
        let mut map = json!({
            "currency": "{order.money.0|upper}",
            "amount": {"field": "order.money.1", "unit": if self.as_text { "decimal" } else { "minor" }},
            "payment": self.kind,
            "source": {"external_id": self.account("world"), "owner": "platform"},
            "destination": {"external_id": "{to.account}", "owner": "{to.owner}"},
            "reference": "{/order.ref}",
            "description": "{text?}",
            "metadata": {"note": "{note?}"},
            "paid": self.paid,
        });
        if self.fee.is_some() {
            map["accounts"] = json!({"fees": {"external_id": self.account("fees")}});
            map["fee"] = json!({"to": "fees", "field": "fee", "sign": "positive"});
        }
        if self.day.is_some() {
            map["date"] = json!({"field": "day"});
        }
        if self.kind == "adjustment" {
            map["reason"] = json!("because");
        }
        if self.is_queued {
            map["queue"] = json!({"priority": "{urgency?}", "correlation_id": "{correlation?}"});
        }
        map
    }

    /// A number of minor units as the message has it.
    fn number(&self, minor: u64) -> String {
        match (self.as_text, self.jpy) {
            (true, false) => format!("{}.{:02}", minor / 100, minor % 100),
            _ => minor.to_string(),
        }
    }

    fn message(&self) -> String {
        let currency = self.currency().to_ascii_lowercase();
        let mut message = format!(
            r#"{{"order": {{"money": ["{currency}", {}]}}, "to": {{"owner": "alice", "account": "{}"}}"#,
            self.number(self.amount),
            self.account("wallet"),
        );
        let mut add = |name: &str, json: String| {
            let name = Value::from(name);
            write!(message, ", {name}: {json}").expect("a text grows");
        };
        let text = |text: &str| Value::from(text).to_string();
        add("order.ref", text(&self.reference));
        add("note", text(&self.note));
        if !self.description.is_empty() {
            add("text", text(&self.description));
        }
        if let Some(fee) = self.fee {
            add("fee", self.number(fee));
        }
        if let Some(day) = self.day() {
            add("day", text(&day));
        }
        if let Some(priority) = self.priority {
            add("urgency", priority.to_string());
        }
        if let Some(correlation) = &self.correlation {
            add("correlation", text(correlation));
        }
        message.push('}');
        message
    }
}

#[test]
fn a_mapped_message_is_the_payment_that_the_same_request_asks_for() {
    let books = Books::new();
    let caller = Caller::system();
    let (taken, refused) = (Cell::new(0), Cell::new(0));
    proptest!(ProptestConfig::with_cases(400), |(order in orders())| {
        let message = order.message();
        let map = compile(&order.map());
        let mapped = books.draft(&map, message.as_bytes(), JSON, &caller);
        let xml = xml_of_json(message.as_bytes()).expect("it is JSON");
        let of_xml = books.draft(&map, &xml, XML, &caller);
        let whole = order.fee.is_none_or(|fee| fee <= order.amount);
        match (order.request(&books), mapped) {
            (Ok(asked), Ok(Some(mapped))) => {
                let mapped = command(mapped, &caller, "k");
                prop_assert_eq!(&mapped, &command(asked, &caller, "k"), "{}", message);
                let of_xml = of_xml.expect("XML says the same").expect("it is not left out");
                prop_assert_eq!(mapped, command(of_xml, &caller, "k"));
                taken.set(taken.get() + 1);
            }
            (Err(error), Err((code, field, _))) => {
                prop_assert_eq!(code, "field_invalid");
                if whole {
                    prop_assert_eq!(Some(field.as_str()), error.parameter(), "{}", message);
                }
                prop_assert!(of_xml.is_err());
                refused.set(refused.get() + 1);
            }
            // The ledger refuses a fee larger than the amount, and a map too.
            (Ok(_), Err((code, field, _))) => {
                prop_assert!(!whole && code == "field_invalid" && field == "fee", "{}", field);
                prop_assert!(of_xml.is_err());
            }
            (asked, mapped) => prop_assert!(false, "{asked:?} {mapped:?} {message}"),
        }
    });
    let (taken, refused) = (taken.get(), refused.get());
    assert!(
        taken > 100 && refused > 20,
        "{taken} taken, {refused} refused"
    );
}
