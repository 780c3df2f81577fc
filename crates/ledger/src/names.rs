//! Texts that name something for good: two that a person takes for one must not be two.

use unicode_normalization::is_nfc;

/// Error: the text is empty, too long, or contains a character that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The text is empty.
    #[error("must not be empty")]
    Empty,
    /// The text is too long.
    #[error("is longer than {bytes_max} bytes")]
    TooLong {
        /// Maximum length, bytes.
        bytes_max: usize,
    },
    /// The text is not UTF-8 or contains a character that is not allowed.
    #[error("contains a character that is not allowed")]
    Character,
    /// The name begins or ends with white space.
    #[error("begins or ends with white space")]
    WhiteSpace,
    /// The name contains a control, format or invisible character, or white space other than a plain space.
    #[error(
        "contains a control, format or invisible character, or white space other than a plain space"
    )]
    Invisible,
    /// The name is not in Unicode normalization form NFC.
    #[error("is not in Unicode normalization form NFC")]
    NotNormalized,
}

/// Checks a text that names something uniquely: no white space at either end and none but plain spaces inside, no control,
/// format or invisible characters, and Unicode normalization form NFC. Texts that differ are refused, never changed: a caller
/// finds what it named by the very bytes that it sent.
pub(crate) fn check_name(text: &str) -> Result<(), Invalid> {
    if text.is_empty() {
        return Err(Invalid::Empty);
    }
    if text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
        return Err(Invalid::WhiteSpace);
    }
    let plain = |byte: u8| (b' '..=b'~').contains(&byte);
    if text.bytes().all(plain) {
        return Ok(());
    }
    if text.chars().any(is_invisible) {
        return Err(Invalid::Invisible);
    }
    if !is_nfc(text) {
        return Err(Invalid::NotNormalized);
    }
    Ok(())
}

/// Returns whether the character cannot be told from nothing, or from a space.
fn is_invisible(character: char) -> bool {
    if character == ' ' {
        return false;
    }
    let code = u32::from(character);
    let listed = INVISIBLE
        .binary_search_by(|(first, last)| {
            if *last < code {
                std::cmp::Ordering::Less
            } else if *first > code {
                std::cmp::Ordering::Greater
            } else {
                std::cmp::Ordering::Equal
            }
        })
        .is_ok();
    listed || character.is_control() || character.is_whitespace()
}

/// Ranges of characters without a visible form, in ascending order: those with the Unicode property
/// `Default_Ignorable_Code_Point`, those of category `Cf`, and blank characters of other categories.
const INVISIBLE: [(u32, u32); 31] = [
    (0x00ad, 0x00ad),
    (0x034f, 0x034f),
    (0x0600, 0x0605),
    (0x061c, 0x061c),
    (0x06dd, 0x06dd),
    (0x070f, 0x070f),
    (0x0890, 0x0891),
    (0x08e2, 0x08e2),
    (0x115f, 0x1160),
    (0x17b4, 0x17b5),
    (0x180b, 0x180f),
    (0x200b, 0x200f),
    (0x202a, 0x202e),
    (0x2060, 0x206f),
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xfe00, 0xfe0f),
    (0xfeff, 0xfeff),
    (0xffa0, 0xffa0),
    (0xfff0, 0xfffb),
    // Noncharacters, which have no form either.
    (0xfffe, 0xffff),
    (0x1_10bd, 0x1_10bd),
    (0x1_10cd, 0x1_10cd),
    (0x1_3430, 0x1_3440),
    (0x1_bca0, 0x1_bca3),
    (0x1_d159, 0x1_d159),
    (0x1_d173, 0x1_d17a),
    (0xe_0000, 0xe_0fff),
    (0xe_fffe, 0xe_ffff),
    (0xf_fffe, 0xf_ffff),
    (0x10_fffe, 0x10_ffff),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_invisible_characters_are_in_order() {
        let ordered = INVISIBLE.windows(2).all(|pair| pair[0].1 < pair[1].0);
        assert!(ordered && INVISIBLE.iter().all(|(first, last)| first <= last));
    }

    #[test]
    fn texts_that_look_alike_are_one_name_at_most() {
        for good in [
            "r",
            "order 1/ü",
            "注文-1",
            "a  b",
            "\u{e9}",
            "🧾",
            "\u{1e69}",
        ] {
            assert_eq!(check_name(good), Ok(()), "{good:?}");
        }
        for (bad, reason) in [
            ("", Invalid::Empty),
            ("   ", Invalid::WhiteSpace),
            ("r ", Invalid::WhiteSpace),
            (" r", Invalid::WhiteSpace),
            ("r\u{a0}", Invalid::WhiteSpace),
            ("\u{3000}r", Invalid::WhiteSpace),
            ("r\n", Invalid::WhiteSpace),
            ("a\u{a0}b", Invalid::Invisible),
            ("a\tb", Invalid::Invisible),
            ("a\u{0}b", Invalid::Invisible),
            ("a\u{85}b", Invalid::Invisible),
            ("\u{200b}", Invalid::Invisible),
            ("r\u{200d}", Invalid::Invisible),
            ("\u{feff}r", Invalid::Invisible),
            ("r\u{ad}s", Invalid::Invisible),
            ("r\u{202e}s", Invalid::Invisible),
            ("\u{3164}", Invalid::Invisible),
            ("\u{2800}", Invalid::Invisible),
            ("r\u{fe0f}", Invalid::Invisible),
            ("r\u{e0020}", Invalid::Invisible),
            ("\u{7f}", Invalid::Invisible),
            ("e\u{301}", Invalid::NotNormalized),
            ("\u{212b}", Invalid::NotNormalized),
            ("s\u{307}\u{323}", Invalid::NotNormalized),
        ] {
            assert_eq!(check_name(bad), Err(reason), "{bad:?}");
        }
    }
}
