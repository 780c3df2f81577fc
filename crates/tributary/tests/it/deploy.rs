//! What the files of `deploy/` say of the program is true of the program: variables, commands, options, paths of the API, versions.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::support::{repository, run, run_for, text, tributary};

const CONFIG: &str = include_str!("../../src/config.rs");
const OPENAPI: &str = include_str!("../../../../docs/openapi.json");

/// Files of `deploy/` with their content.
fn files() -> Vec<(String, String)> {
    fn collect(folder: &Path, files: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            // Not secrets and what else somebody may keep there.
            let name = path.file_name().and_then(|name| name.to_str());
            match path.is_dir() {
                true => collect(&path, files),
                false if name.is_some_and(|name| name.starts_with('.')) => {}
                false => {
                    let content = std::fs::read_to_string(&path).expect("a text");
                    files.push((text(&path).to_owned(), content));
                }
            }
        }
    }
    let mut files = Vec::new();
    collect(&repository().join("deploy"), &mut files);
    assert!(files.len() > 20, "{}", files.len());
    files
}

/// Words of a text that begin with `prefix` and go on with letters that `belongs` takes.
fn words<'a>(content: &'a str, prefix: &str, belongs: impl Fn(char) -> bool) -> BTreeSet<&'a str> {
    let found = content.match_indices(prefix).map(|(at, _)| {
        let rest = &content[at..];
        let end = rest[prefix.len()..].find(|letter| !belongs(letter));
        end.map_or(rest, |end| &rest[..prefix.len() + end])
    });
    found.collect()
}

/// Variables that configure `serve`, as the program has them.
fn variables() -> BTreeSet<String> {
    let keys = CONFIG.split_once("const KEYS").expect("a list of keys").1;
    let keys = keys.split_once("];").expect("its end").0;
    let quoted = keys.lines().filter_map(|line| line.split('"').nth(1));
    let variable = |key: &str| format!("TRIBUTARY_{}", key.replace('.', "_").to_uppercase());
    let variables: BTreeSet<String> = quoted.map(variable).collect();
    assert!(
        variables.contains("TRIBUTARY_LIMITS_STREAMS_MAX"),
        "{variables:?}"
    );
    variables
}

/// Whether this program can be a node of a cluster.
fn knows_clusters() -> bool {
    variables().contains("TRIBUTARY_CLUSTER_LOG")
}

#[test]
fn every_variable_is_one_of_the_program() {
    let known = variables();
    let mut seen = BTreeSet::new();
    for (file, content) in files() {
        let belongs = |letter: char| letter.is_ascii_uppercase() || letter == '_';
        for name in words(&content, "TRIBUTARY_", belongs) {
            let is_of_tests = name.starts_with("TRIBUTARY_TEST_");
            // The beginning of names, in a script.
            let is_part = name.ends_with('_') && known.iter().any(|known| known.starts_with(name));
            let is_to_come = name.starts_with("TRIBUTARY_CLUSTER_") && !knows_clusters();
            assert!(
                is_of_tests || is_part || is_to_come || known.contains(name),
                "{file}: the program has no variable {name}"
            );
            seen.insert(name.to_owned());
        }
    }
    assert!(seen.contains("TRIBUTARY_CLUSTER_URL"), "{seen:?}");
}

/// Command lines of the program in a file.
fn command_lines(content: &str) -> Vec<Vec<String>> {
    let lists = ["args: [", "command: [", "CMD ["];
    let unquoted = |word: &str| word.trim().trim_matches('"').to_owned();
    let of_lists = content.lines().filter_map(|line| {
        let list = lists
            .iter()
            .find_map(|list| line.trim().strip_prefix(list))?;
        let (list, _) = list.split_once(']')?;
        Some(list.split(',').map(unquoted).collect())
    });
    let of_units = content.lines().filter_map(|line| {
        let rest = line.strip_prefix("ExecStart=/usr/bin/tributary ")?;
        Some(rest.split(' ').map(str::to_owned).collect())
    });
    of_lists.chain(of_units).collect()
}

#[test]
fn every_command_and_option_is_one_of_the_program() {
    let mut seen = BTreeSet::new();
    for (file, content) in files() {
        for words in command_lines(&content) {
            let (options, commands): (Vec<&String>, Vec<&String>) = words
                .iter()
                .filter(|word| !word.starts_with('/'))
                .partition(|word| word.starts_with('-'));
            seen.insert(
                commands
                    .iter()
                    .map(|word| word.as_str())
                    .collect::<Vec<_>>()
                    .join(" "),
            );
            if commands[0] == "cluster" && !knows_clusters() {
                continue;
            }
            let mut arguments: Vec<&str> = commands.iter().map(|word| word.as_str()).collect();
            arguments.push("--help");
            let output = run(&arguments);
            assert!(
                output.status.success(),
                "{file}: the program has no command {commands:?}"
            );
            let help = String::from_utf8_lossy(&output.stdout).into_owned();
            for option in options {
                assert!(
                    help.contains(&format!("{option} ")),
                    "{file}: {commands:?} has no option {option}"
                );
            }
        }
    }
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        ["cluster init", "serve"]
    );
}

#[test]
fn every_path_is_one_of_the_server() {
    let document: Value = serde_json::from_str(OPENAPI).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let mut seen = BTreeSet::new();
    for (file, content) in files() {
        let belongs = |letter: char| letter.is_ascii_lowercase();
        for path in words(&content, "/health/", belongs) {
            // The figures of PostgreSQL and Kafka have none of ours.
            assert!(paths.contains_key(path), "{file}: the server has no {path}");
            seen.insert(path.to_owned());
        }
    }
    assert!(paths.contains_key("/metrics"));
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        ["/health/live", "/health/ready"]
    );
}

#[test]
fn every_configuration_is_taken() {
    let read = |path: &str| std::fs::read_to_string(repository().join(path)).expect("a file");
    let values = read("deploy/helm/tributary/values.yaml");
    let block = values.split_once("config: |\n").expect("a configuration").1;
    let block = block
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with("  "));
    let of_chart: Vec<&str> = block.map(str::trim).collect();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("tributary.toml");
    for content in [read("deploy/systemd/tributary.toml"), of_chart.join("\n")] {
        assert!(content.contains("[log]"), "{content}");
        std::fs::write(&file, content).expect("writes");
        // A limit that is refused after the file was read: the server does not start.
        let output = tributary()
            .args(["serve", "--config", text(&file)])
            .env("TRIBUTARY_LIMITS_STREAMS_MAX", "0")
            .output()
            .expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("limits must be positive"), "{said}");
    }
}

#[test]
fn versions_are_those_of_the_workspace() {
    let read = |path: &str| std::fs::read_to_string(repository().join(path)).expect("a file");
    let version = run_for(0, &["--version"]);
    let version = version
        .trim()
        .strip_prefix("tributary ")
        .expect("a version");
    let chart = read("deploy/helm/tributary/Chart.yaml");
    assert!(
        chart.contains(&format!("appVersion: \"{version}\"")),
        "{chart}"
    );
    let workspace = read("Cargo.toml");
    let rust = workspace
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \""));
    let rust = rust.expect("a version of Rust").trim_end_matches('"');
    let dockerfile = read("deploy/Dockerfile");
    assert!(
        dockerfile.contains(&format!("rust:{rust}-")),
        "{dockerfile}"
    );
}
