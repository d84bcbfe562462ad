//! The parts of the contract; each is a function of a network's plan and the kind of its weights.

use super::methods::Kind;
use super::{nodes, programs};
use candle_core::{DType, Device, Tensor};
use s3_core::{ParamKind, Params};
use s3_layers::export::{self, OnnxWeights};
use s3_layers::int8::{Calibration, Observed, Unit, with_units};
use s3_layers::model::{
    Activations, FRACTION, Graph, Input, Model, Network, Numbers, Op, Requant, Size, Then,
};
use s3_layers::zoo::{self, Plan};
use s3_layers::{Mode, Net};
use std::error::Error;

pub(crate) type Outcome = Result<(), Box<dyn Error>>;
pub(crate) type Part = dyn Fn(&Graph<Plan>, Kind) -> Outcome;

const IMAGES: usize = 6;

/// Of sums in another order, as a share of the largest number of a tensor.
const STEP_ERROR: f64 = 1e-4;
/// The same, as a share of the largest gradient of the network: the bias of a batch norm without an
/// activation, behind which a layer with a batch norm stands, has a gradient of 0 in exact
/// arithmetic, as has the bias of a layer before one. What is left of it is rounding, of sums of
/// numbers as large as other gradients, and differs wholly where their order does.
const ERROR_OF_ZERO: f64 = 2e-5;
/// Of sums in another order: a sum of K products of f32 is within `K 2^-24` of the exact one, of
/// the sum of magnitudes, and layers hand such errors on.
const FROZEN_ERROR: f64 = 1e-4;
/// Networks that have learned nothing hand errors on and add to them, some much more than others:
/// what the image's rounding alone does to the scores in f32 tells how much. Measured is at most
/// 0.06, or 5 times that more; where it is small, a factor, bias or zero point that is wrong gives
/// 1 at once.
const ERROR_OF_IMAGE: f64 = 8.0;
const LEAST_ERROR: f64 = 0.08;

/// `n` numbers without a pattern, in -1..1.
fn noise(n: usize, seed: f64) -> Vec<f32> {
    let number = |i: usize| (i as f64 * 12.9898 + seed).sin() * 43758.5453;
    let number = |i: usize| (2.0 * number(i).rem_euclid(1.0) - 1.0) as f32;
    (0..n).map(number).collect()
}

/// An 8-bit network, and the units of its values.
type Integers = (Network, Vec<Unit>);

/// A network, and images for it.
struct Case {
    net: Net,
    params: Params,
    images: Vec<f32>,
    classes: usize,
}

impl Case {
    /// As it starts.
    fn new(plan: &Graph<Plan>, kind: Kind) -> candle_core::Result<Self> {
        let params = Params::new(5, &Device::Cpu);
        let net = Net::new(plan, DType::F32, &kind, &params)?;
        let images = noise(IMAGES * plan.image.len(), 0.5);
        let sizes = plan.sizes().map_err(candle_core::Error::wrap)?;
        Ok(Self {
            net,
            params,
            images,
            classes: sizes[sizes.len() - 1].channels,
        })
    }

    /// With batch norms that have gains of either sign and have seen the images.
    fn settled(plan: &Graph<Plan>, kind: Kind) -> candle_core::Result<Self> {
        let case = Self::new(plan, kind)?;
        for (i, (name, param)) in case.params.all().into_iter().enumerate() {
            if param.kind != ParamKind::Norm {
                continue;
            }
            let is_gain = name.ends_with("weight");
            let mut values = noise(param.var.elem_count(), i as f64);
            for v in &mut values {
                *v *= 0.5;
                if is_gain {
                    *v += v.signum();
                }
            }
            let values = Tensor::from_vec(values, param.var.shape(), &Device::Cpu)?;
            param.var.set(&values)?;
        }
        for _ in 0..40 {
            case.net.forward(&case.tensor()?, Mode::Train)?;
        }
        Ok(case)
    }

    fn tensor(&self) -> candle_core::Result<Tensor> {
        let image = self.net.plan().image;
        let shape = (IMAGES, image.height, image.width, image.channels);
        Tensor::from_slice(&self.images, shape, &Device::Cpu)
    }

    fn freeze(&self) -> candle_core::Result<Network> {
        let channels = self.net.plan().image.channels;
        let input = Input {
            mean: vec![0.0; channels],
            std: vec![1.0; channels],
            scale: 1.0,
            numbers: Numbers::Bytes,
            fit: None,
        };
        let classes = (0..self.classes).map(|c| c.to_string()).collect();
        self.net.freeze("case", input, classes)
    }

    /// The 8-bit forms of `network` and their units: with weights in full precision that of
    /// multiplications alone.
    fn integers(&self, network: &Network, kind: Kind) -> Result<Vec<Integers>, Box<dyn Error>> {
        let model = Model::new(network.clone())?;
        let mut observed = Observed::new(network);
        observed.run(&model, &self.images, IMAGES)?;
        let forms: &[Activations] = match kind {
            Kind::Float => &[Activations::U8],
            _ => &[Activations::U8, Activations::U8Shift],
        };
        let form = |&form: &Activations| {
            let made = with_units(network, &observed, form, Calibration::MinMax);
            made.map_err(|error| format!("{form:?}: {error}").into())
        };
        forms.iter().map(form).collect()
    }
}

/// Scores, gradients and buffers of one training step.
fn trained(
    plan: &Graph<Plan>,
    kind: Kind,
    fused: bool,
) -> candle_core::Result<Vec<(String, Tensor)>> {
    let case = Case::new(plan, kind)?;
    let x = case.tensor()?;
    let scores = match fused {
        true => case.net.forward(&x, Mode::Train)?,
        false => case
            .net
            .forward_traced(&x, Mode::Train, &mut |_, _, _| Ok(()))?,
    };
    let weights = Tensor::arange(0f32, scores.elem_count() as f32, &Device::Cpu)?;
    let loss = scores.flatten_all()?.mul(&weights.sin()?)?.sum_all()?;
    let gradients = loss.backward()?;
    let mut all = vec![("scores".to_string(), scores.detach())];
    for (name, p) in case.params.all() {
        match gradients.get(&p.var) {
            Some(g) => all.push((format!("gradient of {name}"), g.clone())),
            None => all.push((name, p.var.as_detached_tensor())),
        }
    }
    Ok(all)
}

pub(crate) fn step(plan: &Graph<Plan>, kind: Kind) -> Outcome {
    let (fused, plain) = (trained(plan, kind, true)?, trained(plan, kind, false)?);
    let gradients = fused
        .iter()
        .filter(|(name, _)| name.starts_with("gradient"));
    let count = gradients.count();
    if count < plan.layers().count() {
        return Err(format!("gradients of {count} parameters alone").into());
    }
    let largest = |x: &Tensor| -> candle_core::Result<f64> {
        Ok(f64::from(x.abs()?.max_all()?.to_scalar::<f32>()?))
    };
    let mut steepest = 0f64;
    for (name, gradient) in &plain {
        if name.starts_with("gradient") {
            steepest = steepest.max(largest(gradient)?);
        }
    }
    for ((name, a), (other, b)) in fused.iter().zip(&plain) {
        let (apart, size) = (largest(&(a - b)?)?, largest(b)?);
        let of_zero = match name.starts_with("gradient") {
            true => ERROR_OF_ZERO * steepest,
            false => 0.0,
        };
        // Also where a number is none.
        let is_near = apart <= (STEP_ERROR * size).max(of_zero);
        if name != other || !is_near {
            return Err(format!("{name}: {apart} apart, largest {size}").into());
        }
    }
    Ok(())
}

/// The root of the mean squared difference, over that of `b`.
fn relative_error(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |v: f32| f64::from(v).powi(2);
    let error: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    (error / b.iter().map(|&b| square(b)).sum::<f64>()).sqrt()
}

/// The scores of a network, which a file keeps to the bit.
fn scores(network: &Network, images: &[f32]) -> Result<Vec<f32>, Box<dyn Error>> {
    let bytes = network.to_bytes();
    let again = Network::from_bytes(&bytes)?;
    let scores = Model::new(network.clone())?.run(images, IMAGES)?;
    if again.to_bytes() != bytes {
        return Err("saved, loaded and saved, it is another file".into());
    }
    if Model::new(again)?.run(images, IMAGES)? != scores {
        return Err("loaded, it gives other scores".into());
    }
    Ok(scores)
}

fn within(what: &str, error: f64, bound: f64) -> Outcome {
    match error < bound {
        true => Ok(()),
        false => Err(format!("{what}: {error} apart, at most {bound}").into()),
    }
}

pub(crate) fn frozen(plan: &Graph<Plan>, kind: Kind) -> Outcome {
    let case = Case::settled(plan, kind)?;
    let made = scores(&case.freeze()?, &case.images)?;
    let trained = case.net.forward(&case.tensor()?, Mode::Eval)?;
    let trained = trained.flatten_all()?.to_vec1::<f32>()?;
    within("frozen", relative_error(&made, &trained), FROZEN_ERROR)
}

pub(crate) fn integers(plan: &Graph<Plan>, kind: Kind) -> Outcome {
    let case = Case::settled(plan, kind)?;
    let network = case.freeze()?;
    for (integers, units) in case.integers(&network, kind)? {
        scores(&integers, &case.images)?;
        nodes::check(&network, &integers, &units, &case.images)?;
    }
    Ok(())
}

pub(crate) fn near(plan: &Graph<Plan>, kind: Kind) -> Outcome {
    let case = Case::settled(plan, kind)?;
    let network = case.freeze()?;
    let exact = scores(&network, &case.images)?;
    let model = Model::new(network.clone())?;
    for (integers, _) in case.integers(&network, kind)? {
        let what = format!("{:?}", integers.activations);
        let made = scores(&integers, &case.images)?;
        let step = integers.input.scale;
        let rounded = case.images.iter().map(|x| (x / step).round() * step);
        let moved = model.run(&rounded.collect::<Vec<f32>>(), IMAGES)?;
        let bound = LEAST_ERROR + ERROR_OF_IMAGE * relative_error(&moved, &exact);
        within(&what, relative_error(&made, &exact), bound)?;
    }
    Ok(())
}

pub(crate) fn onnx(plan: &Graph<Plan>, kind: Kind) -> Outcome {
    let case = Case::settled(plan, kind)?;
    let network = case.freeze()?;
    let exact = scores(&network, &case.images)?;
    let mut files = vec![export::onnx(&network, OnnxWeights::F32)?];
    if kind != Kind::Float {
        files.push(export::onnx(&network, OnnxWeights::Int8)?);
        export::qonnx(&network)?;
    }
    programs::onnx_scores(&files, &case.images, &exact)
}

pub(crate) fn c(plan: &Graph<Plan>, kind: Kind) -> Outcome {
    let case = Case::settled(plan, kind)?;
    for (network, _) in case.integers(&case.freeze()?, kind)? {
        let source = export::c(&network, "net")?;
        let model = Model::new(network)?;
        let Some(made) = programs::c_scores(&source, &model.quantized(&case.images))? else {
            return Ok(());
        };
        if made != model.run(&case.images, IMAGES)? {
            return Err("compiled, it gives other scores".into());
        }
    }
    Ok(())
}

/// A change of an 8-bit layer that a node's bound must not let pass.
type Change = fn(&mut Requant);

#[test]
fn a_wrong_number_of_an_8_bit_layer_is_found_at_its_node() -> Outcome {
    let image = Size {
        height: 8,
        width: 8,
        channels: 2,
    };
    let settings = serde_json::from_str(r#"{ "width": 4 }"#)?;
    let case = Case::settled(&zoo::graph("resnet8", &settings, image, 5)?, Kind::S3)?;
    let network = case.freeze()?;
    let (right, units) = case.integers(&network, Kind::S3)?.swap_remove(0);
    let check = |network8: &Network| nodes::check(&network, network8, &units, &case.images);
    check(&right)?;
    let changes: [(&str, Change); 5] = [
        ("layer1.0.conv1", |r| r.factor[1] += r.factor[1] / 16),
        ("layer1.0.conv1", |r| {
            let two_steps = 2i64 << (FRACTION + u32::from(r.shift[2]));
            r.bias[2] += (two_steps / i64::from(r.factor[2])) as i32;
        }),
        ("layer1.0.conv2", |r| r.offset += 1 << FRACTION),
        ("layer1.0.conv2", |r| {
            r.residual_factor += 1 << (FRACTION - 4)
        }),
        ("layer2.0.conv2", |r| r.high = 254),
    ];
    for (number, (name, change)) in changes.into_iter().enumerate() {
        let mut wrong = right.clone();
        for node in wrong.graph.nodes.iter_mut().filter(|n| n.name == name) {
            if let Op::Layer(layer) = &mut node.op
                && let Then::Requant(requant) = &mut layer.holds.then
            {
                change(requant);
            }
        }
        let said = check(&wrong).expect_err("a wrong number").to_string();
        assert!(said.contains(name), "{number}: {said}");
    }
    Ok(())
}
