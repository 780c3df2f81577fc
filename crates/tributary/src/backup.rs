//! `backup` and `restore`: a backup is a journal directory that holds the server's frames verbatim.

use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use hex::FromHex;
use hyper::body::Bytes;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tributary_journal::{
    AppendError, DirDisk, Disk, Epoch, FRAME_HEADER_BYTES, FrameHeader, Meta, OpenError, Options,
    ReadError, Writer,
};

use crate::cli;
use crate::client::Client;
use crate::exit::{Exit, usage_error};
use crate::stop::StopSignal;
use crate::terminal::{print_line, progress_bar};

/// Time before `--follow` tries an unreachable server again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// Maximum time for which the server holds a request open until a new frame exists, in milliseconds. A signal is noticed
/// within this time.
const WAIT_MS: u64 = 1_000;
/// Marks the directory of a backup, so that no server opens it: a backup has no index of idempotency keys, and a server
/// would issue ids that were already issued.
const BACKUP_MARK: &str = "backup";
const BACKUP_MARK_TEXT: &str =
    "This directory is a backup. `tributary restore` makes a data directory of it.\n";
/// File of a backup that holds the newest snapshot of the delivery log.
const DELIVERIES_FILE: &str = "deliveries";
/// Interval at which `--follow` takes a new snapshot of the delivery log.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(10);
/// Interval between two lines of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

/// Runs `backup`.
pub(crate) fn backup(arguments: &cli::Backup) -> anyhow::Result<Exit> {
    let stop = StopSignal::install()?;
    let mut client = arguments.server.client()?;
    let meta = read_server_meta(&mut client)?;
    let mut writer = open_backup(&arguments.dir, &meta)?;
    let mut deliveries = DeliverySnapshots::new(&arguments.dir);
    let mut progress = BackupProgress::new(arguments.json, arguments.follow);
    let outcome = copy_frames(
        &mut client,
        &mut writer,
        &mut deliveries,
        arguments.follow,
        &stop,
        &mut progress,
    );
    let head = writer.head();
    // Keep the copied frames even after an error.
    writer.close().context("cannot close the backup")?;
    outcome?;
    progress.finish(
        &json!({ "backup": arguments.dir, "position": head.position, "hash": hex::encode(head.hash) }),
    );
    Ok(Exit::Done)
}

fn copy_frames(
    client: &mut Client,
    writer: &mut Writer,
    deliveries: &mut DeliverySnapshots,
    follow: bool,
    stop: &StopSignal,
    progress: &mut BackupProgress,
) -> anyhow::Result<()> {
    deliveries.fetch_if_due(client)?;
    // Without --follow the backup ends at the position that the server had at the start.
    let goal = read_head_position(client)?;
    require_not_older(writer, goal)?;
    let mut same_history = false;
    while !stop.is_requested() && (follow || !same_history || writer.head().position < goal) {
        let before = writer.head().position;
        let fetched = match same_history {
            true if follow => fetch_frames(client, writer, follow, progress)
                .and_then(|()| deliveries.fetch_if_due(client)),
            true => fetch_frames(client, writer, follow, progress),
            // Compare again after every interruption: another server may answer then.
            false => require_same_history(client, writer),
        };
        match fetched {
            Ok(()) if !same_history => {
                same_history = true;
                continue;
            }
            Ok(()) => deliveries.write_if_covered(writer.head().position)?,
            // A restarted server can be followed; damage or another history cannot.
            Err(error) if follow && !error.chain().any(is_damage) => {
                same_history = false;
                progress.show_waiting(&error);
                std::thread::sleep(RETRY_INTERVAL);
                continue;
            }
            Err(error) => return Err(error),
        }
        let reached = writer.head().position;
        if reached == before {
            if !follow {
                bail!(
                    "the server sent no frame after position {reached}, though it has {goal} records"
                );
            }
            writer.mark().context("cannot write the backup")?;
        }
    }
    deliveries.write_if_covered(writer.head().position)
}

/// Snapshots of the server's delivery log, each kept in the backup once the backup has every record that it rests on.
struct DeliverySnapshots {
    path: PathBuf,
    fetched_at: Option<Instant>,
    /// The snapshot to write next, and the position that the backup must have reached.
    pending: Option<(Bytes, u64)>,
}

impl DeliverySnapshots {
    fn new(backup: &Path) -> Self {
        Self {
            path: backup.join(DELIVERIES_FILE),
            fetched_at: None,
            pending: None,
        }
    }

    /// Fetches a snapshot, unless one waits to be written or the newest is younger than [`SNAPSHOT_INTERVAL`].
    fn fetch_if_due(&mut self, client: &mut Client) -> anyhow::Result<()> {
        let fresh = self
            .fetched_at
            .is_some_and(|at| at.elapsed() < SNAPSHOT_INTERVAL);
        if fresh || self.pending.is_some() {
            return Ok(());
        }
        let response = client.get("/v1/journal/deliveries")?;
        self.fetched_at = Some(Instant::now());
        // A server without a delivery log has nothing to keep.
        if response.status == 503 {
            return Ok(());
        }
        let response = response.require_success()?;
        let head = server_position(&response.headers)
            .context("the server does not say how far its journal goes")?;
        self.pending = Some((response.body, head));
        Ok(())
    }

    /// Writes the waiting snapshot, if the backup reaches to `position` and that is far enough.
    fn write_if_covered(&mut self, position: u64) -> anyhow::Result<()> {
        let Some((bytes, _)) = self.pending.take_if(|(_, needed)| position >= *needed) else {
            return Ok(());
        };
        replace_file(&self.path, &bytes)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Writes a file so that it has the old content or the new one, whenever the machine stops.
fn replace_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let draft = with_suffix(path, ".new");
    let mut options = std::fs::File::options();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&draft)?;
    std::io::Write::write_all(&mut file, bytes)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    let folder = path
        .parent()
        .expect("a file of the backup is in its folder");
    std::fs::File::open(folder)?.sync_all()
}

/// Refuses a server with fewer records than the backup: the server would give the same positions to other records.
fn require_not_older(writer: &Writer, server: u64) -> anyhow::Result<()> {
    let ours = writer.head().position;
    if server >= ours {
        return Ok(());
    }
    Err(AppendError::Refused("the server's journal is older than the backup")).with_context(|| {
        format!(
            "the backup holds {ours} records and the server only {server}. Back it up into another directory"
        )
    })
}

/// Checks that the server has the backup's last frame.
fn require_same_history(client: &mut Client, writer: &Writer) -> anyhow::Result<()> {
    let ours = writer.head();
    if ours.position == 0 {
        return Ok(());
    }
    let mut first: Vec<u8> = Vec::new();
    let headers = client.get_in_chunks(
        &format!("/v1/journal/frames?from={}", ours.position),
        &mut |_, piece| {
            let missing = FRAME_HEADER_BYTES.saturating_sub(first.len());
            first.extend_from_slice(&piece[..missing.min(piece.len())]);
            Ok(if first.len() < FRAME_HEADER_BYTES {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            })
        },
    )?;
    if let Some(server) = server_position(&headers) {
        require_not_older(writer, server)?;
    }
    let theirs = FrameHeader::parse(&first)
        .context("the server sent something that is no frame")?
        .head();
    if (theirs.position, theirs.hash) != (ours.position, ours.hash) {
        return Err(AppendError::Refused(
            "the server's record at the backup's end is another",
        ))
        .context("this is another history; back it up into another directory");
    }
    Ok(())
}

/// Appends the frames that the server has after the backup's end.
pub(crate) fn fetch_frames(
    client: &mut Client,
    writer: &mut Writer,
    follow: bool,
    progress: &mut BackupProgress,
) -> anyhow::Result<()> {
    let wait = if follow { WAIT_MS } else { 0 };
    let path = format!(
        "/v1/journal/frames?from={}&wait_ms={wait}",
        writer.head().position + 1
    );
    let mut pending: Vec<u8> = Vec::new();
    let headers = client.get_in_chunks(&path, &mut |headers, piece| {
        pending.extend_from_slice(piece);
        let mut used = 0;
        while let Some(len) = frame_len(&pending[used..])? {
            let frame = &pending[used..used + len];
            writer.append_sealed(frame).context(
                "a frame of the server does not continue the backup: is it another history?",
            )?;
            used += len;
            progress.show_position(
                writer.head().position,
                server_position(headers).unwrap_or(0),
            );
        }
        pending.drain(..used);
        Ok(ControlFlow::Continue(()))
    })?;
    if !pending.is_empty() {
        bail!("the server broke off within a frame");
    }
    let server =
        server_position(&headers).context("the server's answer has no Tributary-Head-Position")?;
    require_not_older(writer, server)?;
    progress.show_position(writer.head().position, server);
    Ok(())
}

fn server_position(headers: &hyper::HeaderMap) -> Option<u64> {
    let value = headers.get("tributary-head-position")?;
    value.to_str().ok()?.parse().ok()
}

/// Returns the length of the frame at the start of `bytes`, or `None` while the frame is incomplete.
fn frame_len(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(header) = bytes.get(..FRAME_HEADER_BYTES) else {
        return Ok(None);
    };
    let len = FrameHeader::parse(header)
        .context("the server sent something that is no frame")?
        .frame_len();
    Ok((bytes.len() >= len).then_some(len))
}

pub(crate) fn read_head_position(client: &mut Client) -> anyhow::Result<u64> {
    let head = client
        .get_with_retry("/v1/journal/head")?
        .require_success()?
        .json()?;
    head["position"]
        .as_u64()
        .context("the server's journal head has no position")
}

/// Reads the identity of the server's journal.
pub(crate) fn read_server_meta(client: &mut Client) -> anyhow::Result<Meta> {
    let json = client.get("/v1/journal/meta")?.require_success()?.json()?;
    parse_meta(&json).context("the server's answer has no valid cluster, id_key and epochs")
}

fn parse_meta(json: &Value) -> Option<Meta> {
    let mut meta = Meta::new(
        FromHex::from_hex(json["cluster"].as_str()?).ok()?,
        FromHex::from_hex(json["id_key"].as_str()?).ok()?,
    );
    meta.sandbox = json["sandbox"].as_bool()?;
    let epochs = json["epochs"].as_array()?.iter().map(|epoch| {
        let number = u32::try_from(epoch["epoch"].as_u64()?).ok()?;
        Some(Epoch {
            number,
            first_position: epoch["first_position"].as_u64()?,
        })
    });
    meta.epochs = epochs.collect::<Option<_>>()?;
    (!meta.epochs.is_empty()).then_some(meta)
}

fn open_backup(dir: &Path, meta: &Meta) -> anyhow::Result<Writer> {
    let disk: Arc<dyn Disk> = Arc::new(DirDisk::new(dir));
    let options = Options::default();
    // Mark the directory before the first frame is written.
    disk.create_dir("")
        .and_then(|()| std::fs::write(dir.join(BACKUP_MARK), BACKUP_MARK_TEXT))
        .with_context(|| format!("cannot make a backup in {}", dir.display()))?;
    match tributary_journal::create(&disk, &options, meta) {
        Ok(()) | Err(OpenError::AlreadyExists) => {}
        Err(error) => {
            return Err(error)
                .with_context(|| format!("cannot make a backup in {}", dir.display()));
        }
    }
    let writer = open_journal(dir, disk, options)?;
    if writer.meta().cluster_id != meta.cluster_id {
        return Err(usage_error(format!(
            "{} is the backup of another system",
            dir.display()
        )));
    }
    Ok(writer)
}

/// Refuses to work on a backup as if it were a data directory.
pub(crate) fn refuse_backup(dir: &Path) -> anyhow::Result<()> {
    if dir.join(BACKUP_MARK).exists() {
        let dir = dir.display();
        return Err(usage_error(format!(
            "{dir} is a backup: `tributary restore {dir} --data NEW` makes a data directory of it"
        )));
    }
    Ok(())
}

pub(crate) fn open_journal(
    dir: &Path,
    disk: Arc<dyn Disk>,
    options: Options,
) -> anyhow::Result<Writer> {
    // A backup needs no index: no key is looked up in a backup.
    let (writer, _, recovery) = tributary_journal::open(disk, options, Arc::new(|_, _| {}))
        .with_context(|| format!("cannot open {}", dir.display()))?;
    if let Some((file, offset)) = recovery.cut_at {
        eprintln!(
            "{}: cut {} bytes of an unfinished write from {file} at {offset}",
            dir.display(),
            recovery.cut_bytes
        );
    }
    Ok(writer)
}

/// Runs `restore`.
pub(crate) fn restore(arguments: &cli::Restore) -> anyhow::Result<Exit> {
    let new = &arguments.data;
    if !is_absent_or_empty(new)? {
        return Err(usage_error(format!(
            "{} exists and is not empty: restore into a new directory",
            new.display()
        )));
    }
    // Write under another name until the copy is complete, so that an interrupted restore is not mistaken for a complete one.
    let partial = with_suffix(new, ".restoring");
    if partial.exists() {
        std::fs::remove_dir_all(&partial)
            .with_context(|| format!("cannot remove {}", partial.display()))?;
    }
    let (position, hash, epoch) = match restore_into(&arguments.dir, &partial) {
        Ok(restored) => restored,
        Err(error) => {
            drop(std::fs::remove_dir_all(&partial));
            if error.chain().any(is_damage) {
                eprintln!("error: {error:#}");
                return Ok(Exit::NotVerified);
            }
            return Err(error);
        }
    };
    if new.exists() {
        std::fs::remove_dir(new)?;
    }
    std::fs::rename(&partial, new).with_context(|| format!("cannot name it {}", new.display()))?;
    if let Some(parent) = new.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::File::open(parent)?.sync_all()?;
    }
    if arguments.json {
        print_line(
            &json!({ "data": new, "position": position, "hash": hex::encode(hash), "epoch": epoch })
                .to_string(),
        );
    } else {
        print_line(&format!(
            "{}: {position} records, chain whole, epoch {epoch} begun",
            new.display()
        ));
        print_line(&format!(
            "next: put the master key file at {}.key (or name it with master_key_file), then tributary serve --data {0}",
            new.display()
        ));
    }
    Ok(Exit::Done)
}

fn restore_into(backup: &Path, partial: &Path) -> anyhow::Result<(u64, [u8; 32], u32)> {
    let source: Arc<dyn Disk> = Arc::new(DirDisk::new(backup));
    let source = open_journal(backup, source, Options::default())?;
    let target_disk: Arc<dyn Disk> = Arc::new(DirDisk::new(partial));
    tributary_journal::create(&target_disk, &Options::default(), &source.meta())
        .with_context(|| format!("cannot make {}", partial.display()))?;
    let (mut writer, ..) = tributary_journal::open(
        Arc::clone(&target_disk),
        Options::default(),
        tributary_engine::key_extractor(),
    )?;
    let reader = source.reader();
    let bar = progress_bar(reader.head().position, "records");
    let mut frames = reader.frames(1);
    while let Some(frame) = frames.next()? {
        let head = writer
            .append_sealed(frame.bytes())
            .context("the backup does not chain")?;
        bar.set_position(head.position);
    }
    bar.finish_and_clear();
    let (copied, expected) = (writer.head(), source.head());
    if (copied.position, copied.hash) != (expected.position, expected.hash) {
        bail!(
            "the copy ends at {} and the backup at {}",
            copied.position,
            expected.position
        );
    }
    // The time distinguishes two restores of the same backup, so that no id is issued twice.
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = now.map_or(0, |since| u32::try_from(since.as_secs()).unwrap_or(0));
    let epoch = writer.new_epoch(seconds)?;
    writer.close()?;
    source.close()?;
    restore_deliveries(backup, &*target_disk)?;
    Ok((copied.position, copied.hash, epoch))
}

/// Puts the backup's snapshot of the delivery log beside the restored journal. A backup without one is restored as well: its
/// subscriptions deliver again from where they began.
pub(crate) fn restore_deliveries(backup: &Path, target: &dyn Disk) -> anyhow::Result<()> {
    let path = backup.join(DELIVERIES_FILE);
    let snapshot = match std::fs::read(&path) {
        Ok(snapshot) => snapshot,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    };
    tributary_messaging::restore_snapshot(target, &snapshot)
        .with_context(|| format!("cannot restore {}", path.display()))
}

fn is_damage(cause: &(dyn std::error::Error + 'static)) -> bool {
    matches!(cause.downcast_ref(), Some(OpenError::Damaged(_)))
        || matches!(cause.downcast_ref(), Some(ReadError::Damaged(_)))
        || matches!(cause.downcast_ref(), Some(AppendError::Refused(_)))
}

fn is_absent_or_empty(dir: &Path) -> anyhow::Result<bool> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", dir.display())),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Shows how far the backup is behind the server.
pub(crate) struct BackupProgress {
    json: bool,
    bar: ProgressBar,
    last_shown: Option<Instant>,
    last_error: Option<String>,
}

impl BackupProgress {
    pub(crate) fn new(json: bool, follow: bool) -> Self {
        let template = if follow {
            "{spinner} {pos} records, {msg}"
        } else {
            "{bar:40} {pos}/{len} records {msg}"
        };
        let bar = if json {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(0)
        };
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self {
            json,
            bar,
            last_shown: None,
            last_error: None,
        }
    }

    fn show_position(&mut self, reached: u64, head: u64) {
        let lag = head.saturating_sub(reached);
        self.last_error = None;
        self.bar.set_length(head.max(reached));
        self.bar.set_position(reached);
        self.bar.set_message(if lag == 0 {
            "nothing behind".to_owned()
        } else {
            format!("{lag} behind")
        });
        if self.json
            && self
                .last_shown
                .is_none_or(|last_shown| last_shown.elapsed() >= PROGRESS_INTERVAL)
        {
            print_line(
                &json!({ "position": reached, "server_position": head, "lag_records": lag })
                    .to_string(),
            );
            self.last_shown = Some(Instant::now());
        }
    }

    /// Shows why no frames arrive, once per reason.
    fn show_waiting(&mut self, error: &anyhow::Error) {
        let why = format!("{error:#}");
        if self.last_error.as_ref() == Some(&why) {
            return;
        }
        if self.json {
            print_line(&json!({ "waiting": why }).to_string());
        } else {
            self.bar.suspend(|| eprintln!("waiting: {why}"));
        }
        self.last_error = Some(why);
    }

    fn finish(&self, result: &Value) {
        self.bar.finish_and_clear();
        if self.json {
            print_line(&result.to_string());
        } else {
            print_line(&format!(
                "{} records, hash {}",
                result["position"],
                result["hash"].as_str().unwrap_or_default()
            ));
        }
    }
}
