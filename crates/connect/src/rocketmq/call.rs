//! Calls of gRPC: how messages become bytes, how requests are signed, and what refusals mean.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::http;
use jiff::Timestamp;
use prost::Message;
use ring::hmac;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Request, Status};

use super::wire::{self, code};
use crate::port::{Binder, Secret, Trouble, TroubleKind};

/// Version of the clients that speak as this one does.
pub(super) const CLIENT_VERSION: &str = "5.0.8";

/// Sends `T`s and reads `U`s.
pub(super) struct Messages<T, U>(PhantomData<fn(T) -> U>);

impl<T, U> Messages<T, U> {
    pub(super) fn new() -> Messages<T, U> {
        Messages(PhantomData)
    }
}

impl<T, U> Codec for Messages<T, U>
where
    T: Message + 'static,
    U: Message + Default + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Messages<T, U>;
    type Decoder = Messages<T, U>;

    fn encoder(&mut self) -> Messages<T, U> {
        Messages::new()
    }

    fn decoder(&mut self) -> Messages<T, U> {
        Messages::new()
    }
}

impl<T: Message, U> Encoder for Messages<T, U> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message
            .encode(into)
            .map_err(|error| Status::out_of_range(error.to_string()))
    }
}

impl<T, U: Message + Default> Decoder for Messages<T, U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let read = U::decode(from);
        read.map(Some)
            .map_err(|error| Status::data_loss(format!("the answer can't be read: {error}")))
    }
}

/// A connection by HTTP/2, as tonic takes it.
#[derive(Clone)]
pub(super) struct Channel(pub(super) SendRequest<Body>);

impl GrpcService<Body> for Channel {
    type ResponseBody = Incoming;
    type Error = hyper::Error;
    type Future =
        Pin<Box<dyn Future<Output = Result<http::Response<Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// Who asks: a client with a name of its own, and a user.
#[derive(Clone)]
pub(super) struct Caller {
    client_id: String,
    user: Option<(String, Secret)>,
}

impl Caller {
    /// A client of this binder, with a name that no other client has.
    pub(super) fn new(binder: &Binder) -> Caller {
        let slug = binder.slug.as_str();
        Caller {
            client_id: format!("tributary-{slug}-{}", random_id()),
            user: binder.username.clone().zip(binder.password.clone()),
        }
    }

    /// Returns a request in the name of this client, which the proxy may work on until `timeout` is over.
    ///
    /// # Errors
    /// If the name of the user or the binder can't stand in a header.
    pub(super) fn request<T>(
        &self,
        message: T,
        timeout: Option<Duration>,
    ) -> Result<Request<T>, String> {
        let mut request = Request::new(message);
        if let Some(timeout) = timeout {
            request.set_timeout(timeout);
        }
        let headers = request.metadata_mut();
        let fixed = MetadataValue::<Ascii>::from_static;
        headers.insert("x-mq-language", fixed("RUST"));
        headers.insert("x-mq-protocol", fixed("GRPC_V2"));
        headers.insert("x-mq-client-version", fixed(CLIENT_VERSION));
        headers.insert("x-mq-client-id", header(&self.client_id)?);
        if let Some((name, password)) = &self.user {
            let now = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
            headers.insert(
                "authorization",
                header(&authorization(name, password, &now))?,
            );
            headers.insert("x-mq-date-time", header(&now)?);
        }
        Ok(request)
    }
}

fn header(text: &str) -> Result<MetadataValue<Ascii>, String> {
    text.parse().map_err(|_| {
        "the user's name or the binder's has characters that can't stand in a header".to_owned()
    })
}

/// The signature that RocketMQ wants: the password never leaves.
fn authorization(name: &str, password: &Secret, now: &str) -> String {
    let key = hmac::Key::new(
        hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        password.expose().as_bytes(),
    );
    let signature = hex::encode(hmac::sign(&key, now.as_bytes()));
    format!("MQv2-HMAC-SHA1 Credential={name}, SignedHeaders=x-mq-date-time, Signature={signature}")
}

/// Returns 32 digits that nobody else has.
pub(super) fn random_id() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    hex::encode(bytes)
}

/// Says what a failed call means. `what` completes "refuses to".
pub(super) fn describe(place: &str, what: &str, status: &Status) -> Trouble {
    let said = shorten(status.message());
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => credentials(place, what, &said),
        Code::InvalidArgument
        | Code::OutOfRange
        | Code::DataLoss
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::ResourceExhausted => {
            let text = format!(
                "{place} refuses to {what}: {said}; check that url leads to the gRPC port of a proxy of RocketMQ 5"
            );
            Trouble::new(TroubleKind::Refused, text)
        }
        _ => {
            let text = format!("the connection to {place} is lost: {said}");
            Trouble::new(TroubleKind::Unreachable, text)
        }
    }
}

/// Says what a refusal in an answer means. `what` completes "refuses to".
pub(super) fn describe_status(place: &str, what: &str, status: &wire::Status) -> Trouble {
    let said = format!("{} ({})", shorten(&status.message), status.code);
    let (kind, advice) = match status.code {
        code::UNAUTHORIZED | code::FORBIDDEN => return credentials(place, what, &said),
        code::NOT_FOUND | code::TOPIC_NOT_FOUND | code::CONSUMER_GROUP_NOT_FOUND => (
            TroubleKind::DestinationMissing,
            "create it with mqadmin, or name another",
        ),
        code::UNRECOGNIZED_CLIENT_TYPE => {
            (TroubleKind::Unreachable, "it has forgotten this connection")
        }
        code::REQUEST_TIMEOUT | code::TOO_MANY_REQUESTS => {
            (TroubleKind::Unreachable, "it has too much to do")
        }
        code::NOT_IMPLEMENTED => (TroubleKind::Refused, "use RocketMQ 5"),
        fault if (code::INTERNAL_ERROR..code::UNSUPPORTED).contains(&fault) => (
            TroubleKind::Unreachable,
            "the broker behind it may be down; see its log",
        ),
        _ => (TroubleKind::Refused, "see its log"),
    };
    Trouble::new(kind, format!("{place} refuses to {what}: {said}; {advice}"))
}

fn credentials(place: &str, what: &str, said: &str) -> Trouble {
    let text = format!(
        "{place} refuses to {what}: {said}; check the user's name, password and permissions"
    );
    Trouble::new(TroubleKind::CredentialsRefused, text)
}

/// What a peer said, on one line, and not more than an operator reads.
fn shorten(said: &str) -> String {
    const CHARACTERS_MAX: usize = 300;
    let mut short: String = said
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .take(CHARACTERS_MAX)
        .collect();
    if short.len() < said.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};

    use super::{authorization, describe, describe_status};
    use crate::port::{Secret, TroubleKind};
    use crate::rocketmq::wire;

    #[test]
    fn a_request_is_signed_as_rocketmq_wants_it() {
        // As `printf 20261129T150000Z | openssl dgst -sha1 -hmac secret` has it.
        let signed = authorization("anna", &Secret::new("secret"), "20261129T150000Z");
        assert_eq!(
            signed,
            "MQv2-HMAC-SHA1 Credential=anna, SignedHeaders=x-mq-date-time, \
             Signature=defaa628a732cbcc1276a0d12d7b44b3b0679ff6"
        );
    }

    #[test]
    fn refusals_are_told_apart() {
        let check = |code: i32, kind: TroubleKind| {
            let message = "said\nso".to_owned();
            let trouble = describe_status("here", "do it", &wire::Status { code, message });
            assert_eq!(trouble.kind, kind, "{trouble}");
            assert!(trouble.text.contains("said so"), "{trouble}");
        };
        check(40_100, TroubleKind::CredentialsRefused);
        check(40_300, TroubleKind::CredentialsRefused);
        check(40_402, TroubleKind::DestinationMissing);
        check(40_403, TroubleKind::DestinationMissing);
        check(42_900, TroubleKind::Unreachable);
        check(50_001, TroubleKind::Unreachable);
        check(50_401, TroubleKind::Unreachable);
        check(41_301, TroubleKind::Refused);
        check(50_501, TroubleKind::Refused);
        check(0, TroubleKind::Refused);
        let check = |code: Code, kind: TroubleKind| {
            let trouble = describe("here", "do it", &Status::new(code, "x".repeat(10_000)));
            assert_eq!(trouble.kind, kind, "{trouble}");
            assert!(trouble.text.len() < 600, "{trouble}");
        };
        check(Code::Unauthenticated, TroubleKind::CredentialsRefused);
        check(Code::Unavailable, TroubleKind::Unreachable);
        check(Code::Unknown, TroubleKind::Unreachable);
        check(Code::Unimplemented, TroubleKind::Refused);
    }
}
