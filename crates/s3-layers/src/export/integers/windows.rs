//! Pools and what moves numbers: convolutions of ones, where tools of the field know no better.

use s3_kernels::model::{Frozen, Node, Window};

use super::super::error::Error;
use super::super::message::{integer, strided, window};
use super::graph::{Rounding, Tensor, Type, Writer, sides};
use super::line::{Ends, Step};
use super::rescale::{Finish, Sums};

/// The type of weights 0 and 1.
const ONES: Type = Type {
    unit: 0,
    bits: 2,
    is_signed: true,
    is_narrow: true,
};

impl Writer<'_> {
    /// `min(floor((sum 2^shift + floor(pixels / 2)) / pixels), 255)`.
    pub(super) fn mean_pool(
        &mut self,
        index: usize,
        node: &Node<Frozen>,
        shift: u8,
    ) -> Result<Tensor, Error> {
        let from = self.values[node.input()].clone();
        let size = self.sizes[node.input()];
        let (pixels, channels) = (size.height * size.width, size.channels);
        let sums = if from.is_flat() {
            Sums {
                sides: from.sides.clone(),
                from,
                weight: None,
                attributes: Vec::new(),
                unit: 0,
            }
        } else {
            let window = Window {
                kernel: [size.height, size.width],
                stride: 1,
                padding: 0,
            };
            self.ones(index, node, window)?
        };
        self.mean(index, node, sums, pixels, 1 << shift, channels)
    }

    /// `floor((sum + floor(n / 2)) / n)`.
    pub(super) fn avg_pool(
        &mut self,
        index: usize,
        node: &Node<Frozen>,
        window: Window,
    ) -> Result<Tensor, Error> {
        if window.padding > 0 && self.zeros[node.input()] != 0 {
            let what = "a mean over padding of a value with a zero point has no form here";
            return Err(Error::node(&node.name, what));
        }
        let sums = self.ones(index, node, window)?;
        let channels = self.sizes[node.input()].channels;
        self.mean(
            index,
            node,
            sums,
            window.kernel[0] * window.kernel[1],
            1,
            channels,
        )
    }

    /// The sums of windows.
    fn ones(&mut self, index: usize, node: &Node<Frozen>, of: Window) -> Result<Sums, Error> {
        let from = self.image(&node.name, node.input())?;
        let channels = from.sides[0];
        let dims = [channels, 1, of.kernel[0], of.kernel[1]];
        let ones = vec![1; channels * of.kernel[0] * of.kernel[1]];
        let weight = self.typed(&format!("{}.ones", node.name), &dims, &ones, ONES);
        Ok(Sums {
            from,
            weight: Some(weight),
            attributes: strided(of.kernel, of.stride, of.padding, channels),
            sides: sides(&self.sizes[index + 1]),
            unit: 0,
        })
    }

    /// `floor((sum times + floor(count / 2)) / count)`.
    fn mean(
        &mut self,
        index: usize,
        node: &Node<Frozen>,
        sums: Sums,
        count: usize,
        times: i64,
        channels: usize,
    ) -> Result<Tensor, Error> {
        let step = Step {
            num: times,
            add: count as i128 / 2,
            den: count as i128,
        };
        let ends = Ends {
            low: 0,
            high: 255 * count as i64,
        };
        let steps = vec![(step, ends); channels];
        self.requantize(index, &node.name, sums, &steps, &Finish::PLAIN)
    }

    /// No value is below 0, so a border of zeros changes no largest one; hls4ml pads unsigned
    /// numbers with 128.
    pub(super) fn max_pool(
        &mut self,
        index: usize,
        node: &Node<Frozen>,
        mut of: Window,
    ) -> Result<Tensor, Error> {
        let name = &node.name;
        let mut from = self.image(name, node.input())?;
        if of.padding > 0 {
            let [channels, height, width] = [0, 1, 2].map(|side| from.sides[side]);
            let dims = [channels, 1, 1, 1];
            let ones = self.typed(&format!("{name}.ones"), &dims, &vec![1; channels], ONES);
            let border = 2 * of.padding;
            let around = [channels, height + border, width + border];
            let attributes = strided([1, 1], 1, of.padding, channels);
            let to = self.free(&format!("{name}.border"));
            let inputs = vec![from.name, ones];
            from = self.made("Conv", inputs, to, &around, attributes);
            let to = self.free(&format!("{name}.bordered"));
            from = self.quant(&from, to, Type::VALUE, Rounding::Down);
            of.padding = 0;
        }
        let to = self.value(index);
        let made = sides(&self.sizes[index + 1]);
        Ok(self.made("MaxPool", vec![from.name], to, &made, window(of)))
    }

    /// A convolution that takes each channel to its place.
    pub(super) fn subsample(
        &mut self,
        index: usize,
        node: &Node<Frozen>,
        stride: usize,
    ) -> Result<Tensor, Error> {
        let name = &node.name;
        let from = self.image(name, node.input())?;
        let made = sides(&self.sizes[index + 1]);
        let (read, channels) = (from.sides[0], made[0]);
        let before = (channels - read) / 2;
        let mut places = vec![0; channels * read];
        (0..read).for_each(|c| places[(before + c) * read + c] = 1);
        let dims = [channels, read, 1, 1];
        let weight = self.typed(&format!("{name}.places"), &dims, &places, ONES);
        let mut inputs = vec![from.name, weight];
        let zero = i64::from(self.zeros[node.input()]);
        if zero > 0 {
            let is_read = |n: usize| (before..before + read).contains(&n);
            let zeros = (0..channels).map(|n| if is_read(n) { 0 } else { zero });
            let zeros: Vec<i64> = zeros.collect();
            inputs.push(self.constant(&format!("{name}.zeros"), &[channels], &zeros, 0));
        }
        let to = self.free(&format!("{name}.taken"));
        let taken = self.made("Conv", inputs, to, &made, strided([1, 1], stride, 0, 1));
        let to = self.value(index);
        Ok(self.quant(&taken, to, Type::VALUE, Rounding::Down))
    }

    pub(super) fn pad(
        &mut self,
        index: usize,
        node: &Node<Frozen>,
        by: [usize; 4],
    ) -> Result<Tensor, Error> {
        let name = &node.name;
        let from = self.image(name, node.input())?;
        let [top, bottom, left, right] = by.map(|side| side as i64);
        let pads = [0, 0, top, left, 0, 0, bottom, right];
        let pads = self.integers(format!("{name}.pads"), &pads);
        let zero = f32::from(self.zeros[node.input()]);
        let zero = self.number(&format!("{name}.zero"), zero);
        let (to, made) = (self.value(index), sides(&self.sizes[index + 1]));
        Ok(self.made("Pad", vec![from.name, pads, zero], to, &made, Vec::new()))
    }

    pub(super) fn concat(&mut self, index: usize, node: &Node<Frozen>) -> Tensor {
        let any_flat = node
            .inputs
            .iter()
            .any(|&value| self.values[value].is_flat());
        let inputs = node.inputs.iter().map(|&value| match any_flat {
            true => self.flat(value).name,
            false => self.values[value].name.clone(),
        });
        let inputs = inputs.collect();
        let mut made = sides(&self.sizes[index + 1]);
        if any_flat {
            made.truncate(1);
        }
        let to = self.value(index);
        self.made("Concat", inputs, to, &made, vec![integer("axis", 1)])
    }
}
