//! The server under test: a process of its own, on a data directory of its own.

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
use crate::payload::Block;

/// Longest wait for a server to end by itself.
const STOP_WAIT: Duration = Duration::from_secs(120);

/// A directory that is removed at the end, unless it was given.
pub(crate) struct Directory {
    path: PathBuf,
    kept: bool,
}

impl Directory {
    /// The given directory, which must be new or empty; or a new one here.
    pub(crate) fn make(given: Option<&Path>) -> anyhow::Result<Directory> {
        let path = match given {
            Some(path) => path.to_owned(),
            None => PathBuf::from(format!("tributary-bench-{}", std::process::id())),
        };
        let used = path.exists() && std::fs::read_dir(&path)?.next().is_some();
        if used {
            return Err(usage_error(format!("{} is not empty", path.display())));
        }
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Directory {
            path,
            kept: given.is_some(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.kept {
            drop(std::fs::remove_dir_all(&self.path));
            // What a server puts beside its data.
            drop(std::fs::remove_file(self.path.with_extension("key")));
        }
    }
}

/// A running server, ours or somebody else's.
pub(crate) struct Server {
    /// For HTTP.
    pub(crate) addr: SocketAddr,
    pub(crate) grpc: SocketAddr,
    /// A platform key.
    pub(crate) token: String,
    own: Option<Own>,
}

/// A server that was started here. It is killed if this goes before it was stopped.
struct Own {
    child: Child,
    binary: PathBuf,
    directory: Directory,
}

impl Drop for Own {
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
    // Without a slash the name would be looked up in PATH.
    path.canonicalize()
        .with_context(|| format!("cannot find {}", path.display()))
}

/// Starts `program` with `arguments`, and returns the process and the first line of its output, which is JSON.
pub(crate) fn spawn(program: &Path, arguments: &[&OsStr]) -> anyhow::Result<(Child, Value)> {
    let mut command = Command::new(program);
    // Settings of the caller's environment are not those of the measurement.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TRIBUTARY_")) {
        command.env_remove(name);
    }
    let mut child = command
        .args(arguments)
        // One line of log per request is not what is measured.
        .env("TRIBUTARY_LOG_LEVEL", "warn")
        // Receivers of webhooks are on this machine.
        .env("TRIBUTARY_WEBHOOKS_ALLOW_HTTP", "true")
        .env("TRIBUTARY_WEBHOOKS_ALLOW_PRIVATE", "true")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let stdout = child.stdout.take().context("the server has no output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    match serde_json::from_str(&line) {
        Ok(told) => Ok((child, told)),
        Err(_) => {
            drop(child.kill());
            let status = child.wait()?;
            bail!("the server process did not start ({status})")
        }
    }
}

/// Where a server process says that it listens.
pub(crate) fn address(told: &Value, name: &str) -> anyhow::Result<SocketAddr> {
    let url = told[name].as_str().context("the server says no address")?;
    let address = url.strip_prefix("http://").unwrap_or(url);
    address
        .parse()
        .with_context(|| format!("{url} is no address"))
}

/// Starts a server process on the directory, and returns it with the line of JSON that it prints first.
fn serve(binary: &Path, directory: &Path) -> anyhow::Result<(Child, Value)> {
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
    spawn(binary, &arguments)
}

/// Makes a subscription; its id.
pub(crate) fn subscribe_to(
    client: &mut Client,
    key: &Block,
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
    /// The server that `load` names, or a new one.
    pub(crate) fn start(load: &Load) -> anyhow::Result<Server> {
        match (&load.server, load.grpc, &load.api_key_file) {
            (Some(url), Some(grpc), Some(file)) => Ok(Server {
                addr: address(&serde_json::json!({ "url": url }), "url")
                    .map_err(|error| usage_error(format!("--server: {error:#}")))?,
                grpc,
                token: read_api_key(file)?,
                own: None,
            }),
            _ => Server::own(&load.run),
        }
    }

    /// A new one, on the given directory or on one that is removed at the end.
    pub(crate) fn own(options: &RunOptions) -> anyhow::Result<Server> {
        let binary = server_binary(options.binary.as_deref())?;
        let directory = Directory::make(options.data.as_deref())?;
        let (child, told) = serve(&binary, directory.path())?;
        let own = Own {
            child,
            binary,
            directory,
        };
        let token = told["platform_key"].as_str();
        Ok(Server {
            addr: address(&told, "listening")?,
            grpc: address(&told, "grpc")?,
            token: token.context("the server shows no key")?.to_owned(),
            own: Some(own),
        })
    }

    /// Kills it without a word, if it is ours.
    pub(crate) fn kill(&self) -> anyhow::Result<()> {
        let own = self.own.as_ref().context("not a server of ours")?;
        Ok(kill_process(Pid::from_child(&own.child), Signal::KILL)?)
    }

    /// Starts a server that was killed again, on the same data.
    pub(crate) fn start_again(&mut self) -> anyhow::Result<()> {
        let own = self.own.as_mut().context("not a server of ours")?;
        own.child.wait()?;
        let (child, told) = serve(&own.binary, own.directory.path())?;
        own.child = child;
        self.addr = address(&told, "listening")?;
        self.grpc = address(&told, "grpc")?;
        Ok(())
    }

    /// For single requests.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Client::connect(self.addr, &self.token)
    }

    /// Its process, if it is ours.
    pub(crate) fn process(&self) -> Option<u32> {
        self.own.as_ref().map(|own| own.child.id())
    }

    /// Its data directory, if it is ours.
    pub(crate) fn directory(&self) -> Option<&Path> {
        self.own.as_ref().map(|own| own.directory.path())
    }

    /// Its memory now.
    pub(crate) fn memory(&self) -> machine::Memory {
        self.process().map(machine::memory).unwrap_or_default()
    }

    /// Bytes that it has had written to the disk.
    pub(crate) fn bytes_written(&self) -> Option<u64> {
        self.process().and_then(machine::bytes_written)
    }

    /// Bytes that its data takes: the journal's frames, and every other file whole.
    pub(crate) fn data_bytes(&self) -> anyhow::Result<Option<u64>> {
        let Some(directory) = self.directory() else {
            return Ok(None);
        };
        let metrics = self.client()?.get("/metrics")?;
        let metrics = String::from_utf8_lossy(&metrics);
        let name = "tributary_journal_bytes ";
        let frames = metrics.lines().find_map(|line| line.strip_prefix(name));
        let frames: f64 = frames
            .context("the server tells no size of its journal")?
            .parse()?;
        Ok(Some(frames as u64 + machine::file_bytes(directory)?))
    }

    /// Stops it, if it is ours.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let Some(own) = &mut self.own else {
            return Ok(());
        };
        kill_process(Pid::from_child(&own.child), Signal::TERM)?;
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = own.child.try_wait()? {
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
