//! Models of trees that XGBoost or LightGBM trained, and the score that such a model gives to a row of features.
//!
//! [`Model::read`] reads what `booster.save_model("model.json")` of XGBoost or `booster.save_model("model.txt")` of
//! LightGBM wrote, and [`Model::score`] computes what the library would predict, as an integer from 0 to 1000. Only
//! models of one probability are read: the objectives `binary:logistic` and `binary`.
//!
//! # The same score everywhere
//!
//! Features are integers and so is the score: `floor(p * 1000 + 0.5)` of the probability `p`. The floats in between
//! stay within this module, and only operations whose result IEEE 754 fixes are used: parsing, comparing, adding,
//! multiplying, dividing. So a score is the same on every machine, today and in a replay:
//!
//! - A comparison of a feature with a threshold becomes one of integers when the model is read (`forest.rs`).
//! - The margin is the sum of leaves in the order of the trees, in `f32` for XGBoost and in `f64` for LightGBM, like
//!   the libraries' own (`xgboost.rs`, `lightgbm.rs`).
//! - The margin is compared with 1000 bounds in place of `exp`, which differs between machines (`logit.rs`).
//!
//! The libraries themselves call `exp`, and XGBoost in `f32`. The score differs by one from their rounded probability
//! where that error moves the probability across the bound of a score: for XGBoost, margins whose exact probability
//! is within 0.0000001 of `(k - 0.5) / 1000`.
//!
//! # Bounds
//!
//! A file may come from anyone. It is at most [`BYTES_MAX`] long, [`TREES_MAX`], [`NODES_MAX`] and [`FEATURES_MAX`]
//! bound the memory, [`STEPS_MAX`] the comparisons of one score. No tree is walked by recursion, each node has at
//! most one link that leads to it, no number is NaN, and none but a threshold is infinite.
//!
//! Pure: no storage, no clock, no sockets.

mod errors;
mod features;
mod forest;
mod lightgbm;
mod limits;
mod logit;
mod xgboost;

#[cfg(test)]
mod tests;

pub use self::errors::{ModelError, Place};
pub use self::limits::{
    BYTES_MAX, FEATURE_NAME_BYTES_MAX, FEATURES_MAX, NODES_MAX, STEPS_MAX, TREES_MAX,
};
pub use self::logit::SCORE_MAX;

use self::forest::Forest;

/// A model that was read and checked.
#[derive(Debug, Clone)]
pub struct Model {
    features: Vec<String>,
    forest: Forest,
    sum: Sum,
}

/// The library that trained a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// XGBoost's JSON.
    Xgboost,
    /// LightGBM's text.
    Lightgbm,
}

/// How the values of leaves become a margin.
#[derive(Debug, Clone, Copy)]
enum Sum {
    /// In `f32`, from this value on.
    Single(f32),
    /// In `f64`, times this factor.
    Double(f64),
}

impl Model {
    /// Reads a model. The content tells the format.
    ///
    /// # Errors
    /// If the bytes are no such model, the model needs more than is read here, or a bound is exceeded.
    pub fn read(bytes: &[u8]) -> Result<Model, ModelError> {
        let model = Model::read_format(read_text(bytes)?)?;
        if model.trees() == 0 {
            return Err(ModelError::new(
                Place::default(),
                "the model has no trees",
                "train for at least one round",
            ));
        }
        Ok(model)
    }

    fn read_format(text: &str) -> Result<Model, ModelError> {
        if text.trim_start().starts_with('{') {
            let model = xgboost::read(text)?;
            return Ok(Model {
                features: model.features,
                forest: model.forest,
                sum: Sum::Single(model.base),
            });
        }
        if text.lines().next() == Some("tree") {
            let model = lightgbm::read(text)?;
            return Ok(Model {
                features: model.features,
                forest: model.forest,
                sum: Sum::Double(model.factor),
            });
        }
        Err(unknown_format(
            "the content is neither a JSON object nor text that begins with the line `tree`",
        ))
    }

    /// Returns the format of the file.
    #[must_use]
    pub fn format(&self) -> Format {
        match self.sum {
            Sum::Single(_) => Format::Xgboost,
            Sum::Double(_) => Format::Lightgbm,
        }
    }

    /// Returns the names of the features, in the order in which [`Model::score`] takes their values.
    #[must_use]
    pub fn features(&self) -> &[String] {
        &self.features
    }

    /// Returns the number of trees.
    #[must_use]
    pub fn trees(&self) -> usize {
        self.forest.trees()
    }

    /// Returns the score of a row, from 0 to [`SCORE_MAX`]: the probability in thousandths, rounded.
    ///
    /// A row has a value for each feature in the order of [`Model::features`], none for a missing one. It takes at most
    /// [`STEPS_MAX`] comparisons and no memory.
    ///
    /// # Panics
    /// If the row has not as many values as the model has features.
    #[must_use]
    pub fn score(&self, row: &[Option<i64>]) -> u16 {
        logit::score_margin(self.margin(row))
    }

    fn margin(&self, row: &[Option<i64>]) -> f64 {
        assert_eq!(row.len(), self.features.len(), "one value per feature");
        let leaves = self.forest.leaf_values(row);
        match self.sum {
            // Leaves were read as `f32`, so that the conversion back is exact.
            Sum::Single(base) => f64::from(leaves.fold(base, |sum, leaf| sum + leaf as f32)),
            Sum::Double(factor) => leaves.fold(0.0, |sum, leaf| sum + leaf) * factor,
        }
    }
}

fn read_text(bytes: &[u8]) -> Result<&str, ModelError> {
    if bytes.len() > BYTES_MAX {
        return Err(ModelError::new(
            Place::default(),
            format!(
                "the model has {} bytes, at most {BYTES_MAX} are read",
                bytes.len()
            ),
            "train with fewer or smaller trees",
        ));
    }
    std::str::from_utf8(bytes).map_err(|_| {
        unknown_format("the content is binary, as XGBoost's UBJSON or a pickled object of Python")
    })
}

fn unknown_format(problem: &str) -> ModelError {
    ModelError::new(
        Place::default(),
        problem,
        "save the model with booster.save_model(\"model.json\") of XGBoost or booster.save_model(\"model.txt\") of LightGBM",
    )
}
