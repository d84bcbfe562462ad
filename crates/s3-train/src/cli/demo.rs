//! FP32 and 3-bit S3 side by side on generated images, and the packed file that S3 ends as.

use super::compare;
use super::folders::Folders;
use super::progress::Progress;
use super::train::{conclude, places};
use crate::config::Config;
use crate::eval::{Answers, evaluate};
use crate::files::write_atomically;
use crate::packed::{self, f32_bytes, with_activations};
use crate::terminal;
use crate::train::{Outcome, train};
use crate::trained::Trained;
use anyhow::{Context, Result};
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use s3_layers::int8::Calibration;
use s3_layers::model::{Activations, Model};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

/// Training images that the packed network's ranges are observed on.
const CALIBRATION_IMAGES: usize = 500;

/// The experiments of the demo, as the files of the repository have them.
const EXPERIMENTS: [(&str, &str); 2] = [
    ("demo/resnet8-fp32", include_str!("demo/resnet8-fp32.toml")),
    (
        "demo/resnet8-s3-3bit",
        include_str!("demo/resnet8-s3-3bit.toml"),
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
                return Ok(conclude(&stopped, "the same command goes on"));
            }
        }
    }
    say!("\n{}", compare::table(&runs)?);
    let file = served(&runs)?;
    say!("packed network: {}", terminal::path(&file));
    for run in &runs {
        say!("run folder: {}", terminal::path(run));
    }
    say!(
        "delete {} to train again",
        terminal::path(&folders.out.join("demo"))
    );
    Ok(ExitCode::SUCCESS)
}

/// Exports the last run, reads the file again, and shows what each network answers, weighs and
/// takes. Returns the file.
fn served(runs: &[PathBuf]) -> Result<PathBuf> {
    let mut table = Table::new();
    table
        .load_style(ASCII_MARKDOWN)
        .set_header(["network", "test top-1", "bytes", "ms an image"]);
    let mut row = |name: &str, bytes: usize, run: &dyn Fn() -> Result<Answers>| -> Result<()> {
        let clock = Instant::now();
        let accuracy = run()?.accuracy;
        let seconds = clock.elapsed().as_secs_f64();
        table.add_row([
            name.to_string(),
            format!("{:.2} %", 100.0 * accuracy.top1().unwrap_or(f64::NAN)),
            bytes.to_string(),
            format!("{:.3}", 1e3 * seconds / accuracy.n.max(1) as f64),
        ]);
        Ok(())
    };
    let mut last = None;
    for run in runs {
        let trained = Trained::open(run, "last", None)?;
        let (batch, frozen) = (trained.config.eval_batch_size, trained.freeze()?);
        let splits = trained.data(None)?.splits;
        let (test, device) = (splits.test.clone(), trained.device.clone());
        let name = format!("{}, trained", trained.config.experiment);
        row(&name, f32_bytes(&frozen), &|| {
            evaluate(&trained.net, &test, batch, &device)
        })?;
        last = Some((run, trained, splits, frozen));
    }
    let (run, trained, splits, frozen) = last.context("no run to export")?;
    let batch = trained.config.eval_batch_size;
    let (u8, mse) = (Activations::U8, Calibration::Mse);
    let packed = with_activations(frozen, u8, mse, &splits.train, CALIBRATION_IMAGES)?;
    let file = run.join("packed-u8.safetensors");
    let bytes = Model::new(packed)?.to_bytes();
    write_atomically(&file, &bytes)?;
    let model = packed::load(&file)?;
    let name = format!("{}, packed, 8-bit integers", trained.config.experiment);
    row(&name, bytes.len(), &|| {
        packed::evaluate(&model, &splits.test, batch)
    })?;
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    say!("\n{table}");
    Ok(file)
}
