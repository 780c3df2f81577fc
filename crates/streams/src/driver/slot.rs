//! One stream: its versions, from the oldest that still has something to do to the newest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tributary_api::streaming::{StartForm, StreamFigures, StreamState, StreamTerms};
use tributary_engine::{Basis, Failure, Reader, Standing, Start, lock};
use tributary_ledger::{Setting, SettingId};

use super::checkpoint::{self, Checkpoints};
use super::runner::{Rate, Runner, Size};

/// Versions that are at work at once: a stream whose definition changes again and again gives up the oldest.
const VERSIONS_MAX: usize = 8;
/// Revisions that are looked at for those versions.
const REVISIONS_MAX: usize = 1_000;
/// How often a checkpoint is kept.
const KEEP_EVERY: Duration = Duration::from_secs(30);
/// How many times as long as keeping it takes it must be between two checkpoints: a large state is kept less often.
const KEEP_COSTS: u32 = 20;

/// A version at work.
pub(super) struct Version {
    pub(super) runner: Runner,
    /// Place of the journal up to which it has taken everything, if that is the end of a frame.
    pub(super) basis: Option<Basis>,
    /// Whether it has been at the end of the journal.
    pub(super) is_live: bool,
    /// Whether the journal says that it stopped.
    pub(super) is_told: bool,
    /// Position of the last checkpoint, when that was, and how long it took.
    kept: (u64, Instant, Duration),
}

/// A stream.
pub(super) struct Slot {
    pub(super) id: SettingId,
    pub(super) versions: Vec<Version>,
    pub(super) is_paused: bool,
    /// Why the newest definition can't run.
    broken: Option<String>,
    /// Why nothing is published now.
    pub(super) fault: Option<String>,
    /// Second in which events were published last, and how many.
    pub(super) published: (u64, u64),
    terms: Option<StreamTerms>,
}

/// Streams by id.
#[derive(Default)]
pub(super) struct Slots(pub(super) Mutex<BTreeMap<SettingId, Arc<Mutex<Slot>>>>);

impl Slots {
    pub(super) fn get(&self, id: SettingId) -> Option<Arc<Mutex<Slot>>> {
        lock(&self.0).get(&id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Mutex<Slot>>> {
        lock(&self.0).values().cloned().collect()
    }
}

/// A version as the revisions of its setting say.
struct Planned {
    terms: StreamTerms,
    activation: u64,
}

impl Slot {
    pub(super) fn new(id: SettingId) -> Slot {
        Slot {
            id,
            versions: Vec::new(),
            is_paused: false,
            broken: None,
            fault: None,
            published: (0, 0),
            terms: None,
        }
    }

    /// Takes the newest revision of the setting.
    pub(super) fn define(
        &mut self,
        reader: &Reader,
        setting: &Setting,
        checkpoints: Option<&Checkpoints>,
    ) {
        let terms = match StreamTerms::from_setting(setting) {
            Ok(terms) => terms,
            Err(error) => {
                self.broken = Some(format!("a later version of the server wrote it: {error}"));
                return;
            }
        };
        if self.terms.as_ref() == Some(&terms) {
            return;
        }
        let before = self.terms.replace(terms.clone());
        if std::mem::replace(&mut self.is_paused, terms.paused.is_some()) && !self.is_paused {
            // Somebody looked at what it did, and resumed it.
            for version in &mut self.versions {
                version.runner.rate = Rate::default();
            }
        }
        self.broken = None;
        let name = reader.ids().encode_setting(setting.kind, setting.id);
        let planned = match planned(reader, setting) {
            Ok(planned) => planned,
            Err(failure) => {
                self.broken = Some(failure.to_string());
                // So that it is tried again.
                self.terms = before;
                return;
            }
        };
        let Some(newest) = planned.last().map(|newest| newest.terms.version) else {
            // It was deleted a moment ago.
            return;
        };
        let bounds_differ = before.is_some_and(|before| before.bounds != terms.bounds);
        let mut oldest = self
            .versions
            .first()
            .map(|first| first.runner.terms.version);
        let mut given_up = Vec::new();
        // The newest one first: its checkpoint says which earlier ones had not ended.
        for Planned { terms, activation } in planned.into_iter().rev() {
            let number = terms.version;
            // It was changed while it was paused: what waits then, also of earlier versions, is not done any more.
            let is_given_up = terms.paused.is_some() || !given_up.is_empty();
            if number != newest && terms.act.is_some() && is_given_up {
                given_up.push(number);
            }
            let of_number = |one: &Version| one.runner.terms.version == number;
            let found = self.versions.iter().position(of_number);
            let is_wanted = match found {
                Some(_) => number == newest && bounds_differ,
                None => number == newest || oldest.is_some_and(|oldest| number >= oldest),
            };
            if !is_wanted {
                continue;
            }
            if let Some(at) = found {
                // What it holds goes on under the new bounds.
                let version = self.versions.remove(at);
                if let Some(checkpoints) = checkpoints {
                    version.keep_now(self.id, oldest.unwrap_or(number), checkpoints);
                }
            }
            let publishes = terms.acts_as().is_some();
            let made = make(reader, self.id, &name, terms, activation, checkpoints);
            match made {
                Ok((version, kept)) => {
                    self.versions.push(version);
                    // Without a checkpoint it is not known what an earlier version has published.
                    let first = if publishes { 0 } else { number };
                    oldest.get_or_insert(kept.unwrap_or(first));
                }
                Err(why) => self.broken = Some(why),
            }
        }
        for Version { runner, .. } in &mut self.versions {
            if given_up.contains(&runner.terms.version) {
                runner.give_up();
            }
        }
        self.versions
            .sort_by_key(|version| version.runner.terms.version);
        let activations: Vec<u64> = self
            .versions
            .iter()
            .map(|one| one.runner.activation)
            .collect();
        for (version, next) in self
            .versions
            .iter_mut()
            .zip(activations.into_iter().skip(1))
        {
            version.runner.until = Some(next);
        }
        while self.versions.len() > VERSIONS_MAX {
            let lost = self.versions.remove(0).runner;
            tracing::error!(
                stream = lost.name(),
                version = lost.terms.version,
                "the definition changed too often: an earlier version is given up, with what it had to publish"
            );
        }
    }

    /// Ends versions that have done what they had to.
    pub(super) fn end_old(&mut self, checkpoints: Option<&Checkpoints>) {
        let is_live = self.versions.last().is_some_and(|newest| newest.is_live);
        if self.versions.len() < 2 || !is_live {
            return;
        }
        let id = self.id;
        let newest = self.versions.len() - 1;
        let mut at = 0;
        self.versions.retain(|version| {
            let runner = &version.runner;
            let is_done = at < newest && runner.is_over() && runner.waiting().is_empty();
            at += 1;
            if is_done && let Some(checkpoints) = checkpoints {
                checkpoints.remove(id, runner.terms.version);
            }
            !is_done
        });
    }

    /// Returns the number of actions of the stream in the minute of `time`, nanoseconds since the Unix epoch.
    pub(super) fn actions_at(&self, time: u64) -> u64 {
        let versions = self.versions.iter();
        versions.map(|version| version.runner.rate.at(time)).sum()
    }

    /// Keeps checkpoints: of those that are due, or of all.
    pub(super) fn keep(&mut self, all: bool, checkpoints: &Checkpoints) {
        let Some(oldest) = self
            .versions
            .first()
            .map(|first| first.runner.terms.version)
        else {
            return;
        };
        for version in &mut self.versions {
            if !all && !version.is_due() {
                continue;
            }
            let begun = Instant::now();
            let position = version.keep_now(self.id, oldest, checkpoints);
            let position = position.unwrap_or(version.kept.0);
            version.kept = (position, begun, begun.elapsed());
        }
    }

    /// Tells each version what the others have waiting: the bound is that of the stream.
    pub(super) fn share_waiting_bound(&mut self) {
        let sizes = self.versions.iter().map(|one| one.runner.waiting_size());
        let all = sizes.fold(Size::default(), Size::add);
        for Version { runner, .. } in &mut self.versions {
            runner.waiting_elsewhere = all.without(runner.waiting_size());
        }
    }

    /// The version whose rows are shown: the newest one that has computed all that was recorded before it.
    pub(super) fn shown(&self) -> Option<&Runner> {
        let versions = self.versions.iter().map(|version| &version.runner);
        let caught_up = |runner: &&Runner| runner.position >= runner.activation;
        versions
            .clone()
            .rev()
            .find(caught_up)
            .or_else(|| versions.clone().next())
    }

    /// The version whose figures rules may look at: the one that is shown, if it keeps up with the journal.
    pub(super) fn current(&self) -> Option<&Runner> {
        let newest = self.versions.last()?;
        let shown = self.shown()?;
        let is_current = newest.is_live && !self.is_paused && !shown.is_over();
        is_current.then_some(shown)
    }

    /// Whether it will keep up with the journal and does not yet.
    pub(super) fn is_catching_up(&self) -> bool {
        let newest = self.versions.last();
        let is_late = newest.is_none_or(|newest| !newest.is_live && !newest.runner.is_over());
        is_late && self.broken.is_none() && !self.is_paused
    }

    pub(super) fn figures(&self, head: u64) -> Option<StreamFigures> {
        let (newest, shown) = (self.versions.last()?, self.shown()?);
        let stopped = newest.runner.why_stopped();
        let stopped = stopped.or_else(|| self.broken.clone());
        let state = match (&stopped, self.is_paused, newest.is_live) {
            (Some(_), _, _) => StreamState::Stopped,
            (None, true, _) => StreamState::Paused,
            (None, false, false) => StreamState::CatchingUp,
            (None, false, true) => StreamState::Running,
        };
        let paused = || {
            let reason = self.terms.as_ref()?.paused.as_ref();
            reason.filter(|reason| !reason.is_empty()).cloned()
        };
        let is_next = newest.runner.terms.version != shown.terms.version;
        let versions = || self.versions.iter().map(|version| &version.runner);
        Some(StreamFigures {
            state,
            why: stopped.or_else(|| self.fault.clone()).or_else(paused),
            version: shown.terms.version,
            next: is_next.then_some((newest.runner.terms.version, newest.runner.position)),
            position: shown.position,
            head,
            watermark_ms: shown
                .ready
                .stream
                .watermark()
                .map(|nanos| nanos.div_euclid(1_000_000)),
            results: shown.results,
            late_events: shown.ready.stream.late_events(),
            waiting: versions().map(|runner| runner.waiting().len() as u64).sum(),
            acted: versions().map(|runner| runner.acted).sum(),
            refused: versions().map(|runner| runner.refused).sum(),
            last_refusal: versions()
                .rev()
                .find_map(|runner| runner.last_refusal.clone()),
            usage: shown.usage(),
        })
    }
}

impl Version {
    /// A version that has taken everything up to `basis`, if that is known.
    pub(super) fn new(runner: Runner, basis: Option<Basis>) -> Version {
        Version {
            kept: (runner.position, Instant::now(), Duration::ZERO),
            runner,
            basis,
            is_live: false,
            is_told: false,
        }
    }

    fn is_due(&self) -> bool {
        let (position, at, took) = self.kept;
        let every = KEEP_EVERY.max(took * KEEP_COSTS);
        self.runner.position > position && at.elapsed() >= every
    }

    /// Keeps a checkpoint, which says that the versions from `oldest` on have not ended. Returns its position, if there is one.
    fn keep_now(&self, stream: SettingId, oldest: u64, checkpoints: &Checkpoints) -> Option<u64> {
        let is_end = |basis: &Basis| basis.position == self.runner.position;
        let basis = self.basis.filter(is_end)?;
        match checkpoints.keep(stream, &self.runner, oldest, basis) {
            Ok(()) => Some(basis.position),
            Err(error) => {
                tracing::error!(stream = self.runner.name(), %error, "the checkpoint of a stream can't be written; it will be tried again");
                None
            }
        }
    }
}

/// Makes a version with what was kept of it, which may say from which version on they had not ended.
fn make(
    reader: &Reader,
    stream: SettingId,
    name: &str,
    terms: StreamTerms,
    activation: u64,
    checkpoints: Option<&Checkpoints>,
) -> Result<(Version, Option<u64>), String> {
    let start = match terms.start {
        StartForm::Beginning => 0,
        StartForm::Now => activation,
    };
    let new = || Runner::new(name.to_owned(), terms.clone(), activation, start);
    let runner = new().map_err(|error| error.to_string())?;
    let is_known = |basis: &Basis| matches!(reader.standing(basis), Ok(Standing::Known));
    let kept = checkpoints.and_then(|checkpoints| checkpoints.read(stream, &terms));
    let Some(bytes) = kept else {
        return Ok((Version::new(runner, None), None));
    };
    match checkpoint::restore(&bytes, runner, is_known) {
        Ok((runner, basis, oldest)) => Ok((Version::new(runner, Some(basis)), Some(oldest))),
        Err(why) => {
            tracing::warn!(
                stream = name,
                why,
                "a checkpoint of a stream is not used; it is computed again"
            );
            let runner = new().map_err(|error| error.to_string())?;
            Ok((Version::new(runner, None), None))
        }
    }
}

/// The newest versions of a stream, the oldest first, each with the position of the record that made it.
fn planned(reader: &Reader, setting: &Setting) -> Result<Vec<Planned>, Failure> {
    let revisions = reader.setting_revisions(setting.id, Start::Newest, REVISIONS_MAX)?;
    let mut planned: Vec<Planned> = Vec::new();
    for record in revisions.items {
        let Some(revision) = record.setting() else {
            continue;
        };
        let Ok(terms) = StreamTerms::from_setting(&revision) else {
            break;
        };
        let activation = record.ctx.position;
        let is_full = planned.len() == VERSIONS_MAX;
        match planned.last_mut() {
            Some(last) if last.terms.version == terms.version => last.activation = activation,
            _ if is_full => break,
            _ => planned.push(Planned { terms, activation }),
        }
    }
    planned.reverse();
    Ok(planned)
}
