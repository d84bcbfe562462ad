//! The definitions, in f64, as loops.

use crate::ConvShape;

/// Calls `f(x index, w index, y index)` for every product of a convolution.
pub(super) fn for_each_product(s: &ConvShape, mut f: impl FnMut(usize, usize, usize)) {
    let (rows, cols) = (s.out_height().unwrap(), s.out_width().unwrap());
    for n in 0..s.batch {
        for i in 0..rows {
            for j in 0..cols {
                for kh in 0..s.kernel_h {
                    for kw in 0..s.kernel_w {
                        let h = (i * s.stride + kh * s.dilation).wrapping_sub(s.padding);
                        let w = (j * s.stride + kw * s.dilation).wrapping_sub(s.padding);
                        if h >= s.height || w >= s.width {
                            continue;
                        }
                        for o in 0..s.out_channels {
                            let seen = s.in_channels / s.groups;
                            let group = o / (s.out_channels / s.groups);
                            for c in 0..seen {
                                let x = ((n * s.height + h) * s.width + w) * s.in_channels
                                    + group * seen
                                    + c;
                                let k = ((o * seen + c) * s.kernel_h + kh) * s.kernel_w + kw;
                                let y = ((n * rows + i) * cols + j) * s.out_channels + o;
                                f(x, k, y);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `Σ a·b` and `Σ |a·b|` for every element of the third role; `pick` orders (x, w, y) as
/// (first factor, second factor, result).
pub(super) fn conv(
    shape: &ConvShape,
    pick: impl Fn(usize, usize, usize) -> [usize; 3],
    a: &[f32],
    b: &[f32],
    len: usize,
) -> Vec<[f64; 2]> {
    let mut out = vec![[0.0; 2]; len];
    for_each_product(shape, |x, w, y| {
        let [i, j, k] = pick(x, w, y);
        let product = f64::from(a[i]) * f64::from(b[j]);
        out[k][0] += product;
        out[k][1] += product.abs();
    });
    out
}
