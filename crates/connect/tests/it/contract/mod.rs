//! The contract of `CONTRACT.md`, line by line, against a broker under test.

#![cfg_attr(
    not(feature = "full"),
    allow(dead_code, reason = "some adapters need all of it")
)]

#[cfg(feature = "activemq")]
mod activemq;
mod destinations;
mod dropped;
mod engine;
mod incoming;
#[cfg(feature = "kafka")]
mod kafka;
mod memory;
#[cfg(feature = "nats")]
mod nats;
mod outgoing;
mod proxy;
#[cfg(feature = "rabbitmq")]
mod rabbitmq;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "rocketmq")]
mod rocketmq;
mod silence;
mod tls;
mod trouble;
#[cfg(feature = "zeromq")]
mod zeromq;

use std::time::Duration;

use bytes::Bytes;
use tributary_connect::port::{
    Adapter, Binder, Binding, Declare, Doing, Message, Outgoing, Secret, SendError, Sink, Source,
    Trouble, TroubleKind,
};

/// Longest time that a test waits for what must happen: for slow machines, not for slow adapters.
const PATIENCE: Duration = Duration::from_secs(120);

/// Name and password of the user of the adapter.
const USER: &str = "tributary";

/// A broker under test, and what a test does to it by other means than the adapter.
trait Rig {
    /// The adapter to the broker.
    fn adapter(&self) -> &dyn Adapter;

    /// A connection that works.
    fn binder(&self) -> Binder;

    /// A connection whose password is wrong; none if the broker knows no users.
    fn wrong_binder(&self) -> Option<Binder> {
        let password = Some(Secret::new("not-this-one"));
        Some(Binder {
            password,
            ..self.binder()
        })
    }

    /// Whether the broker tells how many messages wait.
    fn tells_backlog(&self) -> bool {
        false
    }

    /// Whether no broker stands between: peers connect to the adapter, and keep what was not acknowledged. Then [`Rig::kill`] is about
    /// the peers, and lines 8 to 14 do not apply.
    fn is_peer_to_peer(&self) -> bool {
        false
    }

    /// Makes a queue that is new, and the one of its dead letters, and returns its name.
    fn make_queue(&self) -> Doing<'_, String>;

    /// Puts messages into a queue by a client that is not the adapter.
    fn put<'a>(&'a self, queue: &'a str, bodies: &'a [String]) -> Doing<'a, ()>;

    /// Ends the broker without notice.
    fn kill(&self) -> Doing<'_, ()>;

    /// Starts the broker again.
    fn restart(&self) -> Doing<'_, ()>;

    /// Cuts every connection of the adapter, wherever in a message it is.
    fn cut(&self);
}

/// Passes every line of the contract.
async fn pass(rig: &dyn Rig) {
    incoming::pass(rig).await;
    if rig.is_peer_to_peer() {
        return;
    }
    outgoing::pass(rig).await;
    trouble::pass(rig).await;
}

fn binder(url: &str) -> Binder {
    Binder {
        slug: "main".to_owned(),
        url: url.to_owned(),
        username: Some(USER.to_owned()),
        password: Some(Secret::new(USER)),
        trusted_roots: None,
    }
}

/// The same connection for another user.
fn user(binder: Binder, name: &str, password: &str) -> Binder {
    Binder {
        username: Some(name.to_owned()),
        password: Some(Secret::new(password)),
        ..binder
    }
}

/// The same connection without a user.
fn nameless(binder: Binder) -> Binder {
    Binder {
        username: None,
        password: None,
        ..binder
    }
}

fn binding(queue: &str, prefetch: u16) -> Binding {
    Binding {
        slug: "orders".to_owned(),
        destination: queue.to_owned(),
        group: "tributary".to_owned(),
        concurrency: 1,
        prefetch,
        declare: Declare::Check,
    }
}

/// A field of a binder, and what makes it unfit.
type Spoil = (&'static str, fn(&mut Binder));

/// Checks that an adapter takes a binder with a user at `url`, and tells the field that each change spoils.
fn check_binders(adapter: &dyn Adapter, url: &str, spoil: &[Spoil]) {
    let fit = binder(url);
    adapter.check_binder(&fit).expect("it is fit");
    let common: [Spoil; 3] = [
        ("url", |binder| binder.url = "mq".to_owned()),
        ("password", |binder| binder.password = None),
        ("trusted_roots", |binder| {
            binder.trusted_roots = Some("x".to_owned());
        }),
    ];
    for (field, change) in common.iter().chain(spoil) {
        let mut changed = fit.clone();
        change(&mut changed);
        let unfit = adapter.check_binder(&changed).expect_err(field);
        assert_eq!(unfit.field, *field, "{unfit}");
    }
}

/// Checks that an adapter takes a binding to `fit`, and tells the field by which each other binding is unfit.
fn check_bindings(adapter: &dyn Adapter, fit: &str, unfit: &[(&str, Binding)]) {
    let fit = adapter.check_binding(&binding(fit, 1));
    fit.expect("it is fit");
    let common = [
        ("destination", binding("", 1)),
        ("prefetch", binding("q", 0)),
    ];
    for (field, binding) in common.iter().chain(unfit) {
        let unfit = adapter.check_binding(binding).expect_err(field);
        assert_eq!(unfit.field, *field, "{unfit}");
    }
}

/// A binding to `q` of another group.
fn group(name: &str) -> Binding {
    Binding {
        group: name.to_owned(),
        ..binding("q", 1)
    }
}

fn outgoing(rig: &dyn Rig, queue: &str, body: &str) -> Outgoing {
    Outgoing {
        address: rig.adapter().address(queue),
        key: Some("key".to_owned()),
        body: Bytes::from(body.to_owned()),
        content_type: "application/json".to_owned(),
        headers: vec![(
            "ce_type".to_owned(),
            Bytes::from_static(b"payment.captured"),
        )],
        message_id: format!("id-{body}"),
        correlation_id: Some(format!("correlation-{body}")),
    }
}

fn bodies(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("m{number}")).collect()
}

fn body(message: &Message) -> String {
    String::from_utf8(message.body.to_vec()).expect("the tests send text")
}

async fn in_time<T>(what: &str, doing: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, doing).await {
        Ok(done) => done,
        Err(_) => panic!("{what} did not end within {PATIENCE:?}"),
    }
}

/// A source, as soon as the broker gives one.
async fn source(rig: &dyn Rig, binding: &Binding) -> Box<dyn Source> {
    let binder = rig.binder();
    in_time("opening a source", async {
        loop {
            match rig.adapter().open_source(&binder, binding).await {
                Ok(source) => return source,
                Err(trouble) => {
                    eprintln!("not yet: {trouble}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    })
    .await
}

async fn sink(rig: &dyn Rig) -> Box<dyn Sink> {
    let binder = rig.binder();
    in_time("opening a sink", async {
        loop {
            match rig.adapter().open_sink(&binder).await {
                Ok(sink) => return sink,
                Err(trouble) => {
                    eprintln!("not yet: {trouble}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    })
    .await
}

async fn try_receive(source: &mut dyn Source) -> Result<Message, Trouble> {
    in_time("receiving", source.receive()).await
}

async fn receive(source: &mut dyn Source) -> Message {
    let received = try_receive(source).await;
    received.expect("the connection holds")
}

async fn acknowledge(source: &mut dyn Source, token: u64) {
    let acknowledged = source.acknowledge(token).await;
    acknowledged.expect("the connection holds");
}

/// Receives so many messages and acknowledges each.
async fn take(source: &mut dyn Source, count: usize) -> Vec<String> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let message = receive(source).await;
        acknowledge(source, message.token).await;
        taken.push(body(&message));
    }
    taken
}

/// Receives and acknowledges messages until one has this body.
async fn take_until(source: &mut dyn Source, wanted: &str) {
    while take(source, 1).await != [wanted] {}
}

/// Returns why nothing was opened or received, which must be of this kind.
#[track_caller]
fn failed<T>(outcome: Result<T, Trouble>, kind: TroubleKind) -> Trouble {
    let trouble = outcome.err().expect("it fails");
    assert_eq!(trouble.kind, kind, "{trouble}");
    trouble
}

/// Returns why a source was refused, which must be of this kind.
async fn refused_source(rig: &dyn Rig, binding: &Binding, kind: TroubleKind) -> Trouble {
    let opened = rig.adapter().open_source(&rig.binder(), binding).await;
    failed(opened, kind)
}

/// Returns why a message was refused.
#[track_caller]
fn refused(sent: Result<(), SendError>) -> Trouble {
    match sent {
        Err(SendError::Refused(trouble)) => trouble,
        other => panic!("{other:?}"),
    }
}

/// Whether nothing comes for a moment.
async fn is_silent(source: &mut dyn Source) -> bool {
    tokio::time::timeout(Duration::from_millis(500), source.receive())
        .await
        .is_err()
}
