//! The model of worker pools: known values, laws that must hold, and a simulated pool.

mod pool;

use proptest::prelude::*;
use tributary_streams::queueing::{
    Error, Load, Measure, Of, Prediction, Target, WORKERS_MAX, predict, workers_needed,
};

fn load(arrivals: f64, service: f64, capacity: Option<u32>) -> Load {
    Load {
        arrivals,
        service,
        capacity,
    }
}

#[track_caller]
fn predicted(arrivals: f64, service: f64, workers: u32, capacity: Option<u32>) -> Prediction {
    predict(&load(arrivals, service, capacity), workers).expect("it has a steady state")
}

#[track_caller]
fn near(found: f64, expected: f64, relative: f64) {
    let bound = relative * expected.abs() + 1e-300;
    assert!(
        (found - expected).abs() <= bound,
        "{found} is not {expected}"
    );
}

/// The probabilities of states 0 to K, straight from the balance equations; only for small systems.
fn states(offered: f64, workers: u32, capacity: u32) -> Vec<f64> {
    let mut weights = vec![1.0];
    for n in 1..=capacity {
        let last = weights[weights.len() - 1];
        weights.push(last * offered / f64::from(n.min(workers)));
    }
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}

#[test]
fn the_probability_of_waiting_is_that_of_the_tables_of_erlang_c() {
    // Computed with 40 digits from the defining sums; plain powers and factorials overflow in the last two.
    for (offered, workers, expected) in [
        (0.5, 1, 0.5),
        (1.0, 2, 1.0 / 3.0),
        (2.0, 3, 4.0 / 9.0),
        (4.0, 5, 0.554_112_554_112_554_1),
        (8.0, 10, 0.409_180_150_796_443_53),
        (95.0, 100, 0.506_456_853_913_020_6),
        (1.0, 100, 3.981_682_888_939_878e-159),
        (9_900.0, 10_000, 0.222_776_928_864_148_24),
        (9_999.0, 10_000, 0.987_556_252_434_485_8),
    ] {
        let p = predicted(offered, 1.0, workers, None);
        near(p.waiting_probability, expected, 1e-11);
        near(p.wait, expected / (f64::from(workers) - offered), 1e-11);
    }
    let quiet = predicted(1.0, 1.0, 10_000, None);
    assert_eq!((quiet.waiting_probability, quiet.wait), (0.0, 0.0));
}

#[test]
fn without_places_to_wait_the_refusals_are_those_of_the_tables_of_erlang_b() {
    for (offered, workers, expected) in [
        (10.0, 1, 10.0 / 11.0),
        (1.0, 2, 0.2),
        (2.0, 3, 4.0 / 19.0),
        (5.0, 10, 0.018_384_570_336_648_133),
        (10.0, 10, 0.214_582_343_107_347_34),
        (100.0, 100, 0.075_700_452_710_867_1),
        (9_900.0, 10_000, 0.002_858_126_738_856_586_4),
    ] {
        let p = predicted(offered, 1.0, workers, Some(workers));
        near(p.refusal_probability, expected, 1e-12);
        near(p.throughput, offered * (1.0 - expected), 1e-12);
        assert_eq!(
            (p.wait, p.queue_length, p.waiting_probability),
            (0.0, 0.0, 0.0)
        );
        near(p.sojourn_quantile(0.5), 2.0_f64.ln(), 1e-9);
    }
}

#[test]
fn one_worker_is_the_closed_form_of_m_m_1() {
    for utilisation in [0.01, 0.3, 0.9, 0.999] {
        let p = predicted(utilisation, 1.0, 1, None);
        near(p.waiting_probability, utilisation, 1e-12);
        near(p.sojourn, 1.0 / (1.0 - utilisation), 1e-10);
        near(p.system_length, utilisation / (1.0 - utilisation), 1e-10);
        // The time in the system is exponential.
        for q in [0.0, 0.1, 0.5, 0.99, 0.999_9] {
            near(p.sojourn_quantile(q), -(1.0 - q).ln() * p.sojourn, 1e-9);
            let wait = (utilisation / (1.0 - q)).ln().max(0.0) * p.sojourn;
            near(p.wait_quantile(q) + 1.0, wait + 1.0, 1e-9);
        }
    }
}

#[test]
fn the_textbook_s_clinic_with_three_doctors_comes_out() {
    // Gross, Shortle, Thompson, Harris, section 2.3: six patients an hour, three doctors, 20 minutes each.
    let p = predicted(6.0, 1.0 / 3.0, 3, None);
    near(p.queue_length, 8.0 / 9.0, 1e-12);
    near(p.system_length, 26.0 / 9.0, 1e-12);
    near(p.wait, 4.0 / 27.0, 1e-12);
    near(p.sojourn, 26.0 / 54.0, 1e-12);
}

#[test]
fn bounded_systems_have_the_values_of_their_balance_equations() {
    // Computed with 40 digits: means from the balance equations, quantiles from the incomplete gamma function and, for the
    // time in the system, numerical integration. The first is the textbook's inspection station (section 2.4), in minutes.
    #[rustfmt::skip]
    let cases = [
        (1.0, 6.0, 3, 7, [0.504_820_333_041, 0.955_752_212_389, 3.092_024_539_88, 6.063_102_541_63, 6.244_247_787_61, 12.244_247_787_6],
            [5.656_932_266_89, 18.631_721_835_1, 10.912_112_361_4, 35.742_179_521_3]),
        (5.0, 1.0, 4, 12, [0.218_230_332_112, 0.929_262_750_274, 5.096_866_126_15, 9.005_714_465_59, 1.303_930_386_53, 2.303_930_386_53],
            [1.258_955_645_2, 3.527_197_060_73, 2.128_111_881_86, 6.319_388_226_08]),
        (3.0, 1.0, 1, 6, [0.666_971_637_694, 0.997_252_747_253, 4.504_117_108_87, 5.503_202_195_79, 4.508_241_758_24, 5.508_241_758_24],
            [4.196_671_398_67, 11.174_666_362_7, 5.192_929_455_84, 12.675_482_218_3]),
    ];
    for (arrivals, service, workers, capacity, means, quantiles) in cases {
        let p = predicted(arrivals, service, workers, Some(capacity));
        let found = [
            p.refusal_probability,
            p.waiting_probability,
            p.queue_length,
            p.system_length,
            p.wait,
            p.sojourn,
        ];
        for (found, expected) in found.into_iter().zip(means) {
            near(found, expected, 1e-10);
        }
        let found = [
            p.wait_quantile(0.5),
            p.wait_quantile(0.99),
            p.sojourn_quantile(0.5),
            p.sojourn_quantile(0.99),
        ];
        for (found, expected) in found.into_iter().zip(quantiles) {
            near(found, expected, 1e-9);
        }
    }
}

#[test]
fn a_bound_that_is_never_met_changes_nothing() {
    for (arrivals, workers) in [(0.6, 1), (2.8, 4), (45.0, 50), (1_900.0, 2_000)] {
        let open = predicted(arrivals, 1.0, workers, None);
        let bounded = predicted(arrivals, 1.0, workers, Some(workers + 2_000));
        near(bounded.waiting_probability, open.waiting_probability, 1e-9);
        near(bounded.wait, open.wait, 1e-9);
        near(bounded.queue_length, open.queue_length, 1e-9);
        for q in [0.2, 0.5, 0.95, 0.999] {
            near(bounded.wait_quantile(q), open.wait_quantile(q), 1e-8);
            near(bounded.sojourn_quantile(q), open.sojourn_quantile(q), 1e-8);
        }
        let small = predicted(arrivals, 1.0, workers, Some(workers + 2));
        assert!(small.wait < 0.9 * open.wait, "a bound that is met does");
    }
}

#[test]
fn extreme_loads_give_numbers() {
    for (arrivals, service, workers, capacity) in [
        (0.0, 1.0, 3, None),
        (0.0, 1.0, 3, Some(9)),
        (1e12, 1e9, 1, Some(1_000_000)),
        (1e12, 1e9, 10_000, Some(10_000)),
        (1e-9, 1e-12, 10_000, Some(1_000_000)),
        (9_999.999, 1.0, 10_000, None),
        (10_000.0, 1.0, 10_000, Some(1_000_000)),
    ] {
        let p = predicted(arrivals, service, workers, capacity);
        let numbers = [
            p.utilisation,
            p.waiting_probability,
            p.refusal_probability,
            p.wait,
            p.sojourn,
            p.queue_length,
            p.system_length,
            p.throughput,
            p.wait_quantile(0.99),
            p.sojourn_quantile(0.99),
            p.share_within(Of::Sojourn, 1e300),
        ];
        assert!(
            numbers.iter().all(|n| n.is_finite() && *n >= 0.0),
            "{p:?} {numbers:?}"
        );
    }
}

#[test]
fn what_has_no_steady_state_is_an_error_that_says_so() {
    let busy = load(10.0, 0.5, None);
    for workers in [1, 4, 5] {
        let Err(Error::Unstable { utilisation, .. }) = predict(&busy, workers) else {
            panic!("{workers} workers can do no more than arrives");
        };
        near(utilisation, 5.0 / f64::from(workers), 1e-12);
    }
    assert!(predict(&busy, 6).is_ok());
    assert!(predict(&load(10.0, 0.5, Some(5)), 5).is_ok());
}

#[test]
fn inputs_out_of_range_are_refused() {
    for (load, workers) in [
        (load(-1.0, 1.0, None), 1),
        (load(f64::NAN, 1.0, None), 1),
        (load(f64::INFINITY, 1.0, None), 1),
        (load(1.0, 0.0, None), 2),
        (load(1.0, f64::NAN, None), 2),
        (load(1.0, 0.1, None), 0),
        (load(1.0, 0.1, None), WORKERS_MAX + 1),
        (load(1.0, 0.1, Some(3)), 4),
        (load(1.0, 0.1, Some(0)), 1),
        (load(1.0, 0.1, Some(1_000_001)), 1),
    ] {
        let found = predict(&load, workers);
        assert!(matches!(found, Err(Error::Invalid(_))), "{found:?}");
    }
    for (capacity, measure, seconds) in [
        (None, Measure::Quantile(1.0), 1.0),
        (None, Measure::Quantile(f64::NAN), 1.0),
        (None, Measure::Mean, f64::NAN),
        (Some(9), Measure::Mean, 1.0),
    ] {
        let found = workers_needed(
            &load(1.0, 0.1, capacity),
            &Target {
                of: Of::Wait,
                measure,
                seconds,
            },
        );
        assert!(matches!(found, Err(Error::Invalid(_))), "{found:?}");
    }
}

#[test]
fn a_target_beyond_reach_is_an_error() {
    let check = |load: Load, of: Of, measure: Measure, seconds: f64, most: u32| {
        let target = Target {
            of,
            measure,
            seconds,
        };
        let found = workers_needed(&load, &target);
        assert_eq!(found, Err(Error::OutOfReach { workers: most }));
    };
    // Work alone takes longer.
    let p99 = Measure::Quantile(0.99);
    check(load(1.0, 1.0, None), Of::Sojourn, p99, 4.6, WORKERS_MAX);
    check(
        load(1.0, 1.0, None),
        Of::Sojourn,
        Measure::Mean,
        1.0,
        WORKERS_MAX,
    );
    check(load(10_000.0, 1.0, None), Of::Wait, p99, 1e6, WORKERS_MAX);
    // However many workers there are, more than 1 in 100 finds all ten places taken.
    check(load(10.0, 1.0, Some(10)), Of::Wait, p99, 1e6, 10);
}

#[test]
fn refused_arrivals_miss_the_target() {
    let overloaded = load(5_000.0, 0.002, Some(20));
    let target = Target {
        of: Of::Sojourn,
        measure: Measure::Quantile(0.99),
        seconds: 0.5,
    };
    // Even one worker is quick enough for those that get in.
    let one = predict(&overloaded, 1).expect("bounded");
    assert!(one.sojourn_quantile(0.99) < 0.5 && one.refusal_probability > 0.8);
    let needed = workers_needed(&overloaded, &target).expect("within reach");
    let refused = |workers| {
        predict(&overloaded, workers)
            .expect("bounded")
            .refusal_probability
    };
    assert!(
        refused(needed) <= 0.01 && refused(needed - 1) > 0.01,
        "{needed}"
    );
}

/// A pool with its load: unbounded and stable, or bounded and possibly overloaded.
fn pools() -> impl Strategy<Value = (Load, u32)> {
    let service = prop_oneof![Just(1.0), 1e-6..1e3];
    (
        1_u32..60,
        0.01..0.98,
        0.01..3.0,
        prop::option::of(0_u32..200),
        service,
    )
        .prop_map(|(workers, stable, any, places, service)| {
            let share = if places.is_some() { any } else { stable };
            let arrivals = share * f64::from(workers) / service;
            (
                load(arrivals, service, places.map(|n| n + workers)),
                workers,
            )
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_laws_hold((load, workers) in pools()) {
        let p = predict(&load, workers).expect("a steady state");
        for share in [p.utilisation, p.waiting_probability, p.refusal_probability] {
            prop_assert!((0.0..=1.0).contains(&share), "{p:?}");
        }
        // Little's law, for the queue and for the system; and what is not refused is done.
        near(p.queue_length, p.throughput * p.wait, 1e-9);
        near(p.system_length, p.throughput * p.sojourn, 1e-9);
        near(p.throughput, load.arrivals * (1.0 - p.refusal_probability), 1e-9);
        near(p.utilisation * f64::from(workers), p.throughput * load.service, 1e-9);
    }

    #[test]
    fn bounded_values_are_those_of_the_balance_equations(
        offered in 0.01..30.0, workers in 1_u32..20, places in 0_u32..30,
    ) {
        let capacity = workers + places;
        let p = predicted(offered, 1.0, workers, Some(capacity));
        let states = states(offered, workers, capacity);
        let mean = |from: u32| -> f64 {
            (from..=capacity).map(|n| f64::from(n - from) * states[n as usize]).sum()
        };
        near(p.refusal_probability, states[capacity as usize], 1e-9);
        near(p.queue_length, mean(workers), 1e-9);
        near(p.system_length, mean(0), 1e-9);
    }

    #[test]
    fn quantiles_are_where_the_distribution_says((load, workers) in pools(), q in 0.0..0.9999, more in 0.0..1.0) {
        let p = predict(&load, workers).expect("a steady state");
        let (accepted, later) = (1.0 - p.refusal_probability, q + (0.9999 - q) * more);
        for (of, at, after) in [
            (Of::Wait, p.wait_quantile(q), p.wait_quantile(later)),
            (Of::Sojourn, p.sojourn_quantile(q), p.sojourn_quantile(later)),
        ] {
            prop_assert!(0.0 <= at && at <= after);
            let within = p.share_within(of, at) / accepted;
            // Nobody waits less than not at all.
            prop_assert!(if at > 0.0 { (within - q).abs() < 1e-9 } else { within >= q }, "{p:?}: {within}");
        }
        prop_assert!(p.wait_quantile(q) <= p.sojourn_quantile(q));
    }

    #[test]
    fn the_mean_is_the_area_below_the_tail((load, workers) in pools()) {
        let p = predict(&load, workers).expect("a steady state");
        for (of, mean) in [(Of::Wait, p.wait), (Of::Sojourn, p.sojourn)] {
            // Simpson's rule up to where less than 1e-9 is left.
            let q = 0.999_999_999;
            let end = if of == Of::Wait { p.wait_quantile(q) } else { p.sojourn_quantile(q) };
            let steps = 600;
            let tail = |n: u32| 1.0 - p.share_within(of, end * f64::from(n) / 600.0) / (1.0 - p.refusal_probability);
            let area: f64 = (0..=steps)
                .map(|n| tail(n) * if n == 0 || n == steps { 1.0 } else if n % 2 == 1 { 4.0 } else { 2.0 })
                .sum::<f64>() * end / 1800.0;
            prop_assert!((area - mean).abs() < 2e-3 * mean + 1e-6 * p.sojourn, "{p:?} {of:?}: {area} is not {mean}");
        }
    }

    #[test]
    fn a_further_worker_never_makes_it_worse((load, workers) in pools(), share in 0.01..3.0) {
        let load = Load { capacity: load.capacity.map(|n| n + 1), ..load };
        let less = predict(&load, workers).expect("a steady state");
        let more = predict(&load, workers + 1).expect("a steady state");
        let slack = 1.0 + 1e-9;
        prop_assert!(more.refusal_probability <= less.refusal_probability * slack);
        prop_assert!(more.queue_length <= less.queue_length * slack);
        prop_assert!(more.system_length <= less.system_length * slack);
        prop_assert!(more.wait <= less.wait * slack);
        for of in [Of::Wait, Of::Sojourn] {
            let seconds = share * less.sojourn;
            prop_assert!(more.share_within(of, seconds) >= less.share_within(of, seconds) - 1e-12);
        }
    }

    #[test]
    fn the_workers_needed_reach_the_target_and_one_fewer_does_not(
        (load, workers) in pools(), share in 0.5..0.999, slower in 1.0..4.0, wait in any::<bool>(),
    ) {
        let of = if wait { Of::Wait } else { Of::Sojourn };
        // Surely within reach: this very pool reaches it.
        let p = predict(&load, workers).expect("a steady state");
        let share = share * (1.0 - p.refusal_probability);
        let at = if wait { p.wait_quantile(0.999) } else { p.sojourn_quantile(0.999) };
        let target = Target { of, measure: Measure::Quantile(share), seconds: at * slower };
        let reached = |workers| predict(&load, workers)
            .is_ok_and(|p| p.share_within(of, target.seconds) >= share);
        let needed = workers_needed(&load, &target).expect("within reach");
        prop_assert!(needed <= workers && reached(needed));
        prop_assert!(needed == 1 || !reached(needed - 1));

        if load.capacity.is_none() {
            let mean = if wait { p.wait } else { p.sojourn };
            let target = Target { of, measure: Measure::Mean, seconds: mean * (slower + 1e-9) };
            let reached = |workers| predict(&load, workers)
                .is_ok_and(|p| (if wait { p.wait } else { p.sojourn }) <= target.seconds);
            let needed = workers_needed(&load, &target).expect("within reach");
            prop_assert!(needed <= workers && reached(needed));
            prop_assert!(needed == 1 || !reached(needed - 1));
        }
    }
}
