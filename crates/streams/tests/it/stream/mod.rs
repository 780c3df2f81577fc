//! Streams against an independent model, real figures, and their bounds.

mod bounds;
mod cards;
mod definitions;
mod model;
mod properties;

use tributary_streams::expression::{FieldId, Fields, Scalar, Schema, Type, Value};
use tributary_streams::stream::{
    Aggregate, Bounds, Definition, Emit, Event, Output, OwnedScalar, Row, Source, Stream, Time, To,
    Window,
};

pub(crate) const SECOND: i64 = 1_000_000_000;

/// A payment in the tests: fields in the order of [`schema`].
#[derive(Debug, Clone, Default)]
pub(crate) struct Payment {
    pub(crate) customer: i64,
    pub(crate) amount: Option<i64>,
    pub(crate) terminal: String,
    pub(crate) time: i64,
}

impl Fields for Payment {
    fn get(&self, field: FieldId) -> Option<Value<'_>> {
        Some(match field.index() {
            0 => Value::Scalar(Scalar::Int(self.customer)),
            1 => Value::Scalar(Scalar::Int(self.amount?)),
            2 => Value::Scalar(Scalar::String(&self.terminal)),
            _ => Value::Scalar(Scalar::Int(self.time)),
        })
    }
}

pub(crate) fn schema() -> Schema {
    Schema::new([
        ("customer", Type::Int),
        ("amount", Type::Int),
        ("terminal", Type::String),
        ("time", Type::Int),
    ])
    .expect("a schema")
}

pub(crate) fn emit(name: &str, aggregate: Aggregate) -> Emit {
    let name = name.to_owned();
    Emit { name, aggregate }
}

/// A stream by customer over journal time that counts.
pub(crate) fn definition(window: Window) -> Definition {
    Definition {
        name: "payments".to_owned(),
        from: vec![Source {
            event_type: "payment.captured".to_owned(),
            filter: None,
        }],
        until: match window {
            Window::Await { .. } => vec![Source {
                event_type: "payment.refunded".to_owned(),
                filter: None,
            }],
            _ => Vec::new(),
        },
        key: vec!["customer".to_owned()],
        time: Time::Journal,
        window,
        emit: vec![emit("count", Aggregate::Count)],
        having: None,
        to: To::Event,
        bounds: Bounds::default(),
    }
}

pub(crate) fn stream(definition: Definition) -> Stream {
    Stream::new(definition, 1, &schema()).expect("a definition")
}

pub(crate) fn event(payment: &Payment, journal_time: i64) -> Event<'_> {
    Event {
        event_type: "payment.captured",
        journal_time,
        fields: payment,
    }
}

/// An answer to the events of [`event`].
pub(crate) fn answer(payment: &Payment, journal_time: i64) -> Event<'_> {
    Event {
        event_type: "payment.refunded",
        ..event(payment, journal_time)
    }
}

pub(crate) fn rows(outputs: &[Output]) -> Vec<Row> {
    let results = outputs.iter().filter_map(|output| match output {
        Output::Result(result) => Some(result.row.clone()),
        Output::Late(_) => None,
    });
    results.collect()
}

pub(crate) fn int(value: i64) -> OwnedScalar {
    OwnedScalar::Int(value)
}
