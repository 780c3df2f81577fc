//! Opens a system: storage, engine, subscriptions and platform keys.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail};
use tributary_api::token::Secret;
use tributary_cluster::backend::Member;
use tributary_engine::{
    AlwaysGranted, Embedded, Engine, JournalMeta, Memory, Options, Permit, Ports, Reply,
    SteeredClock,
};
use tributary_journal::{DirDisk, Disk, Meta, OpenError, is_in_use};
use tributary_ledger::{
    Access, Actor, ApiKeyId, ApiKeyStatus, Body, Command, CreateApiKey, Key, Label, OwnerId,
    OwnerName,
};
use tributary_messaging::{HISTORY_BYTES_MAX, Messaging, Storage, start_engine};
use tributary_streams::driver::Streams;

use crate::backup::refuse_backup;
use crate::config::Backend;
use crate::exit::usage_error;

/// A running engine with its subscriptions, and why it stopped if it had to.
pub(crate) struct Store {
    pub(crate) engine: Engine,
    /// None where subscriptions are not kept, or could not be read.
    pub(crate) messaging: Option<Arc<Messaging>>,
    /// Not started: without, rules know no figures of streams.
    pub(crate) streams: Arc<Streams>,
    /// This node of a cluster; none for a system of one process.
    pub(crate) member: Option<Arc<Member>>,
    /// Whether this process may do outward work now.
    pub(crate) permit: Arc<dyn Permit>,
    failure: Arc<Mutex<Option<String>>>,
}

impl Store {
    /// Opens the journal in `data`, which is created if it does not exist, or an empty one in memory. A new one is a sandbox if
    /// `sandbox` is set; another one must be what `sandbox` says. `options.on_fatal` is ignored. The history of deliveries takes about `history_bytes_max` at most.
    pub(crate) fn open(
        backend: Backend,
        data: &Path,
        sandbox: bool,
        options: Options,
        history_bytes_max: u64,
    ) -> anyhow::Result<Self> {
        match backend {
            Backend::Embedded => {
                Self::open_embedded(data, Some(sandbox), options, history_bytes_max)
            }
            Backend::Memory => {
                let memory = Memory::new(new_journal(sandbox));
                Self::start(Box::new(memory), options, None, Arc::new(AlwaysGranted))
            }
        }
    }

    /// Refuses a data directory that is a backup, that another process uses, or that is not the sandbox, or is the sandbox, that
    /// `sandbox` says. Creates and changes nothing: a start that fails
    /// for another reason, such as an address in use, must not leave a new directory behind.
    pub(crate) fn check_directory(
        backend: Backend,
        data: &Path,
        sandbox: bool,
    ) -> anyhow::Result<()> {
        if backend == Backend::Memory {
            return Ok(());
        }
        refuse_backup(data)?;
        let disk = DirDisk::new(data);
        require_kind(data, &disk, sandbox)?;
        // Any other fault of the directory is told, in more detail, when the directory is opened.
        match is_in_use(&disk) {
            Ok(true) => Err(in_use_error(data)),
            Ok(false) | Err(_) => Ok(()),
        }
    }

    /// Opens a data directory, which is created if it does not exist. It may be a sandbox.
    pub(crate) fn open_dir(data: &Path) -> anyhow::Result<Self> {
        Self::open_embedded(data, None, Options::default(), HISTORY_BYTES_MAX)
    }

    fn open_embedded(
        data: &Path,
        sandbox: Option<bool>,
        options: Options,
        history_bytes_max: u64,
    ) -> anyhow::Result<Self> {
        refuse_backup(data)?;
        let disk: Arc<dyn Disk> = Arc::new(DirDisk::new(data));
        let stored = tributary_journal::Options::default();
        require_space_to_begin(data, &*disk, &stored)?;
        let mut meta = Meta::new(random_bytes(), random_bytes());
        meta.sandbox = sandbox.unwrap_or(false);
        match tributary_journal::create(&disk, &stored, &meta) {
            Ok(()) => tracing::info!(data = %data.display(), "made a new data directory"),
            Err(OpenError::AlreadyExists) => {}
            Err(OpenError::Locked) => return Err(in_use_error(data)),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot make {}", data.display()));
            }
        }
        if let Some(sandbox) = sandbox {
            require_kind(data, &*disk, sandbox)?;
        }
        let embedded = match Embedded::open(disk.clone(), stored) {
            Ok(embedded) => embedded,
            Err(OpenError::Locked) => return Err(in_use_error(data)),
            Err(error @ OpenError::AnotherLog(_)) => {
                return Err(usage_error(format!(
                    "{}: {error}: serve it as a node of its cluster (cluster.log), or make it a directory of its own with `tributary \
                     cluster leave`",
                    data.display()
                )));
            }
            Err(error @ OpenError::Damaged(_)) => {
                return Err(error).with_context(|| {
                    format!(
                        "{} is damaged, and nothing was changed; `tributary verify` says more",
                        data.display()
                    )
                });
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot open {}", data.display()));
            }
        };
        let recovery = embedded.recovery();
        if let Some((file, offset)) = &recovery.cut_at {
            let bytes = recovery.cut_bytes;
            tracing::warn!(
                file,
                offset,
                bytes,
                "cut an unfinished write, which was never acknowledged"
            );
        }
        for file in &recovery.rebuilt {
            tracing::warn!(file, "made an index file anew");
        }
        let process_number = u64::from_le_bytes(random_bytes());
        let storage = Storage::local(disk, history_bytes_max, process_number);
        Self::start(
            Box::new(embedded),
            options,
            Some(storage),
            Arc::new(AlwaysGranted),
        )
    }

    /// Starts an engine, with subscriptions if there is a storage for them.
    pub(crate) fn start(
        backend: Box<dyn tributary_engine::Backend>,
        options: Options,
        storage: Option<Storage>,
        permit: Arc<dyn Permit>,
    ) -> anyhow::Result<Self> {
        let failure = Arc::new(Mutex::new(None));
        let first_failure = Arc::clone(&failure);
        let on_fatal = Box::new(move |why: &str| {
            first_failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_or_insert_with(|| why.to_owned());
        });
        let options = Options {
            on_fatal,
            ..options
        };
        let recovered = Engine::recover(backend, Arc::new(SteeredClock::system()), options)?;
        let streams = Streams::new(recovered.reader());
        let ports = Ports {
            judge: Some(streams.rules()),
            permit: permit.clone(),
            ..Ports::default()
        };
        let (engine, messaging) = start_engine(recovered, ports, storage)?;
        Ok(Self {
            engine,
            messaging,
            streams,
            member: None,
            permit,
            failure,
        })
    }

    /// Completes all accepted commands, and syncs all data.
    pub(crate) fn shutdown(&self) {
        self.engine.shutdown();
        if let Some(messaging) = &self.messaging {
            messaging.shutdown();
        }
        if let Some(member) = &self.member {
            member.stop();
        }
    }

    /// Returns why the engine stopped, if its storage failed.
    pub(crate) fn storage_failure(&self) -> Option<String> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns why the engine stopped, or this node of a cluster, which is in the nature of things once it was shut down.
    pub(crate) fn failure(&self) -> Option<String> {
        let of_node = || self.member.as_ref()?.why_stopped();
        self.storage_failure().or_else(of_node)
    }

    /// Returns whether an active platform key with write access exists.
    pub(crate) fn has_platform_key(&self) -> bool {
        self.engine.reader().api_keys().iter().any(|key| {
            key.owner == OwnerId::PLATFORM
                && key.access == Access::Write
                && key.status == ApiKeyStatus::Active
        })
    }

    /// Creates a platform key and returns it. The key cannot be shown again.
    pub(crate) fn create_platform_key(&self, label: &str) -> anyhow::Result<String> {
        let secret = Secret::random();
        let label = Label::new(label).map_err(|error| usage_error(format!("the label {error}")))?;
        // Idempotency keys that begin with a zero byte are reserved for the system.
        let key = [b"\0platform-key:".as_slice(), &random_bytes::<16>()].concat();
        let command = Command {
            key: Key::from_bytes(&key)?,
            actor: Actor::SYSTEM,
            linked: false,
            effective_at: None,
            text: None,
            origin: None,
            assessment: None,
            body: Body::CreateApiKey(CreateApiKey {
                owner: OwnerName::platform(),
                access: Access::Write,
                secret_hash: secret.hash(),
                label: Some(label),
            }),
        };
        let replies = self.engine.execute_blocking(vec![command])?;
        match replies.first() {
            Some(Reply::Done { record, .. }) if record.outcome.rejection.is_none() => {
                Ok(secret.token(self.engine.reader().ids(), ApiKeyId(record.ctx.position)))
            }
            other => bail!("a platform key could not be made: {other:?}"),
        }
    }
}

/// Checks that the directory is a sandbox, or that it is none. What is wrong with a directory that can't be read, opening it tells.
fn require_kind(data: &Path, disk: &dyn Disk, sandbox: bool) -> anyhow::Result<()> {
    let is_sandbox = tributary_journal::read_meta(disk).map_or(sandbox, |meta| meta.sandbox);
    match (is_sandbox, sandbox) {
        (true, false) => Err(usage_error(format!(
            "{} is a sandbox, whose clock can be moved: serve it with --sandbox, and never with real money",
            data.display()
        ))),
        (false, true) => Err(usage_error(format!(
            "{} is no sandbox: serve it without --sandbox, or give --data another directory",
            data.display()
        ))),
        _ => Ok(()),
    }
}

fn new_journal(sandbox: bool) -> JournalMeta {
    JournalMeta {
        cluster_id: random_bytes(),
        id_key: random_bytes(),
        sandbox,
        epochs: vec![(1, 1)],
    }
}

/// Checks that a new data directory has space for its first records, before anything is made.
fn require_space_to_begin(
    data: &Path,
    disk: &dyn Disk,
    options: &tributary_journal::Options,
) -> anyhow::Result<()> {
    if data.join("meta").exists() {
        return Ok(());
    }
    let cannot = || format!("cannot make {}", data.display());
    disk.create_dir("").with_context(cannot)?;
    let free = disk.free_bytes().with_context(cannot)?;
    let needed = options.bytes_to_begin();
    if free < needed {
        bail!(
            "the disk of {} has {} MiB free, and a new data directory needs {} MiB: {} MiB for the journal, which is reserved \
             ahead, and {} MiB that stay free for its index and checkpoints. Make space, or name a directory on another disk with \
             --data",
            data.display(),
            free >> 20,
            needed.div_ceil(1 << 20),
            (needed - options.reserve_bytes).div_ceil(1 << 20),
            options.reserve_bytes >> 20,
        );
    }
    Ok(())
}

fn in_use_error(data: &Path) -> anyhow::Error {
    anyhow::anyhow!(
        "{} is in use by another process; use --server instead, or stop it",
        data.display()
    )
}

pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
