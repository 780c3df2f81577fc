//! `/v1/journal`: the head, and the frames for backups. Platform keys only.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tributary_api::error::ApiError;
use tributary_api::failures::read_error;
use tributary_api::time::format_timestamp;
use tributary_engine::{Failure, FrameRef, Reader};
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::auth::{PlatformReading, PlatformWriting};
use crate::extract::Query;
use crate::response::{ErrorResponse, json};

/// Longest wait for a frame that is not there yet, in milliseconds.
const WAIT_MS_MAX: u64 = 30_000;
/// Largest position: what a signed integer of 64 bits holds.
const POSITION_MAX: u64 = i64::MAX as u64;
/// How often a waiting request looks at the head.
const POLL: Duration = Duration::from_millis(20);
/// Frames read ahead of a slow reader.
const FRAMES_AHEAD: usize = 2;
/// The durable head when the answer began: how far behind a backup is.
const HEAD_POSITION: HeaderName = HeaderName::from_static("tributary-head-position");

/// The end of the journal: whoever keeps the hash can prove later that nothing before it was changed.
#[derive(Serialize, ToSchema)]
pub(crate) struct JournalHead {
    #[schema(pattern = "^journal_head$")]
    object: &'static str,
    /// Records in all.
    #[schema(minimum = 0)]
    position: u64,
    /// Hash of the last frame, chained over all before it, in hexadecimal.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    hash: String,
    /// Grows with each restore of a backup.
    #[schema(minimum = 0)]
    epoch: u32,
    #[schema(format = DateTime)]
    timestamp: String,
}

/// What a backup needs besides the frames. Whoever has the id key can read every id: keep it as you keep the backup.
#[derive(Serialize, ToSchema)]
pub(crate) struct Meta {
    #[schema(pattern = "^journal_meta$")]
    object: &'static str,
    /// Names the journal for life, in hexadecimal.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    cluster: String,
    /// Key of the permutation behind public ids, in hexadecimal.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    id_key: String,
    /// Whether it is a sandbox, whose clock can be moved.
    sandbox: bool,
    epochs: Vec<EpochLine>,
}

/// One epoch.
#[derive(Serialize, ToSchema)]
pub(crate) struct EpochLine {
    #[schema(minimum = 0)]
    epoch: u32,
    /// The first position of the epoch.
    #[schema(minimum = 0)]
    first_position: u64,
}

/// Shows the end of the journal. Platform keys only.
#[utoipa::path(get, path = "/v1/journal/head", tag = "books", operation_id = "getJournalHead",
    responses((status = 200, description = "The head.", body = JournalHead)))]
pub(crate) async fn head(State(app): State<App>, _: PlatformReading) -> Response {
    let head = app.shared.reader.head();
    json(
        200,
        &JournalHead {
            object: "journal_head",
            position: head.position,
            hash: hex::encode(head.hash),
            epoch: head.epoch,
            timestamp: format_timestamp(head.timestamp),
        },
    )
}

/// Shows what a backup needs besides the frames. Platform keys that may write only.
#[utoipa::path(get, path = "/v1/journal/meta", tag = "books", operation_id = "getJournalMeta",
    responses((status = 200, description = "The journal's names.", body = Meta)))]
pub(crate) async fn meta(State(app): State<App>, _: PlatformWriting) -> Response {
    let meta = app.shared.reader.meta();
    let epochs = meta
        .epochs
        .iter()
        .map(|&(epoch, first_position)| EpochLine {
            epoch,
            first_position,
        });
    json(
        200,
        &Meta {
            object: "journal_meta",
            cluster: hex::encode(meta.cluster_id),
            id_key: hex::encode(meta.id_key),
            sandbox: meta.sandbox,
            epochs: epochs.collect(),
        },
    )
}

/// Range of frames to send.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct FramesQuery {
    /// The position whose frame is the first; 1 if left out.
    #[param(minimum = 1, maximum = 9_223_372_036_854_775_807i64)]
    from: Option<u64>,
    /// How long to wait for that frame if it is not there yet, in milliseconds.
    #[param(maximum = 30_000)]
    wait_ms: Option<u64>,
}

/// Sends the journal's frames verbatim, from a position to the head. A frame says its own length. Platform keys that may
/// write only: frames hold what owners wrote.
#[utoipa::path(get, path = "/v1/journal/frames", tag = "books", operation_id = "getJournalFrames", params(FramesQuery),
    responses((status = 200, description = "Frames, one after the other; empty if there are none yet.",
        body = Vec<u8>, content_type = "application/octet-stream")))]
pub(crate) async fn frames(
    State(app): State<App>,
    _: PlatformWriting,
    Query(query): Query<FramesQuery>,
) -> Result<Response, ErrorResponse> {
    let from = query.from.unwrap_or(1);
    if !(1..=POSITION_MAX).contains(&from) {
        return Err(ApiError::invalid(
            "from",
            "from must be an integer from 1 to 9223372036854775807.",
        )
        .into());
    }
    let wait_ms = query.wait_ms.unwrap_or(0);
    if wait_ms > WAIT_MS_MAX {
        return Err(
            ApiError::invalid("wait_ms", "wait_ms must be an integer from 0 to 30000.").into(),
        );
    }
    let until = Instant::now() + Duration::from_millis(wait_ms);
    let draining = || {
        app.shared
            .draining
            .load(std::sync::atomic::Ordering::Acquire)
    };
    while app.shared.reader.head().position < from && Instant::now() < until && !draining() {
        tokio::time::sleep(POLL).await;
    }
    let head = app.shared.reader.head().position;
    Ok(octets(send_frames(&app, from, head).await?, head))
}

/// Sends a snapshot of the delivery log: how far each subscription is, what is retried and what is dead. Frames like the
/// journal's; `tributary restore` puts them beside the restored journal. Platform keys that may write only.
#[utoipa::path(get, path = "/v1/journal/deliveries", tag = "books", operation_id = "getDeliverySnapshot",
    responses((status = 200, description = "The snapshot.", body = Vec<u8>, content_type = "application/octet-stream")))]
pub(crate) async fn deliveries(
    State(app): State<App>,
    _: PlatformWriting,
) -> Result<Response, ErrorResponse> {
    let snapshot = app
        .blocking(|shared| Ok(shared.messaging()?.snapshot()))
        .await?;
    // Read after the snapshot, so that a backup that reaches this position has everything that the snapshot rests on.
    let head = app.shared.reader.head().position;
    Ok(octets(Body::from(snapshot), head))
}

/// An answer of bytes, with the position of the head.
fn octets(body: Body, head: u64) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(HEAD_POSITION, HeaderValue::from(head));
    response
}

/// A body that reads the frames of `from..=head` as fast as they are taken. The first is read before the answer begins, so
/// that damage there has a proper answer; later damage breaks the body off.
async fn send_frames(app: &App, from: u64, head: u64) -> Result<Body, ApiError> {
    let first = app
        .blocking(move |shared| read_frame(&shared.reader, from).map_err(read_error))
        .await?;
    let Some((mut last, first)) = first else {
        return Ok(Body::empty());
    };
    let (sender, frames) = mpsc::channel(FRAMES_AHEAD);
    let reader = app.shared.reader.clone();
    tokio::task::spawn_blocking(move || {
        let mut frame = Ok(Bytes::from(first));
        loop {
            let broken = frame.is_err();
            // The reader has gone: nobody needs more.
            if sender.blocking_send(frame).is_err() || broken || last >= head {
                return;
            }
            frame = match read_frame(&reader, last + 1) {
                Ok(Some((through, bytes))) => {
                    last = through;
                    Ok(Bytes::from(bytes))
                }
                Ok(None) => return,
                Err(failure) => {
                    read_error(failure);
                    Err(std::io::Error::other("a frame could not be read"))
                }
            };
        }
    });
    Ok(Body::new(Frames(frames)))
}

/// Frames on their way to a body.
struct Frames(mpsc::Receiver<Result<Bytes, std::io::Error>>);

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0
            .poll_recv(context)
            .map(|next| next.map(|bytes| bytes.map(Frame::data)))
    }
}

/// The frame that holds `position`, and the last position in it.
fn read_frame(reader: &Reader, position: u64) -> Result<Option<(u64, Vec<u8>)>, Failure> {
    let Some(bytes) = reader.frame(position)? else {
        return Ok(None);
    };
    let last = FrameRef::parse(&bytes).map(|frame| frame.header().last_position());
    let last = last.map_err(|error| Failure::RecordDamaged {
        position,
        what: error.to_string(),
    })?;
    Ok(Some((last, bytes)))
}
