//! What the choice of a kernel loses: for each product which kernel was chosen, which of ours was
//! fastest, and by how much, in each of several processes, as each measures its rates and places
//! its buffers anew; and the records of it, from which the page of every kind of CPU is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::measured::Measured;
use super::page::{cpu, revision, summary, today};

/// The kernels of one product, by turns in one process.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub(super) struct Choice {
    /// Which process of the run, from 0; records of before there were several have none.
    #[serde(default)]
    process: usize,
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
    /// Of each width and side of a case that measured every kernel in `process`.
    pub(super) fn of(measured: &[Measured], process: usize) -> Vec<Choice> {
        let mut choices: Vec<Choice> = Vec::new();
        for one in measured {
            let Some(chosen) = one.about["chosen"].as_bool() else {
                continue;
            };
            let number = |key| one.number(key).unwrap_or_default() as u64;
            let kernel = one.word("kernel").to_owned();
            if chosen {
                choices.push(Choice {
                    process,
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

    /// The product and how it was run: what the processes have in common.
    fn product(&self) -> (String, u64, &str, u64) {
        (self.shape(), self.bits, &self.isa, self.threads)
    }

    /// How many times as fast the fastest is.
    fn loss(&self) -> f64 {
        self.fastest().1 / self.speeds.get(&self.chosen).copied().unwrap_or(f64::NAN)
    }

    /// A line of `--json`, and of a record.
    pub(super) fn line(&self) -> Value {
        json!({
            "bench": "choice", "process": self.process, "m": self.m, "n": self.n, "k": self.k,
            "bits": self.bits, "isa": self.isa, "threads": self.threads, "rounds": self.rounds,
            "chosen": self.chosen,
            "fastest": self.fastest().0, "fastest_over_chosen": self.loss(), "gmacs": self.speeds,
        })
    }

    /// `8x4096x4096`.
    fn shape(&self) -> String {
        format!("{}x{}x{}", self.m, self.n, self.k)
    }
}

/// One product in every process of a run.
struct Row<'a>(Vec<&'a Choice>);

impl Row<'_> {
    /// The products in the order in which they came.
    fn all(choices: &[Choice]) -> Vec<Row<'_>> {
        let mut rows: Vec<Row> = Vec::new();
        for choice in choices {
            let of = |row: &&mut Row| row.0[0].product() == choice.product();
            match rows.iter_mut().find(of) {
                Some(row) => row.0.push(choice),
                None => rows.push(Row(vec![choice])),
            }
        }
        rows
    }

    /// GMAC/s: the median over the processes.
    fn speed(&self, kernel: &str) -> Option<f64> {
        let of = self.0.iter().filter_map(|one| one.speeds.get(kernel));
        let speeds: Vec<f64> = of.copied().collect();
        (!speeds.is_empty()).then(|| summary(&speeds).0)
    }

    /// The kernels that were chosen, each with how many processes chose it where they disagree.
    fn chosen(&self) -> String {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for one in &self.0 {
            *times.entry(&one.chosen).or_default() += 1;
        }
        let agree = times.len() == 1;
        let each = times.iter().map(|(name, times)| match agree {
            true => (*name).to_owned(),
            false => format!("{name} ({times})"),
        });
        each.collect::<Vec<_>>().join(", ")
    }

    /// How many times as fast the fastest of a process is: the median over the processes, and the
    /// most.
    fn loss(&self) -> (f64, f64) {
        let losses: Vec<f64> = self.0.iter().map(|one| one.loss()).collect();
        let (median, _, most) = summary(&losses);
        (median, most)
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
    let _ = writeln!(table, " chosen | fastest / chosen | most |");
    let _ = writeln!(table, "|{}", "---|".repeat(7 + names.len()));
    let rows = Row::all(choices);
    for row in &rows {
        let (shape, bits, isa, threads) = row.0[0].product();
        let _ = write!(table, "| {shape} | {bits} | {isa} | {threads} |");
        for name in &names {
            match row.speed(name) {
                Some(speed) => write!(table, " {speed:.1} |"),
                None => write!(table, " - |"),
            }
            .ok();
        }
        let (loss, most) = row.loss();
        let _ = writeln!(table, " {} | {loss:.3} | {most:.3} |", row.chosen());
    }
    let batches = rows.iter().filter(|row| row.0[0].m > 1);
    let worst = batches.max_by(|a, b| a.loss().0.total_cmp(&b.loss().0));
    if let Some(worst) = worst {
        let (shape, bits, ..) = worst.0[0].product();
        let _ = writeln!(
            table,
            "\nOf the products with a batch of 2 or more, the choice loses most at {shape} with \
             {bits} bits: {:.1} %.",
            100.0 * (worst.loss().0 - 1.0)
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
                    of the instruction set, medians over the rounds in which they take turns on \
                    one pinned core, and over the processes of a run. A kernel is chosen by rates \
                    that each process measures for itself (adr/0016), and buffers lie elsewhere in \
                    each; so the loss is taken within each process: its median over them, and the \
                    most. Every kernel computes the same integers. Of each kind of CPU the last \
                    run; the file of the same name that ends in jsonl keeps all.\n"
        .to_owned();
    let mut runs: Vec<(String, String, Vec<Choice>)> = Vec::new();
    for line in records.lines() {
        let record: Record = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let choice = record.choice;
        let run = format!(
            "`{}` at revision {}, {}",
            record.command, record.revision, record.date
        );
        let at = runs.iter().position(|(cpu, ..)| *cpu == record.cpu);
        let at = at.unwrap_or_else(|| {
            runs.push((record.cpu, run.clone(), Vec::new()));
            runs.len() - 1
        });
        let (_, of, choices) = &mut runs[at];
        let again = |c: &Choice| (c.product(), c.process) == (choice.product(), choice.process);
        if *of != run || choices.iter().any(again) {
            *of = run;
            choices.clear();
        }
        choices.push(choice);
    }
    for (cpu, run, choices) in runs {
        let rounds = choices
            .iter()
            .map(|one| one.rounds)
            .max()
            .unwrap_or_default();
        let processes = 1 + choices
            .iter()
            .map(|one| one.process)
            .max()
            .unwrap_or_default();
        let n = match processes {
            1 => format!("n = {rounds} rounds"),
            _ => format!("n = {processes} processes of {rounds} rounds"),
        };
        let _ = write!(page, "\n## {cpu}\n\n{run}, {n}.\n\n{}", table(&choices));
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
        let choices = Choice::of(&all, 0);
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
        assert_eq!(Choice::of(&all[..2], 0), []);
    }

    #[test]
    fn the_page_keeps_every_cpu_and_the_last_run_of_each() {
        let both = [measured("slow", true, 3.0), measured("fast", false, 2.0)];
        let choice = &Choice::of(&both, 0)[0];
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

    #[test]
    fn the_loss_is_the_median_of_what_each_process_lost() {
        let process = |i, chosen: &str, slow, fast| {
            let all = [("slow", slow), ("fast", fast)];
            let mut all = all.map(|(name, us)| measured(name, name == chosen, us));
            all.sort_by_key(|one| one.about["chosen"] != json!(true));
            Choice::of(&all, i).remove(0)
        };
        let run = [
            process(0, "slow", 2.0, 2.0),
            process(1, "slow", 4.0, 2.0),
            process(2, "fast", 4.0, 2.0),
        ];
        let [row] = &Row::all(&run)[..] else {
            panic!("one product");
        };
        assert_eq!(row.loss(), (1.0, 2.0));
        assert_eq!(row.chosen(), "fast (1), slow (2)");
        // 8,000 products in 4 and 2 microseconds, in the median.
        assert_eq!(row.speed("slow"), Some(2.0));
        assert_eq!(row.speed("fast"), Some(4.0));
        let records = run.map(|one| {
            let mut line = one.line();
            for key in ["cpu", "revision", "date", "command"] {
                line[key] = "EPYC".into();
            }
            line.to_string()
        });
        let page = page(&records.join("\n")).expect("records");
        assert!(page.contains("n = 3 processes of 1 rounds"), "{page}");
        assert!(
            page.contains("| fast (1), slow (2) | 1.000 | 2.000 |"),
            "{page}"
        );
    }
}
