//! Which shapes are measured: those of the networks that low-bit kernels are compared on.

use serde_json::{Value, json};

/// Outputs and length of the sum of the layers of a ternary language model, and where they are
/// from.
const MATRICES: [(usize, usize); 20] = [
    (4096, 4096),  // Llama-3-8B: attention
    (14336, 4096), // Llama-3-8B: up
    (4096, 14336), // Llama-3-8B: down
    (1024, 4096),  // Llama-3-8B: keys
    (2560, 2560),  // BitNet-2B-4T
    (640, 2560),
    (6912, 2560),
    (2560, 6912),
    (192, 4096),  // few outputs
    (3200, 3200), // BitNet-3B
    (8640, 3200),
    (3200, 8640),
    (1536, 1536), // BitNet-large
    (4096, 1536),
    (1536, 4096),
    (11008, 4096), // Llama-2-7B
    (4096, 11008),
    (1024, 1024),
    (2048, 2048),
    (512, 512),
];

/// How many of [`MATRICES`] are measured without `--all`.
const MATRICES_BY_DEFAULT: usize = 3;

/// m, n, k. The first ones are measured without `--all`.
const PRODUCTS: [(usize, usize, usize); 22] = [
    (1, 4096, 4096),
    (8, 4096, 4096),
    (64, 4096, 4096),
    (512, 4096, 4096),
    (1024, 1024, 1024),
    (512, 512, 4608),
    (3136, 64, 576),  // 56x56, 3x3, 64 channels
    (784, 128, 1152), // 28x28, 128
    (2, 4096, 4096),
    (4, 4096, 4096),
    (16, 4096, 4096),
    (32, 2048, 2048), // bitnet.cpp's own table
    (128, 2048, 2048),
    (512, 2048, 2048),
    (2048, 2048, 2048),
    (128, 2048, 8192),
    (128, 8192, 2048),
    (8, 2560, 2560),
    (64, 6912, 2560),
    (512, 2560, 6912),
    (64, 192, 4096),
    (196, 256, 2304), // 14x14, 256
];

/// How many of [`PRODUCTS`] are measured without `--all`.
const PRODUCTS_BY_DEFAULT: usize = 8;

/// height = width, input channels, output channels, kernel, stride. The first ones are measured
/// without `--all`.
const LAYERS: [(usize, usize, usize, usize, usize); 27] = [
    (56, 64, 64, 3, 1), // ResNet-18
    (28, 128, 128, 3, 1),
    (14, 256, 256, 3, 1),
    (7, 512, 512, 3, 1),
    (56, 64, 128, 3, 2),
    (28, 128, 256, 3, 2),
    (14, 256, 512, 3, 2),
    (56, 64, 128, 1, 2),
    (28, 128, 256, 1, 2),
    (14, 256, 512, 1, 2),
    (224, 3, 64, 7, 2),
    (56, 64, 64, 1, 1), // ResNet-50
    (56, 64, 256, 1, 1),
    (56, 256, 64, 1, 1),
    (56, 256, 128, 1, 1),
    (56, 128, 128, 3, 2),
    (28, 128, 512, 1, 1),
    (28, 512, 128, 1, 1),
    (28, 512, 256, 1, 1),
    (28, 256, 256, 3, 2),
    (14, 256, 1024, 1, 1),
    (14, 1024, 256, 1, 1),
    (14, 1024, 512, 1, 1),
    (14, 512, 512, 3, 2),
    (7, 512, 2048, 1, 1),
    (7, 2048, 512, 1, 1),
    (56, 256, 512, 1, 2),
];

/// How many of [`LAYERS`] are measured without `--all`.
const LAYERS_BY_DEFAULT: usize = 4;

/// A network of `infer`: architecture, the width that is its setting, pixels on a side, classes,
/// and the multiply-adds of an image.
type Net = (&'static str, Option<f64>, usize, usize, u64);

/// The networks of `infer`. The first ones are measured without `--all`.
const NETWORKS: [Net; 6] = [
    ("resnet18", None, 224, 1000, 1_814_073_344),
    ("resnet20", None, 32, 10, 40_551_040),
    ("mobilenet_v1", Some(0.25), 96, 2, 7_489_664), // MLPerf Tiny's size
    ("mobilenet_v1", Some(0.25), 32, 10, 3_331_072), // experiments/cifar10
    ("mobilenet_v1", Some(0.5), 96, 2, 27_365_632),
    ("mobilenet_v1", Some(1.0), 32, 10, 46_354_432),
];

/// How many of [`NETWORKS`] are measured without `--all`.
const NETWORKS_BY_DEFAULT: usize = 3;

/// The cases of a bench, as the line protocol spells them, for weights of `bits`.
pub(super) fn cases(bench: &str, all: bool, bits: &[u64]) -> Vec<Value> {
    let some = |default: usize, whole: usize| if all { whole } else { default };
    let product = |(m, n, k): (usize, usize, usize), cold: bool| {
        json!({"bench": bench, "m": m,
        "n": n, "k": k, "bits": bits, "cold": cold})
    };
    match bench {
        "gemv" => {
            let matrices = &MATRICES[..some(MATRICES_BY_DEFAULT, MATRICES.len())];
            let hot = matrices.iter().map(|&(n, k)| product((1, n, k), false));
            let cold = matrices[..some(1, MATRICES_BY_DEFAULT)].iter();
            hot.chain(cold.map(|&(n, k)| product((1, n, k), true)))
                .collect()
        }
        "gemm" | "gemm_f32" => {
            let products = &PRODUCTS[..some(PRODUCTS_BY_DEFAULT, PRODUCTS.len())];
            products.iter().map(|&mnk| product(mnk, false)).collect()
        }
        "infer" => {
            let networks = &NETWORKS[..some(NETWORKS_BY_DEFAULT, NETWORKS.len())];
            let pairs = networks
                .iter()
                .flat_map(|net| [1, 8].map(|batch| (net, batch)));
            pairs
                .map(|(&net, batch)| network(net, batch, bits))
                .collect()
        }
        _ => {
            let layers = &LAYERS[..some(LAYERS_BY_DEFAULT, LAYERS.len())];
            layers
                .iter()
                .map(|&layer| convolution(bench, layer, bits))
                .collect()
        }
    }
}

fn network((model, width, side, classes, macs): Net, batch: usize, bits: &[u64]) -> Value {
    let settings = width.map_or(json!({}), |width| json!({"width": width}));
    json!({
        "bench": "infer", "model": model, "settings": settings, "side": side, "classes": classes,
        "batch": batch, "m": batch, "n": 1, "k": macs, "bits": bits,
    })
}

fn convolution(
    bench: &str,
    (side, c_in, c_out, kernel, stride): (usize, usize, usize, usize, usize),
    bits: &[u64],
) -> Value {
    let padding = kernel / 2;
    let out = (side + 2 * padding - kernel) / stride + 1;
    json!({
        "bench": bench, "m": out * out, "n": c_out, "k": c_in * kernel * kernel, "bits": bits,
        "cold": false, "height": side, "width": side, "in_channels": c_in, "out_channels": c_out,
        "kernel": kernel, "stride": stride, "padding": padding, "groups": 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_convolution_is_the_product_of_its_windows() {
        let stem = convolution("conv", (224, 3, 64, 7, 2), &[2]);
        let of = |key: &str| stem[key].as_u64();
        assert_eq!(
            (of("m"), of("n"), of("k")),
            (Some(12_544), Some(64), Some(147))
        );
    }

    #[test]
    fn all_begins_with_the_default() {
        for bench in ["gemm", "conv"] {
            let (few, many) = (cases(bench, false, &[2]), cases(bench, true, &[2]));
            assert!(few.len() < many.len());
            assert_eq!(few[..], many[..few.len()]);
        }
    }
}
