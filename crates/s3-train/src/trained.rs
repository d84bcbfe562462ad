//! A trained network, taken from its run's folder, and what it was trained on.

use crate::checkpoint;
use crate::config::Config;
use crate::data::{self, DataName, Splits};
use crate::device;
use crate::run::RunFolder;
use crate::train::{build, load_params};
use anyhow::{Context, Result, bail};
use candle_core::Device;
use s3_layers::ResNet;
use s3_layers::model::{Input, Network, Size};
use std::path::{Path, PathBuf};

/// A network with the parameters of a checkpoint.
pub struct Trained {
    /// The run's resolved configuration.
    pub config: Config,
    /// The network.
    pub net: ResNet,
    /// The data of the run.
    pub splits: Splits,
    /// The checkpoint's file.
    pub checkpoint: PathBuf,
    /// Where the parameters are.
    pub device: Device,
}

impl Trained {
    /// Reads `checkpoint` (`last`, `best` or a file) of the run in `folder`, and the run's data: mean and
    /// deviation of the training images are part of the network's input, and known from them alone. The
    /// network is on the run's device or, where there is none such, on the CPU.
    ///
    /// # Errors
    /// No run's folder, a checkpoint that is damaged or of another run, or no data.
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
        let splits = data::load(&config.data, data_dir)?;
        let (net, params) = build(&config, &splits.test, &device)?;
        load_params(&params, &tensors, &path)?;
        Ok(Self {
            config,
            net,
            splits,
            checkpoint: path,
            device,
        })
    }

    /// The frozen network with f32 activations, called `<network>-<data set>`.
    ///
    /// # Errors
    /// A layer whose weights cannot be packed, named with the reason.
    pub fn freeze(&self) -> Result<Network> {
        let data = &self.splits.train;
        let image = Size {
            height: data.height,
            width: data.width,
            channels: data.channels,
        };
        let input = Input {
            mean: data.mean.clone(),
            std: data.std.clone(),
            scale: 1.0,
        };
        let name = format!("{}-{}", self.config.model.name, self.config.data.name);
        self.net
            .freeze(&name, image, input, data.class_names.clone())
            .with_context(|| self.checkpoint.display().to_string())
    }
}

/// The data set that a frozen network's name ends with.
#[must_use]
pub fn data_of(network: &str) -> Option<DataName> {
    let (_, data) = network.rsplit_once('-')?;
    data.parse().ok()
}
