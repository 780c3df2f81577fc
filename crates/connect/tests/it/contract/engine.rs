//! A real broker as a process, which a test starts, kills and starts again on the same data.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tributary_connect::port::Doing;
pub(super) use tributary_testkit::ports::free_port;

use super::PATIENCE;

/// A broker in a process group of its own, on a port and in a folder of its own.
pub(super) struct Engine {
    program: PathBuf,
    folder: TempDir,
    port: u16,
    running: Mutex<Option<Child>>,
}

impl Engine {
    /// Starts the engine that `scripts/install-engines` put into `target/engines/NAME`, and waits until it listens. Returns none,
    /// after saying so, if it is not installed and the tests may be skipped.
    pub(super) async fn start(name: &'static str) -> Option<Arc<Engine>> {
        Engine::start_prepared(name, |_| {}).await
    }

    /// Like [`Engine::start`], with its folder prepared before it is started for the first time.
    pub(super) async fn start_prepared(
        name: &'static str,
        prepare: impl FnOnce(&Path),
    ) -> Option<Arc<Engine>> {
        let engines = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/engines");
        let program = engines.join(name).join("serve");
        if !program.exists() {
            let may_skip = std::env::var_os("TRIBUTARY_TEST_ALL").is_none();
            assert!(
                may_skip,
                "{name} is missing: scripts/install-engines {name}"
            );
            eprintln!("skipped: {name} is missing: scripts/install-engines {name}");
            return None;
        }
        let engine = Engine {
            program,
            folder: tempfile::tempdir().expect("there is room"),
            port: free_port(),
            running: Mutex::new(None),
        };
        prepare(engine.folder());
        let engine = Arc::new(engine);
        engine.restart().await;
        Some(engine)
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Folder of its data and logs, for its clients' programs too.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts it again on the same data, and waits until it listens.
    pub(super) fn restart(self: &Arc<Engine>) -> Doing<'static, ()> {
        let engine = self.clone();
        Box::pin(blocking(move || engine.run()))
    }

    fn run(&self) {
        let log = self.folder().join("log.txt");
        let out = File::options().create(true).append(true).open(&log);
        let out = out.expect("the folder is there");
        let child = Command::new(&self.program)
            .arg(self.folder())
            .arg(self.port.to_string())
            .stdin(std::process::Stdio::null())
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
    pub(super) fn freeze(&self, is_frozen: bool) {
        let running = self.running();
        let child = running.as_ref().expect("it runs");
        match is_frozen {
            true => signal_group(child, rustix::process::Signal::STOP),
            false => signal_group(child, rustix::process::Signal::CONT),
        }
        // On a busy machine its threads work on for a moment.
        let begun = Instant::now();
        while is_frozen && !all_stand_still(child.id()) {
            assert!(begun.elapsed() < PATIENCE, "it does not stop");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A start that failed has poisoned the lock.
    fn running(&self) -> MutexGuard<'_, Option<Child>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills it, with everything that it started in its group, as a power cut would.
    pub(super) fn kill(self: &Arc<Engine>) -> Doing<'static, ()> {
        let engine = self.clone();
        Box::pin(blocking(move || engine.end()))
    }

    fn end(&self) {
        if let Some(mut child) = self.running().take() {
            signal_group(&child, rustix::process::Signal::KILL);
            child.wait().expect("it is our child");
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
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

fn signal_group(child: &Child, signal: rustix::process::Signal) {
    let group = i32::try_from(child.id()).expect("an id of a process");
    let group = rustix::process::Pid::from_raw(group).expect("it is not 0");
    let _ = rustix::process::kill_process_group(group, signal);
}

/// Does what keeps a thread waiting, beside other tasks.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .expect("it does not panic")
}
