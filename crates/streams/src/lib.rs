//! Operators over streams of events: windows and their figures, the language of conditions and derived fields, and the
//! queueing model, which predicts what a pool of workers does under a load.
//!
//! Operators are pure: they know no storage, no clock, no socket and no journal. Time and figures arrive in arguments.

pub mod expression;
pub mod queueing;
pub mod stream;
