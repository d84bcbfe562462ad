//! A run's network as one packed file.

use super::data_dir;
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use s3_layers::model::{Activations, Model, Network};
use s3_layers::quantize::Calibration;
use s3_train::files::write_atomically;
use s3_train::packed::{f32_bytes, sizes, with_activations};
use s3_train::trained::Trained;
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct ExportArgs {
    /// A run's folder.
    run: PathBuf,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// What values between the layers are made of.
    #[arg(long, value_enum, default_value = "u8")]
    activations: ActivationsArg,
    /// How the ranges of 8-bit values are chosen.
    #[arg(long, value_enum, default_value = "mse")]
    calibration: CalibrationArg,
    /// Training images that the ranges are observed on; their labels are not read.
    #[arg(long, default_value_t = 1000)]
    calibration_images: usize,
    /// `last`, `best` or a checkpoint file.
    #[arg(long, default_value = "last")]
    checkpoint: String,
    /// The kind of file.
    #[arg(long, value_enum, default_value_t = Format::S3)]
    format: Format,
    /// Folder of the data sets' files [default: $S3_DATA_DIR, else data].
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ActivationsArg {
    /// Floats, the paper's setting.
    F32,
    /// 8 bits.
    U8,
    /// 8 bits whose steps are powers of two: shifts and additions between the first and the last layer.
    U8Shift,
}

impl From<ActivationsArg> for Activations {
    fn from(arg: ActivationsArg) -> Self {
        match arg {
            ActivationsArg::F32 => Self::F32,
            ActivationsArg::U8 => Self::U8,
            ActivationsArg::U8Shift => Self::U8Shift,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum CalibrationArg {
    /// The whole range.
    #[value(name = "minmax")]
    MinMax,
    /// All but a ten-thousandth on either side.
    Percentile,
    /// The least squared error.
    Mse,
}

impl From<CalibrationArg> for Calibration {
    fn from(arg: CalibrationArg) -> Self {
        match arg {
            CalibrationArg::MinMax => Self::MinMax,
            CalibrationArg::Percentile => Self::Percentile,
            CalibrationArg::Mse => Self::Mse,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// This project's packed network (docs/EXPORT-FORMAT.md).
    S3,
    /// ONNX with quantize and dequantize nodes.
    Onnx,
    /// ONNX with QONNX's quantizers.
    Qonnx,
    /// C99 source.
    C,
}

pub(crate) fn run(args: &ExportArgs) -> Result<()> {
    let data_dir = data_dir(args.data_dir.as_ref());
    let trained = Trained::open(&args.run, &args.checkpoint, Some(&data_dir))?;
    let network = with_activations(
        trained.freeze()?,
        args.activations.into(),
        args.calibration.into(),
        &trained.splits.train,
        args.calibration_images,
    )?;
    let bytes = match args.format {
        Format::S3 => Model::new(network.clone())?.to_bytes(),
        other => bail!("--format {other:?}: not built yet, expected s3"),
    };
    write_atomically(&args.output, &bytes)?;
    say!("{}", size_table(&network));
    let whole = f32_bytes(&network);
    say!(
        "{}: {} bytes, {:.2} times smaller than the {whole} bytes of f32 weights, scales and biases",
        args.output.display(),
        bytes.len(),
        whole as f64 / bytes.len() as f64
    );
    Ok(())
}

/// A row a layer, and their sum.
fn size_table(network: &Network) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header([
        "layer",
        "levels",
        "weights",
        "bits a weight",
        "bytes of weights",
        "of channels",
        "bytes as f32",
        "smaller by",
    ]);
    let mut total = [0; 4];
    let row = |name: &str, levels: &str, [weights, bytes, channels, f32s]: [usize; 4]| {
        [
            name.to_string(),
            levels.to_string(),
            weights.to_string(),
            format!("{:.2}", 8.0 * bytes as f64 / weights.max(1) as f64),
            bytes.to_string(),
            channels.to_string(),
            f32s.to_string(),
            format!("{:.1}x", f32s as f64 / (bytes + channels).max(1) as f64),
        ]
    };
    for l in sizes(network) {
        let counts = [l.weights, l.bytes, l.channel_bytes, l.f32_bytes()];
        for (sum, count) in total.iter_mut().zip(counts) {
            *sum += count;
        }
        table.add_row(row(&l.name, &l.levels, counts));
    }
    table.add_row(row("all", "", total));
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
