//! What freezing and 8-bit activations cost: a run's network beside every file it can become.

use super::foreign::{self, Questions, Reply};
use super::{Labels, check_output, compare, data_dir_of, note, to_evaluate};
use crate::terminal::{self, one_line};
use anyhow::{Context, Result};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use s3_layers::export::{self, OnnxWeights};
use s3_layers::model::{Activations, Model, Network};
use s3_layers::quantize::{Calibration, quantize};
use s3_train::eval::{self, Answers};
use s3_train::files::write_atomically;
use s3_train::given::Given;
use s3_train::groups::Groups;
use s3_train::packed::{evaluate, f32_bytes, observe};
use s3_train::trained::Trained;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(crate) struct FidelityArgs {
    /// Run folders.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Training images that ranges are observed on.
    #[arg(long, default_value_t = 1000)]
    calibration_images: usize,
    /// Also runs exported ONNX files in onnxruntime and QONNX files in qonnx's executor; a Python with
    /// numpy, onnx, onnxruntime and, for QONNX, qonnx.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Also writes the table as a Markdown page.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    #[command(flatten)]
    labels: Labels,
    /// Folder of the data sets' files [default: $S3_DATA_DIR, else data].
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

/// The 8-bit files, as `export` names their settings.
const CALIBRATIONS: [(&str, Calibration); 3] = [
    ("minmax", Calibration::MinMax),
    ("percentile", Calibration::Percentile),
    ("mse", Calibration::Mse),
];

/// The files that other programs run.
const FORMATS: [(&str, Format); 3] = [
    ("onnx int8", |n| export::onnx(n, OnnxWeights::Int8)),
    ("onnx int4", |n| export::onnx(n, OnnxWeights::Int4)),
    ("qonnx", export::qonnx),
];

type Format = fn(&Network) -> Result<Vec<u8>, export::Error>;

pub(crate) fn run(args: &FidelityArgs) -> Result<()> {
    if let Some(path) = &args.markdown {
        check_output("--markdown", path, &Given::Other)?;
    }
    if let Some(python) = &args.python {
        foreign::find(python)?;
    }
    let mut rows = Vec::new();
    let groups = Groups::read(&args.runs)?;
    let (mut measured, mut refused) = (Vec::new(), Vec::new());
    for (i, folder) in args.runs.iter().enumerate() {
        let mut of_run = Vec::new();
        match add_run(&mut of_run, folder, &groups, i, args) {
            Ok(()) => {
                rows.extend(of_run);
                measured.push(folder.clone());
            }
            Err(e) => refused.push(e.context(terminal::path(folder))),
        }
    }
    if measured.is_empty() && !refused.is_empty() {
        return Err(refused.swap_remove(0));
    }
    // Minutes of the others are not lost.
    note(refused.iter().map(|e| format!("left out: {}", one_line(e))));
    let mut header = vec![
        "run",
        "network",
        "test top-1",
        "against trained",
        "other top-1 answers",
        "of images",
        "bytes",
    ];
    let has_foreign = rows.iter().any(|row| !row[header.len()].is_empty());
    if has_foreign {
        header.push("score error");
    } else {
        rows.iter_mut().for_each(|row| row.truncate(header.len()));
    }
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    say!("{table}");
    if let Some(path) = &args.markdown {
        write_atomically(path, page(&table, args, &measured, has_foreign)?.as_bytes())?;
    }
    Ok(())
}

/// The rows of run `i`, which is in `folder`.
fn add_run(
    rows: &mut Vec<Vec<String>>,
    folder: &Path,
    groups: &Groups,
    i: usize,
    args: &FidelityArgs,
) -> Result<()> {
    let data_dir = data_dir_of(folder, args.data_dir.as_ref());
    let trained = Trained::open(folder, "last", Some(&data_dir))?;
    let splits = to_evaluate(&trained, Some(&data_dir), &args.labels)?;
    let batch = trained.config.eval_batch_size;
    let mut experiment = groups.name(i);
    if groups.seeds(i) > 1 {
        experiment = format!("{experiment}, seed {}", trained.config.seed);
    }
    let reference = eval::evaluate(&trained.net, &splits.test, batch, &trained.device)?;
    let top1 = |a: &Answers| 100.0 * a.accuracy.top1().unwrap_or(f64::NAN);
    let mut row = |name: &str, answers: &Answers, bytes: usize, error: Option<f64>| {
        rows.push(vec![
            experiment.clone(),
            name.to_string(),
            format!("{:.2} %", top1(answers)),
            format!("{:+.2}", top1(answers) - top1(&reference)),
            reference.differing(answers).to_string(),
            reference.top1.len().to_string(),
            bytes.to_string(),
            error.map_or_else(String::new, |error| format!("{error:.1e}")),
        ]);
    };
    let frozen = trained.freeze()?;
    row("trained", &reference, f32_bytes(&frozen), None);
    // Through its bytes: what is measured is what a reader of the file gets.
    let reread = |name: &str, network: Network| -> Result<(Model, usize)> {
        let bytes = Model::new(network)?.to_bytes();
        let model = Model::from_bytes(&bytes).with_context(|| name.to_string())?;
        Ok((model, bytes.len()))
    };
    let (model, bytes) = reread("f32", frozen.clone())?;
    if let Some(python) = &args.python {
        let (questions, answers) = Questions::new(python, &model, &splits.test, batch)?;
        row("f32", &answers, bytes, None);
        for (name, format) in FORMATS {
            let file = format(&frozen).map_err(anyhow::Error::from);
            match file.and_then(|file| Ok((questions.ask(&file)?, file.len()))) {
                Ok((Reply { answers, report }, bytes)) => {
                    let name = format!("{name}, {} {}", report.program, report.version);
                    row(&name, &answers, bytes, Some(report.error));
                }
                Err(e) => say!("{experiment}: {name}: {}", one_line(&e)),
            }
        }
    } else {
        row("f32", &evaluate(&model, &splits.test, batch)?, bytes, None);
    }
    let observed = observe(&frozen, &splits.train, args.calibration_images)?;
    for (word, activations) in [("u8", Activations::U8), ("u8-shift", Activations::U8Shift)] {
        for (calibration, how) in CALIBRATIONS {
            let name = format!("{word}, {calibration}");
            match quantize(&frozen, &observed, activations, how) {
                Ok(network) => {
                    let (model, bytes) = reread(&name, network)?;
                    row(&name, &evaluate(&model, &splits.test, batch)?, bytes, None);
                }
                // Said once; the other calibrations fail alike.
                Err(e) => {
                    say!("{experiment}: {word}: {e}");
                    break;
                }
            }
        }
    }
    Ok(())
}

fn page(table: &Table, args: &FidelityArgs, runs: &[PathBuf], has_foreign: bool) -> Result<String> {
    let (option, foreign) = if has_foreign {
        let foreign = " ONNX and QONNX files passed onnx's full checker and were run on the same images by the \
         program named; \"score error\" is the largest difference of a score from the packed runtime's \
         with f32 activations, over the largest score.";
        (" --python PYTHON", foreign)
    } else {
        ("", "")
    };
    let mut page = format!(
        "# From trained to packed\n\n\
         Written by `cargo xtask fidelity RUN...{option} --markdown FILE`. Each run's network is frozen, written \
         as a packed file, read again and evaluated on the whole test set; \"other top-1 answers\" \
         counts the images whose class is another one than the trained network's. 8-bit ranges were \
         observed on the first {} training images, without labels. The bytes of \"trained\" are its \
         weights, scales and biases as f32; the others are whole files.{foreign}\n\n{table}\n\n",
        args.calibration_images
    );
    page += &compare::origins(runs)?;
    Ok(page)
}
