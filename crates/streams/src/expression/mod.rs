//! The language of conditions and derived fields, over the fields of an event or of a payment.
//!
//! A subset of the [Common Expression Language](https://github.com/google/cel-spec) with integers, strings, booleans
//! and lists, and without floats, loops and conversions between types other than `int(string)`. docs/expressions.md
//! describes it for users. An expression is compiled once against a [`Schema`], which refuses unknown fields and types
//! that do not fit, and evaluated as often as needed, without memory of its own unless it computes the elements of a
//! list.
//!
//! Pure: no storage, no clock, no sockets. An evaluation has a budget of steps ([`STEPS_MAX`]) in place of a time-out,
//! so that it has the same result everywhere.
//!
//! # Differences from CEL
//!
//! An expression that has a value here has the same value in CEL, but for `has()` as said below. The differences are:
//!
//! - **Errors in `&&` and `||`.** CEL ignores an error in one operand if the other operand decides: where `a.b` is
//!   missing, `a.b > 1 && false` is false and `a.b > 1 || true` is true. Here operands are evaluated from left to right
//!   until one decides, and an error on the way is the result. Three reasons: a missing field is never silently false;
//!   a condition that reads a field before it tests for the field fails at the first event without the field, not only
//!   at those where the other operand happens not to decide; and CEL leaves open which operands are evaluated, while a
//!   recorded verdict and the steps of an evaluation must be the same everywhere. `has(a.b) && a.b > 1` works in both.
//! - **`has()`** also takes a field without a dot, since any field may be missing. It is true exactly if the field or
//!   key can be read. CEL has an error instead if the map around a key is missing.
//! - **Types** are checked before the first evaluation: `1 == "1"`, elements of different types and an order of
//!   booleans are refused, where CEL has a value or an error.
//! - **Left out:** floats, unsigned integers, bytes, `null`, maps and messages as literals, empty lists, comparing
//!   maps, joining strings or lists by `+`, macros other than `has()`, functions other than `size()` and `int()`,
//!   methods other than `startsWith()`, `endsWith()` and `contains()`, doubled signs (`--x`), triple quotes, surrogates
//!   as escapes.

mod compiler;
mod errors;
mod evaluator;
mod limits;
mod parser;
mod program;
mod schema;
mod sql;
mod syntax;
mod tokens;
mod values;

pub use self::errors::{CompileError, EvaluationError, Problem};
pub use self::limits::{
    DEPTH_MAX, FIELDS_MAX, NODES_MAX, PATH_BYTES_MAX, SOURCE_BYTES_MAX, STEPS_MAX,
};
pub use self::schema::{FieldId, Schema, SchemaError, Type};
pub use self::sql::{Columns, NotInSql, SQL_BYTES_MAX, string_literal, string_value};
pub use self::values::{Fields, ListValues, MapValues, Scalar, Value};

use std::fmt;

use self::program::Program;

/// Version of the meaning of expressions. It is raised when an expression could give another result over the same
/// fields.
pub const LANGUAGE_VERSION: u32 = 1;

/// A compiled expression.
///
/// It is displayed in canonical form: the same for all sources that differ only in spaces, comments, quotes, escapes,
/// the writing of integers and parentheses that change nothing. The canonical form compiles to the same expression
/// unless it is longer than [`SOURCE_BYTES_MAX`], which spaces and escapes can make it.
#[derive(Debug, Clone)]
pub struct Expression {
    source: String,
    canonical: String,
    program: Program,
    result_type: Type,
    fields: Vec<(FieldId, String)>,
}

impl Expression {
    /// Compiles a source over the fields of a schema. The result is a boolean, an integer or a string.
    ///
    /// # Errors
    /// If the source is no expression, uses unknown fields or types that do not fit, or exceeds [`SOURCE_BYTES_MAX`],
    /// [`DEPTH_MAX`] or [`NODES_MAX`].
    pub fn compile(source: &str, schema: &Schema) -> Result<Expression, CompileError> {
        let tree = parser::parse(source)?;
        let compiled = compiler::compile(source, &tree, schema)?;
        Ok(Expression {
            source: source.to_owned(),
            canonical: tree.to_string(),
            program: compiled.program,
            result_type: compiled.result_type,
            fields: compiled.fields,
        })
    }

    /// Compiles a source whose result is a boolean.
    ///
    /// # Errors
    /// As [`Expression::compile`], and if the result has another type.
    pub fn compile_condition(source: &str, schema: &Schema) -> Result<Expression, CompileError> {
        let expression = Expression::compile(source, schema)?;
        match expression.result_type {
            Type::Bool => Ok(expression),
            other => Err(CompileError::new(
                0,
                "a condition",
                format!("an expression whose result is {other}"),
                "compare the result with something",
            )),
        }
    }

    /// Evaluates over the values of fields.
    ///
    /// # Errors If a field or key that is read is missing, a number does not fit into 64 bits, a divisor is zero, a
    /// list has no such element, a string is no integer, or more than [`STEPS_MAX`] steps are needed.
    pub fn evaluate<'a, F: Fields + ?Sized>(
        &'a self,
        fields: &'a F,
    ) -> Result<Scalar<'a>, EvaluationError> {
        evaluator::evaluate(&self.program, self.result_type, fields).map_err(|fault| {
            let span = self.program.spans[usize::from(fault.node)];
            EvaluationError {
                offset: span.offset(),
                excerpt: span.excerpt(&self.source),
                problem: fault.problem,
            }
        })
    }

    /// Returns whether a condition holds for the values of fields.
    ///
    /// # Errors
    /// As [`Expression::evaluate`].
    ///
    /// # Panics
    /// If this is not a condition: see [`Expression::compile_condition`].
    pub fn holds<F: Fields + ?Sized>(&self, fields: &F) -> Result<bool, EvaluationError> {
        assert!(self.result_type == Type::Bool, "`{self}` is no condition");
        Ok(self.evaluate(fields)? == Scalar::Bool(true))
    }

    /// Returns this expression as SQL of Apache Flink: NULL exactly where the expression has no value. `schema` is the one that it was compiled
    /// over, or one that begins with the same fields; `columns` gives the SQL of each field that is used, NULL where the field is missing.
    ///
    /// # Errors
    /// If a part can't be said exactly, or `columns` refuses a field.
    pub fn to_sql(&self, schema: &Schema, columns: Columns<'_>) -> Result<String, NotInSql> {
        let tree = parser::parse(&self.source);
        let tree = tree.map_err(|error| NotInSql::new(error.to_string(), "correct it"))?;
        sql::write(&tree, schema, columns)
    }

    /// Returns the source as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the type of the result: a boolean, an integer or a string.
    #[must_use]
    pub fn result_type(&self) -> Type {
        self.result_type
    }

    /// Returns the fields that are read or tested by `has()`, with their paths, each once and in the order of the
    /// schema.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (FieldId, &str)> {
        self.fields.iter().map(|(id, path)| (*id, path.as_str()))
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical)
    }
}
