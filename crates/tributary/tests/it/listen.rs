//! `listen`: events of a real server reach a program here, signed, and none is missed when the server restarts.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;

use serde_json::{Value, json};
use standardwebhooks::Webhook;

use crate::support::{DeadAddress, PATIENCE, Server, run, text, tributary};

/// What arrived at the receiver.
struct Arrived {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Arrived {
    /// The event, if the signature is right.
    fn verified(&self, secret: &str) -> Value {
        let mut headers = hyper::HeaderMap::new();
        for (name, value) in &self.headers {
            let name = hyper::header::HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.insert(name, value.parse().expect("a value"));
        }
        let webhook = Webhook::new(secret).expect("a secret");
        webhook.verify(&self.body, &headers).expect("it verifies");
        let event: Value = serde_json::from_slice(&self.body).expect("JSON");
        assert_eq!(headers["webhook-id"], event["id"].as_str().expect("an id"));
        event
    }
}

/// Answers every request with this status, on a thread that ends with the test.
fn receiver(listener: TcpListener, status: u16) -> mpsc::Receiver<Arrived> {
    let (tell, arrived) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            while let Some(request) = read(&stream) {
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n");
                let written = (&stream).write_all(answer.as_bytes());
                if tell.send(request).is_err() || written.is_err() {
                    return;
                }
            }
        }
    });
    arrived
}

fn read(stream: &TcpStream) -> Option<Arrived> {
    let mut reader = BufReader::new(stream);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_lowercase(), value.to_owned())),
            None if line.trim_end().is_empty() => break,
            None => assert!(line.starts_with("POST /hooks "), "{line}"),
        }
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length?.1.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Arrived { headers, body })
}

/// A running `listen`; killed when dropped.
struct Listening {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Listening {
    fn start(server: &Server, to: &str, options: &[&str]) -> Self {
        let mut command: Command = tributary();
        let url = server.url();
        let key = ["--server", &url, "--api-key-file", server.key_file()];
        let mut child = command
            .args(["listen", "--json", "--forward-to", to])
            .args(key)
            .args(options)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary runs");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, out }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("it goes on");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Publishes events of the type `app.made` with these numbers.
fn publish(server: &Server, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let body = json!({"type": "app.made", "data": number});
        server
            .post("/v1/events", &format!("made-{number}"), &body)
            .ok();
    }
}

#[test]
fn events_reach_a_receiver_here_signed_and_none_is_missed_by_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("data");
    let server = Server::start(&data);
    publish(&server, 0..3);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = format!("http://{}/hooks", listener.local_addr().expect("bound"));
    let arrived = receiver(listener, 204);
    let options = ["--events", "app.#", "--start", "beginning"];
    let mut listening = Listening::start(&server, &to, &options);
    let told = listening.line();
    let secret = told["secret"].as_str().expect("it is shown").to_owned();
    let mut expect = |numbers: std::ops::Range<u64>| {
        for number in numbers {
            let request = arrived.recv_timeout(PATIENCE).expect("it arrives");
            let event = request.verified(&secret);
            assert_eq!(
                (&event["type"], &event["data"]),
                (&json!("app.made"), &json!(number))
            );
            let line = listening.line();
            assert_eq!(
                (&line["event"], &line["status"]),
                (&event["id"], &json!(204))
            );
            assert!(
                line["took_ms"].as_f64().is_some_and(|took| took > 0.0),
                "{line}"
            );
        }
    };
    expect(0..3);
    publish(&server, 3..20);
    expect(3..20);
    let address = server.address.clone();
    assert!(server.stop().success());
    let server = Server::start_at(&data, &address);
    publish(&server, 20..30);
    expect(20..30);
    assert!(arrived.try_recv().is_err(), "nothing comes twice");
}

#[test]
fn a_receiver_that_refuses_is_shown_and_the_next_event_follows() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(&directory.path().join("data"));
    publish(&server, 0..2);
    let given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let options = [
        "--events",
        "app.*",
        "--start",
        "beginning",
        "--secret",
        given,
    ];
    let dead = DeadAddress::take();
    let to = format!("{}/hooks", dead.url());
    let mut listening = Listening::start(&server, &to, &options);
    assert_eq!(listening.line()["secret"], given);
    for _ in 0..2 {
        let line = listening.line();
        assert_eq!(
            (&line["status"], &line["error"]),
            (&Value::Null, &json!("cannot_connect"))
        );
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = format!("http://{}/hooks", listener.local_addr().expect("bound"));
    let arrived = receiver(listener, 500);
    let mut listening = Listening::start(&server, &to, &options);
    listening.line();
    for number in 0..2 {
        assert_eq!(listening.line()["status"], 500);
        let request = arrived.recv_timeout(PATIENCE).expect("it arrives");
        assert_eq!(request.verified(given)["data"], number);
    }
}

#[test]
fn what_cannot_work_is_refused_with_a_word_that_helps() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(&directory.path().join("data"));
    let (url, key) = (server.url(), server.key_file().to_owned());
    let wrong_key = directory.path().join("wrong-key");
    std::fs::write(&wrong_key, "tk_wrong\n").expect("writes");
    let dead = DeadAddress::take();
    let nobody = dead.url();
    let to = format!("{nobody}/hooks");
    let to = to.as_str();
    for (code, server, key, to, options, part) in [
        (1, &nobody, key.as_str(), to, [""; 0].as_slice(), "--server"),
        (2, &url, text(&wrong_key), to, &[], "check the API key"),
        (2, &url, &key, "ftp://x/hooks", &[], "--forward-to"),
        (2, &url, &key, to, &["--secret", "secret"], "whsec_"),
        (2, &url, &key, to, &["--events", "Payment"], "--events"),
        (2, &url, &key, to, &["--start", "evt_x"], "--start"),
    ] {
        let mut arguments = vec!["listen", "--server", server, "--api-key-file", key];
        arguments.extend(["--forward-to", to]);
        arguments.extend(options);
        let output = run(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(
            said.contains(part),
            "{arguments:?}: {part} is not in {said}"
        );
    }
}
