//! The constants and the calls of each layer.

use s3_kernels::model::{Act, Frozen, Layer, Node, Requant, Then, Weight, terms};

use super::super::error::Error;
use super::nodes::FLIP;
use super::text::factor;
use super::windows::{group_window, pitch, window};
use super::writer::Writer;

/// Bytes of a packed matrix before its codes.
const PACKED_HEADER: usize = 24;

/// What the weights of one output can sum up to.
struct RowSum {
    sum: i64,
    /// The largest magnitude of a sum and of all before it.
    most: i64,
    taps: usize,
}

impl RowSum {
    fn of(row: &[i8]) -> RowSum {
        let all = || row.iter().flat_map(|&level| terms(level.into()));
        RowSum {
            sum: row.iter().map(|&level| i64::from(level)).sum(),
            most: all().map(|(places, _)| 255i64 << places).sum(),
            taps: all().count(),
        }
    }

    fn leaves_64_bits(&self, then: &Requant, channel: usize) -> bool {
        let magnitude = |v: i32| i128::from(v).abs();
        let sum = 2 * i128::from(self.most) + magnitude(then.bias[channel]);
        let scaled = sum * magnitude(then.factor[channel]) + (1 << 31);
        let shifted = scaled >> then.shift[channel];
        let added = 255 * magnitude(then.residual_factor) + magnitude(then.offset) + 128;
        scaled.max(shifted + added) > i64::MAX.into()
    }
}

impl Writer<'_> {
    /// Adds a layer, which is node `index`.
    pub(super) fn layer(
        &mut self,
        index: usize,
        node: &Node<Frozen>,
        layer: &Layer<Frozen>,
    ) -> Result<(), Error> {
        let refuse = |what: &str| Error::node(&node.name, what);
        let (levels, codes, bits, top) = match &layer.holds.weight {
            Weight::Packed(w) => {
                let codes = w.to_bytes()[PACKED_HEADER..].to_vec();
                (
                    w.to_levels(),
                    codes,
                    w.bit_width().bits(),
                    w.bit_width().t(),
                )
            }
            Weight::Dense(w) => {
                let codes = w.levels().iter().map(|&l| l as u8).collect();
                (w.levels().to_vec(), codes, 8, 6)
            }
            Weight::F32(_) => return Err(refuse("expected integer weights, got f32")),
        };
        let (from, made) = (self.sizes[node.input()], self.sizes[index + 1]);
        let [height, width] = layer.kernel;
        let channels = from.channels / layer.groups;
        let columns = height * width * channels;
        let rows: Vec<RowSum> = levels.chunks_exact(columns).map(RowSum::of).collect();
        if rows.iter().any(|row| row.most > i32::MAX.into()) {
            return Err(refuse("a sum leaves 32 bits on its way"));
        }
        let taps = rows.iter().map(|row| row.taps).max().unwrap_or(0);
        self.most_taps = self.most_taps.max(taps);
        self.most_columns = self.most_columns.max(columns);

        let x = self.bordered(node, layer.padding)?;
        let pitch = pitch(from, layer.padding);
        let last_tap = (height - 1) * pitch + (width - 1) * from.channels + channels - 1;
        self.last_tap = self.last_tap.max(last_tap);
        self.table("uint8_t s3_weights", index, &codes);
        let (kernel, stride, padding) = (layer.kernel, layer.stride, layer.padding);
        let (window, [pixels, turn]) = match layer.groups {
            1 => (window(from, made, kernel, stride, padding), [1, 0]),
            _ => (
                group_window(from, made, kernel, stride, padding, channels),
                [width, pitch - width * from.channels],
            ),
        };
        let groups = match self.has_groups {
            true => format!(", {pixels}, {turn}, {}", layer.channels / layer.groups),
            false => String::new(),
        };
        let value = format!(
            "{{\n    {window},\n    s3_weights_{index}, {columns}, {bits}, {top}{groups}}}"
        );
        self.constant("s3_layer s3_layer", index, &value);

        // What the flipped image makes too large.
        let flip = if node.input() == 0 { FLIP } else { 0 };
        let bias = |(bias, row): (i64, &RowSum)| {
            i32::try_from(bias - flip * row.sum).map_err(|_| refuse("a bias leaves 32 bits"))
        };
        match &layer.holds.then {
            Then::Scale { .. } => {
                let biases: Result<Vec<i32>, _> = rows.iter().map(|row| bias((0, row))).collect();
                self.table("int32_t s3_bias", index, &biases?);
                self.call(
                    "sums",
                    format_args!("&s3_layer_{index}, s3_bias_{index}, {x}, sums"),
                );
            }
            Then::Requant(then) => {
                let mut channels = rows.iter().enumerate();
                if channels.any(|(channel, row)| row.leaves_64_bits(then, channel)) {
                    return Err(refuse("a product leaves 64 bits"));
                }
                let biases = then.bias.iter().map(|&b| i64::from(b)).zip(&rows).map(bias);
                self.requant(
                    index,
                    layer,
                    then,
                    &biases.collect::<Result<Vec<i32>, _>>()?,
                );
                let residual = layer.add.map(|value| self.plan.address(value));
                let residual = residual.unwrap_or("0".to_owned());
                let y = self.plan.address(index + 1);
                self.call(
                    "conv",
                    format_args!("&s3_layer_{index}, &s3_then_{index}, {x}, {residual}, {y}"),
                );
                if then.high < u8::MAX {
                    let (high, bytes) = (then.high, made.len());
                    self.call("cap", format_args!("{high}, {bytes}, {y}"));
                }
            }
        }
        Ok(())
    }

    fn requant(&mut self, index: usize, layer: &Layer<Frozen>, then: &Requant, biases: &[i32]) {
        let factors: Vec<u8> = then.factor.iter().flat_map(|&f| factor(f)).collect();
        self.table("int32_t s3_bias", index, biases);
        self.table("uint8_t s3_terms", index, &factors);
        self.table("uint8_t s3_shift", index, &then.shift);
        self.table("uint8_t s3_residual", index, &factor(then.residual_factor));
        let (offset, low) = (
            then.offset,
            if layer.act == Act::None {
                0
            } else {
                then.zero_point
            },
        );
        let tables = ["bias", "terms", "shift", "residual"].map(|t| format!("s3_{t}_{index}"));
        let value = format!("{{{}, {offset}, {low}}}", tables.join(", "));
        self.constant("s3_requant s3_then", index, &value);
    }
}
