//! Query parameters, as strict as bodies are.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::form::json::data_error;

/// Name of the query parameter that asks for whole objects in place of ids, once for each field.
pub const EXPAND: &str = "expand[]";

/// Name of the query parameter of reads that names the position that must be shown.
pub const MIN_POSITION: &str = "min_position";

/// Name of the query parameter of reads that asks for everything that was answered before.
pub const CONSISTENCY: &str = "consistency";

/// Parameters that many paths take and that are read apart from those of the path.
const SHARED: [&str; 3] = [EXPAND, MIN_POSITION, CONSISTENCY];

/// Returns the fields that the query of a URL asks to expand.
pub fn expanded_fields(query: &str) -> Vec<String> {
    let parameters = form_urlencoded::parse(query.as_bytes());
    let fields = parameters.filter(|(name, _)| name == EXPAND);
    fields.map(|(_, field)| field.into_owned()).collect()
}

/// Returns the value of a parameter that may be given once; none if the query of the URL does not have it.
///
/// # Errors
/// If it is given twice.
pub fn single_value<'a>(query: &'a str, name: &str) -> Result<Option<Cow<'a, str>>, ApiError> {
    let mut values = form_urlencoded::parse(query.as_bytes())
        .filter(|(known, _)| known == name)
        .map(|(_, value)| value);
    let value = values.next();
    match values.next() {
        Some(_) => Err(ApiError::invalid(name, format!("{name} is given twice."))),
        None => Ok(value),
    }
}

/// Reads the query of a URL into `T`, but for the parameters that many paths take. Whether a path takes those,
/// [`require_known_names`] has checked.
pub fn parse<T: DeserializeOwned>(query: &str) -> Result<T, ApiError> {
    let query = without_shared(query);
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

/// Returns the query without the parameters that many paths take.
fn without_shared(query: &str) -> Cow<'_, str> {
    let is_shared = |pair: &str| {
        let mut parameter = form_urlencoded::parse(pair.as_bytes());
        parameter
            .next()
            .is_some_and(|(name, _)| SHARED.contains(&&*name))
    };
    if !query.split('&').any(is_shared) {
        return Cow::Borrowed(query);
    }
    let others: Vec<&str> = query.split('&').filter(|pair| !is_shared(pair)).collect();
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
