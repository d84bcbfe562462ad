//! Figure 2: the density of a layer's weights in full precision and of those before a ternary
//! quantizer.

use s3_metrics::density::Density;
use s3_metrics::paired::{mean, spread, spread_of};
use s3_metrics::spec::{Axis, Named, Shown, Spec};

use super::page::{Page, Runs};
use super::plan::{Plan, Row};
use super::record::Record;

const FLOAT: &str = "fp32";
const QUANTIZER: &str = "twn";

pub(super) const PLAN: Plan = Plan {
    name: "fig2",
    rows: &[Row::of(FLOAT), Row::of(QUANTIZER)],
    epochs: [&[4], &[150]],
    seeds: 3,
    layers: &["latents"],
    page,
};

/// TWN's threshold over the mean size of a layer's weights.
const THRESHOLD: f64 = 0.7;
/// In units of the threshold: what is near it, what is near zero.
const NEAR_THRESHOLD: (f64, f64) = (0.8, 1.2);
const NEAR_ZERO: f64 = 0.4;
/// The ratio of a normal distribution, whose threshold is at 0.5585 deviations.
const NORMAL: f64 = 0.861;
/// The ends of the plots, in units of the threshold.
const SHOWN: f64 = 5.0;

const INTRODUCTION: &str = "\
# Figure 2: the density of weights, ResNet-20 on CIFAR-10

Written by `cargo xtask repro fig2`, from the records of the runs in fig2.jsonl; `--check` compares. The rows are the recipes
`xtask/experiments/cifar10/resnet20-ROW.toml`: full precision, and a ternary quantizer (TWN) whose continuous weights are
seen before they are quantized. The paper reads from its figure that *ternary weights are kept away from zero, preventing
weight sign change*.

The unit is the quantizer's threshold, delta = 0.7 mean|w| of the layer: a weight below it becomes 0. Measured against the layer's
largest weight instead, the two rows look alike, because TWN's largest is farther out.

- *ratio*: the density of a layer's continuous weights at 0.8 to 1.2 delta over that below 0.4 delta, both signs together, at
  the end of training, from the 64 bins that a record keeps; a mean over the quantized layers. Two peaks at the thresholds with a
  valley at zero have a ratio above 1; a normal distribution has 0.861.
- The ratio was chosen after the runs of 4 epochs had been seen: they suggest what it says and cannot confirm it. Longer
  runs can.
- *largest*: max|w| / mean|w|.
- The pictures are of seed 1: density of w / delta, which integrates to 1, with both thresholds dashed.
";

fn page(plan: &Plan, records: &[Record]) -> Page {
    Page::new(INTRODUCTION)
        .with_differences()
        .sections(plan, records, |page, runs| {
            let columns = ["test top-1", "ratio", "largest"];
            page.rows(runs, &columns, |row, done| {
                let of = |f: &dyn Fn(&Density) -> Option<f64>| -> Vec<f64> {
                    done.iter().map(|r| of_layers(r, f)).collect()
                };
                vec![
                    spread(&runs.top1(row.name)),
                    spread_of(&of(&ratio), 3),
                    spread_of(&of(&|d| Some(1.0 / d.mean_size()?)), 2),
                ]
            });
            claim(page, runs);
            plots(plan, page, runs);
        })
}

/// The quantizer's threshold for a layer, in the unit of its density.
fn threshold(density: &Density) -> Option<f64> {
    Some(THRESHOLD * density.mean_size()?)
}

/// How much denser weights lie at the threshold than at zero.
fn ratio(density: &Density) -> Option<f64> {
    let threshold = threshold(density)?;
    let of = |low: f64, high: f64| density.of_sizes(low * threshold, high * threshold);
    let (low, high) = NEAR_THRESHOLD;
    Some(of(low, high) / of(0.0, NEAR_ZERO))
}

/// The hidden layers with the density of the weight that the optimizer sees.
fn densities(record: &Record) -> Vec<(&str, &Density)> {
    let hidden = record.layers().iter().filter(|l| l.role == "hidden");
    hidden
        .filter_map(|l| {
            let weight = l.latents.iter().find(|l| l.name == "weight")?;
            Some((l.name.as_str(), &weight.density))
        })
        .collect()
}

fn of_layers(record: &Record, of: &dyn Fn(&Density) -> Option<f64>) -> f64 {
    let found = densities(record).into_iter().filter_map(|(_, d)| of(d));
    mean(&found.collect::<Vec<_>>())
}

fn claim(page: &mut Page, runs: &Runs<'_>) {
    let (float, ternary) = (runs.named(FLOAT), runs.named(QUANTIZER));
    let (mut higher, mut all) = (0, 0);
    for f in &float {
        let Some(t) = ternary.iter().find(|t| t.seed == f.seed) else {
            continue;
        };
        for ((_, f), (_, t)) in densities(f).into_iter().zip(densities(t)) {
            if let (Some(f), Some(t)) = (ratio(f), ratio(t)) {
                all += 1;
                higher += usize::from(t > f);
            }
        }
    }
    if all == 0 {
        return;
    }
    let sample = |name: &str| runs.sample_of(name, |r| Some(of_layers(r, &ratio)));
    let ternary = sample(QUANTIZER);
    let difference = ternary.less(&sample(FLOAT));
    let away = difference.verdict(0.0).of_claim();
    page.line(&format!(
        "\nThe ratio of {QUANTIZER} less that of {FLOAT}: {} of {} seeds; it is higher in {higher} \
         of {all} pairs of a layer and a seed. That the quantizer moves weights from zero to its \
         thresholds, in {} epochs: {away}. Its own ratio is {} where a normal distribution has \
         {NORMAL}: {} weights stand at the thresholds than at zero.",
        difference.cell(),
        difference.pairs.len(),
        runs.epochs,
        spread_of(&ternary.values(), 3),
        match mean(&ternary.values()) > 1.0 {
            true => "more",
            false => "fewer",
        }
    ));
}

/// A density in units of the threshold.
fn in_thresholds(density: &Density) -> Option<Density> {
    let threshold = threshold(density)?;
    Some(Density {
        low: density.low / threshold,
        high: density.high / threshold,
        ..density.clone()
    })
}

fn plots(plan: &Plan, page: &mut Page, runs: &Runs<'_>) {
    let first = |name| runs.named(name).first().copied();
    let all: Vec<(&str, Vec<(&str, &Density)>)> = [FLOAT, QUANTIZER]
        .into_iter()
        .filter_map(|name| Some((name, densities(first(name)?))))
        .collect();
    let Some((_, layers)) = all.first() else {
        return;
    };
    let mut at = vec![0, layers.len() / 2, layers.len().saturating_sub(1)];
    at.dedup();
    let mut drawn = Vec::new();
    for i in at {
        let Some((layer, _)) = layers.get(i) else {
            continue;
        };
        let named = |(name, layers): &(&str, Vec<(&str, &Density)>)| {
            let (name, density) = ((*name).to_owned(), in_thresholds(layers.get(i)?.1)?);
            Some(Named { name, density })
        };
        drawn.push(Spec {
            file: format!("{}-{}", layer.replace('.', "-"), runs.epochs),
            title: (*layer).to_owned(),
            size: None,
            shown: Shown::Densities {
                x: Axis::plain("w / delta")
                    .between(-SHOWN, SHOWN)
                    .marked(&[-1.0, 1.0]),
                y: Axis::plain("density"),
                densities: all.iter().filter_map(named).collect(),
            },
        });
    }
    page.plots(plan, "Density of the continuous weights of a layer", drawn);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// 40 bins from -1 to 1: as many weights in each of those whose size the function picks.
    fn density(count: impl Fn(f64) -> u32) -> Value {
        let bin = |i: u32| count(((f64::from(i) + 0.5) / 20.0 - 1.0).abs());
        json!({"scale": 1.0, "low": -1.0, "high": 1.0, "outside": 0, "not_finite": 0,
            "counts": (0..40).map(bin).collect::<Vec<_>>()})
    }

    #[test]
    fn the_ratio_is_that_of_the_densities_in_units_of_the_threshold() {
        let of = |count: &dyn Fn(f64) -> u32| -> Density {
            serde_json::from_value(density(count)).expect("a density")
        };
        // Evenly spread, the mean size is 1/2 and the ratio is 1 whatever the bins.
        let even = of(&|_| 7);
        let near = |found: Option<f64>, wanted: f64, off: f64| {
            let found = found.expect("weights");
            assert!((found - wanted).abs() < off, "{found}, expected {wanted}");
        };
        near(even.mean_size(), 0.5, 1e-12);
        near(threshold(&even), 0.35, 1e-12);
        near(ratio(&even), 1.0, 1e-12);
        // 280 weights in a length of 2, both sides of it together.
        near(Some(even.of_sizes(0.0, 0.35)), 2.0 * 140.0, 1e-9);
        near(
            ratio(&of(&|x| (1e6 * (-12.5 * x * x).exp()) as u32)),
            NORMAL,
            0.01,
        );
        assert!(ratio(&of(&|_| 0)).is_none());
    }

    #[test]
    fn weights_at_the_thresholds_and_not_at_zero_have_a_high_ratio() {
        let record = |row: &str, seed: u32, middle: u32| {
            let density = density(|x| if x < 0.1 { middle } else { 10 + seed });
            let layer = json!({"name": "layer1.0.conv1", "role": "hidden",
                "latents": [{"name": "weight", "density": density}]});
            let (test, layers) = ([0.5], [layer]);
            Record::of(json!({
                "row": row, "seed": seed, "epochs": 4, "test_top1": test, "layers": layers,
            }))
        };
        let mut records = Vec::new();
        for seed in 1..=3 {
            records.extend([record(FLOAT, seed, 12), record(QUANTIZER, seed, 2)]);
        }
        let page = page(&PLAN, &records);
        for words in [
            "of 3 seeds; it is higher in 3 of 3 pairs of a layer and a seed",
            "in 4 epochs: **holds**",
            ": more weights stand at the thresholds than at zero.",
        ] {
            assert!(page.text.contains(words), "{words}\n{}", page.text);
        }
        assert_eq!(page.files()[1], "layer1-0-conv1-4-dark.svg");
        let Shown::Densities { x, densities, .. } = &page.plots[0].shown else {
            panic!("densities")
        };
        assert_eq!((x.marks.as_slice(), densities.len()), (&[-1.0, 1.0][..], 2));
        // One seed is no claim.
        let one = super::page(&PLAN, &records[..2]).text;
        assert!(one.contains("in 4 epochs: no claim of one seed"), "{one}");
    }
}
