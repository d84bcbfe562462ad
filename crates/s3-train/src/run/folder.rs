//! A run's folder: what is in it, and that it belongs to this run.
//!
//! `config.toml` (resolved), `manifest.json`, `network.json`, `model.json` (cost), `epochs.jsonl`,
//! `dynamics.jsonl`, `timing.jsonl`, `last.safetensors`, `best.safetensors` (with a validation
//! split only), `summary.json`, `report.html`, `lock`.

use super::pretrained;
use crate::config::Config;
use crate::data::{Dataset, fingerprint};
use crate::digest::sha256;
use crate::files::{is_unfinished, open_regular, read_regular, write_atomically};
use crate::given::{CONFIG, Given, is_run, runs_below};
use crate::keys;
use crate::lock::Lock;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What the training of a run writes into its folder, and nothing else does.
const OWN: [&str; 11] = [
    CONFIG,
    "manifest.json",
    "network.json",
    "model.json",
    "epochs.jsonl",
    "dynamics.jsonl",
    "timing.jsonl",
    "last.safetensors",
    "best.safetensors",
    "summary.json",
    "lock",
];

/// Refuses to write what was made of a run over what it was made of.
///
/// # Errors
/// `path` names one of the files that training keeps in a run's folder, also through a link, or is
/// a checkpoint, a packed network or an experiment and not what the command `replaces`: one line
/// that names it.
///
/// ```
/// use s3_train::given::Given;
/// use s3_train::run::check_output;
///
/// # let dir = tempfile::tempdir()?;
/// # let run = dir.path();
/// std::fs::write(run.join("config.toml"), "")?;
/// let last = run.join("last.safetensors");
/// let line = check_output(&last, &Given::Packed).unwrap_err().to_string();
/// assert!(line.contains("last.safetensors: a file that training keeps in the run "));
/// assert!(check_output(&run.join("report.html"), &Given::Other).is_ok());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn check_output(path: &Path, replaces: &Given) -> Result<()> {
    let shown = path.display();
    let behind_links = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    for path in [path, &behind_links] {
        let is_own = OWN
            .iter()
            .any(|own| path.file_name() == Some((*own).as_ref()));
        let run = path.parent().filter(|folder| is_own && was_run(folder));
        if let Some(run) = run {
            let run = if run == Path::new("") {
                Path::new(".")
            } else {
                run
            };
            let run = run.display();
            bail!("{shown}: a file that training keeps in the run {run}, which is not replaced")
        }
    }
    match Given::at(path) {
        given if given == *replaces => Ok(()),
        Given::Checkpoint(_) => bail!("{shown}: a checkpoint, which is not replaced"),
        given @ (Given::Packed | Given::Experiment) => {
            bail!("{shown}: {}, which is not replaced", given.words())
        }
        _ => Ok(()),
    }
}

/// Whether training wrote this folder, also where its configuration is gone.
fn was_run(folder: &Path) -> bool {
    is_run(folder) || folder.join("manifest.json").is_file()
}

/// Bytes that a JSON file of a run may have.
const MAX_JSON: u64 = 1 << 28;

/// The paths of a run's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    root: PathBuf,
}

impl RunFolder {
    /// The folder of `config` below `out`; nothing is created.
    ///
    /// # Errors
    /// None that a loaded configuration can meet.
    pub fn of(config: &Config, out: &Path) -> Result<Self> {
        Ok(Self {
            root: out.join(config.run_name()?),
        })
    }

    /// An existing run's folder.
    ///
    /// # Errors
    /// The folder holds no `config.toml`, or something else was given: it is named.
    pub fn open(root: &Path) -> Result<Self> {
        let shown = root.display();
        match Given::at(root) {
            Given::Run => Ok(Self {
                root: root.to_path_buf(),
            }),
            Given::Nothing => bail!("{shown}: no such folder"),
            Given::Folder => {
                if let Err(e) = std::fs::metadata(root.join(CONFIG))
                    && e.kind() == ErrorKind::PermissionDenied
                {
                    bail!("{shown}: the folder cannot be read: {e}")
                }
                let runs = runs_below(root).runs;
                let hint = runs
                    .first()
                    .map(|run| format!("; {} is one", run.display()));
                bail!(
                    "{shown}: not a run's folder (no config.toml in it){}",
                    hint.unwrap_or_default()
                )
            }
            given @ Given::Packed => bail!(
                "{shown}: {}, not a run's folder (`eval` and `infer` read it)",
                given.words()
            ),
            given => bail!("{shown}: {}, not a run's folder", given.words()),
        }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `config.toml`.
    pub fn config(&self) -> PathBuf {
        self.root.join(CONFIG)
    }

    /// Any file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// `last.safetensors`.
    pub fn last(&self) -> PathBuf {
        self.file("last.safetensors")
    }

    /// `best.safetensors`.
    pub fn best(&self) -> PathBuf {
        self.file("best.safetensors")
    }

    /// Makes the folder for `config`, or takes it up again.
    ///
    /// Returns a lock that keeps other processes out while it lives, and whether there is a
    /// checkpoint to go on from.
    ///
    /// # Errors
    /// The folder holds this run already and `resume` is not set; it holds something else; another
    /// process trains it; or it cannot be written.
    pub fn claim(&self, config: &Config, resume: bool) -> Result<(Lock, bool)> {
        let text = config.to_toml()?;
        let name = self.root.display();
        if self.config().is_file() {
            let found = std::fs::read_to_string(self.config())
                .with_context(|| format!("reading {}", self.config().display()))?;
            let found = without_comments(&found);
            if found != text && !is_elsewhere(&found, config, &text) {
                bail!("{name}: the folder holds another run (its config.toml differs)")
            }
            if !resume {
                bail!(
                    "{name}: this run exists already; --resume goes on with it, --out DIR or --set \
                     seed=N starts another"
                )
            }
            return Ok((self.lock()?, self.has_checkpoint()?));
        }
        let foreign = |e: std::io::Result<std::fs::DirEntry>| {
            e.is_ok_and(|e| !is_unfinished(&e.file_name()) && e.file_name() != "lock")
        };
        if std::fs::read_dir(&self.root).is_ok_and(|mut d| d.any(foreign)) {
            bail!("{name}: the folder holds files of something else (no config.toml in it)")
        }
        std::fs::create_dir_all(&self.root).with_context(|| format!("creating {name}"))?;
        let whole = text + &keys::left_out(&toml::Table::try_from(config)?)?;
        write_atomically(&self.config(), whole.as_bytes())?;
        Ok((self.lock()?, false))
    }

    /// Whether there is a checkpoint to go on from. What stands in its place, or a link that leads
    /// nowhere, is no reason to begin again.
    fn has_checkpoint(&self) -> Result<bool> {
        let last = self.last();
        if last.symlink_metadata().is_err() {
            return Ok(false);
        }
        open_regular(&last).with_context(|| format!("reading {}", last.display()))?;
        Ok(true)
    }

    fn lock(&self) -> Result<Lock> {
        Lock::take(&self.root, "another process trains this run")
    }

    /// The folder of the data sets that the run's last sitting read, where `manifest.json` says
    /// one.
    pub fn data_dir(&self) -> Option<PathBuf> {
        let manifest = self.read_json("manifest.json").ok()?;
        let sittings = manifest["sittings"].as_array()?.iter().rev();
        let said = sittings.filter_map(|sitting| sitting["data_dir"].as_str());
        said.map(PathBuf::from).next()
    }

    /// Reads a JSON file of the folder.
    ///
    /// # Errors
    /// It cannot be read, is no regular file or no JSON; the message names it.
    pub fn read_json(&self, name: &str) -> Result<Value> {
        let path = self.file(name);
        let bytes = read_regular(&path, MAX_JSON);
        let bytes = bytes.with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
    }

    /// Writes a JSON file of the folder, indented.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_json(&self, name: &str, value: &impl serde::Serialize) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(value)?;
        text.push(b'\n');
        write_atomically(&self.file(name), &text)
    }
}

/// What `manifest.json` says of a run's data: `train` without the images that are held out.
pub(crate) fn data_record(train: &Dataset, test: &Dataset) -> Value {
    json!({
        "name": train.name,
        "train_images": train.len(),
        "test_images": test.len(),
        "train_sha256": fingerprint(train),
        "test_sha256": fingerprint(test),
    })
}

/// `config` with the SHA-256 of its `init_from` file, by which its run is named.
///
/// A run of an older version is named by the file's path. One that is in `out` goes on under that
/// name, where its manifest says that it started from the file as it is, or the file is gone.
///
/// # Errors
/// The file cannot be read; the message names it.
pub fn pinned(config: &Config, out: &Path) -> Result<Config> {
    let mut config = config.clone();
    let (Some(file), None) = (&config.init_from, &config.init_sha256) else {
        return Ok(config);
    };
    let manifest = RunFolder::of(&config, out)?.read_json("manifest.json");
    let older = manifest.ok().map(|m| m["init_from_sha256"].clone());
    let found = pretrained::read_file(file);
    match (found.map(|bytes| sha256(&bytes)), older) {
        (Ok(found), Some(older)) if older == json!(found) => {}
        (Err(_), Some(_)) => {}
        (found, _) => config.init_sha256 = Some(found?),
    }
    Ok(config)
}

/// The settings of a `config.toml`, without the comments behind them.
fn without_comments(text: &str) -> String {
    let settings = text.split_once(keys::COMMENTS).map_or(text, |both| both.0);
    settings.to_string()
}

/// Whether the run that was `found` is this one on another device, or with its file to start from
/// elsewhere.
fn is_elsewhere(found: &str, config: &Config, text: &str) -> bool {
    let here = format!("device={}", config.device);
    let moved = Config::parse(found, &[here], "").and_then(|mut found| {
        if found.init_sha256.is_some() {
            found.init_from.clone_from(&config.init_from);
        }
        found.to_toml()
    });
    moved.is_ok_and(|moved| moved == text)
}
