//! `/v1/batches`: many commands in one request, each with its own idempotency key and its own result.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tributary_engine::{COMMANDS_PER_BATCH_MAX, Reply};
use tributary_ledger::{Command, PaymentKind};
use utoipa::ToSchema;

use crate::app::{App, RequestId, Shared};
use crate::auth::{Caller, Writing};
use crate::code::{ErrorCode, ErrorType};
use crate::error::{ApiError, ErrorBody};
use crate::form::idempotency::ledger_key;
use crate::form::json::Json;
use crate::form::request::{
    AccountCreate, AdjustmentCreate, CaptureOf, PaymentCreate, RefundCreate, Request,
    TransferCreate, VoidOf, Wish,
};
use crate::form::value::KeyText;
use crate::render::{Resource, answer};
use crate::routes::accounts::owner_of_new;
use crate::routes::{json, must_see_payment};
use crate::submit::{command, reply_of, submit_all};
use tributary_ledger::{Body, Rejection};

/// One command of a batch: an idempotency key and exactly one of the other fields. Or a group: commands of which all are
/// done or none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BatchItem {
    idempotency_key: Option<KeyText>,
    account: Option<AccountCreate>,
    payment: Option<PaymentCreate>,
    transfer: Option<TransferCreate>,
    top_up: Option<TransferCreate>,
    payout: Option<TransferCreate>,
    adjustment: Option<AdjustmentCreate>,
    capture: Option<CaptureOf>,
    void: Option<VoidOf>,
    refund: Option<RefundCreate>,
    group: Option<Vec<BatchItem>>,
}

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
    result: Option<Resource>,
    /// Why it was refused; null if it was done.
    #[schema(required)]
    error: Option<ErrorBody>,
}

/// A command of the batch on its way.
struct Step {
    key: String,
    /// All or nothing with the next one.
    linked: bool,
    /// The command, or why there can be none.
    command: Result<Command, ApiError>,
}

/// Does up to 8,192 commands. They are decided in order and next to each other; what is wrong with the form of one refuses
/// the whole batch, what the ledger refuses is refused alone, or with its group.
#[utoipa::path(post, path = "/v1/batches", tag = "batches", operation_id = "createBatch",
    request_body(content = crate::openapi::Batch),
    responses((status = 200, description = "The results, one for each command.", body = BatchResult)))]
pub(crate) async fn create(
    State(app): State<App>,
    Writing(caller): Writing,
    Extension(request): Extension<RequestId>,
    Json(items): Json<Vec<BatchItem>>,
) -> Result<Response, ApiError> {
    let mut steps = steps(&app.shared, &caller, items)?;
    abort_broken_groups(&mut steps);
    let commands: Vec<Command> = steps
        .iter()
        .filter_map(|step| step.command.as_ref().ok().cloned())
        .collect();
    let replies = if commands.is_empty() {
        Vec::new()
    } else {
        submit_all(&app, commands).await?
    };
    let mut replies = replies.into_iter();
    let mut results = Vec::with_capacity(steps.len());
    for step in steps {
        results.push(match step.command {
            Err(error) => refused(step.key, &error, false, &request),
            Ok(_) => {
                let reply = replies
                    .next()
                    .ok_or_else(|| ApiError::new(ErrorCode::InternalError, "The server failed."))?;
                result(&app.shared, step.key, reply, &request)
            }
        });
    }
    Ok(json(
        200,
        &BatchResult {
            object: "batch",
            results,
        },
    ))
}

/// The commands of the batch, groups unrolled.
fn steps(shared: &Shared, caller: &Caller, items: Vec<BatchItem>) -> Result<Vec<Step>, ApiError> {
    if items.is_empty() {
        return Err(ApiError::new(
            ErrorCode::ParameterInvalid,
            "A batch has at least one command.",
        ));
    }
    let mut steps = Vec::with_capacity(items.len());
    for (index, item) in items.into_iter().enumerate() {
        let place = format!("[{index}]");
        if item.group.is_none() {
            steps.push(step(shared, caller, item, false, &place)?);
            continue;
        }
        let members = members(item, &place)?;
        let last = members.len() - 1;
        for (at, member) in members.into_iter().enumerate() {
            steps.push(step(
                shared,
                caller,
                member,
                at < last,
                &format!("{place}.group[{at}]"),
            )?);
        }
    }
    if steps.len() > COMMANDS_PER_BATCH_MAX {
        let message = format!("A batch has at most {COMMANDS_PER_BATCH_MAX} commands.");
        return Err(ApiError::new(ErrorCode::ParameterInvalid, message));
    }
    Ok(steps)
}

/// The commands of a group.
fn members(item: BatchItem, place: &str) -> Result<Vec<BatchItem>, ApiError> {
    let param = format!("{place}.group");
    let invalid = |message: &'static str| Err(ApiError::invalid(&param, message));
    let alone = BatchItem {
        group: None,
        ..item
    };
    if alone.idempotency_key.is_some() || alone.operations() > 0 {
        return invalid("A group has nothing but its commands; each has its own idempotency key.");
    }
    let members = item.group.unwrap_or_default();
    if members.is_empty() {
        return invalid("A group has at least one command.");
    }
    if members.iter().any(|member| member.group.is_some()) {
        return invalid("A group holds commands, not groups.");
    }
    Ok(members)
}

impl BatchItem {
    /// How many commands the item names.
    fn operations(&self) -> usize {
        [
            self.account.is_some(),
            self.payment.is_some(),
            self.transfer.is_some(),
            self.top_up.is_some(),
            self.payout.is_some(),
            self.adjustment.is_some(),
            self.capture.is_some(),
            self.void.is_some(),
            self.refund.is_some(),
        ]
        .into_iter()
        .filter(|is_some| *is_some)
        .count()
    }
}

/// One command. What is wrong with its form refuses the batch; what it names and is not there fails it alone.
fn step(
    shared: &Shared,
    caller: &Caller,
    item: BatchItem,
    linked: bool,
    place: &str,
) -> Result<Step, ApiError> {
    let text = item.idempotency_key.as_ref().ok_or_else(|| {
        ApiError::new(
            ErrorCode::IdempotencyKeyMissing,
            "Each command of a batch has its own idempotency_key.",
        )
        .param(format!("{place}.idempotency_key"))
    })?;
    let key = ledger_key(&text.0).map_err(|error| error.within(place))?;
    if item.operations() != 1 {
        let message = "Give exactly one of account, payment, transfer, top_up, payout, adjustment, capture, void and refund.";
        return Err(ApiError::invalid(place, message));
    }
    let key_text = text.0.clone();
    let command = match wish(shared, caller, item) {
        Ok(wish) => Ok(Command {
            linked,
            ..command(caller.actor, key, wish)
        }),
        Err(error) => {
            let error = error.within(place);
            if matches!(error.status(), 400 | 500..) {
                return Err(error);
            }
            Err(error)
        }
    };
    Ok(Step {
        key: key_text,
        linked,
        command,
    })
}

fn wish(shared: &Shared, caller: &Caller, item: BatchItem) -> Result<Wish, ApiError> {
    let ids = shared.reader.ids();
    let (wish, noun) = if let Some(form) = item.account {
        let owner = owner_of_new(shared, caller, form.owner.as_ref())
            .map_err(|error| error.within("account"))?;
        (form.wish_for(owner), "account")
    } else if let Some(form) = item.payment {
        (form.wish(ids), "payment")
    } else if let Some(form) = item.transfer {
        (form.wish_of(PaymentKind::Transfer, ids), "transfer")
    } else if let Some(form) = item.top_up {
        (form.wish_of(PaymentKind::TopUp, ids), "top_up")
    } else if let Some(form) = item.payout {
        (form.wish_of(PaymentKind::Payout, ids), "payout")
    } else if let Some(form) = item.adjustment {
        if !caller.is_platform() {
            return Err(
                ApiError::new(ErrorCode::PlatformOnly, "Only a platform key may do this.")
                    .param("adjustment"),
            );
        }
        (form.wish(ids), "adjustment")
    } else if let Some(form) = item.capture {
        (form.wish(ids), "capture")
    } else if let Some(form) = item.void {
        (form.wish(ids), "void")
    } else if let Some(form) = item.refund {
        (form.wish(ids), "refund")
    } else {
        return Err(ApiError::new(
            ErrorCode::InternalError,
            "The server failed.",
        ));
    };
    let wish = wish.map_err(|error| error.within(noun))?;
    let payment = match &wish.body {
        Body::Capture(capture) => Some(capture.payment),
        Body::Void(payment) => Some(*payment),
        Body::Refund(refund) => Some(refund.payment),
        _ => None,
    };
    if let Some(payment) = payment {
        must_see_payment(shared, caller, payment, "payment").map_err(|error| error.within(noun))?;
    }
    Ok(wish)
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

fn result(shared: &Shared, key: String, reply: Reply, request: &RequestId) -> CommandResult {
    let done = match reply_of(reply) {
        Ok(done) => done,
        Err(error) => return refused(key, &error, false, request),
    };
    match answer(shared, &done.record) {
        Ok(rendered) => CommandResult {
            idempotency_key: key,
            status: rendered.status,
            replayed: done.replayed,
            result: Some(rendered.object),
            error: None,
        },
        Err(error) => refused(key, &error, done.replayed, request),
    }
}

fn refused(key: String, error: &ApiError, replayed: bool, request: &RequestId) -> CommandResult {
    CommandResult {
        idempotency_key: key,
        status: error.status(),
        replayed,
        result: None,
        error: Some(error.body(&request.0)),
    }
}
