//! The definition of a model.

use serde::{Deserialize, Serialize};

use crate::form::json::given;

/// Make a model that scores payments. Its file is the body of the request.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCreate {
    /// Name by which rule sets name the model, unique among the models: 1 to 64 of `a-z 0-9 . _ -`.
    pub slug: String,
    /// Name of the file or tool that manages the model, at most 64 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// What people should know of the model: at most 512 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What the trainer wrote: XGBoost's JSON or LightGBM's text, at most 16 MiB. That of before, if left out of a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// Change a model: what is left out stays.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModelUpdate {
    /// Revision that must be the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    /// Another name of what manages the model; null for nothing.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub managed_by: Option<Option<String>>,
    /// Another description; null for none.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub description: Option<Option<String>>,
    /// Another file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}
