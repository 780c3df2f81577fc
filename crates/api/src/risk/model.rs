//! What the setting of a model says: what the model is, and the parts of its file. Each part is a setting of its own, whose slug is a
//! hash of its content.

use serde::{Deserialize, Serialize};
use tributary_ledger::{Setting, SettingBody};
use utoipa::ToSchema;

/// Maximum size of the description of a model, bytes.
pub const DESCRIPTION_BYTES_MAX: usize = 512;
/// Maximum size of the names of all features of a model as JSON, bytes: the setting has room for them beside 512 parts.
pub const MODEL_NAMES_BYTES_MAX: usize = 8 * 1024;
/// Size of every part of a model's file but the last, bytes.
pub const MODEL_PART_BYTES: usize = SettingBody::BYTES_MAX;
/// Bytes of the hash that names a part.
const PART_HASH_BYTES: usize = 20;

/// A model, and of which parts its file is made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModelTerms {
    /// What people should know of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What the file says of the model.
    pub facts: ModelFacts,
    /// Size of the file, bytes.
    pub bytes: usize,
    /// BLAKE3 of the file, as 64 hexadecimal digits.
    pub hash: String,
    /// Slugs of the parts, in order.
    pub parts: Vec<String>,
}

/// What the file of a model says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFacts {
    /// Library that trained the model.
    pub format: ModelFormat,
    /// Number of its trees.
    pub trees: usize,
    /// Names of its features, in the order of the file.
    pub features: Vec<String>,
}

/// Library that trained a model, and the format of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ModelFormat)]
pub enum ModelFormat {
    /// XGBoost's JSON.
    Xgboost,
    /// LightGBM's text.
    Lightgbm,
}

impl ModelTerms {
    /// Returns what the setting of a model with this file says.
    #[must_use]
    pub fn new(description: Option<String>, facts: ModelFacts, file: &str) -> ModelTerms {
        ModelTerms {
            description,
            facts,
            bytes: file.len(),
            hash: model_hash(file.as_bytes()),
            parts: model_parts(file.as_bytes()).map(part_slug).collect(),
        }
    }

    /// Reads the content of a setting.
    ///
    /// # Errors
    /// If a later version of the server wrote it.
    pub fn from_setting(setting: &Setting) -> serde_json::Result<ModelTerms> {
        serde_json::from_slice(setting.body.as_bytes())
    }

    /// Puts the file together from its parts, which `part` returns by their slugs.
    ///
    /// # Errors
    /// Why there is no file, as a sentence.
    pub fn file(&self, part: impl Fn(&str) -> Option<SettingBody>) -> Result<Vec<u8>, String> {
        let mut file = Vec::new();
        for slug in &self.parts {
            let body = part(slug).ok_or_else(|| format!("its part {slug} is missing"))?;
            file.extend_from_slice(body.as_bytes());
        }
        match model_hash(&file) == self.hash {
            true => Ok(file),
            false => Err("its parts are not those of its file".to_owned()),
        }
    }
}

/// Returns the hash by which the file of a model is told from others: BLAKE3, as 64 hexadecimal digits.
#[must_use]
pub fn model_hash(file: &[u8]) -> String {
    blake3::hash(file).to_hex().to_string()
}

/// Returns the parts of the file of a model.
pub fn model_parts(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.chunks(MODEL_PART_BYTES)
}

/// Returns the slug of a part.
#[must_use]
pub fn part_slug(part: &[u8]) -> String {
    hex::encode(&blake3::hash(part).as_bytes()[..PART_HASH_BYTES])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn terms(file: &str) -> ModelTerms {
        let facts = ModelFacts {
            format: ModelFormat::Xgboost,
            trees: 1,
            features: Vec::new(),
        };
        ModelTerms::new(None, facts, file)
    }

    #[test]
    fn a_file_is_put_together_from_its_parts_and_no_others() {
        let file: String = (0..20_000).map(|number| format!("{number} ")).collect();
        let terms = terms(&file);
        assert_eq!(terms.parts.len(), file.len().div_ceil(MODEL_PART_BYTES));
        let mut parts: BTreeMap<String, SettingBody> = model_parts(file.as_bytes())
            .map(|part| (part_slug(part), SettingBody::new(part).expect("it fits")))
            .collect();
        let read =
            |parts: &BTreeMap<String, SettingBody>| terms.file(|slug| parts.get(slug).cloned());
        assert_eq!(read(&parts), Ok(file.clone().into_bytes()));
        let second = parts[&terms.parts[1]].clone();
        parts.insert(terms.parts[0].clone(), second);
        assert!(read(&parts).is_err_and(|why| why.contains("not those")));
        parts.remove(&terms.parts[0]);
        assert!(read(&parts).is_err_and(|why| why.contains(&terms.parts[0])));
    }

    /// The longest file with the longest names and description still fits one setting.
    #[test]
    fn the_terms_of_the_largest_model_fit_a_setting() {
        let mut largest = terms("x");
        largest.parts = vec![part_slug(b""); 16 * 1024 * 1024 / MODEL_PART_BYTES];
        largest.bytes = 16 * 1024 * 1024;
        largest.facts.trees = usize::MAX;
        largest.description = Some("\"".repeat(DESCRIPTION_BYTES_MAX));
        largest.facts.features = vec!["x".repeat(MODEL_NAMES_BYTES_MAX - r#"[""]"#.len())];
        let names = serde_json::to_vec(&largest.facts.features).expect("JSON");
        assert_eq!(names.len(), MODEL_NAMES_BYTES_MAX);
        let body = serde_json::to_vec(&largest).expect("JSON");
        assert!(body.len() <= SettingBody::BYTES_MAX, "{}", body.len());
    }
}
