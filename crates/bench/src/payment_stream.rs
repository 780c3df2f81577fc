//! A stream of the server over all payments, whose rows must be what was paid.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use crate::books::preparation_key;
use crate::client::Client;

/// Interval between two looks at the figures of a stream.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Maximum time without progress of a stream.
const STALL_MAX: Duration = Duration::from_secs(60);
/// Length of the windows: so long that none ends during a run.
const WINDOW_SECONDS: u64 = 315_360_000;
/// Number of rows per page.
const PAGE_ROWS: usize = 1_000;
/// Number of the preparation under which streams are made.
const STREAM_KEY: u64 = 4;

/// A stream over all payments, which counts them and adds up their amounts.
pub(crate) struct PaymentStream {
    id: String,
}

impl PaymentStream {
    /// Creates the stream with this number, whose key are these fields.
    pub(crate) fn create(
        client: &mut Client,
        run: u64,
        number: u64,
        key: &[&str],
    ) -> anyhow::Result<PaymentStream> {
        let terms = json!({
            "slug": format!("bench-{run:016x}-{number}"),
            "from": [{"event": "payment.captured", "where": "kind == \"pay\""}],
            "key": key,
            "window": {"type": "tumbling", "size_seconds": WINDOW_SECONDS},
            "emit": {"payments": "count()", "amount": "sum(amount_moved)"},
            "bounds": {"keys_max": 10_000_000, "open_windows_max": 20_000_000, "state_bytes_max": 8_u64 << 30},
        });
        let made = client.post_json(
            "/v1/streams",
            &preparation_key(run, STREAM_KEY, number),
            &terms,
        )?;
        let id = made["id"].as_str().context("the stream has no id")?;
        Ok(PaymentStream { id: id.to_owned() })
    }

    fn figures(&self, client: &mut Client) -> anyhow::Result<Value> {
        let path = format!("/v1/streams/{}/figures", self.id);
        client.get_json(&path)
    }

    /// Returns the number of records that the stream has not taken yet.
    pub(crate) fn lag(&self, client: &mut Client) -> anyhow::Result<u64> {
        let figures = self.figures(client)?;
        figures["lag"].as_u64().context("the figures have no lag")
    }

    /// Waits until the stream has taken every record, and returns its figures.
    pub(crate) fn catch_up(&self, client: &mut Client) -> anyhow::Result<Value> {
        let (mut least, mut moved) = (u64::MAX, Instant::now());
        loop {
            let figures = self.figures(client)?;
            let lag = figures["lag"].as_u64().context("the figures have no lag")?;
            match figures["state"].as_str() {
                Some("running") if lag == 0 => return Ok(figures),
                Some("running" | "catching_up") => {}
                _ => bail!("the stream does not run: {figures}"),
            }
            if lag < least {
                (least, moved) = (lag, Instant::now());
            }
            ensure!(
                moved.elapsed() < STALL_MAX,
                "the stream makes no progress: {figures}"
            );
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Checks that the rows count so many payments together, of this amount.
    pub(crate) fn check(
        &self,
        client: &mut Client,
        payments: u64,
        amount: u64,
    ) -> anyhow::Result<()> {
        let mut path = format!("/v1/streams/{}/rows?state=open&limit={PAGE_ROWS}", self.id);
        let first = path.clone();
        let mut counted = (0, 0);
        loop {
            let page = client.get_json(&path)?;
            for row in page["data"].as_array().context("the page has no rows")? {
                let value = |name: &str| row["values"][name].as_u64();
                counted.0 += value("payments").context("a row has no count")?;
                counted.1 += value("amount").context("a row has no amount")?;
            }
            match page["next_cursor"].as_str() {
                Some(cursor) if page["has_more"] == true => {
                    path = format!("{first}&starting_after={cursor}");
                }
                _ => break,
            }
        }
        ensure!(
            counted == (payments, amount),
            "there are {payments} payments of {amount} together, but the stream counted {counted:?}"
        );
        Ok(())
    }
}
