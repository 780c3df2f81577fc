//! Opens the data directory of a node as a mirror of the shared log, and starts the node.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tributary_cluster::backend::{Calls, Member, prepare};
use tributary_cluster::entry::Genesis;
use tributary_cluster::fold::Fold;
use tributary_cluster::log::{Log, LogError};
use tributary_cluster::moving::{MoveError, read_genesis};
use tributary_cluster::node::{Identity, Node};
use tributary_cluster::resume;
use tributary_connect::webhooks::MasterKey;
use tributary_engine::{Backend, Embedded, FileLog, Options};
use tributary_journal::{DirDisk, Disk, FrameRef, Meta, OpenError, SharedLog, read_meta};
use tributary_messaging::{DELIVERY_DIRECTORY, DELIVERY_LOG_VERSION, Storage};

use super::log::{connect, log_error};
use super::mirror::{open_mirror, stored};
use crate::config::{self, Config};
use crate::exit::usage_error;
use crate::master_key::master_key_path;
use crate::stop::StopSignal;
use crate::store::{Store, random_bytes};

/// What the key of public ids is sealed for.
pub(crate) const ID_KEY_PLACE: &str = "cluster id key";
/// How often a log that can't be reached is tried at the start.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long the engine may take to show what a new leader begins with.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(2);
/// How often progress is shown.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);
/// Ranks of nodes: who claims first.
const RANKS: u32 = 8;

/// Opens the directory as a mirror of the configured log, and starts the node. A directory that does not exist is made: the node joins.
pub(crate) fn open(
    config: &Config,
    sandbox: bool,
    options: Options,
    stop: &StopSignal,
) -> anyhow::Result<Store> {
    let mut log = connect(&config.cluster)?;
    let (log_id, genesis) = find_genesis(&mut *log, stop)?;
    if genesis.sandbox != sandbox {
        return Err(usage_error(match genesis.sandbox {
            true => "the cluster is a sandbox: serve it with --sandbox, and never with real money",
            false => "the cluster is no sandbox: serve it without --sandbox",
        }));
    }
    let disk: Arc<dyn Disk> = Arc::new(DirDisk::new(&config.data));
    match read_meta(&*disk) {
        Err(OpenError::NotFound) => {
            make_mirror(config, &disk, &stored(Some(log_id)), log_id, &genesis)?
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot open {}", config.data.display()));
        }
        Ok(meta) => require_mirror(&config.data, meta.shared_log, log_id)?,
    }
    let embedded = open_mirror(&config.data, Some(log_id))?;
    let fold = place(&*disk, &embedded, log_id)?;
    let kept = FileLog::new(disk.clone(), DELIVERY_DIRECTORY, DELIVERY_LOG_VERSION);
    let (store, prepared) = prepare(embedded, kept);
    let storage = Storage {
        log: Box::new(prepared.beside()),
        history: disk,
        history_bytes_max: config.limits.history_bytes_max,
        process_number: u64::from_le_bytes(random_bytes()),
    };
    let mut store = Store::start(Box::new(store), options, Some(storage), prepared.permit())?;
    let (engine, messaging) = (store.engine.clone(), store.messaging.clone());
    let reader = engine.reader();
    let calls = Calls {
        follow: Box::new(move |frame, followed| engine.follow(frame, followed)),
        lead: Box::new(move |position| {
            // Nothing may be committed while deliveries are read anew.
            let begun = Instant::now();
            while reader.head().position < position && begun.elapsed() < PUBLISHED_WITHIN {
                std::thread::sleep(Duration::from_millis(1));
            }
            if let Some(messaging) = &messaging
                && let Err(error) = messaging.reload()
            {
                tracing::error!(%error, "the delivery log can't be read: events may be delivered again");
            }
        }),
    };
    let node = Node::new(identity(&config.cluster), fold, Duration::ZERO);
    let member = prepared.start(node, log, calls)?;
    store.member = Some(Arc::new(member));
    Ok(store)
}

/// Waits until the node has everything that the log had when it began, and the engine shows it.
pub(crate) fn catch_up(store: &Store, member: &Member, stop: &StopSignal) -> anyhow::Result<()> {
    let mut shown = Instant::now();
    loop {
        if let Some(why) = store.failure() {
            bail!("{why}");
        }
        let standing = member.standing();
        let position = store.engine.reader().head().position;
        if standing.confirmed.is_some() && position >= standing.position {
            tracing::info!(
                position,
                term = standing.term,
                "this node has what the log has"
            );
            return Ok(());
        }
        if stop.is_requested() {
            bail!("stopped before the node had what the log has");
        }
        if shown.elapsed() >= PROGRESS_EVERY {
            shown = Instant::now();
            tracing::info!(
                position,
                entries = standing.entries,
                "reading the log of the cluster"
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Who this node is.
pub(crate) fn identity(cluster: &config::Cluster) -> Identity {
    let name = cluster.node.clone().unwrap_or_default();
    let url = cluster.url.clone().unwrap_or_default();
    Identity {
        rank: rank(&name),
        name,
        url: match &cluster.grpc_url {
            Some(grpc) => format!("{url} {grpc}"),
            None => url,
        },
        run: u32::from_le_bytes(random_bytes()),
        is_moving: false,
    }
}

/// Returns in which order a node claims: by the number that its name ends in, as a StatefulSet gives names, or else by the name.
fn rank(name: &str) -> u32 {
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let number = name[name.len() - digits..].parse::<u32>();
    number.unwrap_or_else(|_| name.bytes().map(u32::from).sum()) % RANKS
}

/// Reads the first entry of the log, and waits for a log that can't be reached.
fn find_genesis(log: &mut dyn Log, stop: &StopSignal) -> anyhow::Result<([u8; 16], Genesis)> {
    loop {
        match read_genesis(log) {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {
                return Err(usage_error(
                    "the log is empty: run `tributary cluster init` once, on one machine",
                ));
            }
            Err(MoveError::Log(LogError::Disconnected(why))) if !stop.is_requested() => {
                tracing::warn!(
                    why,
                    "the log of the cluster can't be reached, and is tried again"
                );
                std::thread::sleep(RETRY_AFTER);
            }
            Err(MoveError::Log(error)) => return Err(log_error(error)),
            Err(error) => return Err(usage_error(format!("cluster.log: {error}"))),
        }
    }
}

/// Makes an empty mirror, with the identity that the log names.
pub(crate) fn make_mirror(
    config: &Config,
    disk: &Arc<dyn Disk>,
    stored: &tributary_journal::Options,
    log_id: [u8; 16],
    genesis: &Genesis,
) -> anyhow::Result<()> {
    let path = master_key_path(config);
    let key = MasterKey::load(&path, false).with_context(|| {
        format!(
            "a node joins with the master key of the cluster: copy it to {} from another node, or name it with master_key_file",
            path.display()
        )
    })?;
    let opened = key.open(ID_KEY_PLACE, &genesis.sealed_id_key);
    let opened = opened.map_err(|error| {
        usage_error(format!(
            "{} is not the master key of the cluster: {error}",
            path.display()
        ))
    })?;
    let id_key = opened
        .try_into()
        .map_err(|_| anyhow::anyhow!("the log's first entry holds no key of public ids"))?;
    let mut meta = Meta::new(genesis.cluster_id, id_key);
    meta.sandbox = genesis.sandbox;
    meta.epochs.clone_from(&genesis.epochs);
    meta.shared_log = Some(SharedLog {
        id: log_id,
        is_moving: false,
    });
    let cannot = || format!("cannot make {}", config.data.display());
    tributary_journal::create(disk, stored, &meta).with_context(cannot)?;
    tracing::info!(data = %config.data.display(), log = hex::encode(log_id), "made a new data directory: this node joins the cluster");
    Ok(())
}

/// Refuses a directory that is not a mirror of the log.
fn require_mirror(data: &Path, found: Option<SharedLog>, log_id: [u8; 16]) -> anyhow::Result<()> {
    let data = data.display();
    match found {
        Some(log) if log.id != log_id => Err(usage_error(format!(
            "{data} is a mirror of the log {}, and cluster.log names the log {}: was it moved? Give the node a new directory to join",
            hex::encode(log.id),
            hex::encode(log_id)
        ))),
        Some(log) if log.is_moving => Err(usage_error(format!(
            "{data} is on its way onto the log: run `tributary cluster init` again, which goes on where it stopped"
        ))),
        Some(_) => Ok(()),
        None => Err(usage_error(format!(
            "{data} holds a journal of its own: `tributary cluster init` moves it onto an empty log, or give the node a new directory to join"
        ))),
    }
}

/// Returns where the node goes on in the log: at the place that it kept, if the mirror has that.
fn place(disk: &dyn Disk, mirror: &Embedded, log_id: [u8; 16]) -> anyhow::Result<Fold> {
    let fold = resume::load(disk).context("the place in the log can't be read")?;
    let Some(fold) = fold.filter(|fold| fold.log_id() == log_id) else {
        return Ok(Fold::default());
    };
    let head = fold.head();
    if head.position == 0 {
        return Ok(fold);
    }
    let frame = Backend::reader(mirror).frame(head.position);
    let frame = frame.map_err(|error| anyhow::anyhow!("the mirror can't be read: {error}"))?;
    let has_it = frame.is_some_and(|frame| {
        FrameRef::parse(&frame).is_ok_and(|frame| frame.head().hash == head.hash)
    });
    Ok(if has_it { fold } else { Fold::default() })
}

#[cfg(test)]
mod tests {
    use super::rank;

    #[test]
    fn the_number_of_a_name_is_the_rank() {
        assert_eq!(rank("tributary-0"), 0);
        assert_eq!(rank("tributary-2"), 2);
        assert_eq!(rank("tributary-11"), 3);
        assert!(rank("zürich") < 8 && rank("") < 8);
    }
}
