//! The networks against the literature's parameter counts and torch's names, and batch norm against
//! torch's semantics.

mod weights;

use candle_core::{DType, Device, Result, Tensor};
use s3_core::s3::S3;
use s3_core::{Init, LayerSpec, Method, ParamKind, Params, Quantizer};
use s3_layers::model::{Act, Size};
use s3_layers::zoo::{Architecture, ResNet, Shortcut};
use s3_layers::{BatchNorm, Mode, Net};
use weights::Float;

/// Plain weights, so that parameters are counted as the literature does.
struct Plain;

impl Method for Plain {
    fn quantizer(&self, layer: &LayerSpec, params: &Params) -> Result<Box<dyn Quantizer>> {
        let init = Init::weight(&layer.shape);
        Ok(Box::new(Float(params.get(
            "",
            layer.shape.as_slice(),
            init,
            ParamKind::Latent,
        )?)))
    }
}

/// A ResNet as these tests ask for it.
#[derive(Clone)]
struct Case {
    name: &'static str,
    settings: ResNet,
    side: usize,
    channels: usize,
    classes: usize,
    dtype: DType,
}

/// The literature's form on images of `side` pixels and three channels.
fn case(name: &'static str, side: usize, classes: usize) -> Case {
    Case {
        name,
        settings: ResNet::default(),
        side,
        channels: 3,
        classes,
        dtype: DType::F32,
    }
}

impl Case {
    fn net(&self, method: &dyn Method, params: &Params) -> Result<Net> {
        let image = Size {
            height: self.side,
            width: self.side,
            channels: self.channels,
        };
        let plan = self.settings.graph(self.name, image, self.classes);
        Net::new(&plan.expect("a plan"), self.dtype, method, params)
    }
}

fn build(case: &Case) -> Result<(Net, Params)> {
    let params = Params::new(1, &Device::Cpu);
    Ok((case.net(&Plain, &params)?, params))
}

#[test]
fn a_network_has_the_parameters_of_its_plan() -> Result<()> {
    for (name, side) in [
        ("resnet8", 32),
        ("resnet20", 32),
        ("resnet18", 64),
        ("resnet50", 64),
    ] {
        let (net, params) = build(&case(name, side, 10))?;
        let trainable = params.trainable();
        let all: usize = trainable.iter().map(|(_, p)| p.var.elem_count()).sum();
        assert_eq!(
            all as u128,
            net.plan().parameters().expect("a count"),
            "{name}"
        );
    }
    Ok(())
}

#[test]
fn names_are_torchs() -> Result<()> {
    let (_, params) = build(&case("resnet18", 224, 1000))?;
    let all = params.all();
    for name in [
        "conv1.weight",
        "bn1.weight",
        "bn1.bias",
        "bn1.running_mean",
        "bn1.running_var",
        "layer1.0.conv1.weight",
        "layer2.0.downsample.0.weight",
        "layer2.0.downsample.1.running_var",
        "layer4.1.bn2.bias",
        "fc.weight",
        "fc.bias",
    ] {
        assert!(all.contains_key(name), "{name}");
    }
    // torchvision's state dict has 122 entries, 20 of them `num_batches_tracked`.
    assert_eq!(all.len(), 102);
    let (_, params) = build(&case("resnet50", 224, 1000))?;
    // 320 entries, 53 of them `num_batches_tracked`.
    assert_eq!(params.all().len(), 267);
    assert!(params.all().contains_key("layer1.0.downsample.0.weight"));
    Ok(())
}

#[test]
fn latents_have_the_names_of_the_paper() -> Result<()> {
    let params = Params::new(1, &Device::Cpu);
    case("resnet8", 32, 10).net(&S3::new(3), &params)?;
    for latent in ["w_sign", "w_sparse", "w_1", "w_2"] {
        assert!(
            params
                .all()
                .contains_key(&format!("layer1.0.conv1.weight.{latent}")),
            "{latent}"
        );
    }
    Ok(())
}

#[test]
fn every_network_runs_on_its_images() -> Result<()> {
    for (name, size, channels) in [
        ("resnet8", 28, 1),
        ("resnet20", 32, 3),
        ("resnet18", 64, 3),
        ("resnet50", 64, 3),
    ] {
        let case = Case {
            channels,
            ..case(name, size, 7)
        };
        let (net, params) = build(&case)?;
        let x = Tensor::ones((2, size, size, channels), DType::F32, &Device::Cpu)?;
        assert_eq!(net.forward(&x, Mode::Eval)?.dims(), [2, 7]);
        let grads = net.forward(&x, Mode::Train)?.sqr()?.sum_all()?.backward()?;
        for (parameter, p) in params.trainable() {
            let gradient = grads.get(&p.var);
            assert!(gradient.is_some(), "{name}: no gradient for {parameter}");
        }
    }
    Ok(())
}

#[test]
fn errors_name_the_layer() -> Result<()> {
    let (net, _) = build(&case("resnet8", 32, 10))?;
    let x = Tensor::ones((1, 32, 32, 1), DType::F32, &Device::Cpu)?;
    let message = format!("{}", net.forward(&x, Mode::Eval).expect_err("channels"));
    assert!(message.contains("conv1"), "{message}");
    Ok(())
}

/// torch.nn.BatchNorm2d by hand: x = [1, 2, 3, 6] has mean 3, biased variance 3.5, unbiased 14/3.
#[test]
fn running_statistics_move_by_a_tenth_with_the_unbiased_variance() -> Result<()> {
    let params = Params::new(1, &Device::Cpu);
    let bn = BatchNorm::new(1, &params.pp("bn"))?;
    let x = Tensor::new(&[[[[1f32], [2.]], [[3.], [6.]]]], &Device::Cpu)?;
    let y = bn
        .forward(&x, None, Act::None, Mode::Train)?
        .flatten_all()?
        .to_vec1::<f32>()?;
    // f32 evaluation of numbers of size 1.
    const TOLERANCE: f32 = 1e-6;
    for (got, x) in y.iter().zip([1f32, 2., 3., 6.]) {
        let want = (x - 3.0) / (3.5f32 + 1e-5).sqrt();
        assert!((got - want).abs() < TOLERANCE, "{got} {want}");
    }
    let buffer = |name: &str| params.all()[name].var.to_vec1::<f32>().map(|v| v[0]);
    let (mean, var) = (buffer("bn.running_mean")?, buffer("bn.running_var")?);
    assert!((mean - 0.3).abs() < TOLERANCE && (var - (0.9 + 0.1 * 14.0 / 3.0)).abs() < TOLERANCE);
    let y = bn
        .forward(&x, None, Act::None, Mode::Eval)?
        .flatten_all()?
        .to_vec1::<f32>()?;
    for (got, x) in y.iter().zip([1f32, 2., 3., 6.]) {
        assert!((got - (x - mean) / (var + 1e-5).sqrt()).abs() < TOLERANCE);
    }
    assert_eq!(buffer("bn.running_mean")?, mean, "evaluation moves nothing");
    let one = Tensor::new(&[[[[1f32]]]], &Device::Cpu)?;
    let message = bn
        .forward(&one, None, Act::None, Mode::Train)
        .expect_err("one value")
        .to_string();
    assert!(
        message.contains("bn") && message.contains("at least 2"),
        "{message}"
    );
    Ok(())
}

/// Three images that use all of -1..1.
fn images(channels: usize) -> Result<Tensor> {
    let n = 3 * 40 * 40 * channels;
    let pixels: Vec<f32> = (0..n)
        .map(|i| ((i * 7919 % 1009) as f32) / 504.0 - 1.0)
        .collect();
    Tensor::from_vec(pixels, (3, 40, 40, channels), &Device::Cpu)
}

/// Logits, gradients and buffers of one training step, by the fused step or layer by layer.
fn step(case: &Case, x: &Tensor, fused: bool) -> Result<Vec<(String, Tensor)>> {
    let (net, params) = build(case)?;
    let logits = if fused {
        net.forward(x, Mode::Train)?
    } else {
        net.forward_traced(x, Mode::Train, &mut |_, _, _| Ok(()))?
    };
    let grads = logits.sqr()?.sum_all()?.backward()?;
    let mut out = vec![("logits".to_string(), logits.detach())];
    for (name, p) in params.all() {
        match grads.get(&p.var) {
            Some(g) => out.push((format!("gradient of {name}"), g.clone())),
            None => out.push((name, p.var.as_detached_tensor())),
        }
    }
    Ok(out)
}

#[test]
fn the_fused_step_equals_the_layers_one_by_one() -> Result<()> {
    // The same kernels in the same order; only the order in which two gradients of a block's input
    // are added may differ, which later layers' weight gradients see as rounding.
    const TOLERANCE: f64 = 1e-5;
    for (name, shortcut) in [
        ("resnet8", Shortcut::A),
        ("resnet20", Shortcut::B),
        ("resnet18", Shortcut::B),
        ("resnet50", Shortcut::B),
    ] {
        let mut case = case(name, 40, 7);
        case.settings.shortcut = Some(shortcut);
        let x = images(3)?;
        let (fused, unfused) = (step(&case, &x, true)?, step(&case, &x, false)?);
        for ((tensor, a), (_, b)) in fused.into_iter().zip(unfused) {
            let size = f64::from(b.abs()?.max_all()?.to_scalar::<f32>()?);
            let apart = f64::from((a - b)?.abs()?.max_all()?.to_scalar::<f32>()?);
            assert!(
                apart <= TOLERANCE * size,
                "{name}: {tensor} {apart} apart, largest {size}"
            );
        }
    }
    Ok(())
}

fn largest(x: &Tensor) -> Result<f64> {
    Ok(f64::from(x.abs()?.max_all()?.to_scalar::<f32>()?))
}

/// ResNet-8 with option A from candle's own operations, NCHW, under torch's names.
fn resnet8_of_candle(x: &Tensor, params: &Params) -> Result<Tensor> {
    let all = params.all();
    let get = |name: String| all[&name].var.as_tensor().clone();
    let conv_bn = |x: &Tensor, conv: String, bn: String, stride: usize| -> Result<Tensor> {
        let y = x.conv2d(&get(format!("{conv}.weight")), 1, stride, 1, 1)?;
        let mean = y.mean_keepdim((0, 2, 3))?;
        let centred = y.broadcast_sub(&mean)?;
        let var = centred.sqr()?.mean_keepdim((0, 2, 3))?;
        let per_channel = |name: &str| get(format!("{bn}.{name}")).reshape((1, (), 1, 1));
        centred
            .broadcast_div(&(var + 1e-5)?.sqrt()?)?
            .broadcast_mul(&per_channel("weight")?)?
            .broadcast_add(&per_channel("bias")?)
    };
    let mut y = conv_bn(&x.permute((0, 3, 1, 2))?, "conv1".into(), "bn1".into(), 1)?.relu()?;
    for stage in 1..=3 {
        let stride = if stage == 1 { 1 } else { 2 };
        let name = |part: &str| format!("layer{stage}.0.{part}");
        let mut inner = conv_bn(&y, name("conv1"), name("bn1"), stride)?.relu()?;
        inner = conv_bn(&inner, name("conv2"), name("bn2"), 1)?;
        if stride == 2 {
            let (_, c, h, w) = y.dims4()?;
            let even = |len: usize| {
                let index: Vec<u32> = (0..len as u32).step_by(2).collect();
                Tensor::new(index, &Device::Cpu)
            };
            y = y
                .index_select(&even(h)?, 2)?
                .index_select(&even(w)?, 3)?
                .pad_with_zeros(1, c / 2, c - c / 2)?;
        }
        y = (inner + y)?.relu()?;
    }
    y.mean((2, 3))?
        .matmul(&get("fc.weight".into()).t()?)?
        .broadcast_add(&get("fc.bias".into()))
}

#[test]
fn a_whole_resnet8_step_equals_candles_own_ops() -> Result<()> {
    // Sums of up to 576 products and 4800 pixels in f32, in two orders, through nine layers.
    const TOLERANCE: f64 = 1e-4;
    let (net, params) = build(&case("resnet8", 40, 7))?;
    let x = images(3)?;
    let (ours, theirs) = (
        net.forward(&x, Mode::Train)?,
        resnet8_of_candle(&x, &params)?,
    );
    assert!(largest(&(&ours - &theirs)?)? <= TOLERANCE * largest(&theirs)?);
    let ours = ours.sqr()?.sum_all()?.backward()?;
    let theirs = theirs.sqr()?.sum_all()?.backward()?;
    for (name, p) in params.trainable() {
        let (a, b) = (ours.get(&p.var), theirs.get(&p.var));
        let (a, b) = (a.expect("ours"), b.expect("theirs"));
        let (apart, size) = (largest(&(a - b)?)?, largest(b)?);
        assert!(
            apart <= TOLERANCE * size,
            "{name}: {apart} apart, largest {size}"
        );
    }
    Ok(())
}

/// A ReLU at zero turns the least rounding into a different gradient, so the yardstick is the
/// network itself: rounding its images alone, once, moves an f32 step by so much; rounding every
/// activation and gradient of `n` layers, independently, by about `√(2n)` times that.
#[test]
fn a_step_in_bf16_is_a_rounded_step_in_f32() -> Result<()> {
    for (name, layers) in [
        ("resnet8", 7.0),
        ("resnet20", 19.0),
        ("resnet18", 20.0),
        ("resnet50", 53.0),
    ] {
        let mut case = case(name, 40, 7);
        let x = images(3)?;
        let rounded = x.to_dtype(DType::BF16)?.to_dtype(DType::F32)?;
        let full = step(&case, &x, true)?;
        let moved = step(&case, &rounded, true)?;
        case.dtype = DType::BF16;
        let ours = step(&case, &x, true)?;
        let norm = |x: &Tensor| -> Result<f64> {
            Ok(f64::from(x.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt())
        };
        let apart = |other: &[(String, Tensor)]| -> Result<f64> {
            let mut worst = 0f64;
            for ((_, a), (_, b)) in other.iter().zip(&full) {
                worst = worst.max(norm(&(a - b)?)? / norm(b)?.max(1e-6));
            }
            Ok(worst)
        };
        let (ours, yardstick) = (apart(&ours)?, apart(&moved)?);
        assert!(
            0.0 < ours && ours < f64::sqrt(2.0 * layers) * yardstick,
            "{name}: {ours} apart, the images' rounding alone {yardstick}"
        );
    }
    Ok(())
}

#[test]
fn the_other_types_are_refused() {
    let mut case = case("resnet8", 32, 10);
    case.dtype = DType::F16;
    let message = build(&case).expect_err("refused").to_string();
    assert!(message.contains("F32 or BF16"), "{message}");
}

#[test]
fn width_scales_every_stage() -> Result<()> {
    let mut case = case("resnet8", 32, 10);
    case.settings.width = Some(8);
    let (_, params) = build(&case)?;
    assert_eq!(
        params.all()["layer3.0.conv2.weight"].var.dims(),
        [32, 32, 3, 3]
    );
    Ok(())
}

#[test]
fn a_fused_step_refuses_a_second_backward_pass() -> Result<()> {
    let (net, _) = build(&case("resnet8", 16, 10))?;
    let x = Tensor::ones((2, 16, 16, 3), DType::F32, &Device::Cpu)?;
    let loss = net.forward(&x, Mode::Train)?.sum_all()?;
    loss.backward()?;
    let message = loss.backward().expect_err("refused").to_string();
    assert!(message.contains("one backward pass"), "{message}");
    Ok(())
}
