//! Subjects and names, as NATS allows them. What goes into a line of the protocol is checked here first: a space or a line end in it
//! would be a command of its own.

/// Maximum length of a subject, in bytes. NATS takes lines of 4,096 bytes.
pub(super) const SUBJECT_BYTES_MAX: usize = 512;
/// Maximum length of a name of a stream or a consumer, in bytes: it is the name of a folder too.
pub(super) const NAME_BYTES_MAX: usize = 255;
/// How subjects begin at which somebody waits for one answer.
const INBOX: &str = "_INBOX.";

/// Fails unless `subject` is one subject that messages can be sent to.
///
/// # Errors
/// What a subject must be.
pub(super) fn check_subject(subject: &str) -> Result<(), String> {
    if subject.len() > SUBJECT_BYTES_MAX {
        return Err(format!("has more than {SUBJECT_BYTES_MAX} bytes"));
    }
    let is_clean = |character: char| !character.is_whitespace() && !character.is_control();
    if !subject.chars().all(is_clean) {
        return Err("must not hold spaces or control characters".to_owned());
    }
    if subject.split('.').any(|token| matches!(token, "*" | ">")) {
        return Err("must be one subject, without the wildcards * and >".to_owned());
    }
    if subject.split('.').any(str::is_empty) {
        return Err("must be words with one dot between two, such as payment.orders".to_owned());
    }
    if subject.starts_with('$') {
        return Err("must not begin with $: these subjects are the server's own".to_owned());
    }
    Ok(())
}

/// Fails unless `name` can be that of a consumer.
///
/// # Errors
/// What a name must be.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(format!("must have 1 to {NAME_BYTES_MAX} bytes"));
    }
    let is_clean = |character: char| {
        !character.is_whitespace()
            && !character.is_control()
            && !matches!(character, '.' | '*' | '>' | '/' | '\\')
    };
    match name.chars().all(is_clean) {
        true => Ok(()),
        false => Err("must not hold spaces or any of . * > / \\".to_owned()),
    }
}

/// Returns the name of the stream that is made for a subject: its dots and what else a name can't hold are `_`.
pub(super) fn stream_name(subject: &str) -> String {
    subject.replace(['.', '*', '>', '/', '\\'], "_")
}

/// Whether a subject is where somebody waits for one answer, which no stream keeps.
pub(super) fn is_inbox(subject: &str) -> bool {
    subject.starts_with(INBOX)
}

#[cfg(test)]
mod tests {
    use super::{check_name, check_subject};

    #[test]
    fn only_one_subject_of_a_user_is_a_subject() {
        for right in ["orders", "payment.orders", "_INBOX.x.1", "a*b", "größe"] {
            assert_eq!(check_subject(right), Ok(()), "{right}");
        }
        let long = "x".repeat(513);
        let wrong = [
            "",
            "a..b",
            ".a",
            "a.",
            "a b",
            "a\r\nPUB b 0\r\n",
            "a\tb",
            "a.*",
            "a.>",
            "$JS.API.INFO",
            &long,
        ];
        for wrong in wrong {
            assert!(check_subject(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_consumer_s_name_is_one_word() {
        assert_eq!(check_name("tributary-2"), Ok(()));
        for wrong in ["", "a.b", "a b", "*", "a/b", "a\n"] {
            assert!(check_name(wrong).is_err(), "{wrong}");
        }
    }
}
