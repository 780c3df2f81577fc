//! Answers to writes over REST.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use tributary_api::caller::Caller;
use tributary_api::draft::CommandDraft;
use tributary_api::intake::Done;
use tributary_api::render::answer::answer;
use tributary_engine::{DurableRecord, IdKind};
use tributary_ledger::Key;
use tributary_ledger::codec::Record;

use crate::app::App;
use crate::prefer::{APPLIED, RESPOND_ASYNC};
use crate::response::{ErrorResponse, json, mark_replayed};
use crate::submit::submit;

/// Sends the draft to the ledger under the key and answers with what became of it.
pub(crate) async fn execute_draft(
    app: &App,
    caller: Caller,
    key: Key,
    draft: CommandDraft,
) -> Result<Response, ErrorResponse> {
    let command = app.shared.intake.command(&caller, key, draft)?;
    let done = submit(app, command).await?;
    Ok(response_of(app, &done))
}

/// The answer to a command that the ledger answered.
fn response_of(app: &App, done: &Done<DurableRecord>) -> Response {
    let response = match answer(&app.shared.reader, &done.record) {
        Ok(rendered) if rendered.status == 202 => {
            accepted(app, &done.record, json(rendered.status, &rendered.object))
        }
        Ok(rendered) => json(rendered.status, &rendered.object),
        Err(error) => ErrorResponse(error).into_response(),
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
