//! Checkpoints of streams, one file for each version of each: state, rows and what waits to be published, as of the end of a frame of
//! the journal. Without one a stream is computed again from the journal.

use std::path::{Path, PathBuf};

use tributary_api::streaming::StreamTerms;
use tributary_engine::{Basis, DirDisk, replace_file};
use tributary_ledger::SettingId;

use super::runner::{Runner, Waiting};
use crate::stream::codec::{Reader, Writer};
use crate::stream::{OwnedScalar, Row};

/// Name and version of the format.
const MAGIC: &[u8] = b"tributary stream 2";
/// Numbers of a version, from its activation on.
const NUMBERS: usize = 10;

/// The folder with the checkpoints.
pub(super) struct Checkpoints {
    folder: PathBuf,
}

impl Checkpoints {
    /// Makes the folder, if there is none.
    pub(super) fn open(folder: &Path) -> std::io::Result<Checkpoints> {
        std::fs::create_dir_all(folder)?;
        Ok(Checkpoints {
            folder: folder.to_owned(),
        })
    }

    fn name(stream: SettingId, version: u64) -> String {
        format!("{:016x}-{version}", stream.0)
    }

    /// Keeps a version of a stream, which has taken the records up to `basis`. `oldest` is the first version that has not ended.
    pub(super) fn keep(
        &self,
        stream: SettingId,
        runner: &Runner,
        oldest: u64,
        basis: Basis,
    ) -> std::io::Result<()> {
        let Some(bytes) = encode(runner, oldest, basis) else {
            return Ok(());
        };
        let disk = DirDisk::new(&self.folder);
        let name = Self::name(stream, runner.terms.version);
        replace_file(&disk, "", &name, &bytes)
    }

    /// Reads what was kept of a version, if anything was.
    pub(super) fn read(&self, stream: SettingId, terms: &StreamTerms) -> Option<Vec<u8>> {
        let name = Self::name(stream, terms.version);
        std::fs::read(self.folder.join(name)).ok()
    }

    /// Removes what is kept of a version.
    pub(super) fn remove(&self, stream: SettingId, version: u64) {
        let _absent = std::fs::remove_file(self.folder.join(Self::name(stream, version)));
    }

    /// Removes what is kept of streams that are no more.
    pub(super) fn retain(&self, mut is_there: impl FnMut(SettingId) -> bool) {
        let files = std::fs::read_dir(&self.folder)
            .into_iter()
            .flatten()
            .flatten();
        for file in files {
            let name = file.file_name();
            let stream = name.to_str().and_then(|name| name.split_once('-'));
            let stream = stream.and_then(|(id, _)| u64::from_str_radix(id, 16).ok());
            if stream.is_some_and(|id| !is_there(SettingId(id))) {
                let _gone = std::fs::remove_file(file.path());
            }
        }
    }
}

/// None if the stream stopped: its last checkpoint before stays.
fn encode(runner: &Runner, oldest: u64, basis: Basis) -> Option<Vec<u8>> {
    if runner.stopped.is_some() {
        return None;
    }
    let state = runner.ready.stream.checkpoint().ok()?;
    let mut writer = Writer::default();
    writer.bytes(MAGIC);
    writer.u64(basis.position);
    writer.bytes(&basis.hash);
    writer.u64(oldest);
    for number in [
        runner.activation,
        runner.position,
        runner.events,
        runner.results,
        runner.refused,
        u64::from(runner.hops),
        runner.next_row,
        runner.acted,
        runner.rate.minute,
        runner.rate.actions,
    ] {
        writer.u64(number);
    }
    let rows = runner.kept_rows();
    writer.count(rows.len());
    for (row, revision) in rows {
        row.key.iter().for_each(|value| writer.value(value));
        writer.i64(row.window_start);
        writer.i64(row.window_end);
        for value in &row.values {
            writer.u32(u32::from(value.is_some()));
            value.iter().for_each(|value| writer.value(value));
        }
        writer.u32(*revision);
    }
    writer.count(runner.waiting().len());
    for waiting in runner.waiting() {
        writer.bytes(&waiting.id);
        writer.u32(u32::from(waiting.hops));
        writer.u32(u32::from(waiting.is_late));
        writer.u32(waiting.attempt);
        writer.bytes(waiting.key.as_bytes());
        writer.bytes(waiting.data.as_bytes());
    }
    writer.bytes(&state);
    let mut bytes = writer.0;
    let checksum = blake3::hash(&bytes);
    bytes.extend(checksum.as_bytes());
    Some(bytes)
}

/// Restores what was kept into a version that was just made, if `is_known` says that its place is of this journal. Returns that place,
/// and the first version that had not ended.
pub(super) fn restore(
    bytes: &[u8],
    mut runner: Runner,
    is_known: impl FnOnce(&Basis) -> bool,
) -> Result<(Runner, Basis, u64), String> {
    let damaged = || "its checksum differs".to_owned();
    let (bytes, checksum) = bytes.split_last_chunk::<32>().ok_or_else(damaged)?;
    if blake3::hash(bytes).as_bytes() != checksum {
        return Err(damaged());
    }
    let mut reader = Reader(bytes);
    if reader.bytes() != Some(MAGIC) {
        return Err("it is of another version of the program".to_owned());
    }
    let (keys, values) = (runner.terms.key.len(), runner.terms.emit.len());
    let read = read(&mut reader, keys, values).filter(|_| reader.0.is_empty());
    let kept = read.ok_or("it is malformed")?;
    if kept.numbers[0] != runner.activation {
        return Err("it is of another stream".to_owned());
    }
    if !is_known(&kept.basis) {
        return Err("it is not of this journal".to_owned());
    }
    let stream = runner.ready.stream.restore(kept.state);
    runner.ready.stream = stream.map_err(|error| error.to_string())?;
    let hops;
    [
        _,
        runner.position,
        runner.events,
        runner.results,
        runner.refused,
        hops,
        runner.next_row,
        runner.acted,
        runner.rate.minute,
        runner.rate.actions,
    ] = kept.numbers;
    runner.hops = u8::try_from(hops).map_err(|_| "it is malformed")?;
    runner.restore(kept.rows, kept.waiting);
    Ok((runner, kept.basis, kept.oldest))
}

struct Kept<'a> {
    basis: Basis,
    oldest: u64,
    numbers: [u64; NUMBERS],
    rows: Vec<(Row, u32)>,
    waiting: Vec<Waiting>,
    state: &'a [u8],
}

fn read<'a>(reader: &mut Reader<'a>, keys: usize, values: usize) -> Option<Kept<'a>> {
    let basis = Basis {
        position: reader.u64()?,
        hash: reader.bytes()?.try_into().ok()?,
    };
    let oldest = reader.u64()?;
    let mut numbers = [0; NUMBERS];
    for number in &mut numbers {
        *number = reader.u64()?;
    }
    let mut rows = Vec::new();
    for _ in 0..reader.count()? {
        let key = reader.values(keys)?;
        let (window_start, window_end) = (reader.i64()?, reader.i64()?);
        let mut row_values: Vec<Option<OwnedScalar>> = Vec::new();
        for _ in 0..values {
            row_values.push(match reader.u32()? {
                0 => None,
                _ => Some(reader.value()?),
            });
        }
        let row = Row {
            key,
            window_start,
            window_end,
            values: row_values,
        };
        rows.push((row, reader.u32()?));
    }
    let mut waiting = Vec::new();
    for _ in 0..reader.count()? {
        waiting.push(Waiting {
            id: reader.bytes()?.try_into().ok()?,
            hops: u8::try_from(reader.u32()?).ok()?,
            is_late: reader.u32()? != 0,
            attempt: reader.u32()?,
            key: text(reader)?,
            data: text(reader)?,
        });
    }
    let state = reader.bytes()?;
    Some(Kept {
        basis,
        oldest,
        numbers,
        rows,
        waiting,
        state,
    })
}

fn text(reader: &mut Reader<'_>) -> Option<String> {
    String::from_utf8(reader.bytes()?.to_vec()).ok()
}
