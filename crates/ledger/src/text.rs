//! Words of bounded length: keys, names, references, free text. Each checks its bounds when it is made.

use std::fmt;

use crate::names::{Invalid, check_name};

/// Bytes that need no allocation up to `N`.
#[derive(Clone)]
enum Bytes<const N: usize> {
    Inline(u8, [u8; N]),
    Heap(Box<[u8]>),
}

impl<const N: usize> Bytes<N> {
    fn new(bytes: &[u8]) -> Self {
        if bytes.len() > N {
            return Bytes::Heap(bytes.into());
        }
        let mut place = [0; N];
        place[..bytes.len()].copy_from_slice(bytes);
        Bytes::Inline(bytes.len() as u8, place)
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Inline(len, place) => &place[..usize::from(*len)],
            Bytes::Heap(bytes) => bytes,
        }
    }
}

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $inline:literal, $max:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Bytes<$inline>);

        impl $name {
            /// Maximum length, bytes.
            pub const BYTES_MAX: usize = $max;

            /// Returns the bytes.
            pub fn as_bytes(&self) -> &[u8] {
                self.0.as_slice()
            }

            /// Checks the length and the characters.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, Invalid> {
                Self::check(bytes).map(|()| $name(Bytes::new(bytes)))
            }

            /// Checks the length and the characters without making a word.
            pub(crate) fn check(bytes: &[u8]) -> Result<(), Invalid> {
                if bytes.is_empty() {
                    return Err(Invalid::Empty);
                }
                if bytes.len() > Self::BYTES_MAX {
                    return Err(Invalid::TooLong { bytes_max: Self::BYTES_MAX });
                }
                let allowed: fn(&[u8]) -> bool = $allowed;
                if !allowed(bytes) {
                    return Err(Invalid::Character);
                }
                Ok(())
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.as_bytes() == other.as_bytes()
            }
        }
        impl Eq for $name {}
        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                self.as_bytes().cmp(other.as_bytes())
            }
        }
        impl std::hash::Hash for $name {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.as_bytes().hash(state);
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
            }
        }
    };
}

macro_rules! utf8_word {
    ($(#[$doc:meta])* $name:ident, $inline:literal, $max:literal, $allowed:expr) => {
        utf8_word!($(#[$doc])* $name, $inline, $max, $allowed, |_| Ok(()));
    };
    ($(#[$doc:meta])* $name:ident, $inline:literal, $max:literal, $allowed:expr, $look:expr) => {
        word!($(#[$doc])* $name, $inline, $max, $allowed);

        impl $name {
            /// Checks the length and the characters of a text that a caller sent.
            pub fn new(text: &str) -> Result<Self, Invalid> {
                let look: fn(&str) -> Result<(), Invalid> = $look;
                let word = Self::from_bytes(text.as_bytes())?;
                look(text).map(|()| word)
            }

            /// Returns the text.
            pub fn as_str(&self) -> &str {
                std::str::from_utf8(self.as_bytes()).expect("checked when it was made")
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// A text that names something uniquely: `new` makes only names that cannot be taken for another, see [`check_name`].
/// `from_bytes` reads every name that was ever stored: a later version of Unicode may judge one differently.
macro_rules! name_word {
    ($(#[$doc:meta])* $name:ident, $inline:literal, $max:literal) => {
        utf8_word!($(#[$doc])* $name, $inline, $max, utf8, check_name);
    };
}

fn utf8(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok()
}

fn name_characters(bytes: &[u8]) -> bool {
    const ALLOWED: [bool; 256] = {
        let (mut allowed, mut byte) = ([false; 256], 0);
        while byte < 256 {
            let character = byte as u8;
            allowed[byte] = character.is_ascii_alphanumeric()
                || matches!(character, b'_' | b'.' | b':' | b'@' | b'-');
            byte += 1;
        }
        allowed
    };
    // Millions are read at a start.
    bytes
        .iter()
        .fold(true, |all, byte| all & ALLOWED[usize::from(*byte)])
}

fn slug(bytes: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let allowed = |byte: &u8| plain(byte) || matches!(byte, b'.' | b'_' | b'-');
    bytes.first().is_some_and(plain) && bytes.iter().all(allowed)
}

/// Prefixes of topics: of applications, and of the system itself.
const TOPIC_PREFIXES: [&[u8]; 4] = [APP, b"subscription.", b"stream.", b"security."];
const APP: &[u8] = b"app.";

impl Topic {
    /// Returns whether the topic is an application's; the others are the system's own.
    pub fn is_of_application(&self) -> bool {
        self.as_bytes().starts_with(APP)
    }
}

/// Returns whether the bytes are a prefix and one to eight words, separated by dots.
fn topic(bytes: &[u8]) -> bool {
    static PLAIN: [bool; 256] = {
        let (mut plain, mut byte) = ([false; 256], 0);
        while byte < 256 {
            let character = byte as u8;
            plain[byte] = character.is_ascii_lowercase()
                || character.is_ascii_digit()
                || matches!(character, b'_' | b'-');
            byte += 1;
        }
        plain
    };
    let words = |prefix| bytes.strip_prefix(prefix);
    let Some(words) = TOPIC_PREFIXES.into_iter().find_map(words) else {
        return false;
    };
    let (mut count, mut word) = (1, 0);
    for byte in words {
        match byte {
            b'.' if word == 0 => return false,
            b'.' => (count, word) = (count + 1, 0),
            _ if PLAIN[usize::from(*byte)] => word += 1,
            _ => return false,
        }
    }
    word > 0 && count <= TOPIC_WORDS_MAX
}

/// Maximum number of words of a topic after its prefix.
const TOPIC_WORDS_MAX: usize = 8;

word!(
    /// Idempotency key: any 1 to 255 bytes, unique per owner for ever. Keys that begin with a zero byte are
    /// reserved for the system itself (timers), whose commands run in the platform's name.
    Key, 22, 255, |_| true
);
utf8_word!(
    /// Name of an owner: 1 to 64 of `A-Z a-z 0-9 _ . : @ -`. `platform` names the platform.
    OwnerName, 22, 64, name_characters
);
name_word!(
    /// Name that the requester gives to a payment, 1 to 64 bytes, unique within its [`crate::ReferenceSpace`] among payments
    /// that were not refused.
    Reference, 22, 64
);
name_word!(
    /// Name that an owner gives to an account, 1 to 64 bytes, unique per owner.
    ExternalId, 22, 64
);
utf8_word!(
    /// Reason of an adjustment, 1 to 255 bytes.
    Reason, 22, 255, utf8
);
utf8_word!(
    /// Topic of a published event: `app.`, or of the system's own events `subscription.` or `stream.`, and one to eight words of
    /// `a-z 0-9 _ -` with dots between them, at most 128 bytes.
    Topic, 46, 128, topic
);
utf8_word!(
    /// Order key of a published event, 1 to 64 bytes. The events of one publisher and order key are delivered in order.
    OrderKey, 22, 64, utf8
);
utf8_word!(
    /// Correlation id that is sent with the result of a queued payment, 1 to 64 bytes. The ledger does not read it.
    CorrelationId, 46, 64, utf8
);
utf8_word!(
    /// Description of the use of an API key, 1 to 64 bytes.
    Label, 22, 64, utf8
);

utf8_word!(
    /// Name of a setting, unique per owner and kind: 1 to 64 of `a-z 0-9 . _ -`, the first a letter or a digit.
    Slug, 22, 64, slug
);
name_word!(
    /// Name of the file or tool that manages a setting, 1 to 64 bytes.
    ManagedBy, 22, 64
);

impl OwnerName {
    /// Returns the name of [`crate::OwnerId::PLATFORM`].
    pub fn platform() -> Self {
        OwnerName::new("platform").expect("short and plain")
    }
}

macro_rules! opaque {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name {
            scheme: u8,
            bytes: Box<[u8]>,
        }

        impl $name {
            /// Scheme of bytes that are the text itself.
            pub const PLAIN: u8 = 0;

            /// Maximum size, bytes.
            pub const BYTES_MAX: usize = $max;

            /// Checks the size, 1 to [`Self::BYTES_MAX`] bytes. `scheme` is the encoding of the bytes ([`Self::PLAIN`]).
            pub fn new(scheme: u8, bytes: &[u8]) -> Result<Self, Invalid> {
                if bytes.is_empty() {
                    return Err(Invalid::Empty);
                }
                if bytes.len() > Self::BYTES_MAX {
                    return Err(Invalid::TooLong { bytes_max: Self::BYTES_MAX });
                }
                Ok($name { scheme, bytes: bytes.into() })
            }

            /// Returns the encoding of the bytes.
            pub fn scheme(&self) -> u8 {
                self.scheme
            }

            /// Returns the bytes.
            pub fn as_bytes(&self) -> &[u8] {
                &self.bytes
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({}, {} bytes)"), self.scheme, self.bytes.len())
            }
        }
    };
}

opaque!(
    /// Description and metadata of a command as JSON. The ledger does not read them.
    Text, 16 * 1024
);
opaque!(
    /// Data of a published event as JSON. The ledger does not read them.
    Data, 32 * 1024
);
