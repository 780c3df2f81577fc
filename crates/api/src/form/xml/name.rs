//! Names of elements, and names of fields that no element can have.
//!
//! A name of metadata or of published data may be any text. What cannot stand in the name of an element is written as `_xHHHH_`
//! with its code point in hexadecimal digits, as .NET's `XmlConvert.EncodeName` and SQL/XML write it.

use std::borrow::Cow;

/// Returns whether `name` is a name of XML 1.0, of one part: without a colon.
pub(super) fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(begins_name) && chars.all(continues_name)
}

fn begins_name(char: char) -> bool {
    matches!(char, 'A'..='Z' | 'a'..='z' | '_'
        | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}' | '\u{370}'..='\u{37D}'
        | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}' | '\u{2070}'..='\u{218F}'
        | '\u{2C00}'..='\u{2FEF}' | '\u{3001}'..='\u{D7FF}' | '\u{F900}'..='\u{FDCF}'
        | '\u{FDF0}'..='\u{FFFD}' | '\u{10000}'..='\u{EFFFF}')
}

fn continues_name(char: char) -> bool {
    begins_name(char)
        || matches!(char, '0'..='9' | '-' | '.' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}

/// Returns the name of the element of the field `field`.
pub fn element_name(field: &str) -> Cow<'_, str> {
    if is_name(field) && !field.contains("_x") {
        return Cow::Borrowed(field);
    }
    if field.is_empty() {
        // An escape without digits stands for nothing.
        return Cow::Borrowed("_x_");
    }
    let mut name = String::with_capacity(field.len() + 8);
    for (at, char) in field.char_indices() {
        let fits = if at == 0 {
            begins_name(char)
        } else {
            continues_name(char)
        };
        // An underscore that would begin an escape is escaped itself.
        if !fits || char == '_' && field[at..].starts_with("_x") {
            name.push_str(&format!("_x{:04X}_", u32::from(char)));
        } else {
            name.push(char);
        }
    }
    Cow::Owned(name)
}

/// Returns the name of the field of the element `name`. What is no escape stays as it is.
pub(super) fn field_name(name: &str) -> Cow<'_, str> {
    if !name.contains("_x") {
        return Cow::Borrowed(name);
    }
    if name == "_x_" {
        return Cow::Borrowed("");
    }
    let mut field = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find("_x") {
        field.push_str(&rest[..at]);
        rest = &rest[at..];
        match escaped_char(rest) {
            Some((char, length)) => {
                field.push(char);
                rest = &rest[length..];
            }
            None => {
                field.push('_');
                rest = &rest[1..];
            }
        }
    }
    field.push_str(rest);
    Cow::Owned(field)
}

/// Returns the character that the escape at the beginning of `text` stands for, and the length of the escape in bytes.
fn escaped_char(text: &str) -> Option<(char, usize)> {
    let digits = text.strip_prefix("_x")?;
    let digits = &digits[..digits.find('_')?];
    let is_escape =
        (4..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let code = u32::from_str_radix(digits, 16).ok().filter(|_| is_escape)?;
    Some((char::from_u32(code)?, "_x_".len() + digits.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_field_that_is_no_name_is_escaped() {
        for (field, name) in [
            ("order", "order"),
            ("Ordnung_2.b-c", "Ordnung_2.b-c"),
            ("order no", "order_x0020_no"),
            ("1st", "_x0031_st"),
            ("a:b", "a_x003A_b"),
            ("_x0020_", "_x005F_x0020_"),
            ("größe", "größe"),
            ("\u{1F600}", "\u{1F600}"),
            ("\u{FFFF}", "_xFFFF_"),
            ("", "_x_"),
        ] {
            assert_eq!(element_name(field), name);
            assert_eq!(field_name(name), field);
        }
        for name in ["_x", "_x20_", "_xD800_", "a_xyz_b", "_x0020"] {
            assert_eq!(field_name(name), name, "no escape");
        }
    }

    proptest! {
        #[test]
        fn every_text_is_the_name_of_a_field(field in "[ -~_x0-9A-F]{0,12}|\\PC{0,8}") {
            let name = element_name(&field);
            prop_assert!(is_name(&name), "{name:?}");
            let found = field_name(&name).into_owned();
            prop_assert_eq!(found.as_str(), field.as_str());
        }
    }
}
