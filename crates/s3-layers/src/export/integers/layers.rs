//! Layers: their sums of integers, and the scores.

use s3_kernels::BitWidth;
use s3_kernels::model::{Act, FRACTION, Frozen, Layer, Node, Requant, Then, Weight};

use super::super::error::Error;
use super::super::graph::{Named, SCORES};
use super::super::message::{integer, strided};
use super::graph::{Rounding, Tensor, Type, Writer, lowest, sides};
use super::line::{self, Ends, MOST, Step};
use super::rescale::{Finish, Sums};

impl Writer<'_> {
    pub(super) fn layer(
        &mut self,
        index: usize,
        node: &Node<Frozen>,
        layer: &Layer<Frozen>,
    ) -> Result<Tensor, Error> {
        let (name, input) = (node.name.as_str(), node.input());
        let (levels, is) = levels(name, &layer.holds.weight)?;
        let x = match input {
            0 => Ends {
                low: -127,
                high: 127,
            },
            _ => Ends { low: 0, high: 255 },
        };
        let rows = levels.chunks_exact((levels.len() / layer.channels.max(1)).max(1));
        let sums: Vec<Ends> = rows.map(|row| sums(row, x)).collect();
        if let Some(large) = sums.iter().find(|s| s.high.max(-s.low) >= MOST) {
            let most = large.high.max(-large.low);
            let what = format!("its sums reach {most}: f32 holds integers below {MOST}");
            return Err(Error::node(name, what));
        }
        let products = self.products(index, name, layer, &levels, is)?;
        match &layer.holds.then {
            Then::Scale { scale, bias } => self.scores(name, layer, products, &sums, [scale, bias]),
            Then::Requant(requant) => {
                let steps = steps(name, requant, layer)?;
                let steps: Vec<(Step, Ends)> = steps.into_iter().zip(sums).collect();
                let finish = Finish::of(requant, layer);
                self.requantize(index, name, products, &steps, &finish)
            }
        }
    }

    /// The layer's sums of integers, its weights written.
    fn products(
        &mut self,
        index: usize,
        name: &str,
        layer: &Layer<Frozen>,
        levels: &[i64],
        is: Type,
    ) -> Result<Sums, Error> {
        let input = self.nodes[index].input();
        let (from, to) = (self.sizes[input], self.sizes[index + 1]);
        let unit = if input == 0 { self.unit } else { 0 };
        let weight = format!("{name}.weight");
        let named = Named {
            name,
            layer,
            channels: from.channels / layer.groups,
            scale: &[],
        };
        let turned = named.transposed(levels);
        if layer.kernel == [from.height, from.width] && layer.padding == 0 {
            // The whole image at once.
            let (made, row) = (to.channels, levels.len() / to.channels.max(1));
            let mut matrix = vec![0; from.len() * made];
            for (n, levels) in turned.chunks_exact(row.max(1)).enumerate() {
                let first = n * layer.groups / made * row;
                for (number, &level) in levels.iter().enumerate() {
                    matrix[(first + number) * made + n] = level;
                }
            }
            let weight = self.typed(&weight, &[from.len(), made], &matrix, is);
            return Ok(Sums {
                from: self.flat(input),
                weight: Some(weight),
                attributes: Vec::new(),
                sides: vec![made],
                unit,
            });
        }
        let from = self.image(name, input)?;
        let weight = self.typed(&weight, &named.dims(), &turned, is);
        Ok(Sums {
            from,
            weight: Some(weight),
            attributes: strided(layer.kernel, layer.stride, layer.padding, layer.groups),
            sides: sides(&to),
            unit,
        })
    }

    /// The last layer's scores, as the runtime computes them: f32 products, then biases.
    fn scores(
        &mut self,
        name: &str,
        layer: &Layer<Frozen>,
        sums: Sums,
        ends: &[Ends],
        [scale, bias]: [&[f32]; 2],
    ) -> Result<Tensor, Error> {
        if layer.act == Act::Relu6 {
            return Err(Error::node(name, "scores behind a ReLU6 have no form here"));
        }
        let refuse = || {
            let what = "its scales or biases differ by more than a type of 63 bits holds";
            Error::node(name, what)
        };
        let (unit, channels) = (sums.unit, layer.channels);
        let mut y = self.unbiased(name, sums);
        if !y.is_flat() {
            let to = self.free(&format!("{name}.flat"));
            let axis = vec![integer("axis", 1)];
            y = self.made("Flatten", vec![y.name], to, &[channels], axis);
        }
        let scale: Vec<f32> = scale.iter().map(|s| s * line::power(-unit)).collect();
        let factor = self.floats(&format!("{name}.scale"), &[1, channels], &scale);
        let factor = factor.ok_or_else(refuse)?;
        let to = self.free(&format!("{name}.scaled"));
        y = self.made("Mul", vec![y.name, factor], to, &[channels], Vec::new());
        // A rounded product has no digit below the lowest of its factor.
        let lowest = lowest(&scale) + unit;
        let product = |(s, e): (&f32, &Ends)| f64::from(s.abs()) * e.high.max(-e.low) as f64;
        let most = scale.iter().zip(ends).map(product).fold(0.0, f64::max);
        let most = most * f64::from(unit - lowest).exp2();
        if most >= f64::from(62).exp2() {
            return Err(refuse());
        }
        let is = Type::of(-(most as i64) - 1, most as i64 + 1, lowest);
        let to = self.free(&format!("{name}.scaled_bits"));
        y = self.quant(&y, to, is, Rounding::Down);
        let bias = self.floats(&format!("{name}.bias"), &[1, channels], bias);
        let bias = bias.ok_or_else(refuse)?;
        let scores = SCORES.to_owned();
        let is_rectified = layer.act == Act::Relu;
        let to = match is_rectified {
            true => self.free(&format!("{name}.sum")),
            false => scores.clone(),
        };
        y = self.made("Add", vec![y.name, bias], to, &[channels], Vec::new());
        if is_rectified {
            y = self.made("Relu", vec![y.name], scores, &[channels], Vec::new());
        }
        Ok(y)
    }
}

/// A layer's integers and their type.
fn levels(name: &str, weight: &Weight) -> Result<(Vec<i64>, Type), Error> {
    let (levels, bits) = match weight {
        Weight::Packed(w) => {
            let bits = match w.bit_width() {
                BitWidth::B2 => 2,
                BitWidth::B3 => 4,
                BitWidth::B4 => 8,
            };
            (w.to_levels(), bits)
        }
        Weight::Dense(w) => (w.levels().to_vec(), 8),
        Weight::F32(_) => return Err(Error::node(name, "expected integers, got f32 weights")),
    };
    let is = Type {
        unit: 0,
        bits,
        is_signed: true,
        is_narrow: bits == 2,
    };
    Ok((levels.into_iter().map(i64::from).collect(), is))
}

/// The ends of a row's sums where what is read is within `x`.
fn sums(row: &[i64], x: Ends) -> Ends {
    let end = |up: i64, down: i64| -> i64 {
        row.iter()
            .map(|&w| if w > 0 { w * up } else { w * down })
            .sum()
    };
    Ends {
        low: end(x.low, x.high),
        high: end(x.high, x.low),
    }
}

/// Each channel's step in units of `2^-grid`: floors of floors of integers are one floor.
fn steps(name: &str, requant: &Requant, layer: &Layer<Frozen>) -> Result<Vec<Step>, Error> {
    let finish = Finish::of(requant, layer);
    let moved = (1 << (FRACTION - 1)) + (i128::from(finish.less) << FRACTION);
    let offset = i128::from(requant.offset) + moved;
    let channels = requant.bias.iter().zip(&requant.factor).zip(&requant.shift);
    let step = |((&bias, &factor), &shift): ((&i32, &i32), &u8)| {
        if factor == 0 {
            return Err(Error::node(name, "a factor is 0"));
        }
        let round = if shift > 0 { 1i128 << (shift - 1) } else { 0 };
        let add = i128::from(bias) * i128::from(factor) + round;
        Ok(Step {
            num: factor.into(),
            add: add + (offset << shift),
            den: 1 << (u32::from(shift) + FRACTION - finish.grid),
        })
    };
    channels.map(step).collect()
}
