//! The parts of an XML document that is taken: elements and text. Everything else is refused here, in one place.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::events::{BytesDecl, BytesRef, BytesStart, Event};

use super::name::{field_name, is_name};

/// Maximum number of elements inside each other, the outermost one included: as many as levels of JSON.
pub const DEPTH_MAX: usize = 128;
/// Maximum number of attributes of an element, declarations of prefixes included.
const ATTRIBUTES_MAX: usize = 16;
/// Namespace of `nil`.
const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// What is wrong with a document, and where: a number of bytes from its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) why: Cow<'static, str>,
}

/// One part of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// An element begins.
    Start {
        /// Name of the field.
        name: Cow<'a, str>,
        /// Whether the element says that it is nil.
        is_nil: bool,
    },
    /// The element that began last ends.
    End,
    /// Text, as long as it is: references are resolved, comments are left out.
    Text {
        text: Cow<'a, str>,
        /// Whether a part of it is in a CDATA section.
        is_quoted: bool,
    },
    /// The document ends.
    Eof,
}

/// Reads the tokens of a document one after the other.
pub(super) struct Tokens<'a> {
    reader: Reader<&'a [u8]>,
    /// The event that ended a text, to be read next.
    pending: Option<Event<'a>>,
    /// The token that was looked at.
    peeked: Option<Token<'a>>,
    depth: usize,
    /// Whether the root has begun.
    has_root: bool,
    /// Whether nothing was read so far.
    is_first: bool,
    /// Prefixes that are declared: the depth of the element, the prefix, and whether it stands for `XSI`.
    prefixes: Vec<(usize, String, bool)>,
}

/// Returns whether XML 1.0 can have the character at all.
pub(crate) fn is_xml_char(char: char) -> bool {
    matches!(char, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// Returns whether the text is white space of XML only.
pub(super) fn is_blank(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
}

/// Returns text with line ends as XML has them: each a line feed.
fn normal(text: Cow<'_, str>) -> Cow<'_, str> {
    match text.contains('\r') {
        true => text.replace("\r\n", "\n").replace('\r', "\n").into(),
        false => text,
    }
}

impl<'a> Tokens<'a> {
    /// Returns the tokens of the document `bytes`, which must be UTF-8.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Tokens<'a>, Fault> {
        let text = std::str::from_utf8(bytes).map_err(|error| Fault {
            at: error.valid_up_to(),
            why: "it is not UTF-8".into(),
        })?;
        // Looked for byte by byte: all that XML has no character for, but for two, are control characters.
        let refused = |char: char| !is_xml_char(char);
        if let Some(at) = text.find(refused) {
            let why = "it has a character that XML does not have".into();
            return Err(Fault { at, why });
        }
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        let mut reader = Reader::from_str(text);
        let config = reader.config_mut();
        config.expand_empty_elements = true;
        config.check_comments = true;
        Ok(Tokens {
            reader,
            pending: None,
            peeked: None,
            depth: 0,
            has_root: false,
            is_first: true,
            prefixes: Vec::new(),
        })
    }

    /// Returns the next token without going on.
    pub(super) fn peek(&mut self) -> Result<&Token<'a>, Fault> {
        if self.peeked.is_none() {
            self.peeked = Some(self.read()?);
        }
        Ok(self.peeked.as_ref().expect("it was read"))
    }

    /// Returns the next token.
    pub(super) fn next(&mut self) -> Result<Token<'a>, Fault> {
        match self.peeked.take() {
            Some(token) => Ok(token),
            None => self.read(),
        }
    }

    /// Passes over white space between elements. Text in a CDATA section is no white space.
    pub(super) fn skip_blank(&mut self) -> Result<(), Fault> {
        if let Token::Text { text, is_quoted } = self.peek()?
            && !is_quoted
            && is_blank(text)
        {
            self.peeked = None;
        }
        Ok(())
    }

    /// Returns the fault `why` at what was read last.
    pub(super) fn fault(&self, why: impl Into<Cow<'static, str>>) -> Fault {
        let at = usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX);
        let why = why.into();
        Fault { at, why }
    }

    fn event(&mut self) -> Result<Event<'a>, Fault> {
        if let Some(event) = self.pending.take() {
            return Ok(event);
        }
        match self.reader.read_event() {
            Ok(event) => Ok(event),
            Err(error) => Err(Fault {
                at: usize::try_from(self.reader.error_position()).unwrap_or(usize::MAX),
                why: error.to_string().into(),
            }),
        }
    }

    fn read(&mut self) -> Result<Token<'a>, Fault> {
        let mut found: Option<(Cow<'a, str>, bool)> = None;
        loop {
            let event = self.event()?;
            let is_first = std::mem::replace(&mut self.is_first, false);
            let (piece, is_quoted) = match event {
                Event::Text(text) => (self.plain(text.into_inner())?, false),
                Event::CData(text) => (normal(text.into_inner()), true),
                Event::GeneralRef(reference) => (self.resolve(&reference)?, false),
                Event::Comment(_) => continue,
                Event::Decl(decl) if is_first => {
                    self.check_declaration(&decl)?;
                    continue;
                }
                other => {
                    return match found {
                        Some((text, is_quoted)) => {
                            self.pending = Some(other);
                            self.text(text, is_quoted)
                        }
                        None => self.part(other),
                    };
                }
            };
            found = Some(match found {
                None => (piece, is_quoted),
                Some((text, was_quoted)) => {
                    let mut text = text.into_owned();
                    text.push_str(&piece);
                    (text.into(), is_quoted || was_quoted)
                }
            });
        }
    }

    fn text(&mut self, text: Cow<'a, str>, is_quoted: bool) -> Result<Token<'a>, Fault> {
        if self.depth > 0 {
            return Ok(Token::Text { text, is_quoted });
        }
        if is_quoted || !is_blank(&text) {
            return Err(self.fault("there is text outside of the outermost element"));
        }
        self.read()
    }

    /// Returns the token of what is no text.
    fn part(&mut self, event: Event<'a>) -> Result<Token<'a>, Fault> {
        match event {
            Event::Start(start) => self.start(&start),
            Event::End(_) => {
                let depth = self.depth;
                self.prefixes.retain(|(at, _, _)| *at < depth);
                self.depth -= 1;
                Ok(Token::End)
            }
            Event::Eof if !self.has_root => Err(self.fault("there is no element")),
            Event::Eof if self.depth > 0 => Err(self.fault("it ends inside of an element")),
            Event::Eof => Ok(Token::Eof),
            Event::DocType(_) => Err(self.fault("a document type declaration is not taken")),
            Event::Decl(_) => Err(self.fault("the XML declaration must be at the beginning")),
            _ => Err(self.fault("processing instructions are not taken")),
        }
    }

    fn start(&mut self, start: &BytesStart<'a>) -> Result<Token<'a>, Fault> {
        if self.depth == 0 && self.has_root {
            return Err(self.fault("there is a second outermost element"));
        }
        self.has_root = true;
        if self.depth == DEPTH_MAX {
            let why = format!("there are more than {DEPTH_MAX} elements inside each other");
            return Err(self.fault(why));
        }
        self.depth += 1;
        let name = start.name();
        let name: &str = name.as_ref();
        if name.contains(':') {
            return Err(self.fault("names of elements with a namespace prefix are not taken"));
        }
        if !is_name(name) {
            return Err(self.fault("an element has a name that XML does not have"));
        }
        let name = Cow::Owned(field_name(name).into_owned());
        let is_nil = self.attributes(start)?;
        Ok(Token::Start { name, is_nil })
    }

    /// Checks the attributes of an element: declarations of prefixes, and `nil`. Returns whether it is nil.
    fn attributes(&mut self, start: &BytesStart<'a>) -> Result<bool, Fault> {
        let mut nil: Option<(String, bool)> = None;
        for (count, attribute) in start.attributes().enumerate() {
            let attribute = attribute.map_err(|error| self.fault(error.to_string()))?;
            if count == ATTRIBUTES_MAX {
                return Err(self.fault("an element has too many attributes"));
            }
            let key: &str = attribute.key.as_ref();
            let value: &str = &attribute.value;
            match (key.strip_prefix("xmlns:"), key.strip_suffix(":nil"), value) {
                (Some(prefix), _, _) => {
                    self.prefixes
                        .push((self.depth, prefix.to_owned(), value == XSI));
                }
                (None, Some(prefix), "true" | "1") => nil = Some((prefix.to_owned(), true)),
                (None, Some(prefix), "false" | "0") => nil = Some((prefix.to_owned(), false)),
                _ => {
                    return Err(self.fault(
                        "attributes are not taken, nor is a default namespace: make each an element",
                    ));
                }
            }
        }
        let Some((prefix, is_nil)) = nil else {
            return Ok(false);
        };
        let declared = self
            .prefixes
            .iter()
            .rev()
            .find(|(_, name, _)| *name == prefix);
        if declared.is_some_and(|(_, _, is_xsi)| *is_xsi) {
            return Ok(is_nil);
        }
        Err(self
            .fault("the prefix of nil must stand for http://www.w3.org/2001/XMLSchema-instance"))
    }

    fn check_declaration(&self, declaration: &BytesDecl<'_>) -> Result<(), Fault> {
        let version = declaration.version();
        let version = version.map_err(|error| self.fault(error.to_string()))?;
        if version != "1.0" {
            return Err(self.fault("only XML 1.0 is taken"));
        }
        match declaration.encoding() {
            None => Ok(()),
            Some(Ok(encoding)) if encoding.eq_ignore_ascii_case("utf-8") => Ok(()),
            Some(_) => Err(self.fault("the encoding must be UTF-8")),
        }
    }

    /// Returns text outside of CDATA sections.
    fn plain(&self, text: Cow<'a, str>) -> Result<Cow<'a, str>, Fault> {
        let text = normal(text);
        match text.contains("]]>") {
            true => Err(self.fault("]]> stands in a text")),
            false => Ok(text),
        }
    }

    /// Returns the text of a reference: a character, or one of the five that XML has.
    fn resolve(&self, reference: &BytesRef<'_>) -> Result<Cow<'a, str>, Fault> {
        let text = match &**reference {
            "lt" => "<",
            "gt" => ">",
            "amp" => "&",
            "quot" => "\"",
            "apos" => "'",
            _ => {
                let char = reference.resolve_char_ref();
                let char = char.map_err(|error| self.fault(error.to_string()))?;
                let unknown =
                    || self.fault("only the entities lt, gt, amp, quot and apos are taken");
                let char = char.ok_or_else(unknown)?;
                if !is_xml_char(char) {
                    return Err(self.fault("a reference names a character that XML does not have"));
                }
                return Ok(String::from(char).into());
            }
        };
        Ok(text.into())
    }
}
