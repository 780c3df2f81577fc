//! The form of what comes in: JSON and XML bodies, query parameters, idempotency keys. Whether it may be done is the ledger's to say.

pub mod batch;
pub mod binder;
pub mod binding;
pub mod body;
pub mod clock;
pub mod cloud_event;
pub mod cluster;
pub mod idempotency;
pub mod json;
pub mod limit;
pub mod owner;
pub mod parts;
pub mod path;
pub mod payout;
pub mod query;
pub mod queue;
pub mod reference;
pub mod request;
pub mod review;
pub mod rule_set;
pub mod stream;
pub mod subscription;
pub mod text_list;
pub mod tree_model;
pub mod value;
pub mod xml;
