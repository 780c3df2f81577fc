//! The shape of the workspace: which crate may know which, and how long a file may get. ARCHITECTURE.md says why. What the
//! ledger's code may not touch stands in crates/ledger/clippy.toml.

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
        "tributary-cluster",
        &["tributary-ledger", "tributary-journal", "tributary-engine"],
    ),
    (
        "tributary-streams",
        &["tributary-ledger", "tributary-engine", "tributary-api"],
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
            "tributary-cluster",
            "tributary-streams",
            "tributary-api",
            "tributary-connect",
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
            "tributary-cluster",
            "tributary-streams",
            "tributary-api",
            "tributary-connect",
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

/// Libraries that would give the ledger a clock, a disk, a network, a runtime or dice. The same of the standard library is
/// refused by crates/ledger/clippy.toml.
const LEDGER_LIBRARIES_REFUSED: &[&str] = &[
    "axum",
    "chrono",
    "fastrand",
    "getrandom",
    "hyper",
    "jiff",
    "libc",
    "mio",
    "rand",
    "rand_core",
    "rustix",
    "socket2",
    "tempfile",
    "time",
    "tokio",
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
fn no_source_file_outgrows_a_reader() {
    let sources = sources(&root().join("crates"));
    assert!(
        sources.len() >= EDGES.len() - 1,
        "only {} sources read",
        sources.len()
    );
    let too_long: Vec<String> = sources
        .iter()
        // Nobody reads what a generator writes.
        .filter(|(_, text)| !text.starts_with("// This file is @generated"))
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert_eq!(too_long, Vec::<String>::new());
}
