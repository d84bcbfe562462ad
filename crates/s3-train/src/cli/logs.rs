//! The lines of run folders as CSV, or for TensorBoard.

use super::folders::data_dir_of;
use super::labels::Labels;
use crate::config::Config;
use crate::files::write_together;
use crate::logs::Logs;
use crate::report::answers;
use crate::run::RunFolder;
use crate::terminal::{self, note};
use anyhow::{Context, Result, ensure};
use clap::Args;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(crate) struct LogsArgs {
    /// Run folders, finished or not.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    of: OfAnswers,
    /// Folder of the files, made where there is none; of several runs each gets a folder of its
    /// name below it [default: csv or tensorboard in the run's folder].
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Format {
    /// Tables: epochs.csv, dynamics.csv, latents.csv.
    #[arg(long)]
    csv: bool,
    /// An event file: scalars, histograms of the latents, and pictures.
    #[arg(long)]
    tensorboard: bool,
}

#[derive(Args)]
struct OfAnswers {
    /// Adds the confusion matrix, misclassified images and filters, which need checkpoint and data.
    #[arg(long, conflicts_with = "csv")]
    answers: bool,
    #[command(flatten)]
    labels: Labels,
    /// Folder of the data sets' files [default: the one that the run was trained on, where it is
    /// still there, else $S3_DATA_DIR, else data].
    #[arg(long, requires = "answers", conflicts_with = "csv")]
    data_dir: Option<PathBuf>,
}

pub(crate) fn run(args: &LogsArgs) -> Result<()> {
    // All are read before the first is written.
    let mut taken = BTreeSet::new();
    let mut all = Vec::new();
    for run in &args.runs {
        let folder = folder(run, args)?;
        ensure!(
            taken.insert(folder.clone()),
            "{}: another run writes to {} already",
            run.display(),
            folder.display()
        );
        let answers = match args.of.answers {
            true => {
                let data = data_dir_of(run, args.of.data_dir.as_ref());
                Some(answers(run, Some(&data), args.of.labels.other_classes)?)
            }
            false => None,
        };
        note(answers.iter().flat_map(|a| a.notes.clone()));
        all.push((folder, Logs::read(run)?, answers));
    }
    for (folder, logs, answers) in all {
        let shown = folder.display();
        let files: Vec<(&str, Vec<u8>)> = match args.format.csv {
            true => logs
                .csv()
                .map(|(name, text)| (name, text.into_bytes()))
                .into(),
            false => vec![logs.tensorboard(answers.as_ref())?],
        };
        std::fs::create_dir_all(&folder).with_context(|| format!("creating {shown}"))?;
        let files: Vec<(PathBuf, Vec<u8>)> = files
            .into_iter()
            .map(|(name, bytes)| (folder.join(name), bytes))
            .collect();
        let together: Vec<(&Path, &[u8])> = files
            .iter()
            .map(|(path, bytes)| (path.as_path(), bytes.as_slice()))
            .collect();
        write_together(&together)?;
        for (path, _) in &files {
            say!("{}", terminal::path(path));
        }
    }
    Ok(())
}

/// Where the files of `run` go.
fn folder(run: &Path, args: &LogsArgs) -> Result<PathBuf> {
    let config = Config::load(&RunFolder::open(run)?.config(), &[])?;
    Ok(match &args.output {
        Some(folder) if args.runs.len() == 1 => folder.clone(),
        Some(folder) => folder.join(config.run_name()?),
        None if args.format.csv => run.join("csv"),
        None => run.join("tensorboard"),
    })
}
