//! The map of a binding: how a message of another form becomes a command.

use serde_json::{Map, Value};

use crate::error::ApiError;

/// Maximum size of a map as JSON, bytes.
pub const MAP_BYTES_MAX: usize = 12 * 1_024;

/// Checks the map of a binding when the binding is put.
///
/// # Errors
/// If the map is too large.
pub fn check_map(map: &Map<String, Value>) -> Result<(), ApiError> {
    let bytes = serde_json::to_vec(map).expect("a map is JSON").len();
    if bytes > MAP_BYTES_MAX {
        let message = format!("map must be at most {MAP_BYTES_MAX} bytes of JSON.");
        return Err(ApiError::invalid("map", message));
    }
    Ok(())
}
