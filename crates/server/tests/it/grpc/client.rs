//! A gRPC client of the tests' own: `tonic`'s codec of messages over one HTTP/2 connection.

use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tonic::body::Body;
use tonic::client::{Grpc, GrpcService};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Status};

use super::messages::{SubmitRequest, SubmitResponse};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(300);

/// A connection, with the API key to send on it.
pub(crate) struct Client {
    pub(crate) runtime: Runtime,
    channel: Channel,
    token: String,
}

#[derive(Clone)]
struct Channel(http2::SendRequest<Body>, SocketAddr);

impl GrpcService<Body> for Channel {
    type ResponseBody = hyper::body::Incoming;
    type Error = hyper::Error;
    type Future = Pin<
        Box<
            dyn Future<Output = Result<hyper::Response<hyper::body::Incoming>, hyper::Error>>
                + Send,
        >,
    >;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, mut request: hyper::Request<Body>) -> Self::Future {
        let path = request.uri().path().to_owned();
        *request.uri_mut() = format!("http://{}{path}", self.1).parse().expect("a URI");
        Box::pin(self.0.send_request(request))
    }
}

/// Begins with HTTP/2 on a connection.
async fn speak(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> http2::SendRequest<Body> {
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (send, connection) = handshake.await.expect("it speaks HTTP/2");
    tokio::spawn(connection);
    send
}

impl Client {
    pub(crate) fn new(addr: SocketAddr, token: &str) -> Client {
        Client::over(addr, token, async |stream| speak(stream).await)
    }

    /// Over TLS, to a server that is called `localhost`.
    pub(crate) fn over_tls(addr: SocketAddr, token: &str, config: rustls::ClientConfig) -> Client {
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        Client::over(addr, token, async |stream| {
            let name = "localhost".try_into().expect("a name");
            speak(connector.connect(name, stream).await.expect("TLS works")).await
        })
    }

    fn over(
        addr: SocketAddr,
        token: &str,
        speak: impl AsyncFnOnce(TcpStream) -> http2::SendRequest<Body>,
    ) -> Client {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let send = runtime.block_on(async {
            let stream = TcpStream::connect(addr).await.expect("the server listens");
            speak(stream).await
        });
        Client {
            runtime,
            channel: Channel(send, addr),
            token: token.to_owned(),
        }
    }

    /// One call of a method of the ledger.
    pub(crate) fn call<T, U>(&self, method: &str, message: T) -> Result<U, Status>
    where
        T: Message + 'static,
        U: Message + Default + 'static,
    {
        let (mut grpc, path) = (Grpc::new(self.channel.clone()), path(method));
        let call = async {
            grpc.ready().await.expect("the connection is there");
            grpc.unary(self.request(message), path, Prost::new()).await
        };
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, call).await });
        answer
            .expect("an answer in time")
            .map(tonic::Response::into_inner)
    }

    pub(crate) fn submit(&self, batch: SubmitRequest) -> Result<SubmitResponse, Status> {
        self.call("/tributary.v1.Ledger/Submit", batch)
    }

    /// Streams to `method` what `messages` gives, and hands each answer to `see`; gives how the stream ended.
    pub(crate) fn stream<T, U>(
        &self,
        method: &str,
        messages: impl tokio_stream::Stream<Item = T> + Send + 'static,
        mut see: impl FnMut(U),
    ) -> Result<(), Status>
    where
        T: Message + 'static,
        U: Message + Default + 'static,
    {
        let (mut grpc, path) = (Grpc::new(self.channel.clone()), path(method));
        let call = async {
            grpc.ready().await.expect("the connection is there");
            let request = self.request(messages);
            let answers = grpc.streaming(request, path, Prost::<T, U>::new()).await?;
            let mut answers = answers.into_inner();
            while let Some(answer) = answers.message().await? {
                see(answer);
            }
            Ok(())
        };
        let ended = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, call).await });
        ended.expect("an end in time")
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if !self.token.is_empty() {
            let value = format!("Bearer {}", self.token).parse().expect("ASCII");
            request.metadata_mut().insert("authorization", value);
        }
        request
    }
}

fn path(method: &str) -> hyper::http::uri::PathAndQuery {
    method.parse().expect("a path")
}

/// The stable code in a status.
pub(crate) fn code(status: &Status) -> &str {
    let code = status.metadata().get("tributary-code");
    code.map_or("", |code| code.to_str().expect("ASCII"))
}

/// The field at fault in a status.
pub(crate) fn param(status: &Status) -> &str {
    let param = status.metadata().get("tributary-param");
    param.map_or("", |param| param.to_str().expect("ASCII"))
}

struct Prost<T, U>(PhantomData<fn(T) -> U>);

impl<T, U> Prost<T, U> {
    fn new() -> Self {
        Prost(PhantomData)
    }
}

impl<T: Message + 'static, U: Message + Default + 'static> Codec for Prost<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Prost::new()
    }

    fn decoder(&mut self) -> Self {
        Prost::new()
    }
}

impl<T: Message, U> Encoder for Prost<T, U> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(into).expect("it fits");
        Ok(())
    }
}

impl<T, U: Message + Default> Decoder for Prost<T, U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        Ok(Some(U::decode(from).expect("a message of this type")))
    }
}
