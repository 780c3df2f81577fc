//! Mode `streams`: how fast a stream takes what was recorded before it was made, and how soon streams go on after a restart.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use anyhow::ensure;
use serde_json::json;

use crate::batch::{BatchLoad, run_part};
use crate::books::Books;
use crate::error::usage_error;
use crate::machine;
use crate::options;
use crate::payment_stream::PaymentStream;
use crate::report::{print_result, round_to_tenth};
use crate::server::Server;

/// Number of payments per batch: as many as one frame holds.
const BATCH: u32 = 8_189;
/// Number of batches in flight.
const IN_FLIGHT: u32 = 4;

/// Seconds that parts of a restart took.
struct Restart {
    /// Until the process had ended.
    stopped: f64,
    /// From the start of the process until it listened.
    listening: f64,
    /// Until every stream had taken every record.
    streams: f64,
}

/// Runs the mode `streams`.
pub(crate) fn run(options: &options::StreamsOptions) -> anyhow::Result<()> {
    if options.load.server.is_some() {
        return Err(usage_error(
            "--server: this mode restarts the server, so it must start one itself",
        ));
    }
    let mut server = Server::start(&options.load)?;
    let books = Books::prepare(&server, options.load.accounts)?;
    let load = BatchLoad::new(&options.load, BATCH, &books);
    let work = Rc::new(RefCell::new(load));
    work.borrow_mut()
        .begin_part(options.payments, None, "payments");
    run_part(&server, &work, IN_FLIGHT)?;
    let made = work.borrow_mut().take_measurement()?;
    ensure!(
        made.rejected == 0,
        "{} payments were rejected",
        made.rejected
    );
    let amount = work.borrow().amount();
    let mut client = server.client()?;
    // Back-fill: the key has as many values as there are accounts.
    let mut rates = Vec::new();
    let mut streams = Vec::new();
    for number in 0..u64::from(options.runs) {
        let begun = Instant::now();
        let key = ["payee", "currency"];
        let stream = PaymentStream::create(&mut client, books.run, number, &key)?;
        stream.catch_up(&mut client)?;
        rates.push(options.payments as f64 / begun.elapsed().as_secs_f64());
        stream.check(&mut client, options.payments, amount)?;
        streams.push(stream);
    }
    // Each payment is a key.
    let before = server.memory().anonymous;
    let begun = Instant::now();
    let number = u64::from(options.runs);
    let large = PaymentStream::create(&mut client, books.run, number, &["payment"])?;
    let figures = large.catch_up(&mut client)?;
    let large_rate = options.payments as f64 / begun.elapsed().as_secs_f64();
    ensure!(
        figures["keys"] == options.payments,
        "there are {} payments, but the stream has other keys: {figures}",
        options.payments
    );
    let after = server.memory().anonymous;
    let memory = before
        .zip(after)
        .map(|(before, after)| after.saturating_sub(before));
    streams.push(large);
    drop(client);
    let (mut stops, mut kills) = (Vec::new(), Vec::new());
    for _ in 0..options.runs {
        stops.push(restart(&mut server, &streams, false)?);
        kills.push(restart(&mut server, &streams, true)?);
    }
    let mut client = server.client()?;
    for stream in &streams[..streams.len() - 1] {
        stream.check(&mut client, options.payments, amount)?;
    }
    books.check(&server, None, None)?;
    let filesystem = server.directory().and_then(machine::find_filesystem);
    drop(client);
    server.stop()?;
    let of = |restarts: &[Restart], get: fn(&Restart) -> f64| {
        median(restarts.iter().map(get).collect::<Vec<_>>())
    };
    let result = json!({
        "mode": "streams",
        "payments": options.payments,
        "accounts": options.load.accounts,
        "runs": options.runs,
        "events_per_second": round_to_tenth(median(rates.clone())),
        "events_per_second_of_each_run": rates.iter().map(|rate| rate.round()).collect::<Vec<_>>(),
        "events_per_second_with_a_new_key_each": round_to_tenth(large_rate),
        "keys": figures["keys"],
        "state_bytes": figures["state_bytes"],
        "state_rss_anon_bytes": memory,
        "seconds_until_stopped": of(&stops, |restart| restart.stopped),
        "seconds_until_listening": of(&stops, |restart| restart.listening),
        "seconds_until_streams_go_on": of(&stops, |restart| restart.streams),
        "seconds_until_streams_go_on_after_a_kill": of(&kills, |restart| restart.streams),
        "seconds_until_streams_go_on_of_each_run": stops.iter().map(|one| one.streams).collect::<Vec<_>>(),
        "streams": streams.len(),
        "books": "balanced",
        "seed": options.load.seed,
        "filesystem": filesystem,
        "processors": machine::count_processors(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    print_result(&result, options.load.run.json);
    Ok(())
}

/// Stops or kills the server, starts it again, and waits until its streams go on.
fn restart(server: &mut Server, streams: &[PaymentStream], kill: bool) -> anyhow::Result<Restart> {
    let begun = Instant::now();
    match kill {
        true => server.kill()?,
        false => server.terminate()?,
    }
    let stopped = begun.elapsed().as_secs_f64();
    let begun = Instant::now();
    server.restart()?;
    let listening = begun.elapsed().as_secs_f64();
    let mut client = server.client()?;
    for stream in streams {
        stream.catch_up(&mut client)?;
    }
    Ok(Restart {
        stopped,
        listening,
        streams: begun.elapsed().as_secs_f64(),
    })
}

/// Returns the median of some numbers, of which there is one at least.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let (below, above) = ((numbers.len() - 1) / 2, numbers.len() / 2);
    f64::midpoint(numbers[below], numbers[above])
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn a_median_is_in_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!((median(vec![7.0]) - 7.0).abs() < 1e-9);
    }
}
