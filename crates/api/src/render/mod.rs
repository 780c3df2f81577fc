//! Objects of the API, made from records. The answer to a write is made of its record and of older ones, never of later
//! state, so a repetition of the write gets the same bytes.

pub mod account;
pub mod answer;
pub mod api_key;
pub mod attempt;
pub mod balance;
pub mod binder;
pub mod binding;
pub mod binding_work;
pub mod clock;
pub mod cloud_event;
pub mod cluster;
pub mod common;
pub mod entry;
pub mod event;
pub mod event_schema;
pub mod expand;
pub mod facts;
pub mod limit;
pub mod list;
pub mod model;
pub mod notes;
pub mod owner;
pub mod payment;
pub mod queue;
pub mod refund;
pub mod resource;
pub mod revision;
pub mod rule_set;
pub mod sandbox;
pub mod setting;
mod split_fault;
pub mod stream;
pub mod subscription;
pub mod text_list;
pub mod timeline;
pub mod xml;
