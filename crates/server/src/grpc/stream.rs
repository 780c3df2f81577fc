//! `SubmitStream`: batches in, answers out in the same order, several on their way at once.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::HeaderMap;
use bytes::Bytes;
use futures_core::Stream;
use tonic::{Request, Status, Streaming};
use tributary_api::caller::Caller;
use tributary_api::error::ApiError;
use tributary_api::failures::submit_error;
use tributary_engine::COMMANDS_PER_BATCH_MAX;

use crate::app::App;
use crate::auth::writer;
use crate::failed_request::Failed;
use crate::grpc::status::status_of;
use crate::grpc::submit::{answered, may_submit};

/// How long a stream that has nothing on its way waits for room among the commands of all callers.
const ROOM_PAUSE: Duration = Duration::from_millis(1);
/// Batches of a stream that wait for their answer, at most; then the next is left in the connection.
const BATCHES_IN_FLIGHT_MAX: usize = 16;

type Answer = Result<Bytes, ApiError>;
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A batch on its way.
enum Batch {
    Waiting(Boxed<Answer>),
    Answered(Answer),
}

/// The answers to the batches of a stream.
pub(crate) struct Answers {
    app: App,
    /// Headers of the request that opened the stream. The API key is checked again for every batch: it may be revoked
    /// meanwhile.
    headers: HeaderMap,
    caller: Caller,
    batches: Streaming<Bytes>,
    in_flight: VecDeque<Batch>,
    stopping: Boxed<()>,
    /// Until when the next look for room waits.
    pause: Option<Boxed<()>>,
    /// Why no more batches are taken, once that is so.
    end: Option<Result<(), Status>>,
}

/// Opens a stream of batches.
pub(crate) fn submit_stream(
    app: &App,
    request: Request<Streaming<Bytes>>,
) -> Result<Answers, Status> {
    let caller = may_submit(&app.shared, &request).map_err(|error| status_of(&error))?;
    let (metadata, _, batches) = request.into_parts();
    let mut stopped = app.shared.stopped.clone();
    Ok(Answers {
        app: app.clone(),
        headers: metadata.into_headers(),
        caller,
        batches,
        in_flight: VecDeque::with_capacity(BATCHES_IN_FLIGHT_MAX),
        stopping: Box::pin(async move {
            let _told_or_gone = stopped.wait_for(|stopped| *stopped).await.map(|_| ());
        }),
        pause: None,
        end: None,
    })
}

impl Answers {
    /// Takes the batches that have arrived, as many as there is room for.
    fn take(&mut self, context: &mut Context<'_>) {
        if self.end.is_none() && self.stopping.as_mut().poll(context).is_ready() {
            let stopping = submit_error(tributary_engine::Refused::Stopping);
            self.end = Some(Err(status_of(&stopping)));
        }
        while self.end.is_none() && self.has_room(context) {
            match Pin::new(&mut self.batches).poll_next(context) {
                Poll::Pending => return,
                Poll::Ready(None) => self.end = Some(Ok(())),
                Poll::Ready(Some(Err(status))) => self.end = Some(Err(status)),
                Poll::Ready(Some(Ok(bytes))) => {
                    let batch = self.send_off(bytes, context);
                    // What was refused at once must not be overtaken by what comes behind it.
                    if matches!(&batch, Batch::Answered(Err(_))) {
                        self.end = Some(Ok(()));
                    }
                    self.in_flight.push_back(batch);
                }
            }
        }
    }

    /// Whether one more batch may be taken: few of this stream are on their way, and not too many commands of all callers
    /// wait already. Otherwise the client is held up instead of refused.
    fn has_room(&mut self, context: &mut Context<'_>) -> bool {
        if self.in_flight.len() >= BATCHES_IN_FLIGHT_MAX {
            return false;
        }
        loop {
            let engine = &self.app.shared.engine;
            if engine.has_room(self.caller.actor.owner, COMMANDS_PER_BATCH_MAX) {
                self.pause = None;
                return true;
            }
            // With batches on their way, the next answer wakes this stream.
            if !self.in_flight.is_empty() {
                return false;
            }
            let pause = self
                .pause
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(ROOM_PAUSE)));
            if pause.as_mut().poll(context).is_pending() {
                return false;
            }
            self.pause = None;
        }
    }

    fn send_off(&self, bytes: Bytes, context: &mut Context<'_>) -> Batch {
        let app = self.app.clone();
        let caller = writer(&self.headers, &app.shared);
        let caller = match caller {
            Ok(caller) => caller,
            Err(error) => return Batch::Answered(Err(error)),
        };
        let mut answer: Boxed<Answer> =
            Box::pin(async move { answered(&app, &caller, bytes).await });
        match answer.as_mut().poll(context) {
            Poll::Ready(answer) => Batch::Answered(answer),
            Poll::Pending => Batch::Waiting(answer),
        }
    }

    /// The answer to the oldest batch, if it is there.
    fn oldest(&mut self, context: &mut Context<'_>) -> Poll<Option<Answer>> {
        match self.in_flight.pop_front() {
            None => Poll::Ready(None),
            Some(Batch::Answered(answer)) => Poll::Ready(Some(answer)),
            Some(Batch::Waiting(mut answer)) => match answer.as_mut().poll(context) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending => {
                    self.in_flight.push_front(Batch::Waiting(answer));
                    Poll::Pending
                }
            },
        }
    }
}

impl Stream for Answers {
    type Item = Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.take(context);
        match self.oldest(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(answer))) => Poll::Ready(Some(Ok(answer))),
            Poll::Ready(Some(Err(error))) => {
                // The head of the answer, by which requests are counted, is gone.
                Failed::within_stream(self.caller).count_error(&self.app.shared, &error);
                // Nothing behind a batch that failed is answered.
                self.in_flight.clear();
                self.end = Some(Ok(()));
                Poll::Ready(Some(Err(status_of(&error))))
            }
            Poll::Ready(None) => match &mut self.end {
                None => Poll::Pending,
                Some(end) => match std::mem::replace(end, Ok(())) {
                    Ok(()) => Poll::Ready(None),
                    Err(status) => Poll::Ready(Some(Err(status))),
                },
            },
        }
    }
}
