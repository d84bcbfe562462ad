//! Images a second of one whole training step: forward, cross-entropy, penalty, backward, SGD with
//! momentum 0.9 and weight decay 1e-4, on one synthetic batch, no data loading.
//!
//! Prints one JSON line (`{"bench":"train_step",..}`); the number of threads is
//! `RAYON_NUM_THREADS`.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its line")]

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};
use clap::Parser;
use s3_core::penalty::objective;
use s3_core::{Params, Role};
use s3_layers::model::{Graph, Size};
use s3_layers::zoo::{self, Plan, Settings};
use s3_layers::{Mode, Net};
use s3_quant::ByRole;
use s3_train::loss::cross_entropy;
use s3_train::optim::{Optimizer, OptimizerConfig};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One measurement.
#[derive(Parser)]
struct Args {
    /// A name of the list of architectures.
    #[arg(long, visible_alias = "network", default_value = "resnet20")]
    model: String,
    /// fp32, s3 or twn.
    #[arg(long, default_value = "s3")]
    method: String,
    /// Bits of s3.
    #[arg(long, default_value_t = 3)]
    bits: i64,
    /// Images a step.
    #[arg(long, default_value_t = 128)]
    batch: usize,
    /// The architecture's setting of this name: channels of the first stage, or a factor of all.
    #[arg(long)]
    width: Option<serde_json::Number>,
    /// Pixels of an image's side, instead of 224 for the large ResNets and 32 for the others.
    #[arg(long)]
    side: Option<usize>,
    /// f32 or bf16: the type of activations and their gradients.
    #[arg(long, default_value = "f32")]
    dtype: String,
    /// Steps that are timed.
    #[arg(long, default_value_t = 12)]
    steps: usize,
    /// Steps before them.
    #[arg(long, default_value_t = 3)]
    warmup: usize,
    /// Prints the network and measures nothing: what another program needs to build the same.
    #[arg(long)]
    describe: bool,
    /// Also prints where the step's time goes.
    #[arg(long)]
    phases: bool,
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Memory of this process, in MB; 0 where /proc is not there to say.
fn resident_mb() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|p| p.parse().ok());
    pages.map_or(0, |pages: u64| pages * 4096 / 1_000_000)
}

fn main() -> Result<()> {
    let args = Args::parse();
    // As the training loop does: on a worker, so that a parallel loop needs no hand-over.
    rayon::scope(|_| measure(&args))
}

/// The network that is asked for.
fn plan(args: &Args) -> Result<Graph<Plan>> {
    let large = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"];
    let (side, classes) = if large.contains(&args.model.as_str()) {
        (224, 1000)
    } else {
        (32, 10)
    };
    let side = args.side.unwrap_or(side);
    let image = Size {
        height: side,
        width: side,
        channels: 3,
    };
    let mut settings = Settings::new();
    let width = args.width.clone();
    settings.extend(width.map(|width| ("width".to_owned(), width.into())));
    Ok(zoo::graph(&args.model, &settings, image, classes)?)
}

fn measure(args: &Args) -> Result<()> {
    let plan = plan(args)?;
    let sizes = plan.sizes()?;
    let width = plan.layers().next().map(|(_, layer)| layer.channels);
    if args.describe {
        let line = serde_json::json!({ "graph": plan, "sizes": sizes, "width": width });
        println!("{line}");
        return Ok(());
    }
    let classes = sizes.last().map_or(0, |scores| scores.channels);
    let mut table = toml::Table::new();
    table.insert("name".into(), args.method.clone().into());
    // A method that cannot be built without them wants the bits.
    let has_bits = s3_quant::build(&table).is_err();
    if has_bits {
        table.insert("bits".into(), args.bits.into());
    }
    let method = ByRole {
        method: s3_quant::build(&table)?.method,
        full_precision: vec![Role::First, Role::Last],
    };
    let device = Device::Cpu;
    let params = Params::new(1, &device);
    let dtype = match args.dtype.as_str() {
        "f32" => DType::F32,
        "bf16" => DType::BF16,
        other => bail!("--dtype {other}: expected f32 or bf16"),
    };
    let net = Net::new(&plan, dtype, &method, &params)?;
    let sgd: OptimizerConfig =
        toml::toml! { name = "sgd" momentum = 0.9 weight_decay = 1e-4 }.try_into()?;
    let mut optimizer = Optimizer::new(&sgd, params.trainable())?;

    let Size {
        height,
        width: columns,
        channels,
    } = plan.image;
    let shape = (args.batch, height, columns, channels);
    let n = args.batch * plan.image.len();
    let pixels: Vec<f32> = (0..n)
        .map(|i| ((i * 7919 % 1009) as f32) / 504.0 - 1.0)
        .collect();
    let images = Tensor::from_vec(pixels, shape, &device)?;
    let labels: Vec<u32> = (0..args.batch).map(|i| (i * 31 % classes) as u32).collect();
    let labels = Tensor::from_vec(labels, args.batch, &device)?;

    let mut seconds: [Vec<f64>; 4] = Default::default();
    let mut memory_first = 0;
    for step in 0..args.warmup + args.steps {
        let clock = Instant::now();
        let logits = net.forward(&images, Mode::Train)?;
        let loss = cross_entropy(&logits, &labels, 0.0)?;
        let total = objective(&loss, 1e-5, &net.penalties()?)?;
        let forward = clock.elapsed().as_secs_f64();
        let grads = total.backward()?;
        let backward = clock.elapsed().as_secs_f64();
        optimizer.step(0.01, None, &grads)?;
        drop((logits, loss, total, grads));
        let whole = clock.elapsed().as_secs_f64();
        if step == args.warmup {
            memory_first = resident_mb();
        }
        if step >= args.warmup {
            let parts = [whole, forward, backward - forward, whole - backward];
            seconds
                .iter_mut()
                .zip(parts)
                .for_each(|(all, part)| all.push(part));
        }
    }
    let [whole, forward, backward, update] = &mut seconds;
    let best = whole.iter().copied().fold(f64::INFINITY, f64::min);
    let step = median(whole);
    let threads = std::env::var("RAYON_NUM_THREADS")
        .ok()
        .and_then(|t| t.parse::<u32>().ok());
    let mut line = serde_json::json!({
        "bench": "train_step",
        "peer": "s3",
        "model": args.model,
        "method": args.method,
        "bits": if has_bits { args.bits } else { 32 },
        "batch": args.batch,
        "threads": threads,
        "dtype": args.dtype,
        "side": args.side,
        "width": width,
        "images_per_s": args.batch as f64 / step,
        "best_images_per_s": args.batch as f64 / best,
        "step_ms": step * 1e3,
        "steps": args.steps,
        "memory_mb": [memory_first, resident_mb()],
    });
    if args.phases {
        line["forward_ms"] = (median(forward) * 1e3).into();
        line["backward_ms"] = (median(backward) * 1e3).into();
        line["update_ms"] = (median(update) * 1e3).into();
    }
    println!("{line}");
    Ok(())
}
