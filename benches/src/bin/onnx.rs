//! A packed file of f32 activations as ONNX with plain f32 weights: what the peers of `bench infer`
//! run, and quantize themselves.
#![forbid(unsafe_code)]

use anyhow::{Context, Result};
use clap::Parser;
use s3_layers::export::{self, OnnxWeights};
use s3_layers::model::Model;
use std::path::PathBuf;

/// The two files.
#[derive(Parser)]
struct Args {
    /// The packed file.
    packed: PathBuf,
    /// The ONNX file that is written.
    onnx: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let model = Model::load(&args.packed)?;
    let bytes = export::onnx(model.network(), OnnxWeights::F32)?;
    std::fs::write(&args.onnx, bytes).with_context(|| format!("writing {}", args.onnx.display()))
}
