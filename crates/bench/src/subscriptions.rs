//! The subscriptions beside the mode `batch`: each matches the payments of one owner, or all payments, and must receive
//! exactly those.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::books::{Books, preparation_key};
use crate::error::usage_error;
use crate::grpc::{GrpcStream, RECEIVE};
use crate::options::{self, Skew};
use crate::payload::{encode_acknowledgement, encode_receive_request, parse_response};
use crate::report::round_to_tenth;
use crate::server::{Server, create_subscription};

/// Maximum number of events in a response.
const BATCH_MAX: u32 = 1_000;
/// Maximum number of events that a consumer has not acknowledged.
const OUT_MAX: u32 = 10_000;
/// Maximum time without an event.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Number of events that each subscription must receive.
#[derive(Default)]
pub(crate) struct ExpectedEvents {
    /// Number of accounts per owner; `None` if each subscription matches every payment.
    per_owner: Option<u32>,
    wanted: Vec<u64>,
}

impl ExpectedEvents {
    /// Counts a payment between two accounts.
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

/// The subscriptions and their consumers.
pub(crate) struct Subscriptions {
    ids: Vec<String>,
    per_owner: Option<u32>,
    received_meanwhile: bool,
    accounts: u32,
    receiving: Rc<RefCell<ReceivedEvents>>,
    consumers: RefCell<Vec<JoinHandle<anyhow::Result<()>>>>,
}

struct ReceivedEvents {
    /// Per subscription: the accounts of its owner; empty if the subscription matches every payment.
    accounts: Vec<Vec<String>>,
    came: Vec<u64>,
    /// Number of expected events per subscription, known at the end of the load.
    wanted: Option<Vec<u64>>,
    moved: Instant,
}

impl ReceivedEvents {
    /// Records the events of a response, and returns the number of the response.
    fn take(&mut self, at: usize, bytes: &[u8]) -> anyhow::Result<u64> {
        let (mut number, mut count) = (0, 0);
        let accounts = &self.accounts[at];
        parse_response(bytes, &mut number, &mut |event| {
            let of_owner = |id: &String| memchr::memmem::find(event.data, id.as_bytes()).is_some();
            ensure!(
                event.kind.starts_with(b"payment.")
                    && (accounts.is_empty() || accounts.iter().any(of_owner)),
                "an event does not match its subscription: {}",
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

    /// Returns whether a subscription has received all expected events.
    fn is_done(&self, at: usize) -> anyhow::Result<bool> {
        let Some(wanted) = self.wanted.as_ref().map(|wanted| wanted[at]) else {
            return Ok(false);
        };
        let came = self.came[at];
        ensure!(
            came <= wanted,
            "{wanted} events were expected, but {came} arrived"
        );
        ensure!(
            came == wanted || self.moved.elapsed() < WAIT_MAX,
            "{wanted} events were expected, but only {came} arrived"
        );
        Ok(came == wanted)
    }
}

impl Subscriptions {
    /// Returns the number of accounts per owner for the requested share of matching payments; `None` if subscriptions match
    /// every payment.
    pub(crate) fn accounts_per_owner(
        options: &options::BatchOptions,
    ) -> anyhow::Result<Option<u32>> {
        if options.subscriptions == 0 || options.matching == 1 {
            return Ok(None);
        }
        // Both accounts of a payment are chosen in the same way.
        let per_owner = options.load.accounts / options.matching.saturating_mul(2);
        let wrong = if options.load.skew != Skew::Uniform {
            "--matching needs --skew uniform"
        } else if per_owner == 0 {
            "--accounts must be at least twice --matching"
        } else if options.subscriptions > options.load.accounts / per_owner {
            "--subscriptions must not exceed the number of owners"
        } else {
            return Ok(Some(per_owner));
        };
        Err(usage_error(wrong))
    }

    /// Creates the subscriptions.
    pub(crate) fn create(
        server: &Server,
        books: &Books,
        options: &options::BatchOptions,
        per_owner: Option<u32>,
    ) -> anyhow::Result<Subscriptions> {
        let mut client = server.client()?;
        let (mut ids, mut accounts) = (Vec::new(), Vec::new());
        for number in 0..options.subscriptions {
            let owner = per_owner.map(|_| books.owner(number));
            accounts.push(match per_owner {
                Some(_) => books.account_ids_of_owner(number),
                None => Vec::new(),
            });
            let terms = json!({"events": ["payment.*"], "owner": owner, "in_flight_max": OUT_MAX});
            let key = preparation_key(books.run, 3, number.into());
            ids.push(create_subscription(&mut client, &key, &terms)?);
        }
        Ok(Subscriptions {
            per_owner,
            received_meanwhile: options.receive,
            accounts: options.load.accounts,
            receiving: Rc::new(RefCell::new(ReceivedEvents {
                came: vec![0; ids.len()],
                accounts,
                wanted: None,
                moved: Instant::now(),
            })),
            ids,
            consumers: RefCell::default(),
        })
    }

    /// Returns counters at zero.
    pub(crate) fn expected(&self) -> ExpectedEvents {
        ExpectedEvents {
            per_owner: self.per_owner,
            wanted: vec![0; self.ids.len()],
        }
    }

    /// Starts a consumer for each subscription.
    pub(crate) async fn receive(&self, server: &Server) -> anyhow::Result<()> {
        for (at, id) in self.ids.iter().enumerate() {
            let mut stream = GrpcStream::open_method(server.grpc, &server.token, RECEIVE).await?;
            stream
                .send(encode_receive_request(id, BATCH_MAX, OUT_MAX))
                .await?;
            let consumer = consume(stream, at, self.receiving.clone());
            self.consumers
                .borrow_mut()
                .push(tokio::task::spawn_local(consumer));
        }
        Ok(())
    }

    /// Waits until all expected events were received, and checks the server's counts. Returns the result, or `None` without
    /// subscriptions.
    pub(crate) async fn finish(
        &self,
        server: &Server,
        expected: &ExpectedEvents,
    ) -> anyhow::Result<Option<Value>> {
        if self.ids.is_empty() {
            return Ok(None);
        }
        let begun = Instant::now();
        {
            let mut receiving = self.receiving.borrow_mut();
            receiving.wanted = Some(expected.wanted.clone());
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
        self.check(server, expected)?;
        let one_in = self
            .per_owner
            .map_or(1.0, |per| f64::from(self.accounts) / f64::from(2 * per));
        Ok(Some(json!({
            "count": self.ids.len(),
            "matching_one_in": round_to_tenth(one_in),
            "received_meanwhile": self.received_meanwhile,
            "events": expected.wanted.iter().sum::<u64>(),
            "seconds_until_all_received": seconds,
        })))
    }

    /// Checks that the server counts every expected event as acknowledged, and no others.
    fn check(&self, server: &Server, expected: &ExpectedEvents) -> anyhow::Result<()> {
        let mut client = server.client()?;
        for (id, wanted) in self.ids.iter().zip(&expected.wanted) {
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
                    "{wanted} events were expected, but the server counts {figures}"
                );
            }
        }
        Ok(())
    }
}

/// Receives and acknowledges the events of one subscription, until all have arrived.
async fn consume(
    mut stream: GrpcStream,
    at: usize,
    receiving: Rc<RefCell<ReceivedEvents>>,
) -> anyhow::Result<()> {
    while !receiving.borrow().is_done(at)? {
        let bytes = tokio::select! {
            bytes = stream.next_message() => bytes?,
            // All expected events may have arrived by now.
            () = tokio::time::sleep(Duration::from_millis(20)) => continue,
        };
        let number = receiving.borrow_mut().take(at, &bytes)?;
        if number > 0 {
            stream.send(encode_acknowledgement(number)).await?;
        }
    }
    stream.finish_sending()?;
    // The server ends the stream after it has processed all acknowledgements.
    stream.drain().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_counts_once_for_each_owner_that_takes_part() {
        let expected = |per_owner| ExpectedEvents {
            per_owner,
            wanted: vec![0; 2],
        };
        let mut of_owners = expected(Some(5));
        for (source, destination) in [(0, 4), (4, 5), (9, 10), (10, 50)] {
            of_owners.add(source, destination);
        }
        assert_eq!(of_owners.wanted, [2, 2]);
        let mut of_all = expected(None);
        of_all.add(10, 50);
        assert_eq!(of_all.wanted, [1, 1]);
    }
}
