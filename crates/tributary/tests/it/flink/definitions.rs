//! Streams that both engines compute.

use serde_json::{Value, json};

/// A stream of each kind of window.
pub(super) const STREAMS: [fn() -> Value; 4] = [volume, overlapping, visits, spending];

/// Tumbling windows over the time of records, with every aggregate.
fn volume() -> Value {
    json!({
        "slug": "volume",
        "from": [
            {"event": "payment.captured", "where": "kind == \"pay\"", "fields": {"back": "0"}},
            {"event": "payment.partially_captured", "fields": {"back": "0"}},
            {"event": "payment.partially_refunded", "fields": {"back": "amount_moved"}},
        ],
        "key": ["payee", "currency"],
        "window": {"type": "tumbling", "size_seconds": 60},
        "emit": {
            "events": "count()", "moved": "sum(amount_moved * 3 - amount / 2)", "back": "sum(back)", "least": "min(amount)", "most": "max(amount)",
            "payers": "distinct(payer)", "first": "first(payment)", "last": "last(amount_moved)",
        },
    })
}

/// Hopping windows with fields of the stream's own, and a condition over the results.
fn overlapping() -> Value {
    json!({
        "slug": "overlapping",
        "from": [{
            "event": "payment.captured",
            "fields": {
                "method": "has(metadata.method) ? metadata.method : \"none\"",
                "number": "has(metadata.method) && \"method\" in metadata && metadata.method in [\"17\", \"18\"] ? int(metadata[\"method\"]) : -1",
            },
        }],
        "key": ["method"],
        "window": {"type": "hopping", "size_seconds": 120, "step_seconds": 30},
        "emit": {"payments": "count()", "number": "max(number)", "amount": "sum(amount)"},
        "having": "payments > 1 && method != \"card\" && window_end > window_start",
    })
}

/// Sessions over the events' own time, which may come out of order.
fn visits() -> Value {
    json!({
        "slug": "visits",
        "from": [{"event": "app.terminal.used", "where": "has(data.amount) && data.amount % 10 != 7"}],
        "data": {"data.terminal": "string", "data.amount": "integer", "data.is_new": "boolean", "data.at": "integer"},
        "key": ["data.terminal"],
        "time": {"milliseconds": "data.at", "lateness_seconds": 30},
        "window": {"type": "session", "gap_seconds": 20},
        "emit": {
            "uses": "count()", "amount": "sum(data.amount)", "began": "first(data.amount)", "ended": "last(data.is_new)",
            "sizes": "distinct(data.amount > 50000 ? \"large\" : \"small\")",
        },
    })
}

/// One result for each payment.
fn spending() -> Value {
    json!({
        "slug": "spending",
        "from": [{"event": "payment.captured", "where": "kind == \"pay\""}],
        "key": ["payer", "currency"],
        "time": {"milliseconds": "created"},
        "window": {"type": "trailing", "size_seconds": 90},
        "emit": {
            "payments": "count()", "amount": "sum(amount_moved)", "payees": "distinct(payee)", "least": "min(amount)",
            "first": "first(payment)", "last": "last(payment)",
        },
    })
}

/// A stream that takes no event without a terminal.
pub(super) fn strict() -> Value {
    json!({
        "slug": "strict",
        "from": [{"event": "app.terminal.used"}],
        "data": {"data.terminal": "string"},
        "key": ["data.terminal"],
        "window": {"type": "tumbling", "size_seconds": 60},
        "emit": {"uses": "count()"},
    })
}
