//! How large is a network, before it is built?

use crate::resnet::{ResNetConfig, Shortcut};

/// What a network holds and does, counted from its configuration alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkSize {
    /// Weights of all layers, without biases and batch norms.
    pub weights: u128,
    /// Products of weight and activation for one image.
    pub products: u128,
    /// Pixels of the smallest feature map that a batch norm sees: in training one image is so many values of
    /// each channel.
    pub smallest_map: u128,
}

impl ResNetConfig {
    /// The size of the network for images of `height` rows and `width` columns. Nothing is allocated.
    ///
    /// ```
    /// use s3_layers::{Architecture, ResNetConfig};
    ///
    /// let size = ResNetConfig::new(Architecture::ResNet20, 3, 10).size(32, 32);
    /// assert_eq!((size.weights, size.smallest_map), (268_336, 8 * 8));
    /// assert_eq!(size.products, 40_551_040);
    /// ```
    #[must_use]
    pub fn size(&self, height: usize, width: usize) -> NetworkSize {
        let classes = self.classes as u128;
        let mut size = NetworkSize {
            weights: 0,
            products: 0,
            smallest_map: u128::MAX,
        };
        // More channels than this are told by their number of weights, which then fits.
        let within = Self {
            width: self.width.min(1 << 32),
            ..self.clone()
        };
        let mut at = Map {
            sides: [height as u128, width as u128],
            channels: self.in_channels as u128,
        };
        at = size.conv(at, within.stem());
        if self.max_pools() {
            at.sides = at.sides.map(|side| side.div_ceil(2));
        }
        for (_, _, convs) in within.blocks() {
            let start = at;
            let mut stride = 1;
            for conv in convs {
                at = size.conv(at, conv);
                stride *= conv.2;
            }
            let widens = at.channels != start.channels || stride > 1;
            if self.shortcut == Shortcut::B && widens {
                size.conv(start, (at.channels as usize, 1, stride));
            }
        }
        let linear = at.channels * classes;
        size.weights = size.weights.saturating_add(linear);
        size.products = size.products.saturating_add(linear);
        size
    }
}

/// A feature map's shape.
#[derive(Clone, Copy)]
struct Map {
    sides: [u128; 2],
    channels: u128,
}

impl NetworkSize {
    /// Adds a convolution of `(channels, kernel, stride)` that pads by half its kernel; returns its result.
    fn conv(&mut self, from: Map, (channels, kernel, stride): (usize, usize, usize)) -> Map {
        let sides = from.sides.map(|side| side.div_ceil(stride as u128));
        let channels = channels as u128;
        let weights = from.channels * channels * (kernel * kernel) as u128;
        let pixels = sides[0].saturating_mul(sides[1]);
        self.weights = self.weights.saturating_add(weights);
        self.products = self.products.saturating_add(weights.saturating_mul(pixels));
        self.smallest_map = self.smallest_map.min(pixels);
        Map { sides, channels }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Architecture, Mode, ResNet};
    use candle_core::{DType, Device, Result, Tensor};
    use s3_core::Params;
    use s3_core::s3::S3;

    #[test]
    fn a_size_is_that_of_the_network() -> Result<()> {
        for (architecture, shortcut) in [
            (Architecture::ResNet8, Shortcut::A),
            (Architecture::ResNet20, Shortcut::B),
            (Architecture::ResNet18, Shortcut::A),
            (Architecture::ResNet18, Shortcut::B),
            (Architecture::ResNet50, Shortcut::B),
        ] {
            for (height, width) in [(1, 1), (9, 14), (32, 33), (65, 64)] {
                let config = ResNetConfig {
                    shortcut,
                    width: 8,
                    ..ResNetConfig::new(architecture, 2, 5)
                };
                let net = ResNet::new(&config, &S3::new(2), &Params::new(1, &Device::Cpu))?;
                let (mut weights, mut products, mut smallest) = (0, 0, usize::MAX);
                let x = Tensor::zeros((1, height, width, 2), DType::F32, &Device::Cpu)?;
                net.forward_traced(&x, Mode::Eval, &mut |name, _, y| {
                    let pixels = y.dims()[1..y.rank() - 1].iter().product::<usize>();
                    if let Some(layer) = net.layers().iter().find(|l| l.spec.name == name) {
                        let count = layer.spec.shape.iter().product::<usize>();
                        weights += count;
                        products += count * pixels;
                    } else {
                        smallest = smallest.min(pixels);
                    }
                    Ok(())
                })?;
                let size = config.size(height, width);
                let expected = [weights, products, smallest].map(|n| n as u128);
                assert_eq!([size.weights, size.products, size.smallest_map], expected);
            }
        }
        Ok(())
    }

    #[test]
    fn the_largest_numbers_have_a_size() {
        for (_, architecture) in Architecture::ALL {
            let config = ResNetConfig {
                width: usize::MAX,
                ..ResNetConfig::new(architecture, usize::MAX, usize::MAX)
            };
            assert!(config.size(usize::MAX, usize::MAX).weights > 1 << 64);
        }
    }
}
