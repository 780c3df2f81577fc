//! The paths, one noun per file.

pub(crate) mod accounts;
pub(crate) mod api_keys;
pub(crate) mod attempts;
pub(crate) mod batches;
pub(crate) mod binders;
pub(crate) mod bindings;
pub(crate) mod books;
pub(crate) mod clock;
pub(crate) mod cluster;
pub(crate) mod defined;
pub(crate) mod deliveries;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod journal;
pub(crate) mod owners;
pub(crate) mod pages;
pub(crate) mod payments;
pub(crate) mod payouts;
pub(crate) mod queues;
pub(crate) mod refunds;
pub(crate) mod sandbox;
pub(crate) mod settings;
pub(crate) mod stream;
pub(crate) mod streams;
pub(crate) mod subscriptions;
pub(crate) mod timeline;
