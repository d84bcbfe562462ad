//! `bench NAME`: measurements that alternate between us and others in one call, so that a busy or a
//! throttled machine slows both.
//!
//! `train_step` runs the binary of that name in `benches/` and, with `--peers`, its twin
//! `benches/peers/train_step.py`, round after round. `loader` does the same with
//! `benches/peers/loader.py`. `ddp` starts `s3 train` under `mpirun`. `cost` turns what
//! `train_step` and `loader` measure into days and euros. `mcu` counts instructions in an emulator.
//! `train_kernels` runs alone. `gemv`, `gemm`, `conv`, `f32`, `infer` and `kernels` (all of them)
//! let the processes of [`host`] take turns. The medians over the rounds, their spread, the
//! machine, the command and the date make a report.

mod bars;
mod choice;
mod cost;
mod ddp;
mod host;
mod kernels;
mod loader;
mod mcu;
mod measured;
pub(crate) mod page;
mod report;
mod shapes;
mod train_kernels;
mod train_step;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

/// What can be measured.
#[derive(Subcommand)]
#[command(rename_all = "snake_case")]
pub(crate) enum Name {
    /// Images a second of one whole training step
    TrainStep(train_step::Options),
    /// Pictures a second of the data loader, beside torchvision
    Loader(loader::Options),
    /// Images a second of training on several processes
    Ddp(ddp::Options),
    /// Core-hours, days and euros of the paper's ImageNet runs
    Cost(cost::Options),
    /// The reference networks of MLPerf Tiny as C, on three microcontrollers' cores in an emulator
    Mcu(mcu::Options),
    /// The convolutions of a training step, as shares of the core's f32 peak
    TrainKernels(train_kernels::Options),
    /// The integer kernels: matrix times vector
    Gemv(kernels::Options),
    /// The integer kernels: matrix times matrix
    Gemm(kernels::Options),
    /// The integer kernels: convolutions
    Conv(kernels::Options),
    /// Products and convolutions of f32 activations
    F32(kernels::Options),
    /// Whole networks of random weights, batch 1 and 8: ResNet-18 at 224, ResNet-20 at 32,
    /// MobileNetV1 of a quarter of the width at 96, with --all more of these
    Infer(kernels::Options),
    /// gemv, gemm, conv and f32 in one go, with every bar of docs/results/kernels.md
    Kernels(kernels::Options),
}

pub(crate) fn run(name: &Name) -> Result<ExitCode> {
    match name {
        Name::TrainStep(options) => train_step::run(options),
        Name::Loader(options) => loader::run(options),
        Name::Ddp(options) => ddp::run(options),
        Name::Cost(options) => cost::run(options),
        Name::Mcu(options) => mcu::run(options),
        Name::TrainKernels(options) => train_kernels::run(options),
        Name::Gemv(options) => kernels::run(&["gemv"], options),
        Name::Gemm(options) => kernels::run(&["gemm"], options),
        Name::Conv(options) => kernels::run(&["conv"], options),
        Name::F32(options) => kernels::run(&["gemm_f32", "conv_f32"], options),
        Name::Infer(options) => kernels::run(&["infer"], options),
        Name::Kernels(options) => {
            let benches = ["gemv", "gemm", "conv", "gemm_f32", "conv_f32"];
            // Plain loops over one byte a level have no counterpart in f32.
            let count = if options.plain { 3 } else { benches.len() };
            kernels::run(&benches[..count], options)
        }
    }
}
