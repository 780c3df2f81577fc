//! A broker is changed for another one by applying another file, while orders come in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Child;

use serde_json::{Value, json};

use super::engine::Engine;
use super::orders::{answered, check_paid_once, finish, open_accounts, wait_for_payments};
use super::{kafka, rabbitmq};
use crate::crash::verify;
use crate::support::{Server, run_for, text};

/// The settings of `examples/rabbitmq`, with its broker or with another one.
fn settings(folder: &Path, name: &str, key: &Value, binder: &str) -> PathBuf {
    let file = folder.join(name);
    let key = key["id"].as_str().expect("an id");
    let settings = format!(
        r#"
managed_by = "change"

[[binder]]
slug = "main"
{binder}

[[binding]]
slug = "orders"
binder = "main"
direction = "in"
destination = "payment_order"
acts_as = "{key}"
identity_from = "field order_id"
consumer = {{ back_off_initial_interval = 50, back_off_max_interval = 500 }}

[binding.reply]
allow = ["payment_replies"]

[binding.map]
currency = "EUR"
source = "wallet-anna"
destination = "shop"
reference = "{{order_id}}"
amount = {{ field = "amount", unit = "minor" }}
"#
    );
    std::fs::write(&file, settings).expect("it can be written");
    file
}

fn apply(server: &Server, file: &Path) {
    let (url, key) = (server.url(), server.key_file());
    run_for(0, &["apply", text(file), "--server", &url, "--api-key-file", key]);
}

/// The orders that a client was answered before it was killed.
fn answers_until_now(mut client: Child) -> BTreeMap<String, String> {
    client.kill().expect("it is our child");
    answered(&client.wait_with_output().expect("it has ended"))
}

#[test]
fn a_broker_is_changed_by_applying_another_file_while_orders_come_in() {
    let (Some(rabbitmq), Some(kafka)) = (Engine::start("rabbitmq"), Engine::start("kafka")) else {
        return;
    };
    if !rabbitmq::make_queues(&rabbitmq) || !kafka::make_topics(&kafka) {
        return;
    }
    let directory = tempfile::tempdir().expect("directory");
    let folder = directory.path();
    let data = folder.join("data");
    let server = Server::start(&data);
    open_accounts(&server);
    let key = json!({"owner": "platform", "access": "write"});
    let key = server.post("/v1/api_keys", "binding", &key).ok();
    std::fs::write(folder.join("password"), "tributary").expect("it can be written");
    let by_rabbitmq = format!(
        "type = \"rabbitmq\"\nurl = \"amqp://{}\"\nusername = \"tributary\"\npassword_file = \"password\"",
        rabbitmq.address()
    );
    let by_kafka = format!("type = \"kafka\"\nurl = \"kafka://{}\"", kafka.address());
    let before = settings(folder, "before.toml", &key, &by_rabbitmq);
    let after = settings(folder, "after.toml", &key, &by_kafka);

    apply(&server, &before);
    let (first, count) = (1_000, 600);
    let placing = rabbitmq::place(&rabbitmq, first, count);
    wait_for_payments(&server, 100);
    apply(&server, &after);
    // The client sends to Kafka, from now on, what it knows no answer of.
    let answers = answers_until_now(placing);
    let is_open = |number: &u64| !answers.contains_key(&number.to_string());
    let open = (first..first + count).find(is_open);
    let open = open.expect("the broker was changed before the end");
    let left = first + count - open;
    let output = finish(kafka::place(&kafka, open, left), "the client of Kafka");
    assert!(output.status.success(), "{output:?}\n{}", server.log());
    assert_eq!(answered(&output).len() as u64, left);
    check_paid_once(&server, first, count);

    // Back again: what RabbitMQ still had was decided, and is not paid again. New orders come behind it.
    apply(&server, &before);
    let output = finish(
        rabbitmq::place(&rabbitmq, first + count, 20),
        "the client of RabbitMQ",
    );
    assert!(output.status.success(), "{output:?}\n{}", server.log());
    assert_eq!(answered(&output).len(), 20);
    check_paid_once(&server, first, count + 20);
    assert!(server.stop().success());
    let verified: Value = verify(&data);
    assert_eq!(verified["ok"], json!(true), "{verified}");
}
