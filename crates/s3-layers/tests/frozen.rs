//! A frozen network against the layers it came from, and an integer network against the frozen one.

mod weights;

use candle_core::{DType, Device, Result, Tensor};
use s3_core::s3::{S3, Start};
use s3_core::{LayerSpec, Method, Params, Quantizer, Role};
use s3_layers::int8::{Calibration, Observed, quantize};
use s3_layers::model::{
    Act, Activations, Graph, Input, Layer, Model, Network, Numbers, Op, Size, Weight, Window,
};
use s3_layers::zoo::{Architecture, Plan, ResNet, Shortcut};
use s3_layers::{Mode, Net};
use weights::{Float, Planes};

const IMAGES: usize = 6;

/// S3, with the layers of `float` in full precision.
struct Partly {
    s3: S3,
    float: &'static [Role],
}

impl Method for Partly {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        if !self.float.contains(&layer.role) {
            return self.s3.quantizer(layer, params);
        }
        let (shape, kind) = (layer.shape.as_slice(), s3_core::ParamKind::Latent);
        let init = s3_core::Init::weight(shape);
        Ok(Box::new(Float(params.get("", shape, init, kind)?)))
    }
}

/// `n` numbers without a pattern, in -1..1.
fn noise(n: usize, seed: f64) -> Vec<f32> {
    let number = |i: usize| (i as f64 * 12.9898 + seed).sin() * 43758.5453;
    (0..n)
        .map(|i| (2.0 * number(i).rem_euclid(1.0) - 1.0) as f32)
        .collect()
}

struct Case {
    net: Net,
    images: Vec<f32>,
}

impl Case {
    /// A network whose batch norms have seen the images: gains of either sign, one of them 0.
    fn new(plan: &Graph<Plan>, method: &dyn Method) -> Result<Self> {
        let params = Params::new(5, &Device::Cpu);
        let net = Net::new(plan, DType::F32, method, &params)?;
        for (i, (name, param)) in params.all().into_iter().enumerate() {
            let norm = param.kind == s3_core::ParamKind::Norm;
            let gain = norm && name.ends_with("weight");
            if norm {
                let mut values = noise(param.var.elem_count(), i as f64);
                for v in &mut values {
                    *v = if gain {
                        v.signum() * (1.0 + 0.5 * *v)
                    } else {
                        0.5 * *v
                    };
                }
                if name == "layer1.0.bn1.weight" {
                    values[0] = 0.0;
                }
                let shape = param.var.shape();
                param
                    .var
                    .set(&Tensor::from_vec(values, shape, &Device::Cpu)?)?;
            }
        }
        let images = noise(IMAGES * plan.image.len(), 0.5);
        let case = Self { net, images };
        for _ in 0..40 {
            case.net.forward(&case.tensor()?, Mode::Train)?;
        }
        Ok(case)
    }

    fn tensor(&self) -> Result<Tensor> {
        let image = self.net.plan().image;
        let shape = (IMAGES, image.height, image.width, image.channels);
        Tensor::from_slice(&self.images, shape, &Device::Cpu)
    }

    fn trained(&self) -> Result<Vec<f32>> {
        let scores = self.net.forward(&self.tensor()?, Mode::Eval)?;
        scores.flatten_all()?.to_vec1()
    }

    fn freeze(&self, classes: usize) -> Result<Network> {
        let channels = self.net.plan().image.channels;
        let input = Input {
            mean: vec![0.0; channels],
            std: vec![1.0; channels],
            scale: 1.0,
            numbers: Numbers::Bytes,
            fit: None,
        };
        let classes = (0..classes).map(|c| c.to_string()).collect();
        self.net.freeze("case", input, classes)
    }

    fn run(&self, network: &Network) -> Vec<f32> {
        let model = Model::new(network.clone()).expect("a network that runs");
        model.run(&self.images, IMAGES).expect("scores")
    }
}

/// The root of the mean squared difference, over that of `b`.
fn relative_error(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |v: f32| f64::from(v).powi(2);
    let error: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    (error / b.iter().map(|&b| square(b)).sum::<f64>()).sqrt()
}

/// Latents as the authors start them: half of the weights are zero, and levels differ.
fn authors(bits: u32) -> S3 {
    S3 {
        init: Start::Authors,
        ..S3::new(bits)
    }
}

const OUTER: &[Role] = &[Role::First, Role::Last];

fn cases() -> Result<Vec<Case>> {
    let method = |bits, float| Partly {
        s3: authors(bits),
        float,
    };
    let case = |name, size, width, shortcut, method: &Partly| {
        Case::new(&resnet(name, [size, 3], width, shortcut, 7), method)
    };
    use Shortcut::{A, B};
    Ok(vec![
        case("resnet8", 15, 8, A, &method(2, OUTER))?,
        case("resnet20", 16, 16, B, &method(3, &[Role::First]))?,
        case("resnet18", 64, 8, B, &method(4, OUTER))?,
        case("resnet50", 64, 4, B, &method(3, &[]))?,
    ])
}

/// A ResNet on images of `side` pixels and `channels`.
fn resnet(
    name: &str,
    [side, channels]: [usize; 2],
    width: usize,
    shortcut: Shortcut,
    classes: usize,
) -> Graph<Plan> {
    let settings = ResNet {
        shortcut: Some(shortcut),
        width: Some(width),
    };
    let image = Size {
        height: side,
        width: side,
        channels,
    };
    settings.graph(name, image, classes).expect("a network")
}

/// Weights that are a sum of two planes, but in the last layer.
struct Two;

impl Method for Two {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let (shape, kind) = (layer.shape.as_slice(), s3_core::ParamKind::Latent);
        let latent = params.get("", shape, s3_core::Init::weight(shape), kind)?;
        match layer.role {
            Role::Last => Ok(Box::new(Float(latent))),
            _ => Ok(Box::new(Planes(latent))),
        }
    }
}

/// Networks of what no ResNet has, each with what it is there for.
fn others() -> Vec<(&'static str, Graph<Plan>)> {
    let image = Size {
        height: 9,
        width: 8,
        channels: 3,
    };
    let conv =
        |name: &str, channels, kernel| Layer::conv(channels, kernel).norm(format!("{name}.bn"));
    let dw = |name: &str, channels| Layer::depthwise(channels).norm(format!("{name}.bn"));
    let sides = |kernel, layer| Layer {
        kernel,
        padding: 0,
        ..layer
    };
    let mean = Op::MeanPool { shift: 0 };
    let last = || Layer::linear(7).role(Role::Last);
    let mut all = Vec::new();

    let mut g = Graph::new(image);
    let x = g.layer("conv", 0, conv("conv", 8, 3).relu6().role(Role::First));
    let x = g.layer("dw", x, dw("dw", 8).stride(2).relu6());
    let narrow = g.layer("narrow", x, conv("narrow", 6, 1));
    let x = g.layer("wide", narrow, conv("wide", 12, 1).relu6());
    let x = g.layer("dw2", x, dw("dw2", 12).relu6());
    let x = g.layer("sum", x, conv("sum", 6, 1).adding(narrow));
    let x = g.layer("padded", x, conv("padded", 10, 3).relu6());
    let x = g.push("mean", &[x], mean.clone());
    g.layer("fc", x, last());
    all.push(("linear bottlenecks, relu6, depthwise", g));

    let mut g = Graph::new(image);
    let x = g.push(
        "pad",
        &[0],
        Op::Pad {
            sides: [2, 1, 0, 1],
        },
    );
    let stem = sides([5, 2], conv("stem", 6, 1)).stride(2).relu();
    let x = g.layer("stem", x, stem.role(Role::First));
    let y = g.layer("y", x, sides([1, 3], conv("y", 5, 1)));
    let z = g.layer("z", x, sides([1, 3], conv("z", 4, 1)).relu());
    let window = |kernel, padding| Window {
        kernel,
        stride: 1,
        padding,
    };
    let x = g.push("both", &[y, z], Op::Concat);
    let x = g.push("avg", &[x], Op::AvgPool(window([3, 3], 1)));
    let m = g.push("max", &[y], Op::MaxPool(window([3, 3], 1)));
    let x = g.push("more", &[x, m], Op::Concat);
    let x = g.push("flat", &[x], Op::Flatten);
    let x = g.layer("fc1", x, Layer::linear(11).norm("fc1.bn").relu());
    let x = g.layer("fc2", x, Layer::linear(9).relu());
    g.layer("fc3", x, last());
    all.push(("padded image, concatenations, flatten", g));

    let mut g = Graph::new(image);
    let holds = |name: &str| Layer::conv(1, 1).norm(name).holds;
    let norm = |name: &str| Op::Norm {
        holds: holds(name),
        act: Act::Relu,
    };
    let a = g.layer("a", 0, Layer::conv(6, 3).role(Role::First));
    let x = g.push("n1", &[a], norm("n1"));
    let x = g.layer("b", x, Layer::conv(6, 3));
    let sum = g.push("sum", &[x, a], Op::Add { act: Act::None });
    let x = g.push("n2", &[sum], norm("n2"));
    let x = g.layer("c", x, Layer::conv(6, 3));
    let x = g.push("all", &[x, sum, a], Op::Add { act: Act::Relu });
    let x = g.push("mean", &[x], mean);
    g.layer("fc", x, last());
    all.push(("norms and sums that follow no layer", g));

    let mut g = Graph::new(image);
    let x = g.push("flat", &[0], Op::Flatten);
    let x = g.layer(
        "fc1",
        x,
        Layer::linear(16).norm("bn").relu().role(Role::First),
    );
    g.layer("fc2", x, last());
    all.push(("linear layers alone", g));
    all
}

/// Sums run over the same products in another order. A sum of K products of f32 is within
/// `K 2^-24` of the exact one, of the sum of magnitudes; K is at most 576 here, and 50 layers
/// hand such errors on.
const FLOAT_ERROR: f64 = 1e-4;

#[test]
fn frozen_networks_answer_as_the_trained_ones() -> Result<()> {
    for case in cases()? {
        let network = case.freeze(7)?;
        let error = relative_error(&case.run(&network), &case.trained()?);
        assert!(
            error < FLOAT_ERROR,
            "{}: {error}",
            network.graph.nodes.len()
        );
    }
    Ok(())
}

/// Every kind of node, with weights of 2 and 3 bits and of two planes.
fn other_cases() -> Result<Vec<(&'static str, Case)>> {
    let mut all = Vec::new();
    for (what, plan) in others() {
        for bits in [2, 3] {
            let method = Partly {
                s3: authors(bits),
                float: OUTER,
            };
            all.push((what, Case::new(&plan, &method)?));
        }
        all.push((what, Case::new(&plan, &Two)?));
    }
    Ok(all)
}

#[test]
fn every_kind_of_node_is_frozen_and_packed() -> Result<()> {
    for (what, case) in other_cases()? {
        let network = case.freeze(7)?;
        let error = relative_error(&case.run(&network), &case.trained()?);
        assert!(error < FLOAT_ERROR, "{what}: {error}");
        let read = Network::from_bytes(&network.to_bytes()).expect(what);
        assert_eq!(read, network, "{what}");
    }
    Ok(())
}

#[test]
fn every_kind_of_node_runs_in_integers_near_the_floats() -> Result<()> {
    for (what, case) in other_cases()? {
        let network = case.freeze(7)?;
        let model = Model::new(network.clone()).expect(what);
        let mut observed = Observed::new(&network);
        observed.run(&model, &case.images, IMAGES)?;
        let exact = case.run(&network);
        let bound = ERROR_A_NODE * network.graph.nodes.len() as f64;
        for activations in [Activations::U8, Activations::U8Shift] {
            let integers = quantize(&network, &observed, activations, Calibration::MinMax)?;
            let error = relative_error(&case.run(&integers), &exact);
            assert!(error < bound, "{what}: {activations:?}: {error}");
            let read = Network::from_bytes(&integers.to_bytes()).expect(what);
            assert_eq!(read, integers, "{what}");
        }
    }
    Ok(())
}

/// Networks that have learned nothing hand errors on and add to them: measured at most 0.009 a node
/// (ResNet-50, 0.45 in all), growing evenly. A factor, bias or zero point that is wrong gives 1 at
/// once.
const ERROR_A_NODE: f64 = 0.014;

#[test]
fn integer_networks_stay_near_the_frozen_ones() -> Result<()> {
    for case in cases()? {
        let network = case.freeze(7)?;
        let model = Model::new(network.clone()).expect("a network that runs");
        let mut observed = Observed::new(&network);
        observed.run(&model, &case.images, IMAGES)?;
        let exact = case.run(&network);
        let bound = ERROR_A_NODE * network.graph.nodes.len() as f64;
        for calibration in [
            Calibration::MinMax,
            Calibration::Percentile,
            Calibration::Mse,
        ] {
            for activations in [Activations::U8, Activations::U8Shift] {
                let integers = quantize(&network, &observed, activations, calibration)?;
                let error = relative_error(&case.run(&integers), &exact);
                assert!(error < bound, "{activations:?} {calibration:?}: {error}");
            }
        }
    }
    Ok(())
}

#[test]
fn weights_stay_powers_of_two_between_the_first_layer_and_the_last() -> Result<()> {
    let cases = cases()?;
    let network = cases[1].freeze(7)?;
    let mut observed = Observed::new(&network);
    let model = Model::new(network.clone()).expect("a network that runs");
    observed.run(&model, &cases[1].images, IMAGES)?;
    let integers = quantize(&network, &observed, Activations::U8Shift, Calibration::Mse)?;
    for (i, (node, layer)) in integers.graph.layers().enumerate() {
        let is_dense = matches!(layer.holds.weight, Weight::Dense(_));
        assert_eq!(is_dense, i == 0, "{}", node.name);
    }
    assert_eq!(integers.input.scale.log2().fract(), 0.0);
    Ok(())
}

#[test]
fn what_cannot_be_an_integer_network_is_refused_with_the_layers_name() -> Result<()> {
    let plan = resnet("resnet8", [8, 1], 16, Shortcut::A, 3);
    let float = Partly {
        s3: authors(2),
        float: &[Role::First, Role::Hidden, Role::Last],
    };
    let case = Case::new(&plan, &float)?;
    let network = case.freeze(3)?;
    let observed = Observed::new(&network);
    let refused = |activations| {
        quantize(&network, &observed, activations, Calibration::Mse)
            .expect_err("refused")
            .to_string()
    };
    assert!(refused(Activations::U8Shift).contains("layer layer1.0.conv1"));
    assert!(refused(Activations::F32).contains("F32"));
    let mut observed = observed.clone();
    let message = observed.add(1, &[f32::NAN]).expect_err("NaN").to_string();
    assert!(message.contains("NaN"), "{message}");
    Ok(())
}
