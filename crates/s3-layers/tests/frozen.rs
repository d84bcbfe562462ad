//! A frozen network against the layers it came from, and an integer network against the frozen one.

use candle_core::{DType, Device, Result, Tensor};
use s3_core::s3::{S3, Start};
use s3_core::{Codes, LayerSpec, Method, Params, Quantizer, Role, WeightForm};
use s3_layers::model::{Activations, Graph, Input, Model, Network, Size, Weight};
use s3_layers::quantize::{Calibration, Observed, quantize};
use s3_layers::zoo::{Architecture, Plan, ResNet, Shortcut};
use s3_layers::{Mode, Net};

const IMAGES: usize = 6;

/// S3, with the layers of `float` in full precision.
struct Partly {
    s3: S3,
    float: &'static [Role],
}

struct Float(candle_core::Var);

impl Quantizer for Float {
    fn weight(&self) -> Result<Tensor> {
        Ok(self.0.as_tensor().clone())
    }
    fn codes(&self) -> Result<Option<Codes>> {
        Ok(None)
    }
    fn form(&self) -> WeightForm {
        WeightForm::Float
    }
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

/// Networks that have learned nothing hand errors on and add to them: measured at most 0.009 a node
/// (ResNet-50, 0.45 in all), growing evenly. A factor, bias or zero point that is wrong gives 1 at once.
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
