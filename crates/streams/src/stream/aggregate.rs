//! Aggregates over the events of one window.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::codec::{Reader, Writer};
use super::errors::StopReason;
use super::value::OwnedScalar;

/// Bytes counted for each distinct value, beside its text.
const DISTINCT_VALUE_BYTES: usize = 48;

/// Bytes counted for an aggregate.
pub(super) const AGGREGATE_BYTES: usize = 48;

/// What an aggregate computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Count,
    Sum,
    Min,
    Max,
    Distinct,
    First,
    Last,
}

/// A checked aggregate.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Place of its input among the inputs of an event. A count has none and does not look at it.
    pub(super) input: usize,
}

/// The aggregates of a stream.
#[derive(Debug)]
pub(super) struct Plans {
    pub(super) list: Vec<Plan>,
    /// Number of inputs of an event.
    pub(super) inputs: usize,
    pub(super) distinct_values_max: usize,
}

impl Plans {
    fn check_distinct(&self, plan: &Plan, size: usize) -> Result<(), StopReason> {
        if size > self.distinct_values_max {
            return Err(StopReason::DistinctValues {
                name: plan.name.clone(),
                max: self.distinct_values_max,
            });
        }
        Ok(())
    }
}

fn int(value: &OwnedScalar) -> i64 {
    match value {
        OwnedScalar::Int(value) => *value,
        _ => unreachable!("the definition was checked: sums and extremes are of integers"),
    }
}

fn size(count: usize) -> OwnedScalar {
    OwnedScalar::Int(i64::try_from(count).expect("the bytes of state are bounded"))
}

/// Results of the aggregates, in the order of their definition; none for one that needs an event and has none.
pub(super) type Values = Vec<Option<OwnedScalar>>;

/// Returns the results over no event.
pub(super) fn values_of_nothing(plans: &Plans) -> Values {
    let value = |plan: &Plan| match plan.kind {
        Kind::Count | Kind::Sum | Kind::Distinct => Some(OwnedScalar::Int(0)),
        Kind::Min | Kind::Max | Kind::First | Kind::Last => None,
    };
    plans.list.iter().map(value).collect()
}

/// Aggregates of a window that only grows. It has one event at least.
#[derive(Clone)]
pub(super) struct Accumulators(Box<[Accumulator]>);

#[derive(Clone)]
enum Accumulator {
    Count(i64),
    Sum(i64),
    Min(i64),
    Max(i64),
    Distinct(BTreeSet<OwnedScalar>, usize),
    First(OwnedScalar),
    Last(OwnedScalar),
}

impl Accumulators {
    /// Begins with the inputs of the first event.
    pub(super) fn new(plans: &Plans, inputs: &[OwnedScalar]) -> Accumulators {
        let begin = |plan: &Plan| match plan.kind {
            Kind::Count => Accumulator::Count(1),
            Kind::Sum => Accumulator::Sum(int(&inputs[plan.input])),
            Kind::Min => Accumulator::Min(int(&inputs[plan.input])),
            Kind::Max => Accumulator::Max(int(&inputs[plan.input])),
            Kind::Distinct => {
                let value = &inputs[plan.input];
                let bytes = DISTINCT_VALUE_BYTES + value.heap_bytes();
                Accumulator::Distinct(BTreeSet::from([value.clone()]), bytes)
            }
            Kind::First => Accumulator::First(inputs[plan.input].clone()),
            Kind::Last => Accumulator::Last(inputs[plan.input].clone()),
        };
        Accumulators(plans.list.iter().map(begin).collect())
    }

    /// Adds an event that is not before those that were added.
    pub(super) fn add(&mut self, plans: &Plans, inputs: &[OwnedScalar]) -> Result<(), StopReason> {
        for (accumulator, plan) in self.0.iter_mut().zip(&plans.list) {
            match accumulator {
                Accumulator::Count(count) => *count += 1,
                Accumulator::Sum(sum) => {
                    let added = sum.checked_add(int(&inputs[plan.input]));
                    *sum = added.ok_or_else(|| StopReason::SumOverflow(plan.name.clone()))?;
                }
                Accumulator::Min(min) => *min = (*min).min(int(&inputs[plan.input])),
                Accumulator::Max(max) => *max = (*max).max(int(&inputs[plan.input])),
                Accumulator::Distinct(values, bytes) => {
                    let value = &inputs[plan.input];
                    if !values.contains(value) {
                        values.insert(value.clone());
                        *bytes += DISTINCT_VALUE_BYTES + value.heap_bytes();
                        plans.check_distinct(plan, values.len())?;
                    }
                }
                Accumulator::First(_) => {}
                Accumulator::Last(last) => last.clone_from(&inputs[plan.input]),
            }
        }
        Ok(())
    }

    /// Returns the bytes that are counted for the aggregates.
    pub(super) fn bytes(&self) -> usize {
        let bytes = self.0.iter().map(|accumulator| {
            AGGREGATE_BYTES
                + match accumulator {
                    Accumulator::Distinct(_, bytes) => *bytes,
                    Accumulator::First(value) | Accumulator::Last(value) => value.heap_bytes(),
                    _ => 0,
                }
        });
        bytes.sum()
    }

    /// Returns the results over the events of a window, if it is open, and those that follow, by their inputs.
    pub(super) fn values_with<'a>(
        window: Option<&Accumulators>,
        plans: &Plans,
        following: impl Iterator<Item = &'a [OwnedScalar]>,
    ) -> Result<Values, StopReason> {
        let mut following = following.peekable();
        if following.peek().is_none() {
            return Ok(window.map_or_else(|| values_of_nothing(plans), Accumulators::values));
        }
        let mut all = window.cloned();
        for inputs in following {
            match &mut all {
                Some(all) => all.add(plans, inputs)?,
                None => all = Some(Accumulators::new(plans, inputs)),
            }
        }
        Ok(all.expect("there is one event at least").values())
    }

    pub(super) fn values(&self) -> Values {
        let values = self.0.iter().map(|accumulator| {
            Some(match accumulator {
                Accumulator::Count(value)
                | Accumulator::Sum(value)
                | Accumulator::Min(value)
                | Accumulator::Max(value) => OwnedScalar::Int(*value),
                Accumulator::Distinct(values, _) => size(values.len()),
                Accumulator::First(value) | Accumulator::Last(value) => value.clone(),
            })
        });
        values.collect()
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        for accumulator in &self.0 {
            match accumulator {
                Accumulator::Count(value)
                | Accumulator::Sum(value)
                | Accumulator::Min(value)
                | Accumulator::Max(value) => writer.i64(*value),
                Accumulator::Distinct(values, _) => {
                    writer.count(values.len());
                    values.iter().for_each(|value| writer.value(value));
                }
                Accumulator::First(value) | Accumulator::Last(value) => writer.value(value),
            }
        }
    }

    pub(super) fn decode(plans: &Plans, reader: &mut Reader<'_>) -> Option<Accumulators> {
        let accumulators = plans.list.iter().map(|plan| {
            Some(match plan.kind {
                Kind::Count => Accumulator::Count(reader.i64()?),
                Kind::Sum => Accumulator::Sum(reader.i64()?),
                Kind::Min => Accumulator::Min(reader.i64()?),
                Kind::Max => Accumulator::Max(reader.i64()?),
                Kind::Distinct => {
                    let count = reader.count()?;
                    let values: BTreeSet<_> = reader.values(count)?.into_iter().collect();
                    let bytes = values
                        .iter()
                        .map(|value| DISTINCT_VALUE_BYTES + value.heap_bytes());
                    let bytes = bytes.sum();
                    Accumulator::Distinct(values, bytes)
                }
                Kind::First => Accumulator::First(reader.value()?),
                Kind::Last => Accumulator::Last(reader.value()?),
            })
        });
        accumulators.collect::<Option<_>>().map(Accumulators)
    }
}

/// Aggregates of a window that loses its oldest events. First, last and count are read from the events themselves.
pub(super) struct Sliding(Box<[Slide]>);

enum Slide {
    Event,
    /// Wider than its result, so that the order in which events come and go never matters.
    Sum(i128),
    /// Events that are the smallest or the greatest from their number on, by number.
    Extreme(VecDeque<(u64, i64)>),
    /// How many events have each value.
    Distinct(BTreeMap<OwnedScalar, u32>),
}

impl Sliding {
    pub(super) fn new(plans: &Plans) -> Sliding {
        let begin = |plan: &Plan| match plan.kind {
            Kind::Count | Kind::First | Kind::Last => Slide::Event,
            Kind::Sum => Slide::Sum(0),
            Kind::Min | Kind::Max => Slide::Extreme(VecDeque::new()),
            Kind::Distinct => Slide::Distinct(BTreeMap::new()),
        };
        Sliding(plans.list.iter().map(begin).collect())
    }

    /// Returns the bytes counted for an event, whichever of the aggregates hold it. `input` returns one of its inputs.
    pub(super) fn event_bytes<'a>(
        plans: &Plans,
        input: impl Fn(usize) -> &'a OwnedScalar,
    ) -> usize {
        let held = plans.list.iter().map(|plan| match plan.kind {
            Kind::Count | Kind::First | Kind::Last | Kind::Sum => 0,
            Kind::Min | Kind::Max => size_of::<(u64, i64)>(),
            Kind::Distinct => DISTINCT_VALUE_BYTES + input(plan.input).heap_bytes(),
        });
        let inputs = (0..plans.inputs).map(|place| input(place).bytes());
        size_of::<i64>() + inputs.sum::<usize>() + held.sum::<usize>()
    }

    /// Adds the event with the next number. `input` returns one of its inputs.
    pub(super) fn add<'a>(
        &mut self,
        plans: &Plans,
        number: u64,
        input: impl Fn(usize) -> &'a OwnedScalar,
    ) -> Result<(), StopReason> {
        for (slide, plan) in self.0.iter_mut().zip(&plans.list) {
            match slide {
                Slide::Event => {}
                Slide::Sum(sum) => *sum += i128::from(int(input(plan.input))),
                Slide::Extreme(events) => {
                    let value = int(input(plan.input));
                    let beaten = |old: i64| match plan.kind {
                        Kind::Min => value <= old,
                        _ => value >= old,
                    };
                    while events.back().is_some_and(|(_, old)| beaten(*old)) {
                        events.pop_back();
                    }
                    events.push_back((number, value));
                }
                Slide::Distinct(values) => {
                    let value = input(plan.input);
                    match values.get_mut(value) {
                        Some(count) => *count += 1,
                        None => {
                            values.insert(value.clone(), 1);
                            plans.check_distinct(plan, values.len())?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Removes the oldest event.
    pub(super) fn remove<'a>(
        &mut self,
        plans: &Plans,
        number: u64,
        input: impl Fn(usize) -> &'a OwnedScalar,
    ) {
        for (slide, plan) in self.0.iter_mut().zip(&plans.list) {
            match slide {
                Slide::Event => {}
                Slide::Sum(sum) => *sum -= i128::from(int(input(plan.input))),
                Slide::Extreme(events) => {
                    if events.front().is_some_and(|(oldest, _)| *oldest == number) {
                        events.pop_front();
                    }
                }
                Slide::Distinct(values) => {
                    let value = input(plan.input);
                    let count = values.get_mut(value).expect("the value was added");
                    *count -= 1;
                    if *count == 0 {
                        values.remove(value);
                    }
                }
            }
        }
    }

    /// Returns the results over `count` events. `input` returns an input of the event at a place from 0.
    pub(super) fn values<'a>(
        &self,
        plans: &Plans,
        count: usize,
        input: impl Fn(usize, usize) -> &'a OwnedScalar,
    ) -> Result<Values, StopReason> {
        let values = self.0.iter().zip(&plans.list).map(|(slide, plan)| {
            Ok(match (slide, plan.kind) {
                (Slide::Event, Kind::First) => (count > 0).then(|| input(0, plan.input).clone()),
                (Slide::Event, Kind::Last) => {
                    (count > 0).then(|| input(count - 1, plan.input).clone())
                }
                (Slide::Event, _) => Some(size(count)),
                (Slide::Sum(sum), _) => {
                    let sum = i64::try_from(*sum);
                    let sum = sum.map_err(|_| StopReason::SumOverflow(plan.name.clone()))?;
                    Some(OwnedScalar::Int(sum))
                }
                (Slide::Extreme(events), _) => {
                    events.front().map(|(_, value)| OwnedScalar::Int(*value))
                }
                (Slide::Distinct(values), _) => Some(size(values.len())),
            })
        });
        values.collect()
    }

    /// Returns the results over the events from the place `first` up to `end`, exclusive, where those before `inside` were added and
    /// `first ≤ inside ≤ end`. `oldest` is the number of the event at place 0. Costs as much as these events differ from those added.
    pub(super) fn values_between<'a>(
        &self,
        plans: &Plans,
        oldest: u64,
        (first, inside, end): (usize, usize, usize),
        input: impl Fn(usize, usize) -> &'a OwnedScalar,
    ) -> Result<Values, StopReason> {
        let count = end - first;
        let values = self.0.iter().zip(&plans.list).map(|(slide, plan)| {
            let value = |event: usize| input(event, plan.input);
            Ok(match slide {
                Slide::Event => match plan.kind {
                    Kind::First => (count > 0).then(|| value(first).clone()),
                    Kind::Last => (count > 0).then(|| value(end - 1).clone()),
                    _ => Some(size(count)),
                },
                Slide::Sum(sum) => {
                    let of = |events: std::ops::Range<usize>| -> i128 {
                        events.map(|event| i128::from(int(value(event)))).sum()
                    };
                    let sum = i64::try_from(sum - of(0..first) + of(inside..end));
                    let sum = sum.map_err(|_| StopReason::SumOverflow(plan.name.clone()))?;
                    Some(OwnedScalar::Int(sum))
                }
                Slide::Extreme(events) => {
                    let kept = events
                        .iter()
                        .find(|(number, _)| *number >= oldest + first as u64);
                    let added = (inside..end).map(|event| int(value(event)));
                    let all = kept.map(|(_, value)| *value).into_iter().chain(added);
                    let extreme = match plan.kind {
                        Kind::Min => all.min(),
                        _ => all.max(),
                    };
                    extreme.map(OwnedScalar::Int)
                }
                Slide::Distinct(values) => {
                    let mut left: BTreeMap<&OwnedScalar, u32> = BTreeMap::new();
                    for event in 0..first {
                        *left.entry(value(event)).or_default() += 1;
                    }
                    let stays = |value: &OwnedScalar| {
                        let before = values.get(value).copied().unwrap_or(0);
                        before > left.get(value).copied().unwrap_or(0)
                    };
                    let gone = left.keys().filter(|value| !stays(value)).count();
                    let added: BTreeSet<_> = (inside..end).map(value).collect();
                    let new = added.into_iter().filter(|value| !stays(value)).count();
                    let distinct = values.len() - gone + new;
                    plans.check_distinct(plan, distinct)?;
                    Some(size(distinct))
                }
            })
        });
        values.collect()
    }
}
