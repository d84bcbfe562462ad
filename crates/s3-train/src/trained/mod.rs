//! A trained network, taken from its run's folder, and the data at hand beside what it was trained
//! on.

pub mod input;
pub mod packed;

use crate::config::Config;
use crate::data::{self, DataName, Splits};
use crate::given::Given;
use crate::lock;
use crate::run::checkpoint::{self, Position};
use crate::run::device;
use crate::run::network::{self, Description, check_images, take_labels};
use crate::run::parameters::{build, load_params};
use crate::run::{RunFolder, data_record, hold_out};
use anyhow::{Context, Result, bail};
use candle_core::Device;
use s3_layers::Net;
use s3_layers::model::{Fit, Input, Network};
use s3_metrics::record::{EpochRecord, read_whole_lines};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A network with the parameters of a checkpoint.
pub struct Trained {
    /// The run's resolved configuration.
    pub config: Config,
    /// The network.
    pub net: Net,
    /// What it sees and what its answers are called.
    pub description: Description,
    /// The checkpoint's file.
    pub checkpoint: PathBuf,
    /// Where the parameters are.
    pub device: Device,
    folder: RunFolder,
    /// Where the folder does not describe the network: the data that does.
    described_by: Option<Splits>,
    /// Where training stood when the checkpoint was written.
    position: Position,
    /// Where the checkpoint has no checksum: a line that says so.
    unverified: Option<String>,
}

impl fmt::Debug for Trained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Trained");
        shown.field("checkpoint", &self.checkpoint);
        shown.field("net", &self.net);
        shown.field("description", &self.description);
        shown.field("position", &self.position);
        shown.finish_non_exhaustive()
    }
}

/// The data set that lies at hand, normalised as a run's network wants it.
#[derive(Debug)]
pub struct AtHand {
    /// Its images and labels, with the run's mean and deviation.
    pub splits: Splits,
    /// Where it is another than what the run was trained on: a line that says in what.
    pub differs: Option<String>,
}

impl Trained {
    /// Reads `checkpoint` (`last`, `best` or a file) of the run in `folder`. The network is on the
    /// run's device or, where there is none such, on the CPU. `data_dir` is of use only to a run of
    /// an older version ([`warnings`](Self::warnings)).
    ///
    /// # Errors
    /// No run's folder, a checkpoint that is damaged or of another run, a damaged `network.json`,
    /// or none and other data than the run's.
    pub fn open(folder: &Path, checkpoint: &str, data_dir: Option<&Path>) -> Result<Self> {
        Self::open_on(None, folder, checkpoint, data_dir)
    }

    /// [`open`](Self::open) with the network on `device`, where one is named.
    ///
    /// # Errors
    /// As [`open`](Self::open), and no such device.
    pub fn open_on(
        device: Option<&str>,
        folder: &Path,
        checkpoint: &str,
        data_dir: Option<&Path>,
    ) -> Result<Self> {
        let folder = RunFolder::open(folder)?;
        let config = Config::load(&folder.config(), &[])?;
        let device = match device {
            Some(name) => device::open(name)?,
            None => device::open_or_cpu(&config.device)?,
        };
        let path = match checkpoint {
            "last" => folder.last(),
            "best" => folder.best(),
            file => PathBuf::from(file),
        };
        check_checkpoint(&path, checkpoint)?;
        let (header, tensors) = checkpoint::load(&path)?;
        let method = config
            .method
            .get("name")
            .and_then(toml::Value::as_str)
            .unwrap_or_default();
        header.check(&path, &config.model.name, method, None)?;
        // Runs of one configuration differ in nothing but the seed, the name's last part.
        let unseeded = |name: &str| name.rsplit_once("-s").map(|(n, _)| n.to_string());
        let run = config.run_name()?.display().to_string();
        if unseeded(&header.run) != unseeded(&run) {
            bail!(
                "{}: a checkpoint of run {}, expected one of {run}",
                path.display(),
                header.run
            )
        }
        let (description, described_by) = match Description::read(&folder)? {
            Some(description) => (description, None),
            None => {
                let splits = data::load(&config.data, data_dir)?;
                (Description::of(&splits.train), Some(splits))
            }
        };
        let plan = match &description.graph {
            Some(graph) => graph,
            None => &config.plan(description.input.size(), description.classes.len())?,
        };
        let (net, params) = build(&config, plan, &device)?;
        load_params(&params, &tensors, &path)?;
        let trained = Self {
            config,
            net,
            description,
            unverified: header.warning(&path),
            position: header.position,
            checkpoint: path,
            device,
            folder,
            described_by,
        };
        // Class names are then read from this data: of other data they would be wrong without a
        // word.
        if let Some(splits) = &trained.described_by {
            let other = trained.other_images(splits).with_context(|| {
                let folder = trained.folder.root().display();
                format!(
                    "{folder}: no {}, and whether the data at hand names its classes is not known",
                    network::FILE
                )
            })?;
            if !other.is_empty() {
                bail!(
                    "{}: no {}, and the data at hand, which should name the classes, is not what \
                     the run was trained on: {}",
                    trained.folder.root().display(),
                    network::FILE,
                    other.join("; ")
                )
            }
        }
        Ok(trained)
    }

    /// Lines on what a run of an older version lacks: a checksum in its checkpoint, or a
    /// description of the network in its folder; class names, mean, deviation and image size are
    /// then those of the data at hand.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let (folder, file) = (self.folder.root().display(), network::FILE);
        let described_by = self.described_by.as_ref().map(|splits| {
            format!(
                "{folder}: no {file}, a run of an older version: class names, mean and std are \
                 read from {}",
                splits.train.name
            )
        });
        self.unverified
            .iter()
            .cloned()
            .chain(described_by)
            .collect()
    }

    /// A line where the run's training did not end yet and this is its last checkpoint: how far
    /// that is.
    #[must_use]
    pub fn unfinished(&self) -> Option<String> {
        let (epochs, at) = (self.config.epochs, &self.position);
        if at.epoch >= epochs || self.checkpoint != self.folder.last() {
            return None;
        }
        let state = match lock::is_held(self.folder.root()) {
            true => "in training",
            false => "stopped before its end",
        };
        let within = match at.step_in_epoch {
            0 => String::new(),
            steps => format!(" and {steps} steps"),
        };
        Some(format!(
            "{}: {state}: this is its last checkpoint, after epoch {} of {epochs}{within}",
            self.folder.root().display(),
            at.epoch
        ))
    }

    /// The run's data set as it lies in `data_dir`. Labels may mean something else by now:
    /// [`to_evaluate`](Self::to_evaluate) is for those who read them.
    ///
    /// # Errors
    /// No data, or images of another shape or of other numbers than the network takes.
    pub fn data(&self, data_dir: Option<&Path>) -> Result<AtHand> {
        let mut splits = match &self.described_by {
            Some(splits) => splits.clone(),
            None => data::load(&self.config.data, data_dir)?,
        };
        let input = &self.description.input;
        for split in [&splits.train, &splits.test] {
            check_images(&self.name(), input.shape(), input.numbers, split)?;
        }
        let differs = self.differs(&splits);
        for split in [&mut splits.train, &mut splits.test] {
            if (&split.mean, &split.std) != (&input.mean, &input.std) {
                let own = Arc::make_mut(split);
                own.mean.clone_from(&input.mean);
                own.std.clone_from(&input.std);
            }
        }
        Ok(AtHand { splits, differs })
    }

    /// [`data`](Self::data) whose labels mean what the network's answers mean, as
    /// [`take_labels`] has it.
    ///
    /// # Errors
    /// As [`data`](Self::data) and [`take_labels`].
    pub fn to_evaluate(&self, data_dir: Option<&Path>, other_classes: bool) -> Result<AtHand> {
        let mut at_hand = self.data(data_dir)?;
        let Splits { train, test } = &mut at_hand.splits;
        for split in [train, test] {
            take_labels(&self.description.classes, split, other_classes)
                .with_context(|| self.folder.root().display().to_string())?;
        }
        Ok(at_hand)
    }

    /// In what the data at hand is another than the run's.
    fn differs(&self, splits: &Splits) -> Option<String> {
        let mut found = self.description.differences(&splits.train);
        // Of other images alone nothing else tells.
        let (folder, name) = (self.folder.root().display(), self.config.data.name);
        if found.is_empty() {
            match self.other_images(splits) {
                Ok(other) => found = other,
                Err(e) => {
                    return Some(format!(
                        "{folder}: whether the {name} data at hand is what the run was trained on \
                         is not known: {e:#}"
                    ));
                }
            }
        }
        let line = found.join("; ");
        (!line.is_empty()).then(|| {
            format!("{folder}: the {name} data at hand is not what the run was trained on: {line}")
        })
    }

    /// The splits whose images are others than those of the manifest; `Err` where it cannot be
    /// read.
    fn other_images(&self, splits: &Splits) -> Result<Vec<String>> {
        let manifest = self.folder.read_json("manifest.json")?;
        let Ok((train, _)) = hold_out(splits.train.clone(), self.config.validation_images) else {
            let text = "fewer training images than validation_images holds out";
            return Ok(vec![text.to_owned()]);
        };
        let (then, here) = (&manifest["data"], data_record(&train, &splits.test));
        let keys = [("train_sha256", "training"), ("test_sha256", "test")];
        let other = keys.iter().filter(|(key, _)| then[key] != here[key]);
        let other = other.map(|(_, what)| format!("other {what} images than manifest.json says"));
        Ok(other.collect())
    }

    /// `<network>-<data set>`.
    fn name(&self) -> String {
        format!("{}-{}", self.config.model.name, self.config.data.name)
    }

    /// The frozen network with f32 activations, called `<network>-<data set>`.
    ///
    /// # Errors
    /// A layer whose weights cannot be packed, named with the reason; a test loss of this
    /// checkpoint that is not finite, by the lines of the run: such a network answers nothing.
    pub fn freeze(&self) -> Result<Network> {
        let lines = read_whole_lines::<EpochRecord>(&self.folder.file("epochs.jsonl"));
        let mut lines = lines.unwrap_or_default().into_iter();
        let of_checkpoint = lines.find(|line| line.step == self.position.step);
        if let Some(loss) = of_checkpoint.and_then(|line| line.test_loss)
            && !loss.is_finite()
        {
            let path = self.checkpoint.display();
            bail!(
                "{path}: its test loss was {loss}: training diverged, and there is nothing to \
                 freeze"
            )
        }
        let Description { input, classes, .. } = &self.description;
        // Files that say nothing are of images as they are.
        let fit = Some(input.fit).filter(|&fit| fit != Fit::AsIs {});
        let input = Input {
            mean: input.mean.clone(),
            std: input.std.clone(),
            scale: 1.0,
            numbers: input.numbers,
            fit,
        };
        self.net
            .freeze(&self.name(), input, classes.clone())
            .with_context(|| self.checkpoint.display().to_string())
    }
}

/// Says what stands at the place of a checkpoint, called `name`, where it is something else.
fn check_checkpoint(path: &Path, name: &str) -> Result<()> {
    let shown = path.display();
    match Given::at(path) {
        Given::Nothing if name == "best" => bail!(
            "{shown}: no such file: training keeps the best checkpoint of a run with \
             validation_images"
        ),
        Given::Nothing => bail!("{shown}: no such file"),
        Given::Run => bail!(
            "{shown}: a run's folder, no checkpoint; its last one is {}",
            path.join("last.safetensors").display()
        ),
        Given::Packed => {
            bail!("{shown}: a packed network, no checkpoint; `s3 eval {shown}` evaluates it")
        }
        given @ (Given::Folder | Given::Experiment) => {
            bail!("{shown}: {}, no checkpoint", given.words())
        }
        // A damaged one is said so where it is read.
        Given::Checkpoint(_) | Given::Endless | Given::Other => Ok(()),
    }
}

/// The data set that a frozen network's name ends with.
#[must_use]
pub fn data_of(network: &str) -> Option<DataName> {
    let (_, data) = network.rsplit_once('-')?;
    data.parse().ok()
}
