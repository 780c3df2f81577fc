//! Why a model is refused.

use std::fmt;

/// Why bytes are no model that can be scored with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}{problem}; {advice}")]
pub struct ModelError {
    /// Where the problem is, as far as one place can be named.
    pub place: Place,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub advice: String,
}

/// A place in the file of a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// Number of the tree, from 0 as in the file.
    pub tree: Option<usize>,
    /// Number of the node within the tree, from 0. The leaves of a LightGBM tree are numbered after its splits.
    pub node: Option<usize>,
    /// Line, from 1. XGBoost writes all of a model on one line.
    pub line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("tree", self.tree),
            ("node", self.node),
            ("line", self.line),
        ];
        let mut separator = "";
        for (name, number) in parts {
            if let Some(number) = number {
                write!(f, "{separator}{name} {number}")?;
                separator = ", ";
            }
        }
        if separator.is_empty() {
            return Ok(());
        }
        f.write_str(": ")
    }
}

impl Place {
    pub(super) fn of_tree(tree: usize) -> Place {
        Place {
            tree: Some(tree),
            ..Place::default()
        }
    }

    pub(super) fn of_line(line: usize) -> Place {
        Place {
            line: Some(line),
            ..Place::default()
        }
    }

    pub(super) fn with_node(self, node: usize) -> Place {
        Place {
            node: Some(node),
            ..self
        }
    }
}

impl ModelError {
    pub(super) fn new(
        place: Place,
        problem: impl Into<String>,
        advice: impl Into<String>,
    ) -> ModelError {
        ModelError {
            place,
            problem: problem.into(),
            advice: advice.into(),
        }
    }

    /// Returns the error for a file that contradicts itself or its format.
    pub(super) fn damaged(place: Place, problem: impl Into<String>) -> ModelError {
        ModelError::new(
            place,
            problem,
            "the file is damaged or was edited: save the model again with the library that trained it",
        )
    }
}
