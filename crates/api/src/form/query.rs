//! Query parameters, as strict as bodies are.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::form::json::data_error;

/// Name of the query parameter that asks for whole objects in place of ids, once for each field.
pub const EXPAND: &str = "expand[]";

/// Returns the fields that the query of a URL asks to expand.
pub fn expanded_fields(query: &str) -> Vec<String> {
    let parameters = form_urlencoded::parse(query.as_bytes());
    let fields = parameters.filter(|(name, _)| name == EXPAND);
    fields.map(|(_, field)| field.into_owned()).collect()
}

/// Reads the query of a URL into `T`, but for [`expanded_fields`]. Whether a path takes those, [`require_known_names`] has checked.
pub fn parse<T: DeserializeOwned>(query: &str) -> Result<T, ApiError> {
    let query = without_expansions(query);
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

/// Returns the query without the parameters of [`expanded_fields`], which may be repeated.
fn without_expansions(query: &str) -> Cow<'_, str> {
    let expands = |pair: &str| {
        let mut parameter = form_urlencoded::parse(pair.as_bytes());
        parameter.next().is_some_and(|(name, _)| name == EXPAND)
    };
    if !query.split('&').any(expands) {
        return Cow::Borrowed(query);
    }
    let others: Vec<&str> = query.split('&').filter(|pair| !expands(pair)).collect();
    Cow::Owned(others.join("&"))
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
