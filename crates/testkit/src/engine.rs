//! A real broker as a process, which a test starts, kills and starts again on the same data.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::ports::free_port;

/// Longest time that it may take to start or to stop: for slow machines, not for slow brokers.
const PATIENCE: Duration = Duration::from_secs(120);

/// A broker in a process group of its own, on a port of the loopback address and in a folder of its own. Killed when dropped.
#[derive(Debug)]
pub struct Engine {
    program: PathBuf,
    folder: TempDir,
    port: u16,
    running: Mutex<Option<Child>>,
}

impl Engine {
    /// Finds the engine that `scripts/install-engines` put into `target/engines/NAME`, and does not start it yet. Returns none, after
    /// saying so, if it is not installed and the tests may be skipped.
    ///
    /// # Panics
    /// If it is not installed, and `TRIBUTARY_TEST_ALL` says that no test may be skipped.
    #[must_use]
    pub fn find(name: &str) -> Option<Engine> {
        let engines = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/engines");
        let program = engines.join(name).join("serve");
        if !program.exists() {
            let may_skip = std::env::var_os("TRIBUTARY_TEST_ALL").is_none();
            let what = format!("{name} is missing: scripts/install-engines {name}");
            assert!(may_skip, "{what}");
            eprintln!("skipped: {what}");
            return None;
        }
        Some(Engine {
            program,
            folder: tempfile::tempdir().expect("there is room"),
            port: free_port(),
            running: Mutex::new(None),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Folder of its data and logs, for its clients' programs too.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the folder, for the program that runs it.
    ///
    /// # Panics
    /// If there is no room.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.folder().join(name);
        let parent = path.parent().expect("it is in the folder");
        std::fs::create_dir_all(parent).expect("there is room");
        std::fs::write(path, text).expect("there is room");
    }

    /// Starts it, the second time on the same data, and waits until it listens.
    ///
    /// # Panics
    /// If it ends, or does not listen in time: with what it printed.
    pub fn start(&self) {
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
        let mut running = self.running();
        let child = running.insert(child);
        let begun = Instant::now();
        while TcpStream::connect(self.address()).is_err() {
            let ended = child.try_wait().expect("it is our child");
            let text = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", text());
            assert!(begun.elapsed() < PATIENCE, "it does not listen\n{}", text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops it, so that its connections stay and nobody answers, or lets it go on.
    ///
    /// # Panics
    /// If it does not run.
    pub fn freeze(&self, is_frozen: bool) {
        let running = self.running();
        let child = running.as_ref().expect("it runs");
        match is_frozen {
            true => signal_group(child, Signal::STOP),
            false => signal_group(child, Signal::CONT),
        }
        // On a busy machine its threads work on for a moment.
        let begun = Instant::now();
        while is_frozen && !all_stand_still(child.id()) {
            assert!(begun.elapsed() < PATIENCE, "it does not stop");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it, with everything that it started in its group, as a power cut would.
    ///
    /// # Panics
    /// If the system does not tell that it ended.
    pub fn kill(&self) {
        if let Some(mut child) = self.running().take() {
            signal_group(&child, Signal::KILL);
            child.wait().expect("it is our child");
        }
    }

    /// A start that failed has poisoned the lock.
    fn running(&self) -> MutexGuard<'_, Option<Child>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether each thread of a process group is stopped, as Linux says in `/proc`.
fn all_stand_still(group: u32) -> bool {
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut threads = entries(Path::new("/proc"))
        .flat_map(|process| entries(&process.path().join("task")))
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    threads.all(|stat| {
        // After the name, which may hold anything: state, parent, group.
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let fields: Vec<&str> = fields.splitn(4, ' ').collect();
        match fields[..] {
            [state, _, of, _] => of != group.to_string() || matches!(state, "T" | "Z"),
            _ => true,
        }
    })
}

fn signal_group(child: &Child, signal: Signal) {
    let group = i32::try_from(child.id()).expect("an id of a process");
    let group = Pid::from_raw(group).expect("it is not 0");
    let _ = kill_process_group(group, signal);
}
