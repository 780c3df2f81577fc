//! What every registry does, whatever it is.

use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// A node of a cluster, as others find it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Node {
    /// Unique name.
    pub name: String,
    /// Where it serves HTTP.
    pub url: String,
    /// Where it serves gRPC, if it does.
    pub grpc_url: Option<String>,
    /// Answers a GET with 200 while the node is ready.
    pub health_url: String,
}

/// What it takes to be let in by a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Consul: a token. etcd: name and password with a colon between them. None where everybody may do everything.
    pub credential: Option<String>,
    /// Certificates to trust, in PEM, for `consuls://` and `etcds://`; by default those of the system.
    pub ca_file: Option<PathBuf>,
}

/// Why a registry did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// The same request can't succeed: a wrong URL, a wrong credential, a key that is not there.
    #[error("{0}")]
    Unfit(String),
    /// The registry can't be reached, or is in trouble.
    #[error("{0}")]
    Unreachable(String),
}

/// Where the nodes of a cluster are announced and found.
pub trait Discovery: Send + Sync {
    /// Announces a node, and keeps it announced until the result is dropped. Trouble is logged, and tried again.
    ///
    /// # Errors
    /// [`DiscoveryError::Unfit`] if nobody can be announced here: the nodes are found by other means.
    fn announce(&self, node: Node) -> Result<Announcement, DiscoveryError>;

    /// Returns the nodes that are announced and ready, as far as the registry knows, by name.
    ///
    /// # Errors
    /// If the registry can't be asked.
    fn nodes(&self) -> Result<Vec<Node>, DiscoveryError>;
}

/// Where a configuration is kept.
pub trait ConfigurationSource: Send + Sync {
    /// Returns the text.
    ///
    /// # Errors
    /// If there is none, or it can't be had.
    fn read(&self) -> Result<String, DiscoveryError>;

    /// Calls `changed` after each change of the text, from now on until the result is dropped. Several changes may be told at once,
    /// and one that restores the text is told too. Trouble is logged, and the source is asked again.
    ///
    /// # Errors
    /// As [`ConfigurationSource::read`], which it does once before it returns.
    fn watch(&self, changed: Box<dyn Fn() + Send>) -> Result<Watch, DiscoveryError>;
}

/// A node that is announced. Dropping this withdraws it, for which the registry has a moment.
pub struct Announcement {
    _task: Task,
}

/// A source that is watched.
pub struct Watch {
    _task: Task,
}

impl Announcement {
    pub(super) fn new(task: Task) -> Announcement {
        Announcement { _task: task }
    }
}

impl Watch {
    pub(super) fn new(task: Task) -> Watch {
        Watch { _task: task }
    }
}

/// Work on a thread of its own, which ends when this is dropped.
pub(super) struct Task {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Task {
    /// Starts `work` on a new thread. It has to end soon after its argument is ready.
    ///
    /// # Errors
    /// If the system has no thread.
    pub(super) fn start(
        name: &str,
        work: impl AsyncFnOnce(oneshot::Receiver<()>) + Send + 'static,
    ) -> Result<Task, DiscoveryError> {
        let (stop, stopped) = oneshot::channel();
        let (tell, started) = mpsc::channel();
        let thread = std::thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || {
            let runtime = runtime();
            let _ = tell.send(runtime.as_ref().err().cloned());
            if let Ok(runtime) = runtime {
                runtime.block_on(work(stopped));
            }
        });
        let thread = thread.map_err(|error| DiscoveryError::Unreachable(error.to_string()))?;
        match started.recv() {
            Ok(None) => Ok(Task {
                stop: Some(stop),
                thread: Some(thread),
            }),
            Ok(Some(error)) => Err(error),
            Err(_) => Err(DiscoveryError::Unreachable("the thread ended".to_owned())),
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of it was logged, and is no reason for another one.
            let _ = thread.join();
        }
    }
}

/// Returns what runs the requests of one thread.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, DiscoveryError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(|error| DiscoveryError::Unreachable(error.to_string()))
}
