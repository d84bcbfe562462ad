//! A run's network, or a packed one, on a test set.

use super::data_dir;
use anyhow::{Context, Result, bail};
use clap::Args;
use s3_metrics::accuracy::Accuracy;
use s3_train::data::{self, DataConfig, DataName};
use s3_train::trained::{Trained, data_of};
use s3_train::{eval, packed};
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(crate) struct EvalArgs {
    /// A run's folder, or a packed network's file.
    run: PathBuf,
    /// `last`, `best` or a checkpoint file of the run.
    #[arg(long, default_value = "last")]
    checkpoint: String,
    /// The data set of a packed network [default: the one its name ends with].
    #[arg(long, value_name = "NAME")]
    data: Option<DataName>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
    /// Folder of the data sets' files [default: $S3_DATA_DIR, else data].
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

/// Images an evaluation step of a packed network; changes no result.
const BATCH: usize = 100;

pub(crate) fn run(args: &EvalArgs) -> Result<()> {
    let data_dir = data_dir(args.data_dir.as_ref());
    if args.run.is_file() {
        let sums = of_file(&args.run, args.data, &data_dir)?;
        report(args, "file", &args.run, &sums);
        return Ok(());
    }
    if !args.run.exists() {
        bail!("{}: no such file or folder", args.run.display())
    }
    if let Some(data) = args.data {
        bail!("--data {data}: a run is evaluated on its own data set")
    }
    let trained = Trained::open(&args.run, &args.checkpoint, Some(&data_dir))?;
    let batch = trained.config.eval_batch_size;
    let answers = eval::evaluate(&trained.net, &trained.splits.test, batch, &trained.device)?;
    report(args, "checkpoint", &trained.checkpoint, &answers.accuracy);
    Ok(())
}

fn of_file(path: &Path, data: Option<DataName>, data_dir: &Path) -> Result<Accuracy> {
    let model = packed::load(path)?;
    let name = &model.network().name;
    let data = data.or_else(|| data_of(name)).with_context(|| {
        format!(
            "{}: network {name} does not say its data set, give --data NAME",
            path.display()
        )
    })?;
    let splits = data::load(&DataConfig::of(data), Some(data_dir))?;
    Ok(packed::evaluate(&model, &splits.test, BATCH)?.accuracy)
}

fn report(args: &EvalArgs, what: &str, path: &Path, sums: &Accuracy) {
    let (loss, top1, top5) = (sums.mean_loss(), sums.top1(), sums.top5());
    if args.json {
        let value = serde_json::json!({
            what: path, "images": sums.n, "loss": loss, "top1": top1, "top5": top5,
        });
        say!("{value}");
    } else {
        say!(
            "{} test images: loss {:.4}, top-1 {:.2} %, top-5 {:.2} % ({})",
            sums.n,
            loss.unwrap_or(f64::NAN),
            100.0 * top1.unwrap_or(f64::NAN),
            100.0 * top5.unwrap_or(f64::NAN),
            path.display()
        );
    }
}
