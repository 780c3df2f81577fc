//! A client of NATS for tests: it writes lines, and reads what comes back.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::contract::{USER, in_time};

/// A connection.
pub(super) struct Client {
    stream: BufReader<TcpStream>,
    questions: u64,
}

/// A message that came.
pub(super) struct Received {
    pub(super) headers: Vec<u8>,
    pub(super) body: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).await.expect("it is up");
        let mut client = Client {
            stream: BufReader::new(stream),
            questions: 0,
        };
        let hello = json!({"verbose": false, "headers": true, "no_responders": true, "user": USER, "pass": USER});
        client
            .write(format!("CONNECT {hello}\r\nSUB answers.* 1\r\n").as_bytes())
            .await;
        client
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) {
        self.stream
            .get_mut()
            .write_all(bytes)
            .await
            .expect("it is up");
    }

    pub(super) async fn subscribe(&mut self, subject: &str) {
        self.write(format!("SUB {subject} 2\r\nPING\r\n").as_bytes())
            .await;
        in_time("subscribing", async {
            while self.line().await.trim() != "PONG" {}
        })
        .await;
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.expect("it is up");
        assert!(!line.is_empty(), "NATS closed the connection");
        if line.starts_with("PING") {
            self.write(b"PONG\r\n").await;
        }
        line
    }

    /// The next message of any subscription.
    pub(super) async fn receive(&mut self) -> Received {
        in_time("a message", async {
            loop {
                let line = self.line().await;
                assert!(!line.starts_with("-ERR"), "{line}");
                let words: Vec<&str> = line.split_whitespace().collect();
                let number =
                    |back: usize| -> usize { words[words.len() - back].parse().expect("a number") };
                let (header_length, length) = match words[0] {
                    "MSG" => (0, number(1)),
                    "HMSG" => (number(2), number(1)),
                    _ => continue,
                };
                let mut headers = vec![0; length + 2];
                self.stream
                    .read_exact(&mut headers)
                    .await
                    .expect("it is up");
                headers.truncate(length);
                let body = headers.split_off(header_length);
                return Received { headers, body };
            }
        })
        .await
    }

    /// Publishes a message, and returns the answer.
    pub(super) async fn ask(&mut self, subject: &str, headers: &[u8], body: &[u8]) -> Value {
        self.questions += 1;
        let reply = format!("answers.{}", self.questions);
        let total = headers.len() + body.len();
        let line = match headers {
            [] => format!("PUB {subject} {reply} {total}\r\n"),
            headers => format!("HPUB {subject} {reply} {} {total}\r\n", headers.len()),
        };
        let sent = [line.as_bytes(), headers, body, b"\r\n"].concat();
        self.write(&sent).await;
        let answer = self.receive().await;
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }

    /// Asks JetStream, which must say yes.
    pub(super) async fn jetstream(&mut self, subject: &str, question: &Value) -> Value {
        let subject = format!("$JS.API.{subject}");
        let answer = self
            .ask(&subject, &[], question.to_string().as_bytes())
            .await;
        assert!(
            answer.is_object() && answer.get("error").is_none(),
            "{subject}: {answer}"
        );
        answer
    }

    /// Makes a stream of one subject, with further settings.
    pub(super) async fn make_stream(&mut self, subject: &str, settings: &Value) {
        let name = subject.replace('.', "_");
        let mut config =
            json!({"name": name, "subjects": [subject], "storage": "file", "num_replicas": 1});
        for (setting, value) in settings.as_object().into_iter().flatten() {
            config[setting] = value.clone();
        }
        self.jetstream(&format!("STREAM.CREATE.{name}"), &config)
            .await;
    }

    /// Has a stream keep a message.
    pub(super) async fn put(&mut self, subject: &str, headers: &[u8], body: &[u8]) {
        let kept = self.ask(subject, headers, body).await;
        assert!(kept["seq"].is_u64(), "{subject}: {kept}");
    }
}
