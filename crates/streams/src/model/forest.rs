//! Trees in the form in which they are scored, and the checks that every tree passes on its way there.
//!
//! A feature is an integer, so a comparison with the trainer's threshold, a float, is the same as a comparison with an
//! integer: the least one that does not go to the left. [`Bound`] finds it once, with the trainer's own comparison,
//! and scoring compares integers only. Floats remain in the sum of leaves.

use super::errors::{ModelError, Place};
use super::limits::{LEAF_VALUE_MAX, NODES_MAX, STEPS_MAX, TREES_MAX};

/// Which integers go below a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    /// Every integer less than this one.
    LessThan(i64),
    /// Every integer.
    All,
}

impl Bound {
    /// Finds the bound of a comparison that holds up to some integer and for none above it.
    pub(super) fn find(goes_below: impl Fn(i64) -> bool) -> Bound {
        let (mut least, mut most) = (i64::MIN, i64::MAX);
        if goes_below(most) {
            return Bound::All;
        }
        while least < most {
            // The mean, rounded down, so that it is less than `most`; `i64::midpoint` rounds to zero.
            let middle = (least & most) + ((least ^ most) >> 1);
            match goes_below(middle) {
                true => least = middle + 1,
                false => most = middle,
            }
        }
        Bound::LessThan(least)
    }
}

/// A node as a file has it.
#[derive(Debug, Clone, Copy)]
pub(super) enum SourceNode {
    Leaf(f64),
    Split {
        feature: usize,
        bound: Bound,
        /// Number of the node for values below the bound.
        below: usize,
        /// Number of the node for other values.
        rest: usize,
        /// Number of the node for a missing value.
        missing: usize,
        /// Whether zero counts as a missing value.
        zero_is_missing: bool,
    },
}

/// A reference to a split or, with the highest bit, to a leaf.
#[derive(Debug, Clone, Copy)]
struct Link(u32);

#[derive(Debug, Clone)]
struct Split {
    bound: i64,
    below: Link,
    rest: Link,
    missing: Link,
    feature: u16,
    zero_is_missing: bool,
}

/// Trees that were checked: the links of a tree lead to its leaves, and to no split twice.
#[derive(Debug, Clone)]
pub(super) struct Forest {
    features: usize,
    roots: Vec<Link>,
    splits: Vec<Split>,
    leaves: Vec<f64>,
    steps: usize,
}

impl Forest {
    /// Returns a forest without trees over a number of features, at most [`super::limits::FEATURES_MAX`].
    pub(super) fn new(features: usize) -> Forest {
        Forest {
            features,
            roots: Vec::new(),
            splits: Vec::new(),
            leaves: Vec::new(),
            steps: 0,
        }
    }

    /// Appends the tree whose root is node 0. Nodes that the root does not lead to are left out.
    ///
    /// `read` returns the node of a number below `size`.
    ///
    /// # Errors
    /// If a node is reached twice (as in a circle), a number is out of range, or a bound is exceeded.
    pub(super) fn push_tree(
        &mut self,
        place: Place,
        size: usize,
        read: impl Fn(usize) -> Result<SourceNode, ModelError>,
    ) -> Result<(), ModelError> {
        if self.roots.len() == TREES_MAX {
            return Err(too_large(place, format!("more than {TREES_MAX} trees")));
        }
        let (mut splits, mut leaves) = (self.splits.len(), self.leaves.len());
        let mut links: Vec<Option<Link>> = vec![None; size];
        let mut found = Vec::new();
        let mut depth = 0;
        let mut waiting = vec![(0, 0)];
        while let Some((number, level)) = waiting.pop() {
            let place = place.with_node(number);
            if splits + leaves == NODES_MAX {
                return Err(too_large(place, format!("more than {NODES_MAX} nodes")));
            }
            let node = match links.get(number) {
                Some(None) => read(number)?,
                Some(Some(_)) => {
                    return Err(ModelError::damaged(place, "two links lead to this node"));
                }
                None => {
                    let problem = format!("a link leads to this node, but the tree has {size}");
                    return Err(ModelError::damaged(place, problem));
                }
            };
            self.check_node(&node, place)?;
            depth = depth.max(level);
            links[number] = Some(match node {
                SourceNode::Leaf(_) => {
                    leaves += 1;
                    Link::to_leaf(leaves - 1)
                }
                SourceNode::Split { below, rest, .. } => {
                    waiting.extend([(rest, level + 1), (below, level + 1)]);
                    splits += 1;
                    Link::to_split(splits - 1)
                }
            });
            found.push(node);
        }
        self.steps += depth;
        if self.steps > STEPS_MAX {
            let problem = format!("the depths of all trees up to here exceed {STEPS_MAX}");
            return Err(too_large(place, problem));
        }
        let link = |number: usize| links[number].expect("both links of a split were followed");
        self.roots.push(link(0));
        for node in found {
            self.push_node(&node, link);
        }
        Ok(())
    }

    fn check_node(&self, node: &SourceNode, place: Place) -> Result<(), ModelError> {
        match *node {
            SourceNode::Leaf(value) if value.abs() <= LEAF_VALUE_MAX => Ok(()),
            SourceNode::Leaf(value) => Err(ModelError::new(
                place,
                format!(
                    "the leaf has the value {value}, and at most {LEAF_VALUE_MAX:e} is allowed"
                ),
                "train again: no real model has such leaves",
            )),
            SourceNode::Split { feature, .. } if feature < self.features => Ok(()),
            SourceNode::Split { feature, .. } => {
                let problem = format!(
                    "the node compares feature {feature}, but the model has {}",
                    self.features
                );
                Err(ModelError::damaged(place, problem))
            }
        }
    }

    fn push_node(&mut self, node: &SourceNode, link: impl Fn(usize) -> Link) {
        match *node {
            SourceNode::Leaf(value) => self.leaves.push(value),
            SourceNode::Split {
                feature,
                bound,
                below,
                rest,
                missing,
                zero_is_missing,
            } => {
                let (bound, rest) = match bound {
                    Bound::LessThan(bound) => (bound, rest),
                    Bound::All => (0, below),
                };
                self.splits.push(Split {
                    bound,
                    below: link(below),
                    rest: link(rest),
                    missing: link(missing),
                    feature: u16::try_from(feature).expect("few features"),
                    zero_is_missing,
                });
            }
        }
    }

    /// Returns the values of the leaves that a row comes to, tree by tree.
    pub(super) fn leaf_values<'a>(
        &'a self,
        row: &'a [Option<i64>],
    ) -> impl Iterator<Item = f64> + 'a {
        self.roots.iter().map(|root| {
            let mut link = *root;
            while let Some(place) = link.split() {
                let split = &self.splits[place];
                link = match row[usize::from(split.feature)] {
                    Some(0) if split.zero_is_missing => split.missing,
                    Some(value) if value < split.bound => split.below,
                    Some(_) => split.rest,
                    None => split.missing,
                };
            }
            self.leaves[link.leaf()]
        })
    }

    /// Returns the number of trees.
    pub(super) fn trees(&self) -> usize {
        self.roots.len()
    }
}

impl Link {
    const LEAF: u32 = 1 << 31;

    /// Numbers are below [`NODES_MAX`], so they fit beside the mark.
    fn to_split(number: usize) -> Link {
        Link(u32::try_from(number).expect("few nodes"))
    }

    fn to_leaf(number: usize) -> Link {
        Link(Link::to_split(number).0 | Link::LEAF)
    }

    fn split(self) -> Option<usize> {
        (self.0 & Link::LEAF == 0).then_some(self.0 as usize)
    }

    fn leaf(self) -> usize {
        (self.0 & !Link::LEAF) as usize
    }
}

fn too_large(place: Place, problem: String) -> ModelError {
    ModelError::new(
        place,
        problem,
        "train with fewer or smaller trees, which also score faster",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_separates_integers_as_the_comparison_of_floats_does() {
        let single = |threshold: f32| Bound::find(|value| (value as f32) < threshold);
        let double = |threshold: f64| Bound::find(|value| value as f64 <= threshold);
        assert_eq!(single(2.0), Bound::LessThan(2));
        assert_eq!(single(2.5), Bound::LessThan(3));
        assert_eq!(single(-2.5), Bound::LessThan(-2));
        assert_eq!(single(1e-30), Bound::LessThan(1));
        assert_eq!(single(-0.0), Bound::LessThan(0));
        assert_eq!(double(2.0), Bound::LessThan(3));
        assert_eq!(double(-0.5), Bound::LessThan(0));
        assert_eq!(double(1e-35), Bound::LessThan(1));
        // Above 2^24 an f32 has not every integer: 16,777,217 becomes 16,777,216, as in the trainer.
        assert_eq!(single(16_777_216.0), Bound::LessThan(16_777_216));
        assert_eq!(single(16_777_218.0), Bound::LessThan(16_777_218));
        assert_eq!(single(16_777_220.0), Bound::LessThan(16_777_219));
        assert_eq!(single(f32::MAX), Bound::All);
        assert_eq!(single(f32::MIN), Bound::LessThan(i64::MIN));
        assert_eq!(double(1e300), Bound::All);
        assert_eq!(double(-1e300), Bound::LessThan(i64::MIN));
        for threshold in [9.2e18_f32, 9.223_372e18, -9.2e18, 123_456_790.0, 7.000_001] {
            let Bound::LessThan(bound) = single(threshold) else {
                assert!(i64::MAX as f32 <= threshold, "{threshold}");
                continue;
            };
            assert!((bound as f32) >= threshold, "{threshold}");
            assert!(((bound - 1) as f32) < threshold, "{threshold}");
        }
    }
}
