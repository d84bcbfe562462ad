//! What hls4ml makes of an exported network: its C simulation computes the runtime's integers, and
//! so does qonnx's executor, every value of it.
//!
//! An MLP and a ResNet-8 are trained for seconds on generated images, exported with shifts alone as
//! QONNX and as a packed file, and `tools/check_hls4ml.py` compares the two on images of this file:
//! the runtime's answers are those of the native program of `tools/browser`.
//!
//! Needs a C++ compiler `g++` and a Python, `S3_BENCH_PYTHON` or `python3`, with hls4ml and qonnx:
//! `pip install hls4ml==1.3.0 qonnx==1.0.0 onnx onnxruntime`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::foreign::answer;
use super::outcome::{Outcome, done};
use crate::cargo::root;
use crate::tools::program;
use crate::{browser, s3};

const EXPERIMENT: &str = r#"
experiment = "hls4ml"
epochs = 1
batch_size = 32
data = { name = "shapes", train_limit = 640, test_limit = 50 }
method = { name = "s3", bits = 3, init = "low_variance" }
optimizer = { name = "sgd", momentum = 0.9 }
lr = { schedule = "constant", start = 0.1 }
alpha = { schedule = "constant", start = 1e-5 }
"#;

/// The networks, the images that hls4ml predicts, and how values pass from layer to layer in its
/// project.
const NETWORKS: [(&str, &str, &str, &str); 2] = [
    (
        "mlp",
        r#"model = { name = "mlp", hidden = [32, 32] }"#,
        "200",
        "io_parallel",
    ),
    (
        "resnet8",
        r#"model = { name = "resnet8", width = 4, shortcut = "B" }"#,
        "20",
        "io_stream",
    ),
];

/// Numbers of a generated image.
const IMAGE: usize = 32 * 32 * 3;
const IMAGES: usize = 200;

pub(super) fn hls4ml() -> Result<Outcome> {
    let python = std::env::var("S3_BENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut imports = Command::new(&python);
    imports.args(["-c", "import hls4ml, qonnx, onnx, onnxruntime"]);
    let imports = imports.stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !imports.is_ok_and(|status| status.success()) {
        return Ok(Outcome::Skipped(
            "no Python with hls4ml and qonnx (S3_BENCH_PYTHON)",
        ));
    }
    if program(&["g++"]).is_none() {
        return Ok(Outcome::Skipped("g++ is not installed"));
    }
    let manifest = format!("{}/Cargo.toml", browser::PACKAGE);
    let twin = s3::build_at(&["--locked", "--manifest-path", &manifest], "s3-browser")?;
    // As for `classify`: the features of the test step.
    let s3 = s3::build_at(&["--workspace", "--test", "learns"], "s3")?;
    let folder = tempfile::tempdir().context("a temporary folder")?;
    let path = |name: &str| folder.path().join(name);
    fs::write(path("images"), images()).context("images")?;
    for (name, model, count, io) in NETWORKS {
        let written = format!("{EXPERIMENT}{model}\n");
        fs::write(path("e.toml"), written).context("e.toml")?;
        let command = |words: &[&str]| {
            let mut command = Command::new(&s3);
            command.args(words).current_dir(folder.path());
            command
        };
        let mut train = command(&["train", "e.toml", "--out", name]);
        done(&mut train, "s3 train e.toml")?;
        let run = only(&path(name))?;
        for file in ["net.s3.safetensors", "net.qonnx.onnx"] {
            let mut export = command(&["export", "-o", file, "--activations", "u8-shift"]);
            export.args(["--calibration-images", "100"]).arg(&run);
            answer(&mut export)?;
        }
        let mut runtime = Command::new(&twin);
        runtime.arg(path("net.s3.safetensors")).arg(path("images"));
        fs::write(path("answers"), answer(&mut runtime)?).context("answers")?;
        println!("{name}:");
        let mut check = Command::new(&python);
        check.arg(root().join("tools/check_hls4ml.py"));
        check.args(["net.qonnx.onnx", "images", "answers", "project"]);
        check.args(["--count", count, "--traced", "5", "--io", io]);
        done(
            check.current_dir(folder.path()),
            "python tools/check_hls4ml.py",
        )?;
    }
    Ok(Outcome::Passed)
}

/// The one folder in `runs`.
fn only(runs: &Path) -> Result<std::path::PathBuf> {
    let mut found = fs::read_dir(runs).context("runs")?;
    Ok(found.next().context("no run's folder")??.path())
}

/// Pixels by chance, smooth in part: discs of one colour on noise.
fn images() -> Vec<u8> {
    let mut state = 0x2545_f491_u32;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let mut pixels = Vec::with_capacity(IMAGES * IMAGE);
    for _ in 0..IMAGES {
        let [x, y, radius] = [next() % 32, next() % 32, 4 + next() % 12];
        let (colour, noise) = (next(), 1 + next() % 255);
        for i in 0..IMAGE as u32 {
            let (row, column) = (i / 3 / 32, i / 3 % 32);
            let away = row.abs_diff(y).pow(2) + column.abs_diff(x).pow(2);
            let inside = away < radius * radius;
            let byte = colour.to_le_bytes()[(i % 3) as usize];
            pixels.push(if inside { byte } else { (next() % noise) as u8 });
        }
    }
    pixels
}
