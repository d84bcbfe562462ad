//! The project's commands: `cargo xtask --help` lists them.
//!
//! | command | what it does |
//! | --- | --- |
//! | `ci` | the one test command: formatting, lints, tests, documentation, arrows |
//! | `deps` | checks the crates' arrows and the invariants that sources show |
//! | `bench NAME` | measures; `--report FILE` writes what was measured as a page |
//! | `repro NAME` | trains what a figure or a table of the paper needs, writes its page; `--check` compares, without NAME every page |
//! | `data fetch`, `data verify` | gets the public data sets, checks what is there |
//! | `demo`, `train`, `eval`, `export`, `infer`, `fidelity`, `compare`, `report`, `logs`, `plot`, `shards`, `list`, `summary` | builds the `s3` binary and becomes it |
//!
//! This package is glue: it links no crate of the workspace, so that it builds in seconds and a
//! command that only forwards does not wait for the tensor library twice. What a verb of `s3`
//! means, with its arguments and its help, is known to `s3` alone.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line talks to its user; the libraries do not"
)]

mod bench;
mod cargo;
mod ci;
mod data;
mod deps;
mod repro;
mod s3;
mod tools;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// The project's commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs every check of the project; the one test command
    Ci(ci::Options),
    /// Checks the crates' arrows and the invariants that sources show
    Deps,
    /// Measures the training step and the integer kernels, beside others where they are installed
    #[command(subcommand)]
    Bench(bench::Name),
    /// Trains what a figure or a table of the paper needs and writes its page of results
    Repro(repro::Repro),
    /// Gets the public data sets, or checks what is there
    #[command(subcommand)]
    Data(data::Command),
    /// Trains a small network on generated data (forwarded to s3)
    Demo(Forwarded),
    /// Trains what a TOML file describes: EXPERIMENT.toml [--set KEY=VALUE]... (forwarded to s3)
    Train(Forwarded),
    /// Evaluates the network of a run folder or a packed file: RUN or FILE (forwarded to s3)
    Eval(Forwarded),
    /// Freezes the network of a run folder into one file: RUN -o FILE (forwarded to s3)
    Export(Forwarded),
    /// Classifies images with a packed file: FILE IMAGE... (forwarded to s3)
    Infer(Forwarded),
    /// Compares runs with every file they can become: RUN... (forwarded to s3)
    Fidelity(Forwarded),
    /// Lists methods and experiments (forwarded to s3)
    List(Forwarded),
    /// Compares finished runs: RUN... (forwarded to s3)
    Compare(Forwarded),
    /// Writes an HTML page of runs: RUN... (forwarded to s3)
    Report(Forwarded),
    /// Writes the lines of run folders as CSV or for TensorBoard: RUN... (forwarded to s3)
    Logs(Forwarded),
    /// Draws the pictures that a JSON file describes: FILE --out DIR (forwarded to s3)
    Plot(Forwarded),
    /// Stores an experiment's pictures in few large files: EXPERIMENT.toml (forwarded to s3)
    Shards(Forwarded),
    /// Counts the operations and bytes of a network (forwarded to s3)
    Summary(Forwarded),
}

/// Arguments that `s3` alone understands, `--help` included.
#[derive(Args)]
#[command(disable_help_flag = true)]
struct Forwarded {
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENTS"
    )]
    arguments: Vec<OsString>,
}

fn main() -> ExitCode {
    let forward = |verb: &str, forwarded: &Forwarded| s3::run(verb, &forwarded.arguments);
    let result = match Cli::parse().command {
        Command::Ci(options) => ci::run(&options),
        Command::Deps => deps::run(),
        Command::Bench(name) => bench::run(&name),
        Command::Repro(options) => repro::run(&options),
        Command::Data(command) => data::run(&command),
        Command::Demo(forwarded) => forward("demo", &forwarded),
        Command::Train(forwarded) => forward("train", &forwarded),
        Command::Eval(forwarded) => forward("eval", &forwarded),
        Command::Export(forwarded) => forward("export", &forwarded),
        Command::Infer(forwarded) => forward("infer", &forwarded),
        Command::Fidelity(forwarded) => forward("fidelity", &forwarded),
        Command::List(forwarded) => forward("list", &forwarded),
        Command::Compare(forwarded) => forward("compare", &forwarded),
        Command::Report(forwarded) => forward("report", &forwarded),
        Command::Logs(forwarded) => forward("logs", &forwarded),
        Command::Plot(forwarded) => forward("plot", &forwarded),
        Command::Shards(forwarded) => forward("shards", &forwarded),
        Command::Summary(forwarded) => forward("summary", &forwarded),
    };
    result.unwrap_or_else(|error| {
        // Where standard error is full or closed there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments_of(line: &[&str]) -> Vec<OsString> {
        match Cli::try_parse_from(line).expect("parses").command {
            Command::Train(forwarded) => forwarded.arguments,
            _ => panic!("not train: {line:?}"),
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn arguments_are_forwarded_verbatim() {
        let given = [
            "a b.toml",
            "--set",
            "x=-1",
            "--resume",
            "-h",
            "--help",
            "--version",
            "-q=3",
        ];
        let line = [&["xtask", "train"], &given[..]].concat();
        assert_eq!(arguments_of(&line), given);
        // An option may come first, and a separator is the binary's business too.
        assert_eq!(arguments_of(&["xtask", "train", "--help"]), ["--help"]);
        assert_eq!(
            arguments_of(&["xtask", "train", "-x", "--", "y"]),
            ["-x", "--", "y"]
        );
        assert!(arguments_of(&["xtask", "train"]).is_empty());
    }
}
