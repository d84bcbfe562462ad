//! Which records are seeds of one configuration: only of such is a mean taken.

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::Value;

use super::record::{is_result, total_epochs};

/// A run's name without its seed.
fn unseeded(run: &Value) -> Option<&str> {
    let run = run.as_str()?;
    Some(run.rsplit_once("-s").map_or(run, |(run, _)| run))
}

/// What a record says of its configuration.
fn said(record: &Value) -> Value {
    let keys = [
        "experiment",
        "method",
        "epochs",
        "batch_size",
        "dtype",
        "lr",
        "alpha",
    ];
    keys.map(|key| record[key].clone()).into_iter().collect()
}

/// Whether the name of a run is that of its experiment: of a recipe that was renamed since it is
/// not.
fn is_named(record: &Value) -> bool {
    let of = |key: &str| record[key].as_str();
    match (
        of("run").map(|_| unseeded(&record["run"])),
        of("experiment"),
    ) {
        (Some(Some(run)), Some(experiment)) => run
            .rsplit_once('-')
            .is_some_and(|(name, _)| name == experiment),
        _ => true,
    }
}

/// Whether two records are seeds of one configuration, on the same images. The name of a run holds
/// a hash of its configuration and of its experiment's name; where that name was changed, and where
/// a run started from another one's weights, whose seed is in the hash, what the records say stands
/// for it.
pub(super) fn alike(a: &Value, b: &Value) -> bool {
    let data = |r: &Value| {
        [
            r["data"]["train_sha256"].clone(),
            r["data"]["test_sha256"].clone(),
        ]
    };
    let starts = [a, b].map(|r| unseeded(&r["init_from"]));
    let by_name = starts == [None, None] && is_named(a) && is_named(b);
    let same_run = unseeded(&a["run"]) == unseeded(&b["run"]);
    data(a) == data(b)
        && starts[0] == starts[1]
        && match by_name {
            true => same_run,
            false => same_run || said(a) == said(b),
        }
}

/// # Errors
/// A finished record that is no seed of the configuration of another one with its row and epochs.
pub(super) fn check(records: &[Value], file: &Path) -> Result<()> {
    for (i, record) in records.iter().enumerate() {
        let same = |r: &&Value| {
            r["row"] == record["row"] && total_epochs(r) == total_epochs(record) && is_result(r)
        };
        let first = records[..i].iter().find(same);
        if let Some(first) = first.filter(|_| is_result(record))
            && !alike(first, record)
        {
            bail!(
                "{}: row {}, {} epochs: {} and {} are no seeds of one configuration, of which no \
                 mean can be taken; remove the line of one",
                file.display(),
                record["row"],
                record["epochs"],
                first["run"],
                record["run"]
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(run: &str, start: Option<&str>, lr: f64) -> Value {
        json!({
            "row": "twn", "epochs": 4, "run": run, "init_from": start, "experiment": "net-twn",
            "lr": lr, "data": {"train_sha256": "0", "test_sha256": "1"},
        })
    }

    #[test]
    fn only_seeds_of_one_configuration_share_a_row() {
        let check =
            |records: &[Value]| check(records, Path::new("x.jsonl")).map_err(|e| e.to_string());
        let [one, two] = ["net-twn-0a-s1", "net-twn-0a-s2"].map(|run| record(run, None, 0.1));
        assert_eq!(check(&[one.clone(), two.clone()]), Ok(()));
        let other = record("net-twn-0b-s2", None, 0.1);
        let refused = check(&[one.clone(), other.clone()]).expect_err("another hash");
        let line =
            "x.jsonl: row \"twn\", 4 epochs: \"net-twn-0a-s1\" and \"net-twn-0b-s2\" are no seeds";
        assert!(refused.starts_with(line), "{refused}");
        // Another number of epochs is another section, and what diverged has no figure.
        let mut longer = other.clone();
        longer["epochs"] = json!(9);
        let mut diverged = other;
        diverged["error"] = json!("training diverged");
        assert_eq!(check(&[one.clone(), longer, diverged]), Ok(()));
        let mut elsewhere = two;
        elsewhere["data"]["train_sha256"] = json!("2");
        assert!(check(&[one, elsewhere]).is_err(), "other images");
    }

    #[test]
    fn a_recipe_that_was_renamed_keeps_its_seeds() {
        let check = |records: &[Value]| check(records, Path::new("x.jsonl")).is_ok();
        let old = record("net-twn-narrow-0a-s1", None, 0.1);
        assert!(check(&[old.clone(), record("net-twn-0b-s2", None, 0.1)]));
        assert!(!check(&[old, record("net-twn-0b-s2", None, 0.2)]));
    }

    #[test]
    fn seeds_that_start_from_their_own_run_share_a_row() {
        let check = |records: &[Value]| check(records, Path::new("x.jsonl")).is_ok();
        let from = |run: &str, start: &str, lr: f64| record(run, Some(start), lr);
        let one = from("net-twn-0a-s1", "fp32-0c-s1", 0.1);
        assert!(check(&[
            one.clone(),
            from("net-twn-0b-s2", "fp32-0c-s2", 0.1)
        ]));
        assert!(!check(&[
            one.clone(),
            from("net-twn-0b-s2", "fp32-0d-s2", 0.1)
        ]));
        assert!(!check(&[one, from("net-twn-0b-s2", "fp32-0c-s2", 0.2)]));
    }
}
