//! The PostgreSQL backend against a real server, with the in-memory backend as its model.
//!
//! `TRIBUTARY_TEST_POSTGRES` names the server (`scripts/services` starts one). Without it the tests are skipped, loudly,
//! unless `TRIBUTARY_TEST_ALL=1` says that nothing may be.

mod database;
mod driver;
mod lost;
mod proxy;
mod refused;
mod same;
mod simulated;
mod workload;
