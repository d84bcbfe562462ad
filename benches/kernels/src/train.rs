//! The convolutions of ResNet-20 (batch 128) and ResNet-18 (batch 8, 224 pixels) in training.

use std::hint::black_box;
use std::time::Instant;

use s3_kernels::model::Size;
use s3_kernels::train::{
    Element, conv2d_backward_input, conv2d_backward_weight, conv2d_forward, multiply_adds,
};
use s3_kernels::zoo::{self, Role};
use s3_kernels::{ConvShape, Error};

/// Multiply-add rounds of one measurement of the peak: about 4 ms on a 3 GHz core.
const PEAK_ROUNDS: u64 = 1_000_000;

/// A convolution of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// What pages call it, `r18-28px-128`.
    pub name: String,
    /// The convolution of a batch.
    pub shape: ConvShape,
    /// How many the network has.
    pub count: usize,
}

/// Every shape of the two networks once; ResNet-20's shortcuts are those of option B, which its
/// usual form does not have.
///
/// # Errors
///
/// None: these are networks of the list.
///
/// ```
/// let layers = s3_kernel_benches::train::layers()?;
/// let named = |name: &str| layers.iter().find(|layer| layer.name == name).unwrap();
/// assert_eq!(layers.len(), 19);
/// assert_eq!((named("r20-16px-32").count, named("r18-56px-64").count), (5, 4));
/// assert_eq!((named("r20-shortcut-16-32").count, named("r18-shortcut-64-128").count), (0, 1));
/// let stem = &named("r18-stem").shape;
/// assert_eq!((stem.batch, stem.height, stem.kernel_w, stem.padding), (8, 224, 7, 3));
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn layers() -> anyhow::Result<Vec<Layer>> {
    let usual = of_network("resnet20", "r20", (128, 32), "A")?;
    let mut layers = of_network("resnet20", "r20", (128, 32), "B")?;
    for layer in &mut layers {
        let found = usual.iter().find(|other| other.name == layer.name);
        layer.count = found.map_or(0, |other| other.count);
    }
    layers.extend(of_network("resnet18", "r18", (8, 224), "B")?);
    Ok(layers)
}

/// The convolutions of the network `name` with this shortcut on `batch` images of `side` pixels.
fn of_network(
    name: &str,
    prefix: &str,
    (batch, side): (usize, usize),
    shortcut: &str,
) -> anyhow::Result<Vec<Layer>> {
    let settings = serde_json::from_value(serde_json::json!({ "shortcut": shortcut }))?;
    let image = Size {
        height: side,
        width: side,
        channels: 3,
    };
    let plan = zoo::graph(name, &settings, image, 10)?;
    let sizes = plan.sizes()?;
    let mut layers: Vec<Layer> = Vec::new();
    for (node, layer) in plan.layers().filter(|(_, layer)| !layer.holds.is_linear) {
        let shape = layer.shape(batch, &sizes[node.input()]);
        if let Some(known) = layers.iter_mut().find(|known| known.shape == shape) {
            known.count += 1;
            continue;
        }
        let (side, from, made) = (shape.height, shape.in_channels, shape.out_channels);
        let what = match (layer.holds.role, shape.kernel_h, shape.stride) {
            (Role::First, 7, _) => "stem".to_owned(),
            (Role::First, ..) => "first".to_owned(),
            (Role::Shortcut, ..) => format!("shortcut-{from}-{made}"),
            (_, _, 1) => format!("{side}px-{made}"),
            (_, _, stride) => format!("{side}px-{from}-{made}-s{stride}"),
        };
        layers.push(Layer {
            name: format!("{prefix}-{what}"),
            shape,
            count: 1,
        });
    }
    Ok(layers)
}

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
    pub fn new(layer: &Layer) -> Result<Self, Error> {
        let shape = layer.shape;
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
