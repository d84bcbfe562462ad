use core::cell::Cell;

use super::{PROBLEMS, Rates, Shape, fastest, near};

const RATES: Rates = Rates {
    activation: 0.5,
    weight: 0.01,
    product: 0.004,
};

#[test]
fn rates_are_found_again_from_the_times_of_the_problems() {
    for tile in [1, 4, 96] {
        let measured = PROBLEMS.map(|shape| {
            let work = shape.work(shape.activations(), tile, 64);
            (work, RATES.time(&work))
        });
        let found = Rates::fitted(&measured);
        for shape in [(8, 4096, 4096), (512, 64, 576), (3, 100, 7)] {
            let (batch, rows, cols) = shape;
            let shape = Shape { rows, cols, batch };
            let work = shape.work(shape.activations(), tile, 64);
            let (found, time) = (found.time(&work), RATES.time(&work));
            // Kinds of work that always come in one proportion, as with a tile of 1, cannot be told
            // apart.
            assert!((found / time - 1.0).abs() < 1e-3, "{tile} {shape:?}");
        }
    }
}

#[test]
fn work_that_is_never_done_costs_nothing_and_no_rate_is_negative() {
    let measured = PROBLEMS.map(|shape| (shape.work(0, 4, 64), shape.work(0, 4, 64).each()[2]));
    let found = Rates::fitted(&measured);
    assert_eq!(found.activation, 0.0);
    // Less work takes longer: noise.
    let measured = [(measured[0].0, 1.0), (measured[3].0, 1e9)];
    let found = Rates::fitted(&measured);
    assert!(
        found
            .each()
            .iter()
            .all(|&rate| rate >= 0.0 && rate.is_finite())
    );
}

#[test]
fn one_candidate_is_not_timed_and_of_several_the_fastest_is_taken() {
    fn of<'k>(
        kernels: &'k [f64],
        usual: impl Fn(&f64) -> f64 + Clone + 'k,
        time: impl Fn(&f64) -> f64,
    ) -> Option<&'k f64> {
        fastest(near(kernels.iter(), usual), time)
    }
    let nobody = |_: &f64| -> f64 { panic!("nothing is timed") };
    assert_eq!(of(&[], |_| 1.0, nobody), None);
    // The second is too far behind the first.
    assert_eq!(of(&[1.0, 1.6], |k| *k, nobody), Some(&1.0));
    let timed = Cell::new(0);
    let reversed = |k: &f64| {
        timed.set(timed.get() + 1);
        -k
    };
    assert_eq!(of(&[1.0, 1.2, 1.4, 1.6], |k| *k, reversed), Some(&1.4));
    assert_eq!(timed.get(), 3);
    // Not for a little.
    assert_eq!(of(&[1.0, 1.1], |k| *k, |k| 9.0 - k / 4.0), Some(&1.0));
    assert_eq!(of(&[1.0, 1.1], |k| *k, |k| 9.0 - 8.0 * k), Some(&1.1));
}

#[cfg(feature = "std")]
#[test]
fn the_rates_that_are_kept_first_stay() {
    use super::Measured;
    use crate::BitWidth;

    let measured = Measured::new();
    for width in BitWidth::ALL {
        assert_eq!(measured.get(width), None);
        measured.set(width, RATES);
        let other = Rates {
            weight: 2.0 * RATES.weight,
            ..RATES
        };
        measured.set(width, other);
        assert_eq!(measured.get(width), Some(RATES));
    }
}

/// A bound in products, because one in time would depend on who else uses the machine: a kernel
/// that multiplies 200 of them in a nanosecond is measured in less than a millisecond and a half.
#[cfg(feature = "std")]
#[test]
fn measuring_kernels_takes_less_than_three_hundred_million_products_each_in_turns() {
    let work = |_: usize, shape: &Shape| shape.work(shape.activations(), 4, 64);
    let (mut order, mut products) = (Vec::new(), 0.0);
    let rates = super::rates(3, work, |kernel, problem| {
        products += work(kernel, &PROBLEMS[problem]).each()[2];
        if order.last() != Some(&kernel) {
            order.push(kernel);
        }
    });
    assert_eq!(rates.len(), 3);
    let each = products / 3.0;
    assert!((1e6..3e8).contains(&each), "{each:?}");
    let turns = order.chunks(3);
    assert!(turns.len() > PROBLEMS.len() && turns.clone().all(|turn| turn == [0, 1, 2]));
}
