//! The table: a line a row.

use s3_metrics::paired::spread;

use super::super::page::{Page, Runs, zeros};
use super::cost::{Cost, word};

const COLUMNS: &[&str] = &[
    "row",
    "paper's row",
    "bits",
    "kernel operation",
    "starts from",
    "test top-1",
    "less fp32",
    "zeros",
    "n",
    "published, ResNet-20",
    "s an epoch",
    "bytes",
    "adds",
    "shifts",
    "flips",
    "multiplications",
];

/// What the columns are, before the tables.
pub(in super::super) fn columns_say() -> &'static str {
    COLUMNS_SAY
}

const COLUMNS_SAY: &str = "\
- *starts from*: `random`, or an `fp32` run of the same seed.
- *test top-1*: mean over the seeds, and the smallest and largest where there are several; *zeros*, of all quantized weights,
  likewise.
- *less fp32*: the mean difference to `fp32` of the same seeds, with its interval where there are several.
- *s an epoch*: training alone, the fastest epoch of any seed, on the row's machine and instructions, listed at the end
  (`avx512` with bf16 is AVX512-BF16); other work shared the machines, so that only large differences on one of them mean
  anything.
- *bytes*: weights packed at their bits, scales that no batch norm takes, biases, batch norms. *adds, shifts, flips,
  multiplications*: millions in one inference, batch norms included, by plane and by non-zero term (docs/ARCHITECTURE.md,
  `cost.rs`). Records older than that count hold an upper bound for sums of shifts (`at most`); of TTQ the table then counts its
  non-zero weights as if they were spread evenly over the layers (`about`).
";

/// A line for each row of the runs.
pub(in super::super) fn table(page: &mut Page, runs: &Runs<'_>) {
    page.row(COLUMNS);
    page.row(&["---"; COLUMNS.len()]);
    for row in runs.rows {
        let or_dash = |text: &str| match text {
            "" => "-".to_owned(),
            text => text.to_owned(),
        };
        let (paper, published) = (or_dash(row.paper), or_dash(row.published));
        let done = runs.of(row);
        let Some(first) = done.first() else {
            let mut cells = vec![String::new(); COLUMNS.len()];
            cells[0] = row.name.to_owned();
            cells[1] = paper;
            cells[5] = runs.absence(row);
            cells[9] = published;
            page.row(&cells);
            continue;
        };
        let start = match first.init_from {
            None => "random",
            Some(_) => "fp32",
        };
        let less = match row.name {
            "fp32" => "-".to_owned(),
            name => runs.difference(name, "fp32").cell(),
        };
        // By the rate: the seconds of an epoch that was interrupted are those of its last sitting.
        let rates = done
            .iter()
            .flat_map(|r| r.images_per_second.iter().flatten());
        let images = first
            .data
            .as_ref()
            .map_or(f64::NAN, |data| data.train_images as f64);
        let seconds = images / rates.copied().fold(0.0, f64::max);
        let cost = Cost::of(first);
        let [adds, shifts, flips, multiplications] = cost.millions();
        page.row(&[
            row.name.to_owned(),
            paper,
            first.bits.map_or("-".to_owned(), |bits| bits.to_string()),
            word(cost.operation).to_owned(),
            start.to_owned(),
            spread(&runs.top1(row.name)),
            less,
            spread(&zeros(&done)),
            runs.seeds(row),
            published,
            format!("{seconds:.0}"),
            cost.bytes.to_string(),
            adds,
            shifts,
            flips,
            multiplications,
        ]);
    }
}
