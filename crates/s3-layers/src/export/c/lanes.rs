//! How a layer's image lies in lanes of two pixels a word, or as pairs of numbers of 16 bits: the
//! numbers of the C file's `s3_layer`.

use s3_kernels::model::{Frozen, Layer, Size, Weight};

/// Bytes of a word.
const WORD: usize = 4;

/// Bytes of a number of a pair.
const NUMBER: usize = 2;

/// Bytes of the tables of eight inputs: four of 64 numbers of 16 bits, of 3-bit weights.
const TABLES: usize = 512;

/// The image of a layer as words of two pixels, and the bands that it is computed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lanes {
    from: Size,
    made: Size,
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
    groups: usize,
    /// Words of a row of results.
    half: usize,
    /// Rows of results at a time.
    band: usize,
    /// Whether the image is one pixel and its weights are codes: then there are tables, no lanes.
    is_one: bool,
    /// Whether the image lies as pairs of numbers of 16 bits in place of lanes.
    is_paired: bool,
}

impl Lanes {
    /// The largest bands that `room` bytes hold, at least a row.
    ///
    /// A layer that sees one pixel has no rows: several of them are one.
    pub(super) fn new(from: Size, made: Size, layer: &Layer<Frozen>, room: usize) -> Lanes {
        Self::of(from, made, layer, room, false)
    }

    /// The same as pairs of numbers, for a processor that sums two products at once; none where
    /// windows see some of the channels or all of the image, or where `room` bytes are too few.
    pub(super) fn paired(
        from: Size,
        made: Size,
        layer: &Layer<Frozen>,
        room: usize,
    ) -> Option<Lanes> {
        let pairs = Self::of(from, made, layer, room, true);
        let is_plain = (layer.groups == 1 || pairs.is_alone()) && made.pixels() > 1;
        let is_held = pairs.bytes() <= room && 2 * pairs.row() <= u16::MAX.into();
        (is_plain && is_held).then_some(pairs)
    }

    fn of(from: Size, made: Size, layer: &Layer<Frozen>, room: usize, is_paired: bool) -> Lanes {
        let is_packed = matches!(layer.holds.weight, Weight::Packed(_));
        let is_one = from.pixels() == 1 && made.pixels() == 1 && layer.groups == 1 && is_packed;
        let is_one = is_one && layer.kernel == [1, 1];
        let lanes = |rows: usize| {
            let flat = |size: Size| Size {
                height: size.height / rows,
                width: size.width * rows,
                ..size
            };
            let (from, made) = (flat(from), flat(made));
            Lanes {
                from,
                made,
                kernel: layer.kernel,
                stride: layer.stride,
                padding: layer.padding,
                groups: layer.groups,
                // Three sums are made at a time.
                half: made.width.div_ceil(2).max(if is_paired { 2 } else { 0 }),
                band: 1,
                is_one,
                is_paired,
            }
        };
        let fits = |lanes: &Lanes| lanes.bytes() <= room;
        let is_pointwise = layer.kernel == [1, 1] && layer.stride == 1 && layer.padding == 0;
        if is_pointwise {
            let all = (1..=made.height).filter(|rows| made.height.is_multiple_of(*rows));
            let most = all.rev().map(lanes).find(fits);
            return most.unwrap_or_else(|| lanes(1));
        }
        let banded = |band| Lanes { band, ..lanes(1) };
        let most = (1..=made.height).rev().map(banded).find(fits);
        let bands = made.height.div_ceil(most.map_or(1, |lanes| lanes.band));
        // As many rows in each as can be.
        banded(made.height.div_ceil(bands))
    }

    /// Words of every `stride`-th column of a row.
    fn phase(&self) -> usize {
        self.columns().div_ceil(self.stride)
    }

    /// Pixels of the left half of a row with what its windows see beyond it.
    fn columns(&self) -> usize {
        self.stride * (self.half - 1) + self.kernel[1]
    }

    /// Rows of the image that a band sees.
    fn rows(&self) -> usize {
        self.stride * (self.band - 1) + self.kernel[0]
    }

    fn line(&self) -> usize {
        self.stride * self.phase() * WORD
    }

    fn plane(&self) -> usize {
        self.rows() * self.line()
    }

    /// Bytes before the sums, and how many sums there are of an output, or of all of one pixel.
    pub(super) fn sums(&self) -> [usize; 2] {
        match self.is_one {
            true => [TABLES, self.made.channels],
            false => {
                let before = match self.is_paired {
                    // A run ends up to three numbers behind the last pixel.
                    true => {
                        (self.rows() * self.pitch() * NUMBER + WORD + NUMBER).next_multiple_of(WORD)
                    }
                    false => self.from.channels * self.plane(),
                };
                [before, self.band * self.half * 2]
            }
        }
    }

    /// Bytes of the lanes and of the sums behind them, those of two outputs.
    pub(super) fn bytes(&self) -> usize {
        let [before, sums] = self.sums();
        before + sums * if self.is_one { 1 } else { 2 } * WORD
    }

    /// Whether each output sees one channel, its own, and there are pairs of them.
    fn is_alone(&self) -> bool {
        let channels = self.from.channels;
        self.groups == channels && self.made.channels == channels && channels.is_multiple_of(2)
    }

    /// Numbers of a pixel, so many that each window begins with a word.
    fn pixel(&self) -> usize {
        let channels = self.from.channels;
        channels + self.stride * channels % 2
    }

    /// Pairs of a row of a window: as many as are summed at a time, or several times as many.
    fn run(&self) -> usize {
        2 * (self.kernel[1] * self.pixel()).div_ceil(4)
    }

    /// Pixels of a row that windows see.
    fn wide(&self) -> usize {
        self.stride * (self.made.width - 1) + self.kernel[1]
    }

    /// Numbers of a row.
    fn pitch(&self) -> usize {
        (self.wide() * self.pixel()).next_multiple_of(2)
    }

    /// Pairs of the weights of two outputs.
    pub(super) fn row(&self) -> usize {
        match self.is_alone() {
            true => self.kernel[0] * self.kernel[1],
            false => 2 * self.kernel[0] * self.run(),
        }
    }

    /// The numbers of an `s3_layer` that only pairs have.
    pub(super) fn numbers_of_pairs(&self) -> String {
        let (channels, pixel, pitch) = (self.from.channels, self.pixel(), self.pitch());
        let seen = self.wide().saturating_sub(self.padding);
        let seen = seen.min(self.from.width);
        let odd = pixel - channels;
        let [piece, pieces] = match odd {
            0 => [seen * channels, 1],
            _ => [channels, seen],
        };
        let (run, step, below) = (self.run(), self.stride * pixel, self.stride * pitch);
        let left = self.padding.min(self.wide()) * pixel;
        let alone = u8::from(self.is_alone());
        format!(
            "{alone}, {odd}, {run}, {pixel}, {step}, {pitch}, {below}, {left}, {piece}, {pieces}"
        )
    }

    /// Whether the image is one pixel: its weights lie as tables read them.
    pub(super) fn is_one(&self) -> bool {
        self.is_one
    }

    /// The place of a window's last number, in bytes from that of its first.
    pub(super) fn last_place(&self) -> usize {
        let [height, width] = self.kernel;
        let channels = self.from.channels / self.groups;
        (channels - 1) * self.plane()
            + (height - 1) * self.line()
            + (width - 1) % self.stride * self.phase() * WORD
            + (width - 1) / self.stride * WORD
    }

    /// The numbers of an `s3_layer` before its columns.
    pub(super) fn numbers(&self) -> String {
        let Lanes {
            from, made, half, ..
        } = *self;
        let [height, width] = self.kernel;
        let (stride, group) = (self.stride, from.channels / self.groups);
        // Outputs that see one channel are counted through.
        let group_out = match self.is_paired {
            true => made.channels,
            false => made.channels / self.groups,
        };
        let row = from.width * from.channels;
        let numbers: [&[usize]; 5] = [
            &[from.height, from.width, from.channels, row],
            &[
                made.height,
                made.width,
                made.channels,
                made.width * made.channels,
            ],
            &[height, width, stride, self.padding, self.padding * row],
            &[self.padding * from.channels, group, group_out, half],
            &[stride * half, stride * half * from.channels, self.columns()],
        ];
        let lanes: [&[usize]; 4] = [
            &[self.phase() * WORD, self.line(), self.plane()],
            &[group * self.plane(), stride * self.line()],
            &[self.band, self.rows(), stride * self.band],
            &[
                stride * self.band * row,
                self.band * made.width * made.channels,
            ],
        ];
        let text = |numbers: &[&[usize]]| {
            let all = numbers.iter().flat_map(|some| some.iter());
            all.map(usize::to_string).collect::<Vec<_>>().join(", ")
        };
        format!("{},\n    {}", text(&numbers), text(&lanes))
    }
}
