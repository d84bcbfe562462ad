//! The command line: one struct a verb, one function that runs it.

mod compare;
mod compiled;
mod demo;
mod eval;
mod experiment;
mod export;
mod fidelity;
mod foreign;
mod infer;
mod list;
mod logs;
mod packed_file;
mod plot;
mod progress;
mod report;
mod shards;
mod summary;
mod threads;

use crate::terminal::{self, one_line};
use anyhow::{Context, Result, bail};
use candle_core::DType;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};
use progress::Progress;
use s3_train::config::Config;
use s3_train::data::Splits;
use s3_train::given::Given;
use s3_train::keys;
use s3_train::observe::Event;
use s3_train::ranks::{self, Alone, Ranks};
use s3_train::run::{self, RunFolder};
use s3_train::train::{self, Outcome, Places};
use s3_train::trained::Trained;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Set by Ctrl-C.
static STOP: AtomicBool = AtomicBool::new(false);

/// Train, evaluate and understand low-bit shift networks.
#[derive(Parser)]
#[command(name = "s3", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
    /// Threads, at most 4 a core; changes no result [default: all cores].
    #[arg(long, global = true, value_parser = clap::value_parser!(u64).range(1..))]
    threads: Option<u64>,
}

#[derive(Subcommand)]
enum Verb {
    /// Train FP32 and 3-bit S3 side by side on generated images and compare them.
    Demo(Folders),
    /// Train an experiment into a run folder.
    Train(TrainArgs),
    /// Evaluate a run's checkpoint, or a packed network's file, on a test set.
    Eval(eval::EvalArgs),
    /// Freeze a run's network into one packed file.
    Export(export::ExportArgs),
    /// Classify images with a packed network.
    Infer(infer::InferArgs),
    /// Compare runs' networks with every file they can become.
    Fidelity(fidelity::FidelityArgs),
    /// Compare finished runs in one table.
    Compare(compare::CompareArgs),
    /// Write an HTML page of a run, or of several beside each other.
    Report(report::ReportArgs),
    /// Write the lines of run folders as CSV, or for TensorBoard.
    Logs(logs::LogsArgs),
    /// Draw the pictures that a JSON file describes.
    Plot(plot::PlotArgs),
    /// Store an experiment's pictures in few large files, each of which is read whole.
    Shards(shards::ShardsArgs),
    /// Show the layers of an experiment's or a run's network: parameters, operations, bytes; and its energy by a model.
    Summary(summary::SummaryArgs),
    /// List the methods and the experiments.
    List(list::ListArgs),
}

/// Where data and runs are.
#[derive(Args, Clone)]
struct Folders {
    /// Folder of the data sets' files [default: $S3_DATA_DIR, else data].
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Folder in which run folders are made.
    #[arg(long, default_value = "runs")]
    out: PathBuf,
}

/// Which labels a network is evaluated on.
#[derive(Args)]
struct Labels {
    /// Evaluates on data whose class names are others than the network's: its class i is their class i.
    #[arg(long)]
    other_classes: bool,
}

#[derive(Args)]
struct TrainArgs {
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
    /// Checks the configuration, its pre-trained file and its data, prints the run's folder and trains
    /// nothing.
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

/// Parses the command line and runs its verb.
pub(crate) fn run() -> Result<ExitCode> {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return Ok(explain(&e)),
    };
    threads::choose(cli.threads)?;
    // A wrong `S3_KERNELS_ISA` or `S3_KERNELS_AMX` is said before anything begins.
    s3_layers::ops::instruction_set(DType::F32)?;
    // A training goes on and is done when its lines are lost; for the others they are what was asked for.
    let code = match cli.verb {
        Verb::Demo(folders) => {
            stop_on_ctrl_c()?;
            return demo::run(&folders);
        }
        Verb::Train(args) => return train(&args),
        Verb::Eval(args) => eval::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Export(args) => export::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Infer(args) => infer::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Fidelity(args) => fidelity::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Compare(args) => compare::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Report(args) => report::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Logs(args) => logs::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Plot(args) => plot::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Shards(args) => {
            stop_on_ctrl_c()?;
            shards::run(&args, &STOP).map(|()| ExitCode::SUCCESS)
        }
        Verb::Summary(args) => summary::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::List(args) => list::run(&args).map(|()| ExitCode::SUCCESS),
    }?;
    if terminal::has_lost_lines() {
        bail!("standard output: lines could not be written, as on a full disk")
    }
    Ok(code)
}

/// Lines beside a verb's answer.
fn note(lines: impl IntoIterator<Item = String>) {
    for line in lines {
        note!("note: {}", terminal::line(&line));
    }
}

/// Refuses the file of `option` where it would take the place of what is kept, before any work;
/// `replaces` as [`run::check_output`] has it.
fn check_output(option: &str, path: &Path, replaces: &Given) -> Result<()> {
    run::check_output(path, replaces).with_context(|| option.to_owned())
}

/// The data of a trained network to evaluate it on; says where that is not what it was trained on.
fn to_evaluate(trained: &Trained, data_dir: Option<&Path>, labels: &Labels) -> Result<Splits> {
    let at_hand = trained.to_evaluate(data_dir, labels.other_classes)?;
    note(trained.warnings().into_iter().chain(at_hand.differs));
    note(at_hand.splits.test.found());
    Ok(at_hand.splits)
}

/// Help and version go to standard output; what is wrong with the arguments goes to standard error, with a
/// word where an unknown flag is a key of the configuration.
fn explain(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // A reader that went away wants no more of it.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    // Without the styles of a terminal, which cannot be told from those that an argument may hold.
    let text = error.render().to_string();
    for line in text.trim_end().lines() {
        note!("{}", terminal::line(line));
    }
    let flag = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(flag))) => flag.as_str(),
        _ => "",
    };
    let keys = keys::meant_by(flag);
    if let [first, ..] = keys[..] {
        let keys = keys.join(", ");
        note!("\nThe configuration has {keys}: --set {first}=VALUE (docs/CONFIG.md)");
    }
    ExitCode::from(2)
}

/// The first Ctrl-C ends the run after its step; the second ends the program.
fn stop_on_ctrl_c() -> Result<()> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        note!("\nstopping after this step (Ctrl-C again: at once)");
    })
    .context("installing the Ctrl-C handler")
}

/// The flag; else the folder that the run `run` was trained on; else as [`data_dir`], which is said.
fn data_dir_of(run: &Path, flag: Option<&PathBuf>) -> PathBuf {
    let (folder, gone) = find_data_dir(run, flag);
    note(gone);
    folder
}

/// The same, with what is to be said where the folder is read.
fn find_data_dir(run: &Path, flag: Option<&PathBuf>) -> (PathBuf, Option<String>) {
    let kept = || RunFolder::open(run).ok()?.data_dir();
    let kept = flag.is_none().then(kept).flatten();
    match kept {
        None => (data_dir(flag), None),
        Some(kept) if kept.is_dir() => (kept, None),
        Some(gone) => {
            let other = data_dir(None);
            let text = format!(
                "{}: the data folder {} of this run is gone, {} stands in (--data-dir names another)",
                run.display(),
                gone.display(),
                other.display()
            );
            (other, Some(text))
        }
    }
}

/// The flag, else the environment (an empty variable is none), else `data`.
fn data_dir(flag: Option<&PathBuf>) -> PathBuf {
    let environment = || std::env::var_os("S3_DATA_DIR").filter(|v| !v.is_empty());
    flag.cloned()
        .or_else(|| environment().map(PathBuf::from))
        .unwrap_or_else(|| "data".into())
}

fn places(folders: &Folders, resume: bool, checkpoint_seconds: u64) -> Places<'static> {
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

fn train(args: &TrainArgs) -> Result<ExitCode> {
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
            if let Event::Skipped { pictures } = event {
                for line in pictures {
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

fn conclude(outcome: &Outcome, hint: &str) -> ExitCode {
    match outcome {
        Outcome::Finished { folder, last } => {
            let top1 = 100.0 * last.test_top1.unwrap_or(f64::NAN);
            say!(
                "finished: test top-1 {top1:.2} % after {} epochs; {}",
                last.epoch,
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
