//! What a rule set would have found in the payments that are recorded.

use std::collections::BTreeMap;

use tributary_api::error::ApiError;
use tributary_api::failures::read_error;
use tributary_api::risk::{
    BACKTEST_RECORDS_BEFORE, BACKTEST_RECORDS_MAX, Backtest, BacktestTerms, FraudFigures,
    RuleEffect, RuleFigures,
};
use tributary_api::streaming::StreamTerms;
use tributary_engine::{Failure, IdKind, Reader, Start};
use tributary_ledger::{AMOUNT_MAX, Body, PaymentId, RiskLabel, Setting, SettingId, SettingKind};

use super::book::{Book, read_lists};
use super::look::{Questions, RuleFields, assess};
use super::payment::{PAYMENT_FIELDS_LEN, PaymentFields};
use super::ready::{ReadySet, Source, fraud_condition};
use super::replay::{Replay, Replayed, Seen, StreamVersion, first_position};
use super::report::Report;
use super::score::{Models, RecentModels, add_scores, read_models};
use crate::driver::definition::refused;
use crate::driver::runner::Runner;
use crate::expression::{Expression, FieldId, Fields, Scalar, Value};
use crate::risk::Effect;

/// Ids of payments that differ, as examples.
const EXAMPLES_MAX: usize = 20;
/// Revisions of a stream that are looked at.
const REVISIONS_MAX: usize = 1_000;

/// Runs a rule set over the newest records.
pub(super) fn run(
    reader: &Reader,
    asked: &BacktestTerms,
    recent: &RecentModels,
) -> Result<Backtest, ApiError> {
    let set = ReadySet::new(SettingId(0), 0, String::new(), &asked.rule_set);
    let set = set.map_err(|error| refused(&error))?;
    let fraud = asked.fraud.as_ref();
    let fraud = fraud
        .map(|text| fraud_condition(text, &asked.rule_set))
        .transpose()
        .map_err(|error| refused(&error))?;
    let end = reader.published();
    let after = end.saturating_sub(asked.records.min(BACKTEST_RECORDS_MAX));
    let begin = after.saturating_sub(BACKTEST_RECORDS_BEFORE);
    let mut streams: BTreeMap<String, StreamVersion> = BTreeMap::new();
    let mut runners: BTreeMap<StreamVersion, Runner> = BTreeMap::new();
    for setting in reader.settings(SettingKind::STREAM, None) {
        let slug = setting.slug.to_string();
        let is_used =
            |source: &Source| matches!(source, Source::Stream { slug: used, .. } if *used == slug);
        if !set.features.iter().any(|feature| is_used(&feature.source)) {
            continue;
        }
        let Ok(terms) = StreamTerms::from_setting(&setting) else {
            continue;
        };
        let version = (setting.id, terms.version);
        let made = made_by(reader, &setting, terms.version).map_err(read_error)?;
        let first = first_position(&terms, &made).max(begin);
        let runner = Runner::new(slug.clone(), terms, u64::MAX, first);
        runners.insert(version, runner.map_err(|error| refused(&error))?);
        streams.insert(slug, version);
    }
    let lists = read_lists(reader, &Book::default());
    let models = read_models(reader, &Models::default(), recent, set.models());
    let mut found = Found {
        backtest: Backtest {
            object: "backtest",
            first: if end > after { after + 1 } else { 0 },
            last: end,
            figures_from: if end > begin { begin + 1 } else { 0 },
            rules: set
                .names
                .iter()
                .map(|name| RuleFigures {
                    name: name.clone(),
                    ..RuleFigures::default()
                })
                .collect(),
            fraud: fraud.as_ref().map(|_| FraudFigures::default()),
            ..Backtest::default()
        },
        set: &set,
        models: models.ready,
        fraud: fraud.as_ref(),
        reader,
    };
    let mut replay = Replay {
        reader,
        runners,
        begin,
        end,
    };
    let mut each = |runners: &BTreeMap<StreamVersion, Runner>, seen: &Seen| {
        let known = Replayed::new(reader, seen, runners, &streams, &lists);
        found.take(seen, &known);
        Ok(())
    };
    let not_given = replay.run(after, false, &mut each, &mut |_| ());
    let not_given = not_given.map_err(read_error)?;
    Ok(found.end(not_given))
}

/// The oldest revision of a version of a stream, which made it.
fn made_by(reader: &Reader, setting: &Setting, version: u64) -> Result<Setting, Failure> {
    let revisions = reader.setting_revisions(setting.id, Start::Newest, REVISIONS_MAX)?;
    let revisions = revisions.items.iter().filter_map(|record| record.setting());
    let of_version = revisions.take_while(|revision| {
        StreamTerms::from_setting(revision).is_ok_and(|terms| terms.version == version)
    });
    Ok(of_version.last().unwrap_or_else(|| setting.clone()))
}

/// A payment as the condition `fraud` sees it.
struct FraudFields<'a, L> {
    rules: RuleFields<'a>,
    /// Number of features.
    features: usize,
    /// What it was, which is looked up only when it is asked for.
    label: L,
}

impl<L: Fn() -> Option<RiskLabel>> Fields for FraudFields<'_, L> {
    fn get(&self, field: FieldId) -> Option<Value<'_>> {
        if field.index() < PAYMENT_FIELDS_LEN + self.features {
            return self.rules.get(field);
        }
        let label = (self.label)()?;
        Some(Value::Scalar(Scalar::String(label.name())))
    }
}

struct Found<'a> {
    backtest: Backtest,
    set: &'a ReadySet,
    models: Models,
    fraud: Option<&'a Expression>,
    reader: &'a Reader,
}

impl Found<'_> {
    fn take(&mut self, seen: &Seen, known: &Replayed<'_>) {
        let payment = PaymentFields::new(self.reader, &seen.made, seen.at_ms);
        if !self.set.is_for(&payment) {
            return;
        }
        let backtest = &mut self.backtest;
        let mut values = Questions::new(self.set, &payment, seen.at_ms).look(known);
        add_scores(self.set, &payment, &mut values, &self.models);
        let finding = assess(self.set, &payment, &values);
        let is_stopped = finding.effect > Effect::Allow;
        let is_blocked = finding.effect == Effect::Block;
        backtest.assessed += 1;
        backtest.blocked += u64::from(is_blocked);
        backtest.held += u64::from(is_stopped && !is_blocked);
        backtest.without_value += u64::from(!finding.without_value.is_empty());
        for at in &finding.fired {
            backtest.rules[*at].fired += 1;
        }
        for at in &finding.without_value {
            backtest.rules[*at].without_value += 1;
        }
        if let (true, Body::Pay(pay)) = (is_stopped, &seen.made.body) {
            let amounts = &mut backtest.stopped_amounts;
            let sum = amounts.entry(pay.currency.code().to_owned()).or_default();
            *sum = sum.saturating_add(pay.amount).min(AMOUNT_MAX);
        }
        if let (Some(condition), Some(figures)) = (self.fraud, &mut backtest.fraud) {
            let fields = FraudFields {
                rules: RuleFields {
                    payment: &payment,
                    features: &values,
                },
                features: values.len(),
                label: || {
                    let payment = PaymentId(seen.position);
                    let now = self.reader.payment(payment).ok().flatten()?;
                    now.label
                },
            };
            match condition.holds(&fields) {
                Ok(is_fraud) => {
                    figures.frauds += u64::from(is_fraud);
                    figures.frauds_stopped += u64::from(is_fraud && is_stopped);
                    figures.others_stopped += u64::from(!is_fraud && is_stopped);
                }
                Err(_) => figures.unknown += 1,
            }
        }
        let Ok(report) = serde_json::from_slice::<Report<'_>>(&seen.report) else {
            return;
        };
        let was_stopped = report.effect != RuleEffect::Allow;
        let compared = &mut backtest.compared;
        compared.assessed += 1;
        compared.newly_stopped += u64::from(is_stopped && !was_stopped);
        compared.no_longer_stopped += u64::from(!is_stopped && was_stopped);
        if is_stopped != was_stopped {
            compared.examples.truncate(EXAMPLES_MAX - 1);
            let id = self.reader.ids().encode(IdKind::Payment, seen.position);
            compared.examples.insert(0, id);
        }
    }

    fn end(mut self, not_given: u64) -> Backtest {
        self.backtest.not_assessed = not_given;
        if let Some(figures) = &mut self.backtest.fraud {
            let share = |part: u64, of: u64| (of > 0).then(|| part * 10_000 / of);
            let stopped = figures.frauds_stopped + figures.others_stopped;
            figures.precision_basis_points = share(figures.frauds_stopped, stopped);
            figures.recall_basis_points = share(figures.frauds_stopped, figures.frauds);
        }
        self.backtest
    }
}
