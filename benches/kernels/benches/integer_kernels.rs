//! The integer kernels at a few shapes, for regressions: criterion compares with the run before.
//!
//! ```text
//! RAYON_NUM_THREADS=1 chrt -f 10 taskset -c 1 \
//!     cargo bench -p s3-kernel-benches --bench integer_kernels
//! ```
//!
//! An element is one multiply-add, so that `Gelem/s` reads as GMAC/s; `peak` is the bound of the
//! multiplier in the same unit. Comparisons with other programs are `cargo xtask bench kernels`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use s3_kernel_benches::Random;
use s3_kernels::{BitWidth, ConvShape, Isa, PackedMatrix, conv2d, gemm, peak};

/// batch, rows, columns: one vector, a few, many, few outputs, and one that no tile divides.
const PRODUCTS: [(usize, usize, usize); 5] = [
    (1, 4096, 4096),
    (8, 4096, 4096),
    (256, 1024, 1024),
    (784, 128, 1152),
    (13, 191, 1001),
];

/// height = width, channels, groups: 3x3 convolutions.
const LAYERS: [(usize, usize, usize); 4] = [(56, 64, 1), (14, 256, 1), (7, 512, 1), (28, 128, 128)];

fn packed(rows: usize, cols: usize, width: BitWidth) -> PackedMatrix {
    let levels = Random(7).levels(width.levels(), rows * cols);
    PackedMatrix::from_levels(&levels, rows, cols, width).expect("levels of the alphabet")
}

fn peaks(c: &mut Criterion) {
    let mut group = c.benchmark_group("peak");
    group.throughput(Throughput::Elements(peak::int8_multiply_adds(10_000)));
    group.bench_function("int8", |b| b.iter(|| peak::int8_multiply_adds(10_000)));
    group.finish();
}

fn products(c: &mut Criterion) {
    for (batch, rows, cols) in PRODUCTS {
        let mut group = c.benchmark_group(format!("gemm-{batch}x{rows}x{cols}"));
        group.throughput(Throughput::Elements((batch * rows * cols) as u64));
        let x = Random(1).signed(batch * cols);
        let mut y = vec![0; batch * rows];
        for width in BitWidth::ALL {
            let w = packed(rows, cols, width);
            let id = BenchmarkId::new(Isa::detect().name(), width.bits());
            group.bench_function(id, |b| b.iter(|| gemm(&w, &x, batch, &mut y)));
        }
        group.finish();
    }
}

fn convolutions(c: &mut Criterion) {
    for (side, channels, groups) in LAYERS {
        let shape = ConvShape {
            height: side,
            width: side,
            in_channels: channels,
            out_channels: channels,
            kernel_h: 3,
            kernel_w: 3,
            padding: 1,
            groups,
            ..ConvShape::default()
        };
        let cols = 9 * channels / groups;
        let x = Random(1).signed(shape.input_len().expect("a valid layer"));
        let mut y = vec![0; shape.output_len().expect("a valid layer")];
        let mut group = c.benchmark_group(format!("conv-{side}x{side}x{channels}-g{groups}"));
        group.throughput(Throughput::Elements((y.len() * cols) as u64));
        for width in BitWidth::ALL {
            let w = packed(channels, cols, width);
            let id = BenchmarkId::new(Isa::detect().name(), width.bits());
            group.bench_function(id, |b| b.iter(|| conv2d(&w, &x, &shape, &mut y)));
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .measurement_time(std::time::Duration::from_secs(1));
    targets = peaks, products, convolutions
}
criterion_main!(benches);
