//! Figure 4: how often signs change and how many weights are low, layer by layer, while a full-precision, a
//! ternary and an S3 network train.

use serde_json::Value;

use super::page::{
    Page, Runs, layer_curves, mean, mean_curve, points, quantized, spread, spread_of, zeros,
};
use super::plan::{Plan, Row};

pub(super) const PLAN: Plan = Plan {
    name: "fig4",
    rows: &[
        Row::of(FLOAT),
        Row::of(QUANTIZER),
        Row::of(S3),
        Row::of(NARROW),
    ],
    epochs: [&[30], &[150]],
    seeds: 1,
    layers: &["wsvr", "wsvr_with_zero", "wsvr_latent", "wlvr"],
    page,
};

const FLOAT: &str = "fp32";
const QUANTIZER: &str = "twn";
const S3: &str = "s3-2bit";
const NARROW: &str = "s3-2bit-low_variance";

const INTRODUCTION: &str = "\
# Figure 4: weight dynamics of ResNet-20 on CIFAR-10

Written by `cargo xtask repro fig4`, from the records of the runs in fig4.jsonl; `--check` compares. The paper's setting is
150 epochs with a snapshot every 10 (`--budget full`); a shorter run takes 15 snapshots as well. The rows are the recipes
`xtask/experiments/cifar10/resnet20-ROW.toml`: full precision, a ternary quantizer (TWN), S3 with 2 bits as the authors
start it, and S3 from a narrow start. The images are a JPEG copy of CIFAR-10.

- *WSVR*: the share of a layer's weights, of those that the network computes with, that have the opposite sign of the
  snapshot before; a weight that is 0 at either counts as unchanged. *With 0 as a third sign* it counts as changed: the paper
  does not say which it means. *WSVR of w_sign*: of S3's sign latent, which also moves where the weight is 0.
- *WLVR*: the share of weights within 3 % of the layer's largest; of a discrete layer the share that is 0.
- Tables give the mean over the quantized layers (all but the first and the last); every curve is one layer, pale at the
  front of the network and dark at its end, of seed 1.

What the paper says of its Figure 4 (section 5.2):

1. full precision has high WSVRs at the beginning, which decrease to zero in the end;
2. the WSVRs of the ternary quantizer are low during the whole training;
3. S3's WSVRs differ from full precision initially and align with it in the rest of the training;
4. full precision's WLVRs rise, the quantizer's fall, S3's follow full precision.
";

fn page(plan: &Plan, records: &[Value]) -> Page {
    Page::new(INTRODUCTION).sections(plan, records, |page, runs| {
        accuracy(page, runs);
        rates(page, runs, "WSVR between snapshots", "wsvr");
        rates(
            page,
            runs,
            "WSVR of w_sign between snapshots",
            "wsvr_latent",
        );
        rates(page, runs, "WLVR", "wlvr");
        claims(page, runs);
        pictures(plan, page, runs);
    })
}

fn accuracy(page: &mut Page, runs: &Runs<'_>) {
    page.head(&["row", "test top-1", "zero weights", "n"]);
    for row in runs.rows {
        let done = runs.of(row);
        if done.is_empty() {
            page.row(&[row.name, &runs.absence(row), "", ""]);
            continue;
        }
        page.row(&[
            row.name,
            &spread(&runs.top1(row.name)),
            &spread(&zeros(&done)),
            &runs.seeds(row),
        ]);
    }
}

/// The snapshots that a table shows: five from the first to the last.
fn shown(n: usize) -> Vec<usize> {
    let mut at: Vec<usize> = (0..5).map(|i| i * n.saturating_sub(1) / 4).collect();
    at.dedup();
    at
}

fn rates(page: &mut Page, runs: &Runs<'_>, title: &str, key: &str) {
    let mut curves = Vec::new();
    for row in runs.rows {
        let of_seeds: Vec<_> = runs.of(row).iter().map(|r| mean_curve(r, key)).collect();
        if of_seeds.iter().any(|c| !c.is_empty()) {
            curves.push((row.name, of_seeds));
        }
    }
    let Some(first) = curves.first().and_then(|c| c.1.first()) else {
        return;
    };
    let at = shown(first.len());
    page.line(&format!("\n{title}, in %, at the end of epoch:\n"));
    let epochs: Vec<String> = at.iter().map(|&i| first[i].0.to_string()).collect();
    let mut head = vec!["row"];
    head.extend(epochs.iter().map(String::as_str));
    page.head(&head);
    for (name, seeds) in &curves {
        let mut cells = vec![(*name).to_owned()];
        for &i in &at {
            let values = seeds.iter().filter_map(|c| c.get(i));
            let values: Vec<f64> = values.map(|p| 100.0 * p.1).collect();
            cells.push(spread_of(&values, 2));
        }
        page.row(&cells);
    }
}

/// The mean distance between two curves over the snapshots after the first third.
fn distance(a: &[(f64, f64)], b: &[(f64, f64)]) -> f64 {
    let both: Vec<f64> = a.iter().zip(b).map(|(a, b)| (a.1 - b.1).abs()).collect();
    mean(&both[both.len() / 3..])
}

/// How many layers end above where they begin, and how many there are.
fn rising(record: &Value, key: &str) -> (usize, usize) {
    let layers = quantized(record).into_iter().map(|l| points(l, key));
    let ends: Vec<(f64, f64)> = layers
        .filter_map(|p| Some((p.first()?.1, p.last()?.1)))
        .collect();
    (ends.iter().filter(|(a, b)| b > a).count(), ends.len())
}

/// The paper's claims with our numbers, of seed 1 each.
fn claims(page: &mut Page, runs: &Runs<'_>) {
    let first = |name| runs.named(name).first().copied();
    let (Some(float), Some(quantizer)) = (first(FLOAT), first(QUANTIZER)) else {
        return;
    };
    page.line("\nThe claims, each with the rule that decides it:\n");
    let verdict = |holds: bool| {
        if holds {
            "**holds**"
        } else {
            "**does not hold**"
        }
    };
    let wsvr = |r| mean_curve(r, "wsvr");
    let ends = |c: &[(f64, f64)]| {
        let of = |p: Option<&(f64, f64)>| p.map_or(f64::NAN, |p| 100.0 * p.1);
        (of(c.first()), of(c.last()))
    };
    let (f, q) = (wsvr(float), wsvr(quantizer));
    let (begin, end) = ends(&f);
    page.line(&format!(
        "1. {} (the last interval has less than a quarter of the first): full precision's mean WSVR goes from \
         {begin:.2} % to {end:.2} %.",
        verdict(end < begin / 4.0)
    ));
    let most = q.iter().zip(&f).filter(|(q, f)| q.1 < f.1).count();
    let (q_begin, q_end) = ends(&q);
    page.line(&format!(
        "2. {} (below full precision in every interval, and less than half of it in the first): the quantizer's mean \
         WSVR goes from {q_begin:.2} % to {q_end:.2} %, and is the lower one in {most} of {} intervals.",
        verdict(most == f.len() && q_begin < begin / 2.0),
        f.len()
    ));
    for name in [S3, NARROW] {
        let Some(s3) = first(name) else { continue };
        let s = wsvr(s3);
        let (s_begin, s_end) = ends(&s);
        let (ours, theirs) = (distance(&s, &f), distance(&q, &f));
        page.line(&format!(
            "3. {name}: {} (after the first third of the snapshots closer to full precision than the quantizer is): its \
             mean WSVR goes from {s_begin:.2} % to {s_end:.2} %; its mean distance to full precision is {:.2} points, \
             the quantizer's {:.2}.",
            verdict(ours < theirs),
            100.0 * ours,
            100.0 * theirs
        ));
    }
    let mut trends = Vec::new();
    let rises = |record: &Value, name: &str, trends: &mut Vec<String>| {
        let (up, all) = rising(record, "wlvr");
        trends.push(format!("{name} in {up} of {all}"));
        2 * up > all
    };
    let float_rises = rises(float, FLOAT, &mut trends);
    let quantizer_rises = rises(quantizer, QUANTIZER, &mut trends);
    let mut s3_rises = true;
    for name in [S3, NARROW] {
        if let Some(s3) = first(name) {
            s3_rises &= rises(s3, name, &mut trends);
        }
    }
    page.line(&format!(
        "4. full precision rises: {}; the quantizer falls: {}; S3 rises: {} (in more than half of the layers the WLVR \
         is higher at the end than at the start: {}).",
        verdict(float_rises),
        verdict(!quantizer_rises),
        verdict(s3_rises),
        trends.join(", ")
    ));
}

fn pictures(plan: &Plan, page: &mut Page, runs: &Runs<'_>) {
    for (key, label) in [
        ("wsvr", "WSVR"),
        ("wsvr_with_zero", "WSVR, 0 a third sign"),
        ("wsvr_latent", "WSVR of w_sign"),
        ("wlvr", "WLVR"),
    ] {
        let mut drawn = Vec::new();
        for row in runs.rows {
            let Some(record) = runs.of(row).first().copied() else {
                continue;
            };
            let curves: Vec<_> = quantized(record)
                .into_iter()
                .map(|l| (l["name"].as_str().unwrap_or("?").to_owned(), points(l, key)))
                .filter(|(_, points)| !points.is_empty())
                .collect();
            if !curves.is_empty() {
                let file = format!("{}-{}-{key}", row.name, runs.epochs);
                drawn.push(layer_curves(&file, row.name, label, &curves));
            }
        }
        page.pictures(plan, &format!("{label} of every quantized layer"), drawn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(row: &str, wsvr: [f64; 3], wlvr: [f64; 4]) -> Value {
        let layer = |role: &str, wsvr: [f64; 3]| {
            let [a, b, c] = wsvr;
            json!({"name": role, "role": role, "epochs": [0, 10, 20, 30], "wsvr": [null, a, b, c], "wlvr": wlvr})
        };
        json!({
            "row": row, "seed": 1, "epochs": 30, "test_top1": [0.8], "zeros": 0.25,
            "layers": [layer("first", [0.9; 3]), layer("hidden", wsvr), layer("shortcut", wsvr)],
        })
    }

    #[test]
    fn the_claims_are_decided_by_their_rules() {
        let rise = [0.1, 0.1, 0.2, 0.3];
        let records = [
            record("fp32", [0.4, 0.2, 0.05], rise),
            record("twn", [0.1, 0.1, 0.02], [0.4, 0.4, 0.3, 0.2]),
            record("s3-2bit", [0.05, 0.19, 0.05], rise),
        ];
        let text = page(&PLAN, &records).text;
        for sentence in [
            "1. **holds** (the last interval has less than a quarter of the first): full precision's mean WSVR goes from 40.00 % to 5.00 %.",
            "goes from 10.00 % to 2.00 %, and is the lower one in 3 of 3 intervals.",
            "3. s3-2bit: **holds** (after",
            "its mean distance to full precision is 0.50 points, the quantizer's 6.50.",
            "the quantizer falls: **holds**; S3 rises: **holds**",
            "fp32 in 2 of 2, twn in 0 of 2, s3-2bit in 2 of 2",
            "| s3-2bit-low_variance | not run yet |",
            "| fp32 | 40.00 | 20.00 | 5.00 |",
        ] {
            assert!(text.contains(sentence), "{sentence}\n{text}");
        }
        let opposite = page(
            &PLAN,
            &[
                record("fp32", [0.1, 0.2, 0.4], rise),
                record("twn", [0.2; 3], rise),
            ],
        );
        assert!(opposite.text.contains("1. **does not hold**"));
        assert!(opposite.text.contains("2. **does not hold**"));
    }
}
