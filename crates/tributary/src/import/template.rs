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
    Column {
        index: usize,
        filter: Filter,
    },
    /// Number of the row among the rows that are equal otherwise; only in keys.
    Occurrence,
}

#[derive(Debug, Clone, Copy)]
enum Filter {
    None,
    Lower,
    Upper,
    /// Only what an owner name may contain; everything else becomes `-`.
    Slug,
}

/// Name that stands for [`Part::Occurrence`] in a key, unless the file has such a column.
const OCCURRENCE: &str = "occurrence";

impl Template {
    /// As [`Template::parse`], for a key: `{occurrence}` counts rows that are equal otherwise.
    pub(crate) fn parse_key(
        text: &str,
        find: &dyn Fn(&str) -> Option<usize>,
    ) -> Result<Self, String> {
        if find(OCCURRENCE).is_some() {
            return Self::parse(text, find);
        }
        // No file has so many columns.
        let with_counter = |name: &str| match name {
            OCCURRENCE => Some(usize::MAX),
            _ => find(name),
        };
        let mut template = Self::parse(text, &with_counter)?;
        for part in &mut template.parts {
            if matches!(
                part,
                Part::Column {
                    index: usize::MAX,
                    ..
                }
            ) {
                *part = Part::Occurrence;
            }
        }
        Ok(template)
    }

    /// Whether the template counts equal rows.
    pub(crate) fn has_occurrence(&self) -> bool {
        self.parts
            .iter()
            .any(|part| matches!(part, Part::Occurrence))
    }

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
        self.render_with(row, "")
    }

    /// As [`Template::render`], with this text for `{occurrence}`.
    pub(crate) fn render_with(&self, row: &Row, occurrence: &str) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Occurrence => text.push_str(occurrence),
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
    fn only_a_key_counts_equal_rows_and_a_column_of_that_name_comes_first() {
        let find = |name: &str| (name == "id").then_some(0);
        let row = Row::from_fields(2, &["7"]);
        let key = Template::parse_key("{id}-{occurrence}", &find).expect("parses");
        assert!(key.has_occurrence());
        assert_eq!(key.render_with(&row, "2"), "7-2");
        assert!(Template::parse("{occurrence}", &find).is_err());
        let find = |name: &str| (name == "occurrence").then_some(0);
        let key = Template::parse_key("{occurrence}", &find).expect("parses");
        assert!(!key.has_occurrence());
        assert_eq!(key.render(&row), "7");
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
