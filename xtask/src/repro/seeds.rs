//! Which records are seeds of one configuration: only of such is a mean taken.

use std::path::Path;

use anyhow::{Result, bail};
use s3_metrics::finished::Finished;

use super::record::Record;

/// A run's name without its seed.
fn unseeded(run: &str) -> &str {
    run.rsplit_once("-s").map_or(run, |(run, _)| run)
}

/// Whether the name of a run is that of its experiment: of a recipe that was renamed since it is
/// not.
fn is_named(run: &Finished) -> bool {
    let name = unseeded(&run.run).rsplit_once('-');
    run.run.is_empty()
        || run.experiment.is_empty()
        || name.is_some_and(|(name, _)| name == run.experiment)
}

/// Whether two records are seeds of one configuration, on the same images. The name of a run holds
/// a hash of its configuration and of its experiment's name; where that name was changed, and where
/// a run started from another one's weights, whose seed is in the hash, what the records say stands
/// for it.
pub(super) fn alike(a: &Finished, b: &Finished) -> bool {
    let images = |run: &Finished| {
        let data = run.data.clone();
        data.map(|data| [data.train_sha256, data.test_sha256])
    };
    let same_words = (&a.experiment, &a.method, &a.dtype) == (&b.experiment, &b.method, &b.dtype)
        && (a.epochs, a.batch_size) == (b.epochs, b.batch_size)
        && (&a.lr, &a.alpha) == (&b.lr, &b.alpha);
    let starts = [a, b].map(|run| run.init_from.as_deref().map(unseeded));
    let by_name = starts == [None, None] && is_named(a) && is_named(b);
    let same_run = unseeded(&a.run) == unseeded(&b.run);
    images(a) == images(b) && starts[0] == starts[1] && (same_run || (!by_name && same_words))
}

/// # Errors
/// A finished record that is no seed of the configuration of another one with its row and epochs.
pub(super) fn check(records: &[Record], file: &Path) -> Result<()> {
    for (i, record) in records.iter().enumerate() {
        let same = |r: &&Record| {
            r.row == record.row && r.total_epochs() == record.total_epochs() && r.is_result()
        };
        let first = records[..i].iter().find(same);
        if let Some(first) = first.filter(|_| record.is_result())
            && !alike(first, record)
        {
            bail!(
                "{}: row {:?}, {} epochs: {:?} and {:?} are no seeds of one configuration, \
                 of which no mean can be taken; remove the line of one",
                file.display(),
                record.row,
                record.epochs,
                first.run,
                record.run
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn record(run: &str, start: Option<&str>, lr: f64) -> Value {
        json!({
            "row": "twn", "epochs": 4, "run": run, "init_from": start, "experiment": "net-twn",
            "lr": {"start": lr}, "data": {"train_sha256": "0", "test_sha256": "1"},
        })
    }

    fn checked(records: &[Value]) -> Result<(), String> {
        let records: Vec<Record> = records.iter().cloned().map(Record::of).collect();
        check(&records, Path::new("x.jsonl")).map_err(|e| e.to_string())
    }

    fn holds(records: &[Value]) -> bool {
        checked(records).is_ok()
    }

    #[test]
    fn only_seeds_of_one_configuration_share_a_row() {
        let [one, two] = ["net-twn-0a-s1", "net-twn-0a-s2"].map(|run| record(run, None, 0.1));
        assert_eq!(checked(&[one.clone(), two.clone()]), Ok(()));
        let other = record("net-twn-0b-s2", None, 0.1);
        let refused = checked(&[one.clone(), other.clone()]).expect_err("another hash");
        let line =
            "x.jsonl: row \"twn\", 4 epochs: \"net-twn-0a-s1\" and \"net-twn-0b-s2\" are no seeds";
        assert!(refused.starts_with(line), "{refused}");
        // Another number of epochs is another section, and what diverged has no figure.
        let mut longer = other.clone();
        longer["epochs"] = json!(9);
        let mut diverged = other;
        diverged["error"] = json!("training diverged");
        assert_eq!(checked(&[one.clone(), longer, diverged]), Ok(()));
        let mut elsewhere = two;
        elsewhere["data"]["train_sha256"] = json!("2");
        assert!(checked(&[one, elsewhere]).is_err(), "other images");
    }

    #[test]
    fn a_recipe_that_was_renamed_keeps_its_seeds() {
        let old = record("net-twn-narrow-0a-s1", None, 0.1);
        assert!(holds(&[old.clone(), record("net-twn-0b-s2", None, 0.1)]));
        assert!(!holds(&[old, record("net-twn-0b-s2", None, 0.2)]));
    }

    #[test]
    fn seeds_that_start_from_their_own_run_share_a_row() {
        let from = |run: &str, start: &str, lr: f64| record(run, Some(start), lr);
        let one = from("net-twn-0a-s1", "fp32-0c-s1", 0.1);
        assert!(holds(&[
            one.clone(),
            from("net-twn-0b-s2", "fp32-0c-s2", 0.1)
        ]));
        assert!(!holds(&[
            one.clone(),
            from("net-twn-0b-s2", "fp32-0d-s2", 0.1)
        ]));
        assert!(!holds(&[one, from("net-twn-0b-s2", "fp32-0c-s2", 0.2)]));
    }
}
