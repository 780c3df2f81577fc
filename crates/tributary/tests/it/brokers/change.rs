//! A broker is changed for another one by applying another file, while orders come in.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::client::{check_paid_once, open_account};
use super::example::check_books;
use super::kafka::KAFKA;
use super::rabbitmq::RABBITMQ;
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
    run_for(
        0,
        &["apply", text(file), "--server", &url, "--api-key-file", key],
    );
}

#[test]
fn a_broker_is_changed_by_applying_another_file_while_orders_come_in() {
    let (Some(rabbitmq), Some(kafka)) = (RABBITMQ.start(), KAFKA.start()) else {
        return;
    };
    let directory = tempfile::tempdir().expect("directory");
    let folder = directory.path();
    let data = folder.join("data");
    let server = Server::start(&data);
    open_account(&server, "wallet-anna", "external");
    open_account(&server, "shop", "merchant");
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
    let mut placing = RABBITMQ.place(&rabbitmq, first, count);
    placing.wait_for_progress(&server, 100);
    apply(&server, &after);
    // The client sends to Kafka, from now on, what it knows no answer of.
    let answers = placing.kill().answered();
    let is_open = |number: &u64| !answers.contains_key(&number.to_string());
    let open = (first..first + count).find(is_open);
    let open = open.expect("the broker was changed before the end");
    let left = first + count - open;
    let answers = KAFKA.place(&kafka, open, left).succeed().answered();
    assert_eq!(answers.len() as u64, left);
    check_paid_once(&server, first, count);

    // Back again: what RabbitMQ still had was decided, and is not paid again. New orders come behind it.
    apply(&server, &before);
    let answers = RABBITMQ.place(&rabbitmq, first + count, 20).succeed();
    assert_eq!(answers.answered().len(), 20);
    check_paid_once(&server, first, count + 20);
    check_books(server, &data);
}
