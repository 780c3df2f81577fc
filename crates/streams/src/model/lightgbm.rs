//! Models of LightGBM as text.
//!
//! Sources, in LightGBM's repository: `src/boosting/gbdt_model_text.cpp` and `Tree::ToString` in `src/io/tree.cpp` for
//! the lines, `include/LightGBM/tree.h` for decisions, `src/objective/binary_objective.hpp` for the probability.
//!
//! - All floats are `f64`. A child from 0 up is a split, a negative one the leaf `-child - 1`.
//! - A value goes to the left if it is at most the threshold. Bits of `decision_type`: 0 a split by categories, 1
//!   missing values go to the left, 2 and 3 what is missing: 0 nothing (a missing value counts as zero), 1 zero, 2
//!   NaN. With 1, both a zero and a missing value go where missing ones go.
//! - A threshold may be `inf`: such a split tells missing values from all others. No other number may be infinite.
//! - The margin is the sum of the leaves in the order of the trees, times the number behind `sigmoid:`. The average
//!   that training begins with is part of the leaves.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::errors::{ModelError, Place};
use super::features::check_features;
use super::forest::{Bound, Forest, SourceNode};
use super::limits::{FEATURES_MAX, NODES_MAX};

/// Maximum number of lines of the header or of a tree.
const BLOCK_LINES_MAX: usize = 64;

const CATEGORIES: u8 = 1;
const MISSING_LEFT: u8 = 2;

/// What a model of LightGBM adds up.
pub(super) struct LightgbmModel {
    pub(super) features: Vec<String>,
    pub(super) forest: Forest,
    /// Factor between the sum of leaves and the margin.
    pub(super) factor: f64,
}

/// A line and its number, from 1.
type Line<'a> = (usize, &'a str);

/// Lines `name=value`, or `name` alone, of the header or of one tree.
struct Block<'a> {
    place: Place,
    lines: BTreeMap<&'a str, Line<'a>>,
}

struct Tree {
    place: Place,
    features: Vec<usize>,
    thresholds: Vec<f64>,
    decisions: Vec<u8>,
    left: Vec<i32>,
    right: Vec<i32>,
    leaves: Vec<f64>,
}

/// Reads a model from text.
pub(super) fn read(text: &str) -> Result<LightgbmModel, ModelError> {
    let mut lines = (1..).zip(text.lines());
    let (header, mut next) = Block::read(Place::of_line(1), &mut lines)?;
    let factor = read_kind(&header)?;
    let features = read_features(&header)?;
    let mut forest = Forest::new(features.len());
    while let Some(line) = next {
        let place = Place {
            line: Some(line.0),
            ..Place::of_tree(forest.trees())
        };
        if line.1.strip_prefix("Tree=").map(usize::from_str) != Some(Ok(forest.trees())) {
            let problem = format!("here begins another tree: {:?}", shorten(line.1));
            return Err(ModelError::damaged(place, problem));
        }
        let block;
        (block, next) = Block::read(place, &mut lines)?;
        let tree = Tree::read(&block)?;
        let size = tree.left.len() + tree.leaves.len();
        forest.push_tree(place, size, |node| tree.node(node))?;
    }
    Ok(LightgbmModel {
        features,
        forest,
        factor,
    })
}

impl<'a> Block<'a> {
    /// Reads up to the line at which a tree begins, which is returned with the block, or to the end of the trees.
    fn read(
        place: Place,
        lines: &mut impl Iterator<Item = Line<'a>>,
    ) -> Result<(Block<'a>, Option<Line<'a>>), ModelError> {
        let mut block = Block {
            place,
            lines: BTreeMap::new(),
        };
        for (number, line) in lines {
            let place = Place {
                line: Some(number),
                ..place
            };
            if line.starts_with("Tree=") {
                return Ok((block, Some((number, line))));
            }
            if line == "end of trees" {
                return Ok((block, None));
            }
            if line.is_empty() {
                continue;
            }
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            if block.lines.len() == BLOCK_LINES_MAX {
                let problem = format!("more than {BLOCK_LINES_MAX} lines without a new tree");
                return Err(ModelError::damaged(place, problem));
            }
            if block.lines.insert(name, (number, value)).is_some() {
                let problem = format!("another line for {:?}", shorten(name));
                return Err(ModelError::damaged(place, problem));
            }
        }
        Err(ModelError::damaged(
            place,
            "the file ends before the line `end of trees`",
        ))
    }

    fn get(&self, name: &str) -> Result<(Place, &'a str), ModelError> {
        match self.lines.get(name) {
            Some((line, value)) => Ok((
                Place {
                    line: Some(*line),
                    ..self.place
                },
                value,
            )),
            None => Err(ModelError::damaged(
                self.place,
                format!("the line `{name}=` is missing"),
            )),
        }
    }

    fn number<T: FromStr>(&self, name: &str) -> Result<T, ModelError> {
        let (place, value) = self.get(name)?;
        parse(place, value)
    }

    fn numbers<T: FromStr>(&self, name: &str, count: usize) -> Result<Vec<T>, ModelError> {
        let (place, value) = self.get(name)?;
        let words = value.split_ascii_whitespace().take(count + 1);
        let numbers: Vec<T> = words
            .map(|word| parse(place, word))
            .collect::<Result<_, _>>()?;
        if numbers.len() != count {
            let problem = format!("`{name}` has not {count} numbers, as `num_leaves` demands");
            return Err(ModelError::damaged(place, problem));
        }
        Ok(numbers)
    }

    /// Returns numbers each of which passes a test, of which `demand` says what it is.
    fn floats(
        &self,
        name: &str,
        count: usize,
        passes: impl Fn(&f64) -> bool,
        demand: &str,
    ) -> Result<Vec<f64>, ModelError> {
        let numbers: Vec<f64> = self.numbers(name, count)?;
        match numbers.iter().find(|number| !passes(number)) {
            Some(number) => {
                let (place, _) = self.get(name)?;
                let problem = format!("`{name}` has {number}, and only {demand} are read");
                Err(ModelError::damaged(place, problem))
            }
            None => Ok(numbers),
        }
    }
}

fn parse<T: FromStr>(place: Place, word: &str) -> Result<T, ModelError> {
    word.parse().map_err(|_| {
        let problem = format!("{:?} is no number of the kind expected here", shorten(word));
        ModelError::damaged(place, problem)
    })
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Checks that this is a model of one probability, and returns the factor of the margin.
fn read_kind(header: &Block<'_>) -> Result<f64, ModelError> {
    const TRAIN: &str = "train with objective binary and boosting gbdt, goss or dart";
    let (place, objective) = header.get("objective")?;
    let mut words = objective.split_ascii_whitespace();
    if words.next() != Some("binary") {
        let problem = format!(
            "the objective is {:?}, and only binary is read",
            shorten(objective)
        );
        return Err(ModelError::new(place, problem, TRAIN));
    }
    for name in ["num_class", "num_tree_per_iteration"] {
        let (place, value) = header.get(name)?;
        if value != "1" {
            let problem = format!("{name} is {:?}, and only 1 is read", shorten(value));
            return Err(ModelError::new(place, problem, TRAIN));
        }
    }
    if header.lines.contains_key("average_output") {
        let (place, _) = header.get("average_output")?;
        let problem = "the trees are averaged (boosting rf), and only sums are read";
        return Err(ModelError::new(place, problem, TRAIN));
    }
    let factor = words.next().and_then(|word| word.strip_prefix("sigmoid:"));
    let factor: f64 = parse(place, factor.unwrap_or_default())?;
    if !(factor > 0.0 && factor <= 1e30) || words.next().is_some() {
        let problem = format!("{:?} is no objective that is known", shorten(objective));
        return Err(ModelError::new(place, problem, TRAIN));
    }
    Ok(factor)
}

fn read_features(header: &Block<'_>) -> Result<Vec<String>, ModelError> {
    let (place, names) = header.get("feature_names")?;
    let names = names.split_ascii_whitespace().take(FEATURES_MAX + 1);
    let names: Vec<String> = names.map(str::to_owned).collect();
    check_features(&names)?;
    let last: usize = header.number("max_feature_idx")?;
    if last.checked_add(1) != Some(names.len()) {
        let problem = format!("{} names, but max_feature_idx is {last}", names.len());
        return Err(ModelError::damaged(place, problem));
    }
    Ok(names)
}

impl Tree {
    fn read(block: &Block<'_>) -> Result<Tree, ModelError> {
        let leaves: usize = block.number("num_leaves")?;
        if !(1..=NODES_MAX).contains(&leaves) {
            let problem = format!("{leaves} leaves, and 1 to {NODES_MAX} are read");
            return Err(ModelError::damaged(block.place, problem));
        }
        let kinds = [
            ("num_cat", "splits by categories", "categorical_feature"),
            ("is_linear", "linear leaves", "linear_tree"),
        ];
        for (name, what, option) in kinds {
            // Versions before 3.2 have no linear trees, and no such line.
            if block.lines.contains_key(name) && block.get(name)?.1 != "0" {
                return Err(ModelError::new(
                    block.get(name)?.0,
                    format!("the tree has {what}, which are not read"),
                    format!("train without {option}"),
                ));
            }
        }
        let splits = leaves - 1;
        let tree = Tree {
            place: block.place,
            leaves: block.floats(
                "leaf_value",
                leaves,
                |value| value.is_finite(),
                "finite numbers",
            )?,
            features: block.numbers("split_feature", splits)?,
            // An infinite one tells missing values from all others.
            thresholds: block.floats("threshold", splits, |value| !value.is_nan(), "numbers")?,
            decisions: block.numbers("decision_type", splits)?,
            left: block.numbers("left_child", splits)?,
            right: block.numbers("right_child", splits)?,
        };
        Ok(tree)
    }

    /// Returns a node: the splits come first, then the leaves.
    fn node(&self, number: usize) -> Result<SourceNode, ModelError> {
        let splits = self.left.len();
        let Some(decision) = self.decisions.get(number) else {
            return Ok(SourceNode::Leaf(self.leaves[number - splits]));
        };
        let place = self.place.with_node(number);
        if decision & CATEGORIES != 0 {
            return Err(ModelError::new(
                place,
                "the node splits by categories, and features are integers here",
                "train without categorical_feature",
            ));
        }
        let link = |child: i32| match usize::try_from(child) {
            Ok(split) if split < splits => split,
            // Beyond the last leaf, so that the forest refuses the link.
            Ok(_) => splits + self.leaves.len(),
            Err(_) => splits + (!child).unsigned_abs() as usize,
        };
        let (below, rest) = (link(self.left[number]), link(self.right[number]));
        let threshold = self.thresholds[number];
        let default = if decision & MISSING_LEFT != 0 {
            below
        } else {
            rest
        };
        let (missing, zero_is_missing) = match decision >> 2 {
            0 if 0.0 <= threshold => (below, false),
            0 => (rest, false),
            1 => (default, true),
            2 => (default, false),
            _ => {
                let problem = format!("{decision} is no decision_type that is known");
                return Err(ModelError::damaged(place, problem));
            }
        };
        Ok(SourceNode::Split {
            feature: self.features[number],
            bound: Bound::find(|value| value as f64 <= threshold),
            below,
            rest,
            missing,
            zero_is_missing,
        })
    }
}
