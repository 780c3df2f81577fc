//! Bounds of a model.

/// Longest file of a model, in bytes: 16 MiB.
pub const BYTES_MAX: usize = 16 * 1_024 * 1_024;

/// Maximum number of trees of a model.
pub const TREES_MAX: usize = 4_096;

/// Maximum number of nodes of a model, leaves among them.
pub const NODES_MAX: usize = 1_048_576;

/// Maximum number of comparisons for one score: the depths of all trees together.
pub const STEPS_MAX: usize = 65_536;

/// Maximum number of features of a model.
pub const FEATURES_MAX: usize = 1_024;

/// Longest name of a feature, in bytes.
pub const FEATURE_NAME_BYTES_MAX: usize = 256;

/// Largest absolute value of a leaf, so that sums over [`TREES_MAX`] trees stay finite.
pub(super) const LEAF_VALUE_MAX: f64 = 1e30;
