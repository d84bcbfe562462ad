//! Depthwise convolution and its gradients against the f64 definition, for every instruction set.

use proptest::prelude::*;

use super::conv::{all, check, data, passes, same_bytes, sum_of_gradients};
use crate::ConvShape;
use crate::train::bf16::Bf16;
use crate::train::element::Element;

fn shape(
    [batch, height, width]: [usize; 3],
    channels: usize,
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
) -> ConvShape {
    ConvShape {
        batch,
        height,
        width,
        in_channels: channels,
        out_channels: channels,
        kernel_h: kernel[0],
        kernel_w: kernel[1],
        stride,
        padding,
        dilation: 1,
        groups: channels,
    }
}

#[test]
fn layers_of_mobilenet_match_the_definition() {
    for (side, channels, stride) in [
        (32, 8, 1),
        (32, 16, 2),
        (16, 32, 1),
        (16, 32, 2),
        (8, 64, 1),
        (4, 128, 1),
        (4, 128, 2),
        (2, 256, 1),
    ] {
        check(&shape([3, side, side], channels, [3, 3], stride, 1));
    }
    check(&shape([1, 48, 48], 24, [5, 5], 2, 2));
    // DS-CNN's images and kernels are rectangles.
    check(&shape([2, 25, 5], 64, [3, 3], 1, 1));
    check(&shape([2, 49, 10], 64, [10, 4], 2, 4));
}

#[test]
fn every_number_of_channels_matches_the_definition() {
    for channels in (2..=17).chain([24, 31, 32, 33, 48, 63, 64, 65, 80]) {
        check(&shape([2, 3, 7], channels, [3, 3], 1, 1));
        check(&shape([1, 6, 5], channels, [3, 2], 2, 1));
    }
}

#[test]
fn every_width_matches_the_definition() {
    for width in 1..36 {
        for channels in [2, 3, 16] {
            check(&shape([2, 3, width], channels, [3, 3], 1, 1));
            check(&shape([1, 2, width], channels, [3, 3], 2, 1));
        }
    }
}

#[test]
fn one_pixel_images_and_padding_beyond_the_kernel_match_the_definition() {
    for kernel in [1, 3, 5, 7] {
        for stride in [1, 2, 3] {
            for padding in [kernel / 2, kernel, kernel + 2] {
                check(&shape([3, 1, 1], 5, [kernel; 2], stride, padding));
                check(&shape([1, 4, 6], 20, [kernel; 2], stride, padding));
                check(&shape([2, 9, 7], 3, [kernel, 1], stride, padding));
            }
        }
    }
}

#[test]
fn dilated_kernels_match_the_definition() {
    for dilation in [2, 3] {
        for stride in [1, 2, 3] {
            for channels in [3, 16] {
                let dense = shape([2, 9, 11], channels, [3, 3], stride, dilation);
                check(&ConvShape { dilation, ..dense });
            }
        }
    }
}

/// Larger than one strip of scratch, in rows and in images.
#[test]
fn images_that_take_several_strips_match_the_definition() {
    check(&shape([1, 160, 150], 4, [5, 5], 2, 2));
    check(&shape([2, 75, 80], 17, [3, 3], 1, 1));
    check(&shape([40, 5, 4], 16, [3, 3], 1, 1));
    check(&shape([3, 3, 2], 1040, [3, 3], 1, 1));
    check(&shape([1, 2, 40], 1040, [3, 3], 1, 1));
}

#[test]
fn added_to_another_gradient_it_is_the_sum() {
    for shape in [
        shape([2, 9, 7], 17, [3, 3], 1, 1),
        shape([1, 6, 8], 16, [1, 1], 2, 0),
        shape([2, 8, 8], 5, [3, 3], 2, 1),
        shape([1, 3, 20], 4, [3, 3], 1, 1),
    ] {
        sum_of_gradients::<f32>(&shape);
        sum_of_gradients::<Bf16>(&shape);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    for shape in [
        shape([19, 9, 9], 17, [3, 3], 2, 1),
        shape([70, 5, 4], 16, [3, 3], 1, 1),
        shape([3, 90, 80], 8, [3, 3], 1, 1),
        shape([1, 90, 81], 20, [7, 7], 2, 3),
    ] {
        same_bytes::<f32>(&shape);
        same_bytes::<Bf16>(&shape);
    }
}

/// Vectors hold several pixels, and padding, of which nothing may reach another channel.
#[test]
fn a_nan_stays_in_its_channel() {
    nan_stays::<f32>();
    nan_stays::<Bf16>();
}

fn nan_stays<T: Element>() {
    for channels in [2, 3, 8, 17] {
        let shape = shape([2, 5, 6], channels, [3, 3], 1, 1);
        let ([mut x, _, mut dy], [_, w, _]) = data::<T>(&shape);
        for at in all::<T>() {
            for tensor in [&mut x, &mut dy] {
                for pixel in tensor.chunks_exact_mut(channels) {
                    pixel[1] = T::from_f32(f32::NAN);
                }
            }
            let (y, dx, dw) = passes(at, &shape, &x, &w, &dy);
            for i in 0..y.len() {
                let expected = i % channels == 1;
                assert_eq!(
                    y[i].to_f32().is_nan(),
                    expected,
                    "{at:?} y[{i}] of {channels}"
                );
                assert_eq!(
                    dx[i].to_f32().is_nan(),
                    expected,
                    "{at:?} dx[{i}] of {channels}"
                );
            }
            for (i, dw) in dw.iter().enumerate() {
                assert_eq!(dw.is_nan(), i / 9 == 1, "{at:?} dw[{i}] of {channels}");
            }
        }
    }
}

#[test]
fn empty_operands_give_zeros_or_nothing() {
    for at in all::<f32>() {
        let none = shape([0, 4, 4], 3, [3, 3], 1, 1);
        let ([x, w, dy], _) = data::<f32>(&none);
        let (y, dx, dw) = passes(at, &none, &x, &w, &dy);
        assert!(y.is_empty() && dx.is_empty() && dw.iter().all(|&g| g == 0.0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_shape_matches_the_definition(
        size in prop::array::uniform3(1usize..14),
        channels in 2usize..70,
        kernel in prop::array::uniform2(1usize..8),
        stride in 1usize..4,
        padding in 0usize..9,
        dilation in 1usize..4,
    ) {
        let size = [size[0].min(3), size[1], size[2]];
        let shape = ConvShape { dilation, ..shape(size, channels, kernel, stride, padding) };
        prop_assume!(shape.output_len().is_ok());
        check(&shape);
    }
}
