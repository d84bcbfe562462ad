//! What a downstream crate answers: the README's first command, the networks of MNIST in `models/`
//! on the pictures beside them, and beside `s3 infer` the same names for the same image.
//!
//! A network is trained for seconds on generated images and exported; `checks/classify`, which has
//! `s3-kernels` and a reader of PNG files, and `s3` read the same picture.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flate2::{Compression, Crc, write::ZlibEncoder};
use serde_json::Value;

use super::foreign::answer;
use super::outcome::{Outcome, done};
use crate::cargo::root;
use crate::s3;

const EXPERIMENT: &str = r#"
experiment = "classify"
epochs = 1
batch_size = 32
data = { name = "shapes", train_limit = 640, test_limit = 50 }
model = { name = "resnet8" }
method = { name = "s3", bits = 3, init = "low_variance" }
optimizer = { name = "sgd", momentum = 0.9 }
lr = { schedule = "constant", start = 0.1 }
alpha = { schedule = "constant", start = 1e-5 }
"#;

/// The side of a generated image.
const SIDE: u32 = 32;
/// How many names `classify` gives.
const NAMES: usize = 5;

pub(super) fn classify() -> Result<Outcome> {
    let package = ["--locked", "--manifest-path", "checks/classify/Cargo.toml"];
    let classify = s3::build_at(&package, "classify")?;
    shown_in_readme(&classify)?;
    of_the_repository(&classify)?;
    // With a test, the features are those of the test step: others would build the tensor library
    // again.
    let s3 = s3::build_at(&["--workspace", "--test", "learns"], "s3")?;
    let folder = tempfile::tempdir().context("a temporary folder")?;
    let command = |words: &[&str]| {
        let mut command = Command::new(&s3);
        command.args(words).current_dir(folder.path());
        command
    };
    for (name, bytes) in [("e.toml", EXPERIMENT.into()), ("p.png", png(&image())?)] {
        std::fs::write(folder.path().join(name), bytes).context(name)?;
    }
    let mut train = command(&["train", "e.toml", "--out", "runs"]);
    done(&mut train, "s3 train e.toml")?;
    let mut runs = std::fs::read_dir(folder.path().join("runs")).context("runs")?;
    let run = runs.next().context("no run's folder")??.path();
    for activations in ["f32", "u8"] {
        let mut export = command(&["export", "-o", "net", "--activations", activations]);
        export.args(["--calibration-images", "100"]).arg(&run);
        answer(&mut export)?;
        let mut infer = command(&["infer", "net", "p.png", "--json"]);
        let own = names_of_json(&answer(&mut infer)?)?;
        let mut other = Command::new(&classify);
        other.args(["net", "p.png"]).current_dir(folder.path());
        let names = names(&answer(&mut other)?);
        ensure!(
            own.len() == NAMES && names == own,
            "{activations}: classify answers {names:?}, s3 infer {own:?}"
        );
        println!("{activations}: {}", names.join(", "));
    }
    Ok(Outcome::Passed)
}

/// The start of a line of the README that the next lines answer.
const COMMAND: &str = "    cargo classify ";

/// Runs what the README shows, and compares what it shows of the answer.
fn shown_in_readme(classify: &Path) -> Result<()> {
    let readme = std::fs::read_to_string(root().join("README.md")).context("README.md")?;
    let (words, shown) = example(&readme).context("README.md: no line `cargo classify ..`")?;
    let found = answer(Command::new(classify).args(&words).current_dir(root()))?;
    ensure!(
        found.lines().eq(shown.lines()),
        "README.md shows\n{shown}\nand the command prints\n{found}"
    );
    println!("README.md: {}", words.join(" "));
    Ok(())
}

/// The words behind the command, without a comment, and the block's lines below it.
fn example(readme: &str) -> Option<(Vec<&str>, String)> {
    let (_, rest) = readme.split_once(COMMAND)?;
    let (line, rest) = rest.split_once('\n')?;
    let words = line.split_once('#').map_or(line, |(words, _)| words);
    let shown = rest.lines().map_while(|line| line.strip_prefix("    "));
    let shown: Vec<&str> = shown.collect();
    Some((words.split_whitespace().collect(), shown.join("\n")))
}

/// Every network of MNIST in `models/` takes each picture beside it, a drawn digit, for what it is
/// called.
fn of_the_repository(classify: &Path) -> Result<()> {
    let (models, pictures) = (root().join("models"), root().join("models/pictures"));
    let files = |folder: &Path, ending: &str| -> Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        let mut files: Vec<PathBuf> = entries.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
        files.retain(|file| file.extension().is_some_and(|of| of == ending));
        files.sort();
        ensure!(!files.is_empty(), "{}: no .{ending}", folder.display());
        Ok(files)
    };
    let pictures = files(&pictures, "png")?;
    let mut networks = files(&models, "safetensors")?;
    networks.retain(|file| {
        let name = file.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with("mnist-")
    });
    ensure!(
        !networks.is_empty(),
        "{}: no network of MNIST",
        models.display()
    );
    for network in networks {
        for picture in &pictures {
            let digit = picture.file_stem().unwrap_or_default().to_string_lossy();
            let names = names(&answer(Command::new(classify).arg(&network).arg(picture))?);
            ensure!(
                names.first().is_some_and(|best| *best == digit),
                "{}: {}: {names:?}",
                network.display(),
                picture.display()
            );
        }
    }
    println!(
        "models/: {} drawn digits are read by every network of MNIST",
        pictures.len()
    );
    Ok(())
}

/// The second column of what `classify` prints.
fn names(text: &str) -> Vec<String> {
    let name = |line: &str| Some(line.trim().split_once("  ")?.1.to_owned());
    text.lines().filter_map(name).collect()
}

fn names_of_json(text: &str) -> Result<Vec<String>> {
    let answer: Value = serde_json::from_str(text).context("what s3 infer prints")?;
    let top = answer["top"].as_array().into_iter().flatten();
    Ok(top
        .filter_map(|best| Some(best["name"].as_str()?.to_owned()))
        .collect())
}

/// A bright disc on a dark gradient, RGB.
fn image() -> Vec<u8> {
    let pixel = |i: u32| {
        let (x, y) = (i % SIDE, i / SIDE);
        if x.abs_diff(14).pow(2) + y.abs_diff(17).pow(2) < 81 {
            [240, 200, 40]
        } else {
            [3 * x as u8, 2 * y as u8, 60]
        }
    };
    (0..SIDE * SIDE).flat_map(pixel).collect()
}

/// A PNG of 8-bit RGB whose rows are not filtered.
fn png(pixels: &[u8]) -> Result<Vec<u8>> {
    let mut data = ZlibEncoder::new(Vec::new(), Compression::fast());
    for row in pixels.chunks(3 * SIDE as usize) {
        data.write_all(&[0])?;
        data.write_all(row)?;
    }
    let side = SIDE.to_be_bytes();
    let header = [&side[..], &side, &[8, 2, 0, 0, 0]].concat();
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, content) in [
        (b"IHDR", header),
        (b"IDAT", data.finish()?),
        (b"IEND", vec![]),
    ] {
        let mut crc = Crc::new();
        crc.update(kind);
        crc.update(&content);
        file.extend(u32::try_from(content.len())?.to_be_bytes());
        file.extend(kind);
        file.extend(content);
        file.extend(crc.sum().to_be_bytes());
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_either_program() -> Result<()> {
        let expected = ["a disc", "ring"];
        assert_eq!(
            names("p.png\n   91.5 %  a disc\n    0.2 %  ring\n"),
            expected
        );
        let json = r#"{"top": [{"class": 1, "name": "a disc"}, {"class": 0, "name": "ring"}]}"#;
        assert_eq!(names_of_json(json)?, expected);
        Ok(())
    }

    #[test]
    fn the_readmes_command_and_its_answer_are_read() {
        let text =
            "words\n\n    cargo classify a b   # a note\n    b\n      99.0 %  7\n\n    other\n";
        let shown = "b\n  99.0 %  7".to_owned();
        assert_eq!(example(text), Some((vec!["a", "b"], shown)));
        assert_eq!(example("    cargo xtask demo\n"), None);
    }
}
