//! The map of a binding: how a message of another form becomes a command.

use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::form::json::parse_object;
use crate::map::MessageMap;

/// Maximum size of a map as JSON, bytes.
pub const MAP_BYTES_MAX: usize = 12 * 1_024;

/// Checks the map of a binding when the binding is put.
///
/// # Errors
/// If the map is too large, or the first thing that is wrong in it, with its field.
pub fn check_map(map: &Map<String, Value>) -> Result<(), ApiError> {
    let bytes = serde_json::to_vec(map).expect("a map is JSON");
    if bytes.len() > MAP_BYTES_MAX {
        let message = format!("map must be at most {MAP_BYTES_MAX} bytes of JSON.");
        return Err(ApiError::invalid("map", message));
    }
    let map: MessageMap = parse_object(&bytes).map_err(|error| error.within("map"))?;
    let checked = map.check().map(|_| ());
    checked.map_err(|fault| {
        let message = format!("The map is wrong: {}.", fault.why);
        match fault.field.as_str() {
            "" => ApiError::invalid("map", message),
            field => ApiError::invalid(&format!("map.{field}"), message),
        }
    })
}
