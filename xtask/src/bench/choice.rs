//! What the choice of a kernel loses: for each product which kernel was chosen, which of ours was
//! fastest, and by how much; and the records of it, from which the page of every kind of CPU is
//! written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::measured::Measured;
use super::page::{cpu, revision, today};

/// The kernels of one product, by turns in one run.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Choice {
    /// Batch.
    m: u64,
    /// Outputs.
    n: u64,
    /// Length of the sum.
    k: u64,
    bits: u64,
    isa: String,
    threads: u64,
    rounds: usize,
    chosen: String,
    /// GMAC/s of each kernel.
    #[serde(rename = "gmacs")]
    speeds: BTreeMap<String, f64>,
}

/// A line of the records: a choice, and how it was measured.
#[derive(Deserialize)]
struct Record {
    #[serde(flatten)]
    choice: Choice,
    cpu: String,
    revision: String,
    date: String,
    command: String,
}

impl Choice {
    /// Of each width and side of a case that measured every kernel.
    pub(super) fn of(measured: &[Measured]) -> Vec<Choice> {
        let mut choices: Vec<Choice> = Vec::new();
        for one in measured {
            let Some(chosen) = one.about["chosen"].as_bool() else {
                continue;
            };
            let number = |key| one.number(key).unwrap_or_default() as u64;
            let kernel = one.word("kernel").to_owned();
            if chosen {
                choices.push(Choice {
                    m: number("m"),
                    n: number("n"),
                    k: number("k"),
                    bits: number("bits"),
                    isa: one.word("isa").to_owned(),
                    threads: number("threads"),
                    rounds: one.us.len(),
                    chosen: kernel.clone(),
                    speeds: BTreeMap::new(),
                });
            }
            // The others follow the one that was chosen.
            if let Some(choice) = choices.last_mut() {
                let speed = one.giga_per_s("macs").unwrap_or_default();
                choice.speeds.insert(kernel, speed);
            }
        }
        choices.retain(|choice| choice.speeds.len() > 1);
        choices
    }

    fn fastest(&self) -> (&str, f64) {
        let of = self.speeds.iter().max_by(|a, b| a.1.total_cmp(b.1));
        of.map_or(("", f64::NAN), |(name, speed)| (name, *speed))
    }

    /// How many times as fast the fastest is.
    fn loss(&self) -> f64 {
        self.fastest().1 / self.speeds.get(&self.chosen).copied().unwrap_or(f64::NAN)
    }

    /// A line of `--json`, and of a record.
    pub(super) fn line(&self) -> Value {
        json!({
            "bench": "choice", "m": self.m, "n": self.n, "k": self.k, "bits": self.bits,
            "isa": self.isa, "threads": self.threads, "rounds": self.rounds, "chosen": self.chosen,
            "fastest": self.fastest().0, "fastest_over_chosen": self.loss(), "gmacs": self.speeds,
        })
    }

    /// `8x4096x4096`.
    fn shape(&self) -> String {
        format!("{}x{}x{}", self.m, self.n, self.k)
    }
}

/// A row for each product, and a line that says the worst.
pub(super) fn table(choices: &[Choice]) -> String {
    let mut table = String::new();
    let names: BTreeSet<&String> = choices.iter().flat_map(|c| c.speeds.keys()).collect();
    let _ = write!(table, "| m x n x k | bits | isa | threads |");
    for name in &names {
        let _ = write!(table, " {name} |");
    }
    let _ = writeln!(table, " chosen | fastest / chosen |");
    let _ = writeln!(table, "|{}", "---|".repeat(6 + names.len()));
    for choice in choices {
        let (shape, bits) = (choice.shape(), choice.bits);
        let (isa, threads) = (&choice.isa, choice.threads);
        let _ = write!(table, "| {shape} | {bits} | {isa} | {threads} |");
        for name in &names {
            match choice.speeds.get(*name) {
                Some(speed) => write!(table, " {speed:.1} |"),
                None => write!(table, " - |"),
            }
            .ok();
        }
        let _ = writeln!(table, " {} | {:.3} |", choice.chosen, choice.loss());
    }
    let batches = choices.iter().filter(|choice| choice.m > 1);
    if let Some(worst) = batches.max_by(|a, b| a.loss().total_cmp(&b.loss())) {
        let _ = writeln!(
            table,
            "\nOf the products with a batch of 2 or more, the choice loses most at {} with {} \
             bits: {:.1} %.",
            worst.shape(),
            worst.bits,
            100.0 * (worst.loss() - 1.0)
        );
    }
    table
}

/// Appends `choices` to the records at `path` and writes the page of all records beside it.
pub(super) fn record(path: &Path, choices: &[Choice]) -> Result<()> {
    let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    let mut lines = String::new();
    for choice in choices {
        let mut line = choice.line();
        for (key, value) in [
            ("cpu", cpu()),
            ("revision", revision()),
            ("date", today()),
            ("command", format!("cargo xtask {command}")),
        ] {
            line[key] = value.into();
        }
        let _ = writeln!(lines, "{line}");
    }
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))?;
    file.write_all(lines.as_bytes())
        .with_context(|| format!("appending to {}", path.display()))?;
    let records = std::fs::read_to_string(path)?;
    let page = page(&records).with_context(|| format!("reading {}", path.display()))?;
    let to = path.with_extension("md");
    std::fs::write(&to, page).with_context(|| format!("writing {}", to.display()))
}

/// The page: for each kind of CPU, in the order in which they came, its last run of each command.
fn page(records: &str) -> Result<String> {
    let mut page = "# Which kernel is chosen, and what the choice loses\n\nGMAC/s of every kernel \
                    of the instruction set, medians over the rounds of a run in which they take \
                    turns on one pinned core. A kernel is chosen by rates that each process \
                    measures for itself (adr/0016); every kernel computes the same integers. Of \
                    each kind of CPU the last run; the file of the same name that ends in jsonl \
                    keeps all.\n"
        .to_owned();
    let mut runs: Vec<(String, String, Vec<Choice>)> = Vec::new();
    for line in records.lines() {
        let record: Record = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let choice = record.choice;
        let run = format!(
            "`{}` at revision {}, {}, n = {} rounds.",
            record.command, record.revision, record.date, choice.rounds
        );
        let at = runs.iter().position(|(cpu, ..)| *cpu == record.cpu);
        let at = at.unwrap_or_else(|| {
            runs.push((record.cpu, run.clone(), Vec::new()));
            runs.len() - 1
        });
        let (_, of, choices) = &mut runs[at];
        let again = |c: &Choice| {
            let key = |c: &Choice| (c.shape(), c.bits, c.isa.clone(), c.threads);
            key(c) == key(&choice)
        };
        if *of != run || choices.iter().any(again) {
            *of = run;
            choices.clear();
        }
        choices.push(choice);
    }
    for (cpu, run, choices) in runs {
        let _ = write!(page, "\n## {cpu}\n\n{run}\n\n{}", table(&choices));
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(kernel: &str, chosen: bool, us: f64) -> Measured {
        let case = json!({ "m": 8, "n": 100, "k": 10 });
        let about = json!({
            "kernel": kernel, "chosen": chosen, "bits": 2, "isa": "avx512", "threads": 1,
            "macs": 8000,
        });
        let us = vec![us];
        Measured {
            case,
            about,
            us,
            min_us: 0.0,
        }
    }

    #[test]
    fn the_loss_is_how_much_faster_the_fastest_was() {
        let limit = Measured {
            about: json!({ "limit": "dot" }),
            ..measured("", false, 1.0)
        };
        let all = [
            limit,
            measured("slow", true, 3.0),
            measured("fast", false, 2.0),
        ];
        let choices = Choice::of(&all);
        assert_eq!(choices.len(), 1);
        let line = choices[0].line();
        assert_eq!(
            (
                &line["chosen"],
                &line["fastest"],
                &line["fastest_over_chosen"]
            ),
            (&json!("slow"), &json!("fast"), &json!(1.5))
        );
        assert!(table(&choices).contains("loses most at 8x100x10 with 2 bits: 50.0 %"));
        // One kernel alone is no choice.
        assert_eq!(Choice::of(&all[..2]), []);
    }

    #[test]
    fn the_page_keeps_every_cpu_and_the_last_run_of_each() {
        let choice = &Choice::of(&[measured("slow", true, 3.0), measured("fast", false, 2.0)])[0];
        let record = |cpu: &str, date: &str| {
            let mut line = choice.line();
            line["cpu"] = cpu.into();
            line["date"] = date.into();
            line["revision"] = "r".into();
            line["command"] = "c".into();
            line.to_string()
        };
        let records = [
            record("Xeon", "2026-01-01"),
            record("EPYC", "2026-01-02"),
            record("Xeon", "2026-01-03"),
        ];
        let page = page(&records.join("\n")).expect("records");
        assert!(page.find("## Xeon") < page.find("## EPYC"));
        assert!(page.contains("2026-01-03") && page.contains("2026-01-02"));
        assert!(!page.contains("2026-01-01"));
        assert_eq!(page.matches("| 8x100x10 |").count(), 2);
        assert!(super::page("{}").is_err() && super::page("no").is_err());
    }
}
