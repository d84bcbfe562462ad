//! Layers that do more than multiply: outputs that are drawn, inputs that are quantized.

use candle_core::{DType, Device, Result, Tensor, Var};
use s3_core::{
    Codes, Init, InputMoments, LayerSpec, Method, Needs, ParamKind, Params, Progress, Quantizer,
    Role, WeightForm, ste,
};
use s3_layers::model::{Graph, Size};
use s3_layers::zoo::{self, Plan, Settings};
use s3_layers::{Mode, Net, QuantConv2d, QuantLinear};
use std::sync::{Arc, Mutex};

/// Weights of mean `w` and variance 1/4; inputs are rounded to halves where asked for.
struct Special {
    rounds_inputs: bool,
}

struct Layer {
    w: Var,
    rounds_inputs: bool,
}

impl Method for Special {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let shape = layer.shape.as_slice();
        let w = params.get("", shape, Init::Const(2.0), ParamKind::Latent)?;
        Ok(Box::new(Layer {
            w,
            rounds_inputs: self.rounds_inputs,
        }))
    }
}

impl Quantizer for Layer {
    fn weight(&self) -> Result<Tensor> {
        Ok(self.w.as_tensor().clone())
    }
    fn needs(&self) -> Needs {
        Needs {
            draws: !self.rounds_inputs,
            inputs: self.rounds_inputs,
            moments: false,
        }
    }
    fn training_variance(&self) -> Result<Option<Tensor>> {
        (self.w.ones_like()? * 0.25).map(Some)
    }
    fn quantize_input(&self, x: &Tensor, _: bool) -> Result<Tensor> {
        ste::identity(&((x * 2.0)?.round()? / 2.0)?, x)
    }
    fn codes(&self) -> Result<Option<Codes>> {
        Ok(None)
    }
    fn form(&self) -> WeightForm {
        WeightForm::Float
    }
}

fn at(step: u64) -> Progress {
    Progress {
        step,
        steps: 10,
        epoch: 0,
        epochs: 1,
        seed: 7,
    }
}

#[test]
fn a_drawn_output_has_the_layers_mean_and_variance_and_repeats() -> Result<()> {
    let params = Params::new(1, &Device::Cpu);
    let special = Special {
        rounds_inputs: false,
    };
    let mut conv = QuantConv2d::new((1, 1, 1), 1, 0, Role::Hidden, &special, &params.pp("a"))?;
    let mut linear = QuantLinear::new(1, 1, Role::Last, &special, &params.pp("b"))?;
    let n = 64 * 16 * 16;
    let x = (Tensor::ones((64, 16, 16, 1), DType::F32, &Device::Cpu)? * 3.0)?;
    let rows = x.reshape((n, 1))?;
    let outputs = |conv: &QuantConv2d, linear: &QuantLinear| -> Result<[Vec<f32>; 2]> {
        let y = conv.forward(&x, Mode::Train)?;
        let z = linear.forward(&rows, Mode::Train)?;
        Ok([y.flatten_all()?.to_vec1()?, z.flatten_all()?.to_vec1()?])
    };
    let advance = |conv: &mut QuantConv2d, linear: &mut QuantLinear, step| {
        conv.layer.advance(at(step))?;
        linear.layer.advance(at(step))
    };
    advance(&mut conv, &mut linear, 3)?;
    let first = outputs(&conv, &linear)?;
    let bias = linear
        .forward(&rows, Mode::Eval)?
        .flatten_all()?
        .to_vec1::<f32>()?[0]
        - 6.0;
    for (y, offset) in first.iter().zip([0.0, f64::from(bias)]) {
        let mean = y.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64 - offset;
        let square = |&v: &f32| (f64::from(v) - offset - mean).powi(2);
        let variance = y.iter().map(square).sum::<f64>() / n as f64;
        let expected: f64 = 9.0 * 0.25 + 1e-3;
        // Four standard errors of a mean and a variance of n normal draws.
        assert!(
            (mean - 6.0).abs() < 4.0 * (expected / n as f64).sqrt(),
            "{mean}"
        );
        let ratio = variance / expected;
        assert!(
            (ratio - 1.0).abs() < 4.0 * (2.0 / n as f64).sqrt(),
            "{variance}"
        );
    }
    assert_eq!(
        outputs(&conv, &linear)?,
        first,
        "the same step draws the same"
    );
    advance(&mut conv, &mut linear, 4)?;
    let second = outputs(&conv, &linear)?;
    assert!(first.iter().zip(&second).all(|(a, b)| a != b));
    advance(&mut conv, &mut linear, 3)?;
    assert_eq!(outputs(&conv, &linear)?, first);

    let y = conv
        .forward(&x, Mode::Eval)?
        .flatten_all()?
        .to_vec1::<f32>()?;
    assert!(y.iter().all(|&v| v == 6.0), "evaluation draws nothing");
    Ok(())
}

#[test]
fn inputs_are_quantized_in_training_and_in_evaluation() -> Result<()> {
    let params = Params::new(1, &Device::Cpu);
    let special = Special {
        rounds_inputs: true,
    };
    let linear = QuantLinear::new(2, 1, Role::Last, &special, &params.pp("fc"))?;
    let y = |x: [f32; 2], mode| -> Result<f32> {
        linear
            .forward(&Tensor::new(&[x], &Device::Cpu)?, mode)?
            .get(0)?
            .get(0)?
            .to_scalar()
    };
    for mode in [Mode::Train, Mode::Eval] {
        assert_eq!(y([0.6, 1.3], mode)?, y([0.5, 1.5], mode)?);
        assert_ne!(y([0.6, 1.3], mode)?, y([1.0, 1.5], mode)?);
    }
    Ok(())
}

/// Halves its weight when it is calibrated, and notes what it was shown.
struct Calibrated(Arc<Mutex<Vec<(usize, InputMoments)>>>);

struct Halved {
    w: Var,
    layer: usize,
    seen: Arc<Mutex<Vec<(usize, InputMoments)>>>,
}

impl Method for Calibrated {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let shape = layer.shape.as_slice();
        let w = params.get("", shape, Init::weight(shape), ParamKind::Latent)?;
        Ok(Box::new(Halved {
            w,
            layer: layer.shape.iter().skip(1).product(),
            seen: self.0.clone(),
        }))
    }
}

impl Quantizer for Halved {
    fn weight(&self) -> Result<Tensor> {
        Ok(self.w.as_tensor().clone())
    }
    fn needs(&self) -> Needs {
        Needs {
            moments: true,
            ..Needs::default()
        }
    }
    fn calibrate(&self, inputs: &InputMoments) -> Result<()> {
        self.seen
            .lock()
            .expect("a lock")
            .push((self.layer, inputs.clone()));
        self.w.set(&(self.w.as_tensor() * 0.5)?)
    }
    fn codes(&self) -> Result<Option<Codes>> {
        Ok(None)
    }
    fn form(&self) -> WeightForm {
        WeightForm::Float
    }
}

/// ResNet-8 of three classes on grey images of 8 x 8 pixels.
fn resnet8() -> Graph<Plan> {
    let image = Size {
        height: 8,
        width: 8,
        channels: 1,
    };
    zoo::graph("resnet8", &Settings::new(), image, 3).expect("a network")
}

#[test]
fn each_layer_is_calibrated_once_behind_those_before_it() -> Result<()> {
    let seen = Arc::default();
    let build = |seen| {
        let params = Params::new(1, &Device::Cpu);
        Net::new(&resnet8(), DType::F32, &Calibrated(seen), &params)
    };
    let (net, float) = (build(Arc::clone(&seen))?, build(Arc::default())?);
    assert!(net.needs_moments());
    let x = Tensor::rand(0f32, 1.0, (3, 8, 8, 1), &Device::Cpu)?;
    net.calibrate(&float, &x)?;
    let seen = seen.lock().expect("a lock");
    let filters: Vec<usize> = seen.iter().map(|s| s.0).collect();
    assert_eq!(filters, [9, 144, 144, 144, 288, 288, 576, 64]);
    // The first layer sees the image in both networks, and the second a half of what it was:
    // running statistics are 0 and 1, so that a batch norm passes it on.
    let of = |i: usize| (&seen[i].1.gram, &seen[i].1.cross);
    let (gram, cross) = of(0);
    assert_eq!(gram, cross);
    let (gram, cross) = of(1);
    for (g, c) in gram.iter().zip(cross) {
        // Halves are exact but for the norm's ε.
        assert!((2.0 * g - c).abs() <= 1e-4 * c.abs(), "{g} {c}");
    }
    assert!(cross.iter().any(|&c| c > 0.0));
    Ok(())
}

/// The fused step knows plain products alone; a network with others takes the layers one by one.
#[test]
fn a_network_of_such_layers_trains_and_evaluates() -> Result<()> {
    for rounds_inputs in [false, true] {
        let params = Params::new(1, &Device::Cpu);
        let method = Special { rounds_inputs };
        let mut net = Net::new(&resnet8(), DType::F32, &method, &params)?;
        let x = Tensor::rand(0f32, 1.0, (4, 8, 8, 1), &Device::Cpu)?;
        net.advance(at(0))?;
        let loss = net.forward(&x, Mode::Train)?.sqr()?.sum_all()?;
        let grads = loss.backward()?;
        for (name, p) in params.trainable() {
            let grad = grads.get(&p.var).unwrap_or_else(|| panic!("{name}"));
            assert!(grad.sum_all()?.to_scalar::<f32>()?.is_finite(), "{name}");
        }
        assert_eq!(net.forward(&x, Mode::Eval)?.dims(), [4, 3]);
        // Plain products would give the same scores in every step, and those of unrounded inputs.
        let scores = |net: &Net, x: &Tensor| -> Result<Vec<f32>> {
            net.forward(x, Mode::Train)?.flatten_all()?.to_vec1()
        };
        let before = scores(&net, &x)?;
        net.advance(at(1))?;
        assert_eq!(scores(&net, &x)? == before, rounds_inputs);
        let rounded = ((&x * 2.0)?.round()? / 2.0)?;
        assert_eq!(scores(&net, &rounded)? == before, rounds_inputs);
    }
    Ok(())
}
