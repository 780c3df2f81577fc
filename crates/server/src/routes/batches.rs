//! `/v1/batches`: many commands in one request, each with its own idempotency key and its own result.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use serde::Serialize;
use tributary_api::caller::Caller;
use tributary_api::code::ErrorCode;
use tributary_api::error::{ApiError, ErrorBody};
use tributary_api::failures::internal_error;
use tributary_api::form::batch::{BatchCommand, BatchForm, BatchItem};
use tributary_api::form::value::KeyText;
use tributary_api::intake::{Batch, Place, read_brief_reply, read_reply};
use tributary_api::render::answer::{AnswerObject, Outline, Rendered, answer};
use tributary_engine::{BriefReply, Reply};
use tributary_ledger::Key;
use utoipa::ToSchema;

use crate::app::{App, RequestId, Shared};
use crate::auth::Writing;
use crate::extract::JsonArray;
use crate::failed_request::count_not_found;
use crate::prefer::{APPLIED, RETURN_MINIMAL};
use crate::response::{ErrorResponse, json_bytes};
use crate::submit::{submit_all, submit_briefly};

/// Bytes that a result takes in JSON, about, with what was made and with its id only.
const RESULT_BYTES: usize = 900;
const BRIEF_RESULT_BYTES: usize = 220;

/// Results of a batch.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchResult {
    #[schema(pattern = "^batch$")]
    object: &'static str,
    /// One for each command, in order; the commands of groups one after the other, like the others.
    results: Vec<CommandResult>,
}

/// Result of one command of a batch.
#[derive(Serialize, ToSchema)]
pub(crate) struct CommandResult {
    /// The command's.
    idempotency_key: String,
    /// The HTTP status that the command alone would have been answered with.
    status: u16,
    /// Whether this is the repetition of an earlier answer.
    replayed: bool,
    /// The object that the command made or changed; null if the command was refused.
    #[schema(required)]
    result: Option<AnswerObject>,
    /// Why the command was refused; null if the command was done.
    #[schema(required)]
    error: Option<ErrorBody>,
}

/// Result of a command that reached the ledger.
struct Outcome {
    replayed: bool,
    made: Result<Rendered, ApiError>,
}

impl From<ApiError> for Outcome {
    fn from(error: ApiError) -> Outcome {
        Outcome {
            replayed: false,
            made: Err(error),
        }
    }
}

/// Does up to 8,192 commands. They are decided in order and next to each other; what is wrong with the form of one refuses
/// the whole batch, what the ledger refuses is refused alone, or with its group.
#[utoipa::path(post, path = "/v1/batches", tag = "batches", operation_id = "createBatch",
    request_body(content = BatchForm),
    responses((status = 200, description = "The results, one for each command.", body = BatchResult)))]
pub(crate) async fn create(
    State(app): State<App>,
    Writing(caller): Writing,
    Extension(request): Extension<RequestId>,
    headers: HeaderMap,
    JsonArray(BatchForm(items)): JsonArray<BatchForm>,
) -> Result<Response, ErrorResponse> {
    let shared = &app.shared;
    let (keys, mut batch) = read_batch(shared, &caller, items)?;
    count_not_found(shared, &caller, batch.not_found());
    let brief = RETURN_MINIMAL.is_in(&headers);
    let commands = batch.take_commands();
    let outlines = commands.iter().filter(|_| brief);
    let outlines: Option<Vec<Outline>> = outlines.map(|one| Outline::new(&one.body)).collect();
    let outlines = outlines.ok_or_else(internal_error)?;
    if !brief {
        let replies = match commands.is_empty() {
            true => Vec::new(),
            false => submit_all(&app, commands).await?,
        };
        let outcomes = replies.into_iter().map(|reply| outcome(shared, reply));
        let outcomes = batch.answers(outcomes);
        return Ok(rendered(keys, outcomes, RESULT_BYTES, &request));
    }
    let receipts = match commands.is_empty() {
        true => Vec::new(),
        false => submit_briefly(&app, commands).await?,
    };
    let outcomes = outlines.into_iter().zip(receipts);
    let outcomes = outcomes.map(|(outline, receipt)| brief_outcome(shared, outline, receipt));
    let outcomes = batch.answers(outcomes);
    let mut response = rendered(keys, outcomes, BRIEF_RESULT_BYTES, &request);
    let applied = HeaderValue::from_static(RETURN_MINIMAL.text);
    response.headers_mut().insert(APPLIED, applied);
    Ok(response)
}

/// [`BatchResult`], each result written as soon as it is made: in memory they are larger than in JSON.
fn rendered(
    keys: Vec<Key>,
    outcomes: impl Iterator<Item = Result<Outcome, ApiError>>,
    result_bytes: usize,
    request: &RequestId,
) -> Response {
    let none = BatchResult {
        object: "batch",
        results: Vec::new(),
    };
    let mut body = serde_json::to_vec(&none).expect("an answer is JSON");
    let end = body.split_off(body.len() - "]}".len());
    body.reserve(keys.len() * result_bytes);
    for (index, (key, outcome)) in keys.into_iter().zip(outcomes).enumerate() {
        if index > 0 {
            body.push(b',');
        }
        let result = result(&key, outcome.unwrap_or_else(Outcome::from), request);
        serde_json::to_writer(&mut body, &result).expect("an answer is JSON");
    }
    body.extend_from_slice(&end);
    json_bytes(200, body)
}

/// The commands of the batch, groups unrolled, and their idempotency keys.
fn read_batch(
    shared: &Shared,
    caller: &Caller,
    items: Vec<BatchItem>,
) -> Result<(Vec<Key>, Batch), ApiError> {
    let mut keys = Vec::with_capacity(items.len());
    let mut batch = Batch::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        match item {
            BatchItem::Alone(one) => {
                let place = || format!("[{index}]");
                keys.push(read_command(
                    shared, caller, one, false, &mut batch, &place,
                )?);
            }
            BatchItem::Group(members) => {
                let last = members.len() - 1;
                for (at, member) in members.into_iter().enumerate() {
                    let place = || format!("[{index}].group[{at}]");
                    let linked = at < last;
                    keys.push(read_command(
                        shared, caller, member, linked, &mut batch, &place,
                    )?);
                }
            }
        }
    }
    Ok((keys, batch.finish()?))
}

/// Appends one command to the batch; gives its idempotency key.
fn read_command(
    shared: &Shared,
    caller: &Caller,
    one: BatchCommand,
    linked: bool,
    batch: &mut Batch,
    place: Place<'_>,
) -> Result<Key, ApiError> {
    let KeyText(key) = one.idempotency_key.ok_or_else(|| {
        ApiError::new(
            ErrorCode::IdempotencyKeyMissing,
            "Each command of a batch has its own idempotency_key.",
        )
        .param(format!("{}.idempotency_key", place()))
    })?;
    let field = one.operation.field();
    let draft = one.operation.into_draft(&shared.reader, caller);
    let draft = draft.map(|draft| (key.clone(), draft));
    let place = || format!("{}.{field}", place());
    batch.add(&shared.intake, caller, draft, linked, &place)?;
    Ok(key)
}

fn outcome(shared: &Shared, reply: Reply) -> Outcome {
    match read_reply(reply) {
        Ok(done) => Outcome {
            replayed: done.replayed,
            made: answer(&shared.reader, &done.record),
        },
        Err(error) => error.into(),
    }
}

fn brief_outcome(shared: &Shared, outline: Outline, receipt: BriefReply) -> Outcome {
    match read_brief_reply(receipt) {
        Ok(done) => {
            let (position, rejection) = done.record;
            Outcome {
                replayed: done.replayed,
                made: outline.answer(&shared.reader, position, rejection),
            }
        }
        Err(error) => error.into(),
    }
}

fn result(key: &Key, outcome: Outcome, request: &RequestId) -> CommandResult {
    let (status, result, error) = match outcome.made {
        Ok(made) => (made.status, Some(made.object), None),
        Err(error) => (error.status(), None, Some(error.body(&request.0))),
    };
    CommandResult {
        idempotency_key: String::from_utf8_lossy(key.as_bytes()).into_owned(),
        status,
        replayed: outcome.replayed,
        result,
        error,
    }
}
