//! What the network of an experiment, or of a run, costs.

use super::{data_dir, experiment, note};
use anyhow::{Context, Result, ensure};
use candle_core::Device;
use clap::Args;
use s3_core::Params;
use s3_layers::Net;
use s3_metrics::cost::ModelCost;
use s3_metrics::cost::energy::EnergyModel;
use s3_train::config::Config;
use s3_train::data::{DataName, imagenet};
use s3_train::run::RunFolder;
use s3_train::summary::{image_of, model_cost};
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct SummaryArgs {
    /// The experiment, a TOML file, or a run's folder.
    experiment: PathBuf,
    /// Replaces a setting of the experiment.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    /// Folder of the data sets' files: a folder of pictures there says its classes [default: $S3_DATA_DIR, else
    /// data].
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

pub(crate) fn run(args: &SummaryArgs) -> Result<()> {
    let cost = match args.experiment.is_dir() {
        true => of_run(args)?,
        false => of_experiment(args)?,
    };
    let energy = cost.energy(&EnergyModel::default());
    if args.json {
        let mut all = serde_json::to_value(&cost)?;
        all["energy"] = serde_json::to_value(&energy)?;
        say!("{}", serde_json::to_string_pretty(&all)?);
    } else {
        say!("{}\n{}", cost.table(), energy.table());
    }
    Ok(())
}

/// As the run itself has counted: with its weights when it is finished, else with those of its start.
fn of_run(args: &SummaryArgs) -> Result<ModelCost> {
    let folder = RunFolder::open(&args.experiment)?;
    ensure!(
        args.overrides.is_empty(),
        "--set: {} is a run, whose settings are its own; --set is for an experiment's file",
        args.experiment.display()
    );
    let cost = folder.read_json("model.json")?;
    serde_json::from_value(cost).with_context(|| folder.file("model.json").display().to_string())
}

/// With freshly drawn weights.
fn of_experiment(args: &SummaryArgs) -> Result<ModelCost> {
    let config = Config::load(&experiment::find(&args.experiment)?, &args.overrides)?;
    let (image, mut classes) = image_of(&config.data);
    if config.data.name == DataName::Imagenet {
        let folder = data_dir(args.data_dir.as_ref());
        match imagenet::classes(&config.data, &folder)? {
            Some(names) if !names.is_empty() => classes = names.len(),
            _ => {
                let name = config.data.folder.as_deref().unwrap_or("imagenet");
                let train = folder.join(name).join("train");
                note([format!(
                    "{classes} classes are a guess, ImageNet's: there is no {} to count them in (--data-dir)",
                    train.display()
                )]);
            }
        }
    }
    let params = Params::new(config.seed, &Device::Cpu);
    let plan = config.plan(image, classes)?;
    let net = Net::new(&plan, config.activations()?, &config.method()?, &params)?;
    model_cost(&net)
}
