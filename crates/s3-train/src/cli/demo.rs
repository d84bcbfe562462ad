//! FP32 and 3-bit S3 side by side on generated images.

use super::{Folders, compare, places, report};
use crate::cli::progress::Progress;
use anyhow::Result;
use s3_train::config::Config;
use s3_train::train::{Outcome, train};
use std::process::ExitCode;

/// The experiments of the demo, as the files of the repository have them.
const EXPERIMENTS: [(&str, &str); 2] = [
    (
        "demo/resnet8-fp32",
        include_str!("../../../../xtask/experiments/demo/resnet8-fp32.toml"),
    ),
    (
        "demo/resnet8-s3-3bit",
        include_str!("../../../../xtask/experiments/demo/resnet8-s3-3bit.toml"),
    ),
];

pub(crate) fn run(folders: &Folders) -> Result<ExitCode> {
    let mut runs = Vec::new();
    for (name, text) in EXPERIMENTS {
        let config = Config::parse(text, &[], name)?;
        // A demo that was stopped goes on, and one that was finished is shown again.
        match train(&config, &places(folders, true, 60), &mut Progress::new())? {
            Outcome::Finished { folder, .. } => runs.push(folder),
            stopped @ Outcome::Stopped { .. } => {
                return Ok(report(&stopped, "the same command goes on"));
            }
        }
    }
    say!("\n{}", compare::table(&runs)?);
    for run in &runs {
        say!("run folder: {}", run.display());
    }
    say!(
        "delete {} to train again",
        folders.out.join("demo").display()
    );
    Ok(ExitCode::SUCCESS)
}
