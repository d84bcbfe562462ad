//! Networks of float and of low-bit weights side by side on generated images, each ending as a
//! packed file.

use super::folders::Folders;
use super::progress::Progress;
use super::report;
use super::train::{conclude, places};
use crate::config::Config;
use crate::eval::{Answers, evaluate};
use crate::files::write_atomically;
use crate::packed::{self, f32_bytes, with_activations};
use crate::run::RunFolder;
use crate::terminal;
use crate::train::{Outcome, train};
use crate::trained::Trained;
use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use s3_layers::int8::Calibration;
use s3_layers::model::{Activations, Model};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Training images that the packed networks' ranges are observed on.
const CALIBRATION_IMAGES: usize = 500;

/// The experiments of the demo, as the files of the repository have them.
const EXPERIMENTS: [(&str, &str); 6] = [
    ("demo/linear-fp32", include_str!("demo/linear-fp32.toml")),
    ("demo/resnet8-fp32", include_str!("demo/resnet8-fp32.toml")),
    (
        "demo/resnet8-s3-4bit",
        include_str!("demo/resnet8-s3-4bit.toml"),
    ),
    (
        "demo/resnet8-s3-3bit",
        include_str!("demo/resnet8-s3-3bit.toml"),
    ),
    (
        "demo/resnet8-s3-2bit",
        include_str!("demo/resnet8-s3-2bit.toml"),
    ),
    ("demo/resnet8-twn", include_str!("demo/resnet8-twn.toml")),
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
    let served = runs.iter().map(|run| Served::of(run));
    let served = served.collect::<Result<Vec<Served>>>()?;
    say!("\n{}\n", table(&served));
    let images = served.last().map_or(0, |served| served.images);
    say!(
        "one seed, {images} test images: a point is {} images",
        images / 100
    );
    let page = folders.out.join("demo/report.html");
    report::of_runs(&runs, &page, folders)?;
    if let Some(served) = served.iter().find(|served| served.name == SHOWN) {
        say!("a packed network: {}", terminal::path(&served.file));
    }
    let demo = terminal::path(&folders.out.join("demo"));
    say!("all runs beside each other: {}", terminal::path(&page));
    say!("delete {demo} to train again");
    Ok(ExitCode::SUCCESS)
}

/// The experiment whose packed file is named at the end.
const SHOWN: &str = "demo/resnet8-s3-3bit";

/// A run's network as it was trained, and as the packed file that it becomes.
struct Served {
    name: String,
    /// Of training and evaluation.
    seconds: f64,
    /// Of the test set.
    images: u64,
    file: PathBuf,
    /// Bytes of the parameters as floats, and of the file.
    bytes: [usize; 2],
    /// Shares of the test images that the two get right.
    top1: [f64; 2],
    /// Of an image, on all threads.
    time: [Duration; 2],
}

impl Served {
    /// Exports `run`, reads the file again, and asks both.
    fn of(run: &Path) -> Result<Self> {
        let trained = Trained::open(run, "last", None)?;
        let (batch, frozen) = (trained.config.eval_batch_size, trained.freeze()?);
        let splits = trained.data(None)?.splits;
        let whole = f32_bytes(&frozen);
        let (u8, mse) = (Activations::U8, Calibration::Mse);
        let packed = with_activations(frozen, u8, mse, &splits.train, CALIBRATION_IMAGES)?;
        let file = run.join("packed-u8.safetensors");
        let bytes = Model::new(packed)?.to_bytes();
        write_atomically(&file, &bytes)?;
        let model = packed::load(&file)?;
        let timed = |answers: &dyn Fn() -> Result<Answers>| -> Result<(f64, Duration, u64)> {
            let clock = Instant::now();
            let accuracy = answers()?.accuracy;
            let time = clock.elapsed().div_f64(accuracy.n.max(1) as f64);
            Ok((accuracy.top1().unwrap_or(f64::NAN), time, accuracy.n))
        };
        let (test, device) = (&splits.test, &trained.device);
        let (of_trained, slow, images) = timed(&|| evaluate(&trained.net, test, batch, device))?;
        let (of_packed, fast, _) = timed(&|| packed::evaluate(&model, test, batch))?;
        let summary = RunFolder::open(run)?.read_json("summary.json")?;
        let seconds = |key: &str| summary[key].as_f64().unwrap_or(f64::NAN);
        Ok(Self {
            name: trained.config.experiment.clone(),
            seconds: seconds("train_seconds") + seconds("test_seconds"),
            images,
            file,
            bytes: [whole, bytes.len()],
            top1: [of_trained, of_packed],
            time: [slow, fast],
        })
    }
}

/// A row a network.
fn table(served: &[Served]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header([
        "network",
        "trained in",
        "test top-1",
        "packed, 8-bit integers",
        "bytes as f32",
        "packed",
        "smaller by",
        "ms an image",
        "packed",
    ]);
    for of in served {
        let [whole, packed] = of.bytes;
        let mut row = vec![of.name.clone(), format!("{:.0} s", of.seconds)];
        row.extend(of.top1.map(|top1| format!("{:.2} %", 100.0 * top1)));
        row.extend(of.bytes.map(|bytes| bytes.to_string()));
        row.push(format!("{:.1}x", whole as f64 / packed.max(1) as f64));
        row.extend(
            of.time
                .map(|time| format!("{:.3}", 1e3 * time.as_secs_f64())),
        );
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
