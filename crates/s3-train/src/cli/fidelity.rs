//! What freezing and 8-bit activations cost: a run's network beside every file it can become.

use super::compare;
use super::compiled::Compiler;
use super::export::CalibrationArg;
use super::folders::data_dir_of;
use super::foreign::{self, Questions, Reply};
use super::labels::{Labels, to_evaluate};
use super::output::check_output;
use crate::eval::{self, Answers};
use crate::files::write_atomically;
use crate::given::Given;
use crate::groups::Groups;
use crate::packed::{evaluate, evaluate_traced, f32_bytes, observe};
use crate::terminal::{self, note, one_line};
use crate::trained::Trained;
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use s3_layers::export::{self, OnnxWeights};
use s3_layers::int8::quantize;
use s3_layers::model::{Activations, Model, Network};
use s3_metrics::finished::Answered;
use serde::Serialize;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Args)]
pub(crate) struct FidelityArgs {
    /// Run folders.
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Evaluates on the first N test images [default: all].
    #[arg(long, value_name = "N")]
    images: Option<NonZeroUsize>,
    /// How the ranges of 8-bit values are chosen; several times for several ways [default: each
    /// way].
    #[arg(long, value_enum)]
    calibration: Vec<CalibrationArg>,
    /// Training images that ranges are observed on.
    #[arg(long, default_value_t = 1000)]
    calibration_images: usize,
    /// Also runs exported ONNX files in onnxruntime and QONNX files in qonnx's executor; a Python
    /// with numpy, onnx, onnxruntime and, for QONNX, qonnx.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Also compiles and runs the C file of each 8-bit network; a C compiler, such as cc.
    #[arg(long)]
    cc: Option<PathBuf>,
    /// Prints a line of JSON a run instead of the table.
    #[arg(long)]
    json: bool,
    /// Also writes the table as a Markdown page.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    #[command(flatten)]
    labels: Labels,
    /// Folder of the data sets' files [default: the one that the run was trained on, where it is
    /// still there, else $S3_DATA_DIR, else data].
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

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
        foreign::find("--python", python)?;
    }
    let version = match &args.cc {
        Some(cc) => Some(foreign::find("--cc", cc)?),
        None => None,
    };
    let groups = Groups::read(&args.runs)?;
    let (mut measured, mut folders, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for (i, folder) in args.runs.iter().enumerate() {
        let mut name = groups.words(i);
        match measure(&name, folder, args, version.as_deref()) {
            Ok((seed, networks)) => {
                if groups.seeds(i) > 1 {
                    name = format!("{name}, seed {seed}");
                }
                measured.push(Measured {
                    run: name,
                    networks,
                });
                folders.push(folder.clone());
            }
            Err(e) => refused.push(e.context(terminal::path(folder))),
        }
    }
    if measured.is_empty() && !refused.is_empty() {
        return Err(refused.swap_remove(0));
    }
    // Minutes of the others are not lost.
    note(refused.iter().map(|e| format!("left out: {}", one_line(e))));
    let table = table(&measured);
    if args.json {
        for run in &measured {
            say!("{}", serde_json::to_string(run)?);
        }
    } else {
        say!("{table}");
    }
    if let Some(path) = &args.markdown {
        let page = page(&table, args, &measured) + &compare::origins(&folders, Groups::words)?;
        write_atomically(path, page.as_bytes())?;
    }
    Ok(())
}

/// What a run's network and every file of it answer.
#[derive(Serialize)]
struct Measured {
    /// The run in words.
    run: String,
    /// The trained network first.
    networks: Vec<Answered>,
}

/// What a network called `network`, of so many bytes, answers.
fn answered(network: &str, reference: &Answers, answers: &Answers, bytes: usize) -> Answered {
    let top1 = |a: &Answers| a.accuracy.top1().unwrap_or(f64::NAN);
    Answered {
        network: network.to_owned(),
        program: None,
        top1: top1(answers),
        against_trained: top1(answers) - top1(reference),
        other_answers: reference.differing(answers),
        images: reference.top1.len(),
        bytes,
        score_error: None,
        other_scores: None,
    }
}

fn table(runs: &[Measured]) -> Table {
    let mut header = vec![
        "run",
        "network",
        "test top-1",
        "against trained",
        "other top-1 answers",
        "of images",
        "bytes",
    ];
    let has_foreign = is_any(runs, |a| a.program.is_some());
    if has_foreign {
        header.push("scores");
    }
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header);
    for run in runs {
        for a in &run.networks {
            let network = match &a.program {
                Some(program) => format!("{}, {program}", a.network),
                None => a.network.clone(),
            };
            let mut row = vec![
                run.run.clone(),
                network,
                format!("{:.2} %", 100.0 * a.top1),
                format!("{:+.2}", 100.0 * a.against_trained),
                a.other_answers.to_string(),
                a.images.to_string(),
                a.bytes.to_string(),
            ];
            if has_foreign {
                row.push(match (a.score_error, a.other_scores) {
                    (Some(error), _) => format!("within {error:.1e}"),
                    (_, Some([other, all])) => format!("{other} of {all} differ"),
                    (None, None) => String::new(),
                });
            }
            table.add_row(row);
        }
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn is_any(runs: &[Measured], is: impl Fn(&Answered) -> bool) -> bool {
    runs.iter().flat_map(|run| &run.networks).any(is)
}

/// The seed of the run in `folder`, which is called `name`, and what its networks answer; `cc` is
/// the version of the C compiler.
fn measure(
    name: &str,
    folder: &Path,
    args: &FidelityArgs,
    cc: Option<&str>,
) -> Result<(u64, Vec<Answered>)> {
    let data_dir = data_dir_of(folder, args.data_dir.as_ref());
    let trained = Trained::open(folder, "last", Some(&data_dir))?;
    let splits = to_evaluate(&trained, Some(&data_dir), &args.labels)?;
    let test = match args.images {
        Some(images) => Arc::new(Arc::unwrap_or_clone(splits.test).truncated(images.get())),
        None => splits.test,
    };
    let batch = trained.config.eval_batch_size;
    let reference = eval::evaluate(&trained.net, &test, batch, &trained.device)?;
    let frozen = trained.freeze()?;
    let answered =
        |name: &str, answers: &Answers, bytes: usize| answered(name, &reference, answers, bytes);
    let mut all = vec![answered("trained", &reference, f32_bytes(&frozen))];
    let (model, bytes) = reread("f32", frozen.clone())?;
    if let Some(python) = &args.python {
        let (questions, answers) = Questions::new(python, &model, &test, batch)?;
        all.push(answered("f32", &answers, bytes));
        for (word, format) in FORMATS {
            let file = format(&frozen).map_err(anyhow::Error::from);
            match file.and_then(|file| Ok((questions.ask(&file)?, file.len()))) {
                Ok((Reply { answers, report }, bytes)) => all.push(Answered {
                    program: Some(format!("{} {}", report.program, report.version)),
                    score_error: Some(report.error),
                    ..answered(word, &answers, bytes)
                }),
                Err(e) => note([format!("{name}: {word}: {}", one_line(&e))]),
            }
        }
    } else {
        all.push(answered("f32", &evaluate(&model, &test, batch)?, bytes));
    }
    let compiler = match &args.cc {
        Some(cc) => Some(Compiler::new(cc, &test, &reference.images)?),
        None => None,
    };
    let observed = observe(&frozen, &splits.train, args.calibration_images)?;
    for (word, activations) in [("u8", Activations::U8), ("u8-shift", Activations::U8Shift)] {
        for &calibration in calibrations(args) {
            let network = match quantize(&frozen, &observed, activations, calibration.into()) {
                Ok(network) => network,
                // Said once; the other calibrations fail alike.
                Err(e) => {
                    note([format!("{name}: {word}: {e}")]);
                    break;
                }
            };
            let word = format!("{word}, {}", calibration.word());
            let (model, bytes) = reread(&word, network)?;
            let mut scores = Vec::new();
            let answers = evaluate_traced(&model, &test, batch, |_, of_batch| {
                scores.extend_from_slice(of_batch);
                Ok(())
            })?;
            all.push(answered(&word, &answers, bytes));
            if let Some(compiler) = &compiler {
                let (made, bytes) = compiler.ask(model.network())?;
                let other = differing(&made, &scores)?;
                let answers = eval::of_scores(&made, &test, batch)?;
                all.push(Answered {
                    program: cc.map(str::to_owned),
                    other_scores: Some([other, scores.len()]),
                    ..answered(&format!("c, {word}"), &answers, bytes)
                });
            }
        }
    }
    Ok((trained.config.seed, all))
}

fn calibrations(args: &FidelityArgs) -> &[CalibrationArg] {
    match &args.calibration[..] {
        [] => CalibrationArg::value_variants(),
        chosen => chosen,
    }
}

/// Through its bytes: what is measured is what a reader of the file gets.
fn reread(name: &str, network: Network) -> Result<(Model, usize)> {
    let bytes = Model::new(network)?.to_bytes();
    let model = Model::from_bytes(&bytes).with_context(|| name.to_string())?;
    Ok((model, bytes.len()))
}

/// How many scores are other bits.
fn differing(made: &[f32], scores: &[f32]) -> Result<usize> {
    let (n, of) = (made.len(), scores.len());
    ensure!(n == of, "the C file gives {n} scores, the runtime {of}");
    let pairs = made.iter().zip(scores);
    Ok(pairs.filter(|(a, b)| a.to_bits() != b.to_bits()).count())
}

fn page(table: &Table, args: &FidelityArgs, runs: &[Measured]) -> String {
    let (mut options, mut foreign) = (String::new(), String::new());
    let mut images = "the whole test set".to_owned();
    if let Some(n) = args.images {
        options += &format!(" --images {n}");
        images = format!("the first {n} test images");
    }
    if is_any(runs, |a| a.score_error.is_some()) {
        options += " --python PYTHON";
        foreign += " ONNX and QONNX files passed onnx's full checker and were run on the same \
                    images by the program named; \"within\" is the largest difference of a score \
                    from the packed runtime's with f32 activations, over the largest score.";
    }
    if is_any(runs, |a| a.other_scores.is_some()) {
        options += " --cc CC";
        foreign += " C files (\"c\") were compiled by the program named and run on the same \
                    images; their scores that \"differ\" are other bits than the packed runtime's \
                    of the same 8-bit network.";
    }
    format!(
        "# From trained to packed\n\n\
         Written by `cargo xtask fidelity RUN...{options} --markdown FILE`. Each run's network is \
         frozen, written as a packed file, read again and evaluated on {images}; \"other top-1 \
         answers\" counts the images whose class is another one than the trained network's. 8-bit \
         ranges were observed on the first {} training images, without labels. The bytes \
         of \"trained\" are its weights, scales and biases as f32; the others are whole \
         files.{foreign}\n\n{table}\n\n",
        args.calibration_images
    )
}

#[cfg(test)]
mod tests {
    use super::differing;

    #[test]
    fn scores_differ_where_their_bits_do() {
        assert_eq!(differing(&[0.5, 1.0], &[0.5, 1.0]).ok(), Some(0));
        assert_eq!(
            differing(&[0.0, 1.0], &[-0.0, 1.0 + f32::EPSILON]).ok(),
            Some(2)
        );
        let line = differing(&[1.0], &[1.0, 2.0])
            .expect_err("fewer")
            .to_string();
        assert_eq!(line, "the C file gives 1 scores, the runtime 2");
    }
}
