//! gRPC through a follower.

use tokio_stream::iter;
use tonic::Code;
use tributary_api::leadership::Role;

use super::Cluster;
use crate::fixture::id;
use crate::grpc::client::code;
use crate::grpc::messages::{
    Account, GetAccountRequest, ReceiveRequest, ReceiveResponse, SubmitRequest, SubmitResponse,
};
use crate::grpc::{as_holder, batch, block, paying, platform};

const GET_ACCOUNT: &str = "/tributary.v1.Ledger/GetAccount";

#[test]
fn batches_are_decided_by_the_leader_and_read_on_the_follower() {
    let cluster = Cluster::start();
    let (buyer, shop) = cluster.payer_and_payee();
    let client = platform(&cluster.follower);
    for number in 0..10 {
        let key = format!("k{number}");
        let done = client.submit(batch(vec![paying(&key, &buyer, &shop, 1)]));
        assert_eq!(done.expect("answered").results[0].code, "");
        let request = GetAccountRequest { id: block(&shop) };
        let account: Account = client.call(GET_ACCOUNT, request).expect("it is there");
        assert_eq!(account.posted, number + 1);
    }
    assert_eq!(cluster.forwarded("answered"), 10);
    let batches: Vec<SubmitRequest> = (0..20u64)
        .map(|number| SubmitRequest {
            batch: number + 1,
            commands: vec![paying(&format!("s{number}"), &buyer, &shop, 1)],
        })
        .collect();
    let mut seen = Vec::new();
    let ended = client.stream(
        "/tributary.v1.Ledger/SubmitStream",
        iter(batches),
        |answer: SubmitResponse| seen.push(answer.batch),
    );
    ended.expect("it ends with the batches");
    assert_eq!(seen, (1..=20).collect::<Vec<u64>>());
    assert_eq!(cluster.leader.posted(&shop), 30);
}

#[test]
fn what_the_follower_does_not_know_yet_the_leader_answers() {
    let cluster = Cluster::start();
    cluster.pump.hold();
    let account = cluster.leader.account("bob", "wallet");
    let token = cluster.leader.token("bob", "read");
    let client = as_holder(&cluster.follower, &token);
    let request = GetAccountRequest {
        id: block(&account),
    };
    let found: Account = client.call(GET_ACCOUNT, request).expect("it is there");
    assert_eq!(found.public_id, account);
    let nothing = GetAccountRequest { id: vec![1; 16] };
    let denied = client
        .call::<_, Account>(GET_ACCOUNT, nothing)
        .expect_err("it is not");
    assert_eq!(
        (denied.code(), code(&denied)),
        (Code::NotFound, "resource_not_found")
    );
    let stranger = as_holder(&cluster.follower, "");
    let denied = stranger.submit(batch(Vec::new())).expect_err("no key");
    assert_eq!(
        (denied.code(), code(&denied)),
        (Code::Unauthenticated, "api_key_missing")
    );
    assert_eq!(cluster.forwarded("answered"), 2);
}

#[test]
fn events_are_received_through_a_follower() {
    let cluster = Cluster::start();
    let terms = serde_json::json!({"events": ["app.#"]});
    let subscription = id(&cluster.leader.post("/v1/subscriptions", &terms).expect(201));
    let event = serde_json::json!({"type": "app.order.made", "data": 1});
    cluster.leader.post("/v1/events", &event).expect(201);
    let (send, requests) = tokio::sync::mpsc::unbounded_channel();
    let open = ReceiveRequest {
        subscription: subscription.as_bytes().to_vec(),
        ..ReceiveRequest::default()
    };
    send.send(open).expect("sent");
    let mut send = Some(send);
    let mut events = 0;
    let ended = platform(&cluster.follower).stream(
        "/tributary.v1.Subscriptions/Receive",
        crate::grpc::streams::received(requests),
        |response: ReceiveResponse| {
            events += response.events.len();
            if let Some(send) = send.take() {
                let ack = ReceiveRequest {
                    ack_responses: vec![response.number],
                    ..ReceiveRequest::default()
                };
                send.send(ack).expect("sent");
            }
        },
    );
    ended.expect("it ends with the requests");
    assert_eq!(events, 1);
    let shown = cluster
        .leader
        .get(&format!("/v1/subscriptions/{subscription}"))
        .expect(200);
    assert_eq!(shown["figures"]["acknowledged"], 1);
}

#[test]
fn without_a_leader_a_call_is_refused() {
    let cluster = Cluster::with(|config| {
        config.limits.request_timeout = std::time::Duration::from_secs(1);
    });
    cluster.follows.set_role(Role::Follower { leader: None });
    let client = platform(&cluster.follower);
    let refused = client
        .submit(batch(Vec::new()))
        .expect_err("there is no leader");
    assert_eq!(
        (refused.code(), code(&refused)),
        (Code::Unavailable, "unavailable")
    );
    let batches = iter(vec![batch(Vec::new())]);
    let method = "/tributary.v1.Ledger/SubmitStream";
    let refused = client.stream(method, batches, |_: SubmitResponse| ());
    assert_eq!(
        refused.expect_err("there is no leader").code(),
        Code::Unavailable
    );
    assert_eq!(cluster.forwarded("no_leader"), 2);
}
