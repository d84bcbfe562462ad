//! The `s3` binary as this command uses it: it trains, says what a run came to, and draws.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use s3_metrics::spec::Spec;
use serde_json::{Value, json};

use super::options::How;
use super::plan::{Job, Row};
use crate::cargo::root;
use crate::s3::build;

/// What turns a recipe into one of seconds on generated images.
const SMOKE: &[&str] = &[
    "data.name=\"shapes\"",
    "data.train_limit=128",
    "data.test_limit=64",
    "validation_images=32",
    "model={name=\"resnet8\"}",
    "batch_size=32",
];

/// The snapshots of a run, at most: the paper takes 15, one every 10 of 150 epochs.
const SNAPSHOTS: u32 = 15;

/// The `s3` binary and what all runs share.
pub(super) struct Trainer<'a> {
    pub(super) binary: PathBuf,
    pub(super) how: &'a How,
}

/// How a training ended.
pub(super) enum End {
    /// Its folder.
    Finished(PathBuf),
    /// Ctrl-C.
    Stopped,
    /// Its error.
    Refused(String),
}

impl<'a> Trainer<'a> {
    pub(super) fn new(how: &'a How) -> Result<Self> {
        Ok(Self {
            binary: build("s3-train", "s3")?,
            how,
        })
    }

    pub(super) fn dtype(&self, row: &Row) -> &str {
        if row.only_f32 { "f32" } else { &self.how.dtype }
    }

    fn command(&self, job: &Job<'_>, start: Option<&Path>) -> Command {
        let mut command = Command::new(&self.binary);
        let file = format!("xtask/experiments/{}.toml", job.row.experiment());
        command.arg("train").arg(root().join(file));
        let mut set = |setting: &str| {
            command.args(["--set", setting]);
        };
        set(&format!("epochs={}", job.own_epochs()));
        set(&format!("seed={}", job.seed));
        set(&format!("dtype={}", self.dtype(job.row)));
        set(&format!(
            "snapshot_epochs={}",
            job.own_epochs().div_ceil(SNAPSHOTS)
        ));
        job.row.settings.iter().for_each(|s| set(s));
        if self.how.smoke {
            SMOKE.iter().for_each(|s| set(s));
        }
        if let Some(checkpoint) = start {
            set(&format!("init_from={}", json!(checkpoint)));
        }
        // The records are what a page is made of; `s3 report` writes a run's own when someone asks.
        command.arg("--no-report");
        command.arg("--out").arg(&self.how.out);
        if let Some(folder) = &self.how.data_dir {
            command.arg("--data-dir").arg(folder);
        }
        if let Some(threads) = self.how.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        command
    }

    /// The folder of a run, which also checks its configuration.
    pub(super) fn folder(&self, job: &Job<'_>, start: Option<&Path>) -> Result<PathBuf> {
        let mut command = self.command(job, start);
        let text = answer(command.arg("--dry-run")).with_context(|| job.row.name.to_owned())?;
        Ok(PathBuf::from(text.trim()))
    }

    /// Trains a run to its end; one that is there is taken as it is.
    pub(super) fn train(&self, job: &Job<'_>, start: Option<&Path>, resume: bool) -> Result<End> {
        let folder = self.folder(job, start)?;
        if is_finished(&folder) {
            return Ok(End::Finished(folder));
        }
        let mut command = self.command(job, start);
        if resume && folder.exists() {
            command.arg("--resume");
        }
        let (status, error) = watched(&mut command)?;
        Ok(match status.code() {
            Some(0) => End::Finished(folder),
            _ if stopped() => End::Stopped,
            Some(130) => End::Stopped,
            _ => {
                End::Refused(error.unwrap_or_else(|| format!("it ended without a word ({status})")))
            }
        })
    }

    /// What a finished run came to, with these keys of each layer.
    pub(super) fn record(&self, folder: &Path, layers: &[&str]) -> Result<Value> {
        let mut command = Command::new(&self.binary);
        command.arg("compare").arg(folder).arg("--json");
        if !layers.is_empty() {
            command.arg("--dynamics");
        }
        let text = answer(&mut command)?;
        let mut record: Value =
            serde_json::from_str(&text).context("the record of a run is no JSON")?;
        let found = record.get_mut("layers").and_then(Value::as_array_mut);
        for layer in found.into_iter().flatten() {
            if let Some(layer) = layer.as_object_mut() {
                // Of the continuous weight, where the method has no latent but that.
                if layers.contains(&"flips") {
                    let latents = layer.get("latents").and_then(Value::as_array);
                    let weight = latents.and_then(|l| l.iter().find(|l| l["name"] == "weight"));
                    let flips = weight.map(|l| l["flips"].clone()).unwrap_or_default();
                    layer.insert("flips".to_owned(), flips);
                }
                let always = ["name", "role", "epochs"];
                layer.retain(|key, _| always.contains(&&**key) || layers.contains(&&**key));
            }
        }
        Ok(record)
    }

    /// What every file that a finished run can become answers on the first `images` test images: in
    /// the packed runtime, in onnxruntime and, compiled, as C; at the smoke budget in the runtime
    /// alone.
    pub(super) fn files(&self, folder: &Path, images: u32) -> Result<Value> {
        let mut command = Command::new(&self.binary);
        command.arg("fidelity").arg(folder);
        command.args(["--json", "--calibration", "mse"]);
        command.args(["--images", &images.to_string()]);
        if let Some(folder) = &self.how.data_dir {
            command.arg("--data-dir").arg(folder);
        }
        if !self.how.smoke {
            let python = std::env::var_os("S3_BENCH_PYTHON");
            let python = python.unwrap_or_else(|| "python3".into());
            command.arg("--python").arg(python).args(["--cc", "cc"]);
        }
        let text = answer(&mut command)?;
        let answers: Value = serde_json::from_str(&text).context("no JSON of `s3 fidelity`")?;
        Ok(answers["networks"].clone())
    }

    /// Draws plots into a folder, each for a light and a dark page.
    pub(super) fn draw(&self, plots: &[Spec], folder: &Path) -> Result<()> {
        let mut file = tempfile::NamedTempFile::new().context("a file for the plots")?;
        serde_json::to_writer(&mut file, plots).context("writing the plots' numbers")?;
        let mut command = Command::new(&self.binary);
        command
            .arg("plot")
            .arg(file.path())
            .arg("--out")
            .arg(folder);
        answer(&mut command).map(drop)
    }
}

/// Whether a run's folder holds a finished run.
pub(super) fn is_finished(folder: &Path) -> bool {
    folder.join("summary.json").is_file() && folder.join("last.safetensors").is_file()
}

/// Set by Ctrl-C, which the trainings get too: they end after their step, and this command behind
/// them.
static STOP: AtomicBool = AtomicBool::new(false);

/// # Errors
/// A second call in a process.
pub(super) fn listen() -> Result<()> {
    ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed))
        .context("installing the Ctrl-C handler")
}

pub(super) fn stopped() -> bool {
    STOP.load(Ordering::Relaxed)
}

/// Runs a command, shows its words line by line, and keeps that of an error.
fn watched(command: &mut Command) -> Result<(ExitStatus, Option<String>)> {
    let mut child = command
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run s3 train")?;
    let words = child
        .stderr
        .take()
        .context("s3 train has no error output")?;
    let mut error = None;
    for line in BufReader::new(words).lines() {
        let line = line.context("reading the words of s3 train")?;
        eprintln!("{line}");
        error = line.strip_prefix("error: ").map(str::to_owned).or(error);
    }
    Ok((child.wait().context("waiting for s3 train")?, error))
}

/// What a command prints; its error is ours.
fn answer(command: &mut Command) -> Result<String> {
    let output = command.output().context("cannot run s3")?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        // Notes may stand before it.
        let error = words.lines().find(|line| line.starts_with("error: "));
        match error.or_else(|| words.trim().lines().next()) {
            Some(line) => bail!("{}", line.trim_start_matches("error: ")),
            None => bail!("s3 ended without a word ({})", output.status),
        }
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A file that appears whole.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().context("a file has a folder")?;
    let save = || -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.persist(path)?;
        Ok(())
    };
    save().with_context(|| format!("writing {}", path.display()))
}
