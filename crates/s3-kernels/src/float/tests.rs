//! Every f32 kernel against the definition, bit for bit, and the definition against f64.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::BitWidth;
use crate::select::FLOAT_KERNELS;

/// The definition, with multiplications.
fn definition(x: &[f32], levels: &[i8]) -> f32 {
    let products: Vec<f32> = x
        .iter()
        .zip(levels)
        .map(|(x, &w)| x * f32::from(w))
        .collect();
    products.chunks(3).fold(0.0, |sum, t| {
        let at = |i: usize| t.get(i).copied().unwrap_or(0.0);
        sum + ((at(0) + at(1)) + at(2))
    })
}

/// Values of many exponents, some of them zeros and subnormal.
fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed | 1;
    (0..len)
        .map(|i| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let mantissa = (state >> 40) as f32 - (1 << 23) as f32;
            match i % 11 {
                0 => 0.0,
                1 => -0.0,
                2 => mantissa * f32::from_bits(1),
                3 => mantissa * 1e20,
                _ => mantissa * 1e-7,
            }
        })
        .collect()
}

fn levels(len: usize, width: BitWidth, seed: usize) -> Vec<i8> {
    let all = width.levels();
    (0..len)
        .map(|i| all[(i * 7 + i / 3 * seed + seed) % all.len()])
        .collect()
}

fn kernels(width: BitWidth) -> impl Iterator<Item = &'static FloatKernel> {
    FLOAT_KERNELS
        .iter()
        .filter(move |k| k.isa.is_available() && k.serves(width))
}

fn assert_same_bits(y: &[f32], expected: &[f32], context: &str) {
    for (i, (y, e)) in y.iter().zip(expected).enumerate() {
        assert_eq!(y.to_bits(), e.to_bits(), "{context}: output {i}: {y} {e}");
    }
}

fn check_gemm(rows: usize, cols: usize, batch: usize, width: BitWidth, seed: usize) {
    let levels = levels(rows * cols, width, seed);
    let w = PackedMatrix::from_levels(&levels, rows, cols, width).unwrap();
    let x = values(batch * cols, seed as u64);
    let scale: Vec<f32> = (0..rows).map(|n| 0.01 * n as f32 - 0.3).collect();
    let bias: Vec<f32> = (0..rows).map(|n| 1.0 - 0.1 * n as f32).collect();
    let residual = values(batch * rows, 3);
    let epilogue = Scale {
        scale: &scale,
        bias: &bias,
        relu: true,
        residual: Some(&residual),
    };
    let (mut plain, mut fused) = (Vec::new(), Vec::new());
    for b in 0..batch {
        for n in 0..rows {
            let sum = definition(&x[b * cols..][..cols], &levels[n * cols..][..cols]);
            plain.push(sum);
            let y = sum * scale[n] + bias[n] + residual[b * rows + n];
            fused.push(if y > 0.0 { y } else { 0.0 });
        }
    }
    for kernel in kernels(width) {
        let context = alloc::format!("{} {rows}x{cols}x{batch} {width:?}", kernel.name);
        let mut y = vec![f32::NAN; plain.len()];
        gemm_f32_with(kernel, &w, &x, batch, None, &mut y).unwrap();
        assert_same_bits(&y, &plain, &context);
        gemm_f32_with(kernel, &w, &x, batch, Some(&epilogue), &mut y).unwrap();
        assert_same_bits(&y, &fused, &context);
    }
}

/// `gamma_n magnitude`: the bound on `|y - y*|` of an output with `k` terms, `n = ceil(k / 3) + 2`
/// roundings on the way of each, and `magnitude = sum |w x|`.
fn error_bound(k: usize, magnitude: f64) -> f64 {
    let n = (k.div_ceil(3) + 2) as f64 / f64::from(1 << 24);
    n / (1.0 - n) * magnitude
}

#[test]
fn every_kernel_gives_the_bits_of_the_definition_around_the_tile_edges() {
    let mut seed = 1;
    for batch in [10, 11, 12, 13, 16, 17, 23, 33] {
        for rows in [7, 16, 17, 32, 40, 64, 100] {
            check_gemm(rows, 40 + seed % 4, batch, BitWidth::ALL[seed % 3], seed);
            seed += 1;
        }
    }
    for rows in [0, 1, 15, 16, 17, 33, 63, 64, 65, 130] {
        for cols in [0, 1, 2, 3, 4, 11, 12, 13, 119, 120, 121, 250] {
            for batch in [0, 1, 2, 3, 4, 5, 8, 9] {
                check_gemm(rows, cols, batch, BitWidth::ALL[seed % 3], seed);
                seed += 1;
            }
        }
    }
}

#[test]
fn every_kernel_convolves_as_the_definition_does() {
    let base = ConvShape {
        batch: 2,
        height: 5,
        width: 6,
        kernel_h: 3,
        kernel_w: 2,
        ..ConvShape::default()
    };
    let shapes = [
        ConvShape {
            in_channels: 3,
            out_channels: 70,
            padding: 1,
            stride: 2,
            ..base
        },
        ConvShape {
            in_channels: 8,
            out_channels: 130,
            padding: 2,
            dilation: 2,
            ..base
        },
        ConvShape {
            in_channels: 6,
            out_channels: 9,
            groups: 3,
            ..base
        },
        ConvShape {
            in_channels: 6,
            out_channels: 12,
            groups: 6,
            padding: 1,
            ..base
        },
        ConvShape {
            in_channels: 70,
            out_channels: 140,
            groups: 70,
            padding: 1,
            ..base
        },
        ConvShape {
            in_channels: 5,
            out_channels: 5,
            groups: 5,
            kernel_h: 2,
            ..base
        },
        ConvShape {
            in_channels: 0,
            out_channels: 3,
            ..base
        },
        // Kernel rows in place, of several spans, and copies at the edges.
        ConvShape {
            in_channels: 66,
            out_channels: 81,
            kernel_w: 3,
            padding: 1,
            ..base
        },
        ConvShape {
            in_channels: 6,
            out_channels: 20,
            kernel_w: 3,
            padding: 1,
            stride: 2,
            ..base
        },
        // Wider than the image.
        ConvShape {
            height: 2,
            width: 2,
            in_channels: 3,
            out_channels: 17,
            kernel_w: 3,
            padding: 3,
            ..base
        },
        ConvShape {
            in_channels: 7,
            out_channels: 5,
            kernel_w: 9,
            padding: 2,
            ..base
        },
        // Taps in place.
        ConvShape {
            in_channels: 12,
            out_channels: 40,
            groups: 2,
            padding: 2,
            dilation: 2,
            ..base
        },
        ConvShape {
            in_channels: 40,
            out_channels: 33,
            kernel_h: 1,
            kernel_w: 1,
            stride: 2,
            ..base
        },
        // More rows than are held at a time: of several spans, and of one.
        ConvShape {
            height: 20,
            width: 21,
            in_channels: 48,
            out_channels: 17,
            kernel_w: 3,
            padding: 1,
            ..base
        },
        ConvShape {
            height: 30,
            width: 29,
            in_channels: 3,
            out_channels: 7,
            kernel_w: 3,
            padding: 1,
            ..base
        },
    ];
    for (i, shape) in shapes.iter().enumerate() {
        for width in BitWidth::ALL {
            let levels = levels(shape.weight_len().unwrap(), width, i + 1);
            let cols = levels.len() / shape.out_channels;
            let w = PackedMatrix::from_levels(&levels, shape.out_channels, cols, width).unwrap();
            let x = values(shape.input_len().unwrap(), i as u64 + 5);
            let geometry = Geometry::new(shape).unwrap();
            let mut window = vec![0.0; cols];
            let mut expected = Vec::new();
            for row in 0..geometry.rows {
                for n in 0..shape.out_channels {
                    geometry.copy_window(&x, row, n / geometry.group_out, 0.0, &mut window);
                    expected.push(definition(&window, &levels[n * cols..][..cols]));
                }
            }
            for kernel in kernels(width) {
                let mut y = vec![f32::NAN; expected.len()];
                conv2d_f32_with(kernel, &w, &x, shape, None, &mut y).unwrap();
                assert_same_bits(&y, &expected, kernel.name);
            }
        }
    }
}

#[test]
fn the_result_stays_within_the_bound() {
    for (k, width) in [(1, BitWidth::B2), (100, BitWidth::B3), (4096, BitWidth::B4)] {
        let levels = levels(k, width, 5);
        let w = PackedMatrix::from_levels(&levels, 1, k, width).unwrap();
        let x = values(k, 17);
        let mut y = [0.0];
        gemm_f32(&w, &x, 1, &mut y).unwrap();
        let products = || {
            x.iter()
                .zip(&levels)
                .map(|(&x, &w)| f64::from(x) * f64::from(w))
        };
        let exact: f64 = products().sum();
        let magnitude: f64 = products().map(f64::abs).sum();
        assert!(
            (f64::from(y[0]) - exact).abs() <= error_bound(k, magnitude),
            "{k} {width:?}"
        );
    }
}

#[test]
fn lengths_that_do_not_fit_are_errors() {
    let w = PackedMatrix::from_levels(&[1, 0], 1, 2, BitWidth::B2).unwrap();
    let length = |what, expected, got| {
        Err(crate::Error::Length {
            what,
            expected,
            got,
        })
    };
    assert_eq!(gemm_f32(&w, &[0.0; 3], 1, &mut [0.0]), length("x", 2, 3));
    assert_eq!(gemm_f32(&w, &[0.0; 2], 1, &mut []), length("y", 1, 0));
    assert_eq!(
        gemm_f32(&w, &[], usize::MAX, &mut []),
        Err(crate::Error::Overflow { what: "x" })
    );
    let scale = Scale {
        scale: &[],
        bias: &[0.0],
        relu: false,
        residual: None,
    };
    assert_eq!(
        gemm_f32_fused(&w, &[0.0; 2], 1, &scale, &mut [0.0]),
        length("scale", 1, 0)
    );
}

proptest! {
    #[test]
    fn every_kernel_gives_the_bits_of_the_definition(
        rows in 0usize..150, cols in 0usize..260, batch in 0usize..7, width in 0usize..3,
        seed in 1usize..1000,
    ) {
        check_gemm(rows, cols, batch, BitWidth::ALL[width], seed);
    }
}
