//! A proxy that says what no proxy should.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::stream::{self, Stream, StreamExt as _};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::http::{HeaderMap, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::TcpListener;

use super::RocketMq;
use super::wire::{self, Status, code};
use crate::port::{
    Adapter as _, Binder, Binding, Declare, Message, Outgoing, SendError, Sink, Source, Trouble,
    TroubleKind,
};

/// The longest that a test waits for what must happen before it fails.
const PATIENCE: Duration = Duration::from_secs(120);

type Frames = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;

/// What is said to one call.
enum Said {
    /// These messages, and that all is well.
    Messages(Vec<Vec<u8>>),
    /// This message, and no end.
    Open(Vec<u8>),
    /// These bytes, whatever they are.
    Bytes(Vec<u8>),
    /// What a proxy says that behaves.
    Proper,
}

/// A proxy with one topic, `topic`, whose answers a test can replace.
struct Fake {
    address: std::net::SocketAddr,
    asked: Arc<Mutex<Vec<(String, Bytes)>>>,
}

impl Fake {
    async fn start(say: impl Fn(&str, usize) -> Said + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (say, noted) = (Arc::new(say), asked.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (say, noted) = (say.clone(), noted.clone());
                let service =
                    service_fn(move |request| answer(request, say.clone(), noted.clone()));
                let serving = http2::Builder::new(TokioExecutor::new());
                tokio::spawn(serving.serve_connection(TokioIo::new(socket), service));
            }
        });
        Fake { address, asked }
    }

    fn binder(&self) -> Binder {
        Binder {
            slug: "main".to_owned(),
            url: format!("http://{}", self.address),
            username: None,
            password: None,
            trusted_roots: None,
        }
    }

    async fn source(&self) -> Result<Box<dyn Source>, Trouble> {
        let binding = Binding {
            slug: "orders".to_owned(),
            destination: "topic".to_owned(),
            group: "group".to_owned(),
            concurrency: 1,
            prefetch: 2,
            declare: Declare::Check,
        };
        let binder = self.binder();
        let opening = RocketMq.open_source(&binder, &binding);
        tokio::time::timeout(PATIENCE, opening)
            .await
            .expect("nothing hangs")
    }

    async fn sink(&self) -> Box<dyn Sink> {
        RocketMq
            .open_sink(&self.binder())
            .await
            .unwrap_or_else(|trouble| panic!("{trouble}"))
    }

    /// The questions of this method so far.
    fn asked(&self, method: &str) -> Vec<Bytes> {
        let asked = self.asked.lock().expect("nobody panics");
        let of_method = asked.iter().filter(|(name, _)| name == method);
        of_method.map(|(_, question)| question.clone()).collect()
    }
}

async fn answer(
    request: Request<Incoming>,
    say: Arc<impl Fn(&str, usize) -> Said>,
    noted: Arc<Mutex<Vec<(String, Bytes)>>>,
) -> Result<Response<StreamBody<Frames>>, Infallible> {
    let path = request.uri().path().to_owned();
    let method = path.rsplit('/').next().unwrap_or_default().to_owned();
    // The stream of a client does not end; one message is one frame here.
    let mut body = request.into_body();
    let first = body.frame().await.and_then(Result::ok);
    let first = first.and_then(|frame| frame.into_data().ok());
    let question = first.unwrap_or_default();
    let count = {
        let mut noted = noted.lock().expect("nobody panics");
        noted.push((method.clone(), question.slice(5.min(question.len())..)));
        noted.iter().filter(|(name, _)| *name == method).count()
    };
    let said = match say(&method, count) {
        Said::Proper => proper(&method),
        said => said,
    };
    let data = |bytes: Vec<u8>| Ok(Frame::data(Bytes::from(bytes)));
    let well = || {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        stream::once(std::future::ready(Ok(Frame::trailers(trailers))))
    };
    let frames: Frames = match said {
        Said::Messages(messages) => {
            let messages: Vec<_> = messages.into_iter().map(|m| data(framed(&m))).collect();
            Box::pin(stream::iter(messages).chain(well()))
        }
        Said::Open(message) => {
            let one = stream::iter([data(framed(&message))]);
            // The client's stream stays open as long as this one.
            let kept = stream::once(async move {
                std::future::pending::<()>().await;
                drop(body);
                Ok(Frame::data(Bytes::new()))
            });
            Box::pin(one.chain(kept))
        }
        Said::Bytes(bytes) => Box::pin(stream::iter([data(bytes)]).chain(well())),
        Said::Proper => unreachable!("it was replaced"),
    };
    let response = Response::builder()
        .header("content-type", "application/grpc")
        .body(StreamBody::new(frames));
    Ok(response.expect("the headers are fine"))
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).expect("tests are small"));
    bytes.put_slice(message);
    bytes.to_vec()
}

fn status(code: i32) -> Option<Status> {
    Some(Status {
        code,
        message: "said so".to_owned(),
    })
}

fn only_status(code: i32) -> Said {
    // The status is the first field of every answer.
    let answer = wire::AckAnswer {
        status: status(code),
        entries: Vec::new(),
    };
    Said::Messages(vec![answer.encode_to_vec()])
}

fn proper(method: &str) -> Said {
    match method {
        "Telemetry" => {
            let answer = wire::Telemetry {
                status: status(code::OK),
                settings: Some(wire::Settings {
                    retries: Some(wire::Retries {
                        attempts_max: 1_000_001,
                    }),
                    ..wire::Settings::default()
                }),
            };
            Said::Open(answer.encode_to_vec())
        }
        "QueryRoute" => {
            let queue = wire::Queue {
                permission: 4,
                broker: Some(wire::Broker {
                    name: "broker".to_owned(),
                }),
                kinds: vec![wire::kind::NORMAL],
                ..wire::Queue::default()
            };
            let answer = wire::QueryRouteAnswer {
                status: status(code::OK),
                queues: vec![queue],
            };
            Said::Messages(vec![answer.encode_to_vec()])
        }
        "ReceiveMessage" => only_status(code::MESSAGE_NOT_FOUND),
        _ => only_status(code::OK),
    }
}

fn message(number: usize) -> wire::Message {
    wire::Message {
        body: Bytes::from(format!("m{number}")),
        properties: Some(wire::Properties {
            message_id: format!("id-{number}"),
            receipt: Some(format!("receipt-{number}")),
            ..wire::Properties::default()
        }),
        ..wire::Message::default()
    }
}

/// Messages as an answer to `ReceiveMessage` has them.
fn received(messages: Vec<wire::Message>) -> Said {
    let first = wire::Received {
        status: status(code::OK),
        message: None,
    };
    let messages = messages.into_iter().map(|message| wire::Received {
        status: None,
        message: Some(message),
    });
    let all = std::iter::once(first).chain(messages);
    Said::Messages(all.map(|answer| answer.encode_to_vec()).collect())
}

async fn receive(source: &mut dyn Source) -> Result<Message, Trouble> {
    tokio::time::timeout(PATIENCE, source.receive())
        .await
        .expect("nothing hangs")
}

/// What a source says whose proxy answers so to `ReceiveMessage`.
async fn trouble_of(say: impl Fn() -> Said + Send + Sync + 'static) -> Trouble {
    let fake = Fake::start(move |method, _| match method {
        "ReceiveMessage" => say(),
        _ => Said::Proper,
    });
    let mut source = fake.await.source().await.expect("all is well so far");
    let trouble = loop {
        match receive(source.as_mut()).await {
            Ok(_) => {}
            Err(trouble) => break trouble,
        }
    };
    let again = receive(source.as_mut()).await;
    assert_eq!(again.map(|message| message.token), Err(trouble.clone()));
    trouble
}

#[tokio::test]
async fn answers_that_no_proxy_gives_are_told() {
    let check = |trouble: Trouble, kind: TroubleKind, text: &str| {
        assert_eq!(trouble.kind, kind, "{trouble}");
        assert!(trouble.text.contains(text), "{trouble}");
    };
    let refused = TroubleKind::Refused;
    let many = || received((0..3).map(message).collect());
    check(trouble_of(many).await, refused, "more messages");
    let nameless = || received(vec![wire::Message::default()]);
    check(trouble_of(nameless).await, refused, "without properties");
    let garbage = || Said::Messages(vec![b"\xff\xff\xff".to_vec()]);
    check(trouble_of(garbage).await, refused, "can't be read");
    // A length of a gigabyte: nothing of this size is kept ready.
    let endless = || Said::Bytes(b"\x00\x40\x00\x00\x00abc".to_vec());
    check(trouble_of(endless).await, refused, "too large");
    let down = || only_status(50_001);
    check(trouble_of(down).await, TroubleKind::Unreachable, "said so");
    let gone = || only_status(code::TOPIC_NOT_FOUND);
    check(
        trouble_of(gone).await,
        TroubleKind::DestinationMissing,
        "topic",
    );
}

#[tokio::test]
async fn a_proxy_that_says_too_little_is_told() {
    for silent in ["Telemetry", "QueryRoute", "Heartbeat"] {
        let fake = Fake::start(move |method, _| match method == silent {
            true => Said::Messages(vec![Vec::new()]),
            false => Said::Proper,
        });
        let trouble = fake.await.source().await.err().expect(silent);
        let is_told = trouble.text.contains("did not say") || trouble.text.contains("is lost");
        assert!(is_told, "{silent}: {trouble}");
    }
    // One that ends the connection, and one that speaks something else.
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let hello = b"HTTP/1.1 400 Bad Request\r\n\r\n";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut socket, hello).await;
        }
    });
    let binder = Binder {
        slug: "main".to_owned(),
        url: format!("http://{address}"),
        username: None,
        password: None,
        trusted_roots: None,
    };
    let trouble = RocketMq.open_sink(&binder).await.err().expect("it is none");
    assert_eq!(trouble.kind, TroubleKind::Unreachable, "{trouble}");
}

#[tokio::test]
async fn a_broker_with_nothing_is_not_asked_all_the_time() {
    let fake = Fake::start(|_, _| Said::Proper).await;
    let mut source = fake.source().await.expect("all is well");
    let nothing = tokio::time::timeout(Duration::from_secs(2), source.receive()).await;
    assert!(nothing.is_err());
    let questions = fake.asked("ReceiveMessage").len();
    assert!((1..=6).contains(&questions), "{questions}");
}

#[tokio::test]
async fn a_renewed_receipt_is_the_one_that_is_acknowledged() {
    let fake = Fake::start(|method, count| match (method, count) {
        ("ReceiveMessage", 1) => received(vec![message(0), message(1)]),
        ("ChangeInvisibleDuration", _) => {
            let answer = wire::ChangeInvisibleAnswer {
                status: status(code::OK),
                receipt: format!("renewed-{count}"),
            };
            Said::Messages(vec![answer.encode_to_vec()])
        }
        ("AckMessage", 2) => only_status(code::INVALID_RECEIPT_HANDLE),
        _ => Said::Proper,
    })
    .await;
    let mut source = fake.source().await.expect("all is well");
    let first = receive(source.as_mut()).await.expect("it is there");
    let second = receive(source.as_mut()).await.expect("it is there");
    let renewed = async {
        while fake.asked("ChangeInvisibleDuration").len() < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, renewed)
        .await
        .expect("both are renewed");
    source.acknowledge(first.token).await.expect("it is taken");
    // One that is too late is done with all the same.
    source.acknowledge(second.token).await.expect("it is late");
    let acks = fake.asked("AckMessage");
    for ack in &acks {
        let ack = wire::Ack::decode(ack.clone()).expect("it is ours");
        assert!(ack.entries[0].receipt.starts_with("renewed-"), "{ack:?}");
    }
    assert_eq!(acks.len(), 2);
    source.close().await;
    assert_eq!(fake.asked("NotifyClientTermination").len(), 1);
}

#[tokio::test]
async fn messages_are_acknowledged_together_and_what_became_of_each_counts() {
    // Of all it says that something went wrong.
    let mixed = |codes: [i32; 2]| {
        let answer = wire::AckAnswer {
            status: status(30_000),
            entries: codes
                .map(|code| wire::AckResult {
                    status: status(code),
                })
                .to_vec(),
        };
        Said::Messages(vec![answer.encode_to_vec()])
    };
    let fake = Fake::start(move |method, count| match (method, count) {
        ("ReceiveMessage", 1 | 2) => received(vec![message(0), message(1)]),
        ("AckMessage", 1) => mixed([code::OK, code::INVALID_RECEIPT_HANDLE]),
        ("AckMessage", _) => mixed([code::OK, 50_001]),
        _ => Said::Proper,
    })
    .await;
    let mut source = fake.source().await.expect("all is well");
    for is_well in [true, false] {
        let first = receive(source.as_mut()).await.expect("it is there");
        let second = receive(source.as_mut()).await.expect("it is there");
        let done = source.acknowledge_all(&[first.token, second.token]).await;
        assert_eq!(done.is_ok(), is_well, "{done:?}");
    }
    let acks = fake.asked("AckMessage");
    assert_eq!(acks.len(), 2);
    for ack in acks {
        let ack = wire::Ack::decode(ack).expect("it is ours");
        assert_eq!(ack.entries.len(), 2, "{ack:?}");
    }
}

#[tokio::test]
async fn a_pause_gives_back_what_is_held() {
    let fake = Fake::start(|method, count| match (method, count) {
        ("ReceiveMessage", 1) => received(vec![message(0), message(1)]),
        _ => Said::Proper,
    })
    .await;
    let mut source = fake.source().await.expect("all is well");
    let first = receive(source.as_mut()).await.expect("it is there");
    source.acknowledge(first.token).await.expect("it is taken");
    receive(source.as_mut()).await.expect("it is there");
    source.close().await;
    let given_back = fake.asked("ChangeInvisibleDuration");
    let last = given_back.last().expect("one was held");
    let last = wire::ChangeInvisible::decode(last.clone()).expect("it is ours");
    assert_eq!(last.receipt, "receipt-1");
    assert_eq!(
        last.invisible,
        wire::Span::lasting(Duration::from_millis(1))
    );
}

#[tokio::test]
async fn what_a_proxy_says_of_a_message_is_told_apart() {
    for (said, is_refused) in [
        (40_014, true),
        (41_301, true),
        (50_401, false),
        (42_900, false),
    ] {
        let fake = Fake::start(move |method, _| match method {
            "SendMessage" => only_status(said),
            _ => Said::Proper,
        })
        .await;
        let sink = fake.sink().await;
        let message = Outgoing {
            address: RocketMq.address("topic"),
            key: None,
            body: Bytes::from_static(b"{}"),
            content_type: String::new(),
            headers: Vec::new(),
            message_id: String::new(),
            correlation_id: None,
        };
        let error = sink.send(&message).await.expect_err("it is not kept");
        let was_refused = matches!(error, SendError::Refused(_));
        assert_eq!(was_refused, is_refused, "{said}: {error}");
    }
}
