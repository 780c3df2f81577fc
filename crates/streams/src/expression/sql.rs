//! The tree of an expression as SQL of Apache Flink.
//!
//! The SQL is NULL exactly where the expression has no value: a missing field, a missing key, a result that does not fit into 64 bits, a
//! division by zero, a string that is no integer. It never depends on the order in which a planner evaluates its parts. Only the budget of
//! steps is left out. Lists are taken right of `in` alone.

use super::schema::{FieldId, Named, Schema, Type};
use super::syntax::{Arithmetic, Function, Kind, Operator, Relation, Tree};

/// Longest SQL of one expression, in bytes. A divisor that is no number stands several times in the SQL.
pub const SQL_BYTES_MAX: usize = 65_536;

/// Why an expression can't be said in SQL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; {advice}")]
pub struct NotInSql {
    /// What can't be said.
    pub problem: String,
    /// What to do.
    pub advice: String,
}

impl NotInSql {
    /// Makes an error.
    pub fn new(problem: impl Into<String>, advice: impl Into<String>) -> NotInSql {
        NotInSql {
            problem: problem.into(),
            advice: advice.into(),
        }
    }
}

/// Gives the SQL of a field.
pub type Columns<'c> = &'c mut dyn FnMut(FieldId) -> Result<String, NotInSql>;

/// Returns a tree as SQL. `columns` gives the SQL of each field of the schema that is used.
pub(super) fn write(
    tree: &Tree,
    schema: &Schema,
    columns: Columns<'_>,
) -> Result<String, NotInSql> {
    Writer { schema, columns }.part(tree)
}

/// Returns a text as a literal, of type STRING. All but printable ASCII is escaped: no text ends the literal, or the line.
#[must_use]
pub fn string_literal(text: &str) -> String {
    let is_plain = |letter: char| letter == ' ' || letter.is_ascii_graphic();
    if text.chars().all(is_plain) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut literal = String::from("U&'");
    for letter in text.chars() {
        match letter {
            '\'' => literal.push_str("''"),
            '\\' => literal.push_str("\\005C"),
            _ if is_plain(letter) => literal.push(letter),
            _ => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    literal.push_str(&format!("\\{unit:04X}"));
                }
            }
        }
    }
    literal.push('\'');
    literal
}

/// Returns a text as a value whose type holds texts of any length: a bare literal is padded where it meets a longer one.
#[must_use]
pub fn string_value(text: &str) -> String {
    format!("CAST({} AS STRING)", string_literal(text))
}

/// Returns SQL for an integer of at most 38 digits: NULL if it does not fit into 64 bits. Flink's own cast between numbers would wrap.
fn narrowed(wide: &str) -> String {
    format!("TRY_CAST(CAST({wide} AS STRING) AS BIGINT)")
}

fn wide(int: &str) -> String {
    format!("CAST({int} AS DECIMAL(19, 0))")
}

struct Writer<'w> {
    schema: &'w Schema,
    columns: Columns<'w>,
}

impl Writer<'_> {
    fn part(&mut self, tree: &Tree) -> Result<String, NotInSql> {
        let sql = match &tree.kind {
            Kind::Bool(true) => "TRUE".to_owned(),
            Kind::Bool(false) => "FALSE".to_owned(),
            Kind::Int(value) => int_literal(*value),
            Kind::String(text) => string_value(text),
            Kind::List(_) => return Err(list_refused()),
            Kind::Path(path) => self.path(path)?,
            Kind::Has(path) => format!("({} IS NOT NULL)", self.path(path)?),
            Kind::Not(operand) => format!("(NOT {})", self.part(operand)?),
            Kind::Negate(operand) => negated(&self.part(operand)?),
            Kind::Chain(operator, operands) => self.chain(*operator, operands)?,
            Kind::Binary(operator, operands) => self.binary(*operator, operands)?,
            Kind::Choice(parts) => self.choice(parts)?,
            Kind::Index(parts) => {
                let [indexed, index] = parts.as_ref();
                if !self.is_map(indexed) {
                    return Err(list_refused());
                }
                format!("{}[{}]", self.part(indexed)?, self.part(index)?)
            }
            Kind::Call(function, arguments) => self.call(*function, arguments)?,
        };
        if sql.len() > SQL_BYTES_MAX {
            return Err(NotInSql::new(
                format!("it would be more than {SQL_BYTES_MAX} bytes of SQL"),
                "divide by numbers instead of expressions, or use fewer parts",
            ));
        }
        Ok(sql)
    }

    fn path(&mut self, path: &str) -> Result<String, NotInSql> {
        match self.schema.resolve(path) {
            Named::Field(field, _) => (self.columns)(field),
            Named::Key(map, key) => {
                Ok(format!("{}[{}]", (self.columns)(map)?, string_literal(key)))
            }
            _ => Err(NotInSql::new(
                format!("there is no field `{path}`"),
                "use a field of the events",
            )),
        }
    }

    fn is_map(&self, tree: &Tree) -> bool {
        match &tree.kind {
            Kind::Path(path) => self
                .schema
                .field(path)
                .is_some_and(|(_, kind)| kind == Type::StringMap),
            _ => false,
        }
    }

    /// Operands from left to right until one decides; one without a value before that has the whole without a value.
    fn chain(&mut self, operator: Operator, operands: &[Tree]) -> Result<String, NotInSql> {
        let (word, decides, goes_on) = match operator {
            Operator::Or => ("OR", "TRUE", "FALSE"),
            _ => ("AND", "FALSE", "TRUE"),
        };
        let (last, before) = operands.split_last().expect("a chain has operands");
        let mut whole = self.part(last)?;
        for operand in before.iter().rev() {
            let left = self.part(operand)?;
            whole = match has_always_value(operand) {
                true => format!("({left} {word} {whole})"),
                false => {
                    format!(
                        "(CASE {left} WHEN {decides} THEN {decides} WHEN {goes_on} THEN {whole} END)"
                    )
                }
            };
        }
        Ok(whole)
    }

    fn choice(&mut self, parts: &[Tree; 3]) -> Result<String, NotInSql> {
        let [condition, yes, no] = parts;
        let always = has_always_value(condition);
        let (condition, yes, no) = (self.part(condition)?, self.part(yes)?, self.part(no)?);
        Ok(match always {
            true => format!("(CASE WHEN {condition} THEN {yes} ELSE {no} END)"),
            false => format!("(CASE {condition} WHEN TRUE THEN {yes} WHEN FALSE THEN {no} END)"),
        })
    }

    fn binary(&mut self, operator: Operator, operands: &[Tree; 2]) -> Result<String, NotInSql> {
        let [left, right] = operands;
        match operator {
            Operator::Relation(relation) => self.relation(relation, left, right),
            Operator::Arithmetic(arithmetic) => self.arithmetic(arithmetic, left, right),
            _ => self.membership(left, right),
        }
    }

    fn relation(
        &mut self,
        relation: Relation,
        left: &Tree,
        right: &Tree,
    ) -> Result<String, NotInSql> {
        let is_text = self.is_text(left) || self.is_text(right);
        let (left, right) = (self.part(left)?, self.part(right)?);
        let sign = match relation {
            Relation::Equal => "=",
            Relation::NotEqual => "<>",
            _ if is_text => {
                // Flink orders strings by UTF-16 or by UTF-8, as it happens to hold them; digits are in one order.
                let sign = Operator::Relation(relation).sign();
                return Ok(format!("(HEX({left}) {sign} HEX({right}))"));
            }
            _ => Operator::Relation(relation).sign(),
        };
        Ok(format!("({left} {sign} {right})"))
    }

    /// Returns whether a part is a string, where it must be an integer, a boolean or a string.
    fn is_text(&self, tree: &Tree) -> bool {
        match &tree.kind {
            Kind::String(_) | Kind::Index(_) => true,
            Kind::Path(path) => match self.schema.resolve(path) {
                Named::Field(_, kind) => kind == Type::String,
                Named::Key(..) => true,
                _ => false,
            },
            Kind::Choice(parts) => self.is_text(&parts[1]),
            _ => false,
        }
    }

    fn membership(&mut self, left: &Tree, right: &Tree) -> Result<String, NotInSql> {
        let value = self.part(left)?;
        if self.is_map(right) {
            let map = self.part(right)?;
            return Ok(format!(
                "(CASE WHEN {value} IS NOT NULL AND {map} IS NOT NULL THEN {map}[{value}] IS NOT NULL END)"
            ));
        }
        let Kind::List(elements) = &right.kind else {
            return Err(list_refused());
        };
        let literals = elements.iter().map(|element| match &element.kind {
            Kind::Bool(_) | Kind::Int(_) | Kind::String(_) => self.part(element),
            _ => Err(NotInSql::new(
                "a list whose elements are computed",
                "compare with each element by == and join the comparisons with ||",
            )),
        });
        let literals = literals.collect::<Result<Vec<_>, _>>()?;
        Ok(format!("({value} IN ({}))", literals.join(", ")))
    }

    fn arithmetic(
        &mut self,
        arithmetic: Arithmetic,
        left: &Tree,
        right: &Tree,
    ) -> Result<String, NotInSql> {
        let divisor = match right.kind {
            Kind::Int(value) => Some(value),
            _ => None,
        };
        let (a, b) = (self.part(left)?, self.part(right)?);
        let calculated = |sign| narrowed(&format!("({} {sign} {})", wide(&a), wide(&b)));
        Ok(match (arithmetic, divisor) {
            (Arithmetic::Add, _) => calculated("+"),
            (Arithmetic::Subtract, _) => calculated("-"),
            (Arithmetic::Multiply, _) => calculated("*"),
            (_, Some(0)) => "CAST(NULL AS BIGINT)".to_owned(),
            (Arithmetic::Divide, Some(divisor)) if divisor != -1 => format!("({a} / {b})"),
            (Arithmetic::Remainder, Some(divisor)) if divisor != -1 => format!("MOD({a}, {b})"),
            // The least integer by -1 is too large.
            (Arithmetic::Divide, _) => format!(
                "(CASE WHEN {b} = -1 THEN {} ELSE {a} / NULLIF({b}, 0) END)",
                negated(&a)
            ),
            (Arithmetic::Remainder, _) => format!(
                "(CASE WHEN {b} = -1 THEN MOD({}, 1) ELSE MOD({a}, NULLIF({b}, 0)) END)",
                negated(&a)
            ),
        })
    }

    fn call(&mut self, function: Function, arguments: &[Tree]) -> Result<String, NotInSql> {
        let (first, rest) = arguments.split_first().expect("functions have an argument");
        let is_map = self.is_map(first);
        let first = self.part(first)?;
        let second = rest.first().map(|second| self.part(second)).transpose()?;
        let second = second.unwrap_or_default();
        Ok(match function {
            Function::Size if is_map => format!("CARDINALITY({first})"),
            Function::Size => format!("CHAR_LENGTH({first})"),
            // Flink's own cast takes spaces and fractions too.
            Function::Int => format!(
                "(CASE WHEN REGEXP({first}, '\\A[+-]?[0-9]+\\z') THEN TRY_CAST({first} AS BIGINT) END)"
            ),
            Function::StartsWith => format!("STARTSWITH({first}, {second})"),
            Function::EndsWith => format!("ENDSWITH({first}, {second})"),
            Function::Contains => format!("(POSITION({second} IN {first}) > 0)"),
        })
    }
}

fn negated(int: &str) -> String {
    narrowed(&format!("(- {})", wide(int)))
}

fn int_literal(value: i64) -> String {
    match value {
        0.. => value.to_string(),
        i64::MIN => format!("CAST('{value}' AS BIGINT)"),
        _ => format!("({value})"),
    }
}

fn list_refused() -> NotInSql {
    NotInSql::new(
        "a list that does not stand right of `in`",
        "write `value in [first, second]`, or name each value",
    )
}

/// Returns whether a condition has a value for every event.
fn has_always_value(tree: &Tree) -> bool {
    match &tree.kind {
        Kind::Bool(_) | Kind::Has(_) => true,
        Kind::Not(operand) => has_always_value(operand),
        Kind::Chain(_, operands) => operands.iter().all(has_always_value),
        _ => false,
    }
}
