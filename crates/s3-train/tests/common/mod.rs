//! A run of seconds, and the `s3` program around it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) const TINY: &str = r#"
    experiment = "tiny"
    epochs = 3
    batch_size = 32
    snapshot_epochs = 1
    data = {name = "shapes", train_limit = 160, test_limit = 50, augment = {pad = 2, flip = true}}
    model = { name = "resnet8" }
    method = { name = "s3", bits = 3, init = "low_variance" }
    optimizer = { name = "sgd", momentum = 0.9, weight_decay = 1e-4 }
    lr = { schedule = "cosine", start = 0.1 }
    alpha = { schedule = "linear", start = 1e-4 }
"#;

/// A folder with `tiny.toml` in it.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(dir.path().join("tiny.toml"), TINY).expect("tiny.toml");
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn s3(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_s3"));
        command
            .current_dir(self.dir.path())
            .args(args)
            .env_remove("RAYON_NUM_THREADS");
        command
    }

    /// `s3 train tiny.toml --out OUT` and `more`.
    pub(crate) fn train(&self, out: &str, more: &[&str]) -> Command {
        let mut command = self.s3(&["train", "tiny.toml", "--out", out]);
        command.args(more);
        command
    }

    /// The one run folder below `out`.
    pub(crate) fn run(&self, out: &str) -> PathBuf {
        let mut runs: Vec<PathBuf> = std::fs::read_dir(self.path(out))
            .expect("the out folder")
            .map(|e| e.expect("an entry").path())
            .collect();
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs.remove(0)
    }
}

pub(crate) fn succeed(command: &mut Command) -> String {
    let out = command.output().expect("s3 starts");
    assert!(out.status.success(), "{}", text(&out));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// The one line of a refusal, behind what was said of the data.
pub(crate) fn refusal(command: &mut Command) -> String {
    let out = command.output().expect("s3 starts");
    assert_eq!(out.status.code(), Some(1), "{}", text(&out));
    let stderr = String::from_utf8_lossy(&out.stderr).trim().to_string();
    let mut lines = stderr.lines().filter(|line| !is_inventory(line));
    let (line, more) = (lines.next().unwrap_or_default(), lines.next());
    assert!(line.starts_with("error: ") && more.is_none(), "{stderr}");
    line.to_owned()
}

/// Whether a line says which images a folder holds, as `train`, `eval` and their like do once.
pub(crate) fn is_inventory(line: &str) -> bool {
    line.starts_with("note: ") && line.contains(" pictures of ") && line.contains(" classes")
}

fn text(out: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    )
}

/// The files that must not depend on interruptions or threads.
pub(crate) fn assert_same_results(a: &Path, b: &Path, why: &str) {
    for file in [
        "config.toml",
        "epochs.jsonl",
        "dynamics.jsonl",
        "last.safetensors",
        "model.json",
    ] {
        let read = |run: &Path| std::fs::read(run.join(file)).expect(file);
        assert!(read(a) == read(b), "{why}: {file} differs");
    }
}
