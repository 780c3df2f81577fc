//! `import`: a CSV of money movements becomes accounts and payments.

pub(crate) mod amount;
mod map;
mod plan;
mod report;
mod rows;
mod run;
mod template;
mod wire;

pub(crate) use run::{exponent_of, import};
