//! Checks the types of a tree, and makes its program.

use super::errors::CompileError;
use super::program::{Constants, Node, NodeId, Operands, Program, Search};
use super::schema::{FieldId, Named, Schema, Type};
use super::syntax::{Function, Kind, Operator, Relation, Tree};
use super::tokens::Span;

/// What compiling gives.
pub(super) struct Compiled {
    pub(super) program: Program,
    pub(super) result_type: Type,
    /// Fields that are used, with their paths; each once, by number.
    pub(super) fields: Vec<(FieldId, String)>,
}

/// Compiles the tree of a source over a schema.
pub(super) fn compile(
    source: &str,
    tree: &Tree,
    schema: &Schema,
) -> Result<Compiled, CompileError> {
    let mut compiler = Compiler {
        source,
        schema,
        program: Program::default(),
        fields: Vec::new(),
    };
    let (_, result_type) = compiler.part(tree)?;
    if !is_scalar(result_type) {
        return Err(compiler.mismatch(
            tree,
            "a boolean, an integer or a string as the result",
            result_type,
            "compare it, or take one element of it",
        ));
    }
    compiler.fields.sort();
    compiler.fields.dedup();
    Ok(Compiled {
        program: compiler.program,
        result_type,
        fields: compiler.fields,
    })
}

fn is_scalar(found: Type) -> bool {
    found.list().is_some()
}

struct Compiler<'a> {
    source: &'a str,
    schema: &'a Schema,
    program: Program,
    fields: Vec<(FieldId, String)>,
}

type Part = (NodeId, Type);

impl Compiler<'_> {
    fn part(&mut self, tree: &Tree) -> Result<Part, CompileError> {
        let (node, found) = match &tree.kind {
            Kind::Bool(value) => (Node::Bool(*value), Type::Bool),
            Kind::Int(value) => (Node::Int(*value), Type::Int),
            Kind::String(value) => (self.string(value), Type::String),
            Kind::List(elements) => self.list(tree, elements)?,
            Kind::Path(path) => self.path(tree, path)?,
            Kind::Has(path) => (self.has(tree, path)?, Type::Bool),
            Kind::Not(operand) => {
                let advice = "write `!` before a condition only";
                let operand = self.typed(operand, Type::Bool, advice)?;
                (Node::Not(operand), Type::Bool)
            }
            Kind::Negate(operand) => {
                let operand = self.typed(operand, Type::Int, "write `-` before an integer only")?;
                (Node::Negate(operand), Type::Int)
            }
            Kind::Chain(operator, operands) => {
                let advice = format!("join conditions with `{}`", operator.sign());
                let nodes = operands.iter();
                let nodes = nodes.map(|operand| self.typed(operand, Type::Bool, &advice));
                let nodes = nodes.collect::<Result<Vec<NodeId>, CompileError>>()?;
                let operands = self.operands(&nodes);
                let node = match operator {
                    Operator::Or => Node::Any(operands),
                    _ => Node::All(operands),
                };
                (node, Type::Bool)
            }
            Kind::Binary(operator, operands) => self.binary(*operator, operands)?,
            Kind::Choice(parts) => self.choice(parts)?,
            Kind::Index(parts) => self.index(parts)?,
            Kind::Call(function, arguments) => self.call(*function, arguments)?,
        };
        Ok((self.node(node, tree.span), found))
    }

    fn list(&mut self, tree: &Tree, elements: &[Tree]) -> Result<(Node, Type), CompileError> {
        let Some(first) = elements.first() else {
            return Err(CompileError::new(
                tree.span.offset(),
                "a list with elements",
                "an empty list",
                "leave out the comparison, or use size(list) == 0",
            ));
        };
        if let Some(constants) = literals(elements) {
            let found = match constants {
                Constants::Bools(_) => Type::BoolList,
                Constants::Ints(_) => Type::IntList,
                Constants::Strings(_) => Type::StringList,
            };
            let number = number(self.program.lists.len());
            self.program.lists.push(constants);
            return Ok((Node::Constants(number), found));
        }
        let (node, element) = self.part(first)?;
        let Some(found) = element.list() else {
            return Err(self.mismatch(
                first,
                "a boolean, an integer or a string as the element",
                element,
                "lists and maps cannot be elements of a list",
            ));
        };
        let mut nodes = vec![node];
        for other in &elements[1..] {
            nodes.push(self.typed(
                other,
                element,
                "give all elements the type of the first one",
            )?);
        }
        Ok((Node::List(self.operands(&nodes)), found))
    }

    fn path(&mut self, tree: &Tree, path: &str) -> Result<(Node, Type), CompileError> {
        match self.schema.resolve(path) {
            Named::Field(field, found) => {
                self.fields.push((field, path.to_owned()));
                Ok((Node::Field(field), found))
            }
            Named::Key(map, key) => {
                self.use_map(map, path, key);
                let map = self.node(Node::Field(map), tree.span);
                let key = self.string(key);
                let key = self.node(key, tree.span);
                Ok((Node::Lookup(map, key), Type::String))
            }
            wrong => Err(self.no_field(tree, path, wrong)),
        }
    }

    fn has(&mut self, tree: &Tree, path: &str) -> Result<Node, CompileError> {
        match self.schema.resolve(path) {
            Named::Field(field, _) => {
                self.fields.push((field, path.to_owned()));
                Ok(Node::HasField(field))
            }
            Named::Key(map, key) => {
                self.use_map(map, path, key);
                Ok(Node::HasKey(map, self.string_number(key)))
            }
            wrong => Err(self.no_field(tree, path, wrong)),
        }
    }

    /// Takes down that a map is used, by the path of one of its keys.
    fn use_map(&mut self, map: FieldId, path: &str, key: &str) {
        let path = &path[..path.len() - key.len() - 1];
        self.fields.push((map, path.to_owned()));
    }

    fn no_field(&self, tree: &Tree, path: &str, named: Named<'_>) -> CompileError {
        let shown = shorten(path);
        let (found, advice) = match named {
            Named::Member(owner) => (
                format!("a member of `{}`, which has none", shorten(owner)),
                "remove what follows it".to_owned(),
            ),
            Named::Group(first) => (
                format!("`{shown}`, which only begins the names of fields"),
                format!("write the whole path, such as `{first}`"),
            ),
            _ => (
                format!("`{shown}`"),
                match self.schema.nearest(path) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "use one of the fields that are documented for this place".to_owned(),
                },
            ),
        };
        CompileError::new(tree.span.offset(), "the path of a field", found, advice)
    }

    fn binary(
        &mut self,
        operator: Operator,
        operands: &[Tree; 2],
    ) -> Result<(Node, Type), CompileError> {
        let [left, right] = operands;
        let sign = operator.sign();
        match operator {
            Operator::Arithmetic(arithmetic) => {
                let advice = format!("`{sign}` calculates with integers only");
                let a = self.typed(left, Type::Int, &advice)?;
                let b = self.typed(right, Type::Int, &advice)?;
                Ok((Node::Calculate(arithmetic, a, b), Type::Int))
            }
            Operator::In => Ok((self.membership(left, right)?, Type::Bool)),
            Operator::Relation(relation) => {
                let (a, found) = self.part(left)?;
                let advice =
                    format!("compare values of one type with `{sign}`, or convert with int()");
                let b = self.typed(right, found, &advice)?;
                let equality = matches!(relation, Relation::Equal | Relation::NotEqual);
                let node = match found {
                    Type::Int => Node::CompareInts(relation, a, b),
                    Type::String => Node::CompareStrings(relation, a, b),
                    Type::Bool if equality => Node::CompareBools(relation, a, b),
                    Type::BoolList | Type::IntList | Type::StringList if equality => {
                        Node::CompareLists(relation == Relation::Equal, a, b)
                    }
                    _ if equality => {
                        let advice = "compare single keys of maps";
                        return Err(self.mismatch(left, "a value that is no map", found, advice));
                    }
                    _ => {
                        let advice = "only integers and strings have an order; use == or !=";
                        return Err(self.mismatch(left, "an integer or a string", found, advice));
                    }
                };
                Ok((node, Type::Bool))
            }
            Operator::And | Operator::Or => unreachable!("these are chains"),
        }
    }

    fn membership(&mut self, left: &Tree, right: &Tree) -> Result<Node, CompileError> {
        let (value, found) = self.part(left)?;
        let (container, holds) = self.part(right)?;
        let (element, node) = match (holds, holds.element()) {
            (Type::StringMap, _) => (Type::String, Node::InMap(value, container)),
            (_, Some(element)) => (element, Node::InList(value, container)),
            _ => {
                let advice = "write `value in [first, second]`, or `==` for one value";
                return Err(self.mismatch(right, "a list or a map", holds, advice));
            }
        };
        match found == element {
            true => Ok(node),
            false => {
                let expected = format!("{element}, as it stands right of `in`");
                Err(self.mismatch(left, &expected, found, "look for a value of the same type"))
            }
        }
    }

    fn choice(&mut self, parts: &[Tree; 3]) -> Result<(Node, Type), CompileError> {
        let [condition, yes, no] = parts;
        let condition = self.typed(condition, Type::Bool, "write a condition before `?`")?;
        let (yes, found) = self.part(yes)?;
        let no = self.typed(no, found, "give both values of `?:` the same type")?;
        Ok((Node::Choice(condition, yes, no), found))
    }

    fn index(&mut self, parts: &[Tree; 2]) -> Result<(Node, Type), CompileError> {
        let [indexed, index] = parts;
        let (container, holds) = self.part(indexed)?;
        match (holds, holds.element()) {
            (Type::StringMap, _) => {
                let key = self.typed(index, Type::String, "the keys of maps are strings")?;
                Ok((Node::Lookup(container, key), Type::String))
            }
            (_, Some(element)) => {
                let advice = "elements of lists are numbered from 0";
                let position = self.typed(index, Type::Int, advice)?;
                Ok((Node::Element(container, position), element))
            }
            _ => Err(self.mismatch(indexed, "a list or a map", holds, "remove the index")),
        }
    }

    fn call(
        &mut self,
        function: Function,
        arguments: &[Tree],
    ) -> Result<(Node, Type), CompileError> {
        let name = function.name();
        let search = match function {
            Function::StartsWith => Search::Start,
            Function::EndsWith => Search::End,
            Function::Contains => Search::Anywhere,
            Function::Int => {
                let advice = "int() reads an integer from a string";
                let text = self.typed(&arguments[0], Type::String, advice)?;
                return Ok((Node::ParseInt(text), Type::Int));
            }
            Function::Size => {
                let (measured, found) = self.part(&arguments[0])?;
                return match found {
                    Type::Bool | Type::Int => {
                        let expected = "a string, a list or a map";
                        Err(self.mismatch(&arguments[0], expected, found, "remove size()"))
                    }
                    _ => Ok((Node::Size(measured), Type::Int)),
                };
            }
        };
        let advice = match function {
            Function::Contains => "contains() searches strings; use `in` for lists".to_owned(),
            _ => format!("{name}() searches strings"),
        };
        let text = self.typed(&arguments[0], Type::String, &advice)?;
        let part = self.typed(&arguments[1], Type::String, &advice)?;
        Ok((Node::Search(search, text, part), Type::Bool))
    }

    /// Compiles a part that must have a type.
    fn typed(&mut self, tree: &Tree, wanted: Type, advice: &str) -> Result<NodeId, CompileError> {
        let (node, found) = self.part(tree)?;
        match found == wanted {
            true => Ok(node),
            false => Err(self.mismatch(tree, &wanted.to_string(), found, advice)),
        }
    }

    fn mismatch(&self, tree: &Tree, expected: &str, found: Type, advice: &str) -> CompileError {
        let excerpt = tree.span.excerpt(self.source);
        CompileError::new(
            tree.span.offset(),
            expected,
            format!("`{excerpt}`, which is {found}"),
            advice,
        )
    }

    fn node(&mut self, node: Node, span: Span) -> NodeId {
        let id = number(self.program.nodes.len());
        self.program.nodes.push(node);
        self.program.spans.push(span);
        id
    }

    fn operands(&mut self, nodes: &[NodeId]) -> Operands {
        let start = number(self.program.operands.len());
        self.program.operands.extend(nodes);
        Operands {
            start,
            count: number(nodes.len()),
        }
    }

    fn string(&mut self, text: &str) -> Node {
        Node::String(self.string_number(text))
    }

    fn string_number(&mut self, text: &str) -> u16 {
        let number = number(self.program.strings.len());
        self.program.strings.push(text.into());
        number
    }
}

fn number(count: usize) -> u16 {
    u16::try_from(count).expect("bounded by NODES_MAX and SOURCE_BYTES_MAX")
}

fn shorten(path: &str) -> &str {
    &path[..path.floor_char_boundary(80)]
}

/// Returns the values of literals of one type.
fn literals(elements: &[Tree]) -> Option<Constants> {
    let bools = elements.iter().map(|element| match element.kind {
        Kind::Bool(value) => Some(value),
        _ => None,
    });
    let ints = elements.iter().map(|element| match element.kind {
        Kind::Int(value) => Some(value),
        _ => None,
    });
    let strings = elements.iter().map(|element| match &element.kind {
        Kind::String(value) => Some(value.clone()),
        _ => None,
    });
    match elements.first()?.kind {
        Kind::Bool(_) => bools.collect::<Option<_>>().map(Constants::Bools),
        Kind::Int(_) => ints.collect::<Option<_>>().map(Constants::Ints),
        _ => strings.collect::<Option<_>>().map(Constants::Strings),
    }
}
