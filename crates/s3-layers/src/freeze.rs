//! Freezing: latents become codes, codes become packed matrices, and every batch norm becomes one
//! scale and one bias a channel behind its convolution.
//!
//! ```text
//! y = act(bn_scale (s 2^k) Σ level/2^k · x + bn_shift + residual)
//! ```
//!
//! A method's float scale `s` (one a layer, one a filter) and the power of two `2^k` that all
//! levels of a filter share go into the channel's scale, so that weights stay powers of two of the
//! fewest bits. Dividing by `2^k` is exact: where a method has no scale, a frozen channel has the
//! trained one's scale to the bit.
//!
//! A weight that is a sum of scaled codes becomes as many convolutions, one added to the next
//! before the activation: its **planes**. So does a filter whose levels are further apart than
//! packed weights hold, cut into ranges of shifts:
//!
//! ```text
//! t_1 = scale_1 Σ plane_1 · x + residual;    y = act(bn_shift + scale_2 Σ plane_2 · x + t_1)
//! ```

pub(crate) mod lower;

use crate::layer::{QuantLayer, in_layer};
use crate::net::{Net, Trained};
use candle_core::{Result, bail};
use s3_core::host::{Host, on_cpu};
use s3_core::{Codes, Scale, WeightForm};
use s3_kernels::model::{Activations, Frozen, Input, Network, Node, Then, Weight};
use s3_kernels::{BitWidth, PackedMatrix};

impl Net {
    /// The network as a file holds it, in evaluation mode and with f32 activations: each weight
    /// from its method's codes, or in full precision where the layer's [form](WeightForm) is a
    /// float.
    ///
    /// # Errors
    /// One line that names the layer: discrete weights that have no codes, a quantized input, or a
    /// classifier of more than one plane.
    ///
    /// ```
    /// use candle_core::{DType, Device};
    /// use s3_core::{Params, s3::S3};
    /// use s3_layers::Net;
    /// use s3_layers::model::{Input, Numbers, Size};
    /// use s3_layers::zoo::{self, Settings};
    ///
    /// let image = Size { height: 8, width: 8, channels: 1 };
    /// let plan = zoo::graph("resnet8", &Settings::new(), image, 2)?;
    /// let net = Net::new(&plan, DType::F32, &S3::new(2), &Params::new(1, &Device::Cpu))?;
    /// let (mean, std, numbers) = (vec![0.0], vec![1.0], Numbers::Bytes);
    /// let input = Input { mean, std, scale: 1.0, numbers, fit: None };
    /// let frozen = net.freeze("two", input, vec!["cat".into(), "dog".into()])?;
    /// // A convolution, three blocks of two, two parameter-free shortcuts, the mean, the
    /// // classifier.
    /// assert_eq!(frozen.graph.nodes.len(), 1 + 6 + 2 + 1 + 1);
    /// assert_eq!(frozen.graph.nodes[2].name, "layer1.0.conv2");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn freeze(&self, name: &str, input: Input, classes: Vec<String>) -> Result<Network> {
        let nodes = &self.graph.nodes;
        let frozen = |index: usize, holds: &Trained| {
            let node: &Node<Trained> = &nodes[index];
            frozen(node, holds, index + 1 == nodes.len())
        };
        Ok(Network {
            name: name.to_string(),
            input,
            classes,
            activations: Activations::F32,
            graph: lower::lowered(&self.graph.map(frozen)?)?,
        })
    }
}

/// What a layer freezes to: its planes but the last, and the last, behind which the bias is added.
/// A batch norm on its own freezes to the map of each channel.
fn frozen(node: &Node<Trained>, holds: &Trained, is_last: bool) -> Result<(Vec<Frozen>, Frozen)> {
    let Some(layer) = &holds.weight else {
        let Some(norm) = &holds.norm else {
            bail!("layer {}: it holds neither weights nor a norm", node.name)
        };
        let (scale, bias) = in_layer(norm.name(), norm.scale_shift())?;
        let holds = lower::one_tap(on_cpu(&scale)?.to_vec1()?, on_cpu(&bias)?.to_vec1()?);
        return Ok((Vec::new(), in_layer(&node.name, holds)?));
    };
    let spec = &layer.spec;
    let mut planes = in_layer(&spec.name, weights(layer))?;
    let Some((weight, factors)) = planes.pop() else {
        bail!("layer {}: its weights have no planes", spec.name)
    };
    if is_last && !planes.is_empty() {
        bail!(
            "layer {}: a classifier of more than one plane is not packed: leave it in full \
             precision",
            spec.name
        )
    }
    let (scale, bias) = scale_and_bias(holds, spec.shape[0])?;
    let then = |factors: &[f32], bias| Then::Scale {
        scale: scale.iter().zip(factors).map(|(s, f)| s * f).collect(),
        bias,
    };
    let before = planes.into_iter().map(|(weight, factors)| Frozen {
        weight,
        then: then(&factors, vec![0.0; spec.shape[0]]),
    });
    let before = before.collect();
    let then = then(&factors, bias);
    Ok((before, Frozen { weight, then }))
}

/// What follows the sums of a layer, channel by channel: its bias, then its batch norm in
/// evaluation.
fn scale_and_bias(holds: &Trained, channels: usize) -> Result<(Vec<f32>, Vec<f32>)> {
    let bias = match &holds.bias {
        Some(bias) => Some(on_cpu(bias.as_tensor())?.to_vec1::<f32>()?),
        None => None,
    };
    let Some(norm) = &holds.norm else {
        return Ok((vec![1.0; channels], bias.unwrap_or(vec![0.0; channels])));
    };
    let (scale, shift) = in_layer(norm.name(), norm.scale_shift())?;
    let (scale, mut shift) = (on_cpu(&scale)?.to_vec1()?, on_cpu(&shift)?.to_vec1()?);
    for ((shift, scale), bias) in shift.iter_mut().zip(&scale).zip(bias.iter().flatten()) {
        *shift += scale * bias;
    }
    Ok((scale, shift))
}

/// Weights in the order of the kernels, and the factor of each row.
type Plane = (Weight, Vec<f32>);

/// A layer's weights: their sum over the planes.
fn weights(layer: &QuantLayer) -> Result<Vec<Plane>> {
    let shape = &layer.spec.shape;
    if layer.quantizer.needs().inputs {
        bail!("its method quantizes its input, which the packed network would not: not exported")
    }
    let Some(planes) = layer.quantizer.planes()? else {
        if layer.quantizer.form() != WeightForm::Float {
            bail!("its weights have no codes, so they cannot be packed")
        }
        let values = on_cpu(&layer.quantizer.weight()?)?;
        let rows = rows_of(&Host::new(&values)?, shape);
        return Ok(vec![(Weight::F32(rows), vec![1.0; shape[0]])]);
    };
    let mut packed = Vec::new();
    for codes in planes.iter().flat_map(within_reach) {
        let (weight, factors) = pack(&codes)?;
        packed.push((Weight::Packed(weight), factors));
    }
    Ok(packed)
}

/// The same weights as a sum of codes, each row of which spans no more shifts than packed weights
/// hold; one where that is so already.
fn within_reach(codes: &Codes) -> Vec<Codes> {
    let reach = BitWidth::B4.t() + 1;
    let cols = codes.levels.len() / codes.shape.first().copied().unwrap_or(1).max(1);
    let least = |row: &[i32]| {
        row.iter()
            .filter(|&&l| l != 0)
            .map(|l| l.trailing_zeros())
            .min()
    };
    let mut parts: Vec<Vec<i32>> = Vec::new();
    for (r, row) in codes.levels.chunks(cols.max(1)).enumerate() {
        let least = least(row).unwrap_or(0);
        for (c, &level) in row.iter().enumerate().filter(|(_, l)| **l != 0) {
            let part = ((level.trailing_zeros() - least) / reach) as usize;
            if parts.len() <= part {
                parts.resize(part + 1, vec![0; codes.levels.len()]);
            }
            parts[part][r * cols + c] = level;
        }
    }
    if parts.len() < 2 {
        return vec![codes.clone()];
    }
    let part = |levels| Codes {
        levels,
        ..codes.clone()
    };
    parts.into_iter().map(part).collect()
}

/// Packs codes as narrowly as their levels allow, each row divided by the power of two that all its
/// levels share; that power and the codes' scale are the row's factor.
fn pack(codes: &Codes) -> Result<(PackedMatrix, Vec<f32>)> {
    let rows = codes.shape.first().copied().unwrap_or(0);
    let cols = codes.levels.len() / rows.max(1);
    let mut levels = rows_of(&codes.levels, &codes.shape);
    let (mut factors, mut largest) = (Vec::with_capacity(rows), 0);
    for (r, row) in levels.chunks_mut(cols.max(1)).enumerate() {
        let shared = row.iter().filter(|&&l| l != 0).map(|l| l.trailing_zeros());
        let shared = shared.min().unwrap_or(0);
        for level in row {
            *level >>= shared;
            largest = largest.max(level.unsigned_abs());
        }
        let scale = match &codes.scale {
            Scale::One => 1.0,
            Scale::Layer(s) => *s,
            Scale::Filter(s) => s[r],
        };
        factors.push(scale * (1u32 << shared) as f32);
    }
    let fits = |w: &BitWidth| largest <= 1 << w.t();
    let Some(width) = BitWidth::ALL.into_iter().find(fits) else {
        bail!(
            "the levels of one filter are a factor {largest} apart, packed weights hold up to {}",
            1 << BitWidth::B4.t()
        )
    };
    let levels: Vec<i8> = levels.into_iter().map(|l| l as i8).collect();
    let packed = PackedMatrix::from_levels(&levels, rows, cols, width);
    Ok((packed.map_err(candle_core::Error::wrap)?, factors))
}

/// torch's `[out, in, kh, kw]` (or `[out, in]`) as rows in `(kh, kw, in)` order.
fn rows_of<T: Copy>(values: &[T], shape: &[usize]) -> Vec<T> {
    let inputs = shape.get(1).copied().unwrap_or(1);
    let area: usize = shape.iter().skip(2).product();
    let mut rows = Vec::with_capacity(values.len());
    for filter in values.chunks_exact((inputs * area).max(1)) {
        for at in 0..area {
            rows.extend((0..inputs).map(|c| filter[c * area + at]));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(shape: &[usize], levels: &[i32], scale: Scale) -> Codes {
        Codes {
            shape: shape.to_vec(),
            levels: levels.to_vec(),
            scale,
        }
    }

    #[test]
    fn shared_powers_of_two_and_scales_become_the_rows_factors() -> Result<()> {
        let given = codes(&[3, 2], &[256, -512, 0, 0, 16, 64], Scale::One);
        let (packed, factors) = pack(&given)?;
        assert_eq!(packed.bit_width(), BitWidth::B3);
        assert_eq!(packed.to_levels(), [1, -2, 0, 0, 1, 4]);
        assert_eq!(factors, [256.0, 1.0, 16.0]);

        let (packed, factors) = pack(&codes(&[2, 1], &[-2, 4], Scale::Layer(0.75)))?;
        assert_eq!(packed.bit_width(), BitWidth::B2);
        assert_eq!((packed.to_levels(), factors), (vec![-1, 1], vec![1.5, 3.0]));
        let (_, factors) = pack(&codes(&[2, 1], &[1, 2], Scale::Filter(vec![3.0, -5.0])))?;
        assert_eq!(factors, [3.0, -10.0]);
        Ok(())
    }

    #[test]
    fn levels_too_far_apart_are_refused_with_the_reason() {
        let wide = codes(&[1, 2], &[1, -128], Scale::One);
        let message = pack(&wide).expect_err("7 places").to_string();
        assert!(
            message.contains("128") && message.contains("64"),
            "{message}"
        );
        // Alone in its filter, each is 1.
        assert!(pack(&codes(&[2, 1], &[1, -128], Scale::One)).is_ok());
    }

    #[test]
    fn filters_that_span_many_shifts_become_planes_of_few() -> Result<()> {
        let near = codes(&[2, 2], &[1, 64, 0, -4096], Scale::One);
        assert_eq!(within_reach(&near), vec![near.clone()]);

        let far = codes(&[2, 3], &[2, -256, 128, 1 << 20, 0, 64], Scale::Layer(0.5));
        let planes = within_reach(&far);
        assert_eq!(Codes::decode_sum(&planes), far.decode());
        assert_eq!(planes.len(), 3);
        assert_eq!(planes[0].levels, [2, 0, 128, 0, 0, 64]);
        for plane in &planes {
            assert!(pack(plane).is_ok());
        }
        Ok(())
    }

    #[test]
    fn rows_run_over_the_kernel_first_and_channels_last() {
        // [1, 2, 1, 3]: channel 0 holds 0, 1, 2 and channel 1 holds 3, 4, 5.
        let values = [0, 1, 2, 3, 4, 5];
        assert_eq!(rows_of(&values, &[1, 2, 1, 3]), [0, 3, 1, 4, 2, 5]);
        assert_eq!(rows_of(&values, &[3, 2]), values);
    }
}
