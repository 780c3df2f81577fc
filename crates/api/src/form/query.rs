//! Query parameters, as strict as bodies are.

use serde::de::DeserializeOwned;

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
