//! Maps: what a foreign document says, as payments.
//!
//! One language for the rows of a file (`tributary import`) and for messages of brokers: constants, fields, amounts in minor units
//! or decimals, accounts by external id. A [`Plan`] is made once for a [`Schema`], the fields that its documents have, and then
//! makes a [`Movement`] of the [`Fields`] of each document. `docs/maps.md` explains the language.
//!
//! A [`MessageMap`] is the map of a binding. [`MessageMap::check`] makes a [`CompiledMap`] of it, which makes the draft of a command of
//! each [`Document`], by the same forms and checks as requests.

mod amount;
mod compiled;
mod condition;
mod constants;
mod definition;
mod description;
mod document;
mod fault;
mod fields;
mod message;
mod payment;
mod plan;
mod queue;
mod template;

#[cfg(test)]
mod tests;

pub use amount::Grouping;
pub use compiled::{CompiledMap, MapError};
pub use condition::{Condition, Test, Texts};
pub use definition::{
    AccountSource, AmountSource, DateSource, Definition, FeeSource, MovementKind, Rule, Sign, Unit,
};
pub use document::{
    DOCUMENT_BYTES_MAX, Document, FIELD_BYTES_MAX, IDENTITY_BYTES_MAX, IdentityPath,
    PATH_BYTES_MAX, PATH_NAMES_MAX, PATHS_MAX, identity,
};
pub use fault::{Fault, FaultCode};
pub use fields::{FieldIndex, Fields, Schema};
pub use message::{ACCOUNTS_MAX, AccountPlace, MessageMap, RULES_MAX};
pub use plan::{AccountName, AccountTarget, Movement, Plan};
pub use queue::{PriorityTemplate, QueueTemplates};
pub use template::{FIELDS_PER_TEMPLATE_MAX, Template};
