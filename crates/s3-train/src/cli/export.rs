//! A run's network as one packed file.

use super::folders::find_data_dir;
use super::output::check_output;
use crate::files::write_together;
use crate::given::Given;
use crate::packed::{f32_bytes, sizes, with_activations};
use crate::terminal::{self, note};
use crate::trained::Trained;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};
use s3_layers::export::{self, OnnxWeights};
use s3_layers::int8::Calibration;
use s3_layers::model::{Activations, Model, Network};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(crate) struct ExportArgs {
    /// A run's folder.
    run: PathBuf,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// What values between the layers are made of [default: f32 in ONNX and QONNX files, else u8].
    #[arg(long, value_enum)]
    activations: Option<ActivationsArg>,
    /// How the ranges of 8-bit values are chosen.
    #[arg(long, value_enum, default_value = "mse")]
    calibration: CalibrationArg,
    /// Training images that 8-bit ranges are observed on; their labels are not read.
    #[arg(long, default_value_t = 1000)]
    calibration_images: usize,
    /// `last`, `best` or a checkpoint file.
    #[arg(long, default_value = "last")]
    checkpoint: String,
    /// The kind of file [default: what the ending of FILE says, s3 where it has none].
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// What packed weights are stored as in an ONNX file [default: int8].
    #[arg(long, value_enum)]
    onnx_weights: Option<OnnxWeightsArg>,
    /// Folder of the data sets' files [default: the one that the run was trained on, where it is
    /// still there, else $S3_DATA_DIR, else data].
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ActivationsArg {
    /// Floats, the paper's setting.
    F32,
    /// 8 bits.
    U8,
    /// 8 bits whose steps are powers of two: shifts and additions between the first and the last
    /// layer.
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

impl CalibrationArg {
    /// As after `--calibration`.
    pub(crate) fn word(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
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
    /// This project's packed network (docs/EXPORT-FORMAT.md): .safetensors.
    S3,
    /// ONNX with dequantize nodes before its convolutions, in f32: .onnx.
    Onnx,
    /// ONNX with QONNX's quantizers: weights as minifloats, in f32, or with --activations
    /// u8-shift integers for hls4ml and FINN (docs/FPGA.md): .qonnx.onnx or .qonnx, and .onnx where
    /// it is asked for.
    Qonnx,
    /// C99, 8 bits: FILE ends in .c, and a header is written beside it.
    C,
}

impl Format {
    /// The format that the ending of `output` stands for; `None` where it has no ending.
    fn of(output: &Path) -> Result<Option<Self>> {
        let Some(name) = output.file_name() else {
            return Ok(None);
        };
        let name = name.to_string_lossy().to_lowercase();
        let Some((stem, ending)) = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty())
        else {
            return Ok(None);
        };
        Ok(Some(match ending {
            "safetensors" => Self::S3,
            "onnx" if stem.ends_with(".qonnx") => Self::Qonnx,
            "onnx" => Self::Onnx,
            "qonnx" => Self::Qonnx,
            "c" | "h" => Self::C,
            _ => bail!("the ending .{ending} is that of no format"),
        }))
    }

    /// What the user asks for by `--format` and by the name of the file.
    fn chosen(args: &ExportArgs) -> Result<Self> {
        let shown = args.output.display();
        match (args.format, Self::of(&args.output)) {
            (None, Ok(named)) => Ok(named.unwrap_or(Self::S3)),
            (None, Err(e)) => bail!(
                "--output {shown}: {e}, expected .safetensors, .onnx, .qonnx.onnx or .c, or \
                 --format"
            ),
            // QONNX files are ONNX files, and are called so.
            (Some(Self::Qonnx), Ok(Some(Self::Onnx))) => Ok(Self::Qonnx),
            (Some(asked), Ok(Some(named))) if asked != named => bail!(
                "--format {}: --output {shown} has the ending of --format {}",
                asked.word(),
                named.word()
            ),
            (Some(asked), _) => Ok(asked),
        }
    }

    /// As after `--format`.
    fn word(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The activations of such a file, as asked for or by default.
    fn activations(self, asked: Option<ActivationsArg>) -> Result<Activations> {
        let in_floats = matches!(self, Self::Onnx | Self::Qonnx);
        let default = if in_floats {
            ActivationsArg::F32
        } else {
            ActivationsArg::U8
        };
        let chosen = Activations::from(asked.unwrap_or(default));
        if self == Self::Onnx && chosen != Activations::F32 {
            bail!("--activations: an onnx file has f32 activations")
        }
        if self == Self::Qonnx && chosen == Activations::U8 {
            bail!("--activations: a qonnx file has f32 activations or u8-shift, not u8")
        }
        if self == Self::C && chosen == Activations::F32 {
            bail!("--activations: a C file has 8-bit activations, u8 or u8-shift")
        }
        Ok(chosen)
    }
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
    let format = Format::chosen(args)?;
    let activations = format.activations(args.activations)?;
    check_output("--output", &args.output, &Given::Packed)?;
    ensure!(
        args.onnx_weights.is_none() || format == Format::Onnx,
        "--onnx-weights: needs --format onnx"
    );
    let c_name = match format {
        Format::C => Some(c_name(&args.output)?),
        _ => None,
    };
    let onnx_weights = args.onnx_weights.unwrap_or(OnnxWeightsArg::Int8);
    let (data_dir, gone) = find_data_dir(&args.run, args.data_dir.as_ref());
    let trained = Trained::open(&args.run, &args.checkpoint, Some(&data_dir))?;
    note(trained.warnings());
    note(trained.unfinished());
    let mut network = trained.freeze()?;
    if activations != Activations::F32 {
        note(gone);
        let data = trained.data(Some(&data_dir))?;
        note(data.differs);
        let (train, images) = (&data.splits.train, args.calibration_images);
        network = with_activations(network, activations, args.calibration.into(), train, images)?;
    }
    let mut header = None;
    let bytes = match format {
        Format::S3 => Model::new(network.clone())?.to_bytes(),
        Format::Onnx => export::onnx(&network, onnx_weights.into())?,
        Format::Qonnx => export::qonnx(&network)?,
        Format::C => {
            let files = export::c(&network, c_name.unwrap_or_default())?;
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
        "{}: {} bytes, {:.2} times smaller than the {whole} bytes of f32 weights, scales and \
         biases",
        terminal::path(&args.output),
        bytes.len(),
        whole as f64 / bytes.len() as f64
    );
    Ok(())
}

/// What the functions of a C file are called.
fn c_name(output: &Path) -> Result<&str> {
    let shown = output.display();
    let is_c = output.extension().is_some_and(|end| end == "c");
    ensure!(
        is_c,
        "--output {shown}: expected a name that ends in .c (the header is written beside it)"
    );
    let name = output.file_stem().and_then(|stem| stem.to_str());
    name.with_context(|| format!("--output {shown}: no name"))
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
