//! The server under test: a process of its own, on a data directory of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::machine;
use super::options::Load;
use crate::client::Client;
use crate::config::secret_from;
use crate::exit::wrong_use;

/// Longest wait for a server to end by itself.
const STOP_WAIT: Duration = Duration::from_secs(120);

/// A directory that is removed at the end, unless it was given.
pub(super) struct Directory {
    path: PathBuf,
    kept: bool,
}

impl Directory {
    /// The given directory, which must be new or empty; or a new one here.
    pub(super) fn make(given: Option<&Path>) -> anyhow::Result<Directory> {
        let path = match given {
            Some(path) => path.to_owned(),
            None => PathBuf::from(format!("tributary-bench-{}", std::process::id())),
        };
        let used = path.exists() && std::fs::read_dir(&path)?.next().is_some();
        if used {
            return Err(wrong_use(format!("{} is not empty", path.display())));
        }
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Directory {
            path,
            kept: given.is_some(),
        })
    }

    pub(super) fn path(&self) -> &Path {
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
pub(super) struct Server {
    /// For HTTP.
    pub(super) addr: SocketAddr,
    pub(super) grpc: SocketAddr,
    /// A platform key.
    pub(super) token: String,
    own: Option<Own>,
}

/// A server that was started here. It is killed if this goes before it was stopped.
struct Own {
    child: Child,
    directory: Directory,
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs this very program with `arguments`, and gives the process and the line of JSON that it says first.
pub(super) fn spawn(arguments: &[&std::ffi::OsStr]) -> anyhow::Result<(Child, Value)> {
    let program = std::env::current_exe().context("where is this program?")?;
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
        .context("cannot start the server process")?;
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
pub(super) fn address(told: &Value, name: &str) -> anyhow::Result<SocketAddr> {
    let url = told[name].as_str().context("the server says no address")?;
    let address = url.strip_prefix("http://").unwrap_or(url);
    address
        .parse()
        .with_context(|| format!("{url} is no address"))
}

/// A server process on the directory, and what it says of itself.
fn serve(directory: &Path) -> anyhow::Result<(Child, Value)> {
    let listen = "127.0.0.1:0".as_ref();
    spawn(&[
        "serve".as_ref(),
        "--json".as_ref(),
        "--listen".as_ref(),
        listen,
        "--grpc-listen".as_ref(),
        listen,
        "--data".as_ref(),
        directory.as_os_str(),
    ])
}

/// Makes a subscription; its id.
pub(super) fn subscribe_to(
    client: &mut Client,
    key: &str,
    terms: &Value,
) -> anyhow::Result<String> {
    let made = client.post("/v1/subscriptions", key, terms)?.ok()?;
    let id = made.json()?["id"].as_str().map(str::to_owned);
    id.context("the subscription has no id")
}

impl Server {
    /// The server that `load` names, or a new one.
    pub(super) fn start(load: &Load) -> anyhow::Result<Server> {
        match (&load.server, load.grpc, &load.api_key_file) {
            (Some(url), Some(grpc), Some(file)) => Ok(Server {
                addr: address(&serde_json::json!({ "url": url }), "url")
                    .map_err(|error| wrong_use(format!("--server: {error:#}")))?,
                grpc,
                token: secret_from(file)?,
                own: None,
            }),
            _ => Server::own(load.data.as_deref()),
        }
    }

    /// A new one, on the given directory or on one that is removed at the end.
    pub(super) fn own(data: Option<&Path>) -> anyhow::Result<Server> {
        let directory = Directory::make(data)?;
        let (child, told) = serve(directory.path())?;
        let own = Own { child, directory };
        let token = told["platform_key"].as_str();
        Ok(Server {
            addr: address(&told, "listening")?,
            grpc: address(&told, "grpc")?,
            token: token.context("the server shows no key")?.to_owned(),
            own: Some(own),
        })
    }

    /// Kills it without a word, if it is ours.
    pub(super) fn kill(&self) -> anyhow::Result<()> {
        let own = self.own.as_ref().context("not a server of ours")?;
        Ok(kill_process(Pid::from_child(&own.child), Signal::KILL)?)
    }

    /// Starts a server that was killed again, on the same data.
    pub(super) fn start_again(&mut self) -> anyhow::Result<()> {
        let own = self.own.as_mut().context("not a server of ours")?;
        own.child.wait()?;
        let (child, told) = serve(own.directory.path())?;
        own.child = child;
        self.addr = address(&told, "listening")?;
        self.grpc = address(&told, "grpc")?;
        Ok(())
    }

    /// For single requests.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        Client::new(&format!("http://{}", self.addr), &self.token, None)
    }

    /// Its process, if it is ours.
    pub(super) fn process(&self) -> Option<u32> {
        self.own.as_ref().map(|own| own.child.id())
    }

    /// Its data directory, if it is ours.
    pub(super) fn directory(&self) -> Option<&Path> {
        self.own.as_ref().map(|own| own.directory.path())
    }

    /// Its memory now.
    pub(super) fn memory(&self) -> machine::Memory {
        self.process().map(machine::memory).unwrap_or_default()
    }

    /// Bytes that it has had written to the disk.
    pub(super) fn bytes_written(&self) -> Option<u64> {
        self.process().and_then(machine::bytes_written)
    }

    /// Bytes that its data takes: the journal's frames, and every other file whole.
    pub(super) fn data_bytes(&self) -> anyhow::Result<Option<u64>> {
        let Some(directory) = self.directory() else {
            return Ok(None);
        };
        let metrics = self.client()?.get_patiently("/metrics")?.ok()?;
        let metrics = String::from_utf8_lossy(&metrics.body);
        let name = "tributary_journal_bytes ";
        let frames = metrics.lines().find_map(|line| line.strip_prefix(name));
        let frames: f64 = frames
            .context("the server tells no size of its journal")?
            .parse()?;
        Ok(Some(frames as u64 + machine::file_bytes(directory)?))
    }

    /// Stops it, if it is ours.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
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
