//! The stable error codes that the server itself answers. The ledger's rejections add theirs.

/// The family of an error: what a program should do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// The request is wrong: change it before sending it again.
    InvalidRequest,
    /// There is no valid API key.
    Authentication,
    /// The API key may not do this.
    Permission,
    /// The object does not exist, or this API key may not see it.
    NotFound,
    /// The idempotency key belongs to another request.
    Idempotency,
    /// The ledger refused a movement of money; the refusal is on record.
    Payment,
    /// The ledger refused another command; the refusal is on record.
    Conflict,
    /// Too much at once: wait, then send it again with the same idempotency key.
    RateLimit,
    /// The server can't do it now.
    Api,
}

impl ErrorType {
    /// All of them.
    pub const ALL: [ErrorType; 9] = [
        ErrorType::InvalidRequest,
        ErrorType::Authentication,
        ErrorType::Permission,
        ErrorType::NotFound,
        ErrorType::Idempotency,
        ErrorType::Payment,
        ErrorType::Conflict,
        ErrorType::RateLimit,
        ErrorType::Api,
    ];

    /// Text of the type, as in `error.type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            ErrorType::InvalidRequest => "invalid_request_error",
            ErrorType::Authentication => "authentication_error",
            ErrorType::Permission => "permission_error",
            ErrorType::NotFound => "not_found_error",
            ErrorType::Idempotency => "idempotency_error",
            ErrorType::Payment => "payment_error",
            ErrorType::Conflict => "conflict_error",
            ErrorType::RateLimit => "rate_limit_error",
            ErrorType::Api => "api_error",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $kind:ident;)*) => {
        /// An error that the server answers without asking the ledger. A published code never changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ErrorCode { $($(#[$doc])* $name,)* }

        impl ErrorCode {
            /// All of them, in the order of their HTTP status.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)*];

            /// Text of the code, as in `error.code`.
            pub const fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$name => $text,)* }
            }

            /// The HTTP status that it is answered with.
            pub const fn status(self) -> u16 {
                match self { $(ErrorCode::$name => $status,)* }
            }

            /// Its family.
            pub const fn kind(self) -> ErrorType {
                match self { $(ErrorCode::$name => ErrorType::$kind,)* }
            }
        }
    };
}

codes! {
    /// The body is not JSON.
    JsonMalformed = "json_malformed", 400, InvalidRequest;
    /// The body is not XML, or has parts of XML that are not taken.
    XmlMalformed = "xml_malformed", 400, InvalidRequest;
    /// A required field or parameter is missing.
    ParameterMissing = "parameter_missing", 400, InvalidRequest;
    /// A field or parameter is not known.
    ParameterUnknown = "parameter_unknown", 400, InvalidRequest;
    /// A field or parameter has a wrong type or form.
    ParameterInvalid = "parameter_invalid", 400, InvalidRequest;
    /// The request names a version of the API that this server does not know.
    ApiVersionUnknown = "api_version_unknown", 400, InvalidRequest;
    /// A write came without an idempotency key.
    IdempotencyKeyMissing = "idempotency_key_missing", 400, InvalidRequest;
    /// The idempotency key is empty, too long or not printable.
    IdempotencyKeyInvalid = "idempotency_key_invalid", 400, InvalidRequest;
    /// A header that every request needs is missing.
    HeaderMissing = "header_missing", 400, InvalidRequest;
    /// A header that is allowed once is there twice.
    HeaderRepeated = "header_repeated", 400, InvalidRequest;
    /// The body is transferred in a coding other than `chunked`.
    TransferEncodingUnsupported = "transfer_encoding_unsupported", 400, InvalidRequest;
    /// There is no API key in the request.
    ApiKeyMissing = "api_key_missing", 401, Authentication;
    /// The API key is not known or was revoked.
    ApiKeyInvalid = "api_key_invalid", 401, Authentication;
    /// The API key may only read.
    ReadOnlyKey = "read_only_key", 403, Permission;
    /// Only a platform key may do this.
    PlatformOnly = "platform_only", 403, Permission;
    /// The API key may not do this with what it names.
    Forbidden = "forbidden", 403, Permission;
    /// Only a sandbox can do this.
    SandboxOnly = "sandbox_only", 403, Permission;
    /// No such path.
    RouteNotFound = "route_not_found", 404, NotFound;
    /// The object does not exist, or this API key may not see it.
    ResourceNotFound = "resource_not_found", 404, NotFound;
    /// The path does not take this method.
    MethodNotAllowed = "method_not_allowed", 405, InvalidRequest;
    /// The body did not arrive in time.
    RequestTimeout = "request_timeout", 408, InvalidRequest;
    /// The body is larger than the server takes.
    BodyTooLarge = "body_too_large", 413, InvalidRequest;
    /// The body does not say that it is JSON or XML.
    ContentTypeUnsupported = "content_type_unsupported", 415, InvalidRequest;
    /// The body is compressed.
    ContentEncodingUnsupported = "content_encoding_unsupported", 415, InvalidRequest;
    /// The request was forwarded to a node of a cluster that does not lead it.
    NotLeader = "not_leader", 421, Api;
    /// The idempotency key was used for another request.
    IdempotencyKeyReused = "idempotency_key_reused", 422, Idempotency;
    /// The answer needs more records than one request may look at.
    TooManyRecords = "too_many_records", 422, InvalidRequest;
    /// The maximum number of subscriptions, or of ranges to replay, is reached.
    SubscriptionLimit = "subscription_limit", 422, InvalidRequest;
    /// This API key sent more requests per second than is allowed.
    RateLimited = "rate_limited", 429, RateLimit;
    /// Too many requests of this API key or address went wrong.
    TemporarilyBlocked = "temporarily_blocked", 429, RateLimit;
    /// More commands are waiting than the server holds.
    Overloaded = "overloaded", 429, RateLimit;
    /// The maximum number of queued payments is reached.
    QueueFull = "queue_full", 429, RateLimit;
    /// The maximum number of event streams is open.
    TooManyStreams = "too_many_streams", 429, RateLimit;
    /// The request line and the headers are larger than the server takes.
    HeadTooLarge = "head_too_large", 431, InvalidRequest;
    /// The server failed; nothing is said about why.
    InternalError = "internal_error", 500, Api;
    /// A stored record does not match its checksum.
    RecordDamaged = "record_damaged", 500, Api;
    /// There is no space for another record.
    StorageFull = "storage_full", 503, Api;
    /// The maximum number of connections is open.
    TooManyConnections = "too_many_connections", 503, Api;
    /// The server is stopping.
    Stopping = "stopping", 503, Api;
    /// The server can't do it now.
    Unavailable = "unavailable", 503, Api;
    /// The server does not show the position yet that a read asked for.
    PositionNotReached = "position_not_reached", 503, Api;
    /// Subscriptions can't be kept here, or not now.
    MessagingUnavailable = "messaging_unavailable", 503, Api;
    /// The queue takes no new payments until it is resumed.
    QueueDraining = "queue_draining", 503, Api;
    /// The outcome was not known in time.
    OutcomeUnknown = "outcome_unknown", 504, Api;
}
