//! Figure 4: how often signs change and how many weights are low, layer by layer, while a
//! full-precision, a ternary and an S3 network train.

use s3_metrics::finished::Measure;
use s3_metrics::paired::{Interval, mean, spread, spread_of, verdict};
use s3_metrics::spec::Curve;

use super::page::{Page, Runs, layer_curves, share_axis, zeros};
use super::plan::{Plan, Row};
use super::record::Record;

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
    layers: &[
        Measure::Wsvr.key(),
        Measure::WsvrWithZero.key(),
        Measure::WsvrLatent.key(),
        Measure::Flips.key(),
        Measure::Wlvr.key(),
    ],
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
  precision all three are the same. With *no sign at 0* a ternary quantizer's rate is nearly 0 by construction: its weight
  passes through 0 on its way from one sign to the other, and only one that crosses both thresholds between two snapshots counts.
- *WLVR*: the share of weights within 3 % of the layer's largest; of a discrete layer the share that is 0.
- *mean of layers*: WSVR and WLVR are means over the quantized layers (all but the first and the last), a layer counting as much
  as any other; *zeros, of all weights* counts each weight, so that the large layers at the end decide it. Every curve is one
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
    /// Of full precision, of the quantizer and of S3.
    measures: [Measure; 3],
}

impl Reading {
    fn of(&self, row: &str) -> Measure {
        match row {
            FLOAT => self.measures[0],
            QUANTIZER => self.measures[1],
            _ => self.measures[2],
        }
    }
}

const READINGS: [Reading; 3] = [
    Reading {
        name: "no sign at 0",
        measures: [Measure::Wsvr; 3],
    },
    Reading {
        name: "0 a third sign",
        measures: [Measure::WsvrWithZero; 3],
    },
    Reading {
        name: "latent",
        measures: [Measure::Flips, Measure::Flips, Measure::WsvrLatent],
    },
];

fn page(plan: &Plan, records: &[Record]) -> Page {
    Page::new(INTRODUCTION).sections(plan, records, |page, runs| {
        accuracy(page, runs);
        for reading in READINGS {
            rates(page, runs, &format!("WSVR, {}", reading.name), |row| {
                reading.of(row)
            });
        }
        rates(page, runs, "WLVR", |_| Measure::Wlvr);
        claims(page, runs);
        plots(plan, page, runs);
    })
}

fn accuracy(page: &mut Page, runs: &Runs<'_>) {
    let columns = ["test top-1", "zeros, of all weights"];
    page.rows(runs, &columns, |row, done| {
        vec![spread(&runs.top1(row.name)), spread(&zeros(done))]
    });
    let best = runs
        .rows
        .iter()
        .flat_map(|row| runs.top1(row.name))
        .fold(0.0, f64::max);
    if best <= PAPERS {
        page.line(&format!(
            "\nNone of these networks is over the paper's {PAPERS} %: what follows is of {} \
             epochs.",
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

fn rates(page: &mut Page, runs: &Runs<'_>, title: &str, of: impl Fn(&str) -> Measure) {
    let mut curves = Vec::new();
    for row in runs.rows {
        let done = runs.of(row).into_iter();
        let of_seeds: Vec<_> = done.map(|r| r.mean_curve(of(row.name))).collect();
        if of_seeds.iter().any(|c| !c.is_empty()) {
            curves.push((row.name, of_seeds));
        }
    }
    let Some(first) = curves.first().and_then(|c| c.1.first()) else {
        return;
    };
    let at = shown(first.len());
    page.line(&format!(
        "\n{title}, mean of layers, in %, at the end of epoch:\n"
    ));
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
/// A layer's WLVR moves where it changes by more than this share of its weights.
const MOVED: f64 = 0.005;

type Mean = Vec<(f64, f64)>;

/// The mean distance between two curves over the snapshots after the first third.
fn distance(a: &Mean, b: &Mean) -> f64 {
    let both: Vec<f64> = a.iter().zip(b).map(|(a, b)| (a.1 - b.1).abs()).collect();
    mean(&both[both.len() / 3..])
}

/// 1 where a layer's WLVR rises from the first snapshot after the start to the last, -1 where it
/// falls, 0 where it does not move.
fn trends(record: &Record) -> Vec<i32> {
    let layers = record.quantized().map(|l| l.points(Measure::Wlvr));
    layers
        .filter_map(|p| {
            let change = p.last()?.1 - p.get(1)?.1;
            Some(i32::from(change > MOVED) - i32::from(change < -MOVED))
        })
        .collect()
}

/// A claim of the paper with the number that decides it in each seed: it is met where that is above
/// 0.
struct Claim {
    what: String,
    figures: Vec<f64>,
}

/// The paper's claims, judged over the seeds that full precision and the rows it is compared with
/// have in common.
fn claims(page: &mut Page, runs: &Runs<'_>) {
    let claims: Vec<Claim> = all_claims(runs)
        .into_iter()
        .filter(|c| !c.figures.is_empty())
        .collect();
    if claims.is_empty() {
        return;
    }
    page.line(
        "\nThe claims. Each has a rule and a figure, in points, that is above 0 where a run meets \
         it. Of several seeds the verdict follows from the 95 % t interval of the figure; one seed \
         alone makes no claim:\n",
    );
    page.head(&["claim and rule", "figure", "n", "interval", "verdict"]);
    for claim in claims {
        let interval = Interval::of(&claim.figures);
        page.row(&[
            claim.what,
            format!("{:+.2}", mean(&claim.figures)),
            claim.figures.len().to_string(),
            interval.map_or("-".to_owned(), |i| i.to_string()),
            verdict(interval.as_ref(), 0.0).of_claim().to_owned(),
        ]);
    }
}

fn all_claims(runs: &Runs<'_>) -> Vec<Claim> {
    let of = |name: &str, seed: u64| {
        let mut found = runs.named(name).into_iter();
        found.find(|r| r.seed == seed)
    };
    // The figure of each seed that has all of these rows.
    let each = |names: &[&str], figure: &dyn Fn(&[&Record]) -> f64| -> Vec<f64> {
        let seeds = runs.named(names[0]).into_iter().map(|r| r.seed);
        let rows = seeds.filter_map(|seed| names.iter().map(|n| of(n, seed)).collect());
        rows.map(|rows: Vec<&Record>| figure(&rows)).collect()
    };
    let mut claims = vec![Claim {
        what: "1: a quarter of full precision's mean WSVR in the first interval, less that in the \
               last"
            .to_owned(),
        figures: each(&[FLOAT], &|rows| {
            let (begin, end) = ends(&rows[0].mean_curve(Measure::Wsvr));
            begin / 4.0 - end
        }),
    }];
    for reading in &READINGS {
        claims.push(Claim {
            what: format!(
                "2, sign: {}: half of full precision's WSVR in the first interval, less the \
                 quantizer's; or what full precision is above it in a later one, where that is \
                 less",
                reading.name
            ),
            figures: each(&[FLOAT, QUANTIZER], &|rows| {
                let f = rows[0].mean_curve(Measure::Wsvr);
                let q = rows[1].mean_curve(reading.measures[1]);
                let above = f.iter().zip(&q).map(|(f, q)| 100.0 * (f.1 - q.1));
                above.fold(ends(&f).0 / 2.0 - ends(&q).0, f64::min)
            }),
        });
    }
    for name in [S3, NARROW] {
        for reading in &READINGS {
            claims.push(Claim {
                what: format!(
                    "3, {name}, sign: {}: how far the quantizer is from full precision after the \
                     first third, less how far {name} is",
                    reading.name
                ),
                figures: each(&[FLOAT, QUANTIZER, name], &|rows| {
                    let f = rows[0].mean_curve(Measure::Wsvr);
                    let q = rows[1].mean_curve(reading.measures[1]);
                    let s = rows[2].mean_curve(reading.measures[2]);
                    100.0 * (distance(&q, &f) - distance(&s, &f))
                }),
            });
        }
    }
    let beyond_half = |record: &Record, way: i32| {
        let trends = trends(record);
        let count = trends.iter().filter(|t| **t == way).count();
        100.0 * (count as f64 / trends.len() as f64 - 0.5)
    };
    for (name, word, way) in [(FLOAT, "rises", 1), (QUANTIZER, "falls", -1)] {
        claims.push(Claim {
            what: format!(
                "4, {name}: the share of its layers whose WLVR {word} by more than {} points from \
                 the first snapshot after the start to the last, less a half",
                100.0 * MOVED
            ),
            figures: each(&[name], &|rows| beyond_half(rows[0], way)),
        });
    }
    for name in [S3, NARROW] {
        claims.push(Claim {
            what: format!(
                "4, {name}: the share of its layers whose WLVR goes as full precision's, less that \
                 of the quantizer's"
            ),
            figures: each(&[FLOAT, QUANTIZER, name], &|rows| {
                let [float, quantizer, s3] = [0, 1, 2].map(|i| trends(rows[i]));
                let alike = |a: &[i32]| a.iter().zip(&float).filter(|(a, b)| a == b).count();
                100.0 * (alike(&s3) as f64 - alike(&quantizer) as f64) / float.len() as f64
            }),
        });
    }
    claims
}

/// The first and the last value of a curve, in %.
fn ends(c: &Mean) -> (f64, f64) {
    let of = |p: Option<&(f64, f64)>| p.map_or(f64::NAN, |p| 100.0 * p.1);
    (of(c.first()), of(c.last()))
}

fn plots(plan: &Plan, page: &mut Page, runs: &Runs<'_>) {
    let rates = READINGS
        .iter()
        .map(|r| (format!("WSVR, {}", r.name), Some(r)));
    for (label, reading) in rates.chain([("WLVR".to_owned(), None)]) {
        let mut drawn = Vec::new();
        for row in runs.rows {
            let Some(record) = runs.of(row).first().copied() else {
                continue;
            };
            let measure = reading.map_or(Measure::Wlvr, |r| r.of(row.name));
            let layers = record.quantized();
            let curves = layers.map(|l| Curve::new(&l.name, l.points(measure)));
            let curves: Vec<_> = curves.filter(|curve| !curve.points.is_empty()).collect();
            if !curves.is_empty() {
                let file = format!("{}-{}-{}", row.name, runs.epochs, measure.key());
                drawn.push(layer_curves(file, row.name, &label, curves));
            }
        }
        share_axis(&mut drawn);
        page.plots(plan, &format!("{label} of every quantized layer"), drawn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn record(row: &str, wsvr: [f64; 3], wlvr: [f64; 4]) -> Value {
        let layer = |role: &str, wsvr: [f64; 3]| {
            let [a, b, c] = wsvr;
            let rates = json!([null, a, b, c]);
            json!({
                "name": role, "role": role, "epochs": [0, 10, 20, 30], "wsvr": rates,
                "wsvr_with_zero": rates,
                "flips": rates, "wsvr_latent": rates, "wlvr": wlvr,
            })
        };
        json!({
            "row": row, "seed": 1, "epochs": 30, "test_top1": [0.8], "zeros": 0.25,
            "layers": [layer("first", [0.9; 3]), layer("hidden", wsvr), layer("shortcut", wsvr)],
        })
    }

    fn page_of(records: &[Value]) -> String {
        let records: Vec<Record> = records.iter().cloned().map(Record::of).collect();
        page(&PLAN, &records).text
    }

    const RISE: [f64; 4] = [0.9, 0.1, 0.2, 0.3];
    const FALL: [f64; 4] = [0.1, 0.4, 0.3, 0.2];

    #[test]
    fn the_claims_are_decided_by_their_rules() {
        let mut records = Vec::new();
        for (seed, off) in [(1, 0.0), (2, 0.01), (3, 0.02)] {
            for (row, wsvr, wlvr) in [
                ("fp32", [0.4 + off, 0.2, 0.05], RISE),
                ("twn", [0.1, 0.1, 0.02], FALL),
                ("s3-2bit-authors", [0.05, 0.19, 0.05], RISE),
            ] {
                let mut record = record(row, wsvr, wlvr);
                record["seed"] = json!(seed);
                records.push(record);
            }
        }
        let text = page_of(&records);
        for sentence in [
            // 40 / 4 - 5, and half and a whole point more in the other seeds.
            "less that in the last | +5.25 | 3 | +4.63 .. +5.87 | **holds** |",
            // In the last interval full precision is 3 points above the quantizer, in each seed.
            "| 2, sign: latent: half of full precision's WSVR in the first interval",
            "| +3.00 | 3 | +3.00 .. +3.00 | **holds** |",
            // After the first third: 10 and 3 points for the quantizer, 1 and 0 for S3.
            "less how far s3-2bit-authors is | +6.00 | 3 | +6.00 .. +6.00 | **holds** |",
            "from the first snapshot after the start to the last, less a half | +50.00 | 3 | \
             +50.00 .. +50.00 | **holds** |",
            "4, s3-2bit-authors: the share of its layers whose WLVR goes as full precision's, less \
             that of the quantizer's | +100.00 |",
            "None of these networks is over the paper's 91 %",
            "| s3-2bit | not run yet |",
        ] {
            assert!(text.contains(sentence), "{sentence}\n{text}");
        }
        assert!(!text.contains("3, s3-2bit, sign"), "{text}");
        // One seed alone makes no claim, and another seed is no partner.
        let one = page_of(&records[..2]);
        let said = "less that in the last | +5.00 | 1 | - | no claim of one seed |";
        assert!(one.contains(said), "{one}");
        assert!(one.contains("| 2, sign: latent"), "{one}");
        records[1]["seed"] = json!(9);
        let apart = page_of(&records[..2]);
        assert!(!apart.contains("| 2, sign: latent"), "{apart}");
    }

    #[test]
    fn what_does_not_hold_is_contradicted() {
        let mut records = Vec::new();
        for seed in 1..=3 {
            for (row, wsvr, wlvr) in [("fp32", [0.1, 0.2, 0.4], RISE), ("twn", [0.2; 3], [0.3; 4])]
            {
                let mut record = record(row, wsvr, wlvr);
                record["seed"] = json!(seed);
                records.push(record);
            }
        }
        let text = page_of(&records);
        // Claim 1, claim 2 in three readings, and claim 4 of the quantizer.
        assert_eq!(text.matches("**is contradicted**").count(), 5, "{text}");
        assert_eq!(text.matches("**holds**").count(), 1, "{text}");
    }
}
