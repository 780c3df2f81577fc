//! Models at work: the score of a payment as a feature of a rule set.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use tributary_api::risk::{MODELS_MAX, ModelFacts, ModelFormat, ModelTerms};
use tributary_engine::{Reader, lock};
use tributary_ledger::{OwnerId, Setting, SettingBody, SettingId, SettingKind, Slug};

use super::inputs::Input;
use super::look::{FeatureValues, RuleFields};
use super::payment::PaymentFields;
use super::ready::{ReadySet, Source};
use crate::expression::{Problem, Scalar};
use crate::model::{Format, Model};

/// Digits of a model's hash in reports.
const HASH_DIGITS: usize = 16;

/// Models by slug.
pub(super) type Models = BTreeMap<String, Arc<ReadyModel>>;

/// A revision of a model that can score payments.
#[derive(Clone, Debug)]
pub(super) struct ReadyModel {
    id: SettingId,
    revision: u64,
    /// Hash of the file.
    hash: String,
    model: Arc<Model>,
    /// Places of the features in the order of their names, which is that of inputs.
    by_name: Vec<usize>,
}

impl ReadyModel {
    /// Makes a revision of a model ready. `part` returns parts by their slugs.
    ///
    /// # Errors
    /// Why it can't score payments, as a sentence.
    pub(super) fn new(
        setting: &Setting,
        recent: &RecentModels,
        part: impl Fn(&str) -> Option<SettingBody>,
    ) -> Result<ReadyModel, String> {
        let terms = ModelTerms::from_setting(setting)
            .map_err(|error| format!("a later version of the server wrote it: {error}"))?;
        let model = recent.read(&terms.hash, || terms.file(part))?;
        let features = model.features();
        let mut by_name: Vec<usize> = (0..features.len()).collect();
        by_name.sort_by_key(|place| features[*place].as_bytes());
        Ok(ReadyModel {
            id: setting.id,
            revision: setting.revision,
            hash: terms.hash,
            model,
            by_name,
        })
    }

    /// Whether a setting says that its file is this one.
    fn is_file_of(&self, setting: &Setting) -> bool {
        ModelTerms::from_setting(setting).is_ok_and(|terms| terms.hash == self.hash)
    }

    /// The same file as another setting or revision says it.
    fn as_revision(&self, setting: &Setting) -> ReadyModel {
        ReadyModel {
            id: setting.id,
            revision: setting.revision,
            ..self.clone()
        }
    }

    /// What reports say of it: its id, its revision, and the beginning of its hash.
    pub(super) fn told(&self, reader: &Reader) -> (String, u64, String) {
        let id = reader.ids().encode_setting(SettingKind::MODEL, self.id);
        (id, self.revision, self.hash[..HASH_DIGITS].to_owned())
    }

    /// Names of the features, in the order of the file.
    pub(super) fn features(&self) -> &[String] {
        self.model.features()
    }

    /// The score of a payment; none if an input has no value that the model needs, or the inputs do not fit.
    fn score(&self, inputs: &[Input], fields: &RuleFields<'_>) -> Option<u16> {
        let features = self.model.features();
        if inputs.len() != features.len() {
            return None;
        }
        let mut row = vec![None; inputs.len()];
        for (input, place) in inputs.iter().zip(&self.by_name) {
            if input.name != features[*place] {
                return None;
            }
            row[*place] = match input.value.evaluate(fields) {
                Ok(Scalar::Int(value)) => Some(value),
                Err(error) if input.is_optional && is_absence(error.problem) => None,
                _ => return None,
            };
        }
        Some(self.model.score(&row))
    }
}

/// Whether a value is missing, rather than wrong.
fn is_absence(problem: Problem) -> bool {
    matches!(problem, Problem::MissingField | Problem::MissingKey)
}

/// Adds the scores of models to the other features of a payment.
pub(super) fn add_scores(
    set: &ReadySet,
    payment: &PaymentFields<'_>,
    values: &mut FeatureValues,
    models: &Models,
) {
    for (number, feature) in set.features.iter().enumerate() {
        let Source::Model { slug, inputs } = &feature.source else {
            continue;
        };
        let fields = RuleFields {
            payment,
            features: values,
        };
        let score = models
            .get(slug)
            .and_then(|model| model.score(inputs, &fields));
        values[number] = score.map(|score| Scalar::Int(score.into()));
    }
}

/// Models that were read lately, so that one that was checked when it was put need not be read again when it comes to work.
#[derive(Debug, Default)]
pub(super) struct RecentModels(Mutex<VecDeque<(String, Arc<Model>)>>);

impl RecentModels {
    /// Returns the model whose file has this hash, read from `file` unless it was lately.
    fn read(
        &self,
        hash: &str,
        file: impl FnOnce() -> Result<Vec<u8>, String>,
    ) -> Result<Arc<Model>, String> {
        if let Some(model) = self.find(hash) {
            return Ok(model);
        }
        let model = Model::read(&file()?).map_err(|error| error.to_string())?;
        Ok(self.keep(hash.to_owned(), model))
    }

    fn find(&self, hash: &str) -> Option<Arc<Model>> {
        let recent = lock(&self.0);
        let found = recent.iter().find(|(known, _)| known == hash);
        found.map(|(_, model)| model.clone())
    }

    /// Keeps a model that was read, in the place of the oldest.
    pub(super) fn keep(&self, hash: String, model: Model) -> Arc<Model> {
        let model = Arc::new(model);
        let mut recent = lock(&self.0);
        recent.truncate(MODELS_MAX - 1);
        recent.push_front((hash, model.clone()));
        model
    }
}

/// Models of these slugs, as far as there are such: those that can score, and why others can't.
#[derive(Default)]
pub(super) struct KnownModels {
    pub(super) ready: Models,
    pub(super) broken: BTreeMap<String, String>,
}

/// Reads models as they are now. What did not change is kept.
pub(super) fn read_models<'s>(
    reader: &Reader,
    before: &Models,
    recent: &RecentModels,
    slugs: impl Iterator<Item = &'s str>,
) -> KnownModels {
    let mut known = KnownModels::default();
    for slug in slugs {
        if known.ready.contains_key(slug) || known.broken.contains_key(slug) {
            continue;
        }
        let Some(setting) = find_model(reader, slug) else {
            continue;
        };
        let same =
            |model: &&Arc<ReadyModel>| (model.id, model.revision) == (setting.id, setting.revision);
        let made = match before.values().find(same) {
            Some(model) => Ok(model.clone()),
            None => {
                // Another revision may have the same file.
                let read = before.values().find(|model| model.is_file_of(&setting));
                match read {
                    Some(model) => Ok(Arc::new(model.as_revision(&setting))),
                    None => ReadyModel::new(&setting, recent, |part| find_part(reader, part))
                        .map(Arc::new),
                }
            }
        };
        match made {
            Ok(model) => {
                known.ready.insert(slug.to_owned(), model);
            }
            Err(why) => {
                known.broken.insert(slug.to_owned(), why);
            }
        }
    }
    known
}

/// The model with this slug.
pub(super) fn find_model(reader: &Reader, slug: &str) -> Option<Setting> {
    let slug = Slug::new(slug).ok()?;
    reader.setting_by_slug(OwnerId::PLATFORM, SettingKind::MODEL, &slug)
}

fn find_part(reader: &Reader, slug: &str) -> Option<SettingBody> {
    let slug = Slug::new(slug).ok()?;
    let part = reader.setting_by_slug(OwnerId::PLATFORM, SettingKind::MODEL_PART, &slug)?;
    Some(part.body)
}

/// Returns what the file of a model says.
pub(super) fn facts_of(model: &Model) -> ModelFacts {
    ModelFacts {
        format: match model.format() {
            Format::Xgboost => ModelFormat::Xgboost,
            Format::Lightgbm => ModelFormat::Lightgbm,
        },
        trees: model.trees(),
        features: model.features().to_vec(),
    }
}
