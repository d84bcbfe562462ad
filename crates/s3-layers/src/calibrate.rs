//! A pre-trained start that looks at data: each layer's quantizer is shown the second moments of
//! its inputs, front to end.
//!
//! ```text
//! X̃: patches of the layer's input behind the layers that are quantized already
//! X: the same in full precision
//! G = X̃ X̃ᵀ,   X̃ Xᵀ      in f64, over evenly spaced positions of the images
//! ```

use crate::layer::{Mode, in_layer};
use crate::net::Net;
use candle_core::{Result, Tensor, bail};
use s3_core::InputMoments;
use s3_core::host::{Host, on_cpu};

/// Patches that moments are taken over, for each weight of a filter; fewer where the images have
/// fewer.
const PATCHES_A_WEIGHT: usize = 10;

impl Net {
    /// Whether a pre-trained start of this network wants [`calibrate`](Self::calibrate).
    pub fn needs_moments(&self) -> bool {
        self.layers().iter().any(|l| l.quantizer.needs().moments)
    }

    /// Calibrates each layer whose quantizer asks for it on `images`, in evaluation mode. `float`
    /// is the same network with the pre-trained weights in full precision.
    ///
    /// # Shapes
    /// `images: [n, h, w, in_channels]`.
    ///
    /// # Errors
    /// Those of the quantizers, with the layer's name; networks of different layers.
    pub fn calibrate(&self, float: &Self, images: &Tensor) -> Result<()> {
        for (layer, geometry) in self.layers_with_nodes() {
            if !layer.quantizer.needs().moments {
                continue;
            }
            let name = &layer.spec.name;
            if geometry.groups > 1 {
                bail!("layer {name}: moments are taken of layers of one group")
            }
            let (now, then) = (self.input_of(name, images)?, float.input_of(name, images)?);
            let filter = Filter {
                kernel: geometry.kernel,
                stride: geometry.stride,
                padding: geometry.padding,
            };
            let moments = filter.moments(&now, &then);
            in_layer(name, moments.and_then(|m| layer.quantizer.calibrate(&m)))?;
        }
        Ok(())
    }

    /// What layer `name` is given when the network evaluates `images`.
    fn input_of(&self, name: &str, images: &Tensor) -> Result<Tensor> {
        let mut input = None;
        self.forward_traced(images, Mode::Eval, &mut |layer, x, _| {
            if layer == name {
                input = Some(x.clone());
            }
            Ok(())
        })?;
        match input {
            Some(x) => Ok(x),
            None => bail!("calibration: the full-precision network has no layer {name}"),
        }
    }
}

/// The geometry of a layer's filters.
struct Filter {
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
}

impl Filter {
    fn moments(&self, now: &Tensor, then: &Tensor) -> Result<InputMoments> {
        if now.dims() != then.dims() {
            bail!(
                "its inputs are {:?}, in full precision {:?}",
                now.dims(),
                then.dims()
            )
        }
        let (now, then) = (on_cpu(now)?, on_cpu(then)?);
        let [images, height, width, channels] = match *now.dims() {
            [n, h, w, c] => [n, h, w, c],
            [n, c] => [n, 1, 1, c],
            ref other => bail!("its input has shape {other:?}, expected [n, h, w, c] or [n, c]"),
        };
        let out = |size: usize, kernel| {
            (size + 2 * self.padding).saturating_sub(kernel) / self.stride + 1
        };
        let [tall, wide] = self.kernel;
        let (rows, columns) = (out(height, tall), out(width, wide));
        let n = channels * tall * wide;
        let all = images * rows * columns;
        // Odd, so that images of an even width are not seen in every second column alone.
        let every = ((all / (PATCHES_A_WEIGHT * n)).max(1) - 1) | 1;
        let (now, then) = (Host::new(&now)?, Host::new(&then)?);
        let mut moments = InputMoments {
            gram: vec![0.0; n * n],
            cross: vec![0.0; n * n],
            patches: 0,
        };
        let (mut a, mut b) = (vec![0f64; n], vec![0f64; n]);
        for position in (0..all).step_by(every) {
            let (image, at) = (position / (rows * columns), position % (rows * columns));
            let corner = [at / columns * self.stride, at % columns * self.stride];
            let size = [height, width, channels];
            let start = image * height * width * channels;
            self.patch(&now[start..], size, corner, &mut a);
            self.patch(&then[start..], size, corner, &mut b);
            for (i, &x) in a.iter().enumerate().filter(|(_, x)| **x != 0.0) {
                let row = i * n..(i + 1) * n;
                add(&mut moments.gram[row.clone()], x, &a);
                add(&mut moments.cross[row], x, &b);
            }
            moments.patches += 1;
        }
        Ok(moments)
    }

    /// The patch whose upper left corner in the padded image is `corner`, in the order of a
    /// filter's weights: channel, row, column.
    fn patch(&self, image: &[f32], size: [usize; 3], corner: [usize; 2], patch: &mut [f64]) {
        let [height, width, channels] = size;
        let [tall, wide] = self.kernel;
        for (i, value) in patch.iter_mut().enumerate() {
            let (channel, row, column) = (i / (tall * wide), i / wide % tall, i % wide);
            let inside =
                |at: usize, size: usize| at.checked_sub(self.padding).filter(|&a| a < size);
            let (y, x) = (
                inside(corner[0] + row, height),
                inside(corner[1] + column, width),
            );
            *value = match (y, x) {
                (Some(y), Some(x)) => f64::from(image[(y * width + x) * channels + channel]),
                _ => 0.0,
            };
        }
    }
}

/// `sum += factor · x`.
fn add(sum: &mut [f64], factor: f64, x: &[f64]) {
    for (s, x) in sum.iter_mut().zip(x) {
        *s += factor * x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// `w · patch` over all positions is the convolution, so that `wᵀ X Xᵀ w` is its squared norm.
    #[test]
    fn a_quadratic_form_of_the_moments_is_the_norm_of_the_convolution() -> Result<()> {
        for (kernel, stride, padding) in [(3, 1, 1), (3, 2, 1), (1, 2, 0)] {
            let noise = |n: usize, phase: f32| -> Vec<f32> {
                (0..n).map(|i| (i as f32 * 1.7 + phase).sin()).collect()
            };
            let x = Tensor::from_vec(noise(2 * 5 * 4 * 3, 0.1), (2, 5, 4, 3), &Device::Cpu)?;
            let z = Tensor::from_vec(noise(2 * 5 * 4 * 3, 0.9), (2, 5, 4, 3), &Device::Cpu)?;
            let n = 3 * kernel * kernel;
            let w = noise(n, 0.4);
            let weight = Tensor::from_slice(&w, (1, 3, kernel, kernel), &Device::Cpu)?;
            let filter = Filter {
                kernel: [kernel; 2],
                stride,
                padding,
            };
            let m = filter.moments(&x, &z)?;
            let form = |matrix: &[f64]| -> f64 {
                let entry = |(i, v): (usize, &f64)| v * f64::from(w[i / n]) * f64::from(w[i % n]);
                matrix.iter().enumerate().map(entry).sum()
            };
            let conv = |x: &Tensor| crate::ops::conv2d(x, &weight, stride, padding);
            let dot = |a: Tensor, b: Tensor| -> Result<f64> {
                Ok(f64::from((a * b)?.sum_all()?.to_scalar::<f32>()?))
            };
            // Sums of at most 80 products of f32 of size 1.
            let near = |a: f64, b: f64| (a - b).abs() < 1e-4;
            assert!(near(form(&m.gram), dot(conv(&x)?, conv(&x)?)?));
            assert!(near(form(&m.cross), dot(conv(&x)?, conv(&z)?)?));
        }
        Ok(())
    }

    #[test]
    fn large_images_give_evenly_spaced_patches() -> Result<()> {
        let x = Tensor::ones((4, 16, 16, 1), candle_core::DType::F32, &Device::Cpu)?;
        let filter = Filter {
            kernel: [1, 1],
            stride: 1,
            padding: 0,
        };
        let m = filter.moments(&x, &x)?;
        assert_eq!((m.patches, m.gram.len()), (11, 1));
        assert_eq!(m.gram[0], 11.0);
        // One channel a column of an image 8 wide: every column is seen, the last one too.
        let mut columns = vec![0f32; 4 * 8 * 8 * 8];
        for (i, v) in columns.iter_mut().enumerate() {
            *v = f32::from(u8::from(i / 8 % 8 == i % 8));
        }
        let x = Tensor::from_vec(columns, (4, 8, 8, 8), &Device::Cpu)?;
        let m = filter.moments(&x, &x)?;
        assert_eq!(m.patches, 4 * 64 / 3 + 1);
        assert!((0..8).all(|i| m.gram[9 * i] > 0.0), "{:?}", m.gram);
        Ok(())
    }
}
