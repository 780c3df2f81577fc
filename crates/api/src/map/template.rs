//! Text with fields in it: `customer-{account}`, `{name|slug}`; `{{` and `}}` are braces.

use crate::map::fault::Fault;
use crate::map::fields::{FieldIndex, Fields, Schema};

/// Maximum number of fields in a template.
pub const FIELDS_PER_TEMPLATE_MAX: usize = 64;

/// A parsed template.
#[derive(Debug, Clone)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Field { index: FieldIndex, filter: Filter },
}

#[derive(Debug, Clone, Copy)]
enum Filter {
    None,
    Lower,
    Upper,
    /// Only what an owner name may contain; everything else becomes `-`.
    Slug,
}

impl Template {
    /// Parses `text`. The schema knows the fields that it names.
    ///
    /// # Errors
    /// If a brace has no other, a filter is not known, the schema has no such field, or there are too many.
    pub fn parse(text: &str, schema: &mut dyn Schema) -> Result<Template, Fault> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                let why = format!("`{text}` has a `}}` without a `{{` (write `}}}}` for a brace)");
                return Err(Fault::map("", why));
            }
            let end = rest
                .find('}')
                .ok_or_else(|| Fault::map("", format!("`{text}` has a `{{` without a `}}`")))?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(parse_field(&rest[..end], schema)?);
            rest = &rest[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        let template = Template { parts };
        if template.fields().count() > FIELDS_PER_TEMPLATE_MAX {
            let why = format!("a text has more than {FIELDS_PER_TEMPLATE_MAX} fields");
            return Err(Fault::map("", why));
        }
        Ok(template)
    }

    /// Returns the fields in the template, in their order.
    pub fn fields(&self) -> impl Iterator<Item = FieldIndex> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Field { index, .. } => Some(*index),
        })
    }

    /// Returns the text of a template without fields; none if it has some.
    pub(super) fn constant(&self) -> Option<&str> {
        match &self.parts[..] {
            [] => Some(""),
            [Part::Text(text)] => Some(text.trim()),
            _ => None,
        }
    }

    /// Returns the text for one document, without white space at its ends.
    ///
    /// # Errors
    /// If a field is missing, or is not a text.
    pub fn render(&self, fields: &dyn Fields) -> Result<String, Fault> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Field { index, filter } => filter.apply(fields.text(*index)?, &mut text),
            }
        }
        let trimmed = text.trim();
        Ok(if trimmed.len() == text.len() {
            text
        } else {
            trimmed.to_owned()
        })
    }
}

impl Filter {
    fn apply(self, value: &str, text: &mut String) {
        match self {
            Filter::None => text.push_str(value),
            Filter::Lower => text.extend(value.chars().flat_map(char::to_lowercase)),
            Filter::Upper => text.extend(value.chars().flat_map(char::to_uppercase)),
            Filter::Slug => text.extend(value.chars().map(|c| {
                if c.is_ascii_alphanumeric() || "_.:@-".contains(c) {
                    c
                } else {
                    '-'
                }
            })),
        }
    }
}

fn parse_field(text: &str, schema: &mut dyn Schema) -> Result<Part, Fault> {
    let (name, filter) = match text.rsplit_once('|') {
        None => (text, Filter::None),
        Some((name, "lower")) => (name, Filter::Lower),
        Some((name, "upper")) => (name, Filter::Upper),
        Some((name, "slug")) => (name, Filter::Slug),
        Some((_, other)) => {
            let why = format!("unknown filter `{other}`: there are lower, upper and slug");
            return Err(Fault::map("", why));
        }
    };
    let index = schema.find(name)?;
    Ok(Part::Field { index, filter })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::fields::tests::{Columns, Texts};

    fn check(template: &str, expected: Result<&str, &str>) {
        let mut columns = Columns(&["id", "name", "empty"]);
        let row = Texts(&["7", "Ada & Co", ""]);
        let parsed = Template::parse(template, &mut columns);
        let rendered = parsed.and_then(|parsed| parsed.render(&row));
        match expected {
            Ok(text) => assert_eq!(rendered.as_deref(), Ok(text), "{template}"),
            Err(part) => {
                let fault = rendered.expect_err(template);
                assert!(fault.why.contains(part), "{template}: {fault:?}");
            }
        }
    }

    #[test]
    fn a_template_is_filled_exactly_or_refused() {
        check("plain", Ok("plain"));
        check("{id}", Ok("7"));
        check("c-{id}-{name}", Ok("c-7-Ada & Co"));
        check("{name|slug}", Ok("Ada---Co"));
        check("{name|lower}/{name|upper}", Ok("ada & co/ADA & CO"));
        check("  {empty} ", Ok(""));
        check("{{{id}}}", Ok("{7}"));
        check("{nope}", Err("no column `nope`"));
        check("{id|md5}", Err("unknown filter `md5`"));
        check("{id", Err("without a `}`"));
        check("id}", Err("without a `{`"));
        check(&"{id}".repeat(64), Ok(&"7".repeat(64)));
        check(&"{id}".repeat(65), Err("more than 64 fields"));
    }
}
