//! A real broker as a process, as `scripts/install-engines` made it.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tributary_testkit::ports::free_port;

use crate::support::{PATIENCE, nothing_may_be_skipped, repository};

/// A broker in a process group of its own, on a port and in a folder of its own.
pub(crate) struct Engine {
    program: PathBuf,
    folder: TempDir,
    port: u16,
    running: Option<Child>,
}

impl Engine {
    /// Starts the engine, and waits until it listens. None, after saying so, if it is not installed and the tests may be skipped.
    pub(crate) fn start(name: &str) -> Option<Engine> {
        let program = repository().join("target/engines").join(name).join("serve");
        if !program.exists() {
            assert!(
                !nothing_may_be_skipped(),
                "{name} is missing: scripts/install-engines {name}"
            );
            eprintln!("skipped: {name} is missing: scripts/install-engines {name}");
            return None;
        }
        let mut engine = Engine {
            program,
            folder: tempfile::tempdir().expect("there is room"),
            port: free_port(),
            running: None,
        };
        engine.restart();
        Some(engine)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it again on the same data, and waits until it listens.
    pub(crate) fn restart(&mut self) {
        let log = self.folder().join("log.txt");
        let out = File::options().create(true).append(true).open(&log);
        let out = out.expect("the folder is there");
        let child = Command::new(&self.program)
            .arg(self.folder())
            .arg(self.port.to_string())
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a file can be shared"))
            .stderr(out)
            .process_group(0)
            .spawn()
            .expect("it can be started");
        let address = self.address();
        let child = self.running.insert(child);
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = child.try_wait().expect("it is our child");
            let text = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", text());
            assert!(begun.elapsed() < PATIENCE, "it does not listen\n{}", text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills it, with everything that it started in its group, as a power cut would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            let group = format!("-{}", child.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
            child.wait().expect("it is our child");
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}
