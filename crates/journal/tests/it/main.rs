//! The journal's promises, tested through its public interface.

mod append;
mod checkpoint;
mod crash;
mod damage;
mod index;
mod real;
mod scan;
mod support;
