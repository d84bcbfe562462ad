//! The loop that trains what pages need, one run at a time, and keeps a record of each that
//! finished.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::options::How;
use super::plan::{Job, Plan};
use super::plans::PLANS;
use super::record::Record;
use super::seeds;
use super::trainer::{End, Trainer, is_finished, stopped, write};

/// A run and the page that asks for it.
pub(super) type Work<'a> = (&'a Plan, Job<'a>);

#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    /// It has a record.
    Known,
    /// It has one now.
    Trained,
    /// Why it has no result.
    Failed(String),
    /// Why its record stays as it is.
    Refused(String),
    /// Ctrl-C.
    Stopped,
}

/// Whether a run has no result yet.
fn is_open((plan, job): &Work<'_>, how: &How) -> Result<bool> {
    let records = plan.records(how.aside().as_deref())?;
    Ok(!records.iter().any(|r| job.is(r) && r.is_result()))
}

/// What has no result yet, without what an earlier page of the list trains as well.
fn open<'a, 'b>(work: &'b [Work<'a>], how: &How) -> Result<Vec<&'b Work<'a>>> {
    let mut found: Vec<&Work<'_>> = Vec::new();
    for one in work {
        let job = &one.1;
        let same = |other: &&Work<'_>| {
            let other = &other.1;
            job.row.trains_as(other.row) && (job.epochs, job.seed) == (other.epochs, other.seed)
        };
        if is_open(one, how)? && !found.iter().any(same) {
            found.push(one);
        }
    }
    Ok(found)
}

fn epochs(work: &[&Work<'_>]) -> u32 {
    work.iter().map(|(_, job)| job.own_epochs()).sum()
}

/// Says what would train, and how long that takes at the pace of the records.
pub(super) fn say_plan(work: &[Work<'_>], how: &How) -> Result<()> {
    let left = open(work, how)?;
    let pace = Pace::of_records()?;
    let mut seconds = 0.0;
    for (_, job) in &left {
        let takes = pace.seconds(&job.row.experiment()) * f64::from(job.own_epochs());
        seconds += takes;
        println!(
            "{}, {} epochs, seed {}: {}",
            job.row.name,
            job.own_epochs(),
            job.seed,
            hours(Duration::from_secs_f64(takes))
        );
    }
    println!(
        "{} runs of {} epochs to train, {} at the pace of the records, one after the other{}",
        left.len(),
        epochs(&left),
        hours(Duration::from_secs_f64(seconds)),
        pace.machines()
    );
    Ok(())
}

/// Seconds of an epoch, evaluation aside, by the records of all pages.
struct Pace {
    /// By experiment.
    rates: BTreeMap<String, Vec<f64>>,
    machines: Vec<String>,
}

impl Pace {
    fn of_records() -> Result<Self> {
        let (mut rates, mut machines) = (BTreeMap::<String, Vec<f64>>::new(), Vec::new());
        for plan in PLANS {
            for record in plan.own_records(None)? {
                let Some(data) = &record.data else {
                    continue;
                };
                let images = data.train_images as f64;
                let seconds = record.images_per_second.iter().flatten();
                let seconds = seconds.map(|rate| images / rate);
                rates
                    .entry(record.experiment.clone())
                    .or_default()
                    .extend(seconds);
                let (cpu, threads) = (record.origin.cpu.as_deref(), record.origin.threads);
                let cpu = cpu.unwrap_or("?");
                let machine = format!("{cpu}, {} threads", threads.unwrap_or(0));
                if !machines.contains(&machine) {
                    machines.push(machine);
                }
            }
        }
        Ok(Self { rates, machines })
    }

    /// The median epoch of an experiment; of one without a record, of all.
    fn seconds(&self, experiment: &str) -> f64 {
        let mut all: Vec<f64> = match self.rates.get(experiment) {
            Some(own) => own.clone(),
            None => self.rates.values().flatten().copied().collect(),
        };
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(0.0)
    }

    fn machines(&self) -> String {
        match self.machines.is_empty() {
            true => ": there are none".to_owned(),
            false => format!(" ({})", self.machines.join("; ")),
        }
    }
}

/// Trains what has no record yet; what is there is known.
pub(super) fn train_all(title: &str, work: &[Work<'_>], s3: &Trainer<'_>) -> Result<ExitCode> {
    let how = s3.how;
    let aside = how.aside();
    let aside = aside.as_deref();
    let before: Vec<bool> = work
        .iter()
        .map(|one| is_open(one, how))
        .collect::<Result<_>>()?;
    let all = open(work, how)?;
    let all = epochs(&all);
    println!("{title}: {} runs, {all} epochs to train", work.len());
    let (begun, mut failed, mut refused) = (Instant::now(), 0, 0);
    for (i, (one, before)) in work.iter().zip(before).enumerate() {
        let (plan, job) = one;
        let started = Instant::now();
        let outcome = match plan.train(s3, job, before) {
            _ if stopped() => Outcome::Stopped,
            outcome => outcome?,
        };
        let place = format!(
            "{}/{}: {}, {} epochs, seed {}",
            i + 1,
            work.len(),
            job.row.name,
            job.epochs,
            job.seed
        );
        match outcome {
            Outcome::Known => println!("{place}: has a record"),
            Outcome::Trained => {
                let left = epochs(&open(&work[i + 1..], how)?);
                let pace = begun.elapsed() / all.saturating_sub(left).max(1);
                let (took, left) = (hours(started.elapsed()), hours(pace * left));
                println!("{place}: {took}; at this pace {left} left");
            }
            Outcome::Failed(why) => {
                failed += 1;
                eprintln!("{place}: {why}");
            }
            Outcome::Refused(why) => {
                refused += 1;
                eprintln!("{place}: {why}");
            }
            Outcome::Stopped => {
                println!("stopped in {}; --resume goes on", job.row.name);
                return Ok(ExitCode::from(130));
            }
        }
        write_pages(plan, s3)?;
    }
    for plan in pages_of(work) {
        println!("{}", plan.page_path(aside).display());
    }
    if failed + refused > 0 {
        bail!(
            "{title}: of {} runs {failed} failed and {refused} had a record already",
            work.len()
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn pages_of<'a>(work: &[Work<'a>]) -> Vec<&'a Plan> {
    let mut pages: Vec<&Plan> = Vec::new();
    for (plan, _) in work {
        if !pages.iter().any(|p| p.name == plan.name) {
            pages.push(plan);
        }
    }
    pages
}

/// Writes a page, and every other one that a new record of it has changed.
pub(super) fn write_pages(plan: &Plan, s3: &Trainer<'_>) -> Result<()> {
    plan.write_page(s3)?;
    if s3.how.smoke {
        return Ok(());
    }
    for other in PLANS.iter().filter(|p| p.name != plan.name) {
        if !other.records(None)?.is_empty() && other.check().is_err() {
            other.write_page(s3)?;
        }
    }
    Ok(())
}

impl Plan {
    /// Trains one run and adds its record, unless it has one; `is_new` says whether it had none
    /// when this command began. A training that diverges leaves a record that says so, and the next
    /// call tries it again; any other refusal leaves none.
    fn train(&self, s3: &Trainer<'_>, job: &Job<'_>, is_new: bool) -> Result<Outcome> {
        let records = self.records(s3.how.aside().as_deref())?;
        let is_this = |r: &&Record| job.is(r) && r.is_result();
        if let Some(known) = records.iter().find(is_this) {
            // One that others started from may have been made in this very call.
            if !s3.how.resume && !is_new {
                return Ok(Outcome::Refused(
                    "has a record; --resume goes on".to_owned(),
                ));
            }
            let dtype = s3.dtype(job.row);
            if known.dtype != dtype {
                let word = &known.dtype;
                return Ok(Outcome::Refused(format!(
                    "has a record with activations {word}, wanted are {dtype}: --dtype {word} \
                     takes it, or remove its line"
                )));
            }
            return Ok(Outcome::Known);
        }
        let mut start = None;
        if let Some(from) = job.row.start {
            let name = from.row;
            let row = self.rows.iter().find(|r| r.name == name);
            let row = row.with_context(|| format!("{}: no row {name}", self.name))?;
            let epochs = job.start_epochs();
            let first = Job {
                row,
                epochs,
                ..*job
            };
            let folder = s3.folder(&first, None)?;
            // The records may be of another machine: the run itself is needed here.
            if !is_finished(&folder) {
                let outcome = match from.within {
                    // It is no row of the table: the table has no such epochs.
                    true => match s3.train(&first, None, s3.how.resume)? {
                        End::Finished(_) => Outcome::Trained,
                        End::Stopped => Outcome::Stopped,
                        End::Refused(why) => Outcome::Failed(why),
                    },
                    false => self.make(s3, &first, None)?,
                };
                match outcome {
                    Outcome::Trained | Outcome::Known => {}
                    Outcome::Failed(why) | Outcome::Refused(why) => {
                        return Ok(Outcome::Failed(format!("starts from {name}: {why}")));
                    }
                    Outcome::Stopped => return Ok(Outcome::Stopped),
                }
            }
            start = Some(folder.join("last.safetensors"));
        }
        self.make(s3, job, start.as_deref())
    }

    fn make(&self, s3: &Trainer<'_>, job: &Job<'_>, start: Option<&Path>) -> Result<Outcome> {
        let (mut line, outcome) = match s3.train(job, start, s3.how.resume)? {
            End::Finished(folder) => {
                let mut line = s3.record(&folder, self.layers)?;
                if job.row.files_on > 0 {
                    line["files"] = s3.files(&folder, job.row.files_on)?;
                }
                (line, Outcome::Trained)
            }
            End::Stopped => return Ok(Outcome::Stopped),
            End::Refused(error) if error.starts_with("training diverged") => {
                let line = json!({
                    "experiment": job.row.experiment(),
                    "seed": job.seed,
                    "epochs": job.own_epochs(),
                    "error": error,
                });
                (line, Outcome::Failed(error))
            }
            End::Refused(error) => return Ok(Outcome::Failed(error)),
        };
        line["row"] = json!(job.row.name);
        if job.own_epochs() != job.epochs {
            line["total_epochs"] = json!(job.epochs);
        }
        let record = Record::read(line).context("the record of a run is another one's")?;
        let aside = s3.how.aside();
        let mut records = self.own_records(aside.as_deref())?;
        records.retain(|r| !job.is(r));
        records.push(record);
        if let Err(e) = seeds::check(&records, &self.records_path(aside.as_deref())) {
            return Ok(Outcome::Refused(e.to_string()));
        }
        let lines: String = records.iter().map(|r| format!("{}\n", r.line)).collect();
        write(&self.records_path(aside.as_deref()), lines.as_bytes())?;
        Ok(outcome)
    }
}

fn hours(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match minutes {
        0 => format!("{} s", time.as_secs()),
        1..60 => format!("{minutes} min"),
        _ => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_as_a_person_would() {
        let say = |s| hours(Duration::from_secs(s));
        assert_eq!(
            [say(7), say(600), say(3900)],
            ["7 s", "10 min", "1 h 05 min"]
        );
    }

    #[test]
    fn an_epoch_takes_the_median_of_its_experiment_or_of_all() {
        let rates = [("a", vec![3.0, 1.0, 2.0]), ("b", vec![9.0, 8.0])];
        let pace = Pace {
            rates: rates.into_iter().map(|(n, r)| (n.to_owned(), r)).collect(),
            machines: Vec::new(),
        };
        assert_eq!(
            [pace.seconds("a"), pace.seconds("b"), pace.seconds("c")],
            [2.0, 9.0, 3.0]
        );
    }
}
