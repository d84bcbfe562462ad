//! `bench infer`: whole networks of random weights. Times do not depend on the weights, so nothing is
//! trained.

use anyhow::{Context, Result, bail};
use s3_kernel_benches::{Case, Program, Random};
use s3_kernels::model::{
    Activations, DenseMatrix, Frozen, Input, Layer, MAX_TERMS, Model, Network, Numbers, Op,
    Requant, Size, Then, Weight, terms,
};
use s3_kernels::zoo::{self, Plan, Role, Settings};
use s3_kernels::{BitWidth, PackedMatrix};
use serde_json::json;

/// The network of the case, with f32, u8 and u8-shift activations.
pub(crate) fn programs(case: &Case, width: BitWidth) -> Result<Vec<Program>> {
    let name = case.fields["model"]
        .as_str()
        .context("a case has a model")?;
    let batch = case.field("batch")?;
    let kinds = [
        ("f32", Activations::F32),
        ("u8", Activations::U8),
        ("u8-shift", Activations::U8Shift),
    ];
    let program = |(word, activations)| {
        let model = Model::new(network(name, activations, width)?)?;
        let x = Random(1).floats(batch * model.network().graph.image.len());
        let call = move || {
            let scores = model.run(&x, batch).expect("the input fits");
            std::hint::black_box(scores);
        };
        Ok(Program {
            about: json!({ "activations": word, "dtype": word }),
            call: Box::new(call),
        })
    };
    kinds.into_iter().map(program).collect()
}

/// Network `name` on the images that it was made for, with random weights.
fn network(name: &str, activations: Activations, width: BitWidth) -> Result<Network> {
    let (side, classes) = match name {
        "resnet18" => (224, 1000),
        "resnet20" => (32, 10),
        other => bail!("no network `{other}`, expected resnet18 or resnet20"),
    };
    let image = Size {
        height: side,
        width: side,
        channels: 3,
    };
    let plan = zoo::graph(name, &Settings::new(), image, classes)?;
    let sizes = plan.sizes()?;
    let mut maker = Maker {
        random: Random(7),
        activations,
        width,
    };
    let graph = plan.map(|index, _| match &plan.nodes[index].op {
        Op::Layer(layer) => {
            let from = &sizes[plan.nodes[index].input()];
            Ok((Vec::new(), maker.layer(layer, from)))
        }
        other => bail!("no random numbers for a {}", other.word()),
    })?;
    let f32 = activations == Activations::F32;
    Ok(Network {
        name: name.into(),
        input: Input {
            mean: vec![0.5; 3],
            std: vec![0.25; 3],
            scale: if f32 { 1.0 } else { 1.0 / 127.0 },
            numbers: Numbers::Bytes,
        },
        classes: (0..classes).map(|class| class.to_string()).collect(),
        activations,
        graph,
    })
}

/// Random contents of layers.
struct Maker {
    random: Random,
    activations: Activations,
    width: BitWidth,
}

impl Maker {
    /// What `layer` holds, which reads a value of size `from`.
    fn layer(&mut self, layer: &Layer<Plan>, from: &Size) -> Frozen {
        let channels = layer.channels;
        let len: usize = layer.weight_shape(from).iter().product();
        let columns = len / channels;
        let role = layer.holds.role;
        let inner = role != Role::First && role != Role::Last;
        let is_f32 = self.activations == Activations::F32;
        let weight = if inner {
            let levels = self.random.levels(self.width.levels(), len);
            let w = PackedMatrix::from_levels(&levels, channels, columns, self.width);
            Weight::Packed(w.expect("the levels are of the alphabet"))
        } else if is_f32 {
            Weight::F32(self.random.floats(len))
        } else {
            let level = |byte| (i16::from(byte % 129) - 64) as i8;
            let levels = self.random.bytes(len).into_iter().map(level).collect();
            let w = DenseMatrix::from_levels(levels, channels, columns);
            Weight::Dense(w.expect("the levels are at most 64"))
        };
        // Sums of this size become a sixth of a byte's range.
        let level = if inner { 2.0 } else { 37.0 };
        let sum = (columns as f32).sqrt() * level * 50.0;
        let then = if role == Role::Last {
            let (scale, bias) = (vec![0.01; channels], vec![0.0; channels]);
            Then::Scale { scale, bias }
        } else if is_f32 {
            let (scale, bias) = (vec![50.0 / sum; channels], vec![0.1; channels]);
            Then::Scale { scale, bias }
        } else {
            let shift = if self.activations == Activations::U8 {
                20
            } else {
                10
            };
            let wanted = 256.0 * 40.0 / sum * (1u32 << shift) as f32;
            let mut factor = wanted as i32;
            while self.activations == Activations::U8Shift
                && terms(factor).count() > MAX_TERMS as usize
            {
                factor &= factor - 1;
            }
            Then::Requant(Requant {
                bias: vec![100; channels],
                factor: vec![factor; channels],
                shift: vec![shift; channels],
                residual_factor: if layer.add.is_some() { 180 } else { 0 },
                offset: 0,
                zero_point: 0,
                high: 255,
            })
        };
        Frozen { weight, then }
    }
}
