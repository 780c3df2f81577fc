//! `/v1/batches`: many commands in one request, each with its own idempotency key and its own result.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use serde::Serialize;
use tributary_api::caller::Caller;
use tributary_api::code::{ErrorCode, ErrorType};
use tributary_api::error::{ApiError, ErrorBody};
use tributary_api::failures::{group_key_conflict, internal_error, key_conflict, not_queued_error};
use tributary_api::form::batch::{BatchCommand, BatchForm, BatchItem, Operation};
use tributary_api::form::idempotency::ledger_key;
use tributary_api::form::request::{AccountOf, CommandDraft, Request};
use tributary_api::intake::{check_mailbox, command, owner_of_new, read_reply};
use tributary_api::render::answer::{Made, Outline, Rendered, answer};
use tributary_api::visibility::{must_see_account, must_see_payment};
use tributary_engine::{Receipt, Reply};
use tributary_ledger::{AccountId, Body, Command, PaymentKind, Rejection};
use utoipa::ToSchema;

use crate::app::{App, RequestId, Shared};
use crate::auth::Writing;
use crate::extract::JsonArray;
use crate::prefer::{APPLIED, RETURN_MINIMAL};
use crate::response::{ErrorResponse, json_bytes};
use crate::submit::{submit_all, submit_briefly};

/// Bytes that a result takes in JSON, about, with what was made and with its id only.
const RESULT_BYTES: usize = 900;
const BRIEF_RESULT_BYTES: usize = 220;

/// What became of a batch.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchResult {
    #[schema(pattern = "^batch$")]
    object: &'static str,
    /// One for each command, in order; the commands of groups one after the other, like the others.
    results: Vec<CommandResult>,
}

/// What became of one command.
#[derive(Serialize, ToSchema)]
pub(crate) struct CommandResult {
    /// The command's.
    idempotency_key: String,
    /// The HTTP status that the command alone would have been answered with.
    status: u16,
    /// Whether this is the repetition of an earlier answer.
    replayed: bool,
    /// What it made or changed; null if it was refused.
    #[schema(required)]
    result: Option<Made>,
    /// Why it was refused; null if it was done.
    #[schema(required)]
    error: Option<ErrorBody>,
}

/// A command of the batch on its way.
struct Step {
    key: String,
    /// All or nothing with the next one.
    linked: bool,
    /// The command until it is sent, or why there can be none.
    command: Result<Option<Command>, ApiError>,
}

/// What became of a command that was sent.
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
    let mut steps = steps(shared, &caller, items)?;
    abort_broken_groups(&mut steps);
    let commands = steps.iter_mut().filter_map(|step| match &mut step.command {
        Ok(command) => command.take(),
        Err(_) => None,
    });
    let commands: Vec<Command> = commands.collect();
    if !RETURN_MINIMAL.is_in(&headers) {
        let replies = match commands.len() {
            0 => Vec::new(),
            _ => submit_all(&app, commands).await?,
        };
        let outcomes = replies.into_iter().map(|reply| outcome(shared, reply));
        return rendered(steps, outcomes, RESULT_BYTES, &request);
    }
    let outlines: Option<Vec<Outline>> = commands.iter().map(|c| Outline::of(&c.body)).collect();
    let outlines = outlines.ok_or_else(internal_error)?;
    let receipts = match commands.len() {
        0 => Vec::new(),
        _ => submit_briefly(&app, commands).await?,
    };
    let outcomes = outlines.into_iter().zip(receipts);
    let outcomes = outcomes.map(|(outline, receipt)| brief_outcome(shared, outline, receipt));
    let mut response = rendered(steps, outcomes, BRIEF_RESULT_BYTES, &request)?;
    let applied = HeaderValue::from_static(RETURN_MINIMAL.text);
    response.headers_mut().insert(APPLIED, applied);
    Ok(response)
}

/// [`BatchResult`], each result written as soon as it is made: in memory they are larger than in JSON.
fn rendered(
    steps: Vec<Step>,
    mut outcomes: impl ExactSizeIterator<Item = Outcome>,
    result_bytes: usize,
    request: &RequestId,
) -> Result<Response, ErrorResponse> {
    let none = BatchResult {
        object: "batch",
        results: Vec::new(),
    };
    let mut body = serde_json::to_vec(&none).expect("an answer is JSON");
    let end = body.split_off(body.len() - "]}".len());
    body.reserve(steps.len() * result_bytes);
    let start = body.len();
    for step in steps {
        let outcome = match step.command {
            Ok(_) => outcomes.next().ok_or_else(internal_error)?,
            Err(error) => error.into(),
        };
        if body.len() > start {
            body.push(b',');
        }
        let result = result(step.key, outcome, request);
        serde_json::to_writer(&mut body, &result).expect("an answer is JSON");
    }
    body.extend_from_slice(&end);
    Ok(json_bytes(200, body))
}

/// The commands of the batch, groups unrolled.
fn steps(shared: &Shared, caller: &Caller, items: Vec<BatchItem>) -> Result<Vec<Step>, ApiError> {
    let mut steps = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let place = || format!("[{index}]");
        match item {
            BatchItem::Alone(one) => steps.push(step(shared, caller, one, false, place)?),
            BatchItem::Group(members) => {
                let last = members.len() - 1;
                for (at, member) in members.into_iter().enumerate() {
                    let place = || format!("{}.group[{at}]", place());
                    steps.push(step(shared, caller, member, at < last, place)?);
                }
            }
        }
    }
    Ok(steps)
}

/// One command. What is wrong with its form refuses the batch; what it names and is not there, or not its to name, fails it alone.
fn step(
    shared: &Shared,
    caller: &Caller,
    one: BatchCommand,
    linked: bool,
    place: impl Fn() -> String,
) -> Result<Step, ApiError> {
    let key_text = one.idempotency_key.ok_or_else(|| {
        ApiError::new(
            ErrorCode::IdempotencyKeyMissing,
            "Each command of a batch has its own idempotency_key.",
        )
        .param(format!("{}.idempotency_key", place()))
    })?;
    let key = ledger_key(&key_text.0).map_err(|error| error.within(&place()))?;
    let field = one.operation.field();
    let placed = |error: ApiError| error.within(field).within(&place());
    let command = match draft(shared, caller, *one.operation).map_err(placed) {
        Ok(draft) => {
            let made = Command {
                linked,
                ..command(caller.actor, key, draft)
            };
            let checked =
                check_mailbox(&shared.reader, shared.messaging.as_ref(), &made).map_err(placed);
            checked.map(|()| Some(made))
        }
        Err(error) if matches!(error.status(), 400 | 500..) => return Err(error),
        Err(error) => Err(error),
    };
    Ok(Step {
        key: key_text.0,
        linked,
        command,
    })
}

/// What an operation asks for, if the caller may ask for it and sees what it names: as by its own path.
fn draft(shared: &Shared, caller: &Caller, operation: Operation) -> Result<CommandDraft, ApiError> {
    let ids = shared.reader.ids();
    match operation {
        Operation::Account(form) => {
            let owner = owner_of_new(&shared.reader, caller, form.owner.as_ref())?;
            form.into_draft(owner)
        }
        Operation::Freeze(form) => {
            must_be_platform(caller)?;
            change_of(shared, caller, &form, Body::FreezeAccount)
        }
        Operation::Unfreeze(form) => {
            must_be_platform(caller)?;
            change_of(shared, caller, &form, Body::UnfreezeAccount)
        }
        Operation::Close(form) => change_of(shared, caller, &form, Body::CloseAccount),
        Operation::Payment(form) => form.into_draft(ids),
        Operation::Transfer(form) => form.into_draft(PaymentKind::Transfer, ids),
        Operation::TopUp(form) => form.into_draft(PaymentKind::TopUp, ids),
        Operation::Payout(form) => form.into_draft(PaymentKind::Payout, ids),
        Operation::Adjustment(form) => {
            must_be_platform(caller)?;
            form.into_draft(ids)
        }
        Operation::Capture(form) => of_visible(shared, caller, form.into_draft(ids)?),
        Operation::Void(form) => of_visible(shared, caller, form.into_draft(ids)?),
        Operation::Refund(form) => of_visible(shared, caller, form.into_draft(ids)?),
        Operation::Event(form) => form.into_draft(ids),
    }
}

fn must_be_platform(caller: &Caller) -> Result<(), ApiError> {
    if caller.is_platform() {
        return Ok(());
    }
    let message = "Only a platform key may do this.";
    Err(ApiError::new(ErrorCode::PlatformOnly, message))
}

/// The draft to change an account that the caller sees.
fn change_of(
    shared: &Shared,
    caller: &Caller,
    form: &AccountOf,
    change: fn(AccountId) -> Body,
) -> Result<CommandDraft, ApiError> {
    let id = form.id(shared.reader.ids())?;
    must_see_account(&shared.reader, caller, id, "account")?;
    Ok(CommandDraft::new(change(id)))
}

/// The draft to change a payment, if the caller sees it.
fn of_visible(
    shared: &Shared,
    caller: &Caller,
    draft: CommandDraft,
) -> Result<CommandDraft, ApiError> {
    let payment = match &draft.body {
        Body::Capture(capture) => capture.payment,
        Body::Void(payment) => *payment,
        Body::Refund(refund) => refund.payment,
        _ => return Ok(draft),
    };
    must_see_payment(&shared.reader, caller, payment, "payment")?;
    Ok(draft)
}

/// A group of which one command can't be sent is not sent at all.
fn abort_broken_groups(steps: &mut [Step]) {
    let mut start = 0;
    while start < steps.len() {
        let len = steps[start..].iter().take_while(|step| step.linked).count() + 1;
        let group = &mut steps[start..start + len];
        if group.iter().any(|step| step.command.is_err()) {
            let aborted = Rejection::GroupAborted;
            for step in group.iter_mut().filter(|step| step.command.is_ok()) {
                let error =
                    ApiError::refused(409, ErrorType::Conflict, aborted.code(), aborted.message());
                step.command = Err(error);
            }
        }
        start += len;
    }
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

fn brief_outcome(shared: &Shared, outline: Outline, receipt: Receipt) -> Outcome {
    match receipt {
        Receipt::Done {
            position,
            rejection,
            replayed,
        } => Outcome {
            replayed,
            made: outline.answer(&shared.reader, position, rejection),
        },
        Receipt::KeyConflict { .. } => key_conflict().into(),
        Receipt::GroupKeyConflict => group_key_conflict().into(),
        Receipt::NotQueued(why) => not_queued_error(why).into(),
    }
}

fn result(key: String, outcome: Outcome, request: &RequestId) -> CommandResult {
    let (status, result, error) = match outcome.made {
        Ok(made) => (made.status, Some(made.object), None),
        Err(error) => (error.status(), None, Some(error.body(&request.0))),
    };
    CommandResult {
        idempotency_key: key,
        status,
        replayed: outcome.replayed,
        result,
        error,
    }
}
