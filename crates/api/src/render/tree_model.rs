//! Models as they look from outside.

use serde::Serialize;
use tributary_engine::Reader;
use tributary_ledger::Setting;
use utoipa::ToSchema;

use crate::risk::{ModelFormat, ModelTerms};
use crate::time::format_timestamp;

/// A model of trees that scores payments.
#[derive(Serialize, ToSchema)]
#[schema(as = Model)]
pub struct TreeModelObject {
    id: String,
    #[schema(pattern = "^model$")]
    object: &'static str,
    /// Name by which rule sets name the model, unique among the models.
    slug: String,
    /// Name of the file or tool that manages the model.
    #[schema(required)]
    managed_by: Option<String>,
    /// Number of this revision, from 1.
    revision: u64,
    /// What people should know of the model.
    #[schema(required)]
    description: Option<String>,
    /// Library that trained the model.
    format: ModelFormat,
    /// Number of trees.
    trees: usize,
    /// Names of the features, in the order of the file.
    features: Vec<String>,
    /// Size of the file.
    bytes: usize,
    /// BLAKE3 of the file, as 64 hexadecimal digits.
    hash: String,
    #[schema(format = DateTime)]
    created: String,
    /// When this revision was made.
    #[schema(format = DateTime)]
    updated: String,
}

/// Returns the model that a setting defines.
pub fn tree_model(reader: &Reader, setting: &Setting, terms: ModelTerms) -> TreeModelObject {
    TreeModelObject {
        id: reader.ids().encode_setting(setting.kind, setting.id),
        object: "model",
        slug: setting.slug.to_string(),
        managed_by: setting.managed_by.as_ref().map(ToString::to_string),
        revision: setting.revision,
        description: terms.description,
        format: terms.facts.format,
        trees: terms.facts.trees,
        features: terms.facts.features,
        bytes: terms.bytes,
        hash: terms.hash,
        created: format_timestamp(setting.created.timestamp),
        updated: format_timestamp(setting.changed.timestamp),
    }
}
