//! Maps: what a foreign document says, as payments.
//!
//! One language for the rows of a file (`tributary import`) and for messages of brokers: constants, fields, amounts in minor units
//! or decimals, accounts by external id. A [`Plan`] is made once for a [`Schema`], the fields that its documents have, and then
//! makes a [`Movement`] of the [`Fields`] of each document. `docs/maps.md` explains the language.

mod amount;
mod condition;
mod definition;
mod description;
mod fault;
mod fields;
mod payment;
mod plan;
mod template;

pub use amount::Grouping;
pub use condition::{Condition, Test, Texts};
pub use definition::{
    AccountSource, AmountSource, DateSource, Definition, FeeSource, MovementKind, Rule, Sign, Unit,
};
pub use fault::{Fault, FaultCode};
pub use fields::{FieldIndex, Fields, Schema};
pub use plan::{AccountName, AccountTarget, Movement, Plan};
pub use template::Template;
