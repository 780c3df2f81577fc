//! The API without its transports: forms of requests, objects of answers, errors, callers, and the intake of commands.
//!
//! Every interface of Tributary (REST, gRPC, and later brokers and rails) reads requests and writes answers by this crate, so that
//! they agree. **It must not know** how anything travels: no axum, tonic, hyper or sockets. It holds no rule about money either:
//! whether a payment may be made, and what it changes, is the ledger's to say.

pub mod attempt_note;
pub mod brokers;
pub mod caller;
pub mod code;
pub mod draft;
pub mod error;
pub mod error_pages;
pub mod failures;
pub mod first_key;
pub mod form;
pub mod intake;
pub mod leadership;
pub mod map;
pub mod moment;
pub mod render;
pub mod risk;
pub mod schema;
pub mod settings;
pub mod streaming;
pub mod subscriptions;
pub mod time;
pub mod token;
pub mod transport;
pub mod visibility;
