//! `Submit`, and the way of a batch to the engine and back.

use bytes::Bytes;
use tonic::{Request, Status};

use crate::app::{App, Shared};
use crate::auth::{Caller, caller};
use crate::error::ApiError;
use crate::grpc::batch::{Batch, answer};
use crate::grpc::status::status_of;
use crate::submit::submit_briefly;

/// `Submit`.
pub(crate) async fn submit(app: &App, request: Request<Bytes>) -> Result<Bytes, Status> {
    let caller = may_submit(&app.shared, &request).map_err(|error| status_of(&error))?;
    let answer = answered(&app.shared, &caller, request.into_inner());
    answer.await.map_err(|error| status_of(&error))
}

/// The caller, if it may send commands.
pub(crate) fn may_submit<T>(shared: &Shared, request: &Request<T>) -> Result<Caller, ApiError> {
    caller(request.metadata().as_ref(), shared)?.may_write()
}

/// The answer to a `SubmitRequest` once all of it is durable. The first poll sends it off: batches that are polled in
/// order are decided in order.
pub(crate) async fn answered(
    shared: &Shared,
    caller: &Caller,
    bytes: Bytes,
) -> Result<Bytes, ApiError> {
    let Batch {
        number,
        commands,
        slots,
    } = Batch::read(shared, caller, &bytes)?;
    // Its memory is used for the next one meanwhile.
    drop(bytes);
    let decided = match commands.is_empty() {
        true => Vec::new(),
        false => submit_briefly(shared, commands).await?,
    };
    Ok(answer(shared.reader.ids(), number, &slots, &decided))
}
