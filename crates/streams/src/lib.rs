//! Streams of events: windows and their figures, the language of conditions and derived fields, scores of trained models, the
//! driver that runs streams over the journal, and the queueing model, which predicts what a pool of workers does under a load.
//!
//! `flink` writes a stream as SQL of Apache Flink.
//!
//! All but the driver are pure operators: they know no storage, no clock, no socket and no journal. Time and figures arrive in arguments.

pub mod driver;
pub mod expression;
pub mod flink;
pub mod model;
pub mod queueing;
pub mod risk;
pub mod stream;
