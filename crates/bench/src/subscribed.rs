//! The subscriptions beside `bench batch`: each wants the payments of one owner, or all, and gets exactly those.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::books::{Books, own_key};
use crate::error::usage_error;
use crate::grpc::{Batches, RECEIVE};
use crate::options::{self, Skew};
use crate::payload::{acknowledge, open_receive, response};
use crate::report::tenths;
use crate::server::{Server, subscribe_to};

/// Events of a response, at most.
const BATCH_MAX: u32 = 1_000;
/// Events that a consumer has not acknowledged, at most.
const OUT_MAX: u32 = 10_000;
/// The longest time in which no event comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many payments each subscription wants.
#[derive(Default)]
pub(crate) struct Tally {
    /// Accounts of one owner; none if each wants every payment.
    per_owner: Option<u32>,
    wanted: Vec<u64>,
}

impl Tally {
    /// Counts a payment between these two accounts.
    pub(crate) fn add(&mut self, source: u32, destination: u32) {
        let Some(per_owner) = self.per_owner else {
            self.wanted.iter_mut().for_each(|wanted| *wanted += 1);
            return;
        };
        let (payer, payee) = (source / per_owner, destination / per_owner);
        let mut count = |owner: u32| {
            if let Some(wanted) = self.wanted.get_mut(owner as usize) {
                *wanted += 1;
            }
        };
        count(payer);
        if payee != payer {
            count(payee);
        }
    }
}

/// The subscriptions, and what came of them.
pub(crate) struct Subscribed {
    ids: Vec<String>,
    per_owner: Option<u32>,
    received_meanwhile: bool,
    accounts: u32,
    receiving: Rc<RefCell<Receiving>>,
    consumers: RefCell<Vec<JoinHandle<anyhow::Result<()>>>>,
}

struct Receiving {
    /// For each subscription, its owner's accounts; nothing if it wants every payment.
    accounts: Vec<Vec<String>>,
    came: Vec<u64>,
    /// How many are to come, once that is known.
    wanted: Option<Vec<u64>>,
    moved: Instant,
}

impl Receiving {
    /// Notes the events of a response; gives its number.
    fn take(&mut self, at: usize, bytes: &[u8]) -> anyhow::Result<u64> {
        let (mut number, mut count) = (0, 0);
        let accounts = &self.accounts[at];
        response(bytes, &mut number, &mut |event| {
            let of_owner = |id: &String| memchr::memmem::find(event.data, id.as_bytes()).is_some();
            ensure!(
                event.kind.starts_with(b"payment.")
                    && (accounts.is_empty() || accounts.iter().any(of_owner)),
                "an event came that was not subscribed to: {}",
                String::from_utf8_lossy(event.data)
            );
            count += 1;
            Ok(())
        })?;
        self.came[at] += count;
        if count > 0 {
            self.moved = Instant::now();
        }
        Ok(number)
    }

    /// Whether all have come that one subscription wants.
    fn is_done(&self, at: usize) -> anyhow::Result<bool> {
        let Some(wanted) = self.wanted.as_ref().map(|wanted| wanted[at]) else {
            return Ok(false);
        };
        let came = self.came[at];
        ensure!(
            came <= wanted,
            "{wanted} events were wanted, but {came} came"
        );
        ensure!(
            came == wanted || self.moved.elapsed() < PATIENCE,
            "{wanted} events were wanted, but only {came} came"
        );
        Ok(came == wanted)
    }
}

impl Subscribed {
    /// How many accounts each owner must have so that it takes part in as many payments as is asked for; none if owners do not
    /// matter.
    pub(crate) fn accounts_per_owner(options: &options::Batch) -> anyhow::Result<Option<u32>> {
        if options.subscriptions == 0 || options.matching == 1 {
            return Ok(None);
        }
        // A payment has two accounts, chosen alike.
        let per_owner = options.load.accounts / options.matching.saturating_mul(2);
        let wrong = if options.load.skew != Skew::Uniform {
            "--matching needs --skew uniform"
        } else if per_owner == 0 {
            "--accounts must be at least twice --matching"
        } else if options.subscriptions > options.load.accounts / per_owner {
            "--subscriptions are more than there are owners"
        } else {
            return Ok(Some(per_owner));
        };
        Err(usage_error(wrong))
    }

    /// Makes the subscriptions.
    pub(crate) fn make(
        server: &Server,
        books: &Books,
        options: &options::Batch,
        per_owner: Option<u32>,
    ) -> anyhow::Result<Subscribed> {
        let mut client = server.client()?;
        let (mut ids, mut accounts) = (Vec::new(), Vec::new());
        for number in 0..options.subscriptions {
            let owner = per_owner.map(|_| books.owner(number));
            accounts.push(match per_owner {
                Some(_) => books.of_owner(number),
                None => Vec::new(),
            });
            let terms = json!({"events": ["payment.*"], "owner": owner, "in_flight_max": OUT_MAX});
            let key = own_key(books.run, 3, number.into());
            ids.push(subscribe_to(&mut client, &key, &terms)?);
        }
        Ok(Subscribed {
            per_owner,
            received_meanwhile: options.receive,
            accounts: options.load.accounts,
            receiving: Rc::new(RefCell::new(Receiving {
                came: vec![0; ids.len()],
                accounts,
                wanted: None,
                moved: Instant::now(),
            })),
            ids,
            consumers: RefCell::default(),
        })
    }

    /// A tally of nothing yet.
    pub(crate) fn tally(&self) -> Tally {
        Tally {
            per_owner: self.per_owner,
            wanted: vec![0; self.ids.len()],
        }
    }

    /// Begins to receive and acknowledge, a consumer for each.
    pub(crate) async fn receive(&self, server: &Server) -> anyhow::Result<()> {
        for (at, id) in self.ids.iter().enumerate() {
            let mut stream = Batches::open_at(server.grpc, &server.token, RECEIVE).await?;
            stream.send(open_receive(id, BATCH_MAX, OUT_MAX)).await?;
            let consumer = consume(stream, at, self.receiving.clone());
            self.consumers
                .borrow_mut()
                .push(tokio::task::spawn_local(consumer));
        }
        Ok(())
    }

    /// Waits until everything has come that was wanted, and checks that the server counts the same; tells of it, if there are
    /// subscriptions.
    pub(crate) async fn finish(
        &self,
        server: &Server,
        tally: &Tally,
    ) -> anyhow::Result<Option<Value>> {
        if self.ids.is_empty() {
            return Ok(None);
        }
        let begun = Instant::now();
        {
            let mut receiving = self.receiving.borrow_mut();
            receiving.wanted = Some(tally.wanted.clone());
            receiving.moved = begun;
        }
        if !self.received_meanwhile {
            self.receive(server).await?;
        }
        let consumers = self.consumers.take();
        for consumer in consumers {
            consumer.await??;
        }
        let seconds = begun.elapsed().as_secs_f64();
        self.check(server, tally)?;
        let one_in = self
            .per_owner
            .map_or(1.0, |per| f64::from(self.accounts) / f64::from(2 * per));
        Ok(Some(json!({
            "count": self.ids.len(),
            "matching_one_in": tenths(one_in),
            "received_meanwhile": self.received_meanwhile,
            "events": tally.wanted.iter().sum::<u64>(),
            "seconds_until_all_received": seconds,
        })))
    }

    /// Nothing is left, and what was handed out and acknowledged is what was wanted.
    fn check(&self, server: &Server, tally: &Tally) -> anyhow::Result<()> {
        let mut client = server.client()?;
        for (id, wanted) in self.ids.iter().zip(&tally.wanted) {
            let path = format!("/v1/subscriptions/{id}");
            let shown = client.get_json(&path)?;
            let figures = &shown["figures"];
            for (name, expected) in [
                ("handed_out", *wanted),
                ("acknowledged", *wanted),
                ("length", 0),
                ("lag", 0),
                ("in_flight", 0),
            ] {
                ensure!(
                    figures[name] == expected,
                    "{wanted} events were wanted, but the server counts {figures}"
                );
            }
        }
        Ok(())
    }
}

/// Takes the events of one subscription and acknowledges each response, until all have come.
async fn consume(
    mut stream: Batches,
    at: usize,
    receiving: Rc<RefCell<Receiving>>,
) -> anyhow::Result<()> {
    while !receiving.borrow().is_done(at)? {
        let bytes = tokio::select! {
            bytes = stream.answer() => bytes?,
            // It may be known by now that all have come.
            () = tokio::time::sleep(Duration::from_millis(20)) => continue,
        };
        let number = receiving.borrow_mut().take(at, &bytes)?;
        if number > 0 {
            stream.send(acknowledge(number)).await?;
        }
    }
    stream.end()?;
    // The end comes once everything before it was taken in.
    stream.rest().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_counts_once_for_each_owner_that_takes_part() {
        let tally = |per_owner| Tally {
            per_owner,
            wanted: vec![0; 2],
        };
        let mut of_owners = tally(Some(5));
        for (source, destination) in [(0, 4), (4, 5), (9, 10), (10, 50)] {
            of_owners.add(source, destination);
        }
        assert_eq!(of_owners.wanted, [2, 2]);
        let mut of_all = tally(None);
        of_all.add(10, 50);
        assert_eq!(of_all.wanted, [1, 1]);
    }
}
