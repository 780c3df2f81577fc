//! Text with columns in it: `customer-{account}`, `{name|slug}`; `{{` and `}}` are braces.

use super::rows::Row;

/// A parsed template.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Column { index: usize, filter: Filter },
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
    /// Parses `text`; `find` gives a column's index by its name.
    pub(crate) fn parse(text: &str, find: &dyn Fn(&str) -> Option<usize>) -> Result<Self, String> {
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
                return Err(format!(
                    "`{text}` has a `}}` without a `{{` (write `}}}}` for a brace)"
                ));
            }
            let end = rest
                .find('}')
                .ok_or_else(|| format!("`{text}` has a `{{` without a `}}`"))?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(column(&rest[..end], find)?);
            rest = &rest[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self { parts })
    }

    /// The text for one row, blanks at both ends removed.
    pub(crate) fn render(&self, row: &Row) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Column { index, filter } => filter.apply(row.get(*index), &mut text),
            }
        }
        let trimmed = text.trim();
        if trimmed.len() == text.len() {
            text
        } else {
            trimmed.to_owned()
        }
    }
}

impl Filter {
    fn apply(self, value: &str, text: &mut String) {
        match self {
            Self::None => text.push_str(value),
            Self::Lower => text.extend(value.chars().flat_map(char::to_lowercase)),
            Self::Upper => text.extend(value.chars().flat_map(char::to_uppercase)),
            Self::Slug => text.extend(value.chars().map(|c| {
                if c.is_ascii_alphanumeric() || "_.:@-".contains(c) {
                    c
                } else {
                    '-'
                }
            })),
        }
    }
}

fn column(text: &str, find: &dyn Fn(&str) -> Option<usize>) -> Result<Part, String> {
    let (name, filter) = match text.rsplit_once('|') {
        None => (text, Filter::None),
        Some((name, "lower")) => (name, Filter::Lower),
        Some((name, "upper")) => (name, Filter::Upper),
        Some((name, "slug")) => (name, Filter::Slug),
        Some((_, other)) => {
            return Err(format!(
                "unknown filter `{other}`: there are lower, upper and slug"
            ));
        }
    };
    let index = find(name).ok_or_else(|| format!("the file has no column `{name}`"))?;
    Ok(Part::Column { index, filter })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: &str, expected: Result<&str, &str>) {
        let columns = ["id", "name", "empty"];
        let find = |name: &str| columns.iter().position(|column| *column == name);
        let row = Row::from_fields(2, &["7", "Ada & Co", ""]);
        let rendered = Template::parse(template, &find).map(|parsed| parsed.render(&row));
        match expected {
            Ok(text) => assert_eq!(rendered.as_deref(), Ok(text), "{template}"),
            Err(part) => {
                let message = rendered.expect_err(template);
                assert!(message.contains(part), "{template}: {message}");
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
    }
}
