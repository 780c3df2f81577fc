//! The naive model: keeps every event for ever and computes each window anew by looking at all of them.

use std::collections::BTreeSet;

use tributary_streams::stream::{OwnedScalar, Window};

use super::{Payment, int};

/// An event that counts.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) time: i64,
    /// It ends the wait of its customer, and is not counted.
    pub(crate) is_answer: bool,
    pub(crate) position: u64,
    pub(crate) payment: Payment,
}

/// A window, its key and what it holds: customer, start, end, and count, sum, min, max, distinct, first and last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) customer: i64,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) values: Vec<Option<OwnedScalar>>,
}

/// Figures over items in the order of time and position.
fn figures(items: &[&Item]) -> Vec<Option<OwnedScalar>> {
    let amounts = || items.iter().map(|item| item.payment.amount.expect("given"));
    let terminals: BTreeSet<&str> = items.iter().map(|item| &*item.payment.terminal).collect();
    let terminal = |item: &&Item| OwnedScalar::String(item.payment.terminal.as_str().into());
    vec![
        Some(int(items.len() as i64)),
        Some(int(amounts().sum())),
        amounts().min().map(int),
        amounts().max().map(int),
        Some(int(terminals.len() as i64)),
        items.first().map(terminal),
        items
            .last()
            .map(|item| int(item.payment.amount.expect("given"))),
    ]
}

fn expected(customer: i64, start: i64, end: i64, items: &[&Item]) -> Expected {
    let values = figures(items);
    Expected {
        customer,
        start,
        end,
        values,
    }
}

/// All windows that items fill, whether they have ended or not, in the order of ends and then of keys. For trailing
/// windows: one for each item in the order of time and position. Of waits: those that no answer ended.
pub(crate) fn windows(window: Window, items: &[Item]) -> Vec<Expected> {
    let mut items: Vec<&Item> = items.iter().collect();
    items.sort_by_key(|item| (item.time, item.position));
    if let Window::Await { within, .. } = window {
        let waits = waits(within, &items).into_iter();
        let unanswered = waits.filter(|wait| wait.answer.is_none());
        return unanswered.map(|wait| wait.expected).collect();
    }
    items.retain(|item| !item.is_answer);
    let customers: BTreeSet<i64> = items.iter().map(|item| item.payment.customer).collect();
    let of = |customer: i64| {
        let own = items.iter().copied();
        own.filter(move |item| item.payment.customer == customer)
            .collect::<Vec<&Item>>()
    };
    let mut found = Vec::new();
    match window {
        Window::Tumbling { size } => {
            return windows(
                Window::Hopping { size, step: size },
                &items.iter().copied().cloned().collect::<Vec<_>>(),
            );
        }
        Window::Hopping { size, step } => {
            for customer in customers {
                let own = of(customer);
                let (Some(first), Some(last)) = (own.first(), own.last()) else {
                    continue;
                };
                let mut start = (first.time - size).div_euclid(step) * step;
                while start <= last.time {
                    let within = |item: &&&Item| start <= item.time && item.time < start + size;
                    let held: Vec<&Item> = own.iter().filter(within).copied().collect();
                    if !held.is_empty() {
                        found.push(expected(customer, start, start + size, &held));
                    }
                    start += step;
                }
            }
        }
        Window::Session { gap } => {
            for customer in customers {
                for session in of(customer).chunk_by(|a, b| b.time - a.time < gap) {
                    let (first, last) = (session[0].time, session[session.len() - 1].time);
                    found.push(expected(customer, first, last + gap, session));
                }
            }
        }
        Window::Trailing { size, delay } => {
            for (number, item) in items.iter().enumerate() {
                let (start, end) = (item.time - size - delay, item.time - delay);
                let held = items[..=number].iter().copied().filter(|other| {
                    other.payment.customer == item.payment.customer
                        && start < other.time
                        && other.time <= end
                });
                let held: Vec<&Item> = held.collect();
                found.push(expected(item.payment.customer, start, end, &held));
            }
            return found;
        }
        Window::Await { .. } => unreachable!("it has a function of its own"),
    }
    found.sort_by_key(|window| (window.end, window.customer));
    found
}

/// The figures of a customer over the window that an event at this time would be in, without it: no item is later.
pub(crate) fn look(
    window: Window,
    items: &[Item],
    customer: i64,
    time: i64,
) -> Vec<Option<OwnedScalar>> {
    let mut all: Vec<&Item> = items.iter().collect();
    all.sort_by_key(|item| (item.time, item.position));
    if let Window::Await { within, .. } = window {
        let mut waits = waits(within, &all).into_iter();
        let open = waits.find(|wait| {
            let (start, end) = (wait.expected.start, wait.expected.end);
            wait.expected.customer == customer
                && wait.answer.is_none()
                && (start..end).contains(&time)
        });
        return open.map_or_else(|| figures(&[]), |wait| wait.expected.values);
    }
    all.retain(|item| item.payment.customer == customer);
    let held: Vec<&Item> = match window {
        Window::Session { gap } => {
            let mut next = time;
            let mut held = all;
            let begin = held.iter().rposition(|item| {
                let is_far = next - item.time >= gap;
                next = item.time;
                is_far
            });
            held.split_off(begin.map_or(0, |far| far + 1))
        }
        Window::Tumbling { size } | Window::Hopping { size, .. } => {
            let step = match window {
                Window::Hopping { step, .. } => step,
                _ => size,
            };
            let first = (time - size + 1..=time)
                .find(|start| start.rem_euclid(step) == 0)
                .expect("windows leave no gap");
            all.retain(|item| item.time >= first);
            all
        }
        Window::Trailing { size, delay } => {
            let (start, end) = (time - size - delay, time - delay);
            all.retain(|item| start < item.time && item.time <= end);
            all
        }
        Window::Await { .. } => unreachable!("see above"),
    };
    figures(&held)
}

/// A wait, with its end: that of its time, or its answer.
pub(crate) struct Wait {
    pub(crate) expected: Expected,
    /// Place of the answer among all items, if one ended the wait.
    pub(crate) answer: Option<(i64, u64)>,
}

/// All waits over items in the order of time and position, in the order of their ends and then of keys.
pub(crate) fn waits(within: i64, items: &[&Item]) -> Vec<Wait> {
    let mut found: Vec<Wait> = Vec::new();
    let customers: BTreeSet<i64> = items.iter().map(|item| item.payment.customer).collect();
    for customer in customers {
        let own = items.iter().copied();
        let mut own = own
            .filter(|item| item.payment.customer == customer)
            .peekable();
        while let Some(first) = own.find(|item| !item.is_answer) {
            let end = first.time + within;
            let mut held = vec![first];
            let mut answer = None;
            while let Some(next) = own.next_if(|next| next.time < end) {
                if next.is_answer {
                    answer = Some((next.time, next.position));
                    break;
                }
                held.push(next);
            }
            let end = answer.map_or(end, |(time, _)| time);
            found.push(Wait {
                expected: expected(customer, first.time, end, &held),
                answer,
            });
        }
    }
    found.sort_by_key(|wait| {
        let (end, customer) = (wait.expected.end, wait.expected.customer);
        // What ends by itself does so before an event of the same time.
        let position = wait.answer.map_or(0, |(_, position)| position);
        (end, position, customer)
    });
    found
}
