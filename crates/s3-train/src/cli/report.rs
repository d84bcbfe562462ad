//! One HTML page of a run, or of several beside each other.

use super::folders::{Folders, data_dir, data_dir_of};
use super::labels::Labels;
use super::output::check_output;
use super::plot::{files_of, write_files};
use crate::files::write_atomically;
use crate::given::Given;
use crate::report;
use crate::terminal::{self, note, one_line};
use anyhow::{Result, ensure};
use clap::Args;
use s3_metrics::plot::Plot;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The page of a run in its folder.
const PAGE: &str = "report.html";

#[derive(Args)]
pub(crate) struct ReportArgs {
    /// Run folders, finished or not.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// The page [default: report.html in the run's folder]; needed for several runs.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Also writes every drawn picture of the page into this folder, on light and on dark, as SVG
    /// and as PNG.
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    /// Leaves out the confusion matrix, misclassified images and filters, which need checkpoint and
    /// data.
    #[arg(long)]
    no_answers: bool,
    #[command(flatten)]
    labels: Labels,
    /// Folder of the data sets' files [default: the one that the run was trained on, where it is
    /// still there, else $S3_DATA_DIR, else data].
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

pub(crate) fn run(args: &ReportArgs) -> Result<()> {
    ensure!(
        args.output.is_some() || args.runs.len() == 1,
        "--output FILE: needed for several runs"
    );
    let file = args
        .output
        .clone()
        .unwrap_or_else(|| args.runs[0].join(PAGE));
    check_output("--output", &file, &Given::Other)?;
    let data_dir = |run: &Path| data_dir_of(run, args.data_dir.as_ref());
    let data = |run: &Path| (!args.no_answers).then(|| data_dir(run));
    let page = draw(&args.runs, data, args.labels.other_classes)?;
    write_atomically(&file, page.html.as_bytes())?;
    say!("{}", terminal::path(&file));
    let Some(folder) = &args.pictures else {
        return Ok(());
    };
    let mut files = BTreeMap::new();
    for (i, drawn) in page.plots.iter().enumerate() {
        let words = plain(&format!("{} {}", drawn.section, drawn.caption));
        let name = format!("{:02}-{words}", i + 1);
        files.extend(files_of(&name, &drawn.plots, Some(Plot::SCREEN))?);
    }
    write_files(folder, &files)
}

/// Words as the name of a file has them: small and joined by `-`.
fn plain(caption: &str) -> String {
    let small = caption.to_lowercase();
    let words = small.split(|c: char| !c.is_ascii_alphanumeric());
    let mut name = String::new();
    for word in words.filter(|w| !w.is_empty()) {
        if name.len() + word.len() > LONGEST_NAME {
            break;
        }
        if !name.is_empty() {
            name.push('-');
        }
        name.push_str(word);
    }
    name
}

/// Bytes of a file's name, without its number and its ending.
const LONGEST_NAME: usize = 120;

/// Writes the page of a run into its folder, as `s3 report RUN` does.
pub(crate) fn of_run(run: &Path, data_dir: &Path) -> Result<()> {
    let page = draw(
        &[run.to_path_buf()],
        |_| Some(data_dir.to_path_buf()),
        false,
    )?;
    write_atomically(&run.join(PAGE), page.html.as_bytes())
}

/// Writes the page of `runs` beside each other into `file`.
pub(super) fn of_runs(runs: &[PathBuf], file: &Path, folders: &Folders) -> Result<()> {
    let data = data_dir(folders.data_dir.as_ref());
    let page = draw(runs, |_| Some(data.clone()), false)?;
    write_atomically(file, page.html.as_bytes())
}

/// The page of `runs`; with what their checkpoints answer where the data's folder is given.
fn draw(
    runs: &[PathBuf],
    data_dir: impl Fn(&Path) -> Option<PathBuf>,
    other_classes: bool,
) -> Result<report::Page> {
    let held = runs
        .iter()
        .map(|r| report::read(r))
        .collect::<Result<Vec<_>>>()?;
    for (run, held) in runs.iter().zip(&held) {
        let of_run = |what: &String| format!("{}: {what}", terminal::path(run));
        note(held.missing.iter().map(of_run));
    }
    let mut answers = Vec::new();
    for run in runs {
        // A page without them is better than none: a run under way has no checkpoint yet.
        answers.push(data_dir(run).and_then(|folder| {
            report::answers(run, Some(&folder), other_classes)
                .inspect(|answers| note(answers.notes.clone()))
                .map_err(|e| say!("without answers: {}: {}", terminal::path(run), one_line(&e)))
                .ok()
        }));
    }
    Ok(report::page(&held, &answers))
}
