//! The constants and the calls of each layer.

use s3_kernels::model::{Frozen, Layer, Node, Requant, Then, Weight, terms};

use super::super::error::Error;
use super::lanes::Lanes;
use super::narrow::{Narrow, low};
use super::nodes::FLIP;
use super::text::factor;
use super::writer::Writer;

/// The largest 16-bit sum of bytes: `255 * 257` is 65535.
const MOST_IN_16_BITS: i64 = 257;

/// Weights of a 16-bit sum, at most: their places lie in a list for each code.
const MOST_OF_A_SUM: usize = 128;

/// What the weights of one output can sum up to.
struct RowSum {
    sum: i64,
    /// The largest magnitude of a sum and of all before it.
    most: i64,
}

impl RowSum {
    fn of(row: &[i8]) -> RowSum {
        RowSum {
            sum: row.iter().map(|&level| i64::from(level)).sum(),
            most: 255 * row.iter().copied().map(digits).sum::<i64>(),
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

/// The magnitudes of the digits of a weight, together.
fn digits(level: i8) -> i64 {
    terms(level.into()).map(|(places, _)| 1 << places).sum()
}

/// The same of the digits above `2^3`, a sixteenth of them, and of the others.
fn split_digits(level: i8) -> [i64; 2] {
    let mut sums = [0; 2];
    for (places, _) in terms(level.into()) {
        match places {
            4.. => sums[0] += 1 << (places - 4),
            _ => sums[1] += 1 << places,
        }
    }
    sums
}

/// As many weights of each of the rows, at most `most`, as a 16-bit sum holds, whatever it sees, a
/// chunk like the others.
fn chunk<const N: usize>(
    levels: &[i8],
    columns: usize,
    most: usize,
    digits: fn(i8) -> [i64; N],
) -> usize {
    let is_held = |chunk: &[i8]| {
        let each = chunk.iter().copied().map(digits);
        let sums = each.fold([0; N], |mut sums, digits| {
            sums.iter_mut()
                .zip(digits)
                .for_each(|(sum, digit)| *sum += digit);
            sums
        });
        sums.iter().all(|&sum| sum <= MOST_IN_16_BITS)
    };
    let are_held = |chunk: usize| {
        let mut rows = levels.chunks_exact(columns);
        rows.all(|row| row.chunks(chunk).all(is_held))
    };
    let chunks = (columns.div_ceil(most)..).map(|chunks| columns.div_ceil(chunks));
    chunks
        .take_while(|&chunk| chunk > 1)
        .find(|&chunk| are_held(chunk))
        .unwrap_or(1)
}

/// `[output][row][column][channel]` as `[output][channel][row][column]`.
fn channels_first(levels: &[i8], channels: usize, columns: usize) -> Vec<i8> {
    let rows = levels.chunks_exact(columns);
    let turned = |row: &'_ [i8]| -> Vec<i8> {
        let of = |channel| row.iter().skip(channel).step_by(channels).copied();
        (0..channels).flat_map(of).collect()
    };
    rows.flat_map(turned).collect()
}

/// Eight weights of each row, then the next eight, the last filled up with zeros.
fn eight_by_eight(levels: &[i8], columns: usize) -> Vec<i8> {
    let eight = |row: &[i8], first: usize| {
        let mut eight = [0; 8];
        let some = &row[first..columns.min(first + 8)];
        eight[..some.len()].copy_from_slice(some);
        eight
    };
    let firsts = (0..columns).step_by(8);
    let of = |first| {
        levels
            .chunks_exact(columns)
            .flat_map(move |row| eight(row, first))
    };
    firsts.flat_map(of).collect()
}

/// `levels` as codes of so many bits, lowest bit first: a sign above a shift plus one, or 0.
fn codes(levels: &[i8], bits: u32) -> Vec<u8> {
    let code = |level: i8| match level.unsigned_abs() {
        0 => 0,
        power => (power.trailing_zeros() + 1) | (u32::from(level < 0) << (bits - 1)),
    };
    // Eight weights are as many bytes as one has bits.
    let eight = |levels: &[i8]| {
        let places = levels.iter().zip((0..).step_by(bits as usize));
        let held = places.fold(0u32, |held, (&level, place)| held | code(level) << place);
        held.to_le_bytes().into_iter().take(bits as usize)
    };
    levels.chunks(8).flat_map(eight).collect()
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
        let (levels, bits, top) = match &layer.holds.weight {
            Weight::Packed(w) => (w.to_levels(), w.bit_width().bits(), w.bit_width().t()),
            Weight::Dense(w) => (w.levels().to_vec(), 8, 6),
            Weight::F32(_) => return Err(refuse("expected integer weights, got f32")),
        };
        let (from, made) = (self.sizes[node.input()], self.sizes[index + 1]);
        let channels = from.channels / layer.groups;
        let columns = layer.kernel[0] * layer.kernel[1] * channels;
        let levels = channels_first(&levels, channels, columns);
        let rows: Vec<RowSum> = levels.chunks_exact(columns).map(RowSum::of).collect();
        if rows.iter().any(|row| row.most > i32::MAX.into()) {
            return Err(refuse("a sum leaves 32 bits on its way"));
        }
        let lanes = Lanes::new(from, made, layer, self.plan.room(index));
        let pairs = self.pairs_of(index, node, layer);
        let lists = if bits == 8 { 16 } else { 1 << bits };
        let of_products = chunk(&levels, columns, MOST_OF_A_SUM, |level| [digits(level)]);
        let of_lists = match top {
            // Sums of the shifts above 3 are apart.
            4.. => chunk(&levels, columns, MOST_OF_A_SUM / 2, split_digits),
            _ => of_products,
        };
        let chunk = match of_lists == of_products {
            true => of_lists.to_string(),
            false => format!("S3_MULTIPLIER < 2 ? {of_lists} : {of_products}"),
        };
        self.most_taps = self.most_taps.max(lists * of_lists);
        self.most_columns = self.most_columns.max(columns);
        self.most_channels = self.most_channels.max(from.channels);
        self.last_place = self.last_place.max(lanes.last_place());
        match &pairs {
            Some(pairs) => self.most_row = self.most_row.max(pairs.row()),
            None => self.most_unpaired = self.most_unpaired.max(columns),
        }

        if pairs.is_some() || lanes.is_one() {
            self.paired_bits.extend((bits < 8).then_some(bits));
        }

        let codes = match bits {
            8 => levels.iter().map(|&level| level as u8).collect(),
            bits if lanes.is_one() => codes(&eight_by_eight(&levels, columns), bits),
            bits => codes(&levels, bits),
        };
        self.table("uint8_t s3_weights", index, &codes);
        let flip = if node.input() == 0 { FLIP } else { 0 };
        let one = u8::from(lanes.is_one());
        let numbers = |lanes: &Lanes| {
            let (numbers, [sums, sum_count]) = (lanes.numbers(), lanes.sums());
            format!("    {numbers},\n    {columns}, {chunk}, {sums}, {sum_count},\n")
        };
        let twos = match bits {
            8 => "0".to_owned(),
            bits => format!("s3_twos_{bits}"),
        };
        let same = format!("    s3_weights_{index}, {bits}, {top}, {lists}, {one}, {flip}");
        let value = match &pairs {
            Some(pairs) => {
                let eights = u8::from(bits < 8 && columns.is_multiple_of(8));
                let plain = u8::from(layer.kernel == [1, 1]);
                format!(
                    "{{\n{}{same}{}}}",
                    self.if_paired(&numbers(pairs), &numbers(&lanes)),
                    self.if_paired(
                        &format!(
                            ",\n    {eights}, {plain}, {}, {twos}\n",
                            pairs.numbers_of_pairs()
                        ),
                        ""
                    )
                )
            }
            None => {
                let twos = if lanes.is_one() { twos.as_str() } else { "0" };
                let paired = format!(",\n    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {twos}\n");
                format!(
                    "{{\n{}{same}{}}}",
                    numbers(&lanes),
                    self.if_paired(&paired, "")
                )
            }
        };
        self.constant("s3_layer s3_layer", index, &value);
        let x = match node.input() {
            0 => "(const uint8_t *)image".to_owned(),
            value => self.plan.address(value),
        };
        let scratch = self.plan.scratch(index);

        // What the flipped image makes too large.
        let bias = |(bias, row): (i64, &RowSum)| {
            i32::try_from(bias - flip * row.sum).map_err(|_| refuse("a bias leaves 32 bits"))
        };
        match &layer.holds.then {
            Then::Scale { .. } => {
                let biases: Result<Vec<i32>, _> = rows.iter().map(|row| bias((0, row))).collect();
                self.table("int32_t s3_bias", index, &biases?);
                self.call(
                    "last",
                    format_args!("&s3_layer_{index}, s3_bias_{index}, {x}, {scratch}, sums"),
                );
            }
            Then::Requant(then) => {
                let mut channels = rows.iter().enumerate();
                if channels.any(|(channel, row)| row.leaves_64_bits(then, channel)) {
                    return Err(refuse("a product leaves 64 bits"));
                }
                let biases = then.bias.iter().map(|&b| i64::from(b)).zip(&rows).map(bias);
                let biases = biases.collect::<Result<Vec<i32>, _>>()?;
                let channels = rows.iter().zip(&biases).enumerate();
                let narrow = channels.map(|(channel, (row, &bias))| {
                    let most = row.most + FLIP * row.sum.abs();
                    Narrow::new(then, layer.act, channel, bias, most, layer.add.is_some())
                });
                let narrow: Option<Vec<Narrow>> = narrow.collect();
                self.requant(index, layer, then, &biases, narrow);
                let residual = layer.add.map(|value| self.plan.address(value));
                let residual = residual.unwrap_or("0".to_owned());
                let y = self.plan.address(index + 1);
                self.call(
                    "conv",
                    format_args!(
                        "&s3_layer_{index}, &s3_then_{index}, {x}, {residual}, {scratch}, {y}"
                    ),
                );
            }
        }
        Ok(())
    }

    /// What the file has where there is this layer, node `index`.
    pub(super) fn sees(&mut self, index: usize, node: &Node<Frozen>, layer: &Layer<Frozen>) {
        let (from, made) = (self.sizes[node.input()], self.sizes[index + 1]);
        self.is_one |= Lanes::new(from, made, layer, self.plan.room(index)).is_one();
        self.is_paired |= self.pairs_of(index, node, layer).is_some();
    }

    /// How the image of a layer, node `index`, lies where products are summed in pairs; none where
    /// they are not.
    pub(super) fn pairs_of(
        &self,
        index: usize,
        node: &Node<Frozen>,
        layer: &Layer<Frozen>,
    ) -> Option<Lanes> {
        let (from, made) = (self.sizes[node.input()], self.sizes[index + 1]);
        Lanes::paired(from, made, layer, self.plan.room(index))
    }

    /// `narrow` is there where 32 bits are enough.
    fn requant(
        &mut self,
        index: usize,
        layer: &Layer<Frozen>,
        then: &Requant,
        biases: &[i32],
        narrow: Option<Vec<Narrow>>,
    ) {
        self.table("uint8_t s3_residual", index, &factor(then.residual_factor));
        let [most, start, factors, terms] = match narrow {
            Some(channels) => {
                self.is_narrow = true;
                let of = |number: fn(&Narrow) -> i64| -> Vec<i64> {
                    channels.iter().map(number).collect()
                };
                let shift: Vec<u8> = then.shift.iter().map(|&shift| shift + 8).collect();
                self.table("int32_t s3_bias", index, &of(|n| n.bias.into()));
                self.table("uint8_t s3_shift", index, &shift);
                self.table("uint32_t s3_most", index, &of(|n| n.most.into()));
                self.table("uint32_t s3_start", index, &of(|n| n.start.into()));
                self.table("int16_t s3_factor", index, &then.factor);
                let named = |table: &str| format!("s3_{table}_{index}");
                [
                    named("most"),
                    named("start"),
                    named("factor"),
                    "0".to_owned(),
                ]
            }
            None => {
                self.is_wide = true;
                let factors: Vec<u8> = then.factor.iter().flat_map(|&f| factor(f)).collect();
                self.table("int32_t s3_bias", index, biases);
                self.table("uint8_t s3_shift", index, &then.shift);
                self.table("uint8_t s3_terms", index, &factors);
                let none = || "0".to_owned();
                [none(), none(), none(), format!("s3_terms_{index}")]
            }
        };
        let (offset, low, high) = (then.offset, low(then, layer.act), then.high);
        let value = format!(
            "{{s3_bias_{index}, {most}, {start}, {factors}, s3_shift_{index}, {terms}, \
             s3_residual_{index}, {offset}, {low}, {high}}}"
        );
        self.constant("s3_requant s3_then", index, &value);
    }
}
