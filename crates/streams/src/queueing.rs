//! What a pool of workers does under a given load, by queueing theory: the models M/M/c and M/M/c/K.
//!
//! Pure arithmetic: no clock, no I/O, no money. Times are seconds and rates are per second, as `f64`. docs/queueing.md
//! explains the model for users: its assumptions, and when they do not hold.
//!
//! Letters in the comments: λ arrivals per second, μ = 1 / service, c workers, a = λ / μ the offered load (workers that
//! would be busy if none ever lacked), ρ = a / c, K the bound of those in the system, m = K − c the places to wait.
//!
//! Sources:
//! - Erlang (1917), *Solution of some problems in the theory of probabilities of significance in automatic telephone
//!   exchanges*: the formulas B and C, and the wait of M/M/c.
//! - Gross, Shortle, Thompson, Harris (2008), *Fundamentals of Queueing Theory*, 4th ed., chapter 2: M/M/c and M/M/c/K.
//! - Kleinrock (1975), *Queueing Systems*, vol. 1, chapter 3: birth-death systems.
//! - Little (1961), *A proof for the queuing formula L = λW*.
//! - Jensen (1953), *Markoff chains as an aid in the study of Markoff processes*: uniformisation.

/// Most workers that a model is computed for.
pub const WORKERS_MAX: u32 = 10_000;

/// Largest bound of those in the system.
pub const CAPACITY_MAX: u32 = 1_000_000;

/// Largest rate of arrivals, per second.
pub const ARRIVALS_PER_SECOND_MAX: f64 = 1e12;

/// Shortest and longest mean service time, in seconds.
pub const SERVICE_SECONDS: std::ops::RangeInclusive<f64> = 1e-12..=1e9;

/// What a pool has to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Mean rate of arrivals per second, those refused included; 0 to [`ARRIVALS_PER_SECOND_MAX`].
    pub arrivals: f64,
    /// Mean time that one worker needs for one of them, in seconds, within [`SERVICE_SECONDS`].
    pub service: f64,
    /// The most that may be in the system, waiting or being worked on, up to [`CAPACITY_MAX`]; who arrives when it is full
    /// is refused. None: the queue has no bound.
    pub capacity: Option<u32>,
}

/// Why there is no prediction.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// An input is not a number or outside of its range.
    #[error("{0}")]
    Invalid(&'static str),
    /// More arrives than the workers can do, and the queue has no bound: it grows for ever.
    #[error(
        "{workers} workers are too few: the queue would grow for ever (utilisation {utilisation:.3}, must be below 1)"
    )]
    Unstable {
        /// Workers asked about.
        workers: u32,
        /// Offered load per worker, 1 or more.
        utilisation: f64,
    },
    /// No number of workers reaches the target.
    #[error("not even {workers} workers reach the target")]
    OutOfReach {
        /// The most that there may be: [`WORKERS_MAX`], or the capacity if that is less.
        workers: u32,
    },
}

/// The steady state of a pool: what is seen on average, long after the start.
///
/// With a capacity, waits and times are those of the arrivals that were not refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// The load that it is for.
    pub load: Load,
    /// Workers, c.
    pub workers: u32,
    /// Mean share of the workers that are busy, 0 to 1.
    pub utilisation: f64,
    /// Probability that an arrival has to wait before a worker takes it.
    pub waiting_probability: f64,
    /// Probability that an arrival finds the system full; 0 without a capacity.
    pub refusal_probability: f64,
    /// Mean wait until a worker takes it, over those also that do not wait, in seconds.
    pub wait: f64,
    /// Mean time in the system, wait and service, in seconds.
    pub sojourn: f64,
    /// Mean number of those that wait.
    pub queue_length: f64,
    /// Mean number in the system, waiting or being worked on.
    pub system_length: f64,
    /// Mean rate of what is done, per second.
    pub throughput: f64,
}

/// Which time a target is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// From arrival until a worker takes it.
    Wait,
    /// From arrival until it is done.
    Sojourn,
}

/// Which figure of that time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// The mean. Not with a capacity: a refused arrival has no time.
    Mean,
    /// The time within which this share of all arrivals is served, above 0 and below 1. A refused arrival never is.
    Quantile(f64),
}

/// What is asked of a pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    /// Which time.
    pub of: Of,
    /// Which figure of it.
    pub measure: Measure,
    /// The most that it may be, in seconds.
    pub seconds: f64,
}

/// The steady state of this many workers under this load.
///
/// # Errors
///
/// [`Error::Invalid`] if an input is out of its range, [`Error::Unstable`] if it has no steady state.
pub fn predict(load: &Load, workers: u32) -> Result<Prediction, Error> {
    check(load)?;
    if !(1..=WORKERS_MAX).contains(&workers) {
        return Err(Error::Invalid("workers must be from 1 to 10,000"));
    }
    match load.capacity {
        None => open(load, workers),
        Some(capacity) if capacity < workers => Err(Error::Invalid(
            "the capacity counts also those being worked on: it must not be below the workers",
        )),
        Some(_) => Ok(bounded(load, workers)),
    }
}

/// The fewest workers that reach the target: with them, and with any more, it holds.
///
/// With a capacity, a refused arrival counts as one that misses the target.
///
/// # Errors
///
/// [`Error::Invalid`] if an input is out of its range, [`Error::OutOfReach`] if [`WORKERS_MAX`] workers, or as many as the
/// capacity, would not do.
pub fn workers_needed(load: &Load, target: &Target) -> Result<u32, Error> {
    check(load)?;
    if !(target.seconds >= 0.0 && target.seconds.is_finite()) {
        return Err(Error::Invalid("the target's time must be 0 s or more"));
    }
    match target.measure {
        Measure::Mean if load.capacity.is_some() => {
            return Err(Error::Invalid(
                "with a capacity some are refused, which a mean does not show: take a percentile, where they count as late",
            ));
        }
        Measure::Quantile(share) if !(share > 0.0 && share < 1.0) => {
            return Err(Error::Invalid("a quantile is above 0 and below 1"));
        }
        Measure::Mean | Measure::Quantile(_) => {}
    }
    // Each further worker makes departures faster in every state: fewer are in the system, and whoever finds that many
    // waits less. So the target, once reached, stays reached.
    let most = load.capacity.unwrap_or(WORKERS_MAX).min(WORKERS_MAX);
    if !reached(load, most, target) {
        return Err(Error::OutOfReach { workers: most });
    }
    let (mut too_few, mut enough) = (0, most);
    while enough - too_few > 1 {
        let middle = too_few + (enough - too_few) / 2;
        if reached(load, middle, target) {
            enough = middle;
        } else {
            too_few = middle;
        }
    }
    Ok(enough)
}

impl Prediction {
    /// The wait that a share `q` of the arrivals does not exceed, in seconds.
    ///
    /// Without a capacity in closed form (Erlang 1917; Gross et al., section 2.3); with one by uniformisation (Jensen 1953).
    ///
    /// # Panics
    ///
    /// Unless 0 ≤ q < 1.
    #[must_use]
    pub fn wait_quantile(&self, q: f64) -> f64 {
        self.law(Of::Wait).quantile(q, self.sojourn)
    }

    /// The time in the system that a share `q` of the arrivals does not exceed, in seconds.
    ///
    /// # Panics
    ///
    /// Unless 0 ≤ q < 1.
    #[must_use]
    pub fn sojourn_quantile(&self, q: f64) -> f64 {
        self.law(Of::Sojourn).quantile(q, self.sojourn)
    }

    /// The share of all arrivals that are not refused and whose time is at most this, in seconds.
    #[must_use]
    pub fn share_within(&self, of: Of, seconds: f64) -> f64 {
        (1.0 - self.refusal_probability) * (1.0 - self.law(of).longer_than(seconds))
    }

    fn law(&self, of: Of) -> Law {
        let (c, service) = (f64::from(self.workers), self.load.service);
        if self.load.capacity.is_some() {
            return States::of(&self.load, self.workers).law(of);
        }
        let (waits, drain) = (self.waiting_probability, c / service - self.load.arrivals);
        match of {
            Of::Wait => Law::OpenWait { waits, drain },
            Of::Sojourn => Law::OpenSojourn {
                waits,
                drain,
                rate: service.recip(),
            },
        }
    }
}

/// Erlang's formula B: the share of arrivals that `workers` without any place to wait refuse, and the share that they serve.
///
/// The recurrence over the workers, B(0) = 1, B(n) = a B(n−1) / (n + a B(n−1)), adds and multiplies positive numbers only, so
/// that it neither overflows nor cancels (Gross et al., section 2.5). The second number is 1 − B without the subtraction.
fn erlang_b(offered: f64, workers: u32) -> (f64, f64) {
    (1..=workers).fold((1.0, 0.0), |(refused, _), n| {
        let n = f64::from(n);
        let sum = n + offered * refused;
        (offered * refused / sum, n / sum)
    })
}

fn check(load: &Load) -> Result<(), Error> {
    if !(0.0..=ARRIVALS_PER_SECOND_MAX).contains(&load.arrivals) {
        return Err(Error::Invalid("arrivals must be from 0 to 1e12 per second"));
    }
    if !SERVICE_SECONDS.contains(&load.service) {
        return Err(Error::Invalid(
            "the service time must be from 1e-12 to 1e9 s",
        ));
    }
    if load
        .capacity
        .is_some_and(|capacity| !(1..=CAPACITY_MAX).contains(&capacity))
    {
        return Err(Error::Invalid("the capacity must be from 1 to 1,000,000"));
    }
    Ok(())
}

fn reached(load: &Load, workers: u32, target: &Target) -> bool {
    let Ok(prediction) = predict(load, workers) else {
        // All inputs are checked: it is unstable.
        return false;
    };
    match (target.measure, target.of) {
        (Measure::Quantile(share), of) => prediction.share_within(of, target.seconds) >= share,
        (Measure::Mean, Of::Wait) => prediction.wait <= target.seconds,
        // Some wait always remains, even if it is too small to change the sum.
        (Measure::Mean, Of::Sojourn) => {
            target.seconds > load.service && prediction.sojourn <= target.seconds
        }
    }
}

/// M/M/c: Erlang's formula C by way of B, C = B / (B + (1 − ρ)(1 − B)); the queue is C ρ / (1 − ρ) long, the mean wait is
/// C / (cμ − λ) (Gross et al., section 2.3).
fn open(load: &Load, workers: u32) -> Result<Prediction, Error> {
    let (c, offered) = (f64::from(workers), load.arrivals * load.service);
    let utilisation = offered / c;
    let drain = c / load.service - load.arrivals;
    if utilisation >= 1.0 || drain <= 0.0 {
        return Err(Error::Unstable {
            workers,
            utilisation: utilisation.max(1.0),
        });
    }
    let (refused, served) = erlang_b(offered, workers);
    let idle = (c - offered) / c;
    let waits = refused / (refused + idle * served);
    let (wait, queue_length) = (waits / drain, waits * utilisation / idle);
    Ok(Prediction {
        load: *load,
        workers,
        utilisation,
        waiting_probability: waits,
        refusal_probability: 0.0,
        wait,
        sojourn: wait + load.service,
        queue_length,
        system_length: queue_length + offered,
        throughput: load.arrivals,
    })
}

/// M/M/c/K: all from the probabilities of its states (Gross et al., section 2.4).
fn bounded(load: &Load, workers: u32) -> Prediction {
    let states = States::of(load, workers);
    let c = f64::from(workers);
    let queue_length = weighted(&states.queue);
    let (waits, wait) = states
        .departures_needed()
        .iter()
        .zip(0_u32..)
        .skip(1)
        .fold((0.0, 0.0), |(waits, departures), (share, n)| {
            (waits + share, departures + share * f64::from(n))
        });
    let wait = wait * load.service / c;
    let throughput = load.arrivals * states.accepted;
    Prediction {
        load: *load,
        workers,
        // Rounding must not make a share more than all.
        utilisation: (throughput * load.service / c).min(1.0),
        waiting_probability: waits.min(1.0),
        refusal_probability: states.full(),
        wait,
        sojourn: wait + load.service,
        queue_length,
        system_length: queue_length + throughput * load.service,
        throughput,
    }
}

/// The sum of n times the n-th.
fn weighted(shares: &[f64]) -> f64 {
    shares
        .iter()
        .zip(0_u32..)
        .map(|(share, n)| share * f64::from(n))
        .sum()
}

/// How likely the states of M/M/c/K are.
///
/// The states up to c are those of Erlang's B, and each further one is ρ times the one before (Kleinrock, section 3.8). By
/// PASTA (Poisson arrivals see time averages; Wolff 1982) these are also what an arrival finds.
struct States {
    /// Workers, c.
    workers: f64,
    /// Departures per second while all workers are busy, cμ.
    rate: f64,
    /// Probability that a worker is free.
    free: f64,
    /// Probability that all are busy and 0, 1, … m wait.
    queue: Vec<f64>,
    /// Probability that it is not full.
    accepted: f64,
}

impl States {
    fn of(load: &Load, workers: u32) -> States {
        let c = f64::from(workers);
        let places = load.capacity.expect("only a bounded system has these") - workers;
        let offered = load.arrivals * load.service;
        let (refused, served) = erlang_b(offered, workers);
        let ratio = offered / c;
        // From the likelier end, so that no power overflows.
        let (free, queue) = if ratio <= 1.0 {
            (served, powers(refused, ratio, places))
        } else {
            let mut down = powers(refused, ratio.recip(), places);
            down.reverse();
            (served * ratio.recip().powf(f64::from(places)), down)
        };
        let sum = free + queue.iter().sum::<f64>();
        let (free, queue): (f64, Vec<f64>) = (free / sum, queue.iter().map(|p| p / sum).collect());
        let accepted = free + queue[..queue.len() - 1].iter().sum::<f64>();
        States {
            workers: c,
            rate: c / load.service,
            free,
            queue,
            accepted,
        }
    }

    fn full(&self) -> f64 {
        *self
            .queue
            .last()
            .expect("it has at least the state without a queue")
    }

    /// How likely an accepted arrival needs 0, 1, … m departures before a worker takes it.
    fn departures_needed(&self) -> Vec<f64> {
        let finds = &self.queue[..self.queue.len() - 1];
        std::iter::once(self.free)
            .chain(finds.iter().copied())
            .map(|share| share / self.accepted)
            .collect()
    }

    fn law(&self, of: Of) -> Law {
        let needed = self.departures_needed();
        // Those who still wait after n departures need more than n.
        let mut still = vec![0.0; needed.len()];
        for n in (1..needed.len()).rev() {
            still[n - 1] = still[n] + needed[n];
        }
        let mut stays = 0.0;
        if of == Of::Sojourn {
            stays = 1.0 - self.workers.recip();
            let mut served = 0.0;
            for (still, needed) in still.iter_mut().zip(&needed) {
                served = served * stays + needed;
                *still += served;
            }
        }
        // (1 − 1 / c)^42c is below 1e-18.
        let ticks_max = (still.len() - 1) as f64 + 42.0 * self.workers;
        Law::Bounded {
            rate: self.rate,
            still,
            stays,
            ticks_max,
        }
    }
}

/// `first`, `first` · `ratio`, … : one more than `steps`.
fn powers(first: f64, ratio: f64, steps: u32) -> Vec<f64> {
    std::iter::successors(Some(first), |last| Some(last * ratio))
        .take(steps as usize + 1)
        .collect()
}

/// How a time is distributed.
enum Law {
    /// The wait of M/M/c: none, or exponential (Erlang 1917).
    OpenWait {
        /// Probability of waiting, C.
        waits: f64,
        /// How much faster than the arrivals all workers are, cμ − λ, per second.
        drain: f64,
    },
    /// The time in M/M/c: service alone, or the wait and then the service, each exponential and independent (Gross et al.,
    /// section 2.3).
    OpenSojourn {
        /// As for the wait.
        waits: f64,
        /// As for the wait.
        drain: f64,
        /// μ.
        rate: f64,
    },
    /// A time in M/M/c/K, a mixture of Erlang distributions and an exponential one, by uniformisation (Jensen 1953).
    ///
    /// While an arrival waits, workers finish at the rate cμ. Once it is being worked on let the clock tick on at that rate,
    /// each tick being its own end with probability 1 / c: that is its service, exponential with μ. So the ticks up to t
    /// are Poisson with mean cμt, and only their number matters.
    Bounded {
        /// Ticks per second, cμ.
        rate: f64,
        /// Probability that the time is not over after 0, 1, … m ticks.
        still: Vec<f64>,
        /// By what that shrinks with each tick after m.
        stays: f64,
        /// After so many it is as good as over.
        ticks_max: f64,
    },
}

impl Law {
    /// Probability that the time is longer than this, in seconds.
    fn longer_than(&self, seconds: f64) -> f64 {
        match self {
            Law::OpenWait { waits, drain } => waits * (-drain * seconds).exp(),
            Law::OpenSojourn { waits, drain, rate } => {
                let (slow, fast) = (drain.min(*rate), drain.max(*rate));
                // Long over; and nothing below overflows.
                if slow * seconds > 700.0 {
                    return 0.0;
                }
                let apart = (fast - slow) * seconds;
                // (1 − e^−x) / x, which is 1 where the two rates are the same.
                let mean = if apart > 0.0 {
                    -(-apart).exp_m1() / apart
                } else {
                    1.0
                };
                let both = (-slow * seconds).exp() * (1.0 + slow * seconds * mean);
                (1.0 - waits) * (-rate * seconds).exp() + waits * both
            }
            Law::Bounded {
                rate,
                still,
                stays,
                ticks_max,
            } => {
                let mean = rate * seconds;
                // The most ticks that matter are then nine deviations below the mean.
                if mean > ticks_max + 9.0 * ticks_max.sqrt() + 81.0 {
                    return 0.0;
                }
                let last = still.len() - 1;
                poisson_mean(mean, |ticks| match still.get(ticks) {
                    Some(share) => *share,
                    None => still[last] * stays.powf((ticks - last) as f64),
                })
            }
        }
    }

    /// The time that is not exceeded with probability `q`; `about` is any time of that order.
    fn quantile(&self, q: f64, about: f64) -> f64 {
        assert!(
            (0.0..1.0).contains(&q),
            "a quantile is from 0 to below 1: {q}"
        );
        let longer = 1.0 - q;
        if self.longer_than(0.0) <= longer {
            return 0.0;
        }
        if let Law::OpenWait { waits, drain } = self {
            return (waits / longer).ln() / drain;
        }
        let (mut low, mut high) = (0.0, about);
        while self.longer_than(high) > longer {
            (low, high) = (high, 2.0 * high);
        }
        // It only falls, so halving finds the one time.
        while high - low > 1e-12 * high {
            let middle = low + (high - low) / 2.0;
            if self.longer_than(middle) > longer {
                low = middle;
            } else {
                high = middle;
            }
        }
        high
    }
}

/// The mean of `of` over a Poisson number with this mean, for values of at most 1, to about 1e-15.
///
/// Sums outwards from the likeliest number, with weights relative to it: nothing underflows, and only a few times the square
/// root of the mean are needed.
fn poisson_mean(mean: f64, of: impl Fn(usize) -> f64) -> f64 {
    const WEIGHT_MIN: f64 = 1e-18;
    let likeliest = mean.floor();
    let (mut weights, mut sum) = (0.0, 0.0);
    let mut add = |n: f64, weight: f64| {
        weights += weight;
        sum += weight * of(n as usize);
    };
    let (mut n, mut weight) = (likeliest, 1.0);
    while weight > WEIGHT_MIN {
        add(n, weight);
        n += 1.0;
        weight *= mean / n;
    }
    (n, weight) = (likeliest, 1.0);
    while n > 0.0 {
        weight *= n / mean;
        n -= 1.0;
        if weight <= WEIGHT_MIN {
            break;
        }
        add(n, weight);
    }
    sum / weights
}
