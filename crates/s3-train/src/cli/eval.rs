//! A run's network, or a packed one, on a test set.

use super::folders::{data_dir, data_dir_of};
use super::labels::{Labels, to_evaluate};
use super::packed_file;
use crate::data::{self, Broken, DataConfig, DataName};
use crate::eval::{self, Answers};
use crate::network::{fit_difference, normalisation_difference, take_labels};
use crate::packed;
use crate::terminal::{self, note};
use crate::trained::{Trained, data_of};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(crate) struct EvalArgs {
    /// A run's folder, or a packed network's file.
    run: PathBuf,
    /// `last`, `best` or a checkpoint file of the run [default: last].
    #[arg(long, value_name = "WHICH")]
    checkpoint: Option<String>,
    /// The data set of a packed network [default: the one its name ends with].
    #[arg(long, value_name = "NAME")]
    data: Option<DataName>,
    /// The folder of a packed network's pictures or arrays, below the data sets' folder [default:
    /// the data set's name].
    #[arg(long, value_name = "NAME")]
    folder: Option<String>,
    /// Evaluates a packed network on the first so many test images, as `data.test_limit` does its
    /// run [default: all].
    #[arg(long, value_name = "N")]
    test_limit: Option<usize>,
    /// `cpu` or `cuda:N` [default: what the run was trained on, else cpu].
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Whether a picture that cannot be decoded stops the evaluation, or is named, counted and left
    /// out: `stop` or `skip` [default: as the run was trained, else stop].
    #[arg(long, value_name = "WHAT")]
    broken: Option<Broken>,
    #[command(flatten)]
    labels: Labels,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
    /// Folder of the data sets' files [default: the one that the run was trained on, where it is
    /// still there, else $S3_DATA_DIR, else data].
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

/// Images an evaluation step of a packed network; changes no result.
const BATCH: usize = 100;

pub(crate) fn run(args: &EvalArgs) -> Result<()> {
    if args.run.is_file() {
        if let Some(device) = &args.device {
            bail!("--device {device}: a packed network runs on the CPU")
        }
        if let Some(checkpoint) = &args.checkpoint {
            bail!("--checkpoint {checkpoint}: a packed network has none, its run has")
        }
        let answers = of_file(args, &data_dir(args.data_dir.as_ref()))?;
        report(args, "file", &args.run, &answers);
        return Ok(());
    }
    if !args.run.exists() {
        bail!("{}: no such file or folder", args.run.display())
    }
    let of_packed = [
        ("data", args.data.is_some()),
        ("folder", args.folder.is_some()),
        ("test-limit", args.test_limit.is_some()),
    ];
    if let Some((option, _)) = of_packed.iter().find(|(_, is_given)| *is_given) {
        bail!("--{option}: a run is evaluated on its own data set, as its config says")
    }
    let data_dir = data_dir_of(&args.run, args.data_dir.as_ref());
    let device = args.device.as_deref();
    let checkpoint = args.checkpoint.as_deref().unwrap_or("last");
    let mut trained = Trained::open_on(device, &args.run, checkpoint, Some(&data_dir))?;
    note(trained.unfinished());
    if let Some(broken) = args.broken {
        trained.config.data.broken = broken;
    }
    let batch = trained.config.eval_batch_size;
    let test = to_evaluate(&trained, Some(&data_dir), &args.labels)?.test;
    let answers = eval::evaluate(&trained.net, &test, batch, &trained.device)?;
    report(args, "checkpoint", &trained.checkpoint, &answers);
    Ok(())
}

fn of_file(args: &EvalArgs, data_dir: &Path) -> Result<Answers> {
    let path = &args.run;
    let model = packed_file::load(path, "eval")?;
    let network = model.network();
    let name = &network.name;
    let data = args.data.or_else(|| data_of(name)).with_context(|| {
        format!(
            "{}: network {name} does not say its data set, give --data NAME",
            path.display()
        )
    })?;
    let mut config = DataConfig::of(data);
    config.folder.clone_from(&args.folder);
    config.test_limit = args.test_limit;
    config.broken = args.broken.unwrap_or_default();
    if data == DataName::Imagenet {
        config.size = Some(network.graph.image.height);
    }
    let mut test = data::load(&config, Some(data_dir))?.test;
    note(test.found());
    packed::check(network, &test)?;
    take_labels(&network.classes, &mut test, args.labels.other_classes)
        .with_context(|| path.display().to_string())?;
    let input = &network.input;
    note(normalisation_difference(&input.mean, &input.std, &test));
    note(fit_difference(input.fit, &test));
    packed::evaluate(&model, &test, BATCH)
}

fn report(args: &EvalArgs, what: &str, path: &Path, answers: &Answers) {
    let sums = &answers.accuracy;
    for line in &answers.skipped {
        note!("skipped: {}", terminal::line(line));
    }
    let (loss, top1, top5) = (sums.mean_loss(), sums.top1(), sums.top5());
    if args.json {
        let value = serde_json::json!({
            what: path.to_string_lossy(), "images": sums.n, "skipped": answers.skipped.len(),
            "loss": loss, "top1": top1, "top5": top5,
        });
        say!("{value}");
    } else {
        say!(
            "{} test images: loss {:.4}, top-1 {:.2} %, top-5 {:.2} % ({})",
            sums.n,
            loss.unwrap_or(f64::NAN),
            100.0 * top1.unwrap_or(f64::NAN),
            100.0 * top5.unwrap_or(f64::NAN),
            terminal::path(path)
        );
    }
}
