//! 61 days of card payments, imported while streams look on, and computed again afterwards: each figure must be what was computed without
//! any code of the product.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::streams::wait_for_figures;
use crate::support::{Server, json_for, nothing_may_be_skipped, repository, text};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// Payments of the short form: the first days.
const SHORT: usize = 12_000;

/// A payment: time in seconds, customer, terminal, amount in minor units, and whether it was fraud.
struct Payment {
    time: i64,
    customer: i64,
    terminal: i64,
    amount: i64,
    fraud: i64,
}

/// The lines of the file, without the names of the columns; none if the tests run where it is not and may skip.
fn lines() -> Option<String> {
    let file = repository().join("../shared/data/cards-61-days.csv.xz");
    let unpacked = Command::new("xz").arg("-dc").arg(&file).output();
    match unpacked {
        Ok(unpacked) if unpacked.status.success() => {
            Some(String::from_utf8(unpacked.stdout).expect("UTF-8"))
        }
        _ => {
            assert!(!nothing_may_be_skipped(), "missing: {}", file.display());
            eprintln!("SKIPPED: missing: {}", file.display());
            None
        }
    }
}

fn read(lines: &str) -> Vec<Payment> {
    let payments = lines.lines().skip(1).map(|line| {
        let columns: Vec<i64> = line
            .split(',')
            .map(|column| column.parse().expect("a number"))
            .collect();
        Payment {
            time: columns[1],
            customer: columns[2],
            terminal: columns[3],
            amount: columns[4],
            fraud: columns[5],
        }
    });
    payments.collect()
}

/// What was counted over each kind of window, a number for each row.
struct Counted {
    day_counts: Vec<i64>,
    day_sums: Vec<i64>,
    /// Known frauds of the terminal, for each payment.
    known: Vec<i64>,
    hour_counts: Vec<i64>,
    hour_sums: Vec<i64>,
    hopping: Vec<i64>,
    sessions: Vec<i64>,
}

/// The figures of the file of expected ones. `frauds` says of each payment whether it was fraud.
fn figures(counted: &Counted, frauds: impl Iterator<Item = i64>) -> Value {
    let at_least = |counts: &[i64], least: i64| counts.iter().filter(|one| **one >= least).count();
    let hits = counted.known.iter().zip(frauds);
    let hits: Vec<i64> = hits
        .filter(|(known, _)| **known >= 3)
        .map(|(_, fraud)| fraud)
        .collect();
    let (day, hour) = (&counted.day_counts, &counted.hour_counts);
    json!({
        "customer_24h": {
            "max": day.iter().max(),
            "at_least_8": at_least(day, 8),
            "at_least_10": at_least(day, 10),
            "at_least_12": at_least(day, 12),
        },
        "customer_24h_sum_over_50000": at_least(&counted.day_sums, 50_001),
        "terminal_frauds_28d_delay_7d_at_least_3": {
            "hits": hits.len(),
            "frauds": hits.iter().sum::<i64>(),
        },
        "terminal_tumbling_1h": {
            "rows": hour.len(),
            "count_max": hour.iter().max(),
            "sum_minor": counted.hour_sums.iter().sum::<i64>(),
            "rows_with_count_at_least_3": at_least(hour, 3),
        },
        "customer_hopping_24h_step_6h": {
            "rows": counted.hopping.len(),
            "count_max": counted.hopping.iter().max(),
            "rows_with_count_at_least_10": at_least(&counted.hopping, 10),
        },
        "customer_sessions_gap_30min": {
            "sessions": counted.sessions.len(),
            "with_at_least_3": at_least(&counted.sessions, 3),
        },
    })
}

/// Figures of the file, computed plainly.
fn expected(payments: &[Payment]) -> Value {
    figures(
        &plain(payments),
        payments.iter().map(|payment| payment.fraud),
    )
}

/// What each kind of window counts, computed plainly.
fn plain(payments: &[Payment]) -> Counted {
    let mut hourly: BTreeMap<(i64, i64), (i64, i64)> = BTreeMap::new();
    let mut hopping: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    let mut by_customer: BTreeMap<i64, Vec<&Payment>> = BTreeMap::new();
    let mut by_terminal: BTreeMap<i64, Vec<&Payment>> = BTreeMap::new();
    let (mut counts, mut sums, mut known_frauds) = (Vec::new(), Vec::new(), Vec::new());
    for payment in payments {
        let hour = hourly
            .entry((payment.terminal, payment.time.div_euclid(HOUR)))
            .or_default();
        *hour = (hour.0 + 1, hour.1 + payment.amount);
        let step = payment.time.div_euclid(6 * HOUR);
        for window in step - 3..=step {
            *hopping.entry((payment.customer, window)).or_default() += 1;
        }
        let earlier = by_customer.entry(payment.customer).or_default();
        earlier.push(payment);
        let within = earlier.iter().rev();
        let within = within.take_while(|other| other.time > payment.time - DAY);
        let (count, sum) = within.fold((0, 0), |(count, sum), other| {
            (count + 1, sum + other.amount)
        });
        counts.push(count);
        sums.push(sum);
        let terminal = by_terminal.entry(payment.terminal).or_default();
        let frauds = terminal.iter().filter(|other| {
            other.fraud == 1
                && other.time > payment.time - 35 * DAY
                && other.time <= payment.time - 7 * DAY
        });
        known_frauds.push(frauds.count() as i64);
        terminal.push(payment);
    }
    let mut sessions: Vec<i64> = Vec::new();
    for payments in by_customer.values() {
        let mut last = i64::MIN / 2;
        for payment in payments {
            if payment.time - last >= 1_800 {
                sessions.push(0);
            }
            *sessions.last_mut().expect("one began") += 1;
            last = payment.time;
        }
    }
    let (hour_counts, hour_sums) = hourly.into_values().unzip();
    Counted {
        day_counts: counts,
        day_sums: sums,
        known: known_frauds,
        hour_counts,
        hour_sums,
        hopping: hopping.into_values().collect(),
        sessions,
    }
}

/// The streams over the payments, by the times in their metadata.
fn streams() -> Vec<Value> {
    let stream = |slug: &str, key: &str, window: Value, emit: Value| {
        json!({
            "slug": slug,
            "from": [
                {"event": "payment.captured", "fields": {
                    key: format!("int(metadata.{key})"), "fraud": "int(metadata.fraud)",
                    "paid": "amount", "seconds": "int(metadata.seconds)",
                }},
                {"event": "app.card.verified", "fields": {
                    key: format!("data.{key}"), "fraud": "data.fraud", "paid": "0",
                    "seconds": "data.seconds",
                }},
            ],
            "data": {
                "data.customer": "integer", "data.terminal": "integer", "data.fraud": "integer",
                "data.seconds": "integer",
            },
            "key": [key],
            "time": {"milliseconds": "seconds * 1000", "lateness_seconds": HOUR},
            "window": window,
            "emit": emit,
            "bounds": {"rows_max": 1_000_000},
        })
    };
    let figures = json!({"count": "count()", "sum": "sum(paid)"});
    vec![
        stream(
            "day",
            "customer",
            json!({"type": "trailing", "size_seconds": DAY}),
            figures.clone(),
        ),
        stream(
            "known",
            "terminal",
            json!({"type": "trailing", "size_seconds": 28 * DAY, "delay_seconds": 7 * DAY}),
            json!({"known": "sum(fraud)"}),
        ),
        stream(
            "hour",
            "terminal",
            json!({"type": "tumbling", "size_seconds": HOUR}),
            figures,
        ),
        stream(
            "hopping",
            "customer",
            json!({"type": "hopping", "size_seconds": DAY, "step_seconds": 6 * HOUR}),
            json!({"count": "count()"}),
        ),
        stream(
            "session",
            "customer",
            json!({"type": "session", "gap_seconds": 1_800}),
            json!({"count": "count()"}),
        ),
    ]
}

/// Makes the streams, and returns their paths by slug.
fn make_streams(server: &Server, key: &str) -> BTreeMap<String, String> {
    let made = streams().into_iter().map(|stream| {
        let slug = stream["slug"].as_str().expect("a name").to_owned();
        let made = server
            .post("/v1/streams", &format!("{key}-{slug}"), &stream)
            .ok();
        (
            slug,
            format!("/v1/streams/{}", made["id"].as_str().expect("an id")),
        )
    });
    made.collect()
}

/// Ends all windows: a payment long after the others.
fn end_windows(server: &Server) {
    let post = |path: &str, key: &str, body: &Value| server.post(path, key, body).ok();
    let account = |name: &str, kind: &str| {
        let mut body = json!({"owner": name, "currency": "EUR", "kind": kind});
        if kind == "wallet" {
            body["overdraft"] = json!("unlimited");
        }
        post("/v1/accounts", name, &body)["id"].clone()
    };
    let end = |key: &str, seconds: i64| {
        let body = json!({
            "amount": 1, "currency": "EUR", "source": account("end", "wallet"),
            "destination": account("end-shop", "merchant"),
            "metadata": {"seconds": seconds.to_string(), "customer": "-1", "terminal": "-1", "fraud": "0"},
        });
        post("/v1/payments", key, &body);
    };
    // The second passes the watermark over the first.
    end("end-1", 400 * DAY);
    end("end-2", 800 * DAY);
}

/// The figures that the rows of the streams give.
fn computed(server: &Server, paths: &BTreeMap<String, String>, payments: &[Payment]) -> Value {
    let rows = |slug: &str| {
        let path = &paths[slug];
        wait_for_figures(server, path, |_| true);
        let (mut rows, mut after) = (Vec::new(), String::new());
        loop {
            let page = server.get(&format!("{path}/rows?limit=1000{after}"));
            let data = page["data"].as_array().expect("a list").iter();
            let is_of_file = |row: &&Value| {
                let key = row["key"].as_object().expect("a key").values().next();
                key != Some(&json!(-1))
            };
            rows.extend(data.filter(is_of_file).map(|row| row["values"].clone()));
            match page["next_cursor"].as_str() {
                Some(cursor) if page["has_more"] == true => {
                    after = format!("&starting_after={cursor}");
                }
                _ => break,
            }
        }
        // In the order in which they became final.
        rows.reverse();
        rows
    };
    let of = |rows: &[Value], name: &str| -> Vec<i64> {
        let values = rows.iter().map(|row| row[name].as_i64().expect("a number"));
        values.collect()
    };
    let (day, hour) = (rows("day"), rows("hour"));
    let known = of(&rows("known"), "known");
    assert_eq!(known.len(), payments.len(), "one row for each payment");
    let counted = Counted {
        day_counts: of(&day, "count"),
        day_sums: of(&day, "sum"),
        known,
        hour_counts: of(&hour, "count"),
        hour_sums: of(&hour, "sum"),
        hopping: of(&rows("hopping"), "count"),
        sessions: of(&rows("session"), "count"),
    };
    figures(&counted, payments.iter().map(|payment| payment.fraud))
}

/// Rules whose findings are figures of the file, and how often a payment of the file is one of each.
const RULES: [(&str, &str); 6] = [
    ("large", "amount > 22000"),
    ("known", "known >= 3"),
    ("often_8", "count + 1 >= 8"),
    ("often_10", "count + 1 >= 10"),
    ("often_12", "count + 1 >= 12"),
    ("much", "sum + amount > 50000"),
];

/// What rules find in a backtest over everything that was imported: how often each fired, and what those of them block that the file
/// joins.
fn backtested(server: &Server) -> Value {
    let figure = |stream: &str, value: &str, key: &str| {
        json!({
            "stream": stream, "value": value, "key": [format!("int(metadata.{key})")],
            "at": "int(metadata.seconds) * 1000",
        })
    };
    let rules = RULES.map(|(name, when)| match name {
        "large" | "known" => json!({"name": name, "when": when, "effect": "block"}),
        _ => json!({"name": name, "when": when, "points": 1}),
    });
    let asked = json!({
        "rule_set": {
            "slug": "cards",
            "where": "int(metadata.customer) >= 0",
            "features": {
                "count": figure("day", "count", "customer"),
                "sum": figure("day", "sum", "customer"),
                "known": figure("known", "known", "terminal"),
            },
            "rules": rules,
        },
        "records": 2_000_000,
        "fraud": "metadata.fraud == \"1\"",
    });
    let answer = server.post("/v1/risk/backtests", "cards", &asked).ok();
    let fired = answer["rules"].as_array().expect("a list").iter();
    let fired: Vec<Value> = fired.map(|rule| rule["fired"].clone()).collect();
    json!({
        "assessed": answer["assessed"],
        "without_value": answer["without_value"],
        "fired": fired,
        "blocked": answer["blocked"],
        "frauds_stopped": answer["fraud"]["frauds_stopped"],
    })
}

/// The same, computed plainly. Cards that were only verified paid nothing, and are no payments.
fn found_plainly(payments: &[Payment]) -> Value {
    let plain = plain(payments);
    let each = plain.day_counts.iter().zip(&plain.day_sums);
    let each = each.zip(&plain.known).zip(payments);
    let found: Vec<([bool; 6], bool)> = each
        .filter(|(_, payment)| payment.amount > 0)
        .map(|(((count, sum), known), payment)| {
            let holds = [
                payment.amount > 22_000,
                *known >= 3,
                *count >= 8,
                *count >= 10,
                *count >= 12,
                *sum > 50_000,
            ];
            (holds, payment.fraud == 1)
        })
        .collect();
    let fired = (0..RULES.len()).map(|at| found.iter().filter(|(holds, _)| holds[at]).count());
    let blocked = || found.iter().filter(|(holds, _)| holds[0] || holds[1]);
    json!({
        "assessed": found.len(),
        "without_value": 0,
        "fired": fired.collect::<Vec<_>>(),
        "blocked": blocked().count(),
        "frauds_stopped": blocked().filter(|(_, is_fraud)| *is_fraud).count(),
    })
}

/// Imports the lines with streams at work, and makes the same streams again over what was imported.
fn play(lines: &str) -> Value {
    let payments = read(lines);
    let folder = tempfile::tempdir().expect("there is room");
    let (csv, data) = (folder.path().join("cards.csv"), folder.path().join("data"));
    let server = Server::start(&data);
    let paths = make_streams(&server, "first");
    import_all(&csv, &server, lines);
    end_windows(&server);
    let expected = expected(&payments);
    assert_eq!(
        computed(&server, &paths, &payments),
        expected,
        "while importing"
    );
    assert_eq!(
        backtested(&server),
        found_plainly(&payments),
        "as features of rules"
    );
    for path in paths.values() {
        let deleted = server.request("DELETE", path, None, None);
        assert_eq!(deleted.expect("answers").status, 200);
    }
    let again = make_streams(&server, "again");
    assert_eq!(computed(&server, &again, &payments), expected, "afterwards");
    assert!(server.stop().success());
    expected
}

/// Imports payments. A card that was only verified paid nothing: that is no payment, and an application tells of it in between.
fn import_all(csv: &Path, server: &Server, lines: &str) {
    let (names, rows) = lines.split_once('\n').expect("names of columns");
    let mut waiting: Vec<&str> = Vec::new();
    let import = |rows: &mut Vec<&str>| {
        let text = format!("{names}\n{}\n", rows.join("\n"));
        std::fs::write(csv, text).expect("there is room");
        import(csv, server, rows.len());
        rows.clear();
    };
    for row in rows.lines() {
        let columns: Vec<&str> = row.split(',').collect();
        if columns[4] != "0" {
            waiting.push(row);
            continue;
        }
        import(&mut waiting);
        let number = |at: usize| -> i64 { columns[at].parse().expect("a number") };
        let data = json!({
            "seconds": number(1), "customer": number(2), "terminal": number(3), "fraud": number(5),
        });
        let event = json!({"type": "app.card.verified", "data": data});
        server.post("/v1/events", columns[0], &event).ok();
    }
    import(&mut waiting);
}

fn import(csv: &Path, server: &Server, payments: usize) {
    let map = repository().join("examples/cards.toml");
    let url = server.url();
    let arguments = [
        "import",
        text(csv),
        "--map",
        text(&map),
        "--server",
        &url,
        "--api-key-file",
        server.key_file(),
        "--json",
    ];
    let imported = json_for(0, &arguments);
    assert_eq!(imported["payments_made"], payments, "{imported}");
}

#[test]
fn streams_over_days_of_card_payments_give_exact_figures() {
    let Some(lines) = lines() else { return };
    let end = lines
        .match_indices('\n')
        .nth(SHORT)
        .expect("there are more")
        .0;
    play(&lines[..=end]);
}

#[test]
#[ignore = "takes minutes: all 61 days"]
fn streams_over_all_card_payments_give_the_figures_that_others_computed() {
    let Some(lines) = lines() else { return };
    let file = repository().join("../shared/data/cards-61-days.expected.json");
    let told = std::fs::read_to_string(file).expect("the expected figures");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let figures = play(&lines);
    for (name, figure) in figures.as_object().expect("an object") {
        assert_eq!(told[name], *figure, "{name}");
    }
}
