//! `import`: a CSV of money movements becomes accounts and payments.

mod decode;
mod keys;
mod map;
mod movement;
mod records;
mod report;
mod rows;
mod run;
mod wire;

pub(crate) use run::import;
