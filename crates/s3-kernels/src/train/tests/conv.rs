//! Convolution and its gradients against the f64 definition, for every instruction set.

use proptest::prelude::*;

use super::oracle;
use crate::train::arch::{has_pairs, has_tiles};
use crate::train::bf16::Bf16;
use crate::train::conv::{backward_input_on, backward_weight_on, forward_on};
use crate::train::element::Element;
use crate::train::simd::Operand;
use crate::{ConvShape, Error, Isa};

/// Allowed error, as a share of the sum of the products' magnitudes. A sum of n f32 products in any
/// order errs by at most about n·2^-24 of it; no case below sums more than 4096 products, and
/// rounding errors mostly cancel.
const TOLERANCE: f64 = 4096.0 / (1 << 24) as f64 / 8.0;

/// Values in -1..1 with all mantissa bits in use: xorshift64*.
fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// The rounding of a stored result: half of the last place of `T`.
fn rounding<T: Element>() -> f64 {
    if T::NAME == "bf16" { 1.0 / 256.0 } else { 0.0 }
}

fn assert_close<T: Element>(got: &[T], expected: &[[f64; 2]], what: &str) {
    for (i, (&got, &[value, magnitude])) in got.iter().zip(expected).enumerate() {
        let got = got.to_f32();
        let error = (f64::from(got) - value).abs();
        assert!(
            error <= TOLERANCE * magnitude + 1.01 * rounding::<T>() * value.abs(),
            "{what}[{i}]: {got} instead of {value}"
        );
    }
}

/// Every instruction set with every width of lane that it serves for `T`.
pub(super) fn all<T: Element>() -> Vec<(Isa, Operand)> {
    let mut all: Vec<_> = Isa::available().map(|isa| (isa, Operand::F32)).collect();
    if T::NAME == "bf16" && has_pairs() {
        all.push((Isa::Avx512, Operand::Bf16Pair));
        if has_tiles() {
            all.push((Isa::Avx512, Operand::Bf16Matrix));
        }
    }
    all
}

pub(super) type Outputs<T> = (Vec<T>, Vec<T>, Vec<f32>);

/// The three passes; outputs start as NaN, so that an element left unwritten shows.
pub(super) fn passes<T: Element>(
    at: (Isa, Operand),
    shape: &ConvShape,
    x: &[T],
    w: &[f32],
    dy: &[T],
) -> Outputs<T> {
    let nan = T::from_f32(f32::NAN);
    let (mut y, mut dx, mut dw) = (
        vec![nan; dy.len()],
        vec![nan; x.len()],
        vec![f32::NAN; w.len()],
    );
    forward_on(at, shape, x, w, &mut y).unwrap();
    backward_input_on(at, shape, dy, w, &mut dx, false).unwrap();
    backward_weight_on(at, shape, x, dy, &mut dw).unwrap();
    (y, dx, dw)
}

/// `x`, `w` and `dy`, as elements and as the values that those have.
pub(super) fn data<T: Element>(shape: &ConvShape) -> ([Vec<T>; 3], [Vec<f32>; 3]) {
    let lens = [shape.input_len(), shape.weight_len(), shape.output_len()];
    let elements = [1, 2, 3].map(|seed| {
        let values = values(lens[seed - 1].clone().unwrap(), seed as u64);
        values.into_iter().map(T::from_f32).collect::<Vec<_>>()
    });
    let rounded = [0, 1, 2].map(|i| elements[i].iter().map(|v| v.to_f32()).collect());
    (elements, rounded)
}

pub(super) fn check(shape: &ConvShape) {
    check_elements::<f32>(shape);
    check_elements::<Bf16>(shape);
}

fn check_elements<T: Element>(shape: &ConvShape) {
    let ([x, _, dy], [x_values, w, dy_values]) = data::<T>(shape);
    let y_ref = oracle::conv(shape, |x, w, y| [x, w, y], &x_values, &w, dy.len());
    let dx_ref = oracle::conv(shape, |x, w, y| [y, w, x], &dy_values, &w, x.len());
    let dw_ref = oracle::conv(shape, |x, w, y| [x, y, w], &x_values, &dy_values, w.len());
    for at in all::<T>() {
        let (y, dx, dw) = passes(at, shape, &x, &w, &dy);
        let name = format!("{} {at:?}", T::NAME);
        assert_close(&y, &y_ref, &format!("{name} y {shape:?}"));
        assert_close(&dx, &dx_ref, &format!("{name} dx {shape:?}"));
        assert_close(&dw, &dw_ref, &format!("{name} dw {shape:?}"));
    }
}

/// Strides leave some inputs without a tap, and many channels are summed block by block.
#[test]
fn added_to_another_gradient_it_is_the_sum() {
    for shape in [
        shape([2, 9, 7], [17, 80], 3, 1, 1),
        shape([1, 6, 8], [16, 32], 1, 2, 0),
        shape([2, 8, 8], [33, 16], 3, 2, 1),
        shape([1, 3, 20], [5, 256], 3, 1, 1),
        linear(45, [17, 80]),
    ] {
        sum_of_gradients::<f32>(&shape);
        sum_of_gradients::<Bf16>(&shape);
        let ([x, w, dy], _) = data::<f32>(&shape);
        let mut dx = x.clone();
        let none = ConvShape {
            out_channels: 0,
            ..shape
        };
        backward_input_on((Isa::Scalar, Operand::F32), &none, &[], &[], &mut dx, true).unwrap();
        assert!(dx == x && !w.is_empty() && !dy.is_empty());
    }
}

pub(super) fn sum_of_gradients<T: Element>(shape: &ConvShape) {
    let ([x, _, dy], [x_values, w, dy_values]) = data::<T>(shape);
    let mut reference = oracle::conv(shape, |x, w, y| [y, w, x], &dy_values, &w, x.len());
    for (sum, x) in reference.iter_mut().zip(&x_values) {
        *sum = [sum[0] + f64::from(*x), sum[1] + f64::from(x.abs())];
    }
    for at in all::<T>() {
        let mut dx = x.clone();
        backward_input_on(at, shape, &dy, &w, &mut dx, true).unwrap();
        assert_close(&dx, &reference, &format!("{} {at:?} dx {shape:?}", T::NAME));
    }
}

/// Weights that bf16 does not hold are rounded to it, on every path.
#[test]
fn weights_are_rounded_to_the_elements() {
    let one = ConvShape::default();
    let w = [1.0 + 1.0 / 256.0 + 1.0 / 4096.0];
    for at in all::<Bf16>() {
        let x = [Bf16::from_f32(1.0)];
        let (y, ..) = passes(at, &one, &x, &w, &x);
        assert_eq!(y[0].to_f32(), 1.0 + 1.0 / 128.0, "{at:?}");
    }
}

pub(super) fn shape(
    [batch, height, width]: [usize; 3],
    [in_channels, out_channels]: [usize; 2],
    kernel: usize,
    stride: usize,
    padding: usize,
) -> ConvShape {
    ConvShape {
        batch,
        height,
        width,
        in_channels,
        out_channels,
        kernel_h: kernel,
        kernel_w: kernel,
        stride,
        padding,
        ..ConvShape::default()
    }
}

/// A linear layer.
fn linear(batch: usize, channels: [usize; 2]) -> ConvShape {
    shape([batch, 1, 1], channels, 1, 1, 0)
}

/// Batches of one row, of several, and with a rest.
#[test]
fn linear_layers_match_the_definition() {
    for batch in 1..36 {
        check(&linear(batch, [17, 33]));
    }
    for batch in [37, 48, 64, 67, 96, 100, 127, 300] {
        check(&linear(batch, [20, 10]));
    }
    for channels in [1, 15, 16, 31, 32, 48] {
        check(&linear(37, [channels, 18]));
        check(&linear(32, [18, channels]));
    }
    // So many weights that lane blocks go in parallel.
    check(&linear(3, [528, 512]));
    check(&linear(37, [512, 528]));
    let stride = ConvShape {
        stride: 2,
        ..linear(34, [5, 3])
    };
    check(&stride);
}

#[test]
fn layers_of_resnet_match_the_definition() {
    check(&shape([2, 32, 32], [3, 16], 3, 1, 1));
    check(&shape([2, 32, 32], [16, 16], 3, 1, 1));
    check(&shape([2, 32, 32], [16, 32], 3, 2, 1));
    check(&shape([2, 32, 32], [16, 32], 1, 2, 0));
    check(&shape([3, 16, 16], [32, 32], 3, 1, 1));
    check(&shape([2, 8, 8], [64, 64], 3, 1, 1));
    check(&shape([5, 7, 7], [96, 80], 3, 1, 1));
    check(&shape([1, 33, 45], [3, 64], 7, 2, 3));
    check(&shape([1, 14, 14], [64, 48], 1, 1, 0));
    // Several images in a part of the batch.
    check(&shape([40, 5, 4], [16, 16], 3, 1, 1));
}

#[test]
fn tile_and_block_boundaries_match_the_definition() {
    for channels in [1, 2, 7, 8, 15, 16, 17, 31, 32, 33] {
        check(&shape([1, 3, 5], [channels, 17], 3, 1, 1));
        check(&shape([1, 5, 3], [9, channels], 3, 2, 1));
    }
    for width in 1..36 {
        check(&shape([2, 3, width], [9, 33], 3, 1, 1));
        check(&shape([1, 2, width], [3, 5], 3, 2, 1));
    }
}

#[test]
fn one_pixel_images_and_padding_beyond_the_kernel_match_the_definition() {
    for kernel in [1, 3, 5, 7] {
        for stride in [1, 2, 3] {
            for padding in [kernel / 2, kernel, kernel + 2] {
                check(&shape([3, 1, 1], [5, 6], kernel, stride, padding));
                check(&shape([1, 4, 6], [20, 18], kernel, stride, padding));
                check(&shape([2, 9, 7], [2, 3], kernel, stride, padding));
            }
        }
    }
}

/// Larger than one strip of scratch, in rows and in images.
#[test]
fn images_that_take_several_strips_match_the_definition() {
    check(&shape([1, 160, 150], [3, 4], 5, 2, 2));
    check(&shape([1, 150, 160], [17, 3], 3, 1, 1));
}

/// So many weights that their gradient is summed lane block by lane block, in one group of images
/// or two, in one strip or two.
#[test]
fn many_weights_match_the_definition() {
    check(&shape([2, 3, 3], [176, 192], 3, 1, 1));
    check(&shape([5, 3, 64], [1040, 256], 1, 1, 0));
    check(&shape([1, 6, 64], [1040, 256], 1, 1, 0));
    // More steps than a list of products of tiles holds, forward and backward.
    check(&shape([1, 3, 5], [256, 3], 3, 1, 1));
    check(&shape([1, 3, 5], [3, 256], 3, 1, 1));
}

#[test]
fn empty_operands_give_zeros_or_nothing() {
    for at in all::<f32>() {
        let none = shape([0, 4, 4], [3, 5], 3, 1, 1);
        let ([x, w, dy], _) = data::<f32>(&none);
        let (y, dx, dw) = passes(at, &none, &x, &w, &dy);
        assert!(y.is_empty() && dx.is_empty() && dw.iter().all(|&g| g == 0.0));
        let blind = shape([2, 4, 4], [0, 5], 3, 1, 1);
        let ([x, w, dy], _) = data::<f32>(&blind);
        let (y, ..) = passes(at, &blind, &x, &w, &dy);
        assert!(y.len() == 160 && y.iter().all(|&v| v == 0.0));
        let mute = shape([2, 4, 4], [5, 0], 3, 1, 1);
        let ([x, w, dy], _) = data::<f32>(&mute);
        let (_, dx, _) = passes(at, &mute, &x, &w, &dy);
        assert!(dx.len() == 160 && dx.iter().all(|&v| v == 0.0));
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let shapes = [
        shape([19, 9, 9], [17, 33], 3, 2, 1),
        shape([40, 5, 4], [16, 16], 3, 1, 1),
        shape([3, 40, 40], [3, 20], 7, 2, 3),
        shape([3, 3, 4], [176, 192], 3, 1, 1),
        linear(128, [48, 33]),
        linear(67, [512, 528]),
    ];
    for shape in shapes {
        same_bytes::<f32>(&shape);
        same_bytes::<Bf16>(&shape);
    }
}

pub(super) fn same_bytes<T: Element>(shape: &ConvShape) {
    let ([x, _, dy], [_, w, _]) = data::<T>(shape);
    for at in all::<T>() {
        let [one, two, three] = [1, 2, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            let (y, dx, dw) = pool.install(|| passes(at, shape, &x, &w, &dy));
            let all = y.into_iter().chain(dx).map(T::to_f32).chain(dw);
            all.map(f32::to_bits).collect::<Vec<_>>()
        });
        assert!(one == two && two == three, "{} {at:?} {shape:?}", T::NAME);
    }
}

#[test]
fn bf16_multiplied_as_f32_are_the_bytes_of_the_f32_kernels_rounded_once() {
    let wide = |x: &[Bf16]| x.iter().map(|x| x.to_f32()).collect::<Vec<_>>();
    let narrow = |x: Vec<f32>| x.into_iter().map(Bf16::from_f32).collect::<Vec<_>>();
    let bits = |x: Vec<Bf16>| x.into_iter().map(Bf16::to_bits).collect::<Vec<_>>();
    for shape in [
        shape([2, 9, 9], [17, 33], 3, 2, 1),
        shape([3, 5, 4], [70, 16], 3, 1, 1),
        shape([2, 11, 11], [3, 20], 7, 2, 3),
        shape([1, 3, 4], [176, 192], 3, 1, 1),
        linear(67, [48, 33]),
    ] {
        let ([x, _, dy], [_, w, _]) = data::<Bf16>(&shape);
        let rounded = wide(&narrow(w.clone()));
        for isa in Isa::available() {
            let at = (isa, Operand::F32);
            let (y, dx, dw) = passes(at, &shape, &x, &w, &dy);
            let (y32, dx32, dw32) = passes(at, &shape, &wide(&x), &rounded, &wide(&dy));
            assert!(bits(y) == bits(narrow(y32)), "y, {isa:?} {shape:?}");
            assert!(bits(dx) == bits(narrow(dx32)), "dx, {isa:?} {shape:?}");
            assert_eq!(dw, dw32, "dw, {isa:?} {shape:?}");
        }
    }
}

#[test]
fn what_is_not_served_is_an_error_that_names_the_field() {
    let unsupported = |what, expected, got| {
        Err(Error::Unsupported {
            what,
            expected,
            got,
        })
    };
    let dilated = ConvShape {
        dilation: 2,
        ..Default::default()
    };
    let isa = (Isa::Scalar, Operand::F32);
    for [in_channels, out_channels] in [[4, 4], [2, 4]] {
        let grouped = ConvShape {
            groups: 2,
            in_channels,
            out_channels,
            ..Default::default()
        };
        assert_eq!(
            forward_on::<f32>(isa, &grouped, &[], &[], &mut []),
            unsupported("groups", "1, or the channels of input and output", 2)
        );
    }
    assert_eq!(
        backward_input_on::<f32>(isa, &dilated, &[], &[], &mut [], false),
        unsupported("dilation", "1 where groups is 1", 2)
    );
    let one = ConvShape::default();
    let length = |what, got| {
        Err(Error::Length {
            what,
            expected: 1,
            got,
        })
    };
    assert_eq!(
        forward_on(isa, &one, &[1.0; 2], &[1.0], &mut [0.0]),
        length("x", 2)
    );
    assert_eq!(
        backward_input_on(isa, &one, &[1.0], &[], &mut [0.0], false),
        length("w", 0)
    );
    assert_eq!(
        backward_weight_on(isa, &one, &[1.0], &[], &mut [0.0]),
        length("dy", 0)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_shape_matches_the_definition(
        size in prop::array::uniform3(1usize..12),
        channels in prop::array::uniform2(1usize..40),
        kernel in prop::array::uniform2(1usize..8),
        stride in 1usize..4,
        padding in 0usize..9,
    ) {
        let size = [size[0].min(3), size[1], size[2]];
        let shape = ConvShape {
            kernel_h: kernel[0],
            kernel_w: kernel[1],
            ..shape(size, channels, 1, stride, padding)
        };
        prop_assume!(shape.output_len().is_ok());
        check(&shape);
    }
}
