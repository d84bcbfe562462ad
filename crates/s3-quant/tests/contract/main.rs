//! The contract that every registered method meets; a new method is held to it by being in the
//! list.

#[allow(unreachable_pub, reason = "as it stands in a method's own crate")]
mod binary;
mod made_up;
mod training;

use candle_core::{Device, Result, Tensor};
use s3_core::{Codes, KernelOp, LayerSpec, Params, Progress, Quantizer, Role, WeightForm};
use s3_quant::{Built, Entry, METHODS, entry};
use toml::Table;

/// A method of a test is one file and one line too.
const TEST_METHODS: &[Entry] = &[
    entry::<made_up::MadeUp>(), //
    entry::<binary::Binary>(),
];

/// Settings other than the defaults that are held to the contract as well.
const VARIANTS: &[(&str, &str)] = &[
    ("s3", "bits = 3\ngradient = 'square_root'"),
    (
        "s3",
        "bits = 4\ngradient = 'finite_difference'\ninit = 'dense'",
    ),
    ("s3", "bits = 4\nshifts = 3\nsign_slope = 2.0"),
    ("s3", "bits = 3\nclosed_gradient = 0.4\nclosed_until = 0.5"),
    ("twn", "threshold_factor = 0.75\ngranularity = 'filter'"),
    ("bwn", "centre = false"),
    ("binary_connect", "stochastic = true"),
    ("deepshift_q", "bits = 3\nrange = 'layer'"),
    ("deepshift_ps", "bits = 5\ninit = 'uniform'"),
    ("inq", "bits = 5\nfloat_share = 0.5\nportions = [0.6, 1.0]"),
    ("inq", "bits = 2\nportions = [0.5, 1.0, 1.0]"),
    ("sq", "ratios = [0.5, 1.0, 1.0]"),
    ("lrnet", "settle_share = 0.0"),
    ("staircase", "slope = 'one'"),
    ("staircase", "init = 'low_variance_dense'"),
    ("hwgq", "activation_bits = 2"),
    ("lqnet", "bits = 2\nactivation_bits = 2"),
    ("shiftcnn", "straight_through = true"),
];

/// Methods that never train with the weight they freeze: their training pass draws, or they
/// quantize after training.
const NEVER_FROZEN: &[&str] = &[
    "lrnet settle_share = 0.0",
    "shiftcnn",
    "binary_connect stochastic = true",
];

#[test]
fn the_worked_example_of_the_documentation_is_the_file_that_is_tested() {
    let page = include_str!("../../../../docs/METHODS.md");
    assert!(page.contains(&format!("```rust\n{}```\n", include_str!("binary.rs"))));
}

struct Case {
    name: String,
    entry: &'static Entry,
    settings: Table,
}

/// Every configuration that the contract is checked with: each method at each of its widths, and
/// the variants.
fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for entry in METHODS.iter().chain(TEST_METHODS) {
        for b in entry.bits {
            let mut settings = Table::new();
            if entry.build(settings.clone()).is_err() {
                settings.insert("bits".into(), i64::from(*b).into());
            }
            let name = format!("{} {b}", entry.name);
            out.push(Case {
                name,
                entry,
                settings,
            });
        }
    }
    for (name, settings) in VARIANTS {
        out.push(Case {
            name: format!("{name} {}", settings.replace('\n', ", ")),
            entry: s3_quant::find(name).expect("a registered method"),
            settings: settings.parse().expect("TOML"),
        });
    }
    out
}

fn layer() -> LayerSpec {
    LayerSpec {
        name: "conv".into(),
        shape: vec![6, 5, 3, 3],
        role: Role::Hidden,
    }
}

fn progress(step: u64, steps: u64) -> Progress {
    Progress {
        step,
        steps,
        epoch: (2 * step / steps) as usize,
        epochs: 2,
        seed: 5,
    }
}

impl Case {
    /// A quantizer that has not seen a step.
    fn fresh(&self, seed: u64) -> Result<(Params, Box<dyn Quantizer>)> {
        let Built { method, .. } = self.entry.build(self.settings.clone()).expect(&self.name);
        let params = Params::new(seed, &Device::Cpu);
        let q = method.quantizer(&layer(), &params.pp("conv.weight"))?;
        Ok((params, q))
    }

    /// A quantizer before its first step.
    fn quantizer(&self, seed: u64) -> Result<(Params, Box<dyn Quantizer>)> {
        let (params, mut q) = self.fresh(seed)?;
        q.advance(progress(0, 20))?;
        Ok((params, q))
    }

    fn never_frozen(&self) -> bool {
        let full = format!("{} {}", self.entry.name, self.settings);
        NEVER_FROZEN
            .iter()
            .any(|n| *n == self.entry.name || *n == full.trim())
    }
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().expect("flat").to_vec1().expect("f32")
}

fn bits(t: &Tensor) -> Vec<u32> {
    values(t).iter().map(|v| v.to_bits()).collect()
}

#[test]
fn the_weight_has_the_layers_shape_and_is_pure() -> Result<()> {
    for case in cases() {
        let (name, (_, q)) = (&case.name, case.quantizer(1)?);
        for weight in [Quantizer::weight, Quantizer::training_weight] {
            let w = weight(&*q)?;
            assert_eq!(w.dims(), layer().shape, "{name}");
            assert_eq!(bits(&w), bits(&weight(&*q)?), "{name}: two calls differ");
            assert!(values(&w).iter().any(|&v| v != 0.0), "{name}: all zero");
        }
    }
    Ok(())
}

#[test]
fn decoded_codes_equal_the_weight_exactly() -> Result<()> {
    for case in cases() {
        let (name, (_, q)) = (&case.name, case.quantizer(2)?);
        let weight = values(&q.weight()?);
        let Some(planes) = q.planes()? else {
            assert_eq!(q.form(), WeightForm::Float, "{name}: no codes");
            continue;
        };
        assert_eq!(Codes::decode_sum(&planes), weight, "{name}");
        match q.codes()? {
            Some(codes) => assert_eq!(vec![codes], planes, "{name}"),
            None => assert!(planes.len() > 1, "{name}: one plane is a code"),
        }
        let no_negative_zero = |v: &f32| *v != 0.0 || v.to_bits() == 0;
        assert!(weight.iter().all(no_negative_zero), "{name}: a -0.0");
        for plane in &planes {
            assert_eq!(plane.shape, layer().shape, "{name}");
            assert!(plane.decode().iter().all(no_negative_zero), "{name}: -0.0");
            let power = |l: &i32| *l == 0 || l.unsigned_abs().is_power_of_two();
            assert!(plane.levels.iter().all(power), "{name}: no power of two");
        }
    }
    Ok(())
}

#[test]
fn discrete_weights_use_no_more_values_than_their_bits_allow() -> Result<()> {
    for case in cases() {
        let (name, (_, q)) = (&case.name, case.quantizer(3)?);
        let WeightForm::Discrete { bits: width, .. } = q.form() else {
            continue;
        };
        for filter in bits(&q.weight()?).chunks_mut(45) {
            filter.sort_unstable();
            let different = 1 + filter.windows(2).filter(|w| w[0] != w[1]).count();
            assert!(different <= 1 << width, "{name}: {different} values");
        }
    }
    Ok(())
}

#[test]
fn the_operation_and_the_planes_are_those_of_the_codebook() -> Result<()> {
    // From 2^-8 to 1: every level of every method has weights.
    let wide: Vec<f32> = (0..270)
        .map(|i| (-(i % 90) as f32 / 11.0).exp2() * if i % 2 == 0 { 1.0 } else { -1.0 })
        .collect();
    let wide = Tensor::from_vec(wide, layer().shape, &Device::Cpu)?;
    for case in cases() {
        let (name, (_, mut q)) = (&case.name, case.fresh(3)?);
        let _random_start = q.start_from(&wide).is_err();
        q.advance(progress(0, 20))?;
        let (WeightForm::Discrete { bits: width, op }, Some(planes)) = (q.form(), q.planes()?)
        else {
            continue;
        };
        let several = match op {
            KernelOp::SumOfSignFlips => width as usize,
            KernelOp::SumOfTwoShifts => 2,
            KernelOp::Multiply | KernelOp::SignFlip | KernelOp::ShiftSignFlip => 1,
        };
        assert_eq!(planes.len(), several, "{name}");
        let one_magnitude = |plane: &Codes| {
            let mut sizes = plane.levels.iter().map(|l| l.abs()).filter(|l| *l != 0);
            let first = sizes.next();
            sizes.all(|size| Some(size) == first)
        };
        let flips = matches!(op, KernelOp::SignFlip | KernelOp::SumOfSignFlips);
        assert_eq!(planes.iter().all(one_magnitude), flips, "{name}: {op:?}");
    }
    Ok(())
}

#[test]
fn a_gradient_reaches_every_latent() -> Result<()> {
    for case in cases() {
        let (name, (params, q)) = (&case.name, case.quantizer(4)?);
        let g: Vec<f32> = (0..270).map(|i| ((i * 7919) % 13) as f32 - 6.0).collect();
        let g = Tensor::from_vec(g, layer().shape, &Device::Cpu)?;
        let mut loss = (q.training_weight()? * g)?.sum_all()?;
        if let Some(r) = q.penalty()? {
            loss = (loss + r)?;
        }
        let grads = loss.backward()?;
        for (path, p) in params.trainable() {
            let grad = grads
                .get(&p.var)
                .unwrap_or_else(|| panic!("{name}: no gradient for {path}"));
            assert!(values(grad).iter().all(|v| v.is_finite()), "{name}: {path}");
            assert!(
                values(grad).iter().any(|&v| v != 0.0),
                "{name}: {path} gets only zeros"
            );
        }
    }
    Ok(())
}

#[test]
fn the_same_seed_gives_the_same_bytes() -> Result<()> {
    for case in cases() {
        let name = &case.name;
        let weight = |seed| Ok::<_, candle_core::Error>(bits(&case.quantizer(seed)?.1.weight()?));
        assert_eq!(weight(7)?, weight(7)?, "{name}");
        assert_ne!(weight(7)?, weight(8)?, "{name}");
    }
    Ok(())
}

#[test]
fn a_pretrained_start_leaves_nothing_of_the_random_one() -> Result<()> {
    let float: Vec<f32> = (0..270)
        .map(|i| ((i * 37 % 101) as f32 - 50.3) / 80.0)
        .collect();
    let float = Tensor::from_vec(float, layer().shape, &Device::Cpu)?;
    let mut started = 0;
    for case in cases() {
        let (name, mut seen) = (&case.name, Vec::new());
        for seed in [1, 2] {
            let (params, mut q) = case.fresh(seed)?;
            if q.start_from(&float).is_err() {
                continue;
            }
            q.advance(progress(0, 20))?;
            let all = params.all();
            seen.push(all.values().map(|p| bits(&p.var)).collect::<Vec<_>>());
        }
        if let [a, b] = &seen[..] {
            assert_eq!(a, b, "{name}");
            started += 1;
        }
    }
    assert!(started > METHODS.len());
    Ok(())
}

#[test]
fn at_the_end_nothing_is_left_continuous() -> Result<()> {
    for case in cases().into_iter().filter(|c| !c.never_frozen()) {
        let (name, (_, mut q)) = (&case.name, case.quantizer(6)?);
        (1..20).try_for_each(|step| q.advance(progress(step, 20)))?;
        let (trained, frozen) = (bits(&q.training_weight()?), bits(&q.weight()?));
        assert_eq!(trained, frozen, "{name}");
    }
    Ok(())
}
