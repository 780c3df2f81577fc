//! Makes the tree of a source.

use super::errors::CompileError;
use super::limits::{DEPTH_MAX, NODES_MAX, SOURCE_BYTES_MAX};
use super::schema::is_reserved;
use super::syntax::{Function, Kind, Operator, Tree};
use super::tokens::{Lexer, Span, Token, not_in_language};

/// Parses a source.
pub(super) fn parse(source: &str) -> Result<Tree, CompileError> {
    if source.len() > SOURCE_BYTES_MAX {
        return Err(CompileError::new(
            SOURCE_BYTES_MAX,
            format!("a source of at most {SOURCE_BYTES_MAX} bytes"),
            format!("{} bytes", source.len()),
            "divide the expression",
        ));
    }
    let mut lexer = Lexer::new(source);
    let (token, span) = lexer.next()?;
    let mut parser = Parser {
        lexer,
        token,
        span,
        nodes: 0,
        nesting: 0,
    };
    let tree = parser.expression()?;
    match parser.token {
        Token::End => Ok(tree),
        _ => Err(parser.unexpected("an operator or the end", "join conditions with && or ||")),
    }
}

struct Parser<'s> {
    lexer: Lexer<'s>,
    /// The next word or sign, and its place.
    token: Token<'s>,
    span: Span,
    nodes: usize,
    /// Expressions around the place that is read.
    nesting: usize,
}

impl<'s> Parser<'s> {
    fn expression(&mut self) -> Result<Tree, CompileError> {
        if self.nesting > DEPTH_MAX {
            return Err(too_deep(self.span));
        }
        self.nesting += 1;
        let mut tree = self.operands(0)?;
        if self.accept("?")? {
            let yes = self.operands(0)?;
            self.expect(":", "write `condition ? value : value`")?;
            let no = self.expression()?;
            let span = tree.span.to(no.span);
            tree = self.node(Kind::Choice(Box::new([tree, yes, no])), span)?;
        }
        self.nesting -= 1;
        Ok(tree)
    }

    /// Reads operands that are joined by operators which bind at least so strongly; equal ones from left to right.
    fn operands(&mut self, strength: u8) -> Result<Tree, CompileError> {
        let mut left = self.unary()?;
        while let Some(operator) = self.operator().filter(|next| next.strength() >= strength) {
            self.advance()?;
            let right = self.operands(operator.strength() + 1)?;
            left = self.join(operator, left, right)?;
        }
        Ok(left)
    }

    fn operator(&self) -> Option<Operator> {
        let (Token::Sign(written) | Token::Name(written)) = self.token else {
            return None;
        };
        let mut operators = Operator::ALL.iter().copied();
        operators.find(|operator| operator.sign() == written)
    }

    fn join(&mut self, operator: Operator, left: Tree, right: Tree) -> Result<Tree, CompileError> {
        let span = left.span.to(right.span);
        if !matches!(operator, Operator::And | Operator::Or) {
            return self.node(Kind::Binary(operator, Box::new([left, right])), span);
        }
        // `&&` and `||` are associative, so that operands in a row are one level.
        let mut operands = Vec::new();
        for side in [left, right] {
            match side.kind {
                Kind::Chain(same, inner) if same == operator => operands.extend(inner),
                _ => operands.push(side),
            }
        }
        self.node(Kind::Chain(operator, operands), span)
    }

    fn unary(&mut self) -> Result<Tree, CompileError> {
        let start = self.span;
        if self.accept("!")? {
            let operand = self.operand()?;
            let span = start.to(operand.span);
            return self.node(Kind::Not(Box::new(operand)), span);
        }
        if !self.accept("-")? {
            return self.member();
        }
        if let Token::Integer(digits) = self.token {
            let value = 0i64.checked_sub_unsigned(digits);
            let value = value.expect("at most 2^63, by the lexer");
            let span = start.to(self.span);
            self.advance()?;
            let literal = self.node(Kind::Int(value), span)?;
            return self.members(literal);
        }
        let operand = self.operand()?;
        let span = start.to(operand.span);
        match operand.kind {
            // Parentheses around a literal change nothing.
            Kind::Int(value @ 0..) => self.node(Kind::Int(-value), span),
            _ => self.node(Kind::Negate(Box::new(operand)), span),
        }
    }

    /// Reads the operand of a sign before it.
    fn operand(&mut self) -> Result<Tree, CompileError> {
        match self.token {
            Token::Sign("!" | "-") => {
                Err(self.unexpected("one sign", "put the inner one into parentheses"))
            }
            _ => self.member(),
        }
    }

    fn member(&mut self) -> Result<Tree, CompileError> {
        let tree = self.primary()?;
        self.members(tree)
    }

    /// Reads the indices and methods behind a value.
    fn members(&mut self, mut tree: Tree) -> Result<Tree, CompileError> {
        loop {
            if self.accept("[")? {
                let index = self.expression()?;
                let span = tree.span.to(self.span);
                self.expect("]", "close the index")?;
                tree = self.node(Kind::Index(Box::new([tree, index])), span)?;
            } else if self.accept(".")? {
                let (name, span) = self.name("the name of a method")?;
                tree = match self.accept("(")? {
                    true => self.method(tree, name, span)?,
                    false => {
                        return Err(CompileError::new(
                            span.offset(),
                            "a method",
                            format!("the member `{name}`"),
                            "only fields have members; write the path of a field without parentheses",
                        ));
                    }
                };
            } else {
                return Ok(tree);
            }
        }
    }

    fn primary(&mut self) -> Result<Tree, CompileError> {
        let span = self.span;
        match std::mem::replace(&mut self.token, Token::End) {
            Token::Integer(digits) => {
                let Ok(value) = i64::try_from(digits) else {
                    return Err(CompileError::new(
                        span.offset(),
                        "an integer of 64 bits",
                        digits.to_string(),
                        "write at most 9223372036854775807",
                    ));
                };
                self.advance()?;
                self.node(Kind::Int(value), span)
            }
            Token::Text(text) => {
                self.advance()?;
                self.node(Kind::String(text), span)
            }
            Token::Name(word @ ("true" | "false")) => {
                self.advance()?;
                self.node(Kind::Bool(word == "true"), span)
            }
            Token::Name("null") => Err(not_in_language(
                span.offset(),
                "`null`",
                "test with has() whether a field is there",
            )),
            Token::Name(name) if !is_reserved(name) => {
                self.advance()?;
                match self.accept("(")? {
                    true => self.function(name, span),
                    false => self.path(name, span),
                }
            }
            Token::Sign("(") => {
                self.advance()?;
                let mut tree = self.expression()?;
                tree.span = span.to(self.span);
                self.expect(")", "close the parenthesis")?;
                Ok(tree)
            }
            Token::Sign("[") => {
                self.advance()?;
                let (elements, end) = self.list("]")?;
                self.node(Kind::List(elements), span.to(end))
            }
            token => {
                self.token = token;
                Err(self.unexpected(
                    "a value",
                    "write a literal, the name of a field, or an expression in parentheses",
                ))
            }
        }
    }

    /// Reads the rest of the path of a field, or a method of such a field.
    fn path(&mut self, first: &str, mut span: Span) -> Result<Tree, CompileError> {
        let mut path = first.to_owned();
        while self.accept(".")? {
            let (name, place) = self.name("the name of a field or method")?;
            if self.accept("(")? {
                let receiver = self.node(Kind::Path(path), span)?;
                return self.method(receiver, name, place);
            }
            path.push('.');
            path.push_str(name);
            span = span.to(place);
        }
        self.node(Kind::Path(path), span)
    }

    fn function(&mut self, name: &str, place: Span) -> Result<Tree, CompileError> {
        let (mut arguments, end) = self.list(")")?;
        let span = place.to(end);
        let kind = match (name, arguments.as_mut_slice()) {
            (
                "has",
                [
                    Tree {
                        kind: Kind::Path(path),
                        ..
                    },
                ],
            ) => Kind::Has(std::mem::take(path)),
            ("has", _) => {
                return Err(CompileError::new(
                    place.offset(),
                    "has() of the path of a field",
                    "has() of something else",
                    "write has(name) or has(map.key)",
                ));
            }
            ("size", [_]) => Kind::Call(Function::Size, arguments),
            ("int", [_]) => Kind::Call(Function::Int, arguments),
            ("size" | "int", _) => return Err(wrong_arguments(name, place, &arguments)),
            _ => return Err(unknown_function(name, place)),
        };
        self.node(kind, span)
    }

    fn method(&mut self, receiver: Tree, name: &str, place: Span) -> Result<Tree, CompileError> {
        let (mut arguments, end) = self.list(")")?;
        let method = match name {
            "startsWith" => Function::StartsWith,
            "endsWith" => Function::EndsWith,
            "contains" => Function::Contains,
            _ => return Err(unknown_function(name, place)),
        };
        if arguments.len() != 1 {
            return Err(wrong_arguments(name, place, &arguments));
        }
        let span = receiver.span.to(end);
        arguments.insert(0, receiver);
        self.node(Kind::Call(method, arguments), span)
    }

    /// Reads expressions with commas between them, and the sign that closes them.
    fn list(&mut self, close: &'static str) -> Result<(Vec<Tree>, Span), CompileError> {
        let mut parts = Vec::new();
        if self.token != Token::Sign(close) {
            parts.push(self.expression()?);
            while self.accept(",")? {
                parts.push(self.expression()?);
            }
        }
        let end = self.span;
        self.expect(close, "put a comma between values, and close the list")?;
        Ok((parts, end))
    }

    fn name(&mut self, expected: &str) -> Result<(&'s str, Span), CompileError> {
        match self.token {
            Token::Name(name) if !is_reserved(name) => {
                let span = self.span;
                self.advance()?;
                Ok((name, span))
            }
            _ => Err(self.unexpected(expected, "write letters, digits and _ behind the dot")),
        }
    }

    /// Makes a part of the tree, if there may be one more and as deep.
    fn node(&mut self, kind: Kind, span: Span) -> Result<Tree, CompileError> {
        let deepest = |parts: &[Tree]| 1 + parts.iter().map(|part| part.depth).max().unwrap_or(0);
        let depth = match &kind {
            Kind::Bool(_) | Kind::Int(_) | Kind::String(_) | Kind::Path(_) | Kind::Has(_) => 0,
            Kind::List(parts) | Kind::Chain(_, parts) | Kind::Call(_, parts) => deepest(parts),
            Kind::Not(operand) | Kind::Negate(operand) => 1 + operand.depth,
            Kind::Binary(_, parts) | Kind::Index(parts) => deepest(parts.as_slice()),
            Kind::Choice(parts) => deepest(parts.as_slice()),
        };
        self.nodes += 1;
        if depth > DEPTH_MAX {
            return Err(too_deep(span));
        }
        if self.nodes > NODES_MAX {
            return Err(CompileError::new(
                span.offset(),
                format!("at most {NODES_MAX} literals, names, operators and calls"),
                "more",
                "divide the expression, or keep long lists of strings in a field",
            ));
        }
        Ok(Tree { kind, span, depth })
    }

    fn advance(&mut self) -> Result<(), CompileError> {
        (self.token, self.span) = self.lexer.next()?;
        Ok(())
    }

    /// Steps over a sign if it is the next one.
    fn accept(&mut self, sign: &'static str) -> Result<bool, CompileError> {
        let found = self.token == Token::Sign(sign);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, sign: &'static str, advice: &str) -> Result<(), CompileError> {
        match self.accept(sign)? {
            true => Ok(()),
            false => Err(self.unexpected(&format!("`{sign}`"), advice)),
        }
    }

    fn unexpected(&self, expected: &str, advice: &str) -> CompileError {
        let found = match &self.token {
            Token::End => "the end".to_owned(),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::Name(name) if is_reserved(name) => format!("the reserved word `{name}`"),
            Token::Name(_) => "a name".to_owned(),
            Token::Integer(_) => "an integer".to_owned(),
            Token::Text(_) => "a string".to_owned(),
        };
        CompileError::new(self.span.offset(), expected, found, advice)
    }
}

fn too_deep(span: Span) -> CompileError {
    CompileError::new(
        span.offset(),
        format!("at most {DEPTH_MAX} levels of operators, calls and parentheses"),
        "more",
        "divide the expression",
    )
}

fn wrong_arguments(name: &str, place: Span, arguments: &[Tree]) -> CompileError {
    CompileError::new(
        place.offset(),
        format!("one argument of {name}()"),
        arguments.len().to_string(),
        "correct the arguments",
    )
}

fn unknown_function(name: &str, place: Span) -> CompileError {
    let advice = match name {
        "size" => "write size(value)",
        "has" => "write has(path)",
        "matches" => {
            "regular expressions are not in this language; use startsWith, endsWith or contains"
        }
        "all" | "exists" | "exists_one" | "filter" | "map" => {
            "loops are not in this language; use `in`"
        }
        _ => "use one of these",
    };
    CompileError::new(
        place.offset(),
        "has(), size(), int() or a method startsWith(), endsWith(), contains()",
        format!("{}()", &name[..name.len().min(40)]),
        advice,
    )
}
