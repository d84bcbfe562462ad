//! The contract that every registered method meets; a new method is held to it by being in the
//! list.

use candle_core::{Device, Result, Tensor};
use s3_core::penalty::objective;
use s3_core::{Codes, LayerSpec, Params, Progress, Quantizer, Role, WeightForm};
use s3_quant::{Built, Entry, METHODS};
use toml::Table;

/// Every configuration that the contract is checked with: each method at each of its widths.
fn configurations() -> Vec<(String, Table)> {
    let mut out = Vec::new();
    for Entry { name, bits, .. } in METHODS {
        for b in *bits {
            let mut table = Table::new();
            table.insert("name".into(), (*name).into());
            if s3_quant::build(&table).is_err() {
                table.insert("bits".into(), i64::from(*b).into());
            }
            out.push((format!("{name} {b}"), table));
        }
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

fn progress(step: u64) -> Progress {
    Progress {
        step,
        steps: 20,
        epoch: step as usize / 10,
        epochs: 2,
        seed: 5,
    }
}

fn quantizer(table: &Table, seed: u64) -> Result<(Params, Box<dyn Quantizer>)> {
    let Built { method, .. } = s3_quant::build(table).expect("a valid configuration");
    let params = Params::new(seed, &Device::Cpu);
    let mut q = method.quantizer(&layer(), &params.pp("conv.weight"))?;
    q.advance(progress(0))?;
    Ok((params, q))
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().expect("flat").to_vec1().expect("f32")
}

fn bits(t: &Tensor) -> Vec<u32> {
    values(t).iter().map(|v| v.to_bits()).collect()
}

#[test]
fn the_weight_has_the_layers_shape_and_is_pure() -> Result<()> {
    for (name, table) in configurations() {
        let (_, q) = quantizer(&table, 1)?;
        let w = q.weight()?;
        assert_eq!(w.dims(), layer().shape, "{name}");
        assert_eq!(bits(&w), bits(&q.weight()?), "{name}: two calls differ");
        assert!(values(&w).iter().any(|&v| v != 0.0), "{name}: all zero");
    }
    Ok(())
}

#[test]
fn decoded_codes_equal_the_weight_exactly() -> Result<()> {
    for (name, table) in configurations() {
        let (_, q) = quantizer(&table, 2)?;
        let Some(codes) = q.codes()? else { continue };
        assert_eq!(codes.shape, layer().shape, "{name}");
        let decoded = codes.decode();
        assert_eq!(decoded, values(&q.weight()?), "{name}");
        assert!(
            decoded
                .iter()
                .chain(&values(&q.weight()?))
                .all(|v| *v != 0.0 || v.to_bits() == 0),
            "{name}: a -0.0"
        );
        assert!(
            codes
                .levels
                .iter()
                .all(|&l| l == 0 || l.unsigned_abs().is_power_of_two()),
            "{name}: a level that is no power of two"
        );
    }
    Ok(())
}

#[test]
fn discrete_weights_use_no_more_values_than_their_bits_allow() -> Result<()> {
    for (name, table) in configurations() {
        let (_, q) = quantizer(&table, 3)?;
        let WeightForm::Discrete { bits, .. } = q.form() else {
            continue;
        };
        let Some(Codes { mut levels, .. }) = q.codes()? else {
            continue;
        };
        levels.sort_unstable();
        levels.dedup();
        assert!(levels.len() <= 1 << bits, "{name}: {levels:?}");
    }
    Ok(())
}

#[test]
fn a_gradient_reaches_every_latent() -> Result<()> {
    for (name, table) in configurations() {
        let (params, q) = quantizer(&table, 4)?;
        let g: Vec<f32> = (0..270).map(|i| ((i * 7919) % 13) as f32 - 6.0).collect();
        let g = Tensor::from_vec(g, layer().shape, &Device::Cpu)?;
        let mut loss = (q.weight()? * g)?.sum_all()?;
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
    for (name, table) in configurations() {
        let (a, b, c) = (
            quantizer(&table, 7)?.1,
            quantizer(&table, 7)?.1,
            quantizer(&table, 8)?.1,
        );
        assert_eq!(bits(&a.weight()?), bits(&b.weight()?), "{name}");
        assert_ne!(bits(&a.weight()?), bits(&c.weight()?), "{name}");
    }
    Ok(())
}

/// Plain SGD on `½ Σ (w - target)² + alpha · penalty`; returns the first term. A zero S3 weight whose
/// sign is wrong has a loss gradient of size 1 that keeps it zero, which alpha = 2 outweighs.
fn train(params: &Params, q: &mut Box<dyn Quantizer>, steps: std::ops::Range<u64>) -> Result<f64> {
    let target: Vec<f32> = (0..270)
        .map(|i| if i % 3 == 0 { 1.0 } else { -1.0 })
        .collect();
    let target = Tensor::from_vec(target, layer().shape, &Device::Cpu)?;
    let mut last = f64::NAN;
    for step in steps {
        q.advance(progress(step))?;
        let loss = ((q.weight()? - &target)?.sqr()?.sum_all()? * 0.5)?;
        last = f64::from(loss.to_scalar::<f32>()?);
        let penalties: Vec<Tensor> = q.penalty()?.into_iter().collect();
        let grads = objective(&loss, 2.0, &penalties)?.backward()?;
        for (_, p) in params.trainable() {
            let g = grads.get(&p.var).expect("every latent has a gradient");
            p.var.set(&(p.var.as_tensor() - (g * 0.02)?)?.detach())?;
        }
    }
    Ok(last)
}

#[test]
fn saving_and_loading_in_the_middle_changes_nothing() -> Result<()> {
    for (name, table) in configurations() {
        let (whole, mut q) = quantizer(&table, 9)?;
        train(&whole, &mut q, 0..20)?;

        let (first, mut half) = quantizer(&table, 9)?;
        train(&first, &mut half, 0..10)?;
        let (second, mut rest) = quantizer(&table, 1000)?;
        for (path, p) in second.all() {
            p.var.set(&first.all()[&path].var.as_tensor().copy()?)?;
        }
        train(&second, &mut rest, 10..20)?;
        assert_eq!(bits(&q.weight()?), bits(&rest.weight()?), "{name}");
        for (path, p) in whole.all() {
            assert_eq!(
                bits(&p.var),
                bits(&second.all()[&path].var),
                "{name}: {path}"
            );
        }
    }
    Ok(())
}

#[test]
fn every_method_fits_a_small_target() -> Result<()> {
    for (name, table) in configurations() {
        let (params, mut q) = quantizer(&table, 10)?;
        let before = train(&params, &mut q, 0..1)?;
        let after = train(&params, &mut q, 1..200)?;
        assert!(after < 0.1 * before, "{name}: {before} -> {after}");
    }
    Ok(())
}
