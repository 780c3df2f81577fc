//! XML bodies: a second way to write what JSON bodies say, read into the same forms with the same errors.
//!
//! | JSON | XML |
//! |---|---|
//! | the body | the outermost element, whatever its name |
//! | a field | an element of its name, see [`element_name`] |
//! | an array | elements of one name next to each other; of the body itself, the elements of the outermost element |
//! | `[]` | one element by itself with nothing in it |
//! | a text | the text of the element, with all its white space |
//! | a number, `true`, `false` | the same text; white space around it does not count |
//! | `null` | an element with `xsi:nil="true"` |
//! | `{}` | an element with nothing in it |
//! | any JSON, such as the data of an event | elements as objects, arrays and texts |
//!
//! Comments, CDATA sections, references to characters, the five entities of XML and declarations of prefixes are taken. Refused are
//! document types (and so all other entities), attributes, namespaces of elements, processing instructions, text beside elements,
//! encodings other than UTF-8, and more than [`DEPTH_MAX`] levels. The document is read once, from the front, and nothing of it is
//! kept: memory is what the form takes. How many bytes are read is bounded by whoever received them.

mod de;
mod name;
mod tokens;

#[cfg(test)]
mod tests;

use serde::de::DeserializeOwned;

use self::de::{Element, Error};
use self::tokens::{Fault, Tokens};
use crate::code::ErrorCode;
use crate::error::ApiError;
use crate::form::json::{data_error, path_text};

pub use self::name::element_name;
pub use self::tokens::DEPTH_MAX;
pub(crate) use self::tokens::is_xml_char;

/// Longest text about what is wrong with a document, in characters: it may quote the document.
const REASON_CHARS_MAX: usize = 200;

/// Reads `bytes` as XML in the form of `T`.
///
/// # Errors
/// `xml_malformed` if the bytes are not XML that is taken, with line and column; else the same errors as of JSON.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let malformed = |fault: &Fault| malformed(bytes, fault);
    let mut tokens = Tokens::new(bytes).map_err(|fault| malformed(&fault))?;
    let root = Element::root(&mut tokens).map_err(|fault| malformed(&fault))?;
    let value = serde_path_to_error::deserialize(root).map_err(|error| {
        let path = path_text(error.path());
        match error.into_inner() {
            Error::Xml(fault) => malformed(&fault),
            Error::Data(text) => data_error(&path, &text),
        }
    })?;
    // Nothing but comments and white space may follow: anything else is a fault.
    tokens.next().map_err(|fault| malformed(&fault))?;
    Ok(value)
}

fn malformed(bytes: &[u8], fault: &Fault) -> ApiError {
    let before = String::from_utf8_lossy(&bytes[..fault.at.min(bytes.len())]);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |line| line.chars().count())
        + 1;
    let why: String = fault.why.chars().take(REASON_CHARS_MAX).collect();
    ApiError::new(
        ErrorCode::XmlMalformed,
        format!("The body is not XML that is taken, at line {line} column {column}: {why}."),
    )
}
