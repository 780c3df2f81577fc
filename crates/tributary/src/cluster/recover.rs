//! `cluster recover`: a new log from the mirrors of one that was lost, or that lost what it had acknowledged.

use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use tributary_cluster::driver::{Command, run_to_end};
use tributary_cluster::fold::Fold;
use tributary_cluster::moving::read_genesis;
use tributary_cluster::node::Node;
use tributary_engine::{Backend as _, JournalReader, parse_record};
use tributary_journal::{DirDisk, Disk, SharedLog, read_meta, set_shared_log};

use super::log::{connect, create};
use super::mirror::{open_mirror, stored};
use super::moving::{announce_moved, move_error, move_onto, read_config};
use super::node::identity;
use crate::cli;
use crate::config::{Cluster, Config};
use crate::exit::{Exit, usage_error};
use crate::store::random_bytes;
use crate::terminal::print_line;

/// Longest text of a record that is shown, characters.
const RECORD_SHOWN_MAX: usize = 240;

/// Runs `cluster recover`.
pub(crate) fn recover(arguments: &cli::ClusterRecover) -> anyhow::Result<Exit> {
    let config = read_config(&arguments.node)?;
    let disk: Arc<dyn Disk> = Arc::new(DirDisk::new(&config.data));
    let meta =
        read_meta(&*disk).with_context(|| format!("cannot open {}", config.data.display()))?;
    let Some(old) = meta.shared_log else {
        return Err(usage_error(format!(
            "{} is no mirror: `tributary cluster init` moves it onto a log",
            config.data.display()
        )));
    };
    let mut log = create(&config.cluster)?;
    let goes_on = match read_genesis(&mut *log).map_err(move_error)? {
        None => false,
        // It was broken off.
        Some((id, _)) if id == old.id && old.is_moving => true,
        Some((id, _)) => {
            return Err(usage_error(format!(
                "cluster.log must name an empty log, and holds the log {}",
                hex::encode(id)
            )));
        }
    };
    let log_id = if goes_on {
        old.id
    } else {
        if !compare_mirrors(&config, old.id, arguments)? {
            return Ok(Exit::NotVerified);
        }
        match (&arguments.old_log, arguments.old_log_is_gone) {
            (Some(url), _) => end_old_log(&config, url)?,
            (None, true) => {}
            (None, false) => {
                return Err(usage_error(
                    "nodes may still use the old log: name it with --old-log, so that it is ended, or say --old-log-is-gone",
                ));
            }
        }
        let id = random_bytes();
        begin_epoch(&disk, old.id)?;
        let mark = SharedLog {
            id,
            is_moving: true,
        };
        set_shared_log(&*disk, Some(mark)).context("the directory can't be marked")?;
        id
    };
    let head = move_onto(&config, &disk, &mut *log, log_id)?;
    announce_moved(&config, &*disk, log_id, head, None, arguments.json)
}

/// Compares the directory with other mirrors of the same log. False if one of them has records that would be lost, and nobody said that
/// they may be.
fn compare_mirrors(
    config: &Config,
    log_id: [u8; 16],
    arguments: &cli::ClusterRecover,
) -> anyhow::Result<bool> {
    // A program reads the standard output.
    let say = |line: &str| match arguments.json {
        true => eprintln!("{line}"),
        false => print_line(line),
    };
    let source = open_mirror(&config.data, Some(log_id))?;
    let source = source.reader();
    let mut lost = 0;
    for data in &arguments.mirror {
        let other = open_mirror(data, Some(log_id))?;
        let other = other.reader();
        let common = last_common(&*source, &*other)?;
        let (ours, theirs) = (source.head().position, other.head().position);
        let (name, source_name) = (data.display(), config.data.display());
        say(&format!(
            "{name}: the same up to position {common}; after it {source_name} has {} records more, and {name} {}",
            ours - common,
            theirs - common
        ));
        for position in common + 1..=theirs {
            lost += 1;
            say(&format!("  lost: {}", shown(&*other, position)?));
        }
    }
    if lost == 0 || arguments.accept_loss {
        return Ok(true);
    }
    say(&format!(
        "{lost} records of other mirrors are not in {}: recover from the one that has most, or say --accept-loss. Nothing was changed",
        config.data.display()
    ));
    Ok(false)
}

/// Returns the last position up to which two journals are the same.
fn last_common(one: &dyn JournalReader, other: &dyn JournalReader) -> anyhow::Result<u64> {
    let is_same = |position: u64| -> anyhow::Result<bool> {
        let frame = |journal: &dyn JournalReader| {
            let frame = journal.frame(position);
            frame.map_err(|error| anyhow::anyhow!("a mirror can't be read: {error}"))
        };
        Ok(frame(one)? == frame(other)?)
    };
    // A frame names the hash of the one before it, so all that come before a common one are common.
    let (mut common, mut differs) = (0, one.head().position.min(other.head().position) + 1);
    while differs - common > 1 {
        let next = common + (differs - common) / 2;
        match is_same(next)? {
            true => common = next,
            false => differs = next,
        }
    }
    Ok(common)
}

/// Returns a line about a record.
fn shown(journal: &dyn JournalReader, position: u64) -> anyhow::Result<String> {
    let mut payload = Vec::new();
    let wrong = |error| anyhow::anyhow!("a mirror can't be read at position {position}: {error}");
    journal.read(position, &mut payload).map_err(wrong)?;
    let record = parse_record(position, &payload).map_err(wrong)?;
    let record = record.to_record();
    let record = record.map_err(|error| anyhow::anyhow!("position {position}: {error}"))?;
    let text = format!("{:?}", record.command.body);
    let text: String = text.chars().take(RECORD_SHOWN_MAX).collect();
    Ok(format!("position {position}: {text}"))
}

/// Begins an epoch, so that no id is given again that a record had which is lost.
fn begin_epoch(disk: &Arc<dyn Disk>, log_id: [u8; 16]) -> anyhow::Result<()> {
    let extractor = tributary_engine::key_extractor();
    let (mut writer, ..) = tributary_journal::open(disk.clone(), stored(Some(log_id)), extractor)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = now.map_or(0, |since| u32::try_from(since.as_secs()).unwrap_or(0));
    writer.new_epoch(seconds)?;
    Ok(writer.close()?)
}

/// Ends the old log, so that no node goes on there.
fn end_old_log(config: &Config, url: &str) -> anyhow::Result<()> {
    let cluster = Cluster {
        log: Some(url.to_owned()),
        ..config.cluster.clone()
    };
    let mut log = connect(&cluster)?;
    if read_genesis(&mut *log).map_err(move_error)?.is_none() {
        // What is empty, no node leads.
        return Ok(());
    }
    let mut identity = identity(&cluster);
    identity.is_moving = true;
    let node = Node::new(identity, Fold::default(), Duration::ZERO);
    let (commands, inbox) = mpsc::channel();
    let _waits = commands.send(Command::Leave(u64::from_le_bytes(random_bytes())));
    let node = run_to_end(node, &mut *log, &inbox).map_err(|why| {
        anyhow::anyhow!("the old log can't be ended: {why}; if nobody can reach it any more, say --old-log-is-gone")
    })?;
    anyhow::ensure!(node.fold().closed().is_some(), "the old log can't be ended");
    Ok(())
}
