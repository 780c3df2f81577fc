//! The answer to a connection that is refused: there are too many.

use std::time::Duration;

use axum::http::StatusCode;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tributary_api::code::ErrorCode;
use tributary_api::error::{ApiError, ErrorAnswer};

use crate::admission::Refused;

/// Time that a refused connection may take for the beginning of its request, and again to take the answer.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Bytes of a refused connection that are read, so that the answer is not lost by a reset.
const READ_BYTES_MAX: usize = 64 << 10;

/// Returns the error of a connection that is refused.
pub(crate) fn too_many_connections(why: Refused) -> ApiError {
    let message = match why {
        Refused::All => "The server has as many connections as it may have.",
        Refused::Network => "The server has as many connections from this address as it may have.",
    };
    ApiError::new(ErrorCode::TooManyConnections, message).retry_after(Duration::from_secs(1))
}

/// Returns the error as an answer over HTTP/1.1, after which the connection is closed.
pub(super) fn http_answer(error: &ApiError, request_id: &str) -> Vec<u8> {
    let answer = ErrorAnswer {
        error: error.body(request_id),
    };
    let body = serde_json::to_string(&answer).expect("an answer is JSON");
    let status = StatusCode::from_u16(error.status()).expect("the status is one of HTTP");
    let seconds = error.retry_delay().unwrap_or_default().as_secs().max(1);
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nretry-after: {seconds}\r\n\
         request-id: {request_id}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Returns the error as HTTP/2 frames: empty settings, and a GOAWAY with the message.
pub(super) fn grpc_answer(error: &ApiError) -> Vec<u8> {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY: u8 = 7;
    const ENHANCE_YOUR_CALM: u32 = 0xb;
    let message = error.message().as_bytes();
    let length = u32::try_from(8 + message.len()).expect("a message is short");
    let mut frames = SETTINGS.to_vec();
    frames.extend_from_slice(&length.to_be_bytes()[1..]);
    // No flags, and the stream of the whole connection.
    frames.extend_from_slice(&[GOAWAY, 0, 0, 0, 0, 0]);
    let last_stream = 0_u32;
    frames.extend_from_slice(&last_stream.to_be_bytes());
    frames.extend_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes());
    frames.extend_from_slice(message);
    frames
}

/// Sends `answer` and closes the connection.
pub(super) async fn refuse(mut stream: TcpStream, answer: &[u8]) {
    // Some clients take no answer before they asked.
    let _asked = tokio::time::timeout(WAIT_MAX, stream.readable()).await;
    // The buffer of a new connection has room for so little.
    if stream.try_write(answer).is_err() {
        return;
    }
    let closing = async {
        tokio::io::AsyncWriteExt::shutdown(&mut stream).await?;
        let (mut piece, mut read) = ([0; 4096], 0);
        while read < READ_BYTES_MAX {
            match stream.read(&mut piece).await? {
                0 => break,
                bytes => read += bytes,
            }
        }
        std::io::Result::Ok(())
    };
    let _closed = tokio::time::timeout(WAIT_MAX, closing).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_are_whole() {
        let error = too_many_connections(Refused::All);
        let http = String::from_utf8(http_answer(&error, "req_1")).expect("text");
        let (head, body) = http.split_once("\r\n\r\n").expect("a head and a body");
        assert!(
            head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
            "{head}"
        );
        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())),
            "{head}"
        );
        assert!(body.contains("\"code\":\"too_many_connections\""), "{body}");
        let grpc = grpc_answer(&error);
        let length = usize::from(grpc[10]) << 8 | usize::from(grpc[11]);
        assert_eq!(grpc.len(), 9 + 9 + length);
        assert_eq!(grpc[12], 7, "a GOAWAY");
    }
}
