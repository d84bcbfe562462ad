//! `bench infer`: whole networks of random weights. Times do not depend on the weights, so nothing
//! is trained.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use s3_kernel_benches::{Case, Program, Random};
use s3_kernels::model::{
    Activations, DenseMatrix, Frozen, Input, Layer, MAX_TERMS, Model, Network, Numbers, Op,
    Requant, Size, Then, Weight, terms,
};
use s3_kernels::zoo::{self, Plan, Role, Settings};
use s3_kernels::{BitWidth, PackedMatrix};
use serde_json::{Value, json};

/// The network of the case, with f32, u8 and u8-shift activations. Where the case has `packed`, the
/// one of f32 is written there: what the peers make theirs of.
pub(crate) fn programs(case: &Case, width: BitWidth) -> Result<Vec<Program>> {
    let batch = case.field("batch")?;
    let kinds = [
        ("f32", Activations::F32),
        ("u8", Activations::U8),
        ("u8-shift", Activations::U8Shift),
    ];
    let program = |(word, activations)| {
        let model = Model::new(network(case, activations, width)?)?;
        if let (Some(path), Activations::F32) = (case.fields["packed"].as_str(), activations) {
            std::fs::write(path, model.to_bytes()).with_context(|| format!("writing {path}"))?;
        }
        let x = Random(1).floats(batch * model.network().graph.image.len());
        let mut about = json!({ "activations": word, "dtype": word });
        if case.fields["layers"] == json!(true) {
            about["layers"] = layers(&model, &x, batch)?;
        }
        let call = move || {
            let scores = model.run(&x, batch).expect("the input fits");
            std::hint::black_box(scores);
        };
        Ok(Program {
            about,
            call: Box::new(call),
        })
    };
    kinds.into_iter().map(program).collect()
}

/// The network that the case names, on its images, with random weights.
fn network(case: &Case, activations: Activations, width: BitWidth) -> Result<Network> {
    let name = case.fields["model"].as_str();
    let name = name.context("a case of infer has model")?;
    let settings = case.fields["settings"].as_object();
    let (side, classes) = (case.field("side")?, case.field("classes")?);
    let image = Size {
        height: side,
        width: side,
        channels: 3,
    };
    let plan = zoo::graph(name, settings.unwrap_or(&Settings::new()), image, classes)?;
    let sizes = plan.sizes()?;
    let (macs, said) = (plan.multiplications()?, case.field("k")?);
    ensure!(
        macs == said as u128,
        "{name} at {side} pixels: {macs} multiply-adds, the case says {said}"
    );
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
            fit: None,
        },
        classes: (0..classes).map(|class| class.to_string()).collect(),
        activations,
        graph,
    })
}

/// The median microseconds that each node of `model` takes, over a fifth of a second.
fn layers(model: &Model, x: &[f32], batch: usize) -> Result<Value> {
    let graph = &model.network().graph;
    let mut times = vec![Vec::new(); graph.nodes.len()];
    let whole = Instant::now();
    while whole.elapsed().as_millis() < 200 {
        let mut clock = Instant::now();
        model.run_traced(x, batch, &mut |node, _| {
            let now = Instant::now();
            times[node].push((now - clock).as_secs_f64() * 1e6);
            clock = now;
        })?;
    }
    let sizes = graph.sizes()?;
    let rows = graph.nodes.iter().zip(&mut times).zip(&sizes[1..]);
    let rows = rows.map(|((node, times), made)| {
        times.sort_by(f64::total_cmp);
        let per_result = match &node.op {
            Op::Layer(layer) => {
                let inputs = sizes[node.input()].channels / layer.groups;
                layer.kernel[0] * layer.kernel[1] * inputs
            }
            _ => 0,
        };
        json!({
            "node": node.name,
            "op": node.op.word(),
            "made": [made.height, made.width, made.channels],
            "macs": batch * made.len() * per_result,
            "us": times[times.len() / 2],
        })
    });
    Ok(rows.collect())
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
