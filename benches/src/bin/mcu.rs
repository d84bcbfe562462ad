//! A network as C for `bench mcu`: a packed file, or the network of an experiment with weights by
//! chance, and a program that runs it once or twice on one image and compares its sums with the
//! runtime's.
//!
//! Prints one JSON line: what the network has and takes.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its line")]

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device};
use clap::Parser;
use s3_core::{Params, Role};
use s3_kernels::{BitWidth, PackedMatrix};
use s3_layers::int8::{self, Calibration, Observed};
use s3_layers::model::{
    Act, Activations, Frozen, Input, Layer, Model, Network, Numbers, Op, Size, Then, Weight,
};
use s3_layers::zoo::{self, Settings};
use s3_layers::{Net, export};
use s3_quant::ByRole;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What is written, and of what.
#[derive(Parser)]
struct Args {
    /// A packed file of 8-bit activations.
    #[arg(long, conflicts_with = "experiment")]
    packed: Option<PathBuf>,
    /// An experiment's file, whose network gets weights by chance.
    #[arg(long, required_unless_present = "packed")]
    experiment: Option<PathBuf>,
    /// Its images: rows, columns, channels.
    #[arg(long, value_delimiter = 'x', num_args = 1, default_value = "32x32x3")]
    image: Vec<usize>,
    /// Its classes.
    #[arg(long, default_value_t = 10)]
    classes: usize,
    /// Bits of a weight.
    #[arg(long, default_value_t = 3)]
    bits: u32,
    /// The share of weights that are 0; the others are each level alike.
    #[arg(long, default_value_t = 0.0)]
    zeros: f64,
    /// The folder of the files net.h, net.c and main.c.
    out: PathBuf,
}

/// Runs the network `RUNS` times and leaves with status 0 where every sum is what it must be.
const PROGRAM: &str = "\
#include \"net.h\"
static const int8_t image[NET_INPUT] = {@image@};
static const int32_t expected[NET_CLASSES] = {@sums@};
int main(void)
{
    int32_t sums[NET_CLASSES];
    int run, n;
    for (run = 0; run != RUNS; ++run) {
        net_run(image, sums);
        for (n = 0; n != NET_CLASSES; ++n)
            if (sums[n] != expected[n])
                return 1;
    }
    return 0;
}
";

/// Images that the ranges of 8 bits are seen on.
const CALIBRATION: usize = 4;

fn main() -> Result<()> {
    let args = Args::parse();
    let mut about = json!({});
    let network = match (&args.packed, &args.experiment) {
        (Some(path), _) => Model::load(path)?.network().clone(),
        (None, Some(path)) => by_chance(&args, path, &mut about)?,
        (None, None) => bail!("expected --packed or --experiment"),
    };
    let model = Model::new(network.clone())?;
    let x = Random(11).floats(network.graph.image.len());
    let files = export::c(&network, "net")?;
    let program = PROGRAM
        .replace("@image@", &list(&model.quantized(&x)))
        .replace("@sums@", &list(&sums(&network, &x)?));
    std::fs::create_dir_all(&args.out)?;
    for (name, text) in [
        ("net.h", &files.header),
        ("net.c", &files.source),
        ("main.c", &program),
    ] {
        let path = args.out.join(name);
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    weights(&network, &mut about)?;
    println!("{about}");
    Ok(())
}

/// The network of an experiment: batch norms that keep every value's spread, ranges of 8 bits seen
/// on images by chance.
fn by_chance(args: &Args, path: &Path, about: &mut Value) -> Result<Network> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let table: toml::Table = text.parse()?;
    let section = |name: &str| table.get(name).and_then(toml::Value::as_table);
    let model = section("model").context("the experiment has [model]")?;
    let name = model.get("name").and_then(toml::Value::as_str);
    let name = name.context("[model] has a name")?;
    let mut settings = Settings::new();
    for (key, value) in model.iter().filter(|(key, _)| *key != "name") {
        settings.insert(key.clone(), serde_json::to_value(value)?);
    }
    let [height, width, channels] = args.image[..] else {
        bail!("--image: expected ROWSxCOLUMNSxCHANNELS")
    };
    let image = Size {
        height,
        width,
        channels,
    };
    let plan = zoo::graph(name, &settings, image, args.classes)?;
    about["parameters"] = json!(plan.parameters()? as u64);
    let roles = section("layers").and_then(|layers| layers.get("full_precision"));
    let full_precision: Vec<Role> = match roles {
        Some(roles) => roles.clone().try_into()?,
        None => vec![Role::First, Role::Last],
    };
    let mut method = toml::Table::new();
    method.insert("name".into(), "s3".into());
    method.insert("bits".into(), i64::from(args.bits).into());
    let method = ByRole {
        method: s3_quant::build(&method)?.method,
        full_precision,
    };
    let net = Net::new(&plan, DType::F32, &method, &Params::new(1, &Device::Cpu))?;
    let input = Input {
        mean: vec![0.5; channels],
        std: vec![0.25; channels],
        scale: 1.0,
        numbers: Numbers::Bytes,
        fit: None,
    };
    let classes = (0..args.classes).map(|class| class.to_string()).collect();
    let mut network = net.freeze(name, input, classes)?;
    let mut random = Random(7);
    for node in &mut network.graph.nodes {
        let Op::Layer(layer) = &mut node.op else {
            continue;
        };
        let squares: f32 = match &mut layer.holds.weight {
            Weight::Packed(w) => {
                let count = w.rows() * w.cols();
                let levels = levels(w.bit_width(), count, args.zeros, &mut random);
                *w = PackedMatrix::from_levels(&levels, w.rows(), w.cols(), w.bit_width())?;
                levels.iter().map(|&l| f32::from(l).powi(2)).sum()
            }
            Weight::F32(w) => {
                *w = random.floats(w.len());
                w.iter().map(|w| w * w).sum()
            }
            Weight::Dense(_) => bail!("node {}: a frozen network has no integers", node.name),
        };
        let spread = (squares / layer.channels as f32)
            .max(f32::MIN_POSITIVE)
            .sqrt();
        if let Then::Scale { scale, .. } = &mut layer.holds.then {
            // A half of what is behind a ReLU is 0.
            let gain = if layer.act == Act::None { 1.0 } else { 1.4 };
            let channels = scale.iter_mut();
            channels.for_each(|scale| *scale = gain * (0.75 + 0.25 * random.float()) / spread);
        }
    }
    let model = Model::new(network.clone())?;
    let images = random.floats(CALIBRATION * network.graph.image.len());
    let mut observed = Observed::new(&network);
    observed.run(&model, &images, CALIBRATION)?;
    let ranges = Calibration::MinMax;
    Ok(int8::quantize(
        &network,
        &observed,
        Activations::U8,
        ranges,
    )?)
}

fn levels(width: BitWidth, count: usize, zeros: f64, random: &mut Random) -> Vec<i8> {
    let others: Vec<i8> = width.levels().iter().copied().filter(|&l| l != 0).collect();
    let mut one = || match f64::from(random.next() >> 8) / f64::from(1 << 24) < zeros {
        true => 0,
        false => others[random.next() as usize % others.len()],
    };
    (0..count).map(|_| one()).collect()
}

/// The weights of an integer network, and the products of an image.
fn weights(network: &Network, about: &mut Value) -> Result<()> {
    let sizes = network.sizes()?;
    let (mut packed, mut dense, mut zeros, mut products) = (0, 0, 0, 0);
    let mut bits = None;
    for (node, made) in network.graph.nodes.iter().zip(&sizes[1..]) {
        let Op::Layer(layer) = &node.op else { continue };
        if is_of_the_image(layer) {
            continue;
        }
        let count = match &layer.holds.weight {
            Weight::Packed(w) => {
                packed += w.rows() * w.cols();
                zeros += w.to_levels().iter().filter(|&&level| level == 0).count();
                let is_same = bits.is_none_or(|bits| bits == w.bit_width().bits());
                ensure!(is_same, "node {}: packed weights of two widths", node.name);
                bits = Some(w.bit_width().bits());
                w.rows() * w.cols()
            }
            Weight::Dense(w) => {
                dense += w.levels().len();
                w.levels().len()
            }
            Weight::F32(_) => bail!("node {}: its weights are no integers", node.name),
        };
        products += count * made.pixels();
    }
    about["packed"] = json!(packed);
    about["dense"] = json!(dense);
    about["zeros"] = json!(zeros as f64 / packed.max(1) as f64);
    about["bits"] = json!(bits);
    about["products"] = json!(products);
    about["name"] = json!(network.name);
    Ok(())
}

/// Whether the layer is what quantizing makes of the image where others than layers read it: one
/// number of each channel as u8. The network that was trained has none.
fn is_of_the_image(layer: &Layer<Frozen>) -> bool {
    matches!(&layer.holds.weight, Weight::Packed(w) if w.cols() == 1)
}

/// The sums of the last layer: its scores where their scale is 1.
fn sums(network: &Network, x: &[f32]) -> Result<Vec<i32>> {
    let mut unscaled = network.clone();
    if let Some(Op::Layer(last)) = unscaled.graph.nodes.last_mut().map(|node| &mut node.op) {
        let (scale, bias) = (vec![1.0; last.channels], vec![0.0; last.channels]);
        last.holds.then = Then::Scale { scale, bias };
        last.act = Act::None;
    }
    let scores = Model::new(unscaled)?.run(x, 1)?;
    let exact = scores.iter().all(|score| score.abs() < (1 << 24) as f32);
    ensure!(exact, "a sum of the last layer leaves the integers of f32");
    Ok(scores.into_iter().map(|score| score as i32).collect())
}

fn list<T: ToString>(values: &[T]) -> String {
    let words: Vec<String> = values.iter().map(T::to_string).collect();
    words.join(",")
}

/// Numbers by chance: xorshift.
struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// From -1 to 1.
    fn float(&mut self) -> f32 {
        (self.next() >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.float()).collect()
    }
}
