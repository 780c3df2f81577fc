//! Names of features.

use std::collections::BTreeSet;

use super::errors::{ModelError, Place};
use super::limits::{FEATURE_NAME_BYTES_MAX, FEATURES_MAX};

/// Checks that each feature can be told from the others by its name.
pub(super) fn check_features(names: &[String]) -> Result<(), ModelError> {
    let refuse =
        |problem: String, advice: &str| Err(ModelError::new(Place::default(), problem, advice));
    if names.len() > FEATURES_MAX {
        return refuse(
            format!("the model has more than {FEATURES_MAX} features"),
            "train with fewer",
        );
    }
    let mut seen = BTreeSet::new();
    for (number, name) in names.iter().enumerate() {
        if name.is_empty() || name.len() > FEATURE_NAME_BYTES_MAX {
            return refuse(
                format!("the name of feature {number} has {} bytes", name.len()),
                &format!("train with names of 1 to {FEATURE_NAME_BYTES_MAX} bytes"),
            );
        }
        if !seen.insert(name) {
            return refuse(
                format!("two features have the name {name:?}"),
                "train with a name for each",
            );
        }
    }
    Ok(())
}
