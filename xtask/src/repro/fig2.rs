//! Figure 2: the density of a layer's weights in full precision and of those before a ternary quantizer.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::page::{Page, Runs, numbers};
use super::plan::{Plan, Row};
use super::sample::{comparison_of, mean, spread, spread_of};

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

const INTRODUCTION: &str = "\
# Figure 2: the density of weights, ResNet-20 on CIFAR-10

Written by `cargo xtask repro fig2`, from the records of the runs in fig2.jsonl; `--check` compares. The rows are the recipes
`xtask/experiments/cifar10/resnet20-ROW.toml`: full precision, and a ternary quantizer (TWN) whose continuous weights are
seen before they are quantized. The paper reads from its figure that *ternary weights are kept away from zero, preventing
weight sign change*.

- *near zero*: the share of a layer's continuous weights within 1/32 of its largest (the two bins at zero of the 64 that a
  record keeps), at the end of training; a mean over the quantized layers.
- It is one number of the picture: whether two peaks stand apart on both sides of zero is for the eye.
- The pictures are of seed 1: density of w / max|w|, which integrates to 1.
";

fn page(plan: &Plan, records: &[Value]) -> Page {
    Page::new(INTRODUCTION).sections(plan, records, |page, runs| {
        page.rows(runs, &["test top-1", "near zero, %"], |row, done| {
            vec![spread(&runs.top1(row.name)), spread_of(&of_seeds(done), 2)]
        });
        claim(page, runs);
        pictures(plan, page, runs);
    })
}

/// The quantized layers with the density of the weight that the optimizer sees.
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

/// The share of a density's weights in its two bins at zero, in %.
fn near_zero(density: &Value) -> f64 {
    let counts = numbers(&density["counts"]);
    let middle = counts.len() / 2;
    if middle == 0 {
        return f64::NAN;
    }
    100.0 * (counts[middle - 1] + counts[middle]) / counts.iter().sum::<f64>()
}

fn of_seeds(records: &[&Value]) -> Vec<f64> {
    let of = |r: &&Value| -> Vec<f64> { densities(r).iter().map(|(_, d)| near_zero(d)).collect() };
    records.iter().map(|r| mean(&of(r))).collect()
}

fn claim(page: &mut Page, runs: &Runs<'_>) {
    let (float, ternary) = (runs.named(FLOAT), runs.named(QUANTIZER));
    let (Some(f), Some(t)) = (float.first(), ternary.first()) else {
        return;
    };
    let sample = |name: &str| runs.sample_of(name, |r| of_seeds(&[r]).first().copied());
    let said = comparison_of(
        &sample(QUANTIZER),
        &sample(FLOAT),
        ["has more weights near zero", "has fewer weights near zero"],
    );
    let (f, t) = (densities(f), densities(t));
    let less = f
        .iter()
        .zip(&t)
        .filter(|(f, t)| near_zero(t.1) < near_zero(f.1))
        .count();
    page.line(&format!(
        "\nWeights near zero: {said}. Of seed 1, {less} of {} layers have fewer of them before the quantizer than in full \
         precision.",
        f.len()
    ));
    let order = sample(QUANTIZER).order(&sample(FLOAT));
    let epochs = runs.epochs;
    let beside = match order {
        None => return,
        Some(Ordering::Less) => {
            format!("At {epochs} epochs this is what the paper reads from its figure.")
        }
        Some(_) => format!(
            "The paper's weights that keep away from zero are not seen at {epochs} epochs of this quantizer, whose gradient passes \
             unchanged."
        ),
    };
    page.line(&beside);
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
            .filter_map(|(name, layers)| Some(json!({"name": name, "density": layers.get(i)?.1})))
            .collect();
        let file = format!("{}-{}", layer.replace('.', "-"), runs.epochs);
        drawn.push(json!({
            "file": file, "kind": "densities", "title": layer,
            "x": {"label": "w / max|w|", "scale": "plain"}, "y": {"label": "density", "scale": "plain"},
            "densities": shown,
        }));
    }
    page.pictures(plan, "Density of the continuous weights of a layer", drawn);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_near_zero_are_those_of_the_middle_bins() {
        let record = |row: &str, seed: u32, middle: u32| {
            let density =
                json!({"scale": 1.0, "low": -1.0, "high": 1.0, "counts": [10, middle, middle, 10]});
            let layer = json!({"name": "layer1.0.conv1", "role": "hidden", "latents": [{"name": "weight", "density": density}]});
            json!({"row": row, "seed": seed, "epochs": 4, "test_top1": [0.5], "layers": [layer]})
        };
        let mut records = Vec::new();
        for seed in 1..=3 {
            records.extend([record(FLOAT, seed, 30), record(QUANTIZER, seed, 10)]);
        }
        let page = page(&PLAN, &records);
        for words in [
            "| fp32 | 50.00 % (50.00 .. 50.00) | 75.00 (75.00 .. 75.00) | 3 |",
            "At 4 epochs this is what the paper reads",
            "-25.00 points: twn has fewer weights near zero, its highest seed below the other's lowest. Of seed 1, 1 of 1 layers",
        ] {
            assert!(page.text.contains(words), "{words}\n{}", page.text);
        }
        assert_eq!(page.files()[1], "layer1-0-conv1-4-dark.svg");
    }
}
