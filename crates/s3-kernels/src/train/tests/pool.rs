//! Pooling against its definition, and its gradients as adjoints. Both are exact but for the mean.

use proptest::prelude::*;

use crate::Error;
use crate::train::{
    Bf16, Element, PoolShape, avg_pool2d_backward, avg_pool2d_forward, global_avg_pool_backward,
    global_avg_pool_forward, max_pool2d_backward, max_pool2d_forward,
};

/// Whether window `i` along an axis covers pixel `at`.
fn covers(s: &PoolShape, axis: usize, at: usize, i: usize) -> bool {
    let at = at + s.padding;
    at >= i * s.stride && at < i * s.stride + s.kernel[axis]
}

/// The winning pixel of a window by the definition: the first of the largest, or the last NaN.
fn winner(s: &PoolShape, x: &[f32], [n, i, j, c]: [usize; 4]) -> usize {
    let mut best: Option<(f32, usize)> = None;
    for h in 0..s.height {
        for w in 0..s.width {
            if covers(s, 0, h, i) && covers(s, 1, w, j) {
                let v = x[((n * s.height + h) * s.width + w) * s.channels + c];
                if best.is_none_or(|(b, _)| v > b || v.is_nan()) {
                    best = Some((v, h * s.width + w));
                }
            }
        }
    }
    best.expect("a window covers at least one pixel").1
}

fn check(s: &PoolShape, x: &[f32]) {
    let (rows, cols) = (s.out_height().unwrap(), s.out_width().unwrap());
    let len = s.batch * rows * cols * s.channels;
    let (mut y, mut argmax) = (vec![7.0; len], vec![u32::MAX; len]);
    max_pool2d_forward(s, x, &mut y, &mut argmax).unwrap();
    let image = s.height * s.width * s.channels;
    let mut expected_dx = vec![0.0; x.len()];
    for (at, (&y, &won)) in y.iter().zip(&argmax).enumerate() {
        let (c, pixel) = (at % s.channels, at / s.channels);
        let n = pixel / (rows * cols);
        let expected = winner(s, x, [n, pixel / cols % rows, pixel % cols, c]);
        assert_eq!(won as usize, expected, "{s:?} output {at}");
        let source = n * image + expected * s.channels + c;
        assert_eq!(y.to_bits(), x[source].to_bits(), "{s:?} output {at}");
        expected_dx[source] += at as f32;
    }
    let dy: Vec<f32> = (0..len).map(|i| i as f32).collect();
    let mut dx = vec![f32::NAN; x.len()];
    max_pool2d_backward(s, &dy, &argmax, &mut dx).unwrap();
    assert_eq!(dx, expected_dx, "{s:?}");
}

/// Averages and their gradients in f64, and what the kernels make of numbers that `T` holds.
fn check_average<T: Element>(s: &PoolShape) {
    let (rows, cols) = (s.out_height().unwrap(), s.out_width().unwrap());
    let numbers = |len: usize, step: f32| -> Vec<T> {
        (0..len)
            .map(|i| T::from_f32((i as f32 * step).sin()))
            .collect()
    };
    let x = numbers(s.batch * s.height * s.width * s.channels, 0.37);
    let dy = numbers(s.batch * rows * cols * s.channels, 0.71);
    let (mut y_ref, mut dx_ref) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
    let share = 1.0 / (s.kernel[0] * s.kernel[1]) as f64;
    for at in 0..dy.len() {
        let (c, pixel) = (at % s.channels, at / s.channels);
        let (n, i, j) = (pixel / (rows * cols), pixel / cols % rows, pixel % cols);
        for h in (0..s.height).filter(|&h| covers(s, 0, h, i)) {
            for w in (0..s.width).filter(|&w| covers(s, 1, w, j)) {
                let from = ((n * s.height + h) * s.width + w) * s.channels + c;
                y_ref[at] += f64::from(x[from].to_f32()) * share;
                dx_ref[from] += f64::from(dy[at].to_f32()) * share;
            }
        }
    }
    let nan = T::from_f32(f32::NAN);
    let (mut y, mut dx) = (vec![nan; dy.len()], vec![nan; x.len()]);
    avg_pool2d_forward(s, &x, &mut y).unwrap();
    avg_pool2d_backward(s, &dy, &mut dx).unwrap();
    // Sums of at most 49 numbers of size 1, rounded once more where they are stored.
    let rounding = if T::NAME == "bf16" { 1.01 / 256.0 } else { 0.0 };
    for (what, got, expected) in [("y", &y, &y_ref), ("dx", &dx, &dx_ref)] {
        for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
            let error = (f64::from(got.to_f32()) - expected).abs();
            let bound = 1e-5 + rounding * expected.abs();
            assert!(error <= bound, "{} {what}[{i}] {s:?}", T::NAME);
        }
    }
}

proptest! {
    #[test]
    fn any_average_pool_matches_the_definition(
        [batch, height, width] in prop::array::uniform3(1usize..8),
        channels in 1usize..40,
        kernel in prop::array::uniform2(1usize..8),
        stride in 1usize..5,
        padding in 0usize..9,
    ) {
        let s = PoolShape { batch, height, width, channels, kernel, stride, padding };
        prop_assume!(s.out_height().is_ok() && s.out_width().is_ok());
        check_average::<f32>(&s);
        check_average::<Bf16>(&s);
    }

    #[test]
    fn any_max_pool_matches_the_definition(
        [batch, height, width, channels] in prop::array::uniform4(1usize..9),
        kernel in prop::array::uniform2(1usize..5),
        stride in 1usize..4,
        padding in 0usize..3,
        seed: u32,
    ) {
        let padding = padding.min(kernel[0].min(kernel[1]) / 2);
        let s = PoolShape { batch, height, width, channels, kernel, stride, padding };
        prop_assume!(s.out_height().is_ok() && s.out_width().is_ok());
        // Few distinct values, so that ties are common; NaN and -inf among them.
        let values = [0.0, 1.0, -1.0, 2.0, f32::NEG_INFINITY, 0.5, -0.5, f32::NAN];
        let mut state = u64::from(seed) + 1;
        let x: Vec<f32> = (0..batch * height * width * channels)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                values[(state >> 58) as usize % values.len()]
            })
            .collect();
        check(&s, &x);
    }

    #[test]
    fn the_mean_and_its_gradient_are_adjoint(
        batch in 0usize..5,
        pixels in 1usize..40,
        channels in 1usize..20,
    ) {
        // Integers below 2^24, and a gradient that is a multiple of `pixels`: every sum is exact.
        let x: Vec<f32> = (0..batch * pixels * channels).map(|i| (i % 37) as f32).collect();
        let dy: Vec<f32> = (0..batch * channels).map(|i| (i % 5 * pixels) as f32).collect();
        let (mut y, mut dx) = (vec![9.0; dy.len()], vec![9.0; x.len()]);
        global_avg_pool_forward(&x, pixels, channels, &mut y).unwrap();
        global_avg_pool_backward(&dy, pixels, channels, &mut dx).unwrap();
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let (left, right) = (dot(&y, &dy), dot(&x, &dx));
        // One rounding each in 1/pixels and in the products with it.
        prop_assert!((left - right).abs() <= 1e-6 * left.abs(), "{left} {right}");
    }
}

#[test]
fn the_pool_of_resnet_matches_the_definition() {
    let s = PoolShape {
        batch: 2,
        height: 28,
        width: 27,
        channels: 20,
        kernel: [3, 3],
        stride: 2,
        padding: 1,
    };
    let x: Vec<f32> = (0..2 * 28 * 27 * 20)
        .map(|i| (i as f32 * 0.37).sin())
        .collect();
    check(&s, &x);
}

/// The gradient of overlapping windows is summed in f32 and rounded once.
#[test]
fn a_max_pool_of_bf16_moves_what_it_is_given() {
    let s = PoolShape {
        batch: 1,
        height: 1,
        width: 4,
        channels: 1,
        kernel: [1, 3],
        stride: 1,
        padding: 0,
    };
    let x = [0.5, 3.0, -1.0, 2.0].map(Bf16::from_f32);
    let (mut y, mut argmax, mut dx) = ([Bf16::default(); 2], [9; 2], [Bf16::default(); 4]);
    max_pool2d_forward(&s, &x, &mut y, &mut argmax).unwrap();
    assert!(y == [3.0, 3.0].map(Bf16::from_f32) && argmax == [1, 1]);
    max_pool2d_backward(&s, &[1.5, 0.25].map(Bf16::from_f32), &argmax, &mut dx).unwrap();
    assert!(dx == [0.0, 1.75, 0.0, 0.0].map(Bf16::from_f32));
}

#[test]
fn padding_beyond_half_the_kernel_is_an_error() {
    let s = PoolShape {
        batch: 1,
        height: 4,
        width: 4,
        channels: 1,
        kernel: [3, 3],
        stride: 1,
        padding: 2,
    };
    let expected = "at most half the kernel";
    assert_eq!(
        max_pool2d_forward(&s, &[0.0; 16], &mut [], &mut []),
        Err(Error::Unsupported {
            what: "padding",
            expected,
            got: 2
        })
    );
}
