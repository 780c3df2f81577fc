//! Runs a program over the values of fields.

use super::errors::Problem;
use super::limits::STEPS_MAX;
use super::program::{Node, NodeId, Operands, Program, Search};
use super::schema::{FieldId, Type};
use super::syntax::{Arithmetic, Relation};
use super::values::{Fields, ListValues, MapValues, Scalar, Value};

/// Why there is no value, and which node has none.
pub(super) struct Fault {
    pub(super) problem: Problem,
    pub(super) node: NodeId,
}

/// Evaluates the last node of a program, and with it the whole, to a scalar of the result's type.
pub(super) fn evaluate<'a, F: Fields + ?Sized>(
    program: &'a Program,
    result_type: Type,
    fields: &'a F,
) -> Result<Scalar<'a>, Fault> {
    let mut run = Run {
        program,
        fields,
        steps_left: STEPS_MAX,
        built: Vec::new(),
    };
    let last = NodeId::try_from(program.nodes.len() - 1).expect("bounded by NODES_MAX");
    Ok(match result_type {
        Type::Bool => Scalar::Bool(run.bool(last)?),
        Type::Int => Scalar::Int(run.int(last)?),
        _ => Scalar::String(run.string(last)?),
    })
}

/// A value on its way from a node to the one that uses it.
#[derive(Clone, Copy)]
enum Operand<'a> {
    Scalar(Scalar<'a>),
    List(&'a dyn ListValues),
    Map(&'a dyn MapValues),
    /// A list whose elements were computed: its place in `Run::built`.
    Built {
        start: usize,
        size: usize,
    },
}

struct Run<'a, F: ?Sized> {
    program: &'a Program,
    fields: &'a F,
    steps_left: u32,
    /// Elements of computed lists. A node runs once at most, so there are never more than nodes.
    built: Vec<Scalar<'a>>,
}

impl<'a, F: Fields + ?Sized> Run<'a, F> {
    fn operand(&mut self, id: NodeId) -> Result<Operand<'a>, Fault> {
        self.spend(1, id)?;
        let value = match self.program.nodes[usize::from(id)] {
            Node::Bool(value) => Scalar::Bool(value),
            Node::Int(value) => Scalar::Int(value),
            Node::String(number) => Scalar::String(self.text(number)),
            Node::Constants(number) => {
                return Ok(Operand::List(&self.program.lists[usize::from(number)]));
            }
            Node::List(operands) => return self.build(operands),
            Node::Field(field) => return self.field(id, field),
            Node::HasField(field) => Scalar::Bool(self.fields.get(field).is_some()),
            Node::HasKey(field, key) => Scalar::Bool(self.has_key(id, field, key)?),
            Node::Not(operand) => Scalar::Bool(!self.bool(operand)?),
            Node::Negate(operand) => {
                let negated = self.int(operand)?.checked_neg();
                Scalar::Int(negated.ok_or(fault(id, Problem::Overflow))?)
            }
            Node::All(operands) => Scalar::Bool(!self.reaches(operands, false)?),
            Node::Any(operands) => Scalar::Bool(self.reaches(operands, true)?),
            Node::Choice(condition, yes, no) => {
                return match self.bool(condition)? {
                    true => self.operand(yes),
                    false => self.operand(no),
                };
            }
            Node::CompareBools(relation, left, right) => {
                let (left, right) = (self.bool(left)?, self.bool(right)?);
                Scalar::Bool(relation.holds(left.cmp(&right)))
            }
            Node::CompareInts(relation, left, right) => {
                let (left, right) = (self.int(left)?, self.int(right)?);
                Scalar::Bool(relation.holds(left.cmp(&right)))
            }
            Node::CompareStrings(relation, left, right) => {
                let (left, right) = (self.string(left)?, self.string(right)?);
                Scalar::Bool(self.compare_strings(id, relation, left, right)?)
            }
            Node::CompareLists(equal, left, right) => {
                let (left, right) = (self.operand(left)?, self.operand(right)?);
                Scalar::Bool(self.lists_are_equal(id, left, right)? == equal)
            }
            Node::InList(value, list) => {
                let (value, list) = (self.scalar(value)?, self.operand(list)?);
                Scalar::Bool(self.list_has(id, list, value)?)
            }
            Node::InMap(key, map) => {
                let (key, map) = (self.string(key)?, self.map(map)?);
                self.spend_bytes(key.len(), id)?;
                Scalar::Bool(map.get(key).is_some())
            }
            Node::Element(list, index) => {
                let (list, index) = (self.operand(list)?, self.int(index)?);
                self.element_at(id, list, index)?
            }
            Node::Lookup(map, key) => {
                let (map, key) = (self.map(map)?, self.string(key)?);
                self.spend_bytes(key.len(), id)?;
                Scalar::String(map.get(key).ok_or(fault(id, Problem::MissingKey))?)
            }
            Node::Calculate(arithmetic, left, right) => {
                let (left, right) = (self.int(left)?, self.int(right)?);
                let result = calculate(arithmetic, left, right);
                Scalar::Int(result.map_err(|problem| fault(id, problem))?)
            }
            Node::Size(measured) => Scalar::Int(self.size(id, measured)?),
            Node::ParseInt(text) => {
                let text = self.string(text)?;
                self.spend_bytes(text.len(), id)?;
                let parsed = text.parse().map_err(|_| fault(id, Problem::NotAnInteger));
                Scalar::Int(parsed?)
            }
            Node::Search(search, text, part) => {
                let (text, part) = (self.string(text)?, self.string(part)?);
                self.spend_bytes(text.len().saturating_add(part.len()), id)?;
                Scalar::Bool(match search {
                    Search::Start => text.starts_with(part),
                    Search::End => text.ends_with(part),
                    Search::Anywhere => text.contains(part),
                })
            }
        };
        Ok(Operand::Scalar(value))
    }

    fn field(&self, id: NodeId, field: FieldId) -> Result<Operand<'a>, Fault> {
        match self.fields.get(field) {
            Some(Value::Scalar(value)) => Ok(Operand::Scalar(value)),
            Some(Value::List(list)) => Ok(Operand::List(list)),
            Some(Value::Map(map)) => Ok(Operand::Map(map)),
            None => Err(fault(id, Problem::MissingField)),
        }
    }

    fn has_key(&mut self, id: NodeId, field: FieldId, key: u16) -> Result<bool, Fault> {
        let key = self.text(key);
        self.spend_bytes(key.len(), id)?;
        match self.fields.get(field) {
            Some(Value::Map(map)) => Ok(map.get(key).is_some()),
            None => Ok(false),
            Some(_) => Err(wrong_type(id)),
        }
    }

    /// Evaluates conditions from left to right until one has the wanted value; returns whether one has.
    fn reaches(&mut self, operands: Operands, wanted: bool) -> Result<bool, Fault> {
        for id in self.nodes_of(operands) {
            if self.bool(*id)? == wanted {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn build(&mut self, operands: Operands) -> Result<Operand<'a>, Fault> {
        // An element may use a list of its own: a list is in one piece only once all its elements are known.
        let nodes = self.nodes_of(operands);
        let mut elements = Vec::with_capacity(nodes.len());
        for id in nodes {
            elements.push(self.scalar(*id)?);
        }
        let start = self.built.len();
        self.built.extend(elements);
        let size = self.built.len() - start;
        Ok(Operand::Built { start, size })
    }

    fn compare_strings(
        &mut self,
        id: NodeId,
        relation: Relation,
        left: &str,
        right: &str,
    ) -> Result<bool, Fault> {
        match relation {
            Relation::Equal => self.strings_are_equal(id, left, right),
            Relation::NotEqual => Ok(!self.strings_are_equal(id, left, right)?),
            _ => {
                self.spend_bytes(left.len().min(right.len()), id)?;
                Ok(relation.holds(left.cmp(right)))
            }
        }
    }

    fn strings_are_equal(&mut self, id: NodeId, left: &str, right: &str) -> Result<bool, Fault> {
        if left.len() != right.len() {
            return Ok(false);
        }
        self.spend_bytes(left.len(), id)?;
        Ok(left == right)
    }

    fn lists_are_equal(
        &mut self,
        id: NodeId,
        left: Operand<'a>,
        right: Operand<'a>,
    ) -> Result<bool, Fault> {
        let size = self.list_size(id, left)?;
        if size != self.list_size(id, right)? {
            return Ok(false);
        }
        for index in 0..size {
            let (a, b) = (self.element(left, index), self.element(right, index));
            let (Some(a), Some(b)) = (a, b) else {
                return Err(wrong_type(id));
            };
            if !self.scalars_are_equal(id, a, b)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn list_has(
        &mut self,
        id: NodeId,
        list: Operand<'a>,
        value: Scalar<'a>,
    ) -> Result<bool, Fault> {
        for index in 0..self.list_size(id, list)? {
            let Some(element) = self.element(list, index) else {
                return Err(wrong_type(id));
            };
            if self.scalars_are_equal(id, element, value)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn scalars_are_equal(
        &mut self,
        id: NodeId,
        left: Scalar<'_>,
        right: Scalar<'_>,
    ) -> Result<bool, Fault> {
        self.spend(1, id)?;
        match (left, right) {
            (Scalar::Bool(left), Scalar::Bool(right)) => Ok(left == right),
            (Scalar::Int(left), Scalar::Int(right)) => Ok(left == right),
            (Scalar::String(left), Scalar::String(right)) => {
                self.strings_are_equal(id, left, right)
            }
            _ => Err(wrong_type(id)),
        }
    }

    fn element_at(&self, id: NodeId, list: Operand<'a>, index: i64) -> Result<Scalar<'a>, Fault> {
        let size = self.list_size(id, list)?;
        let found = usize::try_from(index).ok();
        let found = found.and_then(|index| self.element(list, index));
        found.ok_or(fault(id, Problem::IndexOutOfRange { index, size }))
    }

    fn element(&self, list: Operand<'a>, index: usize) -> Option<Scalar<'a>> {
        match list {
            Operand::List(list) => list.get(index),
            Operand::Built { start, size } => self.built[start..start + size].get(index).copied(),
            _ => None,
        }
    }

    fn list_size(&self, id: NodeId, list: Operand<'a>) -> Result<usize, Fault> {
        match list {
            Operand::List(list) => Ok(list.size()),
            Operand::Built { size, .. } => Ok(size),
            _ => Err(wrong_type(id)),
        }
    }

    fn size(&mut self, id: NodeId, measured: NodeId) -> Result<i64, Fault> {
        let size = match self.operand(measured)? {
            Operand::Scalar(Scalar::String(text)) => {
                self.spend_bytes(text.len(), id)?;
                text.chars().count()
            }
            Operand::Map(map) => map.size(),
            list => self.list_size(measured, list)?,
        };
        i64::try_from(size).map_err(|_| fault(id, Problem::Overflow))
    }

    fn scalar(&mut self, id: NodeId) -> Result<Scalar<'a>, Fault> {
        match self.operand(id)? {
            Operand::Scalar(value) => Ok(value),
            _ => Err(wrong_type(id)),
        }
    }

    fn bool(&mut self, id: NodeId) -> Result<bool, Fault> {
        match self.operand(id)? {
            Operand::Scalar(Scalar::Bool(value)) => Ok(value),
            _ => Err(wrong_type(id)),
        }
    }

    fn int(&mut self, id: NodeId) -> Result<i64, Fault> {
        match self.operand(id)? {
            Operand::Scalar(Scalar::Int(value)) => Ok(value),
            _ => Err(wrong_type(id)),
        }
    }

    fn string(&mut self, id: NodeId) -> Result<&'a str, Fault> {
        match self.operand(id)? {
            Operand::Scalar(Scalar::String(value)) => Ok(value),
            _ => Err(wrong_type(id)),
        }
    }

    fn map(&mut self, id: NodeId) -> Result<&'a dyn MapValues, Fault> {
        match self.operand(id)? {
            Operand::Map(map) => Ok(map),
            _ => Err(wrong_type(id)),
        }
    }

    fn text(&self, number: u16) -> &'a str {
        &self.program.strings[usize::from(number)]
    }

    fn nodes_of(&self, operands: Operands) -> &'a [NodeId] {
        let start = usize::from(operands.start);
        &self.program.operands[start..start + usize::from(operands.count)]
    }

    fn spend(&mut self, steps: u32, id: NodeId) -> Result<(), Fault> {
        let left = self.steps_left.checked_sub(steps);
        self.steps_left = left.ok_or(fault(id, Problem::TooManySteps))?;
        Ok(())
    }

    fn spend_bytes(&mut self, bytes: usize, id: NodeId) -> Result<(), Fault> {
        self.spend(u32::try_from(bytes).unwrap_or(u32::MAX), id)
    }
}

fn calculate(arithmetic: Arithmetic, left: i64, right: i64) -> Result<i64, Problem> {
    let result = match arithmetic {
        Arithmetic::Add => left.checked_add(right),
        Arithmetic::Subtract => left.checked_sub(right),
        Arithmetic::Multiply => left.checked_mul(right),
        Arithmetic::Divide | Arithmetic::Remainder if right == 0 => {
            return Err(Problem::DivisionByZero);
        }
        Arithmetic::Divide => left.checked_div(right),
        Arithmetic::Remainder => left.checked_rem(right),
    };
    result.ok_or(Problem::Overflow)
}

fn fault(node: NodeId, problem: Problem) -> Fault {
    Fault { problem, node }
}

fn wrong_type(node: NodeId) -> Fault {
    fault(node, Problem::WrongType)
}
