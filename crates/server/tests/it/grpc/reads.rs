//! Look-ups, statements and reflection.

use serde_json::json;
use tonic::Code;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

use super::client::code;
use super::messages::{
    Account, GetAccountRequest, GetOwnerRequest, GetPaymentRequest, ListEntriesRequest,
    ListEntriesResponse, Owner, OwnerKind, OwnerStatus, PaymentState, PaymentStatus,
};
use super::{as_holder, batch, block, paying, platform, start};
use crate::fixture::{id, pay};

#[test]
fn an_account_and_a_payment_are_as_rest_shows_them() {
    let server = start();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let client = platform(&server);
    let done = client.submit(batch(vec![
        paying("a", &buyer, &shop, 300),
        paying("b", &buyer, &shop, 9_999),
    ]));
    let done = done.expect("answered").results;
    // By text as well as by bytes.
    for id in [block(&shop), shop.clone().into_bytes()] {
        let account: Account = client
            .call("/tributary.v1.Ledger/GetAccount", GetAccountRequest { id })
            .expect("it is there");
        assert_eq!(account.public_id, shop);
        assert_eq!(
            (
                account.owner.as_str(),
                account.posted,
                account.available,
                account.currency
            ),
            ("shop", 300, 300, 978)
        );
    }
    let get = |id: &[u8]| -> PaymentState {
        let request = GetPaymentRequest { id: id.to_vec() };
        client
            .call("/tributary.v1.Ledger/GetPayment", request)
            .expect("it is there")
    };
    let (paid, failed) = (get(&done[0].id), get(&done[1].id));
    let over_rest = server
        .get(&format!("/v1/payments/{}", paid.public_id))
        .expect(200);
    assert_eq!(id(&over_rest), paid.public_id);
    assert_eq!(paid.status(), PaymentStatus::Captured);
    assert_eq!((paid.amount, paid.amount_captured), (300, 300));
    assert_eq!(paid.shares[0].account, block(&shop));
    assert_eq!(
        (failed.status(), failed.failure_code.as_str()),
        (PaymentStatus::Failed, "insufficient_funds")
    );
}

#[test]
fn an_owner_is_as_rest_shows_it_to_whoever_may_see_it() {
    let server = start();
    let made = json!({"name": "acme", "kind": "company", "external_id": "crm-7", "description": "A shop",
        "metadata": {"tier": "gold"}});
    let made = server.post("/v1/owners", &made).expect(201);
    server.account("named", "wallet");
    let token = server.token("acme", "read");
    let owner = |token: &str, name: &str| -> Result<Owner, _> {
        let name = name.to_owned();
        as_holder(&server, token).call("/tributary.v1.Ledger/GetOwner", GetOwnerRequest { name })
    };
    for token in [&token, &server.platform] {
        let found = owner(token, "acme").expect("visible");
        assert_eq!(
            (found.kind(), found.status(), found.revision),
            (OwnerKind::Company, OwnerStatus::Active, 1)
        );
        assert_eq!(
            (
                found.name.as_str(),
                found.external_id.as_str(),
                found.description.as_str()
            ),
            ("acme", "crm-7", "A shop")
        );
        assert_eq!(json!(found.metadata), made["metadata"]);
        assert!(found.created > 0);
    }
    let named = owner(&server.platform, "named").expect("visible");
    assert_eq!(
        (named.kind(), named.status()),
        (OwnerKind::Unspecified, OwnerStatus::Active)
    );
    for (token, name) in [
        (&token, "named"),
        (&token, "platform"),
        (&server.platform, "invented"),
        (&token, ""),
    ] {
        let status = owner(token, name).expect_err("not visible");
        assert_eq!(
            (status.code(), code(&status)),
            (Code::NotFound, "resource_not_found")
        );
    }
}

#[test]
fn a_line_of_a_statement_names_kind_counterparty_and_reference() {
    let server = start();
    let buyer = server.wallet("ann", 1_000);
    let shop = server.account("shop", "merchant");
    let mut order = pay(&buyer, &shop, 300);
    order["reference"] = "order-1".into();
    order["description"] = "Apples".into();
    server.post("/v1/payments", &order).expect(201);
    let newest = |account: &str| {
        let request = ListEntriesRequest {
            account: block(account),
            limit: 1,
            ..ListEntriesRequest::default()
        };
        let page: ListEntriesResponse = platform(&server)
            .call("/tributary.v1.Ledger/ListEntries", request)
            .expect("a page");
        page.entries[0].clone()
    };
    for (account, amount, other, owner) in
        [(&buyer, -300, &shop, "shop"), (&shop, 300, &buyer, "ann")]
    {
        let line = newest(account);
        assert_eq!((line.amount, line.payment_kind), (amount, Some(0)));
        assert_eq!(
            (&*line.reference, &*line.description),
            ("order-1", "Apples")
        );
        assert_eq!(line.counterparties.len(), 1);
        assert_eq!(line.counterparties[0].account, block(other));
        assert_eq!(line.counterparties[0].owner, owner);
        assert_eq!(line.reason, "");
    }
    let mut gift = pay(&shop, &buyer, 5);
    gift["reason"] = "our mistake".into();
    server.post("/v1/adjustments", &gift).expect(201);
    assert_eq!(newest(&buyer).reason, "our mistake");
}

#[test]
fn a_statement_is_read_in_pages_in_either_direction() {
    let server = start();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let client = platform(&server);
    let payments = (1..=25)
        .map(|amount| paying(&format!("p{amount}"), &buyer, &shop, amount))
        .collect();
    client.submit(batch(payments)).expect("answered");
    let page = |after: Vec<u8>, before: Vec<u8>| -> ListEntriesResponse {
        let request = ListEntriesRequest {
            account: block(&shop),
            limit: 10,
            starting_after: after,
            ending_before: before,
            ..ListEntriesRequest::default()
        };
        client
            .call("/tributary.v1.Ledger/ListEntries", request)
            .expect("a page")
    };
    let (mut amounts, mut cursor) = (Vec::new(), Vec::new());
    loop {
        let page = page(cursor, Vec::new());
        let mut balance = None;
        for entry in &page.entries {
            assert_eq!(
                balance.unwrap_or(entry.balance),
                entry.balance,
                "each balance is the sum of what is older"
            );
            balance = Some(entry.balance - entry.amount);
            amounts.push(entry.amount);
        }
        cursor = page.next_cursor;
        if !page.has_more {
            break;
        }
    }
    assert_eq!(amounts, (1..=25).rev().collect::<Vec<i64>>());
    let newest = page(Vec::new(), Vec::new());
    let newer = page(Vec::new(), newest.entries[9].id.clone());
    assert_eq!(newer.entries[..], newest.entries[..9]);
    assert!(!newer.has_more);
}

#[test]
fn what_is_not_the_callers_to_see_is_not_there() {
    let server = start();
    let (buyer, shop) = (
        server.wallet("ann", 1_000),
        server.account("shop", "merchant"),
    );
    let done = platform(&server).submit(batch(vec![paying("a", &buyer, &shop, 300)]));
    let payment = done.expect("answered").results[0].id.clone();
    let (ann, eve) = (server.token("ann", "read"), server.token("eve", "read"));
    let account = |token: &str| -> Result<Account, _> {
        let request = GetAccountRequest { id: block(&buyer) };
        as_holder(&server, token).call("/tributary.v1.Ledger/GetAccount", request)
    };
    let found = |token: &str| -> Result<PaymentState, _> {
        let request = GetPaymentRequest {
            id: payment.clone(),
        };
        as_holder(&server, token).call("/tributary.v1.Ledger/GetPayment", request)
    };
    let entries = |token: &str| -> Result<ListEntriesResponse, _> {
        let request = ListEntriesRequest {
            account: block(&buyer),
            ..ListEntriesRequest::default()
        };
        as_holder(&server, token).call("/tributary.v1.Ledger/ListEntries", request)
    };
    assert_eq!(account(&ann).expect("hers").posted, 700);
    assert_eq!(found(&ann).expect("hers").amount, 300);
    assert_eq!(entries(&ann).expect("hers").entries.len(), 2);
    for status in [
        account(&eve).expect_err("not hers"),
        found(&eve).expect_err("not hers"),
        entries(&eve).expect_err("not hers"),
    ] {
        assert_eq!(
            (status.code(), code(&status)),
            (Code::NotFound, "resource_not_found")
        );
    }
    let nobody = account("").expect_err("no key");
    assert_eq!(nobody.code(), Code::Unauthenticated);
}

#[test]
fn reflection_tells_what_there_is() {
    let server = start();
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let symbol = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(
            "tributary.v1.Ledger".into(),
        )),
    };
    let mut services = Vec::new();
    let mut files = 0;
    let ended = platform(&server).stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        tokio_stream::iter(vec![ask, symbol]),
        |answer: ServerReflectionResponse| match answer.message_response {
            Some(MessageResponse::ListServicesResponse(list)) => {
                services.extend(list.service.into_iter().map(|service| service.name));
            }
            Some(MessageResponse::FileDescriptorResponse(found)) => {
                files += found.file_descriptor_proto.len();
            }
            other => panic!("{other:?}"),
        },
    );
    ended.expect("it answers");
    assert!(services.contains(&"tributary.v1.Ledger".to_owned()));
    assert_eq!(files, 1);
    let unknown: Result<Account, _> = platform(&server).call(
        "/tributary.v1.Ledger/Nothing",
        GetAccountRequest { id: Vec::new() },
    );
    assert_eq!(
        unknown.expect_err("no such method").code(),
        Code::Unimplemented
    );
}
