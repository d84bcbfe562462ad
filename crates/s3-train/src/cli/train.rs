//! Trains an experiment.

use super::folders::{Folders, data_dir, data_dir_of};
use super::progress::Progress;
use super::stop::{STOP, stop_on_ctrl_c};
use super::{experiment, report};
use crate::config::Config;
use crate::observe::Event;
use crate::ranks::{self, Alone, Ranks};
use crate::run::{self, RunFolder};
use crate::terminal::{self, note, one_line};
use crate::train::{self, Outcome, Places};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

#[derive(Args)]
pub(crate) struct TrainArgs {
    /// The experiment, a TOML file.
    experiment: PathBuf,
    /// Replaces a setting, e.g. --set epochs=3 --set method.bits=2.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Replaces the seed.
    #[arg(long)]
    seed: Option<u64>,
    /// Starts from the weights of a safetensors file, `from:FILE`: the setting `init_from`.
    #[arg(long, value_name = "from:FILE", value_parser = init_from)]
    init: Option<String>,
    /// Goes on with this run where its last checkpoint stands.
    #[arg(long)]
    resume: bool,
    /// Checks the configuration, its pre-trained file and its data, prints the run's folder and
    /// trains nothing.
    #[arg(long)]
    dry_run: bool,
    /// Seconds between checkpoints within an epoch; changes no result.
    #[arg(long, default_value_t = 300)]
    checkpoint_seconds: u64,
    /// Writes no report.html into the folder of the finished run.
    #[arg(long)]
    no_report: bool,
    #[command(flatten)]
    folders: Folders,
}

/// The setting that `--init from:FILE` stands for.
fn init_from(text: &str) -> Result<String, String> {
    let file = text.strip_prefix("from:").filter(|file| !file.is_empty());
    let file = file.ok_or_else(|| format!("expected from:FILE, got {text}"))?;
    Ok(format!("init_from={}", toml::Value::from(file)))
}

/// Where a run reads and writes; alone, until it is said otherwise.
pub(super) fn places(folders: &Folders, resume: bool, checkpoint_seconds: u64) -> Places<'static> {
    Places {
        ranks: Arc::new(Alone),
        data_dir: Some(data_dir(folders.data_dir.as_ref())),
        out: folders.out.clone(),
        resume,
        checkpoint_every: Duration::from_secs(checkpoint_seconds),
        stop: &STOP,
        command: std::env::args_os()
            .map(|word| word.to_string_lossy().into_owned())
            .collect(),
    }
}

pub(crate) fn run(args: &TrainArgs) -> Result<ExitCode> {
    let mut overrides = args.overrides.clone();
    overrides.extend(args.seed.map(|s| format!("seed={s}")));
    overrides.extend(args.init.clone());
    let config = Config::load(&experiment::find(&args.experiment)?, &overrides)?;
    let config = run::pinned(&config, &args.folders.out)?;
    let folder = RunFolder::of(&config, &args.folders.out)?;
    let ranks = ranks::start()?;
    let _guard = AbortOnPanic(&*ranks);
    let done = match args.dry_run {
        true => dry_run(&ranks, &config, args),
        false => train_on(&ranks, &config, &folder, args),
    };
    if let (Err(e), true) = (&done, ranks.size() > 1) {
        let (rank, size) = (ranks.rank(), ranks.size());
        // The others wait for this rank: nothing may stand before the end of all.
        note!("error: rank {rank} of {size}: {}", one_line(e));
        ranks.abort();
    }
    done
}

/// Ends all ranks where this one panics, as they wait for it.
struct AbortOnPanic<'a>(&'a dyn Ranks);

impl Drop for AbortOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.abort();
        }
    }
}

fn dry_run(ranks: &Arc<dyn Ranks>, config: &Config, args: &TrainArgs) -> Result<ExitCode> {
    let data = data_dir(args.folders.data_dir.as_ref());
    // The run's folder alone is the answer.
    let mut notes = |event: Event<'_>| {
        if let (Event::Note { text }, 0) = (event, ranks.rank()) {
            note([text.to_string()]);
        }
    };
    let folder = train::check(config, Some(&data), &args.folders.out, ranks, &mut notes)?;
    if ranks.rank() == 0 {
        say!("{}", terminal::path(&folder));
    }
    Ok(ExitCode::SUCCESS)
}

fn train_on(
    ranks: &Arc<dyn Ranks>,
    config: &Config,
    folder: &RunFolder,
    args: &TrainArgs,
) -> Result<ExitCode> {
    stop_on_ctrl_c()?;
    let data_dir = match args.resume {
        true => data_dir_of(folder.root(), args.folders.data_dir.as_ref()),
        false => data_dir(args.folders.data_dir.as_ref()),
    };
    let places = Places {
        ranks: ranks.clone(),
        data_dir: Some(data_dir.clone()),
        ..places(&args.folders, args.resume, args.checkpoint_seconds)
    };
    if ranks.rank() > 0 {
        let mut only_skipped = |event: Event<'_>| {
            if let Event::Skipped { images } = event {
                for line in images {
                    note!("skipped: {}", terminal::line(line));
                }
            }
        };
        let outcome = train::train(config, &places, &mut only_skipped)?;
        return Ok(exit_code(&outcome));
    }
    if args.resume && !folder.config().is_file() {
        let out = terminal::path(&args.folders.out);
        note!("nothing to resume: no run of this configuration in {out}, starting it");
    }
    let outcome = train::train(config, &places, &mut Progress::new())?;
    let code = conclude(&outcome, "--resume goes on");
    if let Outcome::Finished { folder, .. } = &outcome
        && !args.no_report
        && let Err(e) = report::of_run(folder, &data_dir)
    {
        note!("no report.html: {}", one_line(&e));
    }
    Ok(code)
}

fn exit_code(outcome: &Outcome) -> ExitCode {
    match outcome {
        Outcome::Finished { .. } => ExitCode::SUCCESS,
        Outcome::Stopped { .. } => ExitCode::from(130),
    }
}

pub(super) fn conclude(outcome: &Outcome, hint: &str) -> ExitCode {
    match outcome {
        Outcome::Finished { folder, last } => {
            let top1 = 100.0 * last.test_top1.unwrap_or(f64::NAN);
            say!(
                "finished: test top-1 {top1:.2} % after {} epochs; {}",
                last.epoch,
                terminal::path(folder)
            );
            say!(
                "next: s3 export {} -o net.safetensors",
                terminal::path(folder)
            );
        }
        Outcome::Stopped { folder, step } => {
            say!(
                "stopped after step {step}; {hint}; {}",
                terminal::path(folder)
            );
        }
    }
    exit_code(outcome)
}
