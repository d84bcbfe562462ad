//! Networks that are no ResNets: the fused step against the layers one by one, whatever the wiring.

use candle_core::{DType, Device, Result, Tensor};
use s3_core::{Params, s3::S3};
use s3_layers::model::{Act, Graph, Layer, Op, Size, Window};
use s3_layers::zoo::{Plan, Role};
use s3_layers::{Mode, Net};

const CLASSES: usize = 5;
const IMAGES: usize = 3;
/// More than a row of a linear layer's kernels, and no number of rows.
const MANY_IMAGES: usize = 45;
const NO_FRONT: &str = "there is no front";

fn start() -> Graph<Plan> {
    Graph::new(Size {
        height: 9,
        width: 8,
        channels: 2,
    })
}

/// A convolution with its batch norm and a ReLU.
fn conv(name: &str, channels: usize, kernel: usize) -> Layer<Plan> {
    Layer::conv(channels, kernel)
        .norm(format!("{name}.bn"))
        .relu()
}

fn add(graph: &mut Graph<Plan>, name: &str, input: usize, layer: Layer<Plan>) -> usize {
    graph.layer(name, input, layer)
}

fn linear_layers(act: Act) -> Graph<Plan> {
    let linear = |channels, norm: &str| Layer {
        act,
        ..Layer::linear(channels).norm_or_bias(Some(norm.into()))
    };
    let mut g = start();
    let flat = g.push("flat", &[0], Op::Flatten);
    let a = add(&mut g, "a", flat, linear(20, "bn"));
    let b = Layer {
        act,
        ..Layer::linear(20).adding(a)
    };
    let b = add(&mut g, "b", a, b);
    let c = add(&mut g, "c", b, linear(7, "bn2"));
    let both = g.push("both", &[c, a], Op::Concat);
    let drop = g.push("drop", &[both], Op::Dropout(0.25));
    add(&mut g, "fc", drop, Layer::linear(CLASSES));
    g
}

/// A network whose scores are made by `op`, of one value of one pixel or of two.
fn ending_in(op: Op<Plan>) -> Graph<Plan> {
    let mut g = start();
    let a = add(&mut g, "a", 0, conv("a", 6, 3));
    let inputs = match &op {
        Op::MeanPool { .. } | Op::MaxPool(_) | Op::AvgPool(_) => {
            vec![add(&mut g, "b", a, conv("b", CLASSES, 3))]
        }
        op => {
            let pool = g.push("pool", &[a], Op::MeanPool { shift: 0 });
            let mut linear = |name, channels| add(&mut g, name, pool, Layer::linear(channels));
            match op {
                Op::Layer(_) => vec![pool],
                Op::Concat => vec![linear("b", 3), linear("c", CLASSES - 3)],
                Op::Add { .. } => vec![linear("b", CLASSES), linear("c", CLASSES)],
                // A norm takes the gradient of a bias before it away.
                Op::Norm { .. } => vec![add(&mut g, "b", pool, Layer::conv(CLASSES, 1))],
                _ => vec![linear("b", CLASSES)],
            }
        }
    };
    g.push("scores", &inputs, op);
    g
}

/// One network for each kind of node that may make the scores.
fn endings() -> Vec<(&'static str, Graph<Plan>)> {
    let whole = Window {
        kernel: [9, 8],
        stride: 1,
        padding: 0,
    };
    let act = Act::None;
    let holds = Layer::conv(1, 1).norm("norm").holds;
    [
        (
            "scores of a linear layer",
            Op::Layer(Layer::linear(CLASSES)),
        ),
        (
            "scores of a convolution",
            Op::Layer(Layer::conv(CLASSES, 1)),
        ),
        (
            "scores of a batch norm behind a convolution",
            Op::Layer(Layer::conv(CLASSES, 1).norm("norm")),
        ),
        ("scores of a norm", Op::Norm { holds, act }),
        ("scores of a sum", Op::Add { act }),
        ("scores of a concatenation", Op::Concat),
        ("scores of a max pool", Op::MaxPool(whole)),
        ("scores of an average pool", Op::AvgPool(whole)),
        ("scores of a mean", Op::MeanPool { shift: 0 }),
        ("scores of a flattened pixel", Op::Flatten),
        ("scores of a pad of nothing", Op::Pad { sides: [0; 4] }),
        ("scores of a dropout", Op::Dropout(0.5)),
    ]
    .map(|(what, op)| (what, ending_in(op)))
    .into()
}

/// Each with what it is there for.
fn networks() -> Vec<(&'static str, Graph<Plan>)> {
    let mut all = Vec::new();

    let mut g = start();
    let a = add(&mut g, "a", 0, conv("a", 6, 3));
    let b = add(&mut g, "b", a, conv("b", 6, 3).adding(a));
    let c = add(&mut g, "c", b, conv("c", 6, 1).adding(a));
    let pool = g.push("pool", &[c], Op::MeanPool { shift: 0 });
    add(&mut g, "fc", pool, Layer::linear(CLASSES));
    all.push((
        "a layer adds its own input, and a value has four readers",
        g,
    ));

    let mut g = start();
    let a = add(&mut g, "a", 0, conv("a", 4, 3));
    let b = add(&mut g, "b", a, conv("b", 4, 3));
    let max = g.push("max", &[a], Op::MaxPool(Window::square(3, 2, 1)));
    let (stride, channels) = (2, 7);
    let sub = g.push("sub", &[b], Op::Subsample { stride, channels });
    let c = add(&mut g, "c", max, conv("c", 7, 3).adding(sub));
    let d = add(&mut g, "d", b, conv("d", 7, 3).stride(2).adding(c));
    let pool = g.push("pool", &[d], Op::MeanPool { shift: 0 });
    add(&mut g, "fc", pool, Layer::linear(CLASSES));
    all.push(("a pool and a subsample meet gradients that are there", g));

    let mut g = start();
    let a = add(&mut g, "a", 0, conv("a", 4, 3).stride(2));
    let b = add(&mut g, "b", a, conv("b", 3, 3));
    let both = g.push("both", &[a, b], Op::Concat);
    let dw = Layer {
        groups: 7,
        act: Act::Relu6,
        ..Layer::conv(7, 3).norm("dw.bn").role(Role::Depthwise)
    };
    let dw = add(&mut g, "dw", both, dw);
    let act = Act::Relu;
    let sum = g.push("sum", &[dw, both], Op::Add { act });
    let sides = [0, 1, 2, 0];
    let pad = g.push("pad", &[sum], Op::Pad { sides });
    let avg = g.push("avg", &[pad], Op::AvgPool(Window::square(2, 2, 0)));
    let flat = g.push("flat", &[avg], Op::Flatten);
    let fc = add(&mut g, "fc1", flat, Layer::linear(6).relu());
    add(&mut g, "fc2", fc, Layer::linear(CLASSES));
    all.push(("every kind of node has a value that others read too", g));

    all.push((
        "linear layers with a norm, a bias, a sum and other readers",
        linear_layers(Act::Relu),
    ));

    let mut g = start();
    let flat = g.push("flat", &[0], Op::Flatten);
    add(&mut g, "fc", flat, Layer::linear(CLASSES));
    all.push((NO_FRONT, g));

    let mut g = start();
    let a = add(&mut g, "a", 0, conv("a", 4, 3));
    let norm = Layer::conv(1, 1).norm("norm").holds;
    let act = Act::Relu;
    let norm = g.push("norm", &[a], Op::Norm { holds: norm, act });
    let b = add(&mut g, "b", norm, Layer::conv(4, 3).adding(a));
    let pool = g.push("pool", &[b], Op::MeanPool { shift: 0 });
    add(&mut g, "fc", pool, Layer::linear(CLASSES));
    all.push(("a batch norm of its own, and a layer without one", g));

    let mut g = start();
    let norm = Layer::conv(1, 1).norm("norm").holds;
    let act = Act::Relu6;
    let norm = g.push("norm", &[0], Op::Norm { holds: norm, act });
    let a = add(&mut g, "a", norm, conv("a", 4, 3));
    let window = Window {
        kernel: [2, 3],
        stride: 1,
        padding: 1,
    };
    let max = g.push("max", &[a], Op::MaxPool(window));
    let sides = [0, 0, 0, 1];
    let max = g.push("pad", &[max], Op::Pad { sides });
    let wide = Layer {
        kernel: [1, 4],
        padding: 0,
        ..conv("wide", 4, 1)
    };
    let wide = add(&mut g, "wide", max, wide);
    let dw = Layer {
        groups: 4,
        act: Act::Relu6,
        ..Layer::conv(4, 3).norm_or_bias(None).role(Role::Depthwise)
    };
    let dw = add(&mut g, "dw", wide, dw);
    let act = Act::Relu6;
    let sum = g.push("sum", &[dw, wide, dw], Op::Add { act });
    let avg = g.push("avg", &[sum], Op::AvgPool(window));
    let pool = g.push("pool", &[avg], Op::MeanPool { shift: 0 });
    let b = add(&mut g, "b", pool, conv("b", 6, 1));
    let c = add(
        &mut g,
        "c",
        b,
        Layer::conv(4, 1).norm_or_bias(None).adding(pool),
    );
    let flat = g.push("flat", &[c], Op::Flatten);
    add(&mut g, "fc", flat, Layer::linear(CLASSES));
    all.push((
        "rectangles, biases, a mean that is no end and a norm of the image",
        g,
    ));

    let mut g = start();
    let a = add(&mut g, "a", 0, conv("a", 4, 3));
    let drop = g.push("drop", &[a], Op::Dropout(0.25));
    let b = add(&mut g, "b", drop, conv("b", 4, 3).adding(a));
    let pool = g.push("pool", &[b], Op::MeanPool { shift: 0 });
    let drop = g.push("drop2", &[pool], Op::Dropout(0.5));
    add(&mut g, "fc", drop, Layer::linear(CLASSES));
    all.push(("dropouts draw the same", g));
    all.extend(endings());
    all
}

fn images(count: usize) -> Result<Tensor> {
    let Size {
        height,
        width,
        channels,
    } = start().image;
    let pixel = |i: usize| ((i * 7919 % 1009) as f32) / 504.0 - 1.0;
    let pixels = (0..count * height * width * channels).map(pixel).collect();
    Tensor::from_vec(pixels, (count, height, width, channels), &Device::Cpu)
}

/// Scores, gradients and buffers of one training step on the images `x`.
fn step(
    plan: &Graph<Plan>,
    x: &Tensor,
    dtype: DType,
    fused: bool,
) -> Result<Vec<(String, Tensor)>> {
    let params = Params::new(2, &Device::Cpu);
    let net = Net::new(plan, dtype, &S3::new(3), &params)?;
    let scores = match fused {
        true => net.forward(x, Mode::Train)?,
        false => net.forward_traced(x, Mode::Train, &mut |_, _, _| Ok(()))?,
    };
    let weights = Tensor::arange(0f32, scores.elem_count() as f32, &Device::Cpu)?;
    let loss = scores.flatten_all()?.mul(&weights.sin()?)?.sum_all()?;
    let gradients = loss.backward()?;
    let mut all = vec![("scores".to_string(), scores.detach())];
    for (name, p) in params.all() {
        match gradients.get(&p.var) {
            Some(g) => all.push((format!("gradient of {name}"), g.clone())),
            None => all.push((name, p.var.as_detached_tensor())),
        }
    }
    Ok(all)
}

#[test]
fn the_fused_step_equals_the_layers_one_by_one_whatever_the_wiring() -> Result<()> {
    // The same kernels; gradients of one value are added in another order.
    const TOLERANCE: f64 = 1e-4;
    let many = ("linear layers of many images", linear_layers(Act::Relu6));
    let counts = std::iter::repeat(IMAGES).zip(networks());
    for (count, (what, plan)) in counts.chain([(MANY_IMAGES, many)]) {
        let plan = plan.classifying(CLASSES).expect(what);
        let x = images(count)?;
        let scores = step(&plan, &x, DType::F32, true)?.remove(0).1;
        assert_eq!(scores.dims(), [count, CLASSES], "{what}");
        let (fused, plain) = (
            step(&plan, &x, DType::F32, true)?,
            step(&plan, &x, DType::F32, false)?,
        );
        let gradients = fused
            .iter()
            .filter(|(name, _)| name.starts_with("gradient"));
        assert!(gradients.count() >= plan.layers().count(), "{what}");
        for ((name, a), (_, b)) in fused.into_iter().zip(plain) {
            let largest = |x: &Tensor| -> Result<f64> {
                Ok(f64::from(x.abs()?.max_all()?.to_scalar::<f32>()?))
            };
            let (apart, size) = (largest(&(a - &b)?)?, largest(&b)?);
            assert!(
                apart <= TOLERANCE * size,
                "{what}: {name} {apart} apart, largest {size}"
            );
        }
    }
    Ok(())
}

#[test]
fn networks_with_a_front_train_in_bf16_and_others_say_that_they_do_not() -> Result<()> {
    for (what, plan) in networks() {
        let trained = step(&plan, &images(IMAGES)?, DType::BF16, true);
        if what == NO_FRONT {
            let message = trained.expect_err(what).to_string();
            assert!(
                message.contains("layer fc") && message.contains("f32"),
                "{message}"
            );
        } else {
            let scores = trained?.remove(0).1.flatten_all()?.to_vec1::<f32>()?;
            assert!(scores.iter().all(|score| score.is_finite()), "{what}");
        }
    }
    Ok(())
}

/// A result is rounded by half of its last place, 2^-9 of it, and there are eight results between
/// the image and the scores, and as many gradients on the way back: together 2^-5 at most, of the
/// numbers that are summed. Sums that cancel, as a mean does, have up to four times that share of
/// what is left; a wrong term gives one as large as the sum. No activation: where rounding turns a
/// sign, a number is wrong as a whole.
#[test]
fn linear_layers_in_bf16_are_rounded_ones_in_f32() -> Result<()> {
    const SHARE: f64 = 4.0 * 16.0 / 512.0;
    let (plan, x) = (linear_layers(Act::None), images(MANY_IMAGES)?);
    let rounded = step(&plan, &x, DType::BF16, true)?;
    let norm = |x: &Tensor| -> Result<f64> {
        Ok(f64::from(x.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt())
    };
    let mut differ = false;
    for ((name, a), (_, b)) in rounded.into_iter().zip(step(&plan, &x, DType::F32, true)?) {
        // What it adds, the norm behind it takes out: its gradient is rounding alone.
        if name == "gradient of b.bias" {
            continue;
        }
        let (apart, size) = (norm(&(&a - &b)?)?, norm(&b)?);
        differ |= apart > 0.0;
        let is_near = apart <= SHARE * size;
        assert!(is_near, "{name}: {apart} apart, {size} in all");
    }
    assert!(differ, "nothing was rounded");
    Ok(())
}

#[test]
fn evaluation_is_layer_by_layer_and_moves_nothing() -> Result<()> {
    for (what, plan) in networks() {
        let params = Params::new(2, &Device::Cpu);
        let net = Net::new(&plan, DType::F32, &S3::new(3), &params)?;
        let mut names = Vec::new();
        let scores = net.forward_traced(&images(IMAGES)?, Mode::Eval, &mut |name, _, _| {
            names.push(name.to_string());
            Ok(())
        })?;
        assert_eq!(scores.dims(), [IMAGES, CLASSES], "{what}");
        let again = net.forward(&images(IMAGES)?, Mode::Eval)?;
        assert_eq!(scores.to_vec2::<f32>()?, again.to_vec2::<f32>()?, "{what}");
        for layer in net.layers() {
            assert!(
                names.contains(&layer.spec.name),
                "{what}: {}",
                layer.spec.name
            );
        }
    }
    Ok(())
}

#[test]
fn what_does_not_train_is_refused_by_the_nodes_name() -> Result<()> {
    let refused = |op: Op<Plan>| {
        let mut g = start();
        let x = g.push("odd", &[0], op);
        let x = g.push("pool", &[x], Op::MeanPool { shift: 0 });
        g.layer("fc", x, Layer::linear(CLASSES));
        let net = Net::new(&g, DType::F32, &S3::new(2), &Params::new(1, &Device::Cpu));
        net.err().map(|e| e.to_string()).unwrap_or_default()
    };
    let groups = Layer {
        groups: 2,
        ..Layer::conv(4, 1)
    };
    assert!(refused(Op::Layer(groups)).starts_with("layer odd: groups"));
    assert_eq!(refused(Op::Layer(Layer::conv(4, 1))), "");
    Ok(())
}
