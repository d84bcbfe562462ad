//! What a page needs, and the loop that trains it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::page::Page;
use super::trainer::{End, Trainer, is_finished, listen, stopped, write};
use crate::cargo::root;

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// How long the trainings are
    #[arg(long, value_enum, default_value_t = Budget::Small)]
    budget: Budget,
    /// Passes over the training images instead of the budget's; several give a section each
    #[arg(long, num_args = 1.., value_parser = clap::value_parser!(u32).range(1..))]
    epochs: Vec<u32>,
    /// Seeds 1 to N of every row [default: the page's own]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: Option<u32>,
    /// Goes on: skips what has a record, takes up what has a run folder
    #[arg(long)]
    resume: bool,
    /// Type of the activations in training, where a method allows a choice
    #[arg(long, default_value = "bf16")]
    pub(super) dtype: String,
    /// Only these rows, as the page names them: s3-3bit, twn
    #[arg(long, value_name = "ROW", num_args = 1..)]
    only: Vec<String>,
    /// Threads of a training [default: all cores]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) threads: Option<u32>,
    /// Folder of the data sets' files [default: $S3_DATA_DIR, else data]
    #[arg(long)]
    pub(super) data_dir: Option<PathBuf>,
    /// Folder in which run folders are made
    #[arg(long, default_value = "runs")]
    pub(super) out: PathBuf,
    /// Trains nothing: fails where the page is not what the records say
    #[arg(long)]
    check: bool,
    /// Trains nothing: writes the page and its pictures again from the records
    #[arg(long, conflicts_with = "check")]
    redraw: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Budget {
    /// Seconds: a few epochs of a small network on generated images; page and records stay below --out
    Smoke,
    /// Hours: the network and the data of the page, few epochs; what is to train is said at the start
    Small,
    /// The paper's setting
    Full,
}

impl Options {
    /// The smoke budget below a folder; runs that two pages share are trained once.
    pub(super) fn smoke(out: &Path) -> Self {
        Self {
            budget: Budget::Smoke,
            epochs: Vec::new(),
            seeds: None,
            resume: true,
            dtype: "bf16".to_owned(),
            only: Vec::new(),
            threads: None,
            data_dir: None,
            out: out.to_path_buf(),
            check: false,
            redraw: false,
        }
    }

    pub(super) fn is_smoke(&self) -> bool {
        self.budget == Budget::Smoke
    }

    /// Where page and records are instead of docs/results.
    fn aside(&self) -> Option<PathBuf> {
        self.is_smoke().then(|| self.out.join("smoke"))
    }
}

/// A training, but for its epochs and its seed.
pub(super) struct Row {
    /// In the page, in the records and after `--only`.
    pub(super) name: &'static str,
    /// `xtask/experiments/cifar10/resnet20-RECIPE.toml`.
    pub(super) recipe: &'static str,
    /// What is set beside it, as after `--set`.
    pub(super) settings: &'static [&'static str],
    /// What the paper has for it; empty where it has nothing.
    pub(super) paper: &'static str,
    /// A public figure for this network, and where it stands.
    pub(super) published: &'static str,
    /// The row of the page whose run of the same epochs and seed it starts from.
    pub(super) start: Option<&'static str>,
    /// Whether its layers do more than multiply, which trains in f32 only.
    pub(super) only_f32: bool,
    /// Whether only the full budget has it.
    pub(super) only_full: bool,
}

impl Row {
    /// The recipe of this name as it is.
    pub(super) const fn of(name: &'static str) -> Self {
        Self {
            name,
            recipe: name,
            settings: &[],
            paper: "",
            published: "",
            start: None,
            only_f32: false,
            only_full: false,
        }
    }

    /// Under a name of its own, with settings.
    pub(super) const fn with(
        name: &'static str,
        recipe: &'static str,
        settings: &'static [&'static str],
    ) -> Self {
        Self {
            name,
            settings,
            ..Self::of(recipe)
        }
    }

    /// The experiment's name in a record.
    pub(super) fn experiment(&self) -> String {
        format!("cifar10/resnet20-{}", self.recipe)
    }
}

/// A page: its rows and how it is written.
pub(super) struct Plan {
    /// Of the files in docs/results.
    pub(super) name: &'static str,
    pub(super) rows: &'static [Row],
    /// At the small and at the full budget; each has its section.
    pub(super) epochs: [&'static [u32]; 2],
    /// Seeds 1 to N of every row, unless said.
    pub(super) seeds: u32,
    /// What a record keeps of each layer's snapshots, by their keys in `s3 compare --json --dynamics`.
    pub(super) layers: &'static [&'static str],
    pub(super) page: fn(&Plan, &[Value]) -> Page,
}

/// A row with its epochs and its seed.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) row: &'a Row,
    pub(super) epochs: u32,
    pub(super) seed: u32,
}

impl Job<'_> {
    fn is(&self, record: &Value) -> bool {
        record["row"] == self.row.name
            && record["seed"] == self.seed
            && record["epochs"] == self.epochs
    }
}

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

impl Plan {
    fn folder(aside: Option<&Path>) -> PathBuf {
        aside.map_or_else(|| root().join("docs/results"), Path::to_path_buf)
    }

    pub(super) fn records_path(&self, aside: Option<&Path>) -> PathBuf {
        Self::folder(aside).join(format!("{}.jsonl", self.name))
    }

    fn page_path(&self, aside: Option<&Path>) -> PathBuf {
        Self::folder(aside).join(format!("{}.md", self.name))
    }

    fn records(&self, aside: Option<&Path>) -> Result<Vec<Value>> {
        let path = self.records_path(aside);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        let line = |(i, line)| {
            serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), i + 1))
        };
        text.lines().enumerate().map(line).collect()
    }

    /// # Errors
    /// A page that is not what the records say, or a picture of it that is missing.
    pub(super) fn check(&self) -> Result<()> {
        let path = self.page_path(None);
        let found = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        let page = (self.page)(self, &self.records(None)?);
        let writes = format!("cargo xtask repro {} --redraw writes it", self.name);
        if found != page.text {
            bail!(
                "{}: not what {}.jsonl says: {writes}",
                path.display(),
                self.name
            );
        }
        for file in page.files() {
            let file = Self::folder(None).join(self.name).join(file);
            if !file.is_file() {
                bail!("{}: missing: {writes}", file.display());
            }
        }
        Ok(())
    }

    /// The trainings that are asked for, short ones first.
    pub(super) fn jobs(&self, options: &Options) -> Result<Vec<Job<'static>>> {
        let known = |name: &&String| self.rows.iter().any(|row| row.name == **name);
        if let Some(name) = options.only.iter().find(|name| !known(name)) {
            let rows: Vec<&str> = self.rows.iter().map(|row| row.name).collect();
            bail!(
                "--only {name}: no such row, expected some of {}",
                rows.join(", ")
            );
        }
        let [small, full] = self.epochs;
        let mut epochs = match options.budget {
            Budget::Smoke => (1..=small.len() as u32).map(|i| i + 1).collect(),
            Budget::Small => small.to_vec(),
            Budget::Full => full.to_vec(),
        };
        if !options.epochs.is_empty() {
            epochs.clone_from(&options.epochs);
            epochs.sort_unstable();
            epochs.dedup();
        }
        let seeds = match (options.seeds, options.budget) {
            (Some(seeds), _) => seeds,
            (None, Budget::Smoke) => 1,
            (None, Budget::Small | Budget::Full) => self.seeds,
        };
        let wanted = |row: &&Row| {
            let asked = options.only.iter().any(|name| name == row.name);
            asked || (options.only.is_empty() && (!row.only_full || options.budget == Budget::Full))
        };
        let mut jobs = Vec::new();
        for &epochs in &epochs {
            for seed in 1..=seeds {
                let rows = self.rows.iter().filter(wanted);
                jobs.extend(rows.map(|row| Job { row, epochs, seed }));
            }
        }
        Ok(jobs)
    }

    pub(super) fn run(&self, options: &Options) -> Result<ExitCode> {
        if options.check {
            self.check()?;
            return Ok(ExitCode::SUCCESS);
        }
        let jobs = self.jobs(options)?;
        listen()?;
        let s3 = Trainer::new(options)?;
        if options.redraw {
            self.write_page(&s3, options.aside().as_deref())?;
            println!("{}", self.page_path(options.aside().as_deref()).display());
            return Ok(ExitCode::SUCCESS);
        }
        self.train_all(&jobs, &s3, options)
    }

    pub(super) fn train_all(
        &self,
        jobs: &[Job<'_>],
        s3: &Trainer<'_>,
        options: &Options,
    ) -> Result<ExitCode> {
        let aside = options.aside();
        let records = self.records(aside.as_deref())?;
        let epochs = |jobs: &[Job<'_>], records: &[Value]| -> u32 {
            let open = |job: &&Job<'_>| !records.iter().any(|r| job.is(r) && is_result(r));
            jobs.iter().filter(open).map(|job| job.epochs).sum()
        };
        let (all, open) = (epochs(jobs, &[]), epochs(jobs, &records));
        println!(
            "{}: {} runs of {all} epochs together, {open} of them to train",
            self.name,
            jobs.len()
        );
        let (begun, mut failed, mut refused) = (Instant::now(), 0, 0);
        for (i, job) in jobs.iter().enumerate() {
            let started = Instant::now();
            let outcome = match self.train(s3, options, job, &records) {
                _ if stopped() => Outcome::Stopped,
                outcome => outcome?,
            };
            let place = format!(
                "{}/{}: {}, {} epochs, seed {}",
                i + 1,
                jobs.len(),
                job.row.name,
                job.epochs,
                job.seed
            );
            match outcome {
                Outcome::Known => println!("{place}: has a record"),
                Outcome::Trained => {
                    let records = self.records(aside.as_deref())?;
                    let left = epochs(&jobs[i + 1..], &records);
                    let done = open.saturating_sub(epochs(jobs, &records));
                    let pace = begun.elapsed() / done.max(1);
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
            self.write_page(s3, aside.as_deref())?;
        }
        println!("{}", self.page_path(aside.as_deref()).display());
        if failed + refused > 0 {
            bail!(
                "{}: of {} runs {failed} failed and {refused} had a record already",
                self.name,
                jobs.len()
            );
        }
        Ok(ExitCode::SUCCESS)
    }

    fn write_page(&self, s3: &Trainer<'_>, aside: Option<&Path>) -> Result<()> {
        let page = (self.page)(self, &self.records(aside)?);
        if !page.pictures.is_empty() {
            s3.draw(&page.pictures, &Self::folder(aside).join(self.name))?;
        }
        write(&self.page_path(aside), page.text.as_bytes())
    }

    /// Trains one run and adds its record, unless it has one; `before` are those that this command found. A training that diverges leaves a record that says so, and the
    /// next call tries it again; any other refusal leaves none.
    fn train(
        &self,
        s3: &Trainer<'_>,
        options: &Options,
        job: &Job<'_>,
        before: &[Value],
    ) -> Result<Outcome> {
        let records = self.records(options.aside().as_deref())?;
        let is_this = |r: &&Value| job.is(r) && is_result(r);
        if let Some(known) = records.iter().find(is_this) {
            // One that others started from may have been made in this very call.
            if !options.resume && before.iter().any(|r| is_this(&r)) {
                return Ok(Outcome::Refused(
                    "has a record; --resume goes on".to_owned(),
                ));
            }
            let dtype = s3.dtype(job.row);
            if known["dtype"] != dtype {
                let word = known["dtype"].as_str().unwrap_or("?");
                return Ok(Outcome::Refused(format!(
                    "has a record with activations {word}, wanted are {dtype}: --dtype {word} takes it, or remove its line"
                )));
            }
            return Ok(Outcome::Known);
        }
        let mut start = None;
        if let Some(name) = job.row.start {
            let row = self.rows.iter().find(|r| r.name == name);
            let row = row.with_context(|| format!("{}: no row {name}", self.name))?;
            let first = Job { row, ..*job };
            let folder = s3.folder(&first, None)?;
            // The records may be of another machine: the run itself is needed here.
            if !is_finished(&folder) {
                match self.make(s3, options, &first, None)? {
                    Outcome::Trained | Outcome::Known => {}
                    Outcome::Failed(why) | Outcome::Refused(why) => {
                        return Ok(Outcome::Failed(format!("starts from {name}: {why}")));
                    }
                    Outcome::Stopped => return Ok(Outcome::Stopped),
                }
            }
            start = Some(folder.join("last.safetensors"));
        }
        self.make(s3, options, job, start.as_deref())
    }

    fn make(
        &self,
        s3: &Trainer<'_>,
        options: &Options,
        job: &Job<'_>,
        start: Option<&Path>,
    ) -> Result<Outcome> {
        let (mut record, outcome) = match s3.train(job, start, options.resume)? {
            End::Finished(folder) => (s3.record(&folder, self.layers)?, Outcome::Trained),
            End::Stopped => return Ok(Outcome::Stopped),
            End::Refused(error) if error.starts_with("training diverged") => {
                let record = json!({
                    "experiment": job.row.experiment(),
                    "seed": job.seed,
                    "epochs": job.epochs,
                    "error": error,
                });
                (record, Outcome::Failed(error))
            }
            End::Refused(error) => return Ok(Outcome::Failed(error)),
        };
        record["row"] = json!(job.row.name);
        let aside = options.aside();
        let mut records = self.records(aside.as_deref())?;
        records.retain(|r| !job.is(r));
        records.push(record);
        let lines: String = records.iter().map(|r| format!("{r}\n")).collect();
        write(&self.records_path(aside.as_deref()), lines.as_bytes())?;
        Ok(outcome)
    }
}

/// Whether a record is of a run that finished.
pub(super) fn is_result(record: &Value) -> bool {
    record.get("error").is_none()
}

fn hours(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match minutes {
        0 => format!("{} s", time.as_secs()),
        1..60 => format!("{minutes} min"),
        _ => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use clap::Parser;
    use std::os::unix::fs::PermissionsExt;

    /// Stands in for `s3`: a run is the folder OUT/RECIPE-eEPOCHS-sSEED; seed 3 of `twn` diverges, seed 2
    /// of it is stopped where a file OUT/stop is.
    const S3: &str = r#"#!/bin/sh
verb=$1; shift
case $verb in
train)
  recipe=$(basename "$1" .toml); shift; dry=""; start=""
  while [ $# -gt 0 ]; do
    case $1 in
    --set) case $2 in epochs=*) e=${2#*=};; seed=*) s=${2#*=};; init_from=*) start=${2#*=};; esac; shift;;
    --out) out=$2; shift;;
    --dry-run) dry=1;;
    esac
    shift
  done
  folder=$out/$recipe-e$e-s$s
  if [ "$dry" ]; then echo "$folder"; exit 0; fi
  echo "$recipe $e $s $start" >> "$out/log"
  if [ -e "$out/stop" ]; then exit 130; fi
  if [ "$recipe-$s" = resnet20-twn-3 ]; then echo "error: training diverged at once" >&2; exit 1; fi
  mkdir -p "$folder"; touch "$folder/summary.json" "$folder/last.safetensors";;
compare)
  s=${1##*-s}; rest=${1%-s*}; e=${rest##*-e}
  echo "{\"seed\": $s, \"epochs\": $e, \"dtype\": \"bf16\", \"layers\": [{\"name\": \"fc\", \"wsvr\": [1], \"wlvr\": [2]}]}";;
plot) mkdir -p "$3"; cp "$1" "$3/drawn.json";;
esac
"#;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    const PLAN: Plan = Plan {
        name: "made-up",
        rows: &[
            Row {
                start: Some("fp32"),
                ..Row::of("ttq-2bit")
            },
            Row::of("fp32"),
            Row::of("twn"),
            Row {
                only_full: true,
                ..Row::of("bwn-1bit")
            },
        ],
        epochs: [&[4], &[90]],
        seeds: 2,
        layers: &["wsvr"],
        page: |_, records| {
            let mut page = Page::new(&format!("{} records\n", records.len()));
            page.pictures.push(json!({"file": "a"}));
            page
        },
    };

    struct Bench {
        folder: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let binary = folder.path().join("s3");
            std::fs::write(&binary, S3).expect("written");
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&binary, mode).expect("executable");
            Self { folder }
        }

        /// Runs the plan at the smoke budget, whose page and records are below the folder.
        fn run(&self, more: &[&str]) -> Result<ExitCode> {
            let out = self.folder.path().to_str().expect("UTF-8");
            let mut line = vec!["repro", "--budget", "smoke", "--out", out];
            line.extend(more);
            let options = Line::try_parse_from(line).expect("parses").options;
            let s3 = Trainer {
                binary: self.folder.path().join("s3"),
                options: &options,
            };
            PLAN.train_all(&PLAN.jobs(&options)?, &s3, &options)
        }

        fn read(&self, name: &str) -> String {
            std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
        }
    }

    #[test]
    fn a_plan_trains_each_run_once_and_what_it_starts_from_first() {
        let bench = Bench::new();
        bench.run(&["--seeds", "2"]).expect("trains");
        let start = bench
            .folder
            .path()
            .join("resnet20-fp32-e2-s1/last.safetensors");
        let log = bench.read("log");
        let lines: Vec<&str> = log.lines().map(str::trim_end).collect();
        assert_eq!(lines[0], "resnet20-fp32 2 1");
        assert_eq!(
            lines[1],
            format!("resnet20-ttq-2bit 2 1 \"{}\"", start.display())
        );
        assert_eq!(lines[2], "resnet20-twn 2 1");
        assert_eq!(lines.len(), 6, "{log}");
        assert_eq!(bench.read("smoke/made-up.md"), "6 records\n");
        assert_eq!(bench.read("smoke/made-up/drawn.json"), r#"[{"file":"a"}]"#);
        let records = bench.read("smoke/made-up.jsonl");
        assert!(records.contains(r#""row":"ttq-2bit""#), "{records}");
        assert!(
            records.contains(r#""wsvr":[1]"#) && !records.contains("wlvr"),
            "{records}"
        );

        // Again: without --resume each says that it has a record, with it nothing is trained.
        assert!(bench.run(&["--seeds", "2"]).is_err());
        bench.run(&["--seeds", "2", "--resume"]).expect("knows");
        assert_eq!(bench.read("log"), log);
    }

    #[test]
    fn a_run_that_diverges_leaves_a_record_and_is_tried_again() {
        let bench = Bench::new();
        let three = ["--seeds", "3", "--only", "twn", "--resume"];
        let error = bench.run(&three).expect_err("one diverges");
        let error = error.to_string();
        assert_eq!(
            error,
            "made-up: of 3 runs 1 failed and 0 had a record already"
        );
        assert!(
            bench
                .read("smoke/made-up.jsonl")
                .contains("training diverged at once")
        );
        assert!(bench.run(&three).is_err());
        assert_eq!(bench.read("log").lines().count(), 4);
        assert_eq!(bench.read("smoke/made-up.jsonl").lines().count(), 3);
    }

    #[test]
    fn a_stop_leaves_no_record_and_ends_the_plan() {
        let bench = Bench::new();
        std::fs::write(bench.folder.path().join("stop"), "").expect("written");
        bench.run(&[]).expect("ends");
        assert_eq!(bench.read("log").lines().count(), 1);
        assert_eq!(bench.read("smoke/made-up.jsonl"), "");
    }

    #[test]
    fn budgets_choose_rows_epochs_and_seeds() {
        let jobs = |line: &[&str]| -> Vec<String> {
            let line = [&["repro"], line].concat();
            let options = Line::try_parse_from(line).expect("parses").options;
            let jobs = PLAN.jobs(&options).expect("rows");
            let say = |j: &Job<'_>| format!("{} {} {}", j.row.name, j.epochs, j.seed);
            jobs.iter().map(say).collect()
        };
        assert_eq!(jobs(&[]).len(), 6);
        assert_eq!(jobs(&["--budget", "full"]).len(), 8);
        let asked = jobs(&["--epochs", "3", "5", "--seeds", "1", "--only", "bwn-1bit"]);
        assert_eq!(asked, ["bwn-1bit 3 1", "bwn-1bit 5 1"]);
        let options = Line::try_parse_from(["repro", "--only", "nobody"])
            .expect("parses")
            .options;
        let error = PLAN.jobs(&options).err().expect("no such row").to_string();
        assert!(
            error.starts_with("--only nobody: no such row, expected some of ttq-2bit,"),
            "{error}"
        );
    }

    #[test]
    fn times_are_said_as_a_person_would() {
        let say = |s| hours(Duration::from_secs(s));
        assert_eq!(
            [say(7), say(600), say(3900)],
            ["7 s", "10 min", "1 h 05 min"]
        );
    }
}
