//! Names and types of the fields that an expression may use.

use std::collections::BTreeMap;
use std::fmt;

use super::limits::{FIELDS_MAX, PATH_BYTES_MAX};

/// Words that are no names: those of CEL, which keeps some for languages that embed it.
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Type of a field or of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// True or false.
    Bool,
    /// A whole number of 64 bits, with a sign.
    Int,
    /// Text, a sequence of Unicode code points.
    String,
    /// A list of booleans.
    BoolList,
    /// A list of integers.
    IntList,
    /// A list of strings.
    StringList,
    /// Strings by keys that may be missing, such as the metadata of a payment.
    StringMap,
}

impl Type {
    /// Returns the type of the elements of a list; none if this is not a list.
    #[must_use]
    pub fn element(self) -> Option<Type> {
        match self {
            Type::BoolList => Some(Type::Bool),
            Type::IntList => Some(Type::Int),
            Type::StringList => Some(Type::String),
            _ => None,
        }
    }

    /// Returns the type of a list of this type; none if there are no such lists.
    pub(super) fn list(self) -> Option<Type> {
        match self {
            Type::Bool => Some(Type::BoolList),
            Type::Int => Some(Type::IntList),
            Type::String => Some(Type::StringList),
            _ => None,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Bool => "a boolean",
            Type::Int => "an integer",
            Type::String => "a string",
            Type::BoolList => "a list of booleans",
            Type::IntList => "a list of integers",
            Type::StringList => "a list of strings",
            Type::StringMap => "a map of strings",
        })
    }
}

/// Number of a field in its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldId(u16);

impl FieldId {
    /// Returns the position of the field in the list of which the schema was made, from 0.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Why a list of fields is no schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// A path is not made of names and dots, or is too long.
    #[error(
        "`{0}` is no path of a field: names of letters, digits and _ joined by dots, no reserved words, at most \
         {PATH_BYTES_MAX} bytes"
    )]
    Path(String),
    /// A path is there already, or one path is the beginning of the other.
    #[error("the fields `{0}` and `{1}` cannot be told apart: rename one of them")]
    Overlap(String, String),
    /// There are too many fields.
    #[error("a schema has at most {FIELDS_MAX} fields")]
    TooMany,
}

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named<'p> {
    /// A field.
    Field(FieldId, Type),
    /// A value of a map.
    Key(FieldId, &'p str),
    /// A member of a value that has no members: the path of that value.
    Member(&'p str),
    /// The beginning of paths, of which this is one.
    Group(String),
    /// Nothing.
    Unknown,
}

/// Names and types of the fields that an expression may use.
///
/// The fields of an object have paths with dots, such as `card.country`. Each field may be missing in an event.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    by_path: BTreeMap<String, (FieldId, Type)>,
}

impl Schema {
    /// Makes a schema of the paths and types of its fields, which are numbered from 0 in this order.
    ///
    /// # Errors
    /// If a path is malformed, is given twice or is the beginning of another one, or if there are more than
    /// [`FIELDS_MAX`] fields.
    pub fn new<P: Into<String>>(
        fields: impl IntoIterator<Item = (P, Type)>,
    ) -> Result<Schema, SchemaError> {
        let mut by_path: BTreeMap<String, (FieldId, Type)> = BTreeMap::new();
        for (index, (path, kind)) in fields.into_iter().enumerate() {
            let path = path.into();
            if index >= FIELDS_MAX {
                return Err(SchemaError::TooMany);
            }
            if path.len() > PATH_BYTES_MAX || !path.split('.').all(is_field_name) {
                return Err(SchemaError::Path(path));
            }
            let id = FieldId(u16::try_from(index).expect("bounded by FIELDS_MAX"));
            if by_path.contains_key(&path) {
                return Err(SchemaError::Overlap(path.clone(), path));
            }
            by_path.insert(path, (id, kind));
        }
        for path in by_path.keys() {
            for (dot, _) in path.match_indices('.') {
                if by_path.contains_key(&path[..dot]) {
                    return Err(SchemaError::Overlap(path[..dot].to_owned(), path.clone()));
                }
            }
        }
        Ok(Schema { by_path })
    }

    /// Returns the number and the type of the field at a path.
    #[must_use]
    pub fn field(&self, path: &str) -> Option<(FieldId, Type)> {
        self.by_path.get(path).copied()
    }

    /// Finds what a path of an expression names.
    pub(super) fn resolve<'p>(&self, path: &'p str) -> Named<'p> {
        if let Some((id, kind)) = self.field(path) {
            return Named::Field(id, kind);
        }
        for (dot, _) in path.match_indices('.') {
            let (before, member) = (&path[..dot], &path[dot + 1..]);
            match self.field(before) {
                Some((id, Type::StringMap)) => {
                    return match member.find('.') {
                        None => Named::Key(id, member),
                        Some(second) => Named::Member(&path[..dot + 1 + second]),
                    };
                }
                Some(_) => return Named::Member(before),
                None => {}
            }
        }
        let group = format!("{path}.");
        let first = self.by_path.range(group.clone()..).next();
        match first.filter(|(found, _)| found.starts_with(&group)) {
            Some((found, _)) => Named::Group(found.clone()),
            None => Named::Unknown,
        }
    }

    /// Returns the path that is most like one that is unknown, if any is like it.
    pub(super) fn nearest(&self, path: &str) -> Option<&str> {
        /// Most letters that differ between a name and its misspelling.
        const EDITS_MAX: usize = 2;
        let alike = |known: &&String| known.len().abs_diff(path.len()) <= EDITS_MAX;
        let found = self.by_path.keys().filter(alike);
        let found = found.map(|known| (edits(known.as_bytes(), path.as_bytes()), known));
        let found = found.filter(|(edits, _)| *edits <= EDITS_MAX).min();
        found.map(|(_, known)| known.as_str())
    }
}

/// Returns whether a word is a name: letters, digits and underscores, with no digit at the beginning.
pub(super) fn is_name(word: &str) -> bool {
    let mut letters = word.bytes();
    letters.next().is_some_and(is_name_start) && letters.all(is_name_part)
}

/// Returns whether a name begins with this letter.
pub(super) fn is_name_start(letter: u8) -> bool {
    letter.is_ascii_alphabetic() || letter == b'_'
}

/// Returns whether a name goes on with this letter.
pub(super) fn is_name_part(letter: u8) -> bool {
    letter.is_ascii_alphanumeric() || letter == b'_'
}

/// Returns whether a word is kept for the language and names nothing.
pub(super) fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
}

fn is_field_name(word: &str) -> bool {
    is_name(word) && !is_reserved(word)
}

/// Counts the letters to insert, remove or replace that make one word of the other (Levenshtein's distance).
fn edits(left: &[u8], right: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
