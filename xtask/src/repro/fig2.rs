//! Figure 2: the density of a layer's weights in full precision and of those before a ternary
//! quantizer.

use serde_json::{Value, json};

use super::interval::verdict;
use super::page::{Page, Runs, numbers};
use super::plan::{Plan, Row};
use super::sample::{mean, spread, spread_of};

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
/// The ends of the pictures, in units of the threshold.
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

fn page(plan: &Plan, records: &[Value]) -> Page {
    Page::new(INTRODUCTION)
        .with_differences()
        .sections(plan, records, |page, runs| {
            let columns = ["test top-1", "ratio", "largest"];
            page.rows(runs, &columns, |row, done| {
                let of = |f: &dyn Fn(&Shape) -> f64| -> Vec<f64> {
                    done.iter().map(|r| of_layers(r, f)).collect()
                };
                vec![
                    spread(&runs.top1(row.name)),
                    spread_of(&of(&Shape::ratio), 3),
                    spread_of(&of(&|s| 1.0 / s.mean), 2),
                ]
            });
            claim(page, runs);
            pictures(plan, page, runs);
        })
}

/// The weights of a layer over its largest, as counts of equal bins.
struct Shape {
    counts: Vec<f64>,
    low: f64,
    high: f64,
    /// Of the sizes of the weights.
    mean: f64,
}

impl Shape {
    fn of(density: &Value) -> Option<Self> {
        let mut shape = Self {
            counts: numbers(&density["counts"]),
            low: density["low"].as_f64()?,
            high: density["high"].as_f64()?,
            mean: 0.0,
        };
        let all: f64 = shape.counts.iter().sum();
        let sizes = shape
            .bins()
            .map(|(low, high, count)| count * (0.5 * (low + high)).abs());
        shape.mean = sizes.sum::<f64>() / all;
        (all > 0.0).then_some(shape)
    }

    /// Each bin's ends and count.
    fn bins(&self) -> impl Iterator<Item = (f64, f64, f64)> {
        let width = (self.high - self.low) / self.counts.len() as f64;
        let bin = move |(i, &count): (usize, &f64)| {
            let low = self.low + i as f64 * width;
            (low, low + width, count)
        };
        self.counts.iter().enumerate().map(bin)
    }

    fn threshold(&self) -> f64 {
        THRESHOLD * self.mean
    }

    /// The density of sizes between two multiples of the threshold; a bin's weights lie evenly in
    /// it.
    fn density(&self, from: f64, to: f64) -> f64 {
        let (from, to) = (from * self.threshold(), to * self.threshold());
        let sides = [(from, to), (-to, -from)];
        let within = |(low, high, count): (f64, f64, f64)| {
            let shared = |(a, b): (f64, f64)| (high.min(b) - low.max(a)).max(0.0);
            count * sides.into_iter().map(shared).sum::<f64>() / (high - low)
        };
        self.bins().map(within).sum::<f64>() / (to - from)
    }

    /// How much denser weights lie at the threshold than at zero.
    fn ratio(&self) -> f64 {
        let (low, high) = NEAR_THRESHOLD;
        self.density(low, high) / self.density(0.0, NEAR_ZERO)
    }
}

/// The hidden layers with the density of the weight that the optimizer sees.
fn densities(record: &Value) -> Vec<(&str, &Value)> {
    let layers = record["layers"].as_array().into_iter().flatten();
    let hidden = layers.filter(|l| l["role"] == "hidden");
    hidden
        .filter_map(|l| {
            let latents = l["latents"].as_array()?;
            let weight = latents.iter().find(|l| l["name"] == "weight")?;
            Some((l["name"].as_str()?, &weight["density"]))
        })
        .collect()
}

fn of_layers(record: &Value, of: &dyn Fn(&Shape) -> f64) -> f64 {
    let shapes = densities(record)
        .into_iter()
        .filter_map(|(_, d)| Shape::of(d));
    mean(&shapes.map(|s| of(&s)).collect::<Vec<_>>())
}

fn claim(page: &mut Page, runs: &Runs<'_>) {
    let (float, ternary) = (runs.named(FLOAT), runs.named(QUANTIZER));
    let (mut higher, mut all) = (0, 0);
    for f in &float {
        let Some(t) = ternary.iter().find(|t| t["seed"] == f["seed"]) else {
            continue;
        };
        for ((_, f), (_, t)) in densities(f).into_iter().zip(densities(t)) {
            if let (Some(f), Some(t)) = (Shape::of(f), Shape::of(t)) {
                all += 1;
                higher += usize::from(t.ratio() > f.ratio());
            }
        }
    }
    if all == 0 {
        return;
    }
    let sample = |name: &str| runs.sample_of(name, |r| Some(of_layers(r, &Shape::ratio)));
    let ternary = sample(QUANTIZER);
    let difference = ternary.less(&sample(FLOAT));
    let away = verdict(difference.interval().as_ref(), 0.0).of_claim();
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

/// A density in units of the threshold, as `s3 plot` reads it.
fn in_thresholds(density: &Value) -> Option<Value> {
    let shape = Shape::of(density)?;
    let mut scaled = density.clone();
    scaled["low"] = json!(shape.low / shape.threshold());
    scaled["high"] = json!(shape.high / shape.threshold());
    Some(scaled)
}

fn pictures(plan: &Plan, page: &mut Page, runs: &Runs<'_>) {
    let first = |name| runs.named(name).first().copied();
    let all: Vec<(&str, Vec<(&str, &Value)>)> = [FLOAT, QUANTIZER]
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
        let shown: Vec<Value> = all
            .iter()
            .filter_map(|(name, layers)| {
                Some(json!({"name": name, "density": in_thresholds(layers.get(i)?.1)?}))
            })
            .collect();
        let file = format!("{}-{}", layer.replace('.', "-"), runs.epochs);
        drawn.push(json!({
            "file": file, "kind": "densities", "title": layer,
            "x": {"label": "w / delta", "scale": "plain", "ends": [-SHOWN, SHOWN], "marks": [-1.0,
            1.0]},
            "y": {"label": "density", "scale": "plain"},
            "densities": shown,
        }));
    }
    page.pictures(plan, "Density of the continuous weights of a layer", drawn);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 40 bins from -1 to 1: as many weights in each of those whose size the function picks.
    fn density(count: impl Fn(f64) -> u32) -> Value {
        let bin = |i: u32| count(((f64::from(i) + 0.5) / 20.0 - 1.0).abs());
        json!({"scale": 1.0, "low": -1.0, "high": 1.0,
            "counts": (0..40).map(bin).collect::<Vec<_>>()})
    }

    #[test]
    fn the_ratio_is_that_of_the_densities_in_units_of_the_threshold() {
        // Evenly spread, the mean size is 1/2 and the ratio is 1 whatever the bins.
        let even = Shape::of(&density(|_| 7)).expect("weights");
        assert!((even.mean - 0.5).abs() < 1e-12, "{}", even.mean);
        assert!((even.threshold() - 0.35).abs() < 1e-12);
        assert!((even.ratio() - 1.0).abs() < 1e-12, "{}", even.ratio());
        // Of 140 weights 0.4 of a density of 140 a unit: both sides of it together.
        assert!((even.density(0.0, 1.0) - 2.0 * 140.0).abs() < 1e-9);
        let normal =
            Shape::of(&density(|x| (1e6 * (-12.5 * x * x).exp()) as u32)).expect("weights");
        assert!((normal.ratio() - NORMAL).abs() < 0.01, "{}", normal.ratio());
        assert!(Shape::of(&density(|_| 0)).is_none());
    }

    #[test]
    fn weights_at_the_thresholds_and_not_at_zero_have_a_high_ratio() {
        let record = |row: &str, seed: u32, middle: u32| {
            let density = density(|x| if x < 0.1 { middle } else { 10 + seed });
            let layer = json!({"name": "layer1.0.conv1", "role": "hidden",
                "latents": [{"name": "weight", "density": density}]});
            json!({"row": row, "seed": seed, "epochs": 4, "test_top1": [0.5], "layers": [layer]})
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
        assert_eq!(page.pictures[0]["x"]["marks"], json!([-1.0, 1.0]));
        // One seed is no claim.
        let one = super::page(&PLAN, &records[..2]).text;
        assert!(one.contains("in 4 epochs: no claim of one seed"), "{one}");
    }
}
