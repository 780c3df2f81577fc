//! The server over HTTP, as a caller meets it.

mod alerts;
mod batches;
mod books;
mod client;
mod codes;
mod complaints;
mod document;
mod faulty;
mod fixture;
mod foreign;
mod forms;
mod grpc;
mod history;
mod idempotency;
mod limits;
mod lists;
mod payments;
mod proto;
mod publish;
mod queue;
mod refunds;
mod replies;
mod scopes;
mod stream;
mod subscriptions;
mod webhooks;
