//! `import`: a CSV of money movements becomes accounts and payments.

mod map;
mod plan;
mod report;
mod rows;
mod run;
mod template;
mod wire;

pub(crate) use run::import;
