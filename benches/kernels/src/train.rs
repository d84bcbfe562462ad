//! The convolutions of ResNet-20 (batch 128) and ResNet-18 (batch 8, 224 pixels) in training.

use std::hint::black_box;
use std::time::Instant;

use s3_kernels::train::{
    Element, conv2d_backward_input, conv2d_backward_weight, conv2d_forward, multiply_adds,
};
use s3_kernels::{ConvShape, Error};

/// Multiply-add rounds of one measurement of the peak: about 4 ms on a 3 GHz core.
const PEAK_ROUNDS: u64 = 1_000_000;

/// name, batch, side, input channels, output channels, kernel, stride, how many a network has
pub type Layer = (
    &'static str,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
);

/// Every shape of the two networks once; ResNet-20's shortcuts are those of option B, which its usual
/// form does not have.
pub const LAYERS: [Layer; 19] = [
    ("r20-first", 128, 32, 3, 16, 3, 1, 1),
    ("r20-32px-16", 128, 32, 16, 16, 3, 1, 6),
    ("r20-32px-16-32-s2", 128, 32, 16, 32, 3, 2, 1),
    ("r20-shortcut-16-32", 128, 32, 16, 32, 1, 2, 0),
    ("r20-16px-32", 128, 16, 32, 32, 3, 1, 5),
    ("r20-16px-32-64-s2", 128, 16, 32, 64, 3, 2, 1),
    ("r20-shortcut-32-64", 128, 16, 32, 64, 1, 2, 0),
    ("r20-8px-64", 128, 8, 64, 64, 3, 1, 5),
    ("r18-stem", 8, 224, 3, 64, 7, 2, 1),
    ("r18-56px-64", 8, 56, 64, 64, 3, 1, 4),
    ("r18-56px-64-128-s2", 8, 56, 64, 128, 3, 2, 1),
    ("r18-shortcut-64-128", 8, 56, 64, 128, 1, 2, 1),
    ("r18-28px-128", 8, 28, 128, 128, 3, 1, 3),
    ("r18-28px-128-256-s2", 8, 28, 128, 256, 3, 2, 1),
    ("r18-shortcut-128-256", 8, 28, 128, 256, 1, 2, 1),
    ("r18-14px-256", 8, 14, 256, 256, 3, 1, 3),
    ("r18-14px-256-512-s2", 8, 14, 256, 512, 3, 2, 1),
    ("r18-shortcut-256-512", 8, 14, 256, 512, 1, 2, 1),
    ("r18-7px-512", 8, 7, 512, 512, 3, 1, 3),
];

/// One of the three convolutions of a training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The output.
    Forward,
    /// The gradient of the input.
    BackwardInput,
    /// The gradient of the weight.
    BackwardWeight,
}

impl Pass {
    /// In the order of a step, with their names.
    pub const ALL: [(&'static str, Pass); 3] = [
        ("forward", Pass::Forward),
        ("backward-input", Pass::BackwardInput),
        ("backward-weight", Pass::BackwardWeight),
    ];
}

/// A layer with data in its tensors.
pub struct Convolution<T> {
    shape: ConvShape,
    x: Vec<T>,
    w: Vec<f32>,
    y: Vec<T>,
}

impl<T: Element> Convolution<T> {
    /// Fills the tensors of `layer`.
    ///
    /// # Errors
    ///
    /// Those of the shape's lengths.
    pub fn new(layer: Layer) -> Result<Self, Error> {
        let (_, batch, side, in_channels, out_channels, kernel, stride, _) = layer;
        let shape = ConvShape {
            batch,
            height: side,
            width: side,
            in_channels,
            out_channels,
            kernel_h: kernel,
            kernel_w: kernel,
            stride,
            padding: kernel / 2,
            ..ConvShape::default()
        };
        Ok(Self {
            x: ramp(shape.input_len()?),
            w: ramp(shape.weight_len()?),
            y: ramp(shape.output_len()?),
            shape,
        })
    }

    /// Floating-point operations of a pass: two for each multiply-add.
    pub fn flops(&self) -> u64 {
        let window = self.shape.in_channels * self.shape.kernel_h * self.shape.kernel_w;
        2 * (self.y.len() * window) as u64
    }

    /// Whether it is a network's first.
    pub fn reads_images(&self) -> bool {
        self.shape.in_channels == 3
    }

    /// One pass, over tensors that the other passes overwrite.
    ///
    /// # Errors
    ///
    /// Those of the kernel.
    pub fn run(&mut self, pass: Pass) -> Result<(), Error> {
        let Self { shape, x, w, y } = self;
        match pass {
            Pass::Forward => conv2d_forward(shape, x, w, y),
            Pass::BackwardInput => conv2d_backward_input(shape, y, w, x),
            Pass::BackwardWeight => conv2d_backward_weight(shape, x, y, w),
        }
    }
}

/// Values of -1 to 1.
pub fn ramp<T: Element>(len: usize) -> Vec<T> {
    let value = |i: usize| T::from_f32((i % 1013) as f32 / 506.0 - 1.0);
    (0..len).map(value).collect()
}

/// Floating-point operations of one call of [`multiply_adds`], timed by [`peak`].
pub fn peak_call() -> u64 {
    multiply_adds(PEAK_ROUNDS)
}

/// Floating-point operations a second of one core, from registers alone.
pub fn peak() -> f64 {
    let mut flops = 0;
    let seconds = median_seconds(|| flops = black_box(peak_call()));
    flops as f64 / seconds
}

/// The median of at least 5 runs and at least 0.15 s of them, after one to warm up.
pub fn median_seconds(mut f: impl FnMut()) -> f64 {
    f();
    let (mut times, mut total) = (Vec::new(), 0.0);
    while times.len() < 5 || total < 0.15 {
        let start = Instant::now();
        f();
        times.push(start.elapsed().as_secs_f64());
        total += times[times.len() - 1];
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
