//! The runs in a folder, and where each stands.

use crate::given::{Below, Given, runs_below};
use crate::status::Status;
use crate::terminal::{self, note, one_line};
use anyhow::Result;
use clap::Args;
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use indicatif::FormattedDuration;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

#[derive(Args)]
pub(crate) struct RunsArgs {
    /// Folder of runs.
    #[arg(default_value = "runs")]
    folder: PathBuf,
    /// Prints one JSON object a run instead of the table.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &RunsArgs) -> Result<()> {
    let folder = &args.folder;
    let Below { runs, unread } = match Given::at(folder) {
        Given::Run => Below {
            runs: vec![folder.clone()],
            ..Below::default()
        },
        Given::Folder => runs_below(folder),
        Given::Nothing => anyhow::bail!("{}: no such folder", folder.display()),
        given => anyhow::bail!(
            "{}: {}, not a folder of runs",
            folder.display(),
            given.words()
        ),
    };
    if runs.is_empty() && unread.is_empty() {
        note([format!("{}: no runs in it", folder.display())]);
    }
    for (path, e) in unread {
        let shown = path.display();
        if path == *folder {
            anyhow::bail!("{shown}: the folder cannot be read: {e}")
        }
        note([format!("left out: {shown}: the folder cannot be read: {e}")]);
    }
    let now = SystemTime::now();
    let mut table = Table::new();
    let columns = ["run", "state", "epoch", "test top-1", "time left"];
    table.load_style(ASCII_MARKDOWN).set_header(columns);
    for run in &runs {
        let status = match Status::of(run) {
            Ok(status) => status,
            Err(e) => {
                note([format!("left out: {}", one_line(&e))]);
                continue;
            }
        };
        let (done, epochs) = (status.epochs.len(), status.config.epochs);
        let left = status.left(now);
        if args.json {
            let left = left.map(|left| left.as_secs());
            say!(
                "{}",
                json!({
                    "run": run.display().to_string(),
                    "state": status.state,
                    "experiment": status.config.experiment,
                    "seed": status.config.seed,
                    "epoch": done,
                    "epochs": epochs,
                    "test_top1": status.test_top1(),
                    "seconds_left": left,
                })
            );
            continue;
        }
        let top1 = status.test_top1();
        table.add_row([
            name(run, folder),
            status.state.word().to_owned(),
            format!("{done}/{epochs}"),
            top1.map_or("-".into(), |top1| format!("{:.2} %", 100.0 * top1)),
            left.map_or("-".into(), |left| FormattedDuration(left).to_string()),
        ]);
    }
    if !args.json && table.row_count() > 0 {
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        say!("{table}");
    }
    Ok(())
}

/// The run as a path below the folder of runs, or the folder itself where that is a run.
fn name(run: &Path, folder: &Path) -> String {
    let below = run.strip_prefix(folder).ok();
    let below = below.filter(|below| *below != Path::new(""));
    terminal::path(below.unwrap_or(run))
}
