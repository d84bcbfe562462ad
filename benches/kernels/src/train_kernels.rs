//! Every convolution of `s3_kernel_benches::train::layers`, each pass, in f32 and bf16, on one
//! thread: one JSON object a line. `cargo xtask bench train_kernels` makes a page of several
//! rounds.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a program that prints its results")]

use anyhow::Result;
use s3_kernel_benches::train::{Convolution, Layer, Pass, layers, median_seconds, peak};
use s3_kernels::train::{Bf16, Element, instructions};
use serde_json::json;

fn main() -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    pool.install(|| {
        for layer in layers()? {
            measure::<f32>(&layer)?;
            measure::<Bf16>(&layer)?;
        }
        Ok(())
    })
}

fn measure<T: Element>(layer: &Layer) -> Result<()> {
    let mut convolution = Convolution::<T>::new(layer)?;
    let flops = convolution.flops() as f64;
    let image = convolution.reads_images();
    for (name, pass) in Pass::ALL {
        convolution.run(pass)?;
        let seconds = median_seconds(|| {
            convolution.run(pass).expect("it ran once");
        });
        let peak = peak();
        // Nobody asks for the gradient of the image.
        let count = if image && pass == Pass::BackwardInput {
            0
        } else {
            layer.count
        };
        let line = json!({
            "bench": "train_kernels",
            "layer": layer.name,
            "pass": name,
            "dtype": T::NAME,
            "isa": instructions::<T>(),
            "gflops": flops / seconds / 1e9,
            "of_peak": flops / seconds / peak,
            "peak_gflops": peak / 1e9,
            "step_gflop": count as f64 * flops / 1e9,
        });
        println!("{line}");
    }
    Ok(())
}
