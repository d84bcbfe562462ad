//! Which records has a page: its own lines, and those of other pages that are of the same training.
//!
//! A run that several pages need is trained once. Its record is a line of the page that asked for
//! it; another page takes it over where one of its rows is the same training at the same epochs,
//! and where it has the layers' measures that the page reads.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::plan::{Plan, Row};
use super::plans::PLANS;
use super::record::{Record, folder};
use super::seeds;

impl Plan {
    pub(super) fn records_path(&self, aside: Option<&Path>) -> PathBuf {
        folder(aside).join(format!("{}.jsonl", self.name))
    }

    /// The lines of this page's own file.
    pub(super) fn own_records(&self, aside: Option<&Path>) -> Result<Vec<Record>> {
        let path = self.records_path(aside);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        let line = |(i, line)| {
            let record = serde_json::from_str(line).and_then(Record::read);
            record.with_context(|| format!("{}:{}", path.display(), i + 1))
        };
        let records: Vec<Record> = text.lines().enumerate().map(line).collect::<Result<_>>()?;
        seeds::check(&records, &path)?;
        Ok(records)
    }

    /// Its own, then what it takes over from other pages. Below a folder aside, as in a smoke run,
    /// each page has its own alone.
    pub(super) fn records(&self, aside: Option<&Path>) -> Result<Vec<Record>> {
        let mut records = self.own_records(aside)?;
        if aside.is_none() {
            for other in PLANS.iter().filter(|p| p.name != self.name) {
                let theirs = other.own_records(None)?;
                self.take_over(&mut records, other, &theirs);
            }
        }
        Ok(records)
    }

    /// Adds the records of another page that are of a row here, at epochs that this page has.
    pub(super) fn take_over(&self, records: &mut Vec<Record>, other: &Plan, theirs: &[Record]) {
        if !self.layers.iter().all(|key| other.layers.contains(key)) {
            return;
        }
        let mut epochs: Vec<u64> = records.iter().map(Record::total_epochs).collect();
        epochs.extend(self.epochs.concat().into_iter().map(u64::from));
        for record in theirs.iter().filter(|r| r.is_result()) {
            let at = record.total_epochs();
            if !epochs.contains(&at) {
                continue;
            }
            let Some(theirs) = other.rows.iter().find(|r| record.row == r.name) else {
                continue;
            };
            let Some(row) = self.rows.iter().find(|r| r.trains_as(theirs)) else {
                continue;
            };
            let of_row = |r: &&Record| r.row == row.name && r.total_epochs() == at;
            let known: Vec<&Record> = records.iter().filter(of_row).collect();
            let is_new = known.iter().all(|r| r.seed != record.seed);
            let mut others = known.iter().filter(|r| r.is_result());
            // A recipe that has changed since: its runs are no seeds of this row.
            let fits = others.all(|r| seeds::alike(r, record));
            if is_new && fits {
                let mut record = record.clone();
                record.row = row.name.to_owned();
                records.push(record);
            }
        }
    }
}

impl Row {
    /// Whether another row is the same training: of the same file, with the same settings, from the
    /// same start.
    pub(super) fn trains_as(&self, other: &Self) -> bool {
        (self.recipe, self.settings, self.start) == (other.recipe, other.settings, other.start)
    }
}

#[cfg(test)]
mod tests {
    use super::super::page::Page;
    use super::super::plan::Start;
    use super::*;
    use serde_json::json;

    const fn plan(
        name: &'static str,
        rows: &'static [Row],
        layers: &'static [&'static str],
    ) -> Plan {
        Plan {
            name,
            rows,
            epochs: [&[4, 10], &[150]],
            seeds: 1,
            layers,
            page: |_, _| Page::new(""),
        }
    }

    #[test]
    fn a_page_takes_over_what_is_the_same_training_at_its_epochs() {
        const OURS: Plan = plan(
            "ours",
            &[
                Row::with("wide", "s3", &["a=1"]),
                Row::of("s3"),
                Row {
                    start: Some(Start::before("fp32")),
                    ..Row::of("ttq")
                },
            ],
            &[],
        );
        const THEIRS: Plan = plan(
            "theirs",
            &[Row::with("base", "s3", &[]), Row::of("ttq")],
            &["wsvr"],
        );
        let record = |row: &str, seed: u32, epochs: u32, top1: f64| {
            let line = json!({"row": row, "seed": seed, "epochs": epochs, "test_top1": [top1]});
            Record::of(line)
        };
        let mut records = vec![record("s3", 1, 4, 0.1)];
        let lost = json!({"row": "base", "seed": 3, "epochs": 4, "error": "training diverged"});
        let lost = Record::of(lost);
        let theirs = [
            record("base", 1, 4, 0.2),
            record("base", 2, 4, 0.3),
            record("base", 1, 7, 0.4),
            record("ttq", 1, 4, 0.5),
            lost,
        ];
        OURS.take_over(&mut records, &THEIRS, &theirs);
        // Its own stays, the other seed comes; 7 epochs are not on the page, `ttq` has another
        // start.
        let said = |r: &Record| (r.row.clone(), r.seed, r.test_top1[0]);
        let said: Vec<_> = records.iter().map(said).collect();
        assert_eq!(
            said,
            [("s3".into(), 1, Some(0.1)), ("s3".into(), 2, Some(0.3))]
        );
        // And a page that needs the layers takes nothing from one that has none.
        let mut none = Vec::new();
        THEIRS.take_over(&mut none, &OURS, &records);
        assert_eq!(none, []);
    }

    #[test]
    fn epochs_of_a_start_are_counted_where_the_row_counts_them() {
        let of = |line| Record::of(line).total_epochs();
        assert_eq!(of(json!({"epochs": 6, "total_epochs": 10})), 10);
        assert_eq!(of(json!({"epochs": 6})), 6);
    }
}
