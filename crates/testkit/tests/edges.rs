//! The shape of the workspace: which crate may know which, what the ledger may not touch, and how
//! long a file may get. ARCHITECTURE.md says why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which of our crates each of our crates may depend on. An edge that is not here is refused.
const EDGES: &[(&str, &[&str])] = &[
    ("tributary-ledger", &[]),
    ("tributary-journal", &[]),
    (
        "tributary-engine",
        &["tributary-ledger", "tributary-journal"],
    ),
    (
        "tributary-messaging",
        &["tributary-ledger", "tributary-journal", "tributary-engine"],
    ),
    (
        "tributary-streams",
        &["tributary-ledger", "tributary-engine"],
    ),
    (
        "tributary-api",
        &[
            "tributary-ledger",
            "tributary-engine",
            "tributary-messaging",
        ],
    ),
    (
        "tributary-connect",
        &[
            "tributary-ledger",
            "tributary-engine",
            "tributary-messaging",
            "tributary-api",
        ],
    ),
    (
        "tributary-brokers",
        &["tributary-engine", "tributary-ledger"],
    ),
    (
        "tributary-server",
        &[
            "tributary-engine",
            "tributary-ledger",
            "tributary-messaging",
            "tributary-streams",
            "tributary-api",
        ],
    ),
    (
        "tributary",
        &[
            "tributary-ledger",
            "tributary-journal",
            "tributary-engine",
            "tributary-messaging",
            "tributary-streams",
            "tributary-api",
            "tributary-connect",
            "tributary-brokers",
            "tributary-server",
        ],
    ),
    ("tributary-bench", &["tributary-streams"]),
    (
        "tributary-testkit",
        &[
            "tributary-ledger",
            "tributary-journal",
            "tributary-engine",
            "tributary-messaging",
            "tributary-streams",
            "tributary-api",
            "tributary-connect",
            "tributary-brokers",
            "tributary-server",
        ],
    ),
];

/// The only crate that others may use in their tests and nowhere else.
const TESTKIT: &str = "tributary-testkit";

/// Edges that tests alone may have: the server's tests receive webhooks.
const TEST_EDGES: &[(&str, &str)] = &[("tributary-server", "tributary-connect")];

/// Libraries that would tell the API's forms and objects how they travel.
const API_LIBRARIES_REFUSED: &[&str] = &[
    "axum",
    "h2",
    "http",
    "http-body",
    "http-body-util",
    "hyper",
    "hyper-util",
    "mio",
    "prost",
    "rustls",
    "socket2",
    "tokio",
    "tokio-rustls",
    "tonic",
    "tower",
];

/// Libraries that would give the ledger a clock, a disk, a network, a runtime or dice.
const LEDGER_LIBRARIES_REFUSED: &[&str] = &[
    "axum",
    "chrono",
    "fastrand",
    "getrandom",
    "hyper",
    "jiff",
    "libc",
    "mio",
    "postgres",
    "rand",
    "rand_core",
    "rustix",
    "socket2",
    "tempfile",
    "time",
    "tokio",
];

/// Words that have no business in the ledger's code.
const LEDGER_WORDS_REFUSED: &[&str] = &["async", "await", "f32", "f64", "unsafe"];

/// Modules of the standard library that have none either.
const LEDGER_MODULES_REFUSED: &[&str] = &[
    "env", "fs", "io", "net", "os", "process", "random", "thread", "time",
];

/// Longest source file, in lines. The aim is 600; this is where it stops being a matter of taste.
const FILE_LINES_MAX: usize = 900;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    from: String,
    to: String,
    dev: bool,
}

/// Every dependency that a manifest of the workspace names, as cargo itself reads it: renamed,
/// optional, per target and build dependencies included.
fn declared_edges() -> (BTreeSet<String>, Vec<Edge>) {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
            "--manifest-path",
        ])
        .arg(root().join("Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");

    let text = |value: &serde_json::Value| value.as_str().expect("a string").to_owned();
    let mut members = BTreeSet::new();
    let mut edges = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let from = text(&package["name"]);
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let to = text(&dependency["name"]);
            edges.push(Edge {
                from: from.clone(),
                to,
                dev: dependency["kind"] == "dev",
            });
        }
        members.insert(from);
    }
    (members, edges)
}

/// What is wrong with these crates and the edges between them.
fn edge_faults(members: &BTreeSet<String>, edges: &[Edge]) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let mut faults = Vec::new();
    for member in members {
        if !allowed.contains_key(member.as_str()) {
            faults.push(format!("{member} has no place among the crates"));
        }
    }
    for edge in edges.iter().filter(|edge| members.contains(&edge.to)) {
        let known = allowed.get(edge.from.as_str()).copied().unwrap_or_default();
        let pair = (edge.from.as_str(), edge.to.as_str());
        let in_tests =
            edge.dev && (edge.to == TESTKIT && edge.from != TESTKIT || TEST_EDGES.contains(&pair));
        if !known.contains(&edge.to.as_str()) && !in_tests {
            faults.push(format!("{} must not know {}", edge.from, edge.to));
        }
    }
    for edge in edges.iter().filter(|edge| !edge.dev) {
        let refused = match edge.from.as_str() {
            "tributary-ledger" => LEDGER_LIBRARIES_REFUSED,
            "tributary-api" => API_LIBRARIES_REFUSED,
            _ => continue,
        };
        if refused.contains(&edge.to.as_str()) {
            faults.push(format!("{} must not use {}", edge.from, edge.to));
        }
    }
    faults
}

/// The source with comments and the contents of literals blanked out, line by line as before.
fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut code = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => line_end(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => comment_end(&chars, at),
            '"' => quoted_end(&chars, at),
            'r' if raw_hashes(&chars, at).is_some() => raw_end(&chars, at),
            // 'x' and '\n' are literals; 'static and 'a are lifetimes.
            '\'' if chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'') => {
                char_end(&chars, at)
            }
            plain => {
                code.push(plain);
                at += 1;
                continue;
            }
        };
        code.extend(
            chars[at..end]
                .iter()
                .map(|&c| if c == '\n' { '\n' } else { ' ' }),
        );
        at = end;
    }
    code
}

fn line_end(chars: &[char], at: usize) -> usize {
    (at..chars.len())
        .find(|&i| chars[i] == '\n')
        .unwrap_or(chars.len())
}

fn comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 1),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 1),
            _ => {}
        }
        i += 1;
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

fn quoted_end(chars: &[char], at: usize) -> usize {
    let mut i = at + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

fn char_end(chars: &[char], at: usize) -> usize {
    // The character after a backslash never ends the literal.
    let from = if chars[at + 1] == '\\' {
        at + 3
    } else {
        at + 2
    };
    (from..chars.len())
        .find(|&i| chars[i] == '\'')
        .map_or(chars.len(), |i| i + 1)
}

/// How many hashes a raw string that starts here has; none if none starts here.
fn raw_hashes(chars: &[char], at: usize) -> Option<usize> {
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    let byte_string =
        at > 0 && chars[at - 1] == 'b' && (at < 2 || !chars[at - 2].is_alphanumeric());
    if in_word && !byte_string {
        return None;
    }
    let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
    (chars.get(at + 1 + hashes) == Some(&'"')).then_some(hashes)
}

fn raw_end(chars: &[char], at: usize) -> usize {
    let hashes = raw_hashes(chars, at).expect("a raw string starts here");
    let body = at + hashes + 2;
    (body..chars.len())
        .find(|&i| {
            chars[i] == '"' && chars[i + 1..].iter().take_while(|&&c| c == '#').count() >= hashes
        })
        .map_or(chars.len(), |i| i + 1 + hashes)
}

/// What this piece of ledger source uses that the ledger must not, with its line.
fn impurities(source: &str) -> Vec<String> {
    let code = code_only(source);
    let mut found = Vec::new();
    for (index, line) in code.lines().enumerate() {
        for word in words(line) {
            if LEDGER_WORDS_REFUSED.contains(&word) || is_float_literal(word) {
                found.push(format!("line {}: {word}", index + 1));
            }
        }
    }
    for library in ["std::", "core::"] {
        for (start, _) in code.match_indices(library) {
            let line = code[..start].matches('\n').count() + 1;
            for module in first_segments(&code[start + library.len()..]) {
                if LEDGER_MODULES_REFUSED.contains(&module) {
                    found.push(format!("line {line}: {library}{module}"));
                }
            }
        }
    }
    found
}

/// Identifiers and number literals. A dot belongs to a number only between two digits, and not
/// in a chain of tuple fields.
fn words(line: &str) -> Vec<&str> {
    let bytes = line.as_bytes();
    let of_word = |i: usize| bytes[i].is_ascii_alphanumeric() || bytes[i] == b'_';
    let mut words = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let field =
            start > 0 && bytes[start - 1] == b'.' && (start < 2 || bytes[start - 2] != b'.');
        let number = bytes[start].is_ascii_digit() && !field;
        while at < bytes.len()
            && (of_word(at)
                || (number
                    && bytes[at] == b'.'
                    && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)))
        {
            at += 1;
        }
        if at > start {
            words.push(&line[start..at]);
        } else {
            at += line[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    words
}

fn is_float_literal(word: &str) -> bool {
    let decimal = word.starts_with(|c: char| c.is_ascii_digit())
        && !word.starts_with("0x")
        && !word.starts_with("0b");
    decimal && (word.contains('.') || word.ends_with("f32") || word.ends_with("f64"))
}

/// The modules that a path goes on with: one, or those of a `{…}` group.
fn first_segments(rest: &str) -> Vec<&str> {
    let name = |text: &str| {
        text.find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(text.len())
    };
    let Some(group) = rest.strip_prefix('{') else {
        return vec![&rest[..name(rest)]];
    };
    let (mut depth, mut start, mut segments) = (0, 0, Vec::new());
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                let item = group[start..i].trim_start();
                segments.push(&item[..name(item)]);
                start = i + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    segments
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the workspace")
}

/// Every Rust source below a folder of the workspace.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source in UTF-8");
            found.push((path, text));
        }
    }
    found
}

#[test]
fn a_crate_knows_only_the_crates_it_may_know() {
    let (members, edges) = declared_edges();
    assert!(
        members.contains("tributary-ledger") && members.contains(TESTKIT),
        "{members:?}"
    );
    assert!(
        edges.iter().any(|edge| edge.to == "tributary-ledger"),
        "no edges read"
    );
    assert_eq!(edge_faults(&members, &edges), Vec::<String>::new());
}

#[test]
fn a_forbidden_edge_is_refused() {
    fn check(from: &str, to: &str, dev: bool, faults: usize) {
        let members = EDGES.iter().map(|(name, _)| (*name).to_owned()).collect();
        let edge = Edge {
            from: from.to_owned(),
            to: to.to_owned(),
            dev,
        };
        let found = edge_faults(&members, std::slice::from_ref(&edge));
        assert_eq!(found.len(), faults, "{edge:?}: {found:?}");
    }
    check("tributary-engine", "tributary-ledger", false, 0);
    check("tributary-ledger", "tributary-testkit", true, 0);
    check("tributary-ledger", "blake3", false, 0);
    check("tributary-ledger", "tokio", true, 0);
    check("tributary-ledger", "tokio", false, 1);
    check("tributary-ledger", "tributary-journal", false, 1);
    check("tributary-journal", "tributary-ledger", false, 1);
    check("tributary-server", "tributary-journal", false, 1);
    check("tributary-server", "tributary-journal", true, 1);
    check("tributary-server", "tributary-testkit", false, 1);
    check("tributary-server", "tributary-connect", true, 0);
    check("tributary-server", "tributary-connect", false, 1);
    check("tributary-connect", "tributary-server", true, 1);
    check("tributary-api", "tributary-server", false, 1);
    check("tributary-api", "axum", false, 1);
    check("tributary-api", "tokio", false, 1);
    check("tributary-api", "serde", false, 0);
    check("tributary-testkit", "tributary", true, 1);
    check("tributary-bench", "tributary-server", true, 1);
    check("tributary", "tributary-bench", false, 1);
    let stranger = BTreeSet::from(["tributary-extras".to_owned()]);
    assert_eq!(edge_faults(&stranger, &[]).len(), 1);
}

#[test]
fn the_ledger_has_no_float_clock_disk_network_thread_or_async() {
    let sources = sources(&root().join("crates/ledger/src"));
    assert!(!sources.is_empty());
    let found: Vec<String> = sources
        .iter()
        .flat_map(|(path, text)| {
            impurities(text)
                .into_iter()
                .map(move |what| format!("{}, {what}", path.display()))
        })
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn an_impurity_is_found_wherever_it_hides() {
    fn check(source: &str, expected: usize) {
        let found = impurities(source);
        assert_eq!(found.len(), expected, "{source:?}: {found:?}");
    }
    check("fn rate() -> f64 { 1 }", 1);
    check("let half = 0.5;", 1);
    check("let half = 1f64;", 1);
    check("let half = 1_f32;", 1);
    check("use std::time::Instant;", 1);
    check(
        "use std::{\n    collections::{BTreeMap, fs},\n    fs::File,\n    net,\n};",
        2,
    );
    check("async fn decide() { read().await }", 2);
    check("let a = '\"'; let b: f64;", 1);
    check("let a = r#\"f32\"#; let b: f64;", 1);
    check("let a = '\\''; let b: f64;", 1);
    check("fn f<'a>(x: &'a f64) {}", 1);

    check("// f64 and std::time, async\n/* f32 /* f64 */ await */", 0);
    check("let text = \"an f64 \\\" of std::fs\";", 0);
    check("let raw = br##\"std::net \"# f64\"##;", 0);
    check("let last = pair.0.1; let range = 0..10;", 0);
    check("let mask = 0x1f64; let n = 1_000u64;", 0);
    check(
        "use std::collections::BTreeMap; use core::ops::ControlFlow;",
        0,
    );
    check("let asynchronous = timestamp;", 0);
}

#[test]
fn no_source_file_outgrows_a_reader() {
    let sources = sources(&root().join("crates"));
    assert!(
        sources.len() >= EDGES.len() - 1,
        "only {} sources read",
        sources.len()
    );
    let too_long: Vec<String> = sources
        .iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert_eq!(too_long, Vec::<String>::new());
}
