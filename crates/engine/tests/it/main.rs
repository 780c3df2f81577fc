//! The engine over its backends, against the independent model.

mod simulated;
