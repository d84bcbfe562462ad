//! Which records are seeds of one configuration: only of such is a mean taken.

use std::path::Path;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::plan::is_result;

/// A run's name without its seed.
fn unseeded(run: &Value) -> Option<&str> {
    let run = run.as_str()?;
    Some(run.rsplit_once("-s").map_or(run, |(run, _)| run))
}

/// All that seeds of one configuration have in common. The name of a run holds a hash of it; of one that started
/// from another run's weights that hash is of its seed too, and what its record says stands for it.
fn configuration(record: &Value) -> Value {
    let of = |key: &str| record[key].clone();
    let settings = match of("init_from") {
        Value::Null => json!(unseeded(&record["run"])),
        start => json!([
            unseeded(&start),
            of("experiment"),
            of("method"),
            of("batch_size"),
            of("dtype"),
            of("lr"),
            of("alpha"),
        ]),
    };
    let data = &record["data"];
    json!([settings, data["train_sha256"], data["test_sha256"]])
}

/// # Errors
/// A finished record that is no seed of the configuration of another one with its row and epochs.
pub(super) fn check(records: &[Value], file: &Path) -> Result<()> {
    for (i, record) in records.iter().enumerate() {
        let same = |r: &&Value| {
            (&r["row"], &r["epochs"]) == (&record["row"], &record["epochs"]) && is_result(r)
        };
        let first = records[..i].iter().find(same);
        if let Some(first) = first.filter(|_| is_result(record))
            && configuration(first) != configuration(record)
        {
            bail!(
                "{}: row {}, {} epochs: {} and {} are no seeds of one configuration, of which no mean can be taken; \
                 remove the line of one",
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
