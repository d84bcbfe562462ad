//! The runs of one section of a page, and what they come to.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use s3_metrics::paired::{Difference, MARGIN, Sample};

use super::plan::{Plan, Row};
use super::record::Record;
use crate::bench::page::date_of;

/// The training images of the JPEG copy of CIFAR-10 that most of our runs had.
const JPEG_COPY: &str = "aa5836661f34005ad30f4d21bc3aff2e5d4c5afd2486f382aa44662798f67fd6";

/// The runs of one section.
pub(super) struct Runs<'a> {
    pub(super) rows: &'a [Row],
    pub(super) records: Vec<&'a Record>,
    pub(super) epochs: u64,
}

impl<'a> Runs<'a> {
    /// The runs of each number of epochs, the fewest first.
    pub(super) fn by_epochs(plan: &'a Plan, records: &'a [Record]) -> Vec<Self> {
        let mut all: BTreeMap<u64, Vec<&Record>> = BTreeMap::new();
        for record in records {
            all.entry(record.total_epochs()).or_default().push(record);
        }
        let runs = |(epochs, records)| Self {
            rows: plan.rows,
            records,
            epochs,
        };
        all.into_iter().map(runs).collect()
    }

    /// Whether a table lists a row: one of the full budget alone where it has a run.
    pub(super) fn shows(&self, row: &Row) -> bool {
        !row.only_full || !self.all_of(row).is_empty()
    }

    /// Every record of a row, in the order of the seeds, those that diverged included.
    pub(super) fn all_of(&self, row: &Row) -> Vec<&'a Record> {
        let of_row = self.records.iter().filter(|r| r.row == row.name);
        let mut found: Vec<&Record> = of_row.copied().collect();
        found.sort_by_key(|r| r.seed);
        found
    }

    /// The finished runs of a row, in the order of the seeds.
    pub(super) fn of(&self, row: &Row) -> Vec<&'a Record> {
        let all = self.all_of(row).into_iter();
        all.filter(|r| r.is_result()).collect()
    }

    /// The same of the row with this name.
    pub(super) fn named(&self, name: &str) -> Vec<&'a Record> {
        let row = self.rows.iter().find(|r| r.name == name);
        row.map(|row| self.of(row)).unwrap_or_default()
    }

    /// Test top-1 after the last epoch of every seed of a row, in %.
    pub(super) fn top1(&self, name: &str) -> Vec<f64> {
        self.sample(name).values()
    }

    /// What was trained on what, and how far it is from the paper's budget.
    pub(super) fn setting(&self, plan: &Plan) -> String {
        let mut settings: Vec<String> = Vec::new();
        for r in self.records.iter().filter(|r| r.is_result()) {
            let data = r.data.clone().unwrap_or_default();
            let setting = format!(
                "{} on {} ({} training, {} test images), batches of {}",
                r.model,
                data_of(r),
                data.train_images,
                data.test_images,
                r.batch_size
            );
            if !settings.contains(&setting) {
                settings.push(setting);
            }
        }
        let full: Vec<String> = plan.epochs[1].iter().map(u32::to_string).collect();
        let full = full.join(", ");
        let settings = settings.join("; ");
        format!(
            "{settings}. {} epochs; the full budget has {full}.{}\n",
            self.epochs,
            self.rates()
        )
    }

    /// What was trained on.
    pub(super) fn data(&self) -> String {
        let mut names: Vec<String> = self.records.iter().map(|r| data_of(r)).collect();
        names.sort_unstable();
        names.dedup();
        names.join(" and ")
    }

    /// The learning rates, with their rows where these differ; records older than that say none.
    fn rates(&self) -> String {
        let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
        for row in self.rows {
            for r in self.of(row) {
                let rate = match &r.lr {
                    Some(rate) => rate.to_string(),
                    None => "not in the record".to_owned(),
                };
                match groups.iter_mut().find(|(known, _)| *known == rate) {
                    Some((_, rows)) if rows.contains(&row.name) => {}
                    Some((_, rows)) => rows.push(row.name),
                    None => groups.push((rate, vec![row.name])),
                }
            }
        }
        match &groups[..] {
            [] => String::new(),
            [(rate, _)] => format!(" Learning rate: {rate}."),
            many => {
                let each = many
                    .iter()
                    .map(|(rate, rows)| format!("{rate}: {}", rows.join(", ")));
                format!(" Learning rates: {}.", each.collect::<Vec<_>>().join("; "))
            }
        }
    }

    /// The accuracy of a row less that of another, seed by seed.
    pub(super) fn difference(&self, name: &str, other: &str) -> Difference {
        self.sample(name).less(&self.sample(other))
    }

    /// What may be said about the accuracy of two rows, as a clause.
    pub(super) fn comparison(&self, name: &str, other: &str) -> String {
        self.difference(name, other).say(MARGIN)
    }

    /// The accuracy of a row's seeds.
    pub(super) fn sample(&self, name: &str) -> Sample {
        self.sample_of(name, |r| r.last_top1())
    }

    /// A number of each seed of a row.
    pub(super) fn sample_of(&self, name: &str, of: impl Fn(&Record) -> Option<f64>) -> Sample {
        let row = self.rows.iter().find(|r| r.name == name);
        let lost = row.map_or(0, |row| self.all_of(row).len() - self.of(row).len());
        let found = self.named(name).into_iter();
        Sample {
            name: name.to_owned(),
            of_seed: found.filter_map(|r| Some((r.seed, of(r)?))).collect(),
            lost,
        }
    }

    /// `n`, with those that diverged.
    pub(super) fn seeds(&self, row: &Row) -> String {
        let (all, done) = (self.all_of(row).len(), self.of(row).len());
        match all - done {
            0 => done.to_string(),
            n => format!("{done}, {n} diverged"),
        }
    }

    /// Why a row has no figure.
    pub(super) fn absence(&self, row: &Row) -> String {
        let failed = self.all_of(row).into_iter();
        let error = failed.filter_map(|r| r.error.as_deref()).next();
        error.map_or("not run yet".to_owned(), |e| {
            // The reason, without the layer and the checkpoint behind it.
            let reason = e.split(';').next().unwrap_or(e);
            reason.replace('|', "/")
        })
    }

    /// Where the runs were made: a line for each machine, revision, type and day.
    pub(super) fn origins(&self, page: &mut String) {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in self.rows {
            for r in self.of(row) {
                let word = |word: &'a Option<String>| word.as_deref().unwrap_or("?");
                let dirty = if r.origin.git_dirty == Some(true) {
                    ", with changes"
                } else {
                    ""
                };
                let place = format!(
                    "{}, {} threads, {}, activations {}, revision {}{dirty}, begun on {}",
                    word(&r.origin.cpu),
                    r.origin.threads.unwrap_or(0),
                    word(&r.origin.isa),
                    r.dtype,
                    word(&r.origin.git_revision).get(..12).unwrap_or("?"),
                    date_of(r.origin.began_unix.unwrap_or(0)),
                );
                let seed = r.seed;
                groups
                    .entry(place)
                    .or_default()
                    .push(format!("{} ({seed})", row.name));
            }
        }
        page.push_str(
            "\nRows with their seeds, by where they were trained; the revision is that \
                       of the repository when the run began:\n\n",
        );
        for (place, names) in groups {
            let _ = writeln!(page, "- {place}: {}.", names.join(", "));
        }
    }
}

/// The zero weights of the quantized layers at the end of each run, in %.
pub(super) fn zeros(records: &[&Record]) -> Vec<f64> {
    let zeros = records.iter().filter_map(|r| r.zeros);
    zeros.map(|z| 100.0 * z).collect()
}

fn data_of(record: &Record) -> String {
    match &record.data {
        Some(data) if data.train_sha256 == JPEG_COPY => "a JPEG copy of CIFAR-10".to_owned(),
        Some(data) => data.name.trim_end_matches("/train").to_owned(),
        None => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn learning_rates_are_named_with_their_rows_where_they_differ() {
        let record = |row: &str, lr: Value| {
            Record::of(json!({"row": row, "seed": 1, "epochs": 4, "lr": lr}))
        };
        let cosine = json!({"schedule": "cosine", "start": 0.1, "end": 0.0, "cycles": 1});
        let step = json!({"schedule": "step", "start": 0.01});
        let rows = [Row::of("a"), Row::of("b"), Row::of("c")];
        let say = |records: &[Record]| {
            let (rows, records) = (&rows[..], records.iter().collect());
            let runs = Runs {
                rows,
                records,
                epochs: 4,
            };
            runs.rates()
        };
        assert_eq!(say(&[]), "");
        let all = [
            record("a", cosine.clone()),
            record("b", cosine),
            record("c", step),
        ];
        assert_eq!(say(&all[..2]), " Learning rate: 0.1 (cosine).");
        assert_eq!(
            say(&all),
            " Learning rates: 0.1 (cosine): a, b; 0.01 (step): c."
        );
        // An older record is not taken for the others.
        let older = [record("a", Value::Null), all[1].clone()];
        assert_eq!(
            say(&older),
            " Learning rates: not in the record: a; 0.1 (cosine): b."
        );
    }
}
