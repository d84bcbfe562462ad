//! The training kernels on the layer shapes of ResNet-20 (batch 128) and ResNet-18 (batch 8),
//! against the measured multiply-add peak of one core. Run it on one core: rayon takes as many
//! threads as the process may use cores.
//!
//! ```text
//! chrt -f 10 taskset -c 1 cargo bench -p s3-kernel-benches --bench train_kernels
//! ```
//!
//! Criterion reports elements per second where an element is one floating-point operation, so
//! `Gelem/s` reads as GFLOP/s; `peak` is the bound, in the same unit. One line before each layer
//! states the median share of the peak. Batch norm reports the bytes that must move.
#![allow(
    clippy::print_stdout,
    reason = "the share of the peak, which criterion does not know"
)]

use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use s3_kernels::train::{
    BatchNormGrads, BatchNormSaved, BatchStats, batch_norm_backward, batch_norm_forward,
    conv2d_backward_input, conv2d_backward_weight, conv2d_forward, multiply_adds,
};
use s3_kernels::{ConvShape, Isa};

/// Multiply-add rounds of one peak measurement: about 4 ms on a 3 GHz core.
const ROUNDS: u64 = 1_000_000;

/// name, batch, side, input channels, output channels, kernel, stride
type Layer = (&'static str, usize, usize, usize, usize, usize, usize);

const LAYERS: [Layer; 11] = [
    ("r20-first", 128, 32, 3, 16, 3, 1),
    ("r20-32px-16", 128, 32, 16, 16, 3, 1),
    ("r20-32px-16-32-s2", 128, 32, 16, 32, 3, 2),
    ("r20-16px-32", 128, 16, 32, 32, 3, 1),
    ("r20-8px-64", 128, 8, 64, 64, 3, 1),
    ("r18-stem", 8, 224, 3, 64, 7, 2),
    ("r18-56px-64", 8, 56, 64, 64, 3, 1),
    ("r18-28px-128", 8, 28, 128, 128, 3, 1),
    ("r18-28px-128-256-s2", 8, 28, 128, 256, 3, 2),
    ("r18-14px-256", 8, 14, 256, 256, 3, 1),
    ("r18-7px-512", 8, 7, 512, 512, 3, 1),
];

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i % 1013) as f32 / 506.0 - 1.0).collect()
}

/// The median of 5 runs after one to warm up.
fn median_seconds(mut f: impl FnMut()) -> f64 {
    f();
    let mut times = [0.0; 5].map(|_: f64| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64()
    });
    times.sort_by(f64::total_cmp);
    times[2]
}

fn peak(c: &mut Criterion) {
    let mut group = c.benchmark_group("peak");
    group.throughput(Throughput::Elements(multiply_adds(ROUNDS)));
    group.bench_function(Isa::detect().name(), |b| b.iter(|| multiply_adds(ROUNDS)));
    group.finish();
}

fn convolutions(c: &mut Criterion) {
    let mut flops = 0;
    let seconds = median_seconds(|| flops = multiply_adds(ROUNDS));
    let peak = flops as f64 / seconds;
    for (name, batch, side, in_channels, out_channels, kernel, stride) in LAYERS {
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
        let lens = [shape.input_len(), shape.weight_len(), shape.output_len()];
        let [mut x, mut w, mut y] = lens.map(|len| values(len.expect("a valid layer")));
        let flops = 2 * (y.len() * in_channels * kernel * kernel) as u64;
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(flops));
        let mut bench = |pass: &str, f: &mut dyn FnMut()| {
            let share = 100.0 * flops as f64 / median_seconds(&mut *f) / peak;
            println!("{name} {pass}: {share:.0} % of {:.0} GFLOP/s", peak / 1e9);
            group.bench_function(pass, |b| b.iter(&mut *f));
        };
        bench("forward", &mut || {
            conv2d_forward(&shape, &x, &w, &mut y).expect("a valid layer")
        });
        bench("backward-input", &mut || {
            conv2d_backward_input(&shape, &y, &w, &mut x).expect("a valid layer");
        });
        bench("backward-weight", &mut || {
            conv2d_backward_weight(&shape, &x, &y, &mut w).expect("a valid layer");
        });
        group.finish();
    }
}

/// Batch norm with residual and ReLU, statistics included.
fn norms(c: &mut Criterion) {
    for (name, rows, channels) in [("norm-32px-16", 131_072, 16), ("norm-56px-64", 25_088, 64)] {
        let len = rows * channels;
        let [x, residual, dy] = [(); 3].map(|()| values(len));
        let [mut y, mut dx, mut dresidual] = [(); 3].map(|()| values(len));
        let [gamma, beta] = [(); 2].map(|()| values(channels));
        let [mut mean, mut var, mut inv_std, mut dgamma, mut dbeta] =
            [(); 5].map(|()| values(channels));
        let mut group = c.benchmark_group(name);
        // x for the statistics, then x, residual and y.
        group.throughput(Throughput::Bytes(4 * 4 * len as u64));
        group.bench_function("forward", |b| {
            b.iter(|| {
                let stats = BatchStats {
                    mean: &mut mean,
                    var: &mut var,
                    inv_std: &mut inv_std,
                };
                let affine = (&*gamma, &*beta);
                batch_norm_forward(&x, Some(&residual), affine, 1e-5, true, &mut y, stats)
            });
        });
        // x, y and dy twice, dx and dresidual once.
        group.throughput(Throughput::Bytes(8 * 4 * len as u64));
        group.bench_function("backward", |b| {
            b.iter(|| {
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
                batch_norm_backward(saved, &dy, grads)
            });
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(15).measurement_time(std::time::Duration::from_secs(2));
    targets = peak, convolutions, norms
}
criterion_main!(benches);
