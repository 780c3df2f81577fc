//! Generators of clients take the OpenAPI document whole, and what they make works against a real server.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Server, nothing_may_be_skipped, repository, text, tool};

/// Number of operations of the document.
fn operations() -> usize {
    let text = std::fs::read_to_string(document()).expect("the document");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths
        .values()
        .map(|item| item.as_object().expect("operations").len());
    operations.sum()
}

fn document() -> PathBuf {
    repository().join("docs/openapi.json")
}

fn script(name: &str) -> PathBuf {
    repository()
        .join("crates/tributary/tests/it/generators")
        .join(name)
}

/// The folder of the Node programs; none if the test is to be skipped.
fn node_modules() -> Option<PathBuf> {
    let folder = repository().join("target/tools/node/node_modules");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(
        !nothing_may_be_skipped(),
        "the Node programs are missing: scripts/install-tools puts them into target/tools/node"
    );
    eprintln!("SKIPPED: the Node programs are missing (scripts/install-tools)");
    None
}

/// Runs a program to its end, which must be a success; gives what it said.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

fn server(directory: &Path) -> Server {
    Server::start(&directory.join("data"))
}

fn with_server<'a>(command: &'a mut Command, server: &Server) -> &'a mut Command {
    command.env("SERVER", server.url()).env("KEY", &server.key)
}

/// `python -m MODULE` or a script, in the directory.
fn python(python: &Path, directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(python);
    command
        .args(arguments)
        .current_dir(directory)
        .env("PYTHONPATH", directory)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

#[test]
fn the_client_of_openapi_python_client_has_every_endpoint_and_pays() {
    let Some(tools) = tool("tools-python") else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    // Nothing but the generator is wanted: no formatters.
    std::fs::write(path.join("config.yml"), "post_hooks: []\n").expect("writes");
    let document = document();
    run(&mut python(
        &tools,
        path,
        &[
            "-m",
            "openapi_python_client",
            "generate",
            "--path",
            text(&document),
            "--output-path",
            "client",
            "--meta",
            "none",
            "--config",
            "config.yml",
            "--fail-on-warning",
        ],
    ));
    let mut endpoints = 0;
    for tag in std::fs::read_dir(path.join("client/api")).expect("a folder") {
        let tag = tag.expect("an entry").path();
        if tag.is_dir() && !tag.ends_with("__pycache__") {
            let files = std::fs::read_dir(tag).expect("a folder").count();
            endpoints += files - 1;
        }
    }
    assert_eq!(endpoints, operations());
    let script = script("payment.py");
    std::fs::copy(&script, path.join("payment.py")).expect("copies");
    // Not by PYTHONPATH: mypy would pass over what it finds there.
    let mut mypy = python(&tools, path, &["-m", "mypy", "payment.py"]);
    run(mypy.env_remove("PYTHONPATH"));
    let server = server(path);
    let said = run(with_server(
        &mut python(&tools, path, &["payment.py"]),
        &server,
    ));
    assert!(said.starts_with("paid pay_"), "{said}");
}

#[test]
fn the_models_of_datamodel_code_generator_read_every_event() {
    let Some(tools) = tool("tools-python") else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let document = document();
    run(&mut python(
        &tools,
        path,
        &[
            "-m",
            "datamodel_code_generator",
            "--input",
            text(&document),
            "--input-file-type",
            "openapi",
            "--output",
            "models.py",
            "--output-model-type",
            "pydantic_v2.BaseModel",
            "--formatters",
            "builtin",
        ],
    ));
    let server = server(path);
    let open = |name: &str| {
        let body = json!({"owner": name, "currency": "EUR", "overdraft": 1000});
        server.post("/v1/accounts", name, &body).ok()["id"].clone()
    };
    let (ada, shop) = (open("ada"), open("shop"));
    let pay = |key: &str, amount: u64, hold: bool| {
        let mut body =
            json!({"amount": amount, "currency": "EUR", "source": ada, "destination": shop});
        if hold {
            body["capture_method"] = json!("manual");
            body["expires_at"] = json!("2100-01-01T00:00:00Z");
        }
        server.post("/v1/payments", key, &body).json()["id"].clone()
    };
    let paid = pay("paid", 100, false);
    pay("refused", 5_000, false);
    let held = pay("held", 50, true);
    let void = format!("/v1/payments/{}/void", held.as_str().expect("an id"));
    server.post(&void, "void", &json!({})).ok();
    server
        .post("/v1/refunds", "refund", &json!({"payment": paid}))
        .ok();
    let again = json!({"payment": paid});
    assert_eq!(server.post("/v1/refunds", "too-much", &again).status, 402);
    let body = json!({"owner": "shop", "access": "read"});
    server.post("/v1/api_keys", "key", &body).ok();
    server
        .post("/v1/subscriptions", "sub", &json!({"events": []}))
        .ok();
    server
        .post("/v1/queues/payment_order/pause", "pause", &json!({}))
        .ok();
    let body = json!({"type": "app.order.shipped", "data": [1, {"parcels": 2}]});
    server.post("/v1/events", "event", &body).ok();
    std::fs::copy(script("events.py"), path.join("events.py")).expect("copies");
    let said = run(with_server(
        &mut python(&tools, path, &["events.py"]),
        &server,
    ));
    assert!(said.starts_with("read 1"), "{said}");
}

#[test]
fn programs_with_the_types_of_openapi_typescript_compile_and_work() {
    let Some(modules) = node_modules() else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    std::os::unix::fs::symlink(&modules, path.join("node_modules")).expect("a link");
    std::fs::write(path.join("package.json"), r#"{"type": "module"}"#).expect("writes");
    for name in ["payment.ts", "recipes.ts"] {
        std::fs::copy(script(name), path.join(name)).expect("copies");
    }
    let program = |name: &str| {
        let mut command = Command::new(modules.join(".bin").join(name));
        command.current_dir(path);
        command
    };
    let document = document();
    run(program("openapi-typescript").args([text(&document), "-o", "api.d.ts"]));
    let types = std::fs::read_to_string(path.join("api.d.ts")).expect("reads");
    let named = types.matches(": operations[\"").count();
    // The webhook is one more.
    assert_eq!(named, operations() + 1);
    let options = [
        "--strict",
        "--noUncheckedIndexedAccess",
        "--exactOptionalPropertyTypes",
        "--target",
        "es2022",
        "--module",
        "nodenext",
        "--moduleResolution",
        "nodenext",
        "--lib",
        "es2022,dom,dom.iterable",
    ];
    run(program("tsc")
        .args(options)
        .args(["payment.ts", "recipes.ts"]));
    let settings = [
        ("TRIBUTARY_WEBHOOKS_ALLOW_HTTP", "true"),
        ("TRIBUTARY_WEBHOOKS_ALLOW_PRIVATE", "true"),
    ];
    let server = Server::try_start_with(&path.join("data"), "127.0.0.1:0", &settings);
    let server = server.expect("it starts");
    for (script, wanted) in [("payment.js", "paid pay_"), ("recipes.js", "followed 3")] {
        let mut node = Command::new("node");
        let said = run(with_server(node.arg(script).current_dir(path), &server));
        assert!(said.starts_with(wanted), "{said}");
    }
}

#[test]
fn the_client_of_hey_api_has_every_endpoint_and_compiles() {
    let Some(modules) = node_modules() else {
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    std::os::unix::fs::symlink(&modules, path.join("node_modules")).expect("a link");
    std::fs::write(path.join("package.json"), r#"{"type": "module"}"#).expect("writes");
    let program = |name: &str| {
        let mut command = Command::new(modules.join(".bin").join(name));
        command.current_dir(path);
        command
    };
    let document = document();
    run(program("openapi-ts").args(["-i", text(&document), "-o", "client", "--no-log-file"]));
    let calls = std::fs::read_to_string(path.join("client/sdk.gen.ts")).expect("reads");
    assert_eq!(calls.matches("\nexport const ").count(), operations());
    run(program("tsc").args([
        "--noEmit",
        "--strict",
        "--target",
        "es2022",
        "--module",
        "esnext",
        "--moduleResolution",
        "bundler",
        "--lib",
        "es2022,dom,dom.iterable",
        "client/index.ts",
    ]));
}
