//! Query parameters, as strict as bodies are.

use serde::de::DeserializeOwned;

use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::form::json::data_error;

/// Reads the query of a URL into `T`.
pub fn parse<T: DeserializeOwned>(query: &str) -> Result<T, ApiError> {
    let deserializer =
        serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = match error.path().to_string() {
            path if path == "." => String::new(),
            path => path,
        };
        data_error(&path, &error.into_inner().to_string())
    })
}

/// Refuses a query that names a parameter other than the `known` ones.
pub fn require_known_names(query: &str, known: &[String]) -> Result<(), ApiError> {
    for (name, _) in form_urlencoded::parse(query.as_bytes()) {
        if !known.iter().any(|known| *known == name) {
            let taken = match known {
                [] => "it takes none".to_owned(),
                known => format!("it takes {}", known.join(", ")),
            };
            let message =
                format!("This path has no query parameter {name} for this method; {taken}.");
            return Err(ApiError::new(ErrorCode::ParameterUnknown, message).param(name));
        }
    }
    Ok(())
}
