//! The server under test: its process and its data directory.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::client::Client;
use crate::error::usage_error;
use crate::machine;
use crate::options::{Load, RunOptions};
use crate::payload::IdBytes;

/// Maximum wait for a stopping server.
const STOP_WAIT: Duration = Duration::from_secs(120);

/// A data directory, removed at the end unless the caller named it.
pub(crate) struct DataDirectory {
    path: PathBuf,
    kept: bool,
}

impl DataDirectory {
    /// Creates the given directory, which must not exist or be empty; or a new one in the working directory.
    pub(crate) fn create(given: Option<&Path>) -> anyhow::Result<DataDirectory> {
        let path = match given {
            Some(path) => path.to_owned(),
            None => PathBuf::from(format!("tributary-bench-{}", std::process::id())),
        };
        let used = path.exists() && std::fs::read_dir(&path)?.next().is_some();
        if used {
            return Err(usage_error(format!("{} is not empty", path.display())));
        }
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        Ok(DataDirectory {
            path,
            kept: given.is_some(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for DataDirectory {
    fn drop(&mut self) {
        if !self.kept {
            drop(std::fs::remove_dir_all(&self.path));
            // The server keeps its master key beside its data.
            drop(std::fs::remove_file(self.path.with_extension("key")));
        }
    }
}

/// A running server: started here, or named by the caller.
pub(crate) struct Server {
    /// Address for HTTP.
    pub(crate) addr: SocketAddr,
    pub(crate) grpc: SocketAddr,
    /// Platform key.
    pub(crate) token: String,
    own: Option<OwnedServer>,
}

/// A server that was started here. Dropping this kills the server unless it was stopped.
struct OwnedServer {
    child: Child,
    binary: PathBuf,
    directory: DataDirectory,
}

impl OwnedServer {
    /// Stops the process and waits for its end.
    fn stop(&mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if begun.elapsed() > STOP_WAIT {
                bail!("the server did not stop within {} s", STOP_WAIT.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        if !status.success() {
            bail!("the server ended with {status}");
        }
        Ok(())
    }
}

impl Drop for OwnedServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Returns the program to start as the server: the given one, or `tributary` beside this program.
fn server_binary(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()
            .context("cannot find this program's file")?
            .with_file_name(format!("tributary{}", std::env::consts::EXE_SUFFIX)),
    };
    if !path.is_file() {
        return Err(usage_error(format!(
            "there is no {}: build it first with `cargo build --release -p tributary`, or name another program with \
             --binary FILE",
            path.display()
        )));
    }
    // A name without a slash would be looked up in PATH.
    path.canonicalize()
        .with_context(|| format!("cannot find {}", path.display()))
}

/// Starts `program` with `arguments`, and returns the process and the first line of its output, which is JSON.
pub(crate) fn spawn_process(
    program: &Path,
    arguments: &[&OsStr],
) -> anyhow::Result<(Child, Value)> {
    let mut command = Command::new(program);
    // The caller's environment must not change the server's configuration.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TRIBUTARY_")) {
        command.env_remove(name);
    }
    let mut child = command
        .args(arguments)
        // One line of log per request would cost time.
        .env("TRIBUTARY_LOG_LEVEL", "warn")
        // The receivers of webhooks are on this machine.
        .env("TRIBUTARY_WEBHOOKS_ALLOW_HTTP", "true")
        .env("TRIBUTARY_WEBHOOKS_ALLOW_PRIVATE", "true")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let stdout = child
        .stdout
        .take()
        .context("the server's output is not connected")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    match serde_json::from_str(&line) {
        Ok(first_line) => Ok((child, first_line)),
        Err(_) => {
            drop(child.kill());
            let status = child.wait()?;
            bail!("the server process did not start ({status})")
        }
    }
}

/// Returns an address from the server's first line of output.
pub(crate) fn parse_address(first_line: &Value, name: &str) -> anyhow::Result<SocketAddr> {
    let url = first_line[name]
        .as_str()
        .context("the server's first line of output has no such address")?;
    let address = url.strip_prefix("http://").unwrap_or(url);
    address
        .parse()
        .with_context(|| format!("{url} is not an address"))
}

/// Starts a server process on the directory, and returns it with the line of JSON that it prints first.
fn spawn_server(binary: &Path, directory: &Path) -> anyhow::Result<(Child, Value)> {
    let listen = "127.0.0.1:0".as_ref();
    let arguments = [
        "serve".as_ref(),
        "--json".as_ref(),
        "--listen".as_ref(),
        listen,
        "--grpc-listen".as_ref(),
        listen,
        "--data".as_ref(),
        directory.as_os_str(),
    ];
    spawn_process(binary, &arguments)
}

/// Creates a subscription, and returns its id.
pub(crate) fn create_subscription(
    client: &mut Client,
    key: &IdBytes,
    terms: &Value,
) -> anyhow::Result<String> {
    let made = client.post_json("/v1/subscriptions", key, terms)?;
    let id = made["id"].as_str().map(str::to_owned);
    id.context("the subscription has no id")
}

/// Reads an API key from a file.
fn read_api_key(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| usage_error(format!("cannot read {}: {error}", file.display())))?;
    Ok(text.trim().to_owned())
}

impl Server {
    /// Returns the server that `load` names, or starts one.
    pub(crate) fn start(load: &Load) -> anyhow::Result<Server> {
        match (&load.server, load.grpc, &load.api_key_file) {
            (Some(url), Some(grpc), Some(file)) => Ok(Server {
                addr: parse_address(&serde_json::json!({ "url": url }), "url")
                    .map_err(|error| usage_error(format!("--server: {error:#}")))?,
                grpc,
                token: read_api_key(file)?,
                own: None,
            }),
            _ => Server::start_new(&load.run),
        }
    }

    /// Starts a server on a new data directory.
    pub(crate) fn start_new(options: &RunOptions) -> anyhow::Result<Server> {
        let binary = server_binary(options.binary.as_deref())?;
        let directory = DataDirectory::create(options.data.as_deref())?;
        let (child, first_line) = spawn_server(&binary, directory.path())?;
        let own = OwnedServer {
            child,
            binary,
            directory,
        };
        let token = first_line["platform_key"].as_str();
        Ok(Server {
            addr: parse_address(&first_line, "listening")?,
            grpc: parse_address(&first_line, "grpc")?,
            token: token
                .context("the server's first line of output has no platform key")?
                .to_owned(),
            own: Some(own),
        })
    }

    /// Kills a server that was started here.
    pub(crate) fn kill(&self) -> anyhow::Result<()> {
        let own = self
            .own
            .as_ref()
            .context("the server was not started by this program")?;
        Ok(kill_process(Pid::from_child(&own.child), Signal::KILL)?)
    }

    /// Stops a server that was started here, to be started again.
    pub(crate) fn terminate(&mut self) -> anyhow::Result<()> {
        let own = self
            .own
            .as_mut()
            .context("the server was not started by this program")?;
        own.stop()
    }

    /// Starts a server again that was killed or stopped, on the same data.
    pub(crate) fn restart(&mut self) -> anyhow::Result<()> {
        let own = self
            .own
            .as_mut()
            .context("the server was not started by this program")?;
        own.child.wait()?;
        let (child, first_line) = spawn_server(&own.binary, own.directory.path())?;
        own.child = child;
        self.addr = parse_address(&first_line, "listening")?;
        self.grpc = parse_address(&first_line, "grpc")?;
        Ok(())
    }

    /// Connects a client for single requests.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Client::connect(self.addr, &self.token)
    }

    /// Returns the process id of a server that was started here.
    pub(crate) fn process(&self) -> Option<u32> {
        self.own.as_ref().map(|own| own.child.id())
    }

    /// Returns the data directory of a server that was started here.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.own.as_ref().map(|own| own.directory.path())
    }

    /// Returns the server's current memory.
    pub(crate) fn memory(&self) -> machine::Memory {
        self.process().map(machine::read_memory).unwrap_or_default()
    }

    /// Returns the number of bytes that the server has written to disks.
    pub(crate) fn bytes_written(&self) -> Option<u64> {
        self.process().and_then(machine::read_bytes_written)
    }

    /// Returns the size of the server's data, in bytes: the journal's frames, and all other files.
    pub(crate) fn data_bytes(&self) -> anyhow::Result<Option<u64>> {
        let Some(directory) = self.directory() else {
            return Ok(None);
        };
        let metrics = self.client()?.get("/metrics")?;
        let metrics = String::from_utf8_lossy(&metrics);
        let name = "tributary_journal_bytes ";
        let frames = metrics.lines().find_map(|line| line.strip_prefix(name));
        let frames: f64 = frames
            .context("the metrics have no tributary_journal_bytes")?
            .parse()?;
        Ok(Some(frames as u64 + machine::count_file_bytes(directory)?))
    }

    /// Stops a server that was started here.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        match &mut self.own {
            Some(own) => own.stop(),
            None => Ok(()),
        }
    }
}
