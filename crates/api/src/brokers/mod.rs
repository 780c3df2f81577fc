//! Brokers as the API knows them: what binders and bindings say, and the port through which the crate that has the adapters checks
//! them.

mod figures;
mod map;
mod template;
mod terms;

pub use figures::{BindingFigures, Standing};
pub use map::{MAP_BYTES_MAX, check_map};
pub use template::{EventFields, EventTemplate};
pub use terms::{
    Binder, BinderTerms, Binding, BindingTerms, ConsumerTerms, Current, Declare, Direction,
    IdentityFrom, ReplyPattern, ReplyTerms, current_binders, current_bindings,
};

use tributary_ledger::SettingId;

use crate::error::ApiError;

/// The adapters of a server, as the API asks them: implemented by the crate that has them.
pub trait Brokers: Send + Sync {
    /// Checks a connection to a broker without making it.
    ///
    /// # Errors
    /// If no adapter has the binder's type, or this build has not; or the field that the adapter can't use.
    fn check_binder(&self, id: SettingId, slug: &str, terms: &BinderTerms) -> Result<(), ApiError>;

    /// Checks a binding to a broker of a type, without a connection.
    ///
    /// # Errors
    /// As of [`Brokers::check_binder`].
    fn check_binding(&self, broker: &str, slug: &str, terms: &BindingTerms)
    -> Result<(), ApiError>;

    /// Seals a password for the binder with this id, under the master key. Returns `before` if that is sealed for the binder and
    /// holds the same password.
    ///
    /// # Errors
    /// If the server has no master key.
    fn seal_password(
        &self,
        id: SettingId,
        password: &str,
        before: Option<&str>,
    ) -> Result<String, ApiError>;

    /// Returns what a binding does; none if it is not at work here.
    fn figures(&self, binding: SettingId) -> Option<BindingFigures>;

    /// Returns the MAC of a password under a key that follows from the master key: stands for the password in the digest of a
    /// request.
    ///
    /// # Errors
    /// If the server has no master key.
    fn mac_password(&self, password: &str) -> Result<[u8; 32], ApiError>;
}
