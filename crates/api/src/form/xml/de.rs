//! The serde deserializer: an element is a value, its elements are fields, and elements of one name next to each other are an array.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::{MapDeserializer, StringDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};

use super::tokens::{Fault, Token, Tokens, is_blank};

/// Name by which `serde_json` asks for JSON as it stands: the fields of published data.
const RAW_JSON: &str = "$serde_json::private::RawValue";

/// Why a form could not be read.
#[derive(Debug)]
pub(super) enum Error {
    /// The document is not XML that is taken.
    Xml(Fault),
    /// The form has a wrong field or value.
    Data(String),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        Error::Xml(fault)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Xml(fault) => f.write_str(&fault.why),
            Error::Data(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Error {
        Error::Data(message.to_string())
    }

    /// Says `null` as the errors of JSON do.
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Error {
        let found = match found {
            Unexpected::Unit => "null".to_owned(),
            found => found.to_string(),
        };
        Error::Data(format!("invalid type: {found}, expected {expected}"))
    }
}

/// Content of an element.
enum Content<'a> {
    /// Nothing, or white space. The end of the element was read.
    Blank(Cow<'a, str>),
    /// Text. The end of the element was read.
    Text { text: Cow<'a, str>, is_quoted: bool },
    /// Elements, which are not read yet.
    Elements,
}

/// An element whose beginning was read. Deserializing it reads it to its end.
pub(super) struct Element<'r, 'a> {
    tokens: &'r mut Tokens<'a>,
    name: Cow<'a, str>,
    is_nil: bool,
    /// The content, if it was looked at.
    content: Option<Content<'a>>,
    place: Place,
}

/// Where an element stands: what makes an array of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is the outermost element: its elements are the array.
    Root,
    /// It is a field: the elements of its name beside it are the array with it.
    Field,
    /// It is an element of an array already.
    Item,
}

impl<'r, 'a> Element<'r, 'a> {
    /// Returns the outermost element.
    pub(super) fn root(tokens: &'r mut Tokens<'a>) -> Result<Element<'r, 'a>, Fault> {
        match tokens.next()? {
            Token::Start { name, is_nil } => Ok(Element {
                tokens,
                name,
                is_nil,
                content: None,
                place: Place::Root,
            }),
            _ => Err(tokens.fault("there is no element")),
        }
    }

    fn content(&mut self) -> Result<Content<'a>, Fault> {
        if let Some(content) = self.content.take() {
            return Ok(content);
        }
        let (text, is_quoted) = match self.tokens.peek()? {
            Token::Start { .. } => return Ok(Content::Elements),
            Token::Text { .. } => match self.tokens.next()? {
                Token::Text { text, is_quoted } => (text, is_quoted),
                _ => return Err(self.tokens.fault("it ends inside of an element")),
            },
            _ => (Cow::Borrowed(""), false),
        };
        let is_blank = !is_quoted && is_blank(&text);
        match self.tokens.peek()? {
            Token::Start { .. } if is_blank => Ok(Content::Elements),
            Token::Start { .. } => Err(self.tokens.fault("text stands beside elements")),
            _ => {
                self.tokens.next()?;
                Ok(match is_blank {
                    true => Content::Blank(text),
                    false => Content::Text { text, is_quoted },
                })
            }
        }
    }

    /// Reads the end of an element that is nil.
    fn end_nil(&mut self) -> Result<(), Fault> {
        match self.content()? {
            Content::Blank(_) => Ok(()),
            _ => Err(self.tokens.fault("an element that is nil has content")),
        }
    }

    /// Deserializes a value of which `literal` makes more than text, if it is text of that kind.
    fn value<V: Visitor<'a>>(
        mut self,
        visitor: V,
        literal: impl FnOnce(&str, bool) -> Option<serde_json::Value>,
    ) -> Result<V::Value, Error> {
        if self.is_nil {
            self.end_nil()?;
            return visitor.visit_unit();
        }
        match self.content()? {
            Content::Blank(text) => visit_text(text, visitor),
            Content::Text { text, is_quoted } => match literal(&text, is_quoted) {
                Some(value) => visit_literal(&value, visitor),
                None => visit_text(text, visitor),
            },
            Content::Elements => self.visit_fields(visitor),
        }
    }

    fn visit_fields<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut fields = Fields {
            tokens: self.tokens,
            value: None,
            is_over: false,
        };
        let value = visitor.visit_map(&mut fields)?;
        while !fields.is_over {
            fields.next_entry::<de::IgnoredAny, de::IgnoredAny>()?;
        }
        Ok(value)
    }

    /// Appends the element, and those of its name after it if it is a field, as JSON.
    fn write_json(self, json: &mut String, guess: Guess) -> Result<(), Fault> {
        let mut items = Items {
            name: self.name.clone(),
            tokens: self.tokens,
            first: self.content,
        };
        let begin = json.len();
        let is_nil = self.is_nil;
        let content = items.first.take();
        items.element(is_nil, content).write_value(json, guess)?;
        if self.place != Place::Field || !items.has_next()? {
            return Ok(());
        }
        json.insert(begin, '[');
        while let Some(item) = items.next()? {
            json.push(',');
            item.write_value(json, guess)?;
        }
        json.push(']');
        Ok(())
    }

    /// Appends the element by itself as JSON.
    fn write_value(mut self, json: &mut String, guess: Guess) -> Result<(), Fault> {
        if self.is_nil {
            self.end_nil()?;
            json.push_str("null");
            return Ok(());
        }
        match self.content()? {
            Content::Blank(text) => push_quoted(&text, json),
            Content::Text { text, is_quoted } => match guess {
                Guess::Literals if !is_quoted => match number(&text).or_else(|| truth(&text)) {
                    Some(literal) => json.push_str(&literal.to_string()),
                    None => push_quoted(&text, json),
                },
                _ => push_quoted(&text, json),
            },
            Content::Elements => write_fields(self.tokens, json, guess)?,
        }
        Ok(())
    }
}

/// What text is where the form does not know the type.
#[derive(Clone, Copy)]
enum Guess {
    /// Text.
    Text,
    /// What looks like a number or a truth value is one, but in a CDATA section.
    Literals,
}

fn push_quoted(text: &str, json: &mut String) {
    json.push_str(&serde_json::Value::from(text).to_string());
}

/// Appends the elements up to the end of the one around them as a JSON object.
fn write_fields(tokens: &mut Tokens<'_>, json: &mut String, guess: Guess) -> Result<(), Fault> {
    json.push('{');
    let mut is_first = true;
    loop {
        tokens.skip_blank()?;
        let (name, is_nil) = match tokens.next()? {
            Token::Start { name, is_nil } => (name, is_nil),
            Token::Text { .. } => return Err(tokens.fault("text stands beside elements")),
            Token::End | Token::Eof => break,
        };
        if !std::mem::replace(&mut is_first, false) {
            json.push(',');
        }
        push_quoted(&name, json);
        json.push(':');
        let field = Element {
            tokens,
            name,
            is_nil,
            content: None,
            place: Place::Field,
        };
        field.write_json(json, guess)?;
    }
    json.push('}');
    Ok(())
}

fn visit_text<'a, V: Visitor<'a>>(text: Cow<'a, str>, visitor: V) -> Result<V::Value, Error> {
    match text {
        Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
        Cow::Owned(text) => visitor.visit_string(text),
    }
}

/// Returns the number that the text is in JSON, white space around it aside.
fn number(text: &str) -> Option<serde_json::Value> {
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    let begins = text.starts_with(|char: char| char == '-' || char.is_ascii_digit());
    begins.then(|| serde_json::from_str(text).ok())?
}

/// Returns the truth value that the text is, white space around it aside.
fn truth(text: &str) -> Option<serde_json::Value> {
    match text.trim_matches([' ', '\t', '\n', '\r']) {
        "true" => Some(true.into()),
        "false" => Some(false.into()),
        _ => None,
    }
}

fn visit_literal<'a, V: Visitor<'a>>(
    value: &serde_json::Value,
    visitor: V,
) -> Result<V::Value, Error> {
    match value {
        serde_json::Value::Bool(value) => visitor.visit_bool(*value),
        value => match (value.as_u64(), value.as_i64()) {
            (Some(number), _) => visitor.visit_u64(number),
            (None, Some(number)) => visitor.visit_i64(number),
            (None, None) => visitor.visit_f64(value.as_f64().unwrap_or_default()),
        },
    }
}

macro_rules! deserialize_numbers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
            self.value(visitor, |text, _| number(text))
        })*
    };
}

macro_rules! deserialize_texts {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
            self.value(visitor, |_, _| None)
        })*
    };
}

impl<'a> Deserializer<'a> for Element<'_, 'a> {
    type Error = Error;

    deserialize_numbers!(
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64
    );
    deserialize_texts!(
        deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
        deserialize_identifier
    );

    /// A value whose type the form does not know.
    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut json = String::new();
        self.write_json(&mut json, Guess::Literals)?;
        let value: serde_json::Value =
            serde_json::from_str(&json).map_err(<Error as de::Error>::custom)?;
        value.deserialize_any(visitor).map_err(de::Error::custom)
    }

    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        self.value(visitor, |text, _| truth(text))
    }

    fn deserialize_option<V: Visitor<'a>>(mut self, visitor: V) -> Result<V::Value, Error> {
        if self.is_nil {
            self.end_nil()?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        self.value(visitor, |_, _| None)
    }

    fn deserialize_unit_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.value(visitor, |_, _| None)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name != RAW_JSON {
            return visitor.visit_newtype_struct(self);
        }
        let mut json = String::new();
        self.write_json(&mut json, Guess::Text)?;
        visitor.visit_map(MapDeserializer::new([(RAW_JSON, json)].into_iter()))
    }

    fn deserialize_seq<V: Visitor<'a>>(mut self, visitor: V) -> Result<V::Value, Error> {
        if self.is_nil {
            self.end_nil()?;
            return visitor.visit_unit();
        }
        let content = self.content()?;
        let mut items = Items {
            name: self.name,
            tokens: self.tokens,
            first: None,
        };
        if self.place == Place::Root {
            return match content {
                Content::Blank(_) => visitor.visit_seq(&mut items),
                Content::Text { text, .. } => visit_text(text, visitor),
                Content::Elements => items.visit_elements_of_root(visitor),
            };
        }
        // An element by itself with nothing in it is the array with nothing in it.
        if !matches!(content, Content::Blank(_)) || items.has_next()? {
            items.first = Some(content);
        }
        let value = visitor.visit_seq(&mut items)?;
        match items.first {
            None => Ok(value),
            Some(_) => Err(de::Error::custom("the array has too many elements")),
        }
    }

    fn deserialize_tuple<V: Visitor<'a>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'a>>(mut self, visitor: V) -> Result<V::Value, Error> {
        if self.is_nil {
            self.end_nil()?;
            return visitor.visit_unit();
        }
        match self.content()? {
            Content::Blank(_) => {
                let nothing: [(&str, &str); 0] = [];
                visitor.visit_map(MapDeserializer::new(nothing.into_iter()))
            }
            Content::Text { text, .. } => visit_text(text, visitor),
            Content::Elements => self.visit_fields(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    /// One of several names. No form has a name with a value beside it.
    fn deserialize_enum<V: Visitor<'a>>(
        mut self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.is_nil {
            self.end_nil()?;
            return Err(de::Error::invalid_type(Unexpected::Unit, &visitor));
        }
        match self.content()? {
            Content::Blank(text) | Content::Text { text, .. } => {
                let text: StringDeserializer<Error> = text.into_owned().into_deserializer();
                visitor.visit_enum(text)
            }
            Content::Elements => Err(de::Error::invalid_type(Unexpected::Map, &visitor)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        self.value(visitor, |_, _| None)
    }
}

/// The elements of an element, as the fields of an object.
struct Fields<'r, 'a> {
    tokens: &'r mut Tokens<'a>,
    /// Name of the field whose value comes next, and whether it is nil.
    value: Option<(Cow<'a, str>, bool)>,
    /// Whether the end of the element was read.
    is_over: bool,
}

impl<'a> MapAccess<'a> for Fields<'_, 'a> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'a>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        if self.is_over {
            return Ok(None);
        }
        self.tokens.skip_blank()?;
        match self.tokens.next()? {
            Token::Start { name, is_nil } => {
                let key: StringDeserializer<Error> = name.clone().into_owned().into_deserializer();
                self.value = Some((name, is_nil));
                seed.deserialize(key).map(Some)
            }
            Token::Text { .. } => Err(self.tokens.fault("text stands beside elements").into()),
            Token::End | Token::Eof => {
                self.is_over = true;
                Ok(None)
            }
        }
    }

    fn next_value_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let value = self.value.take();
        let (name, is_nil) = value.expect("a value follows its name");
        seed.deserialize(Element {
            tokens: self.tokens,
            name,
            is_nil,
            content: None,
            place: Place::Field,
        })
    }
}

/// Elements of one name next to each other.
struct Items<'r, 'a> {
    tokens: &'r mut Tokens<'a>,
    name: Cow<'a, str>,
    /// Content of the first element, until it is taken.
    first: Option<Content<'a>>,
}

impl<'a> Items<'_, 'a> {
    /// Returns whether another element of the name follows.
    fn has_next(&mut self) -> Result<bool, Fault> {
        self.tokens.skip_blank()?;
        let next = self.tokens.peek()?;
        Ok(matches!(next, Token::Start { name, .. } if *name == self.name))
    }

    /// Returns the next element, whose beginning was read; none if another follows, or nothing.
    fn next(&mut self) -> Result<Option<Element<'_, 'a>>, Fault> {
        if let Some(content) = self.first.take() {
            return Ok(Some(self.element(false, Some(content))));
        }
        if !self.has_next()? {
            return Ok(None);
        }
        match self.tokens.next()? {
            Token::Start { is_nil, .. } => Ok(Some(self.element(is_nil, None))),
            _ => Ok(None),
        }
    }

    fn element(&mut self, is_nil: bool, content: Option<Content<'a>>) -> Element<'_, 'a> {
        Element {
            tokens: self.tokens,
            name: self.name.clone(),
            is_nil,
            content,
            place: Place::Item,
        }
    }

    /// Reads the elements of the root as an array. They must have one name, whichever it is.
    fn visit_elements_of_root<V: Visitor<'a>>(mut self, visitor: V) -> Result<V::Value, Error> {
        self.tokens.skip_blank()?;
        if let Token::Start { name, .. } = self.tokens.peek()? {
            self.name = name.clone();
        }
        let value = visitor.visit_seq(&mut self)?;
        self.tokens.skip_blank()?;
        match self.tokens.next()? {
            Token::End => Ok(value),
            Token::Text { .. } => Err(self.tokens.fault("text stands beside elements").into()),
            _ => {
                let why = "the elements of an array must have one name";
                Err(self.tokens.fault(why).into())
            }
        }
    }
}

impl<'a> SeqAccess<'a> for Items<'_, 'a> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'a>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        match self.next()? {
            Some(item) => seed.deserialize(item).map(Some),
            None => Ok(None),
        }
    }
}
