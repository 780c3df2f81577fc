//! The `cluster` commands.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tributary_cluster::moving::{MoveError, compare, read_genesis};
use tributary_cluster::resume;
use tributary_connect::discovery::open_discovery;
use tributary_connect::discovery::port::{Access, Node};
use tributary_engine::{Backend as _, Options};
use tributary_journal::{DirDisk, Disk, OpenError, SharedLog, Writer, read_meta, set_shared_log};

use super::log::{connect, create};
use super::mirror::{open_mirror, stored};
use super::moving::{announce_moved, move_error, move_onto, read_config};
use super::node::{make_mirror, open};
use crate::backup::{
    BackupProgress, fetch_frames, open_journal, read_head_position, read_server_meta,
    restore_deliveries,
};
use crate::cli;
use crate::client::Client;
use crate::config::Config;
use crate::exit::{Exit, usage_error};
use crate::master_key::{self, master_key_path};
use crate::serve::create_first_key_once;
use crate::stop::StopSignal;
use crate::store::{Store, random_bytes};
use crate::terminal::{print_line, progress_bar};

/// File that holds the random number by which a directory asks to go on alone, while it does.
const LEAVING_FILE: &str = "leaving";

/// Runs a `cluster` command.
pub(crate) fn cluster(command: &cli::ClusterCommand) -> anyhow::Result<Exit> {
    match command {
        cli::ClusterCommand::Init(arguments) => init(arguments),
        cli::ClusterCommand::Join(arguments) => join(arguments),
        cli::ClusterCommand::Recover(arguments) => super::recover::recover(arguments),
        cli::ClusterCommand::Leave(arguments) => leave(arguments),
        cli::ClusterCommand::Verify(arguments) => verify(arguments),
        cli::ClusterCommand::Status(arguments) => status(arguments),
        cli::ClusterCommand::HandOver(arguments) => hand_over(arguments),
        cli::ClusterCommand::FinalizeUpgrade(arguments) => finalize_upgrade(arguments),
    }
}

fn no_directory(data: &Path) -> anyhow::Error {
    usage_error(format!("there is no data directory at {}", data.display()))
}

/// Moves a data directory, which is made if it does not exist, onto an empty log.
fn init(arguments: &cli::ClusterInit) -> anyhow::Result<Exit> {
    let config = read_config(&arguments.node)?;
    let mut log = create(&config.cluster)?;
    let disk: Arc<dyn Disk> = Arc::new(DirDisk::new(&config.data));
    let mark = match read_meta(&*disk) {
        Err(OpenError::NotFound) => None,
        Err(error) => {
            return Err(error).with_context(|| format!("cannot open {}", config.data.display()));
        }
        Ok(meta) => meta.shared_log,
    };
    let found = read_genesis(&mut *log).map_err(move_error)?;
    let mut key = None;
    let log_id = match (mark, found) {
        (Some(mark), Some((id, _))) if mark.id != id => {
            return Err(move_error(MoveError::Taken(id)));
        }
        (Some(mark), Some(_)) if !mark.is_moving => {
            print_line(&format!("{} is on the log already", config.data.display()));
            return Ok(Exit::Done);
        }
        (Some(mark), _) if mark.is_moving => mark.id,
        (Some(mark), _) => {
            return Err(usage_error(format!(
                "{} is a mirror of the log {}, and cluster.log names an empty one: the log was lost, or this is another",
                config.data.display(),
                hex::encode(mark.id)
            )));
        }
        (None, Some((id, _))) => return Err(move_error(MoveError::Taken(id))),
        (None, None) => {
            key = prepare_directory(&config, arguments.sandbox)?;
            let id = random_bytes();
            let mark = SharedLog {
                id,
                is_moving: true,
            };
            set_shared_log(&*disk, Some(mark)).context("the directory can't be marked")?;
            id
        }
    };
    let head = move_onto(&config, &disk, &mut *log, log_id)?;
    announce_moved(&config, &*disk, log_id, head, key, arguments.json)
}

/// Makes sure that the directory exists and has a master key and a platform key, which only one node may make. Returns a new platform key.
fn prepare_directory(config: &Config, sandbox: bool) -> anyhow::Result<Option<String>> {
    let store = Store::open(
        config.backend,
        &config.data,
        sandbox,
        Options::default(),
        config.limits.history_bytes_max,
    )?;
    let prepared = || -> anyhow::Result<Option<String>> {
        let keyring = master_key::open(&store.engine, &master_key_path(config));
        keyring
            .key()
            .map_err(|why| anyhow::anyhow!("a cluster needs its master key: {why}"))?;
        create_first_key_once(config, &store)
    };
    let key = prepared();
    store.shutdown();
    key
}

/// Makes the directory of a node, with the records of a backup or of a running node.
fn join(arguments: &cli::ClusterJoin) -> anyhow::Result<Exit> {
    let config = read_config(&arguments.node)?;
    let mut log = connect(&config.cluster)?;
    let found = read_genesis(&mut *log).map_err(move_error)?;
    let Some((log_id, genesis)) = found else {
        return Err(usage_error(
            "the log is empty: run `tributary cluster init` once, on one machine",
        ));
    };
    let disk: Arc<dyn Disk> = Arc::new(DirDisk::new(&config.data));
    let stored = stored(Some(log_id));
    match read_meta(&*disk) {
        Err(OpenError::NotFound) => {}
        _ => {
            return Err(usage_error(format!(
                "{} exists: a node joins with a new directory",
                config.data.display()
            )));
        }
    }
    let require_same = |cluster_id: [u8; 16]| match cluster_id == genesis.cluster_id {
        true => Ok(()),
        false => Err(usage_error(
            "the records are of another system than the log",
        )),
    };
    let make = || -> anyhow::Result<Writer> {
        make_mirror(&config, &disk, &stored, log_id, &genesis)?;
        let extractor = tributary_engine::key_extractor();
        let (writer, ..) = tributary_journal::open(disk.clone(), stored.clone(), extractor)?;
        Ok(writer)
    };
    let head = match &arguments.backup {
        Some(backup) => {
            let source: Arc<dyn Disk> = Arc::new(DirDisk::new(backup));
            let meta = read_meta(&*source)
                .with_context(|| format!("cannot read the backup {}", backup.display()))?;
            require_same(meta.cluster_id)?;
            let source = open_journal(backup, source, tributary_journal::Options::default())?;
            let mut writer = make()?;
            let reader = source.reader();
            let bar = progress_bar(reader.head().position, "records");
            let mut frames = reader.frames(1);
            while let Some(frame) = frames.next()? {
                let head = writer.append_sealed(frame.bytes());
                bar.set_position(head.context("the backup does not chain")?.position);
            }
            bar.finish_and_clear();
            let head = writer.head();
            writer.close()?;
            source.close()?;
            restore_deliveries(backup, &*disk)?;
            head
        }
        None => {
            let mut client = arguments.server.client()?;
            require_same(read_server_meta(&mut client)?.cluster_id)?;
            let goal = read_head_position(&mut client)?;
            let mut writer = make()?;
            let mut progress = BackupProgress::new(arguments.json, false);
            while writer.head().position < goal {
                fetch_frames(&mut client, &mut writer, false, &mut progress)?;
            }
            let head = writer.head();
            writer.close()?;
            head
        }
    };
    let hash = hex::encode(head.hash);
    if arguments.json {
        let line = json!({ "log": hex::encode(log_id), "position": head.position, "hash": hash });
        print_line(&line.to_string());
    } else {
        print_line(&format!(
            "{} has {} records, head {hash}: start the node with `tributary serve`, which compares them with the log and goes on",
            config.data.display(),
            head.position
        ));
    }
    Ok(Exit::Done)
}

/// Ends the log, and makes the node's directory one of its own.
fn leave(arguments: &cli::ClusterLeave) -> anyhow::Result<Exit> {
    let config = read_config(&arguments.node)?;
    let stop = StopSignal::install()?;
    let disk = DirDisk::new(&config.data);
    let meta = match read_meta(&disk) {
        Err(OpenError::NotFound) => return Err(no_directory(&config.data)),
        other => other.with_context(|| format!("cannot open {}", config.data.display()))?,
    };
    if meta.shared_log.is_none() {
        print_line(&format!(
            "{} is no mirror of a log: it is a directory of its own",
            config.data.display()
        ));
        return Ok(Exit::Done);
    }
    let nonce = leaving_nonce(&config.data)?;
    let store = open(&config, meta.sandbox, Options::default(), &stop)?;
    let member = store.member.clone().expect("it is a node");
    member.leave(nonce);
    let left = loop {
        if member.has_left() {
            break Ok(());
        }
        // Until the engine shows everything that the log had.
        if let Some(why) = store.failure().filter(|_| !member.is_leaving()) {
            break Err(why);
        }
        if stop.is_requested() {
            break Err("stopped before the log has ended".to_owned());
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let head = store.engine.reader().head();
    store.shutdown();
    drop(member);
    drop(store);
    if let Err(why) = left {
        bail!("this node does not go on alone: {why}");
    }
    set_shared_log(&disk, None).context("the directory can't be marked")?;
    resume::remove(&disk).context("the place in the log can't be removed")?;
    let _gone = std::fs::remove_file(config.data.join(LEAVING_FILE));
    let hash = hex::encode(head.hash);
    if arguments.json {
        print_line(&json!({ "position": head.position, "hash": hash }).to_string());
    } else {
        print_line(&format!(
            "the log has ended, and {} is a directory of its own: {} records, head {hash}. Serve it without cluster.log; `tributary verify` checks it",
            config.data.display(),
            head.position
        ));
    }
    Ok(Exit::Done)
}

/// Returns the random number by which this directory asks to go on alone: the same one if it asked before.
fn leaving_nonce(data: &Path) -> anyhow::Result<u64> {
    let path = data.join(LEAVING_FILE);
    let cannot = || format!("cannot use {}", path.display());
    if let Ok(text) = std::fs::read_to_string(&path)
        && let Ok(nonce) = u64::from_str_radix(text.trim(), 16)
    {
        return Ok(nonce);
    }
    let nonce = u64::from_le_bytes(random_bytes());
    let file = std::fs::File::create(&path).with_context(cannot)?;
    std::io::Write::write_all(&mut &file, format!("{nonce:016x}\n").as_bytes())
        .with_context(cannot)?;
    file.sync_all().with_context(cannot)?;
    std::fs::File::open(data)
        .and_then(|folder| folder.sync_all())
        .with_context(cannot)?;
    Ok(nonce)
}

/// Compares a stopped node's directory with the log.
fn verify(arguments: &cli::ClusterVerify) -> anyhow::Result<Exit> {
    let config = read_config(&arguments.node)?;
    let meta = match read_meta(&DirDisk::new(&config.data)) {
        Err(OpenError::NotFound) => return Err(no_directory(&config.data)),
        other => other.with_context(|| format!("cannot open {}", config.data.display()))?,
    };
    let journal = open_mirror(&config.data, meta.shared_log.map(|log| log.id))?;
    let mut log = connect(&config.cluster)?;
    let bar = progress_bar(journal.reader().head().position, "records");
    let compared = compare(&mut *log, &*journal.reader(), &mut |position| {
        bar.set_position(position);
    });
    bar.finish_and_clear();
    let compared = match compared {
        Ok(compared) => compared,
        Err(MoveError::Failed(why)) => {
            print_line(&format!(
                "the log and {} differ: {why}",
                config.data.display()
            ));
            return Ok(Exit::NotVerified);
        }
        Err(error) => return Err(move_error(error)),
    };
    if arguments.json {
        let line = json!({
            "entries": compared.entries, "entries_ignored": compared.entries_ignored, "position": compared.position,
            "mirrored": compared.mirrored, "term": compared.term
        });
        print_line(&line.to_string());
    } else {
        print_line(&format!(
            "the log has {} entries, of which {} do not count, and {} records; {} has the first {} of them, byte for byte",
            compared.entries,
            compared.entries_ignored,
            compared.position,
            config.data.display(),
            compared.mirrored
        ));
    }
    Ok(Exit::Done)
}

fn discover(url: &str) -> anyhow::Result<Vec<Node>> {
    let discovery = open_discovery(url, &Access::default());
    let discovery = discovery.map_err(|error| usage_error(format!("--discover: {error}")))?;
    Ok(discovery.nodes()?)
}

/// Shows all nodes that are found at `url`, and whether each leads.
fn show_nodes(url: &str, arguments: &cli::ClusterStatus) -> anyhow::Result<Exit> {
    let mut rows = Vec::new();
    for node in discover(url)? {
        let asked = Client::new(&node.url, "", arguments.server.ca.as_deref())
            .and_then(|mut client| client.get("/health/leader")?.json());
        let role = match asked {
            Ok(health) => health["role"].as_str().unwrap_or("unknown").to_owned(),
            Err(_) => "unreachable".to_owned(),
        };
        rows.push((node.name, node.url, role));
    }
    if arguments.json {
        let nodes: Vec<_> = rows
            .iter()
            .map(|(name, url, role)| json!({ "node": name, "url": url, "role": role }))
            .collect();
        print_line(&json!({ "nodes": nodes }).to_string());
        return Ok(Exit::Done);
    }
    let widths = rows.iter().fold((4, 3), |(name, url), row| {
        (row.0.len().max(name), row.1.len().max(url))
    });
    for (name, url, role) in &rows {
        print_line(&format!(
            "{name:name_width$}  {url:url_width$}  {role}",
            name_width = widths.0,
            url_width = widths.1
        ));
    }
    if rows.is_empty() {
        print_line("no node is announced there");
    }
    Ok(Exit::Done)
}

/// Shows how a running node stands.
fn status(arguments: &cli::ClusterStatus) -> anyhow::Result<Exit> {
    if let Some(url) = &arguments.discover {
        return show_nodes(url, arguments);
    }
    let mut client = arguments.server.client()?;
    let status = client.get("/v1/cluster")?.require_success()?.json()?;
    if arguments.json {
        print_line(&status.to_string());
        return Ok(Exit::Done);
    }
    let fields = status.as_object().context("the answer is no object")?;
    let width = fields.keys().map(String::len).max().unwrap_or(0);
    for (name, value) in fields {
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Null => "none".to_owned(),
            other => other.to_string(),
        };
        print_line(&format!("{name:width$}  {value}"));
    }
    Ok(Exit::Done)
}

/// Has the leadership handed over.
fn hand_over(arguments: &cli::ClusterHandOver) -> anyhow::Result<Exit> {
    let mut client = arguments.server.client()?;
    let body = json!({ "to": arguments.to });
    client
        .post_with_retry("/v1/cluster/hand_over", body.to_string().into_bytes())?
        .require_success()?;
    print_line("the leader was asked to hand over");
    Ok(Exit::Done)
}

/// Has the leader write in the newest versions, once every node knows them.
fn finalize_upgrade(arguments: &cli::ClusterFinalizeUpgrade) -> anyhow::Result<Exit> {
    let nodes = discover(&arguments.discover)?;
    let first = nodes.first().context("no node is announced there")?;
    let ask = |url: &str| -> anyhow::Result<Value> {
        let mut client = arguments.server.client_of(url)?;
        client.get("/v1/cluster")?.require_success()?.json()
    };
    let statuses: Vec<_> = nodes.iter().map(|node| ask(&node.url)).collect();
    let known = statuses.iter().flatten().map(|status| &status["newest"]);
    let mut objections = Vec::new();
    for (node, status) in nodes.iter().zip(&statuses) {
        match status {
            Ok(status) if known.clone().all(|newest| *newest == status["newest"]) => {}
            Ok(status) => objections.push(format!("{} knows {}", node.name, status["newest"])),
            Err(error) => objections.push(format!("{} can't be asked: {error:#}", node.name)),
        }
    }
    if !objections.is_empty() {
        bail!(
            "the upgrade is not finalized, and nothing was changed: {}. Start every node with the newer program first",
            objections.join("; ")
        );
    }
    let mut client = arguments.server.client_of(&first.url)?;
    let done = client
        .post_with_retry("/v1/cluster/finalize_upgrade", Vec::new())?
        .require_success()?
        .json()?;
    let written = &done["written"];
    if arguments.json {
        print_line(&json!({ "nodes": nodes.len(), "written": written }).to_string());
    } else {
        print_line(&format!(
            "{} nodes know the newest versions, and the leader writes in them from now on: format {}, rules {}",
            nodes.len(),
            written["format"],
            written["rules"]
        ));
    }
    Ok(Exit::Done)
}
