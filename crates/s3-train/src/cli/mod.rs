//! The command line: one struct a verb, one function that runs it.

mod compare;
mod demo;
mod list;
mod progress;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use progress::Progress;
use s3_train::checkpoint;
use s3_train::config::Config;
use s3_train::run::RunFolder;
use s3_train::train::{self, Outcome, Places};
use s3_train::{data, eval, summary};
use std::path::PathBuf;
use std::process::ExitCode;
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
    /// Threads; changes no result [default: all cores].
    #[arg(long, global = true, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

#[derive(Subcommand)]
enum Verb {
    /// Train FP32 and 3-bit S3 side by side on generated images and compare them.
    Demo(Folders),
    /// Train an experiment into a run folder.
    Train(TrainArgs),
    /// Evaluate a run's checkpoint on its test set.
    Eval(EvalArgs),
    /// Compare finished runs in one table.
    Compare(compare::CompareArgs),
    /// Show the layers of an experiment's network: parameters, operations, bytes.
    Summary(SummaryArgs),
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
    /// Goes on with this run where its last checkpoint stands.
    #[arg(long)]
    resume: bool,
    /// Seconds between checkpoints within an epoch; changes no result.
    #[arg(long, default_value_t = 300)]
    checkpoint_seconds: u64,
    #[command(flatten)]
    folders: Folders,
}

#[derive(Args)]
struct EvalArgs {
    /// A run's folder.
    run: PathBuf,
    /// `last`, `best` or a checkpoint file.
    #[arg(long, default_value = "last")]
    checkpoint: String,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
    /// Folder of the data sets' files [default: $S3_DATA_DIR, else data].
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

#[derive(Args)]
struct SummaryArgs {
    /// The experiment, a TOML file.
    experiment: PathBuf,
    /// Replaces a setting.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Parses the command line and runs its verb.
pub(crate) fn run() -> Result<ExitCode> {
    let cli = Cli::parse();
    if let Some(n) = cli.threads {
        use_threads(n)?;
    }
    s3_layers::ops::instruction_set()?;
    match cli.verb {
        Verb::Demo(folders) => {
            stop_on_ctrl_c()?;
            demo::run(&folders)
        }
        Verb::Train(args) => train(&args),
        Verb::Eval(args) => evaluate(&args),
        Verb::Compare(args) => compare::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Summary(args) => show_summary(&args),
        Verb::List(args) => list::run(&args).map(|()| ExitCode::SUCCESS),
    }
}

/// Gives rayon and candle `n` threads. candle reads its number from the environment only, which a
/// running program cannot change safely, so the program starts itself again with it set.
fn use_threads(n: u16) -> Result<()> {
    const VARIABLE: &str = "RAYON_NUM_THREADS";
    let n = n.to_string();
    if std::env::var(VARIABLE).is_ok_and(|v| v == n) {
        return Ok(());
    }
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).env(VARIABLE, n);
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        Err(command.exec()).context("starting again with another number of threads")
    }
    #[cfg(not(unix))]
    {
        let status = command
            .status()
            .context("starting again with another number of threads")?;
        std::process::exit(status.code().unwrap_or(1))
    }
}

/// The first Ctrl-C ends the run after its step; the second ends the program.
fn stop_on_ctrl_c() -> Result<()> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step (Ctrl-C again: at once)");
    })
    .context("installing the Ctrl-C handler")
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
        data_dir: Some(data_dir(folders.data_dir.as_ref())),
        out: folders.out.clone(),
        resume,
        checkpoint_every: Duration::from_secs(checkpoint_seconds),
        stop: &STOP,
        command: std::env::args().collect(),
    }
}

fn train(args: &TrainArgs) -> Result<ExitCode> {
    let mut overrides = args.overrides.clone();
    overrides.extend(args.seed.map(|s| format!("seed={s}")));
    let config = Config::load(&args.experiment, &overrides)?;
    stop_on_ctrl_c()?;
    let places = places(&args.folders, args.resume, args.checkpoint_seconds);
    if args.resume
        && !RunFolder::of(&config, &args.folders.out)?
            .config()
            .is_file()
    {
        let out = args.folders.out.display();
        eprintln!("nothing to resume: no run of this configuration in {out}, starting it");
    }
    let outcome = train::train(&config, &places, &mut Progress::new())?;
    Ok(report(&outcome, "--resume goes on"))
}

fn report(outcome: &Outcome, hint: &str) -> ExitCode {
    match outcome {
        Outcome::Finished { folder, last } => {
            let top1 = 100.0 * last.test_top1.unwrap_or(f64::NAN);
            say!(
                "finished: test top-1 {top1:.2} % after {} epochs; {}",
                last.epoch,
                folder.display()
            );
            ExitCode::SUCCESS
        }
        Outcome::Stopped { folder, step } => {
            say!("stopped after step {step}; {hint}; {}", folder.display());
            ExitCode::from(130)
        }
    }
}

fn evaluate(args: &EvalArgs) -> Result<ExitCode> {
    let folder = RunFolder::open(&args.run)?;
    let config = Config::load(&folder.config(), &[])?;
    let device = train::device(&config)?;
    let path = match args.checkpoint.as_str() {
        "last" => folder.last(),
        "best" => folder.best(),
        file => PathBuf::from(file),
    };
    let (header, tensors) = checkpoint::load(&path, &device)?;
    let method = config
        .method
        .get("name")
        .and_then(toml::Value::as_str)
        .unwrap_or_default();
    header.check(&path, &config.model.name, method, None)?;
    // Runs of one configuration differ in nothing but the seed, the name's last part.
    let unseeded = |name: &str| name.rsplit_once("-s").map(|(n, _)| n.to_string());
    let run = config.run_name()?.display().to_string();
    if unseeded(&header.run) != unseeded(&run) {
        bail!(
            "{}: a checkpoint of run {}, expected one of {run}",
            path.display(),
            header.run
        )
    }
    let splits = data::load(&config.data, Some(&data_dir(args.data_dir.as_ref())))?;
    let (net, params) = train::build(&config, &splits.test, &device)?;
    train::load_params(&params, &tensors, &path)?;
    let sums = eval::evaluate(&net, &splits.test, config.eval_batch_size, &device)?;
    let (loss, top1, top5) = (sums.mean_loss(), sums.top1(), sums.top5());
    if args.json {
        let value = serde_json::json!({
            "checkpoint": path, "images": sums.n, "loss": loss, "top1": top1, "top5": top5,
        });
        say!("{value}");
    } else {
        say!(
            "{} test images: loss {:.4}, top-1 {:.2} %, top-5 {:.2} % ({})",
            sums.n,
            loss.unwrap_or(f64::NAN),
            100.0 * top1.unwrap_or(f64::NAN),
            100.0 * top5.unwrap_or(f64::NAN),
            path.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn show_summary(args: &SummaryArgs) -> Result<ExitCode> {
    let config = Config::load(&args.experiment, &args.overrides)?;
    let device = train::device(&config)?;
    let (image, classes) = summary::image_of(config.data.name);
    let params = s3_core::Params::new(config.seed, &device);
    let resnet = config.resnet(image[2], classes)?;
    let net = s3_layers::ResNet::new(&resnet, &config.method()?, &params)?;
    let cost = summary::model_cost(&net, image, &device)?;
    if args.json {
        say!("{}", serde_json::to_string_pretty(&cost)?);
    } else {
        say!("{}", cost.table());
    }
    Ok(ExitCode::SUCCESS)
}
