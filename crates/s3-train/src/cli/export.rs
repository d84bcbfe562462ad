//! A run's network as one packed file.

use super::{data_dir, note};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use s3_layers::export::{self, CSource, OnnxWeights};
use s3_layers::model::{Activations, Model, Network};
use s3_layers::quantize::Calibration;
use s3_train::files::write_together;
use s3_train::packed::{f32_bytes, sizes, with_activations};
use s3_train::trained::Trained;
use std::path::{Path, PathBuf};

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
    /// What packed weights are stored as in an ONNX file [default: int8]; needs --format onnx.
    #[arg(long, value_enum)]
    onnx_weights: Option<OnnxWeightsArg>,
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

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Format {
    /// This project's packed network (docs/EXPORT-FORMAT.md).
    S3,
    /// ONNX with dequantize nodes before its convolutions; needs --activations f32.
    Onnx,
    /// ONNX with QONNX's quantizers; needs --activations f32.
    Qonnx,
    /// C99: FILE ends in .c, and a header is written beside it; needs 8-bit activations.
    C,
}

#[derive(Clone, Copy, ValueEnum)]
enum OnnxWeightsArg {
    /// Plain floats, for programs that quantize a network themselves.
    F32,
    /// Bytes: every width.
    Int8,
    /// Half bytes, opset 21: 2 and 3 bits.
    Int4,
    /// Quarters of a byte, opset 25: 2 bits.
    Int2,
}

impl From<OnnxWeightsArg> for OnnxWeights {
    fn from(arg: OnnxWeightsArg) -> Self {
        match arg {
            OnnxWeightsArg::F32 => Self::F32,
            OnnxWeightsArg::Int8 => Self::Int8,
            OnnxWeightsArg::Int4 => Self::Int4,
            OnnxWeightsArg::Int2 => Self::Int2,
        }
    }
}

pub(crate) fn run(args: &ExportArgs) -> Result<()> {
    ensure!(
        args.onnx_weights.is_none() || args.format == Format::Onnx,
        "--onnx-weights: needs --format onnx"
    );
    let onnx_weights = args.onnx_weights.unwrap_or(OnnxWeightsArg::Int8);
    let data_dir = data_dir(args.data_dir.as_ref());
    let trained = Trained::open(&args.run, &args.checkpoint, Some(&data_dir))?;
    note(trained.warning());
    let (mut network, activations) = (trained.freeze()?, args.activations.into());
    if activations != Activations::F32 {
        let data = trained.data(Some(&data_dir))?;
        note(data.differs);
        let (train, images) = (&data.splits.train, args.calibration_images);
        network = with_activations(network, activations, args.calibration.into(), train, images)?;
    }
    let mut header = None;
    let bytes = match args.format {
        Format::S3 => Model::new(network.clone())?.to_bytes(),
        Format::Onnx => export::onnx(&network, onnx_weights.into())?,
        Format::Qonnx => export::qonnx(&network)?,
        Format::C => {
            let files = c_source(&network, &args.output)?;
            header = Some((args.output.with_extension("h"), files.header));
            files.source.into_bytes()
        }
    };
    let header = header
        .as_ref()
        .map(|(path, text)| (path.as_path(), text.as_bytes()));
    let files: Vec<_> = header
        .into_iter()
        .chain([(args.output.as_path(), &bytes[..])])
        .collect();
    write_together(&files)?;
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

/// What is to be in `output` and in the header beside it.
fn c_source(network: &Network, output: &Path) -> Result<CSource> {
    let is_c = output.extension().is_some_and(|end| end == "c");
    ensure!(
        is_c,
        "--output {}: expected a name that ends in .c",
        output.display()
    );
    let name = output.file_stem().and_then(|stem| stem.to_str());
    let name = name.with_context(|| format!("--output {}: no name", output.display()))?;
    Ok(export::c(network, name)?)
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
        if l.is_plane {
            total[0] -= l.weights;
        }
        table.add_row(row(&l.name, &l.levels, counts));
    }
    table.add_row(row("all", "", total));
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
