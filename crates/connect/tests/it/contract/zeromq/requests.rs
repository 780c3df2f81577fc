//! What peers ask, and what they are told.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use tributary_connect::port::{
    Adapter, Address, Binder, Outgoing, Refusal, SendError, Source, TroubleKind,
};
use tributary_connect::zeromq::ZeroMq;

use super::super::engine::free_port;
use super::super::{acknowledge, binding, body, in_time, receive, take};
use super::binder_at;
use super::dealer::Dealer;

/// An adapter with one address.
pub(super) struct Scene {
    pub(super) adapter: ZeroMq,
    pub(super) binder: Binder,
    pub(super) address: SocketAddr,
}

impl Scene {
    pub(super) fn new() -> Scene {
        let port = free_port();
        Scene {
            adapter: ZeroMq::new(),
            binder: binder_at(port),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        }
    }

    pub(super) async fn source(&self, destination: &str, prefetch: u16) -> Box<dyn Source> {
        let binding = binding(destination, prefetch);
        let opened = self.adapter.open_source(&self.binder, &binding);
        in_time("opening", opened).await.expect("the port is free")
    }

    pub(super) async fn dealer(&self) -> Dealer {
        let connected = in_time("connecting", Dealer::connect(self.address)).await;
        connected.expect("somebody listens")
    }

    async fn send(&self, to: &str, id: &str, body: &str) -> Result<(), SendError> {
        let sink = self.adapter.open_sink(&self.binder).await;
        let message = Outgoing {
            address: Address {
                destination: to.to_owned(),
                routing_key: None,
            },
            key: None,
            body: Bytes::from(body.to_owned()),
            content_type: "application/json".to_owned(),
            headers: vec![("ce_type".to_owned(), Bytes::from("payment.captured"))],
            message_id: "evt_1".to_owned(),
            correlation_id: Some(id.to_owned()),
        };
        let sink = sink.expect("there is nothing to open");
        in_time("sending", sink.send(&message)).await
    }
}

pub(super) async fn next(dealer: &mut Dealer) -> Vec<String> {
    let received = in_time("an answer", dealer.receive()).await;
    received.expect("the connection holds")
}

/// Waits until the server closes the connection.
pub(super) async fn closed(dealer: &mut Dealer) {
    let ended = async { while dealer.receive().await.is_ok() {} };
    in_time("closing", ended).await;
}

#[tokio::test]
async fn a_message_arrives_as_it_was_sent_and_its_reply_goes_to_who_asked() {
    let scene = Scene::new();
    let mut source = scene.source("orders", 10).await;
    let (mut asker, mut other) = (scene.dealer().await, scene.dealer().await);
    let headers = br#"{"content-type": "application/xml", "ce_id": "7"}"#;
    let frames: [&[u8]; 6] = [
        b"tributary/1",
        b"orders",
        b"order-1",
        b"the-key",
        headers,
        b"<x/>",
    ];
    asker.send(&frames).await.expect("it is connected");
    other
        .order("orders", "order-1", b"{}")
        .await
        .expect("it is connected");
    let (mut asked, mut others) = (None, None);
    while asked.is_none() || others.is_none() {
        let message = receive(source.as_mut()).await;
        acknowledge(source.as_mut(), message.token).await;
        match &message.body[..] {
            b"<x/>" => asked = Some(message),
            _ => others = Some(message),
        }
    }
    let (asked, others) = asked.zip(others).expect("both are there");
    assert_eq!(asked.content_type.as_deref(), Some("application/xml"));
    assert_eq!(asked.message_id.as_deref(), Some("order-1"));
    assert_eq!(
        asked.api_key.as_ref().map(|key| key.expose()),
        Some("the-key")
    );
    assert_eq!(asked.headers, [("ce_id".to_owned(), Bytes::from("7"))]);
    assert_eq!(next(&mut asker).await, ["tributary/1", "OK", "order-1"]);
    assert_eq!(next(&mut other).await, ["tributary/1", "OK", "order-1"]);
    // By its connection: neither the id nor anything else that a peer can choose leads to another's replies.
    let to = asked.reply_to.expect("it can be answered");
    assert_ne!(Some(&to), others.reply_to.as_ref());
    for number in 0..20 {
        let sent = scene.send(&to, "order-1", &number.to_string()).await;
        assert_eq!(sent, Ok(()));
    }
    let headers = r#"{"ce_type":"payment.captured","content-type":"application/json"}"#;
    for number in 0..20 {
        let number = number.to_string();
        let expected = ["tributary/1", "REPLY", "order-1", headers, &number];
        assert_eq!(next(&mut asker).await, expected);
    }
    drop(asker);
    // A moment later it is known to have gone; a reply that was taken before may be lost with the connection.
    let absent = async { while scene.send(&to, "order-1", "late").await.is_ok() {} };
    in_time("learning that the peer has gone", absent).await;
    let absent = scene.send(&to, "order-1", "late").await;
    assert!(matches!(absent, Err(SendError::Absent(_))), "{absent:?}");
    let refused = scene.send("payment_events", "order-1", "{}").await;
    assert!(matches!(refused, Err(SendError::Refused(_))), "{refused:?}");
    source.close().await;
    let absent = scene.send(&to, "order-1", "late").await;
    assert!(matches!(absent, Err(SendError::Absent(_))), "{absent:?}");
}

#[tokio::test]
async fn what_can_not_be_decided_or_read_is_refused_with_its_reason() {
    let scene = Scene::new();
    let mut source = scene.source("orders", 10).await;
    let mut dealer = scene.dealer().await;
    dealer
        .order("orders", "poison", b"?")
        .await
        .expect("connected");
    let message = receive(source.as_mut()).await;
    let refusal = Refusal {
        code: "json_malformed".to_owned(),
        message: "It is no JSON.".to_owned(),
    };
    source
        .refuse(message.token, &refusal)
        .await
        .expect("nothing is lost");
    let expected = [
        "tributary/1",
        "REFUSED",
        "poison",
        "json_malformed",
        "It is no JSON.",
    ];
    assert_eq!(next(&mut dealer).await, expected);
    dealer.send(&[b"hello"]).await.expect("connected");
    let refused = next(&mut dealer).await;
    assert_eq!(
        refused[..4],
        ["tributary/1", "REFUSED", "", "request_malformed"]
    );
    let large = vec![b' '; 5 * 1024 * 1024];
    dealer
        .order("orders", "large", &large)
        .await
        .expect("connected");
    let refused = next(&mut dealer).await;
    assert_eq!(
        refused[..4],
        ["tributary/1", "REFUSED", "large", "body_too_large"]
    );
    // The connection is of further use, for the largest request too.
    let large = vec![b' '; 255 * 1024];
    dealer
        .order("orders", "largest", &large)
        .await
        .expect("connected");
    let message = receive(source.as_mut()).await;
    assert_eq!(message.body.len(), large.len());
    acknowledge(source.as_mut(), message.token).await;
    assert_eq!(next(&mut dealer).await, ["tributary/1", "OK", "largest"]);
    source.close().await;
}

#[tokio::test]
async fn a_request_that_nobody_takes_now_is_to_be_sent_later() {
    let scene = Scene::new();
    let mut source = scene.source("orders", 10).await;
    let mut dealer = scene.dealer().await;
    dealer
        .order("elsewhere", "a", b"{}")
        .await
        .expect("connected");
    let later = next(&mut dealer).await;
    assert_eq!(later[..3], ["tributary/1", "LATER", "a"]);
    // Received and not settled, and not received at all.
    dealer.order("orders", "b", b"{}").await.expect("connected");
    receive(source.as_mut()).await;
    dealer.order("orders", "c", b"{}").await.expect("connected");
    // A second source keeps the address, so the peers stay.
    let elsewhere = scene.source("elsewhere", 10).await;
    source.close().await;
    let mut ids: Vec<String> = Vec::new();
    while ids.len() < 2 {
        let later = next(&mut dealer).await;
        assert_eq!(later[1], "LATER");
        ids.push(later[2].clone());
    }
    assert_eq!(ids, ["b", "c"]);
    elsewhere.close().await;
    closed(&mut dealer).await;
}

#[tokio::test]
async fn sources_share_a_destination_and_one_that_goes_leaves_its_messages_to_the_other() {
    let scene = Scene::new();
    let mut first = scene.source("orders", 2).await;
    let mut second = scene.source("orders", 10).await;
    let mut dealer = scene.dealer().await;
    for number in 0..6 {
        let id = number.to_string();
        dealer
            .order("orders", &id, id.as_bytes())
            .await
            .expect("connected");
    }
    for _ in 0..2 {
        receive(first.as_mut()).await;
    }
    drop(first);
    let mut taken = take(second.as_mut(), 6).await;
    taken.sort();
    assert_eq!(taken, ["0", "1", "2", "3", "4", "5"]);
    for _ in 0..6 {
        assert_eq!(next(&mut dealer).await[1], "OK");
    }
    second.close().await;
}

#[tokio::test]
async fn an_address_is_free_as_soon_as_its_last_source_is_closed() {
    let scene = Scene::new();
    for number in 0..20 {
        let mut source = scene.source("orders", 10).await;
        let mut dealer = scene.dealer().await;
        dealer.order("orders", "a", b"{}").await.expect("connected");
        let message = receive(source.as_mut()).await;
        assert_eq!(body(&message), "{}");
        match number % 2 {
            0 => source.close().await,
            _ => drop(source),
        }
        assert_eq!(next(&mut dealer).await[1], "LATER");
        // The peer may stay as long as it likes: it is not waited for.
        if number % 4 == 0 {
            closed(&mut dealer).await;
        }
    }
    let taken = std::net::TcpListener::bind(scene.address).expect("it is free");
    let binding = binding("orders", 1);
    let opened = in_time(
        "opening",
        scene.adapter.open_source(&scene.binder, &binding),
    )
    .await;
    let trouble = opened.err().expect("somebody else listens");
    assert_eq!(trouble.kind, TroubleKind::Unreachable);
    assert!(trouble.text.contains(&scene.binder.url), "{trouble}");
    drop(taken);
    scene.source("orders", 1).await.close().await;
}
