//! Look-ups and statements. They wait for no writer; what may read much from disk does so on a thread that may block.

use tonic::{Request, Status};
use tributary_api::caller::Caller;
use tributary_api::error::ApiError;
use tributary_api::failures::read_error;
use tributary_api::render::common::event_type;
use tributary_api::render::common::{created, owner_name, payment_of};
use tributary_api::render::entry::LineDetails;
use tributary_api::render::notes::present_notes;
use tributary_api::render::payment::{payout_of, reason, why_failed};
use tributary_api::visibility::{must_see_payment, sees_object, visible_owner};
use tributary_engine::{IdKind, Page, Reader, Start, StatementLine};
use tributary_ledger::codec::Record;
use tributary_ledger::{
    AccountId, AccountKind, Body, Date, Hold, ObjectId, OwnerId, OwnerKind, OwnerName, OwnerStatus,
    PaymentId, PaymentKind,
};

use crate::app::{App, Shared};
use crate::auth::caller;
use crate::grpc::form::{cursor_position, position};
use crate::grpc::messages::{
    Account, Counterparty, Entry, GetAccountRequest, GetOwnerRequest, GetPaymentRequest,
    ListEntriesRequest, ListEntriesResponse, Owner, PaymentShare, PaymentState,
};
use crate::grpc::status::status_of;

/// Lines of a page if nothing else is asked for.
const LIMIT_DEFAULT: u32 = 100;
/// Most lines of a page.
const LIMIT_MAX: u32 = 1_000;

/// `GetAccount`.
pub(crate) async fn get_account(
    app: &App,
    request: Request<GetAccountRequest>,
) -> Result<Account, Status> {
    read(app, request, |shared, caller, request| {
        let id = visible_account(&shared.reader, caller, &request.id, "id")?;
        account(&shared.reader, id)
    })
    .await
}

/// `GetPayment`.
pub(crate) async fn get_payment(
    app: &App,
    request: Request<GetPaymentRequest>,
) -> Result<PaymentState, Status> {
    read(app, request, |shared, caller, request| {
        let not_found = || ApiError::not_found("payment", "id");
        let id = position(shared.reader.ids(), IdKind::Payment, &request.id).map(PaymentId);
        let id = id.ok_or_else(not_found)?;
        must_see_payment(&shared.reader, caller, id, "id")?;
        payment(&shared.reader, id)
    })
    .await
}

/// `GetOwner`.
pub(crate) async fn get_owner(
    app: &App,
    request: Request<GetOwnerRequest>,
) -> Result<Owner, Status> {
    read(app, request, |shared, caller, request| {
        let name = OwnerName::new(&request.name).map_err(|_| ApiError::not_found("owner", "name"));
        let id = visible_owner(&shared.reader, caller, &name?, "name")?;
        owner(&shared.reader, id)
    })
    .await
}

/// `ListEntries`.
pub(crate) async fn list_entries(
    app: &App,
    request: Request<ListEntriesRequest>,
) -> Result<ListEntriesResponse, Status> {
    read(app, request, |shared, caller, request| {
        let id = visible_account(&shared.reader, caller, &request.account, "account")?;
        let ids = shared.reader.ids();
        let slice = shared
            .reader
            .statement(id, page(shared, caller, &request)?)
            .map_err(read_error)?;
        let next = slice.next.filter(|_| slice.has_more);
        let lines = slice.items.iter();
        let entries = lines.map(|line| entry(&shared.reader, caller, line));
        Ok(ListEntriesResponse {
            entries: entries.collect::<Result<_, _>>()?,
            has_more: slice.has_more,
            next_cursor: next.map_or_else(Vec::new, |at| {
                ids.cursor_block(caller.actor.owner, at).into()
            }),
        })
    })
    .await
}

/// Runs `work` for a caller who may read.
async fn read<T: Send + 'static, U: Send + 'static>(
    app: &App,
    request: Request<T>,
    work: fn(&Shared, &Caller, T) -> Result<U, ApiError>,
) -> Result<U, Status> {
    let caller = caller(request.metadata().as_ref(), &app.shared);
    let caller = caller.map_err(|error| status_of(&error))?;
    let request = request.into_inner();
    app.read(caller.actor.owner, move |shared| {
        work(shared, &caller, request)
    })
    .await
    .map_err(|error| status_of(&error))
}

fn visible_account(
    reader: &Reader,
    caller: &Caller,
    id: &[u8],
    param: &str,
) -> Result<AccountId, ApiError> {
    let id = position(reader.ids(), IdKind::Account, id).map(AccountId);
    let found = id.and_then(|id| reader.account(id));
    found
        .filter(|found| caller.sees_account(found))
        .map(|found| found.id)
        .ok_or_else(|| ApiError::not_found("account", param))
}

fn account(reader: &Reader, id: AccountId) -> Result<Account, ApiError> {
    let not_found = || ApiError::not_found("account", "id");
    let found = reader.account(id).ok_or_else(not_found)?;
    let opened = created(reader, id.0)?;
    let details = reader.details(ObjectId::Account(id));
    let text = details.as_ref().map(|details| &details.text);
    let notes = present_notes(reader, text, Some(&opened))?;
    let external_id = match &opened.command.body {
        Body::OpenAccount(open) => open.external_id.as_ref(),
        _ => None,
    };
    let ids = reader.ids();
    Ok(Account {
        id: ids.block(IdKind::Account, id.0).into(),
        public_id: ids.encode(IdKind::Account, id.0),
        owner: owner_name(reader, found.owner),
        currency: found.currency.numeric().into(),
        kind: match found.kind {
            AccountKind::Wallet => 0,
            AccountKind::Merchant => 1,
            AccountKind::External => 2,
            AccountKind::Fee => 3,
            AccountKind::Suspense => 4,
        },
        status: match found.status {
            tributary_ledger::AccountStatus::Open => 0,
            tributary_ledger::AccountStatus::Frozen => 1,
            tributary_ledger::AccountStatus::Closed => 2,
        },
        posted: found.posted,
        pending: found.held,
        available: found.available(),
        overdraft: found.overdraft.limit().unwrap_or(0),
        overdraft_unlimited: found.overdraft.limit().is_none(),
        external_id: external_id.map_or_else(String::new, ToString::to_string),
        description: notes.description.unwrap_or_default(),
        metadata: notes.metadata,
        created: found.opened_at,
        revision: text.map_or(1, |text| text.revision),
    })
}

fn owner(reader: &Reader, id: OwnerId) -> Result<Owner, ApiError> {
    let details = reader.details(ObjectId::Owner(id));
    let text = details.as_ref().map(|details| &details.text);
    let notes = present_notes(reader, text, None)?;
    let profile = details.as_ref().and_then(|found| found.profile.as_deref());
    let profile = profile.cloned().unwrap_or_default();
    // The platform is there from the first record on.
    let named = created(reader, id.0.max(1))?;
    Ok(Owner {
        name: owner_name(reader, id),
        kind: match profile.kind {
            None => 0,
            Some(OwnerKind::Person) => 1,
            Some(OwnerKind::Company) => 2,
        },
        status: match profile.status {
            OwnerStatus::Active => 1,
            OwnerStatus::Inactive => 2,
        },
        external_id: profile
            .external_id
            .map_or_else(String::new, |id| id.to_string()),
        description: notes.description.unwrap_or_default(),
        metadata: notes.metadata,
        created: named.ctx.timestamp,
        revision: text.map_or(1, |text| text.revision),
    })
}

fn payment(reader: &Reader, id: PaymentId) -> Result<PaymentState, ApiError> {
    let not_found = || ApiError::not_found("payment", "id");
    let asked = created(reader, id.0)?;
    let found = reader.payment(id).map_err(read_error)?;
    let found = found.ok_or_else(not_found)?;
    let text = found.text.as_deref();
    let notes = present_notes(reader, text, Some(&asked))?;
    let (reference, scope) = match &asked.command.body {
        Body::Pay(pay) => (pay.reference.as_ref(), pay.reference_scope),
        _ => (None, None),
    };
    let is_payout = found.kind == PaymentKind::Payout;
    let ids = reader.ids();
    let account = |id: AccountId| ids.block(IdKind::Account, id.0).to_vec();
    let shares = found.shares.iter().map(|share| PaymentShare {
        account: account(share.account),
        fee: share.is_fee,
        amount: share.amount,
        captured: share.captured,
        refunded: share.refunded,
    });
    Ok(PaymentState {
        id: ids.block(IdKind::Payment, id.0).into(),
        public_id: ids.encode(IdKind::Payment, id.0),
        kind: kind_number(found.kind),
        status: status_number(found.status),
        owner: owner_name(reader, found.owner),
        amount: found.amount,
        currency: found.currency.numeric().into(),
        amount_held: found.held,
        amount_captured: found.captured,
        amount_refunded: if is_payout { 0 } else { found.refunded },
        amount_returned: if is_payout { found.refunded } else { 0 },
        fee_refunded: found.fee_refunded,
        source: account(found.source),
        shares: shares.collect(),
        expires_at: match found.expires_at {
            Hold::NO_EXPIRY => 0,
            expires_at => expires_at,
        },
        reference: reference.map_or_else(String::new, ToString::to_string),
        reason: reason(reader, &found, &asked)?.map_or_else(String::new, |text| text.to_string()),
        payout: payout_of(&asked)
            .map_or_else(Vec::new, |id| ids.block(IdKind::Payment, id.0).into()),
        description: notes.description.unwrap_or_default(),
        metadata: notes.metadata,
        failure_code: why_failed(reader, &found, &asked)?
            .map_or_else(String::new, |failure| failure.code().to_owned()),
        effective_at: found.effective_at.0,
        created: found.created_at,
        last_event: ids.block(IdKind::Event, found.shown_at()).into(),
        revision: text.map_or(1, |text| text.revision),
        reference_scope: scope.map_or_else(String::new, |owner| owner_name(reader, owner)),
    })
}

fn status_number(status: tributary_ledger::PaymentStatus) -> i32 {
    use crate::grpc::messages::PaymentStatus as Wire;
    use tributary_ledger::PaymentStatus;
    let wire = match status {
        PaymentStatus::Queued => Wire::Queued,
        PaymentStatus::Authorized => Wire::Authorized,
        PaymentStatus::PartiallyCaptured => Wire::PartiallyCaptured,
        PaymentStatus::Captured => Wire::Captured,
        PaymentStatus::PartiallyRefunded => Wire::PartiallyRefunded,
        PaymentStatus::Refunded => Wire::Refunded,
        PaymentStatus::Failed => Wire::Failed,
        PaymentStatus::Voided => Wire::Voided,
        PaymentStatus::Expired => Wire::Expired,
        PaymentStatus::Pending => Wire::Pending,
        PaymentStatus::Paid => Wire::Paid,
        PaymentStatus::InReview => Wire::InReview,
    };
    wire.into()
}

fn page(shared: &Shared, caller: &Caller, request: &ListEntriesRequest) -> Result<Page, ApiError> {
    let (reader, ids) = (&shared.reader, shared.reader.ids());
    let cursor = |id: &[u8], param: &str| {
        if let Some(at) = cursor_position(ids, caller.actor.owner, id) {
            return Ok(at);
        }
        if let Some(at) = position(ids, IdKind::Event, id)
            && sees_object(reader, caller, IdKind::Event, at)?
        {
            return Ok(at);
        }
        let message = "This must be the id of an entry, or a cursor.";
        Err(ApiError::invalid(param, message))
    };
    let start = match (&*request.starting_after, &*request.ending_before) {
        ([], []) => Start::Newest,
        (id, []) => Start::Before(cursor(id, "starting_after")?),
        ([], id) => Start::After(cursor(id, "ending_before")?),
        _ => {
            let message = "Give either starting_after or ending_before, not both.";
            return Err(ApiError::invalid("ending_before", message));
        }
    };
    let limit = match request.limit {
        0 => LIMIT_DEFAULT,
        limit @ 1..=LIMIT_MAX => limit,
        _ => return Err(ApiError::invalid("limit", "Give 1 to 1,000.")),
    };
    Ok(Page {
        limit: limit as usize,
        start,
        from: request.created_from,
        until: request.created_until,
    })
}

fn entry(reader: &Reader, caller: &Caller, line: &StatementLine) -> Result<Entry, ApiError> {
    let ids = reader.ids();
    let (record, leg) = (&line.record, &line.leg);
    let payment = payment_of(record);
    let details = LineDetails::find(reader, caller, line)?;
    Ok(Entry {
        id: ids.block(IdKind::Event, record.ctx.position).into(),
        amount: leg.amount,
        balance: leg.posted_after,
        pending: leg.held_after,
        payment: payment.map_or_else(Vec::new, |id| ids.block(IdKind::Payment, id.0).into()),
        r#type: event_type(record).to_owned(),
        description: details.description.unwrap_or_default(),
        effective_at: effective_at(record),
        created: record.ctx.timestamp,
        payment_kind: details.payment_kind.map(kind_number),
        counterparties: details
            .counterparties
            .into_iter()
            .map(|(account, owner)| Counterparty {
                account: ids.block(IdKind::Account, account.0).into(),
                owner: owner.unwrap_or_default(),
            })
            .collect(),
        reference: details.reference.unwrap_or_default(),
        reason: details.reason.unwrap_or_default(),
    })
}

fn kind_number(kind: PaymentKind) -> i32 {
    match kind {
        PaymentKind::Pay => 0,
        PaymentKind::Transfer => 1,
        PaymentKind::TopUp => 2,
        PaymentKind::Payout => 3,
        PaymentKind::Adjustment => 4,
        PaymentKind::PayoutReturn => 5,
    }
}

fn effective_at(record: &Record) -> i32 {
    let date = record.command.effective_at;
    date.unwrap_or_else(|| Date::from_timestamp(record.ctx.timestamp))
        .0
}
