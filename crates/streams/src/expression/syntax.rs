//! The tree of an expression, without types, and its canonical form.

use std::cmp::Ordering;
use std::fmt;

use super::tokens::Span;

/// Strength of what stands alone, of the operand of a sign, and of the parts of `?:`.
const MEMBER: u8 = 7;
const UNARY: u8 = 6;
const CHOICE: u8 = 0;

/// A part of an expression.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) kind: Kind,
    pub(super) span: Span,
    /// Levels of operators and calls in it; 0 for a literal or a name.
    pub(super) depth: usize,
}

/// What a part of an expression is.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Bool(bool),
    Int(i64),
    String(String),
    List(Vec<Tree>),
    /// Names joined by dots.
    Path(String),
    Has(String),
    Not(Box<Tree>),
    Negate(Box<Tree>),
    /// Operands of `&&` or of `||` in a row.
    Chain(Operator, Vec<Tree>),
    Binary(Operator, Box<[Tree; 2]>),
    Choice(Box<[Tree; 3]>),
    Index(Box<[Tree; 2]>),
    /// The receiver of a method is its first argument.
    Call(Function, Vec<Tree>),
}

/// An operator between two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    In,
    Relation(Relation),
    Arithmetic(Arithmetic),
}

/// A comparison of two values of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A calculation with two integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    pub(super) const ALL: &[Operator] = &[
        Operator::Or,
        Operator::And,
        Operator::In,
        Operator::Relation(Relation::Equal),
        Operator::Relation(Relation::NotEqual),
        Operator::Relation(Relation::Less),
        Operator::Relation(Relation::LessOrEqual),
        Operator::Relation(Relation::Greater),
        Operator::Relation(Relation::GreaterOrEqual),
        Operator::Arithmetic(Arithmetic::Add),
        Operator::Arithmetic(Arithmetic::Subtract),
        Operator::Arithmetic(Arithmetic::Multiply),
        Operator::Arithmetic(Arithmetic::Divide),
        Operator::Arithmetic(Arithmetic::Remainder),
    ];

    /// Returns how it is written.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Operator::Or => "||",
            Operator::And => "&&",
            Operator::In => "in",
            Operator::Relation(Relation::Equal) => "==",
            Operator::Relation(Relation::NotEqual) => "!=",
            Operator::Relation(Relation::Less) => "<",
            Operator::Relation(Relation::LessOrEqual) => "<=",
            Operator::Relation(Relation::Greater) => ">",
            Operator::Relation(Relation::GreaterOrEqual) => ">=",
            Operator::Arithmetic(Arithmetic::Add) => "+",
            Operator::Arithmetic(Arithmetic::Subtract) => "-",
            Operator::Arithmetic(Arithmetic::Multiply) => "*",
            Operator::Arithmetic(Arithmetic::Divide) => "/",
            Operator::Arithmetic(Arithmetic::Remainder) => "%",
        }
    }

    /// Returns how strongly it binds its operands: 1 to 5.
    pub(super) fn strength(self) -> u8 {
        match self {
            Operator::Or => 1,
            Operator::And => 2,
            Operator::In | Operator::Relation(_) => 3,
            Operator::Arithmetic(Arithmetic::Add | Arithmetic::Subtract) => 4,
            Operator::Arithmetic(_) => 5,
        }
    }
}

impl Relation {
    /// Returns whether values in this order are so related.
    pub(super) fn holds(self, order: Ordering) -> bool {
        match self {
            Relation::Equal => order.is_eq(),
            Relation::NotEqual => order.is_ne(),
            Relation::Less => order.is_lt(),
            Relation::LessOrEqual => order.is_le(),
            Relation::Greater => order.is_gt(),
            Relation::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// A function or method other than `has()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Int,
    StartsWith,
    EndsWith,
    Contains,
}

impl Function {
    /// Returns how it is written.
    pub(super) fn name(self) -> &'static str {
        match self {
            Function::Size => "size",
            Function::Int => "int",
            Function::StartsWith => "startsWith",
            Function::EndsWith => "endsWith",
            Function::Contains => "contains",
        }
    }
}

impl Tree {
    fn strength(&self) -> u8 {
        match &self.kind {
            Kind::Chain(operator, _) | Kind::Binary(operator, _) => operator.strength(),
            Kind::Choice(_) => CHOICE,
            Kind::Not(_) | Kind::Negate(_) => UNARY,
            Kind::Int(value) if *value < 0 => UNARY,
            _ => MEMBER,
        }
    }

    /// Writes this part where something of at least this strength must stand.
    fn write(&self, f: &mut fmt::Formatter<'_>, strength: u8) -> fmt::Result {
        match self.strength() < strength {
            true => write!(f, "({self})"),
            false => write!(f, "{self}"),
        }
    }
}

/// The canonical form: one for all sources that differ in spaces, comments, quotes, escapes, the writing of integers
/// and parentheses that change nothing.
impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Bool(value) => write!(f, "{value}"),
            Kind::Int(value) => write!(f, "{value}"),
            Kind::String(value) => write_string(f, value),
            Kind::List(elements) => {
                f.write_str("[")?;
                write_all(f, elements)?;
                f.write_str("]")
            }
            Kind::Path(path) => f.write_str(path),
            Kind::Has(path) => write!(f, "has({path})"),
            Kind::Not(operand) => {
                f.write_str("!")?;
                operand.write(f, MEMBER)
            }
            Kind::Negate(operand) => {
                f.write_str("-")?;
                operand.write(f, MEMBER)
            }
            Kind::Chain(operator, operands) => {
                for (number, operand) in operands.iter().enumerate() {
                    if number > 0 {
                        write!(f, " {} ", operator.sign())?;
                    }
                    operand.write(f, operator.strength() + 1)?;
                }
                Ok(())
            }
            Kind::Binary(operator, operands) => {
                let [left, right] = operands.as_ref();
                left.write(f, operator.strength())?;
                write!(f, " {} ", operator.sign())?;
                right.write(f, operator.strength() + 1)
            }
            Kind::Choice(parts) => {
                let [condition, yes, no] = parts.as_ref();
                condition.write(f, CHOICE + 1)?;
                f.write_str(" ? ")?;
                yes.write(f, CHOICE + 1)?;
                f.write_str(" : ")?;
                no.write(f, CHOICE)
            }
            Kind::Index(parts) => {
                let [indexed, index] = parts.as_ref();
                indexed.write(f, MEMBER)?;
                write!(f, "[{index}]")
            }
            Kind::Call(function @ (Function::Size | Function::Int), arguments) => {
                write!(f, "{}(", function.name())?;
                write_all(f, arguments)?;
                f.write_str(")")
            }
            Kind::Call(method, arguments) => {
                let (receiver, arguments) = arguments.split_first().expect("a receiver");
                receiver.write(f, MEMBER)?;
                write!(f, ".{}(", method.name())?;
                write_all(f, arguments)?;
                f.write_str(")")
            }
        }
    }
}

fn write_all(f: &mut fmt::Formatter<'_>, parts: &[Tree]) -> fmt::Result {
    for (number, part) in parts.iter().enumerate() {
        if number > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{part}")?;
    }
    Ok(())
}

fn write_string(f: &mut fmt::Formatter<'_>, value: &str) -> fmt::Result {
    f.write_str("\"")?;
    for letter in value.chars() {
        match letter {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            _ if letter.is_control() => write!(f, "\\u{:04x}", u32::from(letter))?,
            _ => write!(f, "{letter}")?,
        }
    }
    f.write_str("\"")
}
