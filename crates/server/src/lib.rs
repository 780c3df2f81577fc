//! The server: REST and gRPC in, commands to the engine, records out as JSON or protobuf.
//!
//! It checks the form of what comes in and who sends it, and bounds how much of it there may be. **It must not know** any
//! rule about money: whether a payment may be made, and what it changes, is the ledger's to say. The answer to a write is made
//! from its record, never from later state, so the repetition of a write gets the first answer.

mod accept;
mod admission;
mod answer;
mod app;
mod auth;
mod cluster;
mod config;
mod decided_payments;
mod docs_page;
mod extract;
mod failed_request;
mod grpc;
mod guard;
mod metrics;
mod model;
mod observe;
mod openapi;
mod parameters;
mod prefer;
mod rate;
mod readiness;
mod request_head;
mod request_notes;
mod response;
mod routes;
mod serve;
mod statement_pages;
mod streams;
mod submit;
mod timeouts;
mod version;

pub use config::{Limits, Reloadable, ServerConfig, TlsFiles};
pub use guard::AbuseLimits;
pub use openapi::openapi_json;
pub use rate::RateLimit;
pub use serve::{Running, Server, Services, StartError, take_short_turns};
