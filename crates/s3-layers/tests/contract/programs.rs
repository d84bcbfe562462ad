//! Other programs: found, or missed with a word.

use super::parts::Outcome;
use s3_layers::export::CSource;
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

#[expect(clippy::print_stderr, reason = "shown with --nocapture")]
fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

fn runs(command: &mut Command) -> bool {
    command.output().is_ok_and(|made| made.status.success())
}

/// A Python with onnxruntime.
static PYTHON: LazyLock<Option<String>> = LazyLock::new(|| {
    let name = std::env::var("S3_BENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = runs(Command::new(&name).args(["-c", "import numpy, onnx, onnxruntime"]));
    if !found {
        skip("no Python with numpy, onnx and onnxruntime (S3_BENCH_PYTHON)");
    }
    found.then_some(name)
});

static HAS_C: LazyLock<bool> = LazyLock::new(|| {
    let found = runs(Command::new("cc").arg("--version"));
    if !found {
        skip("cc is not installed");
    }
    found
});

/// The standard output of a command that succeeds.
fn output(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let made = command.output()?;
    let text = String::from_utf8_lossy(&made.stdout).into_owned();
    match made.status.success() {
        true => Ok(text),
        false => Err(format!("{text}{}", String::from_utf8_lossy(&made.stderr)).into()),
    }
}

/// How far apart scores may be, as a share of the largest. Both sides add f32 numbers, in orders of
/// their own, and a deep network that has learned nothing hands the rounding on and adds to it: on
/// the deepest ones onnxruntime is 2.0e-5 and the runtime 5.1e-5 from scores computed in f64.
const ONNX_ERROR: f64 = 3e-4;

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

/// Whether onnxruntime gives these scores for each of the files.
pub(crate) fn onnx_scores(files: &[Vec<u8>], images: &[f32], scores: &[f32]) -> Outcome {
    let Some(python) = &*PYTHON else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("images"), bytes(images))?;
    std::fs::write(path("scores"), bytes(scores))?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(python);
    command.arg(root.join("tools/check_onnx.py"));
    command.arg("--images").arg(path("images"));
    command.args(["--tolerance", &ONNX_ERROR.to_string()]);
    for (i, file) in files.iter().enumerate() {
        let file_path = path(&format!("{i}.onnx"));
        std::fs::write(&file_path, file)?;
        command.arg(file_path).arg(path("scores"));
    }
    output(&mut command).map(|_| ())
}

/// The scores of the compiled network; none without a compiler.
pub(crate) fn c_scores(
    source: &CSource,
    images: &[i8],
) -> Result<Option<Vec<f32>>, Box<dyn Error>> {
    if !*HAS_C {
        return Ok(None);
    }
    let folder = tempfile::tempdir()?;
    let images: Vec<u8> = images.iter().map(|n| n.to_ne_bytes()[0]).collect();
    for (name, bytes) in [
        ("net.h", source.header.as_bytes()),
        ("net.c", source.source.as_bytes()),
        ("images", &images),
    ] {
        std::fs::write(folder.path().join(name), bytes)?;
    }
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/run_c.c");
    let mut cc = Command::new("cc");
    cc.current_dir(folder.path())
        .args([
            "-std=c99",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pedantic",
            "-DNET_FLOAT",
        ])
        .args(["-O1", "-I.", "-o", "net", "net.c"])
        .arg(program);
    output(&mut cc)?;
    let mut net = Command::new(folder.path().join("net"));
    let text = output(net.current_dir(folder.path()).arg("images"))?;
    let scores: Result<Vec<f32>, _> = text.lines().map(str::parse).collect();
    Ok(Some(scores?))
}
