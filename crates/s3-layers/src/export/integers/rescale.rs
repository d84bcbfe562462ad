//! From sums to values: a factor of each channel, what is added, and the last quantizer.

use s3_kernels::model::{Act, FRACTION, Frozen, Layer, Requant};

use super::super::error::Error;
use super::super::message::strided;
use super::super::proto::AttributeProto;
use super::graph::{Rounding, Tensor, Type, Writer};
use super::line::{self, Ends, Halves, Line, PRODUCT, Step};

/// Sums that are not written yet: what they are of, their sizes and their unit.
pub(super) struct Sums {
    pub(super) from: Tensor,
    /// Weights, behind their quantizer; `None` where the sums are the numbers of `from`.
    pub(super) weight: Option<String>,
    /// Of a convolution.
    pub(super) attributes: Vec<AttributeProto>,
    pub(super) sides: Vec<usize>,
    pub(super) unit: i32,
}

/// What happens to rescaled sums of units of `2^-grid`.
pub(super) struct Finish {
    pub(super) grid: u32,
    /// The results that are told apart, in the same units.
    pub(super) results: Ends,
    /// What is added: a value and its factor in units of `2^-FRACTION`.
    pub(super) residual: Option<(usize, i64)>,
    pub(super) is_rectified: bool,
    /// The lowest result, and the highest less than 255 by.
    pub(super) low: u8,
    pub(super) less: u8,
}

impl Finish {
    /// Clamped to 0 and 255.
    pub(super) const PLAIN: Finish = Finish {
        grid: 0,
        results: Ends { low: 1, high: 255 },
        residual: None,
        is_rectified: false,
        low: 0,
        less: 0,
    };

    pub(super) fn of(requant: &Requant, layer: &Layer<Frozen>) -> Finish {
        let is_rectified = layer.act != Act::None;
        let factor = i64::from(requant.residual_factor);
        let plain = Finish {
            is_rectified,
            low: if is_rectified { requant.zero_point } else { 0 },
            less: 255 - requant.high,
            ..Finish::PLAIN
        };
        let Some(residual) = layer.add.filter(|_| factor != 0) else {
            return plain;
        };
        let grid = FRACTION - factor.trailing_zeros().min(FRACTION);
        let most = 255 * (factor >> (FRACTION - grid));
        Finish {
            grid,
            results: Ends {
                low: (1 << grid) - most.max(0),
                high: (255 << grid) - most.min(0),
            },
            residual: Some((residual, factor)),
            ..plain
        }
    }
}

impl Writer<'_> {
    /// A value of 8 bits of sums.
    pub(super) fn requantize(
        &mut self,
        index: usize,
        name: &str,
        sums: Sums,
        steps: &[(Step, Ends)],
        finish: &Finish,
    ) -> Result<Tensor, Error> {
        let mut y = match lines(steps, finish.results) {
            Some(lines) => self.scaled(name, sums, steps, &lines, finish.grid)?,
            None => {
                let is_flat = sums.sides.len() == 1;
                let halves = line::halves(steps, finish.results).filter(|_| is_flat);
                let what = "its sums times its factors need more digits than f32 has";
                let halves = halves.ok_or_else(|| Error::node(name, what))?;
                self.scaled_in_halves(name, sums, steps, &halves, finish.grid)?
            }
        };
        if let Some((residual, factor)) = finish.residual {
            let unit = -(finish.grid as i32);
            let is = Type::of(finish.results.low - 1, finish.results.high, unit);
            let rounded = self.free(&format!("{name}.rounded"));
            y = self.quant(&y, rounded, is, Rounding::Down);
            let r = self.residual(name, residual, factor, y.is_flat())?;
            let added = self.free(&format!("{name}.added"));
            y = self.made("Add", vec![y.name, r.name], added, &y.sides, Vec::new());
        }
        let is_moved = finish.low > 0 || finish.less > 0;
        if finish.is_rectified && !is_moved {
            let relu = self.free(&format!("{name}.relu"));
            y = self.made("Relu", vec![y.name], relu, &y.sides, Vec::new());
        }
        let to = self.value(index);
        if !is_moved {
            return Ok(self.quant(&y, to, Type::VALUE, Rounding::Down));
        }
        // 255 is above the highest result by `less`, and 0 below the lowest.
        let moved = self.free(&format!("{name}.moved"));
        y = self.quant(&y, moved, Type::VALUE, Rounding::Down);
        let down = -i64::from(finish.low) - i64::from(finish.less);
        y = self.plus(name, "above", y, down);
        let relu = self.free(&format!("{name}.relu"));
        y = self.made("Relu", vec![y.name], relu, &y.sides, Vec::new());
        y = self.plus(name, "up", y, finish.low.into());
        Ok(self.quant(&y, to, Type::VALUE, Rounding::Down))
    }

    /// One number added to all.
    fn plus(&mut self, name: &str, what: &str, y: Tensor, number: i64) -> Tensor {
        if number == 0 {
            return y;
        }
        let constant = self.constant(&format!("{name}.{what}_by"), &[], &[number], 0);
        let to = self.free(&format!("{name}.{what}"));
        self.made("Add", vec![y.name, constant], to, &y.sides, Vec::new())
    }

    fn residual(
        &mut self,
        name: &str,
        value: usize,
        factor: i64,
        is_flat: bool,
    ) -> Result<Tensor, Error> {
        let r = match is_flat {
            true => self.flat(value),
            false => self.image(name, value)?,
        };
        if factor == 1 << FRACTION {
            return Ok(r);
        }
        let constant = format!("{name}.residual_factor");
        let constant = self.constant(&constant, &[], &[factor], -(FRACTION as i32));
        let to = self.free(&format!("{name}.residual"));
        Ok(self.made("Mul", vec![r.name, constant], to, &r.sides, Vec::new()))
    }

    /// `(sums + bias) factor`, each channel's own.
    fn scaled(
        &mut self,
        name: &str,
        sums: Sums,
        steps: &[(Step, Ends)],
        lines: &[Line],
        grid: u32,
    ) -> Result<Tensor, Error> {
        let digits = lines.iter().map(|line| line.fraction).max().unwrap_or(0);
        let bias = |line: &Line| line.bias << (digits - line.fraction);
        let biases: Vec<i64> = lines.iter().map(bias).collect();
        let unit = sums.unit - digits as i32;
        let low = steps
            .iter()
            .zip(&biases)
            .map(|(s, b)| (s.1.low << digits) + b);
        let high = steps
            .iter()
            .zip(&biases)
            .map(|(s, b)| (s.1.high << digits) + b);
        let is = Type::of(low.min().unwrap_or(0), high.max().unwrap_or(0), unit);
        let factor_unit = -sums.unit - grid as i32;
        let y = self.biased(name, sums, &biases, unit);
        let exact = self.free(&format!("{name}.sum_bits"));
        let y = self.quant(&y, exact, is, Rounding::Down);
        self.times(name, "", y, lines, factor_unit)
    }

    /// The sums and a bias, in units of `2^unit`.
    fn biased(&mut self, name: &str, sums: Sums, biases: &[i64], unit: i32) -> Tensor {
        let channels = biases.len();
        let bias = format!("{name}.bias");
        let to = self.free(&format!("{name}.sum"));
        let is_flat = sums.sides.len() == 1;
        if let (false, Some(weight)) = (is_flat, &sums.weight) {
            let bias = self.constant(&bias, &[channels], biases, unit);
            let inputs = vec![sums.from.name, weight.clone(), bias];
            return self.made("Conv", inputs, to, &sums.sides, sums.attributes);
        }
        let x = self.unbiased(name, sums);
        let dims = if is_flat { vec![1, channels] } else { vec![] };
        let bias = self.constant(&bias, &dims, biases, unit);
        self.made("Add", vec![x.name, bias], to, &x.sides, Vec::new())
    }

    /// The sums alone.
    pub(super) fn unbiased(&mut self, name: &str, sums: Sums) -> Tensor {
        let Some(weight) = sums.weight else {
            return sums.from;
        };
        let to = self.free(&format!("{name}.products"));
        let operator = match sums.attributes.is_empty() {
            true => "MatMul",
            false => "Conv",
        };
        let inputs = vec![sums.from.name, weight];
        self.made(operator, inputs, to, &sums.sides, sums.attributes)
    }

    /// Each channel times its factor, which is in units of `2^unit`.
    fn times(
        &mut self,
        name: &str,
        which: &str,
        y: Tensor,
        lines: &[Line],
        unit: i32,
    ) -> Result<Tensor, Error> {
        let shift = lines.iter().map(|line| line.shift).max().unwrap_or(0);
        let factors = lines.iter().map(|line| {
            let places = shift - line.shift;
            // Of 24 digits at most.
            (places < 39).then(|| line.factor << places)
        });
        let factors: Option<Vec<i64>> = factors.collect();
        let what = "the factors of its channels differ by more than a type of 63 bits holds";
        let factors = factors.ok_or_else(|| Error::node(name, what))?;
        let (unit, channels) = (unit - shift as i32, lines.len());
        let constant = format!("{name}.{which}factor");
        let to = self.free(&format!("{name}.{which}scaled"));
        if y.is_flat() {
            let factor = self.constant(&constant, &[1, channels], &factors, unit);
            return Ok(self.made("Mul", vec![y.name, factor], to, &y.sides, Vec::new()));
        }
        let factor = self.constant(&constant, &[channels, 1, 1, 1], &factors, unit);
        let attributes = strided([1, 1], 1, 0, channels);
        Ok(self.made("Conv", vec![y.name, factor], to, &y.sides, attributes))
    }

    /// The same as [`scaled`](Self::scaled), of flat sums that are cut in two.
    fn scaled_in_halves(
        &mut self,
        name: &str,
        sums: Sums,
        steps: &[(Step, Ends)],
        halves: &Halves,
        grid: u32,
    ) -> Result<Tensor, Error> {
        let (lines, places, unit) = (&halves.lines, halves.places, sums.unit);
        let channels = lines.len();
        let whole: Vec<i64> = lines.iter().map(Line::whole).collect();
        let low = steps.iter().zip(&whole).map(|(s, b)| s.1.low + b).min();
        let high = steps.iter().zip(&whole).map(|(s, b)| s.1.high + b).max();
        let (low, high) = (low.unwrap_or(0), high.unwrap_or(0));
        let y = self.biased(name, sums, &whole, unit);
        let typed = |writer: &mut Self, x: &Tensor, what: &str, is: Type| {
            let to = writer.free(&format!("{name}.{what}"));
            writer.quant(x, to, is, Rounding::Down)
        };
        let y = typed(self, &y, "sum_bits", Type::of(low, high, unit));
        let is = Type::of(low >> places, high >> places, unit + places as i32);
        let above = typed(self, &y, "high", is);
        let to = self.free(&format!("{name}.low"));
        let inputs = vec![y.name.clone(), above.name.clone()];
        let below = self.made("Sub", inputs, to, &y.sides, Vec::new());
        // The rest of the bias.
        let digits = lines.iter().map(|line| line.fraction).max().unwrap_or(0);
        let rest = |line: &Line| line.rest() << (digits - line.fraction);
        let rests: Vec<i64> = lines.iter().map(rest).collect();
        let fine = unit - digits as i32;
        let rest = self.constant(&format!("{name}.rest"), &[1, channels], &rests, fine);
        let to = self.free(&format!("{name}.low_sum"));
        let below = self.made("Add", vec![below.name, rest], to, &y.sides, Vec::new());
        let is = Type::of(0, 1 << (places + digits), fine);
        let below = typed(self, &below, "low_bits", is);
        // Both products, in their type.
        let slopes = lines
            .iter()
            .map(|l| l.factor.abs() as f64 / f64::from(l.shift).exp2());
        let slope = slopes.fold(0.0, f64::max) * f64::from(PRODUCT).exp2();
        let of = |sum: i64| {
            let most = (sum.abs() as f64 * slope) as i64 + 1;
            Type::of(-most, most, -((PRODUCT + grid) as i32))
        };
        let factor = -unit - grid as i32;
        let above = self.times(name, "high_", above, lines, factor)?;
        let above = typed(
            self,
            &above,
            "high_bits",
            of(high.max(-low) + (1 << places)),
        );
        let below = self.times(name, "low_", below, lines, factor)?;
        let below = typed(self, &below, "low_scaled_bits", of(1 << (places + 1)));
        let to = self.free(&format!("{name}.scaled"));
        let inputs = vec![above.name, below.name];
        Ok(self.made("Add", inputs, to, &above.sides, Vec::new()))
    }
}

/// Every channel's line. Neighbours are often the same.
fn lines(steps: &[(Step, Ends)], results: Ends) -> Option<Vec<Line>> {
    let mut lines: Vec<Line> = Vec::with_capacity(steps.len());
    for (n, now) in steps.iter().enumerate() {
        let line = match n.checked_sub(1) {
            Some(before) if steps[before] == *now => lines[before],
            _ => line::line(&now.0, now.1, results)?,
        };
        lines.push(line);
    }
    Some(lines)
}
