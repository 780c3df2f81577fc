//! A receiver of webhooks on the loopback, that behaves as a test wants.

#![allow(
    dead_code,
    reason = "the tests of another crate include this file too, and each uses a part of it"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::HOST;
use hyper::service::service_fn;
use hyper::{HeaderMap, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).expect(name);
        value.to_str().expect("plain text")
    }
}

/// What the receiver does with it.
pub(crate) enum Reply {
    Answer(Response<Full<Bytes>>),
    /// Answers 200 when the gate is open.
    AtGate(watch::Receiver<bool>),
    /// Never answers.
    Hang,
    /// Closes the connection.
    Close,
}

pub(crate) fn status(status: u16) -> Reply {
    let response = Response::builder().status(status).body(Full::default());
    Reply::Answer(response.expect("a response"))
}

type Behaviour = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

#[derive(Default)]
pub(crate) struct Book {
    pub(crate) seen: Vec<Seen>,
    pub(crate) connections: usize,
    pub(crate) under_way: BTreeMap<String, usize>,
    /// Most requests of one host at once, and most of all.
    pub(crate) most_of_one: usize,
    pub(crate) most_of_all: usize,
}

pub(crate) struct Receiver {
    pub(crate) addr: SocketAddr,
    book: Arc<Mutex<Book>>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Receiver {
    pub(crate) fn start(behaviour: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Receiver {
        Receiver::with(Arc::new(behaviour), None)
    }

    /// With TLS, as `localhost`.
    pub(crate) fn start_tls(
        behaviour: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Receiver {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/tests/it/tls");
        let chain = CertificateDer::pem_file_iter(folder.join("certificate.pem"));
        let chain: Vec<CertificateDer<'static>> =
            chain.and_then(Iterator::collect).expect("a chain");
        let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate");
        Receiver::with(Arc::new(behaviour), Some(Arc::new(config).into()))
    }

    fn with(behaviour: Behaviour, tls: Option<TlsAcceptor>) -> Receiver {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        let addr = listener.local_addr().expect("an address");
        let book: Arc<Mutex<Book>> = Arc::default();
        let (end, ended) = oneshot::channel();
        let shared = book.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = accept(listener, behaviour, shared, tls) => {}
                    _ = ended => {}
                }
            });
        });
        Receiver {
            addr,
            book,
            end: Some(end),
            thread: Some(thread),
        }
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("nobody panics")
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.book().seen.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.end.take());
        drop(self.thread.take().map(|thread| thread.join()));
    }
}

async fn accept(
    listener: tokio::net::TcpListener,
    behaviour: Behaviour,
    book: Arc<Mutex<Book>>,
    tls: Option<TlsAcceptor>,
) {
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        book.lock().expect("nobody panics").connections += 1;
        let (behaviour, book, tls) = (behaviour.clone(), book.clone(), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => serve(stream, behaviour, book).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, behaviour, book).await;
                    }
                }
            }
        });
    }
}

async fn serve<T>(stream: T, behaviour: Behaviour, book: Arc<Mutex<Book>>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let (behaviour, book) = (behaviour.clone(), book.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map_err(|_| Closed)?.to_bytes();
            let seen = Seen {
                host: head.headers[HOST].to_str().expect("text").to_owned(),
                path: head.uri.to_string(),
                headers: head.headers,
                body,
            };
            let _under_way = UnderWay::new(book, &seen);
            match behaviour(&seen) {
                Reply::Answer(response) => Ok::<_, Closed>(response),
                Reply::AtGate(mut gate) => {
                    let opened = gate.wait_for(|open| *open).await;
                    opened.map_err(|_| Closed)?;
                    Ok(Response::default())
                }
                Reply::Hang => std::future::pending().await,
                Reply::Close => Err(Closed),
            }
        }
    });
    let serving = hyper::server::conn::http1::Builder::new();
    let _ = serving
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed")
    }
}

impl std::error::Error for Closed {}

impl From<Infallible> for Closed {
    fn from(never: Infallible) -> Closed {
        match never {}
    }
}

/// Counts a request for as long as it is under way.
struct UnderWay(Arc<Mutex<Book>>, String);

impl UnderWay {
    fn new(book: Arc<Mutex<Book>>, seen: &Seen) -> UnderWay {
        let mut open = book.lock().expect("nobody panics");
        open.seen.push(seen.clone());
        let of_one = open.under_way.entry(seen.host.clone()).or_default();
        *of_one += 1;
        let of_one = *of_one;
        let of_all = open.under_way.values().sum();
        open.most_of_one = open.most_of_one.max(of_one);
        open.most_of_all = open.most_of_all.max(of_all);
        drop(open);
        UnderWay(book, seen.host.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut open = self.0.lock().expect("nobody panics");
        *open.under_way.get_mut(&self.1).expect("it was counted") -= 1;
    }
}
