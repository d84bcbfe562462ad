//! The convolution as its definition: what every kernel equals, and what serves the geometries that
//! no kernel is written for.

use crate::conv::geometry::Geometry;

/// `sum over (i, j, c) of w[n, i, j, c] x[b, oy stride + i dilation - padding, .., c]`, the outputs
/// in their order, given to `put` one by one. Taps outside the image add nothing.
///
/// `levels` holds the weight row by row; the sums wrap where they leave i32, which packing rules
/// out.
pub(crate) fn conv2d<X: Copy + Into<i32>>(
    levels: &[i8],
    x: &[X],
    geometry: &Geometry,
    mut put: impl FnMut(usize, i32),
) {
    let shape = &geometry.shape;
    let columns = shape.kernel_h * shape.kernel_w * geometry.group_in;
    let mut index = 0;
    for b in 0..shape.batch {
        for oy in 0..geometry.out_height {
            for ox in 0..geometry.out_width {
                for n in 0..shape.out_channels {
                    let first = n / geometry.group_out * geometry.group_in;
                    let mut sum = 0i32;
                    for i in 0..shape.kernel_h {
                        let Some(y) = geometry.input(oy, i, shape.height) else {
                            continue;
                        };
                        for j in 0..shape.kernel_w {
                            let Some(x_at) = geometry.input(ox, j, shape.width) else {
                                continue;
                            };
                            let pixel = (b * shape.height + y) * shape.width + x_at;
                            let x = &x[pixel * shape.in_channels + first..][..geometry.group_in];
                            let tap = (i * shape.kernel_w + j) * geometry.group_in;
                            let w = &levels[n * columns + tap..][..geometry.group_in];
                            for (&x, &w) in x.iter().zip(w) {
                                sum = sum.wrapping_add(i32::from(w).wrapping_mul(x.into()));
                            }
                        }
                    }
                    put(index, sum);
                    index += 1;
                }
            }
        }
    }
}
