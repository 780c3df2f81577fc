//! Fields of documents, by the numbers that a schema gives them.

use crate::map::fault::Fault;

/// Number of a field: the place of a column in a row, or of a path among the paths of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldIndex(pub usize);

/// The fields that documents of one kind have: the columns of a file, or the paths of messages.
pub trait Schema {
    /// Returns the number of the field `name`. A map asks for each name once, not for each document.
    ///
    /// # Errors
    /// If no document of this kind has such a field.
    fn find(&mut self, name: &str) -> Result<FieldIndex, Fault>;

    /// Returns the name of a field without what it says besides, for people.
    fn plain_name<'a>(&self, name: &'a str) -> &'a str {
        name
    }
}

/// One document: the texts of its fields, without white space at their ends.
pub trait Fields {
    /// Returns the text of a field.
    ///
    /// # Errors
    /// If the field is missing, or is not a text.
    fn text(&self, field: FieldIndex) -> Result<&str, Fault>;

    /// Returns the text of a field; empty if the field is missing.
    ///
    /// # Errors
    /// If the field is not a text.
    fn text_or_empty(&self, field: FieldIndex) -> Result<&str, Fault> {
        self.text(field)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Columns of a table, and a row of it.
    pub(crate) struct Columns<'a>(pub(crate) &'a [&'a str]);
    pub(crate) struct Texts<'a>(pub(crate) &'a [&'a str]);

    impl Schema for Columns<'_> {
        fn find(&mut self, name: &str) -> Result<FieldIndex, Fault> {
            let place = self.0.iter().position(|column| *column == name);
            let index = place.map(FieldIndex);
            index.ok_or_else(|| Fault::map(name, format!("there is no column `{name}`")))
        }
    }

    impl Fields for Texts<'_> {
        fn text(&self, field: FieldIndex) -> Result<&str, Fault> {
            Ok(self.0[field.0].trim())
        }
    }
}
