//! The paths, one noun per file.

pub(crate) mod accounts;
pub(crate) mod api_keys;
pub(crate) mod attempts;
pub(crate) mod batches;
pub(crate) mod books;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod journal;
pub(crate) mod pages;
pub(crate) mod payments;
pub(crate) mod queues;
pub(crate) mod refunds;
pub(crate) mod stream;
pub(crate) mod subscriptions;
pub(crate) mod timeline;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tributary_engine::IdKind;
use tributary_ledger::codec::Record;
use tributary_ledger::{Account, AccountId, Key, PaymentId};

use crate::app::{App, REPLAYED, Shared};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::form::prefer::{APPLIED, RESPOND_ASYNC};
use crate::form::request::Wish;
use crate::render::{self, created};
use crate::submit::{Done, command, submit};

/// Bytes that an object takes in JSON, about.
const OBJECT_BYTES: usize = 1_024;

/// The id in the path.
pub(crate) struct Id(pub(crate) String);

impl FromRequestParts<App> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Id, ApiError> {
        let path = Path::<String>::from_request_parts(parts, app).await;
        path.map(|Path(id)| Id(id))
            .map_err(|_| ApiError::not_found("object", "id"))
    }
}

/// A JSON answer.
pub(crate) fn json<T: Serialize>(status: u16, body: &T) -> Response {
    let mut bytes = Vec::with_capacity(OBJECT_BYTES);
    serde_json::to_writer(&mut bytes, body).expect("an answer is JSON");
    json_bytes(status, bytes)
}

/// An answer that is JSON already.
pub(crate) fn json_bytes(status: u16, bytes: Vec<u8>) -> Response {
    let status = StatusCode::from_u16(status).expect("a known status");
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// Sends the wish to the ledger under the key and answers with what became of it.
pub(crate) async fn write(
    app: &App,
    caller: Caller,
    key: Key,
    wish: Wish,
) -> Result<Response, ApiError> {
    let done = submit(app, command(caller.actor, key, wish)).await?;
    Ok(answer(app, &done))
}

/// The answer to a command that the ledger answered.
fn answer(app: &App, done: &Done) -> Response {
    let response = match render::answer(&app.shared, &done.record) {
        Ok(rendered) if rendered.status == 202 => {
            accepted(app, &done.record, json(rendered.status, &rendered.object))
        }
        Ok(rendered) => json(rendered.status, &rendered.object),
        Err(error) => error.into_response(),
    };
    mark_replayed(response, done.replayed)
}

/// Says where what was only accepted can be followed.
fn accepted(app: &App, record: &Record, mut response: Response) -> Response {
    let id = app
        .shared
        .reader
        .ids()
        .encode(IdKind::Payment, record.ctx.position);
    let location = HeaderValue::try_from(format!("/v1/payments/{id}"));
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location.expect("an id is plain text"));
    headers.insert(APPLIED, HeaderValue::from_static(RESPOND_ASYNC.text));
    response
}

fn mark_replayed(mut response: Response, replayed: bool) -> Response {
    if replayed {
        response
            .headers_mut()
            .insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// The account that the caller names by `id`, if it is there and the caller's to see.
fn visible_account(shared: &Shared, caller: &Caller, id: &str) -> Result<Account, ApiError> {
    let not_found = || ApiError::not_found("account", "id");
    let position = shared
        .reader
        .ids()
        .decode(IdKind::Account, id)
        .ok_or_else(not_found)?;
    must_see_account(shared, caller, AccountId(position), "id")
}

/// The account, if the caller may know of it.
pub(crate) fn must_see_account(
    shared: &Shared,
    caller: &Caller,
    account: AccountId,
    param: &str,
) -> Result<Account, ApiError> {
    let account = shared.reader.account(account);
    account
        .filter(|account| caller.sees_account(account))
        .ok_or_else(|| ApiError::not_found("account", param))
}

/// The payment that the caller names by `id`, if it is there and the caller's to see.
fn visible_payment(
    shared: &Shared,
    caller: &Caller,
    id: &str,
    param: &str,
) -> Result<PaymentId, ApiError> {
    let position = shared.reader.ids().decode(IdKind::Payment, id);
    let payment = position
        .map(PaymentId)
        .ok_or_else(|| ApiError::not_found("payment", param))?;
    must_see_payment(shared, caller, payment, param)?;
    Ok(payment)
}

/// Whether the caller may know of the payment. Who sees a payment never changes, so the answer to a repetition stays the same.
pub(crate) fn must_see_payment(
    shared: &Shared,
    caller: &Caller,
    payment: PaymentId,
    param: &str,
) -> Result<(), ApiError> {
    let not_found = || ApiError::not_found("payment", param);
    let head = shared.reader.head().position;
    if payment.0 > head {
        return Err(not_found());
    }
    let record = created(shared, payment.0)?;
    let is_payment = record
        .outcome
        .payment
        .as_ref()
        .is_some_and(|found| found.id == payment);
    if is_payment && caller.sees_record(shared, &record) {
        Ok(())
    } else {
        Err(not_found())
    }
}
