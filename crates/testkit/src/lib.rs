//! Tools for tests only: never a dependency of anything that ships.
//!
//! [`disk`] is a simulated disk that loses, tears and refuses writes, [`clock`] a clock that tests set, [`model`] an
//! independent ledger, [`store`] the store of a test on whatever log [`logs`] finds, [`lossy`] a backend that loses answers, [`intercepted`]
//! one whose batches a test delays or refuses, [`workload`] a source of random commands, [`random`] a seeded generator
//! of numbers, [`ports`] of ports, [`engine`] a real broker, [`brokers`] several of Kafka, [`proxy`] what cuts their connections,
//! [`consul`] what answers like Consul. [`lockstep`], [`crash`] and [`read_checks`] compare backends with the model.
//! This crate may know every crate of the workspace below the server; none of them may know it outside of their tests.

pub mod backends;
pub mod brokers;
pub mod clock;
pub mod commands;
pub mod consul;
pub mod crash;
pub mod disk;
pub mod engine;
pub mod intercepted;
pub mod lockstep;
pub mod logs;
pub mod lossy;
pub mod model;
pub mod ports;
pub mod proxy;
pub mod random;
pub mod read_checks;
pub mod seeds;
pub mod store;
pub mod workload;
