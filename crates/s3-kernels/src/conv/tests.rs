//! Every microkernel against the definition, over the geometry of convolutions.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::weights::Weights;
use super::{Activation, Geometry, conv2d, conv2d_with, reference};
use crate::epilogue::{Epilogue, Raw, Residual, Scale, ShiftRequant};
use crate::micro::bytes::Microkernel;
use crate::select::MICROKERNELS;
use crate::{BitWidth, ConvShape, Error, PackedMatrix};

/// A generator of test values: xorshift.
struct Values(u64);

impl Values {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    fn levels(&mut self, len: usize, width: BitWidth) -> Vec<i8> {
        let levels = width.levels();
        (0..len)
            .map(|_| levels[self.next() as usize % levels.len()])
            .collect()
    }
}

fn kernels() -> impl Iterator<Item = &'static Microkernel> {
    // The one for dense levels on a CPU without multiplier, which serves packed ones too.
    #[cfg(feature = "model")]
    let dense = [&crate::arch::scalar::microkernel::MULTIPLY];
    #[cfg(not(feature = "model"))]
    let dense = [];
    let kernels = MICROKERNELS.iter().chain(dense);
    kernels.filter(|kernel| (kernel.available)())
}

/// The sums of the definition.
fn sums<X: Activation>(levels: &[i8], x: &[X], shape: &ConvShape) -> Vec<i32> {
    let mut y = Vec::new();
    reference::conv2d(levels, x, &Geometry::new(shape).unwrap(), |_, sum| {
        y.push(sum)
    });
    y
}

/// Compares every kernel, with `epilogue`, to the definition.
fn check<X: Activation, E: Epilogue>(
    w: &dyn Weights,
    x: &[X],
    shape: &ConvShape,
    expected: &[i32],
    epilogue: &E,
) {
    let channels = shape.out_channels;
    let expected: Vec<E::Output> = expected
        .iter()
        .enumerate()
        .map(|(i, &sum)| epilogue.value(sum, i % channels, i))
        .collect();
    let is_power = |level: &i8| level.unsigned_abs().is_power_of_two() || *level == 0;
    let all_powers = w.to_levels().iter().all(is_power);
    let serves = |kernel: &&Microkernel| all_powers || kernel.name != "scalar-u8s8-shift";
    for kernel in kernels().filter(serves) {
        let mut y = vec![E::Output::default(); expected.len()];
        conv2d_with(kernel, w, x, shape, epilogue, &mut y).unwrap();
        assert!(
            y == expected,
            "{}: {shape:?} {:?}",
            kernel.name,
            w.bit_width()
        );
    }
}

/// Compares every kernel to the definition: i8 and u8 activations, raw and requantized.
fn check_all(shape: &ConvShape, width: BitWidth, seed: u64) {
    let mut values = Values(seed | 1);
    let levels = values.levels(shape.weight_len().unwrap(), width);
    let columns = shape.kernel_h * shape.kernel_w * (shape.in_channels / shape.groups);
    let w = PackedMatrix::from_levels(&levels, shape.out_channels, columns, width).unwrap();
    let x = values.bytes(shape.input_len().unwrap());
    let signed: Vec<i8> = x.iter().map(|&x| x as i8).collect();
    let outputs = shape.output_len().unwrap();
    let n = shape.out_channels;

    let exact = sums(&levels, &signed, shape);
    check(&w, &signed, shape, &exact, &Raw);
    let exact = sums(&levels, &x, shape);
    check(&w, &x, shape, &exact, &Raw);

    let bias: Vec<i32> = (0..n).map(|_| values.next() as i32 >> 18).collect();
    let shift: Vec<u8> = (0..n).map(|_| (values.next() % 12) as u8).collect();
    let shortcut = values.bytes(outputs);
    let residual = Some(Residual {
        values: &shortcut,
        shift: (values.next() % 9) as u8,
    });
    let requant = ShiftRequant {
        bias: &bias,
        shift: &shift,
        residual,
    };
    check(&w, &x, shape, &exact, &requant);
    check(
        &w,
        &x,
        shape,
        &exact,
        &ShiftRequant {
            residual: None,
            ..requant
        },
    );
    let scale: Vec<f32> = (0..n).map(|_| values.next() as f32 * 1e-20).collect();
    let bias: Vec<f32> = scale.iter().rev().map(|s| 77.0 * s).collect();
    let shortcut: Vec<f32> = shortcut.iter().map(|&v| f32::from(v) * 0.3).collect();
    let relu = values.next().is_multiple_of(2);
    let scale = Scale {
        scale: &scale,
        bias: &bias,
        relu,
        residual: Some(&shortcut),
    };
    check(&w, &x, shape, &exact, &scale);
    check(
        &w,
        &x,
        shape,
        &exact,
        &Scale {
            residual: None,
            ..scale
        },
    );
}

#[test]
fn every_kernel_is_exact_around_the_tile_edges() {
    let mut seed = 1;
    for out_channels in [1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 130] {
        for width in [1, 5, 6, 7, 12, 13] {
            for in_channels in [1, 3, 4, 5, 8] {
                let shape = ConvShape {
                    height: 2,
                    width,
                    in_channels,
                    out_channels,
                    kernel_h: 2,
                    kernel_w: 3,
                    padding: 1,
                    ..ConvShape::default()
                };
                check_all(&shape, BitWidth::ALL[seed as usize % 3], seed);
                seed += 1;
            }
        }
    }
}

#[test]
fn the_layers_of_a_small_network_are_exact() {
    let image = |size, channels| ConvShape {
        batch: 2,
        height: size,
        width: size,
        in_channels: channels,
        out_channels: channels,
        ..ConvShape::default()
    };
    let stem = ConvShape {
        out_channels: 64,
        kernel_h: 7,
        kernel_w: 7,
        stride: 2,
        padding: 3,
        ..image(23, 3)
    };
    let same = ConvShape {
        kernel_h: 3,
        kernel_w: 3,
        padding: 1,
        ..image(7, 64)
    };
    let down = ConvShape {
        stride: 2,
        out_channels: 72,
        ..same
    };
    let shortcut = ConvShape {
        stride: 2,
        out_channels: 72,
        ..image(7, 64)
    };
    let dilated = ConvShape {
        dilation: 2,
        padding: 2,
        ..same
    };
    let grouped = ConvShape { groups: 4, ..same };
    let odd_groups = ConvShape {
        groups: 3,
        in_channels: 15,
        out_channels: 21,
        ..same
    };
    let depthwise = ConvShape { groups: 64, ..same };
    let multiplied = ConvShape {
        groups: 64,
        out_channels: 128,
        ..same
    };
    let shapes = [
        stem, same, down, shortcut, dilated, grouped, odd_groups, depthwise, multiplied,
    ];
    for (i, shape) in shapes.iter().enumerate() {
        for width in BitWidth::ALL {
            check_all(shape, width, i as u64 + 99);
        }
    }
}

/// Channels that do not see each other: few of them share a tile with those of neighbouring pixels.
fn channel_by_channel() -> impl Iterator<Item = ConvShape> {
    let geometries = [
        (3, 1, 1, 1),
        (3, 1, 2, 1),
        (2, 0, 3, 1),
        (3, 2, 2, 2),
        (1, 0, 1, 1),
    ];
    let channels = [2, 3, 8, 16, 24, 31, 32, 33, 64, 72];
    channels.into_iter().flat_map(move |channels| {
        let of = move |(width, (kernel, padding, stride, dilation))| ConvShape {
            batch: 2,
            height: 6,
            width,
            in_channels: channels,
            out_channels: channels,
            kernel_h: kernel,
            kernel_w: kernel,
            stride,
            padding,
            dilation,
            groups: channels,
        };
        let widths = [5, 8, 9, 26].into_iter();
        widths.flat_map(move |width| geometries.map(|geometry| of((width, geometry))))
    })
}

#[test]
fn channels_that_do_not_see_each_other_are_exact() {
    for (i, shape) in channel_by_channel().enumerate() {
        check_all(&shape, BitWidth::ALL[i % 3], i as u64 + 5);
    }
}

#[cfg(feature = "model")]
#[test]
fn dense_levels_and_numbers_of_each_channel_are_exact_where_channels_do_not_see_each_other() {
    use crate::epilogue::requant::{RequantTable, Requantize};
    use crate::model::{DenseMatrix, Requant};

    for (i, shape) in channel_by_channel().enumerate() {
        let mut values = Values(i as u64 + 7);
        let (n, taps) = (shape.out_channels, shape.kernel_h * shape.kernel_w);
        let largest = i % 4 == 0;
        let level = |v: u64| match largest {
            true => 64,
            false => (v % 129) as i8 - 64,
        };
        let levels: Vec<i8> = (0..n * taps).map(|_| level(values.next())).collect();
        let mut x = values.bytes(shape.input_len().unwrap());
        if largest {
            x.fill(255);
        }
        let signed: Vec<i8> = x.iter().map(|&x| x as i8).collect();
        let dense = DenseMatrix::from_levels(levels.clone(), n, taps).unwrap();
        check(
            &dense,
            &signed,
            &shape,
            &sums(&levels, &signed, &shape),
            &Raw,
        );
        let exact = sums(&levels, &x, &shape);
        check(&dense, &x, &shape, &exact, &Raw);
        let requant = Requant {
            bias: (0..n).map(|_| values.next() as i32 >> 16).collect(),
            factor: (0..n)
                .map(|_| (values.next() % 4096) as i32 - 2048)
                .collect(),
            shift: (0..n).map(|_| (values.next() % 32) as u8).collect(),
            residual_factor: 180,
            offset: 300,
            zero_point: 1,
            high: 250,
        };
        let residual = values.bytes(exact.len());
        let table = RequantTable::new(&requant, true, true, false, dense.accumulator_bound());
        let residual = Some(&residual[..]);
        let epilogue = Requantize {
            table: &table,
            residual,
        };
        check(&dense, &x, &shape, &exact, &epilogue);
    }
}

#[test]
fn sums_of_the_largest_levels_and_activations_are_exact() {
    // Longer than any run of products that i16 holds.
    let shape = ConvShape {
        height: 3,
        width: 8,
        in_channels: 304,
        out_channels: 20,
        kernel_h: 3,
        kernel_w: 3,
        padding: 1,
        ..ConvShape::default()
    };
    for width in BitWidth::ALL {
        for sign in [1, -1] {
            let level = sign << width.t();
            let levels = vec![level; shape.weight_len().unwrap()];
            let w = PackedMatrix::from_levels(&levels, 20, 2736, width).unwrap();
            for value in [i8::MIN, i8::MAX] {
                let x = vec![value; shape.input_len().unwrap()];
                check(&w, &x, &shape, &sums(&levels, &x, &shape), &Raw);
            }
            let x = vec![u8::MAX; shape.input_len().unwrap()];
            check(&w, &x, &shape, &sums(&levels, &x, &shape), &Raw);
        }
    }
}

#[test]
fn weights_unpacked_in_pieces_are_exact() {
    for (in_channels, out_channels, kernel_w) in [(104, 70, 3), (328, 130, 1), (16, 64, 5)] {
        let shape = ConvShape {
            height: 5,
            width: 7,
            in_channels,
            out_channels,
            kernel_h: 5,
            kernel_w,
            padding: 2,
            ..ConvShape::default()
        };
        for width in BitWidth::ALL {
            check_all(&shape, width, 77);
        }
    }
}

#[test]
fn empty_sums_and_empty_outputs_are_served() {
    for (batch, in_channels, out_channels) in [(0, 3, 4), (1, 0, 4), (1, 3, 0), (0, 0, 0)] {
        let shape = ConvShape {
            batch,
            in_channels,
            out_channels,
            height: 4,
            width: 4,
            kernel_h: 3,
            kernel_w: 3,
            ..ConvShape::default()
        };
        check_all(&shape, BitWidth::B3, 5);
    }
}

#[test]
fn a_border_of_millions_that_the_stride_skips_is_served() {
    let huge = 1 << (usize::BITS - 24);
    let shape = ConvShape {
        height: 3,
        width: 3,
        padding: huge,
        stride: huge,
        ..ConvShape::default()
    };
    let w = PackedMatrix::from_levels(&[-1], 1, 1, BitWidth::B2).unwrap();
    let mut y = vec![1; 9];
    let x: Vec<i8> = (10..19).collect();
    conv2d(&w, &x, &shape, &mut y).unwrap();
    assert_eq!(y, [0, 0, 0, 0, -10, 0, 0, 0, 0]);
}

#[test]
fn wrong_lengths_are_errors_that_name_the_argument() {
    let shape = ConvShape {
        height: 4,
        width: 4,
        in_channels: 2,
        ..ConvShape::default()
    };
    let w = PackedMatrix::from_levels(&[1, -1], 1, 2, BitWidth::B2).unwrap();
    let call = |w: &PackedMatrix, x: usize, y: usize| {
        conv2d(w, &vec![0; x], &shape, &mut vec![0; y]).map_err(|e| match e {
            Error::Length {
                what,
                expected,
                got,
            } => (what, expected, got),
            other => panic!("{other}"),
        })
    };
    assert_eq!(call(&w, 32, 16), Ok(()));
    assert_eq!(call(&w, 31, 16), Err(("x", 32, 31)));
    assert_eq!(call(&w, 32, 17), Err(("y", 16, 17)));
    let two_rows = PackedMatrix::from_levels(&[1, -1], 2, 1, BitWidth::B2).unwrap();
    assert_eq!(call(&two_rows, 32, 16), Err(("weight rows", 1, 2)));
    let wide = PackedMatrix::from_levels(&[1, -1, 0], 1, 3, BitWidth::B2).unwrap();
    assert_eq!(call(&wide, 32, 16), Err(("weight columns", 2, 3)));
}

prop_compose! {
    /// Shapes whose windows fit.
    fn shapes()(
        batch in 0usize..3,
        groups in 1usize..5,
        group_in in 0usize..9,
        group_out in 0usize..20,
        kernel in (1usize..5, 1usize..5),
        extra in (0usize..9, 0usize..9),
        stride in 1usize..4,
        padding in 0usize..4,
        dilation in 1usize..4,
    ) -> ConvShape {
        let covered = |kernel: usize| (dilation * (kernel - 1) + 1).saturating_sub(2 * padding);
        ConvShape {
            batch,
            height: covered(kernel.0) + extra.0,
            width: covered(kernel.1) + extra.1,
            in_channels: groups * group_in,
            out_channels: groups * group_out,
            kernel_h: kernel.0,
            kernel_w: kernel.1,
            stride,
            padding,
            dilation,
            groups,
        }
    }
}

proptest! {
    #[test]
    fn every_kernel_equals_the_definition(shape in shapes(), seed: u64, width in 0usize..3) {
        check_all(&shape, BitWidth::ALL[width], seed);
    }
}
