//! Models of XGBoost in JSON.
//!
//! Sources: the page "Introduction to Model IO" of XGBoost's documentation and its `doc/model.schema` for the fields,
//! `include/xgboost/tree_model.h` for the meaning of nodes, `src/predictor` for comparisons and the order of the sum,
//! `src/common/math.h` and `src/objective/regression_loss.h` for the logistic function.
//!
//! - All floats are `f32`. A node is a leaf if its left child is -1; its value is then in `split_conditions`.
//! - A value goes to the left if it is less than the threshold, a missing one as `default_left` says. A value is
//!   converted to `f32` first, which rounds integers beyond 2^24.
//! - The margin is the logit of `base_score`, then the leaves of all trees are added in order, each step in `f32`.
//! - XGBoost 3.1 and later writes `base_score` as a list of one element within a string.
//! - Numbers are parsed from their digits straight to `f32`: through `f64` they could be rounded twice.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::errors::{ModelError, Place};
use super::features::check_features;
use super::forest::{Bound, Forest, SourceNode};
use super::limits::{FEATURES_MAX, NODES_MAX, TREES_MAX};
use super::logit::ln;

const SAVE_AGAIN: &str = "train with objective binary:logistic and booster gbtree";

/// What a model of XGBoost adds up.
pub(super) struct XgboostModel {
    pub(super) features: Vec<String>,
    pub(super) forest: Forest,
    /// Margin before the first tree.
    pub(super) base: f32,
}

#[derive(serde::Deserialize)]
struct Document {
    learner: Learner,
}

#[derive(serde::Deserialize)]
struct Learner {
    #[serde(default)]
    feature_names: List<String, FEATURES_MAX>,
    gradient_booster: Booster,
    learner_model_param: Parameters,
    objective: Objective,
}

#[derive(serde::Deserialize)]
struct Booster {
    name: String,
    /// Boosters other than `gbtree` have none here.
    model: Option<Trees>,
}

#[derive(serde::Deserialize)]
struct Trees {
    /// Boosters other than `gbtree` have a model without trees.
    #[serde(default)]
    trees: List<Tree, TREES_MAX>,
}

#[derive(serde::Deserialize)]
struct Parameters {
    base_score: String,
    num_feature: String,
    num_class: Option<String>,
    num_target: Option<String>,
}

#[derive(serde::Deserialize)]
struct Objective {
    name: String,
}

#[derive(serde::Deserialize)]
struct Tree {
    left_children: List<i32, NODES_MAX>,
    right_children: List<i32, NODES_MAX>,
    split_indices: List<u32, NODES_MAX>,
    split_conditions: List<Single, NODES_MAX>,
    default_left: List<Flag, NODES_MAX>,
    /// Older versions have none. 0 is a comparison, 1 a set of categories.
    #[serde(default)]
    split_type: List<u8, NODES_MAX>,
}

/// A list with a bound, which is checked before an element more is kept.
struct List<T, const MAX: usize>(Vec<T>);

/// A finite `f32`, parsed from its digits.
struct Single(f32);

/// A boolean, which older versions write as one and newer ones as 0 or 1.
struct Flag(bool);

/// Reads a model from JSON.
pub(super) fn read(text: &str) -> Result<XgboostModel, ModelError> {
    let document: Document = serde_json::from_str(text).map_err(|error| {
        ModelError::new(
            Place::of_line(error.line()),
            format!("this is no model that XGBoost saved as JSON: {error}"),
            "save the model with booster.save_model(\"model.json\")",
        )
    })?;
    let learner = document.learner;
    check_kind(&learner)?;
    let parameters = &learner.learner_model_param;
    let features = learner.feature_names.0;
    let count: usize = parse(&parameters.num_feature, "num_feature")?;
    if features.is_empty() && count > 0 {
        return Err(ModelError::new(
            Place::default(),
            "the model has no names of features",
            "train with names: a DMatrix takes them as feature_names",
        ));
    }
    if features.len() != count {
        let problem = format!("{} names for {count} features", features.len());
        return Err(ModelError::damaged(Place::default(), problem));
    }
    check_features(&features)?;
    let base = read_base(&parameters.base_score)?;
    let mut forest = Forest::new(count);
    let trees = learner.gradient_booster.model.map(|model| model.trees.0);
    for (number, tree) in trees.unwrap_or_default().iter().enumerate() {
        push_tree(&mut forest, tree, number)?;
    }
    Ok(XgboostModel {
        features,
        forest,
        base,
    })
}

fn check_kind(learner: &Learner) -> Result<(), ModelError> {
    let refuse = |problem: String| Err(ModelError::new(Place::default(), problem, SAVE_AGAIN));
    let booster = learner.gradient_booster.name.as_str();
    if booster != "gbtree" {
        return refuse(format!(
            "the booster is {booster:?}, and only gbtree is read"
        ));
    }
    let objective = learner.objective.name.as_str();
    if objective != "binary:logistic" {
        return refuse(format!(
            "the objective is {objective:?}, and only binary:logistic is read"
        ));
    }
    let parameters = &learner.learner_model_param;
    let classes = parameters.num_class.as_deref().unwrap_or("0");
    let targets = parameters.num_target.as_deref().unwrap_or("1");
    if !matches!(classes, "0" | "1") || !matches!(targets, "0" | "1") {
        return refuse(format!(
            "the model has {classes} classes and {targets} targets, and only models of one target are read"
        ));
    }
    Ok(())
}

fn parse<T: std::str::FromStr>(text: &str, name: &str) -> Result<T, ModelError> {
    text.parse().map_err(|_| {
        let problem = format!("{name} is {text:?}, which is no such number");
        ModelError::damaged(Place::default(), problem)
    })
}

/// Returns the margin of a base score, a probability. XGBoost computes the quotient and the difference in `f32`.
fn read_base(text: &str) -> Result<f32, ModelError> {
    let inner = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let probability: f32 = parse(inner.unwrap_or(text).trim(), "base_score")?;
    let odds = 1.0 / probability - 1.0;
    if !(odds > 0.0 && odds.is_finite()) {
        return Err(ModelError::new(
            Place::default(),
            format!("base_score is {text:?}, and only a probability between 0 and 1 has a margin"),
            "train without base_score, or with one between 0 and 1",
        ));
    }
    Ok(-ln(f64::from(odds)) as f32)
}

fn push_tree(forest: &mut Forest, tree: &Tree, number: usize) -> Result<(), ModelError> {
    let place = Place::of_tree(number);
    let size = tree.left_children.0.len();
    let sizes = [
        ("right_children", tree.right_children.0.len()),
        ("split_indices", tree.split_indices.0.len()),
        ("split_conditions", tree.split_conditions.0.len()),
        ("default_left", tree.default_left.0.len()),
    ];
    for (name, other) in sizes {
        if other != size {
            let problem = format!("{size} elements in left_children and {other} in {name}");
            return Err(ModelError::damaged(place, problem));
        }
    }
    forest.push_tree(place, size, |node| {
        read_node(tree, node, place.with_node(node))
    })
}

fn read_node(tree: &Tree, node: usize, place: Place) -> Result<SourceNode, ModelError> {
    let condition = tree.split_conditions.0[node].0;
    let children = (tree.left_children.0[node], tree.right_children.0[node]);
    let (below, rest) = match children {
        (-1, -1) => return Ok(SourceNode::Leaf(f64::from(condition))),
        (left, right) => match (usize::try_from(left), usize::try_from(right)) {
            (Ok(left), Ok(right)) => (left, right),
            _ => {
                let problem = format!("the node has the children {left} and {right}");
                return Err(ModelError::damaged(place, problem));
            }
        },
    };
    if tree.split_type.0.get(node).is_some_and(|kind| *kind != 0) {
        return Err(ModelError::new(
            place,
            "the node splits by categories, and features are integers here",
            "train without enable_categorical, with features that are numbers",
        ));
    }
    Ok(SourceNode::Split {
        feature: tree.split_indices.0[node] as usize,
        bound: Bound::find(|value| (value as f32) < condition),
        below,
        rest,
        missing: if tree.default_left.0[node].0 {
            below
        } else {
            rest
        },
        zero_is_missing: false,
    })
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        List(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T, const MAX: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Elements<T, MAX> {
            type Value = List<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX} elements")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element()? {
                    if elements.len() == MAX {
                        return Err(A::Error::invalid_length(MAX + 1, &self));
                    }
                    elements.push(element);
                }
                Ok(List(elements))
            }
        }

        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Single {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = <&RawValue>::deserialize(deserializer)?.get();
        let number = digits
            .parse()
            .ok()
            .filter(|number: &f32| number.is_finite());
        number.map(Single).ok_or_else(|| {
            let shown: String = digits.chars().take(40).collect();
            D::Error::custom(format_args!("`{shown}` is no number of 32 bits"))
        })
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match <&RawValue>::deserialize(deserializer)?.get() {
            "0" | "false" => Ok(Flag(false)),
            "1" | "true" => Ok(Flag(true)),
            _ => Err(D::Error::custom("neither 0, 1, false nor true")),
        }
    }
}
