//! The form of what comes in: JSON bodies, query parameters, idempotency keys. Whether it may be done is the ledger's to say.

pub(crate) mod batch;
pub(crate) mod idempotency;
pub(crate) mod json;
pub(crate) mod prefer;
pub(crate) mod query;
pub(crate) mod queue;
pub(crate) mod request;
pub(crate) mod subscription;
pub(crate) mod value;
