//! The blocks of code in Markdown files.

use std::path::Path;

use crate::support::repository;

/// A block of shell commands.
pub(super) struct Block {
    /// File and line where it begins.
    pub(super) place: String,
    /// Its lines.
    pub(super) text: String,
    /// Reason for which tests do not run it.
    pub(super) not_run: Option<String>,
    /// What its output must contain.
    pub(super) prints: Vec<String>,
}

/// Returns the shell blocks of a page in order.
pub(super) fn shell_blocks(repository: &Path, page: &str) -> Vec<Block> {
    let text = std::fs::read_to_string(repository.join(page)).expect("a page");
    let comment = |line: &str, name: &str| {
        let inner = line.strip_prefix("<!-- ")?.strip_suffix(" -->")?;
        Some(inner.strip_prefix(name)?.trim().to_owned())
    };
    let lines: Vec<&str> = text.lines().collect();
    let mut blocks = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let Some(language) = lines[at].strip_prefix("```") else {
            at += 1;
            continue;
        };
        let rest = &lines[at + 1..];
        let length = rest.iter().position(|line| *line == "```");
        let length = length.unwrap_or_else(|| panic!("{page}:{}: no end", at + 1));
        let after = &rest[length + 1..];
        if language == "sh" {
            let before = at.checked_sub(1).map_or("", |before| lines[before]);
            let prints = after.iter().map_while(|line| comment(line, "prints:"));
            blocks.push(Block {
                place: format!("{page}:{}", at + 1),
                text: rest[..length]
                    .iter()
                    .flat_map(|line| [*line, "\n"])
                    .collect(),
                not_run: comment(before, "not run:"),
                prints: prints.collect(),
            });
        } else {
            let first = rest.first().copied().unwrap_or_default();
            let shell = ["curl ", "tributary ", "cargo ", "scripts/"];
            assert!(
                !shell.iter().any(|command| first.starts_with(command)),
                "{page}:{}: a shell block is not marked as one",
                at + 1
            );
        }
        at += length + 2;
    }
    blocks
}

/// Returns the Markdown files of the repository, relative to it.
fn pages(folder: &Path, into: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.expect("a plain name");
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            pages(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            let relative = path.strip_prefix(repository()).expect("within");
            into.push(relative.to_str().expect("UTF-8").to_owned());
        }
    }
}

/// Whether a line of shell has a comment: an interactive zsh takes one for an argument.
fn has_comment(line: &str) -> bool {
    let (mut quote, mut before) = (None, ' ');
    for letter in line.chars() {
        match (quote, letter) {
            (None, '#') if before.is_whitespace() => return true,
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            _ => {}
        }
        before = letter;
    }
    false
}

#[test]
fn shell_blocks_have_no_comments_and_no_placeholders() {
    let mut found = Vec::new();
    pages(&repository(), &mut found);
    assert!(found.len() > 80, "{}", found.len());
    for page in found {
        for block in shell_blocks(&repository(), &page) {
            let place = &block.place;
            for line in block.text.lines() {
                assert!(!has_comment(line), "{place}: a comment in `{line}`");
            }
            assert!(
                !block.text.contains('…') || block.not_run.is_some(),
                "{place}: a placeholder in a block that is run"
            );
            assert!(
                block.not_run.as_ref().is_none_or(|why| !why.is_empty()),
                "{place}: no reason"
            );
        }
    }
}

#[test]
fn a_comment_is_found_and_a_quoted_hash_is_none() {
    for (line, expected) in [
        ("scripts/test   # passes all tests", true),
        ("# the key that was shown", true),
        ("tributary listen --events 'payment.*,account.#'", false),
        ("echo ' # '", false),
        ("echo \"it's\" # done", true),
        ("curl http://127.0.0.1/docs#schemas", false),
    ] {
        assert_eq!(has_comment(line), expected, "{line}");
    }
}
