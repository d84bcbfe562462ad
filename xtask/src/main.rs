//! The project's commands: `cargo xtask --help` lists them.
//!
//! | command | what it does |
//! | --- | --- |
//! | `ci` | the one test command: formatting, lints, tests, documentation, arrows |
//! | `deps` | checks the crates' arrows and the invariants that sources show |
//! | `bench NAME` | measures; `--report FILE` writes what was measured as a page |
//! | `repro NAME` | trains what a figure or a table of the paper needs, writes its page; `--check` compares, without NAME every page |
//! | `browser` | builds the page that runs networks in a browser |
//! | any other word | a verb of `s3`, which is built and becomes this process; `s3 --help` lists them |
//!
//! This package is glue: of the workspace it links `s3-metrics` alone, so that it builds in seconds
//! and a command that only forwards does not wait for the tensor library twice (adr/0020). What a
//! verb of `s3` means, with its arguments and its help, is known to `s3` alone.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line talks to its user; the libraries do not"
)]

mod bench;
mod browser;
mod cargo;
mod ci;
mod deps;
mod repro;
mod s3;
mod tools;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What the help says of the words that are not listed.
const VERBS: &str = "\
Every other word is a verb of the program s3, which is built and takes the place of this one:
  cargo xtask demo                      trains six small networks on generated data
  cargo xtask train EXPERIMENT.toml     trains what a file describes
  cargo xtask s3 --help                 lists all of them";

/// The project's commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, after_help = VERBS)]
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
    /// Builds the page that runs networks in a browser: one folder of static files
    Browser(browser::Options),
    /// What `s3` alone understands: its verb, then arguments, `--help` included.
    #[command(external_subcommand)]
    S3(Vec<OsString>),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Ci(options) => ci::run(&options),
        Command::Deps => deps::run(),
        Command::Bench(name) => bench::run(&name),
        Command::Repro(options) => repro::run(&options),
        Command::Browser(options) => browser::run(&options),
        Command::S3(arguments) => s3::run(&arguments),
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
            Command::S3(arguments) => arguments,
            _ => panic!("not a verb of s3: {line:?}"),
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
        assert_eq!(arguments_of(&line), line[1..]);
        // An option may come first, and a separator is the binary's business too.
        let help = ["xtask", "train", "--help"];
        assert_eq!(arguments_of(&help), help[1..]);
        let separated = ["xtask", "train", "-x", "--", "y"];
        assert_eq!(arguments_of(&separated), separated[1..]);
        assert_eq!(arguments_of(&["xtask", "any_word"]), ["any_word"]);
    }
}
