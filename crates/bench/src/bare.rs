//! A bare HTTP handler: it reads each request and answers with fixed bytes. It does no other work, so its rate is the cost
//! of HTTP on this machine. Threads and listeners are set up as in the server.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;

use crate::machine::count_processors;
use crate::options::BareHandlerOptions;
use crate::report::print_line;

/// The response to every request.
struct FixedResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// Headers that hyper adds.
const HEADERS_OF_HYPER: [&str; 3] = ["date", "content-length", "connection"];

impl FixedResponse {
    /// Parses the head and body of a recorded response.
    fn parse(bytes: &[u8]) -> Option<FixedResponse> {
        let at = memchr::memmem::find(bytes, b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..at]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let mut headers = HeaderMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            if !HEADERS_OF_HYPER.contains(&name.to_ascii_lowercase().as_str()) {
                let name: HeaderName = name.parse().ok()?;
                headers.append(name, HeaderValue::from_str(value).ok()?);
            }
        }
        Some(FixedResponse {
            status,
            headers,
            body: Bytes::copy_from_slice(&bytes[at + 4..]),
        })
    }
}

/// Serves until the process is killed.
pub(crate) fn serve(options: &BareHandlerOptions) -> anyhow::Result<()> {
    let bytes = std::fs::read(&options.answer)?;
    let fixed = Arc::new(FixedResponse::parse(&bytes).context("the file holds no HTTP answer")?);
    let mut address = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut threads = Vec::new();
    for _ in 0..count_processors() {
        let listener = listen(address)?;
        address = listener.local_addr()?;
        let fixed = fixed.clone();
        threads.push(std::thread::spawn(move || run_thread(listener, &fixed)));
    }
    print_line(&json!({ "listening": format!("http://{address}") }).to_string());
    for thread in threads {
        match thread.join() {
            Ok(result) => result?,
            Err(_panicked) => anyhow::bail!("a thread of the handler failed"),
        }
    }
    Ok(())
}

fn listen(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        None,
    )?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1_024)?;
    Ok(socket.into())
}

fn run_thread(listener: std::net::TcpListener, fixed: &Arc<FixedResponse>) -> anyhow::Result<()> {
    let runtime = crate::books::runtime()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let fixed = fixed.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| answer(request, &fixed));
                // The client closes the connection at the end.
                let _closed = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    })
}

async fn answer(
    request: Request<Incoming>,
    fixed: &FixedResponse,
) -> Result<Response<Full<Bytes>>, Infallible> {
    // An incomplete body closes the connection.
    let _whole = request.into_body().collect().await.map(drop);
    let mut response = Response::new(Full::new(fixed.body.clone()));
    *response.status_mut() = fixed.status;
    *response.headers_mut() = fixed.headers.clone();
    Ok(response)
}
