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

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use s3_kernel_benches::train::{self, Convolution, Pass, layers, median_seconds, ramp};
use s3_kernels::Isa;
use s3_kernels::train::{
    Act, BatchNormGrads, BatchNormSaved, BatchStats, batch_norm_backward, batch_norm_forward,
};

fn peak(c: &mut Criterion) {
    let mut group = c.benchmark_group("peak");
    group.throughput(Throughput::Elements(train::peak_call()));
    group.bench_function(Isa::detect().name(), |b| b.iter(train::peak_call));
    group.finish();
}

fn convolutions(c: &mut Criterion) {
    let peak = train::peak();
    for layer in layers().expect("networks of the list") {
        let mut convolution = Convolution::<f32>::new(&layer).expect("a valid layer");
        let flops = convolution.flops();
        let mut group = c.benchmark_group(&layer.name);
        group.throughput(Throughput::Elements(flops));
        for (name, pass) in Pass::ALL {
            let mut run = || convolution.run(pass).expect("a valid layer");
            let share = 100.0 * flops as f64 / median_seconds(&mut run) / peak;
            println!(
                "{} {name}: {share:.0} % of {:.0} GFLOP/s",
                layer.name,
                peak / 1e9
            );
            group.bench_function(name, |b| b.iter(&mut run));
        }
        group.finish();
    }
}

/// Batch norm with residual and ReLU, statistics included.
fn norms(c: &mut Criterion) {
    for (name, rows, channels) in [("norm-32px-16", 131_072, 16), ("norm-56px-64", 25_088, 64)] {
        let len = rows * channels;
        let [x, residual, dy] = [(); 3].map(|()| ramp::<f32>(len));
        let [mut y, mut dx, mut dresidual] = [(); 3].map(|()| ramp::<f32>(len));
        let [gamma, beta] = [(); 2].map(|()| ramp::<f32>(channels));
        let [mut mean, mut var, mut inv_std, mut dgamma, mut dbeta] =
            [(); 5].map(|()| ramp::<f32>(channels));
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
                batch_norm_forward(&x, Some(&residual), affine, 1e-5, Act::Relu, &mut y, stats)
            });
        });
        // x, y and dy twice, dx and dresidual once.
        group.throughput(Throughput::Bytes(8 * 4 * len as u64));
        group.bench_function("backward", |b| {
            b.iter(|| {
                let saved = BatchNormSaved {
                    x: &x,
                    y: &y,
                    act: Act::Relu,
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
    config = Criterion::default()
        .sample_size(15)
        .measurement_time(std::time::Duration::from_secs(2));
    targets = peak, convolutions, norms
}
criterion_main!(benches);
