//! The sittings of a run: who trained it, with what, and for how long.

use super::folder::RunFolder;
use crate::config::Config;
use crate::data::DataName;
use crate::digest::sha256;
use anyhow::{Result, bail};
use candle_core::Device;
use s3_core::backend::is_fused;
use s3_metrics::finished::cpu_of;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// One sitting of a run in `manifest.json`: where, with what and for how long it was trained. A run
/// that is stopped and resumed has several; one that was killed has no wall time.
#[derive(Debug)]
pub struct Sitting {
    folder: RunFolder,
    began: Instant,
}

impl Sitting {
    /// Adds a sitting of `ranks` processes that begins at `step` and reads data sets in `data_dir`,
    /// which is kept where the data of `config` has files and the folder a name in UTF-8.
    ///
    /// # Errors
    /// `manifest.json` cannot be read or written.
    pub fn begin(
        config: &Config,
        folder: &RunFolder,
        command: &[String],
        step: u64,
        ranks: usize,
        data_dir: Option<&Path>,
    ) -> Result<Self> {
        let has_files = config.data.name != DataName::Shapes;
        let data_dir = data_dir.filter(|_| has_files);
        let data_dir = data_dir.and_then(|folder| std::fs::canonicalize(folder).ok());
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let sitting = json!({
            "program": format!("s3 {}", env!("CARGO_PKG_VERSION")),
            "git_revision": git(&["rev-parse", "HEAD"]),
            "git_dirty": git(&["status", "--porcelain",
            "--untracked-files=no"]).map(|s| !s.is_empty()),
            "lock_sha256": std::fs::read(here.join("../../Cargo.lock")).ok().map(|b| sha256(&b)),
            "cpu": cpu_name(),
            "isa": s3_layers::ops::instruction_set(config.activations()?)?,
            "ranks": ranks,
            "device": config.device,
            "ops": if is_fused(&Device::Cpu) { "fused" } else { "composed" },
            "threads": rayon::current_num_threads(),
            "command": command,
            "data_dir": data_dir.as_deref().and_then(Path::to_str),
            "from_step": step,
            "began_unix": SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
            "wall_seconds": null,
        });
        let this = Self {
            folder: folder.clone(),
            began: Instant::now(),
        };
        this.change(|sittings| sittings.push(sitting))?;
        Ok(this)
    }

    /// Writes how long it took.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn end(self) -> Result<()> {
        let seconds = self.began.elapsed().as_secs_f64();
        self.change(|sittings| {
            if let Some(last) = sittings.last_mut() {
                last["wall_seconds"] = json!(seconds);
            }
        })
    }

    fn change(&self, f: impl FnOnce(&mut Vec<Value>)) -> Result<()> {
        let mut manifest = self.folder.read_json("manifest.json")?;
        match manifest.get_mut("sittings").and_then(Value::as_array_mut) {
            Some(sittings) => f(sittings),
            None => bail!(
                "{}: no sittings in manifest.json",
                self.folder.root().display()
            ),
        }
        self.folder.write_json("manifest.json", &manifest)
    }
}

fn git(args: &[&str]) -> Option<String> {
    let out = std::process::Command::new("git")
        .arg("-C")
        .arg(env!("CARGO_MANIFEST_DIR"))
        .args(args)
        .output()
        .ok()?;
    out.status
        .success()
        .then(|| String::from_utf8_lossy(&out.stdout).trim().to_string())
}

fn cpu_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    cpu_of(&text).unwrap_or_else(|| std::env::consts::ARCH.to_string())
}
