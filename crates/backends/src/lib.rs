//! Backends that keep the journal in somebody else's database, behind the engine's port.
//!
//! Each stores the frames verbatim and, beside them, what is derived from them. **It must not know** a rule about money:
//! whatever it loads or saves was decided by the ledger crate, and SQL neither adds, compares amounts nor asks for the
//! time. It knows neither HTTP nor files.

pub mod postgres;
