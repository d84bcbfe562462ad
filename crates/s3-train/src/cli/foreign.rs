//! What other people's programs answer: an exported file in onnxruntime or in qonnx's executor.
//!
//! Python reads `tools/check_onnx.py` from its standard input, so that the binary needs no
//! repository.

use crate::data::Dataset;
use crate::eval::{self, Answers};
use crate::packed;
use anyhow::{Context, Result, bail};
use s3_layers::model::Model;
use serde::Deserialize;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;

const SCRIPT: &str = include_str!("check_onnx.py");

/// A test set, normalised, and the packed runtime's scores, as the script reads them.
pub(crate) struct Questions<'a> {
    python: &'a Path,
    data: &'a Arc<Dataset>,
    batch_size: usize,
    folder: TempDir,
}

/// What a program answers.
pub(crate) struct Reply {
    pub(crate) answers: Answers,
    pub(crate) report: Report,
}

/// The script's line.
#[derive(Deserialize)]
pub(crate) struct Report {
    /// The program's name.
    pub(crate) program: String,
    /// Its version.
    pub(crate) version: String,
    /// The largest difference of two scores, over the largest score.
    pub(crate) error: f64,
}

/// The first line that the `program` of an option says of its version.
///
/// # Errors
/// One line where it cannot be started.
pub(crate) fn find(option: &str, program: &Path) -> Result<String> {
    let shown = program.display();
    let version = Command::new(program).arg("--version").output();
    let version = version.with_context(|| format!("{option} {shown}"))?;
    if !version.status.success() {
        bail!("{option} {shown}: ends with {}", version.status)
    }
    let said = trimmed(&version.stdout);
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

impl<'a> Questions<'a> {
    /// Every image of `data`, and what `model` answers on it.
    pub(crate) fn new(
        python: &'a Path,
        model: &Model,
        data: &'a Arc<Dataset>,
        batch_size: usize,
    ) -> Result<(Self, Answers)> {
        let folder = tempfile::tempdir().context("a temporary folder")?;
        let create = |name: &str| -> Result<BufWriter<File>> {
            let path = folder.path().join(name);
            let file = File::create(&path).with_context(|| path.display().to_string())?;
            Ok(BufWriter::new(file))
        };
        let (mut to_images, mut to_scores) = (create("images")?, create("scores")?);
        let answers = packed::evaluate_traced(model, data, batch_size, |images, scores| {
            write(&mut to_images, images)?;
            write(&mut to_scores, scores)
        })?;
        to_images.flush()?;
        to_scores.flush()?;
        let questions = Self {
            python,
            data,
            batch_size,
            folder,
        };
        Ok((questions, answers))
    }

    /// What the program that runs `file`, ONNX or QONNX, answers on every image.
    pub(crate) fn ask(&self, file: &[u8]) -> Result<Reply> {
        let path = |name: &str| self.folder.path().join(name);
        std::fs::write(path("net.onnx"), file).context("a temporary file")?;
        let report = self.script(&[path("images"), path("net.onnx"), path("scores")])?;
        let bytes = std::fs::read(path("net.onnx.scores")).context("a temporary file")?;
        let (words, _) = bytes.as_chunks();
        let scores: Vec<f32> = words.iter().map(|&word| f32::from_le_bytes(word)).collect();
        let answers = eval::of_scores(&scores, self.data, self.batch_size)?;
        Ok(Reply { answers, report })
    }

    fn script(&self, files: &[PathBuf]) -> Result<Report> {
        let python = self.python.display();
        let mut child = Command::new(self.python)
            .args(["-", "--json", "--answers", "--images"])
            .args(files)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("--python {python}"))?;
        if let Some(mut script) = child.stdin.take() {
            // One that ends before it has read all of this says why itself.
            let _ = script.write_all(SCRIPT.as_bytes());
        }
        let output = child.wait_with_output()?;
        let (text, errors) = (trimmed(&output.stdout), trimmed(&output.stderr));
        // Scores that differ are an answer too, with status 1.
        match text.lines().last() {
            Some(line) => serde_json::from_str(line)
                .with_context(|| format!("{python}: not the script's answer")),
            None => bail!("{python}: {}", errors.lines().last().unwrap_or("no answer")),
        }
    }
}

fn write(file: &mut impl Write, numbers: &[f32]) -> Result<()> {
    for number in numbers {
        file.write_all(&number.to_le_bytes())?;
    }
    Ok(())
}

fn trimmed(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_string()
}
