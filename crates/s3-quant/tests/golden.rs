//! Every method against an independent implementation in PyTorch: `tools/golden/methods.py` wrote
//! `golden.safetensors`.

use candle_core::{Device, Result, Tensor, Var};
use s3_core::{InputMoments, LayerSpec, Params, Progress, Quantizer, Role};
use std::collections::{BTreeSet, HashMap};

/// Values are computed in f64 there and in f32 here: a few roundings of numbers near 1.
const TOLERANCE: f32 = 2e-6;
/// IR-Net's gradient goes through mean and deviation in f32: sums of 27 terms that cancel.
const IRNET_TOLERANCE: f32 = 5e-5;

/// What is compared.
#[derive(Clone, Copy, PartialEq)]
enum Pass {
    /// The weight of a training pass.
    Training,
    /// The weight that is frozen.
    Frozen,
    /// The variance of each weight.
    Variance,
    /// The input `x`, quantized.
    Input,
    /// The frozen weight behind a calibration on moments.
    Calibrated,
}
use Pass::{Calibrated, Frozen, Input, Training, Variance};

/// A case of the file: method, settings, the pass, and the epoch of the step to advance to, if any,
/// of 8.
type Case = (
    &'static str,
    &'static str,
    &'static str,
    Pass,
    Option<usize>,
);

const CASES: &[Case] = &[
    ("s3-2", "s3", "bits = 2", Training, None),
    ("s3-3", "s3", "bits = 3", Training, None),
    ("s3-4", "s3", "bits = 4", Training, None),
    ("denseshift-2", "denseshift", "bits = 2", Training, None),
    ("denseshift-3", "denseshift", "bits = 3", Training, None),
    ("denseshift-4", "denseshift", "bits = 4", Training, None),
    ("staircase", "staircase", "", Training, None),
    ("bwn", "bwn", "", Training, Some(0)),
    ("binary_connect", "binary_connect", "", Training, None),
    (
        "binary_connect-stochastic",
        "binary_connect",
        "stochastic = true",
        Training,
        None,
    ),
    ("hwgq", "hwgq", "", Training, None),
    ("hwgq-input", "hwgq", "activation_bits = 2", Input, None),
    ("bwhn", "bwhn", "", Training, None),
    ("bwhn-calibrated", "bwhn", "", Calibrated, None),
    ("irnet-0", "irnet", "", Training, Some(0)),
    ("irnet-5", "irnet", "", Training, Some(5)),
    ("twn", "twn", "", Training, None),
    (
        "twn-filter",
        "twn",
        "threshold_factor = 0.75\ngranularity = 'filter'",
        Training,
        None,
    ),
    ("ttq", "ttq", "", Training, None),
    ("sq-frozen", "sq", "", Frozen, None),
    ("sq-training", "sq", "", Training, None),
    ("lrnet-mean", "lrnet", "", Training, None),
    ("lrnet-variance", "lrnet", "", Variance, None),
    ("inq-2-training", "inq", "bits = 2", Training, Some(0)),
    ("inq-3-training", "inq", "bits = 3", Training, Some(0)),
    ("inq-4-training", "inq", "bits = 4", Training, Some(0)),
    ("inq-5-training", "inq", "bits = 5", Training, Some(0)),
    ("inq-2-frozen", "inq", "bits = 2", Frozen, Some(0)),
    ("inq-3-frozen", "inq", "bits = 3", Frozen, Some(0)),
    ("inq-4-frozen", "inq", "bits = 4", Frozen, Some(0)),
    ("inq-5-frozen", "inq", "bits = 5", Frozen, Some(0)),
    ("deepshift_q-2", "deepshift_q", "bits = 2", Training, None),
    ("deepshift_q-3", "deepshift_q", "bits = 3", Training, None),
    ("deepshift_q-4", "deepshift_q", "bits = 4", Training, None),
    ("deepshift_q-5", "deepshift_q", "bits = 5", Training, None),
    ("deepshift_q-6", "deepshift_q", "bits = 6", Training, None),
    ("deepshift_ps-2", "deepshift_ps", "bits = 2", Training, None),
    ("deepshift_ps-3", "deepshift_ps", "bits = 3", Training, None),
    ("deepshift_ps-4", "deepshift_ps", "bits = 4", Training, None),
    ("deepshift_ps-5", "deepshift_ps", "bits = 5", Training, None),
    ("deepshift_ps-6", "deepshift_ps", "bits = 6", Training, None),
    ("lqnet-2", "lqnet", "bits = 2", Training, Some(0)),
    ("lqnet-3", "lqnet", "bits = 3", Training, Some(0)),
    ("lqnet-4", "lqnet", "bits = 4", Training, Some(0)),
    (
        "lqnet-input-1",
        "lqnet",
        "bits = 2\nactivation_bits = 1",
        Input,
        None,
    ),
    (
        "lqnet-input-2",
        "lqnet",
        "bits = 2\nactivation_bits = 2",
        Input,
        None,
    ),
    (
        "lqnet-input-3",
        "lqnet",
        "bits = 2\nactivation_bits = 3",
        Input,
        None,
    ),
    ("apot-2", "apot", "bits = 2", Training, None),
    ("apot-3", "apot", "bits = 3", Training, None),
    ("apot-4", "apot", "bits = 4", Training, None),
    ("apot-5", "apot", "bits = 5", Training, None),
    (
        "shiftcnn",
        "shiftcnn",
        "straight_through = true",
        Training,
        None,
    ),
];

fn golden() -> Result<HashMap<String, Tensor>> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden.safetensors");
    candle_core::safetensors::load(file, &Device::Cpu)
}

fn close(what: &str, got: &Tensor, want: &Tensor, tolerance: f32) -> Result<()> {
    let (got, want) = (got.flatten_all()?, want.flatten_all()?);
    let (got, want) = (got.to_vec1::<f32>()?, want.to_vec1::<f32>()?);
    assert_eq!(got.len(), want.len(), "{what}");
    // Sums, such as a scale's gradient, are judged by the largest entry.
    let size = want.iter().fold(1f32, |m, x| m.max(x.abs()));
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        assert!(
            (g - w).abs() <= tolerance * size,
            "{what}[{i}]: {g}, torch has {w}"
        );
    }
    Ok(())
}

fn check(
    golden: &HashMap<String, Tensor>,
    &(name, method, settings, pass, epoch): &Case,
) -> Result<()> {
    let of = |key: &str| {
        let key = format!("{name}/{key}");
        golden.get(&key).unwrap_or_else(|| panic!("no {key}"))
    };
    let mut table: toml::Table = settings.parse().expect("TOML");
    table.insert("name".into(), method.into());
    let built = s3_quant::build(&table).expect("a valid configuration");
    let layer = LayerSpec {
        name: "conv".into(),
        shape: vec![4, 3, 3, 3],
        role: Role::Hidden,
    };
    let params = Params::new(0, &Device::Cpu);
    let mut q = built.method.quantizer(&layer, &params.pp("w"))?;
    let advance = |q: &mut dyn Quantizer, epoch: usize| {
        q.advance(Progress {
            step: 10 * epoch as u64,
            steps: 80,
            epoch,
            epochs: 8,
            seed: 0,
        })
    };
    if pass == Input {
        let x = Var::from_tensor(of("in/x"))?;
        let y = q.quantize_input(&x, true)?;
        close(&format!("{name} input"), &y, of("weight"), TOLERANCE)?;
        let grads = (y * of("g"))?.sum_all()?.backward()?;
        let grad = grads
            .get(&x)
            .unwrap_or_else(|| panic!("{name}: no gradient"));
        close(&format!("{name} gradient"), grad, of("grad/x"), TOLERANCE)?;
        if let Some(moved) = golden.get(&format!("{name}/moved")) {
            advance(&mut *q, 0)?;
            let basis = params.all()["w.input_basis"].var.clone();
            close(&format!("{name} basis"), &basis, moved, TOLERANCE)?;
        }
        return Ok(());
    }
    for (path, p) in params.all() {
        let key = format!("{name}/in/{}", path.strip_prefix("w.").unwrap_or(&path));
        if let Some(value) = golden.get(&key) {
            p.var.set(value)?;
        }
    }
    if let Some(epoch) = epoch {
        advance(&mut *q, epoch)?;
    }
    if pass == Calibrated {
        q.start_from(of("in/w"))?;
        let matrix = |key| -> Result<Vec<f64>> {
            let values = of(key).flatten_all()?.to_vec1::<f32>()?;
            Ok(values.into_iter().map(f64::from).collect())
        };
        q.calibrate(&InputMoments {
            gram: matrix("gram")?,
            cross: matrix("cross")?,
            patches: 300,
        })?;
        return close(name, &q.weight()?, of("weight"), TOLERANCE);
    }
    let weight = match pass {
        Training => Quantizer::training_weight(&*q)?,
        Variance => q.training_variance()?.expect("draws"),
        Frozen | Input | Calibrated => q.weight()?,
    };
    close(&format!("{name} weight"), &weight, of("weight"), TOLERANCE)?;
    let mut loss = (weight * of("g"))?.sum_all()?;
    if let Some(penalty) = q.penalty()? {
        close(
            &format!("{name} penalty"),
            &penalty,
            of("penalty"),
            TOLERANCE,
        )?;
        loss = (loss + penalty)?;
    }
    let grads = loss.backward()?;
    let tolerance = if method == "irnet" {
        IRNET_TOLERANCE
    } else {
        TOLERANCE
    };
    for (path, p) in params.trainable() {
        let key = format!("grad/{}", path.strip_prefix("w.").unwrap_or(&path));
        let grad = grads.get(&p.var).unwrap_or_else(|| panic!("{name}: {key}"));
        close(&format!("{name} {key}"), grad, of(&key), tolerance)?;
    }
    Ok(())
}

#[test]
fn every_method_agrees_with_pytorch() -> Result<()> {
    let golden = golden()?;
    CASES.iter().try_for_each(|case| check(&golden, case))
}

#[test]
fn every_case_of_the_file_and_every_method_is_compared() -> Result<()> {
    let golden = golden()?;
    let in_file: BTreeSet<&str> = golden.keys().filter_map(|k| k.split('/').next()).collect();
    let compared: BTreeSet<&str> = CASES.iter().map(|c| c.0).collect();
    assert_eq!(in_file, compared);
    for entry in s3_quant::METHODS.iter().filter(|m| m.name != "fp32") {
        assert!(CASES.iter().any(|c| c.1 == entry.name), "{}", entry.name);
    }
    Ok(())
}
