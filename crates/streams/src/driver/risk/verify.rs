//! Whether what is recorded of assessments can be found again from the journal.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tributary_api::risk::Verified;
use tributary_api::streaming::StreamTerms;
use tributary_engine::{Failure, Reader, Start, parse_record};
use tributary_ledger::codec::Operation;
use tributary_ledger::{Setting, SettingId, SettingKind};

use super::book::{List, read_list};
use super::look::{Questions, assess};
use super::payment::PaymentFields;
use super::ready::ReadySet;
use super::replay::{Replay, Replayed, Seen, StreamVersion, first_position};
use super::report::{Report, SetReport};
use super::score::{Models, ReadyModel, RecentModels, add_scores};
use crate::driver::feed::with_frame;
use crate::driver::runner::Runner;

/// Differences that are told one by one.
const DIFFERENCES_MAX: usize = 20;
/// Revisions of a setting that are looked at.
const REVISIONS_MAX: usize = 100_000;

/// A revision of a setting: of a stream its version.
type Revision = (SettingId, u64);

/// The revisions that assessments name, as far as they are known.
#[derive(Default)]
struct Named {
    streams: BTreeMap<Revision, Option<Runner>>,
    lists: BTreeMap<Revision, Option<Arc<List>>>,
    sets: BTreeMap<Revision, Option<ReadySet>>,
    models: BTreeMap<Revision, Option<Arc<ReadyModel>>>,
}

/// Positions of the records that put models and their parts, of deleted ones too.
#[derive(Default)]
struct Written {
    models: BTreeMap<Revision, u64>,
    /// By slug.
    parts: HashMap<String, u64>,
}

/// Computes every assessment of the journal again. Calls `progress` with the position now and then: the records are read twice.
///
/// # Errors
/// If the journal can't be read.
pub(super) fn verify(reader: &Reader, progress: &mut dyn FnMut(u64)) -> Result<Verified, Failure> {
    let end = reader.published();
    let mut named = Named::default();
    let mut verified = Verified {
        records: end,
        ..Verified::default()
    };
    let mut written = Written::default();
    let report = |report: &Report<'_>| {
        for (id, version) in report.streams.values() {
            if let Some(id) = id_of(reader, id) {
                named.streams.entry((id, *version)).or_default();
            }
        }
        for (id, revision) in report.lists.values() {
            if let Some(id) = id_of(reader, id) {
                named.lists.entry((id, *revision)).or_default();
            }
        }
        for set in &report.rule_sets {
            if let Some(id) = id_of(reader, set.rule_set) {
                named.sets.entry((id, set.revision)).or_default();
            }
        }
        for (id, revision, _) in report.models.values() {
            if let Some(id) = id_of(reader, id) {
                named.models.entry((id, *revision)).or_default();
            }
        }
    };
    each_record(reader, end, progress, report, |setting| {
        written.add(&setting)
    })?;
    named.find(reader)?;
    named.find_models(reader, &written)?;
    let streams = std::mem::take(&mut named.streams);
    let runners = streams.into_iter();
    let mut replay = Replay {
        reader,
        runners: runners
            .filter_map(|(version, runner)| Some((version, runner?)))
            .collect(),
        begin: 0,
        end,
    };
    let mut each = |runners: &BTreeMap<StreamVersion, Runner>, seen: &Seen| {
        check(reader, runners, &named, seen, &mut verified);
        Ok(())
    };
    let not_given = replay.run(0, true, &mut each, progress)?;
    verified.not_comparable += not_given;
    Ok(verified)
}

/// Assesses a payment again by each rule set that did.
fn check(
    reader: &Reader,
    runners: &BTreeMap<StreamVersion, Runner>,
    named: &Named,
    seen: &Seen,
    verified: &mut Verified,
) {
    if seen.report.is_empty() {
        return;
    }
    let report: Report<'_> =
        serde_json::from_slice(&seen.report).expect("it was read before it was given");
    let streams: Option<BTreeMap<String, StreamVersion>> = report
        .streams
        .iter()
        .map(|(slug, (id, version))| {
            let version = (id_of(reader, id)?, *version);
            runners
                .contains_key(&version)
                .then(|| (slug.clone(), version))
        })
        .collect();
    let listed: Option<BTreeMap<String, Arc<List>>> = report
        .lists
        .iter()
        .map(|(slug, (id, revision))| {
            let list = named.lists.get(&(id_of(reader, id)?, *revision))?.clone()?;
            Some((slug.clone(), list))
        })
        .collect();
    let models: Option<Models> = report
        .models
        .iter()
        .map(|(slug, (id, revision, _))| {
            let model = named
                .models
                .get(&(id_of(reader, id)?, *revision))?
                .clone()?;
            Some((slug.clone(), model))
        })
        .collect();
    let (true, Some(streams), Some(listed), Some(models)) = (
        report.evaluator == Report::EVALUATOR && !report.is_shortened,
        streams,
        listed,
        models,
    ) else {
        verified.not_comparable += report.rule_sets.len() as u64;
        return;
    };
    let known = Replayed::new(reader, seen, runners, &streams, &listed);
    let payment = PaymentFields::new(reader, &seen.made, seen.at_ms);
    for told in &report.rule_sets {
        let set = id_of(reader, told.rule_set)
            .and_then(|id| named.sets.get(&(id, told.revision))?.as_ref());
        let Some(set) = set else {
            verified.not_comparable += 1;
            continue;
        };
        let mut values = Questions::new(set, &payment, seen.at_ms).look(&known);
        add_scores(set, &payment, &mut values, &models);
        let finding = assess(set, &payment, &values);
        let again = SetReport::new(set, &finding, &values);
        if again == *told {
            verified.same += 1;
            continue;
        }
        verified.different += 1;
        if verified.differences.len() < DIFFERENCES_MAX {
            let json =
                |report: &SetReport<'_>| serde_json::to_string(report).expect("a report is JSON");
            let what = format!("recorded {}, computed again {}", json(told), json(&again));
            verified.differences.push((seen.position, what));
        }
    }
}

fn id_of(reader: &Reader, id: &str) -> Option<SettingId> {
    reader.ids().decode_setting(id).map(|(_, id)| id)
}

impl Named {
    /// Finds the revisions of the settings that still live.
    fn find(&mut self, reader: &Reader) -> Result<(), Failure> {
        let ids = |revisions: Vec<&Revision>| {
            let mut ids: Vec<SettingId> = revisions.iter().map(|(id, _)| *id).collect();
            ids.dedup();
            ids
        };
        for id in ids(self.streams.keys().collect()) {
            each_revision(reader, id, |setting| {
                let Ok(terms) = StreamTerms::from_setting(setting) else {
                    return;
                };
                if let Some(runner) = self.streams.get_mut(&(id, terms.version)) {
                    // The newest revision of a version has the bounds under which it went on; the oldest one, which comes last, made it.
                    let newest = runner.take().map(|newer| newer.terms);
                    let terms = newest.unwrap_or(terms);
                    let begin = first_position(&terms, setting);
                    let name = setting.slug.to_string();
                    *runner = Runner::new(name, terms, u64::MAX, begin).ok();
                }
            })?;
        }
        for id in ids(self.lists.keys().collect()) {
            each_revision(reader, id, |setting| {
                if let Some(list) = self.lists.get_mut(&(id, setting.revision)) {
                    *list = read_list(setting).map(Arc::new);
                }
            })?;
        }
        for id in ids(self.sets.keys().collect()) {
            each_revision(reader, id, |setting| {
                if let Some(set) = self.sets.get_mut(&(id, setting.revision)) {
                    *set = ReadySet::at_work(reader, setting).ok().flatten();
                }
            })?;
        }
        Ok(())
    }
}

impl Named {
    /// Finds the models, deleted ones too: their records are known.
    fn find_models(&mut self, reader: &Reader, written: &Written) -> Result<(), Failure> {
        let recent = RecentModels::default();
        for (revision, model) in &mut self.models {
            let record = written.models.get(revision).map(|at| reader.record(*at));
            let Some(setting) = record
                .transpose()?
                .flatten()
                .and_then(|found| found.setting())
            else {
                continue;
            };
            let part = |slug: &str| {
                let record = reader.record(*written.parts.get(slug)?).ok()??;
                Some(record.setting()?.body)
            };
            match ReadyModel::new(&setting, &recent, part) {
                Ok(ready) => *model = Some(Arc::new(ready)),
                Err(why) => {
                    tracing::warn!(model = %setting.slug, why, "a model can't be read from the journal");
                }
            }
        }
        Ok(())
    }
}

impl Written {
    /// Takes a setting that a record put.
    fn add(&mut self, setting: &Setting) {
        let position = setting.changed.position;
        match setting.kind {
            SettingKind::MODEL => {
                self.models.insert((setting.id, setting.revision), position);
            }
            SettingKind::MODEL_PART => {
                self.parts.insert(setting.slug.to_string(), position);
            }
            _ => {}
        }
    }
}

/// Calls `each` with every revision of a living setting, the newest first.
fn each_revision(
    reader: &Reader,
    id: SettingId,
    mut each: impl FnMut(&Setting),
) -> Result<(), Failure> {
    let revisions = reader.setting_revisions(id, Start::Newest, REVISIONS_MAX)?;
    let settings = revisions.items.iter().filter_map(|record| record.setting());
    settings.for_each(|setting| each(&setting));
    Ok(())
}

/// Calls `each_report` with every report up to a record, and `each_setting` with every setting that was put.
fn each_record(
    reader: &Reader,
    end: u64,
    progress: &mut dyn FnMut(u64),
    mut each_report: impl FnMut(&Report<'_>),
    mut each_setting: impl FnMut(Setting),
) -> Result<(), Failure> {
    let mut position = 0;
    while position < end {
        position = with_frame(reader, position + 1, |frame| {
            for record in frame.records() {
                let record = parse_record(record.position(), record.payload())?;
                let report = record.assessment().map(|found| found.report);
                if let Some(Ok(report)) = report.map(serde_json::from_slice) {
                    each_report(&report);
                }
                if record.operation() == Operation::PutSetting {
                    let whole = record.to_record().map_err(|error| Failure::RecordDamaged {
                        position: record.context().position,
                        what: error.to_string(),
                    })?;
                    whole.setting().into_iter().for_each(&mut each_setting);
                }
            }
            Ok(frame.head().position)
        })?;
        progress(position);
    }
    Ok(())
}
