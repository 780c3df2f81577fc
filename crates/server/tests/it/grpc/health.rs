//! The standard service for health, as load balancers and orchestrators ask it: without an API key.

use std::sync::atomic::Ordering;

use prost::Message;
use tonic::Code;

use crate::fixture::pay;
use crate::grpc::{as_holder, start};

#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;
const SERVICE_UNKNOWN: i32 = 3;

fn ask(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

#[test]
fn check_says_what_readiness_says() {
    let server = start();
    let client = as_holder(&server, "");
    let check = |service: &str| -> Result<i32, Code> {
        let answer: Result<HealthCheckResponse, _> =
            client.call("/grpc.health.v1.Health/Check", ask(service));
        answer
            .map(|answer| answer.status)
            .map_err(|status| status.code())
    };
    for service in ["", "tributary.v1.Ledger", "tributary.v1.Subscriptions"] {
        assert_eq!(check(service), Ok(SERVING), "{service:?}");
    }
    assert_eq!(check("tributary.v2.Ledger"), Err(Code::NotFound));
    let (buyer, shop) = (server.wallet("ann", 1), server.account("shop", "merchant"));
    server.faults.full.store(true, Ordering::SeqCst);
    assert_eq!(
        server.post("/v1/payments", &pay(&buyer, &shop, 1)).status,
        503
    );
    assert_eq!(check(""), Ok(NOT_SERVING));
    server.faults.full.store(false, Ordering::SeqCst);
    server
        .post("/v1/payments", &pay(&buyer, &shop, 1))
        .expect(201);
    assert_eq!(check(""), Ok(SERVING));
}

#[test]
fn watch_tells_every_change_and_ends_with_the_server() {
    let mut server = start();
    let (buyer, shop) = (server.wallet("ann", 1), server.account("shop", "merchant"));
    let client = as_holder(&server, "");
    let mut running = server.running.take();
    let (mut seen, mut stopping) = (Vec::new(), None);
    let asked = tokio_stream::once(ask(""));
    let ended = client.stream(
        "/grpc.health.v1.Health/Watch",
        asked,
        |answer: HealthCheckResponse| {
            seen.push(answer.status);
            if seen.len() == 1 {
                server.faults.full.store(true, Ordering::SeqCst);
                assert_eq!(
                    server.post("/v1/payments", &pay(&buyer, &shop, 1)).status,
                    503
                );
            } else if let Some(running) = running.take() {
                stopping = Some(std::thread::spawn(move || running.shutdown()));
            }
        },
    );
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(seen, [SERVING, NOT_SERVING]);
    stopping.expect("it stops").join().expect("no panic");
}

#[test]
fn a_service_that_is_not_known_may_be_watched() {
    let mut server = start();
    let client = as_holder(&server, "");
    let mut running = server.running.take();
    let (mut seen, mut stopping) = (Vec::new(), None);
    let asked = tokio_stream::once(ask("another"));
    let ended = client.stream(
        "/grpc.health.v1.Health/Watch",
        asked,
        |answer: HealthCheckResponse| {
            seen.push(answer.status);
            if let Some(running) = running.take() {
                stopping = Some(std::thread::spawn(move || running.shutdown()));
            }
        },
    );
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(seen, [SERVICE_UNKNOWN]);
    stopping.expect("it stops").join().expect("no panic");
}
