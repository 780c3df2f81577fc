//! What several commands do: read a node's configuration, and move a directory onto a log.

use std::sync::Arc;

use anyhow::Context as _;
use serde_json::json;
use tributary_cluster::beside::read_pieces;
use tributary_cluster::entry::{Genesis, HeadMark};
use tributary_cluster::log::Log;
use tributary_cluster::moving::{MoveError, Source, move_journal};
use tributary_connect::webhooks::MasterKey;
use tributary_engine::{Backend as _, Basis, FileLog, FrameRef, JournalReader, NEWEST};
use tributary_journal::{Disk, Head, SharedLog, read_meta, set_shared_log};
use tributary_messaging::{DELIVERY_DIRECTORY, DELIVERY_LOG_VERSION};

use super::log::log_error;
use super::mirror::open_mirror;
use super::node::{ID_KEY_PLACE, identity};
use crate::cli;
use crate::config::Config;
use crate::exit::{Exit, usage_error};
use crate::master_key::master_key_path;
use crate::terminal::{print_line, progress_bar};

/// Reads the configuration of a node.
pub(crate) fn read_config(arguments: &cli::ClusterNode) -> anyhow::Result<Config> {
    let mut config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    if let Some(data) = &arguments.data {
        config.data.clone_from(data);
    }
    if config.cluster.log.is_none() {
        return Err(usage_error(
            "cluster.log is not set: name the log in the configuration (--config FILE), or with TRIBUTARY_CLUSTER_LOG",
        ));
    }
    crate::log::start(&config.log, true)?;
    Ok(config)
}

pub(crate) fn move_error(error: MoveError) -> anyhow::Error {
    match error {
        MoveError::Log(error) => log_error(error),
        MoveError::Taken(_) => usage_error(format!("cluster.log: {error}")),
        MoveError::Failed(_) => anyhow::anyhow!(error),
    }
}

/// Moves the journal, and what there is of deliveries, onto the log. Returns the head.
pub(crate) fn move_onto(
    config: &Config,
    disk: &Arc<dyn Disk>,
    log: &mut dyn Log,
    log_id: [u8; 16],
) -> anyhow::Result<Head> {
    let journal = open_mirror(&config.data, Some(log_id))?;
    let reader: Arc<dyn JournalReader> = journal.reader();
    let meta = read_meta(&**disk).context("the directory can't be read")?;
    let master_key = MasterKey::load(&master_key_path(config), false)?;
    let sealed = master_key.seal(ID_KEY_PLACE, &meta.id_key);
    let number = u64::from_str_radix(&master_key.id(), 16).expect("it is 16 hexadecimal digits");
    let head = reader.head();
    let head_mark = HeadMark {
        position: head.position,
        hash: head.hash,
    };
    // The cluster goes on in the versions of the last frame until `cluster finalize-upgrade`.
    let last = reader
        .frame(head.position)
        .context("the journal can't be read")?;
    let versions = last.map_or(NEWEST, |last| {
        let last = FrameRef::parse(&last).expect("it was verified");
        last.header().versions()
    });
    let mut kept = FileLog::new(disk.clone(), DELIVERY_DIRECTORY, DELIVERY_LOG_VERSION);
    let mut standing = |basis: &Basis| basis.standing(&*reader);
    let pieces = read_pieces(&mut kept, Basis::from(head), head.timestamp, &mut standing);
    let bar = progress_bar(head.position, "records");
    let source = Source {
        log_id,
        genesis: Genesis::new(&meta, number, sealed, head_mark, versions),
        reader: reader.clone(),
        beside: pieces
            .context("the delivery log can't be read")?
            .unwrap_or_default(),
        progress: &mut |position| bar.set_position(position),
    };
    let moved = move_journal(log, identity(&config.cluster), source);
    bar.finish_and_clear();
    moved.map_err(move_error)?;
    Ok(head)
}

/// Marks a directory as a mirror of the log onto which it was moved, and says so.
pub(crate) fn announce_moved(
    config: &Config,
    disk: &dyn Disk,
    log_id: [u8; 16],
    head: Head,
    key: Option<String>,
    json: bool,
) -> anyhow::Result<Exit> {
    let mark = SharedLog {
        id: log_id,
        is_moving: false,
    };
    set_shared_log(disk, Some(mark)).context("the directory can't be marked")?;
    let shown = key.filter(|_| config.platform_key_file.is_none());
    if json {
        let line = json!({
            "log": hex::encode(log_id), "position": head.position, "hash": hex::encode(head.hash), "platform_key": shown
        });
        print_line(&line.to_string());
        return Ok(Exit::Done);
    }
    print_line(&format!(
        "{} records are on the log {}, and every frame was read back and compared; head {}",
        head.position,
        hex::encode(log_id),
        hex::encode(head.hash)
    ));
    if let Some(key) = shown {
        print_line(&format!(
            "platform key (may do everything; shown only now):\n  {key}"
        ));
    }
    print_line(&format!(
        "{} is a mirror of it now: start nodes with `tributary serve`, each with its own data directory and a copy of {}",
        config.data.display(),
        master_key_path(config).display()
    ));
    Ok(Exit::Done)
}
