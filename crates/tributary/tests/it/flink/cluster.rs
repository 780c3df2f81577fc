//! Kafka and Flink for a test, and what it asks of them.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tributary_testkit::engine::Engine;

use crate::http;
use crate::support::{PATIENCE, Server, repository, run_for, text, tool};

/// Topic of the events.
pub(super) const TOPIC: &str = "payment_events";
/// How much later than a younger event an event may come: more than a test lasts by its clock, which runs ahead while the broker does not.
const DISORDER_SECONDS: &str = "3500";
/// Topics of the rows.
const ROWS: [&str; 5] = [
    "streams.volume",
    "streams.overlapping",
    "streams.visits",
    "streams.spending",
    "streams.strict",
];

/// Makes the topics that are named.
const MAKE_TOPICS: &str = "
import sys
from kafka.admin import KafkaAdminClient, NewTopic
admin = KafkaAdminClient(bootstrap_servers=sys.argv[1])
admin.create_topics([NewTopic(name, 1, 1) for name in sys.argv[2:]])
";
/// Prints the values of the messages that a topic holds, one a line.
const READ: &str = "
import sys
from kafka import KafkaConsumer, TopicPartition
consumer = KafkaConsumer(bootstrap_servers=sys.argv[1])
place = TopicPartition(sys.argv[2], 0)
consumer.assign([place])
end = consumer.end_offsets([place])[place]
consumer.seek_to_beginning(place)
while consumer.position(place) < end:
    for messages in consumer.poll(timeout_ms=500).values():
        for message in messages:
            if message.offset < end:
                print(message.value.decode())
";

/// Writes the messages of a topic to a file: headers and value, one a line.
const SAVE: &str = "
import json, sys
from kafka import KafkaConsumer, TopicPartition
consumer = KafkaConsumer(bootstrap_servers=sys.argv[1])
place = TopicPartition(sys.argv[2], 0)
consumer.assign([place])
end = consumer.end_offsets([place])[place]
consumer.seek_to_beginning(place)
with open(sys.argv[3], 'w') as file:
    while consumer.position(place) < end:
        for messages in consumer.poll(timeout_ms=500).values():
            for message in messages:
                headers = {name: value.decode() for name, value in message.headers}
                print(json.dumps({'headers': headers, 'value': json.loads(message.value)}), file=file)
";

/// Both engines. Killed when dropped.
pub(super) struct Cluster {
    pub(super) kafka: Engine,
    flink: Engine,
}

impl Cluster {
    /// Starts both; none if one is not installed, and the test may be skipped.
    pub(super) fn start() -> Option<Cluster> {
        let cluster = Cluster {
            kafka: Engine::find("kafka")?,
            flink: Engine::find("flink")?,
        };
        tool("tools-python")?;
        cluster.kafka.start();
        cluster.flink.start();
        let topics = [[TOPIC].as_slice(), &ROWS].concat();
        cluster.python(MAKE_TOPICS, &topics);
        Some(cluster)
    }

    fn python(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(tool("tools-python").expect("it was there"))
            .args(["-c", program, &self.kafka.address().to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("Python runs");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {err}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Has Flink compute a stream of a server. Returns the id of the job.
    pub(super) fn run_sql(&self, server: &Server, stream: &str, folder: &Path) -> String {
        let (url, brokers) = (server.url(), self.kafka.address().to_string());
        let sql = run_for(
            0,
            &[
                "streams",
                "flink-sql",
                stream,
                "--topic",
                TOPIC,
                "--brokers",
                &brokers,
                "--server",
                &url,
                "--api-key-file",
                server.key_file(),
                "--disorder",
                DISORDER_SECONDS,
            ],
        );
        let file = folder.join(stream).with_extension("sql");
        std::fs::write(&file, sql).expect("there is room");
        let output = Command::new(self.flink.folder().join("sql"))
            .arg(text(&file))
            .stdin(Stdio::null())
            .output()
            .expect("the client of Flink runs");
        let out = String::from_utf8_lossy(&output.stdout);
        let job = out
            .split_once("JobID ")
            .and_then(|(_, rest)| rest.split_whitespace().next());
        let job = job.unwrap_or_else(|| {
            panic!(
                "{stream}: {out}\n{}",
                String::from_utf8_lossy(&output.stderr)
            )
        });
        job.to_owned()
    }

    /// The messages of the topic of a stream's rows.
    pub(super) fn rows(&self, stream: &str) -> Vec<Value> {
        let printed = self.python(READ, &[&format!("streams.{stream}")]);
        let lines = printed.lines().map(serde_json::from_str);
        lines.map(|line| line.expect("JSON")).collect()
    }

    /// Writes the events that Flink has read to a file.
    pub(super) fn save_events(&self, file: &Path) {
        self.python(SAVE, &[TOPIC, text(file)]);
    }

    /// The rows that DuckDB computes of such a file, in the form of the messages of the topic of a stream's rows.
    pub(super) fn batch_rows(&self, events: &Path, stream: &str) -> Vec<Value> {
        let folder = repository().join("target/engines/flink/python/bin/python");
        let output = Command::new(folder)
            .arg(repository().join("crates/tributary/tests/it/flink/batch.py"))
            .args([text(events), stream])
            .stdin(Stdio::null())
            .output()
            .expect("Python runs");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stream}: {err}");
        let printed = String::from_utf8(output.stdout).expect("UTF-8");
        let lines = printed.lines().map(serde_json::from_str);
        lines.map(|line| line.expect("JSON")).collect()
    }

    fn get(&self, path: &str) -> Value {
        let address = self.flink.address().to_string();
        let answer = http::request(&address, "GET", path, "none", None, None);
        answer.expect("Flink answers").json()
    }

    /// Waits until a job has failed, and returns why.
    pub(super) fn why_failed(&self, job: &str) -> String {
        let begun = Instant::now();
        while self.get(&format!("/jobs/{job}"))["state"] != "FAILED" {
            assert!(begun.elapsed() < PATIENCE, "{}", self.log());
            std::thread::sleep(Duration::from_millis(200));
        }
        self.get(&format!("/jobs/{job}/exceptions")).to_string()
    }

    /// How the jobs stand, and what Flink logged.
    pub(super) fn log(&self) -> String {
        let log = std::fs::read_to_string(self.flink.folder().join("log.txt"));
        format!(
            "{}\n{}",
            self.get("/jobs/overview"),
            log.unwrap_or_default()
        )
    }
}
