//! A run in training, followed from another terminal.

use super::progress::{epoch_line, time_left};
use crate::status::{State, Status};
use crate::terminal;
use anyhow::Result;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// Between two looks at the folder.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(crate) struct WatchArgs {
    /// A run's folder.
    run: PathBuf,
}

/// The exit status where the run stopped before its end.
const UNFINISHED: u8 = 3;

/// Prints the epochs that are done, then each as it comes, until the run is in training no more.
pub(crate) fn run(args: &WatchArgs) -> Result<ExitCode> {
    let style = ProgressStyle::with_template("epochs {bar:30} {pos}/{len}{msg}");
    let bar = match style {
        Ok(style) if std::io::stderr().is_terminal() => {
            Some(ProgressBar::no_length().with_style(style))
        }
        _ => None,
    };
    let mut shown = 0;
    loop {
        let status = Status::of(&args.run)?;
        let epochs = status.config.epochs;
        // An epoch's time is written behind its line. One that was taken back by --resume comes
        // again.
        let known = |epoch: u32| status.timing.iter().rfind(|timing| timing.epoch == epoch);
        shown = shown.min(status.epochs.len());
        for record in &status.epochs[shown..] {
            let timing = known(record.epoch);
            if timing.is_none() && status.state == State::Training {
                break;
            }
            let line = epoch_line(record, timing, epochs);
            match &bar {
                Some(bar) => bar.suspend(|| say!("{line}")),
                None => say!("{line}"),
            }
            shown += 1;
        }
        if status.state != State::Training {
            if let Some(bar) = &bar {
                bar.finish_and_clear();
            }
            say!(
                "{} after {shown} of {epochs} epochs; {}",
                status.state.word(),
                terminal::path(&args.run)
            );
            return Ok(match status.state {
                State::Stopped => ExitCode::from(UNFINISHED),
                State::Finished | State::Training => ExitCode::SUCCESS,
            });
        }
        if let Some(bar) = &bar {
            bar.set_length(epochs as u64);
            bar.set_position(shown as u64);
            let left = status.left(SystemTime::now());
            bar.set_message(left.map_or(String::new(), time_left));
        }
        std::thread::sleep(EVERY);
    }
}
