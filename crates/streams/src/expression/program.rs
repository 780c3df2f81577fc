//! The compiled form of an expression: nodes in one row, operands before what uses them.

use super::schema::FieldId;
use super::syntax::{Arithmetic, Relation};
use super::tokens::Span;
use super::values::{ListValues, Scalar};

/// Number of a node in its program.
pub(super) type NodeId = u16;

/// A compiled expression. Its types are checked, as far as the values of fields have the types of the schema.
#[derive(Debug, Clone, Default)]
pub(super) struct Program {
    pub(super) nodes: Vec<Node>,
    /// Place of each node in the source.
    pub(super) spans: Vec<Span>,
    /// Operands of nodes that have any number of them.
    pub(super) operands: Vec<NodeId>,
    pub(super) strings: Vec<Box<str>>,
    pub(super) lists: Vec<Constants>,
}

/// An operation and its operands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Node {
    Bool(bool),
    Int(i64),
    /// A string of the program, by its number.
    String(u16),
    /// A list of literals, by its number.
    Constants(u16),
    /// A list whose elements are computed.
    List(Operands),
    Field(FieldId),
    HasField(FieldId),
    /// Whether a map has a key, which is a string of the program.
    HasKey(FieldId, u16),
    Not(NodeId),
    Negate(NodeId),
    All(Operands),
    Any(Operands),
    /// Condition, value if it holds, value if not.
    Choice(NodeId, NodeId, NodeId),
    CompareBools(Relation, NodeId, NodeId),
    CompareInts(Relation, NodeId, NodeId),
    CompareStrings(Relation, NodeId, NodeId),
    /// Whether two lists are equal, or are not.
    CompareLists(bool, NodeId, NodeId),
    /// A value and a list.
    InList(NodeId, NodeId),
    /// A key and a map.
    InMap(NodeId, NodeId),
    /// A list and a position.
    Element(NodeId, NodeId),
    /// A map and a key.
    Lookup(NodeId, NodeId),
    Calculate(Arithmetic, NodeId, NodeId),
    Size(NodeId),
    ParseInt(NodeId),
    Search(Search, NodeId, NodeId),
}

/// A place of `Program::operands`, and how many are there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operands {
    pub(super) start: u16,
    pub(super) count: u16,
}

/// Where one string is looked for in another.
#[derive(Debug, Clone, Copy)]
pub(super) enum Search {
    Start,
    End,
    Anywhere,
}

/// A list of literals.
#[derive(Debug, Clone)]
pub(super) enum Constants {
    Bools(Vec<bool>),
    Ints(Vec<i64>),
    Strings(Vec<String>),
}

impl ListValues for Constants {
    fn size(&self) -> usize {
        match self {
            Constants::Bools(values) => values.len(),
            Constants::Ints(values) => values.len(),
            Constants::Strings(values) => values.len(),
        }
    }

    fn get(&self, index: usize) -> Option<Scalar<'_>> {
        match self {
            Constants::Bools(values) => ListValues::get(values, index),
            Constants::Ints(values) => ListValues::get(values, index),
            Constants::Strings(values) => ListValues::get(values, index),
        }
    }
}
