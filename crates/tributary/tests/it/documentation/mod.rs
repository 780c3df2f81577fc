//! The shell blocks of the README and the docs run as a reader pastes them.
//!
//! A block is run unless the line before it is `<!-- not run: REASON -->`. What its output must contain stands in lines
//! `<!-- prints: TEXT -->` behind it. Programs that stand in for `cargo`, `tributary` and `curl` exchange the documented
//! address for a free port and start servers in the background; everything else is as documented.

mod blocks;

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use self::blocks::{Block, shell_blocks};
use crate::support::{nothing_may_be_skipped, repository, signal, text, wait};

/// Directory of a session: the reader's working directory, beside it the programs and what they note down.
struct Session {
    directory: tempfile::TempDir,
}

impl Session {
    fn new(curl: &Path) -> Session {
        let session = Session {
            directory: tempfile::tempdir().expect("a directory"),
        };
        for name in ["work", "bin", "state"] {
            std::fs::create_dir(session.path(name)).expect("a directory");
        }
        symlink(repository().join("examples"), session.path("work/examples")).expect("a link");
        session.program("cargo", CARGO);
        session.program("tributary", TRIBUTARY);
        session.program("curl", CURL);
        let real = format!(
            "tributary={}\ncurl={}\nstate={}\n",
            env!("CARGO_BIN_EXE_tributary"),
            text(curl),
            text(&session.path("state"))
        );
        std::fs::write(session.path("bin/paths"), real).expect("writes");
        session
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        std::fs::write(&path, script).expect("writes");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, executable).expect("sets");
    }

    /// Runs the blocks one after the other in one shell; each command of a block must succeed.
    fn run(&self, blocks: &[Block]) {
        let mut script = String::from("set -eo pipefail\nshopt -s inherit_errexit\n");
        for (number, block) in blocks.iter().enumerate() {
            let (place, output) = (self.path("state/place"), self.output(number));
            script += &format!("echo '{}' > '{}'\n", block.place, text(&place));
            script += &format!("{{\n{}}} > '{}' 2>&1\n", block.text, text(&output));
        }
        let script_path = self.path("state/script");
        std::fs::write(&script_path, script).expect("writes");
        let path = std::env::var("PATH").expect("a path");
        let mut shell = Command::new("bash");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TRIBUTARY_")) {
            shell.env_remove(name);
        }
        let mut child = shell
            .args(["--noprofile", "--norc", text(&script_path)])
            .current_dir(self.path("work"))
            .env("PATH", format!("{}:{path}", text(&self.path("bin"))))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("bash runs");
        let status = wait(&mut child);
        let read = |name: &Path| std::fs::read_to_string(name).unwrap_or_default();
        let place = read(&self.path("state/place"));
        let number = blocks
            .iter()
            .position(|block| block.place == place.trim())
            .expect("a block was reached");
        assert!(
            status.success(),
            "{place}{}\n--- it said\n{}\n--- the server said\n{}",
            blocks[number].text,
            read(&self.output(number)),
            read(&self.path("state/server.log")),
        );
        for (number, block) in blocks.iter().enumerate() {
            let said = read(&self.output(number));
            for wanted in &block.prints {
                assert!(
                    said.contains(wanted),
                    "{}: `{wanted}` is not in\n{said}",
                    block.place
                );
            }
        }
    }

    fn output(&self, number: usize) -> PathBuf {
        self.path(&format!("state/output-{number}"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let servers = std::fs::read_to_string(self.path("state/servers")).unwrap_or_default();
        for process in servers.lines().filter_map(|line| line.parse().ok()) {
            // A server that a block stopped is gone already; its number is not in use again so soon.
            if Path::new(&format!("/proc/{process}")).exists() {
                signal(process, "KILL");
            }
        }
    }
}

const CARGO: &str = r#"#!/usr/bin/env bash
# `cargo run --release -- ARGUMENTS` is the program under test.
[ "$1" = run ] || { echo "cargo $* is not run by tests" >&2; exit 1; }
while [ "$1" != -- ]; do shift; done
shift
exec tributary "$@"
"#;

const TRIBUTARY: &str = r#"#!/usr/bin/env bash
. "$(dirname "$0")/paths"
if [ "$1" != serve ]; then
    address=$(cat "$state/address" 2>/dev/null || echo 127.0.0.1:8080)
    exec "$tributary" "${@//127.0.0.1:8080/$address}"
fi
: >"$state/server.out"
TRIBUTARY_LISTEN=127.0.0.1:0 "$tributary" "$@" >"$state/server.out" 2>>"$state/server.log" </dev/null &
server=$!
echo $server >>"$state/servers"
until grep -q 'listening on http' "$state/server.out"; do
    kill -0 $server 2>/dev/null || { cat "$state/server.log" >&2; exit 1; }
    sleep 0.02
done
sed -n 's|.*listening on http://||p' "$state/server.out" | head -n 1 >"$state/address"
"#;

const CURL: &str = r#"#!/usr/bin/env bash
. "$(dirname "$0")/paths"
address=$(cat "$state/address" 2>/dev/null || echo 127.0.0.1:8080)
exec "$curl" "${@//127.0.0.1:8080/$address}"
"#;

/// Finds a program of the system; none if the test is to be skipped.
fn program(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        assert!(!nothing_may_be_skipped(), "{name} is missing");
        eprintln!("SKIPPED: {name} is missing");
    }
    found
}

/// Runs the blocks of pages one after the other, as a reader who goes from page to page.
#[track_caller]
fn check(pages: &[&str]) {
    let (Some(_), Some(curl)) = (program("bash"), program("curl")) else {
        return;
    };
    let blocks: Vec<Block> = pages
        .iter()
        .flat_map(|page| {
            let found = shell_blocks(&repository(), page);
            assert!(found.iter().any(|block| block.not_run.is_none()), "{page}");
            found.into_iter().filter(|block| block.not_run.is_none())
        })
        .collect();
    Session::new(&curl).run(&blocks);
}

#[test]
fn the_readme_works_as_pasted() {
    check(&["README.md"]);
}

#[test]
fn the_page_of_the_api_works_as_pasted() {
    check(&["README.md", "docs/api.md"]);
}

#[test]
fn the_page_of_events_works_as_pasted() {
    check(&["README.md", "docs/events.md"]);
}

#[test]
fn the_page_of_webhooks_works_as_pasted() {
    check(&["README.md", "docs/webhooks.md"]);
}

#[test]
fn the_page_of_the_command_line_works_as_pasted() {
    check(&["README.md", "docs/cli.md"]);
}

#[test]
fn the_page_of_streams_works_as_pasted() {
    check(&["README.md", "docs/streams.md"]);
}

#[test]
fn the_page_of_limits_works_as_pasted() {
    check(&["README.md", "docs/limits.md"]);
}

#[test]
fn the_page_of_risk_works_as_pasted() {
    check(&["README.md", "docs/risk.md"]);
}

#[test]
fn the_page_of_backups_works_as_pasted() {
    check(&["README.md", "docs/backup.md"]);
}

#[test]
fn the_page_of_settings_works_as_pasted() {
    check(&["README.md", "docs/settings.md"]);
}

#[test]
fn the_guide_to_a_marketplace_works_as_pasted() {
    check(&["README.md", "docs/guides/marketplace.md"]);
}

#[test]
fn the_guide_to_a_wallet_works_as_pasted() {
    check(&["README.md", "docs/guides/wallet.md"]);
}
