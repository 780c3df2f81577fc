//! A forwarded stream, which ends when this server stops, as a stream of its own does.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::HeaderMap;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::watch;

/// A body that ends when the server stops.
pub(super) struct StoppableBody {
    body: Body,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Trailers of the body that the stop ends; none where a body has no trailers.
    trailers: Option<HeaderMap>,
    is_over: bool,
}

impl StoppableBody {
    /// Returns `body` until `stopped` says so; then these trailers, if there are any.
    pub(super) fn new(
        body: Body,
        mut stopped: watch::Receiver<bool>,
        trailers: Option<HeaderMap>,
    ) -> StoppableBody {
        StoppableBody {
            body,
            stopping: Box::pin(async move {
                let _told_or_gone = stopped.wait_for(|stopped| *stopped).await.map(|_| ());
            }),
            trailers,
            is_over: false,
        }
    }
}

impl HttpBody for StoppableBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if self.stopping.as_mut().poll(context).is_ready() {
            self.is_over = true;
            let trailers = self.trailers.take().map(Frame::trailers);
            return Poll::Ready(trailers.map(Ok));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
