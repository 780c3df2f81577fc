//! Rules at work: payments in, assessments out, before the payments are decided.

mod backtest;
mod book;
mod inputs;
mod look;
mod payment;
mod ready;
mod replay;
mod report;
mod score;
mod verify;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use tributary_api::error::ApiError;
use tributary_api::risk::{
    Backtest, BacktestTerms, ModelFacts, ModelTerms, Risk, RuleSetFigures, RuleSetState,
    RuleSetTerms, Verified, model_hash,
};
use tributary_engine::{Failure, Judge, Reader, lock};
use tributary_ledger::{
    self as ledger, Assessment, Body, Command, PaymentId, ReviewKind, ReviewTerms, SettingId,
};

use self::book::{Book, Books, UsedStream};
use self::inputs::check_fit;
use self::look::{FeatureValues, Known, Questions, assess, place_of};
use self::payment::{NS_PER_MS, PaymentFields};
use self::ready::{Feature, ReadySet, Source};
use self::replay::as_it_runs;
use self::report::{Report, SetReport, named};
use self::score::{add_scores, facts_of, find_model, read_models};
use super::definition::refused;
use super::fields::{EventFields, OwnerNames};
use super::runner::Runner;
use super::slot::{Slot, Slots};
use crate::model::Model;
use crate::risk::Effect;
use crate::stream::Expected;

/// The rules of a server, which assess its payments.
pub struct Rules {
    reader: Reader,
    slots: Arc<Slots>,
    books: Books,
}

impl Judge for Rules {
    fn is_needed(&self) -> bool {
        !self.books.current(&self.reader).sets.is_empty()
    }

    fn assess(&self, commands: &mut [Command]) {
        let book = self.books.current(&self.reader);
        // The end of the present millisecond, so that everything that is recorded is before it.
        let at_ms = i64::try_from(self.reader.now()).unwrap_or(i64::MAX) / NS_PER_MS + 1;
        let used = book.used_streams(&self.slots);
        let mut request = Request {
            rules: self,
            book: &book,
            used: &used,
            at_ms,
            is_single: commands.len() == 1,
            standing: None,
            earlier: Earlier::default(),
        };
        let repeated = self.find_repeated(commands);
        let mut found = Vec::new();
        for (at, command) in commands.iter().enumerate() {
            let made = match &command.body {
                Body::Pay(_) if repeated.contains(&at) => continue,
                Body::Pay(_) => Cow::Borrowed(command),
                Body::Run(id) => match self.queued(*id) {
                    Some(queued) => Cow::Owned(queued),
                    None => continue,
                },
                _ => continue,
            };
            let payment = PaymentFields::new(&self.reader, &made, at_ms);
            found.extend(request.assess(&payment).map(|one| (at, one)));
        }
        drop(request);
        for (at, assessment) in found {
            commands[at].assessment = Some(Box::new(assessment));
        }
    }
}

impl Risk for Rules {
    fn check(&self, terms: &RuleSetTerms) -> Result<(), ApiError> {
        let ready = ReadySet::new(SettingId(0), 0, String::new(), terms);
        let ready = ready.map_err(|error| refused(&error))?;
        let book = self.books.current(&self.reader);
        for feature in &ready.features {
            if let Err(problem) = self.check_feature(&book, feature) {
                let field = format!("features.{}", feature.name);
                return Err(ApiError::invalid(&field, format!("{field}: {problem}.")));
            }
        }
        if terms.state.is_at_work() {
            // Read now, so that the payment after this does not wait for it.
            read_models(
                &self.reader,
                &book.models.ready,
                &self.books.recent,
                ready.models(),
            );
        }
        Ok(())
    }

    fn read_model(&self, slug: &str, file: &[u8]) -> Result<ModelFacts, ApiError> {
        let refused = |why: String| Err(ApiError::invalid("file", format!("file: {why}.")));
        let model = match Model::read(file) {
            Ok(model) => self.books.recent.keep(model_hash(file), model),
            Err(error) => return refused(error.to_string()),
        };
        let book = self.books.current(&self.reader);
        for set in &book.sets {
            for feature in &set.features {
                if let Source::Model { slug: used, inputs } = &feature.source
                    && used == slug
                    && let Err(problem) = check_fit(slug, model.features(), inputs)
                {
                    let (set, name) = (&set.name, &feature.name);
                    return refused(format!(
                        "the rule set {set} is at work and does not fit: features.{name}: {problem}; make a model with another slug, and a \
                         feature for it, or change the rule set first"
                    ));
                }
            }
        }
        Ok(facts_of(&model))
    }

    fn figures(&self, rule_set: SettingId) -> Option<RuleSetFigures> {
        let book = self.books.current(&self.reader);
        if let Some(why) = book.broken.get(&rule_set) {
            let problems = vec![why.clone()];
            return Some(RuleSetFigures {
                problems,
                ..RuleSetFigures::default()
            });
        }
        let set = book.sets.iter().find(|set| set.id == rule_set)?;
        let problems = set.features.iter().filter_map(|feature| {
            let problem = self.find_problem(&book, feature)?;
            Some(format!("features.{}: {problem}", feature.name))
        });
        Some(set.figures(problems.collect()))
    }

    fn backtest(&self, asked: &BacktestTerms) -> Result<Backtest, ApiError> {
        backtest::run(&self.reader, asked, &self.books.recent)
    }
}

impl Rules {
    /// The rules that the settings say, over figures of these streams.
    pub(super) fn new(reader: Reader, slots: Arc<Slots>) -> Arc<Rules> {
        Arc::new(Rules {
            reader,
            slots,
            books: Books::default(),
        })
    }

    /// Whether no stream that rules look at is catching up.
    #[must_use]
    pub fn have_figures(&self) -> bool {
        let book = self.books.current(&self.reader);
        let used = book.used_streams(&self.slots);
        let mut slots = used.iter().map(|(_, slot)| lock(slot));
        book.are_there(&used) && slots.all(|slot| !slot.is_catching_up())
    }

    /// Computes every assessment of the journal again. Calls `progress` with the position now and then: the records are read twice.
    ///
    /// # Errors
    /// If the journal can't be read.
    pub fn verify(&self, progress: &mut dyn FnMut(u64)) -> Result<Verified, Failure> {
        verify::verify(&self.reader, progress)
    }

    /// The command that made a queued payment, as if it were made now.
    fn queued(&self, payment: PaymentId) -> Option<Command> {
        match self.reader.record(payment.0) {
            Ok(record) => as_it_runs(record?.command),
            Err(failure) => {
                tracing::error!(%failure, "a queued payment can't be read to assess it");
                None
            }
        }
    }

    /// Finds the payments of a request of several that repeat another under its key: what was decided once is neither assessed again
    /// nor counted for those that follow.
    fn find_repeated(&self, commands: &[Command]) -> HashSet<usize> {
        let mut seen = HashSet::new();
        let mut repeated = HashSet::new();
        if commands.len() == 1 {
            return repeated;
        }
        for (at, command) in commands.iter().enumerate() {
            let (owner, key) = (command.actor.owner, &command.key);
            if matches!(command.body, Body::Pay(_)) {
                let is_new = seen.insert((owner, key.as_bytes()))
                    && !self.reader.key_used(owner, key).unwrap_or(false);
                if !is_new {
                    repeated.insert(at);
                }
            }
        }
        repeated
    }

    /// Checks that a feature fits the stream or the model that it names, if there is one with this slug now.
    fn check_feature(&self, book: &Book, feature: &Feature) -> Result<(), String> {
        let (slug, value) = match &feature.source {
            Source::Stream { slug, value } => (slug, value),
            Source::List { .. } => return Ok(()),
            Source::Model { slug, inputs } => {
                let terms = find_model(&self.reader, slug);
                let terms = terms.and_then(|model| ModelTerms::from_setting(&model).ok());
                return terms.map_or(Ok(()), |terms| {
                    check_fit(slug, &terms.facts.features, inputs)
                });
            }
        };
        let Some(slot) = book.stream(slug).and_then(|id| self.slots.get(id)) else {
            return Ok(());
        };
        let slot = lock(&slot);
        let place = slot.shown().map(|runner| place_of(runner, feature, value));
        place.transpose().map(|_| ())
    }

    /// Says why a feature is missing, if it is.
    fn find_problem(&self, book: &Book, feature: &Feature) -> Option<String> {
        let (slug, value) = match &feature.source {
            Source::List { slug } => {
                let is_there = book.is_listed(slug, "", 0).is_some();
                return (!is_there).then(|| format!("there is no list `{slug}`"));
            }
            Source::Model { slug, inputs } => {
                return match (book.models.ready.get(slug), book.models.broken.get(slug)) {
                    (Some(model), _) => check_fit(slug, model.features(), inputs).err(),
                    (None, Some(why)) => Some(format!("the model `{slug}` can't score: {why}")),
                    (None, None) => Some(format!("there is no model `{slug}`")),
                };
            }
            Source::Stream { slug, value } => (slug, value),
        };
        let Some(slot) = book.stream(slug).and_then(|id| self.slots.get(id)) else {
            return Some(format!("there is no stream `{slug}`"));
        };
        let slot = lock(&slot);
        match slot.current() {
            None => Some(format!(
                "the stream `{slug}` does not run, or is catching up"
            )),
            Some(runner) => {
                let place = place_of(runner, feature, value).map(|_| ());
                let looks = runner.ready.stream.check_look();
                place
                    .and_then(|()| looks.map_err(|why| why.to_string()))
                    .err()
            }
        }
    }
}

/// A request whose payments are assessed, one after the other, as of one record.
struct Request<'r> {
    rules: &'r Rules,
    book: &'r Book,
    used: &'r [(&'r UsedStream, &'r Arc<Mutex<Slot>>)],
    at_ms: i64,
    /// Whether it has one payment: then the streams stand still only while its figures are looked up.
    is_single: bool,
    standing: Option<Standing<'r>>,
    earlier: Earlier,
}

impl Request<'_> {
    /// Assesses the next payment by the rule sets that are for it; none if there is none.
    fn assess(&mut self, payment: &PaymentFields<'_>) -> Option<Assessment> {
        let sets = self.book.sets.iter();
        let sets: Vec<&Arc<ReadySet>> = sets.filter(|set| set.is_for(payment)).collect();
        if sets.is_empty() {
            return None;
        }
        let questions = sets.iter();
        let questions: Vec<Questions<'_>> = questions
            .map(|set| Questions::new(set, payment, self.at_ms))
            .collect();
        let standing = self.standing.take();
        let standing = standing.unwrap_or_else(|| Standing::new(self.used));
        let live = Live {
            standing: &standing,
            book: self.book,
            earlier: &self.earlier,
        };
        let mut all_values: Vec<FeatureValues> =
            questions.iter().map(|one| one.look(&live)).collect();
        let (as_of, streams) = (standing.as_of, standing.versions());
        // The streams go on while a single payment is scored and assessed.
        self.standing = Some(standing).filter(|_| !self.is_single);
        for (set, values) in sets.iter().zip(&mut all_values) {
            add_scores(set, payment, values, &self.book.models.ready);
        }
        let reader = &self.rules.reader;
        let mut effect = Effect::Allow;
        // Of several sets that have it held, the one that does for the shortest time.
        let mut held_seconds = 0;
        let mut reports = Vec::with_capacity(sets.len());
        for (set, values) in sets.iter().zip(&all_values) {
            let finding = assess(set, payment, values);
            set.count(&finding);
            if set.state == RuleSetState::Active && finding.effect >= effect {
                let seconds = set.held_seconds(finding.effect);
                held_seconds = match finding.effect > effect {
                    true => seconds,
                    false => held_seconds.min(seconds),
                };
                effect = finding.effect;
            }
            reports.push(SetReport::new(set, &finding, values));
        }
        let report = Report {
            as_of: as_of.unwrap_or_else(|| reader.published()),
            earlier: self.earlier.count,
            at: self.at_ms,
            evaluator: Report::EVALUATOR,
            effect: named(effect),
            is_shortened: false,
            rule_sets: reports,
            streams,
            lists: self.book.used_lists(reader, &sets),
            models: self.book.used_models(reader, &sets),
        };
        let report = report.into_bytes();
        let review = |kind| {
            let seconds = held_seconds;
            ledger::Effect::Review(ReviewTerms { kind, seconds })
        };
        let effect = match effect {
            Effect::Allow => ledger::Effect::Allow,
            Effect::Review => review(ReviewKind::Review),
            Effect::Challenge => review(ReviewKind::Challenge),
            Effect::Block => ledger::Effect::Block,
        };
        if effect == ledger::Effect::Allow
            && let Some(standing) = &self.standing
        {
            self.earlier.add(reader, standing, payment);
        }
        Some(Assessment::new(effect, &report).expect("a report is bounded"))
    }
}

/// Streams that stand still at one record.
struct Standing<'s> {
    guards: Vec<(&'s UsedStream, MutexGuard<'s, Slot>)>,
    /// Position of the record up to which figures count: that of the stream that is furthest. None without streams.
    as_of: Option<u64>,
}

impl<'s> Standing<'s> {
    fn new(used: &'s [(&'s UsedStream, &'s Arc<Mutex<Slot>>)]) -> Standing<'s> {
        let guards = used.iter().map(|(used, slot)| (*used, lock(slot)));
        let guards: Vec<_> = guards.collect();
        let runners = guards.iter().filter_map(|(_, slot)| slot.current());
        let as_of = runners.map(|runner| runner.position).max();
        Standing { guards, as_of }
    }

    /// The streams whose figures count.
    fn runners(&self) -> impl Iterator<Item = (&UsedStream, &Runner)> {
        let runners = self.guards.iter();
        let runners = runners.filter_map(|(used, slot)| Some((*used, slot.current()?)));
        runners.filter(|(_, runner)| Some(runner.position) == self.as_of)
    }

    /// Ids and versions of the streams whose figures count, by slug.
    fn versions(&self) -> BTreeMap<String, (String, u64)> {
        let versions = self.runners().map(|(used, runner)| {
            let version = (used.name.clone(), runner.terms.version);
            (used.slug.clone(), version)
        });
        versions.collect()
    }
}

/// What rules know of a payment now.
struct Live<'s> {
    standing: &'s Standing<'s>,
    book: &'s Book,
    earlier: &'s Earlier,
}

impl Known for Live<'_> {
    fn runner(&self, slug: &str) -> Option<&Runner> {
        let mut runners = self.standing.runners();
        let found = runners.find(|(used, _)| used.slug == slug);
        found.map(|(_, runner)| runner)
    }

    fn expected(&self, slug: &str) -> Option<&Expected> {
        self.earlier.streams.get(slug)
    }

    fn is_listed(&self, slug: &str, text: &str, at_ms: i64) -> Option<bool> {
        self.book.is_listed(slug, text, at_ms)
    }
}

/// The payments before one in the same request that were assessed, as each stream would count them: none of them is recorded yet.
#[derive(Default)]
struct Earlier {
    count: usize,
    /// By the slug of the stream.
    streams: HashMap<String, Expected>,
}

impl Earlier {
    /// Adds a payment that is not blocked, as if it were accepted.
    fn add(&mut self, reader: &Reader, standing: &Standing<'_>, payment: &PaymentFields<'_>) {
        self.count += 1;
        if standing.guards.is_empty() {
            return;
        }
        let (event_type, time, record) = payment.expected_event();
        let owners = OwnerNames::new(reader);
        let event = EventFields::new(reader, &owners, event_type, record);
        for (used, runner) in standing.runners() {
            let expected = self.streams.entry(used.slug.clone()).or_default();
            runner.expect(&event, time, expected);
        }
    }
}
