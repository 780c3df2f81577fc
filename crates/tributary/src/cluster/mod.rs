//! Nodes of a cluster: how `serve` becomes one, and the `cluster` commands.
//!
//! A node is the embedded system, whose data directory is a mirror of a shared log: what is decided there is decided for all nodes.

pub(crate) mod commands;
pub(crate) mod leadership;
pub(crate) mod log;
pub(crate) mod mirror;
pub(crate) mod moving;
pub(crate) mod node;
pub(crate) mod recover;
