//! `Submit`, and the way of a batch to the engine and back.

use bytes::Bytes;
use tonic::{Request, Status};
use tributary_api::caller::Caller;
use tributary_api::error::ApiError;

use crate::app::{App, Shared};
use crate::auth::writer;
use crate::failed_request::count_not_found;
use crate::grpc::batch::Submitted;
use crate::grpc::status::status_of;
use crate::submit::submit_briefly;

/// `Submit`.
pub(crate) async fn submit(app: &App, request: Request<Bytes>) -> Result<Bytes, Status> {
    let caller = may_submit(&app.shared, &request).map_err(|error| status_of(&error))?;
    let answer = answered(app, &caller, request.into_inner());
    answer.await.map_err(|error| status_of(&error))
}

/// The caller, if it may send commands.
pub(crate) fn may_submit<T>(shared: &Shared, request: &Request<T>) -> Result<Caller, ApiError> {
    writer(request.metadata().as_ref(), shared)
}

/// The answer to a `SubmitRequest` once all of it is durable. The first poll sends it off: batches that are polled in
/// order are decided in order.
pub(crate) async fn answered(app: &App, caller: &Caller, bytes: Bytes) -> Result<Bytes, ApiError> {
    let mut submitted = Submitted::read(&app.shared.intake, caller, &bytes)?;
    // Its memory is used for the next one meanwhile.
    drop(bytes);
    count_not_found(&app.shared, caller, submitted.not_found());
    let commands = submitted.take_commands();
    let receipts = match commands.is_empty() {
        true => Vec::new(),
        false => submit_briefly(app, commands).await?,
    };
    Ok(submitted.answer(app.shared.reader.ids(), receipts))
}
