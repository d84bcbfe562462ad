//! Images a second of the data loader alone: read, decode, random resized crop, mirror, normalise
//! and batch, as training does; no network.
//!
//! Prints one JSON line (`{"bench":"loader",..}`). `benches/peers/loader.py` is torchvision's twin.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a benchmark prints its line")]

use anyhow::{Context, Result};
use clap::Parser;
use s3_train::data::{self, AugmentConfig, DataConfig, DataName, Images, Loader, LoaderConfig};
use std::path::PathBuf;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One measurement.
#[derive(Parser)]
struct Args {
    /// The image folder, with `train` and `val` in it.
    folder: PathBuf,
    /// Reads the shards that `s3 shards` has made beside the folder.
    #[arg(long)]
    shards: bool,
    /// Threads that decode.
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Pictures a batch.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Epochs that are timed, after one that is not.
    #[arg(long, default_value_t = 3)]
    epochs: u64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let augment = AugmentConfig {
        resized_crop: true,
        flip: true,
        ..AugmentConfig::OFF
    };
    let folder = args.folder.file_name().context("a folder's name")?;
    let config = DataConfig {
        folder: Some(folder.to_string_lossy().into_owned()),
        shards: args.shards,
        augment,
        ..DataConfig::of(DataName::Imagenet)
    };
    let train = data::load(&config, args.folder.parent())?.train;
    let loader = LoaderConfig {
        workers: args.workers,
        ..LoaderConfig::train(args.batch, 1, augment)
    };
    let mut rates = Vec::new();
    for epoch in 0..=args.epochs {
        let clock = Instant::now();
        let mut images = 0;
        for batch in Loader::new(&train, &loader, epoch, 0)? {
            images += batch?.len();
        }
        rates.push(images as f64 / clock.elapsed().as_secs_f64());
    }
    let mut rates = rates.split_off(1);
    rates.sort_by(f64::total_cmp);
    let (shards, in_memory) = match &train.images {
        Images::Files(images) => (images.shards(), images.stay_in_memory()),
        Images::Bytes(_) | Images::Floats(_) => (0, true),
    };
    let line = serde_json::json!({
        "bench": "loader",
        "who": if args.shards { "s3, shards" } else { "s3, files" },
        "workers": args.workers,
        "batch": args.batch,
        "pictures": train.len(),
        "shards": shards,
        "in_memory": in_memory,
        "pictures_per_second": rates.get(rates.len() / 2),
    });
    println!("{line}");
    Ok(())
}
