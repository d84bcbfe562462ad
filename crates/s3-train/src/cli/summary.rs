//! What the network of an experiment, or of a run, is made of and costs.

use super::experiment;
use super::folders::data_dir;
use crate::config::Config;
use crate::data::{DataName, arrays, imagenet};
use crate::memory::{self, Values};
use crate::network::Description;
use crate::run::RunFolder;
use crate::summary::{f32_alone, image_of, model_cost};
use crate::terminal::note;
use anyhow::{Context, Result, ensure};
use candle_core::Device;
use clap::Args;
use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use s3_core::Params;
use s3_layers::Net;
use s3_layers::model::{Act, Graph, Node, Op, Window};
use s3_layers::zoo::Plan;
use s3_metrics::cost::ModelCost;
use s3_metrics::cost::energy::EnergyModel;
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
    /// Folder of the data sets' files: a folder of pictures there says its classes, arrays say
    /// their sides as well [default: $S3_DATA_DIR, else data].
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

/// What a network is trained by, its nodes, where they are known, and what it costs.
type Summary = (Option<Config>, Option<Graph<Plan>>, ModelCost);

pub(crate) fn run(args: &SummaryArgs) -> Result<()> {
    let (config, graph, cost) = match args.experiment.is_dir() {
        true => of_run(args)?,
        false => of_experiment(args)?,
    };
    note(graph.as_ref().and_then(f32_alone));
    let energy = cost.energy(&EnergyModel::default());
    if args.json {
        let mut all = serde_json::to_value(&cost)?;
        all["energy"] = serde_json::to_value(&energy)?;
        all["graph"] = serde_json::to_value(&graph)?;
        say!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    if let Some(graph) = &graph {
        say!("{}", nodes(graph)?);
    }
    say!("{}\n{}", cost.table(), energy.table());
    if let (Some(config), Some(graph)) = (&config, &graph) {
        say!("{}", step(config, graph)?);
    }
    Ok(())
}

/// What the values of a training step take.
fn step(config: &Config, graph: &Graph<Plan>) -> Result<String> {
    let images = config.batch_size.div_ceil(config.micro_batches);
    let values = Values::of(graph, images, config.activations()?)?;
    Ok(format!(
        "step: the values of {images} images take {}, {} of them at once what one node reads and \
         makes",
        memory::shown(values.all),
        memory::shown(values.least)
    ))
}

/// Every node: what it does, what it reads, what it makes.
fn nodes(graph: &Graph<Plan>) -> Result<Table> {
    let sizes = graph.sizes()?;
    let value = |value: usize| match value.checked_sub(1) {
        Some(node) => graph.nodes[node].name.as_str(),
        None => "image",
    };
    let mut table = Table::new();
    table
        .load_style(UTF8_BORDERS_ONLY)
        .set_header(["node", "does", "reads", "makes"]);
    for (node, made) in graph.nodes.iter().zip(&sizes[1..]) {
        let reads: Vec<&str> = node.reads().map(value).collect();
        table.add_row([
            node.name.clone(),
            does(node),
            reads.join(", "),
            format!("{}x{}x{}", made.height, made.width, made.channels),
        ]);
    }
    Ok(table)
}

fn does(node: &Node<Plan>) -> String {
    let then = |act: Act| match act {
        Act::None => "",
        Act::Relu => ", relu",
        Act::Relu6 => ", relu6",
    };
    let window = |w: &Window| {
        let [height, width] = w.kernel;
        format!(
            "{height}x{width}, stride {}, padding {}",
            w.stride, w.padding
        )
    };
    let word = node.op.word();
    match &node.op {
        Op::Layer(layer) => {
            let [height, width] = layer.kernel;
            let mut text = match layer.holds.is_linear {
                true => "linear".to_owned(),
                false => format!("conv {height}x{width}, stride {}", layer.stride),
            };
            if layer.padding > 0 {
                text += &format!(", padding {}", layer.padding);
            }
            if layer.groups > 1 {
                text += &format!(", {} groups", layer.groups);
            }
            if let Some(norm) = &layer.holds.norm {
                text += &format!(", {norm}");
            }
            let sum = if layer.add.is_some() { ", add" } else { "" };
            text + sum + then(layer.act)
        }
        Op::Norm { act, .. } | Op::Add { act } => format!("{word}{}", then(*act)),
        Op::MaxPool(w) | Op::AvgPool(w) => format!("{word} {}", window(w)),
        Op::Pad { sides } => format!("{word} {sides:?}"),
        Op::Dropout(p) => format!("{word} {p}"),
        Op::Subsample { stride, .. } => format!("{word}, stride {stride}"),
        Op::Concat | Op::MeanPool { .. } | Op::Flatten => word.to_owned(),
    }
}

/// As the run itself has counted: with its weights when it is finished, else with those of its
/// start.
fn of_run(args: &SummaryArgs) -> Result<Summary> {
    let folder = RunFolder::open(&args.experiment)?;
    ensure!(
        args.overrides.is_empty(),
        "--set: {} is a run, whose settings are its own; --set is for an experiment's file",
        args.experiment.display()
    );
    let graph = Description::read(&folder)?.and_then(|seen| seen.graph);
    let cost = serde_json::from_value(folder.read_json("model.json")?)
        .with_context(|| folder.file("model.json").display().to_string())?;
    // That of another version may be refused.
    let config = Config::load(&folder.config(), &[]).ok();
    Ok((config, graph, cost))
}

/// With freshly drawn weights.
fn of_experiment(args: &SummaryArgs) -> Result<Summary> {
    let config = Config::load(&experiment::find(&args.experiment)?, &args.overrides)?;
    let folder = data_dir(args.data_dir.as_ref());
    let (image, mut classes) = match image_of(&config.data) {
        Some(known) => known,
        None => arrays::shape(&config.data, &folder)?,
    };
    if config.data.name == DataName::Imagenet {
        match imagenet::classes(&config.data, &folder)? {
            Some(names) if !names.is_empty() => classes = names.len(),
            _ => {
                let name = config.data.folder.as_deref().unwrap_or("imagenet");
                let train = folder.join(name).join("train");
                note([format!(
                    "{classes} classes are a guess, ImageNet's: there is no {} to count them in \
                     (--data-dir)",
                    train.display()
                )]);
            }
        }
    }
    let params = Params::new(config.seed, &Device::Cpu);
    let plan = config.plan(image, classes)?;
    let net = Net::new(&plan, config.activations()?, &config.method()?, &params)?;
    let cost = model_cost(&net)?;
    Ok((Some(config), Some(plan), cost))
}
