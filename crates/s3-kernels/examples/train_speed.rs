//! Prints GFLOP/s and the share of the core's measured multiply-add peak for every convolution of
//! ResNet-20 (batch 128) and ResNet-18 (batch 8, 224 pixels), each pass, on one thread.
//!
//! `cargo run --release -p s3-kernels --features train --example train_speed [name filter]`
#![allow(clippy::print_stdout, reason = "an example that prints")]

use std::hint::black_box;
use std::time::Instant;

use s3_kernels::train::{
    self, BatchNormGrads, BatchNormSaved, BatchStats, Bf16, Element, conv2d_backward_input,
    conv2d_backward_weight, conv2d_forward,
};
use s3_kernels::{ConvShape, Isa};

/// (name, batch, side, in, out, kernel, stride)
const LAYERS: [(&str, usize, usize, usize, usize, usize, usize); 20] = [
    ("r20 first", 128, 32, 3, 16, 3, 1),
    ("r20 32px 16", 128, 32, 16, 16, 3, 1),
    ("r20 32px 16-32 s2", 128, 32, 16, 32, 3, 2),
    ("r20 short 16-32", 128, 32, 16, 32, 1, 2),
    ("r20 16px 32", 128, 16, 32, 32, 3, 1),
    ("r20 16px 32-64 s2", 128, 16, 32, 64, 3, 2),
    ("r20 short 32-64", 128, 16, 32, 64, 1, 2),
    ("r20 8px 64", 128, 8, 64, 64, 3, 1),
    ("r18 stem", 8, 224, 3, 64, 7, 2),
    ("r18 56px 64", 8, 56, 64, 64, 3, 1),
    ("r18 56px 64-128 s2", 8, 56, 64, 128, 3, 2),
    ("r18 short 64-128", 8, 56, 64, 128, 1, 2),
    ("r18 28px 128", 8, 28, 128, 128, 3, 1),
    ("r18 28px 128-256 s2", 8, 28, 128, 256, 3, 2),
    ("r18 short 128-256", 8, 28, 128, 256, 1, 2),
    ("r18 14px 256", 8, 14, 256, 256, 3, 1),
    ("r18 14px 256-512 s2", 8, 14, 256, 512, 3, 2),
    ("r18 short 256-512", 8, 14, 256, 512, 1, 2),
    ("r18 7px 512", 8, 7, 512, 512, 3, 1),
    ("r50 14px 1024-256", 8, 14, 1024, 256, 1, 1),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let filter = std::env::args().nth(1).unwrap_or_default();
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()?
        .install(|| {
            table::<f32>(&filter)?;
            table::<Bf16>(&filter)
        })?;
    Ok(())
}

fn table<T: Element>(filter: &str) -> Result<(), s3_kernels::Error> {
    let mut flops = 0;
    let seconds = median_seconds(|| flops = train::multiply_adds(1_000_000));
    let peak = flops as f64 / seconds / 1e9;
    println!(
        "{}, isa {}, f32 peak {peak:.1} GFLOP/s on one core; GFLOP/s (% of the f32 peak)",
        T::NAME,
        Isa::detect().name()
    );
    println!(
        "{:<20} {:>14} {:>14} {:>14}",
        "layer", "forward", "backward input", "backward weight"
    );
    for (name, batch, side, in_channels, out_channels, kernel, stride) in LAYERS {
        if !name.contains(filter) {
            continue;
        }
        let shape = ConvShape {
            batch,
            height: side,
            width: side,
            in_channels,
            out_channels,
            kernel_h: kernel,
            kernel_w: kernel,
            stride,
            padding: kernel / 2,
            ..ConvShape::default()
        };
        let mut w = ramp::<f32>(shape.weight_len()?);
        let [mut x, mut y] = [shape.input_len()?, shape.output_len()?].map(ramp::<T>);
        let flops = 2.0 * (y.len() * in_channels * kernel * kernel) as f64;
        let show = |seconds: f64| {
            let rate = flops / seconds / 1e9;
            format!("{rate:.1} ({:.0}%)", 100.0 * rate / peak)
        };
        let [forward, input, weight] = [
            timed(|| conv2d_forward(&shape, &x, &w, &mut y))?,
            timed(|| conv2d_backward_input(&shape, &y, &w, &mut x))?,
            timed(|| conv2d_backward_weight(&shape, &x, &y, &mut w))?,
        ]
        .map(show);
        println!("{name:<20} {forward:>14} {input:>14} {weight:>14}");
    }
    norms::<T>(filter)
}

/// Batch norm with residual and ReLU: bytes that must move, per second.
fn norms<T: Element>(filter: &str) -> Result<(), s3_kernels::Error> {
    if !"norm".contains(filter) {
        return Ok(());
    }
    let mut copy = (ramp::<f32>(1 << 23), ramp(1 << 23));
    let seconds = median_seconds(|| black_box(&mut copy.1).copy_from_slice(&copy.0));
    println!(
        "copy of 32 MiB {:.1} GB/s (read + written)",
        8.0 * copy.0.len() as f64 / seconds / 1e9
    );
    for (name, rows, channels) in [
        ("32px 16", 131_072, 16),
        ("16px 32", 32_768, 32),
        ("8px 64", 8192, 64),
        ("56px 64", 25_088, 64),
    ] {
        let len = rows * channels;
        let [x, residual, dy] = [(); 3].map(|()| ramp::<T>(len));
        let [mut y, mut dx, mut dresidual] = [(); 3].map(|()| ramp::<T>(len));
        let [gamma, beta] = [ramp(channels), ramp(channels)];
        let [mut mean, mut var, mut inv_std, mut dgamma, mut dbeta] =
            std::array::from_fn(|_| ramp::<f32>(channels));
        let forward = timed(|| {
            let stats = BatchStats {
                mean: &mut mean,
                var: &mut var,
                inv_std: &mut inv_std,
            };
            train::batch_norm_forward(
                &x,
                Some(&residual),
                (&gamma, &beta),
                1e-5,
                true,
                &mut y,
                stats,
            )
        })?;
        let backward = timed(|| {
            let saved = BatchNormSaved {
                x: &x,
                y: Some(&y),
                gamma: &gamma,
                mean: &mean,
                inv_std: &inv_std,
            };
            let grads = BatchNormGrads {
                dx: &mut dx,
                dresidual: Some(&mut dresidual),
                dgamma: &mut dgamma,
                dbeta: &mut dbeta,
            };
            train::batch_norm_backward(saved, &dy, grads)
        })?;
        let rate =
            |passes: f64, seconds: f64| passes * (size_of::<T>() * len) as f64 / seconds / 1e9;
        println!(
            "norm {name:<15} forward {:.2} ms, {:.1} GB/s; backward {:.2} ms, {:.1} GB/s",
            1e3 * forward,
            rate(4.0, forward),
            1e3 * backward,
            rate(8.0, backward)
        );
    }
    Ok(())
}

fn ramp<T: Element>(len: usize) -> Vec<T> {
    (0..len)
        .map(|i| T::from_f32((i % 1013) as f32 / 506.0 - 1.0))
        .collect()
}

fn timed(mut f: impl FnMut() -> Result<(), s3_kernels::Error>) -> Result<f64, s3_kernels::Error> {
    f()?;
    Ok(median_seconds(|| f().expect("the warm-up succeeded")))
}

/// The median of at least 5 runs and at least 0.15 s of them.
fn median_seconds(mut f: impl FnMut()) -> f64 {
    let (mut times, mut total) = (Vec::new(), 0.0);
    while times.len() < 5 || total < 0.15 {
        let start = Instant::now();
        f();
        times.push(start.elapsed().as_secs_f64());
        total += times[times.len() - 1];
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
