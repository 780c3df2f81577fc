//! The load generator from outside: short runs of each mode against a real server, whose results are complete and whose
//! books balance.
//!
//! The server is the `tributary` command beside this test's own program. `cargo test --workspace` builds it;
//! `cargo test -p tributary-bench` does not: run `cargo build -p tributary` first.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The file of the `tributary` command.
fn server_binary() -> PathBuf {
    let bench = Path::new(env!("CARGO_BIN_EXE_tributary-bench"));
    let path = bench.with_file_name(format!("tributary{}", std::env::consts::EXE_SUFFIX));
    assert!(
        path.is_file(),
        "there is no {}: run `cargo build -p tributary` first",
        path.display()
    );
    path
}

/// Runs a program to its end, without settings of the caller's environment.
fn run_program(program: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TRIBUTARY_")) {
        command.env_remove(name);
    }
    let output = command.args(arguments).stdin(Stdio::null()).output();
    output.expect("the program runs")
}

/// Runs the load generator to its end.
fn run(arguments: &[&str]) -> Output {
    server_binary();
    run_program(Path::new(env!("CARGO_BIN_EXE_tributary-bench")), arguments)
}

/// Checks the exit code of a program, and returns its standard output.
#[track_caller]
fn output_for(code: i32, output: &Output, arguments: &[&str]) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}\n--- stdout\n{out}\n--- stderr\n{err}"
    );
    out.into_owned()
}

/// Runs the load generator, which must succeed, and returns its result.
#[track_caller]
fn result_of(arguments: &[&str]) -> Value {
    let out = output_for(0, &run(arguments), arguments);
    serde_json::from_str(out.trim()).unwrap_or_else(|_| panic!("not JSON: {out}"))
}

/// Verifies a data directory, which must be whole, and returns the number of its records.
#[track_caller]
fn verified_records(data: &Path) -> u64 {
    let arguments = ["verify", "--json", "--data", text(data)];
    let out = output_for(0, &run_program(&server_binary(), &arguments), &arguments);
    let verified: Value = serde_json::from_str(out.trim()).expect("JSON");
    verified["records"].as_u64().expect("a number")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

/// Fields of every result.
const FIELDS: [&str; 22] = [
    "payments",
    "payments_per_second",
    "seconds",
    "p50_us",
    "p99_us",
    "p999_us",
    "max_us",
    "rejected",
    "bytes_per_payment",
    "bytes_written",
    "bytes_written_per_payment",
    "server_rss_bytes",
    "server_rss_anon_bytes",
    "server_rss_peak_bytes",
    "batch_size",
    "connections",
    "in_flight",
    "sync_policy",
    "accounts",
    "skew",
    "warmup",
    "filesystem",
];

/// Runs a mode on a new data directory, checks its result, and verifies the directory.
#[track_caller]
fn check(mode: &[&str], records: std::ops::Range<u64>) -> Value {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let more = ["--json", "--accounts", "50", "--data", text(&data)];
    let result = result_of(&[mode, &more].concat());
    for field in FIELDS {
        assert!(!result[field].is_null(), "{field} in {result}");
    }
    let number = |name: &str| result[name].as_f64().expect("a number");
    assert!(number("payments_per_second") > 0.0 && number("p50_us") > 0.0);
    assert!(number("p50_us") <= number("p99_us") && number("p99_us") <= number("max_us"));
    assert!((100.0..10_000.0).contains(&number("bytes_per_payment")));
    assert_eq!(result["books"], "balanced");
    let found = verified_records(&data);
    // The id of the master key, the first API key, the external account, and each account opened and filled.
    let before = 3 + 2 * 50;
    assert!(
        records.contains(&(found - before)),
        "{found} records, of which {before} before the load"
    );
    result
}

#[test]
fn batches_are_measured_and_their_books_balance() {
    let mode = ["batch", "--payments", "3000", "--warmup", "500"];
    let shape = ["--batch", "100", "--connections", "3", "--in-flight", "2"];
    let reads = ["--skew", "zipf", "--reads", "200"];
    let result = check(&[&mode[..], &shape, &reads].concat(), 3_500..3_501);
    assert_eq!(result["payments"], 3_000);
    assert_eq!(result["latencies"], 30);
    for read in [
        "get_payment",
        "get_account",
        "statement_newest",
        "statement_middle",
    ] {
        assert!(result["operations"][read]["p99_us"].is_number(), "{result}");
    }
}

#[test]
fn single_payments_are_measured_as_they_come_and_at_a_fixed_rate() {
    let mode = ["http", "--payments", "1000", "--warmup", "100"];
    let shape = ["--connections", "8", "--skew", "hot"];
    let result = check(&[&mode[..], &shape].concat(), 1_100..1_101);
    assert_eq!(
        (&result["payments"], &result["latencies"]),
        (&1_000.into(), &1_000.into())
    );
    let paced = check(
        &[&mode[..], &shape, &["--rate", "400"]].concat(),
        1_100..1_101,
    );
    let seconds = paced["seconds"].as_f64().expect("a number");
    assert!(
        seconds >= 2.4,
        "1,000 payments at 400 per second took {seconds} s"
    );
}

#[test]
fn batches_of_json_are_measured() {
    let mode = ["http", "--payments", "1050", "--warmup", "100"];
    let shape = ["--connections", "2", "--per-request", "100"];
    let result = check(&[&mode[..], &shape].concat(), 1_150..1_151);
    assert_eq!(
        (&result["rejected"], &result["latencies"]),
        (&0.into(), &11.into())
    );
}

#[test]
fn a_mixed_load_is_measured_by_kind() {
    let mode = ["mixed", "--requests", "1000", "--warmup", "100"];
    let result = check(&[&mode[..], &["--connections", "4"]].concat(), 600..1_000);
    let operations = result["operations"].as_object().expect("an object");
    let sum: u64 = operations
        .values()
        .map(|kind| kind["latencies"].as_u64().expect("a number"))
        .sum();
    assert_eq!((operations.len(), sum), (7, 1_000));
}

#[test]
fn reads_alone_are_measured_by_kind() {
    let mode = ["reads", "--requests", "1000", "--warmup", "100"];
    let shape = ["--payments", "2000", "--connections", "4"];
    let result = check(&[&mode[..], &shape].concat(), 2_000..2_001);
    let operations = result["operations"].as_object().expect("an object");
    for (kind, latencies) in operations {
        assert_eq!(latencies["latencies"], 250, "{kind}");
    }
    assert_eq!((operations.len(), &result["latencies"]), (4, &1_000.into()));
}

#[test]
fn a_killed_server_answers_again_and_lost_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let size = ["--payments", "2000", "--batch", "100", "--accounts", "50"];
    let kills = ["--kills", "2", "--kill-after-ms", "200"];
    let more = ["--json", "--data", text(&data)];
    let result = result_of(&[&["restart"], &size[..], &kills, &more].concat());
    let number = |path: &str| result.pointer(path).and_then(Value::as_f64).unwrap_or(-1.0);
    assert!(number("/bytes_per_account") > 0.0 && number("/payments_per_second") > 0.0);
    assert!(number("/seconds_until_answer") > 0.0, "{result}");
    let mut records = 3 + 2 * 50 + 2_000;
    for kill in result["kills"].as_array().expect("a list") {
        let of = |name: &str| kill[name].as_u64().expect("a number");
        assert!(
            of("payments_acknowledged") > 0,
            "it was killed while it wrote: {result}"
        );
        records += of("payments_acknowledged") + of("payments_kept_beyond") + 1;
    }
    assert_eq!(verified_records(&data), records);
}

#[test]
fn webhooks_reach_their_receivers_past_the_slow_ones_and_a_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let size = ["--endpoints", "30", "--events", "300", "--rate", "300"];
    let kills = [
        "--kills",
        "2",
        "--events-per-kill",
        "200",
        "--json",
        "--data",
        text(&data),
    ];
    let result = result_of(&[&["webhooks"], &size[..], &kills].concat());
    assert_eq!(result["endpoints_slow_failing_or_hanging"], 3);
    assert_eq!(result["delivered"], result["events_for_healthy_endpoints"]);
    let healthy = result["delivered"].as_u64().expect("a number");
    assert!((550..700).contains(&healthy), "of 700: {result}");
    assert!(result["p99_us"].as_f64().expect("a number") > 0.0);
}

#[test]
fn the_baseline_tells_what_disk_and_http_can_do() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let size = ["--piece-bytes", "100000", "--total-bytes", "1000000"];
    let counts = ["--small-writes", "50", "--requests", "1000"];
    let more = ["--connections", "4", "--json", "--data", text(&data)];
    let result = result_of(&[&["baseline"], &size[..], &counts, &more].concat());
    assert_eq!(result["sequential"]["pieces"], 10);
    for path in [
        "/sequential/bytes_per_second",
        "/sequential/write_and_sync/p99_us",
        "/write_and_sync_4_kib/written_before/p99_us",
        "/write_and_sync_4_kib/reserved/p50_us",
        "/bare_http/requests_per_second",
        "/bare_http/p99_us",
    ] {
        let number = result.pointer(path).and_then(Value::as_f64);
        assert!(
            number.is_some_and(|number| number > 0.0),
            "{path}: {result}"
        );
    }
    // The answer of a payment, head and body.
    let bytes = result["bare_http"]["answer_bytes"].as_u64();
    assert!(bytes.is_some_and(|bytes| bytes > 500), "{result}");
}

#[test]
fn subscriptions_beside_a_load_get_exactly_what_they_want() {
    let size = ["--payments", "4000", "--warmup", "500", "--batch", "200"];
    let run = |more: &[&str]| {
        let mode = ["batch", "--json", "--accounts", "200"];
        let result = result_of(&[&mode[..], &size, more].concat());
        assert_eq!(result["books"], "balanced");
        result["subscriptions"].clone()
    };
    let of_owners = run(&["--subscriptions", "3", "--matching", "20"]);
    assert_eq!(of_owners["count"], 3);
    assert_eq!(of_owners["matching_one_in"], 20.0);
    assert_eq!(of_owners["received_meanwhile"], false);
    // 4,500 payments, of which each of three owners takes part in one of twenty.
    let events = of_owners["events"].as_u64().expect("a number");
    assert!((500..900).contains(&events), "{of_owners}");
    let to_all = run(&["--subscriptions", "2", "--matching", "1", "--receive"]);
    assert_eq!(to_all["events"], 9_000);
    assert_eq!(to_all["received_meanwhile"], true);
    assert_eq!(run(&[]), Value::Null);
    let wrong = [
        "--subscriptions",
        "1",
        "--matching",
        "101",
        "--accounts",
        "200",
    ];
    let wrong = [&["batch"], &wrong[..]].concat();
    output_for(2, &crate::run(&wrong), &wrong);
}

#[test]
fn a_stream_beside_a_load_counts_every_payment() {
    let mode = ["batch", "--payments", "3000", "--warmup", "500"];
    let shape = ["--batch", "100", "--stream"];
    let result = check(&[&mode[..], &shape].concat(), 3_501..3_502);
    let stream = &result["stream"];
    assert!(stream["records_behind_at_the_end"].is_u64(), "{result}");
    assert!(stream["seconds_until_caught_up"].is_number(), "{result}");
}

#[test]
fn streams_take_what_was_recorded_and_go_on_after_restarts() {
    let mode = ["streams", "--json", "--payments", "3000"];
    let shape = ["--runs", "2", "--accounts", "50"];
    let result = result_of(&[&mode[..], &shape].concat());
    assert_eq!(
        (&result["keys"], &result["streams"]),
        (&3_000.into(), &3.into())
    );
    for name in [
        "events_per_second",
        "events_per_second_with_a_new_key_each",
        "state_bytes",
        "seconds_until_streams_go_on",
        "seconds_until_streams_go_on_after_a_kill",
    ] {
        assert!(result[name].as_f64() > Some(0.0), "{name}: {result}");
    }
}

/// Runs the mode `holds`. On a machine that is too slow for the case, repeats it with more time and fewer payments.
fn holds(kill: bool) -> Value {
    let mode = ["holds", "--json", "--accounts", "50"];
    let kills: &[&str] = if kill { &["--kill"] } else { &[] };
    for (due_after, rate) in [
        ("8", "200"),
        ("16", "100"),
        ("32", "50"),
        ("64", "20"),
        ("128", "10"),
    ] {
        let size = ["--holds", "10000", "--due-after", due_after, "--rate", rate];
        let output = run(&[&mode[..], &size, kills].concat());
        if output.status.success() {
            let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            // Payments may have been so late that none of those before, or of those meanwhile, was answered.
            let paid = |when: &str| result[when]["latencies"].as_u64() > Some(0);
            if paid("payments_before") && paid("payments_meanwhile") {
                return result;
            }
            continue;
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let too_slow = [
            "--due-after must be longer",
            "all authorizations had expired before the server was killed",
        ];
        assert!(too_slow.iter().any(|part| said.contains(part)), "{said}");
    }
    panic!("the machine is too slow for it");
}

#[test]
fn holds_that_come_due_at_once_all_expire_also_past_a_kill() {
    for kill in [false, true] {
        let result = holds(kill);
        let number = |path: &str| result.pointer(path).and_then(Value::as_f64).unwrap_or(-1.0);
        assert_eq!(
            (&result["holds"], &result["killed"]),
            (&10_000.into(), &kill.into())
        );
        assert_eq!(result["books"], "balanced");
        for when in ["before", "meanwhile"] {
            let p50 = format!("/payments_{when}/p50_us");
            assert!(number(&p50) > 0.0, "{result}");
        }
        assert!(number("/expired_per_second") > 0.0, "{result}");
        assert_eq!(number("/held_when_killed") > 0.0, kill, "{result}");
    }
}

#[test]
fn a_missing_server_program_is_a_clear_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("tributary");
    let arguments = ["publish", "--binary", text(&missing)];
    let output = run(&arguments);
    output_for(2, &output, &arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains(text(&missing)), "{error}");
    assert!(
        error.contains("cargo build --release -p tributary"),
        "{error}"
    );
}

#[test]
fn a_used_directory_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("mine"), "precious").expect("it is written");
    let arguments = ["batch", "--data", text(directory.path())];
    output_for(2, &run(&arguments), &arguments);
    assert!(directory.path().join("mine").exists());
}

#[test]
fn events_are_published_and_pulled_exactly_as_they_were() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let shape = [
        "--events",
        "20000",
        "--size",
        "100",
        "--publish-batch",
        "500",
    ];
    let more = ["--json", "--data", text(&data)];
    let pulling = ["pull", "--consumers", "3", "--batch", "64"];
    let result = result_of(&[&pulling[..], &shape, &more].concat());
    for field in ["published_per_second", "pulled_per_second"] {
        assert!(result[field].as_f64() > Some(0.0), "{result}");
    }
    assert_eq!(result["acknowledged"], 20_000);
    assert!(
        result["responses"].as_u64() >= Some(20_000 / 64),
        "{result}"
    );
    // The id of the master key, the first API key and the subscription as well.
    assert_eq!(verified_records(&data), 20_003);
    let published = result_of(&[&["publish", "--json"][..], &shape].concat());
    assert_eq!(published["mode"], "publish");
}

/// How well the model does depends on the machine and on chance, so only what must be so is asserted.
#[test]
fn a_pool_is_observed_beside_what_the_model_expects() {
    let mode = ["pool", "--json", "--seconds", "3"];
    // So little work that it is stable also if each piece takes many times as long: an unstable pool has no figures.
    let size = ["--arrivals", "20", "--service-ms", "20", "--workers", "10"];
    let result = result_of(&[&mode[..], &size].concat());
    assert!(result["events"].as_u64() > Some(20), "{result}");
    for path in [
        "/wait_seconds/observed",
        "/wait_seconds/model",
        "/length/observed",
        "/length/model",
        "/utilisation",
        "/figures_of_the_server/model/utilisation",
    ] {
        let number = result.pointer(path).and_then(Value::as_f64);
        assert!(number > Some(0.0), "{path}: {result}");
    }
    assert_eq!(result["figures_of_the_server"]["model"]["workers"], 10);
}
