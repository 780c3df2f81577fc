//! Answers as XML, made of the answers in JSON: an element for each field.
//!
//! A field that is null and an array with nothing in it have no element. Elements of one name next to each other are an array; an
//! array within an array is an element with an `item` for each of its elements. A character that XML does not have is shown as
//! U+FFFD. Names that no element can have are escaped, see [`element_name`].

use crate::form::xml::{element_name, is_xml_char};

/// Name of the outermost element of an answer.
const ROOT: &str = "response";
/// Name of the elements of an array within an array.
const ITEM: &str = "item";
/// Maximum depth of JSON that is turned into XML: an event within its list, and its data.
const DEPTH_MAX: usize = 160;

/// Returns the JSON `json` as an XML document; none if it is not JSON, or too deep.
pub fn xml_of_json(json: &[u8]) -> Option<Vec<u8>> {
    let json = std::str::from_utf8(json).ok()?;
    let mut document = Document {
        json,
        at: 0,
        xml: String::with_capacity(json.len() * 2),
    };
    document
        .xml
        .push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    document.skip_blank();
    if document.peek()? == b'[' {
        document.push_start(ROOT);
        document.array(ITEM, DEPTH_MAX)?;
        document.push_end(ROOT);
    } else {
        document.value(ROOT, DEPTH_MAX)?;
    }
    document.skip_blank();
    (document.at == json.len()).then(|| document.xml.into_bytes())
}

/// A document on its way from JSON to XML.
struct Document<'a> {
    json: &'a str,
    /// Bytes of JSON that were read.
    at: usize,
    xml: String,
}

impl<'a> Document<'a> {
    fn peek(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    fn skip_blank(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// Reads `byte`, and white space on both sides.
    fn take(&mut self, byte: u8) -> Option<()> {
        self.skip_blank();
        if self.peek()? != byte {
            return None;
        }
        self.at += 1;
        self.skip_blank();
        Some(())
    }

    fn push_start(&mut self, name: &str) {
        self.xml.push('<');
        self.xml.push_str(name);
        self.xml.push('>');
    }

    fn push_end(&mut self, name: &str) {
        self.xml.push_str("</");
        self.xml.push_str(name);
        self.xml.push('>');
    }

    /// Writes the value that comes next, which is no array, as an element.
    fn value(&mut self, name: &str, depth: usize) -> Option<()> {
        self.push_start(name);
        match self.peek()? {
            b'{' => self.object(depth)?,
            b'"' => {
                let text = self.text()?;
                self.push_text(&text);
            }
            _ => {
                let literal = self.literal()?;
                self.xml.push_str(literal);
            }
        }
        self.push_end(name);
        Some(())
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        self.take(b'{')?;
        if self.peek()? == b'}' {
            return self.take(b'}');
        }
        loop {
            let field = self.text()?;
            self.take(b':')?;
            let name = element_name(&field);
            match self.peek()? {
                b'[' => self.array(&name, depth)?,
                b'n' => {
                    self.literal()?;
                }
                _ => self.value(&name, depth)?,
            }
            self.skip_blank();
            match self.peek()? {
                b',' => self.take(b',')?,
                _ => return self.take(b'}'),
            }
        }
    }

    /// Writes each element of an array as an element `name`.
    fn array(&mut self, name: &str, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        self.take(b'[')?;
        if self.peek()? == b']' {
            return self.take(b']');
        }
        loop {
            match self.peek()? {
                b'[' => {
                    self.push_start(name);
                    self.array(ITEM, depth)?;
                    self.push_end(name);
                }
                b'n' => {
                    self.literal()?;
                    self.push_start(name);
                    self.push_end(name);
                }
                _ => self.value(name, depth)?,
            }
            self.skip_blank();
            match self.peek()? {
                b',' => self.take(b',')?,
                _ => return self.take(b']'),
            }
        }
    }

    /// Reads a text.
    fn text(&mut self) -> Option<String> {
        let begin = self.at;
        let bytes = self.json.as_bytes();
        if self.peek()? != b'"' {
            return None;
        }
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        serde_json::from_slice(&bytes[begin..self.at]).ok()
    }

    /// Reads a number, a truth value or null as it stands.
    fn literal(&mut self) -> Option<&'a str> {
        let rest = &self.json[self.at..];
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
        let length = rest.bytes().take_while(is_part).count();
        self.at += length;
        (length > 0).then(|| &rest[..length])
    }

    fn push_text(&mut self, text: &str) {
        for char in text.chars() {
            match char {
                '&' => self.xml.push_str("&amp;"),
                '<' => self.xml.push_str("&lt;"),
                '>' => self.xml.push_str("&gt;"),
                // Whoever reads it would take it for a line feed.
                '\r' => self.xml.push_str("&#13;"),
                char if is_xml_char(char) => self.xml.push(char),
                _ => self.xml.push(char::REPLACEMENT_CHARACTER),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_an_element_for_each_field() {
        for (json, xml) in [
            ("{}", ""),
            (
                r#"{"id":"pay_1","amount":100,"fees":[],"queue":null}"#,
                "<id>pay_1</id><amount>100</amount>",
            ),
            (
                r#"{"data":[{"a":1},{"a":2}],"has_more":false}"#,
                "<data><a>1</a></data><data><a>2</a></data><has_more>false</has_more>",
            ),
            (
                r#"{"metadata":{"order no":"<&>\r\"","":"x"},"e":{}}"#,
                "<metadata><order_x0020_no>&lt;&amp;&gt;&#13;\"</order_x0020_no><_x_>x</_x_></metadata><e></e>",
            ),
            (
                r#"{ "a" : [ [ 1 , [ 2 ] ] , null , [ ] ] }"#,
                "<a><item>1</item><item><item>2</item></item></a><a></a><a></a>",
            ),
            (
                r#"{"n":123456789012345678901234567890,"f":-1.50e+3,"t":"\u0000\u00e9"}"#,
                "<n>123456789012345678901234567890</n><f>-1.50e+3</f><t>\u{FFFD}é</t>",
            ),
            ("[1,\"a\"]", "<item>1</item><item>a</item>"),
        ] {
            let wanted =
                format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<response>{xml}</response>");
            let found = xml_of_json(json.as_bytes()).expect(json);
            assert_eq!(String::from_utf8(found).expect("UTF-8"), wanted, "{json}");
        }
        let deep = "[".repeat(200) + &"]".repeat(200);
        for json in [
            "",
            "{",
            "[1",
            r#"{"a"}"#,
            r#"{"a":}"#,
            "{} {}",
            r#"{"a":"\ud800"}"#,
            &deep,
            r#""\"#,
        ] {
            assert_eq!(xml_of_json(json.as_bytes()), None, "{json}");
        }
    }
}
