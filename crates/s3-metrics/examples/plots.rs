//! Every kind of plot from made-up numbers, light and dark, into a folder.
//!
//! `cargo run --release -p s3-metrics --features plot --example plots -- FOLDER`

#![forbid(unsafe_code)]

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use s3_metrics::density::{BINS, Density};
use s3_metrics::plot::{self, Axis, Bar, Curve, Labels, Plot, Point, Runs, Style, Theme};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::args().nth(1).ok_or("expected a folder")?);
    fs::create_dir_all(&folder)?;
    for (theme, suffix) in [(Theme::Light, "light"), (Theme::Dark, "dark")] {
        for (name, plot) in plots(&Style::new(theme))? {
            let file = |ending| folder.join(format!("{name}-{suffix}.{ending}"));
            fs::write(file("svg"), plot.to_svg())?;
            fs::write(file("png"), plot.to_png(2.0)?)?;
        }
    }
    Ok(())
}

fn plots(style: &Style) -> Result<Vec<(&'static str, Plot)>, Box<dyn Error>> {
    Ok(vec![
        ("wsvr", wsvr(style)?),
        ("accuracy", accuracy(style)?),
        ("density", density(style)?),
        ("levels", levels(style)?),
        ("confusion", confusion(style)?),
        ("filters", filters(style)?),
        ("filters-grey", grey_filters(style)?),
        ("size", size(style)?),
        ("energy", energy(style)?),
    ])
}

/// Made-up numbers between -1 and 1 that look drawn.
fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

fn wsvr(style: &Style) -> Result<Plot, plot::PlotError> {
    let labels = Labels::new(
        "S3 ternary, ResNet-20 on CIFAR-10",
        Axis::whole("epoch"),
        Axis::percent("WSVR"),
    );
    let layer = |index: u64| {
        let mut noise = noise(index + 1);
        let points = (1..=15).map(|snapshot| {
            let height = 0.32 - 0.012 * index as f64;
            let share = height * (-0.22 * f64::from(snapshot)).exp() + 0.006 * (1.0 + noise());
            (10.0 * f64::from(snapshot), share)
        });
        let (stage, block) = (1 + index / 6, (index % 6) / 2);
        let name = format!("layer{stage}.{block}.conv{}", 1 + index % 2);
        Curve::new(&name, points.collect())
    };
    let layers: Vec<Curve> = (0..18).map(layer).collect();
    plot::layer_curves(&layers, &labels, style)
}

fn accuracy(style: &Style) -> Result<Plot, plot::PlotError> {
    let labels = Labels::new(
        "ResNet-20 on CIFAR-10",
        Axis::whole("epoch"),
        Axis::percent("test accuracy"),
    );
    let run = |top: f64, seed: u64| {
        let mut noise = noise(seed);
        (1..=60)
            .map(|epoch| {
                let e = f64::from(epoch);
                let wobble = 0.03 * noise() * (1.0 - e / 62.0);
                (e, top - 0.5 * (-0.12 * e).exp() + wobble)
            })
            .collect::<Vec<_>>()
    };
    let set = |name: &str, top: f64, first: u64| {
        let seeds = (0..3).map(|seed| run(top + 0.002 * seed as f64, first + seed));
        Runs::new(name, seeds.collect())
    };
    let sets = [
        set("FP32", 0.915, 11),
        set("S3, 3 bit", 0.9, 21),
        set("S3, ternary", 0.885, 31),
        Runs::new("ternary quantizer", vec![run(0.86, 41)]),
    ];
    plot::seed_bands(&sets, &labels, style)
}

fn density(style: &Style) -> Result<Plot, Box<dyn Error>> {
    let mut noise = noise(5);
    let mut normal = || (0..6).map(|_| noise()).sum::<f64>() / 2.45;
    let float: Vec<f32> = (0..9216).map(|_| (0.1 * normal()) as f32).collect();
    let latent: Vec<f32> = (0..9216)
        .map(|i| {
            let side = if i % 2 == 0 { 0.3 } else { -0.3 };
            (side + 0.1 * normal()) as f32
        })
        .collect();
    let float = Density::relative(&float, BINS)?;
    let latent = Density::relative(&latent, BINS)?;
    let of = [
        ("full precision", &float),
        ("before the quantizer", &latent),
    ];
    let (x, y) = (Axis::plain("w / max|w|"), Axis::plain("density"));
    let labels = Labels::new("layer2.0.conv1", x, y);
    Ok(plot::densities(&of, &labels, style)?)
}

fn levels(style: &Style) -> Result<Plot, plot::PlotError> {
    let snapshot = |epoch: u32| {
        let e = f64::from(epoch);
        let zero = (1000.0 + 30.0 * e) as u64;
        let level = |power: i32| {
            let peak = 3.0 - e / 75.0;
            (3000.0 * (-0.5 * (f64::from(power) - peak).powi(2)).exp()) as u64
        };
        let mut counts = vec![(0.0, zero)];
        for power in 0..7 {
            counts.push((2f32.powi(power), level(power)));
            counts.push((-(2f32.powi(power)), level(power)));
        }
        (epoch, counts)
    };
    let snapshots: Vec<_> = (0..=15).map(|i| snapshot(10 * i)).collect();
    plot::level_occupancy(&snapshots, "layer1.0.conv1, 4 bit", style)
}

fn confusion(style: &Style) -> Result<Plot, plot::PlotError> {
    let classes = [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ];
    let mut noise = noise(9);
    let mut counts = vec![0u64; 100];
    for (place, count) in counts.iter_mut().enumerate() {
        let (row, column) = (place / 10, place % 10);
        let spread = (12.0 * noise().powi(4)) as u64;
        *count = if row == column {
            880 + 5 * spread
        } else {
            spread
        };
    }
    (counts[35], counts[53]) = (131, 118); // cats and dogs
    plot::confusion(&classes, &counts, "ResNet-20, S3 3 bit", style)
}

fn filters(style: &Style) -> Result<Plot, plot::PlotError> {
    let mut noise = noise(3);
    let weights: Vec<f32> = (0..16 * 27).map(|_| (0.4 * noise()) as f32).collect();
    plot::filters(&weights, [16, 3, 3, 3], "conv1", style)
}

fn grey_filters(style: &Style) -> Result<Plot, plot::PlotError> {
    let mut noise = noise(4);
    let weights: Vec<f32> = (0..6 * 25)
        .map(|_| (1.4 * noise()).round() as f32)
        .collect();
    plot::filters(&weights, [6, 1, 5, 5], "conv1, ternary", style)
}

fn size(style: &Style) -> Result<Plot, plot::PlotError> {
    let labels = Labels::new(
        "ResNet-20 on CIFAR-10",
        Axis::log("packed network (KiB)"),
        Axis::percent("test accuracy"),
    );
    let points = [
        Point::new("FP32", "float", 1054.0, 0.918),
        Point::new("2 bit", "S3", 75.0, 0.898),
        Point::new("3 bit", "S3", 107.0, 0.906),
        Point::new("4 bit", "S3", 140.0, 0.909),
        Point::new("TWN", "ternary quantizer", 75.0, 0.889),
        Point::new("TTQ", "ternary quantizer", 75.5, 0.8925),
        Point::new("INQ, 5 bit", "shift quantizer", 172.0, 0.905),
        Point::new("DeepShift-Q, 5 bit", "shift quantizer", 172.0, 0.896),
    ];
    plot::labelled_points(&points, &labels, style)
}

fn energy(style: &Style) -> Result<Plot, plot::PlotError> {
    let labels = Labels::new("", Axis::plain("version"), Axis::plain("energy (µJ)"));
    let bars = [
        Bar::new("float32", vec![170.0, 175.0, 30.0]),
        Bar::new("int8", vec![13.0, 44.0, 7.5]),
        Bar::new("shift", vec![11.0, 17.0, 7.5]),
    ];
    let parts = ["operations", "weights", "activations"];
    plot::stacked_bars(&bars, &parts, &labels, style)
}
