//! `import`: a CSV of money movements becomes accounts and payments.

mod map;
mod movement;
mod report;
mod rows;
mod run;
mod template;
mod wire;

pub(crate) use run::import;
