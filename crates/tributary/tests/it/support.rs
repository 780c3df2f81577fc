//! Starting, killing and asking the real binary.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http::{self, Answer};

/// Longest wait for anything that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Records of the first start of a server: the id of its master key, and the platform key.
pub(crate) const FIRST_RECORDS: u64 = 2;

/// Path of the binary.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_tributary");

/// The binary with a clean environment of ours.
pub(crate) fn tributary() -> Command {
    program(Path::new(PROGRAM))
}

/// As [`tributary`], with a binary of another version.
pub(crate) fn program(path: &Path) -> Command {
    let mut command = Command::new(path);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TRIBUTARY_")) {
        command.env_remove(name);
    }
    // Never the default port: somebody may use it on this machine.
    command.env("TRIBUTARY_LISTEN", "127.0.0.1:0");
    command.stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    tributary()
        .args(arguments)
        .output()
        .expect("the binary runs")
}

/// Runs it to its end, which must have this exit code; gives its standard output.
pub(crate) fn run_for(code: i32, arguments: &[&str]) -> String {
    let output = run(arguments);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}\n--- stdout\n{out}\n--- stderr\n{err}"
    );
    out.into_owned()
}

/// As [`run_for`], with JSON on the standard output.
pub(crate) fn json_for(code: i32, arguments: &[&str]) -> Value {
    let out = run_for(code, arguments);
    serde_json::from_str(out.trim()).unwrap_or_else(|_| panic!("not JSON: {out}"))
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    /// For gRPC, where it was asked for.
    pub(crate) grpc: Option<String>,
    pub(crate) key: String,
    key_file: PathBuf,
    log: Arc<Mutex<String>>,
}

impl Server {
    /// Starts one on a free port; the platform key is kept in a file beside the data directory.
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_at(data, "127.0.0.1:0")
    }

    /// As [`Server::start`], on the address that an earlier server had.
    pub(crate) fn start_at(data: &Path, listen: &str) -> Self {
        let begun = Instant::now();
        loop {
            match Self::try_start(data, listen) {
                Ok(server) => return server,
                // While no server ran, another process may have been given the port for a moment.
                Err(output) if output.contains("cannot listen") && begun.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(output) => panic!("the server did not start: {output}"),
            }
        }
    }

    /// An error holds how it ended and what it said.
    pub(crate) fn try_start(data: &Path, listen: &str) -> Result<Self, String> {
        Self::try_start_with(data, listen, &[])
    }

    /// As [`Server::try_start`], with more settings in the environment.
    pub(crate) fn try_start_with(
        data: &Path,
        listen: &str,
        settings: &[(&str, &str)],
    ) -> Result<Self, String> {
        Self::try_start_as(tributary(), data, listen, settings, &[])
    }

    /// As [`Server::start`], with more arguments.
    pub(crate) fn start_with_arguments(data: &Path, arguments: &[&str]) -> Self {
        Self::try_start_as(tributary(), data, "127.0.0.1:0", &[], arguments)
            .unwrap_or_else(|output| panic!("the server did not start: {output}"))
    }

    /// As [`Server::start`], with all that can be chosen. Otherwise returns what it said.
    pub(crate) fn try_start_as(
        mut program: Command,
        data: &Path,
        listen: &str,
        settings: &[(&str, &str)],
        arguments: &[&str],
    ) -> Result<Self, String> {
        let key_file = data.with_extension("platform-key");
        let mut child = program
            .args(["serve", "--json", "--listen", listen, "--data", text(data)])
            .args(arguments)
            .env("TRIBUTARY_PLATFORM_KEY_FILE", &key_file)
            .env("TRIBUTARY_LOG_LEVEL", "warn")
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("reads");
        let Ok(json) = serde_json::from_str::<Value>(&line) else {
            let output = child.wait_with_output().expect("ends");
            return Err(format!(
                "{}: {line}{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            ));
        };
        let log = Arc::new(Mutex::new(String::new()));
        let (kept, stderr) = (Arc::clone(&log), child.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut kept = kept.lock().expect("no holder panics");
                kept.push_str(&line);
                kept.push('\n');
            }
        });
        let address = |name: &str| Some(json[name].as_str()?.replace("http://", ""));
        let key = std::fs::read_to_string(&key_file)
            .expect("a key")
            .trim()
            .to_owned();
        Ok(Self {
            child,
            address: address("listening").expect("it says where"),
            grpc: address("grpc"),
            key,
            key_file,
            log,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until it has logged this: what it writes is read by another thread.
    #[track_caller]
    pub(crate) fn has_logged(&self, part: &str) {
        let begun = Instant::now();
        let log = || self.log.lock().expect("no holder panics").clone();
        while !log().contains(part) {
            assert!(begun.elapsed() < PATIENCE, "{part}: {}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("no holder panics").clone()
    }

    pub(crate) fn key_file(&self) -> &str {
        text(&self.key_file)
    }

    /// The number of its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.request("GET", path, None, None).expect("answers").ok()
    }

    pub(crate) fn post(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.request("POST", path, Some(key), Some(body))
            .expect("answers")
    }

    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> std::io::Result<Answer> {
        http::request(&self.address, method, path, &self.key, key, body)
    }

    /// Its memory that is no cached file (RssAnon), in bytes; 0 once it has ended.
    pub(crate) fn anonymous_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap_or_default();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1_024
    }

    /// Number of its threads that have this name.
    pub(crate) fn threads(&self, name: &str) -> usize {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let tasks = tasks.expect("it runs").flatten();
        let names = tasks.map(|task| std::fs::read_to_string(task.path().join("comm")));
        names.flatten().filter(|found| found.trim() == name).count()
    }

    /// SIGKILL: nothing can be written any more.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("kills");
        self.child.wait().expect("ends");
    }

    /// SIGTERM, then waits for its end.
    pub(crate) fn stop(mut self) -> ExitStatus {
        signal(self.child.id(), "TERM");
        wait(&mut self.child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An address of this machine on which nobody listens, and nobody can while this value lives: the port belongs to an open
/// connection.
pub(crate) struct DeadAddress {
    connection: TcpStream,
    _listener: TcpListener,
}

impl DeadAddress {
    pub(crate) fn take() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let peer = listener.local_addr().expect("bound");
        let connection = TcpStream::connect(peer).expect("it listens");
        Self {
            connection,
            _listener: listener,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.connection.local_addr().expect("bound"))
    }
}

/// Sends a signal to a process that the test started.
pub(crate) fn signal(process: u32, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &process.to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}

/// Waits for a child's end, within bounds.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("waits") {
            return status;
        }
        if started.elapsed() > PATIENCE {
            drop(child.kill());
            panic!("a process did not end within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ends all who look at the flag, also when the test fails.
pub(crate) struct Stop<'a>(pub(crate) &'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The repository.
pub(crate) fn repository() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder
        .ancestors()
        .nth(2)
        .expect("crates/tributary is two folders down")
        .to_owned()
}

/// Whether what is missing makes a test fail instead of being skipped.
pub(crate) fn nothing_may_be_skipped() -> bool {
    ["TRIBUTARY_TEST_ALL", "TRIBUTARY_REQUIRE_TOOLS"]
        .iter()
        .any(|name| std::env::var(name).is_ok_and(|v| v == "1"))
}

/// A third-party program, from `target/tools/bin` or the path; none if the test is to be skipped.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let mut folders = vec![repository().join("target/tools/bin")];
    folders.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    let found = folders
        .into_iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    if found.is_none() {
        assert!(
            !nothing_may_be_skipped(),
            "{name} is missing: scripts/install-tools puts it into target/tools/bin"
        );
        eprintln!("SKIPPED: {name} is missing (scripts/install-tools)");
    }
    found
}

/// All pages of a list, as one.
pub(crate) fn all_pages(server: &Server, path: &str) -> Vec<Value> {
    let mut items = Vec::new();
    each_item(server, path, |item| items.push(item));
    items
}

/// Goes through all pages of a list, which may be too long to be kept.
pub(crate) fn each_item(server: &Server, path: &str, mut visit: impl FnMut(Value)) {
    let mut after = String::new();
    loop {
        let joint = if path.contains('?') { '&' } else { '?' };
        let mut page = server.get(&format!("{path}{joint}limit=100{after}"));
        let data = page["data"].as_array_mut().expect("a list");
        std::mem::take(data).into_iter().for_each(&mut visit);
        if page["has_more"] != true {
            return;
        }
        let cursor = page["next_cursor"]
            .as_str()
            .expect("a cursor, where more follows");
        after = format!("&starting_after={cursor}");
    }
}
