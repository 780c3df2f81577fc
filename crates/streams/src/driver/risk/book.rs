//! The rule sets and lists that are in force, as the settings say.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use tributary_api::risk::{AT_WORK_MAX, ListTerms, RuleSetState};
use tributary_engine::Reader;
use tributary_ledger::{Setting, SettingId, SettingKind};

use super::ready::{ReadySet, Source};
use super::score::{KnownModels, RecentModels, read_models};
use crate::driver::slot::{Slot, Slots};

/// What is in force at a moment.
#[derive(Default)]
pub(super) struct Book {
    /// [`Reader::settings_changed_at`] when it was made.
    as_of: u64,
    /// Rule sets in shadow or active: those that decide first, and of each the oldest.
    pub(super) sets: Vec<Arc<ReadySet>>,
    /// Why other rule sets in shadow or active can't be applied.
    pub(super) broken: BTreeMap<SettingId, String>,
    lists: BTreeMap<String, Arc<List>>,
    /// Models that the rule sets look at.
    pub(super) models: KnownModels,
    streams: BTreeMap<String, SettingId>,
    /// Streams that the rule sets look at, in the order in which the thread of the streams locks them.
    used: Vec<UsedStream>,
}

/// A stream that rule sets look at.
pub(super) struct UsedStream {
    pub(super) slug: String,
    /// Id in answers.
    pub(super) name: String,
    id: SettingId,
    /// Kept once it is there.
    slot: OnceLock<Arc<Mutex<Slot>>>,
}

/// A list: when each text ends, in milliseconds, if it does.
pub(super) struct List {
    id: SettingId,
    revision: u64,
    entries: HashMap<String, Option<u64>>,
}

impl Book {
    /// The stream with this slug.
    pub(super) fn stream(&self, slug: &str) -> Option<SettingId> {
        self.streams.get(slug).copied()
    }

    /// The streams that the rule sets look at, as far as they are there, in the order in which the thread of the streams locks them.
    pub(super) fn used_streams(&self, slots: &Slots) -> Vec<(&UsedStream, &Arc<Mutex<Slot>>)> {
        let used = self.used.iter().filter_map(|used| {
            if used.slot.get().is_none() {
                let _other_was_faster = used.slot.set(slots.get(used.id)?);
            }
            Some((used, used.slot.get()?))
        });
        used.collect()
    }

    /// Whether these are all streams that the rule sets look at.
    pub(super) fn are_there(&self, used: &[(&UsedStream, &Arc<Mutex<Slot>>)]) -> bool {
        used.len() == self.used.len()
    }

    /// Whether the list with this slug has the text at this time; none if there is no such list.
    pub(super) fn is_listed(&self, slug: &str, text: &str, now_ms: i64) -> Option<bool> {
        Some(self.lists.get(slug)?.has(text, now_ms))
    }

    /// Ids and revisions of the lists that rule sets look at.
    pub(super) fn used_lists(
        &self,
        reader: &Reader,
        sets: &[&Arc<ReadySet>],
    ) -> BTreeMap<String, (String, u64)> {
        let features = sets.iter().flat_map(|set| &set.features);
        let used = features.filter_map(|feature| match &feature.source {
            Source::List { slug } => {
                let list = self.lists.get(slug)?;
                let id = reader.ids().encode_setting(SettingKind::LIST, list.id);
                Some((slug.clone(), (id, list.revision)))
            }
            Source::Stream { .. } | Source::Model { .. } => None,
        });
        used.collect()
    }

    /// Ids, revisions and hashes of the models that rule sets look at.
    pub(super) fn used_models(
        &self,
        reader: &Reader,
        sets: &[&Arc<ReadySet>],
    ) -> BTreeMap<String, (String, u64, String)> {
        let slugs = sets.iter().flat_map(|set| set.models());
        let used = slugs.filter_map(|slug| {
            let model = self.models.ready.get(slug)?;
            Some((slug.to_owned(), model.told(reader)))
        });
        used.collect()
    }

    /// Whether a setting changed between the reading of a model and that of its parts.
    fn is_torn(&self, reader: &Reader) -> bool {
        !self.models.broken.is_empty() && reader.settings_changed_at() != self.as_of
    }

    /// Makes what is in force now. What did not change is kept, with what it counted.
    fn make(reader: &Reader, before: &Book, recent: &RecentModels) -> Book {
        // Taken before the settings are read: what changes meanwhile is read again.
        let mut book = Book {
            as_of: reader.settings_changed_at(),
            ..Book::default()
        };
        for setting in reader.settings(SettingKind::RULE_SET, None) {
            let same =
                |set: &&Arc<ReadySet>| (set.id, set.revision) == (setting.id, setting.revision);
            let kept = before.sets.iter().find(same).cloned();
            let made = || ReadySet::at_work(reader, &setting).map(|made| made.map(Arc::new));
            match kept.map_or_else(made, |kept| Ok(Some(kept))) {
                Ok(set) => book.sets.extend(set),
                Err(why) => {
                    tracing::error!(rule_set = %setting.slug, why, "a rule set can't be applied");
                    book.broken.insert(setting.id, why);
                }
            }
        }
        book.sets
            .sort_by_key(|set| (set.state != RuleSetState::Active, set.created));
        for set in book.sets.drain(AT_WORK_MAX.min(book.sets.len())..) {
            let why = format!("{AT_WORK_MAX} other rule sets are in shadow or active");
            book.broken.insert(set.id, why);
        }
        let streams = reader.settings(SettingKind::STREAM, None).into_iter();
        book.streams = streams
            .map(|setting| (setting.slug.to_string(), setting.id))
            .collect();
        if book.sets.is_empty() {
            return book;
        }
        book.lists = read_lists(reader, before);
        let slugs = book.sets.iter().flat_map(|set| set.models());
        book.models = read_models(reader, &before.models.ready, recent, slugs);
        let features = book.sets.iter().flat_map(|set| &set.features);
        let slugs = features.filter_map(|feature| match &feature.source {
            Source::Stream { slug, .. } => Some((book.stream(slug)?, slug)),
            Source::List { .. } | Source::Model { .. } => None,
        });
        let by_id: BTreeMap<SettingId, &String> = slugs.collect();
        let used = by_id.into_iter().map(|(id, slug)| UsedStream {
            slug: slug.clone(),
            name: reader.ids().encode_setting(SettingKind::STREAM, id),
            id,
            slot: OnceLock::new(),
        });
        book.used = used.collect();
        book
    }
}

impl List {
    /// Whether it has the text at this time, in milliseconds.
    pub(super) fn has(&self, text: &str, at_ms: i64) -> bool {
        let is_before = |until: u64| i64::try_from(until).is_ok_and(|until| at_ms < until);
        let until = self.entries.get(text);
        until.is_some_and(|until| until.is_none_or(is_before))
    }
}

/// The lists by slug. What did not change is kept.
pub(super) fn read_lists(reader: &Reader, before: &Book) -> BTreeMap<String, Arc<List>> {
    let mut lists = BTreeMap::new();
    for setting in reader.settings(SettingKind::LIST, None) {
        let same = |list: &&Arc<List>| (list.id, list.revision) == (setting.id, setting.revision);
        let kept = before.lists.values().find(same).cloned();
        if let Some(list) = kept.or_else(|| read_list(&setting).map(Arc::new)) {
            lists.insert(setting.slug.to_string(), list);
        }
    }
    lists
}

pub(super) fn read_list(setting: &Setting) -> Option<List> {
    let terms = match ListTerms::from_setting(setting) {
        Ok(terms) => terms,
        Err(error) => {
            tracing::error!(list = %setting.slug, %error, "a later version of the server wrote a list");
            return None;
        }
    };
    let entries = terms.entries.into_iter();
    Some(List {
        id: setting.id,
        revision: setting.revision,
        entries: entries.map(|entry| (entry.value, entry.until_ms)).collect(),
    })
}

/// The book, made anew when a setting changed.
#[derive(Default)]
pub(super) struct Books {
    current: RwLock<Option<Arc<Book>>>,
    /// Models that were read lately.
    pub(super) recent: RecentModels,
}

impl Books {
    /// What is in force now: every setting whose record is published is in it.
    pub(super) fn current(&self, reader: &Reader) -> Arc<Book> {
        let changed_at = reader.settings_changed_at();
        let is_current = |book: &&Arc<Book>| book.as_of == changed_at;
        let known = || {
            self.current
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        };
        if let Some(book) = known().as_ref().filter(is_current) {
            return book.clone();
        }
        let mut book = self
            .current
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // Another thread may have made it meanwhile.
        let changed_at = reader.settings_changed_at();
        let made = match book.take() {
            Some(book) if book.as_of == changed_at => book,
            before => {
                let before = before.unwrap_or_default();
                let mut made = Book::make(reader, &before, &self.recent);
                while made.is_torn(reader) {
                    made = Book::make(reader, &before, &self.recent);
                }
                for (model, why) in &made.models.broken {
                    tracing::error!(model, why, "a model can't score payments");
                }
                Arc::new(made)
            }
        };
        book.insert(made).clone()
    }
}
