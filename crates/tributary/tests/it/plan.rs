//! `plan`: the answer, the table and what it says to a question that has none.

use serde_json::Value;

use crate::support::{json_for, repository, run, run_for};

fn plan(arguments: &str) -> Vec<&str> {
    std::iter::once("plan")
        .chain(arguments.split(' '))
        .collect()
}

fn json(arguments: &str) -> Value {
    json_for(0, &plan(&format!("{arguments} --json")))
}

fn pool(result: &Value, workers: u64) -> &Value {
    let pools = result["pools"].as_array().expect("a list");
    pools
        .iter()
        .find(|pool| pool["workers"] == workers)
        .unwrap_or_else(|| panic!("no pool of {workers}: {result}"))
}

#[test]
fn the_workers_needed_reach_the_target_and_one_fewer_does_not() {
    // Each target with where its value is found in a pool, and the limit.
    for (arguments, at, limit) in [
        (
            "--arrivals 5000/s --service 2ms --target p99=50ms",
            "/total_quantile_seconds/p99",
            0.05,
        ),
        (
            "--arrivals 300/min --service 1.5s --target mean=200ms --of wait",
            "/wait_seconds",
            0.2,
        ),
        (
            "--arrivals 20/h --service 2m --target p95=1m --of wait",
            "/wait_quantile_seconds/p95",
            60.0,
        ),
        (
            "--arrivals 900/s --service 10ms --target mean=10100us",
            "/total_seconds",
            0.0101,
        ),
    ] {
        let result = json(arguments);
        let workers = result["workers"].as_u64().expect("a number");
        let value = |workers| pool(&result, workers).pointer(at).and_then(Value::as_f64);
        assert!(
            value(workers).is_some_and(|value| value <= limit),
            "{result}"
        );
        let fewer = pool(&result, workers - 1);
        assert!(
            fewer["stable"] == false || value(workers - 1).is_some_and(|value| value > limit),
            "{result}"
        );
    }
}

#[test]
fn a_given_pool_is_described() {
    // Erlang's C for 2 of 3 workers' work is 4/9.
    let result = json("--arrivals 100/s --service 20ms --workers 3");
    let pool = pool(&result, 3);
    for (name, expected) in [
        ("waiting_probability", 4.0 / 9.0),
        ("wait_seconds", 4.0 / 450.0),
        ("queue_length", 8.0 / 9.0),
        ("refusal_probability", 0.0),
    ] {
        let found = pool[name].as_f64().expect("a number");
        assert!((found - expected).abs() < 1e-12, "{name}: {found}");
    }
    assert_eq!(
        (&result["target"], &result["workers"]),
        (&Value::Null, &3.into())
    );
}

#[test]
fn refused_arrivals_are_shown_and_count_as_late() {
    let result = json("--arrivals 5000/s --service 2ms --capacity 20 --target p99=500ms");
    let workers = result["workers"].as_u64().expect("a number");
    let refused = |workers| pool(&result, workers)["refusal_probability"].as_f64();
    assert!(
        refused(workers).is_some_and(|refused| refused <= 0.01),
        "{result}"
    );
    assert!(
        refused(workers - 1).is_some_and(|refused| refused > 0.01),
        "{result}"
    );
    let said = run_for(
        0,
        &plan("--arrivals 5000/s --service 2ms --capacity 20 --workers 8"),
    );
    assert!(said.contains("refused"), "{said}");
}

#[test]
fn questions_without_an_answer_are_refused_with_code_2_and_what_would_be_right() {
    let work = "--arrivals 5000/s --service 2ms";
    for (arguments, parts) in [
        (format!("{work} --workers 10"), ["100.0%", "at least 11"]),
        (format!("{work} --target p99=5ms"), ["9.21ms", "--of wait"]),
        (format!("{work} --target mean=2ms"), ["2.00ms", "--of wait"]),
        (
            format!("{work} --target p99=50ms --capacity 10"),
            ["10 workers", "larger --capacity"],
        ),
        (
            format!("{work} --target mean=5ms --capacity 30"),
            ["refused", "percentile"],
        ),
        (
            format!("{work} --workers 9 --capacity 8"),
            ["capacity", "below the workers"],
        ),
        (
            "--arrivals 9000000/s --service 2ms --target p99=1s".to_owned(),
            ["10000 workers", "out of reach"],
        ),
        (work.to_owned(), ["--target", "required"]),
        (
            format!("{work} --target p99=50ms --workers 3"),
            ["--target", "cannot be used with"],
        ),
        (format!("{work} --target p98=50ms"), ["`p98`", "p99=50ms"]),
        (format!("{work} --target p99=50"), ["--target", "1.5s"]),
        (
            "--arrivals 5000 --service 2ms --workers 3".to_owned(),
            ["--arrivals", "300/min"],
        ),
        (
            "--arrivals 5/s --service 2 --workers 3".to_owned(),
            ["--service", "300us"],
        ),
        (format!("{work} --workers 10001"), ["--workers", "10000"]),
    ] {
        let output = run(&plan(&arguments));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {said}");
        for part in parts {
            assert!(said.contains(part), "{arguments}: {part} is not in {said}");
        }
    }
}

#[test]
fn the_examples_of_the_documentation_come_out_as_printed() {
    let page = std::fs::read_to_string(repository().join("docs/queueing.md")).expect("the page");
    let mut checked = 0;
    for block in page.split("```text\n$ tributary ").skip(1) {
        let (block, _) = block.split_once("```").expect("the block ends");
        let (command, expected) = block.split_once('\n').expect("a command and its output");
        let arguments: Vec<&str> = command.split(' ').collect();
        assert_eq!(run_for(0, &arguments), expected, "tributary {command}");
        checked += 1;
    }
    assert!(checked >= 3, "{checked} examples");
}
