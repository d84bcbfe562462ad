//! Figure 4: how often signs change and how many weights are low, layer by layer, while a full-precision, a
//! ternary and an S3 network train.

use serde_json::Value;

use super::page::{Page, Runs, layer_curves, mean_curve, points, quantized, share_axis, zeros};
use super::plan::{Plan, Row};
use super::sample::{mean, spread, spread_of};

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
    layers: &["wsvr", "wsvr_with_zero", "wsvr_latent", "flips", "wlvr"],
    page,
};

const FLOAT: &str = "fp32";
const QUANTIZER: &str = "twn";
const S3: &str = "s3-2bit-authors";
const NARROW: &str = "s3-2bit";

const INTRODUCTION: &str = "\
# Figure 4: weight dynamics of ResNet-20 on CIFAR-10

Written by `cargo xtask repro fig4`, from the records of the runs in fig4.jsonl; `--check` compares. The paper's setting is
150 epochs with a snapshot every 10 (`--budget full`); a shorter run takes as many of them, or one an epoch. The rows are the recipes
`xtask/experiments/cifar10/resnet20-ROW.toml`: full precision, a ternary quantizer (TWN), S3 with 2 bits as the authors
start it, and S3 from a narrow start.

- *WSVR*: the share of a layer's weights whose sign differs from the snapshot before. The paper does not say what the sign of
  0 is, nor whether a network's sign is that of the weight it computes with or of the continuous weight behind it. Three
  readings are kept apart: *no sign at 0* (both non-zero and opposite: a ternary weight that steps through 0 never counts),
  *0 a third sign*, and *latent* (the sign of the continuous weight before the quantizer, of `w_sign` in S3). Of full
  precision all three are the same.
- *WLVR*: the share of weights within 3 % of the layer's largest; of a discrete layer the share that is 0.
- Tables give the mean over the quantized layers (all but the first and the last) and over the seeds; every curve is one
  layer of the first seed, pale at the front of the network and dark at its end. Pictures side by side have the same y axis.
- A WSVR over fewer epochs than the paper's 10 is smaller than the paper's: compare shapes and rows, not sizes.

What the paper says of its Figure 4 (section 5.2), of networks over 91 %:

1. full precision has high WSVRs at the beginning, which decrease to zero in the end;
2. the WSVRs of the ternary quantizer are low during the whole training;
3. S3's WSVRs differ from full precision initially and align with it in the rest of the training;
4. full precision's WLVRs are low early and rise, the quantizer's fall, S3's trend aligns better with full precision's.
";

/// What a sign is.
struct Reading {
    name: &'static str,
    /// The key of full precision, of the quantizer and of S3.
    keys: [&'static str; 3],
}

impl Reading {
    fn key_of(&self, row: &str) -> &'static str {
        match row {
            FLOAT => self.keys[0],
            QUANTIZER => self.keys[1],
            _ => self.keys[2],
        }
    }
}

const READINGS: [Reading; 3] = [
    Reading {
        name: "no sign at 0",
        keys: ["wsvr"; 3],
    },
    Reading {
        name: "0 a third sign",
        keys: ["wsvr_with_zero"; 3],
    },
    Reading {
        name: "latent",
        keys: ["flips", "flips", "wsvr_latent"],
    },
];

fn page(plan: &Plan, records: &[Value]) -> Page {
    Page::new(INTRODUCTION).sections(plan, records, |page, runs| {
        accuracy(page, runs);
        for reading in READINGS {
            rates(page, runs, &format!("WSVR, {}", reading.name), |row| {
                reading.key_of(row)
            });
        }
        rates(page, runs, "WLVR", |_| "wlvr");
        claims(page, runs);
        pictures(plan, page, runs);
    })
}

fn accuracy(page: &mut Page, runs: &Runs<'_>) {
    page.rows(runs, &["test top-1", "zero weights"], |row, done| {
        vec![spread(&runs.top1(row.name)), spread(&zeros(done))]
    });
    let best = runs
        .rows
        .iter()
        .flat_map(|row| runs.top1(row.name))
        .fold(0.0, f64::max);
    if best <= PAPERS {
        page.line(&format!(
            "\nNone of these networks is over the paper's {PAPERS} %: what follows is of {} epochs.",
            runs.epochs
        ));
    }
}

/// The snapshots that a table shows: five from the first to the last.
fn shown(n: usize) -> Vec<usize> {
    let mut at: Vec<usize> = (0..5).map(|i| i * n.saturating_sub(1) / 4).collect();
    at.dedup();
    at
}

fn rates(page: &mut Page, runs: &Runs<'_>, title: &str, key_of: impl Fn(&str) -> &'static str) {
    let mut curves = Vec::new();
    for row in runs.rows {
        let key = key_of(row.name);
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

/// What the paper's networks are all above, in %.
const PAPERS: f64 = 91.0;
/// Two numbers that differ by less than this share of the larger one are called alike.
const ALIKE: f64 = 0.2;
/// A layer's WLVR moves where it changes by more than this share of its weights.
const MOVED: f64 = 0.005;

type Mean = Vec<(f64, f64)>;

/// The mean distance between two curves over the snapshots after the first third.
fn distance(a: &Mean, b: &Mean) -> f64 {
    let both: Vec<f64> = a.iter().zip(b).map(|(a, b)| (a.1 - b.1).abs()).collect();
    mean(&both[both.len() / 3..])
}

/// 1 where a layer's WLVR rises from the first snapshot after the start to the last, -1 where it falls, 0 where
/// it does not move.
fn trends(record: &Value) -> Vec<i32> {
    let layers = quantized(record).into_iter().map(|l| points(l, "wlvr"));
    layers
        .filter_map(|p| {
            let change = p.last()?.1 - p.get(1)?.1;
            Some(i32::from(change > MOVED) - i32::from(change < -MOVED))
        })
        .collect()
}

/// The paper's claims with our numbers, for every seed that full precision and the quantizer have.
fn claims(page: &mut Page, runs: &Runs<'_>) {
    let of = |name: &str, seed: &Value| {
        let mut found = runs.named(name).into_iter();
        found.find(|r| r["seed"] == *seed)
    };
    for float in runs.named(FLOAT) {
        let seed = &float["seed"];
        let Some(quantizer) = of(QUANTIZER, seed) else {
            continue;
        };
        page.line(&format!(
            "\nThe claims, of seed {seed} alone, each with the rule that decides it; \"holds\" is of this run, no claim about a method:\n"
        ));
        let s3: Vec<(&str, &Value)> = [S3, NARROW]
            .into_iter()
            .filter_map(|name| Some((name, of(name, seed)?)))
            .collect();
        claims_of(page, float, quantizer, &s3);
    }
}

fn claims_of(page: &mut Page, float: &Value, quantizer: &Value, s3: &[(&str, &Value)]) {
    let verdict = |holds: bool| {
        if holds {
            "**holds**"
        } else {
            "**does not hold**"
        }
    };
    let ends = |c: &Mean| {
        let of = |p: Option<&(f64, f64)>| p.map_or(f64::NAN, |p| 100.0 * p.1);
        (of(c.first()), of(c.last()))
    };
    let f = mean_curve(float, "wsvr");
    let (begin, end) = ends(&f);
    page.line(&format!(
        "- Claim 1. Full precision's mean WSVR goes from {begin:.2} % in the first interval to {end:.2} % in the last: the claim \
         {} (less than a quarter is left).",
        verdict(end < begin / 4.0)
    ));
    for reading in &READINGS {
        let q = mean_curve(quantizer, reading.keys[1]);
        let lower = q.iter().zip(&f).filter(|(q, f)| q.1 < f.1).count();
        let ((q_begin, q_end), intervals) = (ends(&q), f.len());
        page.line(&format!(
            "- Claim 2, sign: {}. The quantizer's mean WSVR goes from {q_begin:.2} % to {q_end:.2} % and is below full precision's \
             in {lower} of {intervals} intervals: the claim {} (below in all of them, and less than half in the first).",
            reading.name,
            verdict(lower == intervals && q_begin < begin / 2.0)
        ));
    }
    for (name, record) in s3 {
        for reading in &READINGS {
            let s = mean_curve(record, reading.keys[2]);
            let q = mean_curve(quantizer, reading.keys[1]);
            let (s_begin, s_end) = ends(&s);
            let (ours, theirs) = (distance(&s, &f), distance(&q, &f));
            let between = distance(&s, &q);
            let aligned = if ours < theirs && ours > between {
                "does not hold well: it is nearer to the quantizer still".to_owned()
            } else if (ours - theirs).abs() <= ALIKE * ours.max(theirs) {
                "does not tell the two apart".to_owned()
            } else {
                verdict(ours < theirs).to_owned()
            };
            page.line(&format!(
                "- Claim 3, {name}, sign: {}. Its mean WSVR goes from {s_begin:.2} % to {s_end:.2} %, full precision's from \
                 {begin:.2} %. After the first third it is {:.2} points from full precision on average and {:.2} from the \
                 quantizer, which is {:.2} from full precision: that it aligns better {aligned}.",
                reading.name,
                100.0 * ours,
                100.0 * between,
                100.0 * theirs
            ));
        }
    }
    let float_trends = trends(float);
    let say = |name: &str, trends: &[i32]| {
        let count = |way: i32| trends.iter().filter(|t| **t == way).count();
        let all = trends.len();
        let (up, down) = (count(1), count(-1));
        let same = trends.iter().zip(&float_trends).filter(|(a, b)| a == b);
        let word = match (2 * up > all, 2 * down > all) {
            (true, _) => "rises",
            (_, true) => "falls",
            _ => "neither rises nor falls",
        };
        format!(
            "{name} {word} (up in {up}, down in {down} of {all} layers; as full precision in {})",
            same.count()
        )
    };
    let mut said = vec![
        say(FLOAT, &float_trends),
        say(QUANTIZER, &trends(quantizer)),
    ];
    said.extend(s3.iter().map(|(name, record)| say(name, &trends(record))));
    let mostly = |record: &Value, way: i32| {
        let trends = trends(record);
        2 * trends.iter().filter(|t| **t == way).count() > trends.len()
    };
    let like_float = |record: &Value| {
        let trends = trends(record);
        trends
            .iter()
            .zip(&float_trends)
            .filter(|(a, b)| a == b)
            .count()
    };
    let mut verdicts = vec![
        format!("of full precision that {}", verdict(mostly(float, 1))),
        format!("of the quantizer it {}", verdict(mostly(quantizer, -1))),
    ];
    verdicts.extend(s3.iter().map(|(name, record)| {
        let better = like_float(record) > like_float(quantizer);
        format!("of {name} it {}", verdict(better))
    }));
    page.line(&format!(
        "- Claim 4. The WLVR from the first snapshot after the start to the last, in more than half of the layers and by more than \
         {} points: {}. The paper has full precision rise, the quantizer fall, and S3 go with full precision in more layers than the \
         quantizer: {}.",
        100.0 * MOVED,
        said.join("; "),
        verdicts.join(", ")
    ));
}

fn pictures(plan: &Plan, page: &mut Page, runs: &Runs<'_>) {
    let rates = READINGS
        .iter()
        .map(|r| (format!("WSVR, {}", r.name), Some(r)));
    for (label, reading) in rates.chain([("WLVR".to_owned(), None)]) {
        let mut drawn = Vec::new();
        for row in runs.rows {
            let Some(record) = runs.of(row).first().copied() else {
                continue;
            };
            let key = reading.map_or("wlvr", |r| r.key_of(row.name));
            let curves: Vec<_> = quantized(record)
                .into_iter()
                .map(|l| (l["name"].as_str().unwrap_or("?").to_owned(), points(l, key)))
                .filter(|(_, points)| !points.is_empty())
                .collect();
            if !curves.is_empty() {
                let file = format!("{}-{}-{key}", row.name, runs.epochs);
                drawn.push(layer_curves(&file, row.name, &label, &curves));
            }
        }
        share_axis(&mut drawn);
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
            let rates = json!([null, a, b, c]);
            json!({
                "name": role, "role": role, "epochs": [0, 10, 20, 30], "wsvr": rates, "wsvr_with_zero": rates,
                "flips": rates, "wsvr_latent": rates, "wlvr": wlvr,
            })
        };
        json!({
            "row": row, "seed": 1, "epochs": 30, "test_top1": [0.8], "zeros": 0.25,
            "layers": [layer("first", [0.9; 3]), layer("hidden", wsvr), layer("shortcut", wsvr)],
        })
    }

    const RISE: [f64; 4] = [0.9, 0.1, 0.2, 0.3];
    const FALL: [f64; 4] = [0.1, 0.4, 0.3, 0.2];

    #[test]
    fn the_claims_are_decided_by_their_rules() {
        let records = [
            record("fp32", [0.4, 0.2, 0.05], RISE),
            record("twn", [0.1, 0.1, 0.02], FALL),
            record("s3-2bit-authors", [0.05, 0.19, 0.05], RISE),
        ];
        let text = page(&PLAN, &records).text;
        for sentence in [
            "- Claim 1. Full precision's mean WSVR goes from 40.00 % in the first interval to 5.00 % in the last: the claim **holds**",
            "is below full precision's in 3 of 3 intervals: the claim **holds**",
            "- Claim 3, s3-2bit-authors, sign: latent.",
            "0.50 points from full precision on average and 6.00 from the quantizer, which is 6.50 from full precision: that it aligns better **holds**.",
            "fp32 rises (up in 2, down in 0 of 2 layers; as full precision in 2); twn falls (up in 0, down in 2 of 2 layers; as full precision in 0); s3-2bit-authors rises",
            "of full precision that **holds**, of the quantizer it **holds**, of s3-2bit-authors it **holds**.",
            "None of these networks is over the paper's 91 %",
            "| s3-2bit | not run yet |",
            "| fp32 | 40.00 | 20.00 | 5.00 |",
        ] {
            assert!(text.contains(sentence), "{sentence}\n{text}");
        }
    }

    #[test]
    fn what_does_not_hold_is_said_and_without_a_run_nothing_is() {
        let opposite = [
            record("fp32", [0.1, 0.2, 0.4], RISE),
            record("twn", [0.2; 3], [0.3; 4]),
        ];
        let text = page(&PLAN, &opposite).text;
        assert_eq!(
            text.matches("the claim **does not hold**").count(),
            4,
            "{text}"
        );
        assert!(text.contains("twn neither rises nor falls"), "{text}");
        assert!(!text.contains("Claim 3"), "{text}");
        let alone = page(&PLAN, &opposite[..1]).text;
        assert!(!alone.contains("The claims, of seed"), "{alone}");
        // Another seed is no partner.
        let mut other = opposite;
        other[1]["seed"] = json!(2);
        assert!(!page(&PLAN, &other).text.contains("The claims, of seed"));
    }
}
