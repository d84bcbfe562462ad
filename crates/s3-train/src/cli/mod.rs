//! The command line: one struct a verb, one function that runs it.

mod compare;
mod compiled;
mod data;
mod demo;
mod eval;
mod experiment;
mod export;
mod fidelity;
mod folders;
mod foreign;
mod infer;
mod labels;
mod list;
mod logs;
mod output;
mod packed_file;
mod plot;
mod progress;
mod report;
mod runs;
mod shards;
mod stop;
mod summary;
mod threads;
mod train;
mod watch;

use crate::keys;
use crate::terminal;
use anyhow::{Result, bail};
use candle_core::DType;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};
use folders::Folders;
use std::process::ExitCode;
use stop::{STOP, stop_on_ctrl_c};

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
    /// Train float and low-bit networks side by side on generated images, pack them and compare.
    Demo(Folders),
    /// Train an experiment into a run folder.
    Train(train::TrainArgs),
    /// Evaluate a run's checkpoint, or a packed network's file, on a test set.
    Eval(eval::EvalArgs),
    /// Freeze a run's network into one packed file.
    Export(export::ExportArgs),
    /// Classify images with a packed network.
    Infer(infer::InferArgs),
    /// Compare runs' networks with every file they can become.
    Fidelity(fidelity::FidelityArgs),
    /// List the runs in a folder: finished, training or stopped, how far, and how long still.
    Runs(runs::RunsArgs),
    /// Follow a run that another process trains; exits with 3 where it stops before its end.
    Watch(watch::WatchArgs),
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
    /// Get the public data sets, or check what is there.
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Show the layers of an experiment's or a run's network: parameters, operations, bytes; and
    /// its energy by a model.
    Summary(summary::SummaryArgs),
    /// List the methods and the experiments.
    List(list::ListArgs),
    /// Write a script by which a shell completes this command's words.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
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
    // A training goes on and is done when its lines are lost; for the others they are what was
    // asked for.
    let code = match cli.verb {
        Verb::Demo(folders) => {
            stop_on_ctrl_c()?;
            return demo::run(&folders);
        }
        Verb::Train(args) => return train::run(&args),
        Verb::Eval(args) => eval::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Export(args) => export::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Infer(args) => infer::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Fidelity(args) => fidelity::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Runs(args) => runs::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Watch(args) => watch::run(&args),
        Verb::Compare(args) => compare::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Report(args) => report::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Logs(args) => logs::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Plot(args) => plot::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Shards(args) => {
            stop_on_ctrl_c()?;
            shards::run(&args, &STOP).map(|()| ExitCode::SUCCESS)
        }
        Verb::Data(command) => data::run(&command),
        Verb::Summary(args) => summary::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::List(args) => list::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            let mut command = Cli::command();
            let name = command.get_name().to_owned();
            clap_complete::generate(shell, &mut command, name, &mut script);
            say!("{}", String::from_utf8_lossy(&script).trim_end());
            Ok(ExitCode::SUCCESS)
        }
    }?;
    if terminal::has_lost_lines() {
        bail!("standard output: lines could not be written, as on a full disk")
    }
    Ok(code)
}

/// Help and version go to standard output; what is wrong with the arguments goes to standard error,
/// with a word where an unknown flag is a key of the configuration.
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
